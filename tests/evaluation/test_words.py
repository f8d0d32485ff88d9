"""What the reader and the model make of words, alone and together."""

import math

import pytest

from golf_nb_utils.evaluation.words import (
    ModelReader,
    best_weight,
    shares,
    together,
    told_causes,
    understood,
)
from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.reader import Probabilities, Wording
from golf_nb_utils.prompt import format_input

SURE = Probabilities({"BF1": 0.9, "BF2": 0.06, "slice": 0.01}, {"": 0.02, "SF1": 0.01})
UNSURE = Probabilities({"BF2": 0.4, "BF1": 0.35, "slice": 0.05}, {"": 0.2, "SF1": 0.0})
MODEL = Probabilities({"BF1": 0.7, "BF2": 0.1, "slice": 0.0}, {"": 0.2})


def said(meaning):
    return Wording("words", "balance", meaning, "golfer", "", "fern", "test")


def test_without_a_weight_the_reader_alone_is_heard():
    found = together(UNSURE, MODEL, 0.0)
    assert found.own == pytest.approx(UNSURE.own)
    assert found.away == pytest.approx(UNSURE.away)


def test_together_is_the_product_of_both_with_the_model_to_a_power_and_all_of_it_is_one():
    found = together(UNSURE, MODEL, 0.5)
    raw = {"BF1": 0.35 * 0.7**0.5, "BF2": 0.4 * 0.1**0.5, "": 0.2 * 0.2**0.5}
    assert found.own["BF1"] / found.own["BF2"] == pytest.approx(raw["BF1"] / raw["BF2"])
    assert found.own["BF1"] / found.away[""] == pytest.approx(raw["BF1"] / raw[""])
    assert math.isclose(sum(found.own.values()) + sum(found.away.values()), 1)
    # Likeliest first, as the reader's are.
    assert next(iter(found.own)) == "BF1"


def test_the_weight_is_the_least_that_finds_what_the_reader_alone_leaves_unsaid():
    # BF1 is at 0.49 with a weight of 0.3, below what is said, and at 0.58 with one of 0.5.
    assert best_weight([(UNSURE, MODEL)] * 3, [said("BF1")] * 3) == 0.5


def test_a_model_that_is_wrong_or_knows_nothing_has_no_weight():
    assert best_weight([(UNSURE, MODEL)] * 3, [said("BF2")] * 3) == 0.0
    silent = Probabilities(dict.fromkeys(MODEL.own, 0.0), {"": 1.0})
    # It would spare the reader its false alarm, but keep it from the fault as well.
    pairs = [(SURE, silent), (SURE, silent)]
    assert best_weight(pairs, [said("BF1"), said("")]) == 0.0


def test_a_wording_counts_as_found_wrong_or_a_false_alarm_by_the_threshold():
    wordings = [said("BF1"), said("BF2"), said("")]
    read = understood([SURE, SURE, UNSURE], wordings)
    at = {name: share for name, (share, *_) in shares(read, 0.5).items()}
    assert at == {"found": 0.5, "wrong": 0.5, "false_alarm": 0.0}
    at = {name: share for name, (share, *_) in shares(read, 0.3).items()}
    assert at["false_alarm"] == 1.0


def test_the_model_is_asked_what_it_would_write_after_the_words_of_a_request():
    class Recorded:
        def log_probabilities(self, prompt, texts):
            self.prompt, self.texts = prompt, texts
            return [math.log(0.5), math.log(0.2)]

    class Words:
        def encode(self, text, disallowed_special):
            assert disallowed_special == ()
            return text

    steerer, names = Recorded(), {"BF1": "Falling back at the finish", "slice": "slice"}
    found = ModelReader(steerer, Words(), names).probabilities(
        "balance", "i <|endoftext|> fall", names
    )
    assert steerer.prompt.endswith("\nObservation: i <|endoftext|> fall")
    assert format_input({"instruction": "", "input": ""}).splitlines()[0] in steerer.prompt
    assert steerer.texts == ["\nMeaning: Falling back at the finish\n", "\nMeaning: slice\n"]
    assert found.own == pytest.approx({"BF1": 0.5, "slice": 0.2})
    assert found.away == pytest.approx({"": 0.3})


def test_who_tells_a_cause_is_asked_about_where_that_cause_may_be_given(knowledge):
    book = GrammarBook(knowledge)
    chains = [advice for advice in knowledge.advice if advice.kind == "fault"]
    told = [
        Wording("words", chain.area, chain.faults[0], "golfer", "", "fern", "test", chain.id)
        for chain in chains
    ]
    found = told_causes([said("BF1"), *told], knowledge)
    assert [chain for _, chain in found] == [chain.id for chain in chains]
    for request, chain in found:
        assert request.observation == "words"
        assert chain in {advice.id for advice in book.advice_for(request)}
