"""Checkpoints through real TensorFlow, the mistakes that a conversion can make, the embedded tiny, and .pth with its sidecar."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golf_nb_utils import checkpoints, prompts
from golf_nb_utils.artifacts import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.checkpoints import CheckpointError
from golf_nb_utils.config import GPT_CONFIGS, GPTConfig
from golf_nb_utils.environment import knowledge_folder
from golf_nb_utils.model import GPTModel
from golf_nb_utils.tokenizer import load_tokenizer

# Twelve layers, so that h10 and h11 sort before h2.
CONFIG = GPTConfig(n_vocab=67, n_ctx=24, n_embd=16, n_head=4, n_layer=12)
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"
TOKEN_IDS = [3, 1, 4, 1, 5, 9, 2, 6, 66, 0, 53, 58]
# n_embd, n_head, n_layer and the parameter counts that Hugging Face reports for gpt2, -medium, -large and -xl.
PUBLISHED = {
    "124M": (768, 12, 12, 124_439_808),
    "355M": (1024, 16, 24, 354_823_168),
    "774M": (1280, 20, 36, 774_030_080),
    "1558M": (1600, 25, 48, 1_557_611_200),
}


def openai_shapes(config):
    """The tensors of a GPT-2 as openai/gpt-2, src/model.py creates them."""
    n = config.n_embd
    block = {"ln_1/g": (n,), "ln_1/b": (n,), "attn/c_attn/w": (1, n, 3 * n), "attn/c_attn/b": (3 * n,)}
    block |= {"attn/c_proj/w": (1, n, n), "attn/c_proj/b": (n,), "ln_2/g": (n,), "ln_2/b": (n,)}
    block |= {"mlp/c_fc/w": (1, n, 4 * n), "mlp/c_fc/b": (4 * n,), "mlp/c_proj/w": (1, 4 * n, n), "mlp/c_proj/b": (n,)}
    outer = {"wte": (config.n_vocab, n), "wpe": (config.n_ctx, n), "ln_f/g": (n,), "ln_f/b": (n,)}
    layers = {f"h{layer}/{name}": shape for layer in range(config.n_layer) for name, shape in block.items()}
    return {f"model/{name}": shape for name, shape in (outer | layers).items()}


@pytest.fixture(scope="session")
def tensors():
    # A spread of 0.5 reaches the part of GELU's curve where its tanh form and its exact form differ.
    draw = np.random.default_rng(5)
    return {name: draw.normal(0, 0.5, shape).astype(np.float32) for name, shape in openai_shapes(CONFIG).items()}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tensors):
    """The folder of a checkpoint that TensorFlow itself wrote. Not to be changed: see `copied`."""
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoints.write_tf_checkpoint(folder, tensors, CONFIG)
    return folder


@pytest.fixture
def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def logits_of(state):
    model = GPTModel(CONFIG)
    model.load_state_dict(state)
    with torch.inference_mode():
        return model(torch.tensor([TOKEN_IDS]))[0].numpy()


def test_a_checkpoint_read_back_holds_what_was_written(checkpoint, tensors):
    read = checkpoints.read_tf_checkpoint(checkpoint)
    assert read.keys() == tensors.keys()
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)
    assert checkpoints.read_hparams(checkpoint) == CONFIG
    state = checkpoints.state_dict_from_tf(read, CONFIG)
    back = checkpoints.state_dict_to_tf(state, CONFIG)
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)


def test_the_converted_model_has_the_logits_of_transformers(checkpoint, tensors, empty_twin):
    twin = empty_twin(CONFIG)
    theirs = {}
    for name, array in tensors.items():
        name = re.sub(r"^h(\d+)\.", r"h.\1.", name.removeprefix("model/").replace("/", "."))
        name = name if name.startswith("w") else re.sub(r"\.[gw]$", ".weight", re.sub(r"\.b$", ".bias", name))
        name = f"{name}.weight" if name in ("wte", "wpe") else name
        # transformers' Conv1D keeps the [in, out] of OpenAI: nothing is transposed.
        theirs[f"transformer.{name}"] = torch.from_numpy(array.reshape(array.shape[-2:]) if array.ndim == 3 else array)
    twin.load_state_dict(theirs | {"lm_head.weight": theirs["transformer.wte.weight"]})
    with torch.inference_mode():
        expected = twin(torch.tensor([TOKEN_IDS])).logits[0].numpy()
        ours = checkpoints.load_base_model(checkpoint)(torch.tensor([TOKEN_IDS]))[0].numpy()
    # Single precision leaves 1e-6 here; the exact GELU in place of its tanh form would make 5e-4.
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    np.testing.assert_allclose(checkpoints.numpy_logits(tensors, CONFIG, TOKEN_IDS), expected, atol=2e-5)


def forgotten_transpose(state):
    name = "h.7.attn.c_proj.weight"
    return state | {name: state[name].T.contiguous()}


def wrong_order_of_query_key_value(state):
    name = "h.0.attn.c_attn.weight"
    query, key, value = state[name].chunk(3)
    return state | {name: torch.cat([key, query, value])}


def order_of_layers_by_name(state):
    def source(name):
        return name.replace("h.2.", "h.10.", 1) if name.startswith("h.2.") else name.replace("h.10.", "h.2.", 1)

    return {name: state[source(name)] for name in state}


def exact_gelu(state):
    return state


@pytest.mark.parametrize("mistake", [forgotten_transpose, wrong_order_of_query_key_value, order_of_layers_by_name, exact_gelu])
def test_the_comparison_of_logits_catches_a_planted_mistake(tensors, monkeypatch, mistake):
    independent = checkpoints.numpy_logits(tensors, CONFIG, TOKEN_IDS)
    state = checkpoints.state_dict_from_tf(tensors, CONFIG)
    right = np.abs(logits_of(state) - independent).max()
    if mistake is exact_gelu:
        exact = torch.nn.functional.gelu
        monkeypatch.setattr(torch.nn.functional, "gelu", lambda x, approximate: exact(x))
    wrong = np.abs(logits_of(mistake(state)) - independent).max()
    assert right < 2e-5 < wrong


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_name_table_fits_every_published_size(size):
    config = GPT_CONFIGS[size]
    n_embd, n_head, n_layer, n_parameters = PUBLISHED[size]
    assert config == GPTConfig(n_vocab=50257, n_ctx=1024, n_embd=n_embd, n_head=n_head, n_layer=n_layer)
    with torch.device("meta"):
        state = {name: tuple(tensor.shape) for name, tensor in GPTModel(config).state_dict().items()}
    shapes = openai_shapes(config)
    table = checkpoints.name_table(config.n_layer)
    assert len(table) == len(shapes) == 4 + 12 * n_layer
    converted = {target: shapes[name][:0:-1] if is_matrix else shapes[name] for name, (target, is_matrix) in table.items()}
    assert converted == state
    assert sum(map(np.prod, state.values())) == config.n_parameters == n_parameters


def test_one_error_names_every_missing_unexpected_and_misshapen_tensor(tensors):
    broken = dict(tensors)
    del broken["model/h10/mlp/c_fc/b"], broken["model/ln_f/g"]
    broken["model/h12/ln_1/g"] = np.zeros(16, np.float32)
    broken["global_step"] = np.zeros((), np.float32)
    broken["model/wte"] = np.zeros((67, 15), np.float32)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.state_dict_from_tf(broken, CONFIG)
    for problem in (
        "missing model/h10/mlp/c_fc/b",
        "missing model/ln_f/g",
        "unexpected model/h12/ln_1/g",
        "unexpected global_step",
        "model/wte has shape (67, 15), wte.weight needs (67, 16)",
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_an_error_page_is_not_a_checkpoint(copied, name):
    (copied / name).write_bytes(b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>")
    with pytest.raises(CheckpointError, match="run notebook 02 again"):
        checkpoints.load_base_model(copied)


@given(name=st.sampled_from([INDEX, DATA]), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_anywhere_is_noticed(copied, name, place, bit):
    path = copied / name
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1 << bit
    path.write_bytes(bytes(damaged))
    try:
        with pytest.raises(CheckpointError, match="TensorFlow cannot read"):
            checkpoints.read_tf_checkpoint(copied)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", [INDEX, DATA])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_file_cut_short_is_noticed(copied, name, share):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="TensorFlow cannot read"):
        checkpoints.read_tf_checkpoint(copied)


@pytest.mark.parametrize("name", [INDEX, DATA, "hparams.json"])
def test_a_missing_file_names_the_notebook_that_makes_it(copied, name):
    (copied / name).unlink()
    with pytest.raises(MissingArtifactError, match=re.escape(name) + ".*notebook 02"):
        checkpoints.load_base_model(copied)


@pytest.mark.parametrize(
    "content",
    [
        "<html>log in</html>",
        "",
        "[1, 2]",
        "null",
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 12, "n_expert": 2}',
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 5, "n_layer": 12}',
        '{"n_vocab": "67", "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 12}',
        '{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 0}',
    ],
)
def test_broken_hparams_are_refused_by_name(copied, content):
    (copied / "hparams.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"hparams\.json is not the hparams\.json of a GPT-2"):
        checkpoints.read_hparams(copied)


def test_hparams_of_another_size_are_refused(copied):
    (copied / "hparams.json").write_text('{"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 11}')
    with pytest.raises(CheckpointError, match="unexpected model/h11/attn/c_attn/b"):
        checkpoints.load_base_model(copied)


# What notebook 02 runs for `tiny`; in its own process, to see what TensorFlow writes to the process's stderr.
MAKE_TINY = """
import sys
from pathlib import Path
from golf_nb_utils import checkpoints
print("imported before it is needed:", "tensorflow" in sys.modules)
checkpoints.make_tiny_checkpoint(sys.argv[1], [path.read_text() for path in sorted(Path(sys.argv[2]).rglob("*.md"))], int(sys.argv[3]))
checkpoints.load_base_model(sys.argv[1])
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Two folders of `tiny` from the same seed, the second made in another process, and what that process printed."""
    here, there = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("tiny")
    texts = [path.read_text(encoding="utf-8") for path in sorted(knowledge_folder().rglob("*.md"))]
    checkpoints.make_tiny_checkpoint(here, texts, 123)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", MAKE_TINY, str(there), str(knowledge_folder()), "123"]
    return here, there, subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=120)


def test_tiny_has_the_seven_files_of_openai(tiny):
    here, _, _ = tiny
    assert {path.name for path in here.iterdir()} == {
        "checkpoint", "encoder.json", "hparams.json", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta", "vocab.bpe",
    }  # fmt: skip
    content = (here / "checkpoint").read_bytes()
    assert len(content) == 77
    # The hash of OpenAI's own file.
    assert hashlib.sha256(content).hexdigest() == "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb"
    assert json.loads((here / "hparams.json").read_text()) == {"n_vocab": 2048, "n_ctx": 1024, "n_embd": 256, "n_head": 4, "n_layer": 2}
    tokenizer = load_tokenizer(here)
    assert tokenizer.n_vocab == 2048
    assert tokenizer.eot_token == 2047


def test_the_same_seed_makes_the_same_tiny_in_another_process(tiny):
    here, there, _ = tiny
    for name in (DATA, "encoder.json", "vocab.bpe", "hparams.json", "checkpoint"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def test_tensorflow_stays_silent_and_unimported_until_it_is_needed(tiny):
    _, _, process = tiny
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == "imported before it is needed: False\n"


def test_another_seed_draws_other_weights_of_the_same_vocabulary(tiny, tmp_path):
    here, _, _ = tiny
    texts = [path.read_text(encoding="utf-8") for path in sorted(knowledge_folder().rglob("*.md"))]
    checkpoints.make_tiny_checkpoint(tmp_path, texts, 124)
    assert (tmp_path / DATA).read_bytes() != (here / DATA).read_bytes()
    assert (tmp_path / "vocab.bpe").read_bytes() == (here / "vocab.bpe").read_bytes()


@pytest.fixture
def saved(tmp_path, random_model):
    """(model, the path of its .pth, the folder of its tokenizer)."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("encoder.json", "vocab.bpe"):
        (folder / name).write_text(f"the {name} that this model was trained with")
    model = random_model(CONFIG)
    path = checkpoints.save_model(tmp_path / "models" / "golf.pth", model, folder, model_size="tiny", seed=3)
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
    assert {tensor.dtype for tensor in torch.load(half, weights_only=True).values()} == {torch.float32}


