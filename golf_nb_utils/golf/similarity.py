"""How alike two texts are: the Jaccard similarity of their character 3-grams.

A 3-gram is any three characters in a row. Two texts are alike as far as they share them:
|shared| / |in either| (Jaccard 1912), 0..1. It needs no tokenizer, forgives an ending or a typo,
and hardly notices the order of sentences. Three forms of one measure stand here, for one pair
(`jaccard`), for one text against many that stay the same (`TrigramIndex`), and for many against
many (`similarities`).
"""

from collections.abc import Iterable, Iterator

import numpy as np

NEAR_DUPLICATE = 0.8
"""Similarity from which two answers count as near duplicates."""


def trigrams(text: str) -> set[str]:
    """Return the set of character 3-grams of a text; a text of two characters has none."""
    return {text[place : place + 3] for place in range(len(text) - 2)}


def jaccard(one: set, other: set) -> float:
    """Return the Jaccard similarity of two sets, 0..1; 1 for two empty ones."""
    return len(one & other) / len(one | other) if one or other else 1.0


class TrigramIndex:
    """Texts by their 3-grams, to find the one that is most like another text.

    An inverted index: each 3-gram knows the texts that have it. A query then looks only at texts
    with which it shares something, instead of comparing itself with each.
    """

    def __init__(self, texts: Iterable[str]):
        """Index the texts; about 8 bytes for each 3-gram of each text."""
        grams = [trigrams(text) for text in texts]
        self._sizes = np.array([len(own) for own in grams])
        places: dict[str, list[int]] = {}
        for place, own in enumerate(grams):
            for gram in own:
                places.setdefault(gram, []).append(place)
        self._places = {gram: np.array(found) for gram, found in places.items()}

    def nearest(self, text: str) -> tuple[int | None, float]:
        """Return the place of the most similar text and its similarity; (None, 0.0) without one.

        Of several as similar it is the first.
        """
        own = trigrams(text)
        found = [self._places[gram] for gram in own if gram in self._places]
        if not found:
            return None, 0.0
        shared = np.bincount(np.concatenate(found), minlength=len(self._sizes))
        similarity = shared / (len(own) + self._sizes - shared)
        best = int(similarity.argmax())
        return best, float(similarity[best])


def similarities(texts: list[str], others: list[str], rows: int = 1000) -> np.ndarray:
    """Return the similarity of every text with every other, shape [texts, others], float32.

    The others are taken `rows` at a time.
    """
    nothing = np.empty((len(texts), 0), np.float32)
    return np.hstack([nothing, *_similarity_blocks(texts, others, rows)])


def nearest_similarities(texts: list[str], others: list[str]) -> np.ndarray:
    """Return each text's similarity to the most similar of the others, float32 of shape [texts].

    It is 0 where there are no others. Memory grows with the texts and not with the others.
    """
    nearest = np.zeros(len(texts), np.float32)
    for block in _similarity_blocks(texts, others, rows=1000):
        np.maximum(nearest, block.max(axis=1), out=nearest)
    return nearest


def _similarity_blocks(texts: list[str], others: list[str], rows: int) -> Iterator[np.ndarray]:
    # With a column for each 3-gram, and a 1 where a text has it, the dot product of two rows
    # counts what both have: all pairs become one matrix product, several times as fast as sets.
    mine = [_gram_codes(text) for text in texts]
    columns = np.unique(np.concatenate(mine)) if mine else np.empty(0, np.int64)
    indicator, sizes = _indicator(mine, columns)
    for start in range(0, len(others), rows):
        theirs = [_gram_codes(text) for text in others[start : start + rows]]
        their_indicator, their_sizes = _indicator(theirs, columns)
        shared = indicator @ their_indicator.T
        union = sizes[:, None] + their_sizes[None] - shared
        yield np.divide(shared, union, out=np.ones_like(shared), where=union > 0)


def _gram_codes(text: str) -> np.ndarray:
    """The 3-grams of a text as sorted integers: a character has 21 bits, so three fill 63."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    return np.unique(points[:-2] << 42 | points[1:-1] << 21 | points[2:])


def _indicator(codes: list[np.ndarray], columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the columns each text has, [texts, columns], and its number of 3-grams, [texts]."""
    matrix = np.zeros((len(codes), len(columns)), np.float32)
    for row, own in zip(matrix, codes, strict=True):
        places = np.searchsorted(columns, own)
        places = places[places < len(columns)]
        row[places[columns[places] == own[: len(places)]]] = 1
    return matrix, np.array([len(own) for own in codes], np.float32)
