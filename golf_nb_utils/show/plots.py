"""The figures of the notebooks; each function returns a matplotlib Figure and draws nothing itself.

None of them goes through pyplot, whose global state would belong to the notebook.
"""

import json
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    LogLocator,
    MultipleLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from golf_nb_utils.evaluation.metrics import METRICS
from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.golf.sentences import Reading
from golf_nb_utils.host import is_headless
from golf_nb_utils.show.samples import counted, lines_of
from golf_nb_utils.training.batches import IGNORED
from golf_nb_utils.training.history import History
from golf_nb_utils.training.memory import GIB, PARTS, MemoryPlan, fits

GREEN, GOLD, GREY, RUST = "#2f6f4e", "#d9a441", "#8a949b", "#b4532a"
INK = "#4a555c"
"""A grey that is read on white; each of these has a contrast of 4.5 or more but GOLD and GREY."""
# The colour and the mark of each system, in the order in which a figure is given them.
SYSTEM_LOOKS = (
    (RUST, "X"), (GREEN, "o"), ("#5b646a", "s"),
    ("#4f6d9a", "^"), ("#8a6100", "D"), ("#8a5a8f", "v"),
)  # fmt: skip


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

KINDS = {
    "fault": "explains the fault they name",
    "follow_up": "another cause: the first\nremedy did not help",
    "unclear": "no fault named: a test\nthat finds it",
    "outcome": "a slice, a top: what\nthe ball does",
    "other_area": "sends them to\nanother area",
    "keep": "target met: keep it",
    "refer": "pain: whom to see",
}
"""What each kind of answer does (golf.answer.GrammarBook.kind_of)."""


def plot_origins(words: str, answer: str, rows: list[list[str]]) -> Figure:
    """Return an answer as a card: what was said, then each sentence with the place it is from.

    `rows` is what golf.answer.trace says of `answer`, whose first line is a heading. A green bar
    marks a sentence of a topic file, a hatched one what the request fills in.
    """
    lines, end = [], 0
    for text, _, place, sources in rows:
        start = answer.index(text, end)
        headings = re.findall(r"(?m)^[A-Z ]+(?= \()", answer[end:start])
        lines += [(heading.capitalize(), "") for heading in headings]
        end = start + len(text)
        filed = f"{place.replace('.md:', ', line ')}\n{sources}"
        lines.append((text, sources if sources == "the request" else filed))
    wrapped = [(textwrap.wrap(text, 34), origin) for text, origin in lines]
    quoted = textwrap.wrap(f"\u201c{words}\u201d", 54)
    # In lines of text: a sentence has room for its origin, and a gap below.
    heights = [max(len(text), len(origin.splitlines())) + 0.5 for text, origin in wrapped]
    top, bottom = len(quoted) + 1.2, len(quoted) + 1.2 + sum(heights)
    figure = Figure(figsize=(4.8, 0.19 * bottom + 0.5), dpi=130, layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, 1), ylim=(bottom, -0.5))
    axis.set_axis_off()
    look = {"fontsize": 11, "va": "top", "linespacing": 1.15}
    bubble = {"boxstyle": "round,pad=0.4", "facecolor": "#eaf1ec", "edgecolor": GREEN}
    axis.text(0.03, 0, "\n".join(quoted), style="italic", bbox=bubble, **look)
    for (text, origin), height in zip(wrapped, heights, strict=True):
        if not origin:
            axis.text(0, top, text[0], weight="bold", **look)
        else:
            axis.text(0.03, top, "\n".join(text), **look)
            axis.text(0.69, top, origin, color=INK, **look | {"fontsize": 9.5})
            hatched = {"hatch": "////", "facecolor": "white", "edgecolor": RUST}
            fill = hatched if origin == "the request" else {"color": GREEN}
            axis.add_patch(Rectangle((0, top), 0.012, height - 0.6, linewidth=0.8, **fill))
        top += height
    _finding(figure, "Every sentence has an address")
    figure.set_label(
        f'A golfer says: "{words}". Below it, an answer of {len(rows)} parts. Beside each part '
        "stands the line of the topic file and the source it is from, or that the request fills it."
    )
    return figure


