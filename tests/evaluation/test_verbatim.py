"""The longest shared run against a search of every pair of places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.evaluation import verbatim
from golf_nb_utils.evaluation.verbatim import longest_shared_runs

# Few different tokens, so that random texts share runs.
TEXTS = st.lists(st.lists(st.integers(0, 2), max_size=10), max_size=4)


def searched(text, training):
    """The longest stretch of a text that some training text holds, by trying every stretch."""
    stretches = {
        tuple(other[start:end])
        for other in training
        for start in range(len(other))
        for end in range(start + 1, len(other) + 1)
    }
    return max(
        (
            end - start
            for start in range(len(text))
            for end in range(start + 1, len(text) + 1)
            if tuple(text[start:end]) in stretches
        ),
        default=0,
    )


@given(TEXTS, TEXTS)
def test_the_run_is_the_longest_that_any_search_finds(texts, training):
    assert longest_shared_runs(texts, training) == [searched(text, training) for text in texts]


@given(TEXTS, TEXTS)
def test_training_texts_taken_a_few_at_a_time_give_the_same(texts, training):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbatim, "_TOKENS_AT_ONCE", 7)
        assert longest_shared_runs(texts, training) == [searched(text, training) for text in texts]


@pytest.mark.parametrize(
    ("text", "training", "expected"),
    [
        ([1, 2, 3], [[1, 2], [3, 4]], 2),  # not across the border of two training texts
        ([1, 2, 3, 4], [[9, 2, 3, 9]], 2),
        ([7] * 300, [[7] * 299], 299),  # beyond the last power of two, and repeated
        (list(range(100)), [[5, *range(50, 90), 5], list(range(20))], 40),
        ([2_000_000_000, 50256], [[50256, 2_000_000_000]], 1),  # large ids
        ([], [[1]], 0),
        ([1], [], 0),
        ([1], [[]], 0),
    ],
)
def test_runs_worked_by_hand(text, training, expected):
    assert longest_shared_runs([text, [999]], training) == [expected, 0]


def test_two_texts_of_ones_own_do_not_count_as_training():
    assert longest_shared_runs([[1, 2, 3], [1, 2, 3]], [[3, 9]]) == [1, 1]
