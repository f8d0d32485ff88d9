"""The panel where somebody watches, and the static picture where nobody does."""

import contextlib

import ipywidgets
import pytest
from IPython.display import HTML

from golf_nb_utils import widgets
from golf_nb_utils.config import GPTConfig, SampleConfig
from golf_nb_utils.environment import knowledge_folder
from golf_nb_utils.knowledge import load_knowledge

CONFIG = SampleConfig(max_new_tokens=4, temperature=0.9, top_k=30)


@pytest.fixture(scope="module")
def knowledge():
    return load_knowledge(knowledge_folder())


@pytest.fixture
def panel(monkeypatch, knowledge):
    """The panel as somebody in front of a notebook gets it; no test here needs a model to click on it."""
    monkeypatch.setattr(widgets, "is_headless", lambda: False)
    return widgets.feedback_panel(None, None, knowledge, CONFIG)


def tree(widget):
    return [widget, *(found for child in getattr(widget, "children", ()) for found in tree(child))]


def described(panel, description):
    (found,) = [widget for widget in tree(panel) if getattr(widget, "description", None) == description]
    return found


def feedback_of(panel):
    (found,) = [widget for widget in tree(panel) if isinstance(widget, ipywidgets.HTML)]
    return found.value


def test_the_panel_has_its_controls_and_no_output_widget_that_could_hang_a_run(panel):
    kinds = {type(widget) for widget in tree(panel)}
    assert {ipywidgets.Button, ipywidgets.Dropdown, ipywidgets.FloatSlider, ipywidgets.HTML} <= kinds
    assert not any(issubclass(kind, ipywidgets.Output) for kind in kinds)
    assert (described(panel, "temperature").value, described(panel, "top_k").value) == (0.9, 30)


def test_a_click_asks_the_model_for_what_is_set_and_shows_the_answer_as_text(panel, monkeypatch):
    asked = []

    def answer(model, tokenizer, records, max_new_tokens, batch_size, temperature, top_k, seed, **others):
        asked.append((records, max_new_tokens, temperature, top_k))
        return ["<script>alert(1)</script> turn & hold"]

    monkeypatch.setattr(widgets, "answer", answer)
    described(panel, "area").value = "balance"
    described(panel, "score").value = 0.30
    described(panel, "target").value = 0.75
    described(panel, "club").value = "driver"
    described(panel, "handed").value = "left"
    described(panel, "temperature").value = 0.0
    described(panel, "Give feedback").click()

    ((records, max_new_tokens, temperature, top_k),) = asked
    lines = records[0]["input"].splitlines()
    assert lines[:3] == ["Area: balance", "Current Score: 0.30", "Target Score: 0.75"]
    assert {"Club: driver", "Handedness: left", f"Observation: {described(panel, 'seen').value}"} <= set(lines)
    assert (max_new_tokens, temperature, top_k) == (4, 0.0, 30)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; turn &amp; hold" in feedback_of(panel)
    assert "<script" not in feedback_of(panel)


def test_another_area_offers_its_own_faults(panel, knowledge):
    area, seen = described(panel, "area"), described(panel, "seen")
    offered = {}
    for key in dict.fromkeys(fault.area for fault in knowledge.faults):
        area.value = key
        offered[key] = set(seen.options)
        assert seen.value in seen.options
    assert offered == {key: {fault.name for fault in knowledge.faults if fault.area == key} for key in offered}
    assert len(offered) == 6


def test_the_button_can_be_pressed_again_after_an_error(panel, monkeypatch):
    during = []

    def fail(*arguments, **settings):
        during.append(described(panel, "Writing ...").disabled)
        raise ValueError("prompts have 2000 tokens")

    monkeypatch.setattr(widgets, "answer", fail)
    button = described(panel, "Give feedback")
    # ipywidgets prints the error of a click instead of raising it; either is fine here.
    with contextlib.suppress(ValueError):
        button.click()
    assert during == [True]
    assert (button.disabled, button.description) == (False, "Give feedback")


def test_headless_is_a_static_picture_with_real_feedback_and_no_widget(random_model, byte_tokenizer, knowledge, monkeypatch):
    monkeypatch.setattr(ipywidgets.Widget, "__init__", lambda *args, **kwargs: pytest.fail("a widget was built"))
    monkeypatch.setattr(widgets, "is_headless", lambda: True)
    model = random_model(GPTConfig(n_vocab=257, n_ctx=512, n_embd=16, n_head=2, n_layer=1))
    picture = widgets.feedback_panel(model, byte_tokenizer, knowledge, CONFIG)
    assert isinstance(picture, HTML)
    for shown in ("setup_quality", "0.45", "0.8", "7-iron"):
        assert f"<b>{shown}</b>" in picture.data


def test_headless_feedback_is_shown_as_text(knowledge, monkeypatch):
    monkeypatch.setattr(widgets, "answer", lambda *args, **kwargs: ["<img src=x onerror=alert(1)>"])
    picture = widgets.feedback_panel(None, None, knowledge, CONFIG)
    assert "&lt;img src=x onerror=alert(1)&gt;" in picture.data
    assert "<img" not in picture.data
