"""Checkpoints through real TensorFlow, the mistakes that a conversion can make, the embedded tiny, and .pth with its sidecar."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import damaged
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from golf_nb_utils import prompt
from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError, NoRoomError
from golf_nb_utils.gpt2 import checkpoints, convert, download, tensorflow_io
from golf_nb_utils.gpt2.checkpoints import CheckpointError
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.host import knowledge_folder
from golf_nb_utils.settings import GPT_CONFIGS, GPTConfig

# Twelve layers, so that h10 and h11 sort before h2; a vocabulary that is odd, and larger than every other dimension.
CONFIG = GPTConfig(n_vocab=997, n_ctx=48, n_embd=32, n_head=4, n_layer=12)
INDEX, DATA, CONVERTED = "model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.safetensors"
SIDECAR = f"{CONVERTED}.json"
# The hashes that several sources publish for OpenAI's own files.
CHECKPOINT_SHA256 = "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb"
HPARAMS_124M_SHA256 = "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"
# n_embd, n_head, n_layer, and the numbers of variables and parameters that Hugging Face reports for gpt2, -medium, -large, -xl.
PUBLISHED = {
    "124M": (768, 12, 12, 148, 124_439_808),
    "355M": (1024, 16, 24, 292, 354_823_168),
    "774M": (1280, 20, 36, 436, 774_030_080),
    "1558M": (1600, 25, 48, 580, 1_557_611_200),
}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def openai_shapes(config):
    """The tensors of a GPT-2 as openai/gpt-2, src/model.py creates them."""
    n = config.n_embd
    block = {
        "ln_1/g": (n,),
        "ln_1/b": (n,),
        "attn/c_attn/w": (1, n, 3 * n),
        "attn/c_attn/b": (3 * n,),
    }
    block |= {"attn/c_proj/w": (1, n, n), "attn/c_proj/b": (n,), "ln_2/g": (n,), "ln_2/b": (n,)}
    block |= {
        "mlp/c_fc/w": (1, n, 4 * n),
        "mlp/c_fc/b": (4 * n,),
        "mlp/c_proj/w": (1, 4 * n, n),
        "mlp/c_proj/b": (n,),
    }
    outer = {"wte": (config.n_vocab, n), "wpe": (config.n_ctx, n), "ln_f/g": (n,), "ln_f/b": (n,)}
    layers = {
        f"h{layer}/{name}": shape
        for layer in range(config.n_layer)
        for name, shape in block.items()
    }
    return {f"model/{name}": shape for name, shape in (outer | layers).items()}


def openai_tensors(twin):
    """The parameters of transformers as OpenAI kept them: its Conv1D holds [in, out] too, without the leading 1."""
    tensors = {}
    for name, parameter in twin.named_parameters():
        *path, kind = re.sub(
            r"^transformer\.(h\.(?=\d))?", lambda start: "h" if start[1] else "", name
        ).split(".")
        is_matrix = kind == "weight" and path[-1].startswith("c_")
        if path[-1] not in ("wte", "wpe"):
            path.append("b" if kind == "bias" else "w" if is_matrix else "g")
        array = parameter.detach().numpy()
        tensors["/".join(("model", *path))] = array[None] if is_matrix else array
    return tensors


GPT2 = namedtuple("GPT2", "config tensors token_ids logits model")


@pytest.fixture(scope="module")
def gpt2(random_model, gpt2_twin):
    """A function that draws a GPT-2 of transformers: its tensors in OpenAI's layout, and its logits over a full context."""
    made = {}

    def make(n_layer=12, seed=0):
        if (n_layer, seed) not in made:
            config = replace(CONFIG, n_layer=n_layer)
            model = random_model(config, seed)
            twin = gpt2_twin(model)
            token_ids = torch.randperm(
                config.n_vocab, generator=torch.Generator().manual_seed(seed)
            )[: config.n_ctx]
            with torch.inference_mode():
                logits = twin(token_ids[None]).logits[0].numpy()
            made[n_layer, seed] = GPT2(config, openai_tensors(twin), token_ids, logits, model)
        return made[n_layer, seed]

    return make


SERVER = """
import contextlib, io, json, sys, traceback
from golf_nb_utils.gpt2 import tensorflow_io
for line in sys.stdin:
    sys.stdin, said, status, error = io.StringIO(line), io.StringIO(), 0, ""
    try:
        with contextlib.redirect_stdout(said):
            status = tensorflow_io.main()
    except Exception:
        status, error = 1, traceback.format_exc()
    print(json.dumps([status, said.getvalue(), error]), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def one_process():
    """All of this module's questions go to one process, where `run` would start TensorFlow, three seconds, for each of them."""
    servers = []

    def ask(args, input, env, **_):
        assert args == [sys.executable, "-m", "golf_nb_utils.gpt2.tensorflow_io"]
        if not servers:
            pipe = subprocess.PIPE
            servers.append(
                subprocess.Popen(
                    [sys.executable, "-c", SERVER], env=env, stdin=pipe, stdout=pipe, text=True
                )
            )
        servers[0].stdin.write(f"{input}\n")
        servers[0].stdin.flush()
        status, said, error = json.loads(servers[0].stdout.readline())
        return SimpleNamespace(returncode=status, stdout=said, stderr=error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow_io, "subprocess", SimpleNamespace(run=ask))
        yield
    for server in servers:
        server.communicate()


