"""Any text, sentence by sentence: which entry each one is, if any, and which scores it states.

The grammar says whether a text is a right answer. This module looks at texts that are none, such as
a model's or a golfer's own, so that `checks` can say what is wrong with them.
"""

import bisect
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from golf_nb_utils.golf.answer import Entry, elsewhere_slots
from golf_nb_utils.golf.areas import SCORE_LABELS
from golf_nb_utils.golf.knowledge import Fault
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.similarity import TrigramIndex, jaccard, trigrams
from golf_nb_utils.golf.wording import ADAPTED, LABELS, SAY_BY_ID
from golf_nb_utils.prompt import HEADINGS

PART_OF = {heading: part for part, heading in HEADINGS.items()}
_NUMBERING = re.compile(r"[0-9]{1,3}[.] ")
_LABEL = re.compile(rf"({'|'.join(LABELS)}): ?")
_SENTENCE_END = re.compile(r"[.!?](?= |$)")
_NUMBER = re.compile(r"\d+(?:[.]\d+)?%?")
# From the first digit of a number alone: from each of them, a long number takes the square of its
# length.
_PERCENT = re.compile(r"(?<!\d)\d+(?:[.]\d+)?%")
_LONGEST_FIRST = sorted(SCORE_LABELS.values(), key=len, reverse=True)
# Without ASCII, letters such as the long s would match, which no label has.
SCORE_NAME = re.compile(
    rf"\b(?:{'|'.join(map(re.escape, _LONGEST_FIRST))})\b", re.IGNORECASE | re.ASCII
)
SCORE_OF = {label: name for name, label in SCORE_LABELS.items()}
# The kinds of sentence that belong to a label or a part: the place decides between two ids of one
# text.
KINDS_AT_LABEL = {
    "Check": ("check",),
    "Swing thought": ("cue",),
    **dict.fromkeys(ADAPTED.values(), ("adaptations",)),
}
_KINDS_IN_PART = {
    "what_should_happen": ("ideal",),
    "what_is_happening": ("happening",),
    "what_to_do": ("steps", "drill", "dose", "small_dose", "easier", "harder", "plan"),
}
# A beginner is told which side is meant; the knowledge base says lead and trail alone.
_SIDE = re.compile(r"\b(lead|trail) \((?:left|right)\)")


