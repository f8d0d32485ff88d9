"""What a run starts from, whatever the model in memory has learnt before, and what it says of the model that it leaves."""

import signal
import subprocess
import sys

import pytest
import torch
import toy_runs
from toy_runs import base_folder, fresh_model, weights_of

from golf_nb_utils.files import FolderInUseError
from golf_nb_utils.gpt2.checkpoints import load_base_model, weights_hash
from golf_nb_utils.training.loop import TrainingInterrupted, base_model, require_trained
from golf_nb_utils.training.lora import merge_lora
from golf_nb_utils.training.state import RunStateError

NOTE = "the model in memory was trained: its base weights were loaded"


@pytest.fixture
def folder(tmp_path):
    return base_folder(tmp_path / "base")


@pytest.fixture
def run(tmp_path, folder):
    """toy_runs.train from the base weights in `folder`, to states of its own."""
    return lambda model, **given: toy_runs.train(
        tmp_path / "run", model, checkpoint_folder=folder, **given
    )


@pytest.fixture
def expected(tmp_path):
    """The weights after a run in a process that has trained nothing before."""
    return weights_of(toy_runs.train(tmp_path / "expected")[0])


def events(history):
    return [sentence for _, sentence in history.events]


def test_a_second_run_begins_at_the_base_weights_again_and_says_so(run, expected):
    model, first = run(fresh_model(), resume=False)
    assert torch.equal(weights_of(model), expected)
    _, second = run(model, resume=False)
    assert torch.equal(weights_of(model), expected)
    assert (events(first), events(second)) == ([], [NOTE])


def test_what_was_broken_off_is_no_beginning(run, expected, interruptible):
    model, taken = fresh_model(), []

    def stop(history, loss):
        taken.append(loss)
        if len(taken) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        run(model, calls={"on_step": stop}, learning_rate=1e-2)
    run(model, resume=False)
    assert torch.equal(weights_of(model), expected)


def test_a_run_that_goes_on_needs_no_base_weights_in_memory(run, expected, interruptible):
    model = fresh_model()

    def stop(history, loss):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        run(model, calls={"on_step": stop})
    _, history = run(model)
    assert torch.equal(weights_of(model), expected)
    assert NOTE not in events(history)


def test_gradients_that_a_broken_off_step_left_do_not_count(tmp_path, expected):
    model = fresh_model()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    toy_runs.train(tmp_path / "run", model)
    assert torch.equal(weights_of(model), expected)


def test_additions_begin_anew_on_the_base_weights(run, folder):
    settings = {"method": "lora", "lora_rank": 4, "learning_rate": 3e-2}
    made = "lora", 4, 123, torch.float32
    model, _ = run(base_model(folder, *made), **settings)
    first = weights_of(model)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    _, history = run(model, resume=False, **settings)
    assert torch.equal(weights_of(model), first)
    assert history.base_sha256 == weights_hash(load_base_model(folder))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_of_another_method_is_refused_and_stays_as_it_is(run, folder, method):
    other = {"full": "lora", "lora": "full"}[method]
    model = base_model(folder, method, 4, 123, torch.float32)
    before = weights_hash(model)
    with pytest.raises(RunStateError, match=f"method='{other}' .* run the cell that makes it"):
        run(model, method=other, lora_rank=4)
    assert weights_hash(model) == before


def test_a_history_knows_its_base_and_the_weights_with_which_it_ended(run, folder):
    model, history = run(fresh_model())
    assert history.base_sha256 == weights_hash(load_base_model(folder)) != history.trained_sha256
    require_trained(model, history)
    with pytest.raises(RunStateError, match="run the training cell again"):
        require_trained(load_base_model(folder), history)
    with torch.no_grad():
        model.ln_f.bias[0] += 1e-6
    with pytest.raises(RunStateError, match="run the training cell again"):
        require_trained(model, history)


def test_the_hash_of_weights_is_that_of_their_values_whatever_the_order_of_their_names():
    model = fresh_model()
    same, other = fresh_model(), fresh_model(2)
    same.ln_f = same._modules.pop("ln_f")  # the same weights, in another order
    same.h = same._modules.pop("h")
    assert list(same.state_dict()) != list(model.state_dict())
    assert weights_hash(same) == weights_hash(model) != weights_hash(other)
    assert weights_hash(fresh_model().half()) != weights_hash(model)


def test_what_was_merged_already_is_not_saved_as_if_it_had_been_trained():
    with pytest.raises(ValueError, match="no low-rank additions to merge"):
        merge_lora(fresh_model(), fresh_model())


def test_two_runs_do_not_train_in_one_folder_at_once(tmp_path, run):
    code = (
        "import sys; from pathlib import Path; from golf_nb_utils.files import hold; "
        "hold(Path(sys.argv[1]), 'training gpt2-tiny with seed 7'); print(flush=True); "
        "sys.stdin.read()"
    )
    states = tmp_path / "run" / "states"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(states)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        other.stdout.readline()
        with pytest.raises(FolderInUseError, match=f"process {other.pid} on .* with seed 7"):
            run(fresh_model(), resume=False)
    run(fresh_model())
    assert not states.with_name("states.lock").exists()


def test_a_run_that_fails_gives_its_folder_back(tmp_path, run):
    def fail(history, loss):
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        run(fresh_model(), calls={"on_step": fail})
    assert not (tmp_path / "run" / "states.lock").exists()
