"""Is a feedback, as the app gets it, whole and right? With the judge of answers, which knows neither the grammar nor the checks."""

import re
from dataclasses import replace
from functools import cached_property

import judge

from golf_nb_utils.golf.request import Request

SHOULD = "WHAT SHOULD HAPPEN (Ideal/Expected):"
HAPPENING = "WHAT IS HAPPENING (Current Issue):"
STEPS = "WHAT TO DO (Actionable Steps):"
NAMES = judge.NAMES
KEYS = {
    "what_should_happen",
    "what_is_happening",
    "what_to_do",
    "suggestion",
    "drill",
    "key_points",
    "generated_by",
    "verification",
}


class Judge(judge.Judge):
    def check(self, feedback, area, truth):
        """Assert that a feedback is a right answer to what was read, with the true scores: (current, target, others) or None."""
        text, verification = feedback["suggestion"], feedback["verification"]
        assert feedback.keys() == KEYS
        assert verification["passed"]
        parts = ((SHOULD, "what_should_happen"), (HAPPENING, "what_is_happening"), (STEPS, "what_to_do"))  # fmt: skip
        assert text == "\n\n".join(f"{heading}\n{feedback[key]}" for heading, key in parts)
        assert feedback["drill"] in feedback["what_to_do"]
        assert bool(feedback["drill"]) == (verification["kind"] in ("fault", "follow_up"))
        if truth is None:
            assert "%" not in text
            for one in verification["sentences"]:
                assert one["text"] in text
            return
        request = Request.from_text(verification["input"])
        current, target, others = truth
        assert (request.area, request.current_score, request.target_score) == (
            area,
            current,
            target,
        )
        for name, score in (request.all_scores or {}).items():
            assert score == (current if name == area else others[name])
        if request.all_scores:
            # Where All Scores has another value for the area, the current score counts.
            request = replace(request, all_scores=request.all_scores | {area: current})
        assert self.why_wrong(text, request) == ""
        assert re.findall(r"[0-9.]+%", feedback["what_should_happen"] * (verification["kind"] != "refer")) in ([], [f"{target:.1%}"])  # fmt: skip

    @cached_property
    def areas(self):
        """{sentence: the areas that say it}"""
        found = {}
        for texts in self.known.values():
            for text, facts in texts.items():
                found.setdefault(text, set()).update(owner.area for _, _, owner in facts)
        return found
