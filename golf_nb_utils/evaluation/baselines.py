"""The baseline without a model: the answer of the training record with the likest input."""

from collections.abc import Iterable

import numpy as np

from golf_nb_utils.golf.areas import CLUBS
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.request import Request

# What a line that differs costs, in points of score (1 is the whole scale); this project's choice.
# What the words mean decides what the advice is about, so it comes before any score.
_COSTS = {
    "meaning": 1.0, "club family": 0.2, "club": 0.02, "level": 0.2, "handedness": 0.2,
    "golfer": 0.2, "all scores shown": 0.2,
}  # fmt: skip


class Retrieval:
    """The inputs and answers of the training records, by area."""

    def __init__(self, records: Iterable[Record]):
        """Keep input and output of each record; it takes about 2 kB a record.

        Raises:
            InputFormatError: an input is malformed.
        """
        by_area: dict[str, list[tuple[Request, str]]] = {}
        for record in records:
            request = Request.from_text(record.input)
            by_area.setdefault(request.area, []).append((request, record.output))
        self._codes: dict[str, int] = {}
        self._answers = {area: [answer for _, answer in rows] for area, rows in by_area.items()}
        self._lines = {
            area: np.array([self._coded(request) for request, _ in rows])
            for area, rows in by_area.items()
        }
        self._scores = {
            area: np.array([_scores(request) for request, _ in rows])
            for area, rows in by_area.items()
        }

    def _coded(self, request: Request) -> list[int]:
        """A number for each line of _COSTS, so that thousands of records are compared at once."""
        family, shown = CLUBS.get(request.club), request.all_scores is not None
        club, level, golfer, _ = request.case
        lines = (request.meaning, family, club, level, request.hand, golfer, shown)
        return [self._codes.setdefault(str(line), len(self._codes)) for line in lines]

    def answer(self, input_text: str) -> str:
        """Return the answer of the nearest training input of the same area, as it stands.

        It is "" where the area was never taught.

        The distance is the sum of the differences of current score, target and gap, plus a constant
        for each line that differs: meaning, club, level, handedness, golfer, and whether all
        scores are shown. Of several nearest the first is taken.

        Raises:
            InputFormatError: the input is malformed.
        """
        request = Request.from_text(input_text)
        if request.area not in self._answers:
            return ""
        lines = self._lines[request.area] != np.array(self._coded(request))
        scores = np.abs(self._scores[request.area] - np.array(_scores(request)))
        distances = lines @ np.array(list(_COSTS.values())) + scores.sum(axis=1)
        # Sums of decimal scores differ in their last bits, which must not choose among equals.
        return self._answers[request.area][int(np.argmin(distances.round(6)))]


def _scores(request: Request) -> tuple[float, float, float]:
    return request.current_score, request.target_score, request.gap
