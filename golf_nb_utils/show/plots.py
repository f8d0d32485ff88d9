"""The figures of the notebooks; each function returns a matplotlib Figure and draws nothing itself.

None of them goes through pyplot, whose global state would belong to the notebook.
"""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from golf_nb_utils.evaluation.metrics import METRICS
from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.wording import SEVERITY_EDGES
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import is_headless
from golf_nb_utils.training.history import History

GREEN, GOLD, GREY, RUST = "#2f6f4e", "#d9a441", "#8a949b", "#b4532a"
SEVERITY_COLOURS = {"none": "#c9d8cf", "slight": "#9cc3ab", "clear": GOLD, "large": RUST}
# The colour and the mark of each system, in the order in which a figure is given them.
SYSTEM_LOOKS = (
    (RUST, "X"), (GREEN, "o"), ("#5b646a", "s"),
    ("#4f6d9a", "^"), ("#8a6100", "D"), ("#8a5a8f", "v"),
)  # fmt: skip

if get_ipython() is not None:
    # Figures made without pyplot have no picture in a notebook until IPython knows their format.
    select_figure_formats(get_ipython(), {"png"}, bbox_inches="tight")
    _png = get_ipython().display_formatter.formatters["image/png"]
    _draw = _png.lookup_by_type(Figure)
    # A notebook keeps what a picture says in the output's metadata, as `alt`.
    _png.for_type(Figure, lambda figure: (_draw(figure), {"alt": figure.get_label()}))


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
    systems = next(iter(strata.values()), {})
    verified = {
        name: one["verified"]["value"] for name, one in systems.items() if "verified" in one
    }
    passing: dict[str, list[str]] = {}
    for system in sorted(verified, key=verified.get, reverse=True):
        passing.setdefault(f"{verified[system]:.0%}", []).append(system)
    shares = "; ".join(f"{share} of {', '.join(own)}" for share, own in passing.items())
    title = f"Every check is passed by {shares}" if passing else ""
    return _plot_shares(strata, {name: METRICS[name].label for name in names}, title)


def plot_understood_by(read: dict[str, dict[str, tuple]]) -> Figure:
    """Return how well golfers' words are understood, {by whom: words.shares}, with intervals."""
    labels = {
        "found": "the fault is named",
        "wrong": "another fault is named",
        "false_alarm": "a fault is named where there is none",
    }
    names = ("value", "low", "high")
    systems = {
        reader: {name: dict(zip(names, found[name], strict=False)) for name in labels}
        for reader, found in read.items()
    }
    shares = ", ".join(f"{reader} {found['found'][0]:.0%}" for reader, found in read.items())
    return _plot_shares({"": systems}, labels, f"Faults found in a stranger's words: {shares}")


def _plot_shares(panels: dict[str, dict[str, dict]], labels: dict[str, str], title: str) -> Figure:
    """A panel for each {system: {name: value, low, high}}, with a row for each of `labels`."""
    n_systems = max(map(len, panels.values()), default=1)
    height = 0.14 * len(labels) * (n_systems + 1) + 1.7
    figure, axes = _figure(2.2 + 3.2 * len(panels), height, max(1, len(panels)), sharey=True)
    figure.set_dpi(110)
    for axis, (name, systems) in zip(axes, panels.items(), strict=False):
        axis.spines["left"].set_visible(False)
        for place, (system, figures) in enumerate(systems.items()):
            # The systems stand around the middle of their row, so that no mark hides another.
            shift = (place - (len(systems) - 1) / 2) * 0.8 / n_systems
            colour, mark = SYSTEM_LOOKS[place % len(SYSTEM_LOOKS)]
            _draw_intervals(
                axis, figures, tuple(labels), shift, color=colour, fmt=mark, label=system
            )
        for row in range(1, len(labels)):
            axis.axhline(row - 0.5, color="#e3eae6", linewidth=0.8, zorder=0)
        axis.set(xlim=(-0.03, 1.03), ylim=(len(labels) - 0.5, -0.5), title=name)
        axis.set_xlabel("share, 95 % interval", fontsize=11)
        axis.xaxis.set_major_locator(MultipleLocator(0.25))
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(labels)), [textwrap.fill(one, 24) for one in labels.values()])
    axes[0].tick_params(axis="y", labelsize=11)
    if panels:
        marks = axes[0].get_legend_handles_labels()
        figure.legend(*marks, frameon=False, loc="outside lower center", ncols=3, fontsize=11)
    wide = 46 if len(panels) < 2 else 74
    figure.suptitle(textwrap.fill(title, wide), x=0.02, ha="left", fontsize=12, weight="bold")
    figure.set_label(f"{title}. Shares with 95 % intervals of: {'; '.join(labels.values())}.")
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
    axis.errorbar(values, rows, xerr=whiskers, markersize=6, capsize=2, **look)
