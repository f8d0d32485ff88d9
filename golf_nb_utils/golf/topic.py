"""What a topic file teaches: faults, drills, and sentences with whom and what they hold for."""

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

SECTIONS = ("Ideal", "Keep", "Cues", "Adaptations", "Safety")
FAULT_PARTS = ("Observation", "Cause", "Effect", "Feel", "Check", "Steps")

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
class Fault:
    """Something a golfer does wrong: what one sees, why, what comes of it, and what to do."""

    id: str
    name: str
    area: str
    topic: str
    line: int
    observation: tuple[Item, ...]
    cause: tuple[Item, ...]
    effect: tuple[Item, ...]
    feel: tuple[Item, ...]
    check: tuple[Item, ...]
    steps: tuple[Item, ...]


@dataclass(frozen=True)
class Drill:
    """An exercise that fixes faults, with an easier and a harder form; for some golfers only."""

    id: str
    name: str
    area: str
    topic: str
    line: int
    fixes: tuple[str, ...]
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    audiences: tuple[str, ...]
    equipment: str
    dose: str
    sources: tuple[str, ...]
    steps: tuple[Item, ...]
    easier: Item
    harder: Item

    @property
    def text(self) -> str:
        """The whole drill as an answer has it."""
        steps = " ".join(step.text for step in self.steps)
        return f'Drill "{self.name}" with {self.equipment}: {steps} Dose: {self.dose}.'

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
    sources: tuple[str, ...]
    evidence: str
    path: Path
    ideal: tuple[Item, ...]
    faults: tuple[Fault, ...]
    drills: tuple[Drill, ...]
    keep: tuple[Item, ...]
    cues: tuple[Item, ...]
    adaptations: tuple[Item, ...]
    safety: tuple[Item, ...]

    @property
    def scope(self) -> Scope:
        """All cases that the file must answer: `none` is the gap of a golfer who met the target."""
        return self.clubs, self.levels, self.audiences, ("none", *self.severities)

    def items(self) -> Iterator[tuple[str, str | None, Item]]:
        """Yield (part, fault id or None, item) for every item.

        A drill's steps and variations are of the part `drill`.
        """
        for part in map(str.lower, SECTIONS):
            for item in getattr(self, part):
                yield part, None, item
        for fault in self.faults:
            for part in map(str.lower, FAULT_PARTS):
                for item in getattr(fault, part):
                    yield part, fault.id, item
        for drill in self.drills:
            for item in (*drill.steps, drill.easier, drill.harder):
                yield "drill", None, item

    def sentences(self) -> dict[str, str]:
        """Return {id: text} of every phrasing of every item, and of every whole drill."""
        named = {
            name: text for _, _, item in self.items() for name, text in item.named_phrasings.items()
        }
        return named | {drill.id: drill.text for drill in self.drills}
