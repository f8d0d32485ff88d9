"""The chunked cross-entropy against torch's own, computed from all logits in double precision."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from golf_nb_utils.gpt2 import cross_entropy
from golf_nb_utils.gpt2.cross_entropy import summed_cross_entropy

N_VOCAB, N_EMBD, CHUNK = 61, 24, 4


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_ROWS", CHUNK)
    monkeypatch.setattr(cross_entropy, "SOFTMAX_ROWS", 3)
    monkeypatch.setattr(cross_entropy, "VOCAB_COLUMNS", 50)


def drawn(rows, n_vocab=N_VOCAB, n_embd=N_EMBD, scale=1.0):
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, n_embd, generator=generator).requires_grad_()
    weight = (scale * torch.randn(n_vocab, n_embd, generator=generator)).requires_grad_()
    return hidden, weight, torch.randint(n_vocab, (rows,), generator=generator)


def reference(hidden, weight, targets):
    """Loss and both gradients in double precision."""
    hidden, weight = (tensor.detach().double().requires_grad_() for tensor in (hidden, weight))
    loss = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    return loss.detach(), *torch.autograd.grad(loss, (hidden, weight))


def relative_error(ours, expected):
    return ((ours.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 2])
def test_the_loss_and_its_gradients_equal_those_of_all_logits_at_once(rows):
    hidden, weight, targets = drawn(rows)
    expected = reference(hidden, weight, targets)
    loss = summed_cross_entropy(hidden, weight, targets)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    assert loss.shape == ()
    for ours, theirs in zip((loss.detach(), *gradients), expected, strict=True):
        assert ours.dtype is torch.float32
        assert relative_error(ours, theirs) < 1e-6


@pytest.mark.parametrize("n_vocab", [61, 64, 130])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_products_are_in_its_format_and_the_softmax_in_fp32(dtype, n_vocab):
    hidden, weight, targets = drawn(11, n_vocab)
    with torch.autocast("cpu", dtype):
        loss = summed_cross_entropy(hidden, weight, targets)
        logits = F.linear(hidden, weight)
    assert logits.dtype is dtype
    expected = F.cross_entropy(logits.double(), targets, reduction="sum")
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    # As torch's own: the logits' gradient is rounded to the format of the products, and to nothing smaller.
    expected = torch.autograd.grad(expected, (hidden, weight))
    for ours, theirs in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        assert ours.dtype is torch.float32
        assert relative_error(ours, theirs) < {torch.bfloat16: 5e-3, torch.float16: 6e-4}[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_in_another_format_get_gradients_in_it(dtype):
    hidden, weight, targets = drawn(6)
    hidden, weight = (tensor.detach().to(dtype).requires_grad_() for tensor in (hidden, weight))
    _, *expected = reference(hidden, weight, targets)
    gradients = torch.autograd.grad(summed_cross_entropy(hidden, weight, targets), (hidden, weight))
    for ours, theirs in zip(gradients, expected, strict=True):
        assert ours.dtype is dtype
        assert relative_error(ours, theirs) < 1e-2


def test_with_a_loss_scale_small_gradients_survive_fp16():
    hidden, weight, _ = drawn(1, scale=0.05)
    with torch.no_grad():
        hidden.fill_(1.0)
        weight[7] += 16 / N_EMBD
    targets, scale, others = torch.tensor([7]), 65536.0, torch.arange(N_VOCAB) != 7
    with torch.autocast("cpu", torch.float16):
        loss = summed_cross_entropy(hidden, weight, targets)
        expected = F.linear(hidden, weight).detach().double().softmax(1)[0, others]
    (ours,) = torch.autograd.grad(loss * scale, weight)
    # Of numbers about 1e-7 FP16, whose smallest is 6e-8, makes one, two or three of those.
    assert expected.max() < 1e-6
    torch.testing.assert_close(ours[others, 0].double() / scale, expected, rtol=2e-2, atol=0)


def test_the_gradient_of_a_mean_and_of_a_scaled_loss_is_that_many_times_the_sums():
    hidden, weight, targets = drawn(9)
    _, *expected = reference(hidden, weight, targets)
    for format, tolerance in ((torch.bfloat16, 1e-2), (torch.float16, 1e-2), (torch.float32, 1e-6)):
        with torch.autocast("cpu", format, enabled=format is not torch.float32):
            loss = summed_cross_entropy(hidden, weight, targets)
        for ours, theirs in zip(
            torch.autograd.grad(loss * 1024 / 9, (hidden, weight)), expected, strict=True
        ):
            assert relative_error(ours * 9 / 1024, theirs) < tolerance


def test_the_weights_gradient_is_summed_in_fp32_over_many_chunks():
    hidden, weight, targets = drawn(400)
    with torch.autocast("cpu", torch.bfloat16):
        loss = summed_cross_entropy(hidden, weight, targets)
    (ours,) = torch.autograd.grad(loss, weight)
    # Formed from the same rounded logits: what is left are the roundings of each chunk, which do not add up.
    logits = hidden.detach().bfloat16() @ weight.detach().bfloat16().T
    grad_logits = logits.double().softmax(1) - F.one_hot(targets, N_VOCAB)
    assert relative_error(ours, grad_logits.T @ hidden.detach().bfloat16().double()) < 2.5e-3


def test_the_loss_and_gradient_of_logits_beyond_the_range_of_exp_are_right():
    hidden, weight, targets = drawn(7, scale=300.0)
    expected = reference(hidden, weight, targets)
    loss = summed_cross_entropy(hidden, weight, targets)
    assert expected[0] > 5000
    for ours, theirs in zip(
        (loss.detach(), *torch.autograd.grad(loss, (hidden, weight))), expected, strict=True
    ):
        assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16, torch.float16])
def test_no_rows_cost_nothing_and_have_zero_gradients(format):
    hidden, weight, targets = drawn(0)
    with torch.autocast("cpu", format, enabled=format is not torch.float32):
        loss = summed_cross_entropy(hidden, weight, targets)
    assert loss.item() == 0
    grad_hidden, grad_weight = torch.autograd.grad(loss, (hidden, weight))
    assert grad_hidden.shape == (0, N_EMBD)
    assert torch.equal(grad_weight, torch.zeros(N_VOCAB, N_EMBD))


class Shapes(TorchDispatchMode):
    """The shape of every tensor that an operator returned."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.add(result.shape)
        return result


