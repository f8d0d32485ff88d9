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
from golf_nb_utils.golf.reader import LONGEST_TEXT, Wording, vector, vocabulary

COMMONEST_FIRST = (0.6, 0.25, 0.1, 0.05)
"""How likely a cause is before anything is said of it, in the order of the file; a proposal."""
SHARPNESS = 25.0
"""What a cosine of 1 adds to the logarithm of a cause's odds; found on the validation author."""


class Causes:
    """Weighs the chains of a fault by what somebody said."""

    def __init__(self, knowledge: KnowledgeBase, wordings: Iterable[Wording]):
        """Learn from the chains' own texts and the remarks of the training authors."""
        texts: dict[str, list[str]] = {}
        for fault in knowledge.faults:
            for chain in knowledge.chains_of(fault.id):
                happening = [t for item in chain.items["happening"] for t in item.phrasings]
                texts[chain.id] = [chain.name, *happening]
        for each in wordings:
            if each.chain and each.split == "train":
                texts[each.chain].append(each.text)
        self._grams, self._rarity = vocabulary([t for own in texts.values() for t in own])
        self._directions = {name: self._direction(own) for name, own in texts.items()}

    def _direction(self, texts: Sequence[str]) -> dict[int, float]:
        """The mean of the texts' vectors, of length 1, as {place: value}."""
        total = np.zeros(len(self._grams), np.float32)
        for text in texts:
            places, values = vector(text, self._grams, self._rarity)
            total[places] += values
        kept = np.flatnonzero(total)
        return dict(zip(kept.tolist(), (total[kept] / np.linalg.norm(total)).tolist(), strict=True))

    def probabilities(self, chains: Sequence[Advice], words: str) -> list[float]:
        """Return how likely each chain's cause is: of chains of one fault, commonest first."""
        places, values = vector(words[:LONGEST_TEXT], self._grams, self._rarity)
        said = dict(zip(places.tolist(), values.tolist(), strict=True))
        common = [*COMMONEST_FIRST, *[COMMONEST_FIRST[-1]] * len(chains)][: len(chains)]
        scores = np.log(common)
        for place, chain in enumerate(chains):
            own = self._directions.get(chain.id, {})
            scores[place] += SHARPNESS * sum(own.get(p, 0.0) * value for p, value in said.items())
        odds = np.exp(scores - scores.max())
        return (odds / odds.sum()).tolist()

    def choose(self, chains: Sequence[Advice], words: str) -> Advice:
        """Return the chain that a coach would follow."""
        shares = self.probabilities(chains, words)
        return chains[shares.index(max(shares))]
