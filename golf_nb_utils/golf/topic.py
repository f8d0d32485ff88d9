"""What a topic file teaches: faults with their chains, drills, and for whom each of it holds.

A chain is one cause of a fault with all that follows from it, from the ideal to the swing thought.
The same parts make the advice for other kinds of request, see Advice.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PHASES = ("address", "backswing", "top", "downswing", "impact", "finish", "whole swing")

# How far a source can be trusted, best first.
SOURCE_GRADES = {
    "P": "peer-reviewed paper",
    "R": "peer-reviewed review",
    "D": "arithmetic from a graded figure",
    "S": "quoted by a second document",
    "C": "coaching body or named professional",
    "B": "blog or commercial page",
    "U": "unverified convention",
}
# A golfer takes a figure for measured, so none is printed that rests on a blog or on habit.
GRADES_THAT_MAY_CARRY_A_FIGURE = frozenset("PRSCD")

PARTS = ("Ideal", "Happening", "Steps", "Check", "Plan", "Cue")
KINDS = {
    "Chain": ("fault", PARTS),
    "Keep": ("keep", ("Ideal", "Happening", "Steps", "Plan", "Cue")),
    "Unclear": ("unclear", ("Ideal", "Happening", "Steps", "Plan", "Cue")),
    "Outcome": ("outcome", ("Ideal", "Happening", "Steps", "Plan", "Cue")),
    "Meanwhile": ("other_area", ("Ideal", "Steps", "Cue")),
}
"""{what a section begins with: (kind of answer that it is for, its parts)}"""
OUTCOMES = {
    "slice": "slice", "hook": "hook", "push": "push", "pull": "pull", "top": "topped ball",
    "thin": "thin shot", "fat": "fat shot", "shank": "shank", "toe": "toe strike",
    "heel": "heel strike", "too_high": "ball flight that is too high",
    "too_low": "ball flight that is too low", "distance": "loss of distance",
    "contact": "strike that changes from ball to ball",
}  # fmt: skip
"""What a golfer may name in place of a movement: where the ball goes, or how it is struck."""
RISKS = ("none", "rods", "one leg", "speed", "throw")
PLACES = ("home", "range", "course", "mat")
LOADS = ("none", "back", "knee", "hip", "wrist", "elbow", "shoulder", "neck")

_NUMBER_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    "seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
)
# Feet are left out: most sentences that have two of them mean those of the golfer.
_UNITS = (
    r"degrees?|per ?cent|seconds?|minutes?|inch(?:es)?|yards?|(?:centi)?met(?:re|er)s?|frames?|"
    "times as"
)
FIGURE = re.compile(
    rf"\d|\b(?:{_NUMBER_WORDS})(?:[ -](?:{_NUMBER_WORDS}|full|whole|more))? (?:{_UNITS})\b",
    re.IGNORECASE,
)
"""A digit anywhere, or a number in words that counts a unit, as in "three seconds"."""

Scope = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""The club families, levels, audiences and severities for which something holds."""


class KnowledgeError(ValueError):
    """A knowledge file breaks a rule; the message begins with `file:line:`."""


def refuse_first(path: Path, problems: Iterable[tuple[int, str]]) -> None:
    """Raise a KnowledgeError of a file's first problem (line, what is wrong), if there is one.

    The checks are generators: each can say all that is wrong, and runs no further than it must.
    """
    for line, message in problems:
        raise KnowledgeError(f"{path}:{line}: {message}")


@dataclass(frozen=True)
class Source:
    """Who says so: an id of sources.yaml, its grade (a key of SOURCE_GRADES) and the reference."""

    id: str
    grade: str
    text: str


@dataclass(frozen=True)
class Item:
    """One fact or action in one sentence, in one or more phrasings, and for whom it holds.

    The first phrasing goes by the item's id, the second by the id and `b`, and so on.
    """

    id: str
    phrasings: tuple[str, ...]
    sources: tuple[str, ...]
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    audiences: tuple[str, ...]
    severities: tuple[str, ...]
    line: int

    @property
    def text(self) -> str:
        """The first phrasing."""
        return self.phrasings[0]

    @property
    def named_phrasings(self) -> dict[str, str]:
        """{id: text} of all phrasings."""
        return {
            self.id + (chr(97 + place) if place else ""): text
            for place, text in enumerate(self.phrasings)
        }

    @property
    def scope(self) -> Scope:
        """For whom and for which gaps the item is."""
        return self.clubs, self.levels, self.audiences, self.severities

    def fits(
        self, club_family: str, level: str, audience: str = "adult", severity: str = "none"
    ) -> bool:
        """Return whether the item holds for such a golfer with such a gap."""
        return (
            club_family in self.clubs
            and level in self.levels
            and audience in self.audiences
            and severity in self.severities
        )


