"""Write text: prompts of any length in one batch, each continued until its end-of-text.

From the inside out: `cumulative_probabilities` turns logits into what may be drawn, `stream_batch`
yields a token a row and step, `generate` and `generate_batch` collect them, `in_batches` feeds many
prompts, and `answer` goes from text to text.
"""

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


def generate(
    model: GPTModel,
    token_ids: torch.Tensor,
    max_new_tokens: int,
    context_size: int | None = None,
    **sampling,
) -> torch.Tensor:
    """Continue one prompt, int64 of shape (1, n): return the new tokens alone, shape (1, n_new).

    End-of-text is not among them. `sampling` is what `stream_batch` takes: temperature, top_k,
    top_p, eot_id, seed.

    Raises:
        ValueError: there are several rows, or as `stream_batch` does.
    """
    if token_ids.dim() > 1 and token_ids.shape[0] != 1:
        raise ValueError(
            f"generate continues one prompt, found {token_ids.shape[0]} rows; "
            "use generate_batch for several."
        )
    prompts = [token_ids.reshape(-1)]
    return generate_batch(model, prompts, max_new_tokens, context_size, **sampling)[0][None, :]


def generate_batch(
    model: GPTModel,
    prompts: Sequence[torch.Tensor],
    max_new_tokens: int,
    context_size: int | None = None,
    **sampling,
) -> list[torch.Tensor]:
    """Continue prompts of any lengths, each int64 of shape (n,), together.

    Returns each one's new tokens, without the end-of-text. `sampling` is what `stream_batch` takes:
    temperature, top_k, top_p, eot_id, seed.

    Raises:
        ValueError: as `stream_batch` does.
    """
    new_tokens: list[list[int]] = [[] for _ in prompts]
    for step in stream_batch(model, prompts, max_new_tokens, context_size, **sampling):
        for row, token in step.items():
            new_tokens[row].append(token)
    return [torch.tensor(tokens, dtype=torch.int64) for tokens in new_tokens]


