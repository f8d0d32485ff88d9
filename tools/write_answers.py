"""Write docs/answers.md: ten answers of each kind, by the coach that a run of the notebooks left.

    python tools/write_answers.py

The requests are what the test authors said, whom neither the reader nor the model has heard; which
ones, who plays and with what is drawn from a seed. Read them aloud before you publish a change of
the knowledge base.
"""

import random
import sys
from dataclasses import replace
from pathlib import Path

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.golf.areas import AREAS, CLUBS, LEVELS
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
COMPLAINTS = (
    "my lower back is killing me after nine holes",
    "sharp pain in my lead wrist every time I catch it fat",
    "i go dizzy when i bend down to tee it up",
    "tight chest walking up the fourteenth, better once i sat down",
    "had a new hip in March, when can I hit the driver again",
    "seven months pregnant and my turn has got shorter",
    "two fingers go numb after half a bucket",
    "golf elbow again, I tape it and carry on",
    "banged my head on the cart roof, been foggy since",
    "I play from a wheelchair and keep topping it",
)
"""No author wrote of pain, which is never learnt; see golf.referral."""
HEAD = """# Ten answers of each kind

```bash
python tools/write_answers.py     # after a run of the notebooks
```

Written by `tiny`, steered, to people whom neither it nor the reader of their words had heard. The
app sends an area, two scores, the club, the level and what was said; [in an app](app.md) has the
kinds of answer. The remarks are drawn, not chosen: what was misunderstood stays in.
"""


def remarks_for(kind: str, said: list[Wording], draw: random.Random) -> list[Wording]:
    """Return remarks that a kind of answer may be given to, in the order of `said`."""
    faults = [each for each in said if each.area and each.meaning]
    nothing = [each for each in said if not each.meaning and each.kind != "body"]
    # An author leaves room for a drill's name.
    tried = [each.text.format(drill="drill") for each in said if each.meaning == "follow_up"]
    return {
        "fault": faults,
        "unclear": [each for each in nothing if each.kind != "praise"],
        "outcome": [each for each in said if each.meaning in OUTCOMES],
        "other_area": faults[EACH:],
        "follow_up": [
            replace(f, text=f"{f.text.rstrip('.')}. {draw.choice(tried)}") for f in faults
        ],
        "keep": [each for each in nothing if each.kind == "praise"],
        "refer": [replace(faults[0], text=text, kind="") for text in COMPLAINTS],
    }[kind]


def drawn_request(draw: random.Random, remark: Wording, kind: str) -> dict:
    """Return arguments of generate_feedback around a remark whose answer may be of `kind`."""
    target = draw.choice([0.8, 0.85, 0.9])
    score = target + 0.05 if kind == "keep" else draw.choice([0.3, 0.45, 0.6, 0.7])
    others = [area for area in AREAS if area != remark.area]
    is_known = remark.area and kind not in ("other_area", "refer")
    golfer = {"level": draw.choice(LEVELS)}
    golfer["handedness"] = "left" if remark.kind == "lefty" else "right"
    return {
        "area": remark.area if is_known else draw.choice(others), "issue": remark.text,
        "current_score": score, "target_score": target, "gap": target - score,
        "impact_level": None, "golfer_context": golfer, "swing_type": draw.choice(list(CLUBS)),
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
    wordings = load_wordings(wordings_folder(), coach.knowledge)
    said = [wording for wording in wordings if wording.split == "test"]
    draw.shuffle(said)
    answers: dict[str, list[str]] = {kind: [] for kind in TITLES}
    for kind, written in answers.items():
        for remark in remarks_for(kind, said, draw):
            if len(written) < EACH:
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
