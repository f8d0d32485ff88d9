"""What an evaluation leaves behind: predictions.jsonl, report.html, and two runs compared as text.

`write_report` puts the sections of `_CONTENTS` one below the other. A new section is a function
here, and its title in that dict.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path

from golf_nb_utils.evaluation.changes import KINDS
from golf_nb_utils.evaluation.judging import Judged, JudgedRecord
from golf_nb_utils.evaluation.metrics import DIVERSITY, METRICS
from golf_nb_utils.files import (
    MANIFEST,
    ArtifactMismatchError,
    MissingArtifactError,
    read_manifest,
    sha256_file,
    write_text,
)
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.html import bars, folded, image, mark_in_order, page
from golf_nb_utils.show.plots import plot_log

PREDICTIONS = "predictions.jsonl"
N_SHOWN = 10
"""Answers shown of the best and of the worst."""

_VERDICTS = ("better", "worse", "different", "no clear difference")
_FIGURES = METRICS | DIVERSITY
# The order of the table of figures: one that stands in no group is not shown there.
_GROUPS = {
    "Verified": ("verified", *CHECKS),
    "Where it comes from": (
        "grounded_sentences", "grounded_numbers", "on_topic", "coherent", "longest_copy",
        "copied_share",
    ),
    "Against the reference": ("chain", "chrf", "perplexity"),
    "Text": ("tokens", "words", "reading_grade"),
    "Variety": tuple(DIVERSITY),
}  # fmt: skip
_SYSTEMS = {
    "fine-tuned": "the trained model, writing freely",
    "steered": "the same model, choosing its way through the right answers",
    "base": "the model before fine-tuning",
    "template": "one of the right answers, drawn at random",
    "retrieval": "the answer of the nearest training record",
}
"""What stands behind the names that notebook 04 gives to systems ..."""
_STRATA = {"unseen": "records on topics that training left out"}
"""... and to strata; another stratum is called by its name."""
_STYLE = """<style>
pre { white-space: pre-wrap; font: inherit; margin: 0; } code { font-size: .85em; }
td small { white-space: nowrap; } .finding { font-size: 1.15rem; }
.wide { overflow-x: auto; } .wide th:first-child, .wide td:first-child { min-width: 10rem; }
td.group { font-weight: 600; background: var(--tint); }
nav li { margin: .2rem 0; } details details { border-top: 1px solid var(--line); }
.answers div { border: 1px solid var(--line); border-radius: .4rem; padding: .7rem;
  overflow-wrap: anywhere; }
