"""What fine-tuning needs before anything is loaded: memory a device and bytes on the disk, whether it fits, and what would fit.

The plan is arithmetic over the code of `model`, `cross_entropy`, `lora` and `distributed`. A step needs most at one of a few moments,
and each is added up for itself: activations go as gradients come. What is counted is the bytes of the tensors that are alive, as
torch.cuda.max_memory_allocated counts them; the CUDA context and fragmentation come on top.
benchmarks/memory.py sets the plan beside what is measured.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from golf_nb_utils.gpt2.cross_entropy import ALIGNMENT, CHUNK_ROWS, SOFTMAX_ROWS
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import ConfigError, GPTConfig, TrainConfig

GIB = 2**30
T4_BYTES = int(14.5 * GIB)
"""What a plan may take of a T4: torch finds 14.74 GiB on it, of which the CUDA context takes its part."""
FP32 = 4
PARTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "autocast copies",
    "communication",
)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the fullest device at each of the moments of a step at which they can be most, by part (PARTS).

    `logits` are the chunks of the cross-entropy with its copies of the head's weight, and the embedding's gradients until they are
    one; `communication` is what exists for other devices' sake: replicas' gradients, DDP's buckets, FSDP's gathered weights.
    """

    moments: dict[str, dict[str, int]]

    @property
    def fullest(self) -> str:
        """The moment at which the bytes are most."""
        return max(self.moments, key=lambda moment: sum(self.moments[moment].values()))

    @property
    def total(self) -> int:
        """The peak: the bytes at the fullest moment."""
        return sum(self.moments[self.fullest].values())


