"""Self-contained HTML pages: one style, figures as embedded pictures, every text escaped.

Texts come from golfers and from a model, so no function here lets one become markup.
"""

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: the app's cards need this module, and no matplotlib.
    from matplotlib.figure import Figure

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2b24; --soft: #51635a; --line: #cdd8d1;
  --tint: #eef3f0; --green: #2f6f4e; --rust: #a13a1a; --paper: #fff; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #dde6e0; --soft: #9fb2a7;
  --line: #3b4a42; --tint: #202b25; --green: #6fc397; --rust: #ff9d8a; --paper: #141c18; }} }}
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; color: var(--ink); background: var(--paper); overflow-wrap: break-word; }}
h1, h2 {{ line-height: 1.25; }} h2 {{ margin-top: 2.5rem; }} p {{ max-width: 44rem; }}
a, summary {{ color: var(--green); }} summary {{ cursor: pointer; padding: .3rem 0; }}
small {{ color: var(--soft); }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border: 1px solid var(--line); padding: .35rem .7rem; text-align: left;
  vertical-align: top; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
img {{ max-width: 100%; background: #fff; border-radius: .4rem; }}
figure {{ margin: 1rem 0; }} figcaption {{ font-weight: 600; margin-bottom: .6rem; }}
.bar {{ display: grid; grid-template-columns: minmax(0, 20rem) minmax(6rem, 1fr) 10rem;
  gap: 0 1rem; align-items: center; padding: .25rem 0; }}
.track {{ position: relative; height: .8rem; background: var(--tint); border-radius: .2rem; }}
.track i {{ position: absolute; inset: 0 auto 0 0; background: var(--green);
  border-radius: .2rem; min-width: 2px; }}
.track u {{ position: absolute; top: 50%; border-top: 2px solid var(--ink); min-width: 4px; }}
@media (max-width: 40rem) {{ .bar {{ grid-template-columns: 1fr 9rem; padding: .4rem 0; }}
  .bar > :first-child {{ grid-column: 1 / 3; }} th, td {{ padding: .25rem .4rem; }} }}
</style></head><body>
<h1>{title}</h1><p>{summary}</p>
{body}
</body></html>
"""
# A notebook has no style sheet of ours: what is shown in one carries its style in its elements.
_TEXT_COLUMNS = "table-layout: fixed; width: 100%"
_TEXT_CELL = "text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"


def page(title: str, summary: str, body: str) -> str:
    """Return a whole page; `body` is HTML, title and summary are texts."""
    return _PAGE.format(title=escape(title), summary=escape(summary), body=body)


def table(header: list[str], rows: list[list]) -> str:
    """Return an HTML table; cells are texts or numbers, and numbers stand to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = [head, *("".join(map(_cell, row)) for row in rows)]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines if line)}</table>"


def folded(summary: str, body: str) -> str:
    """Return `body` (HTML) behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def bars(caption: str, rows: list[tuple[str, dict]]) -> str:
    """Return shares as a figure of bars that any width and either colour scheme can show.

    `rows` are (label, {"value", "low", "high"}), each 0..1; the line over a bar is its interval.
    """
    lines = []
    for label, share in rows:
        value, low, high = (100 * share[part] for part in ("value", "low", "high"))
        drawn = f'<i style="width:{value:.1f}%"></i>'
        drawn += f'<u style="left:{low:.1f}%;width:{high - low:.1f}%"></u>'
        said = f"<b>{value:.0f}%</b> <small>{low:.0f} to {high:.0f}%</small>"
        cells = f'<span>{escape(label)}</span><span class="track">{drawn}</span><span>{said}</span>'
        lines.append(f'<div class="bar">{cells}</div>')
    return f"<figure><figcaption>{escape(caption)}</figcaption>{''.join(lines)}</figure>"


def _cell(value) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    # "45.0%" and "1,024" are numbers, too; "7-iron" is none.
    is_number = isinstance(value, int | float) or re.fullmatch(r"[0-9](.*[0-9%])?", text)
    return f"<td{' class=number' if is_number else ''}>{escape(text)}</td>"


def image(name: str, figure: "Figure") -> str:
    """Return a figure, embedded as PNG; `name` says what it shows to those who do not see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(name)}" src="{source}">'


def picture(name: str, figure: "Figure") -> str:
    """Return a figure under a heading."""
    return f"<h2>{escape(name)}</h2>{image(name, figure)}"


def columns(texts: dict[str, str]) -> str:
    """Return an HTML table of texts side by side, under their names."""
    head = "".join(f'<th style="text-align: left">{escape(name)}</th>' for name in texts)
    cells = [escape(_without_gaps(text)) or "(nothing but blanks)" for text in texts.values()]
    return _text_columns(head, [cells])


def _text_columns(head: str, rows: list[list[str]]) -> str:
    """A table of texts in columns of one width; header and cells are HTML."""
    lines = ("".join(f'<td style="{_TEXT_CELL}">{cell}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="{_TEXT_COLUMNS}"><tr>{head}</tr>{body}</table>'


def _without_gaps(text: str) -> str:
    """An untrained model may write a page of line breaks."""
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def mark_in_order(text: str, marks: list[tuple[str, str]]) -> str:
    """Return `text` as HTML, with each passage of `marks` (passage, its HTML) replaced.

    Each passage is looked for behind the one before it, since the same words may stand in a text
    twice; a passage that is not there is passed over.
    """
    parts, end = [], 0
    for passage, shown in marks:
        start = text.find(passage, end)
        if start >= 0:
            parts += (escape(text[end:start]), shown)
            end = start + len(passage)
    return "".join(parts) + escape(text[end:])
