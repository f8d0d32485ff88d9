"""Read the golf instruction files into typed records, and refuse what a coach could not stand behind.

A topic file is Markdown with YAML front matter; knowledge/README.md shows one with comments. Every rule that
is broken raises a KnowledgeError that names the file and the line. The text is data: it is compared, sampled and
shown, never evaluated or formatted, and no file outside the folder is read.
"""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.rules import Rule, load_plain_yaml, load_rules

PHASES = ("address", "backswing", "top", "downswing", "impact", "finish", "whole swing")

# How far a source can be trusted, best first; a figure from grade B (a blog) or U (unverified) is never printed.
SOURCE_GRADES = {
    "P": "peer-reviewed paper",
    "R": "peer-reviewed review",
    "D": "arithmetic from a graded figure",
    "S": "quoted by a second document",
    "C": "coaching body or named professional",
    "B": "blog or commercial page",
    "U": "unverified convention",
}
GRADES_THAT_MAY_CARRY_A_FIGURE = frozenset("PRSCD")

SECTIONS = ("Ideal", "Keep", "Cues", "Adaptations", "Safety")
FAULT_PARTS = ("Observation", "Cause", "Effect", "Feel", "Check", "Steps")
DRILL_FIELDS = (
    "Fixes",
    "Equipment",
    "Dose",
    "Sources",
    "Clubs",
    "Levels",
    "Not for",
    "Easier",
    "Harder",
)
PLACEHOLDERS = ("{left}", "{right}")

_NUMBER_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
)
# Feet are left out: most sentences that have two of them mean those of the golfer.
_UNITS = r"degrees?|per ?cent|seconds?|minutes?|inch(?:es)?|yards?|(?:centi)?met(?:re|er)s?|frames?|times as"
FIGURE = re.compile(
    rf"\d|\b(?:{_NUMBER_WORDS})(?:[ -](?:{_NUMBER_WORDS}|full|whole|more))? (?:{_UNITS})\b",
    re.IGNORECASE,
)


class KnowledgeError(ValueError):
    """A knowledge file breaks a rule; the message begins with `file:line:`."""


@dataclass(frozen=True)
class Source:
    id: str
    grade: str
    text: str


@dataclass(frozen=True)
class Item:
    """One fact or action in one sentence, in one or more phrasings, with whom and what it holds for.

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
        return self.phrasings[0]

    @property
    def named_phrasings(self) -> dict[str, str]:
        return {
            self.id + (chr(97 + index) if index else ""): text
            for index, text in enumerate(self.phrasings)
        }

    def fits(
        self, club_family: str, level: str, audience: str = "adult", severity: str = "none"
    ) -> bool:
        return (
            club_family in self.clubs
            and level in self.levels
            and audience in self.audiences
            and severity in self.severities
        )


@dataclass(frozen=True)
class Fault:
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
        return f'Drill "{self.name}" with {self.equipment}: {" ".join(step.text for step in self.steps)} Dose: {self.dose}.'

    def fits(self, club_family: str, level: str, audience: str = "adult") -> bool:
        return club_family in self.clubs and level in self.levels and audience in self.audiences


@dataclass(frozen=True)
class Topic:
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

    def items(self) -> Iterator[tuple[str, str | None, Item]]:
        """Yield (part, fault id or None, item) for every item; a drill's steps and variations are of the part `drill`."""
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


@dataclass(frozen=True)
class KnowledgeBase:
    sources: dict[str, Source]
    rules: tuple[Rule, ...]
    topics: tuple[Topic, ...]
    extra_topics: frozenset[str] = frozenset()
    """Topics that came from a folder of the user's own."""

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

    def topic(self, topic_id: str) -> Topic:
        return next(topic for topic in self.topics if topic.id == topic_id)

    def sentences(self) -> dict[str, str]:
        """Return {id: text} over all topics, see Topic.sentences."""
        return {
            item_id: text for topic in self.topics for item_id, text in topic.sentences().items()
        }


