"""A small GPT-2 with random weights, in a folder as transformers saves it; made without transformers."""

import json
from pathlib import Path

from safetensors.torch import save_file

from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.tokenizer import END_OF_TEXT, learn_bpe
from golf_nb_utils.settings import GPTConfig


def write_own_gpt2(
    folder: Path, texts: list[str], n_tokens: int, n_ctx: int, n_padding: int = 0, added=(), seed=1
) -> GPTModel:
    """Write config.json, model.safetensors and tokenizer.json, and return the model.

    Of the embedding's rows the first `n_tokens` are those of the tokenizer's own tokens, end-of-text last; then come those of
    the tokens that were `added`, and `n_padding` further ones.
    """
    n_vocab = n_tokens + len(added) + n_padding
    model = GPTModel(GPTConfig(n_vocab, n_ctx, n_embd=32, n_head=2, n_layer=1))
    init_weights(model, seed)
    state = {
        f"transformer.{name}": (tensor.T if "c_" in name and tensor.dim() == 2 else tensor)
        for name, tensor in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    shape = {"n_positions": n_ctx, "n_embd": 32, "n_head": 2, "n_layer": 1}
    config = {"model_type": "gpt2", "vocab_size": n_vocab, **shape}
    (folder / "config.json").write_text(json.dumps(config))

    learn_bpe(texts, n_tokens, folder)
    encoder, merges = folder / "encoder.json", folder / "vocab.bpe"
    special = [END_OF_TEXT, *added]
    tokenizer = {
        "added_tokens": [
            {"id": n_tokens - 1 + place, "content": token} for place, token in enumerate(special)
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "model": {
            "type": "BPE",
            "vocab": json.loads(encoder.read_text(encoding="utf-8")),
            "merges": merges.read_text(encoding="utf-8").splitlines()[1:],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    encoder.unlink()
    merges.unlink()
    return model
