"""A run that is killed, interrupted, out of time or out of disk goes on as if nothing had happened, or says why it cannot."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy_runs
from toy_runs import cpu, fresh_model, loader, weights_of

from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.settings import GPTConfig
from golf_nb_utils.training import loop, state
from golf_nb_utils.training.loop import TrainingInterrupted
from golf_nb_utils.training.state import RunStateError


@pytest.fixture
def run(tmp_path):
    """toy_runs.train in one folder; the states of one call are there for the next."""
    return lambda *arguments, **given: toy_runs.train(tmp_path, *arguments, **given)


@pytest.fixture
def uncut(tmp_path):
    """toy_runs.train in a folder of its own."""
    return lambda *arguments, **given: toy_runs.train(tmp_path / "uncut", *arguments, **given)


@pytest.fixture
def minutes(monkeypatch):
    """A clock for `training` that stands still until `minutes.now` is set."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        loop,
        "time",
        SimpleNamespace(monotonic=lambda: 60 * clock.now, perf_counter=time.perf_counter),
    )
    return clock


class PowerCut(BaseException):
    """Nothing in the code under test expects it."""


def cut_after(n_steps, what=None):
    """`calls` for train: after so many steps of the run `what()` is called, or all is over."""

    def on_step(history, loss):
        if history.n_steps == n_steps:
            if what is None:
                raise PowerCut
            what()

    return {"on_step": on_step}


def n_steps_of(calls):
    """`calls` for train that collect the steps it takes in the list `calls`."""
    return {"on_step": lambda history, loss: calls.append(history.n_steps)}


def names(folder):
    return sorted(path.name for path in (folder / "states").glob("*"))


def state_files(*steps, best=()):
    states = [f"state-{step:08}.{ending}" for step in steps for ending in ("json", "pt")]
    return sorted([*states, *(f"best-{step:08}.pt" for step in best)])


def log_without_seconds(folder):
    return [
        {**json.loads(line), "seconds": None}
        for line in (folder / "log.jsonl").read_text().splitlines()
    ]


def test_a_run_killed_at_20_moments_ends_with_the_weights_and_the_log_of_one_that_was_never_cut(
    tmp_path,
):
    script = Path(__file__).with_name("killed_training.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOLF_HEADLESS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ended"]
    assert len(report["left_by_kills"]) == 20
    # A file cut off in the middle, or a state whose JSON file was still to come.
    unfinished = [
        left for left in report["left_by_kills"] if any(is_unfinished(name, left) for name in left)
    ]
    assert len(unfinished) >= 5, report["left_by_kills"]

    cut, uncut = tmp_path / "cut", tmp_path / "uncut"
    assert (cut / "model.pth").read_bytes() == (uncut / "model.pth").read_bytes()
    assert log_without_seconds(cut) == log_without_seconds(uncut)
    assert len(log_without_seconds(cut)) == 1 + 17
    assert names(cut) == names(uncut), "what the kills left is gone"


