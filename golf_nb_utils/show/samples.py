"""What a model learns from and what it writes, as HTML for a notebook.

A notebook has a light and a dark theme and no style sheet of ours: letters keep the theme's colour,
and a tint that lets the background through carries the meaning, beside a sign.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from html import escape

from golf_nb_utils.golf.sentences import Reading, Span
from golf_nb_utils.html import mark_in_order
from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.training.batches import IGNORED

LONGEST = 24
"""Lines of an answer that are shown; a right one has fewer."""
_GREEN, _RED = "rgba(47, 143, 94, .28)", "rgba(194, 65, 12, .22)"
_TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; max-width: 46rem"
_TOKEN = (
    "display: inline-block; margin: 0 2px 4px 0; padding: 0 4px; border: 1px solid rgba(128, 128, "
    "128, .5); border-radius: 3px; white-space: pre; font: 13px/1.4 monospace; text-align: center"
)


def labelled_tokens(
    input_ids: list[int], targets: list[int], decode: Callable[[list[int]], str]
) -> str:
    """Return a row of boxes: what the model reads, and below it what it is to answer.

    A position that the loss passes over (batches.IGNORED) is a plain box with a dash.
    """
    boxes = []
    for read, target in zip(input_ids, targets, strict=True):
        below, tint = "\u2013", ""
        if target != IGNORED:
            below, tint = f"<b>{_visible(decode([target]))}</b>", f"; background: {_GREEN}"
        boxes.append(f'<span style="{_TOKEN}{tint}">{_visible(decode([read]))}<br>{below}</span>')
    return f"<div>{''.join(boxes)}</div>"


def _visible(token: str) -> str:
    """A token as HTML, its blanks and line breaks as signs."""
    return escape(token.replace("\n", "\u21b5").replace(" ", "\u00b7"))


def counted(reading: Reading) -> str:
    """Return how many sentences of an answer are known; what has no letter is no sentence."""
    spans = [span for span in reading.sentences if any(map(str.isalpha, span.text))]
    n_known = sum(span.origin is not None for span in spans)
    return f"{n_known} of {len(spans)} sentences known" if spans else "no sentence yet"


def lines_of(reading: Reading) -> Iterator[tuple[str, bool | None]]:
    """Yield the headings and sentences of an answer, each with whether the knowledge base has it.

    A heading has None instead.
    """
    coming = deque(reading.sentences)
    for line in reading.text.split("\n"):
        if line in HEADINGS.values():
            yield line, None
        while coming and coming[0].text in line:
            span = coming.popleft()
            line = line.partition(span.text)[2]
            yield span.text, span.origin is not None


def marked_answers(answers: dict[str, Reading]) -> str:
    """Return answers below each other, {title: reading}, each sentence marked.

    Green with a tick: it is an entry of the knowledge base, or one of the sentences that carry
    scores, with the scores of the request. Red with a cross: it is none. Where the reading has the
    closest entry of such a sentence, it shows while the mouse is on it.
    """
    return "".join(_answer(title, reading) for title, reading in answers.items())


def _answer(title: str, reading: Reading) -> str:
    marks = [(span.text, _marked(span)) for span in reading.sentences]
    # An untrained model may write a page of one sign, of line breaks, or of "1." a line.
    lines = re.sub(r"\n{3,}", "\n\n", reading.text).strip().split("\n")
    text = mark_in_order("\n".join(lines[:LONGEST]), marks)
    text = re.sub(r"(\S)\1{120,}", lambda run: run[1] * 120 + f" ({len(run[0]):,} of them)", text)
    text += f"\n({len(lines) - LONGEST} more lines)" if len(lines) > LONGEST else ""
    head = f"{escape(title)}: {counted(reading)}"
    return f'<h4>{head}</h4><div style="{_TEXT}">{text or "(nothing but blanks)"}</div>'


def _marked(span: Span) -> str:
    known = span.origin is not None
    tint, sign = (_GREEN, "\u2713") if known else (_RED, "\u2717")
    closest = f"closest: {span.nearest}, {span.similarity:.0%} alike" if span.nearest else ""
    told = escape(span.origin if known else closest or "in no topic file")
    style = f"background: {tint}; border-radius: 3px"
    return f'<span style="{style}" title="{told}">{escape(span.text)} {sign}</span>'
