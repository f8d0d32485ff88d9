"""The one prompt, the same at training and at sampling; its hash is saved with every model.

It is that of Stanford Alpaca (github.com/tatsu-lab/stanford_alpaca, train.py) for a record with an
input. A model that learnt one form of words answers badly to any other, so nothing else builds one.
"""

import hashlib

PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)
PROMPT = PREAMBLE + "\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"

END_OF_TEXT = "<|endoftext|>"
"""How GPT-2's one special token is written. It closes every answer, and stands in none."""

HEADINGS = {
    "what_should_happen": "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "what_is_happening": "WHAT IS HAPPENING (Current Issue):",
    "what_to_do": "WHAT TO DO (Actionable Steps):",
}


class FeedbackFormatError(ValueError):
    """A feedback text does not have its three headed parts, once each and in order."""


def format_input(entry: dict) -> str:
    """Return the prompt of a record (its `instruction` and `input`), response header included."""
    return PROMPT.format(instruction=entry["instruction"], input=entry["input"])


def format_example(entry: dict) -> str:
    """Return prompt and answer of a record as one text, without the end-of-text token."""
    return format_input(entry) + entry["output"]


def format_feedback(what_should_happen: str, what_is_happening: str, what_to_do: str) -> str:
    """Return the three parts under their headings."""
    bodies = (what_should_happen, what_is_happening, what_to_do)
    return "\n\n".join(
        f"{heading}\n{body}" for heading, body in zip(HEADINGS.values(), bodies, strict=True)
    )


def parse_feedback(text: str) -> dict[str, str]:
    """Split a feedback text into its three parts, by the keys of HEADINGS.

    Raises:
        FeedbackFormatError: a heading is missing, double, out of order or without text below it.
    """
    positions = []
    for heading in HEADINGS.values():
        if text.count(heading) != 1:
            raise FeedbackFormatError(
                f"the heading {heading!r} occurs {text.count(heading)} times, expected once."
            )
        positions.append(text.index(heading))
    if positions != sorted(positions):
        raise FeedbackFormatError("the three headings are out of order.")
    parts = {}
    for (key, heading), start, end in zip(
        HEADINGS.items(), positions, [*positions[1:], len(text)], strict=True
    ):
        parts[key] = text[start + len(heading) : end].strip()
        if not parts[key]:
            raise FeedbackFormatError(f"nothing stands below the heading {heading!r}.")
    return parts


def prompt_hash() -> str:
    """Return the SHA-256 of the prompt and the headings.

    A model only serves the prompt that it was trained on.
    """
    return hashlib.sha256("\n".join((PROMPT, *HEADINGS.values())).encode()).hexdigest()
