"""Folders of transformers, written and read by transformers itself: a fine-tuned model out, any GPT-2 of that library in."""

import hashlib
import json
import os
import re
import shutil
import socket
import weakref
from collections import namedtuple
from dataclasses import asdict, replace

import damaged
import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from awkward_texts import TEXTS
from huggingface_hub import constants
from hypothesis import example, given, settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers

from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.gpt2 import huggingface, tensorflow_io
from golf_nb_utils.gpt2.checkpoints import load_base_model, load_model, save_model
from golf_nb_utils.gpt2.convert import CheckpointError
from golf_nb_utils.gpt2.huggingface import (
    export_pretrained,
    import_pretrained,
    is_pretrained,
    model_card,
)
from golf_nb_utils.gpt2.sampling import generate
from golf_nb_utils.gpt2.tokenizer import END_OF_TEXT, learn_bpe, load_tokenizer
from golf_nb_utils.settings import GPT_CONFIGS, ConfigError, GPTConfig

N_VOCAB = 600
CONFIG = GPTConfig(n_vocab=N_VOCAB, n_ctx=48, n_embd=32, n_head=4, n_layer=3)
SHAPE_IN_CONFIG_JSON = {
    "vocab_size": N_VOCAB,
    "n_positions": 48,
    "n_embd": 32,
    "n_head": 4,
    "n_layer": 3,
}
EXPORTED = {"model.safetensors", "config.json", "generation_config.json", "README.md"}
EXPORTED |= {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"}
IMPORTED = {
    "hparams.json",
    "encoder.json",
    "vocab.bpe",
    "model.safetensors",
    "model.safetensors.json",
}
DATA_SHA256 = hashlib.sha256(b"the training data").hexdigest()
FACTS = {
    "model_size": "tiny",
    "seed": 7,
    "data": {
        "golf_feedback_test.json": {"sha256": "f" * 64},
        "golf_feedback_train.json": {"sha256": DATA_SHA256},
    },
    "training": {"epochs": 3, "batch_size": 4, "learning_rate": 0.0025, "loss_on": "response"},
    "metrics": {"val_loss": 0.0871, "perplexity": 1.0911},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """What HF_HUB_OFFLINE=1 does, and no connection for whoever asks all the same; nor does tiktoken keep copies."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        socket.socket, "connect", lambda self, address: pytest.fail(f"asks {address}")
    )
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *_, **__: pytest.fail(f"asks for {host}")
    )
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch):
    monkeypatch.setattr(
        tensorflow_io, "run", lambda task, **_: pytest.fail(f"TensorFlow was started to {task}")
    )


def names(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def edit_json(path, **changes):
    path.write_text(json.dumps(read_json(path) | changes), encoding="utf-8")


def logits_of(model, token_ids):
    """Those of a GPTModel, or of a GPT2LMHeadModel."""
    with torch.inference_mode():
        found = model(token_ids[None])
    return getattr(found, "logits", found)[0].numpy()


def draw_ids(config, seed=0):
    return torch.randint(
        config.n_vocab, (config.n_ctx,), generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="module")
def texts(tiny_records):
    contractions = [
        "I'll say it's what they're at, don't you've said I'm he'd! ... ((45)) 100% 45 45"
    ] * 50
    return [
        *(record.input + "\n" + record.output for record in tiny_records["train"]),
        *contractions,
    ]


@pytest.fixture(scope="module")
def vocabulary(texts, tmp_path_factory):
    """A GPT-2 vocabulary that the tokenizers library learnt: a folder with vocab.json and merges.txt, end-of-text last."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, N_VOCAB - 1, show_progress=False)
    trained.add_special_tokens([END_OF_TEXT])
    folder = tmp_path_factory.mktemp("vocabulary")
    trained.save_model(str(folder))
    # In the order of the numbers, as OpenAI's encoder.json is.
    numbers = dict(sorted(trained.get_vocab().items(), key=lambda token: token[1]))
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    assert trained.token_to_id(END_OF_TEXT) == N_VOCAB - 1
    return folder


@pytest.fixture(scope="module")
def tokenizer_folders(vocabulary, texts, tmp_path_factory):
    """The two kinds of checkpoint folders: with a vocabulary like OpenAI's, and with one of `tiny`'s."""
    openai, tiny = tmp_path_factory.mktemp("openai"), tmp_path_factory.mktemp("tiny")
    shutil.copy(vocabulary / "vocab.json", openai / "encoder.json")
    shutil.copy(vocabulary / "merges.txt", openai / "vocab.bpe")
    learn_bpe(texts, N_VOCAB, tiny)
    return {"openai": openai, "tiny": tiny}


# Export.

Saved = namedtuple("Saved", "model weights folder")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, random_model, tokenizer_folders):
    """A fine-tuned model as notebook 03 leaves it. Not to be changed: see `copy_of`."""
    folder = shutil.copytree(
        tokenizer_folders["openai"], tmp_path_factory.mktemp("saved") / "checkpoint"
    )
    model = random_model(CONFIG)
    return Saved(model, save_model(folder.parent / "golf.pth", model, folder, **FACTS), folder)


@pytest.fixture
def copy_of(tmp_path):
    """A function that returns a copy of `saved` that a test may change."""
    return lambda saved: Saved(
        saved.model,
        shutil.copytree(saved.folder.parent, tmp_path / "copy") / "golf.pth",
        saved.folder,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory, saved):
    """(the files that the export returned, their folder). Not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "für Golf 重心" / "out"
    return export_pretrained(saved.weights, saved.folder, out), out


@pytest.fixture(scope="module")
def theirs(exported):
    """What transformers loads: (model, tokenizer)."""
    from transformers import AutoTokenizer, GPT2LMHeadModel

    loaded, report = GPT2LMHeadModel.from_pretrained(exported[1], output_loading_info=True)
    assert not any(report.values()), report
    return loaded.eval(), AutoTokenizer.from_pretrained(exported[1])


def test_an_export_returns_the_files_of_the_folder_and_nothing_else_is_there(exported):
    files, out = exported
    assert len(files) == len(EXPORTED)
    assert {path.name for path in files} == names(out) == EXPORTED
    assert all(path.parent == out and path.stat().st_size for path in files)


def test_transformers_computes_the_logits_of_the_exported_model(theirs, saved):
    token_ids = draw_ids(CONFIG)
    loaded, _ = theirs
    expected = logits_of(saved.model, token_ids)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits_of(loaded, token_ids), expected, rtol=0, atol=1e-4)


def test_transformers_writes_the_text_that_the_exported_model_writes(theirs, saved):
    loaded, tokenizer = theirs
    for prompt in ("### Input:\nCurrent Score: 0.45", "A", "Tempo isn't 100%"):
        asked = tokenizer(prompt, return_tensors="pt")
        expected = generate(
            saved.model, asked["input_ids"], max_new_tokens=20, eot_id=tokenizer.eos_token_id
        )
        found = loaded.generate(**asked, do_sample=False, max_new_tokens=20)[
            :, asked["input_ids"].shape[1] :
        ]
        assert found[0, : expected.shape[1]].tolist() == expected[0].tolist()
        assert (
            found.shape == expected.shape or found[0, expected.shape[1]] == tokenizer.eos_token_id
        )
        assert expected.shape[1] > 1


def test_transformers_knows_the_shape_and_the_end_of_text(theirs, saved, exported):
    loaded, tokenizer = theirs
    config = loaded.config
    assert {name: getattr(config, name) for name in SHAPE_IN_CONFIG_JSON} == SHAPE_IN_CONFIG_JSON
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (N_VOCAB - 1,) * 3
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.eos_token) == (
        N_VOCAB - 1,
        N_VOCAB - 1,
        END_OF_TEXT,
    )
    assert tokenizer.model_max_length == CONFIG.n_ctx == config.n_ctx
    # transformers does not need it, llama.cpp's converter does.
    assert read_json(exported[1] / "config.json")["n_ctx"] == CONFIG.n_ctx
    assert len(tokenizer) == N_VOCAB == load_tokenizer(saved.folder).n_vocab


def test_transformers_draws_its_answers_as_notebook_04_does_and_stops_at_the_end_of_text(theirs):
    found = theirs[0].generation_config
    assert (found.do_sample, found.temperature, found.top_k, found.max_new_tokens) == (
        True,
        0.7,
        50,
        512,
    )
    assert (found.eos_token_id, found.pad_token_id) == (N_VOCAB - 1, N_VOCAB - 1)


def test_the_head_is_the_token_embedding_and_is_in_the_file_once(theirs, exported):
    loaded, _ = theirs
    assert loaded.lm_head.weight.data_ptr() == loaded.transformer.wte.weight.data_ptr()
    state = load_file(exported[1] / "model.safetensors")
    assert {tuple(tensor.shape) for name, tensor in state.items() if N_VOCAB in tensor.shape} == {
        (N_VOCAB, 32)
    }
    assert sum(tensor.numel() for tensor in state.values()) == CONFIG.n_parameters
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


@pytest.fixture(scope="module")
def tokenizer_trios(tmp_path_factory, random_model, tokenizer_folders):
    """{kind: (tiktoken's tokenizer of the folder, transformers' one of the export, what others read of its tokenizer.json)}."""
    from transformers import AutoTokenizer

    trios = {}
    for kind, folder in tokenizer_folders.items():
        root = tmp_path_factory.mktemp(kind)
        weights = save_model(
            root / "golf.pth", random_model(replace(CONFIG, n_layer=1)), folder, **FACTS
        )
        export_pretrained(weights, folder, root / "out")
        alone = Tokenizer.from_file(str(root / "out" / "tokenizer.json"))
        trios[kind] = load_tokenizer(folder), AutoTokenizer.from_pretrained(root / "out"), alone
    return trios


@pytest.mark.parametrize("kind", ["openai", "tiny"])
@given(text=TEXTS)
@example(text="Current Score: 0.45 (87.0%), it's 100 % , isn't it ? I'LL say: don't !")
@example(text=f"a{END_OF_TEXT}{END_OF_TEXT} b  {END_OF_TEXT}\n")
@example(text="Drücken Sie den Fuß 🏌️ 重心移動 e\u0301 \u200b\u00a0 ")
@example(text=" \t\n  \r\n    x   ")
@example(text="")
@settings(max_examples=300)
def test_the_exported_tokenizer_gives_tiktokens_ids_and_decodes_them_back(
    tokenizer_trios, kind, text
):
    ours, theirs, alone = tokenizer_trios[kind]
    ids = ours.encode(text, allowed_special="all")
    assert alone.encode(text).ids == ids
    assert alone.decode(ids, skip_special_tokens=False) == text
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text
    assert theirs.decode(ids, skip_special_tokens=True) == text.replace(END_OF_TEXT, "")


def test_several_texts_are_padded_with_the_end_of_text_and_masked(theirs):
    batch = theirs[1](["Tempo", "Tempo and much more of it"], padding=True)
    short, long = batch["input_ids"]
    n_pads = len(long) - sum(batch["attention_mask"][0])
    assert n_pads > 0
    assert short[-n_pads:] == [N_VOCAB - 1] * n_pads
    assert batch["attention_mask"][1] == [1] * len(long)


def test_weights_that_do_not_belong_to_their_sidecar_are_refused_and_nothing_is_written(
    saved, copy_of, tmp_path, random_model
):
    copy = copy_of(saved)
    save_model(tmp_path / "other.pth", random_model(CONFIG, seed=1), saved.folder, **FACTS)
    shutil.copy(tmp_path / "other.pth", copy.weights)
    with pytest.raises(ArtifactMismatchError, match=r"golf\.pth .* weights_sha256"):
        export_pretrained(copy.weights, copy.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_than_the_models_own_is_refused(saved, tokenizer_folders, tmp_path):
    with pytest.raises(ArtifactMismatchError, match="tokenizer_sha256"):
        export_pretrained(saved.weights, tokenizer_folders["tiny"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".pth", ".json"])
def test_a_model_that_is_not_there_is_named_and_nothing_is_written(
    saved, copy_of, tmp_path, suffix
):
    copy = copy_of(saved)
    copy.weights.with_suffix(suffix).unlink()
    with pytest.raises(
        MissingArtifactError, match=rf"golf\{suffix} does not exist: run notebook 03"
    ):
        export_pretrained(copy.weights, copy.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_fails_leaves_no_half_written_file_and_the_next_one_mends_it(
    saved, exported, tmp_path, monkeypatch
):
    def half(state, path, **_):
        path.write_bytes(b"half of the weights")
        raise OSError("the disk is full")

    monkeypatch.setattr(huggingface, "save_file", half)
    with pytest.raises(OSError, match="the disk is full"):
        export_pretrained(saved.weights, saved.folder, tmp_path / "out")
    assert names(tmp_path / "out") == set()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"of an earlier export")
    with pytest.raises(OSError, match="the disk is full"):
        export_pretrained(saved.weights, saved.folder, tmp_path / "out")
    assert names(tmp_path / "out") == {"model.safetensors"}
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"of an earlier export"
    monkeypatch.setattr(huggingface, "save_file", save_file)
    export_pretrained(saved.weights, saved.folder, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in exported[1].iterdir()
    }


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(saved, tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            export_pretrained(saved.weights, saved.folder, tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)


# The model card.

HUB = {"124M": "gpt2", "355M": "gpt2-medium", "774M": "gpt2-large", "1558M": "gpt2-xl"}


def front_matter(card):
    """What YAML and Hugging Face's own reader of cards find at its head."""
    found = yaml.safe_load(re.match(r"---\n(.*?\n)---\n", card, re.DOTALL)[1])
    assert huggingface_hub.ModelCard(card).data.to_dict() == found
    return found


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("size", "licence", "base", "licence_said"),
    [
        ("tiny", "mit", "random weights of GPT-2's architecture", "MIT."),
        ("124M", "mit", "OpenAI's GPT-2 124M", "Modified MIT"),
        ("1558M", "mit", "OpenAI's GPT-2 1558M", "Modified MIT"),
        ("own", "other", "a GPT-2 that its user brought", "of the base model"),
    ],
)
def test_a_card_names_base_data_training_licence_measures_and_limits(
    size, licence, base, licence_said
):
    card = model_card(FACTS | {"model_size": size})
    head = front_matter(card)
    assert (head["license"], head["language"], head["library_name"], head["pipeline_tag"]) == (
        licence, "en", "transformers", "text-generation",
    )  # fmt: skip
    body = one_line(card.split("---\n", 2)[2])
    said = dict(re.findall(r"- \*\*(\w+)\*\*: (.*?)(?= - \*\*| \||$)", body))
    assert base in said["Base"]
    # The start of the hash is enough to tell which data it was, and it is of the training data.
    assert DATA_SHA256[:12] in said["Data"]
    assert "golf_feedback_train.json" in said["Data"]
    for fact in ("3 epochs", "batches of 4", "learning rate 0.0025", "`response`", "seed 7"):
        assert fact in said["Training"]
    assert licence_said in said["Licence"]
    assert ("Modified MIT" in said["Licence"]) == (size in HUB)
    assert ("no coaching" in said["Base"]) == (size == "tiny")
    assert re.findall(r"\| (val_loss|perplexity) \| ([\d.]+) \|", card) == [
        ("val_loss", "0.0871"),
        ("perplexity", "1.0911"),
    ]
    assert "### Response:" in said["Use"]
    for limit in ("English only", "can be wrong", "no medical advice"):
        assert limit in said["Limits"]


