"""Requests with one thing changed, and systems that answer them well, not at all, or too freely."""

import re

import pytest

from golf_nb_utils.evaluation.changes import KINDS, changed_requests, measure_changes, perturb
from golf_nb_utils.golf.areas import AREAS, CLUBS
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.wording import SAY_BY_ID

EXACT = ("current_score", "target_score", "other_score", "handedness", "club")
LINES = {
    "current_score": {"Current Score", "Gap", "All Scores"}, "target_score": {"Target Score", "Gap"},
    "gap": {"Current Score", "Gap", "All Scores"}, "other_score": {"All Scores"},
    "handedness": {"Handedness"}, "club": {"Club"}, "club_family": {"Club"},
    "area": {"Area", "Observation", "Meaning", "Tried", "Club", "Level", "All Scores"},
}  # fmt: skip


@pytest.fixture(scope="module")
def verifier(knowledge):
    return Verifier(knowledge)


@pytest.fixture(scope="module")
def records(tiny_records):
    return tiny_records["train"]


@pytest.fixture(scope="module")
def changes(records, knowledge):
    return changed_requests(records, knowledge, seed=1)


def lines(text):
    return dict(line.split(": ", 1) for line in text.split("\n"))


def test_a_change_touches_its_own_lines_alone(changes, records):
    assert {change.kind for change in changes} == set(KINDS)
    for change in changes:
        before, after = lines(records[change.place].input), lines(change.entry["input"])
        touched = {name for name in before | after if before.get(name) != after.get(name)}
        assert touched
        assert touched <= LINES[change.kind]
        assert change.entry["instruction"] == records[change.place].instruction


def drawn(verifier, change):
    """A right answer to a changed request."""
    return verifier.book.draw(Request.from_text(change.entry["input"]), 0).text


def test_a_changed_request_is_one_that_the_knowledge_can_answer(changes, records, verifier):
    for change in changes:
        assert verifier.verify(drawn(verifier, change), change.entry["input"]).passed
        request, kind = Request.from_text(change.entry["input"]), records[change.place].meta["kind"]
        # What was said still has an answer of its own, so that the request asks for nothing that does not exist.
        if change.kind == "area":
            known = [record.meta for record in records if record.meta["area"] == request.area]
            said = [meta["kind"] for meta in known if meta["meaning"] == (request.meaning or "")]
            assert verifier.book.kind_of(request) in said, change.entry["input"]
        else:
            assert verifier.book.kind_of(request) == kind, change.entry["input"]


def test_the_clubs_and_the_scores_are_changed_as_the_kinds_say(changes, records):
    for change in changes:
        before, after = (
            Request.from_text(records[change.place].input),
            Request.from_text(change.entry["input"]),
        )
        if change.kind in ("club", "club_family"):
            assert (CLUBS[before.club] == CLUBS[after.club]) == (change.kind == "club")
        words = [request.slots["words"] for request in (before, after)]
        if change.kind in ("current_score", "target_score", "other_score"):
            assert words[0] == words[1]
        if change.kind == "gap":
            assert words[0] != words[1]
        if after.area in (after.all_scores or {}):
            assert after.all_scores[after.area] == after.current_score


def test_the_seed_and_nothing_else_settles_the_changes(changes, records, knowledge):
    assert changed_requests(records, knowledge, seed=1) == changes
    assert changed_requests(records, knowledge, seed=2) != changes


def rendered(record, asked, verifier):
    """The record's own answer with each of its items rendered for another request: what a perfect system says."""
    requests = [Request.from_text(text) for text in (record.input, asked)]
    # Where a beginner is told which side lead and trail are, a mark stands until the end.
    text, end = re.sub(r"\b(lead|trail) \((?:left|right)\)", "\\1\0", record.output), 0
    for item in record.meta["items"]:
        if item in verifier.index:
            old, new = (verifier.index[item].text(request.hand) for request in requests)
        else:
            fault = verifier.book.fault_of(requests[0])
            more = (
                {
                    "fault": f"{fault.name[0].lower()}{fault.name[1:]}",
                    "other": AREAS[fault.area].label,
                }
                if fault
                else {}
            )
            old, new = (SAY_BY_ID[item].format_map(request.slots | more) for request in requests)
        found = re.compile(re.sub("(lead|trail)", "\\1\0?", re.escape(old))).search(text, end)
        for word in ("lead", "trail"):
            if f"{word}\0" in found[0]:
                new = re.sub(rf"\b{word}\b", f"{word}\0", new, count=1)
        text = text[: found.start()] + new + text[found.end() :]
        end = found.start() + len(new)
    lead, trail = ("left", "right") if requests[1].hand == "right" else ("right", "left")
    return text.replace("lead\0", f"lead ({lead})").replace("trail\0", f"trail ({trail})")


