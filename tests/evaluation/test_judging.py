"""Systems judged side by side and compared, the perplexity against transformers' loss, and what notebook 04 writes."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from golf_nb_utils.evaluation import judging
from golf_nb_utils.evaluation.metrics import DIVERSITY, METRICS
from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.golf.checks import CHECKS, Verifier
from golf_nb_utils.golf.records import Record
from golf_nb_utils.settings import GPTConfig


def test_the_perplexity_is_that_of_the_answers_under_transformers_loss(
    random_model, gpt2_twin, byte_tokenizer
):
    model = random_model(GPTConfig(n_vocab=257, n_ctx=400, n_embd=16, n_head=2, n_layer=2))
    twin = gpt2_twin(model)
    records = [
        Record("Coach.", "Area: weight_shift", text)
        for text in (
            "Turn.",
            "Hold the finish for three seconds.",
            "Swing at half speed, twice a day.",
        )
    ]
    prompt = (
        b"Below is an instruction that describes a task, paired with an input that provides further context. "
        b"Write a response that appropriately completes the request.\n\n"
        b"### Instruction:\nCoach.\n\n### Input:\nArea: weight_shift\n\n### Response:\n"
    )
    total, count = 0.0, 0
    for record in records:
        ids = torch.tensor([[*prompt, *record.output.encode(), 256]])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        n_labelled = len(record.output) + 1
        with torch.inference_mode():
            total, count = (
                total + twin(ids, labels=labels).loss.item() * n_labelled,
                count + n_labelled,
            )
    expected = pytest.approx(math.exp(total / count), rel=1e-4)
    device = torch.device("cpu")
    losses = judging.response_losses(model, byte_tokenizer, records, device)
    assert math.exp(sum(loss for loss, _ in losses) / sum(n for _, n in losses)) == expected
    assert [n for _, n in losses] == [len(record.output) + 1 for record in records]


def test_a_record_longer_than_the_context_has_no_loss_and_the_others_keep_theirs(
    strata, knowledge, random_model, byte_tokenizer
):
    records = strata["test"]
    lengths = [len(f"{record.prompt}{record.output}".encode()) + 1 for record in records]
    n_ctx = sorted(lengths)[5] - 1  # The last token is only ever a target.
    device, losses = torch.device("cpu"), {}
    for name, context in {"short": n_ctx, "long": max(lengths)}.items():
        model = random_model(GPTConfig(n_vocab=257, n_ctx=context, n_embd=16, n_head=2, n_layer=1))
        losses[name] = judging.response_losses(model, byte_tokenizer, records, device)
        assert [loss is None for loss in losses[name]] == [n > context + 1 for n in lengths]
    answers = {"test": {name: [record.output for record in records] for name in losses}}
    rows = judging.judge(
        {"test": records}, answers, Verifier(knowledge), byte_tokenizer, [], {"test": losses}
    )
    for row, loss in zip(rows, losses["short"], strict=True):
        assert row.systems["short"].measures.get("perplexity") == (loss and list(loss))
    systems = judging.measure(rows, seed=1)["strata"]["test"]["systems"]
    assert [systems[name]["perplexity"]["n"] for name in losses] == [6, 12]
    none = judging.response_losses(
        random_model(GPTConfig(n_vocab=257, n_ctx=8, n_embd=16, n_head=2, n_layer=1)),
        byte_tokenizer, records, device,
    )  # fmt: skip
    assert none == [None] * 12


# Systems side by side.


@pytest.fixture(scope="module")
def strata(tiny_records):
    return {"test": tiny_records["train"][:12], "unseen": tiny_records["unseen"][:2]}


def answers_of(strata):
    """The references, nothing at all, and the references with every current score one tenth of a percent off in one half."""
    answers = {}
    for stratum, records in strata.items():
        right = [record.output for record in records]
        wrong = [
            text.replace(f"{record.meta['current_score'] * 100:.1f}%", "0.1%")
            if place % 2
            else text
            for place, (text, record) in enumerate(zip(right, records, strict=True))
        ]
        answers[stratum] = {"fine-tuned": wrong, "reference": right, "silent": [""] * len(records)}
    return answers


@pytest.fixture(scope="module")
def rows(strata, knowledge, byte_tokenizer):
    losses = {"test": {"fine-tuned": [(10.0 * number, 10 + number) for number in range(12)]}}
    # Of the first record's answer the first sentence was in the training set.
    training = [strata["test"][0].output.split(". ")[0]]
    return judging.judge(
        strata, answers_of(strata), Verifier(knowledge), byte_tokenizer, training, losses
    )


def test_a_row_holds_each_systems_answer_and_what_is_wrong_with_it(rows, strata):
    assert [(row.stratum, row.input, row.reference) for row in rows] == [
        (stratum, record.input, record.output)
        for stratum, records in strata.items()
        for record in records
    ]
    assert all(json.loads(json.dumps(asdict(row))) == asdict(row) for row in rows)
    for row, text in zip(
        rows,
        [text for answers in answers_of(strata).values() for text in answers["fine-tuned"]],
        strict=True,
    ):
        assert row.systems["fine-tuned"].answer == text
    good, bad, silent = (
        rows[1].systems["reference"],
        rows[1].systems["fine-tuned"],
        rows[1].systems["silent"],
    )
    assert (
        good.passed,
        good.failed,
        good.reasons,
        good.unsupported,
        good.unsupported_numbers,
    ) == (True, [], [], [], [])
    assert good.drill == strata["test"][1].meta["drill"]
    assert good.chain == strata["test"][1].meta["chain"] != ""
    assert not bad.passed
    assert {"current_score", "grounded", "numbers"} <= set(bad.failed) <= set(CHECKS)
    assert len(bad.reasons) == len(bad.failed)
    assert set(bad.unsupported_numbers) == {"0.1%"}
    for span in bad.unsupported:
        assert "0.1%" in span["text"]
        assert span["text"] in bad.answer
        assert span["nearest"].startswith("say.")
        assert 0.5 < span["similarity"] < 1
    assert silent.unsupported == []
    assert not silent.passed


def test_tokens_and_copied_runs_are_those_of_the_very_answer(rows, strata):
    answer = rows[0].systems["reference"].measures
    copied = len(strata["test"][0].output.split(". ")[0].encode())
    assert answer["tokens"] == [len(strata["test"][0].output.encode()), 1]
    assert answer["longest_copy"] == [copied, 1]
    for row, record in zip(
        rows, [record for records in strata.values() for record in records], strict=True
    ):
        assert row.systems["reference"].measures["tokens"] == [
            len(record.output.encode()),
            1,
        ]
        assert row.systems["silent"].measures["tokens"] == [0, 1]
        assert (
            row.systems["reference"].measures["longest_copy"][0] < copied
            or row.reference == strata["test"][0].output
        )


def test_a_missing_answer_is_refused(strata, knowledge, byte_tokenizer):
    answers = {stratum: {"fine-tuned": [""] * len(records)} for stratum, records in strata.items()}
    answers["unseen"]["fine-tuned"].pop()
    with pytest.raises(ValueError, match="fine-tuned has 1 answers to the 2 records of unseen"):
        judging.judge(strata, answers, Verifier(knowledge), byte_tokenizer, [])


def test_a_missing_loss_is_refused(strata, knowledge, byte_tokenizer):
    losses = {"test": {"fine-tuned": [(1.0, 1)] * 11}}
    with pytest.raises(ValueError, match="fine-tuned has 11 losses to the 12 records of test"):
        judging.judge(strata, answers_of(strata), Verifier(knowledge), byte_tokenizer, [], losses)


def test_the_figures_are_shares_and_ratios_over_the_records_of_a_stratum(rows):
    measured = judging.measure(rows, seed=1)
    assert (measured["confidence"], measured["n_resamples"], measured["seed"]) == (0.95, 10_000, 1)
    test = measured["strata"]["test"]
    assert test["n_records"] == 12
    assert measured["strata"]["unseen"]["n_records"] == 2
    tuned, silent = test["systems"]["fine-tuned"], test["systems"]["silent"]
    assert set(tuned) == {*METRICS, *DIVERSITY}
    assert tuned["verified"] == {
        "value": 0.5,
        "low": wilson(6, 12)[0],
        "high": wilson(6, 12)[1],
        "n": 12,
    }
    assert (test["systems"]["reference"]["verified"]["value"], silent["verified"]["value"]) == (
        1.0,
        0.0,
    )
    assert tuned["perplexity"]["value"] == pytest.approx(math.exp(10 * 66 / (120 + 66)))
    assert (
        tuned["perplexity"]["low"]
        < tuned["perplexity"]["value"]
        < tuned["perplexity"]["high"]
        < math.exp(110 / 21)
    )
    assert "perplexity" not in silent
    assert "grounded_sentences" not in silent
    assert silent["tokens"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 12}
    counts = [row.systems["fine-tuned"].measures["grounded_sentences"] for row in rows[:12]]
    share = tuned["grounded_sentences"]
    assert share["value"] == pytest.approx(
        sum(grounded for grounded, _ in counts) / sum(n for _, n in counts)
    )
    assert share["low"] < share["value"] < share["high"] < 1
    assert json.loads(json.dumps(measured)) == measured
    assert judging.measure(rows, seed=1) == measured
    assert (
        judging.measure(rows, seed=2)["strata"]["test"]["systems"]["fine-tuned"]["words"]
        != tuned["words"]
    )


def test_a_share_on_which_all_records_agree_has_an_interval_all_the_same(rows):
    share = judging.measure(rows, seed=1)["strata"]["test"]["systems"]["reference"][
        "grounded_sentences"
    ]
    assert (share["value"], share["low"], share["high"]) == (1.0, wilson(12, 12)[0], 1.0)


def test_an_interval_is_over_the_groups_of_the_records(rows):
    alike = [replace(row, group=f"group {place // 4}") for place, row in enumerate(rows[:12])]
    test = judging.measure(alike, seed=1)["strata"]["test"]
    assert (test["n_records"], test["n_groups"]) == (12, 3)
    reference, tuned = test["systems"]["reference"], test["systems"]["fine-tuned"]
    assert (reference["verified"]["low"], reference["verified"]["n"]) == (wilson(3, 3)[0], 12)
    assert reference["grounded_sentences"]["low"] == wilson(3, 3)[0]
    # Every group is half right, so it tells as much as its answers.
    assert tuned["verified"]["low"] == pytest.approx(wilson(6, 12)[0])
    # Of three groups all are better, or all are worse: 2 of 8 swaps.
    assert test["comparisons"]["silent"]["verified"]["p"] == pytest.approx(2 / 8, abs=0.02)


def test_the_subject_is_compared_with_every_other_system(rows):
    comparisons = judging.measure(rows, seed=1)["strata"]["test"]["comparisons"]
    assert set(comparisons) == {"reference", "silent"}
    ahead, behind = comparisons["silent"]["verified"], comparisons["reference"]["verified"]
    assert (ahead["difference"], behind["difference"]) == (0.5, -0.5)
    # Six records, all of one mind: 2 of 64 swaps.
    assert ahead["p"] == pytest.approx(2 / 64, abs=0.005)
    assert (
        comparisons["silent"]["headings"]["difference"],
        comparisons["silent"]["headings"]["verdict"],
    ) == (1.0, "better")
    assert comparisons["reference"]["headings"]["verdict"] == "no clear difference"
    assert comparisons["silent"]["tokens"]["verdict"] == "different"
    assert "perplexity" not in comparisons["silent"]
    for figures in comparisons.values():
        assert all(figure["p_adjusted"] >= figure["p"] for figure in figures.values())
    assert judging.measure(rows, seed=1, subject="another")["strata"]["test"]["comparisons"] == {}


# Two runs.


def run(n, share_right, start=0, perplexity=2.0, stratum="test", **more):
    """Rows of a made-up run: the first `share_right` of its answers pass."""
    rows = []
    for number in range(n):
        right = int(number < share_right * n)
        measures = {
            "verified": [right, 1],
            "tokens": [100, 1],
            "perplexity": [10 * math.log(perplexity) + number % 3, 10],
        }
        systems = {"fine-tuned": judged(f"Turn {number}.", measures)} | more
        rows.append(judging.JudgedRecord(stratum, "Coach.", str(start + number), "", systems))
    return rows


def judged(answer, measures):
    return judging.Judged(answer, True, [], [], [], [], "", "", measures)


def test_two_runs_on_the_same_prompts_are_compared_pair_by_pair():
    (found,) = judging.compare(run(40, 0.5), run(40, 0.9, perplexity=1.5), seed=1)["test"].values()
    assert (found["paired"], found["n"]) == (True, [40, 40])
    verified, perplexity, tokens = (
        found["figures"][name] for name in ("verified", "perplexity", "tokens")
    )
    assert (verified["first"], verified["second"]) == (0.5, 0.9)
    assert verified["difference"] == pytest.approx(0.4)
    assert verified["low"] < 0.4 < verified["high"]
    assert verified["p"] < 0.001
    assert (verified["verdict"], perplexity["verdict"], tokens["verdict"]) == (
        "better",
        "better",
        "no clear difference",
    )
    assert perplexity["difference"] < 0
    assert set(found["figures"]) == {"verified", "perplexity", "tokens", *DIVERSITY}


def test_the_order_of_the_prompts_does_not_matter_and_a_part_of_them_is_enough():
    first, second = run(40, 0.5), run(40, 0.9)
    expected = judging.compare(first, second, seed=1)["test"]["fine-tuned"]["figures"]["verified"]
    assert (
        judging.compare(first, second[::-1], seed=1)["test"]["fine-tuned"]["figures"]["verified"]
        == expected
    )
    found = judging.compare(first, second[10:20], seed=1)["test"]["fine-tuned"]
    assert (found["paired"], found["n"]) == (True, [10, 10])
    assert found["figures"]["verified"]["first"] == 1.0


def test_a_worse_run_is_called_worse():
    figures = judging.compare(run(40, 0.9), run(40, 0.3, perplexity=9.0), seed=1)["test"][
        "fine-tuned"
    ]["figures"]
    assert (figures["verified"]["verdict"], figures["perplexity"]["verdict"]) == ("worse", "worse")


def test_runs_on_other_prompts_are_compared_as_a_whole():
    found = judging.compare(run(40, 0.5), run(30, 0.9, start=20), seed=1)["test"]["fine-tuned"]
    assert (found["paired"], found["n"]) == (False, [40, 30])
    assert found["figures"]["verified"]["difference"] == pytest.approx(0.4)
    assert found["figures"]["verified"]["verdict"] == "better"


def test_a_small_difference_of_few_answers_is_no_clear_one():
    figures = judging.compare(run(10, 0.5), run(10, 0.6), seed=1)["test"]["fine-tuned"]["figures"]
    assert figures["verified"]["verdict"] == "no clear difference"
    assert figures["verified"]["p"] == 1.0


def test_many_figures_make_each_p_value_count_for_less():
    figures = judging.compare(run(40, 0.5), run(40, 0.65), seed=1)["test"]["fine-tuned"]["figures"]
    # Six of forty differ: 2 of 64 swaps, and ten figures are compared.
    assert figures["verified"]["p"] == pytest.approx(2 / 64, abs=0.005)
    assert figures["verified"]["verdict"] == "no clear difference"


def test_only_what_both_runs_have_is_compared():
    assert judging.compare(run(5, 1), run(5, 1, stratum="unseen"), seed=1) == {}
    more = {"base": judged("", {})}
    assert set(judging.compare(run(5, 1, **more), run(5, 1), seed=1)["test"]) == {"fine-tuned"}
    assert set(judging.compare(run(5, 1), run(5, 1, **more), seed=1)["test"]) == {"fine-tuned"}
