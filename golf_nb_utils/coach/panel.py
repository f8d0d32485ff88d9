"""The panel of notebook 04: say what happens, read verified feedback, say what you think of it.

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

# A swing to begin with, and what its golfer says about it.
AREA, TARGET = "weight_shift", 0.80
WORDS = "My weight stays on my back foot at impact, because I try to lift the ball."
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
SUGGESTION = "what a coach might call it"
ASK, ASKING = "Coach me", "Writing \u2026"
# The page is redrawn so often while a draft grows, and no more: a token comes every few ms.
SECONDS_BETWEEN_DRAFTS = 0.05
# In pixels: a rem is a third smaller in the classic Notebook.
_WIDE = {"style": {"description_width": "128px"}, "layout": {"width": "auto"}}
_STYLE = """<style>
.golf-panel { max-width: 880px; }
.golf-columns { gap: 0 16px; }
.golf-columns > * { flex: 1 1 272px; min-width: 0; }
.golf-words, .golf-better { display: flex; flex-direction: column; align-items: stretch; }
.golf-words > label, .golf-better > label { width: auto !important; text-align: left !important;
  font-weight: 600; }
.golf-words textarea { font: 15px/1.5 var(--jp-ui-font-family, sans-serif); padding: 8px 10px; }
.golf-coached { background: #3c8a6133; border-radius: 4px; }
.golf-coached > label { font-weight: 600; }
.golf-coached > label::before { content: "\\25b8  "; }
.golf-panel .golf-ask { background: #2f6f4e; color: #fff; font-weight: 600; width: 160px;
  height: 36px; margin: 8px 2px; }
.golf-panel .golf-ask[disabled] { opacity: .75; }
.golf-panel :focus-visible { outline: 2px solid #3c8a61; outline-offset: 1px; }
</style>"""


def coach_panel(
    coach: FineTunedGolfFeedbackGenerator,
    observations: dict[str, list[str]],
    feedback_path: Path,
    model_sha256: str,
):
    """Return an ipywidgets panel, or in a headless run a static picture of one.

    What somebody types goes to the coach as it is; `observations` are the names of the faults, by
    area, that the panel suggests beside it. The answer streams into three cards, and ends as the
    verified one, each sentence with the entry of the knowledge base that it is. A thumb, with or
    without a better wording, is added to `feedback_path` (golf.corrections.append_correction).
    No Output widget and no `interact`: those can hang a run that nobody watches.
    """
    if not is_headless():
        return _Panel(coach, observations, feedback_path, model_sha256).box
    feedback = coach.generate_feedback(**_request(AREA, SCORES, TARGET, WORDS, GOLFER))
    shown = {"area": AREAS[AREA].label, "target": f"{TARGET:.2f}"} | GOLFER
    shown |= {SCORE_LABELS[name]: f"{score:.2f}" for name, score in SCORES.items()}
    swing = " &middot; ".join(f"{name} <b>{escape(value)}</b>" for name, value in shown.items())
    said = f"<blockquote>{escape(WORDS)}</blockquote>"
    return HTML(f"{said}<p>{swing}</p>{feedback_cards(feedback)}")


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


def _dropdown(options: Iterable, value: str | None, description: str) -> ipywidgets.Dropdown:
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
        self.ask = ipywidgets.Button(description=ASK)
        self.ask.add_class("golf-ask")
        self.ask.on_click(self._answer)
        self.cards = ipywidgets.HTML(feedback_cards(None))
        parts = [ipywidgets.HTML(_STYLE), self._words(), self._swing(), self._sampling()]
        if coach.is_steered:
            # A steered model needs no candidates: its first answer passes.
            parts.pop()
        self.box = ipywidgets.VBox([*parts, self.ask, self.cards, self._opinion()])
        self.box.add_class("golf-panel")

    def _words(self) -> ipywidgets.Widget:
        """What the golfer says, and the faults of the area for who would rather choose one."""
        self.words = ipywidgets.Textarea(
            value=WORDS,
            description="What happens, in your own words",
            placeholder="What does the ball do? What do you feel? What have you tried?",
            layout={"width": "auto", "height": "96px"},
        )
        self.words.add_class("golf-words")
        self.suggested = _dropdown([], None, "or pick one")
        self._suggest(AREA)
        self.suggested.observe(self._take_suggestion, names="value")
        return ipywidgets.VBox([self.words, self.suggested])

    def _swing(self) -> ipywidgets.Widget:
        """What else is asked: area, target, who plays, and all scores, the coached one marked."""
        self.area = _dropdown([(area.label, key) for key, area in AREAS.items()], AREA, "coach my")
        self.area.observe(self._mark_area, names="value")
        self.target = _slider(TARGET, "target")
        choices = {"club": CLUBS, "level": LEVELS, "handedness": HANDEDNESS}
        self.golfer = {
            name: _dropdown(options, GOLFER[name], name) for name, options in choices.items()
        }
        self.scores = {name: _slider(SCORES[name], SCORE_LABELS[name]) for name in ALL_SCORES}
        self.scores[AREA].add_class("golf-coached")
        asked = ipywidgets.VBox([self.area, self.target, *self.golfer.values()])
        scores = ipywidgets.VBox(list(self.scores.values()))
        columns = ipywidgets.HBox([asked, scores], layout={"flex_flow": "row wrap"})
        columns.add_class("golf-columns")
        return columns

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

    def _opinion(self) -> ipywidgets.Widget:
        """What the golfer thinks, once there is an answer: two thumbs, and a better wording."""
        self.thumbs = {
            thumb: ipywidgets.Button(description=words, icon=f"thumbs-{thumb}", disabled=True)
            for thumb, words in (("up", "Helpful"), ("down", "Not helpful"))
        }
        for thumb, button in self.thumbs.items():
            button.on_click(lambda _, thumb=thumb: self._keep(thumb))
        self.better = ipywidgets.Textarea(
            description="A better wording, with the three headings",
            layout={"width": "auto", "height": "144px", "display": "none"},
        )
        self.better.add_class("golf-better")
        reword = ipywidgets.ToggleButton(description="Say it better", icon="pencil")
        reword.observe(self._show_better, names="value")
        self.note = ipywidgets.HTML()
        row = ipywidgets.HBox([*self.thumbs.values(), reword], layout={"flex_flow": "row wrap"})
        parts = [row, self.better, self.note]
        self.opinion = ipywidgets.VBox(parts, layout={"display": "none"})
        return self.opinion

    def _show_better(self, change) -> None:
        self.better.layout.display = "flex" if change["new"] else "none"

    def _suggest(self, area: str) -> None:
        """Offer the names of an area's faults."""
        options = [(SUGGESTION, ""), *((name, name) for name in self.observations[area])]
        self.suggested.options, self.suggested.value = options, ""

    def _take_suggestion(self, change) -> None:
        if change["new"]:
            self.words.value = change["new"]

    def _mark_area(self, change) -> None:
        self.scores[change["old"]].remove_class("golf-coached")
        self.scores[change["new"]].add_class("golf-coached")
        self._suggest(change["new"])

    def _answer(self, _) -> None:
        self.ask.disabled, self.ask.description, self.note.value = True, ASKING, ""
        self._allow_thumbs(False)
        sampling = {name: control.value for name, control in self.sampling.items()}
        self.coach.config = replace(self.coach.config, **sampling)
        self.coach.seed = self.seed.value
        scores = {name: slider.value for name, slider in self.scores.items()}
        golfer = {name: choice.value for name, choice in self.golfer.items()}
        words = self.words.value.strip() or None
        request = _request(self.area.value, scores, self.target.value, words, golfer)
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
            self.opinion.layout.display = "flex"
            self._allow_thumbs(True)
        finally:
            self.ask.disabled, self.ask.description = False, ASK

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
            self.note.value = f'<p class="golf-exception">Not kept: {escape(str(error))}</p>'
            return
        self._allow_thumbs(False)
        self.note.value = (
            f"<p>Thank you. Kept in <code>{escape(str(self.feedback_path))}</code>.</p>"
        )

    def _allow_thumbs(self, allowed: bool) -> None:
        for button in self.thumbs.values():
            button.disabled = not allowed
