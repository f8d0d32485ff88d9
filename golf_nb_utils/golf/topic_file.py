"""Read one topic file, Markdown with YAML front matter; knowledge/README.md shows one in full.

The lines become front matter and sections, the list items below each heading become typed items,
and the topic is then checked as a whole. What breaks a rule is refused with its line. The text is
data: it is compared, sampled and shown, never evaluated or formatted.

Every line has to be a heading, a list item or the rest of one, which three patterns say. A Markdown
parser allows more: to it, a line that lost its dash belongs to the item above.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.rules import load_plain_yaml
from golf_nb_utils.golf.topic import (
    FAULT_PARTS,
    FIGURE,
    GRADES_THAT_MAY_CARRY_A_FIGURE,
    PHASES,
    SECTIONS,
    SOURCE_GRADES,
    Drill,
    Fault,
    Item,
    KnowledgeError,
    Source,
    Topic,
    refuse_first,
)

# The fields of the front matter with the values that they allow; None is any text.
_FRONT_MATTER = {
    "id": None, "area": tuple(AREAS), "topic": None, "phase": PHASES,
    "clubs": CLUB_FAMILIES, "levels": LEVELS, "audiences": AUDIENCES, "severity": SEVERITIES,
    "conflicts": None, "sources": None, "evidence": tuple(SOURCE_GRADES),
}  # fmt: skip
_LISTS = ("clubs", "levels", "audiences", "severity", "conflicts", "sources")
_PARTS = {"Fault": FAULT_PARTS, "Drill": ("Steps",)}
_DRILL_FIELDS = (
    "Fixes", "Equipment", "Dose", "Sources", "Clubs", "Levels", "Not for", "Easier", "Harder",
)  # fmt: skip
_OPTIONAL_FIELDS = ("Clubs", "Levels", "Not for")

_HEADING = re.compile(r"(#{1,3}) (.+)")
_BULLET = re.compile(r"(?:-|\d+\.) (.+)")
_NAMED = re.compile(r"(Fault|Drill) ([A-Z]{2}\d+): (.+)")
_DRILL_FIELD = re.compile(rf"- ({'|'.join(_DRILL_FIELDS)}): (.+)")
_TAGS = re.compile(r" \[([^\]]*)\]$")
_PLACEHOLDER = re.compile(r"\{left\}|\{right\}")
# A left-hander reads the same sentence, so only what mirrors with the golfer may name a side.
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_NO_SIDES = (
    "`left` and `right` change with the golfer: write lead/trail for the body, {left}/{right} for "
    "the ball's flight."
)


class _Refusal(Exception):
    """(line, what is wrong): nothing can be made of the file. read_topic adds which file it is."""


@dataclass
class _Entry:
    """A list item as it stands in the file: its line and its phrasings, the first with its tags."""

    line: int
    phrasings: list[str]


@dataclass
class _Section:
    """What stands below a `## heading`: its items by their `### part`, "" for those before any.

    The kind is Fault, Drill or one of SECTIONS, which have no id and no name.
    """

    kind: str
    id: str
    name: str
    line: int
    parts: dict[str, list[_Entry]] = field(default_factory=lambda: {"": []})


def read_topic(path: Path, sources: dict[str, Source]) -> Topic:
    """Read one topic file, whose items may cite `sources`.

    Raises:
        KnowledgeError: the file breaks a rule; the message names its line.
    """
    lines = read_text(path).splitlines()
    try:
        fields, line_of, end = _split_front_matter(lines)
        refuse_first(path, _wrong_fields(path, fields, line_of, end))
        topic = _Builder(path, fields, sources).topic(_split_sections(lines, end))
    except _Refusal as refusal:
        raise KnowledgeError("{}:{}: {}".format(path, *refusal.args)) from refusal.__cause__
    refuse_first(path, _wrong_in_topic(topic, sources, line_of, len(lines)))
    return topic


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, without an editor's byte order mark.

    Raises:
        KnowledgeError: it is not UTF-8, or has a control character other than tab and line end.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = f"not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8."
        raise KnowledgeError(f"{path}:1: {wrong}") from error
    # An editor that took another encoding for Latin-1 writes such characters; answer.py marks
    # sentences with them, so no text may have one.
    control = re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        wrong = f"the invisible control character {control[0]!r}; delete it, and save the file as"
        raise KnowledgeError(f"{path}:{line}: {wrong} UTF-8.")
    return text


def yaml_line(error: yaml.YAMLError) -> int:
    """Return the line of a YAML error; 1 where it has none."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


# The front matter.


