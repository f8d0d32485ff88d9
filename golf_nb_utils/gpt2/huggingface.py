"""To and from transformers' folders: a fine-tuned model out, any GPT-2 of that library in.

transformers keeps matrices as OpenAI does, [in, out]; its names are ours, with `transformer.`
before them.
"""

import dataclasses
import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from golf_nb_utils.files import (
    DATA_FILE,
    INDEX_FILE,
    META_FILE,
    ArtifactMismatchError,
    MissingArtifactError,
    clear_leftovers,
    hold,
    write_json,
    write_text,
    write_with,
)
from golf_nb_utils.gpt2.checkpoints import conversion_table, load_model, write_converted
from golf_nb_utils.gpt2.convert import CheckpointError, check_table
from golf_nb_utils.gpt2.tokenizer import END_OF_TEXT, load_tokenizer
from golf_nb_utils.host import require_disk
from golf_nb_utils.settings import MODEL_SIZES, ConfigError, GPTConfig, SampleConfig

# What GPTModel computes; a folder whose config.json says otherwise is another model. Absent fields
# have these values there.
_ARCHITECTURE = {
    "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
}  # fmt: skip
_SHAPE = {
    "n_vocab": "vocab_size", "n_ctx": "n_positions",
    "n_embd": "n_embd", "n_head": "n_head", "n_layer": "n_layer",
}  # fmt: skip
# Causal masks, which old versions saved among the weights.
_MASKS = (".attn.bias", ".attn.masked_bias")
# What DataParallel, torch.compile, FSDP and activation checkpointing put into the names of weights.
_WRAPPERS = re.compile(
    r"\b(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.",
)
# What peft saves beside an adapter, which is no model.
_ADAPTER = "adapter_config.json"
_HUB_NAMES = {"124M": "gpt2", "355M": "gpt2-medium", "774M": "gpt2-large", "1558M": "gpt2-xl"}


def export_pretrained(weights: Path, checkpoint_folder: Path, out: Path) -> list[Path]:
    """Write a fine-tuned model as a folder that transformers' `from_pretrained` reads.

    `weights` is the .pth of notebook 03, `checkpoint_folder` the one with its tokenizer. Returns
    the files: model.safetensors, config.json, generation_config.json, the tokenizer's, and the
    model card README.md.

    Raises:
        MissingArtifactError, ArtifactMismatchError: see checkpoints.load_model.
    """
    model, sidecar = load_model(weights, checkpoint_folder)
    config, card = model.config, model_card(sidecar)
    out.mkdir(parents=True, exist_ok=True)
    is_matrix = {target: matrix for target, _, matrix in conversion_table(config).values()}
    state = {
        f"transformer.{name}": (tensor.T if is_matrix[name] else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    end = load_tokenizer(checkpoint_folder).eot_token
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    settings = {"architectures": ["GPT2LMHeadModel"], **_ARCHITECTURE, **ids}
    settings |= {"torch_dtype": "float32"}
    settings |= {theirs: getattr(config, ours) for ours, theirs in _SHAPE.items()}
    # llama.cpp's converter asks for it, and OpenAI's gpt2 has it.
    settings |= {"n_ctx": config.n_ctx}
    preset = SampleConfig.for_size(sidecar["model_size"])
    names = ("temperature", "top_k", "max_new_tokens")
    sampling = {"do_sample": True} | {name: getattr(preset, name) for name in names}
    return [
        write_with(
            out / "model.safetensors",
            lambda temporary: save_file(state, temporary, metadata={"format": "pt"}),
        ),
        write_json(out / "config.json", settings),
        write_json(out / "generation_config.json", ids | sampling),
        *_write_tokenizer(Path(checkpoint_folder), out, config.n_ctx),
        write_text(out / "README.md", card),
    ]


def _write_tokenizer(folder: Path, out: Path, n_ctx: int) -> list[Path]:
    """The tokenizer in both forms: vocab.json with merges.txt, and tokenizer.json."""
    vocabulary, merges = out / "vocab.json", out / "merges.txt"
    write_with(vocabulary, lambda temporary: shutil.copyfile(folder / "encoder.json", temporary))
    write_with(merges, lambda temporary: shutil.copyfile(folder / "vocab.bpe", temporary))
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}
    settings |= {"model_max_length": n_ctx}
    settings |= dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END_OF_TEXT)
    whole = write_text(out / "tokenizer.json", tokenizer.to_str(pretty=True))
    return [vocabulary, merges, whole, write_json(out / "tokenizer_config.json", settings)]


