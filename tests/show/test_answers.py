"""Pictures of answers: what is red has no origin, what is lit was chosen, and titles say what the figure shows."""

import re
from html import unescape

import pytest
import torch

from golf_nb_utils.golf.checks import CHECKS, Verifier
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.steering import Choice
from golf_nb_utils.show import answers

SWING = Request("balance", 0.45, 0.80, "driver", "beginner", handedness="right")


@pytest.fixture(scope="module")
def verifier(knowledge):
    return Verifier(knowledge)


@pytest.fixture(scope="module")
def request_(knowledge):
    fault = next(each for each in knowledge.faults if each.area == "balance")
    return SWING.said("i fall over", fault.name)


def test_of_a_right_answer_nothing_is_marked_and_an_edited_sentence_shows_what_it_was(
    verifier, request_
):
    for seed in range(8):  # some of them explain lead and trail, "lead (left)"
        right = verifier.book.draw(request_, seed).text
        shown = answers.marked(right, verifier, request_.text)
        assert "<mark" not in shown
        assert unescape(re.sub("<[^>]+>", "", shown)) == right
    score = next(line for line in right.split("\n") if "45.0%" in line)
    edited = right.replace("45.0%", "54.0%") + " <b>Grip it.</b>"
    shown = answers.marked(edited, verifier, request_.text)
    first, last = re.findall(r"<mark[^>]*>(.*?)</mark> <small>\[(.*?)\]</small>", shown)
    assert "54.0%" in first[0]
    nearest = re.search("\u201c(.*?)\u201d", unescape(first[1]))[1]
    assert nearest in score
    assert "&lt;b&gt;Grip it.&lt;/b&gt;" in last[0]


def test_the_nearest_sentence_may_be_one_that_sends_to_another_area(verifier, knowledge):
    fault = next(each for each in knowledge.faults if each.area == "setup_quality")
    request = SWING.said("i stand badly", fault.name)
    right = verifier.book.draw(request, 1).text
    shown = answers.marked(right.replace("setup", "grip"), verifier, request.text)
    assert f'"{fault.name[0].lower() + fault.name[1:]}"' in unescape(shown)
    assert "nearest" in shown


def test_chosen_tokens_are_lit_by_their_share_and_the_forced_ones_stand_where_the_text_has_them():
    tokens = ["Say", " this", " and", " that", ".\n", "End", " here"]
    choices = [
        Choice(1, ((1,), (2,)), (0.95, 0.05), 0, 0.5),
        Choice(3, ((1,), (2,)), (0.3, 0.7), 0, 0.5),
        Choice(7, ((1,), (2,)), (0.5, 0.5), 0, 0.5),  # to end here
    ]
    figure = answers.plot_choices(tokens, choices, n_columns=12)
    (axis,) = figure.axes
    drawn = {text.get_text().strip(): text for text in axis.texts}
    assert [name for name, text in drawn.items() if text.get_bbox_patch()] == ["this", "that"]
    assert drawn["this"].get_position() == (4, 0)
    assert drawn["that"].get_position() == (0, 1)
    assert drawn["End"].get_position() == (0, 2)
    assert figure.get_suptitle().startswith("The model chose 2 of 7 tokens")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [line[-1] for line in legend] == ["1", "0", "1"]


def test_a_choice_is_listed_with_what_else_could_have_followed(byte_tokenizer):
    shown = answers.listed(
        [Choice(0, (b"Bow <b>", b"Hop", b"Nod"), (0.2, 0.7, 0.1), 1, 0.02)], byte_tokenizer
    )
    cells = [unescape(cell) for cell in re.findall("<td[^>]*>(.*?)</td>", shown)]
    assert cells[3:] == ["2%", "70% Hop", "20% Bow <b> / 10% Nod"]


def test_the_checks_that_notice_an_edit_stand_in_its_column():
    figure = answers.plot_noticed({"one": ["grounded", "fits"], "two": []})
    names = list(CHECKS)
    first, second = figure.axes[0].lines
    assert list(first.get_ydata()) == [names.index("grounded"), names.index("fits")]
    assert (set(first.get_xdata()), len(second.get_ydata())) == ({0}, 0)
    assert figure.get_suptitle() == "1 of 2 edits are noticed, by 0 to 2 checks"


@pytest.mark.parametrize(("share", "said"), [(0.9, "A head copies"), (0.02, "No head looks")])
def test_the_heads_that_look_at_the_score_come_first_and_the_title_says_what_they_do(share, said):
    looks = torch.full((12, 12, 4), 0.25)
    looks[:, :, 0] = 0.001
    looks[4, 7, 0] = share
    figure = answers.plot_attention(looks)
    (axis,) = figure.axes
    assert len(axis.get_yticklabels()) == 8
    assert axis.get_yticklabels()[0].get_text() == "layer 5, head 8"
    assert axis.containers[0][0].get_width() == pytest.approx(share)
    assert figure.get_suptitle().startswith(said)