@pytest.fixture
def no_process(monkeypatch):
    """A function that makes every start of TensorFlow from now on a failure."""
    return lambda: monkeypatch.setattr(
        tensorflow_io, "run", lambda task, **_: pytest.fail(f"TensorFlow was started to {task}")
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, gpt2):
    """A function that returns the folder of a checkpoint that TensorFlow wrote. Not to be changed: see `copied`."""
    folders = {}

    def make(n_layer=12, seed=0):
        if (n_layer, seed) not in folders:
            folder = folders[n_layer, seed] = tmp_path_factory.mktemp("checkpoint")
            checkpoints.write_tf_checkpoint(
                folder, gpt2(n_layer, seed).tensors, gpt2(n_layer, seed).config
            )
        return folders[n_layer, seed]

    return make


@pytest.fixture(scope="module")
def converted(tmp_path_factory, checkpoint):
    """The folder of a checkpoint that has been converted. Not to be changed: see `cached`."""
    folder = shutil.copytree(checkpoint(), tmp_path_factory.mktemp("converted") / "copy")
    checkpoints.convert_checkpoint(folder)
    return folder


@pytest.fixture
def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint(), tmp_path / "copy")


@pytest.fixture
def cached(converted, tmp_path):
    return shutil.copytree(converted, tmp_path / "cached")


def names(folder):
    return {path.name for path in folder.iterdir()}


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


# The name table.


@pytest.mark.parametrize("size", PUBLISHED)
def test_every_published_size_has_openais_tensors_and_transformers_parameters_each_exactly_once(
    size, empty_twin
):
    config = GPT_CONFIGS[size]
    n_embd, n_head, n_layer, n_variables, n_parameters = PUBLISHED[size]
    assert config == GPTConfig(
        n_vocab=50257, n_ctx=1024, n_embd=n_embd, n_head=n_head, n_layer=n_layer
    )
    table = checkpoints.conversion_table(config)
    theirs = openai_shapes(config)
    assert len(table) == n_variables
    assert table.keys() == theirs.keys()
    convert.check_table(theirs, table)
    targets = {
        target: tuple(shape[:0:-1] if is_matrix else shape)
        for target, shape, is_matrix in table.values()
    }
    assert len(targets) == n_variables
    with torch.device("meta"):
        ours = {
            name: tuple(parameter.shape)
            for name, parameter in GPTModel(config).state_dict().items()
        }
        twin = {
            name.removeprefix("transformer."): tuple(parameter.shape)
            for name, parameter in empty_twin(config).named_parameters()
        }
    assert (
        targets
        == ours
        == {name: shape[::-1] if ".c_" in name else shape for name, shape in twin.items()}
    )
    assert sum(map(np.prod, targets.values())) == config.n_parameters == n_parameters


SIDE = st.integers(1, 5)


@given(
    n_vocab=SIDE,
    n_ctx=SIDE,
    n_head=st.integers(1, 3),
    size=st.integers(1, 3),
    n_layer=st.sampled_from([1, 2, 11]),
)
@settings(max_examples=25)
def test_a_state_dict_survives_the_way_to_tensorflow_and_back(
    n_vocab, n_ctx, n_head, size, n_layer
):
    config = GPTConfig(
        n_vocab=n_vocab, n_ctx=n_ctx, n_embd=n_head * size, n_head=n_head, n_layer=n_layer
    )
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in GPTModel(config).state_dict().items()}
    # No number occurs twice, so nothing can be exchanged unnoticed.
    numbers = iter(
        torch.arange(config.n_parameters, dtype=torch.float32).split(
            [shape.numel() for shape in shapes.values()]
        )
    )
    state = {name: next(numbers).view(shape) for name, shape in shapes.items()}
    tensors = checkpoints.state_dict_to_tf(state, config)
    assert {name: array.shape for name, array in tensors.items()} == openai_shapes(config)
    back = back_to_torch(tensors, config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


# The conversion, proved by logits.


def back_to_torch(tensors, config):
    """What a conversion makes of the tensors, without TensorFlow and files."""
    table = checkpoints.conversion_table(config)
    convert.check_table({name: list(array.shape) for name, array in tensors.items()}, table)
    arrays = convert.converted(tensors.__getitem__, table)
    return {
        target: torch.from_numpy(array)
        for (target, _, _), array in zip(table.values(), arrays, strict=True)
    }


def logits_of(model, token_ids):
    with torch.inference_mode():
        return model(token_ids[None])[0].numpy()


@pytest.mark.parametrize("n_layer", [12, 13])
def test_a_converted_checkpoint_has_the_logits_of_transformers_over_a_full_context(
    gpt2, checkpoint, tmp_path, n_layer
):
    config, tensors, token_ids, expected, _ = gpt2(n_layer)
    assert {name: array.shape for name, array in tensors.items()} == openai_shapes(config)
    model = checkpoints.load_base_model(shutil.copytree(checkpoint(n_layer), tmp_path / "copy"))
    assert model.config == config
    np.testing.assert_allclose(logits_of(model, token_ids), expected, rtol=0, atol=1e-4)
    assert not model.training
    assert all(
        p.requires_grad and p.is_leaf and p.dtype == torch.float32 and p.device.type == "cpu"
        for p in model.parameters()
    )


def test_the_logits_that_numpy_takes_from_the_checkpoint_are_those_of_transformers(
    gpt2, checkpoint
):
    _, _, token_ids, expected, _ = gpt2()
    found = checkpoints.checkpoint_logits(checkpoint(), token_ids.tolist())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert names(checkpoint()) == {"checkpoint", "hparams.json", INDEX, DATA, "model.ckpt.meta"}


def swap_axes(tensors, ending):
    return {
        name: array.transpose(0, 2, 1) if name.endswith(ending) else array
        for name, array in tensors.items()
    }


def no_transpose(tensors, model, monkeypatch):
    return swap_axes(tensors, "attn/c_proj/w")


def reordered(*order):
    def reorder_query_key_value(tensors, model, monkeypatch):
        def reorder(array):
            parts = np.split(array, 3, axis=-1)
            return np.concatenate([parts[index] for index in order], axis=-1)

        return {
            name: reorder(array) if "c_attn" in name else array for name, array in tensors.items()
        }

    return reorder_query_key_value


def layers_in_the_order_of_text(tensors, model, monkeypatch):
    right = checkpoints.name_table
    of_text = sorted(range(model.config.n_layer), key=str)

    def wrong(n_layer):
        return {
            name: (
                re.sub(r"^h\.(\d+)", lambda found: f"h.{of_text.index(int(found[1]))}", target),
                is_matrix,
            )
            for name, (target, is_matrix) in right(n_layer).items()
        }

    monkeypatch.setattr(checkpoints, "name_table", wrong)
    return tensors


def exchanged(one, other):
    def exchange(tensors, model, monkeypatch):
        def source(name):
            return name.replace(one, other) if one in name else name.replace(other, one)

        return {name: tensors[source(name)] for name in tensors}

    return exchange


def exact_gelu(tensors, model, monkeypatch):
    exact = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x, approximate: exact(x))
    return tensors


