"""The panel where somebody watches, and the static picture where nobody does."""

import json

import ipywidgets
import pytest
from IPython.display import HTML

from golf_nb_utils.coach import panel as panel_module
from golf_nb_utils.coach.generators import TemplateFeedbackGenerator
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.corrections import read_corrections
from golf_nb_utils.settings import SampleConfig

DRAFT = "WHAT SHOULD HAPPEN (Ideal/Expected):\nThe <b>weight</b> ends"


class Coach(TemplateFeedbackGenerator):
    """Writes a draft, then answers from the knowledge base; remembers what it was asked."""

    def __init__(self, knowledge):
        super().__init__(knowledge)
        self.config, self.asked = SampleConfig(temperature=0.9, top_k=30), []

    def stream_feedback(self, **arguments):
        self.asked.append(arguments)
        yield DRAFT
        yield self.generate_feedback(**arguments)


@pytest.fixture(scope="module")
def template(knowledge):
    return Coach(knowledge)


@pytest.fixture
def coach(template):
    template.asked.clear()
    return template


@pytest.fixture(scope="module")
def observations(knowledge):
    return {
        area: [fault.name for fault in knowledge.faults if fault.area == area] for area in AREAS
    }


@pytest.fixture
def panel(monkeypatch, coach, observations, tmp_path):
    """The panel as somebody in front of a notebook gets it."""
    monkeypatch.setattr(panel_module, "is_headless", lambda: False)
    return panel_module.coach_panel(coach, observations, tmp_path / "feedback.jsonl", "ab" * 32)


def tree(widget):
    return [widget, *(found for child in getattr(widget, "children", ()) for found in tree(child))]


def described(panel, description):
    (found,) = [
        widget for widget in tree(panel) if getattr(widget, "description", None) == description
    ]
    return found


def shown(panel):
    return [
        widget.value
        for widget in tree(panel)
        if isinstance(widget, ipywidgets.HTML) and widget.value
    ]


def cards(panel):
    (found,) = [value for value in shown(panel) if "golf-verdict" in value or "golf-card" in value]
    return found


WORDS, SUGGESTED = "What happens, in your own words", "or pick one"
BETTER = "A better wording, with the three headings"


def is_seen(panel, description):
    """Whether a widget and all that it stands in are displayed."""

    def path(widget):
        if getattr(widget, "description", None) == description:
            return [widget]
        below = next(
            (found for child in getattr(widget, "children", ()) if (found := path(child))), []
        )
        return below and [widget, *below]

    return all(widget.layout.display != "none" for widget in path(panel))


def test_the_panel_has_a_slider_for_each_score_and_no_output_widget_that_could_hang_a_run(panel):
    labels = (
        "setup",
        "tempo and rhythm",
        "weight shift",
        "body rotation",
        "impact",
        "follow-through",
        "balance",
        "consistency",
    )
    assert all(isinstance(described(panel, label), ipywidgets.FloatSlider) for label in labels)
    assert not any(isinstance(widget, ipywidgets.Output) for widget in tree(panel))
    assert (described(panel, "temperature").value, described(panel, "top_k (0: all)").value) == (
        0.9,
        30,
    )
    (folded,) = [widget for widget in tree(panel) if isinstance(widget, ipywidgets.Accordion)]
    assert folded.selected_index is None
    assert described(panel, "temperature") in tree(folded)


def test_a_click_asks_for_what_is_set_and_shows_the_verified_answer_in_three_cards(
    panel, coach, observations
):
    described(panel, WORDS).value = " My heels lift before I hit it.\n"
    described(panel, "coach my").value = "balance"
    described(panel, "balance").value = 0.30
    described(panel, "target").value = 0.75
    described(panel, "club").value = "driver"
    described(panel, "handedness").value = "left"
    described(panel, "temperature").value = 0.4
    described(panel, "seed").value = 7
    described(panel, "Coach me").click()

    (asked,) = coach.asked
    assert (asked["area"], asked["current_score"], asked["target_score"]) == ("balance", 0.30, 0.75)
    assert asked["issue"] == "My heels lift before I hit it."
    assert asked["golfer_context"] == {"club": "driver", "level": "beginner", "handedness": "left"}
    assert asked["all_quality_scores"] == [0.72, 0.64, 0.45, 0.58, 0.61, 0.70, 0.30, 0.55]
    assert (coach.config.temperature, coach.config.top_k, coach.seed) == (0.4, 30, 7)
    answer = cards(panel)
    assert answer.count('class="golf-card"') == 3
    assert "30.0%" in answer
    assert "checks passed" in answer
    assert (described(panel, "Coach me").disabled, described(panel, "Helpful").disabled) == (
        False,
        False,
    )


