"""What the app scores and whom it knows: areas, clubs, levels, hands, audiences and how far a score is from its target."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Area:
    """One scored area of the swing: the app's key, the words for a golfer, the knowledge folder."""

    key: str
    label: str
    folder: str


AREAS = {
    area.key: area
    for area in (
        Area("setup_quality", "setup", "setup"),
        Area("tempo_rhythm", "tempo and rhythm", "tempo_rhythm"),
        Area("weight_shift", "weight shift", "weight_shift"),
        Area("body_rotation", "body rotation", "body_rotation"),
        Area("followthrough", "follow-through", "followthrough"),
        Area("balance", "balance", "balance"),
    )
}
# The app's full score vector, in its order; impact_quality and consistency are scores, never the area of an answer.
ALL_SCORES = (
    "setup_quality", "tempo_rhythm", "weight_shift", "body_rotation",
    "impact_quality", "followthrough", "balance", "consistency",
)  # fmt: skip
CLUBS = {
    "driver": "driver", "3-wood": "wood", "5-wood": "wood", "hybrid": "wood",
    "5-iron": "iron", "6-iron": "iron", "7-iron": "iron", "8-iron": "iron", "9-iron": "iron",
    "pitching wedge": "wedge", "sand wedge": "wedge",
}  # fmt: skip
CLUB_FAMILIES = ("driver", "wood", "iron", "wedge")
LEVELS = ("beginner", "intermediate", "advanced")
HANDEDNESS = ("right", "left")
AUDIENCES = ("adult", "senior", "junior", "limited mobility")
# How far a score lies below its target: none (met, or nearly), then three bands.
SEVERITIES = ("slight", "clear", "large")

SCORE_LABELS = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift", "body_rotation": "body rotation",
    "impact_quality": "impact", "followthrough": "follow-through", "balance": "balance", "consistency": "consistency",
}  # fmt: skip
