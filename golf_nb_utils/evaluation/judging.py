"""Judge the answers of several systems side by side, and compare two systems or two runs.

`judge` turns answers into rows, one a record, which predictions.jsonl holds; `measure` turns rows
into the figures of metrics.json, each with its interval; `compare` holds two sets of rows against
each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import tiktoken
import torch

from golf_nb_utils.evaluation import statistics
from golf_nb_utils.evaluation.metrics import DIVERSITY, METRICS, measure_answer
from golf_nb_utils.evaluation.verbatim import longest_shared_runs
from golf_nb_utils.golf.checks import CHECKS, Verifier
from golf_nb_utils.golf.diversity import variety_of
from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.sentences import Span
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.training.batches import collate, encoded

SIGNIFICANT = 0.05
"""A difference counts as more than noise if its p-value, adjusted for the number of figures that
are compared, is below.
"""


@dataclass(frozen=True)
class Judged:
    """A system's answer to one record, and what the verifier and the metrics say of it.

    `failed` are the names of the checks that do not hold, with their `reasons`; `unsupported` and
    `unsupported_numbers` what has no origin; `chain` and `drill` what the answer gives.
    """

    answer: str
    passed: bool
    failed: list[str]
    reasons: list[str]
    unsupported: list[dict]
    """The sentences without an origin, {"text", "nearest", "similarity"}, in order."""
    unsupported_numbers: list[str]
    chain: str
    drill: str
    measures: dict[str, list[float]]
    """{name of METRICS: [numerator, denominator]}, see metrics.measure_answer."""


@dataclass(frozen=True)
class JudgedRecord:
    """A record of a stratum (test, unseen), its reference, and the judged answer of each system.

    Records of one `group` (see records.Group) are one finding; without a name each is its own.
    """

    stratum: str
    instruction: str
    input: str
    reference: str
    systems: dict[str, Judged]
    group: str = ""


def judge(
    strata: dict[str, list[Record]],
    answers: dict[str, dict[str, list[str]]],
    verifier: Verifier,
    tokenizer: tiktoken.Encoding,
    training_answers: list[str],
    losses: dict[str, dict[str, list[tuple[float, int] | None]]] | None = None,
) -> list[JudgedRecord]:
    """Judge every answer of every system: return a row a record, those of the first stratum first.

    `strata` is {stratum: records}, `answers` {stratum: {system: texts in the order of the
    records}}, `losses` {stratum: {system: response_losses}} of the systems that are models.

    Raises:
        InputFormatError: the input of a record is malformed.
        ValueError: a system has not one answer a record, or not one loss.
    """
    losses = losses or {}
    for stratum, records in strata.items():
        for what, found in {"answers": answers, "losses": losses}.items():
            for name, given in found.get(stratum, {}).items():
                if len(given) != len(records):
                    raise ValueError(
                        f"{name} has {len(given)} {what} to the {len(records)} records of "
                        f"{stratum}; expected one each."
                    )
    copied = _copied(strata, answers, tokenizer, training_answers)
    rows = []
    for stratum, records in strata.items():
        for place, record in enumerate(records):
            systems = {}
            for name, given in answers[stratum].items():
                counted = copied[stratum][name][place]
                judged = _judge_answer(given[place], record, verifier, *counted)
                own = losses.get(stratum, {}).get(name)
                if own and own[place]:
                    judged.measures["perplexity"] = list(own[place])
                systems[name] = judged
            asked = (record.instruction, record.input, record.output)
            rows.append(JudgedRecord(stratum, *asked, systems, record.meta.get("group", "")))
    return rows


def _copied(
    strata: Iterable[str],
    answers: dict[str, dict[str, list[str]]],
    tokenizer: tiktoken.Encoding,
    training_answers: list[str],
) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Each answer's tokens, and its longest run of them that stands in a training answer, too.

    All texts at once, since to read the training answers is most of the work.
    """
    texts = [text for stratum in strata for given in answers[stratum].values() for text in given]
    ids = tokenizer.encode_batch(texts, disallowed_special=())
    runs = longest_shared_runs(ids, tokenizer.encode_batch(training_answers, disallowed_special=()))
    counted = zip(map(len, ids), runs, strict=True)
    # The texts were listed system by system.
    return {
        stratum: {name: list(islice(counted, len(own))) for name, own in answers[stratum].items()}
        for stratum in strata
    }


