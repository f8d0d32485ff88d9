"""DDP and FSDP over processes of torchrun: their arithmetic against one process, resuming, and every way to end.

Two processes without a GPU compute all of `compute` in one go, as importing torch takes longer than the rest.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from toy_runs import batch_of, cpu, fresh_model, loader

from golf_nb_utils.files import sha256_file, write_json
from golf_nb_utils.golf.dataset import read_records, records_path
from golf_nb_utils.gpt2 import checkpoints, sampling
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.settings import GPTConfig, TrainConfig
from golf_nb_utils.training import loop, torchrun
from golf_nb_utils.training import workers as workers_module
from golf_nb_utils.training.batches import Batches, InstructionDataset
from golf_nb_utils.training.history import History
from golf_nb_utils.training.loop import TrainingInterrupted
from golf_nb_utils.training.step import Stepper
from golf_nb_utils.training.torchrun import WorkerError
from golf_nb_utils.training.workers import ALONE, Workers

SPREAD = ("ddp", "fsdp")
STRATEGIES = ("auto", *SPREAD)
# The labelled positions of each row, the rows of a micro-batch, activation checkpointing.
# The first worker has the rows 0, 2, ..., the second 1, 3, ...
BATCHES = {
    "unequal": ((10, 9, 2, 1), 2, False),
    "one worker without a row": ((7,), 2, False),
    "one worker without a label": ((10, 0, 8, 0), 2, False),
    "accumulated": ((10, 1, 3, 7, 0, 2, 9), 1, False),
    "accumulated, blocks recomputed": ((10, 1, 3, 7, 0, 2, 9), 1, True),
    "accumulated, no label in the first piece": ((0, 0, 0, 0, 6, 3), 2, False),
}
OVERFLOWS = tuple(product((torch.float32, torch.float16), (0.0, 1.0)))
SETTINGS = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "eval_freq": 2,
    "eval_batches": 2,
    "save_every": 3,
    "max_grad_norm": 0.5,
}


def toy_batches(batch_size=4):
    """23 records: the last batch of an epoch is short."""
    return {"train": loader(23, batch_size), "val": loader(8, batch_size, seed=13)}


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class Cut(Exception):
    """The run ends here, as if it had been killed."""


def train(
    folder: Path,
    workers=ALONE,
    cut_at=0,
    dtype=torch.float32,
    samples=False,
    records_per_step=4,
) -> None:
    """Train on toy records, and write the weights that come out, and the history, into the folder."""
    model = fresh_model()
    config = TrainConfig(**SETTINGS, strategy=workers.strategy)
    setup = loop.Setup(
        config, cpu(dtype), folder / "states", folder / "log.jsonl", {}, workers, 4 // workers.count
    )
    prompts = [torch.tensor([3, 4, 5]), torch.tensor([6]), torch.tensor([7, 8])]

    def on_step(history, loss):
        if cut_at and history.n_steps == cut_at:
            raise Cut

    def write_samples():
        return [repr(row.tolist()) for row in sampling.generate_batch(model, prompts, 6)]

    try:
        history = loop.train(
            model, toy_batches(records_per_step), setup, on_step=on_step, write_samples=write_samples if samples else None
        )  # fmt: skip
    except Cut:
        return
    weights = workers_module.gathered_weights(model)
    if workers.is_first:
        torch.save(weights, folder / "weights.pt")
        write_json(folder / "history.json", asdict(history))


def a_stepper(workers, micro_batch=4, dtype=torch.float32, **settings):
    config = TrainConfig(batch_size=micro_batch, strategy=workers.strategy, **settings)
    return Stepper(fresh_model(), config, cpu(dtype), History(), workers, micro_batch)


def gradients_of(stepper):
    return {
        name: whole(parameter.grad).clone() for name, parameter in stepper.model.named_parameters()
    }


def spoil(stepper, workers):
    """Make one gradient infinite; of sharded ones only where the second worker has its share."""
    gradient = stepper.model.wpe.weight.grad
    if not isinstance(gradient, DTensor):
        gradient[-1] = torch.inf
    elif workers.rank == 1:
        gradient.to_local()[-1] = torch.inf


def compute(folder: Path, workers: Workers) -> None:
    """What each worker computes; the first writes the results into the folder."""
    results = {}
    for strategy in SPREAD:
        here = replace(workers, strategy=strategy)
        for name, (lengths, micro_batch, recomputed) in BATCHES.items():
            stepper = a_stepper(here, micro_batch, activation_checkpointing=recomputed)
            loss = stepper.gradients(batch_of(lengths))
            results[strategy, name] = {"loss": loss, "gradients": gradients_of(stepper)}

        stepper = a_stepper(here, max_grad_norm=0.1)
        stepper.update(stepper.gradients(batch_of((10, 9, 2, 1))))
        moments = workers_module.gathered_moments(stepper.model, stepper.optimizer)
        results[strategy, "clipped"] = {
            name: state["exp_avg"] for name, state in moments.get("state", {}).items()
        }

        for dtype, max_grad_norm in OVERFLOWS:
            stepper = a_stepper(here, dtype=dtype, max_grad_norm=max_grad_norm)
            before = {
                name: tensor.clone()
                for name, tensor in workers_module.gathered_weights(stepper.model).items()
            }
            loss, scale = stepper.gradients(batch_of((3, 5, 2, 1))), stepper.scaler.get_scale()
            spoil(stepper, here)
            stepper.update(loss)
            after = workers_module.gathered_weights(stepper.model)
            seen = [None] * workers.count
            dist.all_gather_object(
                seen, [stepper.history.n_skipped, stepper.scaler.get_scale() / scale]
            )
            unchanged = all(torch.equal(before[name], after[name]) for name in before)
            results[strategy, dtype, max_grad_norm] = {"unchanged": unchanged, "seen": seen}

        train(folder / f"cut-{strategy}", here, cut_at=8)
        train(folder / f"fp16-{strategy}", here, dtype=torch.float16)
        train(folder / f"sampled-{strategy}", here, samples=True)
        train(folder / f"uncut-{strategy}", here)
    if workers.is_first:
        torch.save(results, folder / "results.pt")
        for source, target in product(STRATEGIES, SPREAD):
            shutil.copytree(folder / f"cut-{source}", folder / f"{source}-{target}")
    dist.barrier()
    for source, target in product(STRATEGIES, SPREAD):
        # 8 is what two devices of batch_size 4 would begin with; the state says 4.
        train(folder / f"{source}-{target}", replace(workers, strategy=target), records_per_step=8)


def work_without_memory(job: dict) -> None:
    """What a worker does, where from the second one's fifth step on no two records fit."""
    original, n_seen = GPTModel.loss_sum, 0

    def loss_sum(model, input_ids, targets):
        nonlocal n_seen
        n_seen += torch.is_grad_enabled()
        if os.environ["RANK"] == "1" and n_seen >= 5 and len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, input_ids, targets)

    GPTModel.loss_sum = loss_sum
    torchrun._work(job)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1].endswith(".json"):
        work_without_memory(json.loads(Path(sys.argv[1]).read_text()))
    else:
        with torchrun.joined("ddp", cpu()) as (joined_workers, _):
            compute(Path(sys.argv[1]), joined_workers)
            if not joined_workers.is_first:
                raise LookupError("the second worker fails in the end")


