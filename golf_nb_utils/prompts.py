"""The one prompt template: the same text at training and at sampling, its hash saved with every model."""

import hashlib

from golf_nb_utils.config import ALL_SCORES, AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.phrases import INSTRUCTIONS

PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
TEMPLATE = PREAMBLE + "\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"

SECTIONS = {
    "what_should_happen": "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "what_is_happening": "WHAT IS HAPPENING (Current Issue):",
    "what_to_do": "WHAT TO DO (Actionable Steps):",
}


class FeedbackFormatError(ValueError):
    """A feedback text does not have its three headed parts, once each and in order."""


class InputFormatError(ValueError):
    """The `input` of a request is not one that make_entry writes."""


def format_input(entry: dict) -> str:
    """Return the prompt of a record (its `instruction` and `input`), response header included."""
    return TEMPLATE.format(instruction=entry["instruction"], input=entry["input"])


def make_entry(
    area: str,
    current_score: float,
    target_score: float,
    club: str | None = None,
    level: str | None = None,
    handedness: str | None = None,
    observation: str | None = None,
    all_scores: dict[str, float] | None = None,
    audience: str | None = None,
    instruction: str = INSTRUCTIONS[0],
) -> dict[str, str]:
    """Return the `instruction` and `input` of a request; lines whose value is None are left out.

    `area` is the app's key, scores are 0..1 and printed with two decimals; without `handedness` the golfer is taken
    for a right-hander, without `audience` (senior, junior, limited mobility) for an adult without restrictions.

    Raises:
        ValueError: a score lies outside 0..1.
    """
    for name, score in {"current_score": current_score, "target_score": target_score, **(all_scores or {})}.items():
        if not 0 <= score <= 1:
            raise ValueError(f"{name} must be a score of 0 to 1, found {score!r}; divide a percentage by 100.")
    # + 0.0 turns -0.0, which would print its sign, into 0.0.
    current, target = round(current_score, 2) + 0.0, round(target_score, 2) + 0.0
    lines = {
        "Area": area,
        "Current Score": f"{current:.2f}",
        "Target Score": f"{target:.2f}",
        "Gap": f"{max(0.0, target - current):.2f}",
        "Club": club,
        "Level": level,
        "Handedness": handedness,
        "Golfer": audience,
        # On one line, whatever the app sends: a line break would start a new field.
        "Observation": " ".join((observation or "").split()) or None,
        "All Scores": ", ".join(f"{name} {score + 0.0:.2f}" for name, score in all_scores.items()) if all_scores else None,
    }
    return {"instruction": instruction, "input": "\n".join(f"{name}: {value}" for name, value in lines.items() if value is not None)}


_CHOICES = {
    "Area": ("area", AREAS), "Club": ("club", CLUBS), "Level": ("level", LEVELS), "Handedness": ("handedness", HANDEDNESS),
    "Golfer": ("audience", AUDIENCES),
}  # fmt: skip
_PRINTED = {f"{number / 100:.2f}": number / 100 for number in range(101)}
_SCORES = {"Current Score": "current_score", "Target Score": "target_score", "Gap": "gap"}


def parse_input(text: str) -> dict:
    """Read the `input` of a request back: the arguments of make_entry (None where a line is absent) and `gap`.

    Raises:
        InputFormatError: the lines do not begin with area, current and target score, or one of them is unknown, double or malformed.
    """
    values: dict = dict.fromkeys(("area", "current_score", "target_score", "gap", "club", "level", "handedness", "audience"))
    values |= {"observation": None, "all_scores": None}
    names = []
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        if name in names:
            raise InputFormatError(f"the line {name!r} stands twice in the input.")
        names.append(name)
        if name in _CHOICES and value in _CHOICES[name][1]:
            values[_CHOICES[name][0]] = value
        elif name in _SCORES and value in _PRINTED:
            values[_SCORES[name]] = _PRINTED[value]
        elif name == "Observation" and value.strip():
            values["observation"] = value
        elif name == "All Scores":
            values["all_scores"] = _parse_scores(value)
        else:
            raise InputFormatError(f"the input has an unknown line or value: {line[:80]!r}.")
    gap, real = values["gap"], max(0.0, (values["target_score"] or 0) - (values["current_score"] or 0))
    if gap is not None and abs(gap - real) > 0.005:
        raise InputFormatError(f"the gap is given as {gap:.2f}, but target minus current score is {real:.2f}.")
    if names[:3] != ["Area", "Current Score", "Target Score"]:
        raise InputFormatError(f"an input begins with Area, Current Score and Target Score; found {names[:3]}.")
    return values


def _parse_scores(text: str) -> dict[str, float]:
    scores = {}
    for entry in text.split(", "):
        name, _, value = entry.partition(" ")
        if name not in ALL_SCORES or name in scores or value not in _PRINTED:
            raise InputFormatError(f"All Scores holds {entry[:40]!r}; expected a known score, once, as in `balance 0.45`.")
        scores[name] = _PRINTED[value]
    return scores


def format_example(entry: dict) -> str:
    """Return prompt and answer of a record as one text; the end-of-text token is added as a token, not here."""
    return format_input(entry) + entry["output"]


def format_feedback(what_should_happen: str, what_is_happening: str, what_to_do: str) -> str:
    """Return the three parts under their headings."""
    bodies = (what_should_happen, what_is_happening, what_to_do)
    return "\n\n".join(f"{heading}\n{body}" for heading, body in zip(SECTIONS.values(), bodies, strict=True))


def parse_feedback(text: str) -> dict[str, str]:
    """Split a feedback text into its three parts, by the keys of SECTIONS.

    Raises:
        FeedbackFormatError: a heading is missing, double, out of order or without text below it.
    """
    positions = []
    for heading in SECTIONS.values():
        if text.count(heading) != 1:
            raise FeedbackFormatError(f"the heading {heading!r} occurs {text.count(heading)} times, expected once.")
        positions.append(text.index(heading))
    if positions != sorted(positions):
        raise FeedbackFormatError("the three headings are out of order.")
    parts = {}
    for (key, heading), start, end in zip(SECTIONS.items(), positions, [*positions[1:], len(text)], strict=True):
        parts[key] = text[start + len(heading) : end].strip()
        if not parts[key]:
            raise FeedbackFormatError(f"nothing stands below the heading {heading!r}.")
    return parts


def template_hash() -> str:
    """Return the SHA-256 of the template and the headings; a model only serves the template it was trained on."""
    return hashlib.sha256("\n".join((TEMPLATE, *SECTIONS.values())).encode()).hexdigest()
