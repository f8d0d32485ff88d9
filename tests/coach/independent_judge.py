"""An independent check of feedback: it knows the topic files and the wording with scores, and neither the grammar nor the checks."""

import re
from collections import Counter

from golf_nb_utils.golf.wording import REFERRED, SAY

SHOULD = "WHAT SHOULD HAPPEN (Ideal/Expected):"
HAPPENING = "WHAT IS HAPPENING (Current Issue):"
STEPS = "WHAT TO DO (Actionable Steps):"
LABELS = (
    "Check",
    "Easier",
    "Harder",
    "Swing thought",
    "Safety",
    "As a senior",
    "As a junior",
    "With limited mobility",
)
NAMES = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift", "body_rotation": "body rotation",
    "impact_quality": "impact", "followthrough": "follow-through", "balance": "balance", "consistency": "consistency",
}  # fmt: skip
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


class Judge:
    def __init__(self, knowledge):
        self.areas: dict[str, set[str]] = {}
        self.drills = set()
        for topic in knowledge.topics:
            texts = [*topic.sentences().values()]
            for left, right in (("left", "right"), ("right", "left")):
                for text in texts:
                    self.areas.setdefault(
                        text.replace("{left}", left).replace("{right}", right), set()
                    ).add(topic.area)
                self.drills |= {
                    drill.text.replace("{left}", left).replace("{right}", right)
                    for drill in topic.drills
                }
        self.by_start: dict[str, list[str]] = {}
        for text in sorted(self.areas, key=len, reverse=True):
            self.by_start.setdefault(text[:9], []).append(text)

    def phrases(self, area, current, target, scores):
        """Every sentence that may state a score of this request."""
        gap = round(target - current, 2)
        far = next(
            (
                words
                for edge, words in (
                    (0.30, "far below"),
                    (0.15, "clearly below"),
                    (0.05, "a little below"),
                )
                if gap >= edge
            ),
            "",
        )
        slots = {"label": NAMES[area], "current": f"{current:.1%}", "target": f"{target:.1%}"}
        slots["words"] = far or ("above" if gap <= -0.05 else "in line with")
        others = {name: score for name, score in scores.items() if name != area}
        phrases = {text.format_map({**slots, "strength": "\0", "strength_score": "\0", "weakest": "\0", "weakest_score": "\0"})
                   for texts in SAY.values() for text in texts}  # fmt: skip
        for name, score in others.items():
            if score == max(others.values()) and score >= 0.70:
                phrases |= {
                    text.format(strength=NAMES[name], strength_score=f"{score:.1%}")
                    for text in SAY["strength"]
                }
            if score == min(others.values()) and score < 0.60:
                texts = SAY["weakest"] + SAY["weakest_keep"]
                phrases |= {
                    text.format(weakest=NAMES[name], weakest_score=f"{score:.1%}") for text in texts
                }
        return {phrase for phrase in phrases if "\0" not in phrase}

    def check(self, feedback, area, truth):
        """Assert that a feedback holds nothing but the area's knowledge and the true scores: (current, target, others) or None."""
        text = feedback["suggestion"]
        assert feedback.keys() == KEYS
        assert feedback["verification"]["passed"]
        assert re.fullmatch(
            rf"{re.escape(SHOULD)}\n.+\n\n{re.escape(HAPPENING)}\n.+\n\n{re.escape(STEPS)}\n(.+\n)*.+",
            text,
        )
        assert text == "\n\n".join(
            f"{heading}\n{feedback[key]}"
            for heading, key in (
                (SHOULD, "what_should_happen"),
                (HAPPENING, "what_is_happening"),
                (STEPS, "what_to_do"),
            )
        )
        allowed = self.phrases(area, *truth) if truth else set()
        areas = Counter()
        if feedback["verification"]["kind"] == "refer":
            # Whom to see, and not a word about the swing.
            said = {REFERRED[one["id"]] for one in feedback["verification"]["sentences"]}
            lines = re.sub(r"(?m)^[0-9][.] ", "", text).split("\n")
            told = [line for line in lines if line not in (SHOULD, HAPPENING, STEPS, "")]
            wait = (
                f" Your {NAMES[area]} score of {truth[0]:.1%}, with its target of {truth[1]:.1%}, can wait."
                if truth
                else ""
            )
            assert all(line.removesuffix(wait) in said for line in told)
            assert feedback["drill"] == ""
            return
        for line in text.split("\n"):
            if line in (SHOULD, HAPPENING, STEPS):
                continue
            rest = re.sub(r"^[0-9][.] ", "", line)
            while rest:
                rest = re.sub(rf"^ ?(?:(?:{'|'.join(LABELS)}): )?", "", rest)
                known = next(
                    (known for known in self.by_start.get(rest[:9], ()) if rest.startswith(known)),
                    None,
                )
                if known is not None:
                    areas.update(self.areas[known])
                else:
                    known = next((phrase for phrase in allowed if rest.startswith(phrase)), None)
                if (
                    known is None
                    and truth is None
                    and (match := re.match(r".* this is general advice( on [a-z -]+)?\.$", rest))
                ):
                    known = match[0]
                assert known is not None, (rest, truth)
                rest = rest[len(known) :]
        assert areas[area] == max(areas.values())
        assert feedback["drill"] in self.drills
        assert feedback["drill"] in feedback["what_to_do"]
        if truth:
            current, target, _ = truth
            stated = re.findall(r"[0-9.]+%", feedback["what_is_happening"])
            assert stated[:2] == [f"{current:.1%}", f"{target:.1%}"]
            assert f"{target:.1%}" in feedback["what_should_happen"]
        else:
            assert "%" not in text
            assert "score suggests" not in text