_CARD = """---
license: {license}
language: en
library_name: transformers
pipeline_tag: text-generation
{link}---

# Golf swing feedback, GPT-2 {size}

Turns the scores of a golf swing (six areas, 0 to 1) into coaching in three headed parts: what \
should happen, what is happening, what to do.

- **Base**: {base}.
- **Data**: generated records (golf_feedback_train.json, SHA-256 {data}); every sentence \
renders an item of a knowledge
  base of golf instruction whose figures carry their sources.
- **Training**: {epochs} epochs, batches of {batch_size}, learning rate {learning_rate}, loss on
  `{loss_on}` positions, seed {seed}.
- **Licence**: {licence}.

| at the end of training | |
| --- | --- |
{measures}

- **Use**: the prompt is that of Stanford Alpaca, up to and with the line `### Response:`; it was \
trained on nothing else.
- **Limits**: English only. It knows scores, no video and no body, and can be wrong in fluent \
sentences: check an answer before a golfer
  sees it. It is no medical advice.
"""
# What the card says of the base model and the licence, where it is not one of OpenAI's.
_BASES = {
    "tiny": (
        "random weights of GPT-2's architecture (the project's stand-in `tiny`; "
        "its answers are no coaching)",
        "MIT",
    ),
    "own": (
        "a GPT-2 that its user brought",
        "that of the base model; the training data is under MIT",
    ),
}


def model_card(sidecar: dict) -> str:
    """Return the card (README.md) of a fine-tuned model: base, data, licence, measures and limits.

    Raises:
        ArtifactMismatchError: the sidecar lacks what only a training that came to its end writes.
    """
    told = ("epochs", "batch_size", "learning_rate", "loss_on")
    for name in ("model_size", "training", "metrics", "data", "seed"):
        if sidecar.get(name) is None:
            raise ArtifactMismatchError(f"the sidecar has no {name!r}; run notebook 03 to its end.")
    try:
        size, metrics, seed = sidecar["model_size"], sidecar["metrics"].items(), sidecar["seed"]
        training = {name: sidecar["training"][name] for name in told}
        data = sidecar["data"]["golf_feedback_train.json"]["sha256"][:16]
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactMismatchError(
            f"the sidecar has no {error}; run notebook 03 to its end."
        ) from error
    if size not in MODEL_SIZES:
        raise ArtifactMismatchError(
            f"the sidecar has the model_size {size!r}, expected one of {', '.join(MODEL_SIZES)}; "
            "run notebook 03 to its end."
        )
    openais = "MIT; the base weights are OpenAI's, under the Modified MIT licence of openai/gpt-2"
    base, licence = _BASES.get(size, (f"OpenAI's GPT-2 {size}", openais))
    return _CARD.format(
        license="other" if size == "own" else "mit",
        link=f"base_model: openai-community/{_HUB_NAMES[size]}\n" if size in _HUB_NAMES else "",
        measures="\n".join(f"| {name} | {value} |" for name, value in metrics),
        size=size, base=base, licence=licence, data=data, seed=seed, **training,
    )  # fmt: skip


def is_pretrained(folder: Path) -> bool:
    """Say whether a folder looks like transformers' own, and not like TensorFlow's checkpoint."""
    names = ("config.json", _ADAPTER)
    return any((folder / name).is_file() for name in names) and not (folder / INDEX_FILE).is_file()


