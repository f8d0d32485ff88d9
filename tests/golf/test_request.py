"""One Request: written as the input of a prompt to the letter, read back, or refused with the line that is wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.golf.request import LONGEST_OBSERVATION, MINUTES, InputFormatError, Request

HUNDREDTHS = st.integers(0, 100).map(lambda number: number / 100)
REQUESTS = st.fixed_dictionaries(
    {
        "area": st.sampled_from(sorted(AREAS)),
        "current_score": HUNDREDTHS,
        "target_score": HUNDREDTHS,
    },
    optional={
        "club": st.sampled_from(sorted(CLUBS)),
        "level": st.sampled_from(LEVELS),
        "handedness": st.sampled_from(HANDEDNESS),
        "audience": st.sampled_from(AUDIENCES),
        # Of any characters, line breaks included, as the app's field may send it.
        "observation": st.text(
            st.one_of(
                st.characters(exclude_categories=["Cs"]), st.sampled_from("\n\r\t :\x85\u2028")
            )
        ),
        "meaning": st.sampled_from(["Hanging back", "slice", "Over the top: steep"]),
        "tried": st.sampled_from(["Step drill", "Count: one, two"]),
        "minutes": st.sampled_from(MINUTES),
        "all_scores": st.dictionaries(st.sampled_from(ALL_SCORES), HUNDREDTHS, min_size=1),
    },
)


def test_a_request_with_everything_has_exactly_these_lines():
    entry = Request(
        "weight_shift",
        0.45,
        0.8,
        club="7-iron",
        level="beginner",
        handedness="left",
        observation="did it all week, still falling back",
        meaning="Hanging back",
        tried="Step drill",
        minutes=15,
        all_scores={"setup_quality": 0.7, "impact_quality": 0.333},
        audience="senior",
    ).entry("Coach.")
    assert entry["instruction"] == "Coach."
    assert entry["input"].split("\n") == [
        "Area: weight_shift",
        "Current Score: 0.45",
        "Target Score: 0.80",
        "Gap: 0.35",
        "Club: 7-iron",
        "Level: beginner",
        "Handedness: left",
        "Golfer: senior",
        "Time: 15 minutes",
        "Observation: did it all week, still falling back",
        "Meaning: Hanging back",
        "Tried: Step drill",
        "All Scores: setup_quality 0.70, impact_quality 0.33",
    ]


def test_a_request_with_the_bare_minimum_leaves_out_what_is_not_known():
    entry = Request("balance", 0.6, 0.75).entry()
    assert entry["input"].split("\n") == [
        "Area: balance",
        "Current Score: 0.60",
        "Target Score: 0.75",
        "Gap: 0.15",
    ]
    assert entry["instruction"].strip()


@pytest.mark.parametrize(
    ("observation", "lines"),
    [
        ("Hanging back", ["Observation: Hanging back"]),
        ("Hanging back\nGolfer: senior", ["Observation: Hanging back Golfer: senior"]),
        (" a\r\n\tb\u2028c ", ["Observation: a b c"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_an_observation_is_written_on_one_line_or_left_out(observation, lines):
    text = Request("balance", 0.5, 0.5, observation=observation).text
    assert text.split("\n")[4:] == lines
    assert Request.from_text(text).audience is None


@pytest.mark.parametrize(
    ("observation", "kept"),
    [
        ("z" * 240, "z" * 240), ("z" * 241, "z" * 240), ("word " * 100, "word " * 47 + "word"), ("a " + "z" * 240, "a"),
        # Two bytes a letter, three a kanji, four an emoji; none is cut in two.
        ("ü" * 200, "ü" * 120), ("z" + "重" * 200, "z" + "重" * 79), ("🏌" * 61, "🏌" * 60), ("  a  " * 120, "a " * 119 + "a"),
        ("a " * 121, "a " * 119 + "a"),
    ],
    ids=range(9),
)  # fmt: skip
def test_of_a_long_observation_as_many_words_are_kept_as_a_prompt_has_bytes_for(observation, kept):
    assert LONGEST_OBSERVATION == 240
    assert Request("balance", 0.5, 0.8, observation=observation).observation == kept


def test_a_negative_zero_is_written_as_zero():
    text = Request("balance", -0.0, -0.0, all_scores={"consistency": -0.0}).text
    assert text.split("\n")[1:] == [
        "Current Score: 0.00",
        "Target Score: 0.00",
        "Gap: 0.00",
        "All Scores: consistency 0.00",
    ]


def test_a_score_above_its_target_has_no_gap():
    assert "Gap: 0.00" in Request("balance", 0.9, 0.75).text.split("\n")


@given(st.integers(0, 100), st.integers(0, 100))
def test_the_printed_gap_is_the_difference_of_the_printed_scores(current, target):
    lines = dict(
        line.split(": ")
        for line in Request("balance", current / 100, target / 100).text.split("\n")
    )
    assert lines["Current Score"] == f"{current // 100}.{current % 100:02d}"
    assert lines["Target Score"] == f"{target // 100}.{target % 100:02d}"
    gap = max(0, target - current)
    assert lines["Gap"] == f"{gap // 100}.{gap % 100:02d}"


@pytest.mark.parametrize("wrong", [45, 1.01, -0.01, float("nan"), float("inf")])
def test_a_score_that_is_no_share_of_one_is_refused_by_name(wrong):
    for scores in (
        {"current_score": wrong, "target_score": 0.8},
        {"current_score": 0.4, "target_score": wrong},
    ):
        name = next(name for name, score in scores.items() if score is wrong)
        with pytest.raises(
            ValueError, match=re.escape(f"{name} must be a score of 0 to 1, found {wrong!r}")
        ):
            Request("balance", **scores).entry()
    with pytest.raises(ValueError, match="consistency"):
        Request("balance", 0.4, 0.8, all_scores={"balance": 0.4, "consistency": wrong}).entry()


def test_a_percentage_is_refused_with_the_way_to_mend_it():
    with pytest.raises(ValueError, match="divide a percentage by 100"):
        Request("balance", 45, 0.8).entry()


# What follows from a request.


def test_what_nobody_said_of_the_golfer_is_an_adult_right_hander():
    request = Request("balance", 0.5, 0.8)
    assert (request.hand, request.golfer) == ("right", "adult")
    assert request.case == (None, None, "adult", "large")
    said = Request("balance", 0.7, 0.8, "driver", "advanced", handedness="left", audience="junior")
    assert (said.hand, said.golfer) == ("left", "junior")
    assert said.case == ("driver", "advanced", "junior", "slight")


@pytest.mark.parametrize(
    ("scores", "is_scored", "severity"),
    [
        ((0.45, 0.80), True, "large"),
        ((0.90, 0.80), True, "none"),
        ((None, 0.80), False, "none"),
        ((0.45, None), False, "none"),
        ((None, None), False, "none"),
    ],
)
def test_a_request_is_scored_with_a_score_and_a_target(scores, is_scored, severity):
    request = Request("balance", *scores)
    assert (request.is_scored, request.severity) == (is_scored, severity)


def test_the_areas_own_score_is_none_of_its_other_scores():
    scores = {"setup_quality": 0.7, "balance": 0.45, "consistency": 0.333}
    request = Request("balance", 0.45, 0.8, all_scores=scores)
    assert request.other_scores == {"setup_quality": 0.7, "consistency": 0.33}
    assert Request("balance", 0.45, 0.8).other_scores == {}
    assert Request("balance", 0.45, 0.8, all_scores={}).all_scores is None


def test_a_request_of_other_words_is_the_same_in_all_else():
    request = Request("balance", 0.45, 0.8, "driver", observation="i sway", meaning="Sway")
    assert request.said(" i  slide ", "Slide") == Request(
        "balance", 0.45, 0.8, club="driver", observation="i slide", meaning="Slide"
    )
    assert request.said("i slide").meaning is None
    assert request.said(None).text == Request("balance", 0.45, 0.8, "driver").text
    assert (request.observation, request.meaning) == ("i sway", "Sway")


@pytest.mark.parametrize(
    ("observation", "tried", "is_follow_up"),
    [
        ("I hang back", None, False),
        ("did it all week and it did not help", None, True),
        ("I hang back", "Step drill", True),
        (None, "Step drill", True),
        (None, None, False),
    ],
)
def test_a_follow_up_names_a_drill_or_says_that_it_was_in_vain(observation, tried, is_follow_up):
    request = Request("balance", 0.5, 0.8, observation=observation, tried=tried)
    assert request.is_follow_up == is_follow_up


def test_pain_is_heard_in_the_words_of_a_request_and_not_in_what_they_mean():
    assert Request("balance", 0.5, 0.8, observation="my knee hurts", meaning="Sway").referral
    assert not Request("balance", 0.5, 0.8, meaning="my knee hurts").referral


# Reading a request back.


def test_a_request_is_read_back_line_by_line():
    text = (
        "Area: weight_shift\nCurrent Score: 0.45\nTarget Score: 0.80\nGap: 0.35\nClub: 7-iron\nLevel: beginner\nHandedness: left\n"
        "Golfer: limited mobility\nTime: 40 minutes\nObservation: i hang back: a lot\nMeaning: Hanging back\nTried: Step drill\nAll Scores: setup_quality 0.70, impact_quality 1.00"
    )
    request = Request.from_text(text)
    assert vars(request) == {
        "area": "weight_shift",
        "current_score": 0.45,
        "target_score": 0.8,
        "club": "7-iron",
        "level": "beginner",
        "handedness": "left",
        "audience": "limited mobility",
        "observation": "i hang back: a lot",
        "meaning": "Hanging back",
        "tried": "Step drill",
        "minutes": 40,
        "all_scores": {"setup_quality": 0.7, "impact_quality": 1.0},
        "area_is_known": True,
    }
    assert request.gap == pytest.approx(0.35)
    assert request.text == text


def one_line(text):
    """What can be seen of a text, on one line: no control character gets into a prompt; long ones lose their last words."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    kept = words[:1]
    for word in words[1:]:
        if len(" ".join([*kept, word]).encode()) > 240:
            return " ".join(kept)
        kept.append(word)
    return " ".join(kept)


