"""Whether an answer may be shown to a golfer: every check that can be made against the request and the knowledge base.

An answer that passes is made of sentences of the knowledge base and of the request's own scores, of nothing else, put together
as the generator would put them; `checks` and `reasons` say of any other answer what is wrong with it.
"""

import bisect
import re
from collections import Counter
from dataclasses import dataclass

from golf_nb_utils.golf.answer import (
    ADAPTED,
    LABELS,
    Entry,
    GroundingError,
    Span,
    build_index,
    check_record,
    number_origins,
)
from golf_nb_utils.golf.areas import CLUB_FAMILIES, CLUBS, LEVELS, SCORE_LABELS
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.request import make_entry, parse_input
from golf_nb_utils.golf.rules import Rule
from golf_nb_utils.golf.similarity import TrigramIndex, jaccard, trigrams
from golf_nb_utils.golf.wording import SAY_BY_ID, SEVERITY_WORDS, percent, score_slots, severity_of
from golf_nb_utils.prompt import SECTIONS

CHECKS = {
    "headings": "has the three headed parts, once each and in order, and nothing outside them",
    "area": "is about the area that was asked for",
    "current_score": "states the current score as given",
    "target_score": "states the target score as given",
    "other_scores": "states every other score as given, under its own name",
    "severity": "says in the right words how far the score is from the target",
    "grounded": "has no sentence that is not in the knowledge base or filled from the request",
    "numbers": "has no number that is not in the knowledge base or the request",
    "rules": "contradicts no rule of the knowledge base",
    "drill": "gives one known drill, whole, for the fault it is about",
    "fits": "suits the club, level, audience, gap and fault of the request",
    "safety": "has a safety note if the gap is large, and only then",
    "composition": "is put together as an answer is, with nothing missing, double or out of place",
}


@dataclass(frozen=True)
class Verdict:
    """What verify found: a truth value by the names of CHECKS, and what it rests on."""

    checks: dict[str, bool]
    reasons: tuple[str, ...]
    """One sentence for each failed check, in the order of CHECKS."""
    sentences: tuple[Span, ...]
    numbers: tuple[Span, ...]
    fault: str
    """Id of the fault that the answer is about by its grounded sentences, or ""."""
    drill: str
    """Id of the drill that it gives whole, or ""."""

    @property
    def passed(self) -> bool:
        """Whether all checks hold."""
        return all(self.checks.values())


@dataclass(frozen=True)
class Request:
    """What an input asks for, its contradictions settled; see Verifier.request."""

    values: dict
    """The arguments of make_entry."""
    severity: str
    audience: str
    fault: str
    """Id of the fault that the observation names, or "": any fault of the area will do."""
    slots: dict[str, str]

    @property
    def gap(self) -> float:
        """How far the score is below its target, 0..1; 0 above it."""
        return max(0.0, self.values["target_score"] - self.values["current_score"])

    @property
    def case(self) -> tuple[str | None, str | None, str, str]:
        """The arguments of Entry.is_for."""
        return self.values["club"], self.values["level"], self.audience, self.severity


@dataclass(frozen=True)
class _Piece:
    """A sentence, or a whole drill, of an answer: where it stands and the ids that render it."""

    text: str
    part: str
    label: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class _Score:
    """A percentage in an answer, and the score that it is said to be."""

    value: str
    name: str | None
    sentence: str


@dataclass(frozen=True)
class _Stated:
    """The percentages of WHAT SHOULD HAPPEN, the first two of WHAT IS HAPPENING and of the goal, and all others."""

    should: tuple[_Score, ...]
    happening: tuple[_Score, ...]
    goal: tuple[_Score, ...]
    others: tuple[_Score, ...]


