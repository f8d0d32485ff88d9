"""The training loop against a plain one over transformers' model, and DataParallel's arithmetic on an emulator without GPUs."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
import toy_runs
from torch import nn
from torch.nn import functional as F
from toy_runs import (
    GPT,
    GivenBatches,
    Toy,
    batch_of,
    cpu,
    fresh_model,
    loader,
    recorded_scalers,
    weights_of,
)

from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training import loop
from golf_nb_utils.training.history import History
from golf_nb_utils.training.loop import TrainingDiverged
from golf_nb_utils.training.step import (
    LossInReplica,
    Stepper,
    evaluate_loss,
    learning_rate_at,
    make_optimizer,
    mean_loss,
    records_per_step,
)


@pytest.fixture
def run(tmp_path):
    """toy_runs.train without states to go on from; loaders may be lists of batches."""

    def start(*arguments, train_loader=None, val_loader=None, **settings):
        given = {"train_loader": train_loader, "val_loader": val_loader}
        given = {
            name: GivenBatches(batches) if isinstance(batches, list) else batches
            for name, batches in given.items()
        }
        return toy_runs.train(
            tmp_path, *arguments, **given, **{"resume": False, "save_best": False} | settings
        )

    return start


class EmulatedDataParallel(nn.Module):
    """What nn.DataParallel does on GPUs, on a CPU: shards, replicas without parameters of their own, threads, gathering.

    As torch's replicate does, each replica holds non-leaf views of the parameters, one view a parameter, so that tied
    ones stay tied and gradients add up in the original.
    """

    def __init__(self, module, device_ids):
        super().__init__()
        self.module, self.n_replicas = module, len(device_ids)

    def replicate(self):
        copies = {module: module._replicate_for_data_parallel() for module in self.module.modules()}
        views = {parameter: parameter.view_as(parameter) for parameter in self.module.parameters()}
        for module, copy in copies.items():
            copy._modules = {name: copies[child] for name, child in module._modules.items()}
            for name, parameter in module._parameters.items():
                setattr(copy, name, views.get(parameter))
        return copies[self.module]

    def forward(self, *tensors):
        shards = list(zip(*(tensor.chunk(self.n_replicas) for tensor in tensors), strict=True))
        replicas, gradients = [self.replicate() for _ in shards], torch.is_grad_enabled()

        def work(replica, shard):
            with torch.set_grad_enabled(gradients):
                return replica(*shard)

        with ThreadPoolExecutor(len(shards)) as pool:
            outputs = list(pool.map(work, replicas, shards))
        return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


# The labelled positions of each row; the first replica gets the larger half.
@pytest.mark.parametrize(
    "lengths",
    [(10, 9, 2, 1), (10, 3, 7, 1, 1), (0, 0, 6, 7), (10, 8, 0, 0), (5,)],
    ids=[
        "unequal",
        "odd batch",
        "first replica unlabelled",
        "second replica unlabelled",
        "one row",
    ],
)
def test_loss_and_gradients_of_two_replicas_equal_those_of_one_model(random_model, lengths):
    model = random_model(GPT)
    input_ids, targets = batch_of(lengths)
    module = LossInReplica(model, torch.float32)

    def loss_and_gradients(loss):
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    plain = F.cross_entropy(model(input_ids).flatten(0, 1), targets.flatten())
    replicated = mean_loss(EmulatedDataParallel(module, [0, 1]), input_ids, targets)
    torch.testing.assert_close(
        loss_and_gradients(replicated), loss_and_gradients(plain), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(mean_loss(module, input_ids, targets), plain, atol=1e-6, rtol=1e-5)


def test_the_replicas_send_back_two_numbers_each_and_no_logits(random_model):
    module = EmulatedDataParallel(LossInReplica(random_model(GPT), torch.float32), [0, 1])
    sums, counts = module(*batch_of((10, 9, 2, 1)))
    assert sums.shape == (2,)
    assert counts.tolist() == [19, 3]


def test_training_on_two_replicas_gives_the_weights_of_training_on_one(run, monkeypatch):
    alone, history = run()
    monkeypatch.setattr(nn, "DataParallel", EmulatedDataParallel)
    replicated, its_history = run(devices=cpu(n_replicas=2))
    torch.testing.assert_close(weights_of(replicated), weights_of(alone), atol=1e-4, rtol=1e-3)
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=2e-3)
    assert list(replicated.state_dict()) == list(alone.state_dict()), (
        "the caller's model is not the wrapped one"
    )


def test_a_batch_without_any_label_is_an_error(random_model):
    with pytest.raises(ValueError, match="no position of this batch is labelled"):
        mean_loss(LossInReplica(random_model(GPT), torch.float32), *batch_of((0, 0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_number_format_holds_in_a_thread_that_inherits_no_autocast(random_model, dtype):
    module, seen = LossInReplica(random_model(GPT), dtype), []
    module.model.h[0].mlp.c_fc.register_forward_hook(
        lambda layer, arguments, product: seen.append(product.dtype)
    )
    losses = []
    thread = threading.Thread(target=lambda: losses.append(module(*batch_of((10, 4)))[0]))
    thread.start()
    thread.join()
    assert seen == [dtype]
    assert losses[0].dtype is torch.float32


def test_a_tiny_model_learns_a_few_records_by_heart(run):
    records = loader(n_records=6, batch_size=3)
    _, history = run(
        train_loader=records, val_loader=records, epochs=60, learning_rate=1e-2, eval_freq=20
    )
    # Before the first step it guesses blindly among 23 tokens.
    assert history.train_loss[0] == pytest.approx(math.log(23), abs=0.05)
    assert history.train_loss[-1] < 0.4 < history.train_loss[1] < math.log(23)
    assert history.val_loss[-1] < 0.4


def test_the_weights_equal_those_of_a_plain_loop_over_transformers(run, gpt2_twin):
    # Clipping, warm-up, decay of the rate and of the weights all act in these eight steps.
    batches = [
        batch_of(lengths, seed)
        for seed, lengths in enumerate([(10, 4, 1), (7, 7, 7), (2, 3), (10, 10, 9)])
    ]
    settings = {
        "warmup_steps": 3,
        "schedule": "linear",
        "final_learning_rate_fraction": 0.2,
        "max_grad_norm": 0.7,
        "weight_decay": 0.3,
        "beta2": 0.95,
    }
    model = fresh_model()
    twin = gpt2_twin(model).train()
    _, history = run(
        model,
        train_loader=batches,
        val_loader=batches,
        epochs=2,
        eval_freq=1,
        learning_rate=1e-2,
        **settings,
    )

    matrices = [p for p in twin.parameters() if p.dim() == 2]
    vectors = [p for p in twin.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0}],
        betas=(0.9, 0.95),
    )
    rates = [1e-2 * share for share in (1 / 3, 2 / 3, 1, 1, 0.8, 0.6, 0.4, 0.2)]
    for rate, (input_ids, targets) in zip(rates, batches * 2, strict=True):
        loss = F.cross_entropy(twin(input_ids).logits.flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.7)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()

    assert history.learning_rate[1:] == pytest.approx(rates)
    for name, theirs in twin.named_parameters():
        ours = model.get_parameter(name.removeprefix("transformer."))
        torch.testing.assert_close(
            ours.T if "c_" in name and ours.dim() == 2 else ours,
            theirs,
            atol=1e-4,
            rtol=1e-3,
            msg=name,
        )


@pytest.mark.parametrize(
    ("settings", "n_steps", "expected"),
    [
        # Warm-up in quarters of 8e-4, then over five steps down to a tenth of it.
        (
            {"schedule": "linear", "warmup_steps": 4, "final_learning_rate_fraction": 0.1}, 10,
            [2e-4, 4e-4, 6e-4, 8e-4, 8e-4, 6.56e-4, 5.12e-4, 3.68e-4, 2.24e-4, 8e-5],
        ),
        ({"schedule": "linear"}, 5, [8e-4, 6e-4, 4e-4, 2e-4, 0.0]),
        ({}, 3, [8e-4, 8e-4, 8e-4]),
        ({"schedule": "linear", "final_learning_rate_fraction": 0.5}, 1, [8e-4]),
        ({"warmup_steps": 4}, 3, [2e-4, 4e-4, 6e-4]),
        ({"warmup_steps": 2}, 5, [4e-4, 8e-4, 8e-4, 8e-4, 8e-4]),
        # The cosines of 0, 45, 90, 135 and 180 degrees.
        ({"schedule": "cosine"}, 5, [8e-4, 4e-4 * (1 + 0.5**0.5), 4e-4, 4e-4 * (1 - 0.5**0.5), 0.0]),
        # From 8e-4 down to 2e-4 over four steps: the cosines of 0, 60, 120 and 180 degrees.
        (
            {"schedule": "cosine", "warmup_steps": 1, "final_learning_rate_fraction": 0.25}, 5,
            [8e-4, 8e-4, 6.5e-4, 3.5e-4, 2e-4],
        ),
    ],
)  # fmt: skip
def test_the_learning_rate_warms_up_and_falls_to_its_final_share(settings, n_steps, expected):
    config = TrainConfig(learning_rate=8e-4, **settings)
    assert [learning_rate_at(step, n_steps, config) for step in range(n_steps)] == pytest.approx(
        expected, abs=1e-12
    )


def test_weight_decay_shrinks_matrices_and_leaves_biases_and_norms(random_model):
    model = random_model(GPT)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, TrainConfig(learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        kept = 1 - 0.1 * 0.5 if before[name].dim() == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, msg=name)


def test_the_evaluation_weighs_every_token_alike(random_model):
    model = random_model(GPT)
    batches = [batch_of((10, 10), seed=1), batch_of((1,), seed=2)]
    with torch.inference_mode():
        costs = [
            F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
            for ids, targets in batches
        ]
    module = LossInReplica(model, torch.float32)
    assert evaluate_loss(module, batches, torch.device("cpu")) == pytest.approx(
        float(sum(costs)) / 21, rel=1e-5
    )


def test_the_history_counts_steps_tokens_and_evaluations(run):
    seen = []
    _, history = run(calls={"on_evaluation": lambda history: seen.append(history.steps[-1])})
    # 24 records in batches of 4, twice.
    assert history.n_steps == history.n_planned == 12
    assert history.steps == [0, 5, 10, 12]
    assert seen == [5, 10, 12]
    # Each record has one target less than it has tokens.
    assert history.tokens[-1] == 2 * (sum(Toy(24).lengths) - 24)
    assert history.n_skipped == 0


def test_the_losses_of_the_history_are_those_of_the_first_batches_of_each_set(run):
    sets = {
        "train": [batch_of((10, 3), 1), batch_of((4,), 2), batch_of((9, 9), 3)],
        "val": [batch_of((2, 8), 4), batch_of((10,), 5)],
    }
    model, history = run(train_loader=sets["train"], val_loader=sets["val"], eval_batches=2)
    for name, batches in sets.items():
        with torch.inference_mode():
            costs = [
                F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum").item()
                for ids, targets in batches[:2]
            ]
        n_targets = sum(int(targets.ne(-100).sum()) for _, targets in batches[:2])
        assert getattr(history, f"{name}_loss")[-1] == pytest.approx(
            sum(costs) / n_targets, abs=1e-4
        )


def test_the_time_left_follows_from_the_time_so_far():
    history = History(n_steps=10, n_planned=25, n_tokens=1000, phases={"training": 40.0})
    assert history.seconds_left == pytest.approx(60.0)
    assert history.tokens_per_second == pytest.approx(25.0)


def test_the_log_has_the_config_and_one_line_an_evaluation(run, tmp_path):
    _, history = run(eval_freq=4, learning_rate=2e-3)
    config, *lines = [
        json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert (config["eval_freq"], config["learning_rate"]) == (4, 2e-3)
    assert [line["steps"] for line in lines] == [0, 4, 8, 12]
    assert [line["val_loss"] for line in lines] == history.val_loss


def test_the_log_is_there_while_the_training_runs(run, tmp_path):
    n_lines = []
    run(
        eval_freq=4,
        calls={
            "on_evaluation": lambda history: n_lines.append(
                len((tmp_path / "log.jsonl").read_text().splitlines())
            )
        },
    )
    assert n_lines == [3, 4, 5]


def test_the_same_seed_trains_the_same_weights(run):
    first, history = run()
    second, its_history = run()
    assert torch.equal(weights_of(first), weights_of(second))
    assert history.val_loss == its_history.val_loss
    other, _ = run(train_loader=loader(order=2))
    assert not torch.equal(weights_of(first), weights_of(other))


def test_every_epoch_has_an_order_of_its_own_and_all_records(run):
    model, seen = fresh_model(), []
    model.wte.register_forward_hook(
        lambda layer, arguments, vectors: seen.append(len(vectors)) if model.training else None
    )
    order = [6, 1, 5, 2, 4, 3]
    epochs = {number: [batch_of((10,) * (rows + number)) for rows in order] for number in (1, 2, 3)}

    @dataclass(frozen=True)
    class Numbered(GivenBatches):
        def epoch(self, number, start=0):
            return iter(epochs.get(number, self.batches)[start:])

    run(model, train_loader=Numbered(epochs[1], 20), val_loader=loader(8), epochs=3, batch_size=20)
    assert seen == [rows + number for number in (1, 2, 3) for rows in order]


def test_how_often_is_evaluated_does_not_change_the_weights(run):
    rarely, _ = run(eval_freq=100, eval_batches=1)
    often, history = run(eval_freq=1, eval_batches=4)
    assert len(history.steps) == 13
    assert torch.equal(weights_of(rarely), weights_of(often))


def test_the_estimate_leaves_the_model_as_it_was():
    model = fresh_model()
    before = weights_of(model)
    seconds = loop.estimate_seconds(model, loader(), TrainConfig(epochs=3), cpu())
    assert 0 < seconds < 60
    assert torch.equal(weights_of(model), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("dtype", "scaled"), [(torch.float32, False), (torch.bfloat16, False), (torch.float16, True)]
)
def test_only_fp16_scales_the_loss(run, monkeypatch, dtype, scaled):
    scalers = recorded_scalers(monkeypatch)
    _, history = run(devices=cpu(dtype))
    assert [scaler.is_enabled() for scaler in scalers] == [scaled]
    assert history.val_loss[-1] < history.val_loss[0]


def test_steps_that_overflow_fp16_are_left_out_and_counted(run, monkeypatch):
    scalers = recorded_scalers(monkeypatch, init_scale=2.0**22)
    model, history = run(devices=cpu(torch.float16), epochs=5, max_grad_norm=1.0)
    # Each overflow halves the scale; 30 steps are too few for it to grow again.
    assert 0 < history.n_skipped < 30
    assert scalers[0].get_scale() == 2.0 ** (22 - history.n_skipped)
    assert history.val_loss[-1] < history.val_loss[0]
    assert weights_of(model).isfinite().all()


def test_bfloat16_keeps_the_weights_in_fp32_and_learns_alike(run):
    in_fp32, history = run()
    in_bf16, its_history = run(devices=cpu(torch.bfloat16))
    assert {parameter.dtype for parameter in in_bf16.parameters()} == {torch.float32}
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=0.05)
    assert not torch.equal(weights_of(in_fp32), weights_of(in_bf16))


@pytest.fixture
def scripted_losses(monkeypatch):
    """A function that lets the n-th evaluation find the n-th of these validation losses, and the one before training 0."""

    def script(losses):
        coming = iter(losses)

        def loss(run, split):
            if not run.history.n_steps:
                return 0.0
            return next(coming) if split == "val" else 1.0

        monkeypatch.setattr(loop._Run, "loss", loss)

    return script


@pytest.mark.parametrize("save_best", [True, False])
def test_the_weights_with_the_lowest_validation_loss_are_what_comes_back(run, save_best):
    model, seen = fresh_model(), []

    def note(history):
        with torch.no_grad():
            costs = [
                F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
                for ids, targets in loader(8, seed=9)
            ]
        seen.append((float(sum(costs)), history.n_steps, weights_of(model).clone()))

    # So high a rate that the model gets worse again.
    _, history = run(
        model, learning_rate=0.3, eval_freq=1, save_best=save_best, calls={"on_evaluation": note}
    )
    _, best_step, best_weights = min(seen, key=lambda entry: entry[0])
    assert history.best_step == best_step < 12
    assert torch.equal(weights_of(model), best_weights if save_best else seen[-1][2])
    assert not torch.equal(best_weights, seen[-1][2])


@pytest.mark.parametrize(
    ("patience", "losses", "n_evaluations"),
    [
        (2, [0.9, 0.5, 0.6, 0.7, 0.4, 0.3], 4),
        (3, [0.9, 0.5, 0.6, 0.7, 0.4, 0.3], 6),
        (1, [0.9, 0.5, 0.4, 0.4, 0.3, 0.2], 4),
        (1, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 6),
        (2, [0.9, math.nan, math.nan, 0.1, 0.1, 0.1], 3),
        (0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6),
    ],
)
def test_training_ends_after_as_many_evaluations_without_a_better_loss_as_patience_allows(
    run, scripted_losses, patience, losses, n_evaluations
):
    scripted_losses(losses)
    settings = {"eval_freq": 2, "early_stopping_patience": patience, "save_best": True}
    kept = {}
    model = fresh_model()
    calls = {
        "on_step": lambda history, loss: kept.update({history.n_steps: weights_of(model).clone()})
    }
    _, history = run(model, calls=calls, **settings)
    best = min(
        range(n_evaluations),
        key=lambda index: math.inf if math.isnan(losses[index]) else losses[index],
    )
    assert (history.n_steps, history.stopped) == (
        2 * n_evaluations,
        "early_stopping" if n_evaluations < 6 else "",
    )
    assert history.best_step == 2 * (best + 1)
    assert torch.equal(weights_of(model), kept[history.best_step])

    # Called again, it stays as it is.
    again, its_history = run(resume=True, **settings)
    assert its_history.n_steps == history.n_steps
    assert torch.equal(weights_of(again), weights_of(model))


EIGHT = (10, 1, 7, 2, 2, 9, 1, 4)


@pytest.mark.parametrize(
    ("batch_size", "n_accumulated", "pieces"),
    [(8, 1, [8]), (2, 4, [2, 2, 2, 2]), (4, 2, [4, 4]), (3, 3, [3, 3, 2])],
)
def test_a_step_over_micro_batches_is_the_step_over_all_their_records(
    run, batch_size, n_accumulated, pieces
):
    batches = [batch_of(EIGHT, seed) for seed in range(3)]
    model, losses, rows = fresh_model(), [], []
    model.wte.register_forward_hook(
        lambda layer, arguments, vectors: rows.append(len(vectors)) if model.training else None
    )
    run(
        model, train_loader=batches, val_loader=batches[:1], epochs=1, learning_rate=1e-3, batch_size=batch_size,
        gradient_accumulation_steps=n_accumulated, calls={"on_step": lambda history, loss: losses.append(loss)},
    )  # fmt: skip
    assert rows == pieces * 3

    plain, expected = fresh_model(), []
    decayed, others = (
        [p for p in plain.parameters() if (p.dim() > 1) == matrix] for matrix in (True, False)
    )
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=1e-3, weight_decay=0.1
    )
    for input_ids, targets in batches:
        loss = F.cross_entropy(plain(input_ids).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-6)
    # The gradient of a key's bias is zero but for rounding, which AdamW makes steps of.
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if name.endswith("c_attn.bias"):
            ours, theirs = (torch.cat((bias[:16], bias[32:])) for bias in (ours, theirs))
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, msg=name)


def test_columns_without_labels_are_not_computed(run):
    batches, widths = [batch_of((3, 10, 2, 4))], []
    model = fresh_model()
    model.wte.register_forward_hook(
        lambda layer, arguments, vectors: (
            widths.append(vectors.shape[1]) if model.training else None
        )
    )
    run(
        model,
        train_loader=batches,
        val_loader=batches,
        epochs=1,
        batch_size=2,
        gradient_accumulation_steps=2,
    )
    assert widths == [10, 4]


def test_a_step_takes_batch_size_records_on_each_device_as_often_as_it_accumulates():
    config = TrainConfig(batch_size=4, gradient_accumulation_steps=3)
    assert records_per_step(config, cpu()) == 12
    assert records_per_step(config, cpu(n_replicas=2)) == 24
    assert records_per_step(config, cpu(n_replicas=1), n_workers=5) == 60


def test_a_step_without_any_label_is_an_error(run):
    with pytest.raises(ValueError, match="no position of this batch is labelled"):
        run(train_loader=[batch_of((0, 0))], val_loader=loader(8))


def out_of_memory_at(model, condition):
    """Let the model run out of memory in training when `condition(rows, number of the forward pass)`; return the rows of each pass."""
    passes = []

    def check(layer, arguments, vectors):
        if model.training:
            passes.append(len(vectors))
            if condition(len(vectors), len(passes)):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    model.wte.register_forward_hook(check)
    return passes


@pytest.mark.parametrize(
    ("condition", "expected", "halvings"),
    [
        (lambda rows, number: rows > 4, [8, 4, 4, 4, 4, 4, 4], [4]),
        (lambda rows, number: rows > 2, [8, 4, *[2] * 12], [4, 2]),
        # The first half of the batch went well: its gradients must not count twice.
        (lambda rows, number: number == 1 or number == 3, [8, 4, 4, *[2] * 12], [4, 2]),
        (lambda rows, number: number == 3, [8, 8, 8, 4, 4], [4]),
        (lambda rows, number: rows > 1, [8, 4, 2, *[1] * 24], [4, 2, 1]),
    ],
    ids=["more than 4", "more than 2", "second piece", "later step", "more than 1"],
)
def test_when_memory_runs_out_the_micro_batch_is_halved_and_the_losses_stay(
    run, condition, expected, halvings
):
    batches = [batch_of(EIGHT, seed) for seed in range(3)]
    settings = {
        "train_loader": batches,
        "val_loader": batches[:1],
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "eval_freq": 1,
    }

    def losses_of(model):
        losses = []
        _, history = run(
            model, calls={"on_step": lambda history, loss: losses.append(loss)}, **settings
        )
        return losses, history

    losses, history = losses_of(fresh_model())
    model = fresh_model()
    passes = out_of_memory_at(model, condition)
    its_losses, its_history = losses_of(model)
    assert passes == expected
    assert its_losses == pytest.approx(losses, abs=1e-5)
    assert its_history.val_loss == pytest.approx(history.val_loss, abs=2e-4)
    assert (its_history.n_steps, its_history.n_tokens) == (history.n_steps, history.n_tokens)
    sentences = [sentence for _, sentence in its_history.events]
    assert sentences == [
        f"memory ran out: micro-batches of {n} on each device from here on, the same records a step"
        for n in halvings
    ]


def test_when_one_record_is_too_much_the_error_names_what_helps(run):
    model = fresh_model()
    out_of_memory_at(model, lambda rows, number: True)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run(model, train_loader=[batch_of((10, 4, 3))], val_loader=loader(8), batch_size=3)
    text = str(caught.value)
    assert text.startswith("a step of 1 record(s) of 10 tokens does not fit")
    assert "Tried to allocate 2 GiB" in text
    for lever in ("activation_checkpointing=True", "method='lora'", "context_length", "model_size"):
        assert lever in text


def broken_steps(monkeypatch, steps, what):
    """Let the loss, or a gradient, of these steps not be finite."""
    original, taken = Stepper._gradients, []

    def gradients(stepper, *arguments):
        loss = original(stepper, *arguments)
        taken.append(loss)
        if len(taken) not in steps:
            return loss
        if what == "gradient":
            stepper.model.ln_f.weight.grad[3] = -math.inf
            return loss
        return math.nan if what == "loss" else math.inf

    monkeypatch.setattr(Stepper, "_gradients", gradients)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.parametrize("what", ["loss", "infinite loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(
    run, monkeypatch, what, max_grad_norm
):
    broken_steps(monkeypatch, (3, 7, 8), what)
    model, weights = fresh_model(), [weights_of(fresh_model())]
    _, history = run(
        model,
        max_grad_norm=max_grad_norm,
        calls={"on_step": lambda history, loss: weights.append(weights_of(model).clone())},
    )
    unchanged = [step for step in range(1, 13) if torch.equal(weights[step], weights[step - 1])]
    assert unchanged == [3, 7, 8]
    assert (history.n_steps, history.n_skipped, history.n_skipped_in_row) == (12, 3, 0)
    assert weights[-1].isfinite().all()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_ten_steps_in_a_row_that_are_not_finite_end_the_run_with_the_last_states_weights(
    run, monkeypatch, tmp_path, what
):
    broken_steps(monkeypatch, range(8, 30), what)
    model, weights = fresh_model(), {}
    calls = {
        "on_step": lambda history, loss: weights.update(
            {history.n_steps: weights_of(model).clone()}
        )
    }
    with pytest.raises(TrainingDiverged) as caught:
        run(model, epochs=4, save_every=5, calls=calls)
    assert max(weights) == 16, "the tenth is the 17th step"
    assert torch.equal(weights_of(model), weights[5])
    assert not torch.equal(weights[5], weights[7])
    # None is saved while steps are left out.
    assert [path.name for path in sorted((tmp_path / "states").glob("*.json"))] == [
        "state-00000005.json"
    ]
    text = str(caught.value)
    for part in (
        "10 steps in a row, up to step 17",
        f"last state in {tmp_path / 'states'}",
        "learning_rate (now 0.003)",
        "warmup_steps",
    ):
        assert part in text
    assert "max_grad_norm" in text
    assert "mixed_precision=False" in text


def test_a_run_that_diverges_before_its_first_state_says_that_there_is_none(run, monkeypatch):
    broken_steps(monkeypatch, range(1, 30), "loss")
    model = fresh_model()
    with pytest.raises(TrainingDiverged, match="no state had been saved yet"):
        run(model)
    assert torch.equal(weights_of(model), weights_of(fresh_model()))


def test_nine_steps_in_a_row_that_are_not_finite_are_borne(run, monkeypatch):
    broken_steps(monkeypatch, [*range(1, 10), *range(11, 20)], "loss")
    _, history = run(epochs=4)
    assert (history.n_steps, history.n_skipped) == (24, 18)


def test_activation_checkpointing_computes_blocks_twice_and_gives_the_same_weights(run):
    results = {}
    for on in (False, True):
        model, passes = fresh_model(), []
        model.h[1].ln_1.register_forward_hook(
            lambda *_, model=model, passes=passes: passes.append(1) if model.training else None
        )
        run(model, activation_checkpointing=on)
        results[on] = weights_of(model), len(passes)
    assert torch.equal(results[True][0], results[False][0])
    assert (results[False][1], results[True][1]) == (12, 24)
