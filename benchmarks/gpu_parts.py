"""The parts of gpu.py, which runs each by `python benchmarks/gpu_parts.py PART FOLDER [--toy]`.

What trains here is the loop of notebook 03 itself (training.loop.train), on batches that are given. A
measurement that fails is recorded with its traceback, and the next one is made.
"""

import argparse
import faulthandler
import gc
import importlib.util
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from gpu import read_rows, record
from memory import measured_peak
from safetensors.torch import save_file
from t4 import LONGEST, RECORD, SIZES
from torch import nn
from training import (
    WARM_UP,
    Batch,
    Clock,
    Done,
    Given,
    flops_per_token,
    matrix_product_rate,
    published_rate,
    synchronize,
    transformers_loop,
    transformers_trainer,
)

from golf_nb_utils import host
from golf_nb_utils.files import sha256_file, write_json
from golf_nb_utils.golf.dataset import read_records, records_path
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.records import (
    Record,
    generate_records,
    split_sizes,
    vocabulary_records,
)
from golf_nb_utils.gpt2 import checkpoints
from golf_nb_utils.gpt2.model import Block, GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import GPT_CONFIGS, DataConfig, GPTConfig, TrainConfig
from golf_nb_utils.training.batches import Batches, InstructionDataset
from golf_nb_utils.training.history import History
from golf_nb_utils.training.loop import Setup, train
from golf_nb_utils.training.lora import add_lora
from golf_nb_utils.training.memory import (
    GIB,
    T4_BYTES,
    named_devices,
    plan,
    proposal,
    usable_memory,
)
from golf_nb_utils.training.step import records_per_step
from golf_nb_utils.training.torchrun import train_in_workers

Report = Callable[..., None]
TOY_GPT = GPTConfig(n_vocab=2048, n_ctx=1024, n_embd=32, n_head=2, n_layer=2)
WITHOUT = {"eval_freq": 10**9, "save_every_minutes": 0.0, "save_best": False}
"""What is not measured: evaluations and states."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    shapes: dict[str, GPTConfig]
    n_steps: int
    """Steps of Kaggle's default."""
    length_of_peaks: int
    """Tokens at most of the rows whose peaks are measured."""
    length: int
    """Tokens of the rows at full context."""
    most_rows: int
    """Rows of a batch at full context, where they fit."""
    n_context_steps: int
    """Steps at full context, the warm-up's among them."""
    backend: str
    """torch.compile's: only `inductor` makes anything faster."""
    sampled: str
    """Model size that samples."""
    sampled_rows: tuple[int, ...]
    n_new: int
    """Tokens that each row of a sampled batch gets."""


REAL = Extent(GPT_CONFIGS, 60, 1024, 1024, 32, 12, "inductor", "124M", (1, 16, 256), 256)
TOY = Extent(dict.fromkeys(SIZES, TOY_GPT), 4, 64, 64, 2, 4, "aot_eager", "tiny", (1, 3), 8)
LEVERS = {"method": "lora", "activation_checkpointing": True}


class SkippedError(Exception):
    """A measurement needs what is not here; the message names it."""


def attempt(report: Report, name: str, measure: Callable[[], dict]) -> dict:
    """Report and return what `measure` finds, or report why it finds nothing; free its memory."""
    found = {}
    try:
        found = measure()
        report(name=name, **found)
    except SkippedError as reason:
        report(name=name, skipped=str(reason))
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        report(name=name, failed=message, traceback=traceback.format_exc(limit=-8))
    # After the handlers: a traceback holds on to the tensors of what failed.
    gc.collect()
    torch.cuda.empty_cache()
    return found


# --- the training loop, measured ---


@contextmanager
def loss_scalers() -> Iterator[list[torch.amp.GradScaler]]:
    """Yield the list of the loss scalers made meanwhile: the loop keeps its own to itself."""
    made, original = [], torch.amp.GradScaler

    def make(*arguments, **settings) -> torch.amp.GradScaler:
        made.append(original(*arguments, **settings))
        return made[-1]

    torch.amp.GradScaler = make
    try:
        yield made
    finally:
        torch.amp.GradScaler = original