@dataclass(frozen=True)
class _Reading:
    """An answer as the checks see it."""

    text: str
    request: Request
    pieces: tuple[_Piece, ...]
    origins: tuple[str | None, ...]
    """One id a piece: of those that render it the one that fits best."""
    sentences: tuple[Span, ...]
    numbers: tuple[Span, ...]
    topic: str
    fault: str
    drills: tuple[str, ...]
    """Ids of the whole drills."""
    stated: _Stated | None
    """The percentages; None without the three headed parts."""


_HEADINGS = {heading: part for part, heading in SECTIONS.items()}
_LABEL = re.compile(rf"({'|'.join(LABELS)}): ?")
_SENTENCE_END = re.compile(r"[.!?](?= |$)")
_PERCENT = re.compile(r"\d+(?:[.]\d+)?%")
_SCORE_NAME = re.compile(
    rf"\b(?:{'|'.join(re.escape(label) for label in sorted(SCORE_LABELS.values(), key=len, reverse=True))})\b",
    # Without ASCII, letters such as the long s would match, which no label has.
    re.IGNORECASE | re.ASCII,
)
_SCORE_OF = {label: name for name, label in SCORE_LABELS.items()}
_DISTANCE = re.compile(
    rf"\b({'|'.join(SEVERITY_WORDS.values())}) (?:the|your) target\b", re.IGNORECASE | re.ASCII
)
_DRILL_NAME = re.compile(r"""\bdrill\W{0,3}["“„«](.{0,80}?)["”“»]""", re.IGNORECASE)

# The kinds of sentence that belong to a label or a part; where two ids render one sentence, its place decides between them.
_ADAPTED_LABELS = tuple(ADAPTED.values())
_KINDS_AT_LABEL = {
    "Check": ("check",), "Easier": ("easier",), "Harder": ("harder",), "Swing thought": ("cues",), "Safety": ("safety",),
    **dict.fromkeys(_ADAPTED_LABELS, ("adaptations",)),
}  # fmt: skip
_KINDS_IN_PART = {
    "what_should_happen": ("ideal",),
    "what_is_happening": ("observation", "cause", "effect", "feel"),
    "what_to_do": ("steps", "keep", "drill"),
}
_PARTS_OF_AN_ANSWER = (
    "ideal",
    "keep",
    "cues",
    "safety",
    "observation",
    "cause",
    "effect/feel",
    "check",
    "steps",
)
# What an answer about a fault may not say, and what one without a fault may not.
_KEEP_ONLY = frozenset(("keep", "praise", "weakest_keep"))
_FAULT_ONLY = frozenset(
    ("observation", "cause", "effect", "feel", "check", "steps", "goal", "weakest")
)
_MANY = frozenset(("ideal", "steps", "keep"))
# Rules are read over this much of a sentence, and of an answer: some of their patterns take a time that is quadratic in noise.
_RULE_LENGTH = 1000
_LONGEST_ANSWER = 10_000


