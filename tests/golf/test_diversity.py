"""The measures of variety and of leakage, against examples worked by hand and against sets of three letters counted one by one."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_similarity import TEXTS, likeness

from golf_nb_utils.golf.diversity import (
    commonest_share,
    compression_ratio,
    distinct_n,
    leakage,
    measure_diversity,
    sentence_skeletons,
    skeleton,
)
from golf_nb_utils.golf.similarity import NEAR_DUPLICATE

# Words.


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a b a", "b a"], 1, 2 / 5),  # a b a b a
        (["a b a", "b a"], 2, 2 / 3),  # ab ba | ba: none across the texts
        (["a b a", "b a"], 3, 1.0),  # aba
        (["a b a", "b a"], 4, 0.0),
        (
            ["Swing. swing", "swing\nswing  swing."],
            1,
            3 / 5,
        ),  # a full stop and a capital make another word
        (["a a a a"], 2, 1 / 3),
        ([], 1, 0.0),
        (["", " "], 2, 0.0),
    ],
)
def test_distinct_n_is_the_share_of_different_word_sequences(texts, n, expected):
    assert distinct_n(texts, n) == pytest.approx(expected)


@given(st.lists(st.lists(st.sampled_from("xyz"), max_size=8), max_size=5), st.integers(1, 4))
def test_distinct_n_counts_every_sequence_of_n_words(texts, n):
    grams = [
        tuple(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)
    ]
    assert distinct_n([" ".join(words) for words in texts], n) == pytest.approx(
        len(set(grams)) / max(1, len(grams))
    )


# Compression.


@pytest.mark.parametrize(
    "texts", [["Swing easy."] * 50, ["Swing easy.", "Stand tall."], ["Größe"], [""], []]
)
def test_the_compression_ratio_is_the_bytes_over_those_of_gzip(texts):
    raw = b"\n".join(text.encode("utf-8") for text in texts)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    # RFC 1952: ten bytes before the deflated data and eight after.
    packed = 18 + len(deflate.compress(raw) + deflate.flush())
    assert compression_ratio(texts) == pytest.approx(len(raw) / packed)


def test_repetition_raises_the_compression_ratio():
    rng = random.Random(1)
    varied = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=60)) for _ in range(40)]
    assert compression_ratio(varied[:1] * 40) > 10 * compression_ratio(varied)


# Skeletons.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("At 45.0% of 80%, 0.35 short.", "At # of #, # short."),
        ("1. Pump 10 times, twice.\n12. Rest.", "#. Pump # times, twice.\n#. Rest."),
        ("A 7-iron, 3.", "A #-iron, #."),
        ("1.2.3 and 100%%", "#.# and #%"),
        ("No number.", "No number."),
        ("", ""),
    ],
)
def test_a_skeleton_has_every_number_masked(text, expected):
    assert skeleton(text) == expected


@given(st.lists(st.sampled_from(["45.0%", "7", "0.35", "100%"]), min_size=3, max_size=3))
def test_answers_that_differ_in_their_numbers_alone_have_one_skeleton(numbers):
    text = "Score {} of {}.\nPump {} times."
    assert skeleton(text.format(*numbers)) == text.format("#", "#", "#")


def test_the_sentences_of_an_answer_are_compared_without_headings_numbers_and_labels():
    answer = (
        "WHAT SHOULD HAPPEN (Ideal/Expected):\nYour chest turns. Your target is 80.0%.\n\n"
        "WHAT IS HAPPENING (Current Issue):\nYou sway! Why?\n\n"
        "WHAT TO DO (Actionable Steps):\n1. Feet together.\n2. Check: Film 3 swings.\n"
        '3. Drill "Pump" with a towel: Pump twice. Dose: 10 swings.\n'
        "Swing thought: Tall.\nGoal: move the current 45.0% up.\nSafety: Stop at any pain."
    )
    assert sentence_skeletons([answer, "Your target is 71.0%."]) == [
        "Your chest turns.", "Your target is #.",
        "You sway!", "Why?",
        "Feet together.", "Film # swings.", 'Drill "Pump" with a towel: Pump twice.', "Dose: # swings.",
        "Tall.", "move the current # up.", "Stop at any pain.",
        "Your target is #.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "expected"), [("abac", 0.5), ("aaaa", 1.0), ("abcd", 0.25), ("a", 1.0), ("", 0.0)]
)
def test_the_commonest_share_is_that_of_the_text_that_occurs_most_often(texts, expected):
    assert commonest_share(list(texts)) == expected


# Leakage.


def test_leakage_counts_what_the_training_set_gives_away():
    # abcdef has four triples, abcdefg these and a fifth: 4/5, the edge from which two answers count as near.
    assert NEAR_DUPLICATE == 4 / 5
    train = ["abcdef", "uvwxyz"]
    held_out = {
        "test": ["abcdef", "abcdefg", "abcdefgh", "mnopqr"],
        "val": ["uvwxyz"],
        "unseen": [],
    }
    assert leakage(held_out, train) == {
        "test": {"exact": 1, "near": 0.5, "nearest": round((1 + 4 / 5 + 4 / 6 + 0) / 4, 4)},
        "val": {"exact": 1, "near": 1.0, "nearest": 1.0},
        "unseen": {"exact": 0, "near": 0.0, "nearest": 0.0},
    }


def test_nothing_leaks_from_an_empty_training_set():
    assert leakage({"test": ["abcdef"], "val": []}, []) == {
        "test": {"exact": 0, "near": 0.0, "nearest": 0.0},
        "val": {"exact": 0, "near": 0.0, "nearest": 0.0},
    }


@given(st.dictionaries(st.sampled_from(["test", "val", "unseen"]), TEXTS), TEXTS)
def test_leakage_is_measured_against_the_nearest_training_answer_of_each(held_out, train):
    found = leakage(held_out, train)
    assert list(found) == list(held_out)
    for name, answers in held_out.items():
        nearest = [max((likeness(text, other) for other in train), default=0.0) for text in answers]
        count = max(1, len(answers))
        assert found[name]["exact"] == sum(
            any(text == other for other in train) for text in answers
        )
        assert found[name]["near"] == pytest.approx(
            sum(share >= 0.8 for share in nearest) / count, abs=1e-4
        )
        assert found[name]["nearest"] == pytest.approx(sum(nearest) / count, abs=1e-4)


# All measures of a set of answers.


def test_the_measures_of_three_answers_are_those_worked_by_hand():
    found = measure_diversity(["At 45.0%. Go on.", "At 71.0%. Go on.", "Rest."])
    ratio = found.pop("compression_ratio")
    assert ratio == round(
        len("At 45.0%. Go on.\nAt 71.0%. Go on.\nRest.")
        / (18 + deflated("At 45.0%. Go on.\nAt 71.0%. Go on.\nRest.")),
        2,
    )
    assert found == {
        "distinct_1": round(6 / 9, 4),  # At 45.0%. Go on. 71.0%. Rest.
        "distinct_2": round(5 / 6, 4),  # Go on. twice
        "distinct_3": 1.0,
        "commonest_answer_skeleton": round(2 / 3, 4),
        "commonest_sentence_skeleton": round(2 / 5, 4),  # At #. | Go on. | At #. | Go on. | Rest.
        # The first two have fourteen triples each: "At " and those of ".0%. Go on." are common, the other four are not.
        "mean_pairwise_jaccard": round((10 / 18 + 0 + 0) / 3, 4),
    }


def deflated(text):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return len(packer.compress(text.encode()) + packer.flush())


def test_the_pairwise_similarity_is_taken_over_the_first_five_hundred():
    alike = ["Swing easy."] * 500
    assert measure_diversity([*alike, "zzzz"])["mean_pairwise_jaccard"] == 1.0
    assert measure_diversity([*alike[1:], "zzzz"])["mean_pairwise_jaccard"] < 1.0


@pytest.mark.parametrize("texts", [[], ["Swing easy."]])
def test_fewer_than_two_answers_have_no_pairs_to_compare(texts):
    assert measure_diversity(texts)["mean_pairwise_jaccard"] == 0.0
