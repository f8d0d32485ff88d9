"""The figures of the notebooks; each function returns a matplotlib Figure and draws nothing itself.

None of them goes through pyplot, whose global state would belong to the notebook.
"""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from golf_nb_utils.evaluation.metrics import METRICS
from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.sentences import Reading
from golf_nb_utils.golf.wording import SEVERITY_EDGES
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import is_headless
from golf_nb_utils.show.samples import counted, lines_of
from golf_nb_utils.training.batches import IGNORED
from golf_nb_utils.training.history import History
from golf_nb_utils.training.memory import GIB, PARTS, MemoryPlan, fits

GREEN, GOLD, GREY, RUST = "#2f6f4e", "#d9a441", "#8a949b", "#b4532a"
SEVERITY_COLOURS = {"none": "#c9d8cf", "slight": "#9cc3ab", "clear": GOLD, "large": RUST}
# One for each system, in the order in which a figure is given them.
SYSTEM_COLOURS = (GREEN, GREY, GOLD, RUST, "#4f6d9a", "#8a5a8f")

if get_ipython() is not None:
    # Figures made without pyplot have no picture in a notebook until IPython knows their format.
    select_figure_formats(get_ipython(), {"png"}, bbox_inches="tight")


def _figure(width: float, height: float, n_axes: int = 1, **options) -> tuple[Figure, list[Axes]]:
    """An empty figure of some inches, and its axes from left to right, open to the upper right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n_axes, squeeze=False, **options)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend_beside(axis: Axes, title: str | None = None) -> None:
    axis.legend(title=title, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


# Notebook 01: the data.


def plot_records(records: list[Record]) -> Figure:
    """Return stacked bars of the records by area and severity, and scores against targets.

    Of each severity at most 400 records are in the cloud, since more would hide each other.
    """
    figure, (bars, cloud) = _figure(11, 3.8, 2)
    facts = [record.meta for record in records]
    counts = Counter((meta["area"], meta["severity"]) for meta in facts)
    labels = [area.label for area in AREAS.values()]
    bottom = [0] * len(AREAS)
    for severity in SEVERITY_EDGES:
        colour = SEVERITY_COLOURS[severity]
        heights = [counts[area, severity] for area in AREAS]
        bars.barh(labels, heights, left=bottom, color=colour, label=severity)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
        shown = [meta for meta in facts if meta["severity"] == severity][:400]
        current = [meta["current_score"] for meta in shown]
        cloud.scatter(current, [meta["target_score"] for meta in shown], s=12, color=colour)
    bars.invert_yaxis()
    bars.set(xlabel="records", title="Every area is covered alike")
    _legend_beside(bars, "gap to target")
    title = "Scores and targets spread over the whole range"
    cloud.set(xlabel="current score", ylabel="target score", title=title)
    return figure


def plot_coverage(pairs: dict[tuple[str, str, str, str], int]) -> Figure:
    """Return a heat map of areas against clubs and levels.

    `pairs` is what golf.coverage.coverage counts, by (area, severity, level, club family); a cell
    shows the severity that is covered least.
    """
    figure, (axis,) = _figure(10, 3.6)
    cases = [(club, level) for club in CLUB_FAMILIES for level in LEVELS]
    cells = [
        [min(pairs[area, gap, level, club] for gap in SEVERITIES) for club, level in cases]
        for area in AREAS
    ]
    axis.imshow(cells, cmap="YlGn", vmin=0, aspect="auto")
    darkest = max(map(max, cells))
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            colour = "white" if value > 0.7 * darkest else "black"
            axis.text(column, row, str(value), ha="center", va="center", color=colour)
    axis.set_yticks(range(len(AREAS)), [area.label for area in AREAS.values()])
    axis.set_xticks(range(len(cases)), [level for _, level in cases], rotation=35, ha="right")
    _name_clubs_above(axis)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.set_title("Pairs of a chain and a drill to choose from", pad=12)
    return figure


def _name_clubs_above(axis: Axes) -> None:
    """Each club family over the middle of its levels, with a gap to the next one."""
    n_levels, n_clubs = len(LEVELS), len(CLUB_FAMILIES)
    upper = axis.secondary_xaxis("top")
    middles = [n_levels * (place + 0.5) - 0.5 for place in range(n_clubs)]
    upper.set_xticks(middles, CLUB_FAMILIES)
    upper.tick_params(length=0)
    upper.spines["top"].set_visible(False)
    for place in range(1, n_clubs):
        axis.axvline(n_levels * place - 0.5, color="white", linewidth=3)


def plot_nearest(nearest: dict[str, Sequence[float]], bar: float) -> Figure:
    """Return histograms of how near the training set comes to each held-out answer.

    `nearest` is {split: similarities to the nearest training answer, 0 to 1}; from `bar` on an
    answer counts as a near duplicate.
    """
    figure, (axis,) = _figure(8, 3.2)
    if nearest:  # a set of one or two records has nothing held out
        edges = [place / 50 for place in range(51)]
        colours = [GREEN, GOLD, GREY][: len(nearest)]
        axis.hist(list(nearest.values()), bins=edges, label=list(nearest), color=colours)
    axis.axvline(bar, color=RUST, linestyle="--", label="near duplicate")
    measure = "similarity to the nearest training answer (character-3-gram Jaccard)"
    axis.set(xlabel=measure, ylabel="answers", xlim=(0, 1))
    _legend_beside(axis)
    return figure


def plot_token_lengths(lengths: dict[str, list[int]], context_length: int) -> Figure:
    """Return a histogram of tokens per record, {split: lengths}, with the longest one marked."""
    figure, (axis,) = _figure(8, 3.2)
    longest = max(map(max, lengths.values()))
    colours = [GREEN, GOLD, GREY, RUST][: len(lengths)]
    axis.hist(list(lengths.values()), bins=30, stacked=True, label=list(lengths), color=colours)
    axis.axvline(longest, color="#333333", linestyle=":", label="longest")
    title = f"The longest record has {longest:,} of {context_length:,} tokens"
    axis.set(xlabel="tokens per record, end-of-text included", ylabel="records", title=title)
    _legend_beside(axis)
    return figure


def plot_understood(curve: dict[float, dict[str, tuple]], asserted_from: float) -> Figure:
    """Return what becomes of golfers' words as the probability grows from which a fault is named.

    `curve` is {probability: words.shares}, `asserted_from` the one that the coach uses.
    """
    figure, (axis,) = _figure(8, 3.2)
    for name, colour in (("found", GREEN), ("wrong", RUST), ("false_alarm", GOLD)):
        value, low, high = zip(*(at[name][:3] for at in curve.values()), strict=True)
        axis.plot(list(curve), value, color=colour, label=name.replace("_", " "))
        axis.fill_between(list(curve), low, high, color=colour, alpha=0.15, linewidth=0)
    axis.axvline(asserted_from, color="#333333", linestyle=":", label="the coach")
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(xlabel="a fault is named from this probability on", ylim=(0, 1))
    _legend_beside(axis)
    return figure


# Notebook 02: the model.


def plot_parameters(counts: dict[str, int]) -> Figure:
    """Return one bar for each part of the model, {part: number of parameters}."""
    figure, (axis,) = _figure(8, 2.6)
    bars = axis.barh(list(counts), list(counts.values()), color=GREEN)
    axis.bar_label(bars, [f"{count:,}" for count in counts.values()], padding=4)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set(xlabel="parameters", title=f"Where the {sum(counts.values()):,} parameters are")
    return figure


def plot_weight_scales(model: GPTModel) -> Figure:
    """Return the root mean square of each kind of matrix, layer by layer."""
    figure, (axis,) = _figure(8, 3.0)
    # Thick below thin: kinds of the same size, as freshly drawn ones are, stay visible.
    kinds = {
        "attn.c_attn": (GREEN, 5),
        "attn.c_proj": (GOLD, 5),
        "mlp.c_fc": (GREY, 2),
        "mlp.c_proj": (RUST, 2),
    }
    for kind, (colour, width) in kinds.items():
        weights = [block.get_parameter(f"{kind}.weight").detach() for block in model.h]
        scales = [float(weight.square().mean().sqrt()) for weight in weights]
        dots = {"marker": "o", "markersize": 2 * width}
        axis.plot(range(len(scales)), scales, linewidth=width, color=colour, label=kind, **dots)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set(xlabel="layer", ylabel="root mean square of the weights", ylim=(0, None))
    axis.set_title("How large the weights are")
    _legend_beside(axis)
    return figure


# Notebook 03: training.


def _for_a_phone(height: float) -> Figure:
    """An empty figure that is 390 pixels wide on a phone with its letters as large as drawn."""
    return Figure(figsize=(5, height), dpi=130, layout="constrained")


def plot_batch(rows: list[tuple[list[int], int]], targets: torch.Tensor) -> Figure:
    """Return a bar for each row of a batch: which positions the loss is taken over, and which not.

    `rows` are (token ids, number of prompt tokens) as batches.collate got them, `targets` what it
    returned, of shape (rows, length).
    """
    figure = _for_a_phone(0.5 * len(rows) + 1.5)
    axis = figure.subplots()
    length, is_learnt = targets.shape[1], targets != IGNORED
    looks = {
        "prompt": {"color": "#a9c9b7" if bool(is_learnt[0, 0]) else "#d5dadd"},
        "answer": {"color": GREEN},
        "padding": {"color": "white", "hatch": "////", "edgecolor": GREY},
    }
    for place, (ids, n_prompt) in enumerate(rows):
        # A position's target is the token after it, so the answer begins one position early.
        ends = (n_prompt - 1, len(ids) - 1, length)
        for (name, look), left, right in zip(looks.items(), (0, *ends), ends, strict=False):
            axis.barh(place, right - left, left=left, label=name if not place else None, **look)
            if right - left > length / 9:
                colour = "white" if name == "answer" else "black"
                middle = {"ha": "center", "va": "center", "fontsize": 9, "color": colour}
                axis.text((left + right) / 2, place, f"{right - left}", **middle)
    axis.set_yticks(range(len(rows)), [f"record {number + 1}" for number in range(len(rows))])
    axis.set(xlabel="position in the row (tokens)", xlim=(0, length))
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    n_learnt, n_all = int(is_learnt.sum()), is_learnt.numel()
    title = f"The loss looks at {n_learnt:,} of {n_all:,} positions"
    axis.set_title(title, loc="left", weight="bold", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.set_label(f"{title}: a bar a record, cut into prompt, answer and padding.")
    return figure


def plot_gradients(gradients: np.ndarray, scale: float) -> Figure:
    """Return how large gradients are, plain and times `scale`, against what FP16 can hold.

    `gradients` is an array of any shape. Below half of FP16's smallest number, 2**-24, a value
    becomes 0; above 65,504 it becomes infinite.
    """
    sizes = np.abs(gradients[gradients != 0])
    figure = _for_a_phone(4.4)
    panels = figure.subplots(2, sharex=True, sharey=True)
    smallest, largest, lost = 2.0**-25, 65504.0, []
    edges = np.logspace(-16, 6, 89)
    weights = np.full(sizes.shape, 1 / max(1, sizes.size))
    for axis, factor, colour in zip(panels, (1.0, scale), (GREY, GREEN), strict=True):
        lost.append(float((sizes * factor < smallest).mean()) if sizes.size else 0.0)
        axis.hist(sizes * factor, bins=edges, weights=weights, color=colour)
        for left, right in ((edges[0], smallest), (largest, edges[-1])):
            axis.axvspan(left, right, facecolor="#f3e3dc", edgecolor=RUST, hatch="//", alpha=0.4)
        name = "as they are" if factor == 1 else f"times {factor:,.0f}"
        inside = {"transform": axis.transAxes, "va": "top", "fontsize": 10}
        box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axis.text(0.02, 0.94, f"{name}:\n{lost[-1]:.0%} become 0", bbox=box, **inside)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set(xscale="log", xlim=(edges[0], edges[-1]))
    panels[1].set_xlabel("size of a gradient (log scale); hatched: outside FP16")
    figure.supylabel("share of the gradients", fontsize=10)
    title = f"FP16 drops {lost[0]:.0%} of these gradients, scaled {lost[1]:.0%}"
    figure.suptitle(title, x=0.02, ha="left", weight="bold", fontsize=11)
    figure.set_label(
        f"{title}. Two histograms of the gradients' sizes, as they are and times {scale:,.0f}, "
        "with what FP16 cannot hold hatched."
    )
    return figure


_PART_LOOKS = {
    "weights": (GREEN, ""), "gradients": ("#7fae93", "//"), "optimizer": ("#d8e6dd", ".."),
    "activations": (GOLD, ""), "logits": ("#efd9ad", "\\\\"), "the rest": (GREY, "xx"),
}  # fmt: skip


def plot_memory(plans: dict[tuple[str, str], MemoryPlan], capacity: int) -> Figure:
    """Return a stacked bar for each plan, {(model, what was changed): plan}, in GiB.

    A bar is the fullest moment of a step; a line marks `capacity`, the bytes of a device. The title
    names the models that fit with nothing changed.
    """
    figure = _for_a_phone(0.52 * len(plans) + 1.9)
    axis = figure.subplots()
    rows = ["\n".join(filter(None, names)) for names in plans]
    left = [0.0] * len(rows)
    for part, (colour, hatch) in _PART_LOOKS.items():
        names = PARTS[5:] if part == "the rest" else (part,)
        peaks = (planned.moments[planned.fullest] for planned in plans.values())
        widths = [sum(moment[name] for name in names) / GIB for moment in peaks]
        look = {"color": colour, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.5}
        axis.barh(rows, widths, left=left, label=part, height=0.68, **look)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    room = 0.01 * max(*left, capacity / GIB)
    for row, (total, planned) in enumerate(zip(left, plans.values(), strict=True)):
        mark = "fits" if fits(planned, capacity) else "too much"
        axis.text(total + room, row, f"{total:.1f}, {mark}", va="center", fontsize=9, bbox=box)
    axis.axvline(capacity / GIB, color=RUST, linestyle="--", linewidth=1.5)
    axis.set(xlim=(0, 1.32 * max(*left, capacity / GIB)), xlabel="GiB on one device")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0, labelsize=9)
    fitting = [
        name for (name, change), plan in plans.items() if not change and fits(plan, capacity)
    ]
    title = f"{' and '.join(fitting) or 'None'} fit into {capacity / GIB:.1f} GiB as they are"
    figure.suptitle(title, x=0.02, ha="left", weight="bold", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    totals = ", ".join(f"{name}: {total:.1f}" for name, total in zip(rows, left, strict=True))
    totals = totals.replace("\n", ", ")
    figure.set_label(f"{title}. Stacked bars of the memory of a training step in GiB: {totals}.")
    return figure


def plot_losses(history: History) -> Figure:
    """Return train and validation loss over the steps, on a log scale, with the best step marked.

    The title says between which values the validation loss fell.
    """
    figure = _for_a_phone(3.6)
    axis = figure.subplots()
    axis.plot(history.steps, history.train_loss, "o-", color=GREEN, markersize=4, label="train")
    look = {"color": RUST, "markersize": 4, "label": "validation"}
    axis.plot(history.steps, history.val_loss, "s--", **look)
    if history.best_step:
        best = (history.best_step, history.best_val_loss)
        label = f"lowest, {history.best_val_loss:.2f}"
        axis.plot(*best, "o", color="black", fillstyle="none", markersize=11, label=label)
    axis.set(xlabel="optimizer steps", ylabel="loss: nats per token (log scale)", yscale="log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", color="#e3eae6")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    if history.n_per_epoch:
        _mark_epochs(axis, history.n_per_epoch, history.n_steps)
    known = [loss for loss in history.val_loss if math.isfinite(loss)]
    if known:
        title = f"Validation loss: {known[0]:.2f} before, {min(known):.2f} at best"
        figure.suptitle(title, x=0.02, ha="left", weight="bold", fontsize=11)
        figure.set_label(f"{title}. Two lines over {history.steps[-1]:,} steps, train and val.")
    return figure


def _mark_epochs(axis: Axes, n_per_epoch: int, n_steps: int) -> None:
    """A line at the last step of each whole epoch, and its number at the line's upper end."""
    place = {"xycoords": axis.get_xaxis_transform(), "ha": "right", "va": "top"}
    for epoch in range(1, n_steps // n_per_epoch + 1):
        end = epoch * n_per_epoch
        axis.axvline(end, color=GREY, linewidth=0.8, zorder=0)
        axis.annotate(f"epoch {epoch} ", (end, 0.98), fontsize=9, color="#4a555c", **place)


def plot_samples(samples: dict[int, Reading], losses: dict[int, float], most: int = 6) -> Figure:
    """Return what a model wrote at several steps, {step: reading}: its first lines, marked.

    A sentence of the knowledge base is green with a tick, any other one red with a cross, a heading
    grey. `losses` are validation losses, {step: loss}, shown where known; of each answer at most
    `most` lines are shown.
    """
    shown = {step: list(lines_of(reading))[:most] for step, reading in samples.items()}
    n_lines = sum(map(len, shown.values()))
    figure = _for_a_phone(0.22 * n_lines + 0.36 * len(samples) + 0.75)
    axis, height, heads = figure.subplots(), 0.0, []
    looks = {True: ("\u2713", GREEN), False: ("\u2717", RUST), None: ("", "#4a555c")}
    place = {"va": "center", "fontsize": 9.5}
    for step, lines in shown.items():
        loss = f", loss {losses[step]:.2f}" if step in losses else ""
        heads.append(f"Step {step:,}{loss}: {counted(samples[step])}")
        axis.text(0, height, heads[-1], weight="bold", fontsize=10, va="center")
        for row, (text, is_known) in enumerate(lines, 1):
            mark, colour = looks[is_known]
            cut = textwrap.shorten(text, 50, placeholder=" ...") if " " in text else text[:34]
            axis.text(0.01, height + row, mark, color=colour, weight="bold", **place)
            axis.text(0.06, height + row, cut, color=colour, **place)
        height += len(lines) + 1.6
    note = "\u2713 word for word in the knowledge base   \u2717 not"
    axis.text(0, height, note, color="#4a555c", **place)
    axis.set(xlim=(0, 1), ylim=(height + 0.5, -0.7))
    axis.axis("off")
    title = f"One swing, answered {len(samples)} times while learning"
    figure.suptitle(title, x=0.02, ha="left", weight="bold", fontsize=11)
    figure.set_label(f"{title}. {'; '.join(heads)}.")
    return figure


def plot_log(path: Path) -> Figure | None:
    """Return the losses of a training log, drawn by plot_losses; None if it has none yet.

    Raises:
        MissingArtifactError: there is no such file.
        ArtifactMismatchError: a line is none of a training log; the message names it.
    """
    if not path.is_file():
        raise MissingArtifactError(f"{path} does not exist: run notebook 03 first.")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            # The first line holds the settings.
            rows += [_measured(json.loads(line))] if line and number > 1 else []
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise ArtifactMismatchError(
                f"{path}:{number}: not a line of a training log; run notebook 03 again."
            ) from error
    if not rows:
        return None
    steps, tokens, train_loss, val_loss = map(list, zip(*rows, strict=True))
    history = History(steps=steps, tokens=tokens, train_loss=train_loss, val_loss=val_loss)
    losses = zip(history.val_loss, history.steps, strict=True)
    finite = [(loss, step) for loss, step in losses if step and math.isfinite(loss)]
    if finite:
        history.best_val_loss, history.best_step = min(finite)
    return plot_losses(history)


def _measured(row: dict) -> tuple[int, int, float, float]:
    """Steps, tokens and both losses of a line. Raises one of several errors where it has none."""
    counts = row["steps"], row["tokens"]
    if not all(type(count) is int and 0 <= count < 10**15 for count in counts):
        raise ValueError("steps and tokens are whole numbers")
    # JSON has no number for what is not finite: it is null there.
    losses = (math.nan if row[name] is None else row[name] for name in ("train_loss", "val_loss"))
    return *counts, *(float(loss + 0) for loss in losses)


class LiveLosses:
    """Shows the losses while they come in: pass it to `train` as `on_evaluation`.

    Where somebody watches, one plot redraws itself in its cell: by its display id, which is no
    Output widget and so cannot hang a run. Headless, each evaluation is one line, which papermill
    streams.
    """

    def __init__(self):
        self.handle = None

    def __call__(self, history: History) -> None:
        """Show the newest evaluation of `history`."""
        if is_headless():
            minutes, seconds = divmod(round(history.seconds_left), 60)
            print(
                f"step {history.steps[-1]:>5}/{history.n_planned}  "
                f"train {history.train_loss[-1]:.3f}  validation {history.val_loss[-1]:.3f}  "
                f"{history.tokens_per_second:>7,.0f} tokens/s  {minutes} min {seconds:02} s left",
                flush=True,
            )
        elif self.handle is None:
            self.handle = display(plot_losses(history), display_id=True)
        else:
            self.handle.update(plot_losses(history))


# Notebook 04: the evaluation.


def plot_intervals(
    strata: dict[str, dict[str, dict]], names: tuple[str, ...] = ("verified", *CHECKS)
) -> Figure:
    """Return the shares of answers with their 95 % intervals: a row each, one mark a system.

    `strata` is {stratum: {system: figures}}, as evaluation.judging.measure has them, with a panel
    each; `names` are the shares, see METRICS.
    """
    n_systems = max(map(len, strata.values()), default=1)
    height = 0.13 * len(names) * (n_systems + 1) + 1.2
    figure, panels = _figure(3.6 + 3.6 * len(strata), height, max(1, len(strata)), sharey=True)
    for axis, (stratum, systems) in zip(panels, strata.items(), strict=False):
        axis.spines["left"].set_visible(False)
        for place, (system, figures) in enumerate(systems.items()):
            # The systems stand around the middle of their row, so that no mark hides another.
            shift = (place - (len(systems) - 1) / 2) * 0.8 / n_systems
            colour = SYSTEM_COLOURS[place % len(SYSTEM_COLOURS)]
            _draw_intervals(axis, figures, names, shift, color=colour, label=system)
        for row in range(1, len(names)):
            axis.axhline(row - 0.5, color="#e3eae6", linewidth=0.8, zorder=0)
        axis.set(xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5), title=stratum)
        axis.set_xlabel("share of answers, 95 % interval")
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.tick_params(axis="y", length=0)
    labels = [textwrap.fill(METRICS[name].label, 42) for name in names]
    panels[0].set_yticks(range(len(names)), labels)
    if strata:
        marks = panels[0].get_legend_handles_labels()
        figure.legend(*marks, frameon=False, loc="outside upper center", ncols=n_systems)
    return figure


def _draw_intervals(
    axis: Axes, figures: dict[str, dict], names: tuple[str, ...], shift: float, **look
) -> None:
    """A mark for each of `names` that a system has, with a whisker to each end of its interval."""
    known = [(row + shift, figures[name]) for row, name in enumerate(names) if name in figures]
    values = [one["value"] for _, one in known]
    # matplotlib takes the lengths of the whiskers, which rounding can make a hair less than 0.
    whiskers = [
        [max(0.0, one["value"] - one["low"]) for _, one in known],
        [max(0.0, one["high"] - one["value"]) for _, one in known],
    ]
    rows = [row for row, _ in known]
    axis.errorbar(values, rows, xerr=whiskers, fmt="o", markersize=4, capsize=2, **look)
