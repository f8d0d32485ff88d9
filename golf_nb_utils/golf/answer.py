"""Where each sentence and each number of a feedback text comes from: the knowledge base, the input, or nowhere.

`check_record` is strict: it proves that a generated answer is made of the items that its meta lists, and of nothing else.
`ground` takes any text, such as a model's, and says which of its sentences and numbers are grounded, and in what.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from golf_nb_utils.golf.areas import CLUBS, SEVERITIES
from golf_nb_utils.golf.knowledge import Drill, Item, KnowledgeBase, Topic
from golf_nb_utils.golf.request import parse_input
from golf_nb_utils.golf.similarity import jaccard, trigrams
from golf_nb_utils.golf.wording import SAY, SAY_BY_ID, score_slots, severity_of
from golf_nb_utils.prompt import SECTIONS

ADAPTED = {
    "senior": "As a senior",
    "junior": "As a junior",
    "limited mobility": "With limited mobility",
}
LABELS = ("Check", "Easier", "Harder", "Swing thought", "Goal", "Safety", *ADAPTED.values())

# Each kind of sentence has a mark of its own; what is left of an answer once its sentences are marks must have this form.
_KINDS = (
    "ideal", "observation", "cause", "effect", "feel", "check", "steps", "drill", "keep", "cues", "adaptations", "safety",
    "easier", "harder", "drill_step", *SAY,
)  # fmt: skip
# Control characters of Latin-1, which no text holds: with them a text stays one byte a character, and its search fast.
_MARKS = {kind: chr(0x80 + place) for place, kind in enumerate(_KINDS)}
_KIND_OF = {mark: kind for kind, mark in _MARKS.items()}
_ANY_MARK = re.compile(f"[{min(_MARKS.values())}-{max(_MARKS.values())}]")
_FORM = (
    "{ideal_head}\n{ideal}(?: {ideal})? {target}\n\n"
    "{issue_head}\n{score} (?:{observation} {cause} (?:{effect}|{feel})|{praise})(?: {strength})?(?: {weakest}| {weakest_keep})?\n\n"
    "{steps_head}\n(?P<steps>(?:[0-9]+[.] (?:{steps}|{keep}|Check: {check}|{drill}(?: Easier: {easier}| Harder: {harder})?)\n)+)"
    "(?:(?P<adapted>{adapted}): {adaptations}\n)?Swing thought: {cues}\n(?:{goal}\n)?(?:Safety: {safety}\n)?"
)
_SCAFFOLD = re.compile(
    _FORM.format(
        **dict(
            zip(
                ("ideal_head", "issue_head", "steps_head"),
                map(re.escape, SECTIONS.values()),
                strict=True,
            )
        ),
        **_MARKS,
        adapted="|".join(ADAPTED.values()),
    )
)


class GroundingError(ValueError):
    """An answer holds a sentence that no listed item renders, or lists an item that it does not hold."""


@dataclass(frozen=True)
class Entry:
    """What an id of the index stands for: its text for a right- and a left-hander, and whom it is for."""

    right: str
    left: str
    mark: str = ""
    topic: str = ""
    fault: str = ""
    fault_name: str = ""
    drill: str = ""
    fixes: tuple[str, ...] = ()
    clubs: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    any_club: bool = True
    any_level: bool = True

    @property
    def kind(self) -> str:
        """The kind of sentence: ideal, observation, ..., drill, easier, harder, drill_step."""
        return _KIND_OF.get(self.mark, "")

    def is_for(self, club: str | None, level: str | None, audience: str, severity: str) -> bool:
        """Return whether the entry holds for a golfer; a club or level that is None is any of the topic's."""
        return (
            (CLUBS[club] in self.clubs if club else self.any_club)
            and (level in self.levels if level else self.any_level)
            and audience in self.audiences
            and severity in self.severities
        )


def mirror(text: str, handedness: str) -> str:
    """Fill {left} and {right}, which are written for a right-hander's ball flight."""
    if "{" not in text:
        return text
    left, right = ("right", "left") if handedness == "left" else ("left", "right")
    return text.replace("{left}", left).replace("{right}", right)


