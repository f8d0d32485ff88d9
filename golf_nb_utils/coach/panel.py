"""The panel of notebook 04: set a swing, read verified feedback, say what you think of it. Built only where somebody can click."""

import html
import time
from dataclasses import replace
from pathlib import Path

import ipywidgets
from IPython.display import HTML

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, CLUBS, HANDEDNESS, LEVELS, SCORE_LABELS
from golf_nb_utils.golf.corrections import append_feedback
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.host import is_headless
from golf_nb_utils.html import feedback_cards
from golf_nb_utils.prompt import FeedbackFormatError, parse_feedback

# A swing to begin with.
SCORES = {
    "setup_quality": 0.72, "tempo_rhythm": 0.64, "weight_shift": 0.45, "body_rotation": 0.58,
    "impact_quality": 0.61, "followthrough": 0.70, "balance": 0.66, "consistency": 0.55,
}  # fmt: skip
TARGET, CLUB = 0.80, "7-iron"
AREA = "weight_shift"
# A page is redrawn so often while a draft grows, and no more: a token comes every few milliseconds.
SECONDS_BETWEEN_DRAFTS = 0.15


def coach_panel(
    coach: FineTunedGolfFeedbackGenerator,
    observations: dict[str, list[str]],
    feedback_path: Path,
    model_sha256: str,
):
    """Return an ipywidgets panel, or in a headless run a static picture of one: a swing and its feedback.

    `observations` are the names of the faults, by area, that the panel offers: those that the model was taught. The answer
    streams into three cards as a draft, and gives way to the verified one, each sentence with the entry of the knowledge base
    that it is. A thumb, with or without a better wording, is added to `feedback_path` (feedback.append_feedback).
    No Output widget and no `interact`: those can hang a run that nobody watches.
    """
    if is_headless():
        request = _request(
            AREA, SCORES, TARGET, observations[AREA][0], CLUB, LEVELS[0], HANDEDNESS[0]
        )
        shown = (
            {"area": AREAS[AREA].label, "target": f"{TARGET:.2f}"}
            | request["golfer_context"]
            | {"seen": request["issue"]}
        )
        shown |= {SCORE_LABELS[name]: f"{score:.2f}" for name, score in SCORES.items()}
        settings = " &middot; ".join(
            f"{name} <b>{html.escape(value)}</b>" for name, value in shown.items()
        )
        return HTML(f"<p>{settings}</p>{feedback_cards(coach.generate_feedback(**request))}")
    return _Panel(coach, observations, feedback_path, model_sha256).box


