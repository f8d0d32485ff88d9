"""The cross-entropy of a language model's head, without its logits in memory.

The logits of 8 texts of 1,024 tokens over 50,257 words take 1.6 GB in fp32, and their gradient as
much again. So the head is passed some rows at a time, and what a row contributes to the loss and to
the gradients is all that stays of it.
"""

import torch
from torch.nn import functional as F

# Rows whose logits exist at a time. Measured with GPT-2's head on two CPU cores (bf16, 2,560 rows):
# 256 add to the weight's whole gradient too often, 4 % slower; 1,024 are no faster and take 0.1 GB.
CHUNK_ROWS = 512
# What of them, and of the weight's gradient, passes fp32 at a time: it stays in the CPU's caches.
SOFTMAX_ROWS, VOCAB_COLUMNS = 64, 8192
# 16-bit products run at full speed over whole tiles only, and 50,257 is odd: rows of zeros fill up.
ALIGNMENT = 64


def summed_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the sum over the rows of the cross-entropy of softmax(hidden @ weight.T), fp32, ().

    `hidden` is (rows, n_embd), `weight` (n_vocab, n_embd), `targets` (rows,) of token ids; no rows
    give 0. The products are in autocast's format where it is on; softmax and sums are in fp32.

    The gradient of a row's logits is softmax - one_hot(target): the loss itself is not needed for
    it. In fp32 and bf16 it is made, and multiplied on to `hidden` and `weight`, in the same pass as
    the loss, so that no logits are kept or computed twice.

    Raises:
        RuntimeError: in the backward pass, when it is to be differentiated itself, or in fp32 and
        bf16
            when it is run twice.
    """
    device = hidden.device.type
    dtype = (
        torch.get_autocast_dtype(device)
        if torch.is_autocast_enabled(device)
        else torch.promote_types(hidden.dtype, weight.dtype)
    )
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return SummedCrossEntropy.apply(hidden, weight, targets, dtype)
    return in_chunks(hidden, weight, targets, dtype, needed=(False, False))[0]


class SummedCrossEntropy(torch.autograd.Function):
    """in_chunks as autograd sees it: `forward` makes the gradients, `backward` scales them."""

    @staticmethod
    def forward(
        ctx, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return the loss; the gradients wait in `ctx`."""
        ctx.dtype = dtype
        # FP16 has no numbers between 0 and 6e-8, and a softmax over 50,257 words is full of them.
        # The loss scaler multiplies gradients into FP16's range, but only after the forward pass:
        # so there the chunks are computed again in the backward pass, already scaled.
        ctx.again = dtype is torch.float16
        needed = (False, False) if ctx.again else ctx.needs_input_grad[:2]
        loss, *gradients = in_chunks(hidden, weight, targets, dtype, needed)
        # As saved tensors, and not as attributes, they are released before the embedding's gradient
        # comes to the weight's: autograd then adds the one to the other in place.
        ctx.save_for_backward(*((hidden, weight, targets) if ctx.again else gradients))
        return loss

    @staticmethod
    def backward(ctx, scale: torch.Tensor):
        """Return the gradients of `hidden` and `weight`, times the gradient of the loss."""
        # once_differentiable would give gradients without a graph here, which a penalty on them
        # then silently leaves out.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "summed_cross_entropy can be differentiated once; "
                "call backward without create_graph."
            )
        if ctx.again:
            _, *gradients = in_chunks(
                *ctx.saved_tensors, ctx.dtype, ctx.needs_input_grad[:2], scale
            )
        else:
            gradients = [
                gradient if gradient is None else gradient.mul_(scale)
                for gradient in ctx.saved_tensors
            ]
        return *gradients, None, None


def in_chunks(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    dtype: torch.dtype,
    needed: tuple[bool, bool],
    scale: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return the summed loss and, where `needed`, the gradients of `hidden` and `weight`.

    The gradients are multiplied by `scale`, if given.
    """
    loss = torch.zeros((), device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if needed[0] else None
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needed[1] else None
    n_vocab = len(weight)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        weight = weight.to(dtype)
        if dtype.itemsize == 2:
            weight = F.pad(weight, (0, 0, 0, -n_vocab % ALIGNMENT))
        for start in range(0, len(hidden), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            chunk = hidden[rows].to(dtype)
            padded = chunk @ weight.T
            logits = padded[:, :n_vocab]
            for part, labels in zip(
                logits.split(SOFTMAX_ROWS), targets[rows, None].split(SOFTMAX_ROWS), strict=True
            ):
                log_probs = torch.log_softmax(part, dim=1, dtype=torch.float32)
                loss -= log_probs.gather(1, labels).sum()
                if any(needed):
                    gradient = log_probs.exp_().scatter_add_(
                        1, labels, log_probs.new_full(labels.shape, -1.0)
                    )
                    part.copy_(gradient if scale is None else gradient.mul_(scale))
            # From here on the logits' memory holds their gradients; those of the zeros stay 0.
            if needed[0]:
                grad_hidden[rows] = padded @ weight
            if needed[1]:
                for total, columns in zip(
                    grad_weight.split(VOCAB_COLUMNS),
                    logits.split(VOCAB_COLUMNS, dim=1),
                    strict=True,
                ):
                    total += columns.T @ chunk
    return loss, grad_hidden, grad_weight
