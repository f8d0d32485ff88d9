"""What an evaluation leaves behind: predictions.jsonl, report.html for people, and the comparison of two runs."""

import html
import json
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from golf_nb_utils.evaluation.changes import KINDS
from golf_nb_utils.evaluation.metrics import DIVERSITY, METRICS
from golf_nb_utils.files import ArtifactMismatchError, write_text
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.html import page, picture
from golf_nb_utils.show.plots import GOLD, GREEN, GREY, RUST, plot_losses
from golf_nb_utils.training.history import History

PREDICTIONS = "predictions.jsonl"
N_SHOWN = 10
"""Answers shown of the best and of the worst."""

_GROUPS = {
    "Verified": ("verified", *CHECKS),
    "Where it comes from": (
        "grounded_sentences",
        "grounded_numbers",
        "on_topic",
        "longest_copy",
        "copied_share",
    ),
    "Against the reference": ("chrf", "perplexity"),
    "Text": ("tokens", "words", "reading_grade"),
    "Variety": tuple(DIVERSITY),
}
# In the order of the systems: the base model first, what was trained second.
_COLOURS = (GREEN, GREY, GOLD, RUST, "#4f6d9a", "#8a5a8f")
_STYLE = """<style>
:root { color-scheme: light dark; }
.wide { overflow-x: auto; } .wide th:first-child, .wide td:first-child { min-width: 14rem; }
small { color: #5d6f66; white-space: nowrap; } td.group { font-weight: 600; background: #eef3f0; }
mark { background: #f6d7b8; color: inherit; padding: 0 .1em; } .why { font-size: .9em; color: #8a4a12; }
.better { color: #1f6b43; font-weight: 600; } .worse { color: #a12; font-weight: 600; } summary { cursor: pointer; margin: .6rem 0; }
img { background: #fff; border-radius: .4rem; } article { border-top: 1px solid #cdd8d1; margin-top: 1.5rem; }
@media (max-width: 40rem) { body { margin: .5rem auto; padding: 0 .6rem; } th, td { padding: .25rem .4rem; font-size: .9em; }
  .wide th:first-child, .wide td:first-child { min-width: 8rem; } .wide img { max-width: none; width: 46rem; } }
@media (prefers-color-scheme: dark) {
  body { background: #141c18; color: #dde6e0; } th, td, .answers div, article { border-color: #3b4a42; }
  small, code { color: #9fb2a7; } td.group { background: #202b25; } mark { background: #6b4316; color: #fff; }
  .why { color: #e6b277; } .fail, .worse { color: #ff9d8a; } .better { color: #7fd3a4; }
}
</style>"""


