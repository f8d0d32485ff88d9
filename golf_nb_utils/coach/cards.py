"""An answer as three cards, each sentence with the entry of the knowledge base that it is."""

from html import escape

from golf_nb_utils.html import mark_in_order, table
from golf_nb_utils.prompt import HEADINGS

CARD_TITLES = {
    "what_should_happen": "What should happen",
    "what_is_happening": "What is happening",
    "what_to_do": "What to do",
}
# Colours are those of the page around, in light and dark, with the one green of this project.
_STYLE = """<style>
.golf-cards { display: flex; flex-wrap: wrap; gap: 13px; margin: 10px 0; }
.golf-card { flex: 1 1 272px; border: 1px solid #8aa396; border-top: 4px solid #2f6f4e;
  border-radius: 6px; padding: 8px 14px 13px;
  line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
.golf-card h4 { margin: 3px 0 8px; }
.golf-draft .golf-card { border-top-style: dashed; opacity: .75; }
.golf-origin { cursor: help;
  text-decoration: underline dotted #2f6f4e 1px; text-underline-offset: .2em; }
.golf-origin::after { content: "\\2009\\2713"; color: #2f8f5e; font-size: .8em; }
.golf-verdict { margin: 5px 0; } .golf-refused { color: #c2410c; }
.golf-sources td { padding: 2px 10px 2px 0; text-align: left; vertical-align: top; }
.golf-sources summary { display: list-item; }
</style>"""


def feedback_cards(feedback: dict | str | None, is_right: bool = False) -> str:
    """Return an answer as HTML: three cards below a line that says whether it is verified.

    `feedback` is what generate_feedback returned, or the text that is being written (`is_right`
    says that it begins a right answer), or None where nothing has been asked yet. Each sentence of
    verified feedback shows on hover or focus the entry of the knowledge base that it is; all of
    them stand in a table below, too, for those who do not use a mouse.
    """
    if isinstance(feedback, dict):
        sentences = feedback["verification"]["sentences"]
        marks = [(sentence["text"], _with_origin(sentence)) for sentence in sentences]
        text = mark_in_order(feedback["suggestion"], marks)
        return _cards(_verdict(feedback), text) + _sources(sentences)
    if feedback:
        if is_right:
            return _cards("Writing: every sentence so far is verified ...", escape(feedback))
        return _cards("Draft, not verified yet ...", escape(feedback), " golf-draft")
    return _cards("Set a swing, then press <b>Give feedback</b>.", "", " golf-draft")


def _cards(verdict: str, text: str, state: str = "") -> str:
    """The parts of `text` (HTML) in their cards; of a draft there may be fewer than three yet."""
    bodies = {}
    # From the last heading back, so that what is left over is the text before it.
    for part, heading in reversed(HEADINGS.items()):
        text, found, body = text.partition(escape(heading))
        bodies[part] = body.strip() if found else ""
    cards = "".join(
        f'<div class="golf-card"><h4>{title}</h4>{bodies[part]}</div>'
        for part, title in CARD_TITLES.items()
    )
    shown = f'<div class="golf-cards{state}">{cards}</div>'
    return f'{_STYLE}<p class="golf-verdict">{verdict}</p>{shown}'


def _with_origin(sentence: dict) -> str:
    origin = escape(" \u00b7 ".join(_origin(sentence)))
    text = escape(sentence["text"])
    return f'<span class="golf-origin" tabindex="0" title="{origin}">{text}</span>'


def _origin(sentence: dict) -> tuple[str, str, str]:
    """Id, place in the knowledge base, and sources of a sentence."""
    sources = sentence["sources"]
    named = sources if isinstance(sources, str) else ", ".join(sources)
    return sentence["id"], sentence["place"], named


def _verdict(feedback: dict) -> str:
    verification = feedback["verification"]
    n_checks, refused = len(verification["checks"]), verification["refused"]
    said = f"&#10003; Verified: {n_checks} of {n_checks} checks hold. "
    said += f"Written by <b>{escape(feedback['generated_by'])}</b>"
    if refused:
        n_refused = sum(attempt["candidates"] for attempt in refused)
        why = next((reason for attempt in refused for reason in attempt["reasons"]), "")
        first = f'<span class="golf-refused">the first, because: {escape(why)}</span>'
        said += f". Refused before it: {n_refused}; {first}"
    return said + "".join(f"<br>{escape(remark)}" for remark in verification["remarks"])


def _sources(sentences: list[dict]) -> str:
    rows = [[sentence["text"], *_origin(sentence)] for sentence in sentences]
    return (
        '<details class="golf-sources"><summary>Where each sentence comes from</summary>'
        f"{table([], rows)}</details>"
    )
