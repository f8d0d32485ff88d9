"""The parts of gpu.py, which runs each in a process of its own: python benchmarks/gpu_parts.py PART FOLDER [--toy]

What trains here is the loop of notebook 03 itself (training.train), on batches that are given. A
measurement that fails is recorded with its traceback, and the next one is made.
"""

import argparse
import faulthandler
import gc
import importlib.util
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
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import sampling as sampling_benchmark
import torch
import yaml
from gpu import read_rows, record
from safetensors.torch import save_file
from t4 import LONGEST, SIZES
from torch import nn
from training import (
    WARM_UP,
    Batch,
    Clock,
    Done,
    Given,
    flops_per_token,
    inputs_of_twin,
    matrix_product_rate,
    published_rate,
    synchronize,
    transformers_trainer,
    twin_of,
)

from golf_nb_utils import checkpoints, environment, examples, training
from golf_nb_utils.artifacts import sha256_file, write_json
from golf_nb_utils.config import GPT_CONFIGS, DataConfig, GPTConfig, TrainConfig
from golf_nb_utils.data_files import records_path
from golf_nb_utils.dataset import Batches, InstructionDataset
from golf_nb_utils.environment import Devices
from golf_nb_utils.knowledge import load_knowledge
from golf_nb_utils.lora import add_lora
from golf_nb_utils.memory import (
    GIB,
    T4_BYTES,
    measured_peak,
    named_devices,
    plan,
    proposal,
    usable_memory,
)
from golf_nb_utils.model import Block, GPTModel, init_weights
from golf_nb_utils.prompts import format_example
from golf_nb_utils.tokenizer import learn_bpe, load_tokenizer

Report = Callable[..., None]
TOY_GPT = GPTConfig(n_vocab=2048, n_ctx=1024, n_embd=32, n_head=2, n_layer=2)
WITHOUT = {"eval_freq": 10**9, "save_every_minutes": 0.0, "save_best": False}
"""What is not measured: evaluations and states."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    shapes: dict[str, GPTConfig]
    n_steps: int
    """Steps of Kaggle's default; the other parts take some."""
    length: int
    """Tokens of the rows at full context."""
    most_rows: int
    """Rows of a batch at full context, where they fit."""
    backend: str
    """torch.compile's: only `inductor` makes anything faster."""
    sampled: str
    """Model size that samples."""
    sampled_rows: tuple[int, ...]
    n_new: int
    """Tokens that each row of a sampled batch gets."""


REAL = Extent(GPT_CONFIGS, 60, 1024, 32, "inductor", "124M", (1, 16, 256), 256)
TOY = Extent(dict.fromkeys(SIZES, TOY_GPT), 4, 64, 2, "aot_eager", "tiny", (1, 3), 8)


class SkippedError(Exception):
    """A measurement needs what is not here; the message names it."""


def attempt(report: Report, name: str, measure: Callable[[], dict]) -> dict:
    """Report what `measure` finds, or why it does not, and free its memory; return what it found."""
    found = {}
    try:
        found = measure()
    except SkippedError as reason:
        report(name=name, skipped=str(reason))
    except Exception as error:
        last = str(error).splitlines()[:1]
        report(
            name=name,
            failed=f"{type(error).__name__}: {''.join(last)}",
            traceback=traceback.format_exc(limit=-8),
        )
    else:
        report(name=name, **found)
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return found


# --- the training loop, measured ---


