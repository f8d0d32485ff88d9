"""The words and percentages that carry the scores: bands at their edges, ties, and scores that the input does not show."""

import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, SCORE_LABELS
from golf_nb_utils.golf.request import MINUTES
from golf_nb_utils.golf.topic import RISKS
from golf_nb_utils.golf.wording import (
    INSTRUCTIONS,
    REFERRALS,
    REFERRED,
    SAY,
    SAY_BY_ID,
    percent,
    score_slots,
    severity_of,
)

# What every input with scores fills.
ALWAYS = {"label", "current", "target", "words"}
# In which order the areas are worked on, as a reader of the README would say it.
ORDER = ("setup_quality", "body_rotation", "weight_shift", "tempo_rhythm", "followthrough", "balance")  # fmt: skip
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
        ({"setup_quality": 0.70}, {"strength": "setup"}),
        ({"setup_quality": 0.59}, {"earlier": "setup"}),
        ({"setup_quality": 1.0, "consistency": 0.60}, {"strength": "setup"}),
        ({"tempo_rhythm": 0.0, "impact_quality": 0.71}, {"strength": "impact", "earlier": "tempo and rhythm"}),
        # Its own score is neither a strength nor a low one.
        ({"balance": 1.0, "followthrough": 0.8, "weight_shift": 0.2}, {"strength": "follow-through", "earlier": "weight shift"}),
        ({"balance": 0.0, "body_rotation": 0.65}, {}),
        # Of two that are as good as each other, the first in the input.
        ({"consistency": 0.9, "setup_quality": 0.9}, {"strength": "consistency"}),
        ({"setup_quality": 0.9, "consistency": 0.9}, {"strength": "setup"}),
        # Of several that are low, the one that comes first in the swing, however low the others are.
        ({"followthrough": 0.1, "weight_shift": 0.5, "body_rotation": 0.55}, {"earlier": "body rotation"}),
        # Impact and consistency follow from the rest: nobody works on them first, or later.
        ({"impact_quality": 0.1, "consistency": 0.1}, {}),
        ({"impact_quality": 0.1, "tempo_rhythm": 0.3}, {"earlier": "tempo and rhythm"}),
    ],
)  # fmt: skip
def test_the_best_other_score_and_the_low_one_that_comes_first_are_named_from_their_edges_on(
    scores, expected
):
    slots = score_slots("balance", 0.5, 0.8, scores)
    assert {name: slots[name] for name in slots if name not in ALWAYS} == expected


@pytest.mark.parametrize(
    ("area", "scores", "expected"),
    [
        ("setup_quality", {"balance": 0.3}, {"later": "balance"}),
        ("setup_quality", {"balance": 0.2, "followthrough": 0.3}, {"later": "follow-through"}),
        ("weight_shift", {"tempo_rhythm": 0.3}, {"later": "tempo and rhythm"}),
        ("weight_shift", {"body_rotation": 0.3}, {"earlier": "body rotation"}),
        # Where both are low, the earlier one alone is worth a word.
        ("weight_shift", {"balance": 0.1, "setup_quality": 0.5}, {"earlier": "setup"}),
        ("followthrough", {"tempo_rhythm": 0.3}, {"earlier": "tempo and rhythm"}),
    ],
)  # fmt: skip
def test_a_low_area_is_earlier_or_later_as_seen_from_the_one_that_is_asked_for(
    area, scores, expected
):
    slots = score_slots(area, 0.5, 0.8, scores)
    assert {name: slots[name] for name in slots if name not in ALWAYS} == expected


@given(
    st.sampled_from(sorted(AREAS)),
    st.dictionaries(st.sampled_from(ALL_SCORES), st.integers(0, 100)),
)
def test_a_strength_is_never_lower_than_another_score_and_nothing_low_comes_before_the_low_one(
    area, hundredths
):
    slots = score_slots(area, 0.5, 0.8, {name: score / 100 for name, score in hundredths.items()})
    labels = {label: name for name, label in SCORE_LABELS.items()}
    others = {name: score for name, score in hundredths.items() if name != area}
    assert ("strength" in slots) == (max(others.values(), default=0) >= 70)
    if "strength" in slots:
        assert others[labels[slots["strength"]]] == max(others.values())
    low = [name for name in ORDER if others.get(name, 100) < 60]
    named = set(slots) - ALWAYS - {"strength"}
    assert len(named) == (1 if low else 0)
    for kind in named:
        name = labels[slots[kind]]
        assert name == low[0]
        assert (kind == "earlier") == (ORDER.index(name) < ORDER.index(area))


