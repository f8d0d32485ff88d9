"""Change one thing in a request and see what becomes of the answer: it must change there, and only where it should.

A system is a function from entries to answers and has to be deterministic (greedy); what it answered to the unchanged requests is
compared with what it answers to the changed ones. For a score, a club of the same family and the hand, the one right new answer
follows from the old one; for a change that calls for other advice, what must hold is checked instead.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.golf.answer import Entry
from golf_nb_utils.golf.areas import CLUB_FAMILIES, CLUBS, SEVERITIES
from golf_nb_utils.golf.checks import Verdict, Verifier
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.request import make_entry, parse_input
from golf_nb_utils.golf.wording import percent, score_slots, severity_of

KINDS = {
    "current_score": ("current score, same severity", "states the new score", "every other word"),
    "target_score": ("target score, same severity", "states the new target", "every other word"),
    "gap": (
        "current score, another severity",
        "states the new score, its words fit the gap",
        "area, target and other scores",
    ),
    "other_score": ("the best or lowest other score", "no wrong score is said", "every other word"),
    "unsaid_score": ("a score that is neither", "no wrong score is said", "every word"),
    "handedness": (
        "the other hand",
        "nothing is left for the wrong hand",
        "every sentence, mirrored where it has a side",
    ),
    "club": ("club of the same family", "still fits the club", "every word"),
    "club_family": ("club of another family", "fits the new club", "area and scores"),
    "area": (
        "another area, with its observation, club and level",
        "is about the new area, and fits",
        "all scores",
    ),
}
"""{kind: (what is changed, what the answer must then do, what it must keep)}"""
_STATED = ("headings", "area", "current_score", "target_score", "other_scores", "severity")
_MUST = {
    "current_score": ("current_score",), "target_score": ("target_score",), "gap": ("current_score", "severity"),
    "other_score": ("other_scores",), "unsaid_score": ("other_scores",), "handedness": (), "club": ("fits",), "club_family": ("fits",),
    "area": ("area", "grounded", "fits"),
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One changed request: of record number `place`; `old` and `new` are the percentages or words that differ."""

    kind: str
    place: int
    entry: dict
    old: str
    new: str


def changed_requests(records: list[dict], knowledge: KnowledgeBase, seed: int) -> list[Change]:
    """Return each record's request with one thing changed, once for each of KINDS that it allows.

    A new score is one that stands nowhere else in the request, and keeps all words that depend on it; a new club or severity is one
    that the record's topic is for, and another area comes with what another record of it says: so none asks for what does not exist.
    """
    topics = {topic.id: topic for topic in knowledge.topics}
    changes = []
    for place, record in enumerate(records):
        values = parse_input(record["input"])
        del values["gap"]
        for kind in KINDS:
            rng = random.Random(f"{seed}/{kind}/{place}")
            if kind == "area":
                found = _other_area(records, place, values, topics, rng)
            else:
                found = _MAKERS[kind](values, topics[record["meta"]["topic"]], rng)
            if found:
                changed, old, new = found
                changes.append(
                    Change(
                        kind,
                        place,
                        make_entry(**changed, instruction=record["instruction"]),
                        old,
                        new,
                    )
                )
    return changes


def _said(values: dict) -> dict[str, str]:
    return score_slots(
        values["area"], values["current_score"], values["target_score"], values["all_scores"]
    )


def _printed(values: dict) -> list[str]:
    """All percentages of a request; the current score once, though it stands among all scores as well."""
    others = {
        name: score
        for name, score in (values["all_scores"] or {}).items()
        if name != values["area"]
    }
    return [
        percent(score)
        for score in (values["current_score"], values["target_score"], *others.values())
    ]


def _with_score(values: dict, name: str, score: float) -> dict:
    """`name` is current_score, target_score, or the name of another score."""
    changed = {**values, "all_scores": dict(values["all_scores"]) if values["all_scores"] else None}
    if name in ("current_score", "target_score"):
        changed[name] = score
    else:
        changed["all_scores"][name] = score
    if name == "current_score" and values["area"] in (changed["all_scores"] or {}):
        changed["all_scores"][values["area"]] = score
    return changed