def import_pretrained(source: Path, folder: Path, expected: GPTConfig | None = None) -> GPTConfig:
    """Make a GPT-2 as transformers saves it the base model in `folder`.

    Writes hparams.json, encoder.json, vocab.bpe and model.safetensors; float16 and bfloat16 become
    float32. Of several files of weights those are read that transformers would take, and a warning
    names the others. The token embedding gets one row for each of the tokens that a text can have,
    in GPT-2's order: without rows of padding, and without those of added tokens such as [PAD].
    Returns the shape, whose form in config.json has to be the `expected` one, if given; what
    `folder` held is replaced.

    Raises:
        MissingArtifactError: config.json, the weights or the tokenizer's files are missing.
        CheckpointError: it is no GPT-2, its head is untied, its tensors do not fit config.json, or
            a file is damaged.
        ConfigError: it is of another shape than expected, `folder` is `source`, or it holds a
            TensorFlow checkpoint although a shape is expected: that may be OpenAI's.
        OSError: the disk is too small, or the folder cannot be written.
        FolderInUseError: another process writes to it; it is held until its manifest is written.
    """
    if source.resolve() == folder.resolve():
        raise ConfigError(
            f"{folder} is where the base model is written to; move your folder elsewhere."
        )
    if expected and (folder / INDEX_FILE).exists():
        raise ConfigError(
            f"{folder} holds a TensorFlow checkpoint already; choose model_size 'own' or another "
            "output_root."
        )
    config = _read_config(source / "config.json")
    if expected not in (None, config):
        raise ConfigError(
            f"{source} holds {config}, the model_size stands for {expected}; "
            "choose model_size 'own'."
        )
    saved = _find_weights(source, config)
    tokenizer, token_rows = _read_tokenizer(source, config.n_vocab)
    config = dataclasses.replace(config, n_vocab=len(token_rows))
    clear_leftovers(folder)
    require_disk(folder, 4 * config.n_parameters, f"the converted copy of {source}")
    hold(folder, f"notebook 02 for {source}")

    def read(name: str) -> np.ndarray:
        tensor = _read_tensor(*saved[name])
        return tensor[token_rows] if name == "wte.weight" else tensor

    shapes = {name: shape for name, (_, _, shape) in saved.items()}
    write_converted(folder, config, read, _table(config), shapes)
    # A checkpoint of TensorFlow in the folder would be read instead of what was written now.
    for name in (INDEX_FILE, DATA_FILE, META_FILE, "checkpoint"):
        (folder / name).unlink(missing_ok=True)
    for name, text in tokenizer.items():
        write_text(folder / name, text)
    write_json(folder / "hparams.json", dataclasses.asdict(config))
    return config


def _table(config: GPTConfig) -> dict[str, list]:
    """The table of the conversion: the names are ours already, the shapes transformers'."""
    return {
        target: [target, shape[-2:] if is_matrix else shape, is_matrix]
        for target, shape, is_matrix in conversion_table(config).values()
    }


def _find_weights(source: Path, config: GPTConfig) -> dict[str, tuple]:
    """What _find_tensors finds, once it fits config.json."""
    saved = _find_tensors(source)
    head = saved.pop("lm_head.weight", None)
    shapes = {name: shape for name, (_, _, shape) in saved.items()}
    check_table(shapes, _table(config), "config.json")
    if head and not np.array_equal(_read_tensor(*head), _read_tensor(*saved["wte.weight"])):
        raise CheckpointError(
            f"{source}: lm_head.weight differs from wte.weight; a GPT-2 has one matrix for both."
        )
    return saved


def _read_tensor(path: Path, key: str, shape: list[int]) -> np.ndarray:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(key).float().numpy()