# The phrases themselves.


def phrases():
    """(kind, case, text) of every phrase; a case is a number of minutes, or what a drill risks."""
    for kind, texts in SAY.items():
        for case, some in texts.items() if isinstance(texts, dict) else [(None, texts)]:
            yield from ((kind, case, text) for text in some)


def test_each_phrase_goes_by_its_kind_its_case_and_its_place():
    assert SAY_BY_ID["say.target.1"] == SAY["target"][0]
    assert SAY_BY_ID["say.score.4"] == SAY["score"][3]
    assert SAY_BY_ID["say.time.40.2"] == SAY["time"][40][1]
    assert SAY_BY_ID["say.safety.one leg.1"] == SAY["safety"]["one leg"][0]
    assert sorted(SAY_BY_ID.values()) == sorted(text for *_, text in phrases())


def test_no_two_phrases_are_the_same_and_each_is_one_sentence():
    texts = list(SAY_BY_ID.values())
    assert max(Counter(texts).values()) == 1
    for text in texts:
        assert re.fullmatch(r"[A-Z][^.!?]*\.", text)


def test_every_kind_has_at_least_two_phrasings():
    """One alone would be learnt by heart, and read in every answer."""
    assert min(Counter((kind, case) for kind, case, _ in phrases()).values()) >= 2


@pytest.mark.parametrize(
    ("kind", "slots"),
    [("score", {"label", "current", "words"}), ("target", {"label", "target"})],
)
def test_each_way_to_say_a_score_has_the_area_and_the_number(kind, slots):
    """The evaluation reads the first percentage below each heading: no other one may stand there."""
    for text in SAY[kind]:
        found = re.findall(r"\{(\w+)\}", text)
        assert set(found) == slots
        assert len(found) == len(slots)


def test_a_phrase_has_no_slot_that_an_input_cannot_fill_and_no_number_of_its_own():
    earlier = score_slots("balance", 0.45, 0.8, {"consistency": 0.9, "setup_quality": 0.2})
    later = score_slots("setup_quality", 0.45, 0.8, {"balance": 0.2})
    assert set(earlier) == ALWAYS | {"strength", "earlier"}
    # What the words of a request fill where they mean a fault of another area.
    words = {"fault": "swaying", "other": "weight shift"}
    slots = earlier | later | words
    own = {"elsewhere": {"fault", "other"}, "settle": {"other"}}
    own |= {kind: {kind} for kind in ("strength", "earlier", "later")}
    for kind, _, text in phrases():
        assert set(re.findall(r"\{(\w+)\}", text)) <= ALWAYS | own.get(kind, set())
        assert not re.search(r"\d", re.sub(r"\{\w+\}", "", text))
        assert not re.search(r"[{}]", text.format_map(slots))


def test_every_time_to_practise_and_every_risk_of_a_drill_has_its_sentences():
    assert set(SAY["time"]) == set(MINUTES)
    assert set(SAY["safety"]) == set(RISKS) - {"none"}


def test_a_referral_has_no_number_but_that_of_a_telephone_and_no_slot_but_the_scores():
    for tier, (ideal, heard, *lines) in REFERRALS.items():
        assert lines, tier
        for text in (ideal, heard, *lines):
            assert "{" not in text
            assert set(re.findall(r"\d+", text)) <= {"112", "911", "999"}
    slots = {slot for text in REFERRED.values() for slot in re.findall(r"\{(\w+)\}", text)}
    assert slots == {"label", "current", "target"}
    assert set(REFERRED) - {"refer.score"} == {
        f"refer.{tier}.{number}"
        for tier, texts in REFERRALS.items()
        for number in range(len(texts))
    }


def test_every_score_has_a_label_of_its_own():
    assert set(SCORE_LABELS) == set(ALL_SCORES)
    assert len(set(SCORE_LABELS.values())) == len(ALL_SCORES)


def test_the_instructions_are_of_ten_words_each_so_that_the_scores_stand_in_the_same_place_of_every_prompt():
    assert len(set(INSTRUCTIONS)) == len(INSTRUCTIONS)
    assert {len(text.split()) for text in INSTRUCTIONS} == {10}