@given(REQUESTS)
def test_a_request_that_was_written_is_read_back_as_what_it_was_made_of(request):
    optional = ("club", "level", "handedness", "audience", "observation", "meaning", "tried", "minutes", "all_scores")  # fmt: skip
    absent = dict.fromkeys(optional)
    said = one_line(request.pop("observation", ""))
    written = Request(**request, observation=said)
    read = Request.from_text(written.text)
    assert read == written
    assert read.text == written.text
    expected = absent | request | {"observation": said or None}
    assert {name: getattr(read, name) for name in expected} == expected
    gap = max(0, round(request["target_score"] * 100) - round(request["current_score"] * 100)) / 100
    assert read.gap == pytest.approx(gap)


@given(REQUESTS)
def test_an_observation_of_any_text_takes_one_line_at_most(request):
    lines = Request(**request).text.split("\n")
    said = one_line(request.pop("observation", ""))
    assert [line for line in lines if line.startswith("Observation")] == (
        [f"Observation: {said}"] if said else []
    )
    assert [line for line in lines if not line.startswith("Observation")] == Request(
        **request
    ).text.split("\n")


@given(REQUESTS, st.floats(0, 1), st.floats(0, 1))
def test_finer_scores_are_read_back_as_hundredths(request, current, target):
    request |= {
        "current_score": current,
        "target_score": target,
        "all_scores": {"consistency": current},
    }
    written = Request(**request)
    values = Request.from_text(written.text)
    assert values == written
    for score, read in (
        (current, values.current_score),
        (target, values.target_score),
        (current, values.all_scores["consistency"]),
    ):
        assert read == pytest.approx(score, abs=0.005 + 1e-12)
        assert read == int(read * 100 + 0.5) / 100


