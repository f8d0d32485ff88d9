"""The one prompt template: the same text at training and at sampling, its hash saved with every model."""

import hashlib

PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
TEMPLATE = (
    PREAMBLE + "\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)

SECTIONS = {
    "what_should_happen": "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "what_is_happening": "WHAT IS HAPPENING (Current Issue):",
    "what_to_do": "WHAT TO DO (Actionable Steps):",
}


class FeedbackFormatError(ValueError):
    """A feedback text does not have its three headed parts, once each and in order."""


def format_input(entry: dict) -> str:
    """Return the prompt of a record (its `instruction` and `input`), response header included."""
    return TEMPLATE.format(instruction=entry["instruction"], input=entry["input"])


def format_example(entry: dict) -> str:
    """Return prompt and answer of a record as one text; the end-of-text token is added as a token, not here."""
    return format_input(entry) + entry["output"]


def format_feedback(what_should_happen: str, what_is_happening: str, what_to_do: str) -> str:
    """Return the three parts under their headings."""
    bodies = (what_should_happen, what_is_happening, what_to_do)
    return "\n\n".join(
        f"{heading}\n{body}" for heading, body in zip(SECTIONS.values(), bodies, strict=True)
    )


def parse_feedback(text: str) -> dict[str, str]:
    """Split a feedback text into its three parts, by the keys of SECTIONS.

    Raises:
        FeedbackFormatError: a heading is missing, double, out of order or without text below it.
    """
    positions = []
    for heading in SECTIONS.values():
        if text.count(heading) != 1:
            raise FeedbackFormatError(
                f"the heading {heading!r} occurs {text.count(heading)} times, expected once."
            )
        positions.append(text.index(heading))
    if positions != sorted(positions):
        raise FeedbackFormatError("the three headings are out of order.")
    parts = {}
    for (key, heading), start, end in zip(
        SECTIONS.items(), positions, [*positions[1:], len(text)], strict=True
    ):
        parts[key] = text[start + len(heading) : end].strip()
        if not parts[key]:
            raise FeedbackFormatError(f"nothing stands below the heading {heading!r}.")
    return parts


def template_hash() -> str:
    """Return the SHA-256 of the template and the headings; a model only serves the template it was trained on."""
    return hashlib.sha256("\n".join((TEMPLATE, *SECTIONS.values())).encode()).hexdigest()