def _new_score(
    values: dict, name: str, allowed: Callable[[dict], bool], rng: random.Random
) -> tuple[dict, str, str] | None:
    before = values[name] if name in values else values["all_scores"][name]
    printed = _printed(values)
    if printed.count(percent(before)) > 1:
        return None
    candidates = [
        (changed, percent(before), percent(number / 100))
        for number in range(101)
        if percent(number / 100) not in printed
        and allowed(changed := _with_score(values, name, number / 100))
    ]
    return rng.choice(candidates) if candidates else None


def _same_words(values: dict, *free: str) -> Callable[[dict], bool]:
    """Whether another request fills every slot but the `free` ones alike; the words for the gap keep it at the same severity."""

    def bound(request: dict) -> dict[str, str]:
        return {name: "" if name in free else text for name, text in _said(request).items()}

    return lambda request: bound(request) == bound(values)


def _current_score(values, topic, rng):
    return _new_score(values, "current_score", _same_words(values, "current"), rng)


def _target_score(values, topic, rng):
    return _new_score(values, "target_score", _same_words(values, "target"), rng)


def _gap(values, topic, rng):
    before = severity_of(values["current_score"], values["target_score"])
    others = [
        severity for severity in topic.severities if severity in SEVERITIES and severity != before
    ]
    if before == "none" or not others:
        return None
    wanted = rng.choice(others)
    return _new_score(
        values,
        "current_score",
        lambda request: severity_of(request["current_score"], request["target_score"]) == wanted,
        rng,
    )


def _other_scores(values) -> dict[str, tuple[str, ...]]:
    """{name of another score: the slots that its value fills}"""
    slots, others = (
        _said(values),
        {
            name: score
            for name, score in (values["all_scores"] or {}).items()
            if name != values["area"]
        },
    )
    best, lowest = (
        max(others, key=others.get, default=None),
        min(others, key=others.get, default=None),
    )
    filled = {name: () for name in others}
    for role, name in (("strength", best), ("weakest", lowest)):
        if role in slots:
            filled[name] += (f"{role}_score",)
    return filled


def _other_score(values, topic, rng):
    said = {name: slots for name, slots in _other_scores(values).items() if slots}
    if not said:
        return None
    name = rng.choice(list(said))
    return _new_score(values, name, _same_words(values, *said[name]), rng)


def _unsaid_score(values, topic, rng):
    unsaid = [name for name, slots in _other_scores(values).items() if not slots]
    return _new_score(values, rng.choice(unsaid), _same_words(values), rng) if unsaid else None


def _handedness(values, topic, rng):
    new = "right" if values["handedness"] == "left" else "left"
    return {**values, "handedness": new}, values["handedness"] or "right", new


def _club(values, topic, rng):
    others = [
        club
        for club in CLUBS
        if CLUBS[club] == CLUBS.get(values["club"]) and club != values["club"]
    ]
    return _with_club(values, others, rng)


def _club_family(values, topic, rng):
    families = [
        family
        for family in CLUB_FAMILIES
        if family in topic.clubs and family != CLUBS.get(values["club"])
    ]
    return _with_club(values, [club for club in CLUBS if CLUBS[club] in families], rng)


def _with_club(values, clubs, rng):
    if values["club"] is None or not clubs:
        return None
    new = rng.choice(clubs)
    return {**values, "club": new}, values["club"], new


def _other_area(records, place, values, topics, rng):
    severity = severity_of(values["current_score"], values["target_score"])
    donors = []
    for other in records:
        meta = other["meta"]
        alike = (
            severity in topics[meta["topic"]].severities if meta["fault"] else severity == "none"
        )
        if meta["area"] != values["area"] and alike:
            donors.append(other)
    if not donors:
        return None
    given = parse_input(rng.choice(donors)["input"])
    changed = {**values, **{name: given[name] for name in ("area", "observation", "club", "level")}}
    if values["all_scores"]:
        # The request's own score comes along to the new area, and the score that stood there takes its old place.
        scores = dict(values["all_scores"])
        if values["area"] in scores and given["area"] in scores:
            scores[values["area"]] = scores[given["area"]]
        scores[given["area"]] = values["current_score"]
        changed["all_scores"] = scores
    return changed, values["area"], given["area"]


