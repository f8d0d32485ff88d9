"""What is counted of one answer: checks, origins of its sentences, copying, length, likeness.

Every measure is a pair (numerator, denominator), so that a figure over any records is a ratio of
sums: [1, 1] is a check that holds, [9, 11] are nine of eleven sentences with an origin, [320, 1] is
a length. An answer without any such thing has no pair.
"""

import importlib.util
from dataclasses import dataclass

from golf_nb_utils.golf.answer import Entry
from golf_nb_utils.golf.checks import CHECKS, Verdict
from golf_nb_utils.golf.records import Record
from golf_nb_utils.prompt import HEADINGS


@dataclass(frozen=True)
class Metric:
    """A figure's name for people, which way is better (higher, lower or neither), its format."""

    label: str
    better: str = ""
    form: str = "{:.1f}"

    @property
    def is_share(self) -> bool:
        """Whether it is a share, 0..1, printed in percent."""
        return "%" in self.form


def _share(label: str, better: str = "higher") -> Metric:
    return Metric(label, better, "{:.1%}")


METRICS = {
    "verified": _share("passes every check"),
    **{name: _share(label) for name, label in CHECKS.items()},
    "grounded_sentences": _share(
        "sentences that are in the knowledge base or filled from the request"
    ),
    "grounded_numbers": _share("numbers that are in the knowledge base or the request"),
    "on_topic": _share("of the sentences of the knowledge base, those of the topic asked for"),
    "chain": _share("gives the advice that the reference gives"),
    "coherent": _share("tells one cause, with the steps, the drill and the check that answer it"),
    "chrf": Metric("likeness to the one reference, chrF (0 to 100)", "higher"),
    "perplexity": Metric("perplexity of the reference, per token", "lower", "{:,.3f}"),
    "longest_copy": Metric("longest run of tokens that stands in a training answer, too"),
    "copied_share": _share("that run as a share of the answer", ""),
    "tokens": Metric("length in tokens"),
    "words": Metric("length in words"),
    "reading_grade": Metric("reading grade (Coleman-Liau)"),
}
"""The figures over answers, in the order of the report.

Shares of answers are those of `verified` and CHECKS.
"""

DIVERSITY = {
    "distinct_1": Metric("different words over all words (distinct-1)", form="{:.3f}"),
    "distinct_2": Metric("different pairs of words over all (distinct-2)", form="{:.3f}"),
    "distinct_3": Metric("different triples of words over all (distinct-3)", form="{:.3f}"),
    "compression_ratio": Metric("size over gzip size"),
    "commonest_answer_skeleton": _share("answers that are the commonest one, numbers aside", ""),
    "commonest_sentence_skeleton": _share(
        "sentences that are the commonest one, numbers aside", ""
    ),
    "mean_pairwise_jaccard": Metric(
        "mean likeness of two answers (character 3-grams)", form="{:.3f}"
    ),
}
"""The measures of all answers of a system together, see diversity.variety_of."""

OPTIONAL = {"chrf": "sacrebleu", "reading_grade": "textstat"}
"""{metric: the package that it needs}; where that is not installed the metric is left out."""


def missing_packages() -> dict[str, str]:
    """Return those of OPTIONAL whose package is not installed."""
    return {
        metric: package
        for metric, package in OPTIONAL.items()
        if importlib.util.find_spec(package) is None
    }


def measure_answer(
    answer: str,
    record: Record,
    verdict: Verdict,
    index: dict[str, Entry],
    n_tokens: int,
    longest_copy: int,
) -> dict[str, list[float]]:
    """Return {name of METRICS: [numerator, denominator]} of one answer.

    `n_tokens` and `longest_copy` are in tokens, see verbatim.longest_shared_runs. Perplexity is not
    among them: it is the model's, on the reference, and no answer enters it.
    """
    items = [index[span.origin] for span in verdict.sentences if span.origin in index]
    origins = {
        name: [sum(span.origin is not None for span in spans), len(spans)]
        for name, spans in (("sentences", verdict.sentences), ("numbers", verdict.numbers))
    }
    pairs = {
        "verified": [int(verdict.passed), 1],
        **{name: [int(passed), 1] for name, passed in verdict.checks.items()},
        "grounded_sentences": origins["sentences"],
        "grounded_numbers": origins["numbers"],
        "chain": [int(verdict.chain == record.meta["chain"]), int(bool(record.meta["chain"]))],
        "coherent": [int(is_coherent(items)), int(bool(record.meta["chain"]))],
        "on_topic": [sum(entry.topic == record.meta["topic"] for entry in items), len(items)],
        "longest_copy": [longest_copy, 1],
        "copied_share": [longest_copy, n_tokens],
        "tokens": [n_tokens, 1],
        "words": [len(answer.split()), 1],
    }
    if "chrf" not in missing_packages():
        pairs["chrf"] = [chrf(answer, record.output), 1]
    if "reading_grade" not in missing_packages():
        pairs["reading_grade"] = [*reading_grade(answer)]
    return {name: pair for name, pair in pairs.items() if pair[1]}


def is_coherent(items: list[Entry]) -> bool:
    """Return whether the entries that an answer is made of belong to one piece of advice."""
    told = {entry.advice for entry in items if entry.advice}
    faults = {entry.fault for entry in items if entry.advice}
    fixed = [entry.fixes for entry in items if entry.drill]
    return len(told) == 1 and all((told | faults) & set(fixes) for fixes in fixed)


def chrf(answer: str, reference: str) -> float:
    """Return chrF of an answer, 0..100: how many character 1- to 6-grams it shares (Popović 2015).

    It is the F-score with recall twice as heavy, by sacrebleu. The reference is one good answer
    among many, and a wrong number hardly lowers the score: it says how alike two texts are, not
    which is right.
    """
    from sacrebleu.metrics import CHRF

    return CHRF().sentence_score(answer, [reference]).score


def reading_grade(answer: str) -> tuple[float, int]:
    """Return (Coleman-Liau index of an answer without its headings, 1); (0, 0) without words.

    The index is the US school grade that reads it with ease. It is textstat's (whose weight of
    letters is 0.058, not the paper's 0.0588), as is coverage.reading_grade, to compare it with.
    """
    import textstat

    for heading in HEADINGS.values():
        answer = answer.replace(heading, "")
    return (textstat.coleman_liau_index(answer), 1) if any(map(str.isalpha, answer)) else (0.0, 0)
