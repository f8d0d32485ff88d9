"""How the work of a step is spread: on one device, by DataParallel in one process, by DDP or FSDP over processes of torchrun."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

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


class WorkerError(RuntimeError):
    """A worker process of torchrun failed; the message has the end of what it said."""


@dataclass(frozen=True)
class Workers:
    """The processes that train together: this one's number, how many there are, and how the model is spread: by `ddp` or `fsdp`,
    otherwise over the GPUs of one process."""

    strategy: str = "auto"
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
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


def spread(module: nn.Module, model: GPTModel, devices: Devices, workers: Workers) -> nn.Module:
    """Return `module`, which computes the loss of `model`, replicated or sharded as the strategy says."""
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
    """Return the trained weights on the CPU, whole whatever the strategy; in other workers than the first an empty dict."""
    return full_state.get_model_state_dict(model, options=FULL)


def gathered_moments(model: GPTModel, optimizer: torch.optim.Optimizer) -> dict:
    """Return the optimizer's state on the CPU by the names of the weights; in other workers than the first an empty dict."""
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
    """Load what `gathered_moments` returned in the first worker into the optimizers of all of them."""
    options = FROM_RANK_0 if workers.count > 1 else FULL
    full_state.set_optimizer_state_dict(model, optimizer, moments, options=options)


def say(**message) -> None:
    """Send a message to the process that called `run_workers`."""
    # A line of its own, whatever else has been printed.
    print("\n" + json.dumps(message), flush=True)


@contextmanager
def joined(strategy: str, devices: Devices) -> Iterator[tuple[Workers, Devices]]:
    """Join the processes that torchrun started: yield this one's place and its one device. An error is also said."""
    rank, local_rank, count = (
        int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    )
    try:
        if devices.n_gpus:
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
            devices = replace(devices, device=device, device_ids=(local_rank,))
        dist.init_process_group("nccl" if devices.n_gpus else "gloo")
        if rank == 0:
            say(pid=os.getpid())
        yield Workers(strategy, rank, count), devices
    except Exception:
        # So short that the pipe takes it whole, between the lines of other workers.
        say(failed=traceback.format_exc(limit=-6)[-3500:])
        raise
    # Not after an error: with NCCL this waits for workers that may be gone.
    dist.destroy_process_group()


def run_workers(
    module: str, arguments: list[str], n_workers: int, on_message: Callable[[dict], None]
) -> None:
    """Run `python -m module arguments` in `n_workers` processes of torchrun on this machine; hand on what they `say`.

    When this process is interrupted (the kernel's stop button), the first worker gets SIGTERM, and `on_message` what the workers
    say until they have ended; a second time they are ended at once.

    Raises:
        WorkerError: a worker failed.
        KeyboardInterrupt: this process was interrupted; the workers have ended.
        Whatever `on_message` raises; the workers have ended.
    """
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={n_workers}",
        "-m", module, *arguments,
    ]  # fmt: skip
    package = str(Path(__file__).resolve().parents[2])
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n_workers)), **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, (package, os.environ.get("PYTHONPATH", "")))
    )
    first, failures = 0, []

    def read() -> None:
        nonlocal first
        for line in process.stdout:
            message = _message(line)
            first = message.get("pid", first)
            failures.extend([message["failed"]] if "failed" in message else [])
            if message:
                on_message(message)

    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        # In a session of its own, so that the kernel's interrupt does not reach it.
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            try:
                read()
            except KeyboardInterrupt:
                # Not torchrun, which would kill those that take longer than half a minute to save.
                with suppress(ProcessLookupError):
                    os.kill(first or process.pid, signal.SIGTERM)
                read()
                raise
        except BaseException:
            process.terminate()
            # A full pipe would keep them from ending.
            process.stdout.read()
            raise
        if process.wait():
            errors.seek(0)
            raise WorkerError(
                f"training in {n_workers} processes failed:\n{_reason(failures, errors.read())}"
            )


def _message(line: str) -> dict:
    try:
        return json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}


def _reason(failures: list[str], printed: str) -> str:
    """Why the workers failed: what the first of them said of it, or what was printed before torchrun's own report."""
    # The signals before are those of torchrun, which ends the other workers.
    killed = re.search(r"Root Cause.*Signal \d+ \((SIG\w+)\) received by PID", printed, re.DOTALL)
    if killed and killed[1] != "SIGTERM":
        reason = (
            "the system's memory is full"
            if killed[1] == "SIGKILL"
            else "a library or a device fails"
        )
        return f"a worker was ended by {killed[1]}, as happens when {reason}."
    if failures:
        return failures[0].strip()
    lines = printed.splitlines()
    of_torchrun = next(
        (number for number, line in enumerate(lines) if "distributed/elastic" in line), 0
    ) or len(lines)
    return "\n".join(lines[:of_torchrun][-40:]) or "torchrun itself was ended."
