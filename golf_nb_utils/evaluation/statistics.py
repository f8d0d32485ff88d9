"""How sure a figure is: 95 % intervals, and the comparison of two systems.

Every figure over answers is a ratio of two sums over the records: a share of answers (passed over
asked), a share of sentences (grounded over written), a mean (sum over count). The mean of the
records' own shares is another figure: in it an answer of one sentence weighs as much as one of ten.

Numerators and denominators are arrays of shape [n] or, for several figures of the same records at
once, [n, figures]; results have the shape that is left when the first axis is summed. Where
records come in groups that stand and fall together (records.Group), `of_groups` makes n the number
of groups first: ninety records of thirteen groups are thirteen findings.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
"""Resamples of the groups, and permutations of the pairs."""
N_FOLDS = 20
"""Parts left out one after the other for a measure of a whole set."""
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2)
_TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
# Rows of random numbers at a time: 8 MB for a thousand records.
_ROWS = 1000

Sums = tuple[np.ndarray, np.ndarray]
"""The numerators and denominators of a system's figures."""
Comparison = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of each figure the difference (second - first), its interval's ends, and the p-value."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share, 0..1; (0, 1) where nothing was counted.

    With few records, and near 0 and 1, normal and bootstrap intervals shrink to a point: 20 of 20
    would be certain. Wilson's (1927) does not; Brown, Cai & DasGupta (2001) recommend it.
    """
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * (share * (1 - share) / n + spread / (4 * n)) ** 0.5
    # At the ends the two terms cancel but for their last bits.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def of_groups(sums: Sums, groups: Sequence[object]) -> Sums:
    """Return the sums of each group, in the order in which the groups appear.

    `groups` names the group of each record.
    """
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = [place[group] for group in groups]
    above, below = (np.zeros((len(place), *part.shape[1:])) for part in sums)
    np.add.at(above, index, sums[0])
    np.add.at(below, index, sums[1])
    return above, below


def wilson_of_groups(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Return Wilson's interval of a share over groups: [n] sums of yes, [n] sums of asked.

    The number of answers is replaced by the effective one, by which a simple sample would have the
    variance of the groups (Korn & Graubard 1998); groups that all agree count as one answer each.
    With one answer a group this is `wilson`.
    """
    n = float(np.sum(denominators))
    if n == 0:
        return wilson(0, 0)
    share = float(np.sum(numerators)) / n
    variance = float(np.sum((numerators - share * denominators) ** 2)) / n**2
    if share in (0.0, 1.0):
        effective = float(np.count_nonzero(denominators))
    else:
        effective = min(n, share * (1 - share) / variance) if variance > 0 else n
    return wilson(share * effective, effective)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return sum over sum; nan where the denominators are all 0."""
    return _divided(np.sum(numerators, axis=0), np.sum(denominators, axis=0))


def _weighted_ratio(weights: np.ndarray, sums: Sums) -> np.ndarray:
    """Sum over sum of each row of weights [rows, n], by which record i counts weights[row, i]."""
    return _divided(*(weights @ part for part in sums))


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)


def resample_counts(n: int, seed: int, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """Return how often each of n groups stands in each resample, float64 [n_resamples, n].

    Every row sums to n. Groups are drawn again and not their answers or sentences: what stands and
    falls together, counted as so many findings of their own, would make the interval too narrow.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(np.float64)


