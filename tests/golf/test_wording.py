"""The words and percentages that carry the scores: bands at their edges, ties, and scores that the input does not show."""

import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, SCORE_LABELS
from golf_nb_utils.golf.wording import (
    INSTRUCTIONS,
    SAY,
    SAY_BY_ID,
    percent,
    score_slots,
    severity_of,
)

# What an input without any other scores fills, and what the others add.
ALWAYS = {"label", "current", "target", "words"}
STRENGTH = {"strength", "strength_score"}
WEAKEST = {"weakest", "weakest_score"}
# From how many hundredths below the target on a band holds, widest first; anything nearer is none.
BANDS = ((30, "large"), (15, "clear"), (5, "slight"), (-1000, "none"))
LABELS = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift",
    "body_rotation": "body rotation", "followthrough": "follow-through", "balance": "balance",
}  # fmt: skip
WORDS = {"large": "far below", "clear": "clearly below", "slight": "a little below"}


def band(gap):
    return next(name for edge, name in BANDS if gap >= edge)


@pytest.mark.parametrize(
    ("gap", "severity"),
    [
        (-100, "none"),
        (0, "none"),
        (4, "none"),
        (5, "slight"),
        (14, "slight"),
        (15, "clear"),
        (29, "clear"),
        (30, "large"),
        (100, "large"),
    ],
)
def test_a_band_begins_and_ends_at_its_edge_for_every_target(gap, severity):
    pairs = [
        (current, target)
        for current, target in product(range(101), repeat=2)
        if target - current == gap
    ]
    assert pairs
    for current, target in pairs:
        assert severity_of(current / 100, target / 100) == severity


@given(st.integers(0, 100), st.integers(0, 100))
def test_every_pair_of_scores_has_the_band_of_its_gap_in_hundredths(current, target):
    assert severity_of(current / 100, target / 100) == band(target - current)


@given(st.integers(0, 100))
def test_a_score_of_two_decimals_is_printed_as_a_percentage_without_a_rounding_error(score):
    assert percent(score / 100) == f"{score}.0%"


@pytest.mark.parametrize(
    ("score", "printed"), [(0.454, "45.0%"), (0.4567, "46.0%"), (1 / 3, "33.0%"), (0.999, "100.0%")]
)
def test_a_finer_score_is_printed_as_the_input_has_it(score, printed):
    assert percent(score) == printed


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (1.0, "above"), (0.75, "above"), (0.74, "in line with"), (0.70, "in line with"), (0.66, "in line with"),
        (0.65, "a little below"), (0.56, "a little below"), (0.55, "clearly below"), (0.41, "clearly below"),
        (0.40, "far below"), (0.0, "far below"),
    ],
)  # fmt: skip
def test_the_words_for_a_score_fit_its_distance_from_the_target(current, words):
    assert score_slots("balance", current, 0.7, None)["words"] == words


@given(st.sampled_from(sorted(AREAS)), st.integers(0, 100), st.integers(0, 100))
def test_an_input_without_other_scores_fills_what_is_about_its_own_area(area, current, target):
    slots = score_slots(area, current / 100, target / 100, None)
    assert set(slots) == ALWAYS
    assert slots["label"] == LABELS[area]
    assert (slots["current"], slots["target"]) == (f"{current}.0%", f"{target}.0%")
    above = "above" if current - target >= 5 else "in line with"
    assert slots["words"] == WORDS.get(band(target - current), above)