def plot_coverage(pairs: dict[tuple[str, str, str, str], int]) -> Figure:
    """Return bars of how much there is to choose from for each area, in full swings and in putts.

    `pairs` is what golf.coverage.coverage counts, by (area, severity, level, club family); a bar is
    the case with the fewest.
    """
    figure, (axis,) = _narrow(4.2)
    fewest = {}
    for (area, _, _, club), count in pairs.items():
        case = area, "putts" if club == "putter" else "full swings and chips"
        fewest[case] = min(count, fewest.get(case, count))
    for place, (swing, colour, hatch) in enumerate(
        (("full swings and chips", GREEN, ""), ("putts", RUST, "////"))
    ):
        counts = [fewest[area, swing] for area in AREAS]
        rows = [row + 0.38 * place for row in range(len(AREAS))]
        look = {"hatch": hatch, "edgecolor": colour, "color": "white" if hatch else colour}
        bars = axis.barh(rows, counts, height=0.36, label=swing, **look)
        axis.bar_label(bars, padding=3)
    axis.set_yticks([row + 0.19 for row in range(len(AREAS))], [a.label for a in AREAS.values()])
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("pairs of a chain and a drill,\nfor the golfer with the fewest")
    figure.legend(frameon=False, loc="outside lower left", ncols=2)
    least = min(fewest.values())
    _finding(
        figure,
        f"At least {least} ways to help, whoever asks"
        if least
        else f"Without an answer: {sum(not count for count in pairs.values())} kinds of golfer",
    )
    return figure


def plot_kinds(counts: dict[str, int]) -> Figure:
    """Return bars of the records by what their answer does; `counts` is {kind: records}."""
    figure, (axis,) = _narrow(3.8)
    shown = [kind for kind in KINDS if kind in counts]
    diagnosed = ("fault", "follow_up")
    colours = [GREEN if kind in diagnosed else INK for kind in shown]
    bars = axis.barh([KINDS[kind] for kind in shown], [counts[k] for k in shown], color=colours)
    axis.bar_label(bars, [f"{counts[kind]:,}" for kind in shown], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlabel("records of all files")
    share = 1 - sum(counts.get(kind, 0) for kind in diagnosed) / sum(counts.values())
    _finding(figure, f"{share:.0%} of the records diagnose nothing")
    return figure


def plot_nearest(nearest: dict[str, Sequence[float]], bar: float) -> Figure:
    """Return how near the training set comes to the held-out answers: a box plot, a row a file.

    `nearest` is {split: similarities to the nearest training answer, 0 to 1}; from `bar` on an
    answer counts as a near duplicate.
    """
    figure, (axis,) = _narrow(2.6)
    # A set of one or two records has nothing held out.
    known = {split: values for split, values in nearest.items() if len(values)}
    for row, values in enumerate(known.values()):
        low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100))
        axis.plot([low, high], [row, row], color=GREEN)
        axis.plot([first, third], [row, row], color=GREEN, linewidth=12, solid_capstyle="butt")
        axis.plot(median, row, "o", color="white", markersize=5)
    axis.set_yticks(range(len(known)), list(known))
    axis.set_ylim(max(1, len(known)) - 0.5, -0.5)
    axis.axvline(bar, color=RUST, linestyle="--")
    axis.annotate("near\nduplicate", (bar, 0.5), (5, 0), xycoords=axis.get_xaxis_transform(),
                  textcoords="offset points", color=RUST, va="center")  # fmt: skip
    axis.set(xlim=(0, 1), xlabel="likeness to the nearest training answer\n(1 is a copy)")
    n_near = sum(value >= bar for values in known.values() for value in values)
    copies = f"{n_near} held-out answers are near copies"
    _finding(figure, copies if n_near else "No held-out answer is a near copy")
    return figure


