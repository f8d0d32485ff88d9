"""The prompt and the three-part answer: the app and the model agree on these texts to the letter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils import prompt
from golf_nb_utils.prompt import (
    FeedbackFormatError,
    format_example,
    format_feedback,
    format_input,
    parse_feedback,
    prompt_hash,
)

HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
KEYS = ("what_should_happen", "what_is_happening", "what_to_do")
# The prompt of Stanford Alpaca's train.py for examples with an input.
ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
BODIES = (
    st.text(max_size=200)
    .map(str.strip)
    .filter(lambda body: body and not any(heading in body for heading in HEADINGS))
)


def test_the_prompt_is_alpacas_and_ends_with_the_response_header():
    entry = {
        "instruction": "Give feedback.",
        "input": "Area: balance\nCurrent Score: 0.45",
        "output": "unseen",
    }
    filled = ALPACA.replace("{instruction}", entry["instruction"]).replace(
        "{input}", entry["input"]
    )
    assert format_input(entry) == filled + "\n"


def test_an_example_is_the_prompt_and_then_the_answer():
    entry = {"instruction": "Give feedback.", "input": "Area: balance", "output": "Stand still."}
    assert format_example(entry) == format_input(entry) + "Stand still."
    assert format_example(entry).endswith("### Response:\nStand still.")


@given(st.text(), st.text())
def test_whatever_stands_in_a_record_reaches_the_prompt_unchanged(instruction, text):
    before, after = ALPACA.split("{instruction}")
    between, end = after.split("{input}")
    assert (
        format_input({"instruction": instruction, "input": text})
        == f"{before}{instruction}{between}{text}{end}\n"
    )


# The answer.


def test_an_answer_has_its_three_headings_in_the_apps_order_and_spelling():
    text = format_feedback("Stand tall.", "You sway.", "1. Feet together.\n2. Swing.")
    assert text == (
        "WHAT SHOULD HAPPEN (Ideal/Expected):\nStand tall.\n\n"
        "WHAT IS HAPPENING (Current Issue):\nYou sway.\n\n"
        "WHAT TO DO (Actionable Steps):\n1. Feet together.\n2. Swing."
    )


@given(BODIES, BODIES, BODIES)
def test_an_answer_comes_back_as_the_parts_it_was_made_of(should, happening, to_do):
    parts = parse_feedback(format_feedback(should, happening, to_do))
    assert parts == dict(zip(KEYS, (should, happening, to_do), strict=True))


@pytest.mark.parametrize("missing", range(3))
def test_an_answer_without_one_of_its_headings_is_refused_with_that_heading(missing):
    text = "\n".join(
        f"{heading}\nText." for index, heading in enumerate(HEADINGS) if index != missing
    )
    with pytest.raises(FeedbackFormatError, match=f"{re.escape(HEADINGS[missing])}.* 0 times"):
        parse_feedback(text)


@pytest.mark.parametrize("double", range(3))
def test_an_answer_with_a_heading_twice_is_refused_with_that_heading(double):
    text = format_feedback("One.", "Two.", "Three.") + f"\n\n{HEADINGS[double]}\nAgain."
    with pytest.raises(FeedbackFormatError, match=f"{re.escape(HEADINGS[double])}.* 2 times"):
        parse_feedback(text)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_an_answer_with_its_headings_out_of_order_is_refused(order):
    with pytest.raises(FeedbackFormatError, match="out of order"):
        parse_feedback("\n".join(f"{HEADINGS[index]}\nText." for index in order))


@pytest.mark.parametrize("empty", range(3))
def test_an_answer_with_nothing_below_a_heading_is_refused_with_that_heading(empty):
    text = "\n".join(
        f"{heading}\n{' ' if index == empty else 'Text.'}" for index, heading in enumerate(HEADINGS)
    )
    with pytest.raises(FeedbackFormatError, match=f"nothing .*{re.escape(HEADINGS[empty])}"):
        parse_feedback(text)


@pytest.mark.parametrize(
    "text", ["", "A model that rambles.", "what should happen (ideal/expected): x"]
)
def test_a_text_that_is_no_answer_is_refused(text):
    with pytest.raises(FeedbackFormatError):
        parse_feedback(text)


@given(st.lists(st.sampled_from([*HEADINGS, "Swing.", "\n", " ", "1. Turn"]), max_size=9))
def test_an_answer_is_accepted_exactly_when_each_heading_stands_once_in_order_with_text_below(
    pieces,
):
    text = "\n".join(pieces)
    found = [piece for piece in pieces if piece in HEADINGS]
    bodies = [body.strip() for body in re.split("|".join(map(re.escape, HEADINGS)), text)[1:]]
    if found == list(HEADINGS) and all(bodies):
        assert parse_feedback(text) == dict(zip(KEYS, bodies, strict=True))
    else:
        with pytest.raises(FeedbackFormatError):
            parse_feedback(text)


def test_a_changed_prompt_or_heading_changes_the_hash_that_travels_with_a_model(monkeypatch):
    before = prompt_hash()
    with monkeypatch.context() as changed:
        changed.setattr(prompt, "PROMPT", prompt.PROMPT.replace("### Response", "### Answer"))
        assert prompt_hash() != before
    with monkeypatch.context() as changed:
        changed.setitem(prompt.HEADINGS, "what_to_do", "WHAT TO DO:")
        assert prompt_hash() != before
    assert prompt_hash() == before
