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
    FIGURE,
    GRADES_THAT_MAY_CARRY_A_FIGURE,
    KINDS,
    LOADS,
    OUTCOMES,
    PHASES,
    PLACES,
    RISKS,
    Advice,
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
    "conflicts": None,
}  # fmt: skip
_LISTS = ("clubs", "levels", "audiences", "severity", "conflicts")
_PLAIN_SECTION = "Adaptations"
_PARTS = {heading: parts for heading, (_, parts) in KINDS.items()}
_PARTS |= {"Fault": (), "Drill": ("Text",)}
# The fields below a heading, `- Name: value`: those that must be there, and those that narrow.
_NARROWING = ("Clubs", "Levels", "Not for", "Gaps")
_FIELDS = {
    **dict.fromkeys(("Chain", "Keep", "Meanwhile"), ((), _NARROWING)),
    "Fault": ((), ()),
    "Unclear": (("Faults",), _NARROWING),
    "Outcome": (("Outcome", "Faults"), _NARROWING),
    "Drill": (
        ("Fixes", "Place", "Equipment", "Risk", "Loads", "Dose", "Small dose", "Easier", "Harder",
         "Sources"),
        ("Clubs", "Levels", "Not for"),
    ),
}  # fmt: skip
# A golfer reads an answer on a phone, so no part may have more words than these.
_MOST_WORDS = {
    "ideal": 17, "happening": 26, "steps": 14, "check": 14, "plan": 19, "cue": 6, "drill": 22,
    "dose": 8, "small_dose": 8, "easier": 9, "harder": 9, "adaptations": 14,
}  # fmt: skip
# The numbered lines that stand in place of step, drill and check have as many words as these.
_MOST_WORDS_OF_A_TEST = 26

