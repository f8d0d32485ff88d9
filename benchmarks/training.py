"""Training speed side by side: ours, the `llms-from-scratch` package's loop, and transformers' Trainer, each in its own process.

    pip install --no-deps llms-from-scratch       # it pins an old numpy
    pip install accelerate                        # the Trainer wants it
    python benchmarks/training.py --size 124M --steps 4 --batch-size 8
    python benchmarks/training.py --size tiny --steps 30 --batch-size 4
    python benchmarks/training.py --scaling --steps 2

All start from the same random weights and take the same batches of golf records (of rows of like length, in the vocabulary of
`tiny`), the same rate and AdamW, no dropout, the loss on all positions. Tokens are real ones, without padding. The package
trains in fp32, the only format it has; the Trainer as documented for speed on the device (bf16 on a CPU, fp16 on a GPU, SDPA,
fused AdamW). The first two steps warm up and are not timed; the loss is that of the last steps' batches after training.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from golf_nb_utils import host
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.records import generate_records, vocabulary_records
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.settings import GPT_CONFIGS, DataConfig, GPTConfig, TrainConfig
from golf_nb_utils.training.batches import Batches, InstructionDataset
from golf_nb_utils.training.history import History
from golf_nb_utils.training.loop import Setup, train
from golf_nb_utils.training.step import LossInReplica, evaluate_loss

WARM_UP = 2
RATE = 5e-5
Batch = tuple[torch.Tensor, torch.Tensor]
# FLOP a second of dense 16-bit products with tensor cores, by NVIDIA's data sheets; all words of a key stand in the card's name.
PEAKS = {
    "H100 PCIe": 756e12, "H100 NVL": 835.5e12, "H100": 989.4e12, "H200 NVL": 835.5e12, "H200": 989.4e12, "A100": 312e12, "L40S": 362e12,
    "L4": 121e12, "T4": 65e12, "V100": 125e12,
}  # fmt: skip
SCALING = (
    *(("tiny", batch, length) for batch in (1, 4, 16) for length in (128, 512)), ("124M", 1, 256), ("124M", 2, 256), ("124M", 4, 256),
    ("124M", 8, 256), ("124M", 4, 128), ("124M", 4, 512), ("124M", 2, 1024), ("355M", 2, 256),
)  # fmt: skip


class Clock:
    """Hands out the batches and takes the time from the one that follows the warm-up to the end of the last."""

    def __init__(self, batches: list[Batch]):
        self.batches, self.started = batches, 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self.batches):
            if number == WARM_UP:
                synchronize()
                self.started = time.perf_counter()
            yield batch

    def stop(self) -> float:
        synchronize()
        return time.perf_counter() - self.started


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def make_batches(config: GPTConfig, batch_size: int, steps: int) -> list[Batch]:
    knowledge = load_knowledge(host.knowledge_folder())
    with TemporaryDirectory() as folder:
        learn_bpe(
            [record.example for record in vocabulary_records(knowledge)],
            GPT_CONFIGS["tiny"].n_vocab,
            folder,
        )
        tokenizer = load_tokenizer(folder)
    n_records = max(400, 2 * (steps + WARM_UP) * batch_size)
    records = generate_records(knowledge, DataConfig(n_examples=n_records))["train"]
    loader = Batches(
        InstructionDataset(records, tokenizer, config.n_ctx),
        batch_size,
        tokenizer.eot_token,
        "all",
        seed=1,
    )
    return list(islice(loader, steps + WARM_UP))


class Done(Exception):
    """The last step was taken: the evaluation after it is not what is timed."""


@dataclass(frozen=True)
class Given:
    """What `train` takes for the batches of an epoch, with the clock's."""

    clock: Iterable[Batch]
    batch_size: int

    def __len__(self) -> int:
        return len(self.clock)

    def __iter__(self) -> Iterator[Batch]:
        return iter(())

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.clock)


def ours(model: GPTModel, clock: Clock) -> tuple[float, torch.nn.Module]:
    """The loop of notebook 03 as it is, without its evaluation and its states."""
    n_rows, seconds = len(clock.batches[0][0]), []
    config = TrainConfig(
        epochs=1,
        batch_size=n_rows,
        learning_rate=RATE,
        eval_freq=10**9,
        save_every_minutes=0,
        save_best=False,
    )

    def stop_after_the_last(history: History, loss: float) -> None:
        if history.n_steps == history.n_planned:
            seconds.append(clock.stop())
            raise Done

    with TemporaryDirectory() as folder, suppress(Done):
        batches = dict.fromkeys(("train", "val"), Given(clock, n_rows))
        setup = Setup(
            config, host.detect_devices(), Path(folder) / "states", Path(folder) / "log", {}
        )
        train(model, batches, setup, on_step=stop_after_the_last)
    return seconds[0], model