@pytest.mark.parametrize("size", [*GPT_CONFIGS, "own"])
def test_a_card_links_the_base_model_of_the_hub_where_there_is_one(size):
    expected = f"openai-community/{HUB[size]}" if size in HUB else None
    assert front_matter(model_card(FACTS | {"model_size": size})).get("base_model") == expected


def test_the_exported_card_is_that_of_the_models_sidecar(exported, saved):
    assert (exported[1] / "README.md").read_text(encoding="utf-8") == model_card(
        read_json(saved.weights.with_suffix(".json"))
    )
    assert DATA_SHA256[:12] in (exported[1] / "README.md").read_text(encoding="utf-8")


def test_a_sidecar_that_lacks_what_the_card_tells_is_refused():
    for found in map(json.loads, damaged.values(FACTS)):
        if isinstance(found, dict):
            said = damaged.refusal(ArtifactMismatchError, model_card, found)
            assert not said or (
                said.startswith("the sidecar has ") and said.endswith("to its end.")
            )
    for name in FACTS:
        with pytest.raises(ArtifactMismatchError, match=f"no '{name}'; run notebook 03 to its end"):
            model_card({other: FACTS[other] for other in FACTS if other != name})


# Import: what transformers saved.


def bring_tokenizer_files(vocabulary, folder):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(vocabulary / name, folder / name)