def build_index(knowledge: KnowledgeBase) -> dict[str, Entry]:
    """Return {id: Entry} of every phrasing and every whole drill of the knowledge base."""
    index = {}

    def add(name: str, text: str, kind: str, topic: Topic, scope: Item | Drill, **more) -> None:
        index[name] = Entry(
            mirror(text, "right"), mirror(text, "left"), _MARKS[kind], topic.id, clubs=scope.clubs, levels=scope.levels,
            audiences=scope.audiences, any_club=set(topic.clubs) <= set(scope.clubs), any_level=set(topic.levels) <= set(scope.levels),
            **more,
        )  # fmt: skip

    for topic in knowledge.topics:
        names = {fault.id: fault.name for fault in topic.faults}
        for part, fault, item in topic.items():
            if part != "drill":
                for name, text in item.named_phrasings.items():
                    add(
                        name,
                        text,
                        part,
                        topic,
                        item,
                        severities=item.severities,
                        fault=fault or "",
                        fault_name=names.get(fault, ""),
                    )
        for drill in topic.drills:
            # A drill of a topic without large gaps still serves another topic's fault at any gap.
            shared = {"severities": ("none", *SEVERITIES), "drill": drill.id, "fixes": drill.fixes}
            add(drill.id, drill.text, "drill", topic, drill, **shared)
            parts = {
                "easier": (drill.easier,),
                "harder": (drill.harder,),
                "drill_step": drill.steps,
            }
            for kind, items in parts.items():
                for item in items:
                    add(item.id, item.text, kind, topic, drill, **shared)
    return index


def check_record(record: dict, index: dict[str, Entry]) -> None:
    """Prove that each sentence of a generated answer renders one item of `meta.items`, filled from the input alone.

    Every number is thereby the input's or its item's. The items are listed in the order of the answer; each must stand in
    its own part of it and be one for the fault or topic, the club, the level, the audience and the severity; where the input
    does not say the club or level, one for all of its topic's. And `meta` must say what the input says.

    Raises:
        GroundingError: a sentence, an item or a number has no such origin; the message quotes it.
        InputFormatError: the record's input is malformed.
    """
    meta = record["meta"]
    values = parse_input(record["input"])
    area, current, target, scores = (
        values["area"],
        values["current_score"],
        values["target_score"],
        values["all_scores"],
    )
    severity = severity_of(current, target)
    said = (area, current, target, scores, severity, values["club"], values["level"])
    said += (values["handedness"] or "right", values["audience"] or "adult")
    listed = tuple(meta[name] for name in _SAID)
    if said != listed:
        raise GroundingError(f"meta says {listed}, the input {said}.")
    if scores and scores.get(area, current) != current:
        raise GroundingError(
            f"All Scores has {scores[area]} for {area}, the current score is {current}."
        )
    if (severity == "none") != (not meta["fault"]):
        raise GroundingError(f"the gap is {severity} but the fault is {meta['fault']!r}.")
    if values["observation"] and not meta["fault"]:
        raise GroundingError(
            f"the observation is {values['observation']!r}, but the answer has no fault."
        )
    slots = score_slots(area, current, target, scores)
    left = meta["handedness"] == "left"
    text = record["output"] + "\n"
    if not text.isascii() and _ANY_MARK.search(text):
        raise GroundingError("the answer holds a character that stands for no sentence.")
    marked, end = [], 0
    for item_id in meta["items"]:
        entry = index.get(item_id)
        if entry is not None:
            _check_fit(item_id, entry, values, meta)
            rendering, mark = entry.left if left else entry.right, entry.mark
        elif item_id in SAY_BY_ID:
            try:
                rendering, mark = (
                    SAY_BY_ID[item_id].format_map(slots),
                    _MARKS[item_id.split(".")[1]],
                )
            except KeyError as error:
                raise GroundingError(
                    f"{item_id} needs {error}, which the input does not give."
                ) from None
        else:
            raise GroundingError(f"the item {item_id!r} is listed but exists nowhere.")
        start = text.find(rendering, end)
        if start < 0:
            raise GroundingError(
                f"the item {item_id} is listed but not in the answer, or not in this order: {rendering!r}."
            )
        marked += (text[end:start], mark)
        end = start + len(rendering)
    text = "".join(marked) + text[end:]
    scaffold = _SCAFFOLD.fullmatch(text)
    if not scaffold:
        shown = _ANY_MARK.sub("...", text)
        raise GroundingError(
            f"words that no listed item renders, or a sentence out of its place: {shown!r}."
        )
    if scaffold["adapted"] != ADAPTED.get(meta["audience"]):
        raise GroundingError(
            f"the audience is {meta['audience']}, the answer is adapted {scaffold['adapted']!r}."
        )
    if (severity == "large") != (_MARKS["safety"] in text):
        raise GroundingError(f"the gap is {severity}: a large one has a safety note, and no other.")
    if (
        _MARKS["harder" if meta["level"] == "beginner" else "easier"] in text
        and meta["level"] != "intermediate"
    ):
        raise GroundingError(
            f"the drill is made easier or harder against the level {meta['level']!r}."
        )
    numbers = re.findall(r"^[0-9]+", scaffold["steps"], re.MULTILINE)
    if numbers != [str(number) for number in range(1, len(numbers) + 1)]:
        raise GroundingError(f"the steps are numbered {numbers}.")


