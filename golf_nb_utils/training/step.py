"""One step of training: the loss, its gradients in micro-batches, and the change of the weights.

Read `LossInReplica` and `mean_loss` for what is computed where, `Stepper` for the order of things.
However a step is cut into micro-batches, replicas and workers, its loss is the mean over all
labelled tokens of its records.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import Devices, keep_freed_memory, memory_peak
from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training.batches import IGNORED, Batch, Batches, InstructionDataset
from golf_nb_utils.training.history import History
from golf_nb_utils.training.state import random_states, set_random_states
from golf_nb_utils.training.workers import ALONE, Workers, spread, without_sync

UNLABELLED = "no position of this batch is labelled; every record needs an answer."


class LossInReplica(nn.Module):
    """The model with its loss, as DataParallel replicates it.

    `forward` takes (input ids, targets), both (rows, length), and returns (sum of the
    cross-entropies, number of labelled positions), both of shape (1,). DataParallel gathers what
    the replicas return on one GPU: these two numbers of each, and never the logits, which have
    50,257 columns.
    """

    def __init__(self, model: GPTModel, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum of the cross-entropies, number of labelled positions), see the class."""
        if self.dtype is torch.float32:
            return self.model.loss_sum(input_ids, targets)
        # Autocast is a state of the thread that opens it. DataParallel runs each replica in a
        # thread of its own, so around the call, where most examples have it, autocast would be off
        # in the replicas: they would compute in fp32. Each weight is cast once a pass; a cache
        # would only keep the copies of blocks that are recomputed.
        with torch.autocast(input_ids.device.type, self.dtype, cache_enabled=False):
            return self.model.loss_sum(input_ids, targets)


def wrap(model: GPTModel, devices: Devices, workers: Workers = ALONE) -> nn.Module:
    """Move the model to its device and return the module that computes losses, spread."""
    if workers.strategy != "fsdp":
        model.to(devices.device)
    if devices.device.type == "cpu":
        keep_freed_memory()
    return spread(LossInReplica(model, devices.dtype), model, devices, workers)


