"""Denials are no faults, and what only sounds like one is heard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.denial import undenied


@pytest.fixture(scope="module")
def rows(pytestconfig):
    """(D for a denial or M for what means the fault, the fault, what was said), by one writer."""
    path = pytestconfig.rootpath / "tests" / "golf" / "data" / "denials.tsv"
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_who_denies_a_fault_is_not_told_that_they_have_it(rows, reader, knowledge):
    area_of = {fault.id: fault.area for fault in knowledge.faults}
    denials = [(fault, text) for kind, fault, text in rows if kind == "D"]
    assert len(denials) > 60
    heard = [text for fault, text in denials if reader.hear(area_of[fault], text).meaning == fault]
    assert len(heard) <= 0.1 * len(denials), heard


def test_who_means_a_fault_in_words_of_denial_is_heard(rows):
    meant = [text for kind, _, text in rows if kind == "M"]
    assert len(meant) > 60
    assert sum(undenied(text) == "" for text in meant) <= 0.03 * len(meant)


def test_hardly_any_remark_that_means_a_fault_loses_its_words(knowledge, pytestconfig):
    from golf_nb_utils.golf.reader import load_wordings

    wordings = load_wordings(pytestconfig.rootpath / "knowledge" / "wordings", knowledge)
    faults = {fault.id for fault in knowledge.faults}
    faulty = [each.text for each in wordings if each.meaning in faults and each.split == "test"]
    assert len(faulty) > 2000
    assert sum(undenied(text) == "" for text in faulty) < 0.01 * len(faulty)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("I never sway", ""), ("I never turn my hips", "I never turn my hips"), ("No sway any more, but I hang back", "i hang back"),
        ("can't stop swaying", "can't stop swaying"), ("Falling back", "Falling back"), ("", ""),
        ("the chicken wing is gone, finally", ""), ("used to scoop. now it's thin", "now it's thin"),
    ],
)  # fmt: skip
def test_what_is_denied_is_left_out_and_what_follows_is_read_on(text, left):
    assert undenied(text) == left


@given(st.text(max_size=300))
def test_whatever_is_said_it_is_read_or_left_out(text):
    assert len(undenied(text)) <= 2 * len(text) + 2