# Nine parameters, since each is a setting by its usual name that callers pass through **sampling.
# no_grad and not inference_mode: what FSDP gathers in that cannot be trained on afterwards.
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

    A row ends at end-of-text (by default the last id of the vocabulary, as in every GPT-2), which
    is not yielded, after `max_new_tokens`, or when `context_size` (at most n_ctx) is full.

    Temperature 0 is greedy. Otherwise a token is drawn from the softmax of logits / temperature,
    cut to the `top_k` likeliest tokens (0: all), and of these to the fewest that together reach the
    probability `top_p` (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

    Row i draws by `seed` + i, or by `seed[i]`, whatever else is in the batch: `generate(...,
    seed=seed + i)` writes the same. So the next batch of samples of one prompt should begin at
    `seed` + its number of rows. None draws anew each time.

    Raises:
        ValueError: a prompt is empty or fills the context, or a setting is outside its range.
    """
    n_ctx = model.config.n_ctx
    context_size = n_ctx if context_size is None else min(context_size, n_ctx)
    _check(prompts, context_size, max_new_tokens, temperature, top_k, top_p)
    if prompts:
        n_steps = min(max_new_tokens, context_size - min(map(len, prompts)) + 1)
        numbers = None if temperature == 0 else _random_numbers(len(prompts), n_steps, seed)
        draw = _drawer(temperature, top_k, top_p, numbers, model.wte.weight.device)
        eot_id = model.config.n_vocab - 1 if eot_id is None else eot_id
        yield from _steps(model, prompts, n_steps, context_size, eot_id, draw)


def _steps(
    model: GPTModel,
    prompts: Sequence[torch.Tensor],
    n_steps: int,
    context_size: int,
    eot_id: int,
    draw: Callable[[torch.Tensor, list[int], int], torch.Tensor],
) -> Iterator[dict[int, int]]:
    """The loop of stream_batch: read the prompts once, then one token a row and step."""
    weight, n_rows = model.wte.weight, len(prompts)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=weight.device)
    # Without a cache every step would read the whole text again. With it a step computes one token
    # a row, and takes the keys and values of all earlier ones as they were.
    cache = KVCache(model.config, n_rows, int(lengths.max()) + n_steps, weight.device, weight.dtype)
    # Padded on the end: a prompt's own tokens never see a pad, and the cache hides the pads from
    # the tokens that follow.
    padded = torch.nn.utils.rnn.pad_sequence(
        [prompt.to(weight.device) for prompt in prompts], batch_first=True
    )
    # A prompt is continued from the state of its own last token, wherever that stands in its row.
    hidden = model.hidden(padded, cache)[torch.arange(n_rows, device=weight.device), lengths - 1]
    rows, positions, room = list(range(n_rows)), lengths[:, None], context_size - lengths.cpu()
    for step in range(n_steps):
        drawn = draw(model.head(hidden), rows, step)
        tokens = drawn.tolist()
        running = [place for place, token in enumerate(tokens) if token != eot_id]
        if running:
            yield {rows[place]: tokens[place] for place in running}
        running = [place for place in running if step < room[rows[place]]]
        if not running or step + 1 == n_steps:
            return
        if step == 0:
            model = packed(model)
        if len(running) < len(rows):
            # Rows that ended leave the batch. The first rows stay where they are, and the last ones
            # take the places that fall free, so that little of the cache is copied.
            last = iter([place for place in running if place >= len(running)])
            kept = [place if place in running else next(last) for place in range(len(running))]
            cache.keep_rows(kept)
            rows, drawn, positions = [rows[place] for place in kept], drawn[kept], positions[kept]
        hidden = model.hidden(drawn[:, None], cache, positions)[:, 0]
        positions = positions + 1


def _check(
    prompts: Sequence[torch.Tensor],
    context_size: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
) -> None:
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature is {temperature}; expected a number of 0 (greedy) or more.")
    if not 0 < top_p <= 1:
        raise ValueError(
            f"top_p is {top_p}; expected a probability above 0, at most 1 (every token)."
        )
    for name, value in (("max_new_tokens", max_new_tokens), ("top_k", top_k)):
        if value < 0:
            raise ValueError(f"{name} is {value}; expected 0 or more.")
    for row, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context_size:
            raise ValueError(
                f"prompt {row} has {len(prompt)} tokens; expected 1 to {context_size - 1}, "
                "one below the context; change its text."
            )


def _random_numbers(n_rows: int, n_steps: int, seed: int | Sequence[int] | None) -> torch.Tensor:
    """One number from 0 to 1 a row and step, (n_rows, n_steps), fp64.

    Drawn beforehand and on the CPU: a row's do not depend on which others are still running, nor on
    the device.
    """
    if seed is None:
        return torch.rand(n_rows, n_steps, dtype=torch.float64)
    seeds = [seed + row for row in range(n_rows)] if isinstance(seed, int) else seed
    generators = [torch.Generator().manual_seed(row_seed) for row_seed in seeds]
    return torch.stack(
        [torch.rand(n_steps, generator=generator, dtype=torch.float64) for generator in generators]
    )


def _drawer(
    temperature: float,
    top_k: int,
    top_p: float,
    numbers: torch.Tensor | None,
    device: torch.device,
) -> Callable[[torch.Tensor, list[int], int], torch.Tensor]:
    """The function that draws tokens, (n,), by logits, (n, n_vocab), for these rows at a step."""
    if numbers is None:
        return lambda logits, rows, step: logits.argmax(dim=-1)
    numbers = numbers.to(device)

    def draw(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        # Inverse transform sampling: the running sums cut the line from 0 to their last one into a
        # piece for each token, as long as its probability; a uniform number falls into one of them.
        cumulative, token_ids = cumulative_probabilities(logits, temperature, top_k, top_p)
        places = torch.searchsorted(
            cumulative, numbers[rows, step, None] * cumulative[:, -1:], right=True
        )
        # No place is past the end, unless the logits are not numbers: a GPU would not survive the
        # index.
        return token_ids.gather(1, places.clamp(max=cumulative.shape[1] - 1))[:, 0]

    return draw


def cumulative_probabilities(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what may be drawn by logits, (batch, n_vocab): running sums and token ids.

    Both are (batch, n_kept), likeliest first. The last sum of a row is below 1 where `top_p` cuts
    it; the tokens cut add nothing to it.
    """
    n_kept = min(top_k or logits.shape[-1], logits.shape[-1])
    logits, token_ids = logits.topk(n_kept, dim=-1)
    # In fp64 no temperature is too small to divide by.
    logits = logits.double()
    probabilities = ((logits - logits[:, :1]) / temperature).softmax(dim=-1)
    # A token stays if those before it have not reached top_p: so the likeliest always does.
    before = probabilities.cumsum(dim=-1) - probabilities
    return (probabilities * (before < top_p)).cumsum(dim=-1), token_ids


def packed(model: GPTModel) -> GPTModel:
    """A model with the same parameters, and copies of its matrices in the order that the CPU reads.

    What torch.compile does when it freezes weights, without its minutes. Elsewhere the model itself
    is returned: on a GPU, under autocast, with weights that FSDP has distributed, in formats for
    which this CPU has no instructions.
    """
    weight, ops = model.wte.weight, torch.ops.mkldnn
    has_instructions = torch.backends.mkldnn.is_available() and (
        weight.dtype is torch.float32
        or (weight.dtype is torch.bfloat16 and ops._is_mkldnn_bf16_supported())
    )
    # What FSDP has distributed is no nn.Parameter; of its root's weights that holds only until the
    # prompts are read.
    is_whole = all(type(parameter) is nn.Parameter for parameter in model.parameters())
    is_plain = weight.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not (has_instructions and is_whole and is_plain):
        return model

    def product(
        weight: torch.Tensor, bias: torch.Tensor | None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        reordered = ops._reorder_linear_weight(weight, None)
        return lambda x: ops._linear_pointwise(x, reordered, bias, "none", [], "")

    model = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = product(module.weight, module.bias)
    model.head = product(weight, None)
    return model


def in_batches(
    write: Callable[[list[torch.Tensor], list[int | None]], Sequence],
    prompts: Sequence[torch.Tensor],
    batch_size: int,
    seeds: Sequence[int | None],
    description: str | None = None,
) -> list:
    """Return what `write(prompts, seeds)` returns for the prompts, batch by batch, in their order.

    Prompts of like length share a batch, since the shorter ones are padded to the longest.
    `description` labels a progress bar; without it there is none.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    written = [None] * len(prompts)
    is_hidden = description is None or is_headless()
    with tqdm(total=len(prompts), desc=description, unit="answer", disable=is_hidden) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            texts = write([prompts[place] for place in chosen], [seeds[place] for place in chosen])
            for place, text in zip(chosen, texts, strict=True):
                written[place] = text
            bar.update(len(chosen))
    return written


def answer(
    model: GPTModel,
    tokenizer: tiktoken.Encoding,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int = 16,
    seed: int | None = None,
    description: str | None = None,
    **sampling,
) -> list[str]:
    """Answer `prompts` in batches, and return the texts in their order.

    Prompt i draws by `seed` + i, whatever `batch_size` is. `description` labels a progress bar.
    `sampling` is what else `stream_batch` takes: temperature, top_k, top_p.

    Raises:
        ValueError: as `stream_batch` does.
    """

    def write(batch: list[torch.Tensor], seeds: list[int | None]) -> list[str]:
        seed = None if None in seeds else seeds
        settings = {"eot_id": tokenizer.eot_token, "seed": seed, **sampling}
        rows = generate_batch(model, batch, max_new_tokens, **settings)
        return [token_ids_to_text(row, tokenizer) for row in rows]

    encoded = [torch.tensor(tokenizer.encode(p, disallowed_special=())) for p in prompts]
    seeds = [None if seed is None else seed + number for number in range(len(prompts))]
    return in_batches(write, encoded, batch_size, seeds, description)