class _Panel:
    """The widgets, and what is shown in them at the moment."""

    def __init__(
        self,
        coach: FineTunedGolfFeedbackGenerator,
        observations: dict[str, list[str]],
        feedback_path: Path,
        model_sha256: str,
    ):
        self.coach, self.observations, self.feedback_path, self.model_sha256 = (
            coach,
            observations,
            feedback_path,
            model_sha256,
        )
        self.feedback: dict | None = None
        # In pixels: a rem is a third smaller in the classic Notebook.
        wide = {"style": {"description_width": "136px"}, "layout": ipywidgets.Layout(width="400px")}

        def slider(
            value: float,
            description: str,
            low=0.0,
            high=1.0,
            step=0.01,
            kind=ipywidgets.FloatSlider,
            **more,
        ):
            made = kind(
                value=value, min=low, max=high, step=step, description=description, **wide, **more
            )
            # Without it ipywidgets 8 shows "null" on hover; as an argument ipywidgets 7 would not know it.
            made.tooltip = description
            return made

        def dropdown(options, value, description: str):
            return ipywidgets.Dropdown(
                options=options, value=value, description=description, **wide
            )

        self.area = dropdown([(area.label, key) for key, area in AREAS.items()], AREA, "area")
        self.target = slider(TARGET, "target", readout_format=".2f")
        self.issue = dropdown(["not said", *observations[AREA]], observations[AREA][0], "seen")
        self.club, self.level = (
            dropdown(list(CLUBS), CLUB, "club"),
            dropdown(list(LEVELS), LEVELS[0], "level"),
        )
        self.handedness = dropdown(list(HANDEDNESS), HANDEDNESS[0], "handedness")
        self.scores = {
            name: slider(SCORES[name], SCORE_LABELS[name], readout_format=".2f")
            for name in ALL_SCORES
        }
        self.temperature = slider(coach.config.temperature, "temperature", 0.1, 1.5, 0.05)
        self.top_k = slider(coach.config.top_k, "top_k (0: all)", 0, 200, 1, ipywidgets.IntSlider)
        self.top_p = slider(coach.config.top_p, "top_p", 0.05, 1.0, 0.05)
        self.n_candidates = slider(
            coach.config.n_candidates, "candidates", 1, 32, 1, ipywidgets.IntSlider
        )
        self.seed = ipywidgets.IntText(value=coach.seed, description="seed", **wide)

        self.ask = ipywidgets.Button(
            description="Give feedback", button_style="success", icon="comment"
        )
        self.cards = ipywidgets.HTML(feedback_cards(None))
        self.better = ipywidgets.Textarea(
            description="better wording", style=wide["style"], layout=ipywidgets.Layout(width="auto", height="144px"),
            placeholder="Optional: the answer as it should have been, with its three headings.",
        )  # fmt: skip
        self.thumbs = {
            "up": ipywidgets.Button(description="Helpful", icon="thumbs-up", disabled=True),
            "down": ipywidgets.Button(description="Not helpful", icon="thumbs-down", disabled=True),
        }
        self.note = ipywidgets.HTML()

        self.area.observe(self._offer_faults, names="value")
        self.ask.on_click(self._answer)
        for thumb, button in self.thumbs.items():
            button.on_click(lambda _, thumb=thumb: self._keep(thumb))
        sampling = ipywidgets.Accordion(
            [
                ipywidgets.VBox(
                    [self.temperature, self.top_k, self.top_p, self.n_candidates, self.seed]
                )
            ],
            selected_index=None,
        )
        # The way to set a title that ipywidgets 7 (Colab) and 8 share.
        sampling.set_title(0, "Sampling, for the candidates after a refused first answer")
        swing = ipywidgets.VBox(
            [self.area, self.target, self.issue, self.club, self.level, self.handedness]
        )
        controls = ipywidgets.HBox(
            [swing, ipywidgets.VBox(list(self.scores.values()))],
            layout=ipywidgets.Layout(flex_flow="row wrap"),
        )
        opinion = [ipywidgets.HBox(list(self.thumbs.values())), self.better, self.note]
        self.box = ipywidgets.VBox([controls, sampling, self.ask, self.cards, *opinion])
        self.box.add_class("golf-panel")

    def _offer_faults(self, change) -> None:
        names = self.observations[change["new"]]
        self.issue.options, self.issue.value = ["not said", *names], names[0]

    def _answer(self, _) -> None:
        self.ask.disabled, self.ask.description, self.note.value = True, "Writing ...", ""
        self._allow_thumbs(False)
        coach = self.coach
        sampling = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "n_candidates": self.n_candidates,
        }
        coach.config = replace(
            coach.config, **{name: control.value for name, control in sampling.items()}
        )
        coach.seed = self.seed.value
        scores = {name: slider.value for name, slider in self.scores.items()}
        golfer = self.club.value, self.level.value, self.handedness.value
        issue = self.issue.value if self.issue.value in self.observations[self.area.value] else None
        request, drawn = _request(self.area.value, scores, self.target.value, issue, *golfer), 0.0
        try:
            for written in coach.stream_feedback(**request):
                if isinstance(written, dict):
                    self.feedback = written
                elif time.monotonic() - drawn > SECONDS_BETWEEN_DRAFTS:
                    self.cards.value, drawn = feedback_cards(written), time.monotonic()
            self.cards.value, self.better.value = (
                feedback_cards(self.feedback),
                self.feedback["suggestion"],
            )
            self._allow_thumbs(True)
        finally:
            self.ask.disabled, self.ask.description = False, "Give feedback"

    def _keep(self, thumb: str) -> None:
        if self.thumbs[thumb].disabled:
            # The second half of a double click, which came before the page knew.
            return
        feedback, better = self.feedback, self.better.value
        request = {"instruction": INSTRUCTIONS[0], "input": feedback["verification"]["input"]}
        try:
            parse_feedback(better or feedback["suggestion"])
            append_feedback(
                self.feedback_path, request, feedback["suggestion"], thumb, better, feedback["generated_by"], self.model_sha256
            )  # fmt: skip
        except (FeedbackFormatError, ValueError, OSError) as error:
            self.note.value = f'<p class="golf-refused">Not kept: {html.escape(str(error))}</p>'
            return
        self._allow_thumbs(False)
        self.note.value = f"<p>Kept in <code>{html.escape(str(self.feedback_path))}</code>.</p>"

    def _allow_thumbs(self, allowed: bool) -> None:
        for button in self.thumbs.values():
            button.disabled = not allowed


def _request(
    area: str,
    scores: dict[str, float],
    target: float,
    issue: str | None,
    club: str,
    level: str,
    handedness: str,
) -> dict:
    """The arguments of generate_feedback."""
    return {
        "area": area, "issue": issue, "current_score": scores[area], "target_score": target, "gap": target - scores[area],
        "impact_level": None, "golfer_context": {"club": club, "level": level, "handedness": handedness},
        "all_quality_scores": [scores[name] for name in ALL_SCORES],
    }  # fmt: skip
