"""The knowledge base: all topic files of a folder with its sources and rules, checked together.

topic.py says what a topic is, topic_file.py reads one file; here they become one base, in which
every id is given once, every part of an answer can be filled, and no sentence breaks a rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.rules import Rule, load_plain_yaml, load_rules
from golf_nb_utils.golf.topic import (
    FAULT_PARTS,
    FIGURE,
    SOURCE_GRADES,
    Drill,
    Fault,
    Item,
    KnowledgeError,
    Source,
    Topic,
    refuse_first,
)
from golf_nb_utils.golf.topic_file import read_text, read_topic, yaml_line

# What the other modules and the notebooks need of a knowledge base is imported from here.
__all__ = [
    "FIGURE", "Drill", "Fault", "Item", "KnowledgeBase", "KnowledgeError", "Source", "Topic",
    "load_knowledge", "read_topic",
]  # fmt: skip


@dataclass(frozen=True)
class KnowledgeBase:
    """All that the coach may say about golf."""

    sources: dict[str, Source]
    rules: tuple[Rule, ...]
    topics: tuple[Topic, ...]
    extra_topics: frozenset[str] = frozenset()
    """Topics that came from a folder of the user's own."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all topics."""
        return tuple(fault for topic in self.topics for fault in topic.faults)

    @property
    def drills(self) -> tuple[Drill, ...]:
        """The drills of all topics."""
        return tuple(drill for topic in self.topics for drill in topic.drills)

    def drills_for(self, fault_id: str) -> tuple[Drill, ...]:
        """Return the drills that fix a fault, those of other topics among them."""
        return tuple(drill for drill in self.drills if fault_id in drill.fixes)

    def fault(self, fault_id: str) -> Fault:
        """Return the fault of this id."""
        return next(fault for fault in self.faults if fault.id == fault_id)

    def topic(self, topic_id: str) -> Topic:
        """Return the topic of this id."""
        return next(topic for topic in self.topics if topic.id == topic_id)

    def sentences(self) -> dict[str, str]:
        """Return {id: text} over all topics, see Topic.sentences."""
        return {
            item_id: text for topic in self.topics for item_id, text in topic.sentences().items()
        }


def load_knowledge(folder: str | Path, extra: str | Path | None = None) -> KnowledgeBase:
    """Read `folder`/{area}/*.md with its sources.yaml and rules.yaml, and check them together.

    `extra` is a folder of one's own in the same layout. It may bring a sources.yaml, whose ids join
    those of `folder`, and its drills may fix any fault. The rules of `folder` hold for both.

    Raises:
        KnowledgeError: a file breaks a rule (its file and line are named), or an area has no topic.
        FileNotFoundError: a folder, sources.yaml or rules.yaml does not exist.
    """
    folder = Path(folder)
    sources = _read_sources(folder / "sources.yaml")
    if (folder / "rules.yaml").is_file():
        _refuse_link_out(folder / "rules.yaml", folder)
    rules = load_rules(folder / "rules.yaml")
    topics = _read_topics(folder, sources)
    extra_topics: tuple[Topic, ...] = ()
    if extra:
        sources, extra_topics = _read_extra(Path(extra), sources)
        topics += extra_topics
    missing = ", ".join(sorted(set(AREAS) - {topic.area for topic in topics}))
    if missing:
        raise KnowledgeError(f"{folder}:1: no topic file for {missing}.")
    places: dict[str, str] = {}
    for topic in topics:
        refuse_first(topic.path, _wrong_names(topic, places))
    owners = {fault.id: topic for topic in topics for fault in topic.faults}
    for topic in topics:
        checks = _wrong_references(topic, owners), _wrong_gaps(topic), _broken_rules(topic, rules)
        refuse_first(topic.path, chain(*checks))
    return KnowledgeBase(sources, rules, topics, frozenset(topic.id for topic in extra_topics))


def _read_extra(
    folder: Path, sources: dict[str, Source]
) -> tuple[dict[str, Source], tuple[Topic, ...]]:
    """All sources and the topics of a folder of one's own."""
    if not folder.is_dir():
        expected = "expected one with {area}/*.md files, or leave extra knowledge out"
        raise FileNotFoundError(f"{folder} is no folder; {expected}.")
    path = folder / "sources.yaml"
    own = _read_sources(path) if path.is_file() else {}
    for name in sorted(set(own) & set(sources)):
        wrong = f"the source {name} exists already; give yours another id."
        raise KnowledgeError(f"{path}:{_line_with(path, f'{name}:')}: {wrong}")
    topics = _read_topics(folder, sources | own)
    if not topics:
        expected = f"expected {{area}}/*.md with an area out of {', '.join(AREAS)}"
        raise KnowledgeError(f"{folder}:1: no topic file; {expected}.")
    return sources | own, topics


def _read_topics(folder: Path, sources: dict[str, Source]) -> tuple[Topic, ...]:
    paths = sorted(folder.glob("*/*.md"))
    for path in paths:
        _refuse_link_out(path, folder)
    return tuple(read_topic(path, sources) for path in paths)