def train_steps(
    model: GPTModel, batches: list[Batch], config: TrainConfig, devices: Devices
) -> dict:
    """Take a step of notebook 03's loop with each batch, and return what is measured.

    Time is that of the steps after the warm-up. The peak is of bytes in tensors; on a CPU the
    profiler tells it, which makes steps slower.
    """
    losses, marks, seen = [], [], {}

    def on_step(history: History, loss: float) -> None:
        losses.append(loss)
        if len(losses) in (WARM_UP, len(batches)):
            synchronize()
            marks.append((time.perf_counter(), history.n_tokens))
        if len(losses) == len(batches):
            seen.update(history=history)
            raise Done

    def run() -> None:
        given = dict.fromkeys(("train", "val"), Given(batches, len(batches[0][0])))
        with TemporaryDirectory() as folder, suppress(Done):
            paths = Path(folder) / "states", Path(folder) / "log.jsonl"
            train(model, given, Setup(config, devices, *paths, {}), on_step=on_step)

    kept = sum(parameter.nbytes for parameter in model.parameters())
    with loss_scalers() as scalers:
        peak = kept + measured_peak(run, devices.device)
    (started, before), (ended, after) = marks
    return {
        "ms_a_step": 1000 * (ended - started) / (len(batches) - WARM_UP),
        "tokens_a_second": (after - before) / (ended - started),
        "peak_GiB": peak / GIB,
        "skipped_steps": seen["history"].n_skipped,
        "loss_scale": scalers[0].get_scale() if scalers[0].is_enabled() else None,
        "remarks": "; ".join(sentence for _, sentence in seen["history"].events) or None,
        "losses": losses,
    }  # fmt: skip


def beside_plan(found: dict, planned: int) -> dict:
    """Return a row's numbers with the plan's peak beside the measured one."""
    off = planned / (found["peak_GiB"] * GIB) - 1
    return {
        **found,
        "plan_GiB": planned / GIB,
        "plan_is_off_by_percent": 100 * off,
        "within_10_percent": abs(off) <= 0.1,
    }


def made_model(config: GPTConfig, devices: Devices) -> GPTModel:
    """Return a model of random weights, drawn where it is trained: a CPU would be slow at 1558M."""
    torch.manual_seed(1)
    with devices.device:
        model = GPTModel(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
    return model


def random_rows(config: GPTConfig, shape: tuple[int, int], n_steps: int) -> list[Batch]:
    """Return batches of random tokens, (input ids, targets) of `shape`, (rows, length)."""
    generator = torch.Generator().manual_seed(2)
    rows, length = shape
    size = (n_steps, rows, length + 1)
    ids = torch.randint(config.n_vocab, size, generator=generator)
    return [(batch[:, :-1].clone(), batch[:, 1:].clone()) for batch in ids]


def cap_memory(n_bytes: int, device: torch.device) -> None:
    """Let torch take at most so many bytes of the GPU; a CPU has no such cap."""
    if device.type == "cuda":
        # Of what cudaMemGetInfo calls total, as the allocator reckons it.
        total = torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, n_bytes / total), device)


# --- the parts ---


def machine(extent: Extent, report: Report, folder: Path) -> None:
    """What torch and nvidia-smi say of the machine."""
    devices = host.detect_devices()
    facts = {"card": devices.names[0], "cards": devices.n_gpus, "driver": driver()}
    if devices.n_gpus:
        properties = torch.cuda.get_device_properties(0)
        facts["compute_capability"] = f"{properties.major}.{properties.minor}"
        facts["memory_GiB"] = torch.cuda.mem_get_info(0)[1] / GIB
    facts["cuda"] = torch.version.cuda
    facts |= host.versions(("torch", "transformers", "accelerate", "peft", "triton", "numpy"))
    report(**facts)


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (answer.stdout.splitlines() or ["unknown"])[0].strip()


