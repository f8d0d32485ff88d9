"""GPT-2's files and models made of them.

TensorFlow's checkpoint becomes model.safetensors once (`convert_checkpoint`), and from then on that
file is mapped (`load_base_model`). `tiny` goes the other way first: its weights are drawn here and
written as OpenAI would have (`make_tiny_checkpoint`). A fine-tuned model is a `.pth` with a JSON
sidecar (`save_model`, `load_model`).
"""

import dataclasses
import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
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
    clear_leftovers,
    explained_if_full,
    hold,
    read_json,
    sha256_file,
    write_json,
    write_text,
    write_with,
)
from golf_nb_utils.gpt2 import tensorflow_io
from golf_nb_utils.gpt2.convert import CheckpointError, name_table, write_safetensors
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer, tokenizer_hash
from golf_nb_utils.host import require_disk, seed_everything
from golf_nb_utils.prompt import prompt_hash
from golf_nb_utils.settings import GPT_CONFIGS, GPTConfig

CONVERTED = "model.safetensors"
"""The converted weights, beside the checkpoint; their sidecar has .json after this name."""


def _require(*paths: Path, notebook: str = "02") -> None:
    for path in paths:
        if not path.is_file():
            raise MissingArtifactError(
                f"{path} does not exist: run notebook {notebook} first, or attach its output."
            )


def read_hparams(folder: Path) -> GPTConfig:
    """Read the shape of the checkpoint in `folder`.

    Raises:
        MissingArtifactError: there is no hparams.json.
        CheckpointError: it does not hold the five fields.
    """
    path = Path(folder) / "hparams.json"
    _require(path)
    wanted = {field.name for field in dataclasses.fields(GPTConfig)}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if set(found) != wanted:
            raise ValueError(
                f"expected the fields {', '.join(sorted(wanted))}, found {', '.join(sorted(found))}"
            )
        return GPTConfig(**found)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not the hparams.json of a GPT-2 ({error}); "
            "delete it and run notebook 02 again."
        ) from error


# From TensorFlow to PyTorch.


def conversion_table(config: GPTConfig) -> dict[str, list]:
    """Return name_table with the shapes: {TensorFlow name: [our name, its shape, is a matrix]}.

    The shapes are TensorFlow's: [1, in, out] for a matrix.
    """
    with torch.device("meta"):
        state = GPTModel(config).state_dict()
    return {
        name: [
            target,
            [1, *reversed(state[target].shape)] if is_matrix else list(state[target].shape),
            is_matrix,
        ]
        for name, (target, is_matrix) in name_table(config.n_layer).items()
    }


