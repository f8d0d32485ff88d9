"""The similarity of texts in its three forms, against sets of three letters counted one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.similarity import TrigramIndex, jaccard, similarities, trigrams

# Few letters, so that random texts share some of their triples.
TEXTS = st.lists(st.text(alphabet="ab é\n", max_size=12), max_size=7)


def likeness(one, other):
    """The share of all triples of letters of two texts that both have; two texts too short for any are alike."""
    mine, theirs = (
        {"".join(triple) for triple in zip(text, text[1:], text[2:], strict=False)}
        for text in (one, other)
    )
    either = mine | theirs
    return (
        sum(triple in mine and triple in theirs for triple in either) / len(either)
        if either
        else 1.0
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abcd", "abcd", 1.0),  # abc bcd
        ("abcd", "bcde", 1 / 3),  # abc | bcd | cde
        ("aaaaaa", "aaa", 1.0),  # one triple, however often
        ("abc", "xyz", 0.0),
        ("", "ab", 1.0),  # neither has a triple
        ("ab", "abc", 0.0),
    ],
)
def test_the_similarity_of_two_texts_is_the_share_of_triples_that_both_have(one, other, expected):
    assert similarities([one], [other]) == pytest.approx(np.array([[expected]]))
    assert jaccard(trigrams(one), trigrams(other)) == expected
    assert jaccard(trigrams(other), trigrams(one)) == expected


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_similarities_are_those_of_every_pair_however_many_are_taken_at_a_time(texts, others, rows):
    found = similarities(texts, others, rows=rows)
    assert found.shape == (len(texts), len(others))
    assert found.dtype == np.float32
    expected = [[likeness(one, other) for other in others] for one in texts]
    np.testing.assert_allclose(found, np.array(expected).reshape(found.shape), rtol=1e-6)


def test_more_answers_than_are_taken_at_a_time_by_default_are_all_compared():
    others = [f"{number:05d}" for number in range(2100)]
    found = similarities(["00000", "02099", "01000"], others)
    assert np.flatnonzero(found[0] == 1.0).tolist() == [0]
    assert np.flatnonzero(found[1] == 1.0).tolist() == [2099]
    assert np.flatnonzero(found[2] == 1.0).tolist() == [1000]


@given(TEXTS, st.text(alphabet="ab é\n", max_size=12))
def test_an_index_finds_the_first_of_the_most_similar_texts(texts, text):
    shared = [likeness(text, other) if trigrams(text) & trigrams(other) else 0.0 for other in texts]
    best = max(shared, default=0.0)
    expected = (shared.index(best), best) if best else (None, 0.0)
    assert TrigramIndex(texts).nearest(text) == expected