def another_epsilon(tensors, model, monkeypatch):
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return tensors


def a_head_of_its_own(tensors, model, monkeypatch):
    weight = torch.randn(model.wte.weight.shape, generator=torch.Generator().manual_seed(99)) * 0.2
    monkeypatch.setattr(model, "head", lambda hidden: hidden @ weight.T)
    return tensors


MISTAKES = {
    "attn/c_proj without its transpose": no_transpose,
    "key, query, value": reordered(1, 0, 2),
    "query, value, key": reordered(0, 2, 1),
    "value, query, key": reordered(2, 0, 1),
    "layers in the order of text": layers_in_the_order_of_text,
    "ln_1 for ln_2": exchanged("ln_1/", "ln_2/"),
    "attn/c_proj/b for mlp/c_proj/b": exchanged("attn/c_proj/b", "mlp/c_proj/b"),
    "scale for shift": exchanged("ln_f/g", "ln_f/b"),
    "gelu by erf": exact_gelu,
    "epsilon 1e-6": another_epsilon,
    "a head of its own": a_head_of_its_own,
}


@pytest.mark.parametrize("n_layer", [12, 13])
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_the_comparison_of_logits_fails_for_every_planted_mistake(
    gpt2, monkeypatch, n_layer, mistake
):
    config, tensors, token_ids, expected, _ = gpt2(n_layer)
    model = GPTModel(config)
    if mistake:
        tensors = MISTAKES[mistake](tensors, model, monkeypatch)
    model.load_state_dict(back_to_torch(tensors, config))
    difference = np.abs(logits_of(model, token_ids) - expected).max()
    assert difference > 1e-4 if mistake else difference < 1e-5


@pytest.mark.parametrize("matrix", ["attn/c_attn/w", "mlp/c_fc/w", "mlp/c_proj/w"])
def test_a_matrix_that_is_not_square_cannot_miss_its_transpose(gpt2, matrix):
    config, tensors, *_ = gpt2()
    with pytest.raises(
        CheckpointError,
        match=rf"model/h11/{matrix} has shape \[1, \d+, \d+\], expected \[1, \d+, \d+\]",
    ):
        back_to_torch(swap_axes(tensors, matrix), config)


def test_one_error_names_every_missing_unexpected_and_misshapen_tensor(gpt2):
    config, tensors, *_ = gpt2()
    broken = dict(tensors)
    del broken["model/h10/mlp/c_fc/b"], broken["model/ln_f/g"]
    broken["model/h12/ln_1/g"] = np.zeros(32, np.float32)
    broken["global_step"] = np.zeros((), np.float32)
    broken["model/wte"] = np.zeros((997, 31), np.float32)
    with pytest.raises(CheckpointError) as caught:
        back_to_torch(broken, config)
    for problem in (
        "missing model/h10/mlp/c_fc/b",
        "missing model/ln_f/g",
        "unexpected model/h12/ln_1/g",
        "unexpected global_step",
        "model/wte has shape [997, 31], expected [997, 32]",
    ):
        assert problem in str(caught.value)


# The converted file.


def test_the_converted_file_is_one_that_the_safetensors_library_reads(gpt2, converted):
    expected = dict(gpt2().model.named_parameters())
    with safe_open(converted / CONVERTED, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "index_sha256": sha256(converted / INDEX)}
        assert set(file.keys()) == set(expected)
        assert all(
            torch.equal(file.get_tensor(name), parameter) for name, parameter in expected.items()
        )


def test_the_sidecar_says_what_was_made_from_what(converted, checkpoint):
    sidecar = json.loads((converted / SIDECAR).read_text())
    tensors = {name: tuple(shape) for name, shape in sidecar.pop("tensors").items()}
    assert tensors == openai_shapes(CONFIG)
    assert sidecar == {
        "sha256": sha256(converted / CONVERTED),
        "index_sha256": sha256(converted / INDEX),
        "config": asdict(CONFIG),
    }
    assert names(converted) == names(checkpoint()) | {CONVERTED, SIDECAR}


