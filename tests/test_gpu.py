"""What a GPU does otherwise than a CPU: FP16, replicas, states, the cache, memory that runs out.

    pytest tests/test_gpu.py

Without a GPU they run on the CPU, but for what only a GPU has, so that they cannot rot. Nothing of
conftest.py is used, since benchmarks/gpu.py runs them on machines without what it imports.
"""

import gc

import pytest
import torch
import toy_runs
from torch import nn
from torch.nn import functional as F
from toy_runs import GPT, GivenBatches, batch_of, cpu, fresh_model, random_model, weights_of

from golf_nb_utils.gpt2.model import GPTModel, KVCache, init_weights
from golf_nb_utils.gpt2.sampling import generate_batch
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import GPTConfig
from golf_nb_utils.training import step

pytestmark = pytest.mark.gpu
HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if HAS_GPU else torch.device("cpu")


def here(dtype, n_replicas=1):
    """The device at hand, once for each replica; on a CPU nn.DataParallel is the module alone."""
    ids = (0,) * n_replicas if HAS_GPU or n_replicas > 1 else ()
    return Devices(DEVICE, ids, ("a GPU",) * len(ids), dtype, "a test")


@pytest.fixture
def run(tmp_path):
    """toy_runs.train without states to go on from; it returns (model, history, losses)."""

    def start(devices, **settings):
        losses = []
        calls = {"on_step": lambda history, loss: losses.append(loss)}
        fresh = {"resume": False, "save_best": False}
        return *toy_runs.train(tmp_path, devices=devices, calls=calls, **fresh | settings), losses

    return start


# --- FP16 and its loss scaling ---


# Far from where these gradients overflow, which is at 2**17 on a CPU and may be elsewhere on a GPU.
SAFE_SCALE = 2.0**10


def test_fp16_learns_as_fp32_on_a_cpu_does(run, monkeypatch):
    toy_runs.recorded_scalers(monkeypatch, init_scale=SAFE_SCALE)
    _, history, losses = run(cpu())
    model, its_history, its_losses = run(here(torch.float16))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert its_history.n_skipped == 0
    assert its_losses == pytest.approx(losses, abs=0.02)
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=0.02)


def test_gradients_of_fp16_are_those_of_fp32_once_the_scale_is_taken_out():
    # A vocabulary so large that the gradients of most logits are below what FP16 can hold.
    config = GPTConfig(n_vocab=5000, n_ctx=64, n_embd=64, n_head=4, n_layer=2)
    model = GPTModel(config).to(DEVICE)
    init_weights(model, seed=1)
    ids = torch.randint(5000, (8, 65), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    scale, found = 2.0**16, {}
    for dtype, factor in ((torch.float32, 1.0), (torch.float16, scale)):
        module = step.LossInReplica(model, dtype)
        loss = step.mean_loss(module, ids[:, :-1], ids[:, 1:])
        gradients = torch.autograd.grad(loss * factor, list(model.parameters()))
        found[dtype] = torch.cat([gradient.flatten() / factor for gradient in gradients])
    error = (found[torch.float16] - found[torch.float32]).norm() / found[torch.float32].norm()
    assert error < 0.01


def test_steps_that_overflow_are_left_out_and_halve_the_scale(run, monkeypatch):
    scalers = toy_runs.recorded_scalers(monkeypatch, init_scale=2.0**20)
    model, history, _ = run(here(torch.float16), epochs=5)
    assert 0 < history.n_skipped < 30
    # 30 steps are too few for the scale to grow again.
    assert scalers[0].get_scale() == 2.0 ** (20 - history.n_skipped)
    assert weights_of(model).isfinite().all()
    assert history.val_loss[-1] < history.val_loss[0]


# --- two replicas on one card ---


@pytest.mark.parametrize("lengths", [(10, 9, 2, 1), (10, 3, 7, 1, 1), (0, 0, 6, 7), (5,)])
def test_loss_and_gradients_of_two_replicas_are_those_of_one_model(lengths):
    model = random_model(GPT).to(DEVICE)
    input_ids, targets = (tensor.to(DEVICE) for tensor in batch_of(lengths))
    module = step.wrap(model, here(torch.float32, 2))
    assert isinstance(module, nn.DataParallel)
    replicated = step.mean_loss(module, input_ids, targets)
    plain = F.cross_entropy(model(input_ids).flatten(0, 1), targets.flatten())
    found, expected = (
        [loss, *torch.autograd.grad(loss, list(model.parameters()))] for loss in (replicated, plain)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_two_replicas_train_as_one_model_does_on_the_same_records(run, monkeypatch, dtype):
    toy_runs.recorded_scalers(monkeypatch, init_scale=SAFE_SCALE)
    _, history, losses = run(here(dtype), batch_size=4)
    _, its_history, its_losses = run(here(dtype, 2), batch_size=2)
    tolerance = 1e-3 if dtype is torch.float32 else 0.02
    assert its_losses == pytest.approx(losses, abs=tolerance)
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=tolerance)


# --- going on from a state ---


class PowerCut(BaseException):
    """Nothing in the code under test expects it."""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the same device", "on the CPU"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_run_goes_on_from_its_state(tmp_path, monkeypatch, dtype, elsewhere):
    toy_runs.recorded_scalers(monkeypatch, init_scale=SAFE_SCALE)
    settings = {"devices": here(dtype), "save_every": 5, "epochs": 3}
    _, history = toy_runs.train(tmp_path / "uncut", **settings)

    def cut(history, loss):
        if history.n_steps == 7:
            raise PowerCut

    with pytest.raises(PowerCut):
        toy_runs.train(tmp_path / "cut", **settings, calls={"on_step": cut})
    state = torch.load(tmp_path / "cut" / "states" / "state-00000005.pt", weights_only=True)

    # FP16 has a scale to remember: a new scaler begins with another one.
    scalers = toy_runs.recorded_scalers(monkeypatch, init_scale=2.0**12)
    model, restored = fresh_model(seed=2), []
    model.wte.register_forward_hook(
        lambda *_: restored.append(weights_of(model)) if model.training and not restored else None
    )
    onwards = settings | ({"devices": cpu(dtype)} if elsewhere else {})
    _, its_history = toy_runs.train(tmp_path / "cut", model, **onwards)
    saved = torch.cat([state["weights"][name].flatten() for name, _ in model.named_parameters()])
    assert torch.equal(restored[0], saved)
    # A moment that were lost would show: the first steps after it would be larger.
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=2e-3)
    assert its_history.n_tokens == history.n_tokens
    assert its_history.n_skipped == history.n_skipped == 0
    assert scalers[0].get_scale() == (SAFE_SCALE if dtype is torch.float16 else 1.0)


