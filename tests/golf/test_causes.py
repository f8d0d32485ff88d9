"""Which cause of a fault words point to: told by people who were never heard, and by nobody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.causes import Causes
from golf_nb_utils.golf.reader import Wording, load_wordings, wordings_folder


@pytest.fixture(scope="module")
def wordings(knowledge):
    return load_wordings(wordings_folder(), knowledge)


@pytest.fixture(scope="module")
def causes(knowledge, wordings, reader):
    return Causes(knowledge, wordings, reader)


def share_right(causes, knowledge, wordings):
    right = [
        causes.choose(knowledge.chains_of(each.meaning), each.text).id == each.chain
        for each in wordings
    ]
    return sum(right) / len(right)


def test_the_cause_is_found_in_the_words_of_somebody_never_heard_far_better_than_by_chance(
    causes, knowledge, wordings, reader
):
    """A fault has three causes or so."""
    heard = [each for each in wordings if each.chain and each.split == "test"]
    assert len(heard) > 350
    assert share_right(causes, knowledge, heard) > 0.75
    # The remarks of other people are what it learns from; the chains' own texts say less.
    assert share_right(Causes(knowledge, [], reader), knowledge, heard) < 0.72


def test_every_cause_is_told_by_two_people_to_learn_from_and_by_one_of_the_others(
    knowledge, wordings
):
    for chain in knowledge.advice:
        if chain.kind == "fault":
            own = [each for each in wordings if each.chain == chain.id]
            assert len({each.author for each in own if each.split == "train"}) >= 2, chain.id
            assert all(each.meaning == chain.faults[0] for each in own)
    told = {split: {w.chain for w in wordings if w.split == split} for split in ("val", "test")}
    n_chains = sum(advice.kind == "fault" for advice in knowledge.advice)
    assert min(map(len, told.values())) > 0.98 * n_chains


@given(words=st.one_of(st.just(""), st.text(alphabet="\u4e2d \u00e9?!", max_size=20)))
@settings(max_examples=30, deadline=None)
def test_words_that_say_nothing_leave_the_commonest_cause_first(causes, knowledge, words):
    for fault in knowledge.faults[:20]:
        chains = knowledge.chains_of(fault.id)
        shares = causes.probabilities(chains, words)
        assert causes.choose(chains, words) is chains[0]
        assert shares == sorted(shares, reverse=True)


@given(words=st.text(max_size=600))
@settings(max_examples=100, deadline=None)
def test_whatever_is_said_the_shares_are_probabilities(causes, knowledge, words):
    for fault in knowledge.faults[::10]:
        shares = causes.probabilities(knowledge.chains_of(fault.id), words)
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0


def test_remarks_of_people_who_measure_it_teach_nothing(knowledge, reader, causes):
    fault = knowledge.faults[0]
    first, second, *_ = knowledge.chains_of(fault.id)
    words = "marmalade on the radiator"
    told = ("test", "val", "train")
    shares = {
        split: Causes(
            knowledge,
            [Wording(words, fault.area, fault.id, "golfer", "", "ann", split, second.id)] * 9,
            reader,
        ).probabilities([first, second], words)
        for split in told
    }
    assert shares["test"] == shares["val"]
    assert shares["train"][1] > shares["test"][1]