@dataclass(frozen=True)
class Advice:
    """What an answer tells beside the scores, part by part, all about one thing.

    Of the kind "fault" it is a chain: one cause of one fault. "unclear" names two or three faults
    as possibilities, with a test that tells them apart; "outcome" is about a flight or a strike
    and the faults that can cause it; "keep" is for a target that is met; "other_area" is what to do
    until the other area is settled.
    """

    id: str
    kind: str
    name: str
    area: str
    topic: str
    line: int
    faults: tuple[str, ...]
    """Of a chain its fault, of others those that it considers."""
    outcome: str
    """A key of OUTCOMES, or ""."""
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    audiences: tuple[str, ...]
    severities: tuple[str, ...]
    items: dict[str, tuple[Item, ...]]
    """{part in lower case: its items}; steps has several for every golfer, other parts one."""

    @property
    def scope(self) -> Scope:
        """For whom and for which gaps it is."""
        return self.clubs, self.levels, self.audiences, self.severities


@dataclass(frozen=True)
class Fault:
    """Something that a golfer does wrong; its chains say why, and what to do."""

    id: str
    name: str
    area: str
    topic: str
    line: int


@dataclass(frozen=True)
class Drill:
    """An exercise for the chains that it `fixes`, told whole, with its doses.

    `fixes` has ids of chains, or of faults for all of their chains. The small dose is for a slight
    gap.
    """

    id: str
    name: str
    area: str
    topic: str
    line: int
    fixes: tuple[str, ...]
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    audiences: tuple[str, ...]
    places: tuple[str, ...]
    equipment: str
    risks: tuple[str, ...]
    loads: tuple[str, ...]
    sources: tuple[str, ...]
    text: Item
    dose: Item
    small_dose: Item
    easier: Item
    harder: Item

    def told(self, phrasing: str) -> str:
        """Return a phrasing of the text as an answer has it."""
        return f'Drill "{self.name}": {phrasing}'

    def fits(self, club_family: str, level: str, audience: str = "adult") -> bool:
        """Return whether the drill is for such a golfer."""
        return club_family in self.clubs and level in self.levels and audience in self.audiences


@dataclass(frozen=True)
class Topic:
    """What one file teaches; knowledge/README.md explains the fields of its front matter."""

    id: str
    area: str
    title: str
    phase: str
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    audiences: tuple[str, ...]
    severities: tuple[str, ...]
    conflicts: tuple[str, ...]
    path: Path
    faults: tuple[Fault, ...]
    advice: tuple[Advice, ...]
    drills: tuple[Drill, ...]
    adaptations: tuple[Item, ...]

    @property
    def scope(self) -> Scope:
        """All cases that the file must answer: `none` is the gap of a golfer who met the target."""
        return self.clubs, self.levels, self.audiences, ("none", *self.severities)

    @property
    def chains(self) -> tuple[Advice, ...]:
        """The chains of all faults."""
        return tuple(advice for advice in self.advice if advice.kind == "fault")

    def items(self) -> Iterator[tuple[str, Advice | Drill | None, Item]]:
        """Yield (part, the advice or drill that it is part of, item) for every item.

        The parts of a drill are `drill` (its text), `dose`, `small_dose`, `easier` and `harder`;
        adaptations are part of nothing.
        """
        for advice in self.advice:
            for part, items in advice.items.items():
                yield from ((part, advice, item) for item in items)
        for drill in self.drills:
            yield "drill", drill, drill.text
            for part in ("dose", "small_dose", "easier", "harder"):
                yield part, drill, getattr(drill, part)
        yield from (("adaptations", None, item) for item in self.adaptations)

    def sentences(self) -> dict[str, str]:
        """Return {id: text} of every phrasing of every item."""
        return {
            name: text for _, _, item in self.items() for name, text in item.named_phrasings.items()
        }
