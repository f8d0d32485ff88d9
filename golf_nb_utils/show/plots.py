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
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter

from golf_nb_utils.evaluation.metrics import METRICS
from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.wording import SEVERITY_EDGES
from golf_nb_utils.host import is_headless
from golf_nb_utils.training.history import History

GREEN, GOLD, GREY, RUST = "#2f6f4e", "#d9a441", "#8a949b", "#b4532a"
SEVERITY_COLOURS = {"none": "#c9d8cf", "slight": "#9cc3ab", "clear": GOLD, "large": RUST}
# One for each system, in the order in which a figure is given them.
SYSTEM_COLOURS = (GREEN, GREY, GOLD, RUST, "#4f6d9a", "#8a5a8f")


def describe(figure: Figure) -> str:
    """Return the alternative text of a figure: its label, or else its titles and axes."""
    said = [figure.get_suptitle()]
    for axis in figure.axes:
        said += [axis.get_title(), axis.get_xlabel(), axis.get_ylabel()]
    return figure.get_label() or ". ".join(filter(None, said)).replace("\n", " ")


if (shell := get_ipython()) is not None:
    # Figures made without pyplot have no picture in a notebook until IPython knows their format.
    shell.display_formatter.formatters["image/png"].for_type(
        Figure, lambda one: (print_figure(one, "png", bbox_inches="tight"), {"alt": describe(one)})
    )
    shell.display_formatter.formatters["text/plain"].for_type(
        Figure, lambda one, printer, _: printer.text(f"Figure: {describe(one)}")
    )