@pytest.fixture(scope="module")
def twin(random_model, gpt2_twin):
    return gpt2_twin(random_model(CONFIG, seed=5))


@pytest.fixture
def source(twin, vocabulary, tmp_path):
    """A function that saves a GPT2LMHeadModel with transformers' save_pretrained, beside vocab.json and merges.txt."""

    def make(model=twin, name="source", **options):
        model.save_pretrained(tmp_path / name, **options)
        bring_tokenizer_files(vocabulary, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def target(tmp_path):
    return tmp_path / "own"


def retensor(folder, change):
    """Replace the tensors of a folder by `change` of them."""
    state = change(load_file(folder / "model.safetensors"))
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def assert_refused(source, target, error, *said):
    """An import refuses the source in words that name all of `said`, and writes nothing."""
    before = {path.name: path.read_bytes() for path in target.iterdir()} if target.exists() else {}
    with pytest.raises(error) as caught:
        import_pretrained(source, target)
    for word in said:
        assert word in str(caught.value)
    assert (
        {path.name: path.read_bytes() for path in target.iterdir()} if target.exists() else {}
    ) == before
    return caught.value


def test_a_saved_gpt2_becomes_a_base_model_with_its_logits(twin, source, target):
    assert import_pretrained(source(), target) == CONFIG
    assert names(target) == IMPORTED
    assert read_json(target / "hparams.json") == {
        "n_vocab": N_VOCAB,
        "n_ctx": 48,
        "n_embd": 32,
        "n_head": 4,
        "n_layer": 3,
    }
    model = load_base_model(target)
    assert model.config == CONFIG
    token_ids = draw_ids(CONFIG)
    np.testing.assert_allclose(
        logits_of(model, token_ids), logits_of(twin, token_ids), rtol=0, atol=1e-4
    )
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_gpt2_of_half_precision_becomes_float32_without_a_further_loss(
    dtype, twin, empty_twin, source, target
):
    rounded = empty_twin(CONFIG)
    rounded.load_state_dict(twin.state_dict())
    folder = source(rounded.to(dtype))
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {dtype}
    import_pretrained(folder, target)
    model, token_ids = load_base_model(target), draw_ids(CONFIG)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.wte.weight, rounded.transformer.wte.weight.float())
    np.testing.assert_allclose(
        logits_of(model, token_ids), logits_of(rounded.float(), token_ids), rtol=0, atol=1e-4
    )