def plan(
    config: GPTConfig, training: TrainConfig, length: int, n_devices: int, dtype: torch.dtype
) -> MemoryPlan:
    """Return what the fullest of `n_devices` devices holds in a step after the first, with `batch_size` rows of `length` tokens each.

    `dtype` is that of the matrix products (Devices.dtype): float16 means a GPU, bfloat16 a CPU, float32 either. All positions
    count as labelled.

    Raises:
        ConfigError: `length` exceeds n_ctx.
    """
    if not 1 <= length <= config.n_ctx:
        raise ConfigError(
            f"length must be between 1 and n_ctx ({config.n_ctx}), found {length}; set a shorter context_length."
        )
    strategy = (
        {"auto": "dp"}.get(training.strategy, training.strategy) if n_devices > 1 else "plain"
    )
    lora, recomputed, item = (
        training.method == "lora",
        training.activation_checkpointing,
        dtype.itemsize,
    )
    width, layers, tokens = config.n_embd, config.n_layer, training.batch_size * length
    column = tokens * width
    shards = n_devices if strategy == "fsdp" else 1

    block = 12 * width**2 + 13 * width
    root = config.n_parameters - layers * block
    trained_block, trained_root = (16 * training.lora_rank * width, 0) if lora else (block, root)
    trained = FP32 * (layers * trained_block + trained_root) // shards
    weights = item * config.n_parameters + trained if lora else trained
    embedding = 0 if lora else FP32 * config.n_vocab * width
    # zero_grad deletes the gradients, so that only a second micro-batch finds any at its start.
    earlier = trained if training.gradient_accumulation_steps > 1 else 0

    # Autocast leaves embeddings and sums alone: the residual stream is in fp32, or with LoRA in the format of the frozen embedding.
    # On a GPU it computes layer norms in fp32, whose inputs are then kept in that.
    residual = item if lora else FP32
    normed = FP32 if dtype is torch.float16 else residual
    kept = column * _kept_columns(lora, dtype, normed) + _kept_besides(
        config, training, length, dtype
    )
    inputs = layers * column * residual
    activations = inputs if recomputed else layers * kept
    # While one block is recomputed all that it keeps is there, its input already counted.
    one_block = kept - column * residual if recomputed else 0
    at_work = column * _columns_at_work(lora, item, residual)

    copies = item * layers * (trained_block if lora else 12 * width**2) if item < FP32 else 0
    # Until the backward pass, those of all blocks; of blocks that are recomputed, those of the one at work.
    kept_copies, saved = (0, copies // layers) if recomputed else (copies, copies)
    largest = 0 if lora else 4 * width**2
    # The gradient of the largest matrix in the products' format (bfloat16 on a CPU: with its sum in fp32) beside that in fp32.
    matrix = (
        largest
        * {torch.float32: FP32, torch.float16: 2 + FP32, torch.bfloat16: 2 + 2 * FP32}[dtype]
    )

    padded = config.n_vocab + (-config.n_vocab % ALIGNMENT if item < FP32 else 0)
    head_copy = item * padded * width if item < FP32 else 0
    # Names in cross_entropy's loops keep a chunk's logits until the next are their own gradients (without the weight's gradient: until
    # they are made), and a part's probabilities until it has the next part's, made from logits that are cast to fp32.
    one, two = (item * min(tokens, n * CHUNK_ROWS) for n in (1, 2))
    part = FP32 * min(tokens, SOFTMAX_ROWS)
    parts = part * (3 if item < FP32 else 2)
    chunk = padded * (max(two + part, one + parts) if lora else two + parts)
    # Cast and then padded, the head's weight is there in two copies for a moment.
    head = head_copy + max(chunk, 0 if lora else head_copy)
    # The last sum, which ln_f keeps, the rows that pass the head and their gradient.
    ends = column * 2 * normed
    end_gradient = column * normed
    # FP16 makes the gradients in the backward pass, when autocast's copies are gone; the others in the forward pass.
    late = dtype is torch.float16

    # Of all blocks but the first, when the backward pass comes to it; with earlier ones there they are added to those.
    above = FP32 * (layers - 1) * trained_block // shards if strategy == "dp" or not earlier else 0
    gathered_root = gathered_block = sent_block = sent_root = buckets = replicas = 0
    if strategy == "fsdp":
        # The root group is gathered all the time; of the blocks the one at work and the next. Gradients are whole until they are sent,
        # in a flat copy; those of the root group come after the embedding's second one has been added.
        gathered_root, gathered_block = FP32 * root, 2 * FP32 * block
        sent_block, sent_root = 2 * FP32 * block, 2 * FP32 * root - embedding
    elif strategy == "ddp":
        # The flat copies of the gradients in which they are added up.
        buckets = trained
    elif strategy == "dp":
        # A replica's gradients wait for each other; then their sums are made beside them, and only those are added to earlier ones.
        replicas = trained + earlier

    def moment(gradients=0, activations=0, logits=0, copies=0, communication=0) -> dict[str, int]:
        numbers = (
            weights,
            gradients,
            2 * trained,
            activations,
            logits,
            copies,
            communication + buckets + gathered_root,
        )
        return dict(zip(PARTS, numbers, strict=True))

    moments = {
        "end of forward": moment(
            earlier, activations + ends + (0 if late else end_gradient), head + (0 if late else embedding), kept_copies, gathered_block
        ),
        "start of backward": moment(earlier, activations + ends + end_gradient, head + embedding, kept_copies),
        "last block's backward": moment(
            earlier + matrix, activations + one_block + at_work, embedding, saved, gathered_block + sent_block
        ),
        "first block's backward": moment(
            earlier + above + matrix,
            kept + at_work, embedding, copies // layers, gathered_block + sent_block
        ),
        "end of backward": moment(
            trained, column * residual, embedding * (2 if earlier else 1), 0, max(replicas, sent_root)
        ),
        "optimizer": moment(trained),
    }  # fmt: skip
    if not late:
        del moments["start of backward"]
    return MemoryPlan(moments)


def _kept_columns(lora: bool, dtype: torch.dtype, normed: int) -> int:
    """Bytes per token and n_embd that a block keeps for its backward pass."""
    # Inputs of two layer norms; in the products' format their outputs (1 + 1), query, key and value (3), what attention returns (1),
    # the hidden layer before (4) and after gelu (4).
    columns = 2 * normed + 14 * dtype.itemsize
    # LoRA multiplies a copy of what attention returned.
    return columns + (dtype.itemsize if lora and dtype is torch.float16 else 0)


def _kept_besides(config: GPTConfig, training: TrainConfig, length: int, dtype: torch.dtype) -> int:
    """Bytes that a block keeps beside its columns: of attention, layer norms and LoRA."""
    tokens, heads = training.batch_size * length, config.n_head
    norms = 2 * 2 * FP32 * tokens
    ranks = 4 * training.lora_rank * dtype.itemsize * tokens if training.method == "lora" else 0
    if dtype is torch.bfloat16:
        # model.causal_attention keeps its probabilities, 256 queries at a time.
        seen = sum(
            min(256, length - start) * min(start + 256, length) for start in range(0, length, 256)
        )
        return norms + ranks + dtype.itemsize * training.batch_size * heads * seen
    return norms + ranks + FP32 * tokens * heads


def _columns_at_work(lora: bool, item: int, residual: int) -> int:
    """Bytes per token and n_embd of what the MLP, the widest part, computes with in its backward pass beside what is kept."""
    if not lora:
        # The gradients of the residual stream, of the MLP's result in the products' format, and of its hidden layer.
        return residual + (item if item < FP32 else 0) + 4 * item
    # peft casts the hidden layer to fp32 and back, beside the one that gelu returned, the base's result, the addition's two and the sum.
    return FP32 * 4 + 4 * item + (3 * item if item < FP32 else FP32)


def fits(planned: MemoryPlan, capacity: int) -> bool:
    """Say whether the peak is within `capacity` bytes."""
    return planned.total <= capacity


def named_devices(name: str) -> tuple[int, int]:
    """Return (number of devices, usable bytes of each) of a name such as `2xT4`.

    Raises:
        ConfigError: the name is not of that form.
    """
    found = re.fullmatch(r"([1-9]\d*)xT4", name)
    if not found:
        raise ConfigError(
            f"unknown devices {name!r}; expected the number of T4s, as in '1xT4' or '2xT4'."
        )
    return int(found[1]), T4_BYTES


def usable_memory(devices: Devices) -> tuple[int, int]:
    """Return (number of devices, free bytes of the one with the least) of the GPUs at hand, or of main memory without one."""
    if devices.n_gpus:
        return devices.n_gpus, min(
            torch.cuda.mem_get_info(index)[0] for index in devices.device_ids
        )
    import psutil

    return 1, psutil.virtual_memory().available


def proposal(
    config: GPTConfig,
    training: TrainConfig,
    length: int,
    n_devices: int,
    dtype: torch.dtype,
    capacity: int,
) -> tuple[TrainConfig | None, str]:
    """Return the settings nearest to `training` whose plan is within `capacity` bytes a device, and a sentence on them.

    What changes, in this order: activation_checkpointing, then batch_size (with gradient_accumulation_steps, so that a step keeps its
    records), then strategy fsdp, then method lora. None where even that does not fit; the sentence says by how much.
    """
    least = None
    for candidate in _candidates(training, n_devices):
        planned = plan(config, candidate, length, n_devices, dtype)
        if fits(planned, capacity):
            changed = [
                name for name in _LEVERS if getattr(candidate, name) != getattr(training, name)
            ]
            settings = ", ".join(f"{name}={getattr(candidate, name)!r}" for name in changed)
            return candidate, f"fits with {settings}" if changed else "fits as it is"
        least = min(least or planned.total, planned.total)
    return (
        None,
        f"nothing fits: the least is {least / GIB:.1f} GiB of {capacity / GIB:.1f} GiB a device; take a smaller model or context",
    )


_LEVERS = (
    "activation_checkpointing",
    "batch_size",
    "gradient_accumulation_steps",
    "strategy",
    "method",
)


def _candidates(training: TrainConfig, n_devices: int) -> Iterator[TrainConfig]:
    records = training.batch_size * training.gradient_accumulation_steps
    bases = [training]
    if training.method == "full":
        if n_devices > 1 and training.strategy != "fsdp":
            bases.append(replace(training, strategy="fsdp"))
        bases.append(
            replace(
                training,
                method="lora",
                strategy="auto" if training.strategy == "fsdp" else training.strategy,
            )
        )
    for base in bases:
        yield base
        base = replace(base, activation_checkpointing=True)
        for batch_size in range(training.batch_size, 0, -1):
            if records % batch_size == 0:
                yield replace(
                    base, batch_size=batch_size, gradient_accumulation_steps=records // batch_size
                )


def disk_bytes(config: GPTConfig, training: TrainConfig) -> int:
    """Return the bytes that a run writes at most: two states with their best weights, or in the end one, what was trained and the result.

    Without save_every, save_every_minutes and max_minutes it is the last two alone, unless the run is interrupted.
    """
    trained, state = _trained_and_state(config, training)
    return max(2 * state, state + trained + FP32 * config.n_parameters)


def host_bytes(config: GPTConfig, training: TrainConfig, n_devices: int) -> int:
    """Return the bytes of main memory that a run on GPUs needs: to read the base model, then for a state or the result.

    With ddp and fsdp each of `n_devices` processes reads the model, and the one that started them has it, too.
    """
    trained, state = _trained_and_state(config, training)
    n_readers, waiting = (n_devices, 1) if training.strategy in ("ddp", "fsdp") else (1, 0)
    model = FP32 * config.n_parameters
    return waiting * model + max(
        n_readers * model, state, (2 if training.save_best else 1) * trained
    )


def _trained_and_state(config: GPTConfig, training: TrainConfig) -> tuple[int, int]:
    """Bytes of the weights that are trained, and of a state, with the best of them; 0 if none is due."""
    trained = FP32 * _n_trained(config, training)
    due = training.save_every or training.save_every_minutes or training.max_minutes
    return trained, (4 if training.save_best else 3) * trained if due else 0


def _n_trained(config: GPTConfig, training: TrainConfig) -> int:
    return (
        16 * training.lora_rank * config.n_embd * config.n_layer
        if training.method == "lora"
        else config.n_parameters
    )


def describe(planned: MemoryPlan, capacity: int, n_devices: int = 1) -> str:
    """Return the plan as a table in GiB, the moments of a step below each other, and a line that says whether it fits."""
    shown = [part for part in PARTS if any(parts[part] for parts in planned.moments.values())]
    width = max(map(len, planned.moments)) + 2
    lines = [" " * width + "  ".join(shown) + "   total"]
    for name, parts in planned.moments.items():
        cells = "  ".join(f"{parts[part] / GIB:{len(part)}.2f}" for part in shown)
        lines.append(
            f"{name:{width}}{cells}  {sum(parts.values()) / GIB:6.2f}{'  <- most' if name == planned.fullest else ''}"
        )
    verdict = "fits into" if fits(planned, capacity) else "does not fit into"
    where = "the device" if n_devices == 1 else f"each of {n_devices} devices"
    lines.append(
        f"{planned.total / GIB:.2f} GiB {verdict} the {capacity / GIB:.2f} GiB of {where}."
    )
    return "\n".join(lines)


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
