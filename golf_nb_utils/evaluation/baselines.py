"""The baseline without a model: the answer of the training record that asked the most alike.

A model that is worth its training must say more than the nearest example that it was shown.
"""

from collections.abc import Iterable

import numpy as np

from golf_nb_utils.golf.areas import CLUBS
from golf_nb_utils.golf.request import parse_input

# What a line that differs costs, in points of score (1 is the whole scale); this project's choice.
# The fault that was observed decides what the advice is about, so it comes before any score.
_COSTS = {
    "observation": 1.0, "club family": 0.2, "club": 0.02, "level": 0.2, "handedness": 0.2,
    "golfer": 0.2, "all scores shown": 0.2,
}  # fmt: skip


class Retrieval:
    """The inputs and answers of the training records, by area."""

    def __init__(self, records: Iterable[dict]):
        """Keep input and output of each record; it takes about 2 kB a record.

        Raises:
            InputFormatError: an input is malformed.
        """
        by_area: dict[str, list[tuple[dict, str]]] = {}
        for record in records:
            values = parse_input(record["input"])
            by_area.setdefault(values["area"], []).append((values, record["output"]))
        self.answers = {area: [answer for _, answer in rows] for area, rows in by_area.items()}
        self.codes: dict[str, int] = {}
        self.lines = {
            area: np.array([self._coded(values) for values, _ in rows])
            for area, rows in by_area.items()
        }
        self.scores = {
            area: np.array([_scores(values) for values, _ in rows])
            for area, rows in by_area.items()
        }

    def _coded(self, values: dict) -> list[int]:
        lines = (
            values["observation"], CLUBS.get(values["club"]), values["club"], values["level"],
            values["handedness"] or "right", values["audience"] or "adult",
            values["all_scores"] is not None,
        )  # fmt: skip
        # A number for each text, so that thousands of records are compared at once.
        return [self.codes.setdefault(str(line), len(self.codes)) for line in lines]

    def answer(self, input_text: str) -> str:
        """Return the answer of the nearest training input of the same area, as it stands.

        The distance is the sum of the differences of current score, target and gap, plus a constant
        for each line that differs: observation, club, level, handedness, golfer, and whether all
        scores are shown. Of several nearest it is the first, of an area never taught "".

        Raises:
            InputFormatError: the input is malformed.
        """
        values = parse_input(input_text)
        if values["area"] not in self.answers:
            return ""
        lines = self.lines[values["area"]] != np.array(self._coded(values))
        scores = np.abs(self.scores[values["area"]] - np.array(_scores(values)))
        distances = lines @ np.array(list(_COSTS.values())) + scores.sum(axis=1)
        # Sums of decimal scores differ in their last bits, which must not choose among equals.
        return self.answers[values["area"]][int(np.argmin(distances.round(6)))]


def _scores(values: dict) -> tuple[float, float, float]:
    current, target = values["current_score"], values["target_score"]
    return current, target, max(0.0, target - current)
