"""The nearest training record: which one is taken, line by line and score by score."""

import pytest

from golf_nb_utils.evaluation.baselines import Retrieval
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.request import InputFormatError, Request

ASKED = {
    "area": "balance",
    "current_score": 0.40,
    "target_score": 0.80,
    "club": "driver",
    "level": "beginner",
    "observation": "I keep falling back",
    "meaning": "Falls back",
}
SCORES = {"balance": 0.40, "consistency": 0.70}


def stored(**changes):
    values = ASKED | changes
    return Record("Coach.", Request(**values).text, repr(changes))


def nearest(*records, **changes):
    return Retrieval(records).answer(Request(**(ASKED | changes)).text)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ({"current_score": 0.45}, {"current_score": 0.30}),
        ({"target_score": 0.84}, {"target_score": 0.75}),
        # Both scores shifted alike keep the gap; apart they widen it.
        ({"current_score": 0.45, "target_score": 0.85}, {"current_score": 0.35, "target_score": 0.85}),
        ({"club": "3-wood", "current_score": 0.05, "target_score": 0.45}, {"meaning": "Sways"}),
        # What was said counts by what it means.
        ({"observation": "I end up on my heels"}, {"current_score": 0.41}),
        ({"club": "3-wood"}, {"club": "3-wood", "level": "advanced"}),
        ({"club": "3-wood"}, {"level": None, "club": "3-wood"}),
        ({}, {"handedness": "left"}),
        ({"handedness": "right"}, {"current_score": 0.41}),  # unsaid, a golfer is right-handed
        ({"audience": "adult"}, {"current_score": 0.41}),
        ({"current_score": 0.45}, {"audience": "senior"}),
        ({"current_score": 0.45}, {"all_scores": SCORES}),
        ({"current_score": 0.45}, {"club": "7-iron"}),
    ],
)  # fmt: skip
def test_the_nearer_input_wins_wherever_it_stands(near, far):
    for records in ((stored(**near), stored(**far)), (stored(**far), stored(**near))):
        assert nearest(*records) == repr(near)


def test_a_club_of_the_same_family_is_nearer_than_one_of_another():
    assert nearest(stored(club="7-iron"), stored(club="8-iron"), club="9-iron") == repr(
        {"club": "7-iron"}
    )
    assert nearest(stored(club="driver"), stored(club="8-iron"), club="9-iron") == repr(
        {"club": "8-iron"}
    )
    assert nearest(stored(club="8-iron"), stored(club="9-iron"), club="9-iron") == repr(
        {"club": "9-iron"}
    )


def test_only_records_of_the_area_are_looked_at():
    assert nearest(stored(area="tempo_rhythm"), stored(current_score=0.0)) == repr(
        {"current_score": 0.0}
    )
    assert nearest(stored(area="tempo_rhythm")) == ""


def test_of_equally_near_records_the_first_is_taken():
    assert nearest(stored(current_score=0.30), stored(current_score=0.50)) == repr(
        {"current_score": 0.30}
    )
    assert nearest(stored(current_score=0.50), stored(current_score=0.30)) == repr(
        {"current_score": 0.50}
    )


def test_a_training_input_finds_its_own_answer(tiny_records):
    retrieval = Retrieval(tiny_records["train"])
    for record in tiny_records["train"]:
        assert retrieval.answer(record.input) == record.output


def test_a_malformed_input_is_refused():
    with pytest.raises(InputFormatError):
        Retrieval([stored()]).answer("Area: balance")