def llms_from_scratch(model: GPTModel, clock: Clock) -> tuple[float, torch.nn.Module]:
    from llms_from_scratch import ch05
    from llms_from_scratch.ch04 import GPTModel as Theirs

    config, device = model.config, host.detect_devices().device
    theirs = Theirs({
        "vocab_size": config.n_vocab, "context_length": config.n_ctx, "emb_dim": config.n_embd, "n_heads": config.n_head,
        "n_layers": config.n_layer, "drop_rate": 0.0, "qkv_bias": True,
    })  # fmt: skip
    pairs = []
    with torch.no_grad():
        theirs.tok_emb.weight.copy_(model.wte.weight)
        theirs.pos_emb.weight.copy_(model.wpe.weight)
        theirs.out_head.weight.copy_(model.wte.weight)
        for a, b in zip(theirs.trf_blocks, model.h, strict=True):
            for name, part in zip(("W_query", "W_key", "W_value"), range(3), strict=True):
                layer, rows = (
                    getattr(a.att, name),
                    slice(part * config.n_embd, (part + 1) * config.n_embd),
                )
                layer.weight.copy_(b.attn.c_attn.weight[rows])
                layer.bias.copy_(b.attn.c_attn.bias[rows])
            pairs += [
                (a.att.out_proj, b.attn.c_proj),
                (a.ff.layers[0], b.mlp.c_fc),
                (a.ff.layers[2], b.mlp.c_proj),
            ]
            pairs += [(a.norm1, b.ln_1), (a.norm2, b.ln_2)]
        pairs.append((theirs.final_norm, model.ln_f))
        for layer, source in pairs:
            (layer.scale if hasattr(layer, "scale") else layer.weight).copy_(source.weight)
            (layer.shift if hasattr(layer, "shift") else layer.bias).copy_(source.bias)
    theirs.to(device)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=RATE, weight_decay=0.1)
    # The loop's own evaluation and sample are not what is compared.
    ch05.generate_and_print_sample = lambda *arguments: None
    ch05.evaluate_model = lambda *arguments: (0.0, 0.0)
    ch05.train_model_simple(theirs, clock, None, optimizer, device, 1, 10**9, 1, "", None)
    return clock.stop(), theirs


def twin_of(model: GPTModel) -> torch.nn.Module:
    """Return the GPT2LMHeadModel of transformers with the weights of `model`, without dropout, on the CPU."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = model.config
    twin = GPT2LMHeadModel(GPT2Config(
        vocab_size=config.n_vocab, n_positions=config.n_ctx, n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
    ))  # fmt: skip
    with torch.no_grad():
        for name, parameter in twin.transformer.named_parameters():
            weight = model.get_parameter(name)
            parameter.copy_(weight.T if "c_" in name and name.endswith("weight") else weight)
    return twin


def inputs_of_twin(
    input_ids: torch.Tensor, targets: torch.Tensor, n_ctx: int
) -> dict[str, torch.Tensor]:
    """Return what transformers' model takes: its labels are not shifted, position t is the target of t - 1.

    So it takes one more token than ours, but where ours has n_ctx already: there it goes without the last target.
    """
    labels = torch.cat((torch.full_like(targets[:, :1], -100), targets), dim=1)
    inputs = torch.cat((input_ids, targets[:, -1:].clamp(min=0)), dim=1)
    return {"input_ids": inputs[:, :n_ctx], "labels": labels[:, :n_ctx]}


def transformers_trainer(
    model: GPTModel, clock: Clock, devices: host.Devices | None = None
) -> tuple[float, torch.nn.Module]:
    from transformers import Trainer, TrainingArguments

    devices = devices or host.detect_devices()
    twin = twin_of(model)

    class Batches:
        def __len__(self):
            return len(clock)

        def __iter__(self):
            for input_ids, targets in clock:
                inputs = inputs_of_twin(input_ids, targets, model.config.n_ctx)
                yield {name: tensor.to(devices.device) for name, tensor in inputs.items()}

    class OwnBatches(Trainer):
        def get_train_dataloader(self):
            return Batches()

    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=len(clock), learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.1, max_grad_norm=0.0,
            optim="adamw_torch_fused", bf16=devices.dtype is torch.bfloat16, fp16=devices.dtype is torch.float16,
            report_to=[], use_cpu=devices.n_gpus == 0, save_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        OwnBatches(twin, arguments).train()
    return clock.stop(), twin


def transformers_loop(
    model: GPTModel, clock: Clock, devices: host.Devices
) -> tuple[float, torch.nn.Module]:
    """Train transformers' model as its documents advise for speed: autocast, SDPA, fused AdamW."""
    twin = twin_of(model).to(devices.device).train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=RATE, weight_decay=0.1, fused=True)
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


WAYS = {
    "ours": ours,
    "llms-from-scratch": llms_from_scratch,
    "transformers' Trainer": transformers_trainer,
}


