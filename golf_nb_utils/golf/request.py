"""What is asked: one Request, from the app or a prompt, and back to the `input` of a prompt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.golf.follow_up import says_it_did_not_help
from golf_nb_utils.golf.plain import plain
from golf_nb_utils.golf.referral import referral_of
from golf_nb_utils.golf.wording import INSTRUCTIONS, score_slots, severity_of

LONGEST_OBSERVATION = 240
"""Bytes of what was said that a prompt has room for.

A token of a byte-level vocabulary is at least a byte, so these are at most as many tokens.
"""
MINUTES = (5, 15, 40)
"""How long a golfer may want to practise."""


class InputFormatError(ValueError):
    """The `input` of a prompt is not one that Request.text writes."""


@dataclass(frozen=True)
class Request:
    """A scored area of the swing, whose it is, and what was said of it; None is what nobody said.

    `area` is the app's key. Scores are 0..1 and kept with two decimals, as a prompt prints them. A
    request without both scores has no prompt; it still has an answer, of general advice.

    Raises:
        ValueError: a score lies outside 0..1.
    """

    area: str
    current_score: float | None = None
    target_score: float | None = None
    club: str | None = None
    level: str | None = None
    handedness: str | None = None
    observation: str | None = None
    """What was said, in the words in which it was said; see LONGEST_OBSERVATION."""
    all_scores: dict[str, float] | None = None
    """The app's other scores and, where it sends that too, the area's own, by name."""
    meaning: str | None = None
    """What the words mean: the name of a fault (topic.Fault), or a label of topic.OUTCOMES."""
    tried: str | None = None
    """The name of the drill that the golfer has done and that did not help."""
    minutes: int | None = None
    """How long the golfer wants to practise: 5, 15 or 40."""
    audience: str | None = None
    """senior, junior or limited mobility; None is an adult without restrictions."""
    area_is_known: bool = True
    """False where the app named no area of its own, and the lowest score chose it."""

    def __post_init__(self):
        scores = {"current_score": self.current_score, "target_score": self.target_score}
        kept = {name: _two_decimals(name, value) for name, value in scores.items()}
        others = self.all_scores or {}
        kept["all_scores"] = {name: _two_decimals(name, others[name]) for name in others} or None
        # On one line, whatever the app sends: a line break would start a new field.
        said = "".join(c if c.isprintable() else " " for c in self.observation or "")
        kept["observation"] = _cut(" ".join(said.split())) or None
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @property
    def is_scored(self) -> bool:
        """Whether there are a score and a target to speak of."""
        return self.current_score is not None and self.target_score is not None

    @property
    def gap(self) -> float:
        """How far the score is below its target, 0..1; 0 above it."""
        return max(0.0, self.target_score - self.current_score)

    @cached_property
    def severity(self) -> str:
        """The gap in words: none (also where nothing is scored), slight, clear or large."""
        return severity_of(self.current_score, self.target_score) if self.is_scored else "none"

    @cached_property
    def referral(self) -> str:
        """How soon the words call for a doctor: stop, day, emergency, or ""; see golf.referral."""
        return referral_of(self.observation or "")

    @cached_property
    def is_follow_up(self) -> bool:
        """Whether something was tried that did not help."""
        return self.tried is not None or says_it_did_not_help(self.observation or "")

    @property
    def hand(self) -> str:
        """The golfer's hand, right where nobody said."""
        return self.handedness or "right"

    @property
    def golfer(self) -> str:
        """The golfer's audience, adult where nobody said."""
        return self.audience or "adult"

    @cached_property
    def case(self) -> tuple[str | None, str | None, str, str]:
        """Club, level, audience and severity: what decides which items are for this golfer."""
        return self.club, self.level, self.golfer, self.severity

    @cached_property
    def other_scores(self) -> dict[str, float]:
        """All scores but the area's own."""
        scores = self.all_scores or {}
        return {name: score for name, score in scores.items() if name != self.area}

    @cached_property
    def slots(self) -> dict[str, str]:
        """What fills the sentences that carry scores, see wording.score_slots."""
        return score_slots(self.area, self.current_score, self.target_score, self.other_scores)

    @cached_property
    def text(self) -> str:
        """The `input` of the prompt: a line for each thing that is known, area and scores first."""
        scores = (self.all_scores or {}).items()
        lines = {
            "Area": self.area,
            "Current Score": f"{self.current_score:.2f}",
            "Target Score": f"{self.target_score:.2f}",
            "Gap": f"{self.gap:.2f}",
            **{line: getattr(self, name) for line, (name, _) in _CHOICES.items() if name != "area"},
            "Time": f"{self.minutes} minutes" if self.minutes else None,
            "Observation": self.observation,
            "Meaning": self.meaning,
            "Tried": self.tried,
            "All Scores": ", ".join(f"{name} {score:.2f}" for name, score in scores) or None,
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items() if value is not None)

    def entry(self, instruction: str = INSTRUCTIONS[0]) -> dict[str, str]:
        """Return `instruction` and `input`, from which format_input makes the prompt."""
        return {"instruction": instruction, "input": self.text}

    def said(self, observation: str | None, meaning: str | None = None) -> "Request":
        """Return the request with other words and their meaning in place of its own."""
        return replace(self, observation=observation, meaning=meaning)

    @classmethod
    def from_text(cls, text: str) -> "Request":
        """Read the `input` of a prompt back.

        Raises:
            InputFormatError: the lines do not begin with area, current and target score, or one
                of them is unknown, double or malformed.
        """
        values: dict = {}
        names: list[str] = []
        for line in text.split("\n"):
            name, _, value = line.partition(": ")
            if name in names:
                raise InputFormatError(f"the line {name!r} stands twice in the input.")
            names.append(name)
            if name in _CHOICES and value in _CHOICES[name][1]:
                values[_CHOICES[name][0]] = value
            elif name in _SCORES and value in _PRINTED:
                values[_SCORES[name]] = _PRINTED[value]
            elif name in _TEXTS and value.strip():
                values[_TEXTS[name]] = value
            elif name == "Time" and value in _TIMES:
                values["minutes"] = _TIMES[value]
            elif name == "All Scores":
                values["all_scores"] = _parse_scores(value)
            else:
                raise InputFormatError(f"the input has an unknown line or value: {line[:80]!r}.")
        if names[:3] != ["Area", "Current Score", "Target Score"]:
            raise InputFormatError(
                f"an input begins with Area, Current Score and Target Score; found {names[:3]}."
            )
        gap = values.pop("gap", None)
        request = cls(**values)
        if gap is not None and abs(gap - request.gap) > 0.005:
            raise InputFormatError(
                f"the gap is given as {gap:.2f}, "
                f"but target minus current score is {request.gap:.2f}."
            )
        return request

    @classmethod
    def from_app(cls, arguments: Mapping, hear: Callable, names: Mapping, drills: Mapping) -> tuple:
        """Return the request, what was heard, and remarks; see app_request.read_arguments.

        No value of `arguments`, or in it, makes it raise: what is read is a copy, see golf.plain.
        """
        from golf_nb_utils.golf.app_request import read_arguments

        values, heard, remarks = read_arguments(plain(arguments), hear, names, drills)
        return cls(**values), heard, remarks


