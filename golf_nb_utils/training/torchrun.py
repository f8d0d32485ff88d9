"""Training in several processes of torchrun: started from a notebook, listened to, started again
when memory runs out.

A notebook's kernel cannot turn into several processes, so it starts torchrun, which starts a worker
for each GPU by `python -m golf_nb_utils.training.torchrun JOB.json`. Each worker prints lines of
JSON (`say`), which the kernel reads.
"""

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
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from golf_nb_utils.files import held, write_json
from golf_nb_utils.golf import dataset
from golf_nb_utils.gpt2.checkpoints import weights_hash
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.sampling import answer
from golf_nb_utils.gpt2.tokenizer import load_tokenizer
from golf_nb_utils.host import Devices, detect_devices, python_child
from golf_nb_utils.settings import SampleConfig, TrainConfig
from golf_nb_utils.training.batches import InstructionDataset
from golf_nb_utils.training.history import History, progress_bar, show_step
from golf_nb_utils.training.loop import (
    Setup,
    TrainingInterrupted,
    base_model,
    begin_at_base,
    train,
)
from golf_nb_utils.training.state import delete_states, load_state
from golf_nb_utils.training.step import make_batches
from golf_nb_utils.training.workers import Workers


class WorkerError(RuntimeError):
    """A worker process of torchrun failed; the message has the end of what it said."""


def train_in_workers(
    model: GPTModel,
    setup: Setup,
    n_workers: int,
    data_folder: Path,
    checkpoint_folder: Path,
    on_evaluation: Callable[[History], None] = lambda history: None,
    n_samples: int = 1,
) -> History:
    """Train as `train` does, in processes on this machine; load the result into `model`.

    The processes read data and base weights from their folders, and answer `n_samples` validation
    records whenever `train` writes samples. When a device's memory runs out they are started again
    from the last state, with half the micro-batch. What each process is given is the JSON file
    beside `setup.folder`, {folder}-job.json; for several machines call `torchrun --nnodes ... -m
    golf_nb_utils.training.torchrun ...-job.json` on each of them.

    Raises:
        WorkerError: a process failed; the message has its traceback.
        TrainingInterrupted: the kernel was stopped; the state is saved, and the next call goes on.
        RunStateError: the model is not one of these settings.
        FolderInUseError: another process trains with the same folder.
    """
    with held(setup.folder, setup.purpose):
        # The workers need the memory of the first GPU.
        model.to("cpu")
        torch.cuda.empty_cache()
        # They begin at the base weights; what they trained is loaded into the same.
        base_sha256, _ = begin_at_base(model, checkpoint_folder, setup.config, setup.devices)
        history = _train_in_workers(
            model, setup, n_workers, data_folder, checkpoint_folder, on_evaluation, n_samples
        )
    history.base_sha256, history.trained_sha256 = base_sha256, weights_hash(model)
    return history


def _train_in_workers(
    model: GPTModel,
    setup: Setup,
    n_workers: int,
    data_folder: Path,
    checkpoint_folder: Path,
    on_evaluation: Callable[[History], None],
    n_samples: int,
) -> History:
    config, folder = setup.config, setup.folder
    if not config.resume:
        delete_states(folder)
    job_path = folder.with_name(f"{folder.name}-job.json")
    job = {
        # Started again, they go on from what was saved.
        "config": {**asdict(config), "resume": True}, "data_folder": str(data_folder),
        "checkpoint_folder": str(checkpoint_folder), "folder": str(folder),
        "log_path": str(setup.log_path), "identity": setup.identity, "n_samples": n_samples,
        "sample_steps": setup.sample_steps,
    }  # fmt: skip
    listener = _Listener(on_evaluation)
    try:
        _run_until_it_fits(job, job_path, n_workers, listener)
    finally:
        listener.bar.close()
    if listener.interrupted:
        resumable = any(folder.glob("state-*.json"))
        kept = f"the state is in {folder}: run this again to go on"
        raise TrainingInterrupted(
            f"stopped by hand after {listener.history.n_steps} of {listener.history.n_planned} "
            f"steps; {kept if resumable else 'no state had been saved yet'}."
        )
    job_path.unlink()
    state, best, _ = load_state(folder, setup.identity_with(model))
    model.load_state_dict(best if config.save_best and best else state["weights"], strict=False)
    return listener.history


class _Listener:
    """What the workers have said: the history, on a progress bar, and why they ended."""

    def __init__(self, on_evaluation: Callable[[History], None]):
        self.on_evaluation, self.history = on_evaluation, History()
        self.out_of_memory = self.interrupted = False
        self.bar = progress_bar(self.history)

    def __call__(self, message: dict) -> None:
        self.out_of_memory |= "out_of_memory" in message
        self.interrupted |= "interrupted" in message
        if "history" in message:
            self.history = History(**message["history"])
            if message["evaluated"]:
                self.on_evaluation(self.history)
        if "loss" in message:
            for name in ("n_planned", "n_steps", "peak_bytes", "n_tokens"):
                setattr(self.history, name, message[name])
            self.history.phases["training"] = message["seconds"]
            show_step(self.bar, self.history, message["loss"])