@dataclass(frozen=True)
class Span:
    """A stretch of a text and its origin: an id of the index or of SAY, or None.

    Where it is None, `nearest` is the closest entry, if that was asked for.
    """

    text: str
    origin: str | None
    nearest: str | None = None
    similarity: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A sentence, or a whole drill: the part and the label it stands at, and all ids of it."""

    text: str
    part: str
    label: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """A percentage in a text, and the score that it is said to be."""

    value: str
    name: str | None
    sentence: str


@dataclass(frozen=True)
class Stated:
    """The percentages of a text, by what they should be.

    They are the first of WHAT SHOULD HAPPEN (the target), the first of WHAT IS HAPPENING (the
    current score), and all others.
    """

    target: tuple[Score, ...]
    current: tuple[Score, ...]
    others: tuple[Score, ...]


@dataclass(frozen=True)
class Reading:
    """A text as the checks see it."""

    text: str
    request: Request
    pieces: tuple[Piece, ...]
    sentences: tuple[Span, ...]
    """One a piece; of the ids that render it, the origin is the one that fits best."""
    about: str
    """Id of the advice that most sentences are part of, or ""."""
    drills: tuple[str, ...]
    """Ids of the drills that are told whole."""

    @property
    def numbers(self) -> tuple[Span, ...]:
        """Every number with its origin."""
        return number_origins(self.sentences, self.request)

    @property
    def stated(self) -> Stated | None:
        """What the percentages are said to be; None without the three headed parts.

        Those of a sentence of the knowledge base are no scores. Any other belongs to the score that
        its sentence names last before it, or else first after it.
        """
        found: dict[str, list[Score]] = {part: [] for part in (*HEADINGS, "")}
        for piece, span in zip(self.pieces, self.sentences, strict=True):
            if "%" not in piece.text or (span.origin and span.origin not in SAY_BY_ID):
                continue
            names = [
                (match.start(), SCORE_OF[match[0].lower()])
                for match in SCORE_NAME.finditer(piece.text)
            ]
            for match in _PERCENT.finditer(piece.text):
                before = bisect.bisect(names, (match.start(),))
                name = names[max(0, before - 1)][1] if names else None
                found[piece.part].append(Score(match[0], name, piece.text))
        if {piece.part for piece in self.pieces if piece.part} != set(HEADINGS):
            return None
        should, happening = found["what_should_happen"], found["what_is_happening"]
        others = (*should[1:], *happening[1:], *found["what_to_do"], *found[""])
        return Stated(tuple(should[:1]), tuple(happening[:1]), others)


def number_origins(spans: Iterable[Span], request: Request) -> tuple[Span, ...]:
    """Return every number of the spans with its origin.

    That is its sentence's origin, or else the name of the score of the request that it prints.
    Digits and numerals of any script are numbers, though only ASCII ones can print a score.
    """
    scores = {"Current Score": request.current_score, "Target Score": request.target_score}
    scores |= {"Gap": request.gap} | (request.all_scores or {})
    printed: dict[str, str] = {}
    for name, score in scores.items():
        for form in (f"{score * 100:.1f}%", f"{score * 100:.0f}%", f"{score:.2f}"):
            printed.setdefault(form, name)
    return tuple(
        Span(number, span.origin or printed.get(number))
        for span in spans
        for number in _numbers(span.text)
    )


def _numbers(text: str) -> list[str]:
    found = [(match.start(), match[0]) for match in _NUMBER.finditer(text)]
    if not text.isascii():
        # Such as the superscript two, which is a numeral and no digit to a regular expression.
        numerals = enumerate(text)
        found += [pair for pair in numerals if pair[1].isnumeric() and not pair[1].isdecimal()]
    return [number for _, number in sorted(found)]


class SentenceReader:
    """Reads any text against one knowledge base; threads may share it."""

    def __init__(self, index: dict[str, Entry], faults: Iterable[Fault] = ()):
        """Take `index`, see answer.build_index, and the faults that words may mean."""
        self.index = index
        self._fault_named = {fault.name: fault for fault in faults}
        self._known: dict[str, dict[str, tuple[str, ...]]] = {"right": {}, "left": {}}
        # No filled phrase of SAY is longer than this.
        self._most_sentences, self._most_characters = 1, 250
        for name, entry in index.items():
            for hand, known in self._known.items():
                text = entry.text(hand)
                known[text] = (*known.get(text, ()), name)
                self._most_sentences = max(self._most_sentences, len(_SENTENCE_END.findall(text)))
                self._most_characters = max(self._most_characters, len(text))
        self._names = list(index)
        self._nearest: dict[str, TrigramIndex] = {}

    def read(self, text: str, request: Request, nearest: bool = False) -> Reading:
        """Return what each sentence of a text is.

        With `nearest`, those without an origin have the entry that they are closest to.
        """
        said: dict[str, tuple[str, ...]] = {}
        fault = self._fault_named.get(request.meaning)
        is_elsewhere = fault is not None and fault.area != request.area
        slots = request.slots | (elsewhere_slots(fault) if is_elsewhere else {})
        for name, phrase in SAY_BY_ID.items():
            try:
                said.setdefault(phrase.format_map(slots), (name,))
            except KeyError:  # a score that the request does not show
                continue
        plain = _SIDE.sub(r"\1", text)
        pieces = tuple(self._pieces(plain, self._known[request.hand] | said))
        about, drills = self._subject(pieces)
        close: dict[str, tuple] = {}
        if nearest:
            unknown = {piece.text for piece in pieces if not piece.ids}
            close = {text: self._closest(text, request.hand, said) for text in unknown}
        origins = (self._origin(piece, request, about, drills) for piece in pieces)
        spans = tuple(
            Span(piece.text, origin, *close.get(piece.text, ()))
            for piece, origin in zip(pieces, origins, strict=True)
        )
        return Reading(plain, request, pieces, spans, about, drills)

    def _pieces(self, text: str, known: dict[str, tuple[str, ...]]) -> Iterable[Piece]:
        """Cut a text into sentences; several that are one entry stay together."""
        for heading in PART_OF:
            text = text.replace(heading, f"\n{heading}\n")
        part = ""
        for line in text.split("\n"):
            if line in PART_OF:
                part = PART_OF[line]
                continue
            numbering = _NUMBERING.match(line)
            place, label = numbering.end() if numbering else 0, ""
            ends = [match.end() for match in _SENTENCE_END.finditer(line)]
            if not ends or ends[-1] < len(line):
                ends.append(len(line))
            first = 0
            while place < len(line):
                if line[place] == " ":
                    place += 1
                    continue
                while ends[first] <= place:
                    first += 1
                end, ids = self._longest_entry(line, place, ends[first:], known)
                if not ids and (match := _LABEL.match(line, place)):
                    label, place = match[1], match.end()
                    continue
                sentence = line[place:end]
                yield Piece(sentence, part, label, ids)
                place, label = end, ""

    def _longest_entry(
        self, line: str, place: int, ends: list[int], known: dict[str, tuple[str, ...]]
    ) -> tuple[int, tuple[str, ...]]:
        """The end and the ids of the longest entry that begins at a place.

        Where none begins, it is the end of the first sentence, and no id.
        """
        for end in reversed(ends[: self._most_sentences]):
            if end - place <= self._most_characters and (ids := known.get(line[place:end])):
                return end, ids
        return ends[0], ()

    def _subject(self, pieces: tuple[Piece, ...]) -> tuple[str, tuple[str, ...]]:
        """The advice that most sentences are part of, and the drills that are told whole."""
        advice: Counter[str] = Counter()
        drills: list[str] = []
        for piece in pieces:
            entries = [self.index[name] for name in piece.ids if name in self.index]
            drills += [entry.drill for entry in entries if entry.kind == "drill"][:1]
            advice.update(sorted({entry.advice for entry in entries if entry.advice}))
        return max(advice, key=advice.get, default=""), tuple(drills)

    def _origin(
        self, piece: Piece, request: Request, about: str, drills: tuple[str, ...]
    ) -> str | None:
        """Of all ids that render a piece, the one that fits its place and the rest best."""
        if len(piece.ids) < 2:
            return piece.ids[0] if piece.ids else None
        kinds = KINDS_AT_LABEL.get(piece.label) or _KINDS_IN_PART.get(piece.part, ())

        def suits(name: str) -> tuple[bool, bool, bool]:
            entry = self.index.get(name, Entry("", ""))
            own = entry.drill in drills if entry.drill else entry.advice in ("", about)
            in_place = entry.kind in kinds
            return own and in_place and entry.is_for(*request.case), own, in_place

        return max(piece.ids, key=suits)

    def _closest(
        self, sentence: str, hand: str, said: dict[str, tuple[str, ...]]
    ) -> tuple[str | None, float]:
        if hand not in self._nearest:
            self._nearest[hand] = TrigramIndex(entry.text(hand) for entry in self.index.values())
        place, similarity = self._nearest[hand].nearest(sentence)
        name = None if place is None else self._names[place]
        own = trigrams(sentence)
        for phrase, (phrase_id,) in said.items():
            if (other := jaccard(own, trigrams(phrase))) > similarity:
                name, similarity = phrase_id, other
        return name, similarity