def test_two_conversions_make_the_same_bytes_and_only_the_first_takes_time(
    copied, converted, no_process
):
    first = checkpoints.convert_checkpoint(copied)
    assert (copied / CONVERTED).read_bytes() == (converted / CONVERTED).read_bytes()
    assert (copied / SIDECAR).read_bytes() == (converted / SIDECAR).read_bytes()
    assert first.pop("seconds") > 0
    no_process()
    assert (
        checkpoints.convert_checkpoint(copied)
        == first
        == json.loads((copied / SIDECAR).read_text())
    )


@pytest.mark.parametrize(
    "gone", [(), (INDEX, DATA), (INDEX,), (DATA,), ("checkpoint", "model.ckpt.meta", INDEX, DATA)]
)
def test_a_converted_checkpoint_is_loaded_without_tensorflow_and_its_files(
    gpt2, cached, no_process, gone
):
    for name in gone:
        (cached / name).unlink()
    no_process()
    state = checkpoints.load_base_model(cached).state_dict()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in gpt2().model.state_dict().items()
    )


def test_another_checkpoint_in_the_folder_is_converted_anew(gpt2, cached, checkpoint):
    for name in (INDEX, DATA):
        shutil.copyfile(checkpoint(seed=1) / name, cached / name)
    state = checkpoints.load_base_model(cached).state_dict()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in gpt2(seed=1).model.state_dict().items()
    )
    assert json.loads((cached / SIDECAR).read_text())["index_sha256"] == sha256(
        checkpoint(seed=1) / INDEX
    )


@pytest.mark.parametrize("left", [None, "", "<html>", '{"sha256": "', "{}", "[]"])
def test_without_a_sidecar_that_can_be_read_as_a_kill_leaves_it_the_file_is_converted_anew(
    cached, converted, left
):
    flip(cached / CONVERTED, -1)
    (cached / SIDECAR).unlink()
    if left is not None:
        (cached / SIDECAR).write_text(left)
    assert "seconds" in checkpoints.convert_checkpoint(cached)
    assert (cached / CONVERTED).read_bytes() == (converted / CONVERTED).read_bytes()
    assert (cached / SIDECAR).read_bytes() == (converted / SIDECAR).read_bytes()


@pytest.mark.parametrize("gone", [(), (INDEX, DATA)])
def test_a_changed_converted_file_is_refused_with_both_hashes(cached, gone):
    for name in gone:
        (cached / name).unlink()
    was = sha256(cached / CONVERTED)
    flip(cached / CONVERTED, -1)
    with pytest.raises(
        ArtifactMismatchError, match="delete both and run notebook 02 again"
    ) as caught:
        checkpoints.load_base_model(cached)
    assert was[:12] in str(caught.value)
    assert sha256(cached / CONVERTED)[:12] in str(caught.value)


def test_a_converted_file_that_nothing_vouches_for_is_refused(cached):
    for name in (INDEX, DATA, SIDECAR):
        (cached / name).unlink()
    with pytest.raises(MissingArtifactError, match=INDEX):
        checkpoints.load_base_model(cached)


def test_too_little_disk_is_told_before_tensorflow_is_started(copied, monkeypatch, no_process):
    needed = (copied / DATA).stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    before = names(copied)
    no_process()
    with pytest.raises(
        OSError, match=rf"converted copy of .* needs .* MB in {copied}, .* MB are free"
    ) as caught:
        checkpoints.load_base_model(copied)
    assert not isinstance(caught.value, FileNotFoundError)
    assert names(copied) == before


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_before_tensorflow_is_started(copied, no_process):
    no_process()
    copied.chmod(0o555)
    try:
        with pytest.raises(OSError, match=re.escape(str(copied))):
            checkpoints.load_base_model(copied)
    finally:
        copied.chmod(0o755)


@pytest.mark.parametrize(
    "name", ["golf [work]", "[!a]", "a*", "?", "{a,b}", "back\\slash", "a:b", "gs:", "Ü 100%d", "~", "-x"]
)  # fmt: skip
def test_a_folder_of_any_name_is_written_converted_and_read(gpt2, tmp_path, name):
    found, folder = gpt2(1), tmp_path / name
    folder.mkdir()
    (folder / f"{INDEX}.tempstate1234").write_text("what a killed TensorFlow left")
    checkpoints.write_tf_checkpoint(folder, found.tensors, found.config)
    assert names(folder) == {"checkpoint", "hparams.json", INDEX, DATA, "model.ckpt.meta"}
    model = checkpoints.load_base_model(folder)
    with torch.inference_mode():
        logits = model(found.token_ids[None])[0].numpy()
    np.testing.assert_allclose(logits, found.logits, atol=1e-4)
    ids = found.token_ids.tolist()
    np.testing.assert_allclose(checkpoints.checkpoint_logits(folder, ids), found.logits, atol=1e-4)


# Damage.


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_a_file_that_is_not_there_is_not_called_damaged(copied, tmp_path, name):
    (copied / name).unlink()
    table = checkpoints.conversion_table(checkpoints.read_hparams(copied))
    with pytest.raises(
        CheckpointError, match=f"^{re.escape(name)} cannot be read: No such"
    ) as caught:
        tensorflow_io.run("convert", folder=copied, out=tmp_path / "out", table=table, metadata={})
    assert caught.value.damaged == ""


def test_a_disk_that_fills_up_in_the_conversion_is_one_sentence_that_names_the_file(
    copied, monkeypatch
):
    run, before = tensorflow_io.run, names(copied)
    monkeypatch.setattr(
        tensorflow_io, "run", lambda task, **given: run(task, **given | {"out": "/dev/full"})
    )
    with pytest.raises(NoRoomError, match=rf"no room for {copied / CONVERTED} \(.*\); make room"):
        checkpoints.convert_checkpoint(copied)
    assert names(copied) == before


