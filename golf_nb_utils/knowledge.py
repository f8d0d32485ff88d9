"""Read the golf instruction files into typed records, and refuse what a coach could not stand behind.

A topic file is Markdown with YAML front matter; knowledge/README.md shows one with comments. Every rule that
is broken raises a KnowledgeError that names the file and the line.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from golf_nb_utils.config import AREAS, CLUB_FAMILIES, LEVELS

PHASES = ("address", "backswing", "top", "downswing", "impact", "finish", "whole swing")

# How far a source can be trusted; a figure from grade B (a blog) or U (unverified) is never printed.
SOURCE_GRADES = {
    "P": "peer-reviewed paper",
    "R": "peer-reviewed review",
    "S": "quoted by a second document",
    "C": "coaching body or named professional",
    "B": "blog or commercial page",
    "D": "arithmetic from a graded figure",
    "U": "unverified convention",
}
GRADES_THAT_MAY_CARRY_A_FIGURE = frozenset("PRSCD")

FAULT_PARTS = ("Observation", "Cause", "Effect", "Feel", "Check", "Steps")
PLACEHOLDERS = ("{left}", "{right}")


class KnowledgeError(ValueError):
    """A knowledge file breaks a rule; the message begins with `file:line:`."""


@dataclass(frozen=True)
class Source:
    id: str
    grade: str
    text: str


@dataclass(frozen=True)
class Item:
    """One sentence of instruction, true for the clubs and levels it names, with the sources it rests on."""

    id: str
    text: str
    sources: tuple[str, ...]
    clubs: tuple[str, ...]
    levels: tuple[str, ...]

    def fits(self, club_family: str, level: str) -> bool:
        return club_family in self.clubs and level in self.levels


@dataclass(frozen=True)
class Fault:
    id: str
    name: str
    area: str
    topic: str
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    observation: tuple[Item, ...]
    cause: tuple[Item, ...]
    effect: tuple[Item, ...]
    feel: tuple[Item, ...]
    check: tuple[Item, ...]
    steps: tuple[Item, ...]


@dataclass(frozen=True)
class Drill:
    id: str
    name: str
    area: str
    topic: str
    fixes: tuple[str, ...]
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    equipment: str
    dose: str
    sources: tuple[str, ...]
    steps: tuple[Item, ...]


@dataclass(frozen=True)
class Topic:
    id: str
    area: str
    title: str
    phase: str
    clubs: tuple[str, ...]
    levels: tuple[str, ...]
    path: Path
    ideal: tuple[Item, ...]
    faults: tuple[Fault, ...]
    drills: tuple[Drill, ...]
    cues: tuple[Item, ...]
    safety: tuple[Item, ...]

    def sentences(self) -> dict[str, str]:
        """Return {item id: text} of every item in the topic, and {drill id: name and steps} of its drills."""
        items = [*self.ideal, *self.cues, *self.safety]
        for fault in self.faults:
            items += [item for part in FAULT_PARTS for item in getattr(fault, part.lower())]
        drills = {drill.id: f"{drill.name}: {' '.join(step.text for step in drill.steps)} Dose: {drill.dose}." for drill in self.drills}
        return {item.id: item.text for item in items} | drills


@dataclass(frozen=True)
class KnowledgeBase:
    sources: dict[str, Source]
    topics: tuple[Topic, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(fault for topic in self.topics for fault in topic.faults)

    @property
    def drills(self) -> tuple[Drill, ...]:
        return tuple(drill for topic in self.topics for drill in topic.drills)

    def drills_for(self, fault_id: str) -> tuple[Drill, ...]:
        return tuple(drill for drill in self.drills if fault_id in drill.fixes)

    def fault(self, fault_id: str) -> Fault:
        return next(fault for fault in self.faults if fault.id == fault_id)

    def sentences(self) -> dict[str, str]:
        """Return {item id: text} over all topics."""
        return {item_id: text for topic in self.topics for item_id, text in topic.sentences().items()}


def load_knowledge(folder: str | Path) -> KnowledgeBase:
    """Read `folder`/sources.yaml and every `folder`/{area}/*.md, and check them against each other.

    Raises:
        KnowledgeError: a file breaks a rule (its file and line are named), or an area has no topic.
        FileNotFoundError: the folder or sources.yaml does not exist.
    """
    folder = Path(folder)
    sources = _read_sources(folder / "sources.yaml")
    topics = tuple(read_topic(path, sources) for path in sorted(folder.glob("*/*.md")))
    _check_across_files(folder, topics)
    return KnowledgeBase(sources, topics)


