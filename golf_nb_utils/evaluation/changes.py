"""Change one thing in a request: the answer must change there, and only where it should.

A system is a function from entries (instruction and input) to answers and has to be deterministic
(greedy); what it answered to the unchanged requests is compared with what it answers to the changed
ones. For a score, a club of the same family and the hand, the one right new answer follows from the
old one; for a change that calls for other advice, what must hold is checked instead.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.golf.answer import Entry, side_of
from golf_nb_utils.golf.areas import CLUBS, SEVERITIES
from golf_nb_utils.golf.checks import Verdict, Verifier
from golf_nb_utils.golf.knowledge import KnowledgeBase, Topic
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.wording import percent

# What a beginner is told of lead and trail.
_EXPLAINED = re.compile(r"\b(lead|trail) \((left|right)\)")
_SIDE = re.compile(r"\b(?:left|right)\b")
_STATED = ("headings", "area", "current_score", "target_score", "other_scores", "severity")


@dataclass(frozen=True)
class Change:
    """The request of record number `place`, changed: `old` became `new`, percentages or words.

    `entry` is the instruction and the changed input.
    """

    kind: str
    place: int
    entry: dict[str, str]
    old: str
    new: str


Changed = tuple[Request, str, str] | None
"""The changed request, what was there and what is there now; None where nothing can be changed."""


def changed_requests(records: list[Record], knowledge: KnowledgeBase, seed: int) -> list[Change]:
    """Return each record's request with one thing changed, once for each of KINDS that it allows.

    A new score is one that stands nowhere else in the request, and keeps all words that depend on
    it; a new club or severity is one that the record's topic is for, and another area comes with
    what another record of it says: so none asks for what does not exist.
    """
    topics = {topic.id: topic for topic in knowledge.topics}
    changes = []
    for place, record in enumerate(records):
        request, topic = Request.from_text(record.input), topics[record.meta["topic"]]
        for name, kind in KINDS.items():
            rng = random.Random(f"{seed}/{name}/{place}")
            if name == "area":
                found = _other_area(records, request, topics, rng)
            else:
                found = kind.make(request, topic, rng)
            if found:
                changed, old, new = found
                entry = changed.entry(record.instruction)
                changes.append(Change(name, place, entry, old, new))
    return changes


def _with_score(request: Request, name: str, score: float) -> Request:
    """`name` is current_score, target_score, or the name of another score."""
    scores = dict(request.all_scores or {})
    if name == "target_score":
        return replace(request, target_score=score)
    if name == "current_score":
        if request.area in scores:
            scores[request.area] = score
        return replace(request, current_score=score, all_scores=scores)
    return replace(request, all_scores=scores | {name: score})


def _new_score(
    request: Request, name: str, allowed: Callable[[Request], bool], rng: random.Random
) -> Changed:
    """A score in place of another: one that is printed nowhere else, and that is allowed."""
    scores = {"current_score": request.current_score, "target_score": request.target_score}
    scores |= request.other_scores
    printed, before = [percent(score) for score in scores.values()], percent(scores[name])
    if printed.count(before) > 1:
        return None
    candidates = [
        (changed, before, percent(number / 100))
        for number in range(101)
        if percent(number / 100) not in printed
        and allowed(changed := _with_score(request, name, number / 100))
    ]
    return rng.choice(candidates) if candidates else None


def _same_words(request: Request, *free: str) -> Callable[[Request], bool]:
    """Whether another request fills every slot but the `free` ones alike.

    The words for the gap are a slot, too: they keep it at one severity.
    """

    def bound(other: Request) -> dict[str, str]:
        return {name: text for name, text in other.slots.items() if name not in free}

    return lambda other: bound(other) == bound(request)


def _current_score(request: Request, topic: Topic, rng: random.Random) -> Changed:
    return _new_score(request, "current_score", _same_words(request, "current"), rng)


def _target_score(request: Request, topic: Topic, rng: random.Random) -> Changed:
    return _new_score(request, "target_score", _same_words(request, "target"), rng)


def _gap(request: Request, topic: Topic, rng: random.Random) -> Changed:
    before = request.severity
    others = [name for name in topic.severities if name in SEVERITIES and name != before]
    if before == "none" or not others:
        return None
    wanted = rng.choice(others)
    return _new_score(request, "current_score", lambda other: other.severity == wanted, rng)


def _other_score(request: Request, topic: Topic, rng: random.Random) -> Changed:
    others = list(request.other_scores)
    return _new_score(request, rng.choice(others), _same_words(request), rng) if others else None


def _handedness(request: Request, topic: Topic, rng: random.Random) -> Changed:
    new = "right" if request.hand == "left" else "left"
    return replace(request, handedness=new), request.hand, new


def _club(request: Request, topic: Topic, rng: random.Random) -> Changed:
    family = CLUBS.get(request.club)
    return _with_club(request, [c for c in CLUBS if CLUBS[c] == family and c != request.club], rng)


def _club_family(request: Request, topic: Topic, rng: random.Random) -> Changed:
    families = [family for family in topic.clubs if family != CLUBS.get(request.club)]
    return _with_club(request, [club for club in CLUBS if CLUBS[club] in families], rng)


def _with_club(request: Request, clubs: list[str], rng: random.Random) -> Changed:
    if request.club is None or not clubs:
        return None
    new = rng.choice(clubs)
    return replace(request, club=new), request.club, new


def _other_area(
    records: list[Record], request: Request, topics: dict[str, Topic], rng: random.Random
) -> Changed:
    donors = []
    for other in records:
        meta = other.meta
        is_keep = meta["kind"] == "keep"
        severities = ("none",) if is_keep else topics[meta["topic"]].severities
        if meta["area"] != request.area and request.severity in severities:
            donors.append(other)
    if not donors:
        return None
    given = Request.from_text(rng.choice(donors).input)
    names = ("area", "observation", "meaning", "tried", "club", "level")
    said = {name: getattr(given, name) for name in names}
    scores = dict(request.all_scores or {})
    if scores:
        # The request's own score comes along to the new area, and the score that stood there takes
        # its old place.
        if request.area in scores and given.area in scores:
            scores[request.area] = scores[given.area]
        scores[given.area] = request.current_score
    return replace(request, **said, all_scores=scores), request.area, given.area


class Kind(NamedTuple):
    """What is changed, what the answer must then do and must keep, the checks that say so, and who
    changes it.
    """

    changed: str
    must: str
    keeps: str
    checks: tuple[str, ...] = ()
    make: Callable[[Request, Topic, random.Random], Changed] | None = None


KINDS = {
    "current_score": Kind("current score, same severity", "states the new score",
                          "every other word", ("current_score",), _current_score),
    "target_score": Kind("target score, same severity", "states the new target",
                         "every other word", ("target_score",), _target_score),
    "gap": Kind("current score, another severity", "states the new score, its words fit the gap",
                "area, target and other scores", ("current_score", "severity"), _gap),
    "other_score": Kind("another score, same strong and low ones", "no wrong score is said",
                        "every word", ("other_scores",), _other_score),
    "handedness": Kind("the other hand", "nothing is left for the wrong hand",
                       "every sentence, mirrored where it has a side", (), _handedness),
    "club": Kind("club of the same family", "still fits the club", "every word", ("fits",), _club),
    "club_family": Kind("club of another family", "fits the new club",
                        "area and scores", ("fits",), _club_family),
    "area": Kind("another area, with its observation, club and level",
                 "is about the new area, and fits", "all scores", ("area", "grounded", "fits")),
}  # fmt: skip


def perturb(
    records: list[Record],
    before: list[str],
    answer: Callable[[list[dict]], list[str]],
    knowledge: KnowledgeBase,
    verifier: Verifier,
    seed: int,
) -> list[dict]:
    """Ask a system the changed requests of `records`, to which it answered `before`; judge that.

    Returns a row for each change: `kind`, `place`, `input`, `old`, `new`, `answer`, and whether it
    `follows` (does what it must) and `keeps` (what it should not touch), see KINDS.
    """
    changes = changed_requests(records, knowledge, seed)
    rows = []
    for change, after in zip(changes, answer([change.entry for change in changes]), strict=True):
        text, asked = before[change.place], change.entry["input"]
        then = verifier.verify(text, records[change.place].input)
        now = verifier.verify(after, asked)
        row = {"kind": change.kind, "place": change.place, "input": asked}
        row |= {"old": change.old, "new": change.new, "answer": after}
        row["follows"] = follows(change, after, now, verifier.index)
        row["keeps"] = keeps(change, text, then, after, now)
        rows.append(row)
    return rows


def follows(change: Change, after: str, now: Verdict, index: dict[str, Entry]) -> bool:
    """Return whether a new answer does what its change demands."""
    if not all(now.checks[name] for name in ("headings", *KINDS[change.kind].checks)):
        return False
    return change.kind != "handedness" or not _for_other_hand(after, change.new, index)


def _for_other_hand(text: str, hand: str, index: dict[str, Entry]) -> bool:
    """Whether a text has a sentence that names the side of the other hand."""
    other = "left" if hand == "right" else "right"
    if any(side != side_of(word, hand) for word, side in _EXPLAINED.findall(text)):
        return True
    plain = _EXPLAINED.sub(r"\1", text)
    wrong = {entry.text(other) for entry in index.values() if entry.left != entry.right}
    return any(sentence in plain for sentence in wrong)


def keeps(change: Change, before: str, then: Verdict, after: str, now: Verdict) -> bool:
    """Return whether a new answer leaves alone what its change does not concern."""
    if change.kind in ("gap", "club_family", "area"):
        # Other advice may be called for; what was stated rightly has to be stated rightly again.
        return all(now.checks[name] for name in _STATED if then.checks[name])
    if change.kind == "handedness":
        return after == _mirrored(before)
    if change.kind == "club":
        return after == before
    # 3.0% is not the end of 23.0%.
    return after == re.sub(rf"(?<![0-9]){re.escape(change.old)}", change.new, before)


def _mirrored(text: str) -> str:
    """The text for the other hand: the knowledge base says left and right of nothing else."""
    return _SIDE.sub(lambda side: "left" if side[0] == "right" else "right", text)


def measure_changes(rows: list[dict]) -> dict[str, dict]:
    """Return {kind: {"n", and "follows", "keeps" and "right", which is both, each as a share}}.

    A share is {"value", "low", "high"}; the intervals are Wilson's.
    """
    result: dict[str, dict] = {}
    for kind in KINDS:
        mine = [(row["follows"], row["keeps"]) for row in rows if row["kind"] == kind]
        if not mine:
            continue
        both = [(*row, all(row)) for row in mine]
        result[kind] = {"n": len(mine)}
        for name, count in zip(
            ("follows", "keeps", "right"), map(sum, zip(*both, strict=True)), strict=True
        ):
            low, high = wilson(count, len(mine))
            result[kind][name] = {"value": count / len(mine), "low": low, "high": high}
    return result
