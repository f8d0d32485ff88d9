"""Whether an answer may be shown to a golfer, and of one that may not, why: thirteen named checks.

The verdict is the grammar's: a text is a right answer if the grammar of its request reads it. The
checks explain a text that is none, each in a sentence that a person understands; the last of them,
composition, is the grammar's own word, for what the others do not see.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.areas import CLUBS, LEVELS, SCORE_LABELS, SWUNG
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.rules import Rule
from golf_nb_utils.golf.sentences import (
    KINDS_AT_LABEL,
    PART_OF,
    SCORE_NAME,
    SCORE_OF,
    Piece,
    Reading,
    Score,
    SentenceReader,
    Span,
    number_origins,
)
from golf_nb_utils.golf.wording import SEVERITY_WORDS, percent

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
    "drill": "gives a known drill, whole, for the cause it is about, and none without a fault",
    "fits": "suits the club, level, audience, gap and words of the request, and is of one piece",
    "safety": "has a safety note if its drill needs one, and only then",
    "composition": "is put together as an answer is, with nothing missing, double or out of place",
}
_DISTANCE = re.compile(
    rf"\b({'|'.join(SEVERITY_WORDS.values())}) (?:the|your) target\b", re.IGNORECASE | re.ASCII
)
_DRILL_NAME = re.compile(r"""\bdrill\W{0,3}["“„«](.{0,80}?)["”“»]""", re.IGNORECASE)
_LEVEL_OF = {"easier": "beginner", "harder": "advanced"}
LONGEST_ANSWER = 4000
"""Characters of an answer that are read: the longest right one has a third of them.

