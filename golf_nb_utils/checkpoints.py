"""GPT-2 checkpoints: TensorFlow's format to a PyTorch state dict through one name table, the embedded `tiny`, and `.pth` files.

TensorFlow is imported only inside the two functions that read and write its files, with the GPUs hidden from it.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

from golf_nb_utils.artifacts import ArtifactMismatchError, MissingArtifactError, sha256_file, write_json, write_text, write_with
from golf_nb_utils.config import GPT_CONFIGS, GPTConfig
from golf_nb_utils.environment import seed_everything
from golf_nb_utils.model import GPTModel, init_weights
from golf_nb_utils.prompts import template_hash
from golf_nb_utils.tokenizer import learn_bpe, tokenizer_hash

PREFIX = "model.ckpt"
TF_CHECKPOINT_FILES = (
    "checkpoint",
    "encoder.json",
    "hparams.json",
    f"{PREFIX}.data-00000-of-00001",
    f"{PREFIX}.index",
    f"{PREFIX}.meta",
    "vocab.bpe",
)

# TensorFlow name -> (PyTorch name, is a matrix). TensorFlow keeps matrices as [1, in, out], nn.Linear as [out, in].
_OUTER = {"wte": ("wte.weight", False), "wpe": ("wpe.weight", False), "ln_f/g": ("ln_f.weight", False), "ln_f/b": ("ln_f.bias", False)}
_PER_LAYER = {
    "ln_1/g": ("ln_1.weight", False),
    "ln_1/b": ("ln_1.bias", False),
    "attn/c_attn/w": ("attn.c_attn.weight", True),
    "attn/c_attn/b": ("attn.c_attn.bias", False),
    "attn/c_proj/w": ("attn.c_proj.weight", True),
    "attn/c_proj/b": ("attn.c_proj.bias", False),
    "ln_2/g": ("ln_2.weight", False),
    "ln_2/b": ("ln_2.bias", False),
    "mlp/c_fc/w": ("mlp.c_fc.weight", True),
    "mlp/c_fc/b": ("mlp.c_fc.bias", False),
    "mlp/c_proj/w": ("mlp.c_proj.weight", True),
    "mlp/c_proj/b": ("mlp.c_proj.bias", False),
}


class CheckpointError(ValueError):
    """A checkpoint is not the GPT-2 that its hparams.json describes."""


def name_table(n_layer: int) -> dict[str, tuple[str, bool]]:
    """Return {TensorFlow name: (PyTorch name, whether a matrix is to be transposed)} for all 4 + 12 n_layer tensors."""
    table = {f"model/{name}": entry for name, entry in _OUTER.items()}
    for layer in range(n_layer):
        table |= {f"model/h{layer}/{name}": (f"h.{layer}.{entry[0]}", entry[1]) for name, entry in _PER_LAYER.items()}
    return table


def read_hparams(folder: Path) -> GPTConfig:
    """Read the shape of the checkpoint in `folder`.

    Raises:
        MissingArtifactError: there is no hparams.json.
        CheckpointError: it does not hold the five fields.
    """
    path = Path(folder) / "hparams.json"
    if not path.is_file():
        raise MissingArtifactError(f"{path} does not exist: run notebook 02 first, or attach its output.")
    wanted = {field.name for field in dataclasses.fields(GPTConfig)}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if set(found) != wanted:
            raise ValueError(f"expected the fields {', '.join(sorted(wanted))}, found {', '.join(sorted(found))}")
        return GPTConfig(**found)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not the hparams.json of a GPT-2 ({error}); delete it and run notebook 02 again.") from error


def _tensorflow():
    """Import TensorFlow quietly and without GPUs: it takes all memory of those that it sees."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # Its C++ side writes notices about missing GPU drivers straight to file descriptor 2, before any log level holds.
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
    return tf


def read_tf_checkpoint(folder: str | Path) -> dict[str, np.ndarray]:
    """Read every tensor of a TensorFlow checkpoint; its reader verifies each one's CRC32C.

    Raises:
        MissingArtifactError: the index or the data file is missing.
        CheckpointError: TensorFlow refuses the files (damaged, cut short, or an error page).
    """
    folder = Path(folder)
    for name in (f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"):
        if not (folder / name).is_file():
            raise MissingArtifactError(f"{folder / name} does not exist: run notebook 02 first, or attach its output.")
    tf = _tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(folder / PREFIX))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"TensorFlow cannot read {folder / PREFIX}: {reason}. Delete the folder and run notebook 02 again."
        ) from error


def state_dict_from_tf(tensors: dict[str, np.ndarray], config: GPTConfig) -> dict[str, torch.Tensor]:
    """Convert TensorFlow tensors to the state dict of `GPTModel(config)`, each used exactly once.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshapen; all of them are named.
    """
    table = name_table(config.n_layer)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in GPTModel(config).state_dict().items()}
    problems = [f"missing {name}" for name in sorted(set(table) - set(tensors))]
    problems += [f"unexpected {name}" for name in sorted(set(tensors) - set(table))]
    state = {}
    for name in table.keys() & tensors.keys():
        target, is_matrix = table[name]
        array = tensors[name]
        expected = (1, *reversed(shapes[target])) if is_matrix else shapes[target]
        if array.shape != expected:
            problems.append(f"{name} has shape {array.shape}, {target} needs {expected}")
            continue
        array = array[0].T if is_matrix else array
        state[target] = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    if problems:
        raise CheckpointError(f"the checkpoint does not fit {config}: {'; '.join(problems)}.")
    return {name: state[name] for name in shapes}


