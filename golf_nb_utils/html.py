"""Self-contained HTML pages: one style, figures as embedded pictures, every text escaped."""

import base64
import difflib
import html
import io
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from golf_nb_utils.prompt import SECTIONS

if TYPE_CHECKING:
    # Not at run time: training imports this module by way of data_files, also where there is no matplotlib.
    from matplotlib.figure import Figure

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1d2b24; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border: 1px solid #cdd8d1; padding: .35rem .7rem; text-align: left; vertical-align: top; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }} img {{ max-width: 100%; }}
.answers {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }}
.answers div {{ border: 1px solid #cdd8d1; border-radius: .4rem; padding: .7rem; overflow-wrap: anywhere; }}
pre {{ white-space: pre-wrap; font: inherit; margin: 0; }} .fail {{ color: #a12; }} code {{ font-size: .85em; color: #51635a; }}
</style></head><body>
<h1>{title}</h1><p>{summary}</p>
{body}
</body></html>
"""


def page(title: str, summary: str, body: str) -> str:
    """Return a whole page; `body` is HTML, title and summary are texts."""
    return _PAGE.format(title=html.escape(title), summary=html.escape(summary), body=body)


def table(header: list[str], rows: list[list]) -> str:
    """Return an HTML table; cells are texts or numbers, and numbers stand to the right."""

    def cell(value) -> str:
        number = isinstance(value, int | float) or (
            isinstance(value, str) and value[:1].isdigit() and value[-1:] in "0123456789%"
        )
        return f"<td{' class=number' if number else ''}>{html.escape(f'{value:,}' if isinstance(value, int) else str(value))}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def picture(name: str, figure: "Figure") -> str:
    """Return a figure under a heading, embedded as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="data:image/png;base64,{encoded}">'


def columns(texts: dict[str, str]) -> str:
    """Return an HTML table of texts side by side, under their names."""
    style = "text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"
    head = "".join(f'<th style="text-align: left">{html.escape(name)}</th>' for name in texts)
    cells = "".join(
        f'<td style="{style}">{html.escape(_without_gaps(text)) or "(nothing but blanks)"}</td>'
        for text in texts.values()
    )
    return (
        f'<table style="table-layout: fixed; width: 100%"><tr>{head}</tr><tr>{cells}</tr></table>'
    )


def _without_gaps(text: str) -> str:
    """An untrained model may write a page of line breaks."""
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def samples_table(samples: list[list[str]]) -> str:
    """Return an HTML table of answers: a row for each prompt, a column before training and after each epoch.

    `samples[n][i]` is the answer to prompt i after n epochs; words that differ from the column before are marked.
    """
    head = "".join(
        f"<th>{'before training' if number == 0 else f'after epoch {number}'}</th>"
        for number in range(len(samples))
    )
    samples = [[_without_gaps(text) for text in answers] for answers in samples]
    rows = []
    for answers in zip(*samples, strict=True):
        cells = [
            html.escape(answers[0]),
            *(_marked(before, after) for before, after in pairwise(answers)),
        ]
        style = (
            "text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"
        )
        rows.append(
            "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in cells) + "</tr>"
        )
    return f'<table style="table-layout: fixed; width: 100%"><tr>{head}</tr>{"".join(rows)}</table>'


def _marked(before: str, after: str) -> str:
    """`after` as HTML, with the words that are not in `before` at that place in <mark>; if nearly all differ, nothing is marked."""
    # The blanks stay with their words, so that lines are kept.
    old, new = (re.findall(r"\S+\s*", text) for text in (before, after))
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    if matcher.ratio() < 0.2:
        return html.escape(after)
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        text = html.escape("".join(new[start:end]))
        parts.append(text if kind == "equal" or not text else f"<mark>{text}</mark>")
    return "".join(parts)


CARD_TITLES = {
    "what_should_happen": "What should happen",
    "what_is_happening": "What is happening",
    "what_to_do": "What to do",
}
# Colours are those of the page around, in light and dark, with the one green of this project.
_CARD_STYLE = """<style>
.golf-cards { display: flex; flex-wrap: wrap; gap: 13px; margin: 10px 0; }
.golf-card { flex: 1 1 272px; border: 1px solid #8aa396; border-top: 4px solid #2f6f4e; border-radius: 6px; padding: 8px 14px 13px;
  line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
.golf-card h4 { margin: 3px 0 8px; } .golf-draft .golf-card { border-top-style: dashed; opacity: .75; }
.golf-origin { text-decoration: underline dotted #2f6f4e 1px; text-underline-offset: .2em; cursor: help; }
.golf-origin::after { content: "\\2009\\2713"; color: #2f8f5e; font-size: .8em; }
.golf-verdict { margin: 5px 0; } .golf-refused { color: #c2410c; }
.golf-sources td { padding: 2px 10px 2px 0; text-align: left; vertical-align: top; }
.golf-sources summary { display: list-item; }
</style>"""


def feedback_cards(feedback: dict | str | None) -> str:
    """Return an answer as three cards: verified feedback (coach.generate_feedback), a draft that is being written, or nothing yet.

    Each sentence of verified feedback shows on hover or focus the entry of the knowledge base that it is; all of them stand in a
    table below, too, for those who do not use a mouse.
    """
    if feedback is None or isinstance(feedback, str):
        bodies, state = _draft_parts(feedback or ""), " golf-draft"
        verdict = (
            "Draft, not verified yet ..."
            if feedback
            else "Set a swing, then press <b>Give feedback</b>."
        )
        sources = ""
    else:
        sentences = feedback["verification"]["sentences"]
        bodies, state = {}, ""
        for part in CARD_TITLES:
            bodies[part], sentences = _with_origins(feedback[part], sentences)
        verdict, sources = _verdict(feedback), _sources(feedback["verification"]["sentences"])
    cards = "".join(
        f'<div class="golf-card"><h4>{title}</h4>{bodies[part]}</div>'
        for part, title in CARD_TITLES.items()
    )
    return f'{_CARD_STYLE}<p class="golf-verdict">{verdict}</p><div class="golf-cards{state}">{cards}</div>{sources}'


def _draft_parts(text: str) -> dict[str, str]:
    """The parts of an unfinished answer as HTML, by the headings that have been written so far."""
    bodies = dict.fromkeys(SECTIONS, "")
    for part, heading in reversed(SECTIONS.items()):
        text, found, body = text.partition(heading)
        bodies[part] = html.escape(body.strip()) if found else ""
    return bodies


def _with_origins(text: str, sentences: list[dict]) -> tuple[str, list[dict]]:
    """`text` as HTML with its sentences marked, and the sentences that were not in it."""
    marked, end = [], 0
    while sentences and (start := text.find(sentences[0]["text"], end)) >= 0:
        sentence, sentences = sentences[0], sentences[1:]
        origin = f"{sentence['id']} \u00b7 {sentence['place']} \u00b7 {_named(sentence['sources'])}"
        shown = f'<span class="golf-origin" tabindex="0" title="{html.escape(origin)}">{html.escape(sentence["text"])}</span>'
        marked += (html.escape(text[end:start]), shown)
        end = start + len(sentence["text"])
    return "".join(marked) + html.escape(text[end:]), sentences


def _verdict(feedback: dict) -> str:
    verification = feedback["verification"]
    n_checks, refused = len(verification["checks"]), verification["refused"]
    said = f"&#10003; Verified: {n_checks} of {n_checks} checks hold. Written by <b>{html.escape(feedback['generated_by'])}</b>"
    if refused:
        n_refused = sum(attempt["candidates"] for attempt in refused)
        why = html.escape(
            next((reason for attempt in refused for reason in attempt["reasons"]), "")
        )
        said += f'. Refused before it: {n_refused}; <span class="golf-refused">the first, because: {why}</span>'
    remarks = "".join(f"<br>{html.escape(remark)}" for remark in verification["remarks"])
    return said + remarks


def _sources(sentences: list[dict]) -> str:
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(cell)}</td>"
            for cell in (one["text"], one["id"], one["place"], _named(one["sources"]))
        )
        + "</tr>"
        for one in sentences
    )
    return f'<details class="golf-sources"><summary>Where each sentence comes from</summary><table>{rows}</table></details>'


def _named(sources) -> str:
    return sources if isinstance(sources, str) else ", ".join(sources)