@pytest.mark.parametrize(
    "scores",
    [
        None,
        {},
        {"balance": 0.95},
        {"balance": 0.1},
        {"setup_quality": 0.69},
        {"setup_quality": 0.60},
    ],
)
def test_no_other_score_is_named_where_there_is_none_or_none_stands_out(scores):
    assert set(score_slots("balance", 0.5, 0.8, scores)) == ALWAYS


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"setup_quality": 0.70}, {"strength": "setup", "strength_score": "70.0%"}),
        ({"setup_quality": 0.59}, {"weakest": "setup", "weakest_score": "59.0%"}),
        (
            {"setup_quality": 1.0, "consistency": 0.60},
            {"strength": "setup", "strength_score": "100.0%"},
        ),
        (
            {"tempo_rhythm": 0.0, "impact_quality": 0.71},
            {
                "strength": "impact",
                "strength_score": "71.0%",
                "weakest": "tempo and rhythm",
                "weakest_score": "0.0%",
            },
        ),
        # Its own score is neither a strength nor the weakest.
        (
            {"balance": 1.0, "followthrough": 0.8, "weight_shift": 0.2, "consistency": 0.3},
            {
                "strength": "follow-through",
                "strength_score": "80.0%",
                "weakest": "weight shift",
                "weakest_score": "20.0%",
            },
        ),
        ({"balance": 0.0, "body_rotation": 0.65}, {}),
        # Of two that are as good or as low as each other, the first in the input.
        (
            {"consistency": 0.9, "setup_quality": 0.9},
            {"strength": "consistency", "strength_score": "90.0%"},
        ),
        (
            {"setup_quality": 0.9, "consistency": 0.9},
            {"strength": "setup", "strength_score": "90.0%"},
        ),
        (
            {"impact_quality": 0.3, "tempo_rhythm": 0.3},
            {"weakest": "impact", "weakest_score": "30.0%"},
        ),
        (
            {"tempo_rhythm": 0.3, "impact_quality": 0.3},
            {"weakest": "tempo and rhythm", "weakest_score": "30.0%"},
        ),
    ],
)
def test_the_best_and_the_lowest_of_the_other_scores_are_named_from_their_edges_on(
    scores, expected
):
    slots = score_slots("balance", 0.5, 0.8, scores)
    assert {name: slots[name] for name in slots if name not in ALWAYS} == expected


@given(
    st.sampled_from(sorted(AREAS)),
    st.dictionaries(st.sampled_from(ALL_SCORES), st.integers(0, 100)),
)
def test_a_strength_is_never_lower_and_the_weakest_never_higher_than_another_score(
    area, hundredths
):
    slots = score_slots(area, 0.5, 0.8, {name: score / 100 for name, score in hundredths.items()})
    labels = {label: name for name, label in SCORE_LABELS.items()}
    others = {name: score for name, score in hundredths.items() if name != area}
    expected = ALWAYS | (STRENGTH if max(others.values(), default=0) >= 70 else set())
    assert set(slots) == expected | (WEAKEST if min(others.values(), default=100) < 60 else set())
    for name, extreme in (("strength", max), ("weakest", min)):
        if name in slots:
            assert others[labels[slots[name]]] == extreme(others.values())
            assert slots[f"{name}_score"] == f"{extreme(others.values())}.0%"


# The phrases themselves.


def test_each_phrase_goes_by_its_kind_and_its_place():
    assert SAY_BY_ID["say.target.1"] == SAY["target"][0]
    assert SAY_BY_ID["say.score.6"] == SAY["score"][5]
    assert len(SAY_BY_ID) == sum(map(len, SAY.values()))


def test_no_two_phrases_are_the_same_and_each_is_one_sentence():
    texts = list(SAY_BY_ID.values())
    assert max(Counter(texts).values()) == 1
    for text in texts:
        assert re.fullmatch(r"[A-Z][^.!?]*\.", text)


@pytest.mark.parametrize("kind", ["score", "goal"])
def test_the_current_score_comes_first_and_the_target_second(kind):
    for text in SAY[kind]:
        assert re.findall(r"\{(current|target)\}", text) == ["current", "target"]


def test_a_phrase_has_no_slot_that_an_input_cannot_fill_and_no_number_of_its_own():
    slots = score_slots("balance", 0.45, 0.8, {"setup_quality": 0.9, "consistency": 0.2})
    assert set(slots) == ALWAYS | STRENGTH | WEAKEST
    for kind, texts in SAY.items():
        allowed = ALWAYS | {"strength": STRENGTH, "weakest": WEAKEST, "weakest_keep": WEAKEST}.get(
            kind, set()
        )
        for text in texts:
            assert set(re.findall(r"\{(\w+)\}", text)) <= allowed
            assert not re.search(r"\d", re.sub(r"\{\w+\}", "", text))
            assert not re.search(r"[{}]", text.format_map(slots))


def test_every_score_has_a_label_of_its_own():
    assert set(SCORE_LABELS) == set(ALL_SCORES)
    assert len(set(SCORE_LABELS.values())) == len(ALL_SCORES)


def test_the_instructions_are_of_ten_words_each_so_that_the_scores_stand_in_the_same_place_of_every_prompt():
    assert len(set(INSTRUCTIONS)) == len(INSTRUCTIONS)
    assert {len(text.split()) for text in INSTRUCTIONS} == {10}