def write_predictions(path: Path, rows: list[dict]) -> Path:
    """Write the rows of evaluation.judge, one JSON object a line."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_predictions(path: Path) -> list[dict]:
    """Read what write_predictions wrote; `path` is the file or its folder.

    Raises:
        FileNotFoundError: there is none.
        ArtifactMismatchError: a line is no row of evaluation.judge; the message names it.
    """
    path = path / PREDICTIONS if path.is_dir() else path
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        try:
            row = json.loads(line) if line else None
        except json.JSONDecodeError as error:
            raise ArtifactMismatchError(
                f"{path}:{number}: not valid JSON ({error.msg}); run notebook 04 again."
            ) from error
        if row is not None:
            if not isinstance(row, dict) or not {
                "stratum",
                "instruction",
                "input",
                "systems",
            } <= set(row):
                raise ArtifactMismatchError(
                    f"{path}:{number}: not a line of an evaluation with strata; run notebook 04 again."
                )
            rows.append(row)
    return rows


# The page.


def write_report(
    path: Path,
    title: str,
    summary: str,
    rows: list[dict],
    measured: dict,
    perturbation: dict[str, dict],
    manifest: dict,
    training_log: Path | None = None,
    subject: str = "fine-tuned",
) -> Path:
    """Write one self-contained HTML page.

    `rows` are those of evaluation.judge, `measured` is evaluation.measure's, `perturbation` {system: measure_changes}, `manifest`
    whatever is to be known about the run; of `training_log` (training_log.jsonl) the losses are drawn.
    """
    strata = measured["strata"]
    systems = {
        stratum: dict(sorted(found["systems"].items(), key=lambda item: item[0] != subject))
        for stratum, found in strata.items()
    }
    parts = [
        _STYLE,
        _headline_html(strata, systems),
        f"<p>{html.escape(_how(measured))}</p>",
        f'<div class="wide">{picture("Check by check", plot_intervals(systems))}</div>',
    ]
    for stratum, found in strata.items():
        parts.append(
            f"<h2>Every figure: {html.escape(stratum)}, {found['n_records']:,} records</h2>{figures_table(systems[stratum])}"
        )
    for stratum, found in strata.items():
        if found["comparisons"]:
            parts.append(
                f"<details><summary>{html.escape(subject)} less each other system, {html.escape(stratum)}</summary>"
                f"{_comparisons_html(found['comparisons'])}</details>"
            )
    if perturbation:
        parts.append(f"<h2>One thing changed in the request</h2>{perturbation_table(perturbation)}")
    for heading, worst in (("The worst answers", True), ("The best answers", False)):
        shown = answers_html(ranked(rows, subject, worst)[:N_SHOWN], subject)
        parts.append(
            f"<h2>{heading} of {html.escape(subject)}</h2><details{' open' if worst else ''}><summary>{heading}</summary>{shown}</details>"
        )
    losses = plot_log(training_log) if training_log else None
    if losses:
        parts.append(picture("Training", losses))
    facts = json.dumps(manifest, indent=2, ensure_ascii=False)
    parts.append(
        f"<h2>The run</h2><details><summary>manifest</summary><pre><code>{html.escape(facts)}</code></pre></details>"
    )
    return write_text(path, page(title, summary, "\n".join(parts)))


def _how(measured: dict) -> str:
    return (
        f"Small print: {measured['confidence']:.0%} intervals: Wilson's for shares of answers, the bootstrap over the records "
        f"({measured['n_resamples']:,} resamples, seed {measured['seed']}) for the other figures, the jackknife "
        f"({measured['n_groups']} groups) for variety. Text without a sentence contradicts nothing: read the checks together."
    )


def printed(name: str, value: float) -> str:
    """Return a figure of METRICS or DIVERSITY as people read it."""
    return (METRICS | DIVERSITY)[name].form.format(value)


def _headline_html(strata: dict[str, dict], systems: dict[str, dict]) -> str:
    head = "".join(
        f"<th>{html.escape(stratum)}, {found['n_records']:,} records</th>"
        for stratum, found in strata.items()
    )
    lines = []
    for name in dict.fromkeys(name for found in systems.values() for name in found):
        figures = [found.get(name, {}).get("verified") for found in systems.values()]
        cells = "".join(
            f'<td class="number">{_figure_html("verified", figure)}</td>' for figure in figures
        )
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f'<div class="wide"><table><tr><th>answers that pass every check</th>{head}</tr>{"".join(lines)}</table></div>'


def figures_table(systems: dict[str, dict]) -> str:
    """Return every figure of a stratum's systems ({system: figures}, see evaluation.measure) with its interval, as an HTML table."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in systems)
    lines = []
    for group, names in _GROUPS.items():
        known = [name for name in names if any(name in figures for figures in systems.values())]
        if known:
            lines.append(f'<tr><td class="group" colspan="{len(systems) + 1}">{group}</td></tr>')
        for name in known:
            cells = "".join(
                f'<td class="number">{_figure_html(name, figures.get(name))}</td>'
                for figures in systems.values()
            )
            lines.append(
                f"<tr><td>{html.escape((METRICS | DIVERSITY)[name].label)}</td>{cells}</tr>"
            )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _figure_html(name: str, figure: dict | None) -> str:
    if figure is None:
        return "-"
    return f"{printed(name, figure['value'])}<br><small>{printed(name, figure['low'])} to {printed(name, figure['high'])}</small>"


