"""What the app scores and whom it knows: areas, clubs, levels, hands, audiences, gaps."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One of the app's scores (0..1): its key, the words for a golfer, and where it is taught.

    A score with a `folder` of topic files is an area: the coach answers about it. The others only
    stand beside it among all scores.
    """

    key: str
    label: str
    folder: str = ""


# In the order of the app's score vector. A new area is one line here and its folder of topics.
SCORES = (
    Score("setup_quality", "setup", folder="setup"),
    Score("tempo_rhythm", "tempo and rhythm", folder="tempo_rhythm"),
    Score("weight_shift", "weight shift", folder="weight_shift"),
    Score("body_rotation", "body rotation", folder="body_rotation"),
    Score("impact_quality", "impact"),
    Score("followthrough", "follow-through", folder="followthrough"),
    Score("balance", "balance", folder="balance"),
    Score("consistency", "consistency"),
)
AREAS = {score.key: score for score in SCORES if score.folder}
ALL_SCORES = tuple(score.key for score in SCORES)
SCORE_LABELS = {score.key: score.label for score in SCORES}

CLUBS = {
    "driver": "driver", "3-wood": "wood", "5-wood": "wood", "hybrid": "wood",
    "3-iron": "iron", "4-iron": "iron", "5-iron": "iron", "6-iron": "iron", "7-iron": "iron",
    "8-iron": "iron", "9-iron": "iron",
    "pitching wedge": "wedge", "gap wedge": "wedge", "sand wedge": "wedge", "lob wedge": "wedge",
    "putter": "putter",
}  # fmt: skip
"""{club: its family}."""
CLUB_FAMILIES = ("driver", "wood", "iron", "wedge", "putter")
SWUNG = CLUB_FAMILIES[:-1]
"""The families of a full swing: what who names no club is taken to have in hand."""
LEVELS = ("beginner", "intermediate", "advanced")
HANDEDNESS = ("right", "left")
AUDIENCES = ("adult", "senior", "junior", "limited mobility")
# How far a score lies below its target, in three bands; a gap of none (met, or nearly) is no band.
SEVERITIES = ("slight", "clear", "large")
