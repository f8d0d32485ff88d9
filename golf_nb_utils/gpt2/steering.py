"""Let a model choose its way through the texts of a grammar: whatever it chooses is one of them.

At most places of an answer only one token can follow. Such forced tokens need no sampling: they are
read together in one pass, when the model is next asked (jump-forward decoding, as SGLang calls it).
Where several can follow, the model's probabilities are cut to those and one of them is taken. An
answer of 300 tokens then takes two dozen passes, and is right before it is written.

The sentences of a grammar are encoded whole, each with the blanks and labels before it. GPT-2 cuts
text before blanks and line breaks, so the tokens of the parts are those of the whole text; a model
that is steered along other tokens would be pushed off what it learnt (Beurer-Kellner et al. 2024,
arXiv 2403.06988).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile

import tiktoken
import torch
from torch.nn import functional as F

from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.sampling import cumulative_probabilities, packed

NextTexts = Callable[[object], Iterable[tuple[str, object]]]
"""From a state to the (text, state after it) pairs that may follow; a text "" ends."""


@dataclass(frozen=True)
class Choice:
    """A place where several tokens could follow."""

    place: int
    """Of the token that was taken, in Steered.tokens."""
    options: tuple[tuple[int, ...], ...]
    """Each token that could follow, with the rest of a sentence that goes on with it."""
    shares: tuple[float, ...]
    """The model's probability of each of them, among all of them."""
    taken: int
    """Which option it was."""
    legal_mass: float
    """The share of the model's probability that lay on the options at all, 0..1."""


@dataclass
class Steered:
    """What was written for a prompt."""

    tokens: list[int] = field(default_factory=list)
    """Without the end-of-text."""
    choices: list[Choice] = field(default_factory=list)
    is_whole: bool = False
    """Whether it has come to its end, before the context was full."""

    @property
    def legal_mass(self) -> float:
        """The mean over the choices, 0..1: how much of an answer the model knew by itself."""
        masses = [choice.legal_mass for choice in self.choices]
        return sum(masses) / len(masses) if masses else 1.0

    def note(self, options: Iterable[tuple[int, ...]], scores: torch.Tensor, taken: int) -> None:
        """Keep a choice by the log-probabilities of its options, and which was taken."""
        mass = scores.logsumexp(0)
        if not mass.isfinite():
            raise ValueError("the model's probabilities are not numbers; its weights are damaged.")
        shares = tuple((scores - mass).exp().tolist())
        place, legal_mass = len(self.tokens), float(mass.exp())
        self.choices.append(Choice(place, tuple(options), shares, taken, legal_mass))


class _Walk:
    """All places of a grammar where the text written so far may stand."""

    def __init__(self, texts: NextTexts, state: object, encode: Callable[[str], tuple], end: int):
        self._texts, self._encode, self._end = texts, encode, end
        # (tokens that are left of a sentence, the state after it): several while sentences agree.
        self._threads = list(self._after(state))
        self.has_ended = False

    def _after(self, state: object) -> Iterator[tuple[tuple[int, ...], object]]:
        for text, then in self._texts(state):
            yield (self._encode(text) if text else (self._end,)), then

    def options(self) -> dict[int, tuple[int, ...]]:
        """The tokens that may follow, each with the rest of the first sentence that has it."""
        found: dict[int, tuple[int, ...]] = {}
        for tokens, _ in self._threads:
            found.setdefault(tokens[0], tokens)
        return found

    def take(self, token: int) -> None:
        """Go on along a token that may follow."""
        self.has_ended = token == self._end
        threads = []
        for left, then in () if self.has_ended else self._threads:
            if left[0] == token:
                threads += [(left[1:], then)] if len(left) > 1 else self._after(then)
        self._threads = threads

    def take_forced(self) -> list[int]:
        """Go on as long as one token alone can follow, and return those tokens."""
        taken: list[int] = []
        while not self.has_ended:
            if len(self._threads) == 1 and self._threads[0][0][0] != self._end:
                # One sentence: it is taken whole.
                ((tokens, then),) = self._threads
                taken += tokens
                self._threads = list(self._after(then))
                continue
            legal = list(self.options())
            if len(legal) > 1:
                break
            self.take(legal[0])
            taken += [] if self.has_ended else legal
        return taken


