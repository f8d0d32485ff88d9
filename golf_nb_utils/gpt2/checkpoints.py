"""GPT-2 checkpoints: TensorFlow's format to PyTorch through one name table, the embedded `tiny`, and `.pth` files."""

import dataclasses
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from golf_nb_utils.files import (
    DAMAGED,
    DATA_FILE,
    INDEX_FILE,
    ArtifactMismatchError,
    MissingArtifactError,
    sha256_file,
    write_json,
    write_text,
    write_with,
)
from golf_nb_utils.gpt2 import tensorflow_io
from golf_nb_utils.gpt2.convert import CheckpointError, name_table, write_safetensors
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import learn_bpe, tokenizer_hash
from golf_nb_utils.host import require_disk, seed_everything
from golf_nb_utils.prompt import template_hash
from golf_nb_utils.settings import GPT_CONFIGS, GPTConfig

CONVERTED = "model.safetensors"
"""The converted weights, beside the checkpoint; their sidecar model.safetensors.json says what they were made from."""


def read_hparams(folder: Path) -> GPTConfig:
    """Read the shape of the checkpoint in `folder`.

    Raises:
        MissingArtifactError: there is no hparams.json.
        CheckpointError: it does not hold the five fields.
    """
    path = Path(folder) / "hparams.json"
    if not path.is_file():
        raise MissingArtifactError(
            f"{path} does not exist: run notebook 02 first, or attach its output."
        )
    wanted = {field.name for field in dataclasses.fields(GPTConfig)}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if set(found) != wanted:
            raise ValueError(
                f"expected the fields {', '.join(sorted(wanted))}, found {', '.join(sorted(found))}"
            )
        return GPTConfig(**found)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not the hparams.json of a GPT-2 ({error}); delete it and run notebook 02 again."
        ) from error


def conversion_table(config: GPTConfig) -> dict[str, list]:
    """Return name_table with the shapes: {TensorFlow name: [our name, TensorFlow's shape, whether a matrix is to be transposed]}."""
    with torch.device("meta"):
        shapes = {
            name: list(tensor.shape) for name, tensor in GPTModel(config).state_dict().items()
        }
    return {
        name: [target, [1, *reversed(shapes[target])] if is_matrix else shapes[target], is_matrix]
        for name, (target, is_matrix) in name_table(config.n_layer).items()
    }


def convert_checkpoint(folder: str | Path) -> dict:
    """Convert the TensorFlow checkpoint in `folder` to model.safetensors beside it, unless that is there; return its sidecar.

    The sidecar (model.safetensors.json) holds `tensors` (the names and shapes that were read), `sha256`, `index_sha256` and, if
    the conversion ran just now, `seconds` without TensorFlow's import. The index holds the CRC32C of every tensor, which is
    compared as it is read; so the hash of the index says what the weights are. A folder with model.safetensors and no index
    (of huggingface.import_pretrained, or one kept small) is taken as it is.

    Raises:
        MissingArtifactError: hparams.json, the index or the data file is missing.
        CheckpointError: the files are damaged (the one at fault is moved aside, to be fetched anew) or do not fit hparams.json.
        OSError: the disk is too small, or the folder cannot be written.
    """
    folder = Path(folder)
    config = read_hparams(folder)
    known = _read_sidecar(folder)
    index_sha256 = sha256_file(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else None
    if known and (folder / CONVERTED).is_file() and index_sha256 in (None, known["index_sha256"]):
        return known
    _require_checkpoint(folder)
    require_disk(
        folder, (folder / DATA_FILE).stat().st_size, f"the converted copy of {folder / DATA_FILE}"
    )
    facts = {
        "folder": folder.resolve(),
        "table": conversion_table(config),
        "metadata": {"format": "pt", "index_sha256": index_sha256},
    }
    found: dict = {}
    try:
        write_with(
            folder / CONVERTED,
            lambda temporary: found.update(
                tensorflow_io.run("convert", out=temporary.resolve(), **facts)
            ),
        )
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: {error}{_set_aside(folder, error.damaged)}", error.damaged
        ) from error
    return _write_sidecar(folder, found["tensors"], index_sha256) | {"seconds": found["seconds"]}


