"""The model against the GPT2LMHeadModel of transformers, and what its cache and its padding promise."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from golf_nb_utils.gpt2.model import GPTModel, KVCache, causal_attention, init_weights
from golf_nb_utils.settings import GPTConfig

# Head size 6, an odd vocabulary, as many layers as 124M.
CONFIG = GPTConfig(n_vocab=61, n_ctx=16, n_embd=24, n_head=4, n_layer=12)


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(CONFIG)


@pytest.fixture(scope="module")
def twin(model, gpt2_twin):
    return gpt2_twin(model)


def tokens(*shape, seed=1):
    return torch.randint(CONFIG.n_vocab, shape, generator=torch.Generator().manual_seed(seed))


def test_the_logits_over_a_full_context_equal_those_of_transformers(model, twin):
    input_ids = tokens(3, CONFIG.n_ctx)
    with torch.inference_mode():
        torch.testing.assert_close(model(input_ids), twin(input_ids).logits, atol=1e-4, rtol=1e-4)


def test_the_parameters_have_the_names_of_transformers_and_a_tied_head(model, twin):
    # named_parameters leaves out lm_head.weight because it is wte.weight.
    theirs = {
        name.removeprefix("transformer."): tuple(p.shape) for name, p in twin.named_parameters()
    }
    theirs = {name: shape[::-1] if "c_" in name else shape for name, shape in theirs.items()}
    assert {name: tuple(p.shape) for name, p in model.state_dict().items()} == theirs


def test_the_head_and_the_embedding_share_their_gradient(model, twin):
    input_ids, targets = tokens(2, 8), tokens(2, 8, seed=2)
    loss, _ = model.loss_sum(input_ids, targets)
    (ours,) = torch.autograd.grad(loss, model.wte.weight)
    loss = torch.nn.functional.cross_entropy(
        twin(input_ids).logits.flatten(0, 1), targets.flatten(), reduction="sum"
    )
    (theirs,) = torch.autograd.grad(loss, twin.transformer.wte.weight)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_loss_equals_that_of_transformers_and_ignores_unlabelled_positions(model, twin):
    input_ids = tokens(3, 10)
    labels = input_ids.clone()
    labels[0, :5] = labels[1, 7:] = -100
    # transformers shifts the labels by itself; here the targets are one position ahead already.
    targets = torch.cat([labels[:, 1:], torch.full((3, 1), -100)], dim=1)
    with torch.inference_mode():
        loss, count = model.loss_sum(input_ids, targets)
        expected = twin(input_ids, labels=labels).loss
    assert loss.shape == count.shape == (1,)
    assert count.item() == 5 + 6 + 9
    assert (loss / count).item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_loss_and_every_gradient_of_a_padded_batch_equal_those_of_transformers(
    random_model, gpt2_twin, recompute
):
    model = random_model(GPTConfig(n_vocab=61, n_ctx=16, n_embd=24, n_head=4, n_layer=2))
    model.recompute_blocks = recompute
    twin = gpt2_twin(model)
    lengths = torch.tensor([16, 9, 12])
    padding = torch.arange(16) >= lengths[:, None]
    input_ids = tokens(3, 16).masked_fill(padding, 0)
    labels = input_ids.masked_fill(padding, -100)
    # transformers shifts the labels by itself; here the targets are one position ahead already.
    loss, count = model.loss_sum(
        input_ids, torch.cat([labels[:, 1:], torch.full((3, 1), -100)], dim=1)
    )
    expected = twin(input_ids, attention_mask=(~padding).long(), labels=labels).loss
    (loss / count).backward()
    expected.backward()
    assert count.item() == lengths.sum() - 3
    assert (loss / count).item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = {
        name.removeprefix("transformer."): parameter.grad
        for name, parameter in twin.named_parameters()
    }
    for name, parameter in model.named_parameters():
        gradient = theirs.pop(name)
        gradient = gradient.T if "c_" in name and name.endswith("weight") else gradient
        assert (parameter.grad - gradient).norm() <= 1e-5 * gradient.norm(), name
    assert not theirs


def loss_and_gradients(model, input_ids, targets, dtype=torch.float32):
    with torch.autocast("cpu", dtype) if dtype is not torch.float32 else nullcontext():
        loss, _ = model.loss_sum(input_ids, targets)
    return loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputing_the_blocks_changes_no_bit_and_keeps_little_for_the_backward_pass(
    random_model, dtype
):
    model, input_ids, targets = random_model(CONFIG), tokens(3, 10), tokens(3, 10, seed=2)
    results, kept = [], []
    assert model.recompute_blocks is False
    for model.recompute_blocks in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            results.append(loss_and_gradients(model, input_ids, targets, dtype))
        kept.append(sum(sizes))
    assert all(map(torch.equal, *results))
    assert kept[1] < kept[0] / 5


def test_recomputing_the_blocks_disturbs_neither_evaluation_nor_the_cache(random_model):
    model, input_ids = random_model(CONFIG), tokens(2, 9)
    expected = model.hidden(input_ids).detach()
    model.recompute_blocks = True
    cache = KVCache(CONFIG, 2, 9, input_ids.device, torch.float32)
    with torch.inference_mode():
        assert torch.equal(model.hidden(input_ids), expected)
        model.hidden(input_ids[:, :8], cache)
        last = model.hidden(input_ids[:, 8:], cache, torch.full((2, 1), 8))
    torch.testing.assert_close(last[:, 0], expected[:, 8], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replicas_in_threads_give_the_loss_and_gradients_of_one_after_the_other(
    random_model, dtype
):
    # As DataParallel runs them: autocast is opened in each thread, and the backward pass runs outside of it.
    model = random_model(CONFIG)
    model.recompute_blocks = True
    halves = [(tokens(2, 10, seed=seed), tokens(2, 10, seed=seed + 10)) for seed in (1, 2)]
    expected = [loss_and_gradients(model, *half, dtype) for half in halves]
    with ThreadPoolExecutor(2) as threads:
        assert all(
            torch.equal(ours, theirs)
            for results, one in zip(
                threads.map(lambda half: loss_and_gradients(model, *half, dtype), halves),
                expected,
                strict=True,
            )
            for ours, theirs in zip(results, one, strict=True)
        )


def test_gradients_in_bfloat16_are_as_near_to_fp32_as_those_of_transformers(model, twin):
    input_ids, targets = tokens(3, 16), tokens(3, 16, seed=2)

    def theirs(dtype):
        with torch.autocast("cpu", dtype) if dtype is not torch.float32 else nullcontext():
            logits = twin(input_ids).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return dict(zip(names, torch.autograd.grad(loss, list(twin.parameters())), strict=True))

    names = [name.removeprefix("transformer.") for name, _ in twin.named_parameters()]
    exact, rounded = theirs(torch.float32), theirs(torch.bfloat16)
    _, *gradients = loss_and_gradients(model, input_ids, targets, torch.bfloat16)
    ours = dict(zip((name for name, _ in model.named_parameters()), gradients, strict=True))
    for name in ("wte.weight", "h.0.attn.c_attn.bias", "h.6.mlp.c_fc.bias", "ln_f.weight"):
        assert (ours[name] - exact[name]).norm() <= 1.5 * (rounded[name] - exact[name]).norm(), name


@pytest.mark.parametrize("length", [1, 255, 256, 257, 600])
def test_attention_in_parts_equals_that_of_torch(length):
    generator = torch.Generator().manual_seed(length)
    inputs = [
        torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]
    ours, theirs = (
        causal_attention(*inputs),
        F.scaled_dot_product_attention(*inputs, is_causal=True),
    )
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, weights), torch.autograd.grad(theirs, inputs, weights)
    )


def test_a_batch_without_labels_costs_nothing_and_can_be_differentiated(model):
    loss, count = model.loss_sum(tokens(2, 5), torch.full((2, 5), -100))
    assert loss.item() == 0
    assert count.item() == 0
    (gradient,) = torch.autograd.grad(loss, model.ln_f.weight)
    assert torch.equal(gradient, torch.zeros(CONFIG.n_embd))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_token_by_token_with_the_cache_equals_one_pass_without_it(model, dtype, tolerance):
    input_ids, prompt = tokens(2, CONFIG.n_ctx), 5
    cache = KVCache(CONFIG, 2, CONFIG.n_ctx, input_ids.device, dtype)
    with torch.inference_mode():
        whole = model(input_ids)
        with torch.autocast("cpu", dtype) if dtype is not torch.float32 else nullcontext():
            stepwise = [model.head(model.hidden(input_ids[:, :prompt], cache))]
            for place in range(prompt, CONFIG.n_ctx):
                positions = torch.full((2, 1), place)
                stepwise.append(
                    model.head(model.hidden(input_ids[:, place : place + 1], cache, positions))
                )
    assert (torch.cat(stepwise, dim=1) - whole).norm() < tolerance * whole.norm()


def test_rows_of_different_length_share_a_cache(model):
    long, short = tokens(1, 9), tokens(1, 4, seed=3)
    following = tokens(2, 3, seed=4)
    batch = torch.cat([long, torch.nn.functional.pad(short, (0, 5), value=7)])
    cache = KVCache(CONFIG, 2, CONFIG.n_ctx, batch.device, torch.float32)
    with torch.inference_mode():
        model.hidden(batch, cache)
        for step in range(3):
            positions = torch.tensor([[9 + step], [4 + step]])
            last = model.head(model.hidden(following[:, step : step + 1], cache, positions))
        alone = [
            model(torch.cat([prompt, row[None]], dim=1))[0, -1:]
            for prompt, row in zip((long, short), following, strict=True)
        ]
    torch.testing.assert_close(last, torch.stack(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pad", [0, CONFIG.n_vocab - 1])
def test_padding_at_the_end_of_a_row_disturbs_neither_it_nor_the_others(model, pad):
    long, short = tokens(1, 12), tokens(1, 3, seed=5)
    batch = torch.cat([torch.nn.functional.pad(short, (0, 9), value=pad), long])
    with torch.inference_mode():
        logits = model(batch)
        torch.testing.assert_close(logits[0, :3], model(short)[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits[1], model(long)[0], atol=1e-5, rtol=1e-5)


def test_a_sequence_longer_than_the_context_is_a_clear_error(model):
    with pytest.raises(ValueError, match="17 tokens exceed the context of 16"):
        model(tokens(1, CONFIG.n_ctx + 1))


def test_initial_weights_depend_on_the_seed_alone():
    drawn = []
    for seed, noise in ((7, 1), (7, 2), (8, 1)):
        torch.manual_seed(noise)
        model = GPTModel(CONFIG)
        init_weights(model, seed)
        drawn.append(torch.cat([parameter.flatten() for parameter in model.state_dict().values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_initial_positions_are_alike_by_their_distance_alone():
    model = GPTModel(CONFIG)
    init_weights(model, 1)
    positions = model.wpe.weight.detach()
    # sin a sin b + cos a cos b = cos(a - b): what makes sinusoids worth starting from.
    alike = positions @ positions.T
    for distance in (0, 1, 5):
        diagonal = alike.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-7)
    assert alike[0, 0] > alike[0, 1] > alike[0, 5]


def test_initial_weights_have_the_spread_of_gpt2():
    model = GPTModel(GPTConfig(n_vocab=400, n_ctx=64, n_embd=128, n_head=4, n_layer=8))
    init_weights(model, 1)
    # OpenAI: 0.02; the two projections into the residual stream smaller by sqrt(number of residual layers), 16 here.
    expected = {"wte": 0.02, "c_attn": 0.02, "c_fc": 0.02, "c_proj": 0.02 / 4}
    for name, parameter in model.named_parameters():
        if name == "wpe.weight":
            continue
        if parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(
                expected[name.split(".")[-2]], rel=0.05
            ), name
        elif "ln_" in name and name.endswith("weight"):
            assert parameter.eq(1).all(), name
        else:
            assert parameter.eq(0).all(), name