def test_several_shards_are_one_model_and_a_missing_one_is_told_by_its_tensors(
    twin, source, target
):
    folder = source(max_shard_size="40KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    import_pretrained(folder, target)
    token_ids = draw_ids(CONFIG)
    np.testing.assert_allclose(
        logits_of(load_base_model(target), token_ids), logits_of(twin, token_ids), rtol=0, atol=1e-4
    )
    with safe_open(shards[1], framework="pt") as file:
        lost = [name.removeprefix("transformer.") for name in file.keys()]  # noqa: SIM118
    shards[1].unlink()
    assert_refused(folder, target, CheckpointError, *(f"missing {name}" for name in lost))


def test_one_whole_file_beside_shards_of_another_model_is_taken_as_transformers_takes_it(
    twin, random_model, gpt2_twin, source, target
):
    folder = source()
    shards = source(gpt2_twin(random_model(CONFIG, seed=6)), name="shards", max_shard_size="40KB")
    for path in shards.glob("model*"):
        shutil.copy(path, folder)
    assert len(list(folder.glob("*.safetensors"))) > 2
    with pytest.warns(UserWarning, match="those of model.safetensors, as .* passed over: model-00"):
        import_pretrained(folder, target)
    expected = type(twin).from_pretrained(folder).transformer.wte.weight
    assert torch.equal(expected, twin.transformer.wte.weight)
    assert torch.equal(load_base_model(target).wte.weight, expected)


def test_a_second_file_beside_the_model_is_passed_over_and_named(
    twin, random_model, gpt2_twin, source, target
):
    folder = source()
    other = source(gpt2_twin(random_model(CONFIG, seed=6)), name="other")
    for name in ("model_1.safetensors", "ema.safetensors"):
        shutil.copy(other / "model.safetensors", folder / name)
    with pytest.warns(
        UserWarning, match="passed over: ema.safetensors, model_1.safetensors"
    ) as told:
        import_pretrained(folder, target)
    assert str(folder) in str(told[0].message)
    assert torch.equal(load_base_model(target).wte.weight, twin.transformer.wte.weight)


def test_a_stale_shard_that_the_index_does_not_name_is_passed_over(
    twin, random_model, gpt2_twin, source, target
):
    folder = source(max_shard_size="40KB")
    other = source(gpt2_twin(random_model(CONFIG, seed=6)), name="other")
    shutil.copy(other / "model.safetensors", folder / "model-00009-of-00009.safetensors")
    with pytest.warns(UserWarning, match="passed over: model-00009-of-00009.safetensors"):
        import_pretrained(folder, target)
    expected = type(twin).from_pretrained(folder).transformer.wte.weight
    assert torch.equal(load_base_model(target).wte.weight, expected)


def test_one_file_under_a_name_of_its_own_is_taken_and_of_two_none_is_guessed(source, target):
    folder = source()
    (folder / "model.safetensors").rename(folder / "mine.safetensors")
    import_pretrained(folder, target)
    shutil.copy(folder / "mine.safetensors", folder / "other.safetensors")
    assert_refused(folder, target.with_name("again"), CheckpointError, "mine.safetensors, other")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"weight_map": []}', '{"weight_map": {"wte": []}}', "[" * 200_000],
    ids=range(5),
)
def test_an_index_that_names_no_files_is_refused_with_its_path(source, target, text):
    folder = source(max_shard_size="40KB")
    index = folder / "model.safetensors.index.json"
    index.write_text(text)
    assert_refused(folder, target, CheckpointError, str(index))


def test_a_tensor_in_two_shards_is_refused(source, target):
    folder = source(max_shard_size="40KB")
    index = read_json(folder / "model.safetensors.index.json")
    shard = index["weight_map"]["transformer.wte.weight"]
    shutil.copy(folder / shard, folder / "again.safetensors")
    index["weight_map"]["transformer.wte.weight.again"] = "again.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(folder, target, CheckpointError, "wte.weight is in", shard, "again.safetensors")


@pytest.mark.parametrize("n_layer", [1, 12])
def test_layers_keep_their_numbers_beyond_nine(n_layer, random_model, gpt2_twin, source, target):
    config = replace(CONFIG, n_layer=n_layer)
    twin, token_ids = gpt2_twin(random_model(config, seed=2)), draw_ids(config)
    assert import_pretrained(source(twin), target) == config
    np.testing.assert_allclose(
        logits_of(load_base_model(target), token_ids), logits_of(twin, token_ids), rtol=0, atol=1e-4
    )


