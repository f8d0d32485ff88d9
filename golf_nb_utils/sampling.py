"""Write answers: prompts of different length in one batch, a key-value cache, each row stopped at its end-of-text."""

from collections.abc import Iterator

import tiktoken
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from golf_nb_utils.environment import is_headless
from golf_nb_utils.model import GPTModel, KVCache
from golf_nb_utils.prompts import format_input
from golf_nb_utils.tokenizer import token_ids_to_text


def generate(
    model: GPTModel,
    token_ids: torch.Tensor,
    max_new_tokens: int,
    context_size: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    eot_id: int | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Continue one prompt, int64 of shape (1, n): return the new tokens only, shape (1, n_new).

    Generation ends at end-of-text (by default the last id of the vocabulary, as in every GPT-2), after
    `max_new_tokens`, or when `context_size` (at most the model's n_ctx) is full. Temperature 0 is greedy; top_k 0
    keeps every token.

    Raises:
        ValueError: the prompt is empty or fills the context, or the temperature or top_k is negative.
    """
    if token_ids.dim() > 1 and token_ids.shape[0] != 1:
        raise ValueError(f"generate continues one prompt, found {token_ids.shape[0]} rows; use generate_batch for several.")
    rows = generate_batch(model, [token_ids.reshape(-1)], max_new_tokens, context_size, temperature, top_k, eot_id, seed)
    return rows[0][None, :]


def generate_batch(
    model: GPTModel,
    prompts: list[torch.Tensor],
    max_new_tokens: int,
    context_size: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    eot_id: int | None = None,
    seed: int | None = None,
) -> list[torch.Tensor]:
    """Continue prompts of any lengths, each int64 of shape (n,), together: return each one's new tokens.

    Raises:
        ValueError: as `generate` does.
    """
    new_tokens: list[list[int]] = [[] for _ in prompts]
    for step in stream_batch(model, prompts, max_new_tokens, context_size, temperature, top_k, eot_id, seed):
        for row, token in step.items():
            new_tokens[row].append(token)
    return [torch.tensor(tokens, dtype=torch.int64) for tokens in new_tokens]


# Not inference_mode: what FSDP gathers in it cannot be trained on afterwards.
@torch.no_grad()
def stream_batch(
    model: GPTModel,
    prompts: list[torch.Tensor],
    max_new_tokens: int,
    context_size: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    eot_id: int | None = None,
    seed: int | None = None,
) -> Iterator[dict[int, int]]:
    """Yield {row: new token} as they are drawn; a row that has ended no longer appears. The end-of-text is not yielded.

    Raises:
        ValueError: as `generate` does.
    """
    if temperature < 0 or top_k < 0 or max_new_tokens < 0:
        raise ValueError(f"temperature, top_k and max_new_tokens must be 0 or more, found {temperature}, {top_k}, {max_new_tokens}.")
    context_size = min(context_size or model.config.n_ctx, model.config.n_ctx)
    eot_id = model.config.n_vocab - 1 if eot_id is None else eot_id
    device = model.wte.weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    if int(lengths.min()) < 1 or int(lengths.max()) >= context_size:
        raise ValueError(
            f"prompts have {int(lengths.min())} to {int(lengths.max())} tokens; expected 1 to {context_size - 1} (context_size - 1)."
        )
    generator = torch.Generator(device).manual_seed(seed) if seed is not None else None

    n_positions = min(int(lengths.max()) + max_new_tokens, context_size)
    cache = KVCache(model.config, len(prompts), n_positions, device, model.wte.weight.dtype)
    # Padded on the end: a prompt's own tokens never see a pad, and its first new token overwrites the first pad's place.
    padded = torch.nn.utils.rnn.pad_sequence([prompt.to(device) for prompt in prompts], batch_first=True, padding_value=eot_id)
    hidden = model.hidden(padded, cache)
    logits = model.head(hidden[torch.arange(len(prompts), device=device), lengths - 1])
    rows = torch.arange(len(prompts), device=device)
    positions = lengths[:, None]
    for _ in range(max_new_tokens):
        tokens = _draw(logits, temperature, top_k, generator)
        running = tokens != eot_id
        if not bool(running.all()):
            rows, tokens, positions = rows[running], tokens[running], positions[running]
            cache.keep_rows(running)
        if not len(rows):
            return
        yield dict(zip(rows.tolist(), tokens.tolist(), strict=True))
        if int(positions.max()) >= context_size:
            fits = positions[:, 0] < context_size
            rows, tokens, positions = rows[fits], tokens[fits], positions[fits]
            cache.keep_rows(fits)
            if not len(rows):
                return
        logits = model.head(model.hidden(tokens[:, None], cache, positions))[:, 0]
        positions = positions + 1


def _draw(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator | None) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    if 0 < top_k < logits.shape[-1]:
        smallest_kept = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, float("-inf"))
    return torch.multinomial(F.softmax(logits / temperature, dim=-1), 1, generator=generator)[:, 0]


def answer(
    model: GPTModel,
    tokenizer: tiktoken.Encoding,
    records: list[dict],
    max_new_tokens: int,
    batch_size: int = 16,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int | None = None,
    description: str | None = None,
) -> list[str]:
    """Answer the prompts of `records` in batches of like length, and return the texts in the order of the records.

    `description` labels a progress bar; without it there is none.

    Raises:
        ValueError: a prompt fills the context.
    """
    prompts = [torch.tensor(tokenizer.encode(format_input(record))) for record in records]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    bar = tqdm(total=len(prompts), desc=description, unit="answer", disable=description is None or is_headless())
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = generate_batch(
            model, [prompts[i] for i in chosen], max_new_tokens, temperature=temperature, top_k=top_k, eot_id=tokenizer.eot_token, seed=seed
        )
        for index, row in zip(chosen, rows, strict=True):
            answers[index] = token_ids_to_text(row, tokenizer)
        bar.update(len(chosen))
    bar.close()
    return answers