def test_a_disk_that_fills_up_under_tensorflow_is_one_sentence_that_names_the_file(
    gpt2, tmp_path, monkeypatch
):
    def run(task, **given):
        raise RuntimeError(
            "TensorFlow's process ...:\nResourceExhaustedError: ...; No space left on device"
        )

    monkeypatch.setattr(tensorflow_io, "run", run)
    with pytest.raises(NoRoomError, match=rf"no room for {tmp_path / DATA} \(.*\); make room"):
        checkpoints.write_tf_checkpoint(tmp_path, gpt2(1).tensors, gpt2(1).config)


def assert_refused_and_moved_aside(folder, name, match):
    """A conversion refuses the file, keeps it under its other name, leaves nothing else, and the next one misses it."""
    before, content = names(folder), (folder / name).read_bytes()
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoints.convert_checkpoint(folder)
    assert caught.value.damaged == name
    assert (folder / f"{name}.damaged").read_bytes() == content
    assert names(folder) == before - {name} | {f"{name}.damaged"}
    with pytest.raises(
        MissingArtifactError, match=f"{re.escape(name)} does not exist: run notebook 02"
    ):
        checkpoints.load_base_model(folder)


@pytest.mark.parametrize(
    "tensor", ["model/wte", "model/h10/attn/c_attn/w", "model/h2/mlp/c_proj/b", "model/ln_f/g"]
)
def test_a_flipped_bit_of_a_tensor_is_noticed_and_named(gpt2, copied, tensor):
    bytes_of_tensor = gpt2().tensors[tensor].tobytes()
    content = (copied / DATA).read_bytes()
    assert content.count(bytes_of_tensor) == 1
    flip(copied / DATA, content.index(bytes_of_tensor) + len(bytes_of_tensor) // 2)
    assert_refused_and_moved_aside(
        copied,
        DATA,
        rf"{re.escape(DATA)} is damaged in {tensor}, .*{re.escape(DATA)}\.damaged.*notebook 02",
    )


@pytest.mark.parametrize("name", [INDEX, DATA])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_file_cut_short_is_noticed(copied, name, share):
    os.truncate(copied / name, int(share * (copied / name).stat().st_size))
    assert_refused_and_moved_aside(copied, name, f"{re.escape(name)} is damaged.*TensorFlow")


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_an_error_page_is_not_a_checkpoint(copied, name):
    (copied / name).write_bytes(b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>")
    assert_refused_and_moved_aside(copied, name, f"{re.escape(name)} is damaged.*TensorFlow")


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9, 0.9999])
def test_a_flipped_bit_of_the_index_is_noticed(copied, place):
    flip(copied / INDEX, int(place * (copied / INDEX).stat().st_size))
    assert_refused_and_moved_aside(copied, INDEX, f"{re.escape(INDEX)} is damaged.*TensorFlow")


@given(
    name=st.sampled_from([INDEX, DATA]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_anywhere_comes_through_to_the_weights(
    gpt2, checkpoint, copied, name, place, bit
):
    for file in (INDEX, DATA):
        shutil.copyfile(checkpoint() / file, copied / file)
        for left in (f"{file}.damaged", CONVERTED, SIDECAR):
            (copied / left).unlink(missing_ok=True)
    flip(copied / name, int(place * (copied / name).stat().st_size), bit)
    blamed = None
    try:
        checkpoints.convert_checkpoint(copied)
    except CheckpointError as error:
        blamed = error.damaged
    if blamed is None:
        # Fifty bytes of an index are padding, or lead to a block without entries: nobody reads them.
        assert name == INDEX
        with safe_open(copied / CONVERTED, framework="pt") as file:
            assert all(
                torch.equal(file.get_tensor(target), parameter)
                for target, parameter in gpt2().model.named_parameters()
            )
    else:
        assert blamed == name


@pytest.mark.parametrize("name", ["checkpoint", "model.ckpt.meta"])
def test_files_that_hold_no_weights_need_not_be_there(gpt2, copied, name):
    (copied / name).unlink()
    state = checkpoints.load_base_model(copied).state_dict()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in gpt2().model.state_dict().items()
    )


@pytest.mark.parametrize("name", [INDEX, DATA, "hparams.json"])
def test_a_missing_file_names_the_notebook_that_makes_it(copied, no_process, name):
    (copied / name).unlink()
    no_process()
    with pytest.raises(MissingArtifactError, match=re.escape(name) + ".*notebook 02"):
        checkpoints.load_base_model(copied)


def test_numpys_logits_refuse_a_damaged_tensor_too(copied):
    flip(copied / DATA, 0)
    with pytest.raises(CheckpointError, match=f"{re.escape(DATA)} is damaged in model/"):
        checkpoints.checkpoint_logits(copied, [0, 1])


@pytest.mark.parametrize(
    "content",
    [
        "<html>log in</html>",
        "",
        "[1, 2]",
        "null",
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 12, "n_expert": 2}',
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4}',
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 5, "n_layer": 12}',
        '{"n_vocab": "67", "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 12}',
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 0}',
        "[" * 200_000,
    ],
)
def test_broken_hparams_are_refused_by_name(tmp_path, content):
    (tmp_path / "hparams.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"hparams\.json is not the hparams\.json of a GPT-2"):
        checkpoints.read_hparams(tmp_path)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"n_layer": 11}, "unexpected model/h11/attn/c_attn/b"),
        ({"n_layer": 13}, "missing model/h12/ln_1/g"),
        ({"n_ctx": 64}, r"model/wpe has shape \[48, 32\], expected \[64, 32\]"),
    ],
)
def test_hparams_of_another_size_are_refused_and_no_file_is_blamed(copied, changed, problem):
    (copied / "hparams.json").write_text(json.dumps(asdict(CONFIG) | changed))
    before = names(copied)
    with pytest.raises(CheckpointError, match=problem):
        checkpoints.load_base_model(copied)
    assert names(copied) == before