def _split_front_matter(lines: list[str]) -> tuple[dict, dict[str, int], int]:
    """(fields, {field: its line, 2 if not found}, the line that closes the front matter)."""
    dashes = [number for number, line in enumerate(lines, 1) if line.strip() == "---"]
    if len(dashes) < 2 or dashes[0] != 1:
        raise _Refusal(1, "no front matter; a topic file begins with `---`, its fields, and `---`.")
    inner = lines[1 : dashes[1] - 1]
    try:
        fields = load_plain_yaml("\n".join(inner)) or {}
    except yaml.YAMLError as error:
        wrong = f"the front matter is not valid YAML ({error})."
        raise _Refusal(yaml_line(error) + 1, wrong) from error
    if not isinstance(fields, dict):
        found = type(fields).__name__
        raise _Refusal(2, f"the front matter is a {found}, expected `field: value` lines.")
    names = (re.match(r"""["']?(\w+)["']?\s*:""", line) for line in inner)
    line_of = {match[1]: number for number, match in enumerate(names, 2) if match}
    return fields, dict.fromkeys((*fields, *_FRONT_MATTER), 2) | line_of, dashes[1]


def _wrong_fields(
    path: Path, fields: dict, line_of: dict[str, int], end: int
) -> Iterator[tuple[int, str]]:
    for name in fields:
        if name not in _FRONT_MATTER:
            yield line_of[name], f"unknown field {name!r}; expected {', '.join(_FRONT_MATTER)}."
    for name, allowed in _FRONT_MATTER.items():
        value = fields.get(name)
        if not value and not (name == "conflicts" and value == []):
            yield end, f"the front matter has no `{name}`."
        values = value if name in _LISTS else [value]
        if not isinstance(values, list) or not all(isinstance(entry, str) for entry in values):
            yield line_of[name], f"`{name}` has the wrong type: {value!r}."
        if len(set(values)) < len(values):
            yield line_of[name], f"`{name}` names a value twice: {value!r}."
        for entry in values:
            if allowed and entry not in allowed:
                expected = ", ".join(allowed)
                yield line_of[name], f"unknown {name} {entry!r}; expected one of {expected}."
    area, folder, found = fields["area"], AREAS[fields["area"]].folder, path.parent.name
    if found != folder:
        wrong = f"area {area} belongs into the folder {folder}/, the file is in {found}/."
        yield line_of["area"], wrong
    if fields["id"] != path.stem:
        yield line_of["id"], f"id {fields['id']!r} differs from the file's name {path.stem!r}."


# The sections below it.


def _split_sections(lines: list[str], start: int) -> list[_Section]:
    """The sections of the lines after the first `start`, in their order."""
    sections: dict[str, _Section] = {}
    section, part = None, ""
    for number, line in enumerate(lines[start:], start + 1):
        heading, bullet = _HEADING.fullmatch(line), _BULLET.fullmatch(line)
        entries = section.parts[part] if section else []
        if not line.strip() or (heading and heading[1] == "#"):
            continue
        if heading and heading[1] == "##":
            if heading[2] in sections:
                wrong = f"the section `{line}` stands twice in this file; join the two."
                raise _Refusal(number, wrong)
            section, part = _new_section(heading[2], number), ""
            sections[heading[2]] = section
        elif heading and section and section.kind in _PARTS:
            part, allowed = heading[2], _PARTS[section.kind]
            if part not in allowed:
                raise _Refusal(number, f"unknown part `{line}`; expected {', '.join(allowed)}.")
            if part in section.parts:
                raise _Refusal(number, f"the part `{line}` stands twice here; join the two.")
            section.parts[part] = []
        elif bullet and section and section.kind == "Fault" and not part:
            wrong = "an item of a fault stands below one of its parts, "
            raise _Refusal(number, wrong + f"`### {'`, `### '.join(FAULT_PARTS)}`.")
        elif bullet and section:
            # The fields of a drill keep their dash, which tells them from numbered steps.
            is_field = section.kind == "Drill" and not part
            entries.append(_Entry(number, [line if is_field else bullet[1]]))
        elif line.startswith("  ") and entries:
            text, phrasings = line.strip(), entries[-1].phrasings
            if text.startswith("or:"):
                phrasings.append(text.removeprefix("or:").strip())
            else:
                phrasings[-1] += f" {text}"
        else:
            raise _Refusal(number, f"expected a heading or a list item, found: {line!r}.")
    return list(sections.values())


def _new_section(title: str, number: int) -> _Section:
    if title in SECTIONS:
        return _Section(title, "", "", number)
    named = _NAMED.fullmatch(title)
    if not named:
        expected = f"{', '.join(SECTIONS)}, Fault ID: name or Drill ID: name"
        raise _Refusal(number, f"unknown section `## {title}`; expected {expected}.")
    return _Section(*named.groups(), number)


# From sections to a topic.