def _refuse_link_out(path: Path, folder: Path) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        wrong = "a link that leads out of the folder; copy the file here instead."
        raise KnowledgeError(f"{path}:1: {wrong}")
    if not path.is_file():
        raise KnowledgeError(f"{path}:1: expected a file, found a folder or a broken link.")


def _read_sources(path: Path) -> dict[str, Source]:
    if not path.is_file():
        wrong = "does not exist; it lists the sources that the topic files cite."
        raise FileNotFoundError(f"{path} {wrong}")
    _refuse_link_out(path, path.parent)
    try:
        entries = load_plain_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise KnowledgeError(f"{path}:{yaml_line(error)}: not valid YAML ({error}).") from error
    if not isinstance(entries, dict):
        expected = "expected `ID: {grade: C, text: ...}` lines"
        raise KnowledgeError(f"{path}:1: {expected}, found {type(entries).__name__}.")
    sources = {}
    for name, entry in entries.items():
        grade, text = (
            (entry.get("grade"), entry.get("text")) if isinstance(entry, dict) else ("", "")
        )
        if not (
            isinstance(grade, str) and grade in SOURCE_GRADES and isinstance(text, str) and text
        ):
            wrong = f"source {name} needs `text` and a `grade` out of {', '.join(SOURCE_GRADES)}."
            raise KnowledgeError(f"{path}:{_line_with(path, f'{name}:')}: {wrong}")
        sources[name] = Source(name, grade, text)
    return sources


def _line_with(path: Path, start: str) -> int:
    """The first line that starts like this; 1 without one."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return next((number for number, line in lines if line.startswith(start)), 1)


# The checks between files and of whole files: each yields (line, what is wrong).


def _wrong_names(topic: Topic, places: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Ids and names that stand in `places`, {id or name: file and line}; the others join it.

    A fault's name is what a request calls it, so it must mean one fault.
    """
    entries = (*topic.faults, *topic.drills)
    names = [(_line_with(topic.path, f"id: {topic.id}"), topic.id)]
    names += [(entry.line, name) for entry in entries for name in (entry.id, entry.name)]
    for line, name in names:
        if name in places:
            wrong = f"{name!r} is used already at {places[name]}"
            yield line, f"{wrong}; every id, and every name, is given once."
        places[name] = f"{topic.path}:{line}"


def _wrong_references(topic: Topic, owners: dict[str, Topic]) -> Iterator[tuple[int, str]]:
    """Faults that a drill or `conflicts` names in vain; `owners` is {fault: its topic}."""
    for drill in topic.drills:
        unknown = ", ".join(sorted(set(drill.fixes) - set(owners)))
        if unknown:
            yield drill.line, f"drill {drill.id} fixes {unknown}, which no file describes."
    own = {fault.id for fault in topic.faults}
    for fault_id in topic.conflicts:
        line, owner = _line_with(topic.path, "conflicts:"), owners.get(fault_id)
        wrong = f"conflicts names {fault_id}, "
        if owner is None or owner is topic:
            wrong += "a fault of this file" if owner else "which no file describes"
            yield line, f"{wrong}; expected a fault of another file."
        elif not own & set(owner.conflicts):
            yield line, f"{wrong}but {owner.path.name} does not name a fault of this file."


def _wrong_gaps(topic: Topic) -> Iterator[tuple[int, str]]:
    """Cases (club, level, audience, gap) in which this file alone cannot fill an answer.

    Any topic can then be held out of training as unseen, or taught alone.
    """
    plain = ("ideal", "keep", "cues", "safety", "adaptations")
    parts = {part: getattr(topic, part) for part in plain}
    for fault in topic.faults:
        parts |= {f"{part} of {fault.id}": getattr(fault, part.lower()) for part in FAULT_PARTS}
    # Most parts have an item for everybody, and need no look case by case.
    parts = {p: items for p, items in parts.items() if topic.scope not in (i.scope for i in items)}
    for club, level, audience in product(topic.clubs, topic.levels, topic.audiences):
        case = f"a {level} {audience} golfer with the {club}"
        fitting = [drill for drill in topic.drills if drill.fits(club, level, audience)]
        for fault in topic.faults:
            if not any(fault.id in drill.fixes for drill in fitting):
                yield fault.line, f"fault {fault.id} has no drill in this file for {case}."
        for severity in ("none", *topic.severities):
            empty = ", ".join(
                part
                for part, items in parts.items()
                if not any(item.fits(club, level, audience, severity) for item in items)
                and (part != "adaptations" or audience != "adult")
            )
            if empty:
                yield 1, f"nothing in {empty} is for {case} and a {severity} gap."


def _broken_rules(topic: Topic, rules: tuple[Rule, ...]) -> Iterator[tuple[int, str]]:
    told = [(part, fault, item, item.phrasings) for part, fault, item in topic.items()]
    told += [("drill", None, drill, (drill.text,)) for drill in topic.drills]
    whole = "\n".join(text for *_, texts in told for text in texts)
    for rule in rules:
        broken = f"breaks the rule {rule.id}. {rule.says}"
        for part, fault, entry, texts in told:
            if rule.concerns(part, topic.area, entry.clubs, entry.levels, fault):
                for text in filter(rule.broken_by, texts):
                    yield entry.line, f"{broken} Found: {text!r}."
        if rule.joined_in(whole):
            yield 1, broken
