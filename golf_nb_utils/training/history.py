"""What a training run measures, and how a person sees it: a bar, the log, a summary."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from golf_nb_utils.files import write_text
from golf_nb_utils.host import is_headless
from golf_nb_utils.settings import TrainConfig


@dataclass
class History:
    """What a run measured, an entry an evaluation, the first before training; `tokens` are
    labelled, `seconds` of training."""

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_planned: int = 0
    n_per_epoch: int = 0
    n_steps: int = 0
    n_tokens: int = 0
    n_skipped: int = 0
    """Steps whose loss or gradients were not finite, and which therefore changed no weight."""
    n_skipped_in_row: int = 0
    phases: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("training", "evaluation", "samples", "saving"), 0.0)
    )
    """Seconds by phase."""
    peak_bytes: int = 0
    """The most memory so far: of the fullest GPU, or of the process."""
    best_step: int = 0
    best_val_loss: float = math.inf
    samples: list[tuple[int, list[str]]] = field(default_factory=list)
    """(step, answers to the same prompts): before training, after each epoch, and in between."""
    events: list[tuple[int, str]] = field(default_factory=list)
    """(step, sentence) of what did not go as planned: resumed, memory ran out, a damaged state."""
    stopped: str = ""
    """Why training ended before its last step: `early_stopping` or `max_minutes`."""
    base_sha256: str = ""
    """The hash of the base weights that the run started from, see checkpoints.weights_hash."""
    trained_sha256: str = ""
    """That of the weights with which it ended."""

    @property
    def seconds_left(self) -> float:
        """Seconds that the steps still to be taken will need, at the mean speed so far."""
        a_step = self.phases["training"] / max(1, self.n_steps)
        return a_step * (self.n_planned - self.n_steps)

    @property
    def tokens_per_second(self) -> float:
        """Labelled tokens a second of training."""
        return self.n_tokens / self.phases["training"] if self.phases["training"] else 0.0

    def note(self, sentence: str) -> None:
        """Add what did not go as planned to the events, at the step that was last taken."""
        self.events.append((self.n_steps, sentence))

    def note_out_of_memory(self, micro_batch: int) -> None:
        """Note that devices take so many rows at once from here on."""
        self.note(
            f"memory ran out: micro-batches of {micro_batch} on each device from here on, "
            "the same records a step"
        )

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of a `with` block to a phase."""
        started = time.perf_counter()
        yield
        self.phases[phase] += time.perf_counter() - started

    def rows(self) -> list[dict]:
        """Return the evaluations, each {name: value}."""
        names = ("steps", "tokens", "train_loss", "val_loss", "learning_rate", "seconds")
        columns = [getattr(self, name) for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def progress_bar(history: History) -> tqdm:
    """Return the bar of a run; headless there is none, and each evaluation is a line instead."""
    return tqdm(
        total=history.n_planned,
        initial=history.n_steps,
        desc="training",
        unit="step",
        disable=is_headless(),
    )


def show_step(bar: tqdm, history: History, loss: float) -> None:
    """Show a step on the bar: loss, tokens a second and the most memory so far."""
    bar.total = history.n_planned
    memory = f"{history.peak_bytes / 2**30:.1f} GiB"
    bar.set_postfix(
        loss=f"{loss:.3f}",
        tokens=f"{history.tokens_per_second:,.0f}/s",
        memory=memory,
        refresh=False,
    )
    bar.update(history.n_steps - bar.n)


def write_log(path: Path, config: TrainConfig, history: History, board=None) -> None:
    """Write settings and all evaluations to the log, and the newest to TensorBoard."""
    # JSON has no number for what is not finite.
    rows = [
        {name: value if math.isfinite(value) else None for name, value in row.items()}
        for row in history.rows()
    ]
    write_text(path, "".join(json.dumps(line) + "\n" for line in (asdict(config), *rows)))
    if board:
        for name in ("train_loss", "val_loss", "learning_rate"):
            board.add_scalar(name, getattr(history, name)[-1], history.n_steps)
        board.flush()


def open_tensorboard(folder: Path, history: History):
    """Return a writer of TensorBoard's files, which forgets what came after the step resumed from.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "tensorboard=True needs the package tensorboard: pip install tensorboard, "
            "or leave it False."
        ) from error
    # Nothing of an earlier run stays when one begins anew, with a point before its first step.
    return SummaryWriter(str(folder), purge_step=history.n_steps + 1 if history.n_steps else 0)


def summary(history: History, padding_share: float) -> str:
    """Return the lines that sum a run up: steps, time, speed, memory, best step, events."""
    lines = [
        f"steps              {history.n_steps:,} of {history.n_planned:,}"
        + (f", ended by {history.stopped}" if history.stopped else ""),
        f"labelled tokens    {history.n_tokens:,}, {history.tokens_per_second:,.0f} a second",
        f"padding            {padding_share:.1%} of all positions",
        "time               "
        + ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in history.phases.items()),
        f"peak memory        {history.peak_bytes / 2**30:.1f} GiB",
        f"steps left out     {history.n_skipped} (loss or gradient not finite)",
    ]
    if history.best_step:
        lines.append(
            f"lowest val. loss   {history.best_val_loss:.4f} after step {history.best_step:,}"
        )
    return "\n".join(lines + [f"step {step:<13,} {sentence}" for step, sentence in history.events])