@pytest.fixture(scope="module", autouse=True)
def one_thread_in_every_worker():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, Path(__file__).parents[:2])))
        yield


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The folder and the results of `compute` in two processes, with the runs of one process beside them, and how it failed."""
    folder = tmp_path_factory.mktemp("computed")
    train(folder / "cut-auto", cut_at=8)
    with pytest.raises(WorkerError) as raised:
        torchrun.run_workers("test_workers", [str(folder)], 2, lambda message: None)
    assert (folder / "results.pt").is_file(), raised.value
    for source in SPREAD:
        shutil.copytree(folder / f"cut-{source}", folder / f"{source}-auto")
        train(folder / f"{source}-auto")
    train(folder / "uncut-auto")
    train(folder / "fp16-auto", dtype=torch.float16)
    train(folder / "sampled-auto", samples=True)
    return folder, torch.load(folder / "results.pt"), str(raised.value)


def plain_gradients(lengths):
    """The loss and gradients of one process without any of the package's loss code."""
    model = fresh_model()
    input_ids, targets = batch_of(lengths)
    loss = F.cross_entropy(model(input_ids).flatten(0, 1), targets.flatten())
    loss.backward()
    return loss.item(), model


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare weights: all but the biases of the keys, which no softmax sees, so that Adam follows the rounding of their gradients."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        difference = found[name] - tensor
        if name.endswith("c_attn.bias"):
            difference = torch.cat(difference.chunk(3)[::2])
        assert difference.abs().max() <= 2e-5, name