def test_the_config_of_distilgpt2_is_understood(random_model, gpt2_twin, source, target):
    config = replace(CONFIG, n_embd=24, n_head=12, n_layer=6)
    twin, token_ids = gpt2_twin(random_model(config)), draw_ids(config)
    folder = source(twin)
    # As huggingface.co/distilbert/distilgpt2 has it, but for the widths.
    published = {
        "_num_labels": 1, "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "id2label": {"0": "LABEL_0"}, "initializer_range": 0.02,
        "label2id": {"LABEL_0": 0}, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 48, "n_embd": 24, "n_head": 12,
        "n_layer": 6, "n_positions": 48, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": N_VOCAB,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(published))
    assert import_pretrained(folder, target) == config
    np.testing.assert_allclose(
        logits_of(load_base_model(target), token_ids), logits_of(twin, token_ids), rtol=0, atol=1e-4
    )


def old_names(state):
    """The names in huggingface.co/openai-community/gpt2: no prefix, and each layer's causal mask among the weights."""
    masks = {
        f"h.{layer}.attn.bias": torch.ones(48, 48).tril().view(1, 1, 48, 48) for layer in range(3)
    }
    masks |= {f"h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(3)}
    return {name.removeprefix("transformer."): tensor for name, tensor in state.items()} | masks


def with_head(state):
    return state | {"lm_head.weight": state["transformer.wte.weight"].clone()}


@pytest.mark.parametrize("change", [old_names, with_head], ids=lambda change: change.__name__)
def test_old_names_masks_and_a_head_of_its_own_that_is_the_embedding_are_read(
    change, twin, source, target
):
    folder = source()
    retensor(folder, change)
    import_pretrained(folder, target)
    token_ids = draw_ids(CONFIG)
    np.testing.assert_allclose(
        logits_of(load_base_model(target), token_ids), logits_of(twin, token_ids), rtol=0, atol=1e-4
    )
    # What notebook 02 counts.
    tensors = read_json(target / "model.safetensors.json")["tensors"]
    assert len(tensors) == 4 + 12 * CONFIG.n_layer
    assert tensors["h.2.attn.c_attn.weight"] == [32, 96]


def test_a_head_that_differs_from_the_embedding_in_one_number_is_refused(source, target):
    folder = source()

    def untied(state):
        head = state["transformer.wte.weight"].clone()
        head[N_VOCAB - 1, 31] += 1e-3
        return state | {"lm_head.weight": head}

    retensor(folder, untied)
    assert_refused(
        folder, target, CheckpointError, str(folder), "lm_head.weight differs from wte.weight"
    )


def module(name):  # DataParallel and DDP
    return f"module.{name}"


def compiled(name):  # torch.compile of the whole, in DDP
    return f"module._orig_mod.{name}"


def compiled_blocks(name):
    return re.sub(r"(h\.\d+\.)", r"\1_orig_mod.", name)


def lightning(name):
    return f"model.{name}"


def bare(name):
    return f"gpt.{name.removeprefix('transformer.')}"


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(
    "rename", [module, compiled, compiled_blocks, lightning, bare], ids=lambda f: f.__name__
)
def test_what_a_wrapper_put_before_the_names_is_dropped(rename, head, twin, source, target):
    folder = source()
    retensor(folder, old_names)
    retensor(folder, lambda state: {f"transformer.{name}": state[name] for name in state})
    if head:
        retensor(folder, with_head)
    retensor(folder, lambda state: {rename(name): state[name] for name in state})
    import_pretrained(folder, target)
    assert torch.equal(
        load_base_model(target).h[2].attn.c_attn.weight.T, twin.transformer.h[2].attn.c_attn.weight
    )


def test_two_models_in_one_folder_are_refused_by_their_embeddings(source, target):
    folder = source()
    retensor(
        folder, lambda state: state | {f"teacher.{name}": state[name].clone() for name in state}
    )
    assert_refused(
        folder, target, CheckpointError, "teacher.transformer.wte.weight", "save one of them"
    )


def test_a_weight_that_is_there_twice_is_refused(source, target):
    folder = source()
    retensor(folder, lambda state: state | {"ln_f.bias": torch.zeros(32)})
    assert_refused(folder, target, CheckpointError, "twice", "'transformer.'")


def test_weights_that_are_no_numbers_are_refused_by_the_tensor(source, target):
    folder = source()

    def overflow(state):
        state["transformer.h.1.mlp.c_fc.bias"][5] = torch.inf
        return state

    retensor(folder, overflow)
    assert_refused(
        folder, target, CheckpointError, "h.1.mlp.c_fc.bias holds values that are no finite numbers"
    )


def test_a_pickle_alone_is_not_read_and_the_sentence_says_how_to_convert_it(twin, source, target):
    from transformers import GPT2LMHeadModel

    folder = source()
    torch.save(twin.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    error = assert_refused(
        folder, target, MissingArtifactError, "pytorch_model.bin is a pickle", ".safetensors"
    )
    told = re.search(r"GPT2LMHeadModel\S+\)", str(error))[0]
    eval(told, {"GPT2LMHeadModel": GPT2LMHeadModel})
    import_pretrained(folder, target)
    assert torch.equal(load_base_model(target).wte.weight, twin.transformer.wte.weight)


def test_an_adapter_without_its_model_is_refused_with_the_way_out(tmp_path, target):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    assert is_pretrained(folder)
    assert_refused(folder, target, MissingArtifactError, str(folder), "merge_and_unload")


def test_a_path_with_blanks_and_letters_that_are_not_ascii_is_read_and_written(
    twin, source, tmp_path
):
    folder = source(name="mein Modell für Golf 重心")
    import_pretrained(folder, tmp_path / "Ausgabe für 重心")
    found = load_base_model(tmp_path / "Ausgabe für 重心")
    assert torch.equal(found.wte.weight, twin.transformer.wte.weight)


def test_an_export_comes_back_with_the_same_bytes_of_weights(exported, saved, target, tmp_path):
    assert import_pretrained(exported[1], target) == CONFIG
    model = load_base_model(target)
    assert all(
        torch.equal(model.state_dict()[name], tensor)
        for name, tensor in saved.model.state_dict().items()
    )
    ours, theirs = load_tokenizer(saved.folder), load_tokenizer(target)
    assert (ours._mergeable_ranks, ours.eot_token) == (theirs._mergeable_ranks, theirs.eot_token)
    again = save_model(tmp_path / "again.pth", model, target, **FACTS)
    export_pretrained(again, target, tmp_path / "out")
    for name in EXPORTED:
        assert (tmp_path / "out" / name).read_bytes() == (exported[1] / name).read_bytes(), name


def test_a_fine_tuned_own_gpt2_is_loaded_again_with_its_shape(source, target, tmp_path):
    import_pretrained(source(), target)
    path = save_model(
        tmp_path / "own.pth", load_base_model(target), target, **FACTS | {"model_size": "own"}
    )
    model, sidecar = load_model(path, target)
    assert (model.config, sidecar["model_size"]) == (CONFIG, "own")


# Import: the tokenizer.


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_json_that_python_cannot_hold_is_refused_with_its_file(source, target, name):
    folder = source()
    (folder / "vocab.json").unlink()
    for content in damaged.texts(b'{"model_type": "gpt2"}'):
        (folder / name).write_bytes(content)
        assert_refused(folder, target, CheckpointError, str(folder / name))


def tokenizer_json_alone(folder, as_text):
    """transformers 5 saves tokenizer.json alone; versions of 2024 and before wrote each merge as one string."""
    from transformers import GPT2Tokenizer

    tokenizer = GPT2Tokenizer.from_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    tokenizer.save_pretrained(folder)
    assert not {"vocab.json", "merges.txt"} & names(folder)
    content = read_json(folder / "tokenizer.json")
    assert all(isinstance(merge, list) for merge in content["model"]["merges"])
    if as_text:
        content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
        (folder / "tokenizer.json").write_text(
            json.dumps(content, ensure_ascii=False), encoding="utf-8"
        )


@pytest.mark.parametrize(
    "kind", ["two files", "no version line", "merges as pairs", "merges as strings"]
)
def test_each_form_of_the_tokenizer_gives_transformers_ids(kind, vocabulary, source, target, texts):
    from transformers import GPT2Tokenizer

    folder = source()
    if kind.startswith("merges"):
        tokenizer_json_alone(folder, as_text=kind.endswith("strings"))
    elif kind == "no version line":
        first, rest = (folder / "merges.txt").read_text(encoding="utf-8").split("\n", 1)
        assert first.startswith("#version")
        (folder / "merges.txt").write_text(rest, encoding="utf-8")
    import_pretrained(folder, target)
    ours, theirs = load_tokenizer(target), GPT2Tokenizer.from_pretrained(vocabulary)
    assert (ours.n_vocab, ours.eot_token) == (N_VOCAB, N_VOCAB - 1)
    for text in (*texts[:20], texts[-1], "Drücken 🏌️ don't  1234567 \n\n", f"a{END_OF_TEXT}b"):
        assert ours.encode(text, allowed_special="all") == theirs(text)["input_ids"]


# What people save beside a GPT-2 with more rows than GPT-2's vocabulary has tokens.
ADDED = {"[PAD]": N_VOCAB, "<extra>": N_VOCAB + 1}


def padded(folder):
    """No token more, but rows up to a multiple of 64."""


def in_added_tokens_json(folder):
    (folder / "added_tokens.json").write_text(json.dumps(ADDED))


def in_vocab_json(folder):
    edit_json(folder / "vocab.json", **ADDED)


def in_tokenizer_json_beside_the_two(folder):
    from transformers import GPT2Tokenizer

    tokenizer = GPT2Tokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens("<extra>")
    assert [tokenizer.convert_tokens_to_ids(token) for token in ADDED] == [*ADDED.values()]
    tokenizer.save_pretrained(folder)


def in_tokenizer_json_alone(folder):
    in_tokenizer_json_beside_the_two(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    "save",
    [
        padded, in_added_tokens_json, in_vocab_json,
        in_tokenizer_json_beside_the_two, in_tokenizer_json_alone,
    ],
    ids=lambda save: save.__name__,
)  # fmt: skip
@pytest.mark.parametrize("n_rows", [602, 640])
def test_rows_of_added_tokens_and_of_padding_are_left_out(
    save, n_rows, random_model, gpt2_twin, source, target
):
    twin = gpt2_twin(random_model(replace(CONFIG, n_vocab=n_rows), seed=3))
    # As a row that was never trained may be: likelier than all others.
    with torch.no_grad():
        twin.transformer.wte.weight[N_VOCAB:] *= 50
    folder = source(twin)
    save(folder)
    assert import_pretrained(folder, target) == CONFIG
    assert read_json(target / "hparams.json")["n_vocab"] == N_VOCAB
    model, tokenizer = load_base_model(target), load_tokenizer(target)
    assert (tokenizer.n_vocab, tokenizer.eot_token) == (N_VOCAB, N_VOCAB - 1)
    token_ids = draw_ids(CONFIG)
    expected = logits_of(twin, token_ids)
    assert (expected.argmax(axis=1) >= N_VOCAB).any()
    np.testing.assert_allclose(
        logits_of(model, token_ids), expected[:, :N_VOCAB], rtol=0, atol=1e-4
    )
    written = generate(model, token_ids[None, :4], 40, temperature=1.5, seed=1)
    assert isinstance(tokenizer.decode(written[0].tolist()), str)


@pytest.mark.parametrize("first", [[END_OF_TEXT], ["[PAD]", END_OF_TEXT, "[SEP]"]])
def test_a_vocabulary_that_begins_with_its_special_tokens_is_put_into_gpt2s_order(
    first, texts, random_model, gpt2_twin, source, target
):
    from transformers import GPT2Tokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, N_VOCAB, show_progress=False, special_tokens=first)
    assert trained.token_to_id("!") == len(first)
    n_tokens = N_VOCAB - len(first) + 1
    twin = gpt2_twin(random_model(CONFIG))
    folder = source(twin)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    trained.save(str(folder / "tokenizer.json"))
    import_pretrained(folder, target)
    model, ours = load_base_model(target), load_tokenizer(target)
    theirs = GPT2Tokenizer.from_pretrained(folder)
    assert (ours.n_vocab, ours.eot_token, model.config.n_vocab) == (
        n_tokens, n_tokens - 1, n_tokens,
    )  # fmt: skip
    text = "Tempo isn't 100% of it: 0.45"
    ids, own = theirs(text)["input_ids"], ours.encode(text)
    assert len(own) == len(ids) > 3
    # Each token of ours beside the row that it came from.
    rows = [theirs.convert_tokens_to_ids(token) for token in read_json(target / "encoder.json")]
    np.testing.assert_allclose(
        logits_of(model, torch.tensor(own)),
        logits_of(twin, torch.tensor(ids))[:, rows],
        rtol=0,
        atol=1e-4,
    )


def test_a_tokenizer_without_an_end_of_text_is_refused_with_the_way_out(source, target):
    folder = source()
    vocabulary = read_json(folder / "vocab.json")
    del vocabulary[END_OF_TEXT]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    assert_refused(
        folder, target, CheckpointError, str(folder), END_OF_TEXT, "resize_token_embeddings"
    )


def test_the_tokenizer_json_that_transformers_reads_goes_before_the_two_files(source, target):
    folder = source()
    in_tokenizer_json_beside_the_two(folder)
    content = read_json(folder / "tokenizer.json")
    edit_json(folder / "tokenizer.json", pre_tokenizer={"type": "Digits"})
    assert_refused(folder, target, CheckpointError, "tokenizer.json cuts words by other rules")
    content["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert_refused(folder, target, CheckpointError, "tokenizer.json cuts words by other rules")


@pytest.mark.parametrize("left", [(), ("vocab.json",), ("merges.txt",)])
def test_a_folder_without_a_tokenizer_is_refused(left, source, target):
    folder = source()
    for name in {"vocab.json", "merges.txt"} - set(left):
        (folder / name).unlink()
    assert_refused(
        folder,
        target,
        MissingArtifactError,
        str(folder),
        "vocab.json",
        "merges.txt",
        "tokenizer.json",
    )


def words():
    tokenizer = Tokenizer(models.WordLevel({"swing": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


@pytest.mark.parametrize(
    "content",
    [
        words(),
        "<html>log in</html>",
        "",
        "[]",
        "null",
        "{}",
        "[" * 200_000,
        '{"pre_tokenizer": "ByteLevel"}',
        '{"model": {"merges": [1], "vocab": {}}}',
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(content, source, target):
    folder = source()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    (folder / "tokenizer.json").write_text(content)
    assert_refused(folder, target, CheckpointError, "tokenizer.json", "GPT-2")


def drop_a_merge(folder):
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    (folder / "merges.txt").write_text("\n".join(lines[:5] + lines[6:]), encoding="utf-8")


def swap_two_ids(folder):
    vocabulary = read_json(folder / "vocab.json")
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")


def repeat_an_id(folder):
    vocabulary = read_json(folder / "vocab.json")
    vocabulary["a"] = vocabulary["b"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")


def a_negative_id(folder):
    edit_json(folder / "vocab.json", **{"!": -1})


def an_id_in_quotes(folder):
    edit_json(folder / "vocab.json", **{"a": "65"})


def cut_the_merges(folder):
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    (folder / "merges.txt").write_text("\n".join(lines[:-20]), encoding="utf-8")


def no_json(folder):
    (folder / "vocab.json").write_text("<html>log in</html>")


def a_list(folder):
    (folder / "vocab.json").write_text("[]")


def brackets(folder):
    (folder / "vocab.json").write_text("[" * 200_000)


def added_is_a_list(folder):
    (folder / "added_tokens.json").write_text('["[PAD]"]')


@pytest.mark.parametrize(
    "spoil",
    [
        drop_a_merge, swap_two_ids, repeat_an_id, a_negative_id, an_id_in_quotes, cut_the_merges,
        no_json, a_list, brackets, added_is_a_list,
    ],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_two_files_that_are_no_gpt2_vocabulary_are_refused_and_no_weights_are_written(
    spoil, source, target
):
    folder = source()
    spoil(folder)
    assert_refused(folder, target, CheckpointError, str(folder), "the tokenizer is not GPT-2's")


def test_a_merge_file_without_a_line_break_at_its_end_loses_no_merge(source, target):
    folder = source()
    (folder / "merges.txt").write_text(
        (folder / "merges.txt").read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8"
    )
    import_pretrained(folder, target)


def test_a_tokenizer_json_that_cuts_words_by_other_rules_is_refused(source, target):
    folder = source()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    usual = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits_first = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, usual],
    }
    for rules in (digits_first, usual | {"use_regex": False}, usual | {"add_prefix_space": True}):
        (folder / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": rules}))
        assert_refused(folder, target, CheckpointError, "other rules than GPT-2's")


def test_an_export_of_a_training_that_did_not_end_says_so_and_writes_nothing(
    saved, copy_of, tmp_path
):
    _, weights, folder = copy_of(saved)
    sidecar = read_json(weights.with_suffix(".json"))
    del sidecar["training"]
    weights.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(ArtifactMismatchError, match="no 'training'; run notebook 03 to its end"):
        export_pretrained(weights, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refused_tokenizer_leaves_an_earlier_import_as_it_was(source, target):
    import_pretrained(source(), target)
    folder = source(name="other")
    swap_two_ids(folder)
    assert_refused(folder, target, CheckpointError, "the tokenizer is not GPT-2's")


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings_is_refused(
    texts, source, target
):
    folder = source()
    larger = ByteLevelBPETokenizer()
    larger.train_from_iterator(texts, N_VOCAB, show_progress=False)
    larger.add_special_tokens([END_OF_TEXT])
    larger.save_model(str(folder))
    (folder / "vocab.json").write_text(json.dumps(larger.get_vocab()), encoding="utf-8")
    assert larger.token_to_id(END_OF_TEXT) == N_VOCAB
    assert_refused(folder, target, ValueError, str(N_VOCAB), str(N_VOCAB + 1))


# Import: what is refused.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "gpt_neo"),
        ("activation_function", "gelu"),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("tie_word_embeddings", False),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("n_inner", 64),
    ],
)
def test_a_model_that_computes_otherwise_is_refused_by_the_field(field, value, source, target):
    folder = source()
    edit_json(folder / "config.json", **{field: value})
    assert_refused(
        folder,
        target,
        CheckpointError,
        "config.json is not of a GPT-2",
        f"{field} {value!r} instead of",
    )


def test_all_fields_that_differ_are_named_in_one_error(source, target):
    folder = source()
    edit_json(folder / "config.json", model_type="opt", activation_function="relu", n_inner=7)
    assert_refused(
        folder,
        target,
        CheckpointError,
        "model_type 'opt'",
        "activation_function 'relu'",
        "n_inner 7 instead of 128",
    )


def test_an_inner_width_that_is_written_out_is_no_difference(source, target):
    folder = source()
    edit_json(folder / "config.json", n_inner=4 * 32)
    assert import_pretrained(folder, target) == CONFIG


BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": N_VOCAB,
}
NO_HEADS = {name: value for name, value in SHAPE_IN_CONFIG_JSON.items() if name != "n_head"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>log in</html>",
        b'{"model_type": "gpt2", "n_emb',
        b"[]",
        b"null",
        b"{}",
        b"[" * 200_000,
        b'"\xff"',
        json.dumps(BERT).encode(),
        json.dumps(NO_HEADS).encode(),
        json.dumps(SHAPE_IN_CONFIG_JSON | {"n_head": 5}).encode(),
        json.dumps(SHAPE_IN_CONFIG_JSON | {"n_layer": 0}).encode(),
        json.dumps(SHAPE_IN_CONFIG_JSON | {"n_embd": "32"}).encode(),
    ],
)
def test_a_config_that_is_broken_or_of_another_model_is_refused_by_name(content, source, target):
    folder = source()
    (folder / "config.json").write_bytes(content)
    assert_refused(folder, target, CheckpointError, str(folder / "config.json"))


def test_a_folder_without_config_or_weights_is_refused_by_name(source, target, tmp_path):
    folder = source()
    assert_refused(
        tmp_path / "nowhere",
        target,
        MissingArtifactError,
        str(tmp_path / "nowhere" / "config.json"),
        "save_pretrained",
    )
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert_refused(folder, target, MissingArtifactError, str(folder), ".safetensors")
    (folder / "config.json").unlink()
    assert_refused(folder, target, MissingArtifactError, str(folder / "config.json"))


def test_one_error_names_every_missing_unexpected_and_misshapen_tensor(source, target):
    folder = source()

    def break_it(state):
        del state["transformer.h.1.mlp.c_fc.bias"], state["transformer.ln_f.weight"]
        state["transformer.h.3.ln_1.weight"] = torch.zeros(32)
        state["score.weight"] = torch.zeros(2, 32)
        state["transformer.h.0.attn.c_attn.weight"] = state["transformer.h.0.attn.c_attn.weight"].T
        state["transformer.wpe.weight"] = torch.zeros(64, 32)
        return state

    retensor(folder, break_it)
    assert_refused(
        folder, target, CheckpointError,
        "config.json", "missing h.1.mlp.c_fc.bias", "missing ln_f.weight", "unexpected h.3.ln_1.weight", "unexpected score.weight",
        "h.0.attn.c_attn.weight has shape [96, 32], expected [32, 96]", "wpe.weight has shape [64, 32], expected [48, 32]",
    )  # fmt: skip


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.5, 0.999])
def test_a_file_of_weights_cut_short_is_refused_by_name(share, source, target):
    folder = source()
    path = folder / "model.safetensors"
    os.truncate(path, int(share * path.stat().st_size))
    assert (
        assert_refused(folder, target, CheckpointError, str(path), "damaged").damaged
        == "model.safetensors"
    )


def test_an_error_page_is_no_file_of_weights(source, target):
    folder = source()
    (folder / "model.safetensors").write_text(
        "<html><body>You need to log in to see this model.</body></html>"
    )
    assert_refused(folder, target, CheckpointError, str(folder / "model.safetensors"))


@pytest.mark.parametrize("field", ["n_vocab", "n_ctx", "n_embd", "n_layer", "n_head"])
def test_another_shape_than_expected_is_refused_with_both_and_the_way_out(field, source, target):
    folder = source()
    expected = replace(CONFIG, **{field: 2 * getattr(CONFIG, field)})
    with pytest.raises(ConfigError, match="model_size 'own'") as caught:
        import_pretrained(folder, target, expected)
    for config in (CONFIG, expected):
        assert f"{field}={asdict(config)[field]}" in str(caught.value)
    assert names(target) == set()
    assert import_pretrained(folder, target, CONFIG) == CONFIG


@pytest.fixture
def tensorflows(target):
    """A folder with a checkpoint of TensorFlow, converted."""
    target.mkdir()
    kept = ("checkpoint", "model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta")
    for name in (*kept, "hparams.json", "encoder.json", "vocab.bpe", "model.safetensors"):
        (target / name).write_text(f"{name} of TensorFlow's checkpoint")
    return target


def test_openais_checkpoint_in_the_folder_is_not_replaced(source, tensorflows):
    before = {path.name: path.read_bytes() for path in tensorflows.iterdir()}
    with pytest.raises(ConfigError, match=r"holds a TensorFlow checkpoint .*'own' or another"):
        import_pretrained(source(), tensorflows, CONFIG)
    assert {path.name: path.read_bytes() for path in tensorflows.iterdir()} == before


def test_an_own_checkpoint_of_tensorflow_gives_way_to_what_is_imported_next(
    twin, source, tensorflows
):
    folder = source()
    swap_two_ids(folder)
    assert_refused(folder, tensorflows, CheckpointError, "the tokenizer is not GPT-2's")
    import_pretrained(source(), tensorflows)
    assert names(tensorflows) == IMPORTED
    token_ids = draw_ids(CONFIG)
    np.testing.assert_allclose(
        logits_of(load_base_model(tensorflows), token_ids),
        logits_of(twin, token_ids),
        rtol=0,
        atol=1e-4,
    )


def test_a_folder_of_transformers_is_told_from_one_of_tensorflow(source, tmp_path):
    folder = source()
    assert is_pretrained(folder)
    (folder / "model.ckpt.index").touch()
    assert not is_pretrained(folder)
    assert not is_pretrained(tmp_path)


def test_a_second_import_replaces_the_first(source, target, random_model, gpt2_twin):
    import_pretrained(source(), target)
    other = gpt2_twin(random_model(replace(CONFIG, n_layer=2), seed=9))
    import_pretrained(source(other, name="other"), target)
    token_ids = draw_ids(CONFIG)
    np.testing.assert_allclose(
        logits_of(load_base_model(target), token_ids),
        logits_of(other, token_ids),
        rtol=0,
        atol=1e-4,
    )


def test_an_import_leaves_its_source_as_it_was(source, target):
    folder = source()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    import_pretrained(folder, target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_cannot_be_imported_over_itself(source):
    folder = source()
    assert_refused(folder, folder, ValueError, str(folder))


# Memory.


@pytest.mark.parametrize("change", [dict, with_head], ids=["tied", "with a head"])
def test_an_import_never_holds_more_than_a_tensor_and_the_one_before(
    change, source, target, monkeypatch
):
    folder = source()
    retensor(folder, change)
    read, alive_at_a_read = [], []

    class Watched:
        def __init__(self, *args, **kwargs):
            self.file = safe_open(*args, **kwargs)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def get_tensor(self, name):
            alive_at_a_read.append(sum(array() is not None for _, array in read))
            # An array that lives as long as anybody uses its memory, as a tensor or as an array.
            array = self.file.get_tensor(name).numpy().copy()
            read.append((name, weakref.ref(array)))
            return torch.from_numpy(array)

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(huggingface, "safe_open", Watched)
    import_pretrained(folder, target)
    # Every tensor passed here: nothing was read by another way.
    assert {name for name, _ in read} == set(load_file(folder / "model.safetensors"))
    assert max(alive_at_a_read) <= 1
    assert not any(array() is not None for _, array in read)
