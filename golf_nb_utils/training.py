"""The training loop: AdamW, mixed precision with loss scaling, DataParallel with the loss inside each replica."""

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from golf_nb_utils.artifacts import write_text
from golf_nb_utils.config import TrainConfig
from golf_nb_utils.environment import Devices, is_headless, keep_freed_memory
from golf_nb_utils.model import GPTModel


class TrainingInterrupted(RuntimeError):
    """Training was stopped by hand; the message says where the weights so far were saved."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class History:
    """What a run measured, one entry an evaluation: `tokens` are labelled targets, `seconds` of training alone."""

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_planned: int = 0
    n_steps: int = 0
    n_skipped: int = 0
    """Steps that FP16 overflowed in and the loss scaler left out."""

    @property
    def seconds_left(self) -> float:
        return self.seconds[-1] / self.steps[-1] * (self.n_planned - self.steps[-1]) if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens[-1] / self.seconds[-1] if self.seconds and self.seconds[-1] else 0.0

    def rows(self) -> list[dict]:
        names = ("steps", "tokens", "train_loss", "val_loss", "learning_rate", "seconds")
        return [dict(zip(names, row, strict=True)) for row in zip(*(getattr(self, name) for name in names), strict=True)]


class LossInReplica(nn.Module):
    """The model with its loss, as DataParallel replicates it: only two numbers a replica are gathered, never the logits.

    Autocast is opened here because DataParallel's threads do not inherit the number format.
    """

    def __init__(self, model: GPTModel, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(self, input_ids: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        autocast = torch.autocast(input_ids.device.type, self.dtype) if self.dtype is not torch.float32 else nullcontext()
        with autocast:
            return self.model.loss_sum(input_ids, targets)


def wrap(model: GPTModel, devices: Devices) -> nn.Module:
    """Move the model to its device and return the module that computes losses: replicated when there is more than one GPU."""
    model.to(devices.device)
    if devices.device.type == "cpu":
        keep_freed_memory()
    module = LossInReplica(model, devices.dtype)
    return nn.DataParallel(module, device_ids=list(devices.device_ids)) if devices.n_gpus > 1 else module


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
def evaluate_loss(module: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> float:
    """Return the loss averaged over all labelled tokens of the batches (a loader, or a list of what it yields)."""
    total, count = 0.0, 0
    for input_ids, targets in batches:
        sums, counts = module(input_ids.to(device), targets.to(device))
        total, count = total + float(sums.sum()), count + int(counts.sum())
    return total / count


def learning_rate_at(step: int, n_steps: int, config: TrainConfig) -> float:
    """Return the rate of step 0..n_steps-1: linear warm-up, then a straight line down to its final share."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, n_steps - 1 - config.warmup_steps)
    return config.learning_rate * (1 - (1 - config.final_learning_rate_fraction) * progress)


def make_optimizer(model: GPTModel, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW; weight decay applies to matrices, not to biases and layer norms."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def estimate_seconds(model: GPTModel, train_loader: DataLoader, config: TrainConfig, devices: Devices, n_timed: int = 4) -> float:
    """Return the seconds that training will take, from a few timed steps that leave the weights as they are."""
    module = wrap(model, devices)
    seconds, n_tokens = 0.0, 0
    for index, (input_ids, targets) in enumerate(islice(train_loader, n_timed + 1)):
        started = time.perf_counter()
        mean_loss(module, input_ids.to(devices.device), targets.to(devices.device)).backward()
        if devices.device.type == "cuda":
            torch.cuda.synchronize()
        # The first step also allocates memory and picks kernels: it counts only when there is no other.
        if index or len(train_loader) == 1:
            seconds += time.perf_counter() - started
            n_tokens += input_ids.numel()
    model.zero_grad(set_to_none=True)
    n_total = config.epochs * sum(train_loader.dataset.lengths)
    return seconds / n_tokens * n_total


def train(
    model: GPTModel,
    train_loader: DataLoader,
    val_loader: DataLoader,
    config: TrainConfig,
    devices: Devices,
    log_path: Path,
    save_interrupted: Callable[[], Path],
    on_evaluation: Callable[[History], None] = lambda history: None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> History:
    """Train `model` in place and return what was measured; every evaluation is also a line of `log_path`.

    `on_evaluation(history)` is called every `eval_freq` steps, `on_epoch(number)` after each epoch, the model in eval mode.

    Raises:
        TrainingInterrupted: Ctrl-C or the kernel's stop button; `save_interrupted()` has saved the weights and returned their path.
        TrainingDiverged: the loss is not finite.
    """
    module = wrap(model, devices)
    optimizer = make_optimizer(model, config)
    scaler = torch.amp.GradScaler(devices.device.type, enabled=devices.needs_loss_scaling)
    n_steps = config.epochs * len(train_loader)
    history = History(n_planned=n_steps)
    n_tokens = 0
    training_seconds = 0.0
    log: list[str] = []
    # The same batches every time, so that two points of the curve can be compared.
    fixed = {"train": list(islice(train_loader, config.eval_batches)), "val": list(islice(val_loader, config.eval_batches))}

    def evaluate(step: int) -> None:
        model.eval()
        history.steps.append(step)
        history.tokens.append(n_tokens)
        history.seconds.append(round(training_seconds, 3))
        history.train_loss.append(round(evaluate_loss(module, fixed["train"], devices.device), 4))
        history.val_loss.append(round(evaluate_loss(module, fixed["val"], devices.device), 4))
        history.learning_rate.append(optimizer.param_groups[0]["lr"])
        log.append(json.dumps(history.rows()[-1]))
        write_text(log_path, "\n".join([json.dumps(asdict(config)), *log]) + "\n")
        on_evaluation(history)
        model.train()

    model.train()
    bar = tqdm(total=n_steps, desc="training", unit="step", disable=is_headless())
    try:
        for epoch in range(1, config.epochs + 1):
            for input_ids, targets in train_loader:
                started = time.perf_counter()
                rate = learning_rate_at(history.n_steps, n_steps, config)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = mean_loss(module, input_ids.to(devices.device, non_blocking=True), targets.to(devices.device, non_blocking=True))
                if not math.isfinite(loss.item()):
                    raise TrainingDiverged(
                        f"the loss became {loss.item()} in step {history.n_steps + 1}; lower learning_rate (now {config.learning_rate})."
                    )
                scaler.scale(loss).backward()
                if config.max_grad_norm:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
                scale = scaler.get_scale()
                scaler.step(optimizer)
                scaler.update()
                history.n_skipped += scaler.get_scale() < scale
                optimizer.zero_grad(set_to_none=True)
                history.n_steps += 1
                n_tokens += int((targets != -100).sum())
                training_seconds += time.perf_counter() - started
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                if history.n_steps % config.eval_freq == 0 or history.n_steps == n_steps:
                    evaluate(history.n_steps)
            model.eval()
            on_epoch(epoch)
            model.train()
    except KeyboardInterrupt:
        path = save_interrupted()
        raise TrainingInterrupted(
            f"stopped by hand after {history.n_steps} of {n_steps} steps; the weights so far are in {path}."
        ) from None
    finally:
        bar.close()
        model.eval()
    return history