def last_state(folder: Path) -> dict:
    return torch.load(max((folder / "states").glob("state-*.pt")))


@pytest.mark.parametrize("strategy", SPREAD)
@pytest.mark.parametrize("name", BATCHES)
def test_loss_and_gradients_of_two_workers_equal_those_of_one_process(computed, strategy, name):
    found = computed[1][strategy, name]
    loss, model = plain_gradients(BATCHES[name][0])
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    for parameter_name, parameter in model.named_parameters():
        difference = found["gradients"][parameter_name] - parameter.grad
        assert difference.norm() <= 1e-6 * parameter.grad.norm(), parameter_name


@pytest.mark.parametrize("strategy", SPREAD)
def test_gradients_are_clipped_to_the_norm_of_all_workers_together(computed, strategy):
    _, model = plain_gradients((10, 9, 2, 1))
    assert nn.utils.clip_grad_norm_(model.parameters(), 0.1) > 1
    # After one step of Adam the first moment is a tenth of the gradient.
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            computed[1][strategy, "clipped"][name], parameter.grad / 10, atol=1e-8, rtol=1e-5
        )


@pytest.mark.parametrize("strategy", SPREAD)
@pytest.mark.parametrize(("dtype", "max_grad_norm"), OVERFLOWS)
def test_every_worker_leaves_out_a_step_that_overflows_in_one(
    computed, strategy, dtype, max_grad_norm
):
    found = computed[1][strategy, dtype, max_grad_norm]
    assert found["unchanged"]
    assert found["seen"] == [[1, 0.5 if dtype is torch.float16 else 1.0]] * 2


@pytest.mark.parametrize("strategy", SPREAD)
def test_fp16_in_two_workers_learns_as_in_one_process(computed, strategy):
    ours, theirs = (
        json.loads((computed[0] / f"fp16-{name}" / "history.json").read_text())
        for name in (strategy, "auto")
    )
    assert ours["n_skipped"] == theirs["n_skipped"]
    assert ours["val_loss"] == pytest.approx(theirs["val_loss"], abs=0.02)


@pytest.mark.parametrize("strategy", SPREAD)
def test_writing_samples_gives_what_one_process_writes_and_leaves_the_training_as_it_was(
    computed, strategy
):
    folder = computed[0]
    ours, theirs = (
        json.loads((folder / f"sampled-{name}" / "history.json").read_text())["samples"]
        for name in (strategy, "auto")
    )
    # Before training and after each of two epochs.
    assert ours == theirs
    assert len(ours) == 3
    assert len(set(map(str, ours))) > 1
    sampled, plain = (
        torch.load(folder / f"{name}-{strategy}" / "weights.pt") for name in ("sampled", "uncut")
    )
    assert all(torch.equal(sampled[name], plain[name]) for name in plain)


@pytest.mark.parametrize("strategy", SPREAD)
def test_a_state_has_the_same_form_whatever_the_strategy(computed, strategy):
    def form(value):
        if isinstance(value, torch.Tensor):
            return type(value), value.shape, value.dtype, value.device
        if isinstance(value, dict):
            return {name: form(part) for name, part in value.items()}
        return [form(part) for part in value] if isinstance(value, list) else value

    ours, theirs = (last_state(computed[0] / f"cut-{name}") for name in (strategy, "auto"))
    assert ours.keys() == theirs.keys()
    for part in ("weights", "moments", "scaler", "records_per_step"):
        assert form(ours[part]) == form(theirs[part])
    assert {name: tensor.shape for name, tensor in ours["weights"].items()} == {
        name: tensor.shape for name, tensor in fresh_model().state_dict().items()
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in product(STRATEGIES, STRATEGIES) if pair != ("auto", "auto")],
)
def test_a_run_goes_on_under_another_strategy(computed, source, target):
    folder = computed[0]
    ours, uncut = (
        json.loads((folder / name / "history.json").read_text())
        for name in (f"{source}-{target}", "uncut-auto")
    )
    assert ours["n_steps"] == uncut["n_steps"] == 12
    # Over the same records before and after, whatever the number of workers.
    for name in ("train_loss", "val_loss"):
        assert ours[name] == pytest.approx(uncut[name], abs=2e-4)
    # The best weights are from before the cut, the last ones from after it.
    assert ours["best_step"] == uncut["best_step"] < 6
    assert_close(
        torch.load(folder / f"{source}-{target}" / "weights.pt"),
        torch.load(folder / "uncut-auto" / "weights.pt"),
    )
    assert_close(
        last_state(folder / f"{source}-{target}")["weights"],
        last_state(folder / "uncut-auto")["weights"],
    )