@torch.no_grad()
def final_loss(model: torch.nn.Module, batches: list[Batch]) -> float:
    """The loss over all targets of the batches, in fp32, by any of the three models."""
    device = next(model.parameters()).device
    model.eval()
    if isinstance(model, GPTModel):
        return evaluate_loss(LossInReplica(model, torch.float32), batches, device)
    total, count = 0.0, 0
    for input_ids, targets in batches:
        logits = model(input_ids.to(device))
        logits = logits if isinstance(logits, torch.Tensor) else logits.logits
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.to(device).flatten(), reduction="sum"
            )
        )
        count += int((targets != -100).sum())
    return total / count


def measure(way: str, size: str, batches_path: str) -> dict:
    config, batches = GPT_CONFIGS[size], torch.load(batches_path)
    model = GPTModel(config)
    init_weights(model, seed=1)
    seconds, trained = WAYS[way](model.train(), Clock(batches))
    peak = host.memory_peak(host.detect_devices().device_ids)
    n_tokens = sum(int((targets != -100).sum()) for _, targets in batches[WARM_UP:])
    length = max(len(row) for row in batches[-1][0])
    rate = n_tokens / seconds
    utilisation = rate * flops_per_token(config, length) / matrix_product_rate()
    return {
        "rate": rate,
        "peak": peak,
        "loss": final_loss(trained, batches[-2:]),
        "utilisation": utilisation,
    }


def flops_per_token(config: GPTConfig, length: int) -> float:
    """Forward and backward: 6 a parameter but the positions', and 12 n_layer n_embd length for attention (PaLM, appendix B)."""
    return (
        6 * (config.n_parameters - config.n_ctx * config.n_embd)
        + 12 * config.n_layer * config.n_embd * length
    )


def published_rate(card: str) -> float | None:
    """Return the FLOP a second of a card by its data sheet, None if it is not in PEAKS. Words are compared: an L40 is no L4."""
    words = set(re.split(r"[\s-]+", card))
    return next((rate for name, rate in PEAKS.items() if words.issuperset(name.split())), None)


def matrix_product_rate() -> float:
    """FLOP a second of a product in the format that training takes: a GPU's by its data sheet, a CPU's as it does GPT-2's own."""
    devices = host.detect_devices()
    if published := published_rate(devices.names[0]):
        return published
    size = (8192, 8192, 8192) if devices.n_gpus else (2560, 768, 3072)
    left, right = (
        torch.randn(rows, size[1], device=devices.device, dtype=devices.dtype)
        for rows in (size[0], size[2])
    )
    best = float("inf")
    for _ in range(6):
        synchronize()
        started = time.perf_counter()
        torch.nn.functional.linear(left, right)
        synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size[0] * size[1] * size[2] / best


def row_of(way: str, size: str, batches: list[Batch]) -> dict:
    """One way in a process of its own, so that its peak is its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "batches.pt"
        torch.save(batches, path)
        command = [sys.executable, __file__, "--size", size, "--one", way, str(path)]
        return json.loads(
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "GOLF_HEADLESS": "1"},
            ).stdout.splitlines()[-1]
        )


def scaling(steps: int) -> None:
    """Ours alone, over model size, batch and length, with rows of random tokens."""
    print(
        "| size | batch | length | tokens/s | of the product's rate | peak MiB |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for size, batch_size, length in SCALING:
        ids = torch.randint(GPT_CONFIGS[size].n_vocab, (steps + WARM_UP, batch_size, length + 1))
        row = row_of("ours", size, [(rows[:, :-1].clone(), rows[:, 1:].clone()) for rows in ids])
        cells = f"{row['rate']:,.0f} | {row['utilisation']:.0%} | {row['peak'] / 2**20:,.0f}"
        print(f"| {size} | {batch_size} | {length} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="tiny", choices=list(GPT_CONFIGS))
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument(
        "--scaling", action="store_true", help="ours alone over model size, batch and length"
    )
    parser.add_argument("--one", nargs=2, metavar=("WAY", "BATCHES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], options.size, options.one[1])))
        return
    devices = host.detect_devices()
    name = (
        devices.names[0]
        if devices.n_gpus
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(
        f"{name}, torch {torch.__version__}, {devices.dtype}, products at {matrix_product_rate() / 1e9:,.0f} GFLOP/s\n"
    )
    if options.scaling:
        scaling(options.steps)
        return
    print(f"{options.size}, batch {options.batch_size}, {options.steps} steps\n")
    print(
        "| way | tokens/s | ours is faster by | of the product's rate | peak MiB | loss after |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    batches = make_batches(GPT_CONFIGS[options.size], options.batch_size, options.steps)
    first = None
    for way in options.ways:
        row = row_of(way, options.size, batches)
        first = first or row["rate"]
        cells = f"{row['rate']:,.0f} | {first / row['rate']:.2f} | {row['utilisation']:.0%} | {row['peak'] / 2**20:,.0f} | {row['loss']:.4f}"
        print(f"| {way} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
