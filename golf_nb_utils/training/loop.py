"""The training loop: steps, evaluations, samples, and states to go on from after a cut.

The same loop runs on one device, under DataParallel, and in each process of torchrun (torchrun.py).
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from golf_nb_utils.files import held
from golf_nb_utils.gpt2.checkpoints import load_base_model, weights_hash
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training.batches import Batch, Batches
from golf_nb_utils.training.history import (
    History,
    open_tensorboard,
    progress_bar,
    show_step,
    write_log,
)
from golf_nb_utils.training.lora import add_lora
from golf_nb_utils.training.state import (
    RunStateError,
    delete_states,
    load_state,
    random_states,
    save_state,
    set_random_states,
)
from golf_nb_utils.training.step import Stepper, evaluate_loss, mean_loss, wrap
from golf_nb_utils.training.workers import (
    ALONE,
    Workers,
    gathered_moments,
    gathered_weights,
    set_moments,
    set_weights,
)

MOST_SKIPPED = 10
"""So many steps in a row without a finite loss end a run."""


class TrainingInterrupted(RuntimeError):
    """Training was stopped by hand or by the host; the message says where the state was saved."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Setup:
    """What a run is given beside its model and its records."""

    config: TrainConfig
    devices: Devices
    folder: Path
    """Where the states to resume from are kept."""
    log_path: Path
    """Every evaluation becomes a line of it; tensorboard/ goes beside it."""
    identity: dict
    """Hashes of data and base weights, which keep a run from going on with another's states."""
    workers: Workers = ALONE
    micro_batch: int = 0
    """Rows a device begins with instead of batch_size, after memory ran out."""
    checkpoint_folder: Path | None = None
    """The base model, whose weights the run begins at; None takes the model as it is given."""
    sample_steps: tuple[int, ...] = ()
    """Steps after which samples are written, beside before training and after each epoch."""

    @property
    def purpose(self) -> str:
        """What the run is for, told to another process that wants its folder."""
        return f"training gpt2-{self.config.model_size} with seed {self.config.seed}"

    def identity_with(self, model: GPTModel) -> dict:
        """Return what tells this run from others: hashes, shape, and every setting that matters."""
        matter = [f.name for f in fields(self.config) if not f.metadata.get("free_on_resume")]
        settings = {name: getattr(self.config, name) for name in matter}
        # Through JSON, as it will be read back.
        return json.loads(json.dumps({**self.identity, **settings, "shape": asdict(model.config)}))


def base_model(
    folder: Path, method: str, lora_rank: int, seed: int, frozen_dtype: torch.dtype
) -> GPTModel:
    """Return the model that a run starts from: the checkpoint in `folder`, and with method "lora"
    the additions (see lora.add_lora).

    Raises:
        MissingArtifactError, CheckpointError, OSError: see checkpoints.convert_checkpoint.
    """
    model = load_base_model(folder)
    if method == "lora":
        add_lora(model, lora_rank, frozen_dtype, seed)
    return model


def begin_at_base(
    model: GPTModel, folder: Path, config: TrainConfig, devices: Devices
) -> tuple[str, bool]:
    """Give `model` in place what `base_model` returns; return the hash of the base weights, and
    whether the model had others.

    It has after an earlier run of this process, finished or broken off.

    Raises:
        RunStateError: it is of another shape or method.
    """
    base = load_base_model(folder)
    base_sha256 = weights_hash(base)
    if config.method == "lora":
        add_lora(base, config.lora_rank, devices.dtype, config.seed)
    wanted, found = base.state_dict(), model.state_dict()
    kinds = [{name: (t.shape, t.dtype) for name, t in each.items()} for each in (wanted, found)]
    if kinds[0] != kinds[1]:
        raise RunStateError(
            f"the model in memory is not one that method={config.method!r} makes of {folder}; run "
            "the cell that makes it (loop.base_model) again."
        )
    if all(torch.equal(found[name].cpu(), tensor) for name, tensor in wanted.items()):
        return base_sha256, False
    model.load_state_dict(wanted)
    return base_sha256, True


def require_trained(model: GPTModel, history: History) -> None:
    """Refuse a model that is not, or no longer, what the run of `history` ended with.

    Raises:
        RunStateError: its weights are others.
    """
    if weights_hash(model) != history.trained_sha256:
        raise RunStateError(
            "the model in memory is not the one with which the training ended; run the training "
            "cell again."
        )