def load_knowledge(folder: str | Path, extra: str | Path | None = None) -> KnowledgeBase:
    """Read `folder`/{area}/*.md with its sources.yaml and rules.yaml, and check the files against each other.

    `extra` is a folder of one's own in the same layout; it may bring a sources.yaml, whose ids join those of `folder`,
    and its drills may fix any fault. The rules of `folder` hold for both.

    Raises:
        KnowledgeError: a file breaks a rule (its file and line are named), or an area has no topic.
        FileNotFoundError: a folder, sources.yaml or rules.yaml does not exist.
    """
    folder = Path(folder)
    sources = _read_sources(folder / "sources.yaml")
    rules_path = folder / "rules.yaml"
    if rules_path.is_file():
        _refuse_link_out(rules_path, folder)
    rules = load_rules(rules_path)
    topics = _read_topics(folder, sources)
    extra_topics: tuple[Topic, ...] = ()
    if extra:
        extra = Path(extra)
        if not extra.is_dir():
            raise FileNotFoundError(
                f"{extra} is no folder; expected one with {{area}}/*.md files, or leave extra knowledge out."
            )
        own = _read_sources(extra / "sources.yaml") if (extra / "sources.yaml").is_file() else {}
        known = sorted(set(own) & set(sources))
        if known:
            line = _line_with(extra / "sources.yaml", f"{known[0]}:")
            raise KnowledgeError(
                f"{extra / 'sources.yaml'}:{line}: the source {known[0]} exists already; give yours another id."
            )
        sources = sources | own
        extra_topics = _read_topics(extra, sources)
        if not extra_topics:
            raise KnowledgeError(
                f"{extra}:1: no topic file; expected {{area}}/*.md with an area out of {', '.join(AREAS)}."
            )
    topics += extra_topics
    _check_across_files(folder, topics)
    for topic in topics:
        _check_rules(topic, rules)
    return KnowledgeBase(sources, rules, topics, frozenset(topic.id for topic in extra_topics))


def _read_topics(folder: Path, sources: dict[str, Source]) -> tuple[Topic, ...]:
    paths = sorted(folder.glob("*/*.md"))
    for path in paths:
        _refuse_link_out(path, folder)
    return tuple(read_topic(path, sources) for path in paths)


def _refuse_link_out(path: Path, folder: Path) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise KnowledgeError(
            f"{path}:1: a link that leads out of the folder; copy the file here instead."
        )
    if not path.is_file():
        raise KnowledgeError(f"{path}:1: expected a file, found a folder or a broken link.")


def read_topic(path: Path, sources: dict[str, Source]) -> Topic:
    """Read one topic file.

    Raises:
        KnowledgeError: the file breaks a rule; the message names its line.
    """
    return _TopicReader(path, sources).read()


def _read_text(path: Path) -> str:
    try:
        # -sig: an editor's byte order mark is no part of the text.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KnowledgeError(
            f"{path}:1: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    # Written by an editor that took another encoding for Latin-1; grounding.py marks sentences with such characters.
    control = re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise KnowledgeError(
            f"{path}:{line}: the invisible control character {control[0]!r}; delete it, and save the file as UTF-8."
        )
    return text


def _read_sources(path: Path) -> dict[str, Source]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it lists the sources that the topic files cite."
        )
    _refuse_link_out(path, path.parent)
    try:
        entries = load_plain_yaml(_read_text(path))
    except yaml.YAMLError as error:
        raise KnowledgeError(f"{path}:{_yaml_line(error)}: not valid YAML ({error}).") from error
    if not isinstance(entries, dict):
        raise KnowledgeError(
            f"{path}:1: expected `ID: {{grade: C, text: ...}}` lines, found {type(entries).__name__}."
        )
    for name, entry in entries.items():
        fields = (
            (entry.get("grade"), entry.get("text")) if isinstance(entry, dict) else (None, None)
        )
        if (
            not all(isinstance(value, str) and value for value in fields)
            or fields[0] not in SOURCE_GRADES
        ):
            line = _line_with(path, f"{name}:")
            raise KnowledgeError(
                f"{path}:{line}: source {name} needs `text` and a `grade` out of {', '.join(SOURCE_GRADES)}."
            )
    return {name: Source(name, entry["grade"], entry["text"]) for name, entry in entries.items()}