mark { background: #f6d7b8; color: inherit; padding: 0 .1em; } .why { color: var(--rust); }
.why { font-size: .9em; } .better { color: var(--green); font-weight: 600; }
.worse { font-weight: 600; } .fail, .worse { color: var(--rust); }
@media (prefers-color-scheme: dark) { mark { background: #6b4316; color: #fff; } }
</style>"""
# Answers are shown in notebooks, too, where the style above is not: they bring their own.
_SIDE_BY_SIDE = (
    "display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem"
)
_PRE = "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; font: inherit"


@dataclass(frozen=True)
class Evaluation:
    """What the report of a run shows; `subject` is the system that it is about.

    `rows` and `measured` are what evaluation.judging's judge and measure returned, `changes` is
    {system: evaluation.changes.measure_changes}, `manifest` whatever is to be known about the run;
    its `log_sha256`, where it has one, is the hash of the training log that belongs to the model.
    """

    rows: list[JudgedRecord]
    measured: dict
    changes: dict[str, dict]
    manifest: dict
    training_log: Path | None = None  # for the picture of the losses
    subject: str = "fine-tuned"

    @property
    def systems(self) -> dict[str, dict[str, dict]]:
        """The figures as {stratum: {system: {name: figure}}}, the subject's first."""
        return {
            stratum: dict(sorted(found["systems"].items(), key=lambda one: one[0] != self.subject))
            for stratum, found in self.measured["strata"].items()
        }


def write_report(path: Path, title: str, summary: str, evaluation: Evaluation) -> Path:
    """Write one self-contained HTML page and return its path.

    What was found comes first, then the contents, five figures at most, the best and the worst
    answers, and last the tables; answers and tables are folded.
    """
    found = f'<p class="finding">{escape(" ".join(findings(evaluation)))}</p>'
    links, parts = [], []
    for name, write in _CONTENTS.items():
        if body := write(evaluation):
            anchor = f"part-{len(parts) + 1}"
            links.append(f'<li><a href="#{anchor}">{name}</a></li>')
            parts.append(f'<h2 id="{anchor}">{name}</h2>\n{body}')
    contents = f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>'
    return write_text(path, page(title, summary, "\n".join([_STYLE, found, contents, *parts])))


def findings(evaluation: Evaluation) -> list[str]:
    """Return what an evaluation found, in at most three sentences.

    How often each system passes every check, which check the subject passes least, and how the
    subject does on the next stratum or, where there is none, how well it foresees the reference.
    """
    (stratum, systems), *others = evaluation.systems.items()
    subject = evaluation.subject
    shares = {name: found["verified"] for name, found in systems.items() if "verified" in found}
    best_first = sorted(shares, key=lambda name: -shares[name]["value"])
    passing = ", ".join(f"{name} {_value('verified', shares[name])}" for name in best_first)
    where = _records(evaluation, stratum)
    said = [f"On {where}, these shares of answers pass every check: {passing}."]
    own = systems.get(subject, {})
    if checks := {name: own[name]["value"] for name in CHECKS if name in own}:
        weakest, n_held = min(checks, key=checks.get), sum(value == 1 for value in checks.values())
        always = f"Of the {len(checks)} checks, {subject} always passes {n_held}"
        least = f'; the hardest, passed in {_value(weakest, own[weakest])}, is "{CHECKS[weakest]}"'
        said.append(always + (least if n_held < len(checks) else "") + ".")
    if others and "verified" in others[0][1].get(subject, {}):
        stratum, systems = others[0]
        share = _value("verified", systems[subject]["verified"])
        said.append(f"On {_records(evaluation, stratum)}, {share} of its answers pass every check.")
    elif "perplexity" in own:
        said.append(
            f"Its perplexity of the reference is {_value('perplexity', own['perplexity'])}."
        )
    return said


def _records(evaluation: Evaluation, stratum: str) -> str:
    n = evaluation.measured["strata"][stratum]["n_records"]
    return f"{n:,} {_STRATA.get(stratum, f'{stratum} records')}"


# The sections: each returns HTML, or "" where it has nothing to say.


def _passing(evaluation: Evaluation) -> str:
    parts = []
    # Two strata and no more: five figures are what one reads.
    for stratum, systems in list(evaluation.systems.items())[:2]:
        rows = [(name, found["verified"]) for name, found in systems.items() if "verified" in found]
        highest = max((share["value"] for _, share in rows), default=0)
        best = [name for name, share in rows if share["value"] == highest]
        verb = "passes" if len(best) == 1 else "pass"
        where = _records(evaluation, stratum)
        parts.append(bars(f"On {where}, {' and '.join(best)} {verb} most often", rows))
    names = (name for name in next(iter(evaluation.systems.values())) if name in _SYSTEMS)
    who = "".join(f"<li><b>{escape(name)}</b>: {_SYSTEMS[name]}</li>" for name in names)
    return f"{''.join(parts)}<ul>{who}</ul>"


def _check_by_check(evaluation: Evaluation) -> str:
    stratum, systems = next(iter(evaluation.systems.items()))
    own = systems.get(evaluation.subject, {})
    checks = sorted((name for name in CHECKS if name in own), key=lambda name: own[name]["value"])
    if not checks:
        return ""
    caption = f'{evaluation.subject}: on {_records(evaluation, stratum)} the hardest check is "'
    rows = [(CHECKS[name], own[name]) for name in checks]
    return bars(f'{caption}{CHECKS[checks[0]]}"', rows)


def _changed(evaluation: Evaluation) -> str:
    found = evaluation.changes.get(evaluation.subject)
    if not found:
        return ""
    kinds = sorted(
        (kind for kind in KINDS if kind in found), key=lambda k: found[k]["right"]["value"]
    )
    rows = [(KINDS[kind].changed, found[kind]["right"]) for kind in kinds]
    caption = (
        f"How often {evaluation.subject} does what it must and keeps the rest; the hardest change: "
        f"{rows[0][0]}"
    )
    return bars(caption, rows)


def _training(evaluation: Evaluation) -> str:
    log = evaluation.training_log
    if not log:
        return ""
    # A later run writes its log before it has weights to save.
    if evaluation.manifest.get("log_sha256", sha256_file(log)) != sha256_file(log):
        return f"<p>{escape(log.name)} is the log of a later run, not of the model's.</p>"
    losses = plot_log(log)
    if losses is None:
        return ""
    # So narrow that a phone need not shrink its letters much.
    losses.set_size_inches(5.4, 4)
    return image("Train and validation loss over the optimizer steps", losses)


def _worst_and_best(evaluation: Evaluation) -> str:
    rows, subject = evaluation.rows, evaluation.subject
    parts = []
    for which, worst in (("worst", True), ("best", False)):
        shown = ranked(rows, subject, worst)[:N_SHOWN]
        answers = (
            folded(f"{place}. {_outline(row, subject)}", _answer_html(row, subject))
            for place, row in enumerate(shown, 1)
        )
        parts.append(folded(f"The {len(shown)} {which} answers of {subject}", "".join(answers)))
    return "\n".join(parts)


def _outline(row: JudgedRecord, system: str) -> str:
    """An answer in half a line: its stratum, and how many checks it fails."""
    failed = row.systems[system].failed
    return f"{row.stratum}: {f'fails {len(failed)} checks' if failed else 'right'}"


def _tables(evaluation: Evaluation) -> str:
    facts, parts = evaluation.measured, []
    for stratum, systems in evaluation.systems.items():
        title = f"Every figure, {_records(evaluation, stratum)}"
        parts.append(folded(title, figures_table(systems)))
        if others := facts["strata"][stratum]["comparisons"]:
            head = _heading("", (f"less {escape(name)}" for name in others))
            table = _wide_table(head, _rows(_FIGURES, others, _difference))
            parts.append(folded(f"{evaluation.subject} less each other system, {stratum}", table))
    if evaluation.changes:
        parts.append(folded("One thing changed", changes_table(evaluation.changes)))
    strata = facts["strata"].items()
    groups = ", ".join(f"{found['n_groups']:,} in {name}" for name, found in strata)
    intervals = (
        f"{facts['confidence']:.0%} intervals over the groups of records that share fault, gap, "
        f"club and level ({groups}): Wilson's for shares of answers, the bootstrap "
        f"({facts['n_resamples']:,} resamples, seed {facts['seed']}) for the other figures, the "
        f"jackknife ({facts['n_folds']} parts) for variety. Text without a sentence contradicts "
        "nothing: read the checks together."
    )
    parts.append(folded("How the intervals were found", f"<p>{escape(intervals)}</p>"))
    manifest = json.dumps(evaluation.manifest, indent=2, ensure_ascii=False)
    parts.append(folded("The run", f"<pre><code>{escape(manifest)}</code></pre>"))
    return "\n".join(parts)


_CONTENTS = {
    "Who passes": _passing,
    "Check by check": _check_by_check,
    "One thing changed in the request": _changed,
    "Training": _training,
    "Answers to read": _worst_and_best,
    "All figures": _tables,
}


# Tables of figures.


def figures_table(systems: dict[str, dict]) -> str:
    """Return every figure of a stratum's systems with its interval, as an HTML table.

    `systems` is {system: {name: {"value", "low", "high"}}}, see evaluation.judging.measure.
    """
    rows = []
    for group, names in _GROUPS.items():
        known = _rows(names, systems, _figure)
        rows += [(group, []), *known] if known else []
    return _wide_table(_heading("", map(escape, systems)), rows)


def changes_table(changes: dict[str, dict]) -> str:
    """Return what became of changed requests, as an HTML table.

    `changes` is {system: what evaluation.changes.measure_changes returned}.
    """
    names = "".join(f'<th colspan="3">{escape(name)}</th>' for name in changes)
    parts = "<th>does what it must</th><th>keeps the rest</th><th>both</th>" * len(changes)
    head = f'<tr><th rowspan="2">changed (requests)</th>{names}</tr><tr>{parts}</tr>'
    rows = []
    for kind, (changed, must, rest, *_) in KINDS.items():
        n = max((found[kind]["n"] for found in changes.values() if kind in found), default=0)
        demand = f"must: {escape(must)}<br>keeps: {escape(rest)}"
        cells = [
            _with_interval("{:.0%}", found[kind][part]) if kind in found else "-"
            for found in changes.values()
            for part in ("follows", "keeps", "right")
        ]
        rows.append((f"{escape(changed)} <small>({n})</small><br>{demand}", cells))
    return _wide_table(head, rows)


def _rows(
    names: Iterable[str], systems: dict[str, dict], cell: Callable[[str, dict | None], str]
) -> list[tuple[str, list[str]]]:
    """A row for each figure that some system has: its label, and its cell for every system."""
    return [
        (escape(_FIGURES[name].label), [cell(name, found.get(name)) for found in systems.values()])
        for name in names
        if any(name in found for found in systems.values())
    ]


def _wide_table(head: str, rows: list[tuple[str, list[str]]]) -> str:
    """A table that a phone scrolls sideways: a name and its figures in each row, all in HTML.

    A name without figures is a heading over the rows below it.
    """
    width = 1 + max((len(cells) for _, cells in rows), default=0)
    lines = []
    for name, cells in rows:
        group = "" if cells else f' class="group" colspan="{width}"'
        figures = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f"<tr><td{group}>{name}</td>{figures}</tr>")
    return f'<div class="wide"><table>{head}{"".join(lines)}</table></div>'


def _heading(corner: str, names: Iterable[str]) -> str:
    return f"<tr><th>{corner}</th>{''.join(f'<th>{name}</th>' for name in names)}</tr>"


def _figure(name: str, figure: dict | None) -> str:
    return _with_interval(_FIGURES[name].form, figure) if figure else "-"


def _value(name: str, figure: dict) -> str:
    return _FIGURES[name].form.format(figure["value"])


def _with_interval(form: str, figure: dict) -> str:
    value, low, high = (form.format(figure[part]) for part in ("value", "low", "high"))
    return f"{value}<br><small>{low} to {high}</small>"


def _difference(name: str, figure: dict | None) -> str:
    if figure is None:
        return "-"
    verdict = figure["verdict"]
    kind = verdict if verdict in ("better", "worse") else ""
    shown = f'<span class="{kind}">{_signed(name, figure["difference"])}</span>'
    return f"{shown}<br><small>{_signed_interval(name, figure)}, {verdict}</small>"


def _signed(name: str, value: float) -> str:
    return ("+" if value > 0 else "") + _FIGURES[name].form.format(value)


def _signed_interval(name: str, figure: dict) -> str:
    return f"{_signed(name, figure['low'])} to {_signed(name, figure['high'])}"


# Answers.


def ranked(rows: list[JudgedRecord], system: str, worst: bool) -> list[JudgedRecord]:
    """Return the rows of evaluation.judging.judge by how good a system's answers are.

    An answer that fails fewer checks is better; among equals the one with the larger share of
    sentences that have an origin, then with the higher chrF. `worst` turns the order around.
    """
    return sorted(rows, key=lambda row: _goodness(row.systems[system]), reverse=not worst)


def _goodness(judged: Judged) -> tuple[int, float, float]:
    # An answer without sentences has no such share, and one without sacrebleu no chrF.
    above, below = judged.measures.get("grounded_sentences", (0, 1))
    return -len(judged.failed), above / below, judged.measures.get("chrf", (0, 1))[0]


def answers_html(rows: list[JudgedRecord], system: str) -> str:
    """Return a system's answers beside request and reference, with what is wrong with them.

    `rows` are those of evaluation.judging.judge.
    """
    return "".join(_answer_html(row, system) for row in rows)


def _answer_html(row: JudgedRecord, system: str) -> str:
    judged = row.systems[system]
    verdict = '<p class="better">passes every check</p>'
    if judged.failed:
        verdict = f'<p class="fail">fails: {escape(", ".join(judged.failed))}</p>'
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in judged.reasons)
    texts = (
        (f"request ({row.stratum})", escape(row.input)),
        (system, mark_unsupported(judged.answer, judged.unsupported)),
        ("reference", escape(row.reference)),
    )
    columns = "".join(
        f'<div><h4>{escape(name)}</h4><pre style="{_PRE}">{text}</pre></div>'
        for name, text in texts
    )
    return (
        f"<article>{verdict}<ul>{reasons}</ul>"
        f'<div class="answers" style="{_SIDE_BY_SIDE}">{columns}</div></article>'
    )


def mark_unsupported(answer: str, unsupported: list[dict]) -> str:
    """Return an answer as HTML, each sentence without an origin marked, with what is closest to it.

    `unsupported` are the answer's {"text", "nearest", "similarity"}, in the order of the text.
    """
    marks = []
    for span in unsupported:
        why = "without an origin"
        if span["nearest"]:
            why += f"; closest: {span['nearest']}, {span['similarity']:.0%} alike"
        marked = f'<mark title="{escape(why)}">{escape(span["text"])}</mark>'
        marks.append((span["text"], f'{marked} <span class="why">[{escape(why)}]</span>'))
    return mark_in_order(answer, marks).strip() or "(nothing but blanks)"


# Files and text.


def write_predictions(path: Path, rows: list[JudgedRecord]) -> Path:
    """Write the rows of evaluation.judging.judge, one JSON object a line, and return `path`."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    return write_text(path, "".join(lines))


def read_predictions(path: Path) -> list[JudgedRecord]:
    """Read what write_predictions wrote; `path` is the folder of an evaluation, or the file.

    Where a manifest stands beside it, the file has to be the one that it lists.

    Raises:
        MissingArtifactError: the file is not there.
        ArtifactMismatchError: the file is not the one of the manifest, has no line, or one that is
            no row of evaluation.judging.judge; the message names it.
    """
    is_folder = path.is_dir()
    path = path / PREDICTIONS if is_folder else path
    if not path.is_file():
        raise MissingArtifactError(f"{path} does not exist: run notebook 04 first.")
    if (path.parent / MANIFEST).is_file():
        listed = read_manifest(path.parent, only=path.name)["files"]
        if is_folder and path.name not in listed:
            raise ArtifactMismatchError(
                f"{path.parent / MANIFEST} lists no {path.name}; expected an evaluation of "
                "notebook 04."
            )
    rows: list[JudgedRecord] = []
    systems_of: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            row = _row(json.loads(line.decode()))
        except (
            ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError,
        ) as error:  # fmt: skip
            raise ArtifactMismatchError(
                f"{path}:{number}: not a line of an evaluation with strata; run notebook 04 again."
            ) from error
        expected = systems_of.setdefault(row.stratum, set(row.systems))
        if set(row.systems) != expected:
            raise ArtifactMismatchError(
                f"{path}:{number}: answers of {', '.join(row.systems) or 'none'}, expected those "
                f"of {', '.join(sorted(expected))}; run notebook 04 again."
            )
        rows.append(row)
    if not rows:
        raise ArtifactMismatchError(f"{path} holds no line; run notebook 04 again.")
    return rows


def _row(values: dict) -> JudgedRecord:
    """The row of a line. Raises one of many errors where it is none."""
    systems = {name: _read(Judged, one) for name, one in values["systems"].items()}
    row = _read(JudgedRecord, values | {"systems": systems})
    texts = [row.stratum, row.instruction, row.input, row.reference, row.group]
    for judged in systems.values():
        texts.append(judged.answer)
        for above, below in judged.measures.values():
            # Not a number is what a model of such weights is measured to be.
            if any(1e15 < abs(part) < math.inf for part in (above, below)):
                raise ValueError("a measure that nothing has")
    if not systems or not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none, or nobody answered")
    return row


def _read(kind: type, values: dict):
    """The dataclass of a JSON object, which may have more keys than it has fields."""
    known = {field.name for field in fields(kind)} & values.keys()
    return kind(**{name: values[name] for name in known})


def comparison_table(compared: dict) -> str:
    """Return what evaluation.judging.compare found as plain text.

    A block for each stratum and system; what is more than noise comes first.
    """
    blocks = []
    for stratum, systems in compared.items():
        for system, found in systems.items():
            first, second = found["n"]
            prompts = f"{first} and {second} different prompts"
            if found["paired"]:
                prompts = f"{first} prompts, the same in both"
            figures = found["figures"]
            names = sorted(figures, key=lambda name: _VERDICTS.index(figures[name]["verdict"]))
            lines = [_compared_line(name, figures[name]) for name in names]
            blocks.append("\n".join([f"{stratum}, {system}: {prompts}", *lines]))
    return "\n\n".join(blocks) or "The two runs have no stratum and system in common."


def _compared_line(name: str, figure: dict) -> str:
    first, second = (_FIGURES[name].form.format(figure[side]) for side in ("first", "second"))
    return (
        f"  {figure['verdict']:<20} {name:<28}{first:>10} -> {second:>10}"
        f"   {_signed(name, figure['difference']):>9} [{_signed_interval(name, figure)}],"
        f" p {figure['p_adjusted']:.4f}"
    )
