"""The training loop: AdamW, mixed precision with loss scaling, the loss inside each replica, and a state to resume from.

The same loop runs on one device, under DataParallel, and in each process of torchrun (DDP, FSDP), where
`python -m golf_nb_utils.training.loop JOB.json` is what torchrun starts. A step takes `records_per_step` records, in as many
micro-batches as memory asks for; however they are cut, the loss is the mean over all labelled tokens of the step.
"""

import json
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from golf_nb_utils.files import write_json
from golf_nb_utils.golf import dataset
from golf_nb_utils.gpt2 import checkpoints
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.sampling import answer
from golf_nb_utils.gpt2.tokenizer import load_tokenizer
from golf_nb_utils.host import Devices, detect_devices, keep_freed_memory, memory_peak
from golf_nb_utils.settings import SampleConfig, TrainConfig
from golf_nb_utils.training.batches import IGNORED, Batches, InstructionDataset
from golf_nb_utils.training.history import (
    History,
    open_tensorboard,
    progress_bar,
    show_step,
    write_log,
)
from golf_nb_utils.training.lora import add_lora
from golf_nb_utils.training.state import delete_states, load_state, save_state
from golf_nb_utils.training.workers import (
    WorkerError,
    Workers,
    gathered_moments,
    gathered_weights,
    joined,
    run_workers,
    say,
    set_moments,
    set_weights,
    spread,
    without_sync,
)

Batch = tuple[torch.Tensor, torch.Tensor]
MOST_SKIPPED = 10
"""So many steps in a row without a finite loss end a run."""
# What a run may do otherwise when it is resumed: the weights that come out are the same.
FREE_ON_RESUME = (
    "activation_checkpointing", "strategy", "save_every", "save_every_minutes", "max_minutes", "resume", "tensorboard", "output_root",
)  # fmt: skip


ALONE = Workers()


class TrainingInterrupted(RuntimeError):
    """Training was stopped by hand or by the host; the message says where the state was saved."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


class LossInReplica(nn.Module):
    """The model with its loss, as DataParallel replicates it: only two numbers a replica are gathered, never the logits.

    Autocast is opened here because DataParallel's threads do not inherit the number format.
    """

    def __init__(self, model: GPTModel, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.dtype is torch.float32:
            return self.model.loss_sum(input_ids, targets)
        # Each weight is cast once a pass; a cache would only hold on to the copies of blocks that are recomputed.
        with torch.autocast(input_ids.device.type, self.dtype, cache_enabled=False):
            return self.model.loss_sum(input_ids, targets)


def wrap(model: GPTModel, devices: Devices, workers: Workers = ALONE) -> nn.Module:
    """Move the model to its device and return the module that computes losses, replicated or sharded as the strategy says."""
    if workers.strategy != "fsdp":
        model.to(devices.device)
    if devices.device.type == "cpu":
        keep_freed_memory()
    return spread(LossInReplica(model, devices.dtype), model, devices, workers)


def mean_loss(module: nn.Module, input_ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy averaged over all labelled tokens of the batch, whatever replica they fell to.

    Raises:
        ValueError: no position is labelled.
    """
    sums, counts = module(input_ids, targets)
    if not int(counts.sum()):
        raise ValueError("no position of this batch is labelled; every record needs an answer.")
    return sums.sum() / counts.sum()


@torch.no_grad()
def evaluate_loss(
    module: nn.Module, batches: Iterable[Batch], device: torch.device, workers: Workers = ALONE
) -> float:
    """Return the loss averaged over all labelled tokens of the batches, of every worker's."""
    total, count = 0.0, 0
    for input_ids, targets in batches:
        sums, counts = module(input_ids.to(device), targets.to(device))
        total, count = total + float(sums.sum()), count + int(counts.sum())
    total, count = workers.total(total, count)
    return total / count