def tests(extent: Extent, report: Report, folder: Path) -> None:
    """The tests marked for a GPU, each reported as it ends."""
    import pytest

    class Reporter:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or not report.passed:
                told(report)

    def told(outcome: pytest.TestReport) -> None:
        name = outcome.nodeid.rpartition("::")[2]
        row = {"outcome": outcome.outcome, "seconds": outcome.duration}
        if outcome.failed:
            row |= {"failed": name, "traceback": outcome.longreprtext[-3000:]}
        elif outcome.skipped:
            row["outcome"] = f"skipped: {outcome.longrepr[2].removeprefix('Skipped: ')}"
        report(name=name, **row)

    root = host.REPOSITORY_ROOT
    # Without conftest.py, whose hypothesis is not asked for here.
    options = ["-m", "gpu", "-q", "--noconftest", "-p", "no:cacheprovider"]
    options += [f"--rootdir={root}", "-c", str(root / "pyproject.toml")]
    options += [f"--basetemp={folder / 'tmp' / 'pytest'}", str(root / "tests" / "test_gpu.py")]
    code = pytest.main(options, plugins=[Reporter()])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest ended with {code!r}")


def openai_folder() -> Path | None:
    """Return the folder of OpenAI's 124M if notebook 02 has been run here, else None."""
    folder = host.REPOSITORY_ROOT / "experimental" / "gpt2_models" / "124M"
    converted = checkpoints.CONVERTED
    names = ("encoder.json", "vocab.bpe", "hparams.json", converted, f"{converted}.json")
    return folder if all((folder / name).is_file() for name in names) else None


def golf_records(folder: Path, n_records: int) -> tuple[list[Record], Path]:
    """Return records of notebook 01 and the folder of a vocabulary, GPT-2's or one learnt here."""
    knowledge = load_knowledge(host.knowledge_folder())
    records = generate_records(knowledge, DataConfig(n_examples=2 * n_records))["train"]
    if source := openai_folder():
        return records, source
    learnt = folder / "work" / "vocabulary"
    texts = (record.example for record in vocabulary_records(knowledge))
    learn_bpe(texts, GPT_CONFIGS["tiny"].n_vocab, learnt)
    return records, learnt


def golf_batches(folder: Path, rows: int, n_steps: int) -> tuple[list[Batch], str]:
    """Return batches of the project's records of at most LONGEST tokens, and a sentence on them."""
    records, vocabulary = golf_records(folder, rows * n_steps + 100)
    tokenizer = load_tokenizer(vocabulary)
    loader = Batches(
        InstructionDataset(records, tokenizer, LONGEST), rows, tokenizer.eot_token, "all", seed=1
    )
    # The last batch of an epoch may have fewer rows.
    batches = list(islice((batch for batch in loader if len(batch[0]) == rows), n_steps))
    lengths = [length for _, targets in batches for length in (targets != -100).sum(1).tolist()]
    about = f"{statistics.mean(lengths):.0f} tokens on average, {max(lengths)} at most"
    return batches, f"{about}, in a vocabulary of {tokenizer.n_vocab:,}"


def kaggle(extent: Extent, report: Report, folder: Path) -> None:
    """Kaggle's default in a T4's memory; the same on the card twice, in fp32 and in bf16."""
    devices = host.detect_devices()
    cap_memory(T4_BYTES, devices.device)
    batches, about = golf_batches(folder, TrainConfig().batch_size, extent.n_steps)
    weights = start_weights(extent.shapes["124M"])
    report(name="records", lengths=about, weights="OpenAI's" if openai_folder() else "random")
    once, losses = devices.device_ids, {}
    ways = {
        "fp16": (torch.float16, once),
        "fp16, DataParallel over [0, 0]": (torch.float16, (0, 0)),
        "fp32": (torch.float32, once),
        # The last one, since a T4 emulates it.
        "bf16": (torch.bfloat16, once),
    }
    for name, (dtype, device_ids) in ways.items():
        its_devices = replace(devices, dtype=dtype, device_ids=device_ids)
        measure = partial(from_start, extent.shapes["124M"], weights, batches, its_devices)
        losses[name] = attempt(report, name, measure).get("losses")
    doubled = "fp16, DataParallel over [0, 0]"
    for name, other in (("fp16", "fp32"), ("bf16", "fp32"), (doubled, "fp16")):
        if losses[name] and losses[other]:
            apart = [abs(a - b) for a, b in zip(losses[name], losses[other], strict=True)]
            numbers = {"most_apart": max(apart), "apart_on_average": statistics.mean(apart)}
            report(name=f"losses of {name} beside {other}", **numbers)