def bootstrap(
    numerators: np.ndarray, denominators: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of the ratio (Efron & Tibshirani 1993, 13.3).

    `counts` is resample_counts(n, seed). A monotone transform of the ratio has the transformed
    interval.
    """
    low, high = _percentiles(_weighted_ratio(counts, (numerators, denominators)))
    return low, high


def _percentiles(values: np.ndarray) -> np.ndarray:
    # What no record has is nan in every resample, and stays so without a warning.
    known = ~np.all(np.isnan(values), axis=0)
    result = np.full((2, *values.shape[1:]), np.nan)
    result[:, known] = np.nanpercentile(values[:, known], _TAILS, axis=0)
    return result


def jackknife(
    items: list, statistic: Callable[[list], dict[str, float]], n_folds: int = N_FOLDS
) -> dict[str, tuple[float, float, float]]:
    """Return {name: (value, low, high)} of a whole set's measures, by the delete-a-group jackknife.

    For measures from 0 upward that count repetitions (distinct-n, compression): a bootstrap draws
    answers several times, and would find repetitions of its own making. Folds of every n_folds-th
    item are left out one after the other; the variance is (g - 1) / g times the sum of the squared
    deviations (Tukey 1958; Shao & Wu 1989), the interval normal. A single item has no interval: low
    and high are nan.
    """
    values = statistic(items)
    n_folds = min(n_folds, len(items))
    if n_folds < 2:
        return {name: (value, float("nan"), float("nan")) for name, value in values.items()}
    left_out = [
        statistic([item for place, item in enumerate(items) if place % n_folds != fold])
        for fold in range(n_folds)
    ]
    result = {}
    for name, value in values.items():
        replicates = np.array([each[name] for each in left_out])
        # np.var divides by g.
        half = _Z * float(np.sqrt((n_folds - 1) * np.var(replicates)))
        result[name] = (value, max(0.0, value - half), value + half)
    return result


def paired_difference(
    first: Sums, second: Sums, counts: np.ndarray, seed: int, transform: Callable = np.positive
) -> Comparison:
    """Compare two systems on the same records, by transform(second) - transform(first).

    The interval is the percentile bootstrap of the difference over the records (counts:
    resample_counts). p is that of the two-sided permutation test in which each record's pair is
    swapped with probability 1/2 (Dror et al. 2018): if the systems were alike, either could have
    given either answer. Where both are right, or both wrong, a swap changes nothing, so that for
    yes or no only the records on which they differ count: this is McNemar's exact test.
    """

    def swap(rng: np.random.Generator, rows: int) -> np.ndarray:
        swapped = rng.integers(0, 2, (rows, len(first[0]))).astype(np.float64)
        return np.hstack([1 - swapped, swapped])

    return _compare(first, second, (counts, counts), swap, seed, transform)


def unpaired_difference(
    first: Sums, second: Sums, seed: int, transform: Callable = np.positive
) -> Comparison:
    """Compare two systems on different records, as paired_difference does on the same ones.

    The records of each side are drawn again on their own. The permutation test deals all of them
    out to two sides as large.
    """
    sizes = len(first[0]), len(second[0])
    counts = [resample_counts(n, seed + place) for place, n in enumerate(sizes)]
    is_first = np.repeat([1.0, 0.0], sizes)

    def deal(rng: np.random.Generator, rows: int) -> np.ndarray:
        return rng.permuted(np.tile(is_first, (rows, 1)), axis=1)

    return _compare(first, second, counts, deal, seed, transform)


def _compare(first: Sums, second: Sums, counts, draw, seed: int, transform: Callable) -> Comparison:
    """Compare by the resample counts of both sides and by `draw`, a function of (rng, rows).

    It returns which of all records, the first side's and then the second's, stand for the first
    side in each of so many permutations, as 1 and 0.
    """
    difference = transform(ratio(*second)) - transform(ratio(*first))
    one, other = (
        transform(_weighted_ratio(own, side))
        for own, side in zip(counts, (first, second), strict=True)
    )
    low, high = _percentiles(other - one)
    both = tuple(np.concatenate(parts) for parts in zip(first, second, strict=True))
    # Sums of the same numbers in another order differ in their last bits, and count as equal.
    bar = np.abs(difference) - 1e-9 * np.maximum(1.0, np.abs(difference))
    rng, n, as_large = np.random.default_rng(seed), len(one), np.zeros(difference.shape)
    for start in range(0, n, _ROWS):
        of_first = draw(rng, min(_ROWS, n - start))
        ones, others = (transform(_weighted_ratio(w, both)) for w in (of_first, 1 - of_first))
        as_large += np.sum(np.abs(others - ones) >= bar, axis=0)
    # The order that was observed is one of the possible ones, hence the two ones: no p-value is 0,
    # however few permutations were drawn (Phipson & Smyth 2010).
    return difference, low, high, (1 + as_large) / (1 + n)


def normal_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """Compare two measures (value, low, high) of jackknife: return (second - first, low, high, p).

    They are taken as independent. On the same records this errs on the side of caution wherever
    the two go up and down together.
    """
    difference = second[0] - first[0]
    error = sum(((high - value) / _Z) ** 2 for value, _, high in (first, second)) ** 0.5
    p_value = 2 * _NORMAL.cdf(-abs(difference) / error) if error else float(difference == 0)
    return difference, difference - _Z * error, difference + _Z * error, p_value


def holm(p_values: list[float]) -> list[float]:
    """Return the p-values adjusted for their number by Holm's method (1979), in their order.

    Of twenty figures that do not differ, one falls below 0.05 by chance. Holm's step-down method
    keeps the chance of any such false alarm below 0.05, as Bonferroni's does, and misses less: only
    the smallest p-value is multiplied by the full number, the next by one less, and so on.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