def learning_rate_at(step: int, n_steps: int, config: TrainConfig) -> float:
    """Return the rate of step 0..n_steps-1: linear warm-up, then constant, or down a line or half a cosine to its final share."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, n_steps - 1 - config.warmup_steps)
    fallen = {
        "constant": 0.0,
        "linear": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
    }[config.schedule]
    return config.learning_rate * (1 - (1 - config.final_learning_rate_fraction) * fallen)


def make_optimizer(model: GPTModel, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over what is trained; weight decay applies to matrices, not to biases and layer norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def records_per_step(config: TrainConfig, devices: Devices, n_workers: int = 1) -> int:
    """Return how many records change the weights at once: batch_size on each device, gradient_accumulation_steps times."""
    return (
        config.batch_size * config.gradient_accumulation_steps * max(1, devices.n_gpus) * n_workers
    )


def estimate_seconds(
    model: GPTModel, batches: Batches, config: TrainConfig, devices: Devices, n_timed: int = 4
) -> float:
    """Return the seconds that training will take, from a few timed steps that leave the weights as they are."""
    module = wrap(model, devices)
    rows = config.batch_size * max(1, devices.n_gpus)
    seconds, n_tokens = 0.0, 0
    for index, (input_ids, targets) in enumerate(islice(batches, n_timed + 1)):
        input_ids, targets = input_ids[:rows].to(devices.device), targets[:rows].to(devices.device)
        started = time.perf_counter()
        mean_loss(module, input_ids, targets).backward()
        if devices.device.type == "cuda":
            torch.cuda.synchronize()
        # The first step also allocates memory and picks kernels: it counts only when there is no other.
        if index or len(batches) == 1:
            seconds += time.perf_counter() - started
            n_tokens += input_ids.numel()
    model.zero_grad(set_to_none=True)
    n_total = config.epochs * sum(batches.dataset.lengths)
    return seconds / n_tokens * n_total


@contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """Collect SIGINT and SIGTERM in a list instead of dying in the middle of a step; a second one takes effect at once."""
    requested: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def remember(number, frame):
        if requested:
            raise KeyboardInterrupt
        requested.append(signal.Signals(number).name)

    previous = {
        number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield requested
    finally:
        for number, handler in previous.items():
            # None stands for one that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _random_states() -> dict:
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state_all(states["cuda"])


def run_identity(model: GPTModel, config: TrainConfig, identity: dict) -> dict:
    """Return what tells a run from others: hashes of data and base weights, the model's shape, and every setting that matters."""
    settings = {name: value for name, value in asdict(config).items() if name not in FREE_ON_RESUME}
    # Through JSON, as it will be read back.
    return json.loads(json.dumps({**identity, **settings, "shape": asdict(model.config)}))