def _judge_answer(
    answer: str, record: Record, verifier: Verifier, n_tokens: int, longest_copy: int
) -> Judged:
    verdict = verifier.verify(answer, record.input, nearest=True)
    return Judged(
        answer=answer,
        passed=verdict.passed,
        failed=[check for check, passed in verdict.checks.items() if not passed],
        reasons=list(verdict.reasons),
        unsupported=[_unsupported(span) for span in verdict.sentences if span.origin is None],
        unsupported_numbers=[span.text for span in verdict.numbers if span.origin is None],
        chain=verdict.chain,
        drill=verdict.drill,
        measures=measure_answer(answer, record, verdict, verifier.index, n_tokens, longest_copy),
    )


def _unsupported(span: Span) -> dict:
    similarity = round(span.similarity, 3)
    return {"text": span.text, "nearest": span.nearest, "similarity": similarity}


def measure(rows: list[JudgedRecord], seed: int, subject: str = "fine-tuned") -> dict:
    """Return all systems' figures, each with its 95 % interval, and the subject's differences.

    {"confidence", "n_resamples", "n_folds", "seed", "strata": {stratum: {"n_records", "n_groups",
    "systems": {system: {name: {"value", "low", "high", "n"}}}, "comparisons": {other system:
    compare's figures}}}}. All intervals are over the groups: Wilson's for a share of answers and
    for any share of 0 or 1, the percentile bootstrap's for any other figure of METRICS, the
    delete-a-group jackknife's for one of DIVERSITY. `n` is the number of records that enter.
    """
    result: dict = {
        "confidence": statistics.CONFIDENCE,
        "n_resamples": statistics.N_RESAMPLES,
        "n_folds": statistics.N_FOLDS,
        "seed": seed,
        "strata": {},
    }
    for stratum, mine in _by_stratum(rows).items():
        n_groups = len(set(_groups(mine)))
        counts = statistics.resample_counts(n_groups, seed)
        systems = {name: _figures(mine, name, counts) for name in mine[0].systems}
        comparisons = {}
        if subject in systems:
            sums = {name: _sums(mine, name) for name in systems}
            for name in systems:
                if name != subject:
                    tests = statistics.paired_difference(
                        sums[name], sums[subject], counts, seed, _transform
                    )
                    comparisons[name] = _differences(tests, systems[name], systems[subject])
        result["strata"][stratum] = {
            "n_records": len(mine),
            "n_groups": n_groups,
            "systems": systems,
            "comparisons": comparisons,
        }
    return result


def _by_stratum(rows: list[JudgedRecord]) -> dict[str, list[JudgedRecord]]:
    found: dict[str, list[JudgedRecord]] = {}
    for row in rows:
        found.setdefault(row.stratum, []).append(row)
    return found


_SHARES_OF_ANSWERS = ("verified", *CHECKS)
_IS_PERPLEXITY = np.array([name == "perplexity" for name in METRICS])


def _transform(ratios: np.ndarray) -> np.ndarray:
    """Losses per token become perplexities; ratios are [..., metrics]."""
    return np.where(_IS_PERPLEXITY, np.exp(np.where(_IS_PERPLEXITY, ratios, 0.0)), ratios)


def _groups(rows: list[JudgedRecord]) -> list[str | int]:
    """The group of each row; a row without one is a group of its own."""
    return [row.group or place for place, row in enumerate(rows)]


def _sums(rows: list[JudgedRecord], system: str) -> statistics.Sums:
    """Numerators and denominators, both [groups, metrics]; 0 and 0 where a measure is missing."""
    measures = (row.systems[system].measures for row in rows)
    pairs = np.array([[found.get(name, (0, 0)) for name in METRICS] for found in measures], float)
    return statistics.of_groups((pairs[..., 0], pairs[..., 1]), _groups(rows))


def _figures(rows: list[JudgedRecord], system: str, counts: np.ndarray) -> dict[str, dict]:
    above, below = _sums(rows, system)
    values = _transform(statistics.ratio(above, below))
    lows, highs = (_transform(bound) for bound in statistics.bootstrap(above, below, counts))
    figures = {}
    for place, name in enumerate(METRICS):
        n = sum(row.systems[system].measures.get(name, (0, 0))[1] != 0 for row in rows)
        if n:
            low, high = lows[place], highs[place]
            # A share on which all groups agree has no spread to draw from; as a share of groups it
            # has.
            if name in _SHARES_OF_ANSWERS:
                low, high = statistics.wilson_of_groups(above[:, place], below[:, place])
            elif METRICS[name].is_share and values[place] in (0.0, 1.0):
                n_groups = np.count_nonzero(below[:, place])
                low, high = statistics.wilson(values[place] * n_groups, n_groups)
            figures[name] = {
                "value": float(values[place]),
                "low": float(low),
                "high": float(high),
                "n": n,
            }
    groups: dict[str | int, list[int]] = {}
    for place, group in enumerate(_groups(rows)):
        groups.setdefault(group, []).append(place)
    measured = variety_of([row.systems[system].answer for row in rows])
    variety = statistics.jackknife(list(groups.values()), lambda some: measured([*chain(*some)]))
    for name, (value, low, high) in variety.items():
        figures[name] = {"value": value, "low": low, "high": high, "n": len(rows)}
    return figures


