"""Intervals and tests against their definitions, exact enumerations and published figures."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.evaluation import statistics

Z = 1.959963984540054
ONES = np.ones


def yes(n_yes, n):
    """Sums of n records, of which the first n_yes say yes."""
    return (np.arange(n) < n_yes).astype(float), ONES(n)


# Wilson.


def test_wilsons_interval_of_8_out_of_10_is_that_of_prop_test_in_r():
    # prop.test(8, 10, correct = FALSE)
    assert statistics.wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-7)


@given(st.integers(1, 500), st.data())
def test_the_bounds_of_wilsons_interval_are_the_shares_that_a_score_test_just_accepts(n, data):
    share = data.draw(st.integers(0, n)) / n
    for bound in statistics.wilson(share * n, n):
        assert abs(share - bound) == pytest.approx(
            Z * math.sqrt(bound * (1 - bound) / n), abs=1e-7
        ) or bound in (0.0, 1.0)
    low, high = statistics.wilson(share * n, n)
    assert 0 <= low <= share <= high <= 1


def test_a_share_of_all_or_of_nothing_still_has_an_interval():
    assert statistics.wilson(20, 20) == pytest.approx((20 / (20 + Z**2), 1.0))
    assert statistics.wilson(0, 20) == pytest.approx((0.0, Z**2 / (20 + Z**2)))
    assert statistics.wilson(0, 0) == (0.0, 1.0)


# Bootstrap.


def test_every_resample_has_as_many_records_as_there_are():
    counts = statistics.resample_counts(7, seed=1, n_resamples=5000)
    assert counts.shape == (5000, 7)
    assert set(counts.sum(axis=1)) == {7.0}
    assert counts.mean(axis=0) == pytest.approx(ONES(7), abs=0.06)
    assert (counts == statistics.resample_counts(7, seed=1, n_resamples=5000)).all()
    assert (counts != statistics.resample_counts(7, seed=2, n_resamples=5000)).any()


def test_the_interval_is_cut_from_the_resampled_ratios_at_both_tails():
    # Of two records a resample has 0, 1 or 2 times the second: means 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    assert statistics.bootstrap(
        np.array([0.0, 1.0]), ONES(2), statistics.resample_counts(2, seed=0)
    ) == (0.0, 1.0)
    # Of ten records the number of the one that counts is binomial (10, 1/10): at most 2 with chance 0.93, at most 3 with 0.987.
    low, high = statistics.bootstrap(*yes(1, 10), statistics.resample_counts(10, seed=0))
    assert (low, high) == pytest.approx((0.0, 0.3))


def test_the_interval_of_a_mean_of_many_is_that_of_the_central_limit():
    values = np.random.default_rng(5).gamma(2.0, 3.0, 400)
    low, high = statistics.bootstrap(values, ONES(400), statistics.resample_counts(400, seed=0))
    error = values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx(
        (values.mean() - Z * error, values.mean() + Z * error), abs=0.15 * error
    )


def test_a_ratio_weighs_each_record_by_its_denominator():
    above, below = np.array([9.0, 0.0]), np.array([10.0, 2.0])
    assert statistics.ratio(above, below) == 9 / 12
    assert statistics.bootstrap(above, below, statistics.resample_counts(2, seed=0)) == (0.0, 0.9)
    assert math.isnan(statistics.ratio(np.zeros(3), np.zeros(3)))


def test_several_figures_at_once_are_the_same_as_one_after_the_other():
    rng = np.random.default_rng(0)
    above, below = rng.random((30, 3)), rng.random((30, 3)) + 0.5
    other = rng.random((30, 3))
    below[:, 2] = 0  # a figure that no record has
    counts = statistics.resample_counts(30, seed=0, n_resamples=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = statistics.paired_difference((above, below), (other, below), counts, 1)
        low, high = statistics.bootstrap(above, below, counts)
    for place in (0, 1):
        own = statistics.paired_difference(
            (above[:, place], below[:, place]), (other[:, place], below[:, place]), counts, 1
        )
        assert [part[place] for part in together] == pytest.approx(list(own))
        assert (low[place], high[place]) == pytest.approx(
            statistics.bootstrap(above[:, place], below[:, place], counts)
        )
    assert np.isnan([low[2], high[2], together[0][2]]).all()


# Groups.


def test_answers_of_groups_that_stand_and_fall_together_count_as_one_each():
    """Ninety answers in nine groups, six of them right throughout: as sure as six of nine."""
    groups = np.repeat(list("abcdefghi"), 10)
    above, below = statistics.of_groups((np.isin(groups, list("abcdef")) * 1.0, ONES(90)), groups)
    assert (above.tolist(), below.tolist()) == ([10.0] * 6 + [0.0] * 3, [10.0] * 9)
    assert statistics.wilson_of_groups(above, below) == pytest.approx(statistics.wilson(6, 9))
    everything = statistics.wilson_of_groups(below, below)
    assert everything == pytest.approx(statistics.wilson(9, 9))


def test_groups_of_one_answer_have_wilsons_own_interval():
    right = np.array([1.0, 0, 1, 1, 0, 1, 1, 0, 1, 1])
    assert statistics.wilson_of_groups(right, ONES(10)) == pytest.approx(statistics.wilson(7, 10))
    assert statistics.wilson_of_groups(ONES(0), ONES(0)) == (0.0, 1.0)


def test_groups_that_are_each_half_right_are_no_surer_than_their_answers():
    halves = np.full(5, 2.0)
    assert statistics.wilson_of_groups(halves, 2 * halves) == statistics.wilson(10, 20)


def test_the_interval_over_groups_covers_the_truth_where_one_over_answers_does_not():
    """Groups of ten of one mind: of 400 draws, 95 % of the intervals hold the share that drew."""
    rng = np.random.default_rng(0)
    hits = naive = 0
    for _ in range(400):
        minds = (rng.random(20) < 0.7) * 10.0
        low, high = statistics.wilson_of_groups(minds, np.full(20, 10.0))
        hits += low <= 0.7 <= high
        low, high = statistics.wilson(minds.sum(), 200)
        naive += low <= 0.7 <= high
    assert hits / 400 > 0.92 > 0.6 > naive / 400


# Jackknife.


def test_the_jackknife_of_a_mean_has_the_usual_standard_error():
    values = list(np.random.default_rng(3).normal(5, 2, 20))
    value, low, high = statistics.jackknife(
        values, lambda items: {"mean": float(np.mean(items))}, n_folds=20
    )["mean"]
    error = np.std(values, ddof=1) / math.sqrt(20)
    assert (value, low, high) == pytest.approx(
        (np.mean(values), np.mean(values) - Z * error, np.mean(values) + Z * error)
    )


def test_the_jackknife_leaves_each_item_out_once():
    seen = []
    statistics.jackknife(
        list("abcdefg"), lambda items: seen.append("".join(items)) or {"n": len(items)}, n_folds=3
    )
    assert seen == ["abcdefg", "bcef", "acdfg", "abdeg"]


def test_a_single_item_has_no_jackknife_interval():
    value, low, high = statistics.jackknife(["a"], lambda items: {"n": float(len(items))})["n"]
    assert value == 1.0
    assert math.isnan(low)
    assert math.isnan(high)


# Comparisons.


def test_the_paired_test_of_yes_and_no_is_mcnemars_exact_one():
    # 9 records only the second gets right, 1 only the first, 20 both.
    first = np.array([0.0] * 9 + [1.0] + [1.0] * 20), ONES(30)
    second = np.array([1.0] * 9 + [0.0] + [1.0] * 20), ONES(30)
    difference, low, high, p = statistics.paired_difference(
        first, second, statistics.resample_counts(30, seed=0), seed=0
    )
    assert difference == pytest.approx(8 / 30)
    assert p == pytest.approx(2 * (1 + 10) / 2**10, abs=0.005)
    # The mean of 30 values of 1, -1 and 0.
    error = math.sqrt((10 / 30 - (8 / 30) ** 2) / 30)
    assert (low, high) == pytest.approx((8 / 30 - Z * error, 8 / 30 + Z * error), abs=0.03)
    swapped = statistics.paired_difference(
        second, first, statistics.resample_counts(30, seed=0), seed=0
    )
    assert (swapped[0], swapped[3]) == pytest.approx((-difference, p), abs=0.005)


def test_the_unpaired_test_of_yes_and_no_is_the_one_of_the_hypergeometric_distribution():
    first, second = yes(2, 12), yes(7, 10)
    ways = {
        first_yes: math.comb(9, first_yes) * math.comb(13, 12 - first_yes)
        for first_yes in range(10)
    }
    observed = abs(7 / 10 - 2 / 12)
    expected = sum(
        n for k, n in ways.items() if abs((9 - k) / 10 - k / 12) >= observed - 1e-12
    ) / math.comb(22, 12)
    difference, low, high, p = statistics.unpaired_difference(first, second, seed=0)
    assert difference == pytest.approx(7 / 10 - 2 / 12)
    assert p == pytest.approx(expected, abs=0.007)
    error = math.sqrt(0.7 * 0.3 / 10 + (1 / 6) * (5 / 6) / 12)
    assert (low, high) == pytest.approx((difference - Z * error, difference + Z * error), abs=0.06)


def test_pairing_finds_a_small_difference_among_large_spreads():
    spread = np.random.default_rng(1).normal(0, 10, 50)
    first, second = (spread, ONES(50)), (spread + 0.5, ONES(50))
    assert (
        statistics.paired_difference(first, second, statistics.resample_counts(50, seed=0), seed=0)[
            3
        ]
        < 0.001
    )
    assert statistics.unpaired_difference(first, second, seed=0)[3] > 0.5


def test_no_p_value_is_smaller_than_the_permutations_can_tell():
    first, second = yes(0, 60), yes(60, 60)
    expected = pytest.approx(1 / 10_001)
    assert (
        statistics.paired_difference(first, second, statistics.resample_counts(60, seed=0), seed=0)[
            3
        ]
        == expected
    )
    assert statistics.unpaired_difference(first, second, seed=0)[3] == expected


def test_sums_that_differ_in_their_last_bits_alone_count_as_equal():
    # The observed difference comes up twice among the eight swaps, and sums of such fractions hardly ever to the same bits.
    first, second = (np.array([0.1, 0.2, 0.7]), ONES(3)), (np.array([0.4, 0.9, 1.1]), ONES(3))
    assert statistics.paired_difference(
        first, second, statistics.resample_counts(3, seed=0), seed=0
    )[3] == pytest.approx(0.25, abs=0.02)


def test_the_two_sides_of_an_unpaired_comparison_are_drawn_on_their_own():
    system = yes(20, 40)
    _, low, high, _ = statistics.unpaired_difference(system, system, seed=0)
    error = math.sqrt(2 * 0.25 / 40)
    assert (low, high) == pytest.approx((-Z * error, Z * error), abs=0.03)


def test_a_system_does_not_differ_from_itself():
    system = yes(3, 10)
    assert statistics.paired_difference(
        system, system, statistics.resample_counts(10, seed=0), seed=0
    ) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("paired", [True, False])
def test_a_transform_is_applied_before_the_difference_is_taken(paired):
    first, second = (np.full(8, 20.0), np.full(8, 10.0)), (np.full(8, 30.0), np.full(8, 10.0))
    if paired:
        found = statistics.paired_difference(
            first, second, statistics.resample_counts(8, seed=0), 0, np.exp
        )
    else:
        found = statistics.unpaired_difference(first, second, 0, np.exp)
    assert found[:3] == pytest.approx([math.exp(3) - math.exp(2)] * 3)
    # All eight on one side, or all on the other: 2 of 256 swaps, 2 of 12,870 deals.
    assert found[3] == pytest.approx(2 / 256 if paired else 2 / math.comb(16, 8), abs=0.002)


def test_two_measures_with_errors_of_their_own_are_compared_by_the_normal_distribution():
    difference, low, high, p = statistics.normal_difference(
        (1.0, 1 - Z, 1 + Z), (4.0, 4 - Z, 4 + Z)
    )
    assert (difference, low, high) == pytest.approx(
        (3.0, 3 - Z * math.sqrt(2), 3 + Z * math.sqrt(2))
    )
    assert p == pytest.approx(math.erfc(3 / math.sqrt(2) / math.sqrt(2)))
    assert statistics.normal_difference((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))[3] == 1.0


def test_holms_adjustment_steps_down_and_never_falls():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.02, 0.9, 0.03, 0.5]) == pytest.approx([0.08, 1.0, 0.09, 1.0])
    assert statistics.holm([]) == []