def _comparisons_html(comparisons: dict[str, dict]) -> str:
    head = "".join(f"<th>less {html.escape(name)}</th>" for name in comparisons)
    lines = []
    for name, metric in (METRICS | DIVERSITY).items():
        if any(name in figures for figures in comparisons.values()):
            cells = "".join(
                f'<td class="number">{_difference_html(name, figures.get(name))}</td>'
                for figures in comparisons.values()
            )
            lines.append(f"<tr><td>{html.escape(metric.label)}</td>{cells}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _difference_html(name: str, figure: dict | None) -> str:
    if figure is None:
        return "-"
    kind = figure["verdict"] if figure["verdict"] in ("better", "worse") else ""
    return f'<span class="{kind}">{signed(name, figure["difference"])}</span><br><small>{interval(name, figure)}, {figure["verdict"]}</small>'


def signed(name: str, value: float) -> str:
    return ("+" if value > 0 else "") + printed(name, value)


def interval(name: str, figure: dict) -> str:
    return f"{signed(name, figure['low'])} to {signed(name, figure['high'])}"


def perturbation_table(perturbation: dict[str, dict]) -> str:
    """Return what became of changed requests ({system: perturbation.measure_changes}) as an HTML table."""
    head = "".join(f'<th colspan="3">{html.escape(name)}</th>' for name in perturbation)
    parts = "<th>does what it must</th><th>keeps the rest</th><th>both</th>" * len(perturbation)
    lines = []
    for kind, (changed, must, rest, *_) in KINDS.items():
        cells = ""
        for kinds in perturbation.values():
            for part in ("follows", "keeps", "right"):
                if kind in kinds:
                    figure = kinds[kind][part]
                    cells += f'<td class="number">{figure["value"]:.0%}<br><small>{figure["low"]:.0%} to {figure["high"]:.0%}</small></td>'
                else:
                    cells += '<td class="number">-</td>'
        n = max((kinds[kind]["n"] for kinds in perturbation.values() if kind in kinds), default=0)
        text = f"{html.escape(changed)} <small>({n})</small><br>must: {html.escape(must)}<br>keeps: {html.escape(rest)}"
        lines.append(f"<tr><td>{text}</td>{cells}</tr>")
    return (
        '<div class="wide"><table><tr><th rowspan="2">changed (requests)</th>'
        + head
        + f"</tr><tr>{parts}</tr>"
        + "".join(lines)
        + "</table></div>"
    )


def ranked(rows: list[dict], system: str, worst: bool) -> list[dict]:
    """Return the rows by a system's answers: fewest failed checks first, then most sentences with an origin, then chrF; or the reverse."""

    def key(row: dict) -> tuple[float, float, float]:
        judged = row["systems"][system]
        above, below = judged["measures"].get("grounded_sentences", (0, 1))
        return -len(judged["failed"]), above / below, judged["measures"].get("chrf", (0, 1))[0]

    return sorted(rows, key=key, reverse=not worst)


# In a notebook there is no style sheet of ours.
_SIDE_BY_SIDE = (
    "display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem"
)
_PRE = '<pre style="white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; font: inherit">'


def answers_html(rows: list[dict], system: str) -> str:
    """Return a system's answers to the requests of `rows` (evaluation.judge) beside the references, with what is wrong with them."""
    return "".join(_answer_html(row, system) for row in rows)


def _answer_html(row: dict, system: str) -> str:
    judged = row["systems"][system]
    failed = f"fails: {', '.join(judged['failed'])}" if judged["failed"] else "passes every check"
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in judged["reasons"])
    columns = (
        f"<div><h4>request ({html.escape(row['stratum'])})</h4>{_PRE}{html.escape(row['input'])}</pre></div>"
        f"<div><h4>{html.escape(system)}</h4>{_PRE}{marked(judged['answer'], judged['unsupported'])}</pre></div>"
        f"<div><h4>reference</h4>{_PRE}{html.escape(row['reference'])}</pre></div>"
    )
    kind = "fail" if judged["failed"] else "better"
    shown = f'<div class="answers" style="{_SIDE_BY_SIDE}">{columns}</div>'
    return (
        f'<article><p class="{kind}">{html.escape(failed)}</p><ul>{reasons}</ul>{shown}</article>'
    )