def _cut(text: str) -> str:
    """As many of the first words as LONGEST_OBSERVATION allows."""
    if len(encoded := text.encode()) <= LONGEST_OBSERVATION:
        return text
    kept = encoded[:LONGEST_OBSERVATION].decode(errors="ignore")
    return kept.rsplit(" ", 1)[0] if " " in kept else kept


def _two_decimals(name: str, score: float | None) -> float | None:
    if score is None:
        return None
    if not 0 <= score <= 1:
        raise ValueError(
            f"{name} must be a score of 0 to 1, found {score!r}; divide a percentage by 100."
        )
    # + 0.0 turns -0.0, which would print its sign, into 0.0.
    return round(score, 2) + 0.0


# {line: (field, what it may say)}
_CHOICES = {
    "Area": ("area", AREAS),
    "Club": ("club", CLUBS),
    "Level": ("level", LEVELS),
    "Handedness": ("handedness", HANDEDNESS),
    "Golfer": ("audience", AUDIENCES),
}
_SCORES = {"Current Score": "current_score", "Target Score": "target_score", "Gap": "gap"}
_TEXTS = {"Observation": "observation", "Meaning": "meaning", "Tried": "tried"}
_TIMES = {f"{minutes} minutes": minutes for minutes in MINUTES}
_PRINTED = {f"{number / 100:.2f}": number / 100 for number in range(101)}


def _parse_scores(text: str) -> dict[str, float]:
    scores = {}
    for entry in text.split(", "):
        name, _, value = entry.partition(" ")
        if name not in ALL_SCORES or name in scores or value not in _PRINTED:
            raise InputFormatError(
                f"All Scores holds {entry[:40]!r}; "
                "expected a known score, once, as in `balance 0.45`."
            )
        scores[name] = _PRINTED[value]
    return scores
