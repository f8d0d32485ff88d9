"""Write docs/answers.md: ten answers of each kind, by the coach that a run of the notebooks left.

    python tools/write_answers.py

The requests are what the test authors said, whom neither the reader nor the model has heard; which
ones, who plays and with what is drawn from a seed. Read them aloud before you publish a change of
the knowledge base.
"""

import random
import sys
from pathlib import Path

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.golf.areas import AREAS, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.golf.reader import Wording, load_wordings, wordings_folder
from golf_nb_utils.golf.topic import OUTCOMES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "answers.md"
TITLES = {
    "fault": "The words name a fault",
    "unclear": "They do not, or there are none",
    "outcome": "They say what the ball does",
    "other_area": "They mean another area",
    "follow_up": "It was tried, and did not help",
    "keep": "The target is met",
    "refer": "Pain, illness, or golf that needs a specialist",
}
EACH = 10
HEAD = """# Ten answers of each kind

```bash
python tools/write_answers.py     # after a run of the notebooks
```

Written by `tiny`, steered, to people whom neither it nor the reader of their words had heard. The
app sends an area, two scores, the club, the level and what was said; [in an app](app.md) has the
kinds of answer.
"""


def meant_for(remark: Wording) -> list[str]:
    """Return the kinds of answer that a remark may be given."""
    if remark.kind == "body":
        return ["refer"]
    if remark.meaning in OUTCOMES:
        return ["outcome"]
    if remark.meaning == "follow_up":
        return ["follow_up"]
    return ["fault", "other_area", "keep"] if remark.meaning else ["unclear"]


def drawn_request(draw: random.Random, remark: Wording, kind: str) -> dict:
    """Return arguments of generate_feedback around a remark whose answer may be of `kind`."""
    target = draw.choice([0.8, 0.85, 0.9])
    score = target + 0.05 if kind == "keep" else draw.choice([0.3, 0.45, 0.6, 0.7])
    others = [area for area in AREAS if area != remark.area]
    area = draw.choice(others) if kind == "other_area" or not remark.area else remark.area
    golfer = {"level": draw.choice(LEVELS), "handedness": draw.choice(HANDEDNESS)}
    return {
        "area": area, "issue": remark.text, "current_score": score, "target_score": target,
        "gap": target - score, "impact_level": None, "golfer_context": golfer,
        "swing_type": draw.choice(list(CLUBS)),
    }  # fmt: skip


def shown(request: dict, feedback: dict) -> str:
    """Return a request and its answer as Markdown."""
    golfer = request["golfer_context"]
    asked = (
        f"{AREAS[request['area']].label} {request['current_score']:.2f} of "
        f"{request['target_score']:.2f}, {request['swing_type']}, {golfer['level']}, "
        f"{golfer['handedness']}-handed"
    )
    answer = "\n".join(
        f"> {line}  " if line else ">" for line in feedback["suggestion"].split("\n")
    )
    fault = feedback["verification"]["chain"] or feedback["verification"]["fault"]
    return f"**{asked}**: “{request['issue']}”{f' ({fault})' if fault else ''}\n\n{answer}\n"


def main() -> int:
    """Write the page and print where it is; return 0."""
    coach = FineTunedGolfFeedbackGenerator.load("tiny")
    draw = random.Random(20)
    remarks = load_wordings(wordings_folder(), coach.knowledge)
    remarks = [remark for remark in remarks if remark.split == "test"]
    draw.shuffle(remarks)
    answers: dict[str, list[str]] = {kind: [] for kind in TITLES}
    for kind, written in answers.items():
        for remark in remarks:
            if len(written) < EACH and kind in meant_for(remark):
                request = drawn_request(draw, remark, kind)
                feedback = coach.generate_feedback(**request)
                if feedback["verification"]["kind"] == kind:
                    written.append(shown(request, feedback))
    parts = (f"## {TITLES[kind]}\n\n" + "\n".join(each) for kind, each in answers.items())
    PAGE.write_text(HEAD + "\n" + "\n".join(parts), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