# --- the cache and sampling ---


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(22, (length,), generator=generator) for length in (3, 7, 5, 1)]


def test_what_is_written_with_the_cache_is_what_is_written_without(prompts):
    model = random_model(GPT).to(DEVICE)
    written = generate_batch(model, prompts, 8, eot_id=-1)
    for prompt, tokens in zip(prompts, written, strict=True):
        ids = prompt.to(DEVICE)[None]
        for _ in range(8):
            ids = torch.cat((ids, model(ids)[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
        assert tokens.tolist() == ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_logits_with_the_cache_are_those_without_in_16_bits(dtype):
    model = random_model(GPT).to(DEVICE, dtype)
    ids = torch.randint(22, (2, 9), generator=torch.Generator().manual_seed(4)).to(DEVICE)
    with torch.no_grad():
        cache = KVCache(GPT, 2, 9, DEVICE, dtype)
        model.hidden(ids[:, :8], cache)
        positions = torch.full((2, 1), 8, device=DEVICE)
        last = model.head(model.hidden(ids[:, 8:], cache, positions))[:, 0]
        torch.testing.assert_close(last, model(ids)[:, -1], atol=0.1, rtol=0.02)


def test_a_seed_draws_the_same_tokens_on_every_device(prompts):
    model = random_model(GPT)
    sampling = {"temperature": 0.8, "top_k": 12, "top_p": 0.95, "seed": 5}
    on_cpu = generate_batch(model, prompts, 8, **sampling)
    found = generate_batch(model.to(DEVICE), prompts, 8, **sampling)
    assert [tokens.tolist() for tokens in found] == [tokens.tolist() for tokens in on_cpu]
    assert len({tuple(tokens.tolist()) for tokens in found}) > 1


# --- memory that runs out ---


@pytest.fixture
def uncapped():
    """Whatever a test allows itself of the card, the next one has all of it."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


@pytest.mark.skipif(not HAS_GPU, reason="a CPU has no cap on its memory")
@pytest.mark.usefixtures("uncapped")
def test_when_memory_really_runs_out_the_losses_are_those_of_a_run_with_enough(tmp_path):
    # Activations make up most of what it needs, so that half a batch needs little more than half.
    config = GPTConfig(n_vocab=2048, n_ctx=256, n_embd=256, n_head=4, n_layer=8)
    ids = torch.randint(2048, (3, 16, 257), generator=torch.Generator().manual_seed(1))
    batches = GivenBatches([(batch[:, :-1], batch[:, 1:]) for batch in ids], 16)

    def losses_and_events(folder):
        model, losses = GPTModel(config), []
        init_weights(model, seed=1)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(DEVICE)
        _, history = toy_runs.train(
            folder,
            model,
            batches,
            batches,
            here(torch.float32),
            calls={"on_step": lambda history, loss: losses.append(loss)},
            epochs=1,
            batch_size=16,
            learning_rate=1e-3,
            eval_batches=1,
        )
        return losses, [sentence for _, sentence in history.events]

    losses, events = losses_and_events(tmp_path / "enough")
    assert events == []
    cap = 0.7 * torch.cuda.max_memory_allocated(DEVICE)
    total = torch.cuda.mem_get_info(DEVICE)[1]
    torch.cuda.set_per_process_memory_fraction(cap / total, DEVICE)
    its_losses, its_events = losses_and_events(tmp_path / "capped")
    assert its_events
    assert all(sentence.startswith("memory ran out") for sentence in its_events)
    assert torch.cuda.max_memory_reserved(DEVICE) <= cap
    assert its_losses == pytest.approx(losses, abs=1e-3)