def start_weights(config: GPTConfig) -> dict[str, torch.Tensor]:
    """Return the weights that every way starts from: OpenAI's if they are here, else random."""
    if source := openai_folder():
        return checkpoints.load_base_model(source).state_dict()
    model = GPTModel(config)
    init_weights(model, seed=1)
    return model.state_dict()


def from_start(
    config: GPTConfig, weights: dict[str, torch.Tensor], batches: list[Batch], devices: Devices
) -> dict:
    """Train from these weights on these batches, the rows of a step divided among the replicas."""
    if devices.n_gpus > 1:
        require_the_same_card_twice(devices.device)
    with devices.device:
        model = GPTModel(config)
    model.load_state_dict(weights)
    rows = len(batches[0][0]) // max(1, devices.n_gpus)
    settings = TrainConfig(epochs=1, batch_size=rows, **WITHOUT)
    found = train_steps(model, batches, settings, devices)
    found["loss_of_the_last_10"] = statistics.mean(found["losses"][-10:])
    # The plan knows no two replicas on one card, and bfloat16 only as CPUs have it.
    on_gpu = devices.device.type == "cuda"
    if devices.n_gpus > 1 or (on_gpu and devices.dtype is torch.bfloat16):
        return found
    length = max(input_ids.shape[1] for input_ids, _ in batches)
    return beside_plan(found, plan(config, settings, length, 1, devices.dtype).total)


def require_the_same_card_twice(device: torch.device) -> None:
    """See on a layer whether torch takes a card twice.

    It should: comm.cpp gives a replica on the first card that card's own tensors, and NCCL, which
    refuses a card that comes twice, is then not asked.
    """
    try:
        layer = nn.DataParallel(nn.Linear(4, 4).to(device), device_ids=[0, 0])
        layer(torch.zeros(2, 4, device=device)).sum().backward()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SkippedError(f"torch refuses DataParallel over [0, 0]: {error}") from error


def peak_settings() -> dict[tuple[TrainConfig, int], list[str]]:
    """Return what is to be measured, (settings, tokens of a record), and who sets it so.

    One card has nothing to spread over: dp and fsdp become the plain loop. `cards` measures those.
    """
    known = {field.name for field in fields(TrainConfig)}
    wanted: list[tuple[str, TrainConfig, int]] = []
    parameters = host.REPOSITORY_ROOT / "notebooks" / "params"
    for path in sorted(parameters.glob("kaggle*.yaml")):
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        size = given.pop("model_size")
        ours = {name: value for name, value in given.items() if name in known}
        settings = TrainConfig.for_size(size, **ours)
        wanted.append((path.stem, settings, GPT_CONFIGS[size].n_ctx))
    for cards, size in product(("1xT4", "2xT4"), SIZES):
        config, default = GPT_CONFIGS[size], TrainConfig(model_size=size)
        n_cards, capacity = named_devices(cards)
        settings, _ = proposal(config, default, LONGEST, n_cards, torch.float16, capacity)
        wanted.append((cards, settings, LONGEST))
    found: dict[tuple[TrainConfig, int], list[str]] = {}
    for source, settings, length in sorted(wanted, key=lambda row: SIZES.index(row[1].model_size)):
        settings = replace(settings, epochs=1, strategy="auto", **WITHOUT)
        found.setdefault((settings, length), []).append(source)
    return found


