"""Who says that something was tried in vain: a dozen and more who do, and as many who only sound like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.follow_up import says_it_did_not_help, speaks_of_practice

IN_VAIN = (
    "tried that all week and it didn't help", "Did the drill every night before bed, no change", "I've done what you said and it's still there",
    "the towel drill hasn\u2019t made any difference", "been practising this since Monday, zero improvement", "worked on it for a month. Same miss.",
    "followed the steps to the letter, nothing has changed", "gave it a good go and I'm no better", "ten days of your exercise and I am exactly where I was",
    "Stuck with the plan for two weeks but my scores aren't any better", "TRIED IT, NOT WORKING!!", "you told me to step through it, and that made it worse",
    "did 200 reps, no luck", "what else is there? I did everything on the list and got nowhere with it", "doing the drill daily, useless so far",
    "We practiced your exercise. It doesn't work for him.",
)  # fmt: skip
NOT_IN_VAIN = (
    "I hang back on my right foot", "my weight is still on the trail side at the ball", "I keep my head still and lose my balance",
    "the drill went well, what comes next?", "tried it twice and it feels great", "I did not do anything different today, just fat shots",
    "why does my ball never go the same way", "no better than a 20 handicap, and I slice it", "trying to lift the ball and still thinning it",
    "my hips haven't done a thing by the time I hit", "Coach says my arms did not work with my body", "when they're done turning my weight is still back",
    "stood still over the ball for ages", "I'm still doing it: heels, every swing", "useless with the long irons", "lovely weather today", "",
)  # fmt: skip


def test_words_of_an_effort_and_of_no_effect_are_a_follow_up():
    assert [text for text in IN_VAIN if not says_it_did_not_help(text)] == []


def test_a_fault_a_success_or_one_half_of_it_is_none():
    assert [text for text in NOT_IN_VAIN if says_it_did_not_help(text)] == []


@pytest.mark.parametrize(
    ("text", "is_spoken_of"),
    [
        ("did Feet together for a week", True),
        ("two weeks of feet together", True),
        ("feet together makes it worse", True),
        ("I have my feet together like a bride at the altar", False),
        ("how far apart is feet together?", False),
        ("no rush, no stop at the top", False),
    ],
)
def test_a_text_that_names_a_drill_speaks_of_practice_or_uses_the_words_anyhow(text, is_spoken_of):
    assert speaks_of_practice(text) == is_spoken_of


def test_hardly_any_wording_of_a_fault_is_a_follow_up(knowledge, pytestconfig):
    from golf_nb_utils.golf.reader import load_wordings

    wordings = load_wordings(pytestconfig.rootpath / "knowledge" / "wordings", knowledge)
    known = {fault.id for fault in knowledge.faults}
    faulty = [each.text for each in wordings if each.meaning in known]
    found = [text for text in faulty if says_it_did_not_help(text)]
    assert len(faulty) > 4000
    assert len(found) < 0.003 * len(faulty), found


@given(st.sampled_from(IN_VAIN), st.sampled_from(NOT_IN_VAIN), st.booleans())
def test_what_else_is_said_hides_no_follow_up(in_vain, other, is_first):
    text = f"{other}; {in_vain}" if is_first else f"{in_vain} {other}"
    assert says_it_did_not_help(text)
    assert says_it_did_not_help(text.upper().replace("'", "\u2019"))


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    assert speaks_of_practice(text) or not says_it_did_not_help(text)
