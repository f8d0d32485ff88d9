"""What fine-tuning needs, before anything is loaded: memory of devices and host, disk; what fits.

The plan is arithmetic over the code of gpt2.model, gpt2.cross_entropy, training.step and
training.workers. A step needs most at one of a few moments, and each is added up for itself, since
activations go as gradients come. What is counted is the bytes of the tensors that are alive, as
torch.cuda.max_memory_allocated counts them. Left out are the CUDA context, fragmentation, what
evaluations need, and that rows are of different length. benchmarks/memory.py sets the plan beside
measured peaks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from golf_nb_utils.gpt2.cross_entropy import ALIGNMENT, CHUNK_ROWS, SOFTMAX_ROWS
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import ConfigError, GPTConfig, TrainConfig
from golf_nb_utils.training.step import optimizer_bytes

GIB = 2**30
T4_BYTES = int(14.5 * GIB)
"""What a plan may take of a T4: torch finds 14.74 GiB, of which the CUDA context takes its part."""
FP32 = 4
PARTS = (
    "weights", "gradients", "optimizer", "activations", "logits", "autocast copies",
    "communication",
)  # fmt: skip


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the fullest device at each of the moments of a step at which they can be most, by
    part.

    `logits` are the chunks of the cross-entropy with its copies of the head's weight, and the
    embedding's gradients until they are one; `communication` is what exists for other devices'
    sake: replicas' gradients, DDP's buckets, FSDP's gathered weights.
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
    """Return what the fullest of `n_devices` devices holds in a step after the first.

    The step has `batch_size` rows of `length` tokens, all of them labelled. `dtype` is that of the
    matrix products (Devices.dtype): float16 means a GPU, bfloat16 a CPU, float32 either.

    Raises:
        ConfigError: `length` exceeds n_ctx.
    """
    if not 1 <= length <= config.n_ctx:
        raise ConfigError(
            f"length must be between 1 and n_ctx ({config.n_ctx}), found {length}; "
            "set a shorter context_length."
        )
    s = _Step(config, training, length, n_devices, dtype)
    inputs = s.column * s.residual
    waiting, recomputed, copies, copies_before = s.n_layer * s.kept, 0, s.copies, s.copies
    if training.activation_checkpointing:
        # Each block keeps its input, and while one is recomputed all the rest of it is there, with
        # autocast's copies of its matrices; otherwise those of all blocks wait for their turn.
        waiting, recomputed = s.n_layer * inputs, s.kept - inputs
        copies, copies_before = s.copies // s.n_layer, 0
    # The last sum, which ln_f keeps, the rows that pass the head, and their gradient.
    ends, all_ends, head = 2 * s.column * s.normed, 3 * s.column * s.normed, s.head + s.embedding
    sent = s.gathered + s.sent_block
    # Each: gradients, activations, logits, autocast copies, communication.
    moments = {
        "end of forward": (s.earlier, waiting + all_ends, head, copies_before, s.gathered),
        "start of backward": (s.earlier, waiting + all_ends, head, copies_before, 0),
        "last block's backward": (
            s.earlier + s.matrix, waiting + recomputed + s.at_work, s.embedding, copies, sent
        ),
        "first block's backward": (
            s.earlier + s.above + s.matrix, s.kept + s.at_work, s.embedding,
            s.copies // s.n_layer, sent,
        ),
        "end of backward": (
            s.trained, inputs, s.embedding * (2 if s.earlier else 1), 0, s.sent_at_the_end
        ),
        "optimizer": (s.trained, 0, 0, 0, 0),
    }  # fmt: skip
    if dtype is torch.float16:
        # FP16 makes the gradients of the head in the backward pass, the others in the forward pass.
        moments["end of forward"] = (s.earlier, waiting + ends, s.head, copies_before, s.gathered)
    else:
        del moments["start of backward"]
    return MemoryPlan({name: s.parts(*numbers) for name, numbers in moments.items()})


class _Step:
    """The tensors of a step, in bytes, from which the moments are added up.

    A `column` is what each position has once for each of n_embd: a (rows, length, n_embd) tensor.
    """

    def __init__(self, config, training, length, n_devices, dtype):
        self.config, self.training, self.length, self.dtype = config, training, length, dtype
        self.item, self.lora = dtype.itemsize, training.method == "lora"
        strategy = {"auto": "dp"}.get(training.strategy, training.strategy)
        self.strategy = strategy if n_devices > 1 else "plain"
        self.n_layer, self.width = config.n_layer, config.n_embd
        self.column = training.batch_size * length * self.width
        self._weights(n_devices if self.strategy == "fsdp" else 1)
        self._activations()
        self._head()
        self._communication()

    def parts(self, gradients: int, activations: int, logits: int, copies: int, more: int) -> dict:
        """Return PARTS at a moment; `more` is communication beside what is there all the time."""
        moments = optimizer_bytes(self.training) * self.trained // FP32
        numbers = (gradients, moments, activations, logits, copies, more + self.always)
        return dict(zip(PARTS, (self.weights, *numbers), strict=True))

    def _weights(self, n_shards: int) -> None:
        # Four matrices of 12 n_embd^2 weights in each block, and its vectors; the rest is the root.
        self.block = 12 * self.width**2 + 13 * self.width
        self.root = self.config.n_parameters - self.n_layer * self.block
        trained_block = 16 * self.training.lora_rank * self.width if self.lora else self.block
        n_trained = _n_trained(self.config, self.training)
        self.trained = FP32 * n_trained // n_shards
        self.weights = self.trained + self.lora * self.item * self.config.n_parameters
        # zero_grad deletes the gradients: only a second micro-batch finds any, and adds to them.
        accumulates = self.training.gradient_accumulation_steps > 1
        self.earlier = self.trained if accumulates else 0
        # Of all blocks but the first, when the backward pass comes to it.
        above = FP32 * (self.n_layer - 1) * trained_block // n_shards
        self.above = above if self.strategy == "dp" or not accumulates else 0
        # The largest matrix' gradient as products make it (on a CPU with its sum), then in fp32.
        largest = 0 if self.lora else 4 * self.width**2
        made = {torch.float32: 0, torch.float16: 2, torch.bfloat16: 2 + FP32}
        self.matrix = largest * (FP32 + made[self.dtype])
        # Autocast's copies of all matrices of the blocks.
        copied = trained_block if self.lora else 12 * self.width**2
        self.copies = self.item * self.n_layer * copied if self.item < FP32 else 0

    def _activations(self) -> None:
        # Autocast leaves embeddings and sums alone: the residual stream is in fp32, or with LoRA in
        # the format of the frozen embedding. On a GPU it computes layer norms in fp32.
        item, fp16 = self.item, self.dtype is torch.float16
        self.residual = item if self.lora else FP32
        self.normed = FP32 if fp16 else self.residual
        # What a block keeps for its backward pass: the inputs of two layer norms; in the products'
        # format their outputs (1 + 1), query, key and value (3), what attention returns (1, and
        # with LoRA a copy that is multiplied), the hidden layer before (4) and after gelu (4).
        columns = 2 * self.normed + (14 + (self.lora and fp16)) * item
        self.kept = self.column * columns + self._kept_besides()
        # What the MLP, the widest part, computes with beside it: the gradients of the residual
        # stream, of the MLP's result in the products' format, and of its hidden layer. peft casts
        # that to fp32 and back, beside the base's result, the addition's two and the sum.
        if self.lora:
            at_work = FP32 * 4 + 4 * item + (3 * item if item < FP32 else FP32)
        else:
            at_work = self.residual + (item if item < FP32 else 0) + 4 * item
        self.at_work = self.column * at_work

    def _kept_besides(self) -> int:
        """Bytes that a block keeps beside its columns: of layer norms, LoRA and attention."""
        batch, length, heads = self.training.batch_size, self.length, self.config.n_head
        kept = batch * length * 2 * 2 * FP32
        if self.lora:
            kept += batch * length * 4 * self.training.lora_rank * self.item
        if self.dtype is not torch.bfloat16:
            return kept + batch * length * heads * FP32
        # model.causal_attention keeps its probabilities, 256 queries at a time.
        starts = range(0, length, 256)
        seen = sum(min(256, length - start) * min(start + 256, length) for start in starts)
        return kept + batch * heads * seen * self.item

    def _head(self) -> None:
        # gpt2.cross_entropy takes the head by chunks of rows. Names in its loops keep a chunk's
        # logits until the next are their own gradients (without the weight's gradient: until they
        # are made), and a part's probabilities until it has the next part's, from logits in fp32.
        n_vocab, item, n_rows = self.config.n_vocab, self.item, self.column // self.width
        mixed = item < FP32
        self.embedding = 0 if self.lora else FP32 * n_vocab * self.width
        padded = n_vocab + (-n_vocab % ALIGNMENT if mixed else 0)
        copy = item * padded * self.width if mixed else 0
        one, two = (item * min(n_rows, n * CHUNK_ROWS) for n in (1, 2))
        part = FP32 * min(n_rows, SOFTMAX_ROWS)
        parts = part * (3 if mixed else 2)
        chunk = padded * (max(two + part, one + parts) if self.lora else two + parts)
        # Cast and then padded, the head's weight is there in two copies for a moment.
        self.head = copy + max(chunk, 0 if self.lora else copy)

    def _communication(self) -> None:
        self.always = self.gathered = self.sent_block = self.sent_at_the_end = 0
        if self.strategy == "dp":
            # A replica's gradients wait for each other; their sums are made beside them, and only
            # those are added to earlier ones.
            self.sent_at_the_end = self.trained + self.earlier
        elif self.strategy == "ddp":
            # The flat copies of the gradients in which they are added up.
            self.always = self.trained
        elif self.strategy == "fsdp":
            # The root is gathered all the time; of the blocks the one at work and the next.
            # Gradients are whole until they are sent, in a flat copy; the root's come after the
            # embedding's second gradient has been added.
            self.always, self.gathered = FP32 * self.root, 2 * FP32 * self.block
            self.sent_block = 2 * FP32 * self.block
            self.sent_at_the_end = 2 * FP32 * self.root - self.embedding


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
    """Return (number of devices, free bytes of the fullest): of the GPUs, or of main memory."""
    if devices.n_gpus:
        free = (torch.cuda.mem_get_info(index)[0] for index in devices.device_ids)
        return devices.n_gpus, min(free)
    import psutil

    return 1, psutil.virtual_memory().available


LEVERS = (
    "activation_checkpointing", "batch_size", "gradient_accumulation_steps", "strategy", "method",
)  # fmt: skip


def proposal(
    config: GPTConfig, training: TrainConfig, length: int,
    n_devices: int, dtype: torch.dtype, capacity: int,
) -> tuple[TrainConfig | None, str]:  # fmt: skip
    """Return the settings nearest to `training` that fit into `capacity` bytes a device, and a
    sentence.

    What changes, in this order: activation_checkpointing, then batch_size (with
    gradient_accumulation_steps, so that a step keeps its records), then strategy fsdp, then method
    lora. None where even that does not fit; the sentence says by how much.
    """
    least = None
    for candidate in _candidates(training, n_devices):
        planned = plan(config, candidate, length, n_devices, dtype)
        if fits(planned, capacity):
            changed = [
                f"{name}={getattr(candidate, name)!r}"
                for name in LEVERS
                if getattr(candidate, name) != getattr(training, name)
            ]
            return candidate, f"fits with {', '.join(changed)}" if changed else "fits as it is"
        least = min(least or planned.total, planned.total)
    return (
        None,
        f"nothing fits: the least is {least / GIB:.1f} GiB of {capacity / GIB:.1f} GiB a device; "
        "take a smaller model or context",
    )


def _candidates(training: TrainConfig, n_devices: int) -> Iterator[TrainConfig]:
    records = training.batch_size * training.gradient_accumulation_steps
    bases = [training]
    if training.method == "full":
        if n_devices > 1 and training.strategy != "fsdp":
            bases.append(replace(training, strategy="fsdp"))
        unsharded = "auto" if training.strategy == "fsdp" else training.strategy
        bases.append(replace(training, method="lora", strategy=unsharded))
    for base in bases:
        yield base
        for rows in range(training.batch_size, 0, -1):
            if records % rows == 0:
                yield replace(
                    base, activation_checkpointing=True,
                    batch_size=rows, gradient_accumulation_steps=records // rows,
                )  # fmt: skip


def disk_bytes(config: GPTConfig, training: TrainConfig) -> int:
    """Return the most bytes a run writes: two states, or in the end one and the result.

    A state has the best weights, too; in the last one they are all. Without save_every,
    save_every_minutes and max_minutes it is the last two alone, unless the run is interrupted.
    """
    trained, state = _trained_and_state(config, training)
    return max(2 * state, state + trained + FP32 * config.n_parameters)


def host_bytes(config: GPTConfig, training: TrainConfig, n_devices: int) -> int:
    """Return the bytes of main memory that a run on GPUs needs: for the base model, then a state.

    With ddp and fsdp each process reads the model, and the one that started them has it, too.
    """
    trained, state = _trained_and_state(config, training)
    n_readers, waiting = (n_devices, 1) if training.strategy in ("ddp", "fsdp") else (1, 0)
    model = FP32 * config.n_parameters
    result = (2 if training.save_best else 1) * trained
    return waiting * model + max(n_readers * model, state, result)


def _trained_and_state(config: GPTConfig, training: TrainConfig) -> tuple[int, int]:
    """Bytes of the weights that are trained, and of a state; 0 if none is due."""
    n_trained = _n_trained(config, training)
    weights = FP32 * n_trained * (2 if training.save_best else 1)
    due = training.save_every or training.save_every_minutes or training.max_minutes
    state = weights + optimizer_bytes(training) * n_trained if due else 0
    return FP32 * n_trained, state


def _n_trained(config: GPTConfig, training: TrainConfig) -> int:
    # LoRA: rank times (inputs + outputs) of the matrices, 1 + 3, 1 + 1, 1 + 4 and 4 + 1 n_embd.
    added = 16 * training.lora_rank * config.n_embd * config.n_layer
    return added if training.method == "lora" else config.n_parameters


def describe(planned: MemoryPlan, capacity: int, n_devices: int = 1) -> str:
    """Return in a sentence how much is needed most, when and for what, and whether it fits."""
    parts = planned.moments[planned.fullest]
    largest = max(parts, key=parts.get)
    verdict = "fits into" if fits(planned, capacity) else "does not fit into"
    where = "the device" if n_devices == 1 else f"each of {n_devices} devices"
    return (
        f"{planned.total / GIB:.2f} GiB in the moment '{planned.fullest}', "
        f"{parts[largest] / GIB:.2f} of them {largest}: {verdict} the {capacity / GIB:.2f} GiB of "
        f"{where}"
    )
