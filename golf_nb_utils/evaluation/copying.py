"""Whether a model copies a score: where its heads look when the number is due, and what it expects.

To write 83.0% where the request has 0.83, some head has to look back at that 83 (an induction head:
Olsson et al. 2022, arXiv 2209.11895). A model without one knows no better than which scores are
common.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tiktoken
import torch

from golf_nb_utils.golf.records import Record
from golf_nb_utils.golf.wording import percent
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.prompt import HEADINGS

PLACES = ("the score itself", "other numbers", "other words of the request", "the answer so far")
"""Where a head can look."""
_BEFORE = "\nCurrent Score: "


@dataclass(frozen=True)
class Due:
    """A place in an answer where the next token begins the current score."""

    looks: torch.Tensor
    """The attention of each head on each of PLACES, (layers, heads, 4), which sums to 1."""
    right: str
    """The token that belongs there."""
    share: float
    """The model's probability of it, 0..1."""
    likeliest: str
    """The token that the model would write."""


def where_scores_are_due(
    model: GPTModel, tokenizer: tiktoken.Encoding, records: Sequence[Record]
) -> list[Due]:
    """Read each record's answer up to its current score, and look into the model there.

    Records whose answer states none, or which exceed the context, are left out.
    """
    found = []
    for record in records:
        stated = percent(record.meta["current_score"])
        start = record.output.find(HEADINGS["what_is_happening"])
        start = record.output.find(stated, max(start, 0))
        prompt = tokenizer.encode(record.prompt, disallowed_special=())
        answer = tokenizer.encode(record.output, disallowed_special=())
        _, starts = tokenizer.decode_with_offsets(answer)
        # The number's token may begin with the blank before it.
        n_said = sum(end <= start for end in starts[1:])
        ids = prompt + answer[:n_said]
        if start < 0 or not n_said or len(ids) > model.config.n_ctx:
            continue
        looks, logits = last_attention(model, torch.tensor(ids))
        places = torch.tensor([*_places(record.prompt, prompt, tokenizer), *[3] * n_said])
        sums = torch.zeros(*looks.shape[:2], len(PLACES))
        sums.index_add_(2, places, looks.cpu())
        shares, right = logits.softmax(0), answer[n_said]
        likeliest = tokenizer.decode([int(shares.argmax())])
        found.append(Due(sums, tokenizer.decode([right]), float(shares[right]), likeliest))
    return found


def _places(prompt: str, ids: list[int], tokenizer: tiktoken.Encoding) -> list[int]:
    """For each token of a prompt, which of PLACES it is."""
    text, starts = tokenizer.decode_with_offsets(ids)
    digits = text.index(_BEFORE) + len(_BEFORE) + len("0.")
    places = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        is_number = any(character.isdigit() for character in text[start:end])
        is_score = start < digits + 2 and end > digits
        places.append(0 if is_score else 1 if is_number else 2)
    return places


@torch.inference_mode()
def last_attention(model: GPTModel, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what each head attends to from the last of some tokens, and the logits there.

    They are (layers, heads, tokens), each head's summing to 1, and (n_vocab,).
    """
    token_ids = token_ids.to(model.wte.weight.device)
    n_tokens, found = len(token_ids), []
    x = (model.wte(token_ids) + model.wpe.weight[:n_tokens])[None]
    for layer, block in enumerate(model.h):
        heads = block.attn.c_attn(block.ln_1(x)).view(n_tokens, 3, block.attn.n_head, -1)
        query, keys = heads[-1, 0], heads[:, 1]
        scores = torch.einsum("hd,thd->ht", query, keys) * query.shape[-1] ** -0.5
        found.append(scores.float().softmax(1))
        x = block(x, layer, None)
    return torch.stack(found), model.head(model.ln_f(x[0, -1])).float()
