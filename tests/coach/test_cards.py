"""An answer as three cards: the whole text, its sentences with their origins, and drafts that grow."""

from html import unescape

import pytest

from golf_nb_utils.coach.cards import feedback_cards
from golf_nb_utils.coach.generators import TemplateFeedbackGenerator


@pytest.fixture(scope="module")
def generator(knowledge):
    return TemplateFeedbackGenerator(knowledge)


def test_each_sentence_shows_which_entry_it_is_and_the_whole_text_is_there(generator):
    feedback = generator.generate_feedback(
        "balance", None, 0.45, 0.80, 0.35, "high", golfer_context={"club": "driver"}
    )
    cards = feedback_cards(feedback)
    sentences = feedback["verification"]["sentences"]
    assert cards.count('class="golf-origin"') == len(sentences) > 8
    for sentence in sentences:
        # Read out where the sentence has the focus, and shown there by the style sheet.
        assert f'aria-description="{sentence["id"]} · {sentence["place"]}' in unescape(cards)
    # Marks are for exceptions.
    assert "\u26a0" not in unescape(cards)
    bare = unescape(cards)
    for part in ("what_should_happen", "what_is_happening", "what_to_do"):
        first = feedback[part].split(". ")[0]
        assert first.removeprefix("1. ") in bare


def test_what_was_refused_and_remarked_is_said_as_text(generator):
    feedback = generator.generate_feedback("balance", None, 0.45, 0.80, 0.35, "high")
    feedback["verification"] |= {
        "refused": [
            {
                "attempt": 1,
                "candidates": 1,
                "failed": {"headings": 1},
                "reasons": ["<i>no</i> heading"],
            }
        ],
        "remarks": ["level '<b>' is unknown"],
    }
    cards = feedback_cards(feedback)
    assert unescape(cards).count("\u26a0") == 2
    assert "&lt;i&gt;no&lt;/i&gt; heading" in cards
    assert "level &#x27;&lt;b&gt;&#x27; is unknown" in cards


@pytest.mark.parametrize("n_characters", [0, 5, 37, 60, 140, 200])
def test_a_draft_stands_in_the_cards_of_the_headings_written_so_far(n_characters):
    text = (
        "WHAT SHOULD HAPPEN (Ideal/Expected):\nFirst part.\n\nWHAT IS HAPPENING (Current Issue):\nSecond part.\n\n"
        "WHAT TO DO (Actionable Steps):\n1. Third part."
    )
    cards = feedback_cards(text[:n_characters])
    for number, part in enumerate(("First part.", "Second part.", "1. Third part.")):
        written = part in text[:n_characters]
        assert (part in cards.split('class="golf-card"')[number + 1]) == written