def mean_loss(module: nn.Module, input_ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy averaged over all labelled tokens of the batch, whatever replica
    they fell to.

    Raises:
        ValueError: no position is labelled.
    """
    # Not the mean of the replicas' means: of two replicas with 10 and 990 labelled tokens each mean
    # would count half, so a token of the first would weigh 99 times as much as one of the second,
    # and the loss would depend on the number of GPUs.
    sums, counts = module(input_ids, targets)
    if not int(counts.sum()):
        raise ValueError(UNLABELLED)
    return sums.sum() / counts.sum()


@torch.no_grad()
def evaluate_loss(
    module: nn.Module, batches: Iterable[Batch], device: torch.device, workers: Workers = ALONE
) -> float:
    """Return the loss averaged over all labelled tokens of the batches, of every worker's.

    Raises:
        ValueError: no position is labelled.
    """
    total, count = 0.0, 0
    for input_ids, targets in batches:
        sums, counts = module(input_ids.to(device), targets.to(device))
        total, count = total + float(sums.sum()), count + int(counts.sum())
    total, count = workers.total(total, count)
    if not count:
        raise ValueError(UNLABELLED)
    return total / count


def records_per_step(config: TrainConfig, devices: Devices, n_workers: int = 1) -> int:
    """Return how many records change the weights at once, on all devices of all workers."""
    n_devices = max(1, devices.n_gpus) * n_workers
    return config.batch_size * config.gradient_accumulation_steps * n_devices


def make_batches(
    datasets: dict[str, InstructionDataset],
    config: TrainConfig,
    devices: Devices,
    pad_id: int,
    n_workers: int = 1,
) -> dict[str, Batches]:
    """Return the batches of each dataset, of as many records as change the weights at once."""
    size = records_per_step(config, devices, n_workers)
    return {
        split: Batches(rows, size, pad_id, config.loss_on, config.seed)
        for split, rows in datasets.items()
    }


def learning_rate_at(step: int, n_steps: int, config: TrainConfig) -> float:
    """Return the rate of step 0..n_steps-1: a linear warm-up, then what `schedule` says."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, n_steps - 1 - config.warmup_steps)
    half_cosine = (1 - math.cos(math.pi * progress)) / 2
    fallen = {"constant": 0.0, "linear": progress, "cosine": half_cosine}[config.schedule]
    return config.learning_rate * (1 - (1 - config.final_learning_rate_fraction) * fallen)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW over what is trained; matrices decay, biases and layer norms do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


@lru_cache
def optimizer_bytes(config: TrainConfig) -> int:
    """Return the bytes that the optimizer keeps for each trained weight (8 of AdamW: two moments in
    fp32).

    Read from the optimizer itself, after a step of a small matrix, so that the memory plan follows
    `make_optimizer`.
    """
    layer = nn.Linear(64, 64, bias=False)
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer = make_optimizer(layer, config)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    # The number of the step is a tensor, too: one for a whole matrix, which does not count.
    return sum(tensor.nbytes for tensor in kept if tensor.dim()) // layer.weight.numel()


class Stepper:
    """Takes the steps of a run: gradients of a batch, then the change of the weights, noted in the
    history.

    `micro_batch` is how many rows a device takes at once; it is halved when memory runs out.
    """

    def __init__(
        self,
        model: GPTModel,
        config: TrainConfig,
        devices: Devices,
        history: History,
        workers: Workers = ALONE,
        micro_batch: int = 0,
    ):
        self.model, self.config, self.devices, self.workers = model, config, devices, workers
        self.history, self.micro_batch = history, micro_batch or config.batch_size
        # A step that was broken off before may have left some.
        model.zero_grad(set_to_none=True)
        model.recompute_blocks = config.activation_checkpointing
        self.module = wrap(model, devices, workers)
        self.optimizer = make_optimizer(model, config)
        # FP16 has nothing between 0 and 6e-8, where many gradients are. The scaler multiplies the
        # loss, and with it every gradient, by 65,536 at first, and divides the gradients before
        # they change a weight. When one becomes infinite, it leaves the step out and halves the
        # factor; after 2,000 good steps it doubles it (arXiv 1710.03740).
        self.scaler = torch.amp.GradScaler(devices.device.type, enabled=devices.needs_loss_scaling)

    def step(self, batch: Batch) -> float:
        """Take one step and return its loss.

        Raises:
            ValueError: no position is labelled.
            torch.OutOfMemoryError: not even one record fits, or the optimizer's moments do not.
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
                    f"a step of {self.micro_batch} record(s) of {batch[0].shape[1]} tokens does "
                    f"not fit into the memory of a device ({error}); set "
                    "activation_checkpointing=True, method='lora', a shorter context_length or a "
                    "smaller model_size."
                ) from error
        history.n_steps += 1
        history.n_tokens += int((batch[1] != IGNORED).sum())
        history.peak_bytes = max(history.peak_bytes, memory_peak(self.devices.device_ids))
        return loss

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """Cut a batch into this worker's micro-batches, each without the columns after its last
        label.

        The rows are dealt out to the workers like cards, as their lengths are alike in the order
        that they have. All workers get equally many micro-batches, since each waits for the others'
        gradients: one that has no rows left gets a row without labels, whose gradients are 0.
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
            piece = (tensor[:, :length].to(self.devices.device) for tensor in (input_ids, targets))
            pieces.append(tuple(piece))
        return pieces

    def gradients(self, batch: Batch) -> float:
        """Add the gradients of the batch up and return its loss; if memory runs out, begin it again
        in smaller pieces.

        Raises:
            ValueError: no position is labelled.
            torch.OutOfMemoryError: not even one record fits.
        """
        n_labelled = int((batch[1] != IGNORED).sum())
        if not n_labelled:
            raise ValueError(UNLABELLED)
        states = random_states()
        while True:
            try:
                return self._gradients(self.micro_batches(batch), n_labelled)
            except torch.OutOfMemoryError:
                # Of several workers the others are waiting: torchrun.py starts them all again.
                if self.micro_batch == 1 or self.workers.count > 1:
                    raise
            # Not in the handler: the error's traceback holds on to what filled the memory.
            self.optimizer.zero_grad(set_to_none=True)
            self.micro_batch = -(-self.micro_batch // 2)
            torch.cuda.empty_cache()
            set_random_states(states)
            self.history.note_out_of_memory(self.micro_batch)

    def _gradients(self, pieces: list[Batch], n_labelled: int) -> float:
        total = torch.zeros((), device=self.devices.device)
        for number, (input_ids, targets) in enumerate(pieces, start=1):
            with without_sync(self.module, last=number == len(pieces)):
                # By the tokens of the whole step, not of the piece: pieces add up to the mean.
                loss = self.module(input_ids, targets)[0].sum() / n_labelled
                # DDP and FSDP take the mean over the workers; what is wanted is the sum.
                self.scaler.scale(loss * self.workers.count).backward()
            total += loss.detach()
        return self.workers.total(total.item())[0]

    def update(self, loss: float) -> None:
        """Change the weights, unless loss or gradients are not finite; delete the gradients."""
        history, scaler = self.history, self.scaler
        finite = math.isfinite(loss)
        if self.config.max_grad_norm or not scaler.is_enabled():
            # First, as max_grad_norm is meant for the gradients themselves, not for scaled ones.
            scaler.unscale_(self.optimizer)
            trained = [p for p in self.model.parameters() if p.grad is not None]
            norm = nn.utils.get_total_norm([parameter.grad for parameter in trained])
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            finite = finite and bool(norm.isfinite())
            if self.config.max_grad_norm:
                nn.utils.clip_grads_with_norm_(trained, self.config.max_grad_norm, norm)
        if scaler.is_enabled():
            scale = scaler.get_scale()
            scaler.step(self.optimizer)
            scaler.update()
            # The scaler does not say whether it left the step out, but then its scale has fallen.
            finite = scaler.get_scale() >= scale
        elif finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        history.n_skipped += not finite
        history.n_skipped_in_row = 0 if finite else history.n_skipped_in_row + 1
