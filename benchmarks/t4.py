"""What a T4 is planned to need for the defaults of notebook 03, the rows of the table in docs/training.md: python benchmarks/t4.py

Nothing here is measured. Memory is memory.plan's. Time is the work of GPT-2 divided by a rate that others published for the same
model on the same cards, in fp32; FP16, which notebook 03 uses, should need less. Between the two cards of Kaggle there is no direct
link, so what they tell each other passes through main memory.
"""

import json
import math

import torch

from golf_nb_utils.golf.records import split_sizes
from golf_nb_utils.settings import GPT_CONFIGS, DataConfig, GPTConfig, TrainConfig
from golf_nb_utils.training.memory import GIB, named_devices, plan, proposal

RECORD, LONGEST = 508, 610
"""Tokens of the records that notebook 01 makes for GPT-2, in GPT-2's vocabulary: the mean and the most (results/2026-11-23_series.md)."""
PUBLISHED_TOKENS = 7_400
"""Tokens a second of GPT-2 124M at full context in fp32 on Kaggle's two T4s: https://ducto489.github.io/projects/train-gpt-2-with-tpu"""
LINK = 16e9
"""Bytes a second each way of PCIe 3.0 x16, which a T4 has (NVIDIA's data sheet)."""
SIZES = ("124M", "355M", "774M", "1558M")
LEVERS = (
    "strategy",
    "method",
    "activation_checkpointing",
    "batch_size",
    "gradient_accumulation_steps",
)


def flops(config: GPTConfig, length: int, training: TrainConfig) -> float:
    """Return the floating-point operations of a step for each token, by PaLM's count (Chowdhery et al. 2022, appendix B).

    Two of its six parts are forward. LoRA spares the gradients of the weights; recomputed blocks pass forward
    twice.
    """
    sixth = (
        config.n_parameters
        - config.n_ctx * config.n_embd
        + 2 * config.n_layer * config.n_embd * length
    )
    parts = (4 if training.method == "lora" else 6) + (
        2 if training.activation_checkpointing else 0
    )
    return parts * sixth


def minutes(config: GPTConfig, training: TrainConfig, n_cards: int) -> float:
    """Return the minutes of training and of its evaluations, without those of loading and saving."""
    full = GPT_CONFIGS["124M"]
    rate = n_cards / 2 * PUBLISHED_TOKENS * flops(full, full.n_ctx, TrainConfig())
    n_records = split_sizes(DataConfig())["train"]
    n_steps = training.epochs * math.ceil(n_records / (n_cards * training.batch_size))
    work = training.epochs * n_records * RECORD * flops(config, RECORD, training)
    # An evaluation passes eval_batches of both splits forward.
    forward = 2 * flops(config, RECORD, TrainConfig()) / 6
    work += (
        n_steps
        / training.eval_freq
        * 2
        * training.eval_batches
        * n_cards
        * training.batch_size
        * RECORD
        * forward
    )
    # DataParallel sends all weights and gets all gradients; a sharded card gets half of the weights twice and sends half the gradients.
    sent = (
        0 if n_cards == 1 else 4 * config.n_parameters * (1.5 if training.strategy == "fsdp" else 2)
    )
    return (work / rate + n_steps * 2 * sent / LINK) / 60


def row(size: str) -> str:
    """Return a size's row of that table: what memory.proposal proposes for batches of the longest records."""
    cells = []
    for cards in ("2xT4", "1xT4"):
        n_cards, capacity = named_devices(cards)
        default = TrainConfig(model_size=size)
        training, _ = proposal(
            GPT_CONFIGS[size], default, LONGEST, n_cards, torch.float16, capacity
        )
        planned = plan(GPT_CONFIGS[size], training, LONGEST, n_cards, torch.float16).total
        changed = [
            (name, getattr(training, name))
            for name in LEVERS
            if getattr(training, name) != getattr(default, name)
        ]
        named = ", ".join(
            f"`{name}`" if value is True else f"`{name}={json.dumps(value)}`"
            for name, value in changed
        )
        duration = math.ceil(minutes(GPT_CONFIGS[size], training, n_cards))
        cells.append(f"{planned / GIB:.1f} GiB, {duration} min{': ' if named else ''}{named}")
    return f"| {size} | {cells[0]} | {cells[1]} |"


if __name__ == "__main__":
    print(
        f"batch {TrainConfig().batch_size} a card, {TrainConfig().epochs} epochs of {split_sizes(DataConfig())['train']} records\n"
    )
    print("| | two T4s | one T4 |\n| --- | --- | --- |")
    print("\n".join(map(row, SIZES)))
