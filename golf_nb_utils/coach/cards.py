"""An answer as three cards, each sentence with the entry of the knowledge base that it is."""

from html import escape

from golf_nb_utils.html import mark_in_order, table
from golf_nb_utils.prompt import HEADINGS

CARD_TITLES = {
    "what_should_happen": "What should happen",
    "what_is_happening": "What is happening",
    "what_to_do": "What to do",
}
# JupyterLab's colours where there are any (--jp-...), so that its dark theme is ours; elsewhere the
# page's own text colour on whatever is behind it. A sentence's source is laid over the whole width
# of its card, right below the sentence, so that it never leaves the screen.
_STYLE = """<style>
.golf-cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0; }
.golf-card { flex: 1 1 240px; min-width: 0; position: relative; line-height: 1.55;
  border: 1px solid var(--jp-border-color2, #8aa396); border-top: 4px solid #3c8a61;
  border-radius: 6px; padding: 8px 16px 14px; overflow-wrap: anywhere; }
.golf-card:last-child { flex-basis: 100%; }
.golf-card h4 { margin: 4px 0 8px; }
.golf-draft .golf-card { border-top-style: dashed; }
.golf-origin { border-radius: 3px; }
.golf-origin:hover, .golf-origin:focus { background: #3c8a6140; outline: 2px solid #3c8a61; }
.golf-origin:hover::after, .golf-origin:focus::after { content: attr(aria-description);
  position: absolute; left: 8px; right: 8px; z-index: 9; margin-top: 1.7em; padding: 6px 10px;
  border-radius: 4px; background: #1d2b24; color: #fff; font-size: 12px; line-height: 1.4; }
.golf-verdict, .golf-exception { margin: 8px 0; line-height: 1.5; }
.golf-exception { padding-left: 10px; border-left: 4px solid #c2410c; }
.golf-sources table { border-spacing: 0; }
.golf-sources td { padding: 3px 10px 3px 0; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; white-space: normal; }
.golf-sources summary { display: list-item; cursor: pointer; }
</style>"""


def feedback_cards(feedback: dict | str | None, is_right: bool = False) -> str:
    """Return an answer as HTML: three cards below a line that says whether it is verified.

    `feedback` is what generate_feedback returned, or the text that is being written (`is_right`
    says that it begins a right answer), or None where nothing has been asked yet. Each sentence of
    verified feedback shows on hover and on focus the entry of the knowledge base that it is; a
    table below lists them all. Only what a reader should be warned of carries a mark.
    """
    if isinstance(feedback, dict):
        sentences = feedback["verification"]["sentences"]
        marks = [(sentence["text"], _with_origin(sentence)) for sentence in sentences]
        text = mark_in_order(feedback["suggestion"], marks)
        return _cards(_verdict(feedback), text) + _sources(sentences)
    if feedback is None:
        return _STYLE + _line("Say what happens, in your own words, and press <b>Coach me</b>.")
    if is_right:
        return _cards(_line("Writing, verified as it goes &hellip;"), escape(feedback))
    return _cards(_exception("A draft, not verified yet &hellip;"), escape(feedback), " golf-draft")


def _cards(verdict: str, text: str, state: str = "") -> str:
    """The parts of `text` (HTML) in their cards; of a draft there may be fewer than three yet."""
    bodies = {}
    # From the last heading back, so that what is left over is the text before it.
    for part, heading in reversed(HEADINGS.items()):
        text, found, body = text.partition(escape(heading))
        # Not by a style sheet, which GitHub takes away where it shows a notebook.
        bodies[part] = body.strip().replace("\n", "<br>") if found else ""
    cards = "".join(
        f'<div class="golf-card"><h4>{title}</h4>{bodies[part]}</div>'
        for part, title in CARD_TITLES.items()
    )
    return f'{_STYLE}{verdict}<div class="golf-cards{state}">{cards}</div>'


def _line(said: str) -> str:
    return f'<p class="golf-verdict" role="status">{said}</p>'


def _exception(said: str) -> str:
    """A line that stands out, by a sign as well as by a colour."""
    return f'<p class="golf-exception" role="status">&#9888;&#xfe0e; {said}</p>'


def _with_origin(sentence: dict) -> str:
    origin = escape(" \u00b7 ".join(_origin(sentence)))
    text = escape(sentence["text"])
    return f'<span class="golf-origin" tabindex="0" aria-description="{origin}">{text}</span>'


def _origin(sentence: dict) -> tuple[str, str, str]:
    """Id, place in the knowledge base, and sources of a sentence."""
    sources = sentence["sources"]
    named = sources if isinstance(sources, str) else ", ".join(sources)
    return sentence["id"], sentence["place"], named


def _verdict(feedback: dict) -> str:
    verification = feedback["verification"]
    n_checks, refused = len(verification["checks"]), verification["refused"]
    by = f"written by <b>{escape(feedback['generated_by'])}</b>"
    read = verification["input"] or ""
    meant = next((line[9:] for line in read.split("\n") if line.startswith("Meaning: ")), "")
    understood = f"Understood as <b>{escape(meant)}</b>. " if meant else ""
    lines = [_line(f"{understood}All {n_checks} checks passed, {by}.")]
    if refused:
        n_refused = sum(attempt["candidates"] for attempt in refused)
        why = next((reason for attempt in refused for reason in attempt["reasons"]), "")
        before = f"{n_refused} refused before this one. " if n_refused else "Not the first try. "
        lines.append(_exception(f"{before}The reason: {escape(why)}"))
    return "".join([*lines, *(_exception(escape(remark)) for remark in verification["remarks"])])


def _sources(sentences: list[dict]) -> str:
    rows = [[sentence["text"], *_origin(sentence)] for sentence in sentences]
    return (
        '<details class="golf-sources"><summary>Where each sentence comes from</summary>'
        f"{table([], rows)}</details>"
    )
