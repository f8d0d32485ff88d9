"""How the work of a step is spread over devices, and how weights and moments come together again.

- plain: one device does it all.
- dp, DataParallel: one process; in each step every GPU gets a copy of the model and a share of the
  rows. It works in a notebook's kernel, which is why it is the default.
- ddp: a process a GPU, each with a model of its own; they add their gradients up.
- fsdp: as ddp, but each process keeps only its share of weights, gradients and moments, and the
  weights of a block are gathered when its turn comes. For models that do not fit on one GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict as full_state
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import Devices

FULL = full_state.StateDictOptions(
    full_state_dict=True, cpu_offload=True, ignore_frozen_params=True
)
FROM_RANK_0 = replace(FULL, cpu_offload=False, broadcast_from_rank0=True)


@dataclass(frozen=True)
class Workers:
    """The processes that train together: this one's number, `rank`, and how many there are.

    The model is spread over them by `ddp` or `fsdp`, otherwise over the GPUs of one process.
    """

    strategy: str = "auto"
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """The first worker reads and writes files for all of them."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """Return each value added up over all workers."""
        if self.count == 1:
            return list(values)
        # CUDA's backend adds only what is on a GPU.
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def from_first(self, value):
        """Return the first worker's value, in every worker."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Workers()


def spread(module: nn.Module, model: GPTModel, devices: Devices, workers: Workers) -> nn.Module:
    """Return `module`, which computes the loss of `model`, replicated or sharded."""
    if workers.strategy == "ddp":
        return DistributedDataParallel(
            module, device_ids=[devices.device.index] if devices.device.type == "cuda" else None
        )
    if workers.strategy == "fsdp":
        mesh = init_device_mesh(devices.device.type, (workers.count,))
        for block in model.h:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        # The loss and the answers call `hidden`, not `forward`.
        register_fsdp_forward_method(model, "hidden")
    elif devices.n_gpus > 1:
        return nn.DataParallel(module, device_ids=list(devices.device_ids))
    return module


@contextmanager
def without_sync(module: nn.Module, last: bool) -> Iterator[None]:
    """Let DDP add the workers' gradients up only in the last micro-batch of a step."""
    if isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
    else:
        yield


def gathered_weights(model: GPTModel) -> dict[str, torch.Tensor]:
    """Return the whole trained weights on the CPU; in other workers than the first, nothing."""
    return full_state.get_model_state_dict(model, options=FULL)


def gathered_moments(model: GPTModel, optimizer: torch.optim.Optimizer) -> dict:
    """Return the optimizer's state by the names of the weights; in other workers, nothing."""
    return full_state.get_optimizer_state_dict(model, optimizer, options=FULL)


def set_weights(model: GPTModel, weights: dict[str, torch.Tensor], workers: Workers) -> None:
    """Load what `gathered_weights` returned in the first worker into the models of all of them."""
    if isinstance(model, FSDPModule):
        # After an evaluation the root's weights are still gathered, and only shards can be loaded.
        model.reshard()
    options = FROM_RANK_0 if workers.count > 1 else FULL
    full_state.set_model_state_dict(model, weights, options=replace(options, strict=False))


def set_moments(
    model: GPTModel, optimizer: torch.optim.Optimizer, moments: dict, workers: Workers
) -> None:
    """Load what `gathered_moments` returned in the first worker into all optimizers."""
    options = FROM_RANK_0 if workers.count > 1 else FULL
    full_state.set_optimizer_state_dict(model, optimizer, moments, options=options)