_HEADING = re.compile(r"(#{1,3}) (.+)")
_BULLET = re.compile(r"(?:-|\d+\.) (.+)")
_NAMED = re.compile(rf"({'|'.join(_PARTS)}) ([A-Z]{{2}}\d+[a-z]?): (.+)")
_FIELD = re.compile(r"- ([A-Z][a-z]+(?: [a-z]+)?): (.+)")
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

    The kind is the first word of its heading; Adaptations have no id and no name.
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
        elif bullet and section:
            # The fields below a heading keep their dash, which tells them from numbered steps.
            is_field = section.kind in _PARTS and not part
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
    if title == _PLAIN_SECTION:
        return _Section(title, "", "", number)
    named = _NAMED.fullmatch(title)
    if not named:
        expected = f"{_PLAIN_SECTION}, or {', '.join(_PARTS)} with an id and a name"
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
        club, level, audience, severity = self.scope.values()
        # The fields below a heading that take only some values.
        self._allowed = {
            "Clubs": club, "Levels": level, "Not for": audience, "Gaps": severity,
            "Outcome": tuple(OUTCOMES), "Place": PLACES, "Risk": RISKS, "Loads": LOADS,
            "Sources": tuple(sources),
        }  # fmt: skip

    def topic(self, sections: list[_Section]) -> Topic:
        """The topic of all sections; _wrong_in_topic says whether it is whole."""
        own = self.fields["area"], self.fields["id"]
        of = {kind: [one for one in sections if one.kind == kind] for kind in _PARTS}
        for section in of["Fault"]:
            self._read_fields(section)
        plain = (one.parts[""] for one in sections if one.kind == _PLAIN_SECTION)
        renamed = {"topic": "title", "severity": "severities"}
        values = {renamed.get(name, name): value for name, value in self.fields.items()}
        return Topic(
            path=self.path,
            faults=tuple(Fault(one.id, one.name, *own, one.line) for one in of["Fault"]),
            advice=tuple(self._advice(one) for one in sections if one.kind in KINDS),
            drills=tuple(map(self._drill, of["Drill"])),
            adaptations=tuple(self._items("adaptations", next(plain, []))),
            **values,
        )

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

    def _advice(self, section: _Section) -> Advice:
        kind, parts = KINDS[section.kind]
        fields = self._read_fields(section)
        if list(section.parts) != ["", *parts]:
            found = ", ".join(list(section.parts)[1:]) or "none"
            wrong = f"{section.id} has the parts {found}; expected {', '.join(parts)}."
            raise _Refusal(section.line, wrong)
        scope = self._narrowed(fields)
        items = {
            part.lower(): tuple(self._items(f"{section.id}.{part.lower()}", section.parts[part]))
            for part in parts
        }
        outcomes = fields.get("Outcome", ())
        if len(outcomes) > 1:
            raise _Refusal(section.line, f"{section.id} has several outcomes; give each its own.")
        own = (section.id.rstrip("abcdefghijklmnopqrstuvwxyz"),) if kind == "fault" else ()
        return Advice(
            section.id, kind, section.name, self.fields["area"], self.fields["id"], section.line,
            own or fields.get("Faults", ()), "".join(outcomes), *scope.values(), items,
        )  # fmt: skip

    def _drill(self, section: _Section) -> Drill:
        fields = self._read_fields(section)
        texts = list(self._items(f"{section.id}.text", section.parts.get("Text", [])))
        if len(texts) != 1:
            raise _Refusal(section.line, f"drill {section.id} needs one item below `### Text`.")
        risks, loads = (
            tuple(value for value in fields[name] if value != "none") for name in ("Risk", "Loads")
        )
        scope = self._narrowed(fields)
        barred = {"limited mobility"} if loads or {"one leg", "speed"} & set(risks) else set()
        barred |= {"senior"} if {"one leg", "speed"} & set(risks) else set()
        scope["audience"] = tuple(name for name in scope["audience"] if name not in barred)
        # As they stand in the file, commas and all; _read_fields has seen that each is a field.
        lines = ((entry.line, _FIELD.fullmatch(entry.phrasings[0])) for entry in section.parts[""])
        written = {match[1]: _Entry(line, [match[2]]) for line, match in lines}
        items = {
            name: self._item(f"{section.id}.{name}", written[name.capitalize().replace("_", " ")])
            for name in ("dose", "small_dose", "easier", "harder")
        }
        items["text"] = texts[0]
        for item in items.values():
            if item.sources or item.scope != tuple(self.scope.values()):
                wrong = "a drill is told whole, so its texts have no tags; whom it is for, and its "
                wrong += "sources, stand in the lines below its heading."
                raise _Refusal(item.line, wrong)
        items = {name: replace(item, sources=fields["Sources"]) for name, item in items.items()}
        return Drill(
            id=section.id, name=section.name, area=self.fields["area"], topic=self.fields["id"],
            line=section.line, fixes=fields["Fixes"], clubs=scope["club"], levels=scope["level"],
            audiences=scope["audience"], places=fields["Place"],
            equipment=written["Equipment"].phrasings[0], risks=risks, loads=loads,
            sources=fields["Sources"], **items,
        )  # fmt: skip

    def _narrowed(self, fields: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """For whom a section is, of those for whom the file is."""
        scope = dict(self.scope)
        for name, key in {"Clubs": "club", "Levels": "level", "Gaps": "severity"}.items():
            scope[key] = fields.get(name, scope[key])
        barred = fields.get("Not for", ())
        scope["audience"] = tuple(name for name in scope["audience"] if name not in barred)
        return scope

    def _read_fields(self, section: _Section) -> dict[str, tuple[str, ...]]:
        """{field: its values}, where the section has all that it needs."""
        needed, optional = _FIELDS[section.kind]
        fields: dict[str, tuple[str, ...]] = {}
        for entry in section.parts[""]:
            text, *others = entry.phrasings
            match = _FIELD.fullmatch(text)
            if not match or others or match[1] not in (*needed, *optional):
                expected = " or ".join(f"`- {name}: ...`" for name in (*needed, *optional))
                wrong = f"expected {expected or 'no line'} below this heading, found {text!r}."
                raise _Refusal(entry.line, wrong)
            if match[1] in fields:
                raise _Refusal(entry.line, f"{section.id} has `{match[1]}` twice.")
            if _SIDE.search(match[2]):
                raise _Refusal(entry.line, _NO_SIDES)
            fields[match[1]] = tuple(value.strip() for value in match[2].split(","))
            _refuse_unknown(entry.line, match[1], fields[match[1]], self._allowed.get(match[1]))
        for name in needed:
            if name not in fields:
                raise _Refusal(section.line, f"{section.id} has no `- {name}: ...`.")
        return fields


def _refuse_unknown(
    line: int, name: str, values: tuple[str, ...], allowed: tuple[str, ...] | None
) -> None:
    """Refuse a value that is not allowed; None allows any."""
    for value in values:
        if allowed is not None and value not in allowed:
            expected = f"expected one of {', '.join(allowed)}"
            raise _Refusal(line, f"unknown value {value!r} in {name}; {expected}.")


# The topic as a whole.


def _wrong_in_topic(
    topic: Topic, sources: dict[str, Source], line_of: dict[str, int], last_line: int
) -> Iterator[tuple[int, str]]:
    for entry in (*topic.faults, *topic.drills):
        if _SIDE.search(entry.name):
            yield entry.line, _NO_SIDES
    for part, owner, item in topic.items():
        for wrong in _wrong_in_item(part, owner, item, sources):
            yield item.line, wrong
    if not topic.advice:
        needed = ", ".join(f"`## {heading} ID: name`" for heading in KINDS)
        yield last_line, f"a topic needs one of {needed}."
    for fault in topic.faults:
        if not any(chain.faults == (fault.id,) for chain in topic.chains):
            yield fault.line, f"fault {fault.id} has no `## Chain {fault.id}a: name`."
    for item in topic.adaptations:
        if len(item.audiences) != 1:
            yield item.line, "an adaptation names its one audience, as in `[audience=senior]`."
    served = {"adult", *(item.audiences[0] for item in topic.adaptations)}
    missing = ", ".join(sorted(set(topic.audiences) - served))
    if missing and topic.faults:
        yield line_of["audiences"], f"`## Adaptations` has nothing for: {missing}."


def _wrong_in_item(
    part: str, owner: Advice | Drill | None, item: Item, sources: dict[str, Source]
) -> Iterator[str]:
    most = _MOST_WORDS[part]
    if part == "steps" and owner.kind in ("unclear", "outcome"):
        most = _MOST_WORDS_OF_A_TEST
    for text in item.phrasings:
        bare = _PLACEHOLDER.sub("", text)
        if not text.endswith((".", "?", "!")):
            yield f"an item is a whole sentence that ends with a full stop, found: {text!r}."
        if len(text.split()) > most:
            yield f"{part} has at most {most} words, found {len(text.split())}: {text!r}."
        if "[" in text or "]" in text:
            place = "at the end of an item's first phrasing"
            yield f"tags stand {place}, and hold for all of its phrasings."
        if _SIDE.search(bare):
            yield _NO_SIDES
        if "{" in bare or "}" in bare:
            yield "unknown placeholder; expected {left} or {right}."
    if len(set(item.phrasings)) < len(item.phrasings):
        yield "two phrasings of this item are the same."
    if part in ("ideal", "happening") and not item.sources:
        example = "as in `[OKUDA10]`; [CONVENTION] where there is none"
        yield f"{part} cites a source, {example}."
    if GRADES_THAT_MAY_CARRY_A_FIGURE.isdisjoint(sources[name].grade for name in item.sources):
        graded = ", ".join(sorted(GRADES_THAT_MAY_CARRY_A_FIGURE))
        for figure in filter(None, map(FIGURE.search, item.phrasings)):
            cited = ", ".join(item.sources) or "none"
            yield f"the figure {figure[0]!r} needs a source graded {graded}; cited: {cited}."
