"""How varied a set of answers is, and how much of the test set the training set gives away."""

import gzip
import re
from collections import Counter

import numpy as np

from golf_nb_utils.grounding import trigrams

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
    bare = (re.sub(r"(?m)^(?:[A-Z ]+\(.*\):\n|# ?[.] )?(?:[A-Z][a-z ]+: )?", "", skeleton(text)) for text in texts)
    return [sentence for text in bare for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


def similarities(texts: list[str], others: list[str], rows: int = 1000) -> np.ndarray:
    """Return the character-3-gram Jaccard similarity of every text with every other, shape [texts, others], float32.

    The others are taken `rows` at a time, so that memory stays below a few hundred megabytes for 20,000 answers.
    """
    sets = [trigrams(text) for text in texts]
    number = {gram: place for place, gram in enumerate(sorted(set().union(*sets)))} if sets else {}
    result = np.empty((len(texts), len(others)), dtype=np.float32)
    mine = _indicator(sets, number)
    sizes = np.array([len(grams) for grams in sets], dtype=np.float32)
    for start in range(0, len(others), rows):
        theirs = [trigrams(text) for text in others[start : start + rows]]
        shared = mine @ _indicator(theirs, number).T
        union = sizes[:, None] + np.array([len(grams) for grams in theirs], dtype=np.float32)[None] - shared
        result[:, start : start + rows] = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return result


def _indicator(sets: list[set[str]], number: dict[str, int]) -> np.ndarray:
    matrix = np.zeros((len(sets), len(number)), dtype=np.float32)
    for row, grams in enumerate(sets):
        matrix[row, [number[gram] for gram in grams if gram in number]] = 1
    return matrix


def leakage(held_out: dict[str, list[str]], train: list[str]) -> dict[str, dict[str, float]]:
    """Return for each held-out set how many of its answers stand in train ("exact"), the share with a near duplicate there
    ("near"), and the mean similarity to the nearest one ("nearest")."""
    texts = [text for answers in held_out.values() for text in answers]
    nearest = similarities(texts, train).max(axis=1, initial=0)
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