def state_dict_to_tf(state: dict[str, torch.Tensor], config: GPTConfig) -> dict[str, np.ndarray]:
    """Convert a state dict to TensorFlow's names and shapes; the inverse of `state_dict_from_tf`."""
    return {
        name: state[target].numpy().T[None].copy() if is_matrix else state[target].numpy()
        for name, (target, is_matrix) in name_table(config.n_layer).items()
    }


def numpy_logits(tensors: dict[str, np.ndarray], config: GPTConfig, token_ids: list[int]) -> np.ndarray:
    """Compute the logits, (n_tokens, n_vocab), of one sequence with NumPy from TensorFlow's own tensors.

    It shares no code with GPTModel and keeps OpenAI's layout (x @ w + b), so that a transposed, swapped or unread
    tensor of the conversion shows as a difference. After openai/gpt-2, src/model.py: pre-norm, tanh GELU
    (Hendrycks & Gimpel 2016), epsilon 1e-5.
    """
    t = {name.removeprefix("model/"): array.astype(np.float64).squeeze() for name, array in tensors.items()}

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * t[f"{name}/g"] + t[f"{name}/b"]

    def dense(x, name):
        return x @ t[f"{name}/w"] + t[f"{name}/b"]

    n, size = len(token_ids), config.n_embd // config.n_head
    x = t["wte"][token_ids] + t["wpe"][:n]
    later = np.triu(np.ones((n, n), dtype=bool), k=1)
    for layer in range(config.n_layer):
        q, k, v = np.split(dense(norm(x, f"h{layer}/ln_1"), f"h{layer}/attn/c_attn"), 3, axis=-1)
        heads = []
        for head in range(config.n_head):
            part = slice(head * size, (head + 1) * size)
            scores = np.where(later, -np.inf, q[:, part] @ k[:, part].T / np.sqrt(size))
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        x = x + dense(np.concatenate(heads, axis=-1), f"h{layer}/attn/c_proj")
        inner = dense(norm(x, f"h{layer}/ln_2"), f"h{layer}/mlp/c_fc")
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + dense(inner, f"h{layer}/mlp/c_proj")
    return norm(x, "ln_f") @ t["wte"].T


def write_tf_checkpoint(folder: str | Path, tensors: dict[str, np.ndarray], config: GPTConfig) -> None:
    """Write `checkpoint`, hparams.json and the three model.ckpt files as OpenAI's Saver did."""
    tf = _tensorflow()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = []
        for name, array in tensors.items():
            value = tf.compat.v1.placeholder(tf.float32, array.shape)
            variables.append((tf.compat.v1.get_variable(name, initializer=value, use_resource=False), value, array))
        for variable, value, array in variables:
            session.run(variable.initializer, {value: array})
        saver = tf.compat.v1.train.Saver([variable for variable, _, _ in variables])
        saver.save(session, str(folder / PREFIX), latest_filename="checkpoint")
    # Saver records the absolute path of this machine; OpenAI's file holds the bare prefix.
    write_text(folder / "checkpoint", f'model_checkpoint_path: "{PREFIX}"\nall_model_checkpoint_paths: "{PREFIX}"\n')
    write_text(folder / "hparams.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def make_tiny_checkpoint(folder: str | Path, texts: list[str], seed: int) -> None:
    """Make the seven files of `tiny`: a vocabulary learnt from `texts` and random weights drawn from `seed`."""
    config = GPT_CONFIGS["tiny"]
    learn_bpe(texts, config.n_vocab, folder)
    seed_everything(seed)
    model = GPTModel(config)
    init_weights(model, seed)
    write_tf_checkpoint(folder, state_dict_to_tf(model.state_dict(), config), config)


def load_base_model(folder: str | Path) -> GPTModel:
    """Convert the TensorFlow checkpoint in `folder` to a GPTModel in eval mode on the CPU.

    Raises:
        MissingArtifactError, CheckpointError: files are missing, damaged or do not fit hparams.json.
    """
    config = read_hparams(Path(folder))
    model = GPTModel(config)
    model.load_state_dict(state_dict_from_tf(read_tf_checkpoint(folder), config))
    return model.eval()


def save_model(path: Path, model: GPTModel, checkpoint_folder: Path, **facts) -> Path:
    """Save the weights as a plain fp32 state dict, and a JSON sidecar with what a loader has to know.

    `facts` (size, seed, data hash, versions, metrics, ...) go into the sidecar as they are.
    """
    state = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in model.state_dict().items()}

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
        ArtifactMismatchError: weights, template or tokenizer are not those of the sidecar; the message says which.
    """
    path = Path(path)
    sidecar_path = path.with_suffix(".json")
    for file in (path, sidecar_path):
        if not file.is_file():
            raise MissingArtifactError(f"{file} does not exist: run notebook 03 first, or attach its output.")
    try:
        sidecar = json.loads(sidecar_path.read_text(encoding="utf-8"))
        config = GPTConfig(**sidecar["config"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactMismatchError(f"{sidecar_path} is not a sidecar of notebook 03 ({error!r}); run it again.") from error
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
    model = GPTModel(config)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval(), sidecar