def _run_until_it_fits(job: dict, job_path: Path, n_workers: int, listener: _Listener) -> None:
    """Run the workers; when memory runs out, again with half the micro-batch."""
    micro_batch = job["config"]["batch_size"]
    while True:
        write_json(job_path, {**job, "micro_batch": micro_batch})
        listener.out_of_memory = False
        try:
            run_workers("golf_nb_utils.training.torchrun", [str(job_path)], n_workers, listener)
            return
        except KeyboardInterrupt:
            listener.interrupted = True
            return
        except WorkerError:
            if listener.interrupted:
                return
            if not listener.out_of_memory or micro_batch == 1:
                raise
        micro_batch = -(-micro_batch // 2)


def run_workers(
    module: str, arguments: list[str], n_workers: int, on_message: Callable[[dict], None]
) -> None:
    """Run `python -m module arguments` in `n_workers` processes of torchrun on this machine; hand
    on what they `say`.

    When this process is interrupted (the kernel's stop button), the first worker gets SIGTERM, and
    `on_message` what the workers say until they have ended; a second time they are ended at once.

    Raises:
        WorkerError: a worker failed.
        KeyboardInterrupt: this process was interrupted; the workers have ended.
        Whatever `on_message` raises; the workers have ended.
    """
    n_threads = str(max(1, (os.cpu_count() or 1) // n_workers))
    child = python_child(
        "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1",
        f"--nproc-per-node={n_workers}", "-m", module, *arguments,
        OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", n_threads),
    )  # fmt: skip
    failures: list[str] = []
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            **child, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace",
            start_new_session=True,  # So that the kernel's interrupt does not reach it.
        ) as process,
    ):  # fmt: skip
        try:
            _listen(process, on_message, failures)
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


def _listen(
    process: subprocess.Popen, on_message: Callable[[dict], None], failures: list[str]
) -> None:
    """Hand on what the workers say until they have ended, and collect why they failed."""
    first = process.pid

    def read() -> None:
        nonlocal first
        for line in process.stdout:
            message = _message(line)
            first = message.get("pid", first)
            failures.extend([message["failed"]] if "failed" in message else [])
            if message:
                on_message(message)

    try:
        read()
    except KeyboardInterrupt:
        # Not to torchrun, which would kill those that take longer than half a minute to save.
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGTERM)
        read()
        raise


def _message(line: str) -> dict:
    try:
        return json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}


def _reason(failures: list[str], printed: str) -> str:
    """Why the workers failed: what the first said of it, or what came before torchrun's report."""
    # The signals before are those of torchrun, which ends the other workers.
    killed = re.search(r"Root Cause.*Signal \d+ \((SIG\w+)\) received by PID", printed, re.DOTALL)
    if killed and killed[1] != "SIGTERM":
        full = "the system's memory is full"
        reason = full if killed[1] == "SIGKILL" else "a library or a device fails"
        return f"a worker was ended by {killed[1]}, as happens when {reason}."
    if failures:
        return failures[0].strip()
    lines = printed.splitlines()
    reported = (number for number, line in enumerate(lines) if "distributed/elastic" in line)
    of_torchrun = next(reported, 0) or len(lines)
    return "\n".join(lines[:of_torchrun][-40:]) or "torchrun itself was ended."


# Below: what runs in the workers.


def say(**message) -> None:
    """Send a message to the process that called `run_workers`."""
    # A line of its own, whatever else has been printed.
    print("\n" + json.dumps(message), flush=True)


@contextmanager
def joined(strategy: str, devices: Devices) -> Iterator[tuple[Workers, Devices]]:
    """Join torchrun's processes: yield this one's place and its device. Errors are also said."""
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


def _work(job: dict) -> None:
    """What each process of torchrun does."""
    config = TrainConfig(**job["config"])
    with joined(config.strategy, detect_devices(config.mixed_precision)) as (workers, devices):
        setup = Setup(
            config, devices, Path(job["folder"]), Path(job["log_path"]), job["identity"],
            workers, job["micro_batch"], sample_steps=tuple(job["sample_steps"]),
        )  # fmt: skip
        tokenizer = load_tokenizer(job["checkpoint_folder"])
        records, rows = {}, {}
        for split in ("train", "val"):
            path = dataset.records_path(Path(job["data_folder"]), split)
            records[split] = dataset.read_records(path)
            rows[split] = InstructionDataset(records[split], tokenizer, config.context_length)
        batches = make_batches(rows, config, devices, tokenizer.eot_token, workers.count)
        model = base_model(
            Path(job["checkpoint_folder"]), config.method, config.lora_rank, config.seed,
            devices.dtype,
        )  # fmt: skip
        longest = SampleConfig.for_size(config.model_size).max_new_tokens
        shown = [record.prompt for record in records["val"][: job["n_samples"]]]
        say_first = say if workers.is_first else lambda **message: None
        try:
            history = train(
                model, batches, setup,
                on_evaluation=lambda history: say(history=asdict(history), evaluated=True),
                on_step=partial(_say_step, say_first),
                write_samples=lambda: answer(model, tokenizer, shown, longest),
            )  # fmt: skip
        except torch.OutOfMemoryError:
            say(out_of_memory=True)
            raise
        except TrainingInterrupted:
            # Not an error: torchrun would kill the workers that are not as far yet.
            say_first(interrupted=True)
        else:
            say_first(history=asdict(history), evaluated=False)


def _say_step(say_first: Callable, history: History, loss: float) -> None:
    names = ("n_steps", "n_planned", "n_tokens", "peak_bytes")
    numbers = {name: getattr(history, name) for name in names}
    say_first(loss=loss, seconds=history.phases["training"], **numbers)


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