def is_unfinished(name, names):
    return name.startswith(".") or (
        name.startswith("state") and str(Path(name).with_suffix(".json")) not in names
    )


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_step_lets_it_finish_saves_and_says_where(
    run, uncut, tmp_path, number
):
    model, seen = fresh_model(), []
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def third_step(*_):
        seen.extend([signal.getsignal(number)] * model.training)
        if len(seen) == 3:
            os.kill(os.getpid(), number)

    model.h[0].register_forward_hook(third_step)
    with pytest.raises(
        TrainingInterrupted,
        match=rf"{number.name} after 3 of 12 steps; the state is in {tmp_path / 'states'}",
    ):
        run(model)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert names(tmp_path) == state_files(3)

    steps = []
    resumed, history = run(calls=n_steps_of(steps))
    assert steps == list(range(4, 13))
    assert history.events == [(3, f"resumed from {tmp_path / 'states'}")]
    whole, its_history = uncut()
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert (history.steps, history.val_loss, history.n_tokens) == (
        its_history.steps,
        its_history.val_loss,
        its_history.n_tokens,
    )


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_takes_effect_at_once(run, tmp_path, number):
    before = signal.getsignal(signal.SIGINT)
    unreached = []
    calls = cut_after(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    # The evaluation after the same step.
    calls["on_evaluation"] = lambda history: (os.kill(os.getpid(), number), unreached.append(1))
    with pytest.raises(KeyboardInterrupt):
        run(calls=calls)
    assert not unreached
    assert names(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("interruptible")
def test_a_signal_in_the_last_step_changes_nothing(run, uncut, tmp_path):
    model, history = run(calls=cut_after(12, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert history.n_steps == 12
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


def test_in_another_thread_than_the_main_one_training_sets_no_handlers(run, uncut):
    before, seen, results = signal.getsignal(signal.SIGINT), [], []
    calls = {"on_step": lambda *_: seen.append(signal.getsignal(signal.SIGINT))}
    thread = threading.Thread(target=lambda: results.append(run(calls=calls)))
    thread.start()
    thread.join()
    assert seen == [before] * 12
    assert torch.equal(weights_of(results[0][0]), weights_of(uncut()[0]))


@pytest.mark.parametrize("save_best", [True, False])
def test_a_run_out_of_its_minutes_ends_normally_and_the_next_goes_on(
    run, uncut, minutes, tmp_path, save_best
):
    def a_minute_a_step(history, loss):
        minutes.now += 1

    ends = []
    for _ in range(3):
        # The weights with the lowest validation loss are what comes back, the last ones are what is gone on with.
        model, history = run(
            calls={"on_step": a_minute_a_step}, max_minutes=5, save_best=save_best, eval_freq=2
        )
        ends.append((history.n_steps, history.stopped))
    assert ends == [(5, "max_minutes"), (10, "max_minutes"), (12, "")]
    assert torch.equal(weights_of(model), weights_of(uncut(save_best=save_best, eval_freq=2)[0]))
    assert log_without_seconds(tmp_path)[1:] == log_without_seconds(tmp_path / "uncut")[1:]


def test_the_time_of_an_earlier_call_does_not_count(run, minutes):
    with pytest.raises(PowerCut):
        run(calls=cut_after(4), max_minutes=5, save_every=4)
    minutes.now = 100
    assert run(max_minutes=5)[1].stopped == ""


def scripted_losses(monkeypatch, losses):
    """Let the n-th evaluation find the n-th of these validation losses, and the one before training 0."""
    coming = iter(losses)

    def loss(run, split):
        if not run.history.n_steps:
            return 0.0
        return next(coming) if split == "val" else 1.0

    monkeypatch.setattr(loop._Run, "loss", loss)


def test_the_last_two_states_and_their_best_weights_are_kept_and_nothing_else(
    run, monkeypatch, tmp_path
):
    scripted_losses(monkeypatch, [0.9, 0.5, 0.7, 0.6, 0.4, 0.8])
    seen = {}
    run(
        eval_freq=2,
        save_every=3,
        calls={"on_step": lambda history, loss: seen.update({history.n_steps: names(tmp_path)})},
    )
    assert seen[3] == []
    assert seen[4] == seen[6] == state_files(3, best=[2])
    assert seen[7] == seen[9] == state_files(3, 6, best=[2, 4])
    assert seen[10] == seen[12] == state_files(6, 9, best=[4])
    # The finished state holds the best weights alone, and no moments.
    assert names(tmp_path) == state_files(9, 12, best=[4])
    states = tmp_path / "states"
    assert (states / "state-00000012.pt").stat().st_size < 0.5 * (
        states / "state-00000009.pt"
    ).stat().st_size


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [12]),
        ({"save_every": 5}, [5, 10, 12]),
        ({"save_every_minutes": 2.5}, [3, 6, 9, 12]),
        # A save by count is one by time, too.
        ({"save_every": 5, "save_every_minutes": 3}, [3, 5, 8, 10, 12]),
    ],
)
def test_states_are_saved_by_count_by_time_and_at_the_end(
    run, minutes, monkeypatch, settings, expected
):
    saved, original = [], loop.save_state
    monkeypatch.setattr(
        loop,
        "save_state",
        lambda folder, step, *rest: (saved.append(step), original(folder, step, *rest)),
    )
    run(calls={"on_step": lambda *_: setattr(minutes, "now", minutes.now + 1)}, **settings)
    assert saved == expected


def test_a_finished_run_is_not_trained_again(run, tmp_path):
    first, history = run(eval_freq=1, learning_rate=0.3)
    assert history.best_step < 12, "the best weights are not the last ones"
    steps = []
    again, its_history = run(eval_freq=1, learning_rate=0.3, calls=n_steps_of(steps))
    assert steps == []
    assert torch.equal(weights_of(again), weights_of(first))
    assert its_history.val_loss == history.val_loss


def test_the_best_weights_of_before_the_cut_are_what_comes_back(run, uncut):
    settings = {"eval_freq": 1, "learning_rate": 0.3}
    whole, history = uncut(**settings)
    assert history.best_step < 8
    with pytest.raises(PowerCut):
        run(calls=cut_after(9), save_every=4, **settings)
    resumed, its_history = run(**settings)
    assert its_history.best_step == history.best_step
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_without_resume_a_run_begins_anew_and_deletes_what_is_there(run, tmp_path):
    with pytest.raises(PowerCut):
        run(calls=cut_after(5), save_every=2)
    (tmp_path / "states" / ".state-00000006.pt.x1y2.pt").write_bytes(b"half a st")
    seen = []
    _, history = run(
        resume=False,
        calls={"on_step": lambda history, loss: seen.append((history.n_steps, names(tmp_path)))},
    )
    assert seen[0] == (1, [])
    assert len(seen) == 12
    assert history.events == []


def other_shape():
    model = GPTModel(GPTConfig(n_vocab=23, n_ctx=16, n_embd=16, n_head=4, n_layer=2))
    init_weights(model, 1)
    return model


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"learning_rate": 1e-3},
            r"with other learning_rate \(learning_rate is 0\.003 there, 0\.001 here\)",
        ),
        ({"epochs": 3, "beta2": 0.9}, r"with other beta2, epochs \("),
        ({"identity": {"data": "xyz"}}, r"with other data \(data is 'abc' there, 'xyz' here\)"),
        ({"identity": {}}, r"with other data \(data is 'abc' there, None here\)"),
        ({"model": other_shape()}, r"with other shape \("),
        ({"save_best": False}, r"with other save_best"),
    ],
)
def test_the_states_of_another_run_are_refused_by_what_differs_and_go_on_when_it_is_set_back(
    run, uncut, tmp_path, changed, named
):
    with pytest.raises(PowerCut):
        run(calls=cut_after(5), save_every=2)
    before = {path: path.read_bytes() for path in (tmp_path / "states").iterdir()}
    with pytest.raises(RunStateError, match=named):
        run(**changed)
    assert {path: path.read_bytes() for path in (tmp_path / "states").iterdir()} == before
    steps = []
    model, _ = run(calls=n_steps_of(steps))
    assert steps[0] == 5
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


