"""What is counted of one answer, against counts by hand and the published formulas."""

import pytest

from golf_nb_utils.evaluation import metrics
from golf_nb_utils.evaluation.metrics import (
    DIVERSITY,
    METRICS,
    chrf,
    is_coherent,
    measure_answer,
    reading_grade,
)
from golf_nb_utils.golf.answer import Entry
from golf_nb_utils.golf.checks import CHECKS, Verdict
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.sentences import Span

INDEX = {
    "AF1a.steps.1": Entry("Turn.", "Turn.", topic="a"),
    "BF1a.steps.1": Entry("Step.", "Step.", topic="b"),
}
RECORD = Record("Coach.", "Area: balance", "Turn. Step.", {"topic": "a", "chain": "AF1a"})


def verdict(sentences=(), numbers=(), failed=(), chain="AF1a"):
    checks = {name: name not in failed for name in CHECKS}
    return Verdict(
        checks,
        tuple(failed),
        tuple(Span(*pair) for pair in sentences),
        tuple(Span(*pair) for pair in numbers),
        chain,
        "",
    )


def test_an_answer_is_counted_sentence_by_sentence_and_number_by_number():
    said = [
        ("Turn.", "AF1a.steps.1"),
        ("Step.", "BF1a.steps.1"),
        ("You are at 40.0%.", "say.score.1"),
        ("Fly 3 m.", None),
    ]
    found = measure_answer(
        "Turn. Step. You are at 40.0%. Fly 3 m.",
        RECORD,
        verdict(said, [("40.0%", "Current Score"), ("3", None)], ["grounded"]),
        INDEX,
        20,
        5,
    )
    assert found["verified"] == [0, 1]
    assert found["grounded"] == [0, 1]
    assert found["headings"] == [1, 1]
    assert found["grounded_sentences"] == [3, 4]
    assert found["grounded_numbers"] == [1, 2]
    assert found["on_topic"] == [
        1,
        2,
    ]  # of the two from the knowledge base; the score sentence has no topic
    assert found["longest_copy"] == [5, 1]
    assert found["copied_share"] == [5, 20]
    assert found["chain"] == [1, 1]
    assert found["tokens"] == [20, 1]
    assert found["words"] == [9, 1]
    assert set(found) == set(METRICS) - {"perplexity"}


def test_what_an_empty_answer_does_not_have_is_not_counted():
    found = measure_answer("", RECORD, verdict(failed=list(CHECKS)), INDEX, 0, 0)
    assert not {
        "grounded_sentences",
        "grounded_numbers",
        "on_topic",
        "copied_share",
        "reading_grade",
    } & set(found)
    assert found["tokens"] == [0, 1]
    assert found["chrf"] == [0.0, 1]


def test_an_answer_with_every_check_is_verified():
    assert measure_answer("Turn.", RECORD, verdict([("Turn.", "AF1a.steps.1")]), INDEX, 2, 2)[
        "verified"
    ] == [1, 1]


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [("AF1a", "AF1a", [1, 1]), ("AF1b", "AF1a", [0, 1]), ("", "AF1a", [0, 1]), ("AF1a", "", None)],
)
def test_the_chain_is_compared_with_that_of_the_reference_where_there_is_one(
    given, wanted, expected
):
    record = Record("Coach.", "Area: balance", "Turn.", {"topic": "a", "chain": wanted})
    assert (
        measure_answer("Turn.", record, verdict(chain=given), INDEX, 2, 2).get("chain") == expected
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("WF3a", ()), ("WF3a", ()), ("", ("WF3a",))], True),
        ([("WF3a", ()), ("", ("WF3",))], True),
        ([("WF3a", ()), ("", ())], True),
        ([("WF3a", ()), ("WF3b", ()), ("", ("WF3",))], False),
        ([("WF3a", ()), ("", ("WF3b", "WF6"))], False),
        ([("", ("WF3a",))], False),
        ([], False),
    ],
)
def test_an_answer_is_coherent_if_all_it_tells_is_of_one_cause_and_its_drill_is_for_it(
    told, expected
):
    entries = [
        Entry("a", "a", advice=advice, fault="WF3" * bool(advice), drill="WD1" * bool(fixes), fixes=fixes)
        for advice, fixes in told
    ]  # fmt: skip
    assert is_coherent(entries) == expected


def test_every_figure_has_a_label_and_a_way_to_be_printed():
    assert list(METRICS)[1 : 1 + len(CHECKS)] == list(CHECKS)
    for metric in (METRICS | DIVERSITY).values():
        assert metric.label
        assert metric.better in ("higher", "lower", "")
        assert metric.is_share == (metric.form.format(0.5) == "50.0%")
    assert METRICS["perplexity"].better == "lower"


@pytest.mark.parametrize("package", ["sacrebleu", "textstat"])
def test_without_an_optional_package_its_metric_is_left_out(package, monkeypatch):
    installed = metrics.importlib.util.find_spec
    monkeypatch.setattr(
        metrics.importlib.util,
        "find_spec",
        lambda name: None if name == package else installed(name),
    )
    metric = {"sacrebleu": "chrf", "textstat": "reading_grade"}[package]
    assert metrics.missing_packages() == {metric: package}
    assert set(measure_answer("Turn.", RECORD, verdict([("Turn.", None)], [("1", None)]), INDEX, 2, 2)) == set(METRICS) - {
        "perplexity", "on_topic", metric,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        # Characters: 2 of 2 are right, of 3 wanted; pairs: 1 of 1, of 2 wanted; no triples in the answer.
        # Precision 1, recall (2/3 + 1/2) / 2 = 7/12; F with recall twice as heavy: 5 PR / (4 P + R).
        ("ab", "abc", 100 * 5 * (7 / 12) / (4 + 7 / 12)),
        ("abc", "ab", 100 * 5 * (7 / 12) / (4 * (7 / 12) + 1)),
        ("Turn the hips.", "Turn the hips.", 100.0),
        ("a b", "ab", 100.0),  # blanks do not count
        ("xyz", "abc", 0.0),
    ],
)
def test_chrf_is_the_f_score_worked_by_hand(answer, reference, expected):
    assert chrf(answer, reference) == pytest.approx(expected)


def test_the_reading_grade_is_coleman_and_liaus_formula():
    # 40 letters in 10 words of 2 sentences: 400 letters and 20 sentences a hundred words. The paper has 0.0588, textstat 0.058.
    text = "Turn your hips with care.\nKeep your long arms firm."
    assert sum(map(str.isalpha, text)) == 40
    assert reading_grade(text) == (pytest.approx(0.058 * 400 - 0.296 * 20 - 15.8), 1)


def test_headings_do_not_count_as_reading():
    text = "Turn your hips with care. Keep your long arms firm."
    assert reading_grade(f"WHAT TO DO (Actionable Steps):\n{text}") == reading_grade(text)
    assert reading_grade("WHAT TO DO (Actionable Steps):\n 12 ...") == (0.0, 0)
