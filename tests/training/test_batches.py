"""What a batch holds: shifted targets, one end-of-text a row, whole answers; and which records meet in it."""

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.records import Record
from golf_nb_utils.training.batches import Batches, DatasetError, InstructionDataset, collate

EOT = 256
PROMPT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nCoach.\n\n### Input:\nArea: {}\n\n### Response:\n"
)


def record(area, output):
    return Record("Coach.", f"Area: {area}", output)


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
    rows = draw(
        st.lists(st.lists(st.integers(0, EOT - 1), min_size=2, max_size=12), min_size=1, max_size=6)
    )
    return [([*row, EOT], draw(st.integers(1, len(row) - 1))) for row in rows]


@given(batch=batches(), loss_on=st.sampled_from(["all", "response"]))
@settings(derandomize=True, deadline=None)
def test_every_row_has_one_end_of_text_as_target_and_nothing_of_it_is_lost(batch, loss_on):
    inputs, targets = collate(batch, EOT, loss_on)
    assert targets.eq(EOT).sum(dim=1).tolist() == [1] * len(batch)
    for (ids, n_prompt), row, target in zip(batch, inputs.tolist(), targets.tolist(), strict=True):
        assert row == ids[:-1] + [EOT] * (len(row) - len(ids) + 1)
        assert [token for token in target if token != -100] == (
            ids[1:] if loss_on == "all" else ids[n_prompt:]
        )


def test_a_record_is_its_prompt_its_answer_and_one_end_of_text(byte_tokenizer):
    dataset = InstructionDataset(
        [record("grip", "Hold lighter."), record("setup", "Drücken.")], byte_tokenizer, 1024
    )
    for (ids, n_prompt), area, output in zip(
        dataset, ("grip", "setup"), ("Hold lighter.", "Drücken."), strict=True
    ):
        assert ids[:n_prompt] == list(PROMPT.format(area).encode())
        assert ids[n_prompt:] == [*output.encode(), EOT]
    assert dataset.lengths == [
        len(PROMPT.format("grip")) + 13 + 1,
        len(PROMPT.format("setup")) + 9 + 1,
    ]


def test_records_that_do_not_fit_are_dropped_whole_and_counted(byte_tokenizer):
    n_prompt = len(PROMPT.format("grip"))
    outputs = ["x" * length for length in (10, 11, 12, 5, 400)]
    # Eleven bytes of answer and the end-of-text: the inputs, which lack the last token, fill the context exactly.
    dataset = InstructionDataset(
        [record("grip", output) for output in outputs], byte_tokenizer, n_prompt + 11
    )
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


def batches_of(lengths, batch_size, seed=1, loss_on="all"):
    """Batches of records of these lengths."""
    return Batches(Rows(lengths), batch_size, EOT, loss_on, seed)


class Rows(list):
    """Items as InstructionDataset has them; the first token of each is its number."""

    def __init__(self, lengths):
        super().__init__(
            ([number, *[0] * (length - 2), EOT], 1) for number, length in enumerate(lengths)
        )

    @property
    def lengths(self):
        return [len(ids) for ids, _ in self]


@pytest.mark.parametrize(
    ("n_records", "batch_size", "n_batches"),
    [(257, 8, 33), (256, 8, 32), (3, 8, 1), (160, 8, 20), (161, 8, 21)],
)
def test_an_epoch_covers_every_record_once_in_batches_of_the_size_asked_for(
    n_records, batch_size, n_batches
):
    batches = batches_of((LENGTHS * 2)[:n_records], batch_size)
    assert len(batches) == n_batches
    for number in range(3):
        order = batches.order(number)
        assert sorted(row for rows in order for row in rows) == list(range(n_records))
        assert sorted(map(len, order), reverse=True) == [batch_size] * (n_records // batch_size) + [
            n_records % batch_size
        ] * (n_records % batch_size > 0)


def test_the_batches_of_an_epoch_are_the_rows_of_its_order():
    batches = batches_of(LENGTHS, 8)
    for number in (0, 3):
        seen = [inputs[:, 0].tolist() for inputs, _ in batches.epoch(number)]
        assert seen == batches.order(number)
    assert [inputs[:, 0].tolist() for inputs, _ in batches] == batches.order(0)


@pytest.mark.parametrize("start", [0, 1, 17, 32, 33])
def test_an_epoch_can_be_entered_at_any_of_its_batches(start):
    batches = batches_of(LENGTHS, 8)
    whole = list(batches.epoch(5))
    rest = list(batches.epoch(5, start))
    assert len(rest) == 33 - start
    assert all(
        torch.equal(one, other)
        for pair in zip(whole[start:], rest, strict=True)
        for one, other in zip(*pair, strict=True)
    )


def test_the_order_differs_between_epochs_and_seeds_and_depends_on_nothing_else():
    first, second = (batches_of(LENGTHS, 8).order(number) for number in (1, 2))
    assert first != second
    assert {frozenset(rows) for rows in first} != {frozenset(rows) for rows in second}, (
        "other rows meet"
    )
    random.seed(4)
    torch.manual_seed(4)
    again = batches_of(LENGTHS, 8)
    # Neither the epochs that were read before nor anyone's random numbers count.
    assert [again.order(number) for number in (2, 1)] == [second, first]
    assert batches_of(LENGTHS, 8, seed=2).order(1) != first


def test_reading_an_epoch_draws_no_random_numbers():
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    list(batches_of(LENGTHS, 8).epoch(1))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_batches_come_in_no_order_of_length():
    longest = [max(LENGTHS[row] for row in rows) for rows in batches_of(LENGTHS, 8).order(1)]
    rising = sum(a < b for a, b in itertools.pairwise(longest))
    assert 8 < rising < 24


def test_rows_of_like_length_need_a_fraction_of_the_padding_of_random_order(byte_tokenizer):
    dataset = InstructionDataset(
        [record("grip", "x" * length) for length in LENGTHS], byte_tokenizer, 1024
    )
    batches = Batches(dataset, 8, EOT, "all", seed=1)
    padded = [(inputs.numel(), int(targets.ne(-100).sum())) for inputs, targets in batches]
    share = 1 - sum(count for _, count in padded) / sum(size for size, _ in padded)
    order = random.Random(2).sample(dataset.lengths, len(dataset))
    shuffled = [order[start : start + 8] for start in range(0, len(order), 8)]
    at_random = 1 - sum(order) / sum(max(batch) * len(batch) for batch in shuffled)
    assert share < at_random / 3
    # The method counts the last token of each row too, which is never an input.
    assert batches.padding_share() == pytest.approx(share, abs=0.01)
    assert batches.padding_share() > 0


def test_rows_of_one_length_need_no_padding():
    assert batches_of([7] * 10, 4).padding_share() == 0.0


def test_the_batches_label_what_they_were_told_to(byte_tokenizer):
    records = [record("grip", "x" * length) for length in (3, 4, 5, 6)]
    dataset = InstructionDataset(records, byte_tokenizer, 1024)
    counts = {}
    for loss_on in ("all", "response"):
        batches = Batches(dataset, 2, EOT, loss_on, seed=1)
        assert len(batches) == 2
        counts[loss_on] = sum(int(targets.ne(-100).sum()) for _, targets in batches)
    n_prompt = len(PROMPT.format("grip"))
    assert counts == {"response": 3 + 4 + 5 + 6 + 4, "all": 4 * n_prompt + 3 + 4 + 5 + 6}
