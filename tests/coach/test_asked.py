"""What prompts of all kinds ask: fields in any order, JSON, free text; and what is asked back."""

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_requests import some_request

from golf_nb_utils.coach.asked import question_for, read_chat, read_prompt
from golf_nb_utils.golf.app_request import ARGUMENTS
from golf_nb_utils.prompt import format_input

BALANCE = {"area": "balance", "current_score": 0.45, "target_score": 0.8}


def said(text):
    """The area as the app calls it, the scores and the words."""
    found = read_prompt(text)
    area = found.get("area") and found["area"].replace(" ", "_")
    return area, found.get("current_score"), found.get("target_score"), found.get("issue")


@pytest.mark.parametrize("whole", [True, False])
def test_our_own_template_is_read_back_in_any_order(knowledge, whole):
    rng = random.Random(8)
    requests = (some_request(rng, knowledge) for _ in itertools.count())
    for request in itertools.islice((each for each in requests if each.is_scored), 60):
        lines = request.text.split("\n")
        rng.shuffle(lines)
        text = "\n".join(lines)
        prompt = format_input({"instruction": "Coach the golfer on balance.", "input": text})
        found = read_prompt(prompt if whole else text)
        scores = found["current_score"], found["target_score"]
        assert (found["area"], *scores) == (
            request.area,
            request.current_score,
            request.target_score,
        )
        assert found.get("issue") == (request.observation or request.meaning)
        assert found.get("meaning") == request.meaning
        assert found.get("all_quality_scores") == request.all_scores
        context = found.get("golfer_context", {})
        told = {name: context.get(name) for name in ("club", "level", "handedness", "audience")}
        assert told == {name: getattr(request, name) for name in told}
        assert (context.get("minutes"), context.get("drill")) == (request.minutes, request.tried)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Area: weight shift, score 45 %, I keep falling back", ("weight_shift", 0.45, None, "I keep falling back")),
        ("weight shift from 45 to 80%: I slide", ("weight_shift", 0.45, 0.8, "I slide")),
        ("My balance is 45 % and I want 80 %. I topple over.", ("balance", 0.45, 0.8, "I topple over")),
        ("tempo score of 62 out of 100, my target is 75/100", ("tempo_rhythm", 0.62, 0.75, None)),
        ("Score: 0.3\n**Goal**: 0,6\n- Area = Follow-through", ("Follow-through", 0.3, 0.6, None)),
        (
            "You are a friendly golf coach. Explain the score in three parts, in plain words.\n"
            "The golfer's weight transfer was scored 45% (target: 80%). Be kind.",
            ("weight_shift", 0.45, 0.8, None),
        ),
        ("score 45, target 80, body rotation, hips do not turn", ("body_rotation", 0.45, 0.8, "body rotation, hips do not turn")),
        # Two areas: it is not known which one is meant.
        ("my balance and my tempo are at 45 %, target 80 %", (None, 0.45, 0.8, None)),
        ("Observation: none\nArea: balance", ("balance", None, None, None)),
        ("hello", (None, None, None, None)),
    ],
)  # fmt: skip
def test_fields_and_free_text(text, expected):
    area, *rest = said(text)
    assert (area, *rest) == expected


def test_json_is_read_wherever_it_stands_and_whatever_its_names_are():
    inner = {
        "Area": "balance",
        "score": 45,
        "targetScore": "80 %",
        "club": "driver",
        "issue": "falls on heels",
    }
    golfer = {"club": "driver"}
    expected = BALANCE | {"issue": "falls on heels", "golfer_context": golfer}
    for value in (inner, {"swing": inner, "lang": "en"}):
        text = (
            f"You are a coach.\n```json\n{json.dumps(value, indent=2)}\n```\nAnswer in three parts."
        )
        assert read_prompt(text) == expected
    arguments = BALANCE | {"all_quality_scores": [0.5] * 8, "golfer_context": {"level": "beginner"}}
    assert read_prompt(json.dumps(arguments)) == arguments
    assert read_prompt("{" * 5000 + " balance 45 %, target 80 %") == BALANCE


def test_what_a_model_is_told_is_nothing_that_a_golfer_said():
    text = (
        "You are a golf coach. If the golfer reports pain, tell them to see a doctor. Area: balance\n"
        "Score: 45 %\nTarget: 80 %\nDo not mention injuries. Use simple words."
    )
    assert read_prompt(text) == BALANCE
    assert (
        read_chat(
            ["Target: 80 %"], system="Be a coach with good balance. Area: balance\nScore: 45 %"
        )
        == BALANCE
    )


def test_the_golfer_is_told_of_in_fields_or_words():
    assert read_prompt("Club: 7-iron\nLevel: beginner\nTime: 15 minutes")["golfer_context"] == {
        "club": "7-iron", "level": "beginner", "minutes": 15,
    }  # fmt: skip
    found = read_prompt("Balance 45 %, target 80 %. I'm a beginner.")
    assert (found["golfer_context"], "issue" in found) == ("I'm a beginner", False)


def test_what_came_last_in_a_chat_counts_and_the_rest_is_remembered():
    turns = [
        "Area: balance\nScore: 45 %\nTarget: 80 %\nI fall onto my heels",
        "I tried the drill, it did not help",
        "Score: 50 %",
    ]
    found = read_chat(turns)
    assert found["issue"] == "I tried the drill, it did not help"
    assert (found["area"], found["current_score"], found["target_score"]) == ("balance", 0.5, 0.8)


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ({}, "the area of the swing, its score now and the score you aim for."),
        ({"area": "balance"}, "its score now and the score you aim for."),
        ({"area": "balance", "target_score": 0.8}, ": its score now."),
        ({"current_score": 0.4, "target_score": 0.8}, ": the area of the swing."),
        (BALANCE, ""),
        ({"area": "balance", "target_score": 0.8, "all_quality_scores": {"Balance": 0.4}}, ""),
        ({"issue": "my lower back hurts when I swing"}, ""),
        ({"golfer_context": "sharp pain in my wrist"}, ""),
    ],
)
def test_what_is_missing_is_asked_for_and_pain_is_not_put_off(arguments, missing):
    question = question_for(arguments)
    assert missing in question
    assert bool(question) == bool(missing)
    # The example in the question is one that would be read.
    if question:
        assert not question_for(read_prompt(question.split("\n\n")[1]))


@settings(max_examples=40)
@given(
    st.text()
    | st.from_regex(
        r"(?:(?:Area|Score|Target|Issue|All Scores|\{\"area\")[:=] ?[^\n]{0,20}\n?){0,6}",
        fullmatch=True,
    )
)
def test_no_text_makes_it_raise(text):
    found = read_prompt(text)
    assert found.keys() <= {*ARGUMENTS, "meaning"}
    assert isinstance(question_for(found), str)


@pytest.mark.parametrize(
    "text",
    ["1" + " " * 20_000, "All Scores: " + "a" * 20_000, "score" + "," * 20_000, "knee pain " * 2_000, "1" * 20_000, "a " * 10_000, "{" * 20_000, "area: " * 4_000, "\n" * 20_000],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_a_long_text_is_read_like_a_short_one(text):
    """Where a pattern takes the square of a length, this takes minutes."""
    found = read_prompt(text)
    assert found.keys() <= {*ARGUMENTS, "meaning"}
    assert bool(question_for(found)) == ("pain" not in text)
