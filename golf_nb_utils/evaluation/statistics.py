"""How sure a figure is: 95 % intervals for shares, means and measures of whole sets, and the comparison of two systems.

Every figure over answers is a ratio of two sums over the records: a share of answers (passed over asked), a share of
sentences (grounded over written), a mean (sum over count). A record is what is drawn again, never a sentence: the sentences
of one answer are not independent of each other. Numerators and denominators are arrays of shape [n] or, for several figures
of the same records at once, [n, figures]; results have the shape that is left when the first axis is summed.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
N_RESAMPLES = 10_000
"""Resamples of the records, and permutations of the pairs."""
N_GROUPS = 20
"""Groups left out one after the other for a measure of a whole set."""
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2)
_TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
# Rows of random numbers at a time: 8 MB for a thousand records.
_ROWS = 1000

Sums = tuple[np.ndarray, np.ndarray]
"""The numerators and denominators of a system's figures."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share, 0..1; (0, 1) where nothing was counted.

    Few records, and shares near 0 and 1, do not spoil it, while normal and bootstrap intervals there shrink to a point (Wilson
    1927; Brown, Cai & DasGupta 2001 recommend it, and find Clopper-Pearson's wider than it need be).
    """
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * (share * (1 - share) / n + spread / (4 * n)) ** 0.5
    # At the ends the two terms cancel but for their last bits.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return sum over sum; nan where the denominators are all 0."""
    return _divided(np.sum(numerators, axis=0), np.sum(denominators, axis=0))


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)


def resample_counts(n: int, seed: int, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """Return how often each of n records stands in each resample, float64 of shape [n_resamples, n]; every row sums to n."""
    return (
        np.random.default_rng(seed)
        .multinomial(n, np.full(n, 1 / n), size=n_resamples)
        .astype(np.float64)
    )


def bootstrap(
    numerators: np.ndarray, denominators: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high), the percentile bootstrap interval of the ratio over the records (Efron & Tibshirani 1993, 13.3).

    `counts` is resample_counts(n, seed). A monotone transform of the ratio has the transformed interval.
    """
    low, high = _percentiles(_divided(counts @ numerators, counts @ denominators))
    return low, high


def _percentiles(values: np.ndarray) -> np.ndarray:
    # What no record has is nan in every resample, and stays so without a warning.
    known = ~np.all(np.isnan(values), axis=0)
    result = np.full((2, *values.shape[1:]), np.nan)
    result[:, known] = np.nanpercentile(values[:, known], _TAILS, axis=0)
    return result


def jackknife(
    items: list, statistic: Callable[[list], dict[str, float]], n_groups: int = N_GROUPS
) -> dict[str, tuple[float, float, float]]:
    """Return {name: (value, low, high)} of measures of a whole set, by the delete-a-group jackknife.

    For measures from 0 upward that count repetitions (distinct-n, compression): a bootstrap draws answers several times, and would find
    repetitions of its own making. `n_groups` groups of every n_groups-th item are left out one after the other; the variance is
    (g - 1) / g times the sum of the squared deviations (Tukey 1958; Shao & Wu 1989), the interval normal. A single item has no
    interval: low and high are nan.
    """
    values = statistic(items)
    n_groups = min(n_groups, len(items))
    if n_groups < 2:
        return {name: (value, float("nan"), float("nan")) for name, value in values.items()}
    left_out = [
        statistic([item for place, item in enumerate(items) if place % n_groups != group])
        for group in range(n_groups)
    ]
    result = {}
    for name, value in values.items():
        replicates = np.array([each[name] for each in left_out])
        error = float(
            np.sqrt((n_groups - 1) / n_groups * np.sum((replicates - replicates.mean()) ** 2))
        )
        result[name] = (value, max(0.0, value - _Z * error), value + _Z * error)
    return result


def paired_difference(
    first: Sums, second: Sums, counts: np.ndarray, seed: int, transform: Callable = np.positive
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compare two systems on the same records: return (transform(second) - transform(first), low, high, p).

    The interval is the percentile bootstrap of the difference over the records (counts: resample_counts). p is that of the
    two-sided permutation test in which each record's pair is swapped with probability 1/2 (Dror et al. 2018), with one added to
    both counts (Phipson & Smyth 2010); for yes or no it is McNemar's exact test.
    """
    difference = transform(ratio(*second)) - transform(ratio(*first))
    low, high = _percentiles(
        transform(_divided(counts @ second[0], counts @ second[1]))
        - transform(_divided(counts @ first[0], counts @ first[1]))
    )
    change = [np.asarray(other, np.float64) - one for one, other in zip(first, second, strict=True)]
    sums = [[np.sum(part, axis=0) for part in system] for system in (first, second)]
    rng = np.random.default_rng(seed)
    as_large = np.zeros(difference.shape)
    for start in range(0, len(counts), _ROWS):
        swapped = rng.integers(0, 2, (min(_ROWS, len(counts) - start), len(first[0]))).astype(
            np.float64
        )
        moved = [swapped @ part for part in change]
        ones = transform(_divided(sums[0][0] + moved[0], sums[0][1] + moved[1]))
        others = transform(_divided(sums[1][0] - moved[0], sums[1][1] - moved[1]))
        as_large += _as_large(others - ones, difference)
    return difference, low, high, (1 + as_large) / (1 + len(counts))


def unpaired_difference(
    first: Sums,
    second: Sums,
    seed: int,
    transform: Callable = np.positive,
    n_resamples: int = N_RESAMPLES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compare two systems on different records, as paired_difference does on the same ones.

    The records of each side are drawn again on their own; the permutation test deals all of them out to two sides as large.
    """
    difference = transform(ratio(*second)) - transform(ratio(*first))
    sides = []
    for place, (above, below) in enumerate((first, second)):
        counts = resample_counts(len(above), seed + place, n_resamples)
        sides.append(transform(_divided(counts @ above, counts @ below)))
    low, high = _percentiles(sides[1] - sides[0])
    above, below = (
        np.concatenate(parts).astype(np.float64) for parts in zip(first, second, strict=True)
    )
    is_first = (np.arange(len(above)) < len(first[0])).astype(np.float64)
    rng = np.random.default_rng(seed)
    as_large = np.zeros(difference.shape)
    for start in range(0, n_resamples, _ROWS):
        dealt = rng.permuted(np.tile(is_first, (min(_ROWS, n_resamples - start), 1)), axis=1)
        ones, others = (
            transform(_divided(side @ above, side @ below)) for side in (dealt, 1 - dealt)
        )
        as_large += _as_large(others - ones, difference)
    return difference, low, high, (1 + as_large) / (1 + n_resamples)


def _as_large(drawn: np.ndarray, difference: np.ndarray) -> np.ndarray:
    # Sums of the same numbers in another order differ in their last bits, and count as equal.
    return np.sum(
        np.abs(drawn) >= np.abs(difference) - 1e-9 * np.maximum(1.0, np.abs(difference)), axis=0
    )


def normal_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """Compare two measures (value, low, high) of jackknife as independent: return (second - first, low, high, p).

    On the same records this errs on the side of caution wherever the two go up and down together.
    """
    difference = second[0] - first[0]
    error = sum(((high - value) / _Z) ** 2 for value, _, high in (first, second)) ** 0.5
    p_value = 2 * _NORMAL.cdf(-abs(difference) / error) if error else float(difference == 0)
    return difference, difference - _Z * error, difference + _Z * error, p_value


def holm(p_values: list[float]) -> list[float]:
    """Return the p-values adjusted for their number by Holm's step-down method (1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