@pytest.mark.parametrize("gone", [(), (INDEX, DATA)])
@pytest.mark.parametrize(
    "changed", [{"n_ctx": 24}, {"n_ctx": 64}, {"n_head": 8}, {"n_layer": 10**9}, {"n_embd": 10**9}]
)
def test_hparams_that_are_not_those_of_the_conversion_are_refused(
    cached, no_process, changed, gone
):
    for name in gone:
        (cached / name).unlink()
    (cached / "hparams.json").write_text(json.dumps(asdict(CONFIG) | changed))
    no_process()
    (name,) = changed
    with pytest.raises(
        ArtifactMismatchError,
        match=rf"hparams\.json says .*'{name}': {changed[name]}\b.* made with .*'{name}': "
        rf"{asdict(CONFIG)[name]}\b",
    ):
        checkpoints.load_base_model(cached)


@pytest.mark.parametrize("n_tokens", [CONFIG.n_vocab - 1, CONFIG.n_vocab + 1])
def test_a_checkpoint_with_more_or_fewer_rows_than_tokens_is_refused(
    copied, texts, no_process, n_tokens
):
    learn_bpe(texts, n_tokens, copied)
    no_process()
    with pytest.raises(
        CheckpointError,
        match=rf"hparams\.json has 997 tokens \(n_vocab\), the tokenizer has {n_tokens:,};",
    ):
        checkpoints.convert_checkpoint(copied)


@pytest.mark.parametrize("named", ["model-1000", "/content/checkpoint/run1/model-1000"])
def test_a_checkpoint_as_gpt_2_simple_leaves_it_replaces_what_was_imported_before(
    gpt2, checkpoint, cached, texts, tmp_path, named
):
    given = tmp_path / "checkpoint" / "run1"
    shutil.copytree(checkpoint(seed=1), given)
    learn_bpe(texts, CONFIG.n_vocab, given)
    for path in list(given.glob("model.ckpt.*")):
        path.rename(given / path.name.replace("model.ckpt", "model-1000"))
    (given / "checkpoint").write_text(
        f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "model-500"\n'
    )
    for name in (INDEX, DATA):
        (cached / name).unlink()
    results = download.take_checkpoint(given, cached)
    assert {INDEX, DATA} < set(results)
    assert {result["source"] for result in results.values()} == {str(given)}
    state = checkpoints.load_base_model(cached).state_dict()
    assert all(
        torch.equal(state[name], tensor) for name, tensor in gpt2(seed=1).model.state_dict().items()
    )


def test_a_checkpoint_of_another_model_is_refused_by_its_tensors(tmp_path):
    bert = {
        "bert/embeddings/word_embeddings": np.ones((30, 4), np.float32),
        "bert/pooler/dense/bias": np.ones(4, np.float32),
    }
    checkpoints.write_tf_checkpoint(tmp_path, bert, replace(CONFIG, n_layer=1))
    before = names(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fit its hparams\.json") as caught:
        checkpoints.load_base_model(tmp_path)
    for problem in (
        "missing model/wte",
        "missing model/h0/attn/c_attn/w",
        *(f"unexpected {name}" for name in bert),
    ):
        assert problem in str(caught.value)
    assert names(tmp_path) == before


def test_a_path_with_blanks_and_letters_that_are_not_ascii_is_written_and_read(
    gpt2, tmp_path, monkeypatch
):
    config, tensors, token_ids, expected, _ = gpt2(1)
    monkeypatch.chdir(tmp_path)
    folder = Path("mein Modell für Golf 重心") / "mit 'Zeichen' & 100%"
    checkpoints.write_tf_checkpoint(folder, tensors, config)
    model = checkpoints.load_base_model(folder)
    np.testing.assert_allclose(logits_of(model, token_ids), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        checkpoints.checkpoint_logits(folder, token_ids.tolist()), expected, rtol=0, atol=1e-4
    )
    assert names(folder) == {
        "checkpoint",
        "hparams.json",
        INDEX,
        DATA,
        "model.ckpt.meta",
        CONVERTED,
        SIDECAR,
    }


# What is written, and the embedded tiny.


def test_what_is_written_has_the_bytes_of_openais_own_files(tmp_path):
    checkpoints.write_tf_checkpoint(
        tmp_path / "new", {"model/ln_f/g": np.ones(3, np.float32)}, GPT_CONFIGS["124M"]
    )
    assert (tmp_path / "new" / "checkpoint").stat().st_size == 77
    assert sha256(tmp_path / "new" / "checkpoint") == CHECKPOINT_SHA256
    assert sha256(tmp_path / "new" / "hparams.json") == HPARAMS_124M_SHA256
    assert names(tmp_path / "new") == {"checkpoint", "hparams.json", INDEX, DATA, "model.ckpt.meta"}


# What notebooks 02 to 04 run for `tiny`; each call in a process of its own, as users have it.
MAKE_TINY = """
import sys
from pathlib import Path
from golf_nb_utils.gpt2 import checkpoints
folder, texts = sys.argv[1], [path.read_text(encoding="utf-8") for path in sorted(Path(sys.argv[2]).rglob("*.md"))]
for call, arguments in (
    (checkpoints.make_tiny_checkpoint, (folder, texts, 123)),
    (checkpoints.convert_checkpoint, (folder,)),
    (checkpoints.checkpoint_logits, (folder, [0, 1])),
    (checkpoints.load_base_model, (folder,)),
):
    call(*arguments)
    print(call.__name__, any(name.split(".")[0] == "tensorflow" for name in sys.modules))
"""


@pytest.fixture(scope="module")
def texts():
    return [path.read_text(encoding="utf-8") for path in sorted(knowledge_folder().rglob("*.md"))]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, texts):
    """Two folders of `tiny` from the same seed, the second made and converted by another process, and what that said."""
    here, there = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("tiny")
    checkpoints.make_tiny_checkpoint(here, texts, 123)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | {
        "PYTHONHASHSEED": "7"
    }
    command = [sys.executable, "-c", MAKE_TINY, there.name, str(knowledge_folder())]
    return (
        here,
        there,
        subprocess.run(
            command, cwd=there.parent, env=quiet, capture_output=True, text=True, timeout=300
        ),
    )


