"""The memory plan beside what a step needs, measured: python benchmarks/memory.py [--sizes tiny 124M 355M]

Measured is the second step of the loop's own modules, on the GPU at hand or the CPU: the most bytes of tensors alive at once, as
torch counts them (torch.cuda.max_memory_allocated; on a CPU every allocation that its profiler tells).
"""

import argparse
import gc
import platform
from collections.abc import Callable

import torch
from torch import nn

from golf_nb_utils import host
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.settings import GPT_CONFIGS, GPTConfig, TrainConfig
from golf_nb_utils.training.lora import add_lora
from golf_nb_utils.training.memory import plan
from golf_nb_utils.training.step import make_optimizer, wrap

SETTINGS = {
    "tiny": [(4, 330), (8, 1024)],
    "124M": [(8, 320), (4, 200), (1, 100)],
    "355M": [(2, 200)],
}
LEVERS = [
    {}, {"activation_checkpointing": True}, {"method": "lora"}, {"method": "lora", "activation_checkpointing": True},
    {"gradient_accumulation_steps": 2},
]  # fmt: skip


def measure(config: GPTConfig, training: TrainConfig, length: int, devices: host.Devices) -> int:
    """Return the peak of a step in bytes, weights and moments included; weights are random, as only their bytes count."""
    model = GPTModel(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    if training.method == "lora":
        add_lora(model, training.lora_rank, devices.dtype, seed=1)
    model.recompute_blocks = training.activation_checkpointing
    module = wrap(model.train(), devices)
    optimizer = make_optimizer(model, training)
    scaler = torch.amp.GradScaler(devices.device.type, enabled=devices.needs_loss_scaling)
    tokens = torch.randint(config.n_vocab, (2, training.batch_size, length)).to(devices.device)

    def step():
        for _ in range(training.gradient_accumulation_steps):
            scaler.scale(module(*tokens)[0].sum() / tokens[1].numel()).backward()
        if not scaler.is_enabled():
            nn.utils.get_total_norm(
                [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            )
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    step()
    moments = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value)
    ]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *moments])
    return kept + measured_peak(step, devices.device)


def measured_peak(step: Callable[[], object], device: torch.device) -> int:
    """Run `step` and return the most bytes of tensors that were alive at once beyond those alive before.

    On a CPU torch's profiler tells every allocation: the process' own size would not do, since the C library keeps what is freed.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        step()
    events = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument(
        "--formats", nargs="+", default=["mixed", "float32"], choices=["mixed", "float32"]
    )
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {host.versions(('torch', 'peft'))}\n")
    print(
        "| size | batch x length | format | settings | plan MiB | measured MiB | plan is off by |"
    )
    print("| --- | --- | --- | --- | ---: | ---: | ---: |")
    for size in arguments.sizes:
        for batch_size, length in SETTINGS[size]:
            for mixed in (
                ("mixed" in arguments.formats, False) if "float32" in arguments.formats else (True,)
            ):
                devices = host.detect_devices(mixed)
                for levers in LEVERS:
                    training = TrainConfig(model_size=size, batch_size=batch_size, **levers)
                    planned = plan(GPT_CONFIGS[size], training, length, 1, devices.dtype).total
                    measured = measure(GPT_CONFIGS[size], training, length, devices)
                    gc.collect()
                    settings = (
                        ", ".join(f"{name}={value}" for name, value in levers.items()) or "full"
                    )
                    print(
                        f"| {size} | {batch_size} x {length} | {str(devices.dtype).removeprefix('torch.')} | {settings} "
                        f"| {planned / 2**20:,.0f} | {measured / 2**20:,.0f} | {planned / measured - 1:+.1%} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
