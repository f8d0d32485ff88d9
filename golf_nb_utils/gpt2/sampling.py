"""Write answers: prompts of different length in one batch, a key-value cache, each row stopped at its end-of-text."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import tiktoken
import torch
from torch import nn
from tqdm.auto import tqdm

from golf_nb_utils.gpt2.model import GPTModel, KVCache
from golf_nb_utils.gpt2.tokenizer import token_ids_to_text
from golf_nb_utils.host import is_headless
from golf_nb_utils.prompt import format_input


def generate(
    model: GPTModel,
    token_ids: torch.Tensor,
    max_new_tokens: int,
    context_size: int | None = None,
    **sampling,
) -> torch.Tensor:
    """Continue one prompt, int64 of shape (1, n): return the new tokens only, shape (1, n_new), without the end-of-text.

    `sampling` is what `stream_batch` takes: temperature, top_k, top_p, eot_id, seed.

    Raises:
        ValueError: there are several rows, or as `stream_batch` does.
    """
    if token_ids.dim() > 1 and token_ids.shape[0] != 1:
        raise ValueError(
            f"generate continues one prompt, found {token_ids.shape[0]} rows; use generate_batch for several."
        )
    return generate_batch(model, [token_ids.reshape(-1)], max_new_tokens, context_size, **sampling)[
        0
    ][None, :]


def generate_batch(
    model: GPTModel,
    prompts: Sequence[torch.Tensor],
    max_new_tokens: int,
    context_size: int | None = None,
    **sampling,
) -> list[torch.Tensor]:
    """Continue prompts of any lengths, each int64 of shape (n,), together: return each one's new tokens, without the end-of-text.

    `sampling` is what `stream_batch` takes: temperature, top_k, top_p, eot_id, seed.

    Raises:
        ValueError: as `stream_batch` does.
    """
    new_tokens: list[list[int]] = [[] for _ in prompts]
    for step in stream_batch(model, prompts, max_new_tokens, context_size, **sampling):
        for row, token in step.items():
            new_tokens[row].append(token)
    return [torch.tensor(tokens, dtype=torch.int64) for tokens in new_tokens]


# Not inference_mode: what FSDP gathers in it cannot be trained on afterwards.
@torch.no_grad()
def stream_batch(
    model: GPTModel,
    prompts: Sequence[torch.Tensor],
    max_new_tokens: int,
    context_size: int | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    eot_id: int | None = None,
    seed: int | Sequence[int] | None = None,
) -> Iterator[dict[int, int]]:
    """Yield {row: new token} as they are drawn; a row that has ended no longer appears.

    A row ends at end-of-text (by default the last id of the vocabulary, as in every GPT-2), which is not yielded, after
    `max_new_tokens`, or when `context_size` (at most the model's n_ctx) is full.

    Temperature 0 is greedy. Otherwise a token is drawn from the softmax of logits / temperature, cut to the `top_k` likeliest
    tokens (0, or more than there are: all), and of these to the fewest that together reach the probability `top_p` (Holtzman et
    al. 2020, "The Curious Case of Neural Text Degeneration").

    Row i draws by `seed` + i, or by `seed[i]`, whatever else is in the batch: `generate(..., seed=seed + i)` writes the same.
    So the next batch of samples of one prompt should begin at `seed` + its number of rows. None draws anew each time.

    Raises:
        ValueError: a prompt is empty or fills the context, or a setting is outside its range.
    """
    _check(max_new_tokens, temperature, top_k, top_p)
    if not prompts:
        return
    context_size = (
        model.config.n_ctx if context_size is None else min(context_size, model.config.n_ctx)
    )
    lengths = [len(prompt) for prompt in prompts]
    for row, length in enumerate(lengths):
        if not 0 < length < context_size:
            raise ValueError(
                f"prompt {row} has {length} tokens; expected 1 to {context_size - 1}, one below the context; change its text."
            )
    eot_id = model.config.n_vocab - 1 if eot_id is None else eot_id
    device = model.wte.weight.device
    n_steps = min(max_new_tokens, context_size - min(lengths) + 1)
    draw = _drawer(len(prompts), n_steps, temperature, top_k, top_p, seed, device)

    cache = KVCache(
        model.config, len(prompts), max(lengths) + n_steps, device, model.wte.weight.dtype
    )
    # Padded on the end: a prompt's own tokens never see a pad, and the cache hides the pads from the tokens that follow.
    padded = torch.nn.utils.rnn.pad_sequence(
        [prompt.to(device) for prompt in prompts], batch_first=True
    )
    positions = torch.tensor(lengths, device=device)[:, None]
    hidden = model.hidden(padded, cache)[
        torch.arange(len(prompts), device=device), positions[:, 0] - 1
    ]
    rows = list(range(len(prompts)))
    for step in range(n_steps):
        drawn = draw(model.head(hidden), rows, step)
        tokens = drawn.tolist()
        running = [place for place, token in enumerate(tokens) if token != eot_id]
        if running:
            yield {rows[place]: tokens[place] for place in running}
        running = [place for place in running if lengths[rows[place]] + step < context_size]
        if not running or step + 1 == n_steps:
            return
        if step == 0:
            model = _with_packed_weights(model)
        if len(running) < len(rows):
            # The first rows stay where they are, and the last ones take the places that fall free.
            last = iter([place for place in running if place >= len(running)])
            kept = [place if place in running else next(last) for place in range(len(running))]
            cache.keep_rows(kept)
            rows, drawn, positions = [rows[place] for place in kept], drawn[kept], positions[kept]
        hidden = model.hidden(drawn[:, None], cache, positions)[:, 0]
        positions = positions + 1


def _check(max_new_tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature is {temperature}; expected a number of 0 (greedy) or more.")
    if not 0 < top_p <= 1:
        raise ValueError(
            f"top_p is {top_p}; expected a probability above 0, at most 1 (every token)."
        )
    for name, value in (("max_new_tokens", max_new_tokens), ("top_k", top_k)):
        if value < 0:
            raise ValueError(f"{name} is {value}; expected 0 or more.")


def _drawer(
    n_rows: int,
    n_steps: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | Sequence[int] | None,
    device: torch.device,
) -> Callable[[torch.Tensor, list[int], int], torch.Tensor]:
    """Return the function that draws a token, (n,), by logits, (n, n_vocab), for the rows with these numbers at a step."""
    if temperature == 0:
        return lambda logits, rows, step: logits.argmax(dim=-1)
    # One number a row and step, drawn before: a row's do not depend on which others are still running, nor on the device.
    if seed is None:
        numbers = torch.rand(n_rows, n_steps, dtype=torch.float64)
    else:
        seeds = [seed + row for row in range(n_rows)] if isinstance(seed, int) else seed
        generators = [torch.Generator().manual_seed(row_seed) for row_seed in seeds]
        numbers = torch.stack(
            [
                torch.rand(n_steps, generator=generator, dtype=torch.float64)
                for generator in generators
            ]
        )
    numbers = numbers.to(device)

    def draw(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        cumulative, token_ids = cumulative_probabilities(logits, temperature, top_k, top_p)
        places = torch.searchsorted(
            cumulative, numbers[rows, step, None] * cumulative[:, -1:], right=True
        )
        # No place is past the end, unless the logits are not numbers: a GPU would not survive the index.
        return token_ids.gather(1, places.clamp(max=cumulative.shape[1] - 1))[:, 0]

    return draw


def cumulative_probabilities(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what may be drawn: running sums of the probabilities, likeliest first, and the tokens' ids, both (batch, n_kept).

    The last sum of a row is below 1 where `top_p` cuts it; the tokens cut add nothing to it.
    """
    n_kept = min(top_k or logits.shape[-1], logits.shape[-1])
    logits, token_ids = logits.topk(n_kept, dim=-1)
    # In fp64 no temperature is too small to divide by.
    logits = logits.double()
    probabilities = ((logits - logits[:, :1]) / temperature).softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    return (probabilities * (before < top_p)).cumsum(dim=-1), token_ids


def _with_packed_weights(model: GPTModel) -> GPTModel:
    """Return the model with copies of its matrices in the order in which the CPU's products read them; its parameters are shared.

    What torch.compile does when it freezes weights, without its minutes. Elsewhere the model itself is returned: on a GPU, under
    autocast, with weights that FSDP has distributed, in formats for which this CPU has no instructions.
    """
    weight, ops = model.wte.weight, torch.ops.mkldnn
    supported = torch.backends.mkldnn.is_available() and (
        weight.dtype is torch.float32
        or (weight.dtype is torch.bfloat16 and ops._is_mkldnn_bf16_supported())
    )
    # What FSDP has distributed is no nn.Parameter; of its root's weights that holds only until the prompts are read.
    whole = all(type(parameter) is nn.Parameter for parameter in model.parameters())
    if (
        not supported
        or not whole
        or weight.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
    ):
        return model

    def product(
        weight: torch.Tensor, bias: torch.Tensor | None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        packed = ops._reorder_linear_weight(weight, None)
        return lambda x: ops._linear_pointwise(x, packed, bias, "none", [], "")

    model = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = product(module.weight, module.bias)
    model.head = product(weight, None)
    return model


def answer(
    model: GPTModel,
    tokenizer: tiktoken.Encoding,
    records: list[dict],
    max_new_tokens: int,
    batch_size: int = 16,
    seed: int | None = None,
    description: str | None = None,
    **sampling,
) -> list[str]:
    """Answer the prompts of `records` in batches of like length, and return the texts in the order of the records.

    Record i draws by `seed` + i, whatever `batch_size` is. `description` labels a progress bar; without it there is none.
    `sampling` is what else `stream_batch` takes: temperature, top_k, top_p.

    Raises:
        ValueError: as `stream_batch` does.
    """
    prompts = [torch.tensor(tokenizer.encode(format_input(record))) for record in records]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    bar = tqdm(
        total=len(prompts),
        desc=description,
        unit="answer",
        disable=description is None or is_headless(),
    )
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        seeds = None if seed is None else [seed + index for index in chosen]
        batch = [prompts[index] for index in chosen]
        rows = generate_batch(
            model, batch, max_new_tokens, eot_id=tokenizer.eot_token, seed=seeds, **sampling
        )
        for index, row in zip(chosen, rows, strict=True):
            answers[index] = token_ids_to_text(row, tokenizer)
        bar.update(len(chosen))
    bar.close()
    return answers
