"""Records as token ids, in padded batches of rows of like length."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import tiktoken
import torch
from torch.utils.data import Dataset

from golf_nb_utils.golf.records import Record

IGNORED = -100
"""The target that the loss passes over: torch's cross_entropy ignores it by default."""
Batch = tuple[torch.Tensor, torch.Tensor]
"""(input ids, targets), both int64 of shape (rows, length)."""


class DatasetError(ValueError):
    """No record is left to train on."""


def encoded(record: Record, tokenizer: tiktoken.Encoding) -> tuple[list[int], int]:
    """Return the token ids of a record, prompt, answer and end-of-text, and how many are prompt.

    The last token is only ever a target, so n_ctx + 1 tokens fit into a context.
    """
    # What somebody said may hold "<|endoftext|>", which is then text like any other.
    prompt = tokenizer.encode(record.prompt, disallowed_special=())
    return [*prompt, *tokenizer.encode(record.output), tokenizer.eot_token], len(prompt)


class InstructionDataset(Dataset):
    """Token ids of records: the prompt, the answer, one end-of-text.

    A record longer than `context_length` is dropped and counted in `n_dropped`; an answer is never
    cut. Item i is (token ids, number of prompt tokens).

    Raises:
        DatasetError: no record fits.
    """

    def __init__(self, records: list[Record], tokenizer: tiktoken.Encoding, context_length: int):
        examples = (encoded(record, tokenizer) for record in records)
        self.examples = [each for each in examples if len(each[0]) <= context_length + 1]
        self.n_dropped = len(records) - len(self.examples)
        if not self.examples:
            raise DatasetError(
                f"none of {len(records)} records fits into {context_length} tokens; "
                "raise context_length or shorten the inputs."
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[list[int], int]:
        return self.examples[index]

    @property
    def lengths(self) -> list[int]:
        """The tokens of each item."""
        return [len(ids) for ids, _ in self.examples]


def collate(batch: list[tuple[list[int], int]], pad_id: int, loss_on: str = "all") -> Batch:
    """Return (input ids, targets), both (rows, longest - 1), the targets one position ahead.

    Inputs are padded on their end with `pad_id`, targets with -100, so that the one end-of-text of
    each record stays a target. `loss_on="response"` sets the targets within the prompt to -100 as
    well.
    """
    # GPT-2 has no token for padding, so inputs are padded with end-of-text. Were targets padded
    # with it, too, most of what the model learns would be to say end-of-text after end-of-text;
    # were all of them ignored, it would never learn to stop. With -100 for the padding, which no
    # token id is, the first end-of-text of a row is learnt and nothing after it.
    longest = max(len(ids) for ids, _ in batch)
    inputs = torch.full((len(batch), longest - 1), pad_id)
    targets = torch.full((len(batch), longest - 1), IGNORED)
    for row, (ids, n_prompt) in enumerate(batch):
        tokens = torch.tensor(ids)
        inputs[row, : len(ids) - 1] = tokens[:-1]
        targets[row, : len(ids) - 1] = tokens[1:]
        if loss_on == "response":
            targets[row, : n_prompt - 1] = IGNORED
    return inputs, targets


@dataclass(frozen=True)
class Batches:
    """The batches of a dataset, each of `batch_size` rows of like length, so that little is padded.

    Which rows meet, and in which order the batches come, is drawn from the seed and the number of
    the epoch, and from nothing else: so a run that was cut off finds its place again.
    """

    dataset: InstructionDataset
    batch_size: int
    pad_id: int
    loss_on: str
    seed: int

    POOL = 20  # batches sorted together: small enough to stay random, large enough to pad little

    def __len__(self) -> int:
        return -(-len(self.dataset.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch, from the one with the index `start` on."""
        for rows in self.order(number)[start:]:
            yield collate([self.dataset[row] for row in rows], self.pad_id, self.loss_on)

    def order(self, number: int) -> list[list[int]]:
        """Return the rows of each batch of an epoch."""
        lengths = self.dataset.lengths
        rng = random.Random(f"{self.seed}/{number}")
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        batches = []
        for start in range(0, len(rows), self.POOL * self.batch_size):
            pool = rows[start : start + self.POOL * self.batch_size]
            pool.sort(key=lengths.__getitem__)
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        rng.shuffle(batches)
        return batches

    def padding_share(self) -> float:
        """Return the share of positions in one epoch that are padding."""
        lengths = self.dataset.lengths
        padded = sum(max(lengths[row] for row in rows) * len(rows) for rows in self.order(0))
        return 1 - sum(lengths) / padded