class _Builder:
    """Makes a topic of the sections of a file, whose front matter says what a tag may say."""

    def __init__(self, path: Path, fields: dict, sources: dict[str, Source]):
        self.path, self.sources = path, sources
        self.fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        self.scope = {
            "club": self.fields["clubs"],
            "level": self.fields["levels"],
            "audience": self.fields["audiences"],
            "severity": ("none", *self.fields["severity"]),
        }

    def topic(self, sections: list[_Section]) -> Topic:
        """The topic of all sections; _wrong_in_topic says whether it is whole."""
        build = {"Fault": self._fault, "Drill": self._drill} | dict.fromkeys(SECTIONS, self._plain)
        built: dict[str, tuple] = dict.fromkeys(build, ())
        for section in sections:
            built[section.kind] += tuple(build[section.kind](section))
        renamed = {"topic": "title", "severity": "severities", "Fault": "faults", "Drill": "drills"}
        values = {renamed.get(name, name.lower()): v for name, v in (self.fields | built).items()}
        return Topic(path=self.path, **values)

    def _plain(self, section: _Section) -> Iterator[Item]:
        return self._items(section.kind.lower(), section.parts[""])

    def _items(self, prefix: str, entries: list[_Entry]) -> Iterator[Item]:
        for place, entry in enumerate(entries, 1):
            yield self._item(f"{self.fields['id']}.{prefix}.{place}", entry)

    def _item(self, item_id: str, entry: _Entry) -> Item:
        text, *others = entry.phrasings
        tags = _TAGS.search(text)
        scope, sources = self._read_tags(entry.line, tags[1] if tags else "")
        first = (text[: tags.start()] if tags else text).strip()
        return Item(item_id, (first, *others), sources, *scope.values(), entry.line)

    def _read_tags(
        self, line: int, tags: str
    ) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        """({kind of tag: the values that remain}, sources)."""
        scope, sources, given = dict(self.scope), [], set()
        for tag in filter(None, map(str.strip, re.split(r"[;,]", tags))):
            key, _, value = tag.partition("=")
            values = tuple(value.split("/"))
            if key in given:
                raise _Refusal(line, f"an item has one {key}= at most; join the values with `/`.")
            if key in scope and set(values) <= set(scope[key]):
                given.add(key)
                scope[key] = values
            elif tag in self.sources:
                sources.append(tag)
            else:
                wrong = f"unknown tag {tag!r}; expected a source of sources.yaml, or club=, level=,"
                wrong += " audience= or severity= with values that the front matter has."
                raise _Refusal(line, wrong)
        return scope, tuple(sources)

    def _fault(self, section: _Section) -> Iterator[Fault]:
        for part in FAULT_PARTS:
            if not section.parts.get(part):
                raise _Refusal(section.line, f"fault {section.id} has no `### {part}`.")
        yield Fault(
            section.id, section.name, self.fields["area"], self.fields["id"], section.line,
            *(tuple(self._items(f"{section.id}.{part.lower()}", section.parts[part]))
              for part in FAULT_PARTS),
        )  # fmt: skip

    def _drill(self, section: _Section) -> Iterator[Drill]:
        fields = self._read_drill_fields(section)
        items = [
            *self._items(f"{section.id}.steps", section.parts["Steps"]),
            self._item(f"{section.id}.easier", fields["Easier"]),
            self._item(f"{section.id}.harder", fields["Harder"]),
        ]
        # A step that only some golfers read would leave a hole in the drill for the others.
        for item in items:
            wrong = "the sentences of a drill belong together: "
            if list(map(set, item.scope)) != list(map(set, self.scope.values())):
                wrong += "tag it with `- Clubs:`, `- Levels:`, `- Not for:`."
                raise _Refusal(item.line, wrong)
            if len(item.phrasings) > 1:
                raise _Refusal(item.line, f"{wrong}one phrasing each.")
        clubs, levels, audiences, _ = self.scope.values()
        limits = {"Clubs": clubs, "Levels": levels, "Not for": audiences, "Sources": self.sources}
        values = {name: _split_commas(entry.phrasings[0]) for name, entry in fields.items()}
        for name, allowed in limits.items():
            for value in values.get(name, ()):
                if value not in allowed:
                    expected = f"{name}; expected one of {', '.join(allowed)}"
                    raise _Refusal(fields[name].line, f"unknown value {value!r} in {expected}.")
        not_for = values.get("Not for", ())
        scope = {
            "clubs": values.get("Clubs", clubs),
            "levels": values.get("Levels", levels),
            "audiences": tuple(name for name in audiences if name not in not_for),
        }
        *steps, easier, harder = (replace(item, **scope) for item in items)
        yield Drill(
            id=section.id, name=section.name, area=self.fields["area"], topic=self.fields["id"],
            line=section.line, fixes=values["Fixes"], **scope,
            equipment=fields["Equipment"].phrasings[0], dose=fields["Dose"].phrasings[0],
            sources=values["Sources"], steps=tuple(steps), easier=easier, harder=harder,
        )  # fmt: skip

    def _read_drill_fields(self, section: _Section) -> dict[str, _Entry]:
        """{field: its line and text}, where the drill has all that it needs."""
        fields: dict[str, _Entry] = {}
        for entry in section.parts[""]:
            text, *others = entry.phrasings
            match = _DRILL_FIELD.fullmatch(text)
            if not match or others:
                wrong = f"expected `- {'|'.join(_DRILL_FIELDS)}: ...`, found {text!r}."
                raise _Refusal(entry.line, wrong)
            if match[1] in fields:
                raise _Refusal(entry.line, f"drill {section.id} has `{match[1]}` twice.")
            if _SIDE.search(match[2]):
                raise _Refusal(entry.line, _NO_SIDES)
            fields[match[1]] = _Entry(entry.line, [match[2].strip()])
        for name in _DRILL_FIELDS:
            if name not in fields and name not in _OPTIONAL_FIELDS:
                raise _Refusal(section.line, f"drill {section.id} has no `- {name}: ...`.")
        if not section.parts.get("Steps"):
            raise _Refusal(section.line, f"drill {section.id} has no `### Steps`.")
        return fields


