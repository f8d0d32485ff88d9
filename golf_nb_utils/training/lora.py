"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) of the blocks' matrices, by peft."""

import torch
from torch import nn

from golf_nb_utils.gpt2.model import GPTModel

MATRICES = ("c_attn", "c_proj", "c_fc")


def add_lora(model: GPTModel, rank: int, frozen_dtype: torch.dtype, seed: int) -> None:
    """Give each matrix of the blocks an addition of that rank, in place; nothing else of `model` is
    trained any more.

    The frozen weights are kept in `frozen_dtype`, which autocast multiplies in anyway. The
    additions start at zero, in fp32, and are scaled by 2, as alpha = 2 rank has it. A model that
    has them already is left as it is.
    """
    if n_trained(model) < model.config.n_parameters:
        return
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(MATRICES), lora_dropout=0.0),
        model,
    )
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(frozen_dtype)


@torch.no_grad()
def merge_lora(model: GPTModel, base: GPTModel) -> GPTModel:
    """Return `base`, the model before `add_lora`, with the additions of `model` added in fp32.

    Raises:
        ValueError: `model` has no additions.
    """
    from peft.tuners.lora import LoraLayer

    layers = {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}
    if not layers:
        raise ValueError("the model has no low-rank additions to merge: it was trained without.")
    for name, module in layers.items():
        (addition,) = module.active_adapters
        weight = base.get_parameter(f"{name}.weight")
        weight += module.get_delta_weight(addition).to(weight.device, weight.dtype)
    return base


def n_trained(model: nn.Module) -> int:
    """Return the number of parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
