"""GPT-2 as OpenAI published it: pre-norm blocks, tanh GELU, tied head; SDPA attention and a key-value cache.

Parameter names are OpenAI's and Hugging Face's (wte, wpe, h.N.attn.c_attn, ...); weights are stored as nn.Linear
stores them, [out, in], so the converter transposes.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from golf_nb_utils.gpt2.cross_entropy import summed_cross_entropy
from golf_nb_utils.settings import GPTConfig


class KVCache:
    """Keys and values of the tokens read so far, allocated once: one (batch, heads, slots, head size) pair a layer.

    The prompts take the first slots, padded on their end to the longest; every further token takes the next slot, the same
    in all rows, so that it is written without an index. What a row's slots hold is then not its positions, which the model
    adds to its embeddings, but keys and values have no order of their own.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        n_slots: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        shape = (
            config.n_layer,
            2,
            batch_size,
            config.n_head,
            n_slots,
            config.n_embd // config.n_head,
        )
        self.tensor = torch.zeros(shape, device=device, dtype=dtype)
        self.n_read = self.n_prompt = 0
        self.unpadded: torch.Tensor | None = None
        """Slots that hold a token of the row, (batch, 1, 1, n_slots); None where every slot does."""

    def append(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values, (batch, heads, n, head size), in the slots that follow; return those of all slots so far."""
        end = self.n_read + key.shape[2]
        self.tensor[layer, 0, :, :, self.n_read : end] = key
        self.tensor[layer, 1, :, :, self.n_read : end] = value
        return self.tensor[layer, 0, :, :, :end], self.tensor[layer, 1, :, :, :end]

    def hide_padding(self, lengths: torch.Tensor) -> None:
        """Mark what of the prompts' slots is padding; `lengths`, (batch, 1), are the prompts' own."""
        if bool((lengths < self.n_prompt).any()):
            slots = torch.arange(self.tensor.shape[4], device=lengths.device)
            self.unpadded = ((slots < lengths) | (slots >= self.n_prompt))[:, None, None, :]

    def keep_rows(self, rows: list[int]) -> None:
        """Make row i what row `rows[i]` was, and drop the others; only rows that change their place are copied."""
        moved = [place for place, row in enumerate(rows) if place != row]
        sources = [rows[place] for place in moved]
        self.tensor[:, :, moved] = self.tensor[:, :, sources]
        self.tensor = self.tensor[:, :, : len(rows)]
        if self.unpadded is not None:
            self.unpadded = self.unpadded[rows]


class Attention(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: torch.Tensor, layer: int, cache: KVCache | None) -> torch.Tensor:
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
    """Return the attention of one query a row, (batch, heads, 1, head size), to all `keys` but the padding.

    On CPUs in bfloat16 torch's own kernel takes three times as long as these products.
    """
    mask = None if unpadded is None else unpadded[..., : keys.shape[2]]
    if query.device.type != "cpu" or query.dtype is not torch.bfloat16:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    scores = (keys @ query.transpose(2, 3)).transpose(2, 3) * query.shape[3] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values


def causal_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return what F.scaled_dot_product_attention(..., is_causal=True) does; all are (batch, heads, length, head size).

    On CPUs with bfloat16 instructions torch's own kernel makes a training step of 124M 12 % slower than these batched products.
    256 queries at a time see no key after the last of them: half of the scores are never computed, nor kept for the backward pass.
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
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=1e-5)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, layer: int, cache: KVCache | None) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x), layer, cache)
        return x + self.mlp(self.ln_2(x))


class GPTModel(nn.Module):
    """GPT-2 of the shape `config`; the head is the token embedding itself (tied, as OpenAI has it)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        # Zeros until init_weights or a state dict fills them: nn.Embedding would draw them in vain, and on the meta device, where
        # a model is built to be loaded, first import a thousand modules for it.
        self.wte = nn.Embedding.from_pretrained(
            torch.zeros(config.n_vocab, config.n_embd), freeze=False
        )
        self.wpe = nn.Embedding.from_pretrained(
            torch.zeros(config.n_ctx, config.n_embd), freeze=False
        )
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=1e-5)
        # Activation checkpointing: a third more work, and of a block only its input is kept for the backward pass.
        self.recompute_blocks = False

    def hidden(
        self,
        input_ids: torch.Tensor,
        cache: KVCache | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the final hidden states, (batch, length, n_embd), of token ids, (batch, length).

        Without `positions` a whole sequence is read from position 0 on, causally; rows may be padded on their end,
        since nothing before a pad sees it. With `positions`, (batch, 1), one further token a row is read: it attends
        to the cache, but for the padding, which the first `positions` after the prompts tell.

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

        `targets`, (batch, length), is -100 where nothing is to be learnt; only the other rows pass the head, whose
        logits are never held together (summed_cross_entropy). A sum and a count, and not a mean, so that the replicas of
        DataParallel can be added: a mean of means weighs their tokens wrongly.
        """
        labelled = targets != -100
        loss = summed_cross_entropy(
            self.hidden(input_ids)[labelled], self.wte.weight, targets[labelled]
        )
        return loss.view(1), labelled.sum().view(1)


def init_weights(model: GPTModel, seed: int) -> None:
    """Draw the weights as GPT-2's were: normal, 0.02, and the projections into the residual stream smaller by sqrt(2 n_layer).

    Only the positions are not drawn: they begin as the sinusoids of "Attention Is All You Need" (Vaswani et al. 2017, 3.5),
    at the scale of the token embeddings, and are trained like every other weight. A model that sees few million tokens
    then need not learn each of its 1,024 positions by itself.
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
