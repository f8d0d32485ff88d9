"""The sentences around the advice: those that carry the scores, and those that the case asks for.

Each kind has several phrasings; the n-th of a kind goes by the id `say.{kind}.{n}`. A slot is
filled from the request alone.
"""

from functools import lru_cache

from golf_nb_utils.golf.areas import SCORE_LABELS

# All of ten words: the scores then stand in nearly the same place of every prompt, which a small
# model learns sooner.
INSTRUCTIONS = (
    "Give the golfer feedback on this part of the swing.",
    "Turn this swing score into coaching that the golfer understands.",
    "Explain this score and tell the golfer what to practise.",
    "Coach the golfer on the one area that was scored.",
    "Write swing feedback that helps the golfer in this area.",
    "Help this golfer to improve the area that was scored.",
    "Describe the ideal and the problem and the next steps.",
    "Tell this golfer how to get closer to the target.",
)

SEVERITY_WORDS = {
    "slight": "a little below",
    "clear": "clearly below",
    "large": "far below",
    "met": "in line with",
    "above": "above",
}

SAY = {
    "score": (
        "Your {label} score is {current}, {words} the target.",
        "Your {label} score of {current} is {words} the target.",
        "In {label} you score {current}, {words} the target.",
        "The app scores your {label} at {current}, {words} the target.",
    ),
    "target": (
        "The target for your {label} is {target}.",
        "Your {label} target is {target}.",
        "You are aiming for {target} in {label}.",
        "In {label} the goal is {target}.",
    ),
    "unclear": (
        "It tells how far you are from the target, not why.",
        "That says how far there is to go, and nothing about the reason.",
        "A score cannot tell what causes it.",
    ),
    "follow_up": (
        "Work that changed nothing calls for another cause.",
        "You gave it a fair try, so here is another cause.",
        "If that did not help, the cause may be another one.",
    ),
    "elsewhere": (
        "What you describe sounds like \"{fault}\": that belongs to {other}, not to {label}.",
        "Your words point to {other} (\"{fault}\") rather than to {label}.",
    ),
    "settle": (
        "Settle the {other} first: ask the app about it in the same words.",
        "Start with the {other}: tell the app the same about that area.",
    ),
    "earlier": (
        "Your {earlier} is low, too, and comes first in the swing: start there.",
        "Start with your {earlier}: it is low, too, and comes first.",
    ),
    "later": (
        "Your {later} is low, too; come to it once this is better.",
        "Leave your {later}, which is low, too, for after this.",
    ),
    "strength": (
        "Your {strength} is a strength to build on.",
        "You can rely on your {strength} meanwhile.",
    ),
    "time": {
        5: (
            "Five minutes are enough: only the drill, then the check.",
            "In five minutes, do only the drill and the check.",
        ),
        15: (
            "In fifteen minutes, do the drill first, then ten balls, then the check.",
            "With fifteen minutes: drill, ten balls, check.",
        ),
        40: (
            "In forty minutes, go round drill, ten balls and check three times.",
            "With forty minutes: three rounds of drill, ten balls and check.",
        ),
    },
    "safety": {
        "rods": (
            "Keep every stick and rod out of the path of the club.",
            "Before you swing, see that the club cannot meet a stick.",
        ),
        "one leg": (
            "Do this beside a wall or a chair that you can hold.",
            "Stand within reach of a wall or a chair.",
        ),
        "speed": (
            "Warm up first, and stop when your finish begins to wobble.",
            "Be warm before you swing fast, and end it when you lose your balance.",
        ),
        "throw": (
            "Look around first: nobody may stand in front of you or near you.",
            "Throw only where nobody can be hit.",
        ),
    },
}  # fmt: skip
"""Sentences by their kind; those of time are by the minutes, those of safety by a drill's risk."""
WITHOUT_SCORE = {
    "general.no_score": (
        "Without a score and a target for your {label} to go by, this is general advice."
    ),
    "general.no_area": (
        "It is not said which part of your swing this is about, "
        "so this is general advice on {label}."
    ),
}
"""What stands in place of the score where a request has none."""
_HOW_YOU_FEEL = "A golf swing should not hurt, and how you feel comes before any score."
REFERRALS = {
    "adaptive": (
        "A good swing is one that suits the way you play.",
        "This advice was written for swings on two feet with two hands, "
        "and a score cannot see what suits your way of playing.",
        "Ask a coach who is trained in adaptive golf; your national golf body can name one.",
        "Until then, choose a club that is light to swing and a ball position that you reach "
        "with ease.",
        "Pick a target and swing toward it to one even count, ten times without a ball.",
    ),
    "stop": (
        _HOW_YOU_FEEL,
        "What you write sounds like pain, an injury or a matter of health, "
        "and a swing score cannot judge that.",
        "Stop swinging for now, and do not try it out on the range.",
        "See a doctor or a physiotherapist before you practise again, and ask what you may do.",
        "Go today if you notice numbness, weakness in a leg, or trouble with bladder or bowel.",
        "After surgery your surgeon decides when you may swing, "
        "and in a pregnancy your midwife or doctor.",
    ),
    "day": (
        _HOW_YOU_FEEL,
        "What you write should be looked at today, and a swing score cannot judge it.",
        "Stop now, sit down, and do not drive a cart.",
        "Get medical advice today.",
        "Call your emergency number if it came suddenly, or comes with weakness on one side, "
        "trouble with speech or sight, a bad headache or chest pain.",
    ),
    "emergency": (
        _HOW_YOU_FEEL,
        "What you write can be an emergency, and a swing score has nothing to say to it.",
        "Stop, and call your emergency number now: 112, 911 or 999.",
        "Do not drive yourself, and ask somebody near you to stay until help is there.",
    ),
}
"""What golf.referral finds, as an answer says it: what should happen, what happens, what to do.

Whom to see, how soon and the signs follow the back pain page of the Sheffield NHS, stroke.org.uk,
heart.org ("Don't die of doubt") and CRT6 (Echemendia et al., BJSM 57:689, 2023). What suits a
golfer who plays seated, with one arm or with low vision follows the coach pages of the EDGA
(edgagolf.com).
"""
REFERRED = {
    "refer.score": "Your {label} score of {current}, with its target of {target}, can wait.",
} | {
    f"refer.{tier}.{number}": text
    for tier, texts in REFERRALS.items()
    for number, text in enumerate(texts)
}
"""Every sentence of an answer that refers to somebody else, by its id."""
ADAPTED = {
    "senior": "As a senior",
    "junior": "As a junior",
    "limited mobility": "With limited mobility",
}
LABELS = ("Check", "Swing thought", "Safety", *ADAPTED.values())
"""What a line or a sentence of WHAT TO DO may begin with, before a colon."""
SAY_BY_ID = {
    f"say.{kind}.{number}": text
    for kind, texts in {
        **{kind: texts for kind, texts in SAY.items() if isinstance(texts, tuple)},
        **{f"time.{minutes}": texts for minutes, texts in SAY["time"].items()},
        **{f"safety.{risk}": texts for risk, texts in SAY["safety"].items()},
    }.items()
    for number, text in enumerate(texts, 1)
}
FIRST_THINGS_FIRST = (
    "setup_quality", "body_rotation", "weight_shift", "tempo_rhythm", "followthrough", "balance",
)  # fmt: skip
"""The order in which areas are worked on: what builds on another comes after it.

Impact and consistency are results, so they are not in it. That setup comes first is common teaching
(PGA Lesson Book, M. White, B. Harmon); no study was found that tests an order.
"""

