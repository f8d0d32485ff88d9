"""How varied a set of answers is, and how much of the test set the training set gives away."""

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from golf_nb_utils.golf.similarity import NEAR_DUPLICATE, nearest_similarities, similarities

# Answers of which all pairs are compared: 500 make 125,000 pairs, enough for a mean.
PAIRED = 500


def distinct_n(texts: list[str], n: int) -> float:
    """Return the different word n-grams over all of them, 0..1 ("distinct-n", Li et al. 2016)."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = text.split()
        grams = list(zip(*(words[start:] for start in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    return len(seen) / max(1, total)


def compression_ratio(texts: list[str]) -> float:
    """Return the size of the joined texts over their gzip size (Shaib et al. 2024).

    gzip writes what it has seen before as a reference: a higher ratio is more repetition.
    """
    raw = "\n".join(texts).encode()
    return len(raw) / len(gzip.compress(raw, mtime=0))


def skeleton(text: str) -> str:
    """Return a text with every number masked: what is left of an answer when only scores differ."""
    return re.sub(r"[0-9]+(?:[.][0-9]+)?%?", "#", text)


def commonest_share(texts: list[str]) -> float:
    """Return the share of the texts that are the commonest one, 0..1."""
    return Counter(texts).most_common(1)[0][1] / len(texts) if texts else 0.0


def sentence_skeletons(texts: list[str]) -> list[str]:
    """Return the skeletons of all sentences, without headings, list numbers and labels."""
    bare = (
        re.sub(r"(?m)^(?:[A-Z ]+\(.*\):\n|# ?[.] )?(?:[A-Z][a-z ]+: )?", "", skeleton(text))
        for text in texts
    )
    return [sentence for text in bare for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


def variety_of(texts: list[str]) -> Callable[[Iterable[int]], dict[str, float]]:
    """Return a function that measures the variety of the texts at some places: {measure: value}.

    The jackknife measures the same answers many times, each time without a few. What two answers
    have in common is the same whichever others are left out, so it is computed once, here.
    """
    alike = similarities(texts[:PAIRED], texts[:PAIRED])

    def measures(places: Iterable[int]) -> dict[str, float]:
        places = list(places)
        kept = [texts[place] for place in places]
        first = [place for place in places if place < PAIRED]
        pairs = alike[np.ix_(first, first)][np.triu_indices(len(first), k=1)]
        return {
            **{f"distinct_{n}": distinct_n(kept, n) for n in (1, 2, 3)},
            "compression_ratio": compression_ratio(kept),
            "commonest_answer_skeleton": commonest_share([skeleton(text) for text in kept]),
            "commonest_sentence_skeleton": commonest_share(sentence_skeletons(kept)),
            "mean_pairwise_jaccard": float(pairs.mean()) if len(pairs) else 0.0,
        }

    return measures


def measure_diversity(texts: list[str]) -> dict[str, float]:
    """Return the rounded measures of a set of answers, see variety_of."""
    measured = variety_of(texts)(range(len(texts)))
    return {
        name: round(value, 2 if name == "compression_ratio" else 4)
        for name, value in measured.items()
    }


def leakage(held_out: dict[str, list[str]], train: list[str]) -> dict[str, dict[str, float]]:
    """Return what the training answers give away of each held-out set: {set: {measure: value}}.

    `exact` is how many of its answers stand in train, `near` the share that has a near duplicate
    there, and `nearest` the mean similarity to the nearest one.
    """
    # All sets at once: to read the training answers is most of the work.
    nearest = nearest_similarities([text for each in held_out.values() for text in each], train)
    known, result, end = set(train), {}, 0
    for name, answers in held_out.items():
        own, end = nearest[end : end + len(answers)], end + len(answers)
        result[name] = {
            "exact": sum(text in known for text in answers),
            "near": round(float((own >= NEAR_DUPLICATE).mean()), 4) if answers else 0.0,
            "nearest": round(float(own.mean()), 4) if answers else 0.0,
        }
    return result
