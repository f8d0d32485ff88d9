"""The panel of notebook 04: choose area, scores and sampling, read the feedback. Built only where somebody can click."""

import html

import ipywidgets
import tiktoken
from IPython.display import HTML

from golf_nb_utils.config import AREAS, CLUBS, HANDEDNESS, LEVELS, SampleConfig
from golf_nb_utils.environment import is_headless
from golf_nb_utils.knowledge import KnowledgeBase
from golf_nb_utils.model import GPTModel
from golf_nb_utils.prompts import make_entry
from golf_nb_utils.sampling import answer

_CARD = (
    '<div style="max-width: 46rem; padding: 0.6rem 1rem; border-left: 4px solid #2f6f4e; white-space: pre-wrap; line-height: 1.45">{}</div>'
)


def feedback_panel(model: GPTModel, tokenizer: tiktoken.Encoding, knowledge: KnowledgeBase, config: SampleConfig):
    """Return an ipywidgets panel, or in a headless run a static picture of one: its first settings and their feedback.

    No Output widget and no `interact`: those can hang a run that nobody watches.
    """
    controls = _controls(knowledge, config) if not is_headless() else None
    if controls is None:
        area = next(iter(AREAS))
        fault = _faults(knowledge, area)[0]
        values = {
            "area": area,
            "current": 0.45,
            "target": 0.80,
            "club": "7-iron",
            "level": "beginner",
            "handedness": "right",
            "observation": fault,
        }
        text = _feedback(model, tokenizer, config, values | {"temperature": config.temperature, "top_k": config.top_k})
        settings = " &middot; ".join(f"{name} <b>{html.escape(str(value))}</b>" for name, value in values.items())
        return HTML(f"<p>{settings}</p>{_CARD.format(html.escape(text))}")

    result = ipywidgets.HTML(_CARD.format("Choose, then press <b>Give feedback</b>."))
    button = ipywidgets.Button(description="Give feedback", button_style="success", icon="comment")

    def show(_) -> None:
        button.disabled, button.description = True, "Writing ..."
        try:
            text = _feedback(model, tokenizer, config, {name: control.value for name, control in controls.items()})
            result.value = _CARD.format(html.escape(text))
        finally:
            button.disabled, button.description = False, "Give feedback"

    def offer_faults(change) -> None:
        controls["observation"].options = _faults(knowledge, change["new"])

    button.on_click(show)
    controls["area"].observe(offer_faults, names="value")
    swing = ipywidgets.VBox([controls[name] for name in ("area", "current", "target", "observation")])
    golfer = ipywidgets.VBox([controls[name] for name in ("club", "level", "handedness")])
    sampling = ipywidgets.VBox([controls[name] for name in ("temperature", "top_k")])
    return ipywidgets.VBox([ipywidgets.HBox([swing, golfer, sampling]), button, result])


def _controls(knowledge: KnowledgeBase, config: SampleConfig) -> dict:
    area = next(iter(AREAS))
    score = {"min": 0.0, "max": 1.0, "step": 0.01, "readout_format": ".2f"}
    return {
        "area": ipywidgets.Dropdown(options=[(entry.label, key) for key, entry in AREAS.items()], value=area, description="area"),
        "current": ipywidgets.FloatSlider(value=0.45, description="score", **score),
        "target": ipywidgets.FloatSlider(value=0.80, description="target", **score),
        "observation": ipywidgets.Dropdown(options=_faults(knowledge, area), description="seen"),
        "club": ipywidgets.Dropdown(options=list(CLUBS), value="7-iron", description="club"),
        "level": ipywidgets.Dropdown(options=list(LEVELS), description="level"),
        "handedness": ipywidgets.Dropdown(options=list(HANDEDNESS), description="handed"),
        "temperature": ipywidgets.FloatSlider(
            value=config.temperature, min=0.0, max=1.5, step=0.05, description="temperature", style={"description_width": "initial"}
        ),
        "top_k": ipywidgets.IntSlider(value=config.top_k, min=0, max=200, description="top_k"),
    }


def _faults(knowledge: KnowledgeBase, area: str) -> list[str]:
    return [fault.name for fault in knowledge.faults if fault.area == area]


def _feedback(model: GPTModel, tokenizer: tiktoken.Encoding, config: SampleConfig, values: dict) -> str:
    entry = make_entry(
        values["area"], values["current"], values["target"], values["club"], values["level"], values["handedness"], values["observation"]
    )
    return answer(model, tokenizer, [entry], config.max_new_tokens, 1, values["temperature"], values["top_k"], config.seed)[0]