def marked(answer: str, unsupported: list[dict]) -> str:
    """Return an answer as HTML, each sentence without an origin in <mark>, with what comes closest to it."""
    parts, end = [], 0
    for span in unsupported:
        start = answer.find(span["text"], end)
        if start >= 0:
            close = (
                f"; closest: {span['nearest']}, {span['similarity']:.0%} alike"
                if span["nearest"]
                else ""
            )
            why = f"without an origin{close}"
            parts += (
                html.escape(answer[end:start]),
                f'<mark title="{html.escape(why)}">{html.escape(span["text"])}</mark>',
            )
            parts.append(f' <span class="why">[{html.escape(why)}]</span>')
            end = start + len(span["text"])
    return ("".join(parts) + html.escape(answer[end:])).strip() or "(nothing but blanks)"


# Figures.


def plot_intervals(
    strata: dict[str, dict[str, dict]], names: tuple[str, ...] = ("verified", *CHECKS)
) -> Figure:
    """Return the shares of answers with their intervals: a panel a stratum, a row each, one mark a system.

    `strata` is {stratum: {system: figures}}, as evaluation.measure has them.
    """
    n_systems = max((len(systems) for systems in strata.values()), default=1)
    width = 3.6 + 3.6 * len(strata)
    figure = Figure(
        figsize=(width, 0.13 * len(names) * (n_systems + 1) + 1.2), layout="constrained"
    )
    panels = figure.subplots(1, max(1, len(strata)), sharey=True, squeeze=False)[0]
    step = 0.8 / n_systems
    for axis, (stratum, systems) in zip(panels, strata.items(), strict=False):
        axis.spines[["top", "right", "left"]].set_visible(False)
        for place, (system, figures) in enumerate(systems.items()):
            known = [(row, figures[name]) for row, name in enumerate(names) if name in figures]
            values = [each["value"] for _, each in known]
            errors = [
                [max(0.0, each["value"] - each["low"]) for _, each in known],
                [max(0.0, each["high"] - each["value"]) for _, each in known],
            ]
            rows = [row + (place - (len(systems) - 1) / 2) * step for row, _ in known]
            axis.errorbar(
                values,
                rows,
                xerr=errors,
                fmt="o",
                markersize=4,
                capsize=2,
                color=_COLOURS[place % len(_COLOURS)],
                label=system,
            )
        for row in range(1, len(names)):
            axis.axhline(row - 0.5, color="#e3eae6", linewidth=0.8, zorder=0)
        axis.set(
            xlim=(-0.03, 1.03),
            ylim=(len(names) - 0.5, -0.5),
            title=stratum,
            xlabel="share of answers, 95 % interval",
        )
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.tick_params(axis="y", length=0)
    panels[0].set_yticks(
        range(len(names)), [textwrap.fill(METRICS[name].label, 42) for name in names]
    )
    if strata:
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            frameon=False,
            loc="outside upper center",
            ncols=n_systems,
        )
    return figure


def plot_log(path: Path) -> Figure | None:
    """Return the losses of a training_log.jsonl as plots.plot_losses draws them; None where it holds no evaluation."""
    history = History()
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        row = json.loads(line)
        for name in ("steps", "tokens", "train_loss", "val_loss"):
            getattr(history, name).append(float("nan") if row[name] is None else row[name])
    if not history.steps:
        return None
    finite = [
        (loss, step)
        for loss, step in zip(history.val_loss, history.steps, strict=True)
        if loss == loss
    ]
    if finite:
        history.best_val_loss, history.best_step = min(finite)
    return plot_losses(history)


# Two runs.


def comparison_table(compared: dict) -> str:
    """Return evaluation.compare's result as plain text: a block for each stratum and system, what is more than noise first."""
    order = ("better", "worse", "different", "no clear difference")
    blocks = []
    for stratum, systems in compared.items():
        for system, found in systems.items():
            prompts = (
                f"{found['n'][0]} prompts, the same in both"
                if found["paired"]
                else f"{found['n'][0]} and {found['n'][1]} different prompts"
            )
            lines = [f"{stratum}, {system}: {prompts}"]
            for name, figure in sorted(
                found["figures"].items(), key=lambda item: order.index(item[1]["verdict"])
            ):
                lines.append(
                    f"  {figure['verdict']:<20} {name:<28}{printed(name, figure['first']):>10} -> {printed(name, figure['second']):>10}"
                    f"   {signed(name, figure['difference']):>9} [{interval(name, figure)}], p {figure['p_adjusted']:.4f}"
                )
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "The two runs have no stratum and system in common."