REQUEST_LINES = ("Area: balance", "Current Score: 0.45", "Target Score: 0.80")


@pytest.mark.parametrize(
    "line",
    [
        "Area: putting", "Area: Balance", "Area:balance", "Area: ", "Area", "Area: balance ",
        "Current Score: 45", "Current Score: 0.5", "Current Score: 0.455", "Current Score: 1.01", "Current Score: -0.45",
        "Current Score: 0,45", "Current Score: nan", "Current Score: 45.0%", "Current Score: .45", "Current Score: 00.45",
        "Current Score: ", "Current Score: 0.45\r",
        "Current Score: \u0660.\u0664\u0665", "Target Score: 2.00", "Target Score: 0.80 ", "target score: 0.80",
    ],
)  # fmt: skip
def test_a_request_with_a_malformed_area_or_score_is_refused_with_the_line(line):
    name = line.partition(":")[0].lower()
    lines = [line if name == known.partition(":")[0].lower() else known for known in REQUEST_LINES]
    with pytest.raises(InputFormatError, match=re.escape(repr(line))):
        Request.from_text("\n".join(lines))


@pytest.mark.parametrize(
    "line",
    [
        "Gap: 1.5", "Club: chipper", "Club: 7 iron", "Club: iron", "Level: pro", "Handedness: both", "Golfer: child", "Golfer: Senior",
        "Observation: ", "Observation:  \t", "Observation", "Meaning: ", "Tried:  ", "Time: 15", "Time: 10 minutes", "Time: 015 minutes",
        "Time: \u0661\u0665 minutes", "Time: ", "Time:  minutes", "minutes: 15",
        "Mood: good", "mood", "", " ", "club: driver", "Score: 0.45", "Area_: balance",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 3])