def rows_of(system, changes, records, knowledge, verifier):
    """The rows of a system that is a function from a change to a text."""
    before = [record.output for record in records]
    return perturb(
        records,
        before,
        lambda entries: [system(change) for change in changes],
        knowledge,
        verifier,
        seed=1,
    )


def test_a_perfect_system_does_what_it_must_and_keeps_the_rest(
    changes, records, knowledge, verifier
):
    def perfect(change):
        if change.kind in EXACT:
            return rendered(records[change.place], change.entry["input"], verifier)
        return drawn(verifier, change)

    rows = rows_of(perfect, changes, records, knowledge, verifier)
    assert [
        (row["kind"], row["input"]) for row in rows if not (row["follows"] and row["keeps"])
    ] == []
    assert {row["kind"] for row in rows} == set(KINDS)


def test_a_system_that_does_not_listen_is_caught_wherever_something_had_to_change(
    changes, records, knowledge, verifier
):
    rows = rows_of(
        lambda change: records[change.place].output, changes, records, knowledge, verifier
    )
    for row in rows:
        if row["kind"] in ("current_score", "target_score", "gap", "area"):
            assert not row["follows"], row["input"]
        if row["kind"] in ("other_score", "club"):
            assert row["follows"], row["input"]
            assert row["keeps"]
        # Keeping all words keeps the old number, too, which is where the answer had to change.
        if row["kind"] in ("current_score", "target_score"):
            assert not row["keeps"]
    mine = [row for row in rows if row["kind"] == "handedness"]
    deaf = [
        row
        for row in mine
        if rendered(records[row["place"]], row["input"], verifier) != records[row["place"]].output
    ]
    assert deaf
    assert all(not row["follows"] and not row["keeps"] for row in deaf)
    assert all(row["follows"] and row["keeps"] for row in mine if row not in deaf)


def test_a_system_that_explains_lead_and_trail_for_the_wrong_hand_is_caught(
    changes, records, knowledge, verifier
):
    explained = re.compile(r"\b(?:lead|trail) \((?:left|right)\)")

    def half(change):
        if change.kind != "handedness":
            return ""
        sides = explained.findall(records[change.place].output)
        text = rendered(records[change.place], change.entry["input"], verifier)
        return explained.sub(lambda _: sides.pop(0), text)

    rows = rows_of(half, changes, records, knowledge, verifier)
    mine = [row for row in rows if row["kind"] == "handedness"]
    told = [row for row in mine if explained.search(row["answer"])]
    assert told
    assert not any(row["follows"] or row["keeps"] for row in told)
    assert all(row["follows"] and row["keeps"] for row in mine if row not in told)


def test_a_system_that_changes_more_than_it_must_does_not_keep_the_rest(
    changes, records, knowledge, verifier
):
    def restless(change):
        if change.kind in EXACT:
            return rendered(records[change.place], change.entry["input"], verifier).replace(
                "Swing thought: ", "Swing thought:  "
            )
        # What was stated rightly is now wrong.
        target = records[change.place].meta["target_score"]
        return records[change.place].output.replace(f"{target:.1%}", "0.5%")

    rows = rows_of(restless, changes, records, knowledge, verifier)
    assert not any(row["keeps"] for row in rows if row["kind"] in EXACT)
    assert not any(row["keeps"] for row in rows if row["kind"] not in EXACT)


def test_noise_does_what_it_must_nowhere(changes, records, knowledge, verifier):
    rows = perturb(
        records,
        [""] * len(records),
        lambda entries: [""] * len(entries),
        knowledge,
        verifier,
        seed=1,
    )
    assert not any(row["follows"] for row in rows)


def test_a_wrong_answer_is_not_asked_to_keep_what_it_never_had(
    changes, records, knowledge, verifier
):
    rows = perturb(
        records,
        [""] * len(records),
        lambda entries: ["Turn."] * len(entries),
        knowledge,
        verifier,
        seed=1,
    )
    assert all(row["keeps"] for row in rows if row["kind"] not in EXACT)


def test_the_records_of_the_tests_are_sound(records, verifier):
    for record in records:
        assert verifier.verify(record.output, record.input).reasons == ()


def test_the_shares_are_counted_by_kind_with_wilsons_intervals():
    rows = [
        {"kind": "club", "follows": True, "keeps": True}, {"kind": "club", "follows": True, "keeps": False},
        {"kind": "club", "follows": False, "keeps": True}, {"kind": "area", "follows": True, "keeps": True},
    ]  # fmt: skip
    found = measure_changes(rows)
    assert list(found) == ["club", "area"]
    assert found["club"]["n"] == 3
    assert [round(found["club"][part]["value"], 3) for part in ("follows", "keeps", "right")] == [
        0.667,
        0.667,
        0.333,
    ]
    for bound in ("low", "high"):
        share = found["club"]["right"][bound]
        assert abs(share - 1 / 3) == pytest.approx(
            1.959964 * (share * (1 - share) / 3) ** 0.5, abs=1e-6
        )
    assert measure_changes([]) == {}