def products(flops, rows, n_embd=N_EMBD):
    """How many products of all rows with the whole weight were computed; 64 columns for 61 are rounded away."""
    return round(flops.get_total_flops() / (2 * rows * N_VOCAB * n_embd))


@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_gradients", [True, False])
def test_the_logits_of_a_chunk_are_the_most_that_exist(format, with_gradients):
    rows = 20 * CHUNK
    hidden, weight, targets = drawn(rows, n_embd=2)
    with (
        Shapes() as shapes,
        FlopCounterMode(display=False) as flops,
        torch.set_grad_enabled(with_gradients),
    ):
        with torch.autocast("cpu", format, enabled=format is not torch.float32):
            loss = summed_cross_entropy(hidden, weight, targets)
        if with_gradients:
            loss.backward()
    assert max(shape.numel() for shape in shapes.seen) <= CHUNK * 64
    # FP16 computes the logits once more, when the loss scale is known.
    assert products(flops, rows, n_embd=2) == (
        1 if not with_gradients else 4 if format is torch.float16 else 3
    )
    # Whole tiles for the 16-bit products: 61 columns are 64.
    assert ((CHUNK, 64) in shapes.seen) is (format is not torch.float32)


def test_evaluation_gives_the_same_sum_without_a_graph():
    hidden, weight, targets = drawn(10)
    expected, *_ = reference(hidden, weight, targets)
    with torch.no_grad():
        loss = summed_cross_entropy(hidden, weight, targets)
    assert not loss.requires_grad
    assert relative_error(loss, expected) < 1e-6
    with torch.inference_mode():
        assert torch.equal(summed_cross_entropy(hidden, weight, targets), loss)


@pytest.mark.parametrize("format", [torch.float32, torch.float16])
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_input_gets_no_gradient_and_costs_no_product(format, frozen):
    inputs = drawn(CHUNK)
    _, *expected = reference(*inputs)
    inputs[frozen].requires_grad_(False)
    with FlopCounterMode(display=False) as flops:
        with torch.autocast("cpu", format, enabled=format is not torch.float32):
            loss = summed_cross_entropy(*inputs)
        loss.backward()
    assert inputs[frozen].grad is None
    assert relative_error(inputs[1 - frozen].grad, expected[1 - frozen]) < (
        1e-6 if format is torch.float32 else 2e-3
    )
    assert products(flops, CHUNK) == (2 if format is torch.float32 else 3)


@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16])
def test_a_target_outside_the_vocabulary_is_an_error(format):
    hidden, weight, targets = drawn(5)
    targets[3] = N_VOCAB
    with (
        torch.autocast("cpu", format, enabled=format is not torch.float32),
        pytest.raises((IndexError, RuntimeError), match="out of bounds"),
    ):
        summed_cross_entropy(hidden, weight, targets)


def test_a_tied_weight_gets_both_gradients_and_accumulates_over_batches():
    _, weight, _ = drawn(1)
    expected = torch.zeros(N_VOCAB, N_EMBD, dtype=torch.float64)
    for seed in range(3):
        tokens = torch.randint(N_VOCAB, (2, 10), generator=torch.Generator().manual_seed(seed))
        summed_cross_entropy(F.embedding(tokens[0], weight).tanh(), weight, tokens[1]).backward()
        twin = weight.detach().double().requires_grad_()
        F.cross_entropy(twin[tokens[0]].tanh() @ twin.T, tokens[1], reduction="sum").backward()
        expected += twin.grad
        assert relative_error(weight.grad, expected) < 1e-6


@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16])
def test_the_embeddings_gradient_is_added_to_the_heads_without_a_third_tensor_of_that_size(
    format, monkeypatch
):
    made = []

    def watched(*arguments, in_chunks=cross_entropy.in_chunks, **named):
        results = in_chunks(*arguments, **named)
        made.append(results[2].data_ptr())
        return results

    monkeypatch.setattr(cross_entropy, "in_chunks", watched)
    _, weight, targets = drawn(10)
    with torch.autocast("cpu", format, enabled=format is not torch.float32):
        loss = summed_cross_entropy(F.embedding(targets.flip(0), weight), weight, targets) / 10
    loss.backward()
    assert [weight.grad.data_ptr()] == made


def test_a_second_derivative_is_refused():
    hidden, weight, targets = drawn(5)
    with pytest.raises(
        RuntimeError, match="differentiated once; call backward without create_graph"
    ):
        torch.autograd.grad(
            summed_cross_entropy(hidden, weight, targets), hidden, create_graph=True
        )


def test_a_second_backward_pass_is_refused_instead_of_scaling_twice():
    hidden, weight, targets = drawn(5)
    loss = summed_cross_entropy(hidden, weight, targets) * 3
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