def _yaml_line(error: yaml.YAMLError, offset: int = 0) -> int:
    mark = getattr(error, "problem_mark", None)
    return (mark.line + 1 if mark else 1) + offset


# The fields of the front matter with the values that they allow; None is any text.
_META = {
    "id": None, "area": tuple(AREAS), "topic": None, "phase": PHASES, "clubs": CLUB_FAMILIES, "levels": LEVELS,
    "audiences": AUDIENCES, "severity": SEVERITIES, "conflicts": None, "sources": None, "evidence": tuple(SOURCE_GRADES),
}  # fmt: skip
_LISTS = ("clubs", "levels", "audiences", "severity", "conflicts", "sources")
_TAGS = ("club", "level", "audience", "severity")


class _TopicReader:
    """Walks one file line by line; holds the file name and line numbers for the error messages."""

    HEADING = re.compile(r"(#{1,3}) (.+)")
    BULLET = re.compile(r"(?:-|\d+\.) (.+)")
    FIELD = re.compile(rf"- ({'|'.join(DRILL_FIELDS)}): (.+)")
    NAMED = re.compile(r"(Fault|Drill) ([A-Z]{2}\d+): (.+)")
    TAGS = re.compile(r" \[([^\]]*)\]$")

    def __init__(self, path: Path, sources: dict[str, Source]):
        self.path = path
        self.sources = sources
        self.cited: set[str] = set()
        self.lines = _read_text(path).splitlines()

    def fail(self, line: int, message: str) -> KnowledgeError:
        return KnowledgeError(f"{self.path}:{line}: {message}")

    def read(self) -> Topic:
        self.meta, body_start = self.read_front_matter()
        sections = self.read_sections(body_start)
        faults, drills = [], []
        for (kind, name, line), parts in sections.items():
            if kind == "Fault":
                faults.append(self.build_fault(name, line, parts))
            elif kind == "Drill":
                drills.append(self.build_drill(name, line, parts))
        plain = {
            name: self.items(name.lower(), parts.get(None, []))
            for (kind, name, _), parts in sections.items()
            if kind == "Section"
        }
        for name in SECTIONS:
            if not plain.get(name):
                raise self.fail(len(self.lines), f"the section `## {name}` is missing or empty.")
        if not faults or not drills:
            raise self.fail(
                len(self.lines),
                "a topic needs at least one `## Fault ID: name` and one `## Drill ID: name`.",
            )
        self.check_adaptations(plain["Adaptations"])
        self.check_sources()
        meta = {
            field: tuple(value) if isinstance(value, list) else value
            for field, value in self.meta.items()
        }
        return Topic(
            id=meta["id"], area=meta["area"], title=meta["topic"], phase=meta["phase"],
            clubs=meta["clubs"], levels=meta["levels"], audiences=meta["audiences"], severities=meta["severity"],
            conflicts=meta["conflicts"], sources=meta["sources"], evidence=meta["evidence"], path=self.path,
            faults=tuple(faults), drills=tuple(drills), **{name.lower(): items for name, items in plain.items()},
        )  # fmt: skip

    def read_front_matter(self) -> tuple[dict, int]:
        if (
            not self.lines
            or self.lines[0].strip() != "---"
            or "---" not in (line.strip() for line in self.lines[1:])
        ):
            raise self.fail(
                1, "no front matter; a topic file begins with `---`, its fields, and `---`."
            )
        end = next(number for number, line in enumerate(self.lines[1:], 2) if line.strip() == "---")
        try:
            meta = load_plain_yaml("\n".join(self.lines[1 : end - 1])) or {}
        except yaml.YAMLError as error:
            raise self.fail(
                _yaml_line(error, offset=1), f"the front matter is not valid YAML ({error})."
            ) from error
        if not isinstance(meta, dict):
            raise self.fail(
                2, f"the front matter is a {type(meta).__name__}, expected `field: value` lines."
            )
        names = (re.match(r"""["']?(\w+)["']?\s*:""", line) for line in self.lines[: end - 1])
        self.line_of = dict.fromkeys(_META, 2) | {
            match[1]: number for number, match in enumerate(names, 1) if match
        }
        for field in meta:
            if field not in _META:
                raise self.fail(
                    self.line_of.get(field, 2),
                    f"unknown field {field!r}; expected {', '.join(_META)}.",
                )
        for field, allowed in _META.items():
            value = meta.get(field)
            if not value and not (field == "conflicts" and value == []):
                raise self.fail(end, f"the front matter has no `{field}`.")
            values = value if field in _LISTS else [value]
            if not isinstance(values, list) or not all(isinstance(entry, str) for entry in values):
                raise self.fail(self.line_of[field], f"`{field}` has the wrong type: {value!r}.")
            if len(set(values)) < len(values):
                raise self.fail(self.line_of[field], f"`{field}` names a value twice: {value!r}.")
            unknown = [] if allowed is None else [entry for entry in values if entry not in allowed]
            if unknown:
                raise self.fail(
                    self.line_of[field],
                    f"unknown {field} {unknown[0]!r}; expected one of {', '.join(allowed)}.",
                )
        folder = AREAS[meta["area"]].folder
        if self.path.parent.name != folder:
            raise self.fail(
                self.line_of["area"],
                f"area {meta['area']} belongs into the folder {folder}/, the file is in {self.path.parent.name}/.",
            )
        if meta["id"] != self.path.stem:
            raise self.fail(
                self.line_of["id"],
                f"id {meta['id']!r} differs from the file's name {self.path.stem!r}.",
            )
        return meta, end

    def read_sections(self, start: int) -> dict:
        """{(kind, name, line): {part or None: [(line, [phrasing, ...]), ...]}} in the file's order."""
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
                if not named and heading[2] not in SECTIONS:
                    raise self.fail(
                        number,
                        f"unknown section `{line}`; expected {', '.join(SECTIONS)}, Fault ID: name or Drill ID: name.",
                    )
                current = (
                    (named[1], f"{named[2]}: {named[3]}", number)
                    if named
                    else ("Section", heading[2], number)
                )
                if any(section[:2] == current[:2] for section in sections):
                    raise self.fail(
                        number, f"the section `{line}` stands twice in this file; join the two."
                    )
                sections[current], part = {}, None
            elif heading and current and current[0] != "Section":
                part = heading[2]
                allowed = FAULT_PARTS if current[0] == "Fault" else ("Steps",)
                if part not in allowed:
                    raise self.fail(
                        number, f"unknown part `{line}`; expected {', '.join(allowed)}."
                    )
                if part in sections[current]:
                    raise self.fail(number, f"the part `{line}` stands twice here; join the two.")
                sections[current][part] = []
            elif bullet and current and current[0] == "Fault" and part is None:
                raise self.fail(
                    number,
                    f"an item of a fault stands below one of its parts, `### {'`, `### '.join(FAULT_PARTS)}`.",
                )
            elif bullet and current:
                first = line if current[0] == "Drill" and part is None else bullet[1]
                sections[current].setdefault(part, []).append((number, [first]))
            elif line.startswith("  ") and current and sections[current].get(part):
                phrasings = sections[current][part][-1][1]
                if line.strip().startswith("or:"):
                    phrasings.append(line.strip().removeprefix("or:").strip())
                else:
                    phrasings[-1] += f" {line.strip()}"
            else:
                raise self.fail(number, f"expected a heading or a list item, found: {line!r}.")
        return sections

    def items(self, prefix: str, entries: list) -> tuple[Item, ...]:
        return tuple(
            self.item(f"{self.meta['id']}.{prefix}.{index}", line, texts)
            for index, (line, texts) in enumerate(entries, 1)
        )

    def item(self, item_id: str, line: int, phrasings: list[str]) -> Item:
        text, *others = phrasings
        tags = self.TAGS.search(text)
        values, sources = self.read_tags(line, tags[1] if tags else "")
        phrasings = [(text[: tags.start()] if tags else text).strip(), *others]
        for phrasing in phrasings:
            self.check_sentence(line, phrasing)
        if len(set(phrasings)) < len(phrasings):
            raise self.fail(line, "two phrasings of this item are the same.")
        if not sources and re.search(r"\.(ideal|effect)\.\d+$", item_id):
            raise self.fail(
                line,
                "an ideal and an effect each cite a source, as in `[OKUDA10]`; [CONVENTION] where there is none.",
            )
        grades = {self.sources[source].grade for source in sources}
        for phrasing in phrasings:
            figure = FIGURE.search(phrasing)
            if figure and not grades & GRADES_THAT_MAY_CARRY_A_FIGURE:
                raise self.fail(
                    line,
                    f"the figure {figure[0]!r} needs a source graded {', '.join(sorted(GRADES_THAT_MAY_CARRY_A_FIGURE))}; "
                    f"cited: {', '.join(sources) or 'none'}.",
                )
        self.cited |= set(sources)
        return Item(
            item_id, tuple(phrasings), tuple(sources), *(values[key] for key in _TAGS), line
        )

    def read_tags(self, line: int, tags: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        values = {
            "club": tuple(self.meta["clubs"]), "level": tuple(self.meta["levels"]), "audience": tuple(self.meta["audiences"]),
            "severity": ("none", *self.meta["severity"]),
        }  # fmt: skip
        given: set[str] = set()
        sources = []
        for tag in filter(None, (tag.strip() for tag in re.split(r"[;,]", tags))):
            key, equals, value = tag.partition("=")
            if key in given:
                raise self.fail(line, f"an item has one {key}= at most; join the values with `/`.")
            if equals and key in _TAGS and set(value.split("/")) <= set(values[key]):
                given.add(key)
                values[key] = tuple(value.split("/"))
            elif tag in self.sources:
                sources.append(tag)
            else:
                raise self.fail(
                    line,
                    f"unknown tag {tag!r}; expected a source of sources.yaml, or club=, level=, audience= or severity= "
                    "with values that the front matter has.",
                )
        return values, sources

    def check_sentence(self, line: int, text: str) -> None:
        if not text.endswith((".", "?", "!")):
            raise self.fail(
                line, f"an item is a whole sentence that ends with a full stop, found: {text!r}."
            )
        if "[" in text or "]" in text:
            raise self.fail(
                line,
                "tags stand at the end of an item's first phrasing, and hold for all of its phrasings.",
            )
        bare = re.sub("|".join(map(re.escape, PLACEHOLDERS)), "", text)
        self.refuse_sides(line, bare)
        if re.search(r"[{}]", bare):
            raise self.fail(line, f"unknown placeholder; expected {' or '.join(PLACEHOLDERS)}.")

    def refuse_sides(self, line: int, text: str) -> None:
        if re.search(r"\b(left|right)\b", text, re.IGNORECASE):
            raise self.fail(
                line,
                "`left` and `right` change with the golfer: write lead/trail for the body, {left}/{right} for the ball's flight.",
            )

    def check_adaptations(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if len(item.audiences) != 1:
                raise self.fail(
                    item.line, "an adaptation names its one audience, as in `[audience=senior]`."
                )
        missing = sorted(
            set(self.meta["audiences"]) - {"adult"} - {item.audiences[0] for item in items}
        )
        if missing:
            raise self.fail(
                self.line_of["audiences"],
                f"`## Adaptations` has nothing for: {', '.join(missing)}.",
            )

    def check_sources(self) -> None:
        listed = set(self.meta["sources"])
        for source in sorted(listed ^ self.cited):
            problem = (
                "is listed but no item cites it" if source in listed else "is cited but not listed"
            )
            raise self.fail(
                self.line_of["sources"],
                f"the source {source} {problem}; expected [{', '.join(sorted(self.cited))}].",
            )
        best = next(
            grade
            for grade in SOURCE_GRADES
            if any(self.sources[source].grade == grade for source in listed)
        )
        if self.meta["evidence"] != best:
            raise self.fail(
                self.line_of["evidence"],
                f"the best grade among the sources is {best}, found {self.meta['evidence']}.",
            )

    def build_fault(self, heading: str, line: int, parts: dict) -> Fault:
        fault_id, name = heading.split(": ", 1)
        self.refuse_sides(line, name)
        for part in FAULT_PARTS:
            if not parts.get(part):
                raise self.fail(line, f"fault {fault_id} has no `### {part}`.")
        fields = {
            part.lower(): self.items(f"{fault_id}.{part.lower()}", parts[part])
            for part in FAULT_PARTS
        }
        return Fault(
            id=fault_id,
            name=name,
            area=self.meta["area"],
            topic=self.meta["id"],
            line=line,
            **fields,
        )

    def build_drill(self, heading: str, line: int, parts: dict) -> Drill:
        drill_id, name = heading.split(": ", 1)
        self.refuse_sides(line, name)
        fields = {}
        for number, (text, *others) in parts.get(None, []):
            match = self.FIELD.fullmatch(text)
            if not match or others:
                raise self.fail(
                    number, f"expected `- {'|'.join(DRILL_FIELDS)}: ...`, found {text!r}."
                )
            if match[1] in fields:
                raise self.fail(number, f"drill {drill_id} has `{match[1]}` twice.")
            self.refuse_sides(number, match[2])
            fields[match[1]] = (number, match[2].strip())
        for field in DRILL_FIELDS:
            if field not in fields and field not in ("Clubs", "Levels", "Not for"):
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
                    raise self.fail(
                        number,
                        f"unknown value {value!r} in {field}; expected one of {', '.join(allowed)}.",
                    )
            return values

        entries = [
            *parts["Steps"],
            *((fields[name][0], [fields[name][1]]) for name in ("Easier", "Harder")),
        ]
        items = [*self.items(f"{drill_id}.steps", parts["Steps"])]
        items += [
            self.item(f"{drill_id}.{name.lower()}", fields[name][0], [fields[name][1]])
            for name in ("Easier", "Harder")
        ]
        for (number, _), item in zip(entries, items, strict=True):
            scopes = (
                self.meta["clubs"],
                self.meta["levels"],
                self.meta["audiences"],
                ("none", *self.meta["severity"]),
            )
            if not all(item.fits(*case) for case in product(*scopes)):
                raise self.fail(
                    number,
                    "the sentences of a drill belong together: tag it with `- Clubs:`, `- Levels:`, `- Not for:`.",
                )
            if len(item.phrasings) > 1:
                raise self.fail(
                    number, "the sentences of a drill belong together: one phrasing each."
                )
        not_for = listed("Not for", tuple(self.meta["audiences"]), ())
        scope = {
            "clubs": listed("Clubs", tuple(self.meta["clubs"]), tuple(self.meta["clubs"])),
            "levels": listed("Levels", tuple(self.meta["levels"]), tuple(self.meta["levels"])),
            "audiences": tuple(
                audience for audience in self.meta["audiences"] if audience not in not_for
            ),
        }
        *steps, easier, harder = (dataclasses.replace(item, **scope) for item in items)
        sources = listed("Sources", self.sources, ())
        self.cited |= set(sources)
        return Drill(
            id=drill_id, name=name, area=self.meta["area"], topic=self.meta["id"], line=line,
            fixes=tuple(value.strip() for value in fields["Fixes"][1].split(",")),
            **scope,
            equipment=fields["Equipment"][1], dose=fields["Dose"][1], sources=sources, steps=tuple(steps), easier=easier, harder=harder,
        )  # fmt: skip


def _check_across_files(folder: Path, topics: tuple[Topic, ...]) -> None:
    missing = sorted(set(AREAS) - {topic.area for topic in topics})
    if missing:
        raise KnowledgeError(f"{folder}:1: no topic file for {', '.join(missing)}.")
    _check_ids(topics)
    owner = {fault.id: topic for topic in topics for fault in topic.faults}
    for topic in topics:
        for drill in topic.drills:
            unknown = ", ".join(sorted(set(drill.fixes) - set(owner)))
            if unknown:
                raise KnowledgeError(
                    f"{topic.path}:{drill.line}: drill {drill.id} fixes {unknown}, which no file describes."
                )
        line = _line_with(topic.path, "conflicts:")
        for fault_id in topic.conflicts:
            if fault_id not in owner or owner[fault_id] is topic:
                found = "a fault of this file" if fault_id in owner else "which no file describes"
                raise KnowledgeError(
                    f"{topic.path}:{line}: conflicts names {fault_id}, {found}; expected a fault of another file."
                )
            if not {fault.id for fault in topic.faults} & set(owner[fault_id].conflicts):
                other = owner[fault_id].path.name
                raise KnowledgeError(
                    f"{topic.path}:{line}: conflicts names {fault_id}, but {other} does not name a fault of this file."
                )
        _check_completeness(topic)


def _check_ids(topics: tuple[Topic, ...]) -> None:
    names = [(topic.path, _line_with(topic.path, f"id: {topic.id}"), topic.id) for topic in topics]
    entries = [(topic.path, entry) for topic in topics for entry in (*topic.faults, *topic.drills)]
    names += [(path, entry.line, entry.id) for path, entry in entries]
    # A fault's name is what a request calls it, so it must mean one fault.
    names += [(path, entry.line, entry.name) for path, entry in entries]
    places: dict[str, str] = {}
    for path, line, name in names:
        if name in places:
            raise KnowledgeError(
                f"{path}:{line}: {name!r} is used already at {places[name]}; every id, and every name, is given once."
            )
        places[name] = f"{path}:{line}"


def _check_completeness(topic: Topic) -> None:
    """Whatever the club, the level and the audience, every part of an answer can be filled from this file alone."""
    for club, level, audience in product(topic.clubs, topic.levels, topic.audiences):
        case = f"a {level} {audience} golfer with the {club}"
        for fault in topic.faults:
            if not any(
                fault.id in drill.fixes and drill.fits(club, level, audience)
                for drill in topic.drills
            ):
                raise KnowledgeError(
                    f"{topic.path}:{fault.line}: fault {fault.id} has no drill in this file for {case}."
                )
        for severity in ("none", *topic.severities):
            parts = {part: getattr(topic, part) for part in ("ideal", "keep", "cues", "safety")}
            if audience != "adult":
                parts["adaptations"] = topic.adaptations
            parts |= {
                f"{part} of {fault.id}": getattr(fault, part.lower())
                for fault in topic.faults
                for part in FAULT_PARTS
            }
            empty = [
                part
                for part, items in parts.items()
                if not any(item.fits(club, level, audience, severity) for item in items)
            ]
            if empty:
                raise KnowledgeError(
                    f"{topic.path}:1: nothing in {', '.join(empty)} is for {case} and a {severity} gap."
                )


def _check_rules(topic: Topic, rules: tuple[Rule, ...]) -> None:
    entries = [
        (part, fault, item.line, item.clubs, item.levels, item.phrasings)
        for part, fault, item in topic.items()
    ]
    entries += [
        ("drill", None, drill.line, drill.clubs, drill.levels, (drill.text,))
        for drill in topic.drills
    ]
    for rule in rules:
        for part, fault, line, clubs, levels, texts in entries:
            if not rule.concerns(part, topic.area, clubs, levels, fault):
                continue
            for text in texts:
                if rule.broken_by(text):
                    raise KnowledgeError(
                        f"{topic.path}:{line}: breaks the rule {rule.id}. {rule.says} Found: {text!r}."
                    )
        whole = "\n".join(text for entry in entries for text in entry[-1])
        if rule.joined_in(whole):
            raise KnowledgeError(f"{topic.path}:1: breaks the rule {rule.id}. {rule.says}")


def _line_with(path: Path, text: str) -> int:
    return next(
        (
            number
            for number, line in enumerate(_read_text(path).splitlines(), 1)
            if line.startswith(text)
        ),
        1,
    )