def _read_config(path: Path) -> GPTConfig:
    if not path.is_file() and path.with_name(_ADAPTER).is_file():
        raise MissingArtifactError(
            f"{path.parent} holds an adapter of peft without its model; load it with peft and save "
            "what its merge_and_unload returns by save_pretrained."
        )
    if not path.is_file():
        raise MissingArtifactError(
            f"{path} does not exist; expected a folder written by save_pretrained of transformers."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("activation_function") == "gelu_pytorch_tanh":  # the same function
            found["activation_function"] = "gelu_new"
        wrong = [
            f"{name} {found[name]!r} instead of {value!r}"
            for name, value in _ARCHITECTURE.items()
            if found.get(name, value) != value
        ]
        if found.get("n_inner") not in (None, 4 * found["n_embd"]):
            wrong.append(f"n_inner {found['n_inner']!r} instead of {4 * found['n_embd']}")
        if found.get("quantization_config"):
            wrong.append("weights that are quantized")
        if wrong:
            raise CheckpointError(f"{path} is not of a GPT-2: {', '.join(wrong)}.")
        return GPTConfig(**{ours: found[theirs] for ours, theirs in _SHAPE.items()})
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not the config.json of a GPT-2 ({error!r}); save the model again."
        ) from error


def _find_tensors(source: Path) -> dict[str, tuple[Path, str, list[int]]]:
    """{our name: (file, its name there, shape)} of all weights, in one file or several.

    What stands before our names is dropped: `transformer.`, and whatever a wrapper put before it.
    """
    found: dict[str, tuple[Path, str, list[int]]] = {}
    for path in _weight_files(source):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (it is no dict)
                    name = _WRAPPERS.sub("", key)
                    if name.endswith(_MASKS):
                        continue
                    if name in found:
                        raise CheckpointError(
                            f"{source}: {name} is in {found[name][0].name} and in {path.name}; "
                            "fetch the folder again."
                        )
                    found[name] = path, key, file.get_slice(key).get_shape()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged or no safetensors file ({error}); fetch it again.", path.name
            ) from error
    embeddings = [name for name in found if re.search(r"\bwte\.weight$", name)]
    if len(embeddings) > 1:
        raise CheckpointError(
            f"{source} holds several models, with {' and '.join(embeddings)}; save one of them."
        )
    before = "".join(embeddings).removesuffix("wte.weight") or "transformer."
    ours = {
        "lm_head.weight" if name.endswith("lm_head.weight") else name.removeprefix(before): tensor
        for name, tensor in found.items()
    }
    if len(ours) < len(found):
        raise CheckpointError(
            f"{source}: some weights are there twice, with {before!r} before their names and "
            "without; save the model again."
        )
    return ours


def _weight_files(source: Path) -> list[Path]:
    """The files of the weights: those that transformers would take. Others are named in a warning.

    A backup, an average or a stale shard has the same tensors and shows in the answers alone.
    """
    there = sorted(source.glob("*.safetensors"))
    whole, index = source / "model.safetensors", source / "model.safetensors.index.json"
    if whole in there:
        taken = [whole]
    elif index.is_file():
        listed = _indexed_files(index)
        taken = [path for path in there if path.name in listed]
    elif len(there) > 1:
        raise CheckpointError(
            f"{source} holds {', '.join(path.name for path in there)}, and neither {whole.name} "
            f"nor {index.name} says which of them is the model; leave one, or fetch the index."
        )
    else:
        taken = there
    pickles = [path.name for path in sorted(source.glob("pytorch_model*.bin"))]
    if pickles and not taken:
        raise MissingArtifactError(
            f"{source} holds no .safetensors file, and {pickles[0]} is a pickle, which can run "
            "code as it is read; where you trust it, convert it by transformers: "
            f"GPT2LMHeadModel.from_pretrained({str(source)!r}).save_pretrained({str(source)!r})."
        )
    if not taken:
        raise MissingArtifactError(
            f"{source} holds no .safetensors file of its model; "
            "save the model with save_pretrained of transformers."
        )
    if passed_over := [path.name for path in there if path not in taken]:
        warnings.warn(
            f"{source}: the weights are those of {', '.join(path.name for path in taken)}, as "
            f"transformers takes them; passed over: {', '.join(passed_over)}.",
            stacklevel=2,
        )
    return taken


def _indexed_files(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} does not say which file holds which tensor ({error!r}); fetch it again.",
            index.name,
        ) from error