class Verifier:
    """Checks answers against one knowledge base; building it takes a tenth of a second, and threads may share it."""

    def __init__(self, knowledge: KnowledgeBase):
        self.index = build_index(knowledge)
        self._rules = knowledge.rules
        self._areas = {topic.id: topic.area for topic in knowledge.topics}
        self._clubs = {topic.id: set(topic.clubs) for topic in knowledge.topics}
        self._levels = {topic.id: set(topic.levels) for topic in knowledge.topics}
        self._topic_of = {fault.id: fault.topic for fault in knowledge.faults}
        self._fault_named = {fault.name: fault.id for fault in knowledge.faults}
        self._drill_named = {drill.name.casefold(): drill.id for drill in knowledge.drills}
        self._known: dict[str, dict[str, tuple[str, ...]]] = {"right": {}, "left": {}}
        self._kinds: dict[str, dict[str, list[Entry]]] = {}
        # No filled phrase of SAY is longer than this.
        self._most_sentences, self._most_characters = 1, 250
        for name, entry in self.index.items():
            for hand, known in self._known.items():
                text = _rendering(entry, hand)
                known[text] = (*known.get(text, ()), name)
                self._most_sentences = max(self._most_sentences, len(_SENTENCE_END.findall(text)))
                self._most_characters = max(self._most_characters, len(text))
            owners = entry.fixes if entry.kind == "drill" else (entry.fault or entry.topic,)
            for owner in owners:
                self._kinds.setdefault(owner, {}).setdefault(entry.kind, []).append(entry)
        self._nearest: dict[str, TrigramIndex] = {}

    def request(self, input_text: str) -> Request:
        """Return what an input asks for.

        An observation counts where it names a fault of the area for which the knowledge has an answer for this golfer (club,
        level, audience, gap); any other text is not held against an answer, nor is one where the target is met. Where All Scores
        has another value for the area than Current Score, Current Score counts.

        Raises:
            InputFormatError: the input is malformed.
        """
        values = parse_input(input_text)
        del values["gap"]
        area, current, target = values["area"], values["current_score"], values["target_score"]
        if values["all_scores"] and area in values["all_scores"]:
            values["all_scores"] = values["all_scores"] | {area: current}
        severity, audience = severity_of(current, target), values["audience"] or "adult"
        fault = self._fault_named.get(values["observation"], "")
        if fault and not (
            severity != "none"
            and self._areas[self._topic_of[fault]] == area
            and self._answers(fault, values["club"], values["level"], audience, severity)
        ):
            fault = ""
        if not fault:
            values["observation"] = None
        return Request(
            values,
            severity,
            audience,
            fault,
            score_slots(area, current, target, values["all_scores"]),
        )

    def _answers(self, fault: str, *case) -> bool:
        """Whether each part of an answer about the fault has an entry for the case (the arguments of Entry.is_for)."""
        topic = self._topic_of[fault]
        kinds = self._kinds[topic] | self._kinds[fault]
        entries = [
            [entry for kind in wanted.split("/") for entry in kinds.get(kind, ())]
            for wanted in _PARTS_OF_AN_ANSWER
        ]
        if case[2] != "adult":
            entries.append(kinds.get("adaptations", []))
        return all(any(entry.is_for(*case) for entry in known) for known in entries) and any(
            entry.is_for(*case)
            and (case[0] or self._clubs[topic] <= set(entry.clubs))
            and (case[1] or self._levels[topic] <= set(entry.levels))
            for entry in kinds.get("drill", ())
        )

    def verify(self, answer: str, input_text: str, nearest: bool = False) -> Verdict:
        """Judge an answer to an input by every check of CHECKS; no answer, whatever its text, makes it raise.

        Blanks and line breaks around the answer do not count. The last check, composition, is made when all others hold.
        With `nearest`, each sentence without an origin has the closest entry named beside it, by character-3-gram Jaccard
        similarity (0..1); that costs more than all the checks.

        Raises:
            InputFormatError: the input is malformed.
        """
        request = self.request(input_text)
        reading = self._read(answer.strip(" \n"), request, nearest)
        found = {
            name: reason for name, check in _REASONS.items() if (reason := check(self, reading))
        }
        if not found and (reason := self._composition(reading)):
            found["composition"] = reason
        elif found:
            found["composition"] = (
                f"How it is put together was not looked at, because of {', '.join(found)}."
            )
        return Verdict(
            checks={name: name not in found for name in CHECKS},
            reasons=tuple(found.values()),
            sentences=reading.sentences,
            numbers=reading.numbers,
            fault=reading.fault,
            drill=reading.drills[0] if reading.drills else "",
        )

    # Reading.

    def _read(self, text: str, request: Request, nearest: bool) -> _Reading:
        said = {}
        for name, phrase in SAY_BY_ID.items():
            try:
                said.setdefault(phrase.format_map(request.slots), (name,))
            except KeyError:
                continue
        hand = request.values["handedness"] or "right"
        pieces = self._pieces(text, self._known[hand], said)
        topic, fault, drills = self._subject(pieces, request)
        origins = tuple(self._origin(piece, request, topic, fault, drills) for piece in pieces)
        close = (
            self._closest({piece.text for piece in pieces if not piece.ids}, hand, said)
            if nearest
            else {}
        )
        spans = [
            Span(piece.text, origin, *close.get(piece.text, ()))
            for piece, origin in zip(pieces, origins, strict=True)
        ]
        return _Reading(
            text=text, request=request, pieces=pieces, origins=origins, sentences=tuple(spans),
            numbers=number_origins(spans, request.values | {"gap": request.gap}),
            topic=topic, fault=fault, drills=drills, stated=_stated(pieces, origins),
        )  # fmt: skip

    def _pieces(
        self, text: str, known: dict[str, tuple[str, ...]], said: dict[str, tuple[str, ...]]
    ) -> tuple[_Piece, ...]:
        """Cut a text into sentences, where several that are one entry (a drill) stay together; the longest entry counts."""
        for heading in _HEADINGS:
            text = text.replace(heading, f"\n{heading}\n")
        pieces = []
        part = ""
        for line in text.split("\n"):
            if line in _HEADINGS:
                part = _HEADINGS[line]
                continue
            numbering = re.match(r"[0-9]{1,3}[.] ", line)
            place = numbering.end() if numbering else 0
            ends = [match.end() for match in _SENTENCE_END.finditer(line)]
            if not ends or ends[-1] < len(line):
                ends.append(len(line))
            current = 0
            label = ""
            while True:
                while place < len(line) and line[place] == " ":
                    place += 1
                if place == len(line):
                    break
                while ends[current] <= place:
                    current += 1
                last, ids = self._longest_entry(line, place, ends, current, known, said)
                if ids is None and (match := _LABEL.match(line, place)):
                    label, place = match[1], match.end()
                    continue
                sentence = line[place : ends[last]]
                pieces.append(
                    _Piece(
                        sentence,
                        part,
                        "Goal" if sentence.startswith("Goal: ") else label,
                        ids or (),
                    )
                )
                place, label = ends[last], ""
        return tuple(pieces)

    def _longest_entry(
        self, line: str, place: int, ends: list[int], current: int, known: dict, said: dict
    ) -> tuple:
        for last in range(min(current + self._most_sentences, len(ends)) - 1, current - 1, -1):
            if ends[last] - place <= self._most_characters:
                sentence = line[place : ends[last]]
                ids = known.get(sentence) or said.get(sentence)
                if ids:
                    return last, ids
        return current, None

    def _subject(
        self, pieces: tuple[_Piece, ...], request: Request
    ) -> tuple[str, str, tuple[str, ...]]:
        """The topic and the fault that most sentences are about, and the whole drills."""
        faults: Counter[str] = Counter()
        topics: Counter[str] = Counter()
        drills = []
        for piece in pieces:
            entries = [self.index[name] for name in piece.ids if name in self.index]
            drills += [entry.drill for entry in entries if entry.kind == "drill"][:1]
            faults.update(sorted({entry.fault for entry in entries if entry.fault}))
            topics.update(sorted({entry.topic for entry in entries if not entry.drill}))
        fixed = {fault for drill in drills for fault in self.index[drill].fixes}
        fault = max(
            faults,
            key=lambda name: (faults[name], name == request.fault, name in fixed),
            default="",
        )
        homes = {self.index[drill].topic for drill in drills}
        topic = (
            self._topic_of[fault]
            if fault
            else max(topics, key=lambda name: (topics[name], name in homes), default="")
        )
        return topic, fault, tuple(drills)

    def _origin(
        self, piece: _Piece, request: Request, topic: str, fault: str, drills: tuple[str, ...]
    ) -> str | None:
        if len(piece.ids) < 2:
            return piece.ids[0] if piece.ids else None
        kinds = _KINDS_AT_LABEL.get(piece.label) or _KINDS_IN_PART.get(piece.part, ())

        def suits(name: str) -> tuple[bool, bool, bool]:
            entry = self.index[name]
            its_own = (
                entry.drill in drills
                if entry.drill
                else entry.topic == topic and entry.fault in ("", fault)
            )
            return (
                its_own and entry.kind in kinds and entry.is_for(*request.case),
                its_own,
                entry.kind in kinds,
            )

        return max(piece.ids, key=suits)

    def _closest(
        self, sentences: set[str], hand: str, said: dict[str, tuple[str, ...]]
    ) -> dict[str, tuple[str | None, float]]:
        if hand not in self._nearest:
            self._nearest[hand] = TrigramIndex(
                _rendering(entry, hand) for entry in self.index.values()
            )
        names = list(self.index)
        phrases = [(name, trigrams(text)) for text, (name,) in said.items()]
        found = {}
        for sentence in sentences:
            own = trigrams(sentence)
            place, similarity = self._nearest[hand].nearest(sentence)
            name = None if place is None else names[place]
            for phrase, grams in phrases:
                if (other := jaccard(own, grams)) > similarity:
                    name, similarity = phrase, other
            found[sentence] = (name, similarity)
        return found

    # The checks: each returns what is wrong, or nothing.

    def _headings(self, reading: _Reading) -> str:
        lines = reading.text.split("\n")
        for heading in _HEADINGS:
            if reading.text.count(heading) != 1 or heading not in lines:
                return f"The heading {heading!r} stands {reading.text.count(heading)} times, expected once, on a line of its own."
        if [line for line in lines if line in _HEADINGS] != list(_HEADINGS):
            return f"The headings are out of order, expected {', '.join(_HEADINGS)}."
        if lines[0] not in _HEADINGS:
            return f"{_quoted(lines[0])} stands before the first heading, expected nothing there."
        for heading, part in _HEADINGS.items():
            if not any(piece.part == part for piece in reading.pieces):
                return f"Nothing stands below the heading {heading!r}."
        return ""

    def _area(self, reading: _Reading) -> str:
        area = reading.request.values["area"]
        expected = f"expected {SCORE_LABELS[area]!r}, the area of the request"
        parts = reading.stated
        if parts is None:
            return "The area cannot be told without the three headed parts."
        should, happening, goal = parts.should, parts.happening, parts.goal
        first = happening[0].name if happening else None
        if first is None:
            text = " ".join(
                piece.text for piece in reading.pieces if piece.part == "what_is_happening"
            )
            match = _SCORE_NAME.search(text)
            first = _SCORE_OF[match[0].lower()] if match else None
        if first != area:
            return (
                f"WHAT IS HAPPENING names {SCORE_LABELS[first]!r} first, {expected}."
                if first
                else f"No area is named, {expected}."
            )
        for score in (*should, *happening[1:], *goal):
            if score.name not in (None, area):
                return (
                    f"{_quoted(score.sentence)} is about {SCORE_LABELS[score.name]!r}, {expected}."
                )
        for piece, origin in zip(reading.pieces, reading.origins, strict=True):
            entry = self.index.get(origin)
            if entry and not entry.drill and self._areas[entry.topic] != area:
                return f"{_quoted(piece.text)} belongs to {SCORE_LABELS[self._areas[entry.topic]]!r}, {expected}."
        return ""

    def _current_score(self, reading: _Reading) -> str:
        parts = reading.stated
        if parts is None:
            return "The current score cannot be told without the three headed parts."
        return _wrong_score(
            "current",
            percent(reading.request.values["current_score"]),
            parts.happening[:1],
            parts.goal[:1],
        )

    def _target_score(self, reading: _Reading) -> str:
        parts = reading.stated
        if parts is None:
            return "The target score cannot be told without the three headed parts."
        expected = percent(reading.request.values["target_score"])
        return _wrong_score(
            "target", expected, parts.happening[1:], (*parts.should, *parts.goal[1:])
        )

    def _other_scores(self, reading: _Reading) -> str:
        parts = reading.stated
        if parts is None:
            return "The other scores cannot be told without the three headed parts."
        values = reading.request.values
        area, scores = values["area"], values["all_scores"] or {}
        own = tuple(
            map(percent, (values["current_score"], values["target_score"], reading.request.gap))
        )
        for score in parts.others:
            if score.name in (None, area):
                if score.value not in own:
                    return f"{_quoted(score.sentence)} states {score.value} without a name that it belongs to, expected {' or '.join(own)}."
            elif score.name not in scores:
                return f"{_quoted(score.sentence)} states {score.value} for {SCORE_LABELS[score.name]!r}, which the request does not score."
            elif score.value != percent(scores[score.name]):
                expected = percent(scores[score.name])
                return f"{_quoted(score.sentence)} states {score.value} for {SCORE_LABELS[score.name]!r}, expected {expected}."
        return ""

    def _severity(self, reading: _Reading) -> str:
        expected = f"expected {reading.request.slots['words']!r} the target"
        found = [
            (match[1].lower(), piece)
            for piece in reading.pieces for match in _DISTANCE.finditer(piece.text)
        ]  # fmt: skip
        for words, piece in found:
            if words != reading.request.slots["words"]:
                return f"{_quoted(piece.text)} says {words!r}, {expected}."
        if not any(piece.part == "what_is_happening" for _, piece in found):
            return (
                f"WHAT IS HAPPENING does not say how far the score is from the target, {expected}."
            )
        return ""

    def _grounded(self, reading: _Reading) -> str:
        if not reading.pieces:
            return "The answer holds no sentence."
        without = [span for span in reading.sentences if span.origin is None]
        if not without:
            return ""
        close = without[0].nearest
        known = f"; the closest is {close} ({without[0].similarity:.0%} alike)" if close else ""
        return (
            f"{len(without)} of {len(reading.sentences)} sentences are neither in the knowledge base nor filled from the request, "
            f"the first is {_quoted(without[0].text)}{known}."
        )

    def _numbers(self, reading: _Reading) -> str:
        without = [span.text for span in reading.numbers if span.origin is None]
        return (
            f"The number {without[0][:40]!r} is neither in the knowledge base nor in the request."
            if without
            else ""
        )

    def _contradictions(self, reading: _Reading) -> str:
        values = reading.request.values
        clubs = (CLUBS[values["club"]],) if values["club"] else CLUB_FAMILIES
        levels = (values["level"],) if values["level"] else LEVELS
        rules_at: dict[str, list[Rule]] = {}
        for piece, origin in zip(reading.pieces, reading.origins, strict=True):
            # What the knowledge base holds was held against the rules when it was read.
            if origin is not None:
                continue
            part, text = _part_of_rules(piece), piece.text[:_RULE_LENGTH]
            if part not in rules_at:
                scope = (part, values["area"], clubs, levels, reading.fault or None)
                rules_at[part] = [
                    rule for rule in self._rules if rule.never and rule.concerns(*scope)
                ]
            for rule in rules_at[part]:
                if rule.broken_by(text):
                    return f"{_quoted(piece.text)} breaks the rule {rule.id}: {rule.says}"
        joined = (
            rule
            for rule in self._rules
            if rule.together and rule.joined_in(reading.text[:_LONGEST_ANSWER])
        )
        return next(
            (f"The answer says both sides of the rule {rule.id}: {rule.says}" for rule in joined),
            "",
        )

    def _drill(self, reading: _Reading) -> str:
        names = [
            name
            for span in reading.sentences
            if span.origin is None
            for name in _DRILL_NAME.findall(span.text)
        ]
        if not reading.drills:
            if not names:
                return "The answer gives no drill, expected one."
            known = self._drill_named.get(names[0].casefold())
            if known is None:
                return f"There is no drill {_quoted(names[0])} in the knowledge base."
            return f"The drill {names[0]!r} is not given whole, expected {_quoted(self.index[known].right, 600)}."
        if len(reading.drills) + len(names) > 1:
            return f"The answer gives {len(reading.drills) + len(names)} drills, expected one."
        drill = self.index[reading.drills[0]]
        if reading.fault and reading.fault not in drill.fixes:
            return f"The drill {drill.drill} fixes {', '.join(drill.fixes)}, expected one for {reading.fault}."
        if not reading.fault and drill.topic != reading.topic:
            return f"The drill {drill.drill} belongs to {drill.topic}, expected one of {reading.topic or 'the topic of the answer'}."
        for piece, origin in zip(reading.pieces, reading.origins, strict=True):
            if origin in self.index and self.index[origin].kind == "drill_step":
                return f"{_quoted(piece.text)} is a step of the drill {self.index[origin].drill} outside of it."
        return ""

    def _fits(self, reading: _Reading) -> str:
        request, fault = reading.request, reading.fault
        if request.fault and fault != request.fault:
            return f"The answer is about the fault {fault or 'none'}, expected {request.fault}, which the observation names."
        if (request.severity == "none") != (not fault):
            expected = "no fault" if fault else "one fault"
            return f"The answer is about {fault or 'no known fault'}, expected {expected}, because the gap is {request.severity}."
        for piece, origin in zip(reading.pieces, reading.origins, strict=True):
            entry = self.index.get(origin)
            if entry is None:
                continue
            if not entry.is_for(*request.case):
                wanted = ", ".join(
                    value or f"any {name}"
                    for name, value in zip(_CASE_NAMES, request.case, strict=True)
                )
                return f"{_quoted(piece.text)} ({origin}) is not for the golfer of the request: {wanted}."
            if entry.drill:
                if entry.drill not in reading.drills:
                    return f"{_quoted(piece.text)} belongs to the drill {entry.drill}, expected {', '.join(reading.drills) or 'none'}."
                if request.values["level"] not in {
                    "easier": ("beginner", "intermediate"),
                    "harder": ("intermediate", "advanced"),
                }.get(entry.kind, (request.values["level"],)):
                    return f"{_quoted(piece.text)} makes the drill {entry.kind} for the level {request.values['level']!r}."
            elif entry.topic != reading.topic or entry.fault not in ("", fault):
                return f"{_quoted(piece.text)} is about {entry.fault or entry.topic}, expected {fault or reading.topic} as in the rest."
        return ""

    def _safety(self, reading: _Reading) -> str:
        notes = sum(piece.label == "Safety" for piece in reading.pieces)
        expected = int(reading.request.severity == "large")
        return (
            ""
            if notes == expected
            else f"The answer has {notes} safety notes, expected {expected} for a {reading.request.severity} gap."
        )

    def _composition(self, reading: _Reading) -> str:
        """Rebuild the record behind the answer, which the generator's own proof must accept."""
        request, fault = reading.request, reading.fault
        kinds = [
            self.index[name].kind if name in self.index else name.split(".")[1]
            for name in reading.origins
        ]
        wrong = (_KEEP_ONLY if fault else _FAULT_ONLY) & set(kinds)
        if wrong:
            place = next(place for place, kind in enumerate(kinds) if kind in wrong)
            return f"{_quoted(reading.pieces[place].text)} does not belong into an answer {'about a' if fault else 'without a'} fault."
        missing = {"steps" if fault else "keep", "target"} - set(kinds)
        if missing:
            return f"The answer has no sentence of the kind {min(missing)}."
        counts = Counter(
            kind if kind not in _MANY else re.sub("[a-z]$", "", name)
            for kind, name in zip(kinds, reading.origins, strict=True)
        )
        name, count = counts.most_common(1)[0]
        if count > 1:
            return f"The answer has {count} sentences of {name}, expected one."
        ordered = [
            name
            for kind, name in zip(kinds, reading.origins, strict=True)
            if kind in ("steps", "keep")
        ]
        if ordered != sorted(ordered, key=_number_of_item):
            return f"The steps stand in the order {', '.join(ordered)}, expected that of the knowledge base."
        values = request.values
        meta = {
            name: values[name]
            for name in ("area", "current_score", "target_score", "all_scores", "club", "level")
        }
        meta |= {
            "handedness": values["handedness"] or "right",
            "audience": request.audience,
            "severity": request.severity,
        }
        meta |= {
            "items": list(reading.origins),
            "topic": reading.topic,
            "fault": fault,
            "drill": reading.drills[0],
        }
        try:
            check_record(
                {"input": make_entry(**values)["input"], "output": reading.text, "meta": meta},
                self.index,
            )
        except GroundingError as error:
            return f"Not put together as an answer is: {error}"
        return ""