_MAKERS = {
    "current_score": _current_score, "target_score": _target_score, "gap": _gap, "other_score": _other_score,
    "unsaid_score": _unsaid_score, "handedness": _handedness, "club": _club, "club_family": _club_family,
}  # fmt: skip


def perturb(
    records: list[dict],
    before: list[str],
    answer: Callable[[list[dict]], list[str]],
    knowledge: KnowledgeBase,
    verifier: Verifier,
    seed: int,
) -> list[dict]:
    """Ask a system the changed requests of `records`, to which it answered `before`, and judge what it says now.

    Returns a row for each change: `kind`, `place`, `input`, `old`, `new`, `answer`, and whether it `follows` (does what it must)
    and `keeps` (what it should not touch), see KINDS.
    """
    changes = changed_requests(records, knowledge, seed)
    index = verifier.index
    rows = []
    for change, after in zip(changes, answer([change.entry for change in changes]), strict=True):
        record, text = records[change.place], before[change.place]
        then, now = (
            verifier.verify(text, record["input"]),
            verifier.verify(after, change.entry["input"]),
        )
        row = {
            "kind": change.kind,
            "place": change.place,
            "input": change.entry["input"],
            "old": change.old,
            "new": change.new,
        }
        row |= {
            "answer": after,
            "follows": follows(change, after, now, index),
            "keeps": keeps(change, text, then, after, now, index),
        }
        rows.append(row)
    return rows


def follows(change: Change, after: str, now: Verdict, index: dict[str, Entry]) -> bool:
    """Return whether a new answer does what its change demands."""
    if not all(now.checks[name] for name in ("headings", *_MUST[change.kind])):
        return False
    return change.kind != "handedness" or not _for_other_hand(after, change.new, index)


def _for_other_hand(text: str, hand: str, index: dict[str, Entry]) -> bool:
    wrong = (
        (entry.left, entry.right) if hand == "right" else (entry.right, entry.left)
        for entry in index.values()
    )
    return any(theirs != ours and theirs in text for theirs, ours in wrong)


def keeps(
    change: Change, before: str, then: Verdict, after: str, now: Verdict, index: dict[str, Entry]
) -> bool:
    """Return whether a new answer leaves alone what its change does not concern."""
    if change.kind in ("gap", "club_family", "area"):
        # Other advice may be called for; what was stated rightly has to be stated rightly again.
        return all(now.checks[name] for name in _STATED if then.checks[name])
    if change.kind == "handedness":
        return after == _mirrored(before, then, change.new, index)
    # 3.0% is not the end of 23.0%.
    expected = (
        before
        if change.kind == "club"
        else re.sub(rf"(?<![0-9]){re.escape(change.old)}", change.new, before)
    )
    return after == expected


def _mirrored(text: str, verdict: Verdict, hand: str, index: dict[str, Entry]) -> str:
    """The text with each sentence that renders an item rendered for a hand."""
    parts, end = [], 0
    for span in verdict.sentences:
        start = text.find(span.text, end)
        if span.origin in index and start >= 0:
            parts += (
                text[end:start],
                index[span.origin].left if hand == "left" else index[span.origin].right,
            )
            end = start + len(span.text)
    return "".join(parts) + text[end:]


def measure_changes(rows: list[dict]) -> dict[str, dict]:
    """Return {kind: {"n", and {"value", "low", "high"} of "follows", "keeps" and "right", which is both}}; intervals are Wilson's."""
    result = {}
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        if mine:
            counts = {
                "follows": sum(row["follows"] for row in mine),
                "keeps": sum(row["keeps"] for row in mine),
                "right": sum(row["follows"] and row["keeps"] for row in mine),
            }
            result[kind] = {"n": len(mine)}
            for name, count in counts.items():
                low, high = wilson(count, len(mine))
                result[kind][name] = {"value": count / len(mine), "low": low, "high": high}
    return result