def test_tiny_has_the_seven_files_of_openai(tiny):
    here, _, _ = tiny
    assert names(here) == {
        "checkpoint",
        "encoder.json",
        "hparams.json",
        DATA,
        INDEX,
        "model.ckpt.meta",
        "vocab.bpe",
    }
    assert sha256(here / "checkpoint") == CHECKPOINT_SHA256
    assert json.loads((here / "hparams.json").read_text()) == {
        "n_vocab": 2048,
        "n_ctx": 1024,
        "n_embd": 256,
        "n_head": 4,
        "n_layer": 2,
    }
    tokenizer = load_tokenizer(here)
    assert tokenizer.n_vocab == 2048
    assert tokenizer.eot_token == 2047


def test_the_same_seed_makes_and_converts_the_same_tiny_in_another_process(tiny, tmp_path):
    here, there, _ = tiny
    copy = shutil.copytree(here, tmp_path / "copy")
    checkpoints.convert_checkpoint(copy)
    for name in (
        DATA,
        INDEX,
        "encoder.json",
        "vocab.bpe",
        "hparams.json",
        "checkpoint",
        CONVERTED,
        SIDECAR,
    ):
        assert (copy / name).read_bytes() == (there / name).read_bytes(), name


def test_tensorflow_stays_silent_and_out_of_the_process_that_asks_for_it(tiny):
    _, _, process = tiny
    assert (process.returncode, process.stderr) == (0, "")
    said = dict(line.split() for line in process.stdout.splitlines())
    functions = (
        "make_tiny_checkpoint",
        "convert_checkpoint",
        "checkpoint_logits",
        "load_base_model",
    )
    assert said == dict.fromkeys(functions, "False")


def test_another_seed_draws_other_weights_of_the_same_vocabulary(tiny, texts, tmp_path):
    here, _, _ = tiny
    checkpoints.make_tiny_checkpoint(tmp_path, texts, 124)
    assert (tmp_path / DATA).read_bytes() != (here / DATA).read_bytes()
    assert (tmp_path / "vocab.bpe").read_bytes() == (here / "vocab.bpe").read_bytes()


# Fine-tuned models.