class Row:
    """A prompt on its way to an answer, with the keys and values of all that it has read."""

    def __init__(
        self,
        prompt: list[int],
        walk: _Walk | None,
        seed: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ):
        self.walk, self.unread, self.result = walk, prompt, Steered()
        self.numbers = torch.Generator().manual_seed(seed)
        self.temperature, self.top_p = temperature, top_p
        self.n_read = 0
        self.cache = torch.empty(0)  # (layers, 2, heads, slots, features), once there is something

    def take(self, chosen: list[int]) -> None:
        """Go on along the tokens that were chosen, and all that must follow them."""
        for token in chosen:
            self.walk.take(token)
        tokens = [] if self.walk.has_ended else [*chosen, *self.walk.take_forced()]
        self.unread += tokens
        self.result.tokens += tokens
        self.result.is_whole = self.walk.has_ended

    @property
    def n_tokens(self) -> int:
        """How many tokens it will have read after the next pass."""
        return self.n_read + len(self.unread)

    def make_room(self, model: GPTModel) -> None:
        """Grow the cache for what is to be read; by more, as an answer's length is not known."""
        n_needed = self.n_tokens
        if self.n_read and self.cache.shape[-2] >= n_needed:
            return
        config, weight = model.config, model.wte.weight
        n_slots, n_features = min(n_needed + 256, config.n_ctx), config.n_embd // config.n_head
        grown = weight.new_empty((config.n_layer, 2, config.n_head, n_slots, n_features))
        if self.n_read:
            grown[..., : self.n_read, :] = self.cache[..., : self.n_read, :]
        self.cache = grown

    def attend(self, layer: int, heads: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Queries, keys and values of new tokens, (tokens, 3, heads, features), to their values."""
        query, *new = heads.permute(1, 2, 0, 3)
        n_seen = self.n_read + len(heads)
        memory = self.cache[layer, :, :, :n_seen]
        memory[:, :, self.n_read :] = torch.stack(new)
        # A batch of one: the CPU's fast kernels take four dimensions.
        keys, values = memory[:, None]
        y = F.scaled_dot_product_attention(query[None], keys, values, attn_mask=mask)
        return y[0].transpose(0, 1).flatten(1)


class Steerer:
    """A model, ready to be steered; threads may share it if one at a time writes."""

    def __init__(self, model: GPTModel, tokenizer: tiktoken.Encoding):
        self._model, self._end = packed(model), tokenizer.eot_token
        self._encode = lru_cache(1 << 15)(lambda text: tuple(tokenizer.encode_ordinary(text)))

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        grammars: Sequence[tuple[NextTexts, object]],
        temperature: float = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
    ) -> list[Steered]:
        """Continue each prompt (token ids) along its grammar, (next texts, first state).

        Temperature 0 takes the likeliest of the tokens that may follow; otherwise one is drawn from
        the softmax of their logits / temperature, cut to the fewest that reach `top_p`. Row i draws
        by `seeds[i]` (or i), whatever else is in the batch. An answer ends where the context is
        full; `is_whole` says whether it came to its end.

        Raises:
            ValueError: a prompt is empty, the beginning that all share exceeds the context, or the
                model's probabilities are not numbers.
        """
        seeds = range(len(prompts)) if seeds is None else seeds
        rows = [
            self._row(prompt, grammar, seed, temperature, top_p)
            for prompt, grammar, seed in zip(prompts, grammars, seeds, strict=True)
        ]
        if len(rows) > 1:
            self._read_what_is_shared(rows)
        for row in rows:
            row.take([])
        while self.step(rows):
            pass
        return [row.result for row in rows]

    def stream(
        self, prompt: Sequence[int], grammar: tuple[NextTexts, object]
    ) -> Iterator[list[int]]:
        """Yield all tokens so far of one greedy answer, after each of the model's choices.

        Every one of them is the beginning of a text of the grammar.

        Raises:
            ValueError: as `write`, or prompt and answer exceed the context.
        """
        row = self.begin(prompt, grammar)
        while self.step([row]):
            yield row.result.tokens
        if not row.result.is_whole:
            self._require_room(row.n_tokens)

    def begin(
        self,
        prompt: Sequence[int],
        grammar: tuple[NextTexts, object],
        seed: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> Row:
        """Return a row that `step` lets write on, beside any others; parameters as in `write`.

        Raises:
            ValueError: the prompt is empty.
        """
        row = self._row(prompt, grammar, seed, temperature, top_p)
        row.take([])
        return row

    def step(self, rows: Sequence[Row]) -> bool:
        """Let each row that can go on read and choose once, in one pass; return whether any could.

        Between two steps rows may join and leave: none of them sees the others, so each writes what
        it would write alone (continuous batching, as Orca and vLLM do it).

        Raises:
            ValueError: the model's probabilities are not numbers.
        """
        rows = [row for row in rows if self.can_go_on(row)]
        if not rows:
            return False
        # Entered anew for each pass: a reader may pause, and goes on with grad mode as it was.
        with torch.inference_mode():
            logits = self._read(rows)
            for row, scores in zip(rows, logits.log_softmax(dim=1), strict=True):
                options = row.walk.options()
                legal = list(options)
                chosen = _choose(scores[legal], row)
                row.result.note(options.values(), scores[legal], chosen)
                row.take([legal[chosen]])
        return True

    def log_probabilities(self, prompt: Sequence[int], texts: Sequence[str]) -> list[float]:
        """Return how likely each text is to follow a prompt (token ids), as a natural logarithm.

        Raises:
            ValueError: the prompt is empty, or prompt and text exceed the context.
        """
        if not prompt:
            raise ValueError("a prompt is empty; expected at least one token.")
        tokens = [list(self._encode(text)) for text in texts]
        rows = [Row([*prompt, *own], None) for own in tokens]
        self._read_what_is_shared(rows, len(prompt))
        counts = [len(row.unread) for row in rows]
        with torch.inference_mode():
            states = self._states(rows).split(counts)
            # The state of each token says how likely the next one is.
            before = [s[-len(own) - 1 : -1] for s, own in zip(states, tokens, strict=True)]
            scores = self._model.head(torch.cat(before)).float().log_softmax(dim=1)
            ids = torch.tensor([token for own in tokens for token in own], device=scores.device)
            found = scores[torch.arange(len(ids), device=ids.device), ids]
        return [float(each.sum()) for each in found.split(list(map(len, tokens)))]

    def can_go_on(self, row: Row) -> bool:
        """Whether a row is not at its end, and the context has room for what it reads next."""
        return not row.walk.has_ended and row.n_tokens <= self._model.config.n_ctx

    def _row(self, prompt, grammar, seed, temperature, top_p) -> Row:
        if not prompt:
            raise ValueError("a prompt is empty; expected at least one token.")
        walk = _Walk(*grammar, self._encode, self._end)
        return Row(list(prompt), walk, seed, temperature, top_p)

    def _read_what_is_shared(self, rows: list[Row], most: int | None = None) -> None:
        """Read the beginning that all prompts share once: candidates share all but the last token.

        Each row needs a token of its own to read, whose logits are those of its first choice; so of
        the first `most` tokens, by default all, the last is left.
        """
        shortest = min(most or len(row.unread) for row in rows)
        columns = zip(*(row.unread[: shortest - 1] for row in rows), strict=True)
        shared = [tokens[0] for tokens in takewhile(lambda column: len(set(column)) == 1, columns)]
        if not shared:
            return
        reader = Row(shared, None)
        with torch.inference_mode():
            self._read([reader])
        for row in rows:
            # Copied when the row makes room for the rest of its prompt.
            row.cache, row.n_read = reader.cache[..., : len(shared), :], len(shared)
            del row.unread[: len(shared)]

    def _read(self, rows: list[Row]) -> torch.Tensor:
        """Let each row read its tokens; return the logits after its last, (rows, n_vocab)."""
        counts = torch.tensor([len(row.unread) for row in rows])
        states = self._states(rows)
        last = counts.cumsum(0).to(states.device) - 1
        return self._model.head(states[last]).float()

    def _require_room(self, n_tokens: int) -> None:
        n_ctx = self._model.config.n_ctx
        if n_tokens > n_ctx:
            raise ValueError(
                f"prompt and answer need {n_tokens} tokens, the context has {n_ctx}; "
                "shorten the prompt."
            )

    def _states(self, rows: list[Row]) -> torch.Tensor:
        """Let each row read its tokens; return the final state of each, (tokens, n_embd).

        The tokens of all rows go through the matrices as one long list, so nothing is padded: a row
        may have five tokens to read, another eighty. Attention alone is computed row by row.
        """
        model, device = self._model, self._model.wte.weight.device
        counts = [len(row.unread) for row in rows]
        self._require_room(max(row.n_tokens for row in rows))
        places, masks = [], []
        for row, count in zip(rows, counts, strict=True):
            row.make_room(model)
            place = torch.arange(row.n_read, row.n_read + count, device=device)
            seen = torch.arange(row.n_read + count, device=device)
            places.append(place)
            # A query sees what its row has read before, and of this pass what stands before itself.
            masks.append(seen <= place[:, None] if count > 1 else None)
        ids = torch.tensor([token for row in rows for token in row.unread], device=device)
        x = model.wte(ids) + model.wpe(torch.cat(places))
        for layer, block in enumerate(model.h):
            attention = block.attn
            heads = attention.c_attn(block.ln_1(x)).view(len(ids), 3, attention.n_head, -1)
            parts = zip(rows, heads.split(counts), masks, strict=True)
            y = torch.cat([row.attend(layer, part, mask) for row, part, mask in parts])
            x = x + attention.c_proj(y)
            x = x + block.mlp(block.ln_2(x))
        for row, count in zip(rows, counts, strict=True):
            row.n_read, row.unread = row.n_read + count, []
        return model.ln_f(x)


def _choose(scores: torch.Tensor, row: Row) -> int:
    """The place of the token that a row takes, of those with these log-probabilities."""
    if row.temperature == 0:
        return int(scores.argmax())
    cumulative, order = cumulative_probabilities(scores[None], row.temperature, 0, row.top_p)
    drawn = torch.rand(1, 1, generator=row.numbers, dtype=torch.float64).to(scores.device)
    place = torch.searchsorted(cumulative, drawn * cumulative[:, -1:], right=True)
    return int(order[0, place[0, 0].clamp(max=len(scores) - 1)])