def test_without_words_nothing_is_asserted_and_a_suggestion_becomes_the_words(
    panel, coach, observations
):
    described(panel, WORDS).value = " \n"
    described(panel, "Coach me").click()
    described(panel, "coach my").value = "balance"
    named = observations["balance"][1]
    described(panel, SUGGESTED).value = named
    described(panel, "Coach me").click()
    assert [asked["issue"] for asked in coach.asked] == [None, named]


def test_another_area_suggests_its_own_faults_keeps_the_words_and_marks_its_slider(
    panel, observations
):
    described(panel, WORDS).value = "It starts left."
    for key, names in observations.items():
        described(panel, "coach my").value = key
        offered = [value for _, value in described(panel, SUGGESTED).options]
        assert offered == ["", *names]
        marked = [
            widget.description for widget in tree(panel) if "golf-coached" in widget._dom_classes
        ]
        assert marked == [AREAS[key].label]
    assert described(panel, WORDS).value == "It starts left."


def test_while_it_is_written_a_draft_is_shown_as_one_and_nothing_can_be_kept(
    panel, coach, monkeypatch
):
    during = []
    answer = coach.generate_feedback

    def look(**arguments):
        during.append(
            (
                cards(panel),
                described(panel, "Writing \u2026").disabled,
                described(panel, "Helpful").disabled,
            )
        )
        return answer(**arguments)

    monkeypatch.setattr(coach, "generate_feedback", look)
    described(panel, "Coach me").click()
    ((draft, busy, closed),) = during
    assert "not verified yet" in draft
    assert "The &lt;b&gt;weight&lt;/b&gt; ends" in draft
    assert (busy, closed) == (True, True)


def test_who_has_no_answer_yet_is_not_asked_what_they_think_of_it(panel):
    assert not is_seen(panel, "Helpful")
    described(panel, "Coach me").click()
    assert is_seen(panel, "Helpful")
    assert not is_seen(panel, BETTER)
    described(panel, "Say it better").value = True
    assert is_seen(panel, BETTER)


@pytest.mark.parametrize(("thumb", "button"), [("up", "Helpful"), ("down", "Not helpful")])
def test_a_thumb_is_kept_once_with_what_was_asked_and_answered(panel, tmp_path, thumb, button):
    described(panel, "Coach me").click()
    answer = described(panel, BETTER).value
    described(panel, button).click()
    described(panel, button).click()
    (line,) = (
        json.loads(line)
        for line in (tmp_path / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert (line["thumb"], line["output"], line["model_sha256"]) == (thumb, answer, "ab" * 32)
    assert line["input"].startswith("Area: weight_shift\nCurrent Score: 0.45\nTarget Score: 0.80")
    assert "corrected" not in line
    assert "Kept" in shown(panel)[-1]


def test_a_better_wording_is_what_the_next_round_trains_on(panel, knowledge, tmp_path):
    described(panel, "Coach me").click()
    better = described(panel, BETTER)
    better.value = better.value.replace("Swing thought: ", "Swing thought: Smoothly. ")
    described(panel, "Not helpful").click()
    (record,) = read_corrections(tmp_path / "feedback.jsonl", knowledge, []).records
    assert record.output == better.value


def test_a_wording_without_its_headings_is_refused_and_can_be_mended(panel, tmp_path):
    described(panel, "Coach me").click()
    described(panel, BETTER).value = "Just relax."
    described(panel, "Not helpful").click()
    assert "Not kept" in shown(panel)[-1]
    assert not (tmp_path / "feedback.jsonl").exists()
    assert described(panel, "Not helpful").disabled is False


def test_headless_is_a_static_picture_with_real_feedback_and_no_widget(
    coach, observations, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        ipywidgets.Widget, "__init__", lambda *args, **kwargs: pytest.fail("a widget was built")
    )
    monkeypatch.setattr(panel_module, "is_headless", lambda: True)
    picture = panel_module.coach_panel(coach, observations, tmp_path / "feedback.jsonl", "")
    assert isinstance(picture, HTML)
    for value in ("weight shift", "0.80", "7-iron", "0.45"):
        assert f"<b>{value}</b>" in picture.data
    assert picture.data.count('class="golf-card"') == 3