N_STEPS = 30


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A function that returns the arguments of train_in_workers for a small model, with states of their own."""
    base = tmp_path_factory.mktemp("inputs")
    checkpoint, data = base / "checkpoint", base / "data"
    checkpoint.mkdir()
    config = GPTConfig(n_vocab=257, n_ctx=228, n_embd=16, n_head=2, n_layer=2)
    learn_bpe([], config.n_vocab, checkpoint)
    write_json(checkpoint / "hparams.json", asdict(config))
    model = GPTModel(config)
    init_weights(model, 1)
    save_file(model.state_dict(), checkpoint / "model.safetensors")
    sidecar = {
        "sha256": sha256_file(checkpoint / "model.safetensors"),
        "index_sha256": "",
        "config": asdict(config),
        "tensors": {},
    }
    write_json(checkpoint / "model.safetensors.json", sidecar)
    for split, n_records in (("train", 23), ("val", 4)):
        records = [
            {"instruction": "Go", "input": str(number), "output": "on" * (1 + number % 7)}
            for number in range(n_records)
        ]
        write_json(records_path(data, split), records)

    def make(name, strategy="ddp", **settings):
        settings = {
            "epochs": 5,
            "batch_size": 2,
            "learning_rate": 1e-3,
            "eval_freq": 1,
            "eval_batches": 2,
            "save_every": 3,
        } | settings
        config = TrainConfig(strategy=strategy, mixed_precision=False, **settings)
        return {
            "model": checkpoints.load_base_model(checkpoint), "n_workers": 2, "data_folder": data, "checkpoint_folder": checkpoint, "n_samples": 0,
            "setup": loop.Setup(config, cpu(), base / name / "states", base / name / "log.jsonl", {"data": "a hash"}),
        }  # fmt: skip

    return make


@pytest.fixture(scope="module")
def uncut(inputs):
    """The arguments of a run that nothing interrupts, after it, and its history."""
    given = inputs("uncut")
    return given, torchrun.train_in_workers(**given)


def processes() -> dict[int, tuple[int, str]]:
    """The parent's number and the command of every process that has not ended."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    return {
        int(row[0]): (int(row[1]), row[3])
        for row in rows
        if len(row) == 4 and not row[2].startswith("Z")
    }


def children_of(parent: int) -> list[int]:
    return [
        number
        for number, (its_parent, command) in processes().items()
        if its_parent == parent and "golf_nb_utils" in command
    ]


class At:
    """Do something once to torchrun's process and its workers, from some step on."""

    def __init__(self, step, act):
        self.step, self.act, self.seen = step, act, []

    def __call__(self, history):
        if history.n_steps >= self.step and not self.seen:
            (launcher,) = children_of(os.getpid())
            self.seen = [*sorted(children_of(launcher)), launcher]
            self.act(self.seen)

    def assert_all_ended(self):
        assert len(self.seen) == 3
        for _ in range(500):
            if not set(self.seen) & set(processes()):
                return
        pytest.fail("a process is still running")


def interrupt(numbers):
    raise KeyboardInterrupt


def without_seconds(path: Path) -> list[dict]:
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in path.read_text().splitlines()
    ]