@pytest.fixture
def saved(tmp_path, random_model):
    """(model, the path of its .pth, the folder of its tokenizer)."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("encoder.json", "vocab.bpe"):
        (folder / name).write_text(f"the {name} that this model was trained with")
    model = random_model(CONFIG)
    path = checkpoints.save_model(
        tmp_path / "models" / "golf.pth", model, folder, model_size="tiny", seed=3
    )
    return model, path, folder


def edit_sidecar(path, **changes):
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))


def test_a_saved_model_is_a_plain_fp32_state_dict(saved, random_model, tmp_path):
    model, path, folder = saved
    state = torch.load(path, weights_only=True)
    assert state.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(state[name], parameter) for name, parameter in model.named_parameters())
    half = checkpoints.save_model(tmp_path / "half.pth", random_model(CONFIG).half(), folder)
    assert {tensor.dtype for tensor in torch.load(half, weights_only=True).values()} == {
        torch.float32
    }


def test_a_saved_model_comes_back_with_its_facts(saved):
    model, path, folder = saved
    loaded, sidecar = checkpoints.load_model(path, folder)
    assert all(
        torch.equal(loaded.state_dict()[name], tensor)
        for name, tensor in model.state_dict().items()
    )
    assert not loaded.training
    assert (sidecar["model_size"], sidecar["seed"]) == ("tiny", 3)
    assert sidecar["config"] == {
        "n_vocab": 997,
        "n_ctx": 48,
        "n_embd": 32,
        "n_head": 4,
        "n_layer": 12,
    }
    assert sidecar["weights_sha256"] == sha256(path)


def test_changed_weights_are_refused(saved):
    _, path, folder = saved
    flip(path, path.stat().st_size // 2)
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth .* weights_sha256"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_another_tokenizer_is_refused(saved, name):
    _, path, folder = saved
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ArtifactMismatchError, match="tokenizer_sha256"):
        checkpoints.load_model(path, folder)


def test_another_prompt_is_refused(saved, monkeypatch):
    _, path, folder = saved
    monkeypatch.setattr(prompt, "PROMPT", prompt.PROMPT.replace("### Response:", "### Answer:"))
    with pytest.raises(ArtifactMismatchError, match="template_sha256"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("name", ["weights_sha256", "template_sha256", "tokenizer_sha256"])
def test_a_sidecar_that_says_otherwise_is_refused(saved, name):
    _, path, folder = saved
    edit_sidecar(path, **{name: "0" * 64})
    with pytest.raises(
        ArtifactMismatchError, match=rf"{name} .* golf\.json says 0{{12}}.*notebook 03"
    ):
        checkpoints.load_model(path, folder)


def test_another_base_than_the_model_was_tuned_from_is_refused(saved, random_model):
    base, other = random_model(CONFIG, seed=5), random_model(CONFIG, seed=6)
    sidecar = {"base_sha256": checkpoints.weights_hash(base)}
    checkpoints.require_same_base(random_model(CONFIG, seed=5), sidecar)
    found, expected = checkpoints.weights_hash(other)[:12], sidecar["base_sha256"][:12]
    with pytest.raises(
        ArtifactMismatchError, match=rf"{found}\.\.\., its sidecar says {expected}.*notebook 03"
    ):
        checkpoints.require_same_base(other, sidecar)
    with pytest.raises(ArtifactMismatchError, match="its sidecar says None"):
        checkpoints.require_same_base(base, {})


def test_a_file_that_holds_other_weights_than_were_saved_is_refused(saved, random_model):
    model, path, folder = saved
    checkpoints.require_same_weights(model, path, folder)
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth does not hold the weights"):
        checkpoints.require_same_weights(random_model(CONFIG, seed=9), path, folder)


@pytest.mark.parametrize("suffix", [".pth", ".json"])
def test_a_model_that_is_not_there_names_notebook_03(saved, suffix):
    _, path, folder = saved
    path.with_suffix(suffix).unlink()
    with pytest.raises(
        MissingArtifactError, match=rf"golf\{suffix} does not exist: run notebook 03"
    ):
        checkpoints.load_model(path, folder)


def test_a_damaged_sidecar_is_one_sentence_with_its_path(saved):
    _, path, folder = saved
    sidecar = path.with_suffix(".json")
    facts = {"data": {"a.json": {"sha256": "0"}}, "training": {"epochs": 1}, "metrics": {}}
    edit_sidecar(path, **facts)
    content = sidecar.read_bytes()
    (folder / "hparams.json").write_text(json.dumps(json.loads(content)["config"]))
    spoilt = [*damaged.texts(content), *(v.encode() for v in damaged.values(json.loads(content)))]
    for found in spoilt:
        sidecar.write_bytes(found)
        said = damaged.refusal(ArtifactMismatchError, checkpoints.load_model, path, folder)
        assert "\n" not in said
        if said:
            assert path.stem in said
            assert "run notebook 03 again" in said or "run it again" in said
        else:
            _, read = checkpoints.load_model(path, folder)
            assert GPTConfig(**read["config"]) == GPTConfig(**json.loads(content)["config"])
            assert all(isinstance(read[name], dict | None) for name in facts)


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 10**9},
        {"n_layer": 11},
        {"n_embd": 10**12 * 4},
        {"n_ctx": 96},
        {"n_vocab": 10**30},
    ],
)
def test_a_sidecar_with_another_shape_than_the_weights_is_refused(saved, change):
    _, path, folder = saved
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    edit_sidecar(path, config=config | change)
    with pytest.raises(ArtifactMismatchError, match=r"golf\.json says GPTConfig.*run notebook 03"):
        checkpoints.load_model(path, folder)


def test_a_sidecar_with_other_heads_than_the_base_is_refused(saved):
    """Which no shape shows."""
    _, path, folder = saved
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    (folder / "hparams.json").write_text(json.dumps(config))
    assert checkpoints.load_model(path, folder)[0].config.n_head == 4
    edit_sidecar(path, config=config | {"n_head": 8})
    with pytest.raises(ArtifactMismatchError, match=r"golf\.json says .*hparams\.json does not"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04"])
def test_a_pth_that_torch_did_not_write_is_refused_even_if_its_sidecar_vouches_for_it(
    saved, content
):
    _, path, folder = saved
    path.write_bytes(content)
    edit_sidecar(path, weights_sha256=sha256(path))
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth "):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("content", [[], 5, {"wte.weight": 3}, torch.ones(2)], ids=repr)
def test_a_pth_of_other_things_is_refused_even_if_its_sidecar_vouches_for_it(saved, content):
    _, path, folder = saved
    torch.save(content, path)
    edit_sidecar(path, weights_sha256=sha256(path))
    with pytest.raises(ArtifactMismatchError, match=r"not what golf\.pth holds"):
        checkpoints.load_model(path, folder)


class Code:
    """What pickle turns into a call: the file that it makes shows that somebody ran it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("variable", ["", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_code_in_a_pth_is_refused_and_not_run_even_if_its_sidecar_vouches_for_it(
    saved, tmp_path, monkeypatch, variable
):
    _, path, folder = saved
    if variable:
        monkeypatch.setenv(variable, "1")
    torch.save({"wte.weight": Code(tmp_path / "it ran")}, path)
    edit_sidecar(path, weights_sha256=sha256(path))
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth holds more than weights"):
        checkpoints.load_model(path, folder)
    assert not (tmp_path / "it ran").exists()
    torch.load(path, weights_only=False)["wte.weight"].close()
    assert (tmp_path / "it ran").exists(), "the file holds code that runs where it is not refused"
