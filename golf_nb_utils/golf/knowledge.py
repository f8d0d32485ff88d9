"""The knowledge base: all topic files of a folder with its sources and rules, checked together.

topic.py says what a topic is, topic_file.py reads one file; here they become one base, in which
every id is given once, every part of an answer can be filled, and no sentence breaks a rule.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.rules import Rule, load_plain_yaml, load_rules
from golf_nb_utils.golf.topic import (
    FIGURE,
    SOURCE_GRADES,
    Advice,
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
    "FIGURE", "Advice", "Drill", "Fault", "Item", "KnowledgeBase", "KnowledgeError", "Source",
    "Topic", "load_knowledge", "read_topic",
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

    @property
    def advice(self) -> tuple[Advice, ...]:
        """The chains of all faults, and the advice for other kinds of request."""
        return tuple(advice for topic in self.topics for advice in topic.advice)

    def chains_of(self, fault_id: str) -> tuple[Advice, ...]:
        """Return the chains of a fault."""
        mine = (fault_id,)
        return tuple(a for a in self.advice if a.kind == "fault" and a.faults == mine)

    def drills_for(self, chain: Advice) -> tuple[Drill, ...]:
        """Return the drills that fix what a chain is about, those of other topics among them."""
        return drills_for(chain, self.drills)

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


def drills_for(chain: Advice, drills: Iterable[Drill]) -> tuple[Drill, ...]:
    """Return those of some drills that fix what a chain is about."""
    wanted = {chain.id, *chain.faults}
    return tuple(drill for drill in drills if wanted & set(drill.fixes))


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
    chains = {chain.id for topic in topics for chain in topic.chains}
    for topic in topics:
        wrong = _wrong_references(topic, owners, chains)
        checks = wrong, _wrong_gaps(topic), _broken_rules(topic, rules)
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


# How the files and folders begin that systems, editors and network drives put beside one's own:
# ._heels.md, __MACOSX, .ipynb_checkpoints, ~$heels.md, #heels.md#, $RECYCLE.BIN, @eaDir.
_NOT_ONES_OWN = (".", "~", "#", "$", "@", "__MACOSX")


def _read_topics(folder: Path, sources: dict[str, Source]) -> tuple[Topic, ...]:
    paths = [
        path
        for path in sorted(folder.glob("*/*.md"))
        if not path.name.startswith(_NOT_ONES_OWN)
        and not path.parent.name.startswith(_NOT_ONES_OWN)
    ]
    for path in paths:
        _refuse_link_out(path, folder)
    return tuple(read_topic(path, sources) for path in paths)


def _refuse_link_out(path: Path, folder: Path) -> None:
    # Not Path.resolve, which a link to itself makes raise.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
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
    names = [(advice.line, advice.id) for advice in topic.advice]
    names += [(_line_with(topic.path, f"id: {topic.id}"), topic.id)]
    names += [(entry.line, name) for entry in entries for name in (entry.id, entry.name)]
    for line, name in names:
        if name in places:
            wrong = f"{name!r} is used already at {places[name]}"
            yield line, f"{wrong}; every id, and every name, is given once."
        places[name] = f"{topic.path}:{line}"


def _wrong_references(
    topic: Topic, owners: dict[str, Topic], chains: set[str]
) -> Iterator[tuple[int, str]]:
    """Names in vain: of what a drill fixes, of faults in advice and in `conflicts`.

    `owners` is {fault: its topic}.
    """
    for drill in topic.drills:
        unknown = ", ".join(sorted(set(drill.fixes) - set(owners) - chains))
        if unknown:
            yield drill.line, f"drill {drill.id} fixes {unknown}, which no file describes."
    for advice in topic.advice:
        for fault in advice.faults:
            if fault not in owners or owners[fault].area != topic.area:
                wrong = f"{advice.id} is about {fault}, which no file of {topic.area} describes."
                yield advice.line, wrong
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
    for cause in topic.chains:
        if not drills_for(cause, topic.drills):
            yield cause.line, f"no drill of this file fixes {cause.id}."
    for club, level, audience in product(topic.clubs, topic.levels, topic.audiences):
        case = f"a {level} {audience} golfer with the {club}"
        drills = [drill for drill in topic.drills if drill.fits(club, level, audience)]
        for severity in ("none", *topic.severities):
            golfer = club, level, audience, severity
            fitting = [advice for advice in topic.advice if _fits(advice, golfer)]
            for advice in fitting:
                for part, items in advice.items.items():
                    count = sum(item.fits(*golfer) for item in items)
                    if not count or (count > 1 and part != "steps"):
                        wrong = f"{part} of {advice.id} has {count} items for {case}, expected one."
                        yield advice.line, wrong
            chains = [chain for chain in fitting if chain.kind == "fault"]
            for fault in topic.faults if severity != "none" else ():
                own = [chain for chain in chains if chain.faults == (fault.id,)]
                if not any(drills_for(chain, drills) for chain in own):
                    wrong = f"fault {fault.id} has no chain with a drill in this file for {case}"
                    yield fault.line, f"{wrong} and a {severity} gap."
            adapted = any(item.fits(*golfer) for item in topic.adaptations)
            is_needed = topic.faults and audience != "adult" and severity != "none"
            if is_needed and not adapted:
                yield 1, f"nothing in adaptations is for {case} and a {severity} gap."
            is_kept = any(advice.kind == "keep" for advice in fitting)
            if topic.faults and severity == "none" and not is_kept:
                yield 1, f"no `## Keep` is for {case}."


def _fits(advice: Advice, golfer: tuple[str, str, str, str]) -> bool:
    """Whether advice is for (club family, level, audience, gap)."""
    *who, severity = golfer
    # Only what is kept answers a golfer who has met the target.
    if (severity == "none") != (advice.kind == "keep"):
        return False
    pairs = zip((*who, severity), advice.scope, strict=True)
    return all(value in allowed for value, allowed in pairs)


def _broken_rules(topic: Topic, rules: tuple[Rule, ...]) -> Iterator[tuple[int, str]]:
    told = []
    for part, owner, item in topic.items():
        # An item is for no more golfers than what it is part of.
        whose = owner or topic
        clubs = tuple(club for club in item.clubs if club in whose.clubs)
        levels = tuple(level for level in item.levels if level in whose.levels)
        texts = item.phrasings
        if part == "drill":
            texts = tuple(map(owner.told, texts))
        faults = owner.faults if isinstance(owner, Advice) else ()
        told.append((part, clubs, levels, faults, item.line, texts))
    whole = "\n".join(text for *_, texts in told for text in texts)
    for rule in rules:
        broken = f"breaks the rule {rule.id}. {rule.says}"
        for part, clubs, levels, faults, line, texts in told:
            # What always holds is about faults: praise need not be careful.
            is_bound = faults or not rule.always
            if is_bound and rule.concerns(part, topic.area, clubs, levels, faults):
                for text in filter(rule.broken_by, texts):
                    yield line, f"{broken} Found: {text!r}."
        if rule.joined_in(whole):
            yield 1, broken