def convert_checkpoint(folder: str | Path) -> dict:
    """Convert the TensorFlow checkpoint in `folder`, unless it is converted; return the sidecar.

    The sidecar (model.safetensors.json) holds `config` (that of hparams.json), `tensors` (the names
    and shapes that were read), `sha256`, `index_sha256` and, if the conversion ran just now,
    `seconds` without TensorFlow's import. The index holds the CRC32C of every tensor, which is
    compared as it is read: so the hash of the index says what the weights are. A folder with
    model.safetensors and no index (of huggingface.import_pretrained, or one kept small) is taken as
    it is.

    Raises:
        MissingArtifactError: hparams.json, the index or the data file is missing.
        CheckpointError: the files do not fit hparams.json, or are damaged; the one at fault is
            moved aside, to be fetched anew. Or the tokenizer has more or fewer tokens.
        ArtifactMismatchError: hparams.json is not the one of the conversion.
        OSError: the disk is too small, or the folder cannot be written.
    """
    folder = Path(folder)
    config = read_hparams(folder)
    known, out, data = _read_sidecar(folder), folder / CONVERTED, folder / DATA_FILE
    index_sha256 = sha256_file(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else None
    if known and out.is_file() and index_sha256 in (None, known["index_sha256"]):
        shape = dataclasses.asdict(config)
        if known["config"] != shape:
            raise ArtifactMismatchError(
                f"{folder / 'hparams.json'} says {shape}, {CONVERTED} was made with "
                f"{known['config']}; correct it, or delete {CONVERTED} and run notebook 02 again."
            )
        return known
    _require(folder / INDEX_FILE, data)
    _require_row_a_token(folder, config)
    clear_leftovers(folder)
    require_disk(folder, data.stat().st_size, f"the converted copy of {data}")
    facts = {
        "folder": folder.resolve(),
        "table": conversion_table(config),
        "metadata": {"format": "pt", "index_sha256": index_sha256},
    }
    found: dict = {}

    def convert(temporary: Path) -> None:
        found.update(tensorflow_io.run("convert", out=temporary.resolve(), **facts))

    try:
        write_with(out, convert)
    except CheckpointError as error:
        message = f"{folder}: {error}"
        if error.damaged:
            kept = f"{error.damaged}{DAMAGED}"
            os.replace(folder / error.damaged, folder / kept)
            message += f" It is kept as {kept}; run notebook 02 again to get another one."
        raise CheckpointError(message, error.damaged) from error
    sidecar = _write_sidecar(folder, config, found["tensors"], index_sha256)
    return sidecar | {"seconds": found["seconds"]}


def _require_row_a_token(folder: Path, config: GPTConfig) -> None:
    """Refuse a model that could draw a token which its tokenizer lacks, or the other way."""
    if not (folder / "encoder.json").is_file():
        return  # load_tokenizer says so in its own words
    n_tokens = load_tokenizer(folder).n_vocab
    if n_tokens != config.n_vocab:
        raise CheckpointError(
            f"{folder}: hparams.json has {config.n_vocab:,} tokens (n_vocab), the tokenizer has "
            f"{n_tokens:,}; expected as many. Run notebook 02 with the folder that transformers "
            "saved: of it, rows without a token are left out."
        )


def write_converted(
    folder: Path,
    config: GPTConfig,
    read: Callable[[str], np.ndarray],
    table: dict[str, list],
    tensors: dict[str, list[int]],
) -> None:
    """Write model.safetensors and its sidecar from any source; see convert.write_safetensors.

    `tensors` are the names and shapes at the source, for the sidecar.
    """
    write_with(
        folder / CONVERTED, lambda path: write_safetensors(path, read, table, {"format": "pt"})
    )
    _write_sidecar(folder, config, tensors)


def _write_sidecar(
    folder: Path, config: GPTConfig, tensors: dict[str, list[int]], index_sha256: str = ""
) -> dict:
    sidecar = {
        "sha256": sha256_file(folder / CONVERTED),
        "index_sha256": index_sha256,
        "config": dataclasses.asdict(config),
        "tensors": tensors,
    }
    write_json(folder / f"{CONVERTED}.json", sidecar)
    return sidecar


def _read_sidecar(folder: Path) -> dict | None:
    try:
        found = read_json(folder / f"{CONVERTED}.json")
    except (OSError, ArtifactMismatchError):
        return None
    kinds = {"sha256": str, "index_sha256": str, "config": dict, "tensors": dict}
    is_one = all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if is_one else None


def load_base_model(folder: str | Path) -> GPTModel:
    """Return the checkpoint in `folder` as a GPTModel in eval mode on the CPU.

    It is converted first if it is not yet. The weights are mapped from model.safetensors: a page
    takes memory when it is first used, and is copied when it is first trained. A folder with this
    file needs neither TensorFlow nor the checkpoint's own tensors.

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
            f"{out} has sha256 {found[:12]}..., {out.name}.json says {expected[:12]}...; "
            "delete both and run notebook 02 again."
        )
    return _assembled(config, load_file(out))


def _assembled(config: GPTConfig, state: dict[str, torch.Tensor]) -> GPTModel:
    """A model in eval mode around the tensors of a state dict.

    Built on the meta device, which has shapes and no memory: nothing is drawn in vain, or copied.
    """
    with torch.device("meta"):
        model = GPTModel(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def checkpoint_logits(folder: str | Path, token_ids: list[int]) -> np.ndarray:
    """Return the logits, (n_tokens, n_vocab) in fp64, that NumPy computes; see numpy_logits.

    Raises:
        MissingArtifactError: hparams.json, the index or the data file is missing.
        CheckpointError: TensorFlow refuses the files.
    """
    folder = Path(folder)
    facts = {"config": dataclasses.asdict(read_hparams(folder)), "token_ids": token_ids}
    _require(folder / INDEX_FILE, folder / DATA_FILE)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "logits.npy"
        tensorflow_io.run("logits", folder=folder.resolve(), out=out, **facts)
        return np.load(out)


# The embedded `tiny`, in OpenAI's format.


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
    with tempfile.TemporaryDirectory() as temporary, explained_if_full(folder / DATA_FILE):
        arrays = Path(temporary).resolve() / "tensors.npz"
        np.savez(arrays, **tensors)
        tensorflow_io.run("write", folder=folder.resolve(), arrays=arrays)
    write_text(folder / "hparams.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def make_tiny_checkpoint(folder: str | Path, texts: list[str], seed: int) -> None:
    """Make the seven files of `tiny`: a vocabulary of `texts`, random weights drawn from `seed`.

    The folder is held (files.hold) until its manifest is written.

    Raises:
        FolderInUseError: another process makes them.
    """
    config = GPT_CONFIGS["tiny"]
    hold(Path(folder), f"notebook 02 for tiny with seed {seed}")
    (Path(folder) / CONVERTED).unlink(missing_ok=True)
    learn_bpe(texts, config.n_vocab, folder)
    seed_everything(seed)
    model = GPTModel(config)
    init_weights(model, seed)
    write_tf_checkpoint(folder, state_dict_to_tf(model.state_dict(), config), config)


# Fine-tuned models.


def weights_hash(model: GPTModel) -> str:
    """Return one SHA-256 over the names, types, shapes and bytes of a model's weights.

    Not that of a file: the same weights come in files of several forms.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def require_same_base(base: GPTModel, sidecar: dict) -> None:
    """Refuse another base model than the one that a model was fine-tuned from.

    `sidecar` is that of the fine-tuned model.

    Raises:
        ArtifactMismatchError: its `base_sha256` is not the hash of these weights.
    """
    found, expected = weights_hash(base), sidecar.get("base_sha256")
    if found != expected:
        raise ArtifactMismatchError(
            f"the model was fine-tuned from other base weights: base_sha256 is {found[:12]}..., "
            f"its sidecar says {str(expected)[:12]}...; run notebook 03 again, or attach the "
            "output of notebook 02 that it was run with."
        )


def save_model(path: Path, model: GPTModel, checkpoint_folder: Path, **facts) -> Path:
    """Save the weights as a plain fp32 state dict, and a JSON sidecar with what a loader must know.

    `facts` (size, seed, hashes of data and base, versions, metrics, ...) go into the sidecar as
    they are.
    """
    state = {
        name: tensor.detach().to("cpu", torch.float32)
        for name, tensor in model.state_dict().items()
    }

    def save(temporary: Path) -> None:
        # Through an open file: given a path, torch writes its random temporary name into the
        # archive.
        with open(temporary, "wb") as file:
            torch.save(state, file)

    write_with(path, save)
    config = dataclasses.asdict(model.config)
    sidecar = {"config": config, **_surroundings(path, checkpoint_folder), **facts}
    write_json(path.with_suffix(".json"), sidecar)
    return path


def require_same_weights(model: GPTModel, path: Path, checkpoint_folder: str | Path) -> None:
    """Load what `save_model` wrote and refuse it if a weight is another one.

    Raises:
        ArtifactMismatchError: the file holds other weights; and see load_model.
    """
    if weights_hash(load_model(path, checkpoint_folder)[0]) != weights_hash(model):
        raise ArtifactMismatchError(
            f"{path} does not hold the weights that were saved; save the model again, on another "
            "disk if it happens twice."
        )


def _surroundings(path: Path, checkpoint_folder: str | Path) -> dict[str, str]:
    """The hashes of all that a fine-tuned model is worth nothing without."""
    return {
        "template_sha256": prompt_hash(),
        "tokenizer_sha256": tokenizer_hash(checkpoint_folder),
        "weights_sha256": sha256_file(path),
    }


_FACTS = {"model_size": str, "seed": int, "data": dict, "training": dict, "metrics": dict}
"""The facts that others read in the sidecar of a fine-tuned model, None where it lacks them."""


def load_model(path: str | Path, checkpoint_folder: str | Path) -> tuple[GPTModel, dict]:
    """Load a fine-tuned model and its sidecar, in eval mode on the CPU.

    A model that reads other tokens or another prompt than it was trained on still writes, only
    badly. So the hashes decide.

    Raises:
        MissingArtifactError: the weights or the sidecar are missing.
        ArtifactMismatchError: weights, prompt, tokenizer or shape are not those of the sidecar, and
            the message says which; or the sidecar is damaged, or the file holds more than weights.
    """
    path = Path(path)
    sidecar_path = path.with_suffix(".json")
    _require(path, sidecar_path, notebook="03")
    sidecar = read_json(sidecar_path, remedy="run notebook 03 again")
    try:
        config = GPTConfig(**sidecar["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactMismatchError(
            f"{sidecar_path} is not a sidecar of notebook 03 ({error!r}); run it again."
        ) from error
    for name, kind in _FACTS.items():
        fact = sidecar.setdefault(name, None)
        if not isinstance(fact, kind | None):
            raise ArtifactMismatchError(
                f"{sidecar_path} has {fact!r:.80} as {name}, expected a {kind.__name__}; "
                "run notebook 03 again."
            )
    for name, value in _surroundings(path, checkpoint_folder).items():
        if sidecar.get(name) != value:
            raise ArtifactMismatchError(
                f"{path.name} does not belong to its surroundings: {name} is {value[:12]}..., "
                f"its sidecar {sidecar_path.name} says {str(sidecar.get(name))[:12]}...; "
                "run notebook 03 again."
            )
    try:
        # A .pth is a pickle, which can run code as it is read; weights_only reads tensors alone.
        state = torch.load(path, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ArtifactMismatchError(
            f"{path} holds more than weights, which may be code; none of it was run: "
            "delete the file."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ArtifactMismatchError(
            f"{path} is no file of torch.save ({error!r:.200}); run notebook 03 again."
        ) from error
    wrong = f"{sidecar_path} says {config}, which is not what {path.name} holds"
    hparams = Path(checkpoint_folder) / "hparams.json"
    if hparams.is_file() and read_hparams(hparams.parent) != config:
        # The number of heads shows in no shape.
        wrong = f"{sidecar_path} says {config}, {hparams} does not"
    elif isinstance(state, dict) and config.n_layer <= len(state):
        # A layer has a dozen tensors: nobody builds a million of them for a file of a few.
        with suppress(RuntimeError, TypeError, OverflowError):
            return _assembled(config, state), sidecar
    raise ArtifactMismatchError(f"{wrong}; run notebook 03 again.")
