"""How much of a text stands word for word in the training set.

Comparing every place of a text with every place of the training set would take days. Sorted by what
follows them, places with a long run in common stand side by side: the order is a suffix array.
"""

import numpy as np

# Training tokens sorted at a time: about 50 bytes each.
_TOKENS_AT_ONCE = 1 << 20


def longest_shared_runs(texts: list[list[int]], training: list[list[int]]) -> list[int]:
    """Return the length of each text's longest run of tokens that some training text has, too.

    Texts and training texts are token ids of less than 2**31; a run never crosses the border of a
    text. The time grows with n log n of all tokens (a suffix array by prefix doubling, Manber &
    Myers 1993), not with the number of pairs of texts.
    """
    longest = np.zeros(len(texts), np.int64)
    start = 0
    while start < len(training):
        end, size = start, 0
        while end < len(training) and (size == 0 or size + len(training[end]) <= _TOKENS_AT_ONCE):
            size += len(training[end])
            end += 1
        longest = np.maximum(longest, _longest_runs(texts, training[start:end]))
        start = end
    return longest.tolist()


def _longest_runs(texts: list[list[int]], training: list[list[int]]) -> np.ndarray:
    # Each text is closed by a number of its own, so that no run crosses it.
    every = [*texts, *training]
    lengths = np.array([len(ids) + 1 for ids in every])
    owner = np.repeat(np.arange(len(every)), lengths)
    closed = (np.append(np.asarray(ids, np.int64), -number) for number, ids in enumerate(every, 1))
    tokens = np.concatenate(list(closed))
    tokens -= tokens.min()
    n, is_mine = len(tokens), owner < len(texts)

    # names[k][i] is a number for the 2**k tokens from i on, in their order: equal numbers, equal
    # tokens. Two numbers of one level, side by side, make a number of the next. The last level
    # sorts all places.
    names, width = [_ranked(tokens)], 1
    while width < max(map(len, texts), default=0):
        after = np.zeros(n, np.int64)
        after[: n - width] = names[-1][width:] + 1
        names.append(_ranked(names[-1] * (n + 1) + after))
        width *= 2
    order = np.argsort(names[-1], kind="stable")

    # Of all training places, the one with the longest run in common is the nearest in the sorted
    # order, before or after one's own.
    places = np.arange(n)
    training_at = ~is_mine[order]
    before = np.maximum.accumulate(np.where(training_at, places, -1))
    behind = np.minimum.accumulate(np.where(training_at, places, n)[::-1])[::-1]
    mine = np.flatnonzero(~training_at)
    longest = np.zeros(len(texts), np.int64)
    for neighbour in (before[mine], behind[mine]):
        known = (neighbour >= 0) & (neighbour < n)
        own, other = order[mine[known]], order[neighbour[known]]
        np.maximum.at(longest, owner[own], _common_lengths(own, other, names))
    return longest


def _ranked(values: np.ndarray) -> np.ndarray:
    """Number the different values in their order, from 0."""
    order = np.argsort(values)
    ordered = values[order]
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.cumsum(np.concatenate([[0], ordered[1:] != ordered[:-1]]))
    return ranks


def _common_lengths(ones: np.ndarray, others: np.ndarray, names: list[np.ndarray]) -> np.ndarray:
    """The number of equal tokens from each pair of places on: the largest power of two first."""
    length = np.zeros(len(ones), np.int64)
    n = len(names[0])
    # A stretch that reached the end was named by what there was; its closing number, which no other
    # text has, keeps it from being equal to another.
    for level in range(len(names) - 1, -1, -1):
        at_one, at_other = np.minimum(ones + length, n - 1), np.minimum(others + length, n - 1)
        length += np.where(names[level][at_one] == names[level][at_other], 1 << level, 0)
    return length
