"""The figures of the notebooks; each function returns a matplotlib Figure and draws nothing by itself."""

from collections import Counter
from collections.abc import Sequence

from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.wording import SEVERITY_EDGES
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import is_headless
from golf_nb_utils.training.history import History

GREEN, GOLD, GREY, RUST = "#2f6f4e", "#d9a441", "#8a949b", "#b4532a"
SEVERITY_COLOURS = {"none": "#c9d8cf", "slight": "#9cc3ab", "clear": GOLD, "large": RUST}


if get_ipython() is not None:
    # Figures made without pyplot have no picture in a notebook until IPython knows their format.
    select_figure_formats(get_ipython(), {"png"}, bbox_inches="tight")


def _figure(width: float, height: float, n_axes: int = 1):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n_axes, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_records(records: list[dict]) -> Figure:
    """Return stacked bars of the records per area and severity, and the scores against their targets."""
    figure, (bars, cloud) = _figure(11, 3.8, 2)
    counts = Counter((record["meta"]["area"], record["meta"]["severity"]) for record in records)
    labels = [area.label for area in AREAS.values()]
    bottom = [0] * len(AREAS)
    for severity in SEVERITY_EDGES:
        heights = [counts[area, severity] for area in AREAS]
        bars.barh(labels, heights, left=bottom, color=SEVERITY_COLOURS[severity], label=severity)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    bars.invert_yaxis()
    bars.set(xlabel="records", title="Every area is covered alike")
    bars.legend(title="gap to target", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for severity in SEVERITY_EDGES:
        chosen = [record["meta"] for record in records if record["meta"]["severity"] == severity][
            :400
        ]
        current, target = (
            [meta["current_score"] for meta in chosen],
            [meta["target_score"] for meta in chosen],
        )
        cloud.scatter(current, target, s=12, color=SEVERITY_COLOURS[severity])
    cloud.set(
        xlabel="current score",
        ylabel="target score",
        title="Scores and targets spread over the whole range",
    )
    return figure


def plot_coverage(pairs: dict[tuple[str, str, str, str], int]) -> Figure:
    """Return a heat map of coverage.coverage: areas against club and level, each cell the pairs at the least covered severity."""
    figure, (axis,) = _figure(10, 3.6)
    columns = [(club, level) for club in CLUB_FAMILIES for level in LEVELS]
    cells = [
        [
            min(pairs[area, severity, level, club] for severity in SEVERITIES)
            for club, level in columns
        ]
        for area in AREAS
    ]
    axis.imshow(cells, cmap="YlGn", vmin=0, aspect="auto")
    darkest = max(map(max, cells))
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            axis.text(
                column,
                row,
                str(value),
                ha="center",
                va="center",
                color="white" if value > 0.7 * darkest else "black",
            )
    axis.set_yticks(range(len(AREAS)), [area.label for area in AREAS.values()])
    axis.set_xticks(range(len(columns)), [level for _, level in columns], rotation=35, ha="right")
    upper = axis.secondary_xaxis("top")
    upper.set_xticks([3 * place + 1 for place in range(len(CLUB_FAMILIES))], CLUB_FAMILIES)
    upper.tick_params(length=0)
    upper.spines["top"].set_visible(False)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    for place in range(1, len(CLUB_FAMILIES)):
        axis.axvline(3 * place - 0.5, color="white", linewidth=3)
    axis.set_title("Pairs of a fault and a drill to choose from", pad=12)
    return figure


def plot_nearest(nearest: dict[str, Sequence[float]], bar: float) -> Figure:
    """Return histograms of each held-out answer's similarity to its nearest training answer, and the bar of near duplicates."""
    figure, (axis,) = _figure(8, 3.2)
    edges = [place / 50 for place in range(51)]
    if nearest:  # a set of one or two records has nothing held out
        axis.hist(
            list(nearest.values()),
            bins=edges,
            label=list(nearest),
            color=[GREEN, GOLD, GREY][: len(nearest)],
        )
    axis.axvline(bar, color=RUST, linestyle="--", label="near duplicate")
    axis.set(
        xlabel="similarity to the nearest training answer (character-3-gram Jaccard)",
        ylabel="answers",
        xlim=(0, 1),
    )
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_token_lengths(lengths: dict[str, list[int]], context_length: int) -> Figure:
    """Return a histogram of tokens per record for each split, the longest marked and compared with the context in the title."""
    figure, (axis,) = _figure(8, 3.2)
    longest = max(max(values) for values in lengths.values())
    axis.hist(
        list(lengths.values()),
        bins=30,
        stacked=True,
        label=list(lengths),
        color=[GREEN, GOLD, GREY, RUST][: len(lengths)],
    )
    axis.axvline(longest, color="#333333", linestyle=":", label="longest")
    axis.set(
        xlabel="tokens per record, end-of-text included",
        ylabel="records",
        title=f"The longest record has {longest:,} of {context_length:,} tokens",
    )
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_parameters(counts: dict[str, int]) -> Figure:
    """Return one bar per part of the model with its number of parameters."""
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
        scales = [
            float(block.get_parameter(f"{kind}.weight").detach().square().mean().sqrt())
            for block in model.h
        ]
        axis.plot(
            range(len(scales)),
            scales,
            marker="o",
            markersize=2 * width,
            linewidth=width,
            color=colour,
            label=kind,
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set(
        xlabel="layer",
        ylabel="root mean square of the weights",
        title="How large the weights are",
        ylim=(0, None),
    )
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_losses(history: History) -> Figure:
    """Return train and validation loss over the steps, with the epochs marked and the tokens seen on the upper axis."""
    figure, (axis,) = _figure(8, 3.8)
    axis.plot(history.steps, history.train_loss, color=GREEN, label="train")
    axis.plot(history.steps, history.val_loss, color=GOLD, linestyle="--", label="validation")
    axis.set(xlabel="optimizer steps", ylabel="cross-entropy per token", ylim=(0, None))
    if history.best_step:
        label = f"lowest validation loss, step {history.best_step:,}"
        axis.plot(
            history.best_step, history.best_val_loss, "o", color=GOLD, markersize=6, label=label
        )
    axis.legend(frameon=False)
    for epoch in range(1, history.n_steps // history.n_per_epoch + 1 if history.n_per_epoch else 0):
        axis.axvline(epoch * history.n_per_epoch, color=GREY, linewidth=0.8, zorder=0)
        place = {
            "xycoords": axis.get_xaxis_transform(),
            "ha": "right",
            "va": "top",
            "fontsize": 8,
            "color": GREY,
        }
        axis.annotate(f"epoch {epoch} ", (epoch * history.n_per_epoch, 0.98), **place)
    if history.steps:
        tokens_per_step = history.tokens[-1] / history.steps[-1]
        upper = axis.secondary_xaxis(
            "top",
            functions=(
                lambda step: step * tokens_per_step / 1e6,
                lambda seen: seen * 1e6 / tokens_per_step,
            ),
        )
        upper.set_xlabel("million labelled tokens seen")
    return figure


class LiveLosses:
    """Shows the losses while they come in: pass it to `train` as `on_evaluation`.

    Where somebody watches, one plot redraws itself in its cell: by its display id, which is no Output widget and so
    cannot hang a run. Headless, each evaluation is one line, which papermill streams.
    """

    def __init__(self):
        self.handle = None

    def __call__(self, history: History) -> None:
        if is_headless():
            minutes, seconds = divmod(round(history.seconds_left), 60)
            left = f"{minutes} min {seconds:02} s left"
            losses = f"train {history.train_loss[-1]:.3f}  validation {history.val_loss[-1]:.3f}"
            print(
                f"step {history.steps[-1]:>5}/{history.n_planned}  {losses}  {history.tokens_per_second:>7,.0f} tokens/s  {left}",
                flush=True,
            )
        elif self.handle is None:
            self.handle = display(plot_losses(history), display_id=True)
        else:
            self.handle.update(plot_losses(history))
