"""What the app asks for, as the `input` of a prompt: written by make_entry, read back by parse_input."""

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.golf.wording import INSTRUCTIONS


class InputFormatError(ValueError):
    """The `input` of a request is not one that make_entry writes."""


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
    for name, score in {
        "current_score": current_score,
        "target_score": target_score,
        **(all_scores or {}),
    }.items():
        if not 0 <= score <= 1:
            raise ValueError(
                f"{name} must be a score of 0 to 1, found {score!r}; divide a percentage by 100."
            )
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
        "All Scores": ", ".join(f"{name} {score + 0.0:.2f}" for name, score in all_scores.items())
        if all_scores
        else None,
    }
    return {
        "instruction": instruction,
        "input": "\n".join(
            f"{name}: {value}" for name, value in lines.items() if value is not None
        ),
    }


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
    values: dict = dict.fromkeys(
        ("area", "current_score", "target_score", "gap", "club", "level", "handedness", "audience")
    )
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
    gap, real = (
        values["gap"],
        max(0.0, (values["target_score"] or 0) - (values["current_score"] or 0)),
    )
    if gap is not None and abs(gap - real) > 0.005:
        raise InputFormatError(
            f"the gap is given as {gap:.2f}, but target minus current score is {real:.2f}."
        )
    if names[:3] != ["Area", "Current Score", "Target Score"]:
        raise InputFormatError(
            f"an input begins with Area, Current Score and Target Score; found {names[:3]}."
        )
    return values


def _parse_scores(text: str) -> dict[str, float]:
    scores = {}
    for entry in text.split(", "):
        name, _, value = entry.partition(" ")
        if name not in ALL_SCORES or name in scores or value not in _PRINTED:
            raise InputFormatError(
                f"All Scores holds {entry[:40]!r}; expected a known score, once, as in `balance 0.45`."
            )
        scores[name] = _PRINTED[value]
    return scores