@contextmanager
def loss_scalers() -> Iterator[list[torch.amp.GradScaler]]:
    """Yield the list of the loss scalers that are made meanwhile: the loop keeps its own to itself."""
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
    """Take a step of notebook 03's loop with each batch; return what is measured, the steps after the warm-up timed.

    The peak is of bytes in tensors; on a CPU the profiler tells it, which makes steps slower.
    """
    losses, marks, seen = [], [], {}

    def on_step(history: training.History, loss: float) -> None:
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
            training.train(model, given, config, devices, *paths, {}, on_step=on_step)

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
    """Return a model of random weights, drawn where it will be trained: 1558M on a CPU would take a minute."""
    torch.manual_seed(1)
    with devices.device:
        model = GPTModel(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
    return model


def random_rows(config: GPTConfig, shape: tuple[int, int], n_steps: int) -> list[Batch]:
    """Return batches of random tokens, all labelled, each (input ids, targets) of `shape`, (rows, length)."""
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
    devices = environment.detect_devices()
    facts = {"card": devices.names[0], "cards": devices.n_gpus, "driver": driver()}
    if devices.n_gpus:
        properties = torch.cuda.get_device_properties(0)
        facts["compute_capability"] = f"{properties.major}.{properties.minor}"
        facts["memory_GiB"] = torch.cuda.mem_get_info(0)[1] / GIB
    facts["cuda"] = torch.version.cuda
    facts |= environment.versions(
        ("torch", "transformers", "accelerate", "peft", "triton", "numpy")
    )
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

    root = environment.REPOSITORY_ROOT
    # Without conftest.py, whose hypothesis is not asked for here.
    options = ["-m", "gpu", "-q", "--noconftest", "-p", "no:cacheprovider"]
    options += [f"--rootdir={root}", "-c", str(root / "pyproject.toml")]
    options += [f"--basetemp={folder / 'tmp' / 'pytest'}", str(root / "tests" / "test_gpu.py")]
    code = pytest.main(options, plugins=[Reporter()])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest ended with {code!r}")


def openai_folder() -> Path | None:
    """Return the folder of OpenAI's 124M if notebook 02 has been run here, else None."""
    folder = environment.REPOSITORY_ROOT / "experimental" / "gpt2_models" / "124M"
    names = (
        "encoder.json",
        "vocab.bpe",
        "hparams.json",
        "model.safetensors",
        "model.safetensors.json",
    )
    return folder if all((folder / name).is_file() for name in names) else None


def tokenizer_folder(folder: Path, records: list[dict]) -> Path:
    """Return a folder with GPT-2's vocabulary, or with one of 2,048 tokens learnt from the project's own text."""
    learnt = folder / "work" / "vocabulary"
    if not (learnt / "vocab.bpe").is_file():
        learnt.mkdir(parents=True, exist_ok=True)
        texts = [format_example(record) for record in records]
        learn_bpe(texts, GPT_CONFIGS["tiny"].n_vocab, learnt)
    return openai_folder() or learnt


def golf_records(n_records: int) -> tuple[list[dict], list[dict]]:
    """Return so many records of notebook 01 for training, and those that the vocabulary of `tiny` is learnt from."""
    knowledge = load_knowledge(environment.knowledge_folder())
    made = examples.generate_records(knowledge, DataConfig(n_examples=2 * n_records))["train"]
    return made, examples.vocabulary_records(knowledge)


def golf_batches(folder: Path, rows: int, n_steps: int) -> tuple[list[Batch], str]:
    """Return batches of the project's records of at most LONGEST tokens, and a sentence on them."""
    records, texts = golf_records(rows * n_steps + 100)
    tokenizer = load_tokenizer(tokenizer_folder(folder, texts))
    dataset = InstructionDataset(records, tokenizer, LONGEST)
    loader = Batches(dataset, rows, tokenizer.eot_token, "all", seed=1)
    # The last batch of an epoch may have fewer rows.
    batches = list(islice((batch for batch in loader if len(batch[0]) == rows), n_steps))
    lengths = [
        int((targets != -100).sum(1)[row]) + 1 for _, targets in batches for row in range(rows)
    ]
    vocabulary = (
        "GPT-2's vocabulary"
        if openai_folder()
        else f"a learnt vocabulary of {tokenizer.n_vocab:,} tokens"
    )
    return (
        batches,
        f"{statistics.mean(lengths):.0f} tokens on average, {max(lengths)} at most, in {vocabulary}",
    )


def kaggle(extent: Extent, report: Report, folder: Path) -> None:
    """Kaggle's default under a T4's memory, then twice the same card, fp32 and bf16 on the same records."""
    devices = environment.detect_devices()
    config, rows = extent.shapes["124M"], TrainConfig().batch_size
    cap_memory(T4_BYTES, devices.device)
    batches, about = golf_batches(folder, rows, extent.n_steps)
    source = openai_folder()
    report(name="records", are=about, weights="OpenAI's" if source else "random")
    model = checkpoints.load_base_model(source) if source else GPTModel(config)
    if not source:
        init_weights(model, seed=1)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    length = max(input_ids.shape[1] for input_ids, _ in batches)

    def measure(dtype: torch.dtype, device_ids: tuple[int, ...]) -> dict:
        its_devices = replace(devices, dtype=dtype, device_ids=device_ids)
        if len(device_ids) > 1:
            require_the_same_card_twice(devices.device)
        trained = GPTModel(config).to(devices.device)
        trained.load_state_dict(weights)
        settings = TrainConfig(epochs=1, batch_size=rows // max(1, len(device_ids)), **WITHOUT)
        found = train_steps(trained, batches, settings, its_devices)
        found["loss_of_the_last_10"] = statistics.mean(found["losses"][-10:])
        if len(device_ids) > 1:
            return found
        return beside_plan(found, plan(config, settings, length, 1, dtype).total)

    once, losses = devices.device_ids, {}
    # bf16 comes last: a T4 emulates it.
    for name, dtype, device_ids in (
        ("fp16", torch.float16, once),
        ("fp16, DataParallel over [0, 0]", torch.float16, (0, 0)),
        ("fp32", torch.float32, once),
        ("bf16", torch.bfloat16, once),
    ):
        found = attempt(report, name, partial(measure, dtype, device_ids))
        losses[name] = found.get("losses", [])
    for name in losses:
        for other in ("fp16", "fp32"):
            if name != other and losses[name] and losses[other]:
                apart = [abs(a - b) for a, b in zip(losses[name], losses[other], strict=True)]
                report(
                    name=f"losses of {name} beside {other}",
                    most_apart=max(apart),
                    apart_on_average=statistics.mean(apart),
                )


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


def peak_settings() -> list[tuple[str, str, TrainConfig, int]]:
    """Return (source, size, settings, tokens of a record) of notebooks/params and of the README's table of T4s."""
    known, found = {field.name for field in fields(TrainConfig)}, []
    for path in sorted((environment.REPOSITORY_ROOT / "notebooks" / "params").glob("kaggle*.yaml")):
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        size = given.pop("model_size")
        parameters = {name: value for name, value in given.items() if name in known}
        found.append(
            (path.stem, size, TrainConfig.for_size(size, **parameters), GPT_CONFIGS[size].n_ctx)
        )
    for cards in ("1xT4", "2xT4"):
        n_cards, capacity = named_devices(cards)
        for size in SIZES:
            config, wanted = GPT_CONFIGS[size], TrainConfig(model_size=size)
            chosen, _ = proposal(config, wanted, LONGEST, n_cards, torch.float16, capacity)
            found.append((cards, size, chosen, LONGEST))
    return sorted(found, key=lambda row: SIZES.index(row[1]))


def peaks(extent: Extent, report: Report, folder: Path) -> None:
    """The peak of a step of each size as it is set, beside the plan; each setting once, on one card."""
    devices = environment.detect_devices()
    done = set()
    for source, size, given, length in peak_settings():
        # One card has nothing to spread over: what dp and fsdp do is measured by the part `cards`.
        settings = replace(given, epochs=1, strategy="auto", model_size=size, **WITHOUT)
        settings = replace(settings, learning_rate=TrainConfig.learning_rate)
        if (settings, length) in done:
            continue
        done.add((settings, length))
        shape = (settings.batch_size, min(length, extent.length) if extent is TOY else length)
        measure = partial(peak_of, extent, devices, settings, shape)
        name = f"{size}, {shape[0]} x {shape[1]}, {settings_text(settings)}"
        attempt(
            partial(report, size=size, readme=source, settings=settings_text(settings)),
            name,
            measure,
        )


def settings_text(settings: TrainConfig) -> str:
    changed = {"method": "lora", "activation_checkpointing": True}
    return (
        ", ".join(name for name in changed if getattr(settings, name) == changed[name])
        or "all weights"
    )


def peak_of(
    extent: Extent, devices: Devices, settings: TrainConfig, shape: tuple[int, int]
) -> dict:
    """Measure steps of one size: peak beside the plan, speed, and the minutes that the default two epochs take at it."""
    config = extent.shapes[settings.model_size]
    if settings.method == "lora" and not importlib.util.find_spec("peft"):
        raise SkippedError("peft is not installed")
    planned, free = (
        plan(config, settings, shape[1], 1, devices.dtype).total,
        usable_memory(devices)[1],
    )
    if planned > free:
        raise SkippedError(f"planned {planned / GIB:.1f} GiB, {free / GIB:.1f} GiB are free")
    model = made_model(config, devices)
    if settings.method == "lora":
        add_lora(model, settings.lora_rank, devices.dtype, settings.seed)
    # AdamW's moments come with the first step that FP16 does not leave out.
    found = train_steps(model, random_rows(config, shape, 6), settings, devices)
    found["minutes"] = default_tokens() / found["tokens_a_second"] / 60
    return beside_plan(found, planned)


def default_tokens() -> int:
    """Return the tokens that notebook 03 reads by default."""
    from t4 import RECORD

    return TrainConfig().epochs * examples.split_sizes(DataConfig())["train"] * RECORD


def context(extent: Extent, report: Report, folder: Path) -> None:
    """Speed at full context: the loop, transformers' Trainer, the loop with compiled blocks; two sizes."""
    devices = environment.detect_devices()
    native = not devices.n_gpus or torch.cuda.get_device_capability() >= (8, 0)
    devices = replace(devices, dtype=torch.bfloat16 if native else torch.float16)
    rate = published_rate(devices.names[0])
    source = "published (data sheet)" if rate else "a product's, measured here"
    rate = rate or matrix_product_rate()
    format_name = str(devices.dtype).removeprefix("torch.")
    report(name="rate of the card", TFLOP_a_second=rate / 1e12, source=source, format=format_name)
    ways = {"ours": ours, trainer_name(): trainer, "ours, blocks compiled": compiled}
    for way, run in ways.items():
        for size in ("124M", "355M"):
            measure = partial(at_full_context, extent, devices, size, run, rate)
            attempt(report, f"{size}, {way}", measure)
    compare(report, folder)


def compare(report: Report, folder: Path) -> None:
    """Report the ratios that are the goals: 1.3 times the Trainer, and 40 % of the card's rate."""
    rows = {row.get("name"): row for row in read_rows(folder) if row["part"] == "context"}
    for size in ("124M", "355M"):
        own, peer = (rows.get(f"{size}, {way}", {}) for way in ("ours", trainer_name()))
        if {"tokens_a_second"} <= own.keys() & peer.keys():
            times = own["tokens_a_second"] / peer["tokens_a_second"]
            share = own["utilisation_percent"]
            report(
                name=f"{size}, goals",
                times_as_fast=times,
                at_least_1_3=times >= 1.3,
                at_least_40_percent=share >= 40,
            )


def at_full_context(
    extent: Extent, devices: Devices, size: str, run: Callable[..., dict], rate: float
) -> dict:
    config = extent.shapes[size]
    rows = rows_that_fit(config, extent, devices)
    batches = random_rows(config, (rows, extent.length), WARM_UP + (10 if extent is REAL else 2))
    found = run(made_model(config, devices), batches, devices, extent)
    # As its peers, whose step it times, ours is told without what only the plan asks for.
    speed = found["tokens_a_second"]
    work = flops_per_token(config, extent.length)
    return {"rows": rows, "utilisation_percent": 100 * speed * work / rate, **found}


def rows_that_fit(config: GPTConfig, extent: Extent, devices: Devices) -> int:
    """Return the rows of a batch for which ours takes a quarter of the memory: transformers, with whole logits, needs more."""
    free = usable_memory(devices)[1]
    rows = extent.most_rows
    while rows > 1:
        planned = plan(config, TrainConfig(batch_size=rows), extent.length, 1, torch.float16)
        if planned.total <= free / 4:
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

    # One graph for all blocks: by their numbers, which forward takes, torch would make one for each, and give up after eight.
    run = torch.compile(block_alone, backend=extent.backend)
    for block in model.h:
        block.forward = lambda x, layer, cache, block=block: (
            run(block, x) if cache is None else Block.forward(block, x, layer, cache)
        )
    return ours(model, batches, devices, extent)


def trainer_name() -> str:
    known = importlib.util.find_spec("accelerate") is not None
    return (
        "transformers' Trainer"
        if known
        else "transformers in a plain loop (accelerate, which the Trainer needs, is not installed)"
    )


def trainer(model: GPTModel, batches: list[Batch], devices: Devices, extent: Extent) -> dict:
    way = transformers_trainer if importlib.util.find_spec("accelerate") else transformers_loop
    clock, seconds = Clock(batches), []
    peak = measured_peak(lambda: seconds.append(way(model, clock, devices)[0]), devices.device)
    n_timed = len(batches) - WARM_UP
    n_tokens = n_timed * batches[0][0].numel()
    return {
        "ms_a_step": 1000 * seconds[0] / n_timed,
        "tokens_a_second": n_tokens / seconds[0],
        "peak_GiB": peak / GIB,
    }


def transformers_loop(model: GPTModel, clock: Clock, devices: Devices) -> tuple[float, nn.Module]:
    """Train transformers' model as its documents advise for speed: autocast, SDPA, fused AdamW."""
    twin = twin_of(model).to(devices.device).train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=5e-5, weight_decay=0.1, fused=True)
    scaler = torch.amp.GradScaler(devices.device.type, enabled=devices.needs_loss_scaling)
    for batch in clock:
        inputs = inputs_of_twin(*batch, model.config.n_ctx)
        with torch.autocast(devices.device.type, devices.dtype):
            loss = twin(**{name: tensor.to(devices.device) for name, tensor in inputs.items()}).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return clock.stop(), twin


def sampling(extent: Extent, report: Report, folder: Path) -> None:
    """Time to the first token and tokens a second, beside transformers' generate, from the same weights."""
    half = sampling_benchmark.HALF
    for rows in extent.sampled_rows:
        written = {}
        for way in ("ours", "transformers"):
            make = sampling_benchmark.WAYS[f"{way}, {sampling_benchmark.HALF_NAME}"][0]

            def measure(make=make, rows=rows) -> dict:
                model = sampling_benchmark.make_model(extent.sampled, half)
                found, tokens = speed_of(
                    make(model), sampling_benchmark.make_prompts(model, rows, 128), extent.n_new
                )
                written[make] = tokens
                return found

            attempt(report, f"{way}, {sampling_benchmark.HALF_NAME}, {rows} rows", measure)
        if len(written) == 2:
            ours, theirs = written.values()
            same = (ours == theirs).float().mean()
            report(name=f"{rows} rows", same_tokens_percent=100 * float(same))


def speed_of(generate: Callable, prompts: torch.Tensor, n_new: int) -> tuple[dict, torch.Tensor]:
    """Time the first token (best of three) and a whole answer (best of two); return the answer's tokens, too."""
    timed = sampling_benchmark.timed
    generate(prompts, 2)
    first = min(timed(lambda: generate(prompts, 1))[0] for _ in range(3))
    whole = [timed(lambda: generate(prompts, n_new)) for _ in range(2)]
    seconds, tokens = min(whole, key=lambda turn: turn[0])
    return {
        "ms_to_the_first_token": 1000 * first,
        "tokens_a_second": tokens.numel() / seconds,
        "ms_a_token": 1000 * (seconds - first) / (n_new - 1),
    }, tokens.cpu()


def cards(extent: Extent, report: Report, folder: Path) -> None:
    """Both cards by dp, ddp and fsdp, and one alone, with the same records a step."""
    devices = environment.detect_devices(mixed_precision=extent is REAL)
    if extent is REAL and devices.n_gpus < 2:
        report(name="two cards", skipped=f"there is {devices.n_gpus} card")
        return
    two = replace(devices, device_ids=devices.device_ids[:2])
    inputs = prepare_run(extent, folder, 2 * TrainConfig().batch_size * extent.n_steps // 2)
    one = replace(devices, device_ids=devices.device_ids[:1])
    alone = attempt(report, "one card", partial(spread, extent, one, inputs, "auto"))
    for strategy in ("dp", "ddp", "fsdp"):
        its = partial(spread, extent, two, inputs, strategy)
        found = attempt(report, strategy, its)
        if found and alone:
            times = found["tokens_a_second"] / alone["tokens_a_second"]
            report(name=f"{strategy} beside one card", times_as_fast=times)


def prepare_run(extent: Extent, folder: Path, n_records: int) -> tuple[Path, Path]:
    """Write a checkpoint and records as notebooks 02 and 01 leave them, for processes that read them; return their folders."""
    checkpoint, data = folder / "work" / "checkpoint", folder / "work" / "data"
    checkpoint.mkdir(parents=True, exist_ok=True)
    records, texts = golf_records(n_records)
    for split, chosen in (("train", records[:n_records]), ("val", records[-8:])):
        write_json(records_path(data, split), chosen)
    shutil.copytree(tokenizer_folder(folder, texts), checkpoint, dirs_exist_ok=True)
    if not openai_folder():
        config = extent.shapes["124M"]
        model = GPTModel(config)
        init_weights(model, seed=1)
        write_json(checkpoint / "hparams.json", asdict(config))
        save_file(model.state_dict(), checkpoint / "model.safetensors")
        sidecar = {
            "sha256": sha256_file(checkpoint / "model.safetensors"),
            "index_sha256": "",
            "tensors": {},
        }
        write_json(checkpoint / "model.safetensors.json", sidecar)
    return checkpoint, data


def spread(extent: Extent, devices: Devices, inputs: tuple[Path, Path], strategy: str) -> dict:
    """Train one epoch under a strategy, as notebook 03 does; speed and peak include the first steps."""
    checkpoint, data = inputs
    rows = TrainConfig().batch_size * (2 if strategy == "auto" else 1)
    settings = TrainConfig(
        epochs=1, batch_size=rows, strategy=strategy, eval_batches=1,
        mixed_precision=devices.dtype is torch.float16, **WITHOUT,
    )  # fmt: skip
    model = checkpoints.load_base_model(checkpoint)
    with TemporaryDirectory() as temporary:
        paths = Path(temporary) / "states", Path(temporary) / "log.jsonl"
        if strategy in ("ddp", "fsdp"):
            history = training.train_in_workers(
                model, settings, 2, data, checkpoint, *paths, {}, n_samples=0
            )
        else:
            history = training.train(
                model,
                golf_splits(checkpoint, data, settings, devices),
                settings,
                devices,
                *paths,
                {},
            )
    found = {
        "tokens_a_second": history.tokens_per_second,
        "peak_GiB": history.peak_bytes / GIB,
        "loss": history.val_loss[-1],
    }
    n_cards = 1 if strategy == "auto" else 2
    return beside_plan(
        found,
        plan(
            extent.shapes["124M"],
            settings,
            min(LONGEST, extent.shapes["124M"].n_ctx),
            n_cards,
            devices.dtype,
        ).total,
    )


def golf_splits(
    checkpoint: Path, data: Path, settings: TrainConfig, devices: Devices
) -> dict[str, Batches]:
    tokenizer, size = load_tokenizer(checkpoint), training.records_per_step(settings, devices)
    read = training.data_files.read_records
    return {
        split: Batches(
            InstructionDataset(read(records_path(data, split)), tokenizer, 1024),
            size,
            tokenizer.eot_token,
            "all",
            settings.seed,
        )
        for split in ("train", "val")
    }


PARTS = {part.__name__: part for part in (machine, tests, kaggle, peaks, context, sampling, cards)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    # gpu.py asks where each thread is before it ends a part whose time is over.
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
    report = partial(record, options.folder, options.part)
    PARTS[options.part](TOY if options.toy else REAL, report, options.folder)
    rows = [row for row in read_rows(options.folder) if row["part"] == options.part]
    failed = [row["name"] for row in rows if "failed" in row]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