_SAID = (
    "area",
    "current_score",
    "target_score",
    "all_scores",
    "severity",
    "club",
    "level",
    "handedness",
    "audience",
)


def _check_fit(item_id: str, entry: Entry, values: dict, meta: dict) -> None:
    if not entry.is_for(values["club"], values["level"], meta["audience"], meta["severity"]):
        raise GroundingError(
            f"the item {item_id} is not for this club, level, audience or severity."
        )
    if entry.drill:
        if entry.drill != meta["drill"] or not (
            meta["fault"] in entry.fixes if meta["fault"] else entry.topic == meta["topic"]
        ):
            raise GroundingError(
                f"the drill of {item_id} does not fix {meta['fault'] or meta['topic']!r}."
            )
    elif entry.topic != meta["topic"] or entry.fault not in ("", meta["fault"]):
        raise GroundingError(
            f"the item {item_id} belongs to another fault or topic than {meta['fault'] or meta['topic']!r}."
        )
    elif entry.fault and values["observation"] not in (None, entry.fault_name):
        raise GroundingError(
            f"the observation is {values['observation']!r}, the item {item_id} is about {entry.fault_name!r}."
        )


def trace(record: dict, knowledge: KnowledgeBase) -> list[list[str]]:
    """Return the rows [sentence, id, file and line, sources] of a generated answer, in its order.

    A phrase that carries scores stands in phrases.py instead of a topic file.
    """
    index = build_index(knowledge)
    places = {}
    for topic in knowledge.topics:
        for _, _, item in topic.items():
            for name in item.named_phrasings:
                places[name] = (f"{topic.path.name}:{item.line}", item.sources)
        for drill in topic.drills:
            places[drill.id] = (f"{topic.path.name}:{drill.line}", drill.sources)
    meta = record["meta"]
    slots = score_slots(
        meta["area"], meta["current_score"], meta["target_score"], meta["all_scores"]
    )
    rows = []
    for name in meta["items"]:
        if name in SAY_BY_ID:
            sentence, place, sources = (
                SAY_BY_ID[name].format_map(slots),
                "phrases.py",
                ("the input",),
            )
        else:
            sentence = index[name].left if meta["handedness"] == "left" else index[name].right
            place, sources = places[name]
        rows.append([sentence, name, place, ", ".join(sources)])
    return rows


@dataclass(frozen=True)
class Span:
    """A stretch of a text and its origin: an id of the index or of SAY, or None; then `nearest` is the closest entry."""

    text: str
    origin: str | None
    nearest: str | None = None
    similarity: float = 0.0


@dataclass(frozen=True)
class Grounding:
    """The sentences of a text in their order, and its numbers with the line of the input or the id that has them."""

    sentences: tuple[Span, ...]
    numbers: tuple[Span, ...]

    @property
    def grounded_share(self) -> float:
        """Share of the sentences with an origin, 0..1; 1 for a text without sentences."""
        return (
            sum(span.origin is not None for span in self.sentences) / len(self.sentences)
            if self.sentences
            else 1.0
        )