def estimate_seconds(
    model: GPTModel, batches: Batches, config: TrainConfig, devices: Devices, n_timed: int = 4
) -> float:
    """Return the seconds that training will take, from a few timed steps that change no weight."""
    module = wrap(model, devices)
    rows = config.batch_size * max(1, devices.n_gpus)
    seconds, n_tokens = 0.0, 0
    for index, (input_ids, targets) in enumerate(islice(batches, n_timed + 1)):
        input_ids, targets = input_ids[:rows].to(devices.device), targets[:rows].to(devices.device)
        started = time.perf_counter()
        mean_loss(module, input_ids, targets).backward()
        if devices.device.type == "cuda":
            torch.cuda.synchronize()
        # The first step also allocates memory and picks kernels: it counts only when alone.
        if index or len(batches) == 1:
            seconds += time.perf_counter() - started
            n_tokens += input_ids.numel()
    model.zero_grad(set_to_none=True)
    return seconds / n_tokens * config.epochs * sum(batches.dataset.lengths)


@contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """Collect SIGINT and SIGTERM instead of dying in mid-step; a second one acts at once."""
    requested: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def remember(number, frame):
        if requested:
            raise KeyboardInterrupt
        requested.append(signal.Signals(number).name)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield requested
    finally:
        for number, handler in previous.items():
            # None stands for one that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Run:
    """A run between its steps: what is evaluated, kept, saved and taken up again."""

    def __init__(self, model: GPTModel, batches: dict[str, Batches], setup: Setup):
        self.model, self.setup = model, setup
        self.config, self.workers = setup.config, setup.workers
        self.identity = setup.identity_with(model)
        if not self.config.resume and self.workers.is_first:
            delete_states(setup.folder)
        state, best, remarks = self._load()
        self.history = History(**state["history"]) if state else History()
        for remark in remarks:
            self.history.note(remark)
        if setup.checkpoint_folder:
            self.history.base_sha256, differed = begin_at_base(
                model, setup.checkpoint_folder, self.config, setup.devices
            )
            if differed and not state:
                self.history.note("the model in memory was trained: its base weights were loaded")
        self.stepper = Stepper(
            model, self.config, setup.devices, self.history, self.workers, setup.micro_batch
        )
        self.best = (self.history.best_step, best) if best else None
        self.batches = batches["train"]
        if state:
            self._restore(state)
        self.history.n_per_epoch = len(self.batches)
        self.history.n_planned = self.config.epochs * len(self.batches)
        if self.stepper.micro_batch < self.config.batch_size:
            self.history.note_out_of_memory(self.stepper.micro_batch)
        # The same batches every time, so that two points of the curve can be compared.
        self.fixed = {}
        for split in ("train", "val"):
            evaluated = replace(batches[split], batch_size=self.batches.batch_size)
            self.fixed[split] = list(islice(evaluated, self.config.eval_batches))
        self.started = self.saved = time.monotonic()

    def _load(self) -> tuple[dict | None, dict | None, list[str]]:
        """Read the newest state, if there is one; the tensors are the first worker's alone."""
        if not self.workers.is_first:
            return self.workers.from_first(None), None, []
        state, best, remarks = load_state(self.setup.folder, self.identity)
        tensors = ("weights", "moments")
        self.workers.from_first(
            state and {name: value for name, value in state.items() if name not in tensors}
        )
        return state, best, remarks

    def _restore(self, state: dict) -> None:
        """Go on from a state: weights, moments, loss scale, random numbers, records a step."""
        history, stepper = self.history, self.stepper
        if history.stopped == "max_minutes":
            history.stopped = ""
        set_weights(self.model, state.get("weights", {}), self.workers)
        if not state["finished"]:
            set_moments(self.model, stepper.optimizer, state.get("moments", {}), self.workers)
        if stepper.scaler.is_enabled() and state["scaler"]:
            stepper.scaler.load_state_dict(state["scaler"])
        set_random_states(state["random"])
        history.note(f"resumed from {self.setup.folder}")
        n_records = state["records_per_step"]
        if n_records != self.batches.batch_size:
            history.note(
                f"a step keeps its {n_records} records, here in micro-batches of "
                f"{stepper.micro_batch} on each device"
            )
            self.batches = replace(self.batches, batch_size=n_records)

    def remaining(self) -> Iterator[Batch]:
        """Yield the batches of the steps that are still to be taken, until the run is stopped."""
        history = self.history
        while history.n_steps < history.n_planned and not history.stopped:
            epoch, start = divmod(history.n_steps, history.n_per_epoch)
            # Epoch 0 is what the fixed batches of the evaluation are taken from.
            for batch in self.batches.epoch(epoch + 1, start):
                yield batch
                if history.stopped:
                    return

    def step(self, batch: Batch) -> float:
        """Take one step and return its loss.

        Raises:
            TrainingDiverged: it is the tenth in a row without a finite loss; the model then is as
                in the last state.
            torch.OutOfMemoryError: not even one record fits.
        """
        loss = self.stepper.step(batch)
        if self.history.n_skipped_in_row < MOST_SKIPPED:
            return loss
        state = load_state(self.setup.folder, self.identity)[0] if self.workers.is_first else None
        kept = self.workers.from_first(state is not None)
        if kept:
            set_weights(self.model, state["weights"] if state else {}, self.workers)
        where = f"the model is as in the last state in {self.setup.folder}"
        where = where if kept else "no state had been saved yet"
        raise TrainingDiverged(
            f"{MOST_SKIPPED} steps in a row, up to step {self.history.n_steps}, had no finite loss "
            f"or gradient (the last loss: {loss}); {where}. Lower learning_rate (now "
            f"{self.config.learning_rate}), add warmup_steps or max_grad_norm=1.0, or try "
            "mixed_precision=False."
        )

    def loss(self, split: str) -> float:
        """Return the loss over the fixed batches of a split."""
        cut = self.stepper.micro_batches
        pieces = (piece for batch in self.fixed[split] for piece in cut(batch))
        return evaluate_loss(self.stepper.module, pieces, self.setup.devices.device, self.workers)

    def evaluate(self) -> None:
        """Add a point to the history; keep the weights if their validation loss is the lowest."""
        history = self.history
        self.model.eval()
        with history.timed("evaluation"):
            train_loss, val_loss = self.loss("train"), self.loss("val")
            history.steps.append(history.n_steps)
            history.tokens.append(history.n_tokens)
            history.seconds.append(round(history.phases["training"], 3))
            history.train_loss.append(round(train_loss, 4))
            history.val_loss.append(round(val_loss, 4))
            history.learning_rate.append(self.stepper.optimizer.param_groups[0]["lr"])
            # What training began with is a point of the curve and no candidate for the best.
            if history.n_steps and val_loss < history.best_val_loss:
                history.best_step, history.best_val_loss = history.n_steps, val_loss
                if self.config.save_best:
                    # Copied, as on a CPU these are the very weights that go on to be trained.
                    weights = gathered_weights(self.model).items()
                    self.best = history.n_steps, {name: tensor.clone() for name, tensor in weights}
        self.model.train()
        patience = self.config.early_stopping_patience
        if patience and sum(step > history.best_step for step in history.steps) >= patience:
            history.stopped = "early_stopping"

    def sample(self, write_samples: Callable[[], list[str]]) -> None:
        """Add what the model answers now to the history."""
        self.model.eval()
        with self.history.timed("samples"):
            self.history.samples.append((self.history.n_steps, write_samples()))
        self.model.train()

    def save(self, finished: bool = False) -> None:
        """Write a state; a finished run's is a third as large, as nobody needs its moments."""
        stepper, history = self.stepper, self.history
        with history.timed("saving"):
            weights = gathered_weights(self.model)
            moments = {} if finished else gathered_moments(self.model, stepper.optimizer)
        if self.workers.is_first:
            state = {
                "weights": weights, "moments": moments, "scaler": stepper.scaler.state_dict(),
                "history": asdict(history), "random": random_states(),
                "records_per_step": self.batches.batch_size, "finished": finished,
            }  # fmt: skip
            best = None if finished else self.best
            with history.timed("saving"):
                save_state(self.setup.folder, history.n_steps, state, self.identity, best)

    def take_best(self) -> None:
        """Give the model the weights with the lowest validation loss, if those are to be saved."""
        if self.config.save_best and self.history.best_step not in (0, self.history.n_steps):
            set_weights(self.model, self.best[1] if self.best else {}, self.workers)

    def save_or_stop(self, requested: list[str]) -> None:
        """Write a state if one is due, and end the run if it is over, in all workers alike.

        Raises:
            TrainingInterrupted: a signal came; the state is saved.
        """
        history, config, now = self.history, self.config, time.monotonic()
        last = history.n_steps == history.n_planned
        minutes, total_minutes = (now - self.saved) / 60, (now - self.started) / 60
        due = config.save_every and history.n_steps % config.save_every == 0
        due = due or (config.save_every_minutes and minutes >= config.save_every_minutes)
        due = due and not history.n_skipped_in_row
        over = config.max_minutes and total_minutes >= config.max_minutes
        # The workers' clocks differ, and a signal reaches only one: what one knows, all must do.
        is_first = self.workers.is_first
        interrupted, due, over = self.workers.total(
            len(requested), is_first and due, is_first and over
        )
        if over and not last and not history.stopped:
            history.stopped = "max_minutes"
        finished = last or history.stopped == "early_stopping"
        if finished:
            self.take_best()
        if finished or due or interrupted or history.stopped:
            self.save(finished)
            self.saved = time.monotonic()
        if interrupted and not finished:
            raise TrainingInterrupted(
                f"stopped by {requested[0] if requested else 'a signal'} after "
                f"{history.n_steps} of {history.n_planned} steps; the state is in "
                f"{self.setup.folder}: run this again to go on."
            )