def peaks(extent: Extent, report: Report, folder: Path) -> None:
    """The peak of a step with each size's settings, beside the plan."""
    devices = host.detect_devices()
    for (settings, length), sources in peak_settings().items():
        levers = [name for name in LEVERS if getattr(settings, name) == LEVERS[name]]
        named = [f'{name}="lora"' if name == "method" else name for name in levers]
        given = {"size": settings.model_size, "cards": sources, "levers": named}
        shape = (settings.batch_size, min(length, extent.length_of_peaks))
        name = ", ".join([settings.model_size, f"{shape[0]} x {shape[1]}", *(named or ["plain"])])
        measure = partial(peak_of, extent.shapes[settings.model_size], devices, settings, shape)
        attempt(partial(report, set_by=", ".join(sources), given=given), name, measure)


def peak_of(
    config: GPTConfig, devices: Devices, settings: TrainConfig, shape: tuple[int, int]
) -> dict:
    """Return peak and plan of steps of random rows, and the default run's minutes at that speed."""
    if settings.method == "lora" and not importlib.util.find_spec("peft"):
        raise SkippedError("peft is not installed")
    planned = plan(config, settings, shape[1], 1, devices.dtype).total
    free = usable_memory(devices)[1]
    if planned > free:
        raise SkippedError(f"planned {planned / GIB:.1f} GiB, {free / GIB:.1f} GiB are free")
    model = made_model(config, devices)
    if settings.method == "lora":
        add_lora(model, settings.lora_rank, devices.dtype, settings.seed)
    # Several, as AdamW's moments come only with the first step that FP16 does not leave out.
    found = train_steps(model, random_rows(config, shape, 8), settings, devices)
    n_tokens = TrainConfig().epochs * split_sizes(DataConfig())["train"] * RECORD
    found["minutes"] = n_tokens / found["tokens_a_second"] / 60
    return beside_plan(found, planned)


def context(extent: Extent, report: Report, folder: Path) -> None:
    """Speed at full context: the loop, transformers' Trainer, and the loop with compiled blocks."""
    devices = host.detect_devices()
    native = not devices.n_gpus or torch.cuda.get_device_capability() >= (8, 0)
    devices = replace(devices, dtype=torch.bfloat16 if native else torch.float16)
    published = published_rate(devices.names[0])
    rate = published or matrix_product_rate()
    report(
        name="rate of the card",
        TFLOP_a_second=rate / 1e12,
        source="its data sheet" if published else "a product measured here",
        number_format=str(devices.dtype).removeprefix("torch."),
    )
    sizes, ways = ("124M", "355M"), {"ours": ours, PEER: peer, "ours, blocks compiled": compiled}
    # All ways get the same rows: what is free may be less after the first of them.
    rows = {size: rows_that_fit(extent.shapes[size], extent, devices) for size in sizes}
    found = {}
    for way, size in product(ways, sizes):
        shape = (rows[size], extent.length)
        measure = partial(at_full_context, extent, size, shape, devices, ways[way], rate)
        found[size, way] = attempt(report, f"{size}, {way}", measure)
    for size in sizes:
        own, theirs = (found[size, way] for way in ("ours", PEER))
        if own and theirs:
            times = own["tokens_a_second"] / theirs["tokens_a_second"]
            goals = {"1.3_times_at_least": times >= 1.3}
            goals["40_percent_at_least"] = own["utilisation_percent"] >= 40
            report(name=f"{size}, beside {PEER}", times_as_fast=times, **goals)


def at_full_context(
    extent: Extent,
    size: str,
    shape: tuple[int, int],
    devices: Devices,
    run: Callable[..., dict],
    rate: float,
) -> dict:
    config = extent.shapes[size]
    batches = random_rows(config, shape, extent.n_context_steps)
    found = run(made_model(config, devices), batches, devices, extent)
    work = found["tokens_a_second"] * flops_per_token(config, extent.length)
    return {"rows": shape[0], "utilisation_percent": 100 * work / rate, **found}


def rows_that_fit(config: GPTConfig, extent: Extent, devices: Devices) -> int:
    """Return rows of which ours takes a quarter of the memory: transformers' logits need more."""
    free, rows = usable_memory(devices)[1], extent.most_rows
    while rows > 1:
        training_of_rows = TrainConfig(batch_size=rows)
        if plan(config, training_of_rows, extent.length, 1, torch.float16).total <= free / 4:
            break
        rows //= 2
    return rows


