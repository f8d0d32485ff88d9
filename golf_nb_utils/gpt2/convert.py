"""From tensors under another library's names to model.safetensors, one tensor at a time.

A conversion is a table {source name: [our name, shape at the source, whether it is a matrix to be
transposed]} and a function that reads a tensor by its source name. Nothing here imports torch or
TensorFlow, so that it runs beside either.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# TensorFlow name -> (our name, is a matrix). OpenAI computes x @ w + b with w as [1, in, out];
# nn.Linear computes x @ weight.T + bias with weight as [out, in]. So every matrix is transposed,
# and one of them is dangerous: attn/c_proj is square, and fits untransposed, too. Nothing then
# raises an error; the model writes nonsense. Shapes cannot show it, logits can: see numpy_logits.
_OUTER = {
    "wte": ("wte.weight", False), "wpe": ("wpe.weight", False),
    "ln_f/g": ("ln_f.weight", False), "ln_f/b": ("ln_f.bias", False),
}  # fmt: skip
_PER_LAYER = {
    "ln_1/g": ("ln_1.weight", False), "ln_1/b": ("ln_1.bias", False),
    "attn/c_attn/w": ("attn.c_attn.weight", True), "attn/c_attn/b": ("attn.c_attn.bias", False),
    "attn/c_proj/w": ("attn.c_proj.weight", True), "attn/c_proj/b": ("attn.c_proj.bias", False),
    "ln_2/g": ("ln_2.weight", False), "ln_2/b": ("ln_2.bias", False),
    "mlp/c_fc/w": ("mlp.c_fc.weight", True), "mlp/c_fc/b": ("mlp.c_fc.bias", False),
    "mlp/c_proj/w": ("mlp.c_proj.weight", True), "mlp/c_proj/b": ("mlp.c_proj.bias", False),
}  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint is damaged, or no such GPT-2; `damaged` is the file to fetch anew."""

    def __init__(self, message: str, damaged: str = ""):
        super().__init__(message)
        self.damaged = damaged


def name_table(n_layer: int) -> dict[str, tuple[str, bool]]:
    """Return {TensorFlow name: (our name, whether it is a matrix)}, 4 + 12 n_layer tensors.

    Layers are found by name. A loader that goes through the sorted names and counts puts h10, which
    sorts before h2, in the place of layer 2; all layers have the same shapes, so that no error
    shows it. 124M has 12 layers.
    """
    table = {f"model/{name}": entry for name, entry in _OUTER.items()}
    for layer in range(n_layer):
        table |= {
            f"model/h{layer}/{name}": (f"h.{layer}.{entry[0]}", entry[1])
            for name, entry in _PER_LAYER.items()
        }
    return table


def check_table(
    shapes: dict[str, list[int]], table: dict[str, list], described_in: str = "hparams.json"
) -> None:
    """Compare the names and shapes of a checkpoint with the table.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshapen; all of them are named.
    """
    problems = [f"missing {name}" for name in table if name not in shapes]
    problems += [f"unexpected {name}" for name in sorted(shapes) if name not in table]
    for name, (_, shape, _) in table.items():
        if name in shapes and list(shapes[name]) != list(shape):
            problems.append(f"{name} has shape {list(shapes[name])}, expected {list(shape)}")
    if problems:
        raise CheckpointError(
            f"the checkpoint does not fit its {described_in}: {'; '.join(problems)}."
        )


def converted(read: Callable[[str], np.ndarray], table: dict[str, list]) -> Iterator[np.ndarray]:
    """Yield each tensor of the table as PyTorch keeps it: float32, matrices [out, in].

    Raises:
        CheckpointError: a number is infinite or none, as a training that went wrong leaves them.
    """
    for name, (_, _, is_matrix) in table.items():
        array = read(name)
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{name} holds values that are no finite numbers; take an earlier save of it."
            )
        yield np.ascontiguousarray(
            array.reshape(array.shape[-2:]).T if is_matrix else array, dtype=np.float32
        )


def write_safetensors(
    path: str | Path,
    read: Callable[[str], np.ndarray],
    table: dict[str, list],
    metadata: dict[str, str],
) -> None:
    """Write all tensors of a table to a safetensors file, one after the other.

    So memory holds one of them at a time; the library's own writer wants all, twice. Format
    (https://github.com/huggingface/safetensors#format): the header's length in 8 bytes, the header
    in JSON with type, shape and place of each tensor, then their bytes.
    """
    header: dict = {"__metadata__": metadata}
    end = 0
    for target, shape, is_matrix in table.values():
        start, end = end, end + 4 * int(np.prod(shape))
        header[target] = {
            "dtype": "F32",
            "shape": [*shape[:-3:-1]] if is_matrix else [*shape],
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    # The data begins at a multiple of 64 bytes, as vector instructions like it: the tensors are
    # used where the file is mapped.
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in converted(read, table):
            file.write(array.data)  # not tofile, which does not say why it fails


def numpy_logits(
    read: Callable[[str], np.ndarray], config: dict[str, int], token_ids: list[int]
) -> np.ndarray:
    """Compute the logits, (n_tokens, n_vocab), of one sequence with NumPy.

    It shares no code with GPTModel and keeps OpenAI's layout (x @ w + b), so that a transposed,
    swapped or unread tensor of the conversion shows as a difference. `config` holds the fields of
    hparams.json; `read` returns a tensor by its name, and no layer is kept. After openai/gpt-2,
    src/model.py: pre-norm, tanh GELU (Hendrycks & Gimpel 2016), epsilon 1e-5.
    """

    def tensor(name):
        return read(f"model/{name}").astype(np.float64).squeeze()

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return x * tensor(f"{name}/g") + tensor(f"{name}/b")

    def dense(x, name):
        return x @ tensor(f"{name}/w") + tensor(f"{name}/b")

    n, size = len(token_ids), config["n_embd"] // config["n_head"]
    x = tensor("wte")[token_ids] + tensor("wpe")[:n]
    later = np.triu(np.ones((n, n), dtype=bool), k=1)
    for layer in range(config["n_layer"]):
        q, k, v = np.split(dense(norm(x, f"h{layer}/ln_1"), f"h{layer}/attn/c_attn"), 3, axis=-1)
        heads = []
        for head in range(config["n_head"]):
            part = slice(head * size, (head + 1) * size)
            scores = np.where(later, -np.inf, q[:, part] @ k[:, part].T / np.sqrt(size))
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        x = x + dense(np.concatenate(heads, axis=-1), f"h{layer}/attn/c_proj")
        inner = dense(norm(x, f"h{layer}/ln_2"), f"h{layer}/mlp/c_fc")
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + dense(inner, f"h{layer}/mlp/c_proj")
    return norm(x, "ln_f") @ tensor("wte").T