def _read_tokenizer(source: Path, n_vocab: int) -> tuple[dict[str, str], list[int]]:
    """{encoder.json, vocab.bpe: text}, and for each of their tokens its row in the embedding.

    Tokens that were added stand in no text of this project: they are left out. The end of text
    becomes the last token, as in GPT-2's own files.
    """
    try:
        vocabulary, merges, added = _tokenizer_parts(source)
        if END_OF_TEXT not in vocabulary:
            raise CheckpointError(
                f"{source}: the tokenizer has no {END_OF_TEXT}, with which an answer ends; add it "
                "(tokenizer.add_tokens, model.resize_token_embeddings) and save both again."
            )
        end = vocabulary[END_OF_TEXT]
        # Where it is the first token of all, it says nothing about those after it.
        if end > vocabulary["!"]:
            added = added | {token for token, row in vocabulary.items() if row > end}
        learnt = vocabulary.keys() - added - {END_OF_TEXT}
        tokens = [*sorted(learnt, key=vocabulary.get), END_OF_TEXT]
        rows = [vocabulary[token] for token in tokens]
        if len(set(rows)) < len(rows) or not all(type(row) is int and row >= 0 for row in rows):
            raise ValueError("two tokens have one number, or one has none")
        files = {
            "encoder.json": json.dumps({token: number for number, token in enumerate(tokens)}),
            "vocab.bpe": "\n".join(("#version: 0.2", *merges, "")),
        }
        with tempfile.TemporaryDirectory() as temporary:
            for name, text in files.items():
                write_text(Path(temporary) / name, text)
            load_tokenizer(temporary)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{source}: the tokenizer is not GPT-2's byte-pair encoding, which has 256 bytes, a "
            f"token for each merge and {END_OF_TEXT}, beside tokens that were added to it; "
            "save the one that the model was trained with by save_pretrained of transformers."
        ) from error
    if max(rows) >= n_vocab:
        raise CheckpointError(
            f"{source}: the tokenizer has {max(rows) + 1:,} tokens, the model embeds {n_vocab:,}."
        )
    return files, rows


def _tokenizer_parts(source: Path) -> tuple[dict[str, int], list[str], set[str]]:
    """({token: its number}, the merges in their order, the added tokens) of a saved tokenizer.

    Where there is a tokenizer.json, transformers reads that alone, and newer versions save no other
    file. END_OF_TEXT is not among the added tokens.
    """
    whole = source / "tokenizer.json"
    if whole.is_file():
        return _parts_of_whole(whole)
    vocabulary, pairs, more = (
        source / name for name in ("vocab.json", "merges.txt", "added_tokens.json")
    )
    if not (vocabulary.is_file() and pairs.is_file()):
        raise MissingArtifactError(
            f"{source} holds no tokenizer: vocab.json with merges.txt, or tokenizer.json."
        )
    added = json.loads(more.read_text(encoding="utf-8")) if more.is_file() else {}
    tokens = json.loads(vocabulary.read_text(encoding="utf-8")) | added
    lines = pairs.read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    return tokens, merges, set(added) - {END_OF_TEXT}


def _parts_of_whole(path: Path) -> tuple[dict[str, int], list[str], set[str]]:
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        rules = {name: tokenizer.get(name) for name in ("normalizer", "pre_tokenizer")}
        before = tokenizer["pre_tokenizer"]
        is_gpt2s = before.get("use_regex", True) and not before.get("add_prefix_space")
        if before["type"] != "ByteLevel" or not is_gpt2s or rules["normalizer"]:
            raise CheckpointError(f"{path} cuts words by other rules than GPT-2's: {rules!r}.")
        merges = [
            pair if isinstance(pair, str) else " ".join(pair)
            for pair in tokenizer["model"]["merges"]
        ]
        added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
        return tokenizer["model"]["vocab"] | added, merges, set(added) - {END_OF_TEXT}
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not the tokenizer of a GPT-2 ({error!r}).") from error