def write_converted(
    folder: Path,
    read: Callable[[str], np.ndarray],
    table: dict[str, list],
    tensors: dict[str, list[int]],
) -> None:
    """Write model.safetensors and its sidecar from any source; see conversion.write_safetensors.

    `tensors` are the names and shapes at the source, for the sidecar.
    """
    write_with(
        folder / CONVERTED,
        lambda temporary: write_safetensors(temporary, read, table, {"format": "pt"}),
    )
    _write_sidecar(folder, tensors)


def _write_sidecar(folder: Path, tensors: dict[str, list[int]], index_sha256: str = "") -> dict:
    sidecar = {
        "sha256": sha256_file(folder / CONVERTED),
        "index_sha256": index_sha256,
        "tensors": tensors,
    }
    write_json(folder / f"{CONVERTED}.json", sidecar)
    return sidecar


def _read_sidecar(folder: Path) -> dict | None:
    try:
        found = json.loads((folder / f"{CONVERTED}.json").read_text(encoding="utf-8"))
        return found if {"sha256", "index_sha256", "tensors"} <= set(found) else None
    except (OSError, ValueError, TypeError):
        return None


def _require_checkpoint(folder: Path) -> None:
    for name in (INDEX_FILE, DATA_FILE):
        if not (folder / name).is_file():
            raise MissingArtifactError(
                f"{folder / name} does not exist: run notebook 02 first, or attach its output."
            )


def _set_aside(folder: Path, name: str) -> str:
    if not name:
        return ""
    os.replace(folder / name, folder / f"{name}{DAMAGED}")
    return f" It is kept as {name}{DAMAGED}; run notebook 02 again to get another one."


def load_base_model(folder: str | Path) -> GPTModel:
    """Return the checkpoint in `folder` as a GPTModel in eval mode on the CPU; converted first if it is not yet.

    The weights are mapped from model.safetensors, so that a page takes memory when it is first used and is copied when it is
    first trained. A folder that has this file needs neither TensorFlow nor the checkpoint's own tensors.

    Raises:
        MissingArtifactError, CheckpointError, OSError: see convert_checkpoint.
        ArtifactMismatchError: model.safetensors is not the file that its sidecar describes.
    """
    folder = Path(folder)
    config = read_hparams(folder)
    expected = convert_checkpoint(folder)["sha256"]
    out = folder / CONVERTED
    found = sha256_file(out)
    if found != expected:
        raise ArtifactMismatchError(
            f"{out} has sha256 {found[:12]}..., {out.name}.json says {expected[:12]}...; delete both and run notebook 02 again."
        )
    return _assembled(config, load_file(out))