def ground(text: str, input_text: str, index: dict[str, Entry], nearest: bool = True) -> Grounding:
    """Find the origin of every sentence and number of any feedback text for a request.

    A sentence is grounded if it renders an entry of the index for the input's hand, or a phrase of SAY filled from the input.
    Of any other sentence, with `nearest`, the entry of the largest character-3-gram Jaccard similarity (0..1) is named.
    A number is grounded if the input has it as a score, or if it stands in a grounded sentence.

    Raises:
        InputFormatError: the input is malformed.
    """
    values = parse_input(input_text)
    hand = values["handedness"] or "right"
    slots = score_slots(
        values["area"], values["current_score"], values["target_score"], values["all_scores"]
    )
    renderings = {
        name: entry.left if hand == "left" else entry.right for name, entry in index.items()
    }
    for name, phrase in SAY_BY_ID.items():
        if all(slot in slots for slot in re.findall(r"\{(\w+)\}", phrase)):
            renderings[name] = phrase.format_map(slots)

    spans: list[tuple[int, Span]] = []
    rest = text
    for name, rendering in sorted(renderings.items(), key=lambda pair: -len(pair[1])):
        while (place := rest.find(rendering)) >= 0:
            spans.append((place, Span(rendering, name)))
            rest = rest[:place] + "\0" * len(rendering) + rest[place + len(rendering) :]
    for place, sentence in _sentences(rest):
        own = trigrams(sentence)
        similarity = (
            {
                name: jaccard(own, _cached_trigrams(rendering))
                for name, rendering in renderings.items()
            }
            if nearest
            else {}
        )
        closest = max(similarity, key=similarity.get, default=None)
        spans.append((place, Span(sentence, None, closest, similarity.get(closest, 0.0))))
    spans.sort(key=lambda pair: pair[0])
    return Grounding(
        tuple(span for _, span in spans), number_origins((span for _, span in spans), values)
    )


def _sentences(text: str) -> list[tuple[int, str]]:
    """(place, sentence) of what is left between the grounded spans: no headings, list numbers or labels."""
    for heading in SECTIONS.values():
        text = text.replace(heading, "\0" * len(heading))
    text = re.sub(
        rf"(?m)^(?:[0-9]+[.] )?(?:(?:{'|'.join(LABELS)}):)?",
        lambda match: "\0" * len(match[0]),
        text,
    )
    text = re.sub(rf"\0 ?(?:{'|'.join(LABELS)}):", lambda match: "\0" * len(match[0]), text)
    found = []
    for stretch in re.finditer(r"[^\0\n]+", text):
        place = stretch.start()
        for sentence in re.split(r"(?<=[.!?])(?=\s)", stretch[0]):
            if re.search(r"\w", sentence) and not re.fullmatch(
                rf"(?:{'|'.join(LABELS)}):", sentence.strip()
            ):
                found.append((place + len(sentence) - len(sentence.lstrip()), sentence.strip()))
            place += len(sentence)
    return found


_NUMBER = re.compile(r"\d+(?:[.]\d+)?%?")


def number_origins(spans: Iterable[Span], values: dict) -> tuple[Span, ...]:
    """Return every number of the spans with its origin: its sentence's, or else the score among `values` (of parse_input) that it prints.

    Digits and numerals of any script are numbers, though only ASCII ones can have an origin outside a grounded sentence.
    """
    scores = {
        "Current Score": values["current_score"],
        "Target Score": values["target_score"],
        "Gap": values["gap"],
    }
    scores |= values["all_scores"] or {}
    printed: dict[str, str] = {}
    for name, score in scores.items():
        if score is not None:
            for form in (f"{score * 100:.1f}%", f"{score * 100:.0f}%", f"{score:.2f}"):
                printed.setdefault(form, name)
    found = []
    for span in spans:
        numbers = _NUMBER.findall(span.text)
        if not span.text.isascii():
            numbers += [
                character
                for character in span.text
                if character.isnumeric() and not character.isdecimal()
            ]
        found += [Span(number, span.origin or printed.get(number)) for number in numbers]
    return tuple(found)


@lru_cache(maxsize=1 << 15)
def _cached_trigrams(text: str) -> frozenset[str]:
    return frozenset(trigrams(text))