def test_a_run_that_was_killed_and_interrupted_ends_in_the_same_bytes(inputs, uncut, tmp_path):
    given = inputs("cut")
    kill_one = At(5, lambda numbers: os.kill(numbers[1], signal.SIGKILL))
    with pytest.raises(WorkerError, match=r"SIGKILL.*memory is full"):
        torchrun.train_in_workers(**given, on_evaluation=kill_one)
    kill_one.assert_all_ended()

    kill_all = At(11, lambda numbers: [os.kill(number, signal.SIGKILL) for number in numbers])
    with pytest.raises(WorkerError):
        torchrun.train_in_workers(**given, on_evaluation=kill_all)
    kill_all.assert_all_ended()

    stop = At(17, interrupt)
    with pytest.raises(TrainingInterrupted, match="run this again to go on") as raised:
        torchrun.train_in_workers(**given, on_evaluation=stop)
    stop.assert_all_ended()
    # They save when they are told to stop, not every three steps alone.
    stopped_after = int(re.search(r"after (\d+) of 30 steps", str(raised.value))[1])
    saved = max(
        int(path.stem.removeprefix("state-")) for path in given["setup"].folder.glob("state-*.json")
    )
    assert 17 <= saved == stopped_after < N_STEPS

    history = torchrun.train_in_workers(**given)
    assert history.n_steps == N_STEPS
    assert [step for step, sentence in history.events if "resumed" in sentence][-1] == saved
    expected, its_history = uncut
    assert without_seconds(given["setup"].log_path) == without_seconds(expected["setup"].log_path)
    assert (history.n_tokens, history.val_loss) == (its_history.n_tokens, its_history.val_loss)
    weights = [
        checkpoints.save_model(tmp_path / f"{n}.pth", a["model"], a["checkpoint_folder"])
        for n, a in enumerate((given, expected))
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_weights_are_those_of_training_in_one_process(inputs, uncut):
    given, alone = uncut[0], inputs("alone")
    tokenizer = load_tokenizer(alone["checkpoint_folder"])
    batches = {
        split: Batches(
            InstructionDataset(
                read_records(records_path(alone["data_folder"], split)), tokenizer, 1024
            ),
            4,
            tokenizer.eot_token,
            "all",
            123,
        )
        for split in ("train", "val")
    }
    # Half the records at a time: what each of the two workers takes.
    config = replace(alone["setup"].config, strategy="auto", gradient_accumulation_steps=2)
    loop.train(alone["model"], batches, replace(alone["setup"], config=config, identity={}))
    assert_close(given["model"].state_dict(), alone["model"].state_dict())


def test_the_history_knows_what_the_workers_started_from_and_what_they_made(inputs, uncut):
    given, history = uncut
    base = checkpoints.load_base_model(given["checkpoint_folder"])
    assert history.base_sha256 == checkpoints.weights_hash(base)
    assert history.trained_sha256 == checkpoints.weights_hash(given["model"])
    loop.require_trained(given["model"], history)


def test_when_memory_runs_out_all_begin_again_with_half_the_micro_batch(inputs, uncut, monkeypatch):
    original = torchrun.run_workers
    monkeypatch.setattr(
        torchrun, "run_workers", lambda module, *rest: original("test_workers", *rest)
    )
    # Under FSDP, with answers written before training and after each epoch.
    given = inputs("out-of-memory", strategy="fsdp") | {"n_samples": 1}
    history = torchrun.train_in_workers(**given)
    assert history.n_steps == N_STEPS
    assert [(step, sentence.partition(":")[0].partition(" from ")[0]) for step, sentence in history.events] == [
        (3, "resumed"), (3, "memory ran out"),
    ]  # fmt: skip
    assert len(history.samples) == 6
    assert_close(given["model"].state_dict(), uncut[0]["model"].state_dict())


def test_memory_that_never_suffices_is_an_error(inputs, monkeypatch):
    jobs = []
    given = inputs("never", batch_size=5, resume=False)
    earlier = write_json(given["setup"].folder / "state-00000003.json", {})

    def run_workers(module, arguments, n_workers, on_message):
        assert not earlier.exists()
        jobs.append(json.loads(Path(arguments[0]).read_text()))
        on_message({"out_of_memory": True})
        raise WorkerError("not even one record fits")

    monkeypatch.setattr(torchrun, "run_workers", run_workers)
    with pytest.raises(WorkerError, match="not even one record fits"):
        torchrun.train_in_workers(**given)
    assert [job["micro_batch"] for job in jobs] == [5, 3, 2, 1]
    # The restarts must not delete what the first start has saved.
    assert all(job["config"]["resume"] for job in jobs)


def test_a_worker_that_fails_says_why(computed):
    first, *lines = computed[2].splitlines()
    assert first == "training in 2 processes failed:"
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "LookupError: the second worker fails in the end"
    assert len(lines) < 10
