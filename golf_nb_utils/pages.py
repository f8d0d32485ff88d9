"""Self-contained HTML pages: one style, figures as embedded pictures, every text escaped."""

import base64
import difflib
import html
import io
import re
from itertools import pairwise

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
        number = isinstance(value, int | float) or (isinstance(value, str) and value[:1].isdigit() and value[-1:] in "0123456789%")
        return f"<td{' class=number' if number else ''}>{html.escape(f'{value:,}' if isinstance(value, int) else str(value))}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def picture(name: str, figure: Figure) -> str:
    """Return a figure under a heading, embedded as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="data:image/png;base64,{encoded}">'


def samples_table(samples: list[list[str]]) -> str:
    """Return an HTML table of answers: a row for each prompt, a column before training and after each epoch.

    `samples[n][i]` is the answer to prompt i after n epochs; words that differ from the column before are marked.
    """
    head = "".join(f"<th>{'before training' if number == 0 else f'after epoch {number}'}</th>" for number in range(len(samples)))
    # An untrained model may write a page of line breaks.
    samples = [[re.sub(r"\n{3,}", "\n\n", text).strip() for text in answers] for answers in samples]
    rows = []
    for answers in zip(*samples, strict=True):
        cells = [html.escape(answers[0]), *(_marked(before, after) for before, after in pairwise(answers))]
        style = "text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"
        rows.append("<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in cells) + "</tr>")
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
