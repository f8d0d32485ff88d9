"""The panel of notebook 04: set a swing, read verified feedback, say what you think of it.

Its widgets are built only where somebody can click them.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from pathlib import Path

import ipywidgets
from IPython.display import HTML

from golf_nb_utils.coach.cards import feedback_cards
from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, CLUBS, HANDEDNESS, LEVELS, SCORE_LABELS
from golf_nb_utils.golf.corrections import append_correction
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.host import is_headless
from golf_nb_utils.prompt import parse_feedback

# A swing to begin with.
AREA, TARGET = "weight_shift", 0.80
GOLFER = {"club": "7-iron", "level": LEVELS[0], "handedness": HANDEDNESS[0]}
SCORES = dict.fromkeys(ALL_SCORES, 0.60) | {
    "setup_quality": 0.72, "tempo_rhythm": 0.64, "weight_shift": 0.45, "body_rotation": 0.58,
    "impact_quality": 0.61, "followthrough": 0.70, "balance": 0.66, "consistency": 0.55,
}  # fmt: skip
# {setting of SampleConfig: (its words in the panel, lowest, highest and step of its slider)}
SAMPLING = {
    "temperature": ("temperature", 0.1, 1.5, 0.05),
    "top_k": ("top_k (0: all)", 0, 200, 1),
    "top_p": ("top_p", 0.05, 1.0, 0.05),
    "n_candidates": ("candidates", 1, 32, 1),
}
NOT_SAID = "not said"
# The page is redrawn so often while a draft grows, and no more: a token comes every few ms.
SECONDS_BETWEEN_DRAFTS = 0.15
# In pixels: a rem is a third smaller in the classic Notebook.
_WIDE = {"style": {"description_width": "136px"}, "layout": {"width": "400px"}}


def coach_panel(
    coach: FineTunedGolfFeedbackGenerator,
    observations: dict[str, list[str]],
    feedback_path: Path,
    model_sha256: str,
):
    """Return an ipywidgets panel, or in a headless run a static picture of one.

    `observations` are the names of the faults, by area, that the panel offers. The answer streams
    into three cards as a draft, and gives way to the verified one, each sentence with the entry of
    the knowledge base that it is. A thumb, with or without a better wording, is added to
    `feedback_path` (golf.corrections.append_correction).
    No Output widget and no `interact`: those can hang a run that nobody watches.
    """
    if not is_headless():
        return _Panel(coach, observations, feedback_path, model_sha256).box
    issue = observations[AREA][0]
    feedback = coach.generate_feedback(**_request(AREA, SCORES, TARGET, issue, GOLFER))
    shown = {"area": AREAS[AREA].label, "target": f"{TARGET:.2f}"} | GOLFER | {"seen": issue}
    shown |= {SCORE_LABELS[name]: f"{score:.2f}" for name, score in SCORES.items()}
    swing = " &middot; ".join(f"{name} <b>{escape(value)}</b>" for name, value in shown.items())
    return HTML(f"<p>{swing}</p>{feedback_cards(feedback)}")


def _request(
    area: str, scores: dict[str, float], target: float, issue: str | None, golfer: dict[str, str]
) -> dict:
    """The arguments of generate_feedback."""
    return {
        "area": area, "issue": issue, "current_score": scores[area], "target_score": target,
        "gap": target - scores[area], "impact_level": None, "golfer_context": golfer,
        "all_quality_scores": [scores[name] for name in ALL_SCORES],
    }  # fmt: skip


def _slider(value: float, description: str, low=0.0, high=1.0, step=0.01):
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    slider = kind(value=value, min=low, max=high, step=step, description=description, **_WIDE)
    # Without it ipywidgets 8 shows "null" on hover; as an argument ipywidgets 7 would not know it.
    slider.tooltip = description
    return slider


def _dropdown(options: Iterable, value: str, description: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=list(options), value=value, description=description, **_WIDE)


class _Panel:
    """The widgets, and the feedback that they show at the moment."""

    def __init__(
        self,
        coach: FineTunedGolfFeedbackGenerator,
        observations: dict[str, list[str]],
        feedback_path: Path,
        model_sha256: str,
    ):
        self.coach, self.observations = coach, observations
        self.feedback_path, self.model_sha256 = feedback_path, model_sha256
        self.feedback: dict | None = None
        self.ask = ipywidgets.Button(
            description="Give feedback", button_style="success", icon="comment"
        )
        self.ask.on_click(self._answer)
        self.cards = ipywidgets.HTML(feedback_cards(None))
        swing, sampling, opinion = self._swing(), self._sampling(), self._opinion()
        # A steered model needs no candidates: its first answer passes.
        sampling = [] if coach.is_steered else [sampling]
        self.box = ipywidgets.VBox([swing, *sampling, self.ask, self.cards, *opinion])
        self.box.add_class("golf-panel")

    def _swing(self) -> ipywidgets.Widget:
        """What is asked: area, target, what was seen, who plays, and all scores beside it."""
        faults = self.observations[AREA]
        self.area = _dropdown([(area.label, key) for key, area in AREAS.items()], AREA, "area")
        self.area.observe(self._offer_faults, names="value")
        self.target = _slider(TARGET, "target")
        self.issue = _dropdown([NOT_SAID, *faults], faults[0], "seen")
        choices = {"club": CLUBS, "level": LEVELS, "handedness": HANDEDNESS}
        self.golfer = {
            name: _dropdown(options, GOLFER[name], name) for name, options in choices.items()
        }
        self.scores = {name: _slider(SCORES[name], SCORE_LABELS[name]) for name in ALL_SCORES}
        asked = ipywidgets.VBox([self.area, self.target, self.issue, *self.golfer.values()])
        scores = ipywidgets.VBox(list(self.scores.values()))
        return ipywidgets.HBox([asked, scores], layout={"flex_flow": "row wrap"})

    def _sampling(self) -> ipywidgets.Widget:
        """How candidates are drawn once the first answer was refused, folded away."""
        config = self.coach.config
        self.sampling = {
            name: _slider(getattr(config, name), *spec) for name, spec in SAMPLING.items()
        }
        self.seed = ipywidgets.IntText(value=self.coach.seed, description="seed", **_WIDE)
        controls = ipywidgets.VBox([*self.sampling.values(), self.seed])
        folded = ipywidgets.Accordion([controls], selected_index=None)
        # The way to set a title that ipywidgets 7 (Colab) and 8 share.
        folded.set_title(0, "Sampling, for the candidates after a refused first answer")
        return folded

    def _opinion(self) -> list[ipywidgets.Widget]:
        """What the golfer thinks: two thumbs, a better wording, and a note on what became of it."""
        self.thumbs = {
            thumb: ipywidgets.Button(description=words, icon=f"thumbs-{thumb}", disabled=True)
            for thumb, words in (("up", "Helpful"), ("down", "Not helpful"))
        }
        for thumb, button in self.thumbs.items():
            button.on_click(lambda _, thumb=thumb: self._keep(thumb))
        self.better = ipywidgets.Textarea(
            description="better wording",
            placeholder="Optional: the answer as it should have been, with its three headings.",
            style=_WIDE["style"],
            layout={"width": "auto", "height": "144px"},
        )
        self.note = ipywidgets.HTML()
        return [ipywidgets.HBox(list(self.thumbs.values())), self.better, self.note]

    def _offer_faults(self, change) -> None:
        names = self.observations[change["new"]]
        self.issue.options, self.issue.value = [NOT_SAID, *names], names[0]

    def _answer(self, _) -> None:
        self.ask.disabled, self.ask.description, self.note.value = True, "Writing ...", ""
        self._allow_thumbs(False)
        sampling = {name: control.value for name, control in self.sampling.items()}
        self.coach.config = replace(self.coach.config, **sampling)
        self.coach.seed = self.seed.value
        scores = {name: slider.value for name, slider in self.scores.items()}
        golfer = {name: choice.value for name, choice in self.golfer.items()}
        issue = None if self.issue.value == NOT_SAID else self.issue.value
        request = _request(self.area.value, scores, self.target.value, issue, golfer)
        drawn = 0.0
        try:
            for written in self.coach.stream_feedback(**request):
                if isinstance(written, dict):
                    self.feedback = written
                elif time.monotonic() - drawn > SECONDS_BETWEEN_DRAFTS:
                    self.cards.value = feedback_cards(written, self.coach.is_steered)
                    drawn = time.monotonic()
            self.cards.value = feedback_cards(self.feedback)
            self.better.value = self.feedback["suggestion"]
            self._allow_thumbs(True)
        finally:
            self.ask.disabled, self.ask.description = False, "Give feedback"

    def _keep(self, thumb: str) -> None:
        if self.thumbs[thumb].disabled:
            # The second half of a double click, which came before the page knew.
            return
        answer, better = self.feedback["suggestion"], self.better.value
        request = {"instruction": INSTRUCTIONS[0], "input": self.feedback["verification"]["input"]}
        made_by = self.feedback["generated_by"], self.model_sha256
        try:
            parse_feedback(better or answer)
            append_correction(self.feedback_path, request, answer, thumb, better, *made_by)
        except (ValueError, OSError) as error:
            self.note.value = f'<p class="golf-refused">Not kept: {escape(str(error))}</p>'
            return
        self._allow_thumbs(False)
        self.note.value = f"<p>Kept in <code>{escape(str(self.feedback_path))}</code>.</p>"

    def _allow_thumbs(self, allowed: bool) -> None:
        for button in self.thumbs.values():
            button.disabled = not allowed
