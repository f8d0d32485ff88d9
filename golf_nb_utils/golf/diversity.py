"""How varied a set of answers is, and how much of the test set the training set gives away."""

import gzip
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

NEAR_DUPLICATE = 0.8
"""Character-3-gram Jaccard similarity from which two answers count as near duplicates."""


def distinct_n(texts: list[str], n: int) -> float:
    """Return the number of different word n-grams over the number of all (Li et al. 2016, "distinct-n"), 0..1."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = text.split()
        grams = list(zip(*(words[start:] for start in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    return len(seen) / max(1, total)


def compression_ratio(texts: list[str]) -> float:
    """Return the size of the joined texts over their gzip size (Shaib et al. 2024); a higher ratio is more repetition."""
    raw = "\n".join(texts).encode()
    return len(raw) / len(gzip.compress(raw, mtime=0))


def skeleton(text: str) -> str:
    """Return a text with every number masked: what is left of an answer when only scores differ."""
    return re.sub(r"[0-9]+(?:[.][0-9]+)?%?", "#", text)


def commonest_share(texts: list[str]) -> float:
    """Return the share of the texts that are the commonest one, 0..1."""
    return Counter(texts).most_common(1)[0][1] / len(texts) if texts else 0.0


def sentence_skeletons(texts: list[str]) -> list[str]:
    """Return the skeletons of all sentences of all answers, without headings, list numbers and labels."""
    bare = (
        re.sub(r"(?m)^(?:[A-Z ]+\(.*\):\n|# ?[.] )?(?:[A-Z][a-z ]+: )?", "", skeleton(text))
        for text in texts
    )
    return [sentence for text in bare for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


def similarities(texts: list[str], others: list[str], rows: int = 1000) -> np.ndarray:
    """Return the character-3-gram Jaccard similarity of every text with every other, shape [texts, others], float32.

    The others are taken `rows` at a time.
    """
    return np.hstack(
        [np.empty((len(texts), 0), np.float32), *_similarity_blocks(texts, others, rows)]
    )


def nearest_similarities(texts: list[str], others: list[str]) -> np.ndarray:
    """Return each text's similarity to the most similar of the others, shape [texts], float32; 0 where there are none.

    Memory grows with the texts and not with the others.
    """
    nearest = np.zeros(len(texts), np.float32)
    for block in _similarity_blocks(texts, others, rows=1000):
        np.maximum(nearest, block.max(axis=1), out=nearest)
    return nearest


def _similarity_blocks(texts: list[str], others: list[str], rows: int) -> Iterator[np.ndarray]:
    mine = [_gram_codes(text) for text in texts]
    known = np.unique(np.concatenate(mine)) if mine else np.empty(0, np.int64)
    indicator, sizes = _indicator(mine, known), _sizes(mine)
    for start in range(0, len(others), rows):
        theirs = [_gram_codes(text) for text in others[start : start + rows]]
        shared = indicator @ _indicator(theirs, known).T
        union = sizes[:, None] + _sizes(theirs)[None] - shared
        yield np.divide(shared, union, out=np.ones_like(shared), where=union > 0)


def _gram_codes(text: str) -> np.ndarray:
    """The different character 3-grams of a text, each as one integer, in order."""
    # A code point has 21 bits, so that three of them fill 63.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    return np.unique(points[:-2] << 42 | points[1:-1] << 21 | points[2:])


def _indicator(codes: list[np.ndarray], known: np.ndarray) -> np.ndarray:
    matrix = np.zeros((len(codes), len(known)), dtype=np.float32)
    for row, grams in enumerate(codes):
        places = np.searchsorted(known, grams)
        places = places[places < len(known)]
        matrix[row, places[known[places] == grams[: len(places)]]] = 1
    return matrix


def _sizes(codes: list[np.ndarray]) -> np.ndarray:
    return np.array([len(grams) for grams in codes], dtype=np.float32)


def leakage(held_out: dict[str, list[str]], train: list[str]) -> dict[str, dict[str, float]]:
    """Return for each held-out set how many of its answers stand in train ("exact"), the share with a near duplicate there
    ("near"), and the mean similarity to the nearest one ("nearest")."""
    nearest = nearest_similarities(
        [text for answers in held_out.values() for text in answers], train
    )
    known = set(train)
    result, start = {}, 0
    for name, answers in held_out.items():
        own = nearest[start : start + len(answers)]
        start += len(answers)
        result[name] = {
            "exact": sum(text in known for text in answers),
            "near": round(float((own >= NEAR_DUPLICATE).mean()), 4) if len(own) else 0.0,
            "nearest": round(float(own.mean()), 4) if len(own) else 0.0,
        }
    return result


def measure_diversity(texts: list[str]) -> dict[str, float]:
    """Return the measures of a set of answers; the pairwise similarity is taken over the first 500."""
    first = texts[:500]
    pairs = similarities(first, first)[np.triu_indices(len(first), k=1)]
    return {
        **{f"distinct_{n}": round(distinct_n(texts, n), 4) for n in (1, 2, 3)},
        "compression_ratio": round(compression_ratio(texts), 2),
        "commonest_answer_skeleton": round(commonest_share([skeleton(text) for text in texts]), 4),
        "commonest_sentence_skeleton": round(commonest_share(sentence_skeletons(texts)), 4),
        "mean_pairwise_jaccard": round(float(pairs.mean()), 4) if len(pairs) else 0.0,
    }
