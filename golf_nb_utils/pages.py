"""Self-contained HTML pages: one style, figures as embedded pictures, every text escaped."""

import base64
import html
import io

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
