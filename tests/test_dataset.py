"""What a batch holds: shifted targets, one end-of-text a row, whole answers; and which records meet in it."""

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.dataset import DatasetError, InstructionDataset, LengthBucketSampler, collate, make_loader, padding_share

EOT = 256
PROMPT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nCoach.\n\n### Input:\nArea: {}\n\n### Response:\n"
)


def record(area, output):
    return {"instruction": "Coach.", "input": f"Area: {area}", "output": output}


def test_targets_are_one_position_ahead_and_rows_are_padded_at_their_end():
    batch = [([11, 12, 13, 14, 9], 2), ([15, 16, 9], 1), ([17, 9], 1)]
    inputs, targets = collate(batch, pad_id=9)
    assert inputs.tolist() == [[11, 12, 13, 14], [15, 16, 9, 9], [17, 9, 9, 9]]
    assert targets.tolist() == [[12, 13, 14, 9], [16, 9, -100, -100], [9, -100, -100, -100]]
    assert inputs.dtype == targets.dtype == torch.int64


def test_loss_on_response_leaves_only_the_answer_and_its_end():
    batch = [([11, 12, 13, 14, 9], 3), ([15, 16, 9], 1)]
    inputs, targets = collate(batch, pad_id=9, loss_on="response")
    assert inputs.tolist() == [[11, 12, 13, 14], [15, 16, 9, 9]]
    # Three prompt tokens: position 2 reads the last of them and predicts the first of the answer.
    assert targets.tolist() == [[-100, -100, 14, 9], [16, 9, -100, -100]]


@st.composite
def batches(draw):
    rows = draw(st.lists(st.lists(st.integers(0, EOT - 1), min_size=2, max_size=12), min_size=1, max_size=6))
    return [([*row, EOT], draw(st.integers(1, len(row) - 1))) for row in rows]


@given(batch=batches(), loss_on=st.sampled_from(["all", "response"]))
@settings(derandomize=True, deadline=None)
def test_every_row_has_one_end_of_text_as_target_and_nothing_of_it_is_lost(batch, loss_on):
    inputs, targets = collate(batch, EOT, loss_on)
    assert targets.eq(EOT).sum(dim=1).tolist() == [1] * len(batch)
    for (ids, n_prompt), row, target in zip(batch, inputs.tolist(), targets.tolist(), strict=True):
        assert row == ids[:-1] + [EOT] * (len(row) - len(ids) + 1)
        assert [token for token in target if token != -100] == (ids[1:] if loss_on == "all" else ids[n_prompt:])


def test_a_record_is_its_prompt_its_answer_and_one_end_of_text(byte_tokenizer):
    dataset = InstructionDataset([record("grip", "Hold lighter."), record("setup", "Drücken.")], byte_tokenizer, 1024)
    for (ids, n_prompt), area, output in zip(dataset, ("grip", "setup"), ("Hold lighter.", "Drücken."), strict=True):
        assert ids[:n_prompt] == list(PROMPT.format(area).encode())
        assert ids[n_prompt:] == [*output.encode(), EOT]
    assert dataset.lengths == [len(PROMPT.format("grip")) + 13 + 1, len(PROMPT.format("setup")) + 9 + 1]


def test_records_that_do_not_fit_are_dropped_whole_and_counted(byte_tokenizer):
    n_prompt = len(PROMPT.format("grip"))
    outputs = ["x" * length for length in (10, 11, 12, 5, 400)]
    # Eleven bytes of answer and the end-of-text: the inputs, which lack the last token, fill the context exactly.
    dataset = InstructionDataset([record("grip", output) for output in outputs], byte_tokenizer, n_prompt + 11)
    assert dataset.n_dropped == 2
    assert [len(ids) - n_prompt - 1 for ids, _ in dataset] == [10, 11, 5]
    inputs, _ = collate(list(dataset), EOT)
    assert inputs.shape[1] == n_prompt + 11


def test_no_record_that_fits_is_an_error_with_the_numbers(byte_tokenizer):
    with pytest.raises(DatasetError, match="none of 2 records fits into 50 tokens"):
        InstructionDataset([record("grip", "a"), record("grip", "b")], byte_tokenizer, 50)


def test_a_text_that_spells_the_end_of_text_cannot_smuggle_one_in(byte_tokenizer):
    with pytest.raises(ValueError, match="endoftext"):
        InstructionDataset([record("grip", "Stop.<|endoftext|>Go.")], byte_tokenizer, 1024)


LENGTHS = random.Random(1).choices(range(20, 400), k=257)


def test_an_epoch_covers_every_record_once_in_batches_of_the_size_asked_for():
    sampler = LengthBucketSampler(LENGTHS, 8, seed=1)
    for _ in range(3):
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(257))
        assert sorted(map(len, batches)) == [1] + [8] * 32
        assert len(sampler) == len(batches)


def test_the_order_differs_between_epochs_and_seeds_and_can_be_repeated():
    def two_epochs(seed):
        sampler = LengthBucketSampler(LENGTHS, 8, seed)
        return [list(sampler), list(sampler)]

    first, second = two_epochs(1)
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert two_epochs(1) == [first, second]
    assert two_epochs(2)[0] != first


def test_batches_come_in_no_order_of_length():
    longest = [max(LENGTHS[i] for i in batch) for batch in LengthBucketSampler(LENGTHS, 8, seed=1)]
    rising = sum(a < b for a, b in itertools.pairwise(longest))
    assert 8 < rising < 24


def test_rows_of_like_length_need_a_fraction_of_the_padding_of_random_order(byte_tokenizer):
    dataset = InstructionDataset([record("grip", "x" * length) for length in LENGTHS], byte_tokenizer, 1024)
    loader = make_loader(dataset, 8, EOT, "all", seed=1)
    padded = [(inputs.numel(), int(targets.ne(-100).sum())) for inputs, targets in loader]
    share = 1 - sum(count for _, count in padded) / sum(size for size, _ in padded)
    order = random.Random(2).sample(dataset.lengths, len(dataset))
    shuffled = [order[start : start + 8] for start in range(0, len(order), 8)]
    at_random = 1 - sum(order) / sum(max(batch) * len(batch) for batch in shuffled)
    assert share < at_random / 3
    # The function counts the last token of each row too, which is never an input.
    assert padding_share(loader) == pytest.approx(share, abs=0.01)
    assert padding_share(loader) > 0


def test_the_loader_labels_what_it_was_told_to(byte_tokenizer):
    records = [record("grip", "x" * length) for length in (3, 4, 5, 6)]
    dataset = InstructionDataset(records, byte_tokenizer, 1024)
    counts = {}
    for loss_on in ("all", "response"):
        loader = make_loader(dataset, 2, EOT, loss_on, seed=1)
        assert len(loader) == 2
        counts[loss_on] = sum(int(targets.ne(-100).sum()) for _, targets in loader)
    n_prompt = len(PROMPT.format("grip"))
    assert counts == {"response": 3 + 4 + 5 + 6 + 4, "all": 4 * n_prompt + 3 + 4 + 5 + 6}