def plot_certainty(n_groups: int, share: float = 0.8) -> Figure:
    """Return what a share on so many groups can mean: its 95 % interval, from ten to a thousand.

    The interval is Wilson's (evaluation.statistics.wilson).
    """
    figure, (axis,) = _narrow(3.0)
    counts = sorted({*(round(10 ** (1 + step / 20)) for step in range(41)), max(1, n_groups)})
    ends = {n: wilson(share * n, n) for n in counts}
    low, high = zip(*ends.values(), strict=True)
    axis.fill_between(counts, low, high, color="#cfe0d6")
    axis.plot(counts, low, color=GREEN)
    axis.plot(counts, high, color=GREEN)
    axis.set(xscale="log", ylim=(0, 1), xlabel="groups in the test set", ylabel="true share")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.xaxis.set_major_formatter("{x:g}")
    if not n_groups:  # a set of one or two records has nothing held out
        _finding(figure, "Without a test set nothing is known")
        return figure
    least, most = ends[n_groups]
    axis.plot([n_groups] * 2, [least, most], "o-", color=RUST)
    axis.annotate(f" {n_groups} groups", (n_groups, most), color=RUST, va="bottom")
    _finding(figure, f"{share:.0%} right in {n_groups} groups means {least:.0%} to {most:.0%}")
    return figure


def plot_heard(shares: dict[str, dict[str, tuple]], overall: float) -> Figure:
    """Return what becomes of the words of people whom the reader never heard: a bar each.

    `shares` is {name: words.shares}, `overall` the share found of all of them.
    """
    figure, (axis,) = _narrow(2.9)
    names = list(shares)
    found, wrong = ([shares[name][part][0] for name in names] for part in ("found", "wrong"))
    silent = [1 - good - bad for good, bad in zip(found, wrong, strict=True)]
    left = [0.0] * len(names)
    for label, parts, look in (
        ("right fault", found, {"color": GREEN}),
        ("says nothing", silent, {"color": "white", "edgecolor": INK}),
        ("wrong fault", wrong, {"color": "white", "edgecolor": RUST, "hatch": "////"}),
    ):
        bars = axis.barh(names, parts, left=left, label=label, height=0.6, **look)
        if label == "right fault":
            texts = [f"{part:.0%}" for part in parts]
            axis.bar_label(bars, texts, label_type="center", color="white", weight="bold")
        left = [start + part for start, part in zip(left, parts, strict=True)]
    axis.bar_label(bars, [f" {part:.0%}" for part in wrong], color=RUST)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set(xlim=(0, 1.08), xlabel="remarks that mean a fault")
    figure.legend(frameon=False, loc="outside lower left", ncols=3, columnspacing=1)
    _finding(figure, f"Never heard before, and {overall:.0%} understood")
    return figure


def plot_understood(curve: dict[float, dict[str, tuple]], asserted_from: float) -> Figure:
    """Return what becomes of golfers' words as the probability grows from which a fault is named.

    `curve` is {probability: words.shares}, `asserted_from` the one that the coach uses.
    """
    figure, (axis,) = _narrow(3.6)
    looks = {"found": (GREEN, "o"), "false_alarm": (INK, "s"), "wrong": (RUST, "^")}
    for name, (colour, marker) in looks.items():
        value, low, high = zip(*(at[name][:3] for at in curve.values()), strict=True)
        look = {"color": colour, "marker": marker, "markevery": 5, "markersize": 5}
        axis.plot(list(curve), value, label=name.replace("_", " "), **look)
        axis.fill_between(list(curve), low, high, color=colour, alpha=0.15, linewidth=0)
    axis.axvline(asserted_from, color="#333333", linestyle=":", label="the coach's choice")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set(xlabel="the coach names a fault only if it is\nat least this probable", ylim=(0, 1))
    axis.set_ylabel("share of remarks")
    figure.legend(frameon=False, loc="outside lower left", ncols=2)
    nearest = min(curve, key=lambda value: abs(value - asserted_from))
    found, wrong = (curve[nearest][name][0] for name in ("found", "wrong"))
    _finding(figure, f"At {asserted_from:.0%} the coach finds {found:.0%} and errs in {wrong:.0%}")
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