def train(
    model: GPTModel,
    batches: dict[str, Batches],
    setup: Setup,
    on_evaluation: Callable[[History], None] = lambda history: None,
    on_step: Callable[[History, float], None] | None = None,
    write_samples: Callable[[], list[str]] | None = None,
) -> History:
    """Train `model` in place and return what was measured.

    `batches` holds "train" and "val". `on_step(history, loss)` shows the progress (by default a
    bar), and `on_evaluation(history)` is called every `eval_freq` steps. `write_samples()` returns
    answers, before training, after each epoch and after `setup.sample_steps`, which go into the
    history. In the end the model has the weights with the lowest validation loss (`save_best`) or
    the last ones.

    Raises:
        TrainingInterrupted: the kernel's stop button, SIGINT or SIGTERM; the state is saved.
        TrainingDiverged: ten steps in a row had no finite loss.
        RunStateError: `folder` holds another run's states, a state could not be written, or the
            model is not one of these settings.
        FolderInUseError: another process trains with the same folder.
        torch.OutOfMemoryError: not even one record fits.
    """
    # Of several workers the process that started them holds the folder.
    if setup.workers != ALONE:
        return _train(model, batches, setup, on_evaluation, on_step, write_samples)
    with held(setup.folder, setup.purpose):
        history = _train(model, batches, setup, on_evaluation, on_step, write_samples)
    history.trained_sha256 = weights_hash(model)
    return history