class _Run:
    """One run: the model and what changes with it from step to step."""

    def __init__(
        self,
        model: GPTModel,
        batches: dict[str, Batches],
        config: TrainConfig,
        devices: Devices,
        workers: Workers,
        folder: Path,
        identity: dict,
        micro_batch: int,
    ):
        self.model, self.config, self.devices, self.workers = model, config, devices, workers
        self.folder, self.identity, self.micro_batch = folder, identity, micro_batch
        model.recompute_blocks = config.activation_checkpointing
        self.module = wrap(model, devices, workers)
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(devices.device.type, enabled=devices.needs_loss_scaling)
        self.best: tuple[int, dict] | None = None
        self.history = History()
        if not config.resume and workers.is_first:
            delete_states(folder)
        self.batches = batches["train"]
        self._restore()
        self.history.n_per_epoch, self.history.n_planned = (
            len(self.batches),
            config.epochs * len(self.batches),
        )
        if micro_batch < config.batch_size:
            self.note_out_of_memory()
        # The same batches every time, also under another strategy, so that two points of the curve can be compared.
        self.fixed = {
            split: list(
                islice(
                    replace(batches[split], batch_size=self.batches.batch_size), config.eval_batches
                )
            )
            for split in ("train", "val")
        }

    def _restore(self) -> None:
        """Go on from the newest state on the disk, if there is one; only the first worker reads it."""
        state, best, remarks = (
            load_state(self.folder, self.identity) if self.workers.is_first else (None, None, [])
        )
        about = (
            {
                name: state[name]
                for name in ("history", "scaler", "random", "records_per_step", "finished")
            }
            if state
            else None
        )
        about = self.workers.from_first(about)
        if about is not None:
            self.history = History(**about["history"])
        for remark in remarks:
            self.note(remark)
        if about is None:
            return
        state = state or {}
        if self.history.stopped == "max_minutes":
            self.history.stopped = ""
        self.best = best and (self.history.best_step, best)
        set_weights(self.model, state.get("weights", {}), self.workers)
        if not about["finished"]:
            set_moments(self.model, self.optimizer, state.get("moments", {}), self.workers)
        if self.scaler.is_enabled() and about["scaler"]:
            self.scaler.load_state_dict(about["scaler"])
        _set_random_states(about["random"])
        n_records = about["records_per_step"]
        self.note(f"resumed from {self.folder}")
        if n_records != self.batches.batch_size:
            self.note(
                f"a step keeps its {n_records} records, here in micro-batches of {self.micro_batch} on each device"
            )
            self.batches = replace(self.batches, batch_size=n_records)

    def note(self, sentence: str) -> None:
        self.history.events.append((self.history.n_steps, sentence))

    def note_out_of_memory(self) -> None:
        self.note(
            f"memory ran out: micro-batches of {self.micro_batch} on each device from here on, the same records a step"
        )

    def pieces(self, batch: Batch) -> list[Batch]:
        """Cut a batch into this worker's micro-batches, without the columns after their last label.

        All workers get equally many, as their collective operations need; one that has no rows left gets a row without labels.
        """
        mine = [tensor[self.workers.rank :: self.workers.count] for tensor in batch]
        n_most = -(-len(batch[0]) // self.workers.count)
        n_rows = self.micro_batch * max(1, self.devices.n_gpus)
        pieces = []
        for start in range(0, n_most, n_rows):
            input_ids, targets = (tensor[start : start + n_rows] for tensor in mine)
            if not len(input_ids):
                input_ids, targets = batch[0][:1], torch.full_like(batch[1][:1], IGNORED)
            labelled = (targets != IGNORED).any(dim=0).nonzero()
            length = int(labelled.max()) + 1 if len(labelled) else 1
            pieces.append(
                (
                    input_ids[:, :length].to(self.devices.device),
                    targets[:, :length].to(self.devices.device),
                )
            )
        return pieces

    def gradients(self, batch: Batch) -> float:
        """Add the gradients of the batch up and return its loss; if memory runs out, begin the batch again in smaller pieces.

        Raises:
            ValueError: no position is labelled.
            torch.OutOfMemoryError: not even one record fits.
        """
        n_labelled = int((batch[1] != IGNORED).sum())
        if not n_labelled:
            raise ValueError("no position of this batch is labelled; every record needs an answer.")
        states = _random_states()
        while True:
            try:
                return self._gradients(self.pieces(batch), n_labelled)
            except torch.OutOfMemoryError:
                if self.micro_batch == 1 or self.workers.count > 1:
                    raise
            # Not in the handler: the error's traceback holds on to the tensors that filled the memory.
            self.optimizer.zero_grad(set_to_none=True)
            self.micro_batch = -(-self.micro_batch // 2)
            torch.cuda.empty_cache()
            _set_random_states(states)
            self.note_out_of_memory()

    def _gradients(self, pieces: list[Batch], n_labelled: int) -> float:
        total = torch.zeros((), device=self.devices.device)
        for number, (input_ids, targets) in enumerate(pieces, start=1):
            with without_sync(self.module, last=number == len(pieces)):
                loss = self.module(input_ids, targets)[0].sum() / n_labelled
                # DDP and FSDP take the mean over the workers; what is wanted is the sum.
                self.scaler.scale(loss * self.workers.count).backward()
            total += loss.detach()
        return self.workers.total(total.item())[0]

    def update(self, loss: float) -> None:
        """Change the weights by the gradients, unless these or the loss are not finite; delete the gradients."""
        history, scaler = self.history, self.scaler
        finite = math.isfinite(loss)
        if self.config.max_grad_norm or not scaler.is_enabled():
            scaler.unscale_(self.optimizer)
            trained = [
                parameter for parameter in self.model.parameters() if parameter.grad is not None
            ]
            norm = nn.utils.get_total_norm([parameter.grad for parameter in trained])
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            finite = finite and bool(norm.isfinite())
            if self.config.max_grad_norm:
                nn.utils.clip_grads_with_norm_(trained, self.config.max_grad_norm, norm)
        if scaler.is_enabled():
            scale = scaler.get_scale()
            scaler.step(self.optimizer)
            scaler.update()
            finite = scaler.get_scale() >= scale
        elif finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        history.n_skipped += not finite
        history.n_skipped_in_row = 0 if finite else history.n_skipped_in_row + 1

    def step(self, batch: Batch) -> float:
        """Take one step and return its loss.

        Raises:
            TrainingDiverged: it is the tenth in a row without a finite loss.
            torch.OutOfMemoryError: not even one record fits, or AdamW's moments do not.
        """
        history = self.history
        with history.timed("training"):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate_at(history.n_steps, history.n_planned, self.config)
            try:
                loss = self.gradients(batch)
                self.update(loss)
            except torch.OutOfMemoryError as error:
                raise torch.OutOfMemoryError(
                    f"a step of {self.micro_batch} record(s) of {batch[0].shape[1]} tokens does not fit into the memory of a device "
                    f"({error}); set activation_checkpointing=True, method='lora', a shorter context_length or a smaller model_size."
                ) from error
        history.n_steps += 1
        history.n_tokens += int((batch[1] != IGNORED).sum())
        history.peak_bytes = max(history.peak_bytes, memory_peak(self.devices.device_ids))
        if history.n_skipped_in_row == MOST_SKIPPED:
            self.give_up(loss)
        return loss

    def give_up(self, loss: float) -> None:
        """Raise TrainingDiverged, the model as the last state has it."""
        state = load_state(self.folder, self.identity)[0] if self.workers.is_first else None
        kept = self.workers.from_first(state is not None)
        if kept:
            set_weights(self.model, state["weights"] if state else {}, self.workers)
        where = (
            f"the model is as in the last state in {self.folder}"
            if kept
            else "no state had been saved yet"
        )
        raise TrainingDiverged(
            f"{MOST_SKIPPED} steps in a row, up to step {self.history.n_steps}, had no finite loss or gradient (the last loss: {loss}); "
            f"{where}. Lower learning_rate (now {self.config.learning_rate}), add warmup_steps or max_grad_norm=1.0, "
            "or try mixed_precision=False."
        )

    def loss(self, split: str) -> float:
        """Return the loss over the fixed batches of a split."""
        pieces = (piece for batch in self.fixed[split] for piece in self.pieces(batch))
        return evaluate_loss(self.module, pieces, self.devices.device, self.workers)

    def evaluate(self) -> None:
        """Add a point to the history, and keep the weights if no earlier ones had a lower validation loss."""
        history = self.history
        self.model.eval()
        with history.timed("evaluation"):
            train_loss, val_loss = self.loss("train"), self.loss("val")
            history.steps.append(history.n_steps)
            history.tokens.append(history.n_tokens)
            history.seconds.append(round(history.phases["training"], 3))
            history.train_loss.append(round(train_loss, 4))
            history.val_loss.append(round(val_loss, 4))
            history.learning_rate.append(self.optimizer.param_groups[0]["lr"])
            if val_loss < history.best_val_loss:
                history.best_step, history.best_val_loss = history.n_steps, val_loss
                if self.config.save_best:
                    weights = gathered_weights(self.model)
                    # On a CPU these are the very weights that go on to be trained.
                    self.best = (
                        history.n_steps,
                        {name: tensor.clone() for name, tensor in weights.items()},
                    )
        self.model.train()
        patience = self.config.early_stopping_patience
        if patience and sum(step > history.best_step for step in history.steps) >= patience:
            history.stopped = "early_stopping"

    def sample(self, write_samples: Callable[[], list[str]]) -> None:
        self.model.eval()
        with self.history.timed("samples"):
            self.history.samples.append(write_samples())
        self.model.train()

    def save(self, finished: bool = False) -> None:
        """Write a state; a finished run's is a third as large, since nobody will ask for AdamW's moments."""
        with self.history.timed("saving"):
            weights = gathered_weights(self.model)
            moments = {} if finished else gathered_moments(self.model, self.optimizer)
        if self.workers.is_first:
            state = {
                "weights": weights, "moments": moments, "scaler": self.scaler.state_dict(), "history": asdict(self.history),
                "random": _random_states(), "records_per_step": self.batches.batch_size, "finished": finished,
            }  # fmt: skip
            with self.history.timed("saving"):
                save_state(
                    self.folder,
                    self.history.n_steps,
                    state,
                    self.identity,
                    None if finished else self.best,
                )

    def take_best(self) -> None:
        """Give the model the weights with the lowest validation loss, if those are to be saved."""
        if self.config.save_best and self.history.best_step not in (0, self.history.n_steps):
            set_weights(self.model, self.best[1] if self.best else {}, self.workers)


def train(
    model: GPTModel,
    batches: dict[str, Batches],
    config: TrainConfig,
    devices: Devices,
    folder: Path,
    log_path: Path,
    identity: dict,
    on_evaluation: Callable[[History], None] = lambda history: None,
    on_step: Callable[[History, float], None] | None = None,
    write_samples: Callable[[], list[str]] | None = None,
    workers: Workers = ALONE,
    micro_batch: int = 0,
) -> History:
    """Train `model` in place and return what was measured; every evaluation is also a line of `log_path`, and with `tensorboard` a point in
    the folder tensorboard beside it.

    `batches` holds "train" and "val". States to resume from are kept in `folder`; `identity` (hashes of data and base weights)
    keeps a run from going on with another's. `on_step(history, loss)` shows the progress (by default a bar), and
    `on_evaluation(history)` is called every `eval_freq` steps. `write_samples()` returns answers, before training and after
    each epoch, which go into the history. `micro_batch` is where to begin instead of batch_size, after memory ran out. In the
    end the model has the weights with the lowest validation loss (`save_best`) or the last ones.

    Raises:
        TrainingInterrupted: SIGINT (the kernel's stop button) or SIGTERM came; the state is saved, and the next call goes on.
        TrainingDiverged: ten steps in a row had no finite loss.
        RunStateError: `folder` holds the states of another run, or a state could not be written.
        torch.OutOfMemoryError: not even one record fits.
    """
    run = _Run(
        model,
        batches,
        config,
        devices,
        workers,
        folder,
        run_identity(model, config, identity),
        micro_batch or config.batch_size,
    )
    history, started, saved = run.history, time.monotonic(), time.monotonic()
    board = (
        open_tensorboard(log_path.parent / "tensorboard" / folder.name, history)
        if config.tensorboard and workers.is_first
        else None
    )
    bar = progress_bar(history)
    on_step = on_step or partial(show_step, bar)
    if write_samples and not history.samples:
        run.sample(write_samples)
    model.train()
    try:
        with _stop_requests() as requested:
            while history.n_steps < history.n_planned and not history.stopped:
                epoch, start = divmod(history.n_steps, history.n_per_epoch)
                # Epoch 0 is what the fixed batches of the evaluation are taken from.
                for batch in run.batches.epoch(epoch + 1, start):
                    loss = run.step(batch)
                    on_step(history, loss)
                    last = history.n_steps == history.n_planned
                    if history.n_steps % config.eval_freq == 0 or last:
                        run.evaluate()
                        if workers.is_first:
                            write_log(log_path, config, history, board)
                            on_evaluation(history)
                    if history.n_steps % history.n_per_epoch == 0 and write_samples:
                        run.sample(write_samples)
                    now = time.monotonic()
                    due = config.save_every and history.n_steps % config.save_every == 0
                    due = due or (
                        config.save_every_minutes and now - saved >= 60 * config.save_every_minutes
                    )
                    due = due and not history.n_skipped_in_row
                    over = config.max_minutes and now - started >= 60 * config.max_minutes
                    interrupted, due, over = workers.total(
                        len(requested), workers.is_first and due, workers.is_first and over
                    )
                    if over and not last and not history.stopped:
                        history.stopped = "max_minutes"
                    finished = last or history.stopped == "early_stopping"
                    if finished:
                        run.take_best()
                    if finished or due or interrupted or history.stopped:
                        run.save(finished)
                        saved = time.monotonic()
                    if interrupted and not finished:
                        raise TrainingInterrupted(
                            f"stopped by {requested[0] if requested else 'a signal'} after {history.n_steps} of {history.n_planned} "
                            f"steps; the state is in {folder}: run this again to go on."
                        )
                    if history.stopped:
                        break
        if history.stopped == "max_minutes":
            run.take_best()
    finally:
        model.eval()
        bar.close()
        if board:
            board.close()
    return history


def train_in_workers(
    model: GPTModel,
    config: TrainConfig,
    n_workers: int,
    data_folder: Path,
    checkpoint_folder: Path,
    folder: Path,
    log_path: Path,
    identity: dict,
    on_evaluation: Callable[[History], None] = lambda history: None,
    n_samples: int = 1,
) -> History:
    """Train as `train` does, in processes of torchrun on this machine (strategy ddp or fsdp), and load the result into `model`.

    The processes read data and base weights from their folders. When a device's memory runs out they are started again from the
    last state, with half the micro-batch. The JSON file beside `folder`, named {folder}-job.json, is what each process is given;
    for several machines call `torchrun --nnodes ... -m golf_nb_utils.training.loop ...-job.json` on each of them.

    Raises:
        WorkerError: a process failed; the message has its traceback.
        TrainingInterrupted: the kernel was stopped; the state is saved, and the next call goes on.
    """
    # The workers need the memory of the first GPU.
    model.to("cpu")
    torch.cuda.empty_cache()
    if not config.resume:
        delete_states(folder)
    history, micro_batch, out_of_memory, interrupted = History(), config.batch_size, False, False
    job_path = folder.with_name(f"{folder.name}-job.json")
    bar = progress_bar(history)

    def show(message: dict) -> None:
        nonlocal history, out_of_memory, interrupted
        out_of_memory |= "out_of_memory" in message
        interrupted |= "interrupted" in message
        if "history" in message:
            history = History(**message["history"])
            if message["evaluated"]:
                on_evaluation(history)
        if "loss" in message:
            history.n_planned, history.n_steps, history.peak_bytes = (
                message[name] for name in ("n_planned", "n_steps", "peak_bytes")
            )
            history.n_tokens, history.phases["training"] = message["n_tokens"], message["seconds"]
            show_step(bar, history, message["loss"])

    try:
        while True:
            job = {
                "config": {**asdict(config), "resume": True}, "data_folder": str(data_folder),
                "checkpoint_folder": str(checkpoint_folder), "folder": str(folder), "log_path": str(log_path),
                "identity": identity, "micro_batch": micro_batch, "n_samples": n_samples,
            }  # fmt: skip
            write_json(job_path, job)
            out_of_memory = False
            try:
                run_workers("golf_nb_utils.training.loop", [str(job_path)], n_workers, show)
                break
            except KeyboardInterrupt:
                interrupted = True
                break
            except WorkerError:
                if interrupted:
                    break
                if not out_of_memory or micro_batch == 1:
                    raise
            micro_batch = -(-micro_batch // 2)
    finally:
        bar.close()
    if interrupted:
        kept = (
            f"the state is in {folder}: run this again to go on"
            if any(folder.glob("state-*.json"))
            else "no state had been saved yet"
        )
        raise TrainingInterrupted(
            f"stopped by hand after {history.n_steps} of {history.n_planned} steps; {kept}."
        )
    job_path.unlink()
    state, best, _ = load_state(folder, run_identity(model, config, identity))
    model.load_state_dict(best if config.save_best and best else state["weights"], strict=False)
    return history


def _work(job: dict) -> None:
    """What each process of torchrun does."""
    config = TrainConfig(**job["config"])
    with joined(config.strategy, detect_devices(config.mixed_precision)) as (workers, devices):
        tokenizer = load_tokenizer(job["checkpoint_folder"])
        records = {
            split: dataset.read_records(dataset.records_path(Path(job["data_folder"]), split))
            for split in ("train", "val")
        }
        size = records_per_step(config, devices, workers.count)
        batches = {
            split: Batches(
                InstructionDataset(rows, tokenizer, config.context_length),
                size,
                tokenizer.eot_token,
                config.loss_on,
                config.seed,
            )
            for split, rows in records.items()
        }
        longest = SampleConfig.for_size(config.model_size).max_new_tokens
        model = checkpoints.load_base_model(job["checkpoint_folder"])
        if config.method == "lora":
            add_lora(model, config.lora_rank, devices.dtype, config.seed)

        def say_step(history: History, loss: float) -> None:
            if workers.is_first:
                numbers = {
                    name: getattr(history, name)
                    for name in ("n_steps", "n_planned", "n_tokens", "peak_bytes")
                }
                say(loss=loss, seconds=history.phases["training"], **numbers)

        try:
            history = train(
                model, batches, config, devices, Path(job["folder"]), Path(job["log_path"]), job["identity"],
                on_evaluation=lambda history: say(history=asdict(history), evaluated=True), on_step=say_step,
                write_samples=lambda: answer(model, tokenizer, records["val"][: job["n_samples"]], longest),
                workers=workers, micro_batch=job["micro_batch"],
            )  # fmt: skip
        except torch.OutOfMemoryError:
            say(out_of_memory=True)
            raise
        except TrainingInterrupted:
            # Not an error: torchrun would kill the workers that are not as far yet.
            if workers.is_first:
                say(interrupted=True)
        else:
            if workers.is_first:
                say(history=asdict(history), evaluated=False)


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
