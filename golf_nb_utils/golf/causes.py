"""Which cause of a fault a golfer's words point to: the choice that a coach makes.

A fault has several chains, each with a cause of its own. Some golfers tell the cause on the side
("i flip because i want to see it fly"); most do not, and then the commonest is likeliest, which is
the first in the file. So the words are compared with what each chain says, and with remarks of
people who told that cause, by the angle between their TF-IDF vectors; a cause needs some evidence
before it overtakes a commoner one.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from golf_nb_utils.golf.knowledge import Advice, KnowledgeBase
from golf_nb_utils.golf.reader import LONGEST_TEXT, Reader, Wording, vector

COMMONEST_FIRST = (0.6, 0.25, 0.1, 0.05)
"""How likely a cause is before anything is said of it, in the order of the file; a proposal."""
SHARPNESS = 40.0
"""What a cosine of 1 adds to the logarithm of a cause's odds; found on the validation author."""


class Causes:
    """Weighs the chains of a fault by what somebody said; threads may share it."""

    def __init__(self, knowledge: KnowledgeBase, wordings: Iterable[Wording], reader: Reader):
        """Take the remarks of the training authors, and the grams that `reader` counts."""
        self._grams, self._rarity = reader.grams, reader.rarity
        self._texts: dict[str, list[str]] = {}
        for chain in knowledge.advice:
            if chain.kind == "fault":
                happening = [t for item in chain.items["happening"] for t in item.phrasings]
                self._texts[chain.id] = [chain.name, *happening]
        for each in wordings:
            if each.chain and each.split == "train":
                self._texts[each.chain].append(each.text)
        # Made when a fault is first asked for: nobody waits for those of all faults.
        self._directions: dict[str, dict[int, float]] = {}

    def _direction(self, chain: str) -> dict[int, float]:
        """The mean of the vectors of a chain's texts, of length 1, as {place: value}."""
        if chain not in self._directions:
            total: dict[int, float] = {}
            for text in self._texts[chain]:
                for place, value in self._vector(text).items():
                    total[place] = total.get(place, 0.0) + value
            length = sum(value**2 for value in total.values()) ** 0.5 or 1.0
            self._directions[chain] = {place: value / length for place, value in total.items()}
        return self._directions[chain]

    def _vector(self, text: str) -> dict[int, float]:
        places, values = vector(text, self._grams, self._rarity)
        return dict(zip(places.tolist(), values.tolist(), strict=True))

    def probabilities(self, chains: Sequence[Advice], words: str) -> list[float]:
        """Return how likely each chain's cause is: of chains of one fault, commonest first."""
        said = self._vector(words[:LONGEST_TEXT])
        common = [*COMMONEST_FIRST, *[COMMONEST_FIRST[-1]] * len(chains)][: len(chains)]
        scores = np.log(common)
        for place, chain in enumerate(chains):
            own = self._direction(chain.id)
            scores[place] += SHARPNESS * sum(own.get(p, 0.0) * value for p, value in said.items())
        odds = np.exp(scores - scores.max())
        return (odds / odds.sum()).tolist()

    def choose(self, chains: Sequence[Advice], words: str) -> Advice:
        """Return the chain that a coach would follow."""
        shares = self.probabilities(chains, words)
        return chains[shares.index(max(shares))]