def _train(
    model: GPTModel,
    batches: dict[str, Batches],
    setup: Setup,
    on_evaluation: Callable[[History], None],
    on_step: Callable[[History, float], None] | None,
    write_samples: Callable[[], list[str]] | None,
) -> History:
    run, config, is_first = _Run(model, batches, setup), setup.config, setup.workers.is_first
    history, board = run.history, None
    if config.tensorboard and is_first:
        board = open_tensorboard(setup.log_path.parent / "tensorboard" / setup.folder.name, history)
    bar = progress_bar(history)
    on_step = on_step or partial(show_step, bar)
    if write_samples and not history.samples:
        run.sample(write_samples)
    # Who times the steps alone gives nothing to evaluate.
    if not history.n_steps and all(run.fixed.values()):
        run.evaluate()
        if is_first:
            write_log(setup.log_path, config, history, board)
    model.train()
    try:
        with _stop_requests() as requested:
            for batch in run.remaining():
                on_step(history, run.step(batch))
                if history.n_steps % config.eval_freq == 0 or history.n_steps == history.n_planned:
                    run.evaluate()
                    if is_first:
                        write_log(setup.log_path, config, history, board)
                        on_evaluation(history)
                is_due = history.n_steps in setup.sample_steps
                is_due = is_due or history.n_steps % history.n_per_epoch == 0
                if is_due and write_samples:
                    run.sample(write_samples)
                run.save_or_stop(requested)
        if history.stopped == "max_minutes":
            run.take_best()
    finally:
        model.eval()
        bar.close()
        if board:
            board.close()
    return history