def _figure(width: float, height: float, n_axes: int = 1, **options) -> tuple[Figure, list[Axes]]:
    """An empty figure of some inches, and its axes from left to right, open to the upper right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n_axes, squeeze=False, **options)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _narrow(height: float) -> tuple[Figure, list[Axes]]:
    """A figure whose text is read on a phone: 4.8 inches become 390 pixels, and 10 points 11."""
    figure, axes = _figure(4.8, height)
    figure.set_dpi(130)
    return figure, axes


def _finding(figure: Figure, text: str) -> None:
    """What the figure shows, as its title."""
    figure.suptitle(textwrap.fill(text, 46), x=0.01, ha="left", fontsize=12, weight="bold")


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


def plot_logits(expected: np.ndarray, found: dict[str, np.ndarray], model_name: str) -> Figure:
    """Return a panel for each conversion of one model: its logits against those expected of it.

    `found` is {title: logits}, the right conversion first; all are (n_tokens, n_vocab). Of a large
    vocabulary evenly spaced logits are drawn, and the largest difference is that of all.
    """
    figure, panels = _figure(4.8, 3.5, 2, sharex=True, sharey=True)
    figure.set_dpi(130)
    every = max(1, expected.size // 4000)
    known = expected.ravel()[::every]
    looks = ({"color": GREEN, "marker": "."}, {"color": RUST, "marker": "x", "linewidths": 0.7})
    largest = {title: _plain(np.abs(logits - expected).max()) for title, logits in found.items()}
    for axis, look, (title, logits) in zip(panels, looks, found.items(), strict=True):
        axis.axline((0, 0), slope=1, color="#333333", linewidth=0.8)
        axis.scatter(known, logits.ravel()[::every], s=12, **look)
        axis.set_title(f"{title}\nlargest difference\n{largest[title]}", fontsize=11)
        axis.set_box_aspect(1)
    figure.supxlabel(f"logits by NumPy\n({model_name})", fontsize=10)
    figure.supylabel("logits by PyTorch", fontsize=10)
    _finding(figure, "Both load without an error. One is wrong.")
    figure.get_layout_engine().set(h_pad=0.1)  # or the titles touch
    figure.set_label(
        f"Both load without an error, one is wrong. Two scatter plots of {model_name}: PyTorch's "
        "logits against NumPy's. Largest differences: "
        + ", ".join(f"{title} {value}" for title, value in largest.items())
    )
    return figure


def _plain(value: float) -> str:
    """Two digits that count, and no exponent: 0.0000012."""
    return np.format_float_positional(value, 2, fractional=False, trim="-")


def plot_parameters(counts: dict[str, dict[str, int]]) -> Figure:
    """Return a bar a model, {model: {part: number of parameters}}: how its parameters divide.

    All have the same four parts; the title says between which shares the first one lies.
    """
    figure, (axis,) = _narrow(3.7)
    totals = {model: sum(parts.values()) for model, parts in counts.items()}
    shares = {
        model: {part: count / totals[model] for part, count in parts.items()}
        for model, parts in counts.items()
    }
    labels = [f"{model}\n{total / 1e6:,.1f} M" for model, total in totals.items()]
    left = [0.0] * len(counts)
    looks = zip((GREEN, "#a9c9b7", GOLD, "white"), ("", "//", "..", ""), strict=True)
    parts = next(iter(shares.values()))
    for part, (colour, hatch) in zip(parts, looks, strict=True):
        widths = [share[part] for share in shares.values()]
        look = {"color": colour, "hatch": hatch, "edgecolor": "#333333", "linewidth": 0.6}
        axis.barh(labels, widths, left=left, label=part, **look)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xlabel("share of the parameters")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    first = next(iter(parts))
    by_share = sorted(shares, key=lambda model: shares[model][first])
    ends = (f"{shares[model][first]:.0%} of {model}" for model in (by_share[0], by_share[-1]))
    title = f"{first}: {' to '.join(ends)}"
    _finding(figure, title)
    rows = "; ".join(
        f"{model}: " + ", ".join(f"{part} {share:.0%}" for part, share in parts.items())
        for model, parts in shares.items()
    )
    figure.set_label(f"{title}. Stacked bars of how the parameters divide. {rows}.")
    return figure


def plot_mistakes(differences: dict[str, float], bound: float) -> Figure:
    """Return a mark for each conversion, {what is wrong with it: largest difference of the logits}.

    The first one is right. A difference above `bound` counts as noticed; the axis is logarithmic.
    """
    figure, (axis,) = _narrow(3.9)
    values = list(differences.values())
    start = min([value for value in values if value > 0] + [bound]) / 8
    for row, value in enumerate(values):
        colour, marker = (RUST, "X") if value > bound else (GREEN, "o")
        end = max(value, start)
        axis.plot([start, end], [row, row], color=colour, linewidth=2)
        axis.plot([end], [row], color=colour, marker=marker, markersize=8)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "bbox": box}
        axis.annotate(_plain(value), (end, row), **beside)
    axis.axvline(bound, color="#333333", linestyle="--", label=f"bound, {_plain(bound)}")
    axis.set_xscale("log")
    axis.set_xlim(start, 200 * max(*values, bound))
    axis.xaxis.set_major_locator(LogLocator(numticks=5))
    axis.set_yticks(range(len(values)), list(differences))
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set_xlabel("largest difference of the logits (log scale)")
    figure.legend(loc="outside lower center", frameon=False)
    noticed, made = sum(value > bound for value in values[1:]), len(values) - 1
    title = f"The number notices {noticed} of {made} silent mistakes"
    _finding(figure, title)
    rows = ", ".join(f"{name} {_plain(value)}" for name, value in differences.items())
    figure.set_label(f"{title}. The bound is {_plain(bound)}. {rows}.")
    return figure


# Notebook 03: training.


def plot_losses(history: History) -> Figure:
    """Return train and validation loss over the steps, with the epochs and the best step marked.

    The upper axis counts the tokens that the loss was taken over.
    """
    figure, (axis,) = _figure(8, 3.8)
    axis.plot(history.steps, history.train_loss, color=GREEN, label="train")
    axis.plot(history.steps, history.val_loss, color=GOLD, linestyle="--", label="validation")
    axis.set(xlabel="optimizer steps", ylabel="cross-entropy per token", ylim=(0, None))
    if history.best_step:
        best = (history.best_step, history.best_val_loss)
        label = f"lowest validation loss, step {history.best_step:,}"
        axis.plot(*best, "o", color=GOLD, markersize=6, label=label)
    axis.legend(frameon=False)
    if history.n_per_epoch:
        _mark_epochs(axis, history.n_per_epoch, history.n_steps)
    if history.steps:
        per_step = history.tokens[-1] / history.steps[-1] / 1e6
        there_and_back = (lambda step: step * per_step, lambda millions: millions / per_step)
        upper = axis.secondary_xaxis("top", functions=there_and_back)
        upper.set_xlabel("million labelled tokens seen")
    return figure


def _mark_epochs(axis: Axes, n_per_epoch: int, n_steps: int) -> None:
    """A line at the last step of each whole epoch, and its number at the line's upper end."""
    place = {"xycoords": axis.get_xaxis_transform(), "ha": "right", "va": "top"}
    for epoch in range(1, n_steps // n_per_epoch + 1):
        end = epoch * n_per_epoch
        axis.axvline(end, color=GREY, linewidth=0.8, zorder=0)
        axis.annotate(f"epoch {epoch} ", (end, 0.98), fontsize=8, color=GREY, **place)


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
    finite = [(loss, step) for loss, step in losses if math.isfinite(loss)]
    if finite:
        history.best_val_loss, history.best_step = min(finite)
    return plot_losses(history)


def _measured(row: dict) -> tuple[int, int, float, float]:
    """Steps, tokens and both losses of a line. Raises one of several errors where it has none."""
    counts = row["steps"], row["tokens"]
    if not all(type(count) is int and 0 < count < 10**15 for count in counts):
        raise ValueError("steps and tokens are positive integers")
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