_CASE_NAMES = ("club", "level", "audience", "gap")
_REASONS = {
    "headings": Verifier._headings,
    "area": Verifier._area,
    "current_score": Verifier._current_score,
    "target_score": Verifier._target_score,
    "other_scores": Verifier._other_scores,
    "severity": Verifier._severity,
    "grounded": Verifier._grounded,
    "numbers": Verifier._numbers,
    "rules": Verifier._contradictions,
    "drill": Verifier._drill,
    "fits": Verifier._fits,
    "safety": Verifier._safety,
}


def _stated(pieces: tuple[_Piece, ...], origins: tuple[str | None, ...]) -> _Stated | None:
    """Tell what the percentages of an answer are said to be; those of a sentence of the knowledge base are no scores.

    A percentage belongs to the score that its sentence names last before it, or else first after it.
    """
    found: dict[str, list[_Score]] = {
        "what_should_happen": [],
        "what_is_happening": [],
        "goal": [],
        "": [],
    }
    for piece, origin in zip(pieces, origins, strict=True):
        if "%" not in piece.text or (origin and origin not in SAY_BY_ID):
            continue
        place = "goal" if piece.label == "Goal" else piece.part
        names = [
            (match.start(), _SCORE_OF[match[0].lower()])
            for match in _SCORE_NAME.finditer(piece.text)
        ]
        for match in _PERCENT.finditer(piece.text):
            before = bisect.bisect(names, (match.start(),))
            name = names[max(0, before - 1)][1] if names else None
            found[place if place in found else ""].append(_Score(match[0], name, piece.text))
    if {piece.part for piece in pieces if piece.part} != set(SECTIONS):
        return None
    happening, goal = found["what_is_happening"], found["goal"]
    others = (*happening[2:], *goal[2:], *found[""])
    return _Stated(
        tuple(found["what_should_happen"]), tuple(happening[:2]), tuple(goal[:2]), others
    )


def _wrong_score(name: str, expected: str, required, optional) -> str:
    if not required:
        return f"WHAT IS HAPPENING does not state the {name} score, expected {expected}."
    for score in (*required, *optional):
        if score.value != expected:
            return f"{_quoted(score.sentence)} states {score.value} as the {name} score, expected {expected}."
    return ""


def _number_of_item(name: str) -> int:
    return int(re.search(r"(\d+)[a-z]*$", name)[1])


def _part_of_rules(piece: _Piece) -> str:
    """The part of rules.yaml as which a sentence without an origin is read."""
    if piece.label == "Goal":
        return "observation"
    if piece.label:
        return {"Easier": "drill", "Harder": "drill"}.get(piece.label) or _KINDS_AT_LABEL[
            piece.label
        ][0]
    return {"what_should_happen": "ideal", "what_is_happening": "observation"}.get(
        piece.part, "steps"
    )


def _rendering(entry: Entry, hand: str) -> str:
    return entry.left if hand == "left" else entry.right


def _quoted(text: str, length: int = 120) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}...")