def test_what_changes_no_weight_may_change_on_resume(run, uncut):
    with pytest.raises(PowerCut):
        run(calls=cut_after(5), save_every=2)
    settings = {
        "activation_checkpointing": True,
        "strategy": "dp",
        "save_every": 3,
        "save_every_minutes": 7.0,
        "max_minutes": 1e6,
    }
    steps = []
    model, _ = run(calls=n_steps_of(steps), output_root="elsewhere", **settings)
    assert steps[0] == 5
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_every_number_format_a_cut_run_ends_as_an_uncut_one(run, uncut, monkeypatch, dtype):
    scaler = torch.amp.GradScaler
    # The scale falls at first and then grows: it has to be taken up where it was.
    monkeypatch.setattr(
        torch.amp,
        "GradScaler",
        lambda *arguments, **given: scaler(
            *arguments, init_scale=2.0**21, growth_interval=4, **given
        ),
    )
    whole, history = uncut(devices=cpu(dtype), max_grad_norm=1.0, epochs=4)
    with pytest.raises(PowerCut):
        run(devices=cpu(dtype), max_grad_norm=1.0, epochs=4, calls=cut_after(18), save_every=2)
    resumed, its_history = run(devices=cpu(dtype), max_grad_norm=1.0, epochs=4)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert its_history.n_skipped == history.n_skipped
    assert (history.n_skipped > 0) == (dtype is torch.float16)


