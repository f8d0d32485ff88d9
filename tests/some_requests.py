"""Requests of all kinds, for tests of whatever answers them."""

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS
from golf_nb_utils.golf.request import MINUTES, Request
from golf_nb_utils.golf.topic import OUTCOMES as LABELS

OUTCOMES = list(LABELS.values())


def some_request(rng, knowledge):
    """A request with or without each of its optional lines; one in twelve has no score."""
    area = rng.choice(list(AREAS))
    target = rng.randint(5, 100)
    # As often far below the target as near it or above.
    low, high = rng.choice([(30, 100), (15, 29), (5, 14), (-4, 4), (-100, -5)])
    current = min(100, max(0, target - rng.randint(low, high)))
    own = [fault.name for fault in knowledge.faults if fault.area == area]
    names = [fault.name for fault in knowledge.faults]
    drills = [drill.name for drill in knowledge.drills if drill.area == area]
    scores = {name: rng.randint(0, 100) / 100 for name in ALL_SCORES if rng.random() < 0.9}
    is_scored = rng.random() < 11 / 12
    return Request(
        area,
        current / 100 if is_scored else None,
        target / 100 if is_scored else None,
        club=rng.choice([None, *CLUBS]),
        level=rng.choice([None, *LEVELS]),
        handedness=rng.choice([None, *HANDEDNESS]),
        observation=rng.choice([None, "I slice it", "tried it all week, still no better"]),
        meaning=rng.choice(
            [None, rng.choice(own), rng.choice(own), rng.choice(names), *rng.sample(OUTCOMES, 1)]
        ),
        tried=rng.choice([None, None, None, rng.choice(drills)]),
        minutes=rng.choice([None, None, *MINUTES]),
        all_scores=rng.choice([None, scores]),
        audience=rng.choice([None, *AUDIENCES]),
        area_is_known=is_scored or rng.random() < 0.5,
    )
