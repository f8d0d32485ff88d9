"""GPT-2 as OpenAI published it, with a key-value cache to sample from.

Token and position embeddings, then `n_layer` blocks, each of which adds to the same stream of
vectors what attention and a two-layer perceptron make of it (normalized before, "pre-norm"; GELU in
its tanh form), and a head that is the token embedding again (tied). Radford et al. 2019, "Language
Models are Unsupervised Multitask Learners".

Parameter names are OpenAI's and Hugging Face's (wte, wpe, h.N.attn.c_attn, ...). Matrices are
stored as nn.Linear stores them, [out, in]; OpenAI has [in, out], so the converter transposes.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from golf_nb_utils.gpt2.cross_entropy import summed_cross_entropy
from golf_nb_utils.settings import GPTConfig


class KVCache:
    """Keys and values of the tokens read so far: (layer, 2, batch, heads, slots, head size).

    Under a causal mask what a token has computed never changes when others follow. So its keys and
    values are kept, and a further token only computes its own.

    Prompts of different length make a rectangle by padding on their end. The next token of a short
    row then has a *position* right after its prompt, which the model adds to its embedding, but its
    *slot* comes after the padding: the same slot in all rows, written without an index. That is
    allowed since keys and values have no order of their own; only the pads must be hidden.

        slots      0    1    2    3    4
        row 0      How  far  is   it   ?        positions 0 1 2 3 4
        row 1      Why  pad  pad  not  ?        positions 0 . . 1 2
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        n_slots: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        head_size = config.n_embd // config.n_head
        shape = (config.n_layer, 2, batch_size, config.n_head, n_slots, head_size)
        self.tensor = torch.zeros(shape, device=device, dtype=dtype)
        self.n_read = self.n_prompt = 0
        self.unpadded: torch.Tensor | None = None
        """Slots that hold a token of the row, (batch, 1, 1, n_slots); None if all do."""

    def append(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, (batch, heads, n, head size), in the next slots of a layer.

        Returns those of all its slots so far.
        """
        end = self.n_read + key.shape[2]
        self.tensor[layer, 0, :, :, self.n_read : end] = key
        self.tensor[layer, 1, :, :, self.n_read : end] = value
        return self.tensor[layer, 0, :, :, :end], self.tensor[layer, 1, :, :, :end]

    def hide_padding(self, lengths: torch.Tensor) -> None:
        """Mark which of the prompts' slots are padding; `lengths`, (batch, 1), are without it."""
        if bool((lengths < self.n_prompt).any()):
            slots = torch.arange(self.tensor.shape[4], device=lengths.device)
            self.unpadded = ((slots < lengths) | (slots >= self.n_prompt))[:, None, None, :]

    def keep_rows(self, rows: list[int]) -> None:
        """Make row i what row `rows[i]` was, and drop the others; rows that stay are not copied."""
        moved = [place for place, row in enumerate(rows) if place != row]
        sources = [rows[place] for place in moved]
        self.tensor[:, :, moved] = self.tensor[:, :, sources]
        self.tensor = self.tensor[:, :, : len(rows)]
        if self.unpadded is not None:
            self.unpadded = self.unpadded[rows]


class Attention(nn.Module):
    """Each token looks at itself and at those before it, in `n_head` ways at once."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head = config.n_head
        # Queries, keys and values of all heads by one matrix.
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: torch.Tensor, layer: int, cache: KVCache | None) -> torch.Tensor:
        """Return what the tokens see, (batch, length, n_embd); `layer` is for the cache."""
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.n_head, width // self.n_head).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        if cache is not None:
            keys, values = cache.append(layer, key, value)
        if cache is not None and cache.n_read:
            y = attention_of_one(query, keys, values, cache.unpadded)
        elif query.device.type == "cpu" and query.dtype is torch.bfloat16:
            y = causal_attention(query, key, value)
        else:
            y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width))


def attention_of_one(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, unpadded: torch.Tensor | None
) -> torch.Tensor:
    """Return the attention of one query a row, (batch, heads, 1, head size), over the cache.

    `keys` and `values` are (batch, heads, slots, head size); what `unpadded` does not mark is left
    out. On CPUs in bfloat16 torch's own kernel takes three times as long as these products.
    """
    mask = None if unpadded is None else unpadded[..., : keys.shape[2]]
    if query.device.type != "cpu" or query.dtype is not torch.bfloat16:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    scores = (keys @ query.transpose(2, 3)).transpose(2, 3) * query.shape[3] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)  # whose softmax is 0
    return scores.softmax(dim=-1) @ values


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return what F.scaled_dot_product_attention(..., is_causal=True) does.

    All are (batch, heads, length, head size). On CPUs with bfloat16 instructions torch's own kernel
    makes a training step of 124M 12 % slower than these products: 256 queries at a time see no key
    after the last of them, so half of the scores are never computed, nor kept for the backward
    pass.
    """
    batch, heads, length, size = query.shape
    query, key, value = (
        tensor.reshape(batch * heads, length, size) for tensor in (query, key, value)
    )
    parts = []
    for start in range(0, length, 256):
        rows = query[:, start : start + 256]
        end = start + rows.shape[1]
        future = rows.new_full((rows.shape[1], end), -torch.inf).triu(start + 1)
        scores = torch.baddbmm(future, rows, key[:, :end].transpose(1, 2), alpha=size**-0.5)
        parts.append(scores.softmax(dim=-1) @ value[:, :end])
    return torch.cat(parts, dim=1).view(batch, heads, length, size)


class MLP(nn.Module):
    """Two layers for each token by itself, four times as wide between."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., n_embd) of (..., n_embd)."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Attention, then the MLP, each on a normalized copy of the stream and added to it."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, layer: int, cache: KVCache | None) -> torch.Tensor:
        """Return the stream, (batch, length, n_embd), with what this block adds."""
        x = x + self.attn(self.ln_1(x), layer, cache)
        return x + self.mlp(self.ln_2(x))


class GPTModel(nn.Module):
    """GPT-2 of the shape `config`; its head is the token embedding itself (tied)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        # Zeros until init_weights or a state dict fills them: nn.Embedding would draw them in vain,
        # and on the meta device, where a model is built to be loaded, import a thousand modules.
        self.wte = nn.Embedding.from_pretrained(
            torch.zeros(config.n_vocab, config.n_embd), freeze=False
        )
        self.wpe = nn.Embedding.from_pretrained(
            torch.zeros(config.n_ctx, config.n_embd), freeze=False
        )
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=1e-5)
        # Activation checkpointing: only a block's input is kept for the backward pass, which
        # computes the rest again; a third more work for a fraction of the memory.
        self.recompute_blocks = False

    def hidden(
        self,
        input_ids: torch.Tensor,
        cache: KVCache | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the final hidden states, (batch, length, n_embd), of token ids, (batch, length).

        Without `positions` whole sequences are read from position 0 on, causally. They may be
        padded on their end, since nothing before a pad sees it. With `positions`, (batch, 1), one
        further token a row is read, which attends to the cache but for the padding; how long the
        prompts were is what the first `positions` after them say.

        Raises:
            ValueError: the sequence is longer than n_ctx.
        """
        length = input_ids.shape[1]
        if positions is None:
            if length > self.config.n_ctx:
                raise ValueError(
                    f"{length} tokens exceed the context of {self.config.n_ctx}; shorten the text."
                )
            positions = torch.arange(length, device=input_ids.device).expand(input_ids.shape)
        elif cache.n_read == cache.n_prompt:
            cache.hide_padding(positions)
        x = self.wte(input_ids) + self.wpe(positions)
        for layer, block in enumerate(self.h):
            if self.recompute_blocks and cache is None and torch.is_grad_enabled():
                x = checkpoint(
                    block, x, layer, cache, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x = block(x, layer, cache)
        if cache is not None:
            cache.n_prompt = cache.n_prompt or length
            cache.n_read += length
        return self.ln_f(x)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits, (..., n_vocab), of hidden states, (..., n_embd)."""
        return F.linear(hidden, self.wte.weight)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, (batch, length, n_vocab), of token ids, (batch, length)."""
        return self.head(self.hidden(input_ids))

    def loss_sum(
        self, input_ids: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum of the cross-entropies, number of labelled positions), both of shape (1,).

        `targets`, (batch, length), is -100 where nothing is to be learnt; only the other positions
        pass the head, whose logits are never held together (summed_cross_entropy).

        A sum and a count, and not a mean: replicas of DataParallel hold different numbers of
        labelled tokens. Means 2.0 over 10 tokens and 4.0 over 90 average to 3.0, the loss of all
        100 is 3.8.
        """
        labelled = targets != -100
        loss = summed_cross_entropy(
            self.hidden(input_ids)[labelled], self.wte.weight, targets[labelled]
        )
        return loss.view(1), labelled.sum().view(1)


def init_weights(model: GPTModel, seed: int) -> None:
    """Draw the weights as GPT-2's were: normal, standard deviation 0.02, biases 0.

    The projections into the stream are smaller by sqrt(2 n_layer), since so many are added to it.
    Only the positions are not drawn: they begin as the sinusoids of "Attention Is All You Need"
    (Vaswani et al. 2017, 3.5), at the scale of the token embeddings, and are trained like every
    other weight. A model that sees few million tokens then need not learn each of its 1,024
    positions.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.constant_(
                parameter, 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            )
        else:
            scale = (2 * model.config.n_layer) ** -0.5 if "c_proj" in name else 1.0
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02 * scale)
    with torch.no_grad():
        n_ctx, n_embd = model.wpe.weight.shape
        angles = torch.arange(n_ctx)[:, None] / 10000 ** (torch.arange(0, n_embd, 2) / n_embd)
        model.wpe.weight.copy_(0.02 * torch.cat((angles.sin(), angles.cos()), dim=1)[:, :n_embd])