def test_random_numbers_go_on_where_they_were(run, uncut):
    def seed(number):
        random.seed(number)
        torch.manual_seed(number)

    samples = {"write_samples": lambda: [repr(random.random()), repr(torch.rand(()).item())]}
    # The samples of step 8 are in the state that the cut run goes on from; those of step 9 are not.
    settings = {"epochs": 3, "sample_steps": (3, 8, 9, 12)}
    seed(1)
    _, whole = uncut(calls=samples, **settings)
    seed(1)
    with pytest.raises(PowerCut):
        run(calls=samples | cut_after(10), save_every=4, **settings)
    seed(2)
    _, resumed = run(calls=samples, **settings)
    assert resumed.samples == whole.samples
    # Before training, after each epoch of 6 steps, and in between; after step 12 once.
    assert [step for step, _ in whole.samples] == [0, 3, 6, 8, 9, 12, 18]
    assert len({tuple(answers) for _, answers in whole.samples}) == 7


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc]"),
    ],
)
def test_a_full_disk_ends_the_run_with_a_sentence_and_there_is_a_state_to_go_on_from(
    run, uncut, monkeypatch, tmp_path, error
):
    n_written, write = [], state._write

    def full_at_the_third_state(temporary, content):
        n_written.append("history" in content)
        if n_written.count(True) == 3:
            temporary.write_bytes(b"as much as there was room for")
            raise error
        write(temporary, content)

    with monkeypatch.context() as patch:
        patch.setattr(state, "_write", full_at_the_third_state)
        with pytest.raises(
            RunStateError,
            match=rf"the state after step 6 could not be written to {tmp_path / 'states'} .*step 4 is as it was",
        ):
            run(save_every=2)
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    steps = []
    model, _ = run(calls=n_steps_of(steps))
    assert steps[0] == 5
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [damaged, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-7])],
    ids=["bit", "gone", "cut"],
)
@pytest.mark.parametrize("name", ["state-00000006.pt", "best-00000005.pt"])
def test_a_damaged_state_is_told_of_and_the_one_before_it_taken(run, uncut, tmp_path, name, damage):
    with pytest.raises(PowerCut):
        run(calls=cut_after(8), save_every=3)
    assert names(tmp_path) == state_files(3, 6, best=[5])
    damage(tmp_path / "states" / name)
    steps = []
    model, history = run(calls=n_steps_of(steps))
    assert steps[0] == 4
    assert history.events[0] == (
        3,
        f"{name} is damaged or missing: the state after step 6 was deleted",
    )
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


@pytest.mark.parametrize("when", ["between two calls", "during a run"])
def test_a_run_whose_folder_was_deleted_trains_what_it_would_have_trained(
    run, uncut, tmp_path, when
):
    def delete():
        shutil.rmtree(tmp_path / "states")

    if when == "between two calls":
        with pytest.raises(PowerCut):
            run(calls=cut_after(8), save_every=3)
        delete()
        model, _ = run()
    else:
        model, _ = run(calls=cut_after(8, delete), save_every=3)
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))
    assert state_files(12)[0] in names(tmp_path)


@pytest.mark.parametrize("batch_size", [2, 8])
def test_on_another_number_of_devices_a_step_keeps_its_records(run, uncut, batch_size):
    with pytest.raises(PowerCut):
        run(calls=cut_after(5), save_every=2)
    steps = []
    model, history = run(train_loader=loader(batch_size=batch_size), calls=n_steps_of(steps))
    assert steps == list(range(5, 13))
    assert [sentence for _, sentence in history.events if "a step keeps its 4 records" in sentence]
    assert torch.equal(weights_of(model), weights_of(uncut()[0]))


def points(folder, name):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder / "tensorboard" / "states"))
    accumulator.Reload()
    return {event.step: event.value for event in accumulator.Scalars(name)}, len(
        accumulator.Scalars(name)
    )


def test_tensorboard_has_every_point_once_after_a_cut(run, tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(PowerCut):
        # The points of the steps 6 and 8 are written, and to be forgotten: the state is of step 5.
        run(calls=cut_after(9), save_every=5, eval_freq=2, tensorboard=True)
    _, history = run(eval_freq=2, tensorboard=True)
    for name in ("train_loss", "val_loss", "learning_rate"):
        found, n_points = points(tmp_path, name)
        assert list(found) == [0, 2, 4, 6, 8, 10, 12]
        assert n_points == 7
        assert list(found.values()) == pytest.approx(getattr(history, name), rel=1e-6)


def test_without_the_package_tensorboard_the_error_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        run(tensorboard=True)


def test_a_state_written_by_an_earlier_version_of_the_package_is_gone_on_from(run, tmp_path):
    # Written at commit 1eb383d, when the package was one folder: seven steps of a run, and the weights that it ended with uncut.
    earlier = Path(__file__).parent / "training" / "data" / "earlier_run"
    shutil.copytree(earlier / "states", tmp_path / "states")
    model = GPTModel(GPTConfig(n_vocab=23, n_ctx=16, n_embd=8, n_head=2, n_layer=1))
    init_weights(model, 2)
    steps = []
    settings = {"max_grad_norm": 1.0, "schedule": "cosine", "warmup_steps": 2, "save_every": 7}
    _, history = run(model, calls=n_steps_of(steps), **settings)
    assert steps == list(range(8, 13))
    assert history.events == [(7, f"resumed from {tmp_path / 'states'}")]
    expected = torch.load(earlier / "uncut.pth")
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-5, rtol=1e-4, msg=name)