def test_a_saved_model_comes_back_with_its_facts(saved):
    model, path, folder = saved
    loaded, sidecar = checkpoints.load_model(path, folder)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert not loaded.training
    assert (sidecar["model_size"], sidecar["seed"]) == ("tiny", 3)
    assert sidecar["config"] == {"n_vocab": 67, "n_ctx": 24, "n_embd": 16, "n_head": 4, "n_layer": 12}
    assert sidecar["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_changed_weights_are_refused(saved):
    _, path, folder = saved
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth .* weights_sha256"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_another_tokenizer_is_refused(saved, name):
    _, path, folder = saved
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ArtifactMismatchError, match="tokenizer_sha256"):
        checkpoints.load_model(path, folder)


def test_another_template_is_refused(saved, monkeypatch):
    _, path, folder = saved
    monkeypatch.setattr(prompts, "TEMPLATE", prompts.TEMPLATE.replace("### Response:", "### Answer:"))
    with pytest.raises(ArtifactMismatchError, match="template_sha256"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("name", ["weights_sha256", "template_sha256", "tokenizer_sha256"])
def test_a_sidecar_that_says_otherwise_is_refused(saved, name):
    _, path, folder = saved
    edit_sidecar(path, **{name: "0" * 64})
    with pytest.raises(ArtifactMismatchError, match=rf"{name} .* golf\.json says 0{{12}}.*notebook 03"):
        checkpoints.load_model(path, folder)


@pytest.mark.parametrize("suffix", [".pth", ".json"])
def test_a_model_that_is_not_there_names_notebook_03(saved, suffix):
    _, path, folder = saved
    path.with_suffix(suffix).unlink()
    with pytest.raises(MissingArtifactError, match=rf"golf\{suffix} does not exist: run notebook 03"):
        checkpoints.load_model(path, folder)