def compare(first: list[JudgedRecord], second: list[JudgedRecord], seed: int) -> dict:
    """Compare two runs by their rows, in the strata and systems that both have.

    Returns {stratum: {system: {"paired", "n", "figures": {name: figure}}}}. Where all prompts of
    one run stand in the other, too, the comparison is paired and over these; else each run is over
    its own prompts. A figure has `first`, `second`, `difference` (second - first), `low`, `high`
    (95 %), `p`, `p_adjusted` (by Holm, for the figures of this system and stratum) and a `verdict`:
    better, worse, different (where neither way is better) or "no clear difference".
    """
    result: dict = {}
    strata = _by_stratum(first), _by_stratum(second)
    for stratum in strata[0]:
        if stratum not in strata[1]:
            continue
        sides, paired = _paired(strata[0][stratum], strata[1][stratum])
        counts = [statistics.resample_counts(len(set(_groups(rows))), seed) for rows in sides]
        for system in sides[0][0].systems:
            if system not in sides[1][0].systems:
                continue
            sums = [_sums(rows, system) for rows in sides]
            figures = [_figures(rows, system, own) for rows, own in zip(sides, counts, strict=True)]
            if paired:
                tests = statistics.paired_difference(*sums, counts[0], seed, _transform)
            else:
                tests = statistics.unpaired_difference(*sums, seed, _transform)
            result.setdefault(stratum, {})[system] = {
                "paired": paired,
                "n": [len(rows) for rows in sides],
                "figures": _differences(tests, *figures),
            }
    return result


def _paired(
    first: list[JudgedRecord], second: list[JudgedRecord]
) -> tuple[tuple[list[JudgedRecord], list[JudgedRecord]], bool]:
    ones, others = ({(row.instruction, row.input): row for row in rows} for rows in (first, second))
    common = [prompt for prompt in ones if prompt in others]
    if len(common) == min(len(ones), len(others)):
        return ([ones[prompt] for prompt in common], [others[prompt] for prompt in common]), True
    return (first, second), False


def _differences(
    tests: tuple[np.ndarray, ...], first: dict[str, dict], second: dict[str, dict]
) -> dict[str, dict]:
    """The differences of METRICS (already tested) and DIVERSITY, with a verdict each."""
    figures = {}
    for place, name in enumerate(METRICS):
        if name in first and name in second:
            figures[name] = dict(
                zip(
                    ("difference", "low", "high", "p"),
                    (float(test[place]) for test in tests),
                    strict=True,
                )
            )
    for name in DIVERSITY:
        ones, others = (
            tuple(side[name][part] for part in ("value", "low", "high")) for side in (first, second)
        )
        figures[name] = dict(
            zip(
                ("difference", "low", "high", "p"),
                statistics.normal_difference(ones, others),
                strict=True,
            )
        )
    adjusted = statistics.holm([figure["p"] for figure in figures.values()])
    for (name, figure), p_adjusted in zip(figures.items(), adjusted, strict=True):
        figure |= {
            "first": first[name]["value"],
            "second": second[name]["value"],
            "p_adjusted": p_adjusted,
        }
        figure["verdict"] = _verdict((METRICS | DIVERSITY)[name].better, figure)
    return figures


def _verdict(better: str, figure: dict) -> str:
    if figure["p_adjusted"] >= SIGNIFICANT:
        return "no clear difference"
    if not better:
        return "different"
    return "better" if (figure["difference"] > 0) == (better == "higher") else "worse"


def response_losses(
    model: GPTModel, tokenizer: tiktoken.Encoding, records: list[Record], device: torch.device
) -> list[tuple[float, int] | None]:
    """Return (sum of cross-entropies, number of tokens) of each record's answer, given its prompt.

    None stands for a record that is longer than the model's context. The perplexity over records is
    exp(sum over count), see the metric `perplexity`. One record at a time: nothing is padded.
    """
    losses: list[tuple[float, int] | None] = []
    for record in records:
        ids, n_prompt = encoded(record, tokenizer)
        if len(ids) > model.config.n_ctx + 1:
            losses.append(None)
            continue
        input_ids, targets = collate([(ids, n_prompt)], tokenizer.eot_token, "response")
        with torch.inference_mode():
            loss, n_tokens = model.loss_sum(input_ids.to(device), targets.to(device))
        losses.append((loss.item(), int(n_tokens)))
    return losses