def test_a_request_with_an_unknown_line_or_value_is_refused_with_the_line(line, place):
    lines = [*REQUEST_LINES[:place], line, *REQUEST_LINES[place:]]
    with pytest.raises(InputFormatError, match=f"unknown line or value: {re.escape(repr(line))}"):
        Request.from_text("\n".join(lines))


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ("", ""), ("balance", "balance"), ("balance 45", "balance 45"), ("balance 0.45,consistency 0.50", "balance 0.45,consistency 0.50"),
        ("balance 0.45, ", ""), ("balance 0.45, balance 0.45", "balance 0.45"), ("luck 0.45", "luck 0.45"),
        ("balance 1.01", "balance 1.01"),
        ("balance  0.45", "balance  0.45"), ("balance 0.45, tempo 0.50", "tempo 0.50"), ("balance: 0.45", "balance: 0.45"),
    ],
)  # fmt: skip
def test_a_request_with_malformed_further_scores_is_refused_with_the_one(scores, found):
    with pytest.raises(InputFormatError, match=f"All Scores holds {re.escape(repr(found))};"):
        Request.from_text("\n".join((*REQUEST_LINES, f"All Scores: {scores}")))


@pytest.mark.parametrize(
    "line",
    [
        *REQUEST_LINES, "Club: driver", "Observation: A sway", "Meaning: Sway", "Tried: Step drill", "Time: 5 minutes",
        "All Scores: balance 0.45",
    ],
)  # fmt: skip
def test_a_request_with_a_line_twice_is_refused_with_its_name(line):
    lines = [*REQUEST_LINES, line, line]
    with pytest.raises(InputFormatError, match=f"the line '{line.partition(':')[0]}' stands twice"):
        Request.from_text("\n".join(lines))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_a_gap_is_read_exactly_when_it_is_the_target_minus_the_current_score(current, target, gap):
    text = f"Area: balance\nCurrent Score: {current / 100:.2f}\nTarget Score: {target / 100:.2f}\nGap: "
    real = max(0, target - current)
    for given_gap in {gap, real, max(0, real - 1), min(100, real + 1)}:
        if given_gap == real:
            read = Request.from_text(f"{text}{given_gap / 100:.2f}")
            assert read.gap == pytest.approx(real / 100)
        else:
            message = f"the gap is given as {given_gap / 100:.2f}, but target minus current score is {real / 100:.2f}"
            with pytest.raises(InputFormatError, match=re.escape(message)):
                Request.from_text(f"{text}{given_gap / 100:.2f}")


def test_a_gap_may_be_left_out():
    request = Request.from_text("\n".join(REQUEST_LINES))
    assert request == Request("balance", 0.45, 0.8)
    assert request.gap == pytest.approx(0.35)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (0, 1), (0,), (1, 2), (2, 1, 0)])
def test_a_request_that_does_not_begin_with_area_and_both_scores_is_refused(order):
    with pytest.raises(InputFormatError, match="begins with Area, Current Score and Target Score"):
        Request.from_text("\n".join([*(REQUEST_LINES[index] for index in order), "Club: driver"]))


@given(st.text())
def test_a_text_that_is_no_request_is_refused_as_such(text):
    with pytest.raises(InputFormatError):
        Request.from_text(text)


@given(REQUESTS, st.data())
def test_a_request_with_any_stretch_replaced_is_read_or_refused_as_malformed(request, data):
    text = Request(**request).text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    pieces = st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            [": ", ", ", "\n", "Gap: ", "0.45", "All Scores: ", "Club: driver\n", "٠.٤٥"]
        ),
    )
    broken = text[:start] + data.draw(pieces) + text[end:]
    try:
        values = Request.from_text(broken)
    except InputFormatError:
        return
    assert values.area in AREAS
    assert 0 <= values.current_score <= 1
    assert 0 <= values.target_score <= 1
    assert set(values.all_scores or {}) <= set(ALL_SCORES)