def _assembled(config: GPTConfig, state: dict[str, torch.Tensor]) -> GPTModel:
    """A model in eval mode around the tensors of a state dict, without a copy and without weights drawn in vain."""
    with torch.device("meta"):
        model = GPTModel(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def checkpoint_logits(folder: str | Path, token_ids: list[int]) -> np.ndarray:
    """Return the logits, (n_tokens, n_vocab) in float64, that NumPy computes from TensorFlow's tensors; see numpy_logits.

    Raises:
        MissingArtifactError: hparams.json, the index or the data file is missing.
        CheckpointError: TensorFlow refuses the files.
    """
    config = dataclasses.asdict(read_hparams(Path(folder)))
    _require_checkpoint(Path(folder))
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "logits.npy"
        tensorflow_io.run(
            "logits", folder=Path(folder).resolve(), out=out, config=config, token_ids=token_ids
        )
        return np.load(out)


def state_dict_to_tf(state: dict[str, torch.Tensor], config: GPTConfig) -> dict[str, np.ndarray]:
    """Convert a state dict to TensorFlow's names and shapes: the name table read the other way."""
    return {
        name: state[target].numpy().T[None].copy() if is_matrix else state[target].numpy()
        for name, (target, is_matrix) in name_table(config.n_layer).items()
    }


def write_tf_checkpoint(
    folder: str | Path, tensors: dict[str, np.ndarray], config: GPTConfig
) -> None:
    """Write `checkpoint`, hparams.json and the three model.ckpt files as OpenAI's Saver did."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        arrays = Path(temporary) / "tensors.npz"
        np.savez(arrays, **tensors)
        tensorflow_io.run("write", folder=folder.resolve(), arrays=arrays.resolve())
    write_text(folder / "hparams.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def make_tiny_checkpoint(folder: str | Path, texts: list[str], seed: int) -> None:
    """Make the seven files of `tiny`: a vocabulary learnt from `texts` and random weights drawn from `seed`."""
    config = GPT_CONFIGS["tiny"]
    (Path(folder) / CONVERTED).unlink(missing_ok=True)
    learn_bpe(texts, config.n_vocab, folder)
    seed_everything(seed)
    model = GPTModel(config)
    init_weights(model, seed)
    write_tf_checkpoint(folder, state_dict_to_tf(model.state_dict(), config), config)


def save_model(path: Path, model: GPTModel, checkpoint_folder: Path, **facts) -> Path:
    """Save the weights as a plain fp32 state dict, and a JSON sidecar with what a loader has to know.

    `facts` (size, seed, data hash, versions, metrics, ...) go into the sidecar as they are.
    """
    state = {
        name: tensor.detach().to("cpu", torch.float32)
        for name, tensor in model.state_dict().items()
    }

    def write(temporary: Path) -> None:
        # Through an open file: given a path, torch writes its random temporary name into the archive.
        with open(temporary, "wb") as file:
            torch.save(state, file)

    write_with(path, write)
    sidecar = {
        "config": dataclasses.asdict(model.config),
        "template_sha256": template_hash(),
        "tokenizer_sha256": tokenizer_hash(checkpoint_folder),
        "weights_sha256": sha256_file(path),
        **facts,
    }
    write_json(path.with_suffix(".json"), sidecar)
    return path


def load_model(path: str | Path, checkpoint_folder: str | Path) -> tuple[GPTModel, dict]:
    """Load a fine-tuned model and its sidecar, in eval mode on the CPU.

    Raises:
        MissingArtifactError: the weights or the sidecar are missing.
        ArtifactMismatchError: weights, template or tokenizer are not those of the sidecar, the message says which; or the
            file holds more than weights.
    """
    path = Path(path)
    sidecar_path = path.with_suffix(".json")
    for file in (path, sidecar_path):
        if not file.is_file():
            raise MissingArtifactError(
                f"{file} does not exist: run notebook 03 first, or attach its output."
            )
    try:
        sidecar = json.loads(sidecar_path.read_text(encoding="utf-8"))
        config = GPTConfig(**sidecar["config"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactMismatchError(
            f"{sidecar_path} is not a sidecar of notebook 03 ({error!r}); run it again."
        ) from error
    found = {
        "weights_sha256": sha256_file(path),
        "template_sha256": template_hash(),
        "tokenizer_sha256": tokenizer_hash(checkpoint_folder),
    }
    for name, value in found.items():
        if sidecar.get(name) != value:
            raise ArtifactMismatchError(
                f"{path.name} does not belong to its surroundings: {name} is {value[:12]}..., "
                f"its sidecar {sidecar_path.name} says {str(sidecar.get(name))[:12]}...; run notebook 03 again."
            )
    try:
        state = torch.load(path, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ArtifactMismatchError(
            f"{path} holds more than weights, which may be code; none of it was run: delete the file."
        ) from error
    return _assembled(config, state), sidecar