def read_topic(path: Path, sources: dict[str, Source]) -> Topic:
    """Read one topic file.

    Raises:
        KnowledgeError: the file breaks a rule; the message names its line.
    """
    return _TopicReader(path, sources).read()


def _read_sources(path: Path) -> dict[str, Source]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it lists the sources that the topic files cite.")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise KnowledgeError(f"{path}:{_yaml_line(error)}: not valid YAML ({error}).") from error
    if not isinstance(entries, dict):
        raise KnowledgeError(f"{path}:1: expected `ID: {{grade: C, text: ...}}` lines, found {type(entries).__name__}.")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("grade") not in SOURCE_GRADES or not entry.get("text"):
            line = _line_with(path, f"{name}:")
            raise KnowledgeError(f"{path}:{line}: source {name} needs `text` and a `grade` out of {', '.join(SOURCE_GRADES)}.")
    return {name: Source(name, entry["grade"], entry["text"]) for name, entry in entries.items()}


def _yaml_line(error: yaml.YAMLError, offset: int = 0) -> int:
    mark = getattr(error, "problem_mark", None)
    return (mark.line + 1 if mark else 1) + offset


class _TopicReader:
    """Walks one file line by line; holds the file name and line numbers for the error messages."""

    HEADING = re.compile(r"(#{1,3}) (.+)")
    BULLET = re.compile(r"(?:-|\d+\.) (.+)")
    FIELD = re.compile(r"- (Fixes|Equipment|Dose|Sources|Clubs|Levels): (.+)")
    NAMED = re.compile(r"(Fault|Drill) ([A-Z]{2}\d+): (.+)")
    TAGS = re.compile(r" \[([^\]]*)\]$")

    def __init__(self, path: Path, sources: dict[str, Source]):
        self.path = path
        self.sources = sources
        try:
            # -sig: an editor's byte order mark is no part of the text.
            self.lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise KnowledgeError(f"{path}:1: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from error

    def fail(self, line: int, message: str) -> KnowledgeError:
        return KnowledgeError(f"{self.path}:{line}: {message}")

    def read(self) -> Topic:
        meta, body_start = self.read_front_matter()
        sections = self.read_sections(body_start)
        self.meta = meta
        faults, drills = [], []
        for (kind, name, line), parts in sections.items():
            if kind == "Fault":
                faults.append(self.build_fault(name, line, parts))
            elif kind == "Drill":
                drills.append(self.build_drill(name, line, parts))
        plain = {name: self.items(name.lower(), parts.get(None, [])) for (kind, name, _), parts in sections.items() if kind == "Section"}
        for name in ("Ideal", "Cues", "Safety"):
            if not plain.get(name):
                raise self.fail(len(self.lines), f"the section `## {name}` is missing or empty.")
        if not faults or not drills:
            raise self.fail(len(self.lines), "a topic needs at least one `## Fault ID: name` and one `## Drill ID: name`.")
        return Topic(
            id=meta["id"],
            area=meta["area"],
            title=meta["title"],
            phase=meta["phase"],
            clubs=tuple(meta["clubs"]),
            levels=tuple(meta["levels"]),
            path=self.path,
            ideal=plain["Ideal"],
            faults=tuple(faults),
            drills=tuple(drills),
            cues=plain["Cues"],
            safety=plain["Safety"],
        )

    def read_front_matter(self) -> tuple[dict, int]:
        if not self.lines or self.lines[0].strip() != "---" or "---" not in (line.strip() for line in self.lines[1:]):
            raise self.fail(1, "no front matter; a topic file begins with `---`, its fields, and `---`.")
        end = next(number for number, line in enumerate(self.lines[1:], 2) if line.strip() == "---")
        try:
            meta = yaml.safe_load("\n".join(self.lines[1 : end - 1])) or {}
        except yaml.YAMLError as error:
            raise self.fail(_yaml_line(error, offset=1), f"the front matter is not valid YAML ({error}).") from error
        if not isinstance(meta, dict):
            raise self.fail(2, f"the front matter is a {type(meta).__name__}, expected `field: value` lines.")
        line_of = {line.split(":")[0]: number for number, line in enumerate(self.lines[:end], 1)}
        areas = tuple(AREAS)
        for field, allowed in {"id": None, "area": areas, "title": None, "phase": PHASES, "clubs": CLUB_FAMILIES, "levels": LEVELS}.items():
            value = meta.get(field)
            if not value:
                raise self.fail(end, f"the front matter has no `{field}`.")
            if not isinstance(value, list if field in ("clubs", "levels") else str):
                raise self.fail(line_of[field], f"`{field}` has the wrong type: {value!r}.")
            unknown = [] if allowed is None else [v for v in ([value] if isinstance(value, str) else value) if v not in allowed]
            if unknown:
                raise self.fail(line_of[field], f"unknown {field} {unknown[0]!r}; expected one of {', '.join(allowed)}.")
        folder = AREAS[meta["area"]].folder
        if self.path.parent.name != folder:
            raise self.fail(
                line_of["area"], f"area {meta['area']} belongs into the folder {folder}/, the file is in {self.path.parent.name}/."
            )
        if meta["id"] != self.path.stem:
            raise self.fail(line_of["id"], f"id {meta['id']!r} differs from the file's name {self.path.stem!r}.")
        return meta, end

    def read_sections(self, start: int) -> dict:
        """{(kind, name, line): {part or None: [(line, text), ...]}} in the file's order."""
        sections: dict = {}
        current, part = None, None
        for number, line in enumerate(self.lines[start:], start + 1):
            if not line.strip():
                continue
            heading, bullet = self.HEADING.fullmatch(line), self.BULLET.fullmatch(line)
            if heading and len(heading[1]) == 1:
                continue
            if heading and len(heading[1]) == 2:
                named = self.NAMED.fullmatch(heading[2])
                if not named and heading[2] not in ("Ideal", "Cues", "Safety"):
                    raise self.fail(number, f"unknown section `{line}`; expected Ideal, Fault ID: name, Drill ID: name, Cues or Safety.")
                current = (named[1], f"{named[2]}: {named[3]}", number) if named else ("Section", heading[2], number)
                if any(section[:2] == current[:2] for section in sections):
                    raise self.fail(number, f"the section `{line}` stands twice in this file; join the two.")
                sections[current], part = {}, None
            elif heading and current and current[0] != "Section":
                part = heading[2]
                allowed = FAULT_PARTS if current[0] == "Fault" else ("Steps",)
                if part not in allowed:
                    raise self.fail(number, f"unknown part `{line}`; expected {', '.join(allowed)}.")
            elif bullet and current and current[0] == "Fault" and part is None:
                raise self.fail(number, f"an item of a fault stands below one of its parts, `### {'`, `### '.join(FAULT_PARTS)}`.")
            elif bullet and current:
                sections[current].setdefault(part, []).append((number, line if current[0] == "Drill" and part is None else bullet[1]))
            elif line.startswith("  ") and current and sections[current].get(part):
                first, text = sections[current][part].pop()
                sections[current][part].append((first, f"{text} {line.strip()}"))
            else:
                raise self.fail(number, f"expected a heading or a list item, found: {line!r}.")
        return sections

    def items(self, prefix: str, entries: list) -> tuple[Item, ...]:
        return tuple(self.item(f"{self.meta['id']}.{prefix}.{index}", line, text) for index, (line, text) in enumerate(entries, 1))

    def item(self, item_id: str, line: int, text: str) -> Item:
        clubs, levels, sources = tuple(self.meta["clubs"]), tuple(self.meta["levels"]), []
        given: set[str] = set()
        tags = self.TAGS.search(text)
        if tags:
            text = text[: tags.start()]
            for tag in filter(None, (tag.strip() for tag in re.split(r"[;,]", tags[1]))):
                key, _, value = tag.partition("=")
                if key in given:
                    raise self.fail(line, f"an item has one {key}= at most; write one item for each.")
                given.add(key)
                if key == "club" and value in CLUB_FAMILIES:
                    clubs = (value,)
                elif key == "level" and value in LEVELS:
                    levels = (value,)
                elif tag in self.sources:
                    sources.append(tag)
                else:
                    raise self.fail(line, f"unknown tag {tag!r}; expected club=..., level=... or a source of sources.yaml.")
        text = text.strip()
        if not text.endswith((".", "?", "!")):
            raise self.fail(line, f"an item is a whole sentence that ends with a full stop, found: {text!r}.")
        bare = re.sub("|".join(map(re.escape, PLACEHOLDERS)), "", text)
        self.refuse_sides(line, bare)
        if re.search(r"[{}]", bare):
            raise self.fail(line, f"unknown placeholder; expected {' or '.join(PLACEHOLDERS)}.")
        if not sources and re.search(r"\.(ideal|effect)\.\d+$", item_id):
            raise self.fail(line, "an ideal and an effect each cite a source, as in `[OKUDA10]`; [CONVENTION] where there is none.")
        grades = {self.sources[source].grade for source in sources}
        if re.search(r"\d", bare) and not grades & GRADES_THAT_MAY_CARRY_A_FIGURE:
            raise self.fail(
                line,
                "a figure needs a source graded " + ", ".join(sorted(GRADES_THAT_MAY_CARRY_A_FIGURE)) + f"; cited: {sources or 'none'}.",
            )
        return Item(item_id, text, tuple(sources), clubs, levels)

    def refuse_sides(self, line: int, text: str) -> None:
        if re.search(r"\b(left|right)\b", text, re.IGNORECASE):
            raise self.fail(
                line, "`left` and `right` change with the golfer: write lead/trail for the body, {left}/{right} for the ball's flight."
            )

    def build_fault(self, heading: str, line: int, parts: dict) -> Fault:
        fault_id, name = heading.split(": ", 1)
        self.refuse_sides(line, name)
        for part in FAULT_PARTS:
            if not parts.get(part):
                raise self.fail(line, f"fault {fault_id} has no `### {part}`.")
        fields = {part.lower(): self.items(f"{fault_id}.{part.lower()}", parts[part]) for part in FAULT_PARTS}
        return Fault(
            id=fault_id,
            name=name,
            area=self.meta["area"],
            topic=self.meta["id"],
            clubs=tuple(self.meta["clubs"]),
            levels=tuple(self.meta["levels"]),
            **fields,
        )

    def build_drill(self, heading: str, line: int, parts: dict) -> Drill:
        drill_id, name = heading.split(": ", 1)
        self.refuse_sides(line, name)
        fields = {}
        for number, text in parts.get(None, []):
            match = self.FIELD.fullmatch(text)
            if not match:
                raise self.fail(number, f"expected `- Fixes|Equipment|Dose|Sources|Clubs|Levels: ...`, found {text!r}.")
            if match[1] in fields:
                raise self.fail(number, f"drill {drill_id} has `{match[1]}` twice.")
            self.refuse_sides(number, match[2])
            fields[match[1]] = (number, match[2].strip())
        for field in ("Fixes", "Equipment", "Dose", "Sources"):
            if field not in fields:
                raise self.fail(line, f"drill {drill_id} has no `- {field}: ...`.")
        if not parts.get("Steps"):
            raise self.fail(line, f"drill {drill_id} has no `### Steps`.")

        def listed(field: str, allowed, default: tuple[str, ...]) -> tuple[str, ...]:
            if field not in fields:
                return default
            number, text = fields[field]
            values = tuple(value.strip() for value in text.split(","))
            for value in values:
                if value not in allowed:
                    raise self.fail(number, f"unknown value {value!r} in {field}; expected one of {', '.join(allowed)}.")
            return values

        steps = self.items(f"{drill_id}.steps", parts["Steps"])
        for (number, _), step in zip(parts["Steps"], steps, strict=True):
            if not all(step.fits(club, level) for club, level in product(self.meta["clubs"], self.meta["levels"])):
                raise self.fail(number, "the steps of a drill belong together: tag the drill with `- Clubs:` or `- Levels:`, not a step.")
        return Drill(
            id=drill_id,
            name=name,
            area=self.meta["area"],
            topic=self.meta["id"],
            fixes=tuple(value.strip() for value in fields["Fixes"][1].split(",")),
            clubs=listed("Clubs", CLUB_FAMILIES, tuple(self.meta["clubs"])),
            levels=listed("Levels", LEVELS, tuple(self.meta["levels"])),
            equipment=fields["Equipment"][1],
            dose=fields["Dose"][1],
            sources=listed("Sources", self.sources, ()),
            steps=steps,
        )


def _check_across_files(folder: Path, topics: tuple[Topic, ...]) -> None:
    missing = sorted(set(AREAS) - {topic.area for topic in topics})
    if missing:
        raise KnowledgeError(f"{folder}:1: no topic file for {', '.join(missing)}.")
    names = [(topic.path, f"id: {topic.id}", topic.id) for topic in topics]
    names += [(topic.path, f"Fault {fault.id}:", fault.id) for topic in topics for fault in topic.faults]
    names += [(topic.path, f"Drill {drill.id}:", drill.id) for topic in topics for drill in topic.drills]
    counts = Counter(name for _, _, name in names)
    for path, marker, name in names:
        if counts[name] > 1:
            raise KnowledgeError(f"{path}:{_line_with(path, marker)}: the id {name} is used {counts[name]} times.")
    faults = {fault.id for topic in topics for fault in topic.faults}
    drills = [drill for topic in topics for drill in topic.drills]
    for topic in topics:
        for drill in topic.drills:
            unknown = ", ".join(sorted(set(drill.fixes) - faults))
            if unknown:
                line = _line_with(topic.path, f"Drill {drill.id}:")
                raise KnowledgeError(f"{topic.path}:{line}: drill {drill.id} fixes {unknown}, which no file describes.")
        for fault in topic.faults:
            repairing = [drill for drill in drills if fault.id in drill.fixes]
            for club, level in product(fault.clubs, fault.levels):
                if not any(club in drill.clubs and level in drill.levels for drill in repairing):
                    line = _line_with(topic.path, f"Fault {fault.id}:")
                    raise KnowledgeError(f"{topic.path}:{line}: fault {fault.id} has no drill for a {level} with the {club}.")
    for topic in topics:
        for club, level in product(topic.clubs, topic.levels):
            missing = [part for part in ("ideal", "cues", "safety") if not any(item.fits(club, level) for item in getattr(topic, part))]
            missing += [] if any(club in drill.clubs and level in drill.levels for drill in topic.drills) else ["a drill"]
            missing += [
                f"{part} of {fault.id}" for fault in topic.faults for part in map(str.lower, FAULT_PARTS)
                if not any(item.fits(club, level) for item in getattr(fault, part))
            ]  # fmt: skip
            if missing:
                raise KnowledgeError(f"{topic.path}:1: nothing in {', '.join(missing)} is for a {level} with the {club}.")


def _line_with(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1) if text in line)
