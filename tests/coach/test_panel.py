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
    return [widget for widget in tree(panel) if isinstance(widget, ipywidgets.HTML)]


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
    described(panel, "area").value = "balance"
    described(panel, "balance").value = 0.30
    described(panel, "target").value = 0.75
    described(panel, "club").value = "driver"
    described(panel, "handedness").value = "left"
    described(panel, "temperature").value = 0.4
    described(panel, "seed").value = 7
    described(panel, "Give feedback").click()

    (asked,) = coach.asked
    assert (asked["area"], asked["current_score"], asked["target_score"]) == ("balance", 0.30, 0.75)
    assert asked["issue"] == observations["balance"][0]
    assert asked["golfer_context"] == {"club": "driver", "level": "beginner", "handedness": "left"}
    assert asked["all_quality_scores"] == [0.72, 0.64, 0.45, 0.58, 0.61, 0.70, 0.30, 0.55]
    assert (coach.config.temperature, coach.config.top_k, coach.seed) == (0.4, 30, 7)
    cards = shown(panel)[0].value
    assert cards.count('class="golf-card"') == 3
    assert "30.0%" in cards
    assert "Verified" in cards
    assert (described(panel, "Give feedback").disabled, described(panel, "Helpful").disabled) == (
        False,
        False,
    )


def test_without_an_observation_none_is_asked_for(panel, coach):
    described(panel, "seen").value = "not said"
    described(panel, "Give feedback").click()
    assert coach.asked[0]["issue"] is None


def test_another_area_offers_its_own_faults(panel, observations):
    area, seen = described(panel, "area"), described(panel, "seen")
    for key, names in observations.items():
        area.value = key
        assert list(seen.options) == ["not said", *names]
        assert seen.value in seen.options


def test_while_it_is_written_a_draft_is_shown_as_one_and_nothing_can_be_kept(
    panel, coach, monkeypatch
):
    during = []
    answer = coach.generate_feedback

    def look(**arguments):
        during.append(
            (
                shown(panel)[0].value,
                described(panel, "Writing ...").disabled,
                described(panel, "Helpful").disabled,
            )
        )
        return answer(**arguments)

    monkeypatch.setattr(coach, "generate_feedback", look)
    described(panel, "Give feedback").click()
    ((cards, busy, closed),) = during
    assert "not verified yet" in cards
    assert "The &lt;b&gt;weight&lt;/b&gt; ends" in cards
    assert (busy, closed) == (True, True)


@pytest.mark.parametrize(("thumb", "button"), [("up", "Helpful"), ("down", "Not helpful")])
def test_a_thumb_is_kept_once_with_what_was_asked_and_answered(panel, tmp_path, thumb, button):
    described(panel, "Give feedback").click()
    answer = described(panel, "better wording").value
    described(panel, button).click()
    described(panel, button).click()
    (line,) = (
        json.loads(line)
        for line in (tmp_path / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert (line["thumb"], line["output"], line["model_sha256"]) == (thumb, answer, "ab" * 32)
    assert line["input"].startswith("Area: weight_shift\nCurrent Score: 0.45\nTarget Score: 0.80")
    assert "corrected" not in line
    assert "Kept" in shown(panel)[-1].value


def test_a_better_wording_is_what_the_next_round_trains_on(panel, knowledge, tmp_path):
    described(panel, "Give feedback").click()
    better = described(panel, "better wording")
    better.value = better.value.replace("Swing thought: ", "Swing thought: Smoothly. ")
    described(panel, "Not helpful").click()
    (record,) = read_corrections(tmp_path / "feedback.jsonl", knowledge, []).records
    assert record.output == better.value


def test_a_wording_without_its_headings_is_refused_and_can_be_mended(panel, tmp_path):
    described(panel, "Give feedback").click()
    described(panel, "better wording").value = "Just relax."
    described(panel, "Not helpful").click()
    assert "Not kept" in shown(panel)[-1].value
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
