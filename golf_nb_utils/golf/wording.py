"""The sentences that carry the scores: what an answer says around the items of the knowledge base.

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

# In score and goal the current score comes first and the target second: Reading.stated, in
# sentences.py, relies on it.
SAY = {
    "score": (
        "Your {label} score is currently {current}, {words} the target of {target}.",
        "Your {label} score, currently {current}, is {words} the target of {target}.",
        "In {label} you are currently at {current}, {words} the target of {target}.",
        "For your {label} the app shows a current {current}, {words} the target of {target}.",
        "Your current {label} score of {current} is {words} the target of {target}.",
        "With a current {label} score of {current} you are {words} the target of {target}.",
    ),
    "target": (
        "The target for your {label} is {target}.",
        "You are aiming for a target of {target} in {label}.",
        "A {label} score at the target of {target} is the goal.",
        "For your {label} the app has set a target of {target}.",
        "Your {label} target is {target}.",
        "What counts as good {label} for you is the target of {target}.",
    ),
    "praise": (
        "There is no fault to chase here, so keep what works.",
        "Nothing needs to be rebuilt, so protect what you do well.",
        "This part of your swing is doing its job, so look after it.",
        "You can trust this part of your swing and refine it in small steps.",
    ),
    "unclear": (
        "The score tells how far you are from the target, not why, so begin with the check.",
        "What causes it a score cannot tell: the check below tests one common reason.",
        "The score does not say why, and the check helps you to find out.",
        "Several things can cause this, so start with the check and see whether it is this one.",
    ),
    "ask": (
        "Next: tell the app what the check showed, and its next answer can be more exact.",
        "Next: say in your own words what you saw or felt, so that the advice can be about you.",
    ),
    "goal": (
        "Goal: take your {label} from currently {current} to the target of {target}.",
        "Goal: {label} up from the current {current} to the target of {target}.",
        "Goal: move the current {current} in {label} toward the target of {target}.",
        "Goal: raise {label} from the current {current} until it meets the target of {target}.",
    ),
    "strength": (
        "Build on your {strength}, the best of your other scores at {strength_score}.",
        "Your {strength} at {strength_score} is the best of your other scores, so build on it.",
        "A strength to build on is your {strength}, "
        "at {strength_score} the best of your other scores.",
    ),
    "weakest": (
        "Of your other scores {weakest} is the lowest at {weakest_score}, so look at it next.",
        "The lowest of your other scores is {weakest} at {weakest_score}; come to it next.",
        "Once this is better, turn to your {weakest}, "
        "at {weakest_score} the lowest of your other scores.",
    ),
    "weakest_keep": (
        "Of your other scores {weakest} is the lowest at {weakest_score}, so practise there next.",
        "The lowest of your other scores is {weakest} at {weakest_score}; "
        "that is the place for your practice.",
        "Give your next practice to your {weakest}, "
        "at {weakest_score} the lowest of your other scores.",
    ),
}  # fmt: skip
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
REFERRALS = {
    "stop": (
        "What you write sounds like pain, an injury or a matter of health, "
        "and a swing score cannot judge that.",
        "Stop swinging for now, and do not try it out on the range.",
        "See a doctor or a physiotherapist before you practise again, and ask what you may do.",
        "Go today if you notice numbness, weakness in a leg, or trouble with bladder or bowel.",
        "After surgery your surgeon decides when you may swing, "
        "and in a pregnancy your midwife or doctor.",
    ),
    "day": (
        "What you write should be looked at today, and a swing score cannot judge it.",
        "Stop now, sit down, and do not drive a cart.",
        "Get medical advice today.",
        "Call your emergency number if it came suddenly, or comes with weakness on one side, "
        "trouble with speech or sight, a bad headache or chest pain.",
    ),
    "emergency": (
        "What you write can be an emergency, and a swing score has nothing to say to it.",
        "Stop, and call your emergency number now: 112, 911 or 999.",
        "Do not drive yourself, and ask somebody near you to stay until help is there.",
    ),
}
"""What golf.referral finds, as an answer says it: what is happening, then what to do.

Whom to see, how soon and the signs follow the back pain page of the Sheffield NHS, stroke.org.uk,
heart.org ("Don't die of doubt") and CRT6 (Echemendia et al., BJSM 57:689, 2023).
"""
REFERRED = {
    "refer.ideal": "A golf swing should not hurt, and how you feel comes before any score.",
    "refer.score": "Your {label} score of {current}, with its target of {target}, can wait.",
} | {
    f"refer.{tier}.{number}": text
    for tier, texts in REFERRALS.items()
    for number, text in enumerate(texts)
}
"""Every sentence of an answer to somebody who speaks of pain or illness, by its id."""
ADAPTED = {
    "senior": "As a senior",
    "junior": "As a junior",
    "limited mobility": "With limited mobility",
}
LABELS = ("Check", "Easier", "Harder", "Swing thought", "Goal", "Safety", *ADAPTED.values())
"""What a line or a sentence of WHAT TO DO may begin with, before a colon."""
SAY_BY_ID = {
    f"say.{kind}.{number}": text
    for kind, texts in SAY.items()
    for number, text in enumerate(texts, 1)
}

# Another score is a strength from here on, and worth a word of warning below there; this project's
# own proposal.
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

    `strength` and `weakest` are the best and the lowest of the other scores; they are absent where
    no score qualifies (STRENGTH_FROM, WEAKEST_BELOW) or `all_scores` has none.
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
        best, lowest = max(others, key=others.get), min(others, key=others.get)
        if others[best] >= STRENGTH_FROM:
            slots |= {"strength": SCORE_LABELS[best], "strength_score": percent(others[best])}
        if others[lowest] < WEAKEST_BELOW:
            slots |= {"weakest": SCORE_LABELS[lowest], "weakest_score": percent(others[lowest])}
    return slots