# Another score is a strength from here on, and low below there; this project's own proposal.
STRENGTH_FROM = 0.70
WEAKEST_BELOW = 0.60

# Severity is how far the score lies below the target; the edges are this project's proposal, not a
# measurement.
SEVERITY_EDGES = {"none": 0.05, "slight": 0.15, "clear": 0.30, "large": 1.01}


@lru_cache(maxsize=1 << 14)
def severity_of(current: float, target: float) -> str:
    """Return none, slight, clear or large for the gap between two scores of 0..1."""
    gap = round(target - current, 2)
    return next(name for name, edge in SEVERITY_EDGES.items() if gap < edge)


@lru_cache(maxsize=1 << 10)
def percent(score: float) -> str:
    """Print a score of 0..1 as an answer has it: 0.45 becomes 45.0%."""
    return f"{round(score, 2) * 100:.1f}%"


def score_slots(
    area: str, current: float, target: float, all_scores: dict[str, float] | None
) -> dict[str, str]:
    """Return what fills the slots of SAY: labels, percentages, and the words that fit the gap.

    `strength` is the best of the other scores; `earlier` or `later` is the low one that comes first
    in FIRST_THINGS_FIRST, seen from the area. They are absent where no score qualifies
    (STRENGTH_FROM, WEAKEST_BELOW) or `all_scores` has none.
    """
    severity = severity_of(current, target)
    if severity == "none":
        severity = "above" if round(current - target, 2) >= SEVERITY_EDGES["none"] else "met"
    slots = {
        "label": SCORE_LABELS[area],
        "current": percent(current),
        "target": percent(target),
        "words": SEVERITY_WORDS[severity],
    }
    others = {name: score for name, score in (all_scores or {}).items() if name != area}
    if others:
        best = max(others, key=others.get)
        if others[best] >= STRENGTH_FROM:
            slots["strength"] = SCORE_LABELS[best]
    low = [name for name in FIRST_THINGS_FIRST if others.get(name, 1.0) < WEAKEST_BELOW]
    if low:
        is_earlier = FIRST_THINGS_FIRST.index(low[0]) < FIRST_THINGS_FIRST.index(area)
        slots["earlier" if is_earlier else "later"] = SCORE_LABELS[low[0]]
    return slots