def ours(model: GPTModel, batches: list[Batch], devices: Devices, extent: Extent) -> dict:
    settings = TrainConfig(epochs=1, batch_size=len(batches[0][0]), **WITHOUT)
    found = train_steps(model, batches, settings, devices)
    return {name: found[name] for name in ("ms_a_step", "tokens_a_second", "peak_GiB")}


def compiled(model: GPTModel, batches: list[Batch], devices: Devices, extent: Extent) -> dict:
    if devices.n_gpus and torch.cuda.get_device_capability() < (8, 0):
        raise SkippedError("Triton does not support this card")

    def block_alone(block: Block, x: torch.Tensor) -> torch.Tensor:
        return Block.forward(block, x, 0, None)

    # One graph serves all blocks. By the number that forward takes torch would make one for each,
    # and after eight of them no more.
    run = torch.compile(block_alone, backend=extent.backend)
    for block in model.h:
        block.forward = lambda x, layer, cache, block=block: run(block, x)
    try:
        return ours(model, batches, devices, extent)
    finally:
        torch._dynamo.reset()


def peer(model: GPTModel, batches: list[Batch], devices: Devices, extent: Extent) -> dict:
    way, clock, seconds = PEERS[PEER], Clock(batches), []
    run = partial(way, model, clock, devices)
    peak = measured_peak(lambda: seconds.append(run()[0]), devices.device)
    n_timed = len(batches) - WARM_UP
    return {
        "ms_a_step": 1000 * seconds[0] / n_timed,
        "tokens_a_second": n_timed * batches[0][0].numel() / seconds[0],
        "peak_GiB": peak / GIB,
    }


PEERS = {
    "transformers' Trainer": transformers_trainer,
    "transformers in a plain loop (the Trainer needs accelerate)": transformers_loop,
}
PEER = list(PEERS)[0 if importlib.util.find_spec("accelerate") else 1]


def sampling(extent: Extent, report: Report, folder: Path) -> None:
    """Time to the first token and tokens a second, beside transformers with the same weights."""
    # Imported here: it asks the GPU already as it is imported.
    import sampling as benchmark

    for rows in extent.sampled_rows:
        written: list[torch.Tensor] = []
        for way in ("ours", "transformers"):
            name = f"{way}, {benchmark.HALF_NAME}"
            measure = partial(sampled, benchmark, name, extent, rows, written)
            attempt(report, f"{name}, {rows} rows", measure)
        if len(written) == 2:
            same = float((written[0] == written[1]).float().mean())
            report(name=f"both, {rows} rows", same_tokens_percent=100 * same)


def sampled(benchmark, way: str, extent: Extent, rows: int, written: list[torch.Tensor]) -> dict:
    """Time the first token (best of 3) and an answer (best of 2); add its tokens to `written`."""
    make, dtype = benchmark.WAYS[way]
    model = benchmark.make_model(extent.sampled, dtype)
    generate, prompts = make(model), benchmark.make_prompts(model, rows, benchmark.N_PROMPT)
    generate(prompts, 2)
    first = min(benchmark.timed(lambda: generate(prompts, 1))[0] for _ in range(3))
    answers = [benchmark.timed(lambda: generate(prompts, extent.n_new)) for _ in range(2)]
    seconds = min(answer[0] for answer in answers)
    written.append(answers[0][1].cpu())
    return {
        "ms_to_the_first_token": 1000 * first,
        "ms_a_token_after_it": 1000 * (seconds - first) / (extent.n_new - 1),
        "tokens_a_second": rows * extent.n_new / seconds,
    }


def cards(extent: Extent, report: Report, folder: Path) -> None:
    """An epoch on one card, and on two by dp, ddp and fsdp, with the same records a step."""
    # A CPU's stand-ins are two processes; dp is there one device.
    devices = host.detect_devices(mixed_precision=extent is REAL)
    if extent is REAL and devices.n_gpus < 2:
        report(name="two cards", skipped=f"{devices.n_gpus} here")
        return
    two = replace(devices, device_ids=devices.device_ids[:2])
    one = replace(devices, device_ids=devices.device_ids[:1])
    inputs = prepare_run(extent.shapes["124M"], folder, 8 * extent.n_steps)
    alone = attempt(report, "one card", partial(spread, one, inputs, "auto"))
    for strategy in ("dp", "ddp", "fsdp"):
        found = attempt(report, strategy, partial(spread, two, inputs, strategy))
        if found and alone:
            times = found["tokens_a_second"] / alone["tokens_a_second"]
            report(name=f"{strategy} beside one card", times_as_fast=times)