On noise, the time that some of the rules' patterns take grows with the square of its length.
"""
_WITH_A_DRILL = ("fault", "follow_up")
_UNTOLD = "cannot be told without the three headed parts."


@dataclass(frozen=True)
class Verdict:
    """What verify found: a truth value by the names of CHECKS, and what it rests on."""

    checks: dict[str, bool]
    reasons: tuple[str, ...]
    """One sentence for each failed check, in the order of CHECKS."""
    sentences: tuple[Span, ...]
    numbers: tuple[Span, ...]
    chain: str
    """Id of the advice that the answer gives by its grounded sentences, or ""."""
    drill: str
    """Id of the drill that it gives whole, or ""."""

    @property
    def passed(self) -> bool:
        """Whether all checks hold."""
        return all(self.checks.values())


class Verifier:
    """Checks answers against one knowledge base; threads may share it.

    To build one takes a tenth of a second.
    """

    def __init__(self, knowledge: KnowledgeBase):
        self.book = GrammarBook(knowledge)
        self.index = self.book.index
        self.rules = knowledge.rules
        self.areas = {topic.id: topic.area for topic in knowledge.topics}
        self.drill_named = {drill.name.casefold(): drill.id for drill in knowledge.drills}
        self._reader = SentenceReader(self.index, knowledge.faults)

    def request(self, input_text: str) -> Request:
        """Return what an input asks for, its contradictions settled.

        Where All Scores has another value for the area than Current Score, Current Score counts.

        Raises:
            InputFormatError: the input is malformed.
        """
        request = Request.from_text(input_text)
        if request.area not in (request.all_scores or {}):
            return request
        scores = request.all_scores | {request.area: request.current_score}
        return replace(request, all_scores=scores)

    def verify(self, answer: str, input_text: str, nearest: bool = False) -> Verdict:
        """Judge an answer to an input by every check of CHECKS; no answer makes it raise.

        Blanks and line breaks around the answer do not count. An answer that is longer than
        LONGEST_ANSWER fails, and only its beginning is read. With `nearest`, each sentence without
        an origin has the closest entry named beside it, by character-3-gram Jaccard similarity
        (0..1); that costs more than all the checks.

        Raises:
            InputFormatError: the input is malformed.
        """
        request, answer = self.request(input_text), answer.strip(" \n")
        if len(answer) > LONGEST_ANSWER:
            return self._explained(answer, request, nearest, "")
        try:
            found = self.book.grammar(request).read(answer)
        except GrammarError as error:
            return self._explained(answer, request, nearest, str(error))
        sentences = tuple(Span(*sentence) for sentence in found.sentences)
        about = self.book.about(found.names)
        numbers = number_origins(sentences, request)
        checks = dict.fromkeys(CHECKS, True)
        return Verdict(checks, (), sentences, numbers, about["chain"], about["drill"])

    def read(self, text: str, request: Request, nearest: bool = False) -> Reading:
        """Read any text sentence by sentence, see sentences.SentenceReader.read."""
        return self._reader.read(text, request, nearest)

    def _explained(self, answer: str, request: Request, nearest: bool, why: str) -> Verdict:
        reading = self.read(answer[:LONGEST_ANSWER], request, nearest)
        found = {
            name: reason for name, check in _REASONS.items() if (reason := check(self, reading))
        }
        if len(answer) > LONGEST_ANSWER:
            composition = (
                f"The answer has {len(answer):,} characters, expected {LONGEST_ANSWER:,} at most; "
                "only its beginning was read."
            )
        elif others := ", ".join(found):
            composition = f"Structure not checked, because other checks failed: {others}."
        else:
            composition = f"Not put together as an answer is: {why}"
        found["composition"] = composition
        return Verdict(
            checks={name: name not in found for name in CHECKS},
            reasons=tuple(found.values()),
            sentences=reading.sentences,
            numbers=reading.numbers,
            chain=reading.about,
            drill=reading.drills[0] if reading.drills else "",
        )


# The checks: each returns what is wrong, or nothing.


def _headings(verifier: Verifier, reading: Reading) -> str:
    lines = reading.text.split("\n")
    for heading in PART_OF:
        n_found = reading.text.count(heading)
        if n_found != 1 or heading not in lines:
            expected = "expected once, on a line of its own"
            return f"The heading {heading!r} stands {n_found} times, {expected}."
    if [line for line in lines if line in PART_OF] != list(PART_OF):
        return f"The headings are out of order, expected {', '.join(PART_OF)}."
    if lines[0] not in PART_OF:
        return f"{_quoted(lines[0])} stands before the first heading, expected nothing there."
    for heading, part in PART_OF.items():
        if not any(piece.part == part for piece in reading.pieces):
            return f"Nothing stands below the heading {heading!r}."
    return ""


def _area(verifier: Verifier, reading: Reading) -> str:
    area, stated = reading.request.area, reading.stated
    expected = f"expected {SCORE_LABELS[area]!r}, the area of the request"
    if stated is None:
        return f"The area {_UNTOLD}"
    first = stated.current[0].name if stated.current else None
    if first is None:
        happening = (piece for piece in reading.pieces if piece.part == "what_is_happening")
        match = SCORE_NAME.search(" ".join(piece.text for piece in happening))
        first = SCORE_OF[match[0].lower()] if match else None
    if first is None:
        return f"No area is named, {expected}."
    if first != area:
        return f"WHAT IS HAPPENING names {SCORE_LABELS[first]!r} first, {expected}."
    for score in stated.target:
        if score.name not in (None, area):
            return f"{_quoted(score.sentence)} is about {SCORE_LABELS[score.name]!r}, {expected}."
    for span in reading.sentences:
        entry = verifier.index.get(span.origin)
        if entry and not entry.drill and verifier.areas[entry.topic] != area:
            other = SCORE_LABELS[verifier.areas[entry.topic]]
            return f"{_quoted(span.text)} belongs to {other!r}, {expected}."
    return ""


def _current_score(verifier: Verifier, reading: Reading) -> str:
    if (stated := reading.stated) is None:
        return f"The current score {_UNTOLD}"
    expected = percent(reading.request.current_score)
    return _wrong_score("WHAT IS HAPPENING", "current", stated.current, expected)


def _target_score(verifier: Verifier, reading: Reading) -> str:
    if (stated := reading.stated) is None:
        return f"The target score {_UNTOLD}"
    expected = percent(reading.request.target_score)
    return _wrong_score("WHAT SHOULD HAPPEN", "target", stated.target, expected)


def _wrong_score(part: str, name: str, stated: tuple[Score, ...], expected: str) -> str:
    if not stated:
        return f"{part} does not state the {name} score, expected {expected}."
    if stated[0].value != expected:
        said = _quoted(stated[0].sentence)
        return f"{said} states {stated[0].value} as the {name} score, expected {expected}."
    return ""


def _other_scores(verifier: Verifier, reading: Reading) -> str:
    request, stated = reading.request, reading.stated
    if stated is None:
        return f"The other scores {_UNTOLD}"
    scores = request.all_scores or {}
    own = tuple(map(percent, (request.current_score, request.target_score, request.gap)))
    for score in stated.others:
        said = f"{_quoted(score.sentence)} states {score.value}"
        if score.name in (None, request.area):
            if score.value not in own:
                return f"{said} without a name that it belongs to, expected {' or '.join(own)}."
            continue
        label = SCORE_LABELS[score.name]
        if score.name not in scores:
            return f"{said} for {label!r}, which the request does not score."
        if score.value != percent(scores[score.name]):
            return f"{said} for {label!r}, expected {percent(scores[score.name])}."
    return ""


def _severity(verifier: Verifier, reading: Reading) -> str:
    words = reading.request.slots["words"]
    expected, is_said = f"expected {words!r} the target", False
    for piece in reading.pieces:
        for match in _DISTANCE.finditer(piece.text):
            if match[1].lower() != words:
                return f"{_quoted(piece.text)} says {match[1].lower()!r}, {expected}."
            is_said |= piece.part == "what_is_happening"
    if not is_said:
        return f"WHAT IS HAPPENING does not say how far the score is from the target, {expected}."
    return ""


def _grounded(verifier: Verifier, reading: Reading) -> str:
    if not reading.pieces:
        return "The answer holds no sentence."
    without = [span for span in reading.sentences if span.origin is None]
    if not without:
        return ""
    first = without[0]
    known = f"; the closest is {first.nearest} ({first.similarity:.0%} alike)"
    known = known if first.nearest else ""
    return (
        f"{len(without)} of {len(reading.sentences)} sentences are neither in the knowledge base "
        f"nor filled from the request, the first is {_quoted(first.text)}{known}."
    )


def _numbers(verifier: Verifier, reading: Reading) -> str:
    without = [span.text[:40] for span in reading.numbers if span.origin is None]
    if not without:
        return ""
    return f"The number {without[0]!r} is neither in the knowledge base nor in the request."


def _contradictions(verifier: Verifier, reading: Reading) -> str:
    request = reading.request
    clubs = (CLUBS[request.club],) if request.club else SWUNG
    levels = (request.level,) if request.level else LEVELS
    about = verifier.book.advice.get(reading.about)
    faults = about.faults if about else ()
    rules_at: dict[str, list[Rule]] = {}
    for piece, span in zip(reading.pieces, reading.sentences, strict=True):
        # What the knowledge base holds was held against the rules when it was read.
        if span.origin is not None:
            continue
        part = _part_of_rules(piece)
        if part not in rules_at:
            scope = (part, request.area, clubs, levels, faults)
            concern = (rule for rule in verifier.rules if rule.never and rule.concerns(*scope))
            rules_at[part] = list(concern)
        for rule in rules_at[part]:
            if rule.broken_by(piece.text):
                return f"{_quoted(piece.text)} breaks the rule {rule.id}: {rule.says}"
    for rule in verifier.rules:
        if rule.together and rule.joined_in(reading.text):
            return f"The answer says both sides of the rule {rule.id}: {rule.says}"
    return ""


def _part_of_rules(piece: Piece) -> str:
    """The part of rules.yaml as which a sentence without an origin is read."""
    if piece.label in KINDS_AT_LABEL:
        return KINDS_AT_LABEL[piece.label][0]
    return {"what_should_happen": "ideal", "what_is_happening": "happening"}.get(
        piece.part, "steps"
    )


def _drill(verifier: Verifier, reading: Reading) -> str:
    unknown = [span.text for span in reading.sentences if span.origin is None]
    names = [name for text in unknown for name in _DRILL_NAME.findall(text)]
    n_drills = len(reading.drills) + len(names)
    kind = verifier.book.kind_of(reading.request)
    if kind not in _WITH_A_DRILL:
        return f"The answer gives {n_drills} drills, expected none ({kind})." if n_drills else ""
    if not reading.drills:
        return _missing_drill(verifier, names)
    if n_drills > 1:
        return f"The answer gives {n_drills} drills, expected one."
    drill, about = verifier.book.drills[reading.drills[0]], verifier.book.advice.get(reading.about)
    if about and not {about.id, *about.faults} & set(drill.fixes):
        fixes = ", ".join(drill.fixes)
        return f"The drill {drill.id} fixes {fixes}, expected one for {about.id}."
    return ""


def _missing_drill(verifier: Verifier, names: list[str]) -> str:
    """Why none of the drills that an answer names is one."""
    if not names:
        return "The answer gives no drill, expected one."
    known = verifier.drill_named.get(names[0].casefold())
    if known is None:
        return f"There is no drill {_quoted(names[0])} in the knowledge base."
    drill = verifier.book.drills[known]
    whole = _quoted(drill.told(drill.text.text), 600)
    return f"The drill {names[0]!r} is not given whole, expected {whole}."


def _fits(verifier: Verifier, reading: Reading) -> str:
    request, about = reading.request, reading.about
    right = {advice.id for advice in verifier.book.advice_for(request)}
    if about not in right:
        kind = verifier.book.kind_of(request)
        meant = f" for {request.meaning!r}" if request.meaning else ""
        given = about or "none that is known"
        return f"The advice is {given}, expected one of the kind {kind}{meant} for this golfer."
    for span in reading.sentences:
        entry, said = verifier.index.get(span.origin), _quoted(span.text)
        if entry is None:
            continue
        if not entry.is_for(*request.case):
            named = zip(("club", "level", "audience", "gap"), request.case, strict=True)
            wanted = ", ".join(value or f"any {name}" for name, value in named)
            return f"{said} ({span.origin}) is not for the golfer of the request: {wanted}."
        if entry.drill:
            if entry.drill not in reading.drills:
                wanted = ", ".join(reading.drills) or "none"
                return f"{said} belongs to the drill {entry.drill}, expected {wanted}."
            if _LEVEL_OF.get(entry.kind, request.level) != request.level:
                return f"{said} makes the drill {entry.kind} for the level {request.level!r}."
        elif entry.advice not in ("", about):
            return f"{said} is part of {entry.advice}, expected {about} as in the rest."
    return ""


def _safety(verifier: Verifier, reading: Reading) -> str:
    notes = sum(piece.label == "Safety" for piece in reading.pieces)
    risks = [risk for drill in reading.drills for risk in verifier.book.drills[drill].risks]
    expected = int(bool(risks))
    if notes == expected:
        return ""
    told = f"a drill with {risks[0]}" if risks else "a drill without a risk"
    return f"The answer has {notes} safety notes, expected {expected} for {told}."


_REASONS: dict[str, Callable[[Verifier, Reading], str]] = {
    "headings": _headings,
    "area": _area,
    "current_score": _current_score,
    "target_score": _target_score,
    "other_scores": _other_scores,
    "severity": _severity,
    "grounded": _grounded,
    "numbers": _numbers,
    "rules": _contradictions,
    "drill": _drill,
    "fits": _fits,
    "safety": _safety,
}


def _quoted(text: str, length: int = 120) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}...")
