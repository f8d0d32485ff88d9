"""The table of names and shapes, its check, the conversion one tensor at a time, and NumPy's logits."""

import re
import tracemalloc
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from golf_nb_utils.gpt2.checkpoints import state_dict_to_tf
from golf_nb_utils.gpt2.convert import (
    CheckpointError,
    check_table,
    converted,
    numpy_logits,
    write_safetensors,
)
from golf_nb_utils.settings import GPTConfig

CONFIG = GPTConfig(n_vocab=997, n_ctx=48, n_embd=32, n_head=4, n_layer=13)
SHAPES = {"model/w": [1, 3, 2], "model/e": [4, 3], "model/b": [2]}
TABLE = {
    "model/w": ["linear.weight", SHAPES["model/w"], True],
    "model/e": ["wte.weight", SHAPES["model/e"], False],
    "model/b": ["linear.bias", SHAPES["model/b"], False],
}


# The table and the conversion.


def test_a_checkpoint_that_fits_its_table_passes():
    check_table(SHAPES, TABLE)


def test_one_error_lists_all_that_is_missing_unexpected_or_misshapen():
    shapes = {"model/w": [1, 2, 3], "model/e": [3, 4], "model/h12/ln_1/g": [2], "global_step": []}
    with pytest.raises(CheckpointError) as caught:
        check_table(shapes, TABLE)
    for problem in (
        "missing model/b",
        "unexpected model/h12/ln_1/g",
        "unexpected global_step",
        "model/w has shape [1, 2, 3], expected [1, 3, 2]",
        "model/e has shape [3, 4], expected [4, 3]",
    ):
        assert problem in str(caught.value)
    # No file is at fault: to fetch one anew would change nothing.
    assert caught.value.damaged == ""


@pytest.mark.parametrize(
    ("name", "shape"),
    [("model/w", [3, 2]), ("model/w", [2, 3]), ("model/e", [1, 4, 3]), ("model/b", [1, 2])],
)
def test_a_tensor_without_or_with_another_leading_one_is_misshapen(name, shape):
    with pytest.raises(CheckpointError, match=rf"{name} has shape {re.escape(str(shape))}"):
        check_table(SHAPES | {name: shape}, TABLE)


def test_a_matrix_is_transposed_and_nothing_else_is():
    tensors = {
        name: np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        for name, shape in SHAPES.items()
    }
    matrix, embedding, bias = converted(tensors.__getitem__, TABLE)
    assert matrix.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert embedding.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert bias.tolist() == [0, 1]
    # These bytes are written as they lie in memory.
    assert all(
        array.dtype == np.float32 and array.flags.c_contiguous
        for array in (matrix, embedding, bias)
    )


def test_tensors_are_read_one_at_a_time_in_the_order_of_the_table():
    asked = []
    tensors = converted(lambda name: asked.append(name) or np.zeros(SHAPES[name]), TABLE)
    seen = [list(asked) for _ in tensors]
    assert seen == [["model/w"], ["model/w", "model/e"], ["model/w", "model/e", "model/b"]]


@pytest.mark.parametrize("shape", [[1, 3, 2], [3, 2]])
def test_the_safetensors_library_reads_what_is_written(tmp_path, shape):
    matrix = np.arange(6, dtype=np.float16).reshape(shape)
    write_safetensors(
        tmp_path / "file",
        {"w": matrix}.__getitem__,
        {"w": ["linear.weight", shape, True]},
        {"format": "pt"},
    )
    found = load_file(tmp_path / "file")
    assert {name: array.tolist() for name, array in found.items()} == {
        "linear.weight": [[0, 2, 4], [1, 3, 5]]
    }
    assert found["linear.weight"].dtype == np.float32
    header = int.from_bytes((tmp_path / "file").read_bytes()[:8], "little")
    assert (8 + header) % 64 == 0


# NumPy's logits.


@pytest.fixture(scope="module")
def gpt2(random_model, gpt2_twin):
    """(the tensors of a GPT-2 as TensorFlow keeps them, its twin in transformers)."""
    model = random_model(CONFIG)
    return state_dict_to_tf(model.state_dict(), CONFIG), gpt2_twin(model)


@pytest.mark.parametrize("n_tokens", [1, 7, CONFIG.n_ctx])
def test_the_logits_of_numpy_are_those_of_transformers(gpt2, n_tokens):
    tensors, twin = gpt2
    token_ids = torch.randperm(CONFIG.n_vocab, generator=torch.Generator().manual_seed(n_tokens))[
        :n_tokens
    ]
    with torch.inference_mode():
        expected = twin(token_ids[None]).logits[0].numpy()
    found = numpy_logits(tensors.__getitem__, asdict(CONFIG), token_ids.tolist())
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_every_tensor_is_read_once_and_the_embedding_also_for_the_head(gpt2):
    tensors, _ = gpt2
    asked = []
    numpy_logits(lambda name: asked.append(name) or tensors[name], asdict(CONFIG), [0, 1])
    assert Counter(asked) == Counter(dict.fromkeys(tensors, 1) | {"model/wte": 2})


def test_the_logits_of_numpy_need_little_more_memory_than_one_layer(gpt2):
    tensors, _ = gpt2
    layers = sum(8 * array.size for name, array in tensors.items() if name.startswith("model/h"))
    tracemalloc.start()
    numpy_logits(tensors.__getitem__, asdict(CONFIG), [0, 1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * CONFIG.n_vocab * CONFIG.n_embd + layers / 4