def prepare_run(config: GPTConfig, folder: Path, n_records: int) -> tuple[Path, Path]:
    """Write a checkpoint and records as notebooks 02 and 01 leave them; return their folders."""
    checkpoint, data = folder / "work" / "checkpoint", folder / "work" / "data"
    records, vocabulary = golf_records(folder, n_records)
    for split, chosen in (("train", records[:n_records]), ("val", records[-8:])):
        write_json(records_path(data, split), [vars(record) for record in chosen])
    shutil.copytree(vocabulary, checkpoint, dirs_exist_ok=True)
    if not openai_folder():
        write_json(checkpoint / "hparams.json", asdict(config))
        file = checkpoint / checkpoints.CONVERTED
        save_file(start_weights(config), file)
        sidecar = {"sha256": sha256_file(file), "index_sha256": "", "tensors": {}}
        sidecar |= {"config": asdict(config)}
        write_json(file.with_name(f"{file.name}.json"), sidecar)
    return checkpoint, data


def spread(devices: Devices, inputs: tuple[Path, Path], strategy: str) -> dict:
    """Train an epoch under a strategy as notebook 03 does; its first steps count, too."""
    checkpoint, data = inputs
    n_cards = 1 if strategy == "auto" else 2
    settings = TrainConfig(
        epochs=1, batch_size=16 // n_cards, strategy=strategy, context_length=LONGEST,
        eval_batches=1, mixed_precision=devices.dtype is torch.float16, **WITHOUT,
    )  # fmt: skip
    model = checkpoints.load_base_model(checkpoint)
    for index in devices.device_ids:
        # The way before this one had another peak on the same card.
        torch.cuda.synchronize(index)
        torch.cuda.reset_peak_memory_stats(index)
    with TemporaryDirectory() as temporary:
        paths = Path(temporary) / "states", Path(temporary) / "log.jsonl", {}
        setup = Setup(settings, devices, *paths)
        if strategy in ("ddp", "fsdp"):
            history = train_in_workers(model, setup, 2, data, checkpoint, n_samples=0)
        else:
            splits = golf_splits(checkpoint, data, settings, devices)
            history = train(model, splits, setup)
    found = {
        "tokens_a_second": history.tokens_per_second,
        "peak_GiB": history.peak_bytes / GIB,
        "validation_loss": history.val_loss[-1],
    }
    if not devices.n_gpus:
        # The peak is then that of the process, which the plan does not tell.
        return found
    return beside_plan(found, plan(model.config, settings, LONGEST, n_cards, devices.dtype).total)


def golf_splits(
    checkpoint: Path, data: Path, settings: TrainConfig, devices: Devices
) -> dict[str, Batches]:
    tokenizer, splits = load_tokenizer(checkpoint), {}
    rows = records_per_step(settings, devices)
    for split in ("train", "val"):
        records = read_records(records_path(data, split))
        dataset = InstructionDataset(records, tokenizer, settings.context_length)
        splits[split] = Batches(dataset, rows, tokenizer.eot_token, "all", settings.seed)
    return splits


PARTS = {part.__name__: part for part in (machine, tests, kaggle, peaks, context, sampling, cards)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    # gpu.py asks where each thread is before it ends a part whose time is over.
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
    if options.part not in ("machine", "cards"):
        # What is measured is one card; the Trainer would take all that it sees.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    report = partial(record, options.folder, options.part)
    PARTS[options.part](TOY if options.toy else REAL, report, options.folder)
    rows = [row for row in read_rows(options.folder) if row["part"] == options.part]
    failed = [row["name"] for row in rows if "failed" in row]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