def _split_commas(text: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in text.split(","))


# The topic as a whole.


def _wrong_in_topic(
    topic: Topic, sources: dict[str, Source], line_of: dict[str, int], last_line: int
) -> Iterator[tuple[int, str]]:
    for entry in (*topic.faults, *topic.drills):
        if _SIDE.search(entry.name):
            yield entry.line, _NO_SIDES
    for part, _, item in topic.items():
        for wrong in _wrong_in_item(part, item, sources):
            yield item.line, wrong
    for name in SECTIONS:
        if not getattr(topic, name.lower()):
            yield last_line, f"the section `## {name}` is missing or empty."
    if not topic.faults or not topic.drills:
        needed = "at least one `## Fault ID: name` and one `## Drill ID: name`"
        yield last_line, f"a topic needs {needed}."
    for item in topic.adaptations:
        if len(item.audiences) != 1:
            yield item.line, "an adaptation names its one audience, as in `[audience=senior]`."
    served = {"adult", *(item.audiences[0] for item in topic.adaptations)}
    missing = ", ".join(sorted(set(topic.audiences) - served))
    if missing:
        yield line_of["audiences"], f"`## Adaptations` has nothing for: {missing}."
    listed = set(topic.sources)
    cited = {source for _, _, item in topic.items() for source in item.sources}
    cited |= {source for drill in topic.drills for source in drill.sources}
    for source in sorted(cited ^ listed):
        wrong = "listed but no item cites it" if source in listed else "cited but not listed"
        expected = ", ".join(sorted(cited))
        yield line_of["sources"], f"the source {source} is {wrong}; expected [{expected}]."
    grades = {sources[source].grade for source in listed}
    best = next(grade for grade in SOURCE_GRADES if grade in grades)
    if topic.evidence != best:
        wrong = f"the best grade among the sources is {best}, found {topic.evidence}."
        yield line_of["evidence"], wrong


def _wrong_in_item(part: str, item: Item, sources: dict[str, Source]) -> Iterator[str]:
    for text in item.phrasings:
        bare = _PLACEHOLDER.sub("", text)
        if not text.endswith((".", "?", "!")):
            yield f"an item is a whole sentence that ends with a full stop, found: {text!r}."
        if "[" in text or "]" in text:
            place = "at the end of an item's first phrasing"
            yield f"tags stand {place}, and hold for all of its phrasings."
        if _SIDE.search(bare):
            yield _NO_SIDES
        if "{" in bare or "}" in bare:
            yield "unknown placeholder; expected {left} or {right}."
    if len(set(item.phrasings)) < len(item.phrasings):
        yield "two phrasings of this item are the same."
    if part in ("ideal", "effect") and not item.sources:
        example = "as in `[OKUDA10]`; [CONVENTION] where there is none"
        yield f"an ideal and an effect each cite a source, {example}."
    if GRADES_THAT_MAY_CARRY_A_FIGURE.isdisjoint(sources[name].grade for name in item.sources):
        graded = ", ".join(sorted(GRADES_THAT_MAY_CARRY_A_FIGURE))
        for figure in filter(None, map(FIGURE.search, item.phrasings)):
            cited = ", ".join(item.sources) or "none"
            yield f"the figure {figure[0]!r} needs a source graded {graded}; cited: {cited}."
