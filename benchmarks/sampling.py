"""Sampling side by side: ours, the `llms-from-scratch` package's generate and transformers' generate, each in its own process.

    pip install --no-deps llms-from-scratch       # it pins an old numpy
    python benchmarks/sampling.py                 # 124M, 256 new tokens, batch 1 and 16
    python benchmarks/sampling.py --ways "ours, fp32" "ours, bf16"
    python benchmarks/sampling.py --contexts      # ours alone: time and memory of a token as the context grows

All have the same random weights and the same prompts of 128 random tokens, and write greedily, past every end-of-text. The
package's generate is the book's (`ch05.generate`, without a cache; it has fp32 alone), a batch being the rows of one tensor.
transformers' has its cache and SDPA. The ways take turns, `--repeats` times, the package once; the best counts, of the first
token and of the whole answer each. After two tokens that warm it up, a way writes one token, and then the whole answer.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from golf_nb_utils import host
from golf_nb_utils.gpt2.model import GPTModel, KVCache, init_weights
from golf_nb_utils.gpt2.sampling import generate_batch
from golf_nb_utils.settings import GPT_CONFIGS

N_PROMPT = 128
CONTEXTS = (128, 256, 512, 1024)
HALF = (
    torch.float16
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
    else torch.bfloat16
)
HALF_NAME = "fp16" if HALF is torch.float16 else "bf16"
# Continues prompts, (batch, n), by so many tokens: returns these, (batch, n_new).
Generate = Callable[[torch.Tensor, int], torch.Tensor]


def ours(model: GPTModel) -> Generate:
    return lambda prompts, n_new: torch.stack(
        generate_batch(model, list(prompts), n_new, eot_id=-1)
    )


def llms_from_scratch(model: GPTModel) -> Generate:
    from llms_from_scratch import ch04, ch05

    config = model.config
    twin = ch04.GPTModel({
        "vocab_size": config.n_vocab, "context_length": config.n_ctx, "emb_dim": config.n_embd, "n_heads": config.n_head,
        "n_layers": config.n_layer, "drop_rate": 0.0, "qkv_bias": True,
    })  # fmt: skip
    # As OpenAI's checkpoint has them, {"blocks": [{"attn": {"c_attn": {"w": ...}}}]}, matrices [in, out]: what the package loads.
    blocks: list[dict] = [{} for _ in model.h]
    for number, block in enumerate(model.h):
        for name, parameter in block.named_parameters():
            *path, kind = name.split(".")
            place = blocks[number]
            for part in path:
                place = place.setdefault(part, {})
            norm = path[0].startswith("ln")
            place[{"weight": "g" if norm else "w", "bias": "b"}[kind]] = (
                (parameter if parameter.dim() == 1 else parameter.T).detach().cpu().numpy()
            )
    ends = {
        "g": model.ln_f.weight,
        "b": model.ln_f.bias,
        "wte": model.wte.weight,
        "wpe": model.wpe.weight,
    }
    ch05.load_weights_into_gpt(
        twin, {"blocks": blocks} | {name: end.detach().cpu().numpy() for name, end in ends.items()}
    )
    twin.to(model.wte.weight.device).eval()
    return lambda prompts, n_new: ch05.generate(twin, prompts, n_new, config.n_ctx)[
        :, prompts.shape[1] :
    ]


def transformers_generate(model: GPTModel) -> Generate:
    from transformers import GPT2Config, GPT2LMHeadModel

    config, weight = model.config, model.wte.weight
    twin = GPT2LMHeadModel(GPT2Config(
        vocab_size=config.n_vocab, n_positions=config.n_ctx, n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head,
        attn_implementation="sdpa", bos_token_id=None, eos_token_id=config.n_vocab - 1,
    )).to(weight.device, weight.dtype).eval()  # fmt: skip
    with torch.no_grad():
        for name, parameter in twin.transformer.named_parameters():
            source = model.get_parameter(name)
            parameter.copy_(source.T if "c_" in name and name.endswith("weight") else source)

    def run(prompts: torch.Tensor, n_new: int) -> torch.Tensor:
        lengths = {
            "max_new_tokens": n_new,
            "min_new_tokens": n_new,
            "pad_token_id": config.n_vocab - 1,
        }
        return twin.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False, **lengths
        )[:, prompts.shape[1] :]

    return run


WAYS = {
    "ours, fp32": (ours, torch.float32),
    f"ours, {HALF_NAME}": (ours, HALF),
    "transformers, fp32": (transformers_generate, torch.float32),
    f"transformers, {HALF_NAME}": (transformers_generate, HALF),
    "llms-from-scratch, fp32": (llms_from_scratch, torch.float32),
}


def timed(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def make_model(size: str, dtype: torch.dtype) -> GPTModel:
    model = GPTModel(GPT_CONFIGS[size])
    init_weights(model, seed=1)
    return model.eval().to(host.detect_devices().device, dtype)


def make_prompts(model: GPTModel, batch_size: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(model.config.n_vocab - 1, (batch_size, length), generator=generator).to(
        model.wte.weight.device
    )


def measure(way: str, size: str, batch_size: int, n_new: int) -> dict:
    """One turn of one way; its own process has its peak to itself."""
    make, dtype = WAYS[way]
    model = make_model(size, dtype)
    generate, prompts = make(model), make_prompts(model, batch_size, N_PROMPT)
    if make is not ours:
        del model
    generate(prompts, 2)
    first, _ = timed(lambda: generate(prompts, 1))
    whole, tokens = timed(lambda: generate(prompts, n_new))
    assert tokens.shape == (batch_size, n_new)
    peak = host.memory_peak(host.detect_devices().device_ids)
    return {"first": first, "whole": whole, "peak": peak, "tokens": tokens.tolist()}


def measure_context(
    size: str, dtype: torch.dtype, batch_size: int, context: int, n_new: int = 32
) -> dict:
    """Time of a token when about `context` tokens are in the cache, the first token and the weights' packing apart."""
    model = make_model(size, dtype)
    prompts = make_prompts(model, batch_size, context - n_new)
    ours(model)(prompts, 3)
    few, many = (
        min(timed(lambda n=n: ours(model)(prompts, n))[0] for _ in range(3)) for n in (2, n_new)
    )
    cache = KVCache(model.config, batch_size, context, torch.device("meta"), dtype).tensor
    peak = host.memory_peak(host.detect_devices().device_ids)
    return {
        "ms": 1000 * (many - few) / (n_new - 2),
        "cache": cache.numel() * cache.element_size(),
        "peak": peak,
    }


def in_its_own_process(**arguments) -> dict:
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    environ = {**os.environ, "GOLF_HEADLESS": "1"}
    return json.loads(
        subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environ
        ).stdout.splitlines()[-1]
    )


def side_by_side(ways: list[str], size: str, batch_size: int, n_new: int, repeats: int) -> None:
    print(
        f"{size}, batch {batch_size}, {N_PROMPT} tokens of prompt, {n_new} new tokens, best of {repeats}\n"
    )
    print(
        "| way | first token, ms | tokens/s | ours in the same format is faster by | peak MiB | as ours, fp32 |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    turns: dict[str, list[dict]] = {way: [] for way in ways}
    for turn in range(repeats):
        for way in ways:
            if turn == 0 or "llms-from-scratch" not in way:
                turns[way].append(
                    in_its_own_process(way=way, size=size, batch_size=batch_size, n_new=n_new)
                )
    rates = {way: batch_size * n_new / min(turn["whole"] for turn in turns[way]) for way in ways}
    for way in ways:
        peer = rates.get(f"ours, {way.split(', ')[1]}")
        first, peak = (min(turn[key] for turn in turns[way]) for key in ("first", "peak"))
        same = "-"
        if "ours, fp32" in turns:
            pairs = zip(turns[way][0]["tokens"], turns["ours, fp32"][0]["tokens"], strict=True)
            same = f"{sum(a == b for row in pairs for a, b in zip(*row, strict=True)) / (batch_size * n_new):.1%}"
        faster = f"{peer / rates[way]:.2f}" if peer else "-"
        print(
            f"| {way} | {1000 * first:,.0f} | {rates[way]:,.1f} | {faster} | {peak / 2**20:,.0f} | {same} |",
            flush=True,
        )
    print()


def contexts(size: str) -> None:
    print("Ours alone: a further token of each row, when so many are in the context\n")
    print(
        "| format | batch | context | ms a step | cache MiB | peak MiB |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for name, batch_size in (("fp32", 1), (HALF_NAME, 1), ("fp32", 16), (HALF_NAME, 16)):
        for context in CONTEXTS:
            row = in_its_own_process(format=name, size=size, batch_size=batch_size, context=context)
            cells = f"{row['ms']:.1f} | {row['cache'] / 2**20:,.0f} | {row['peak'] / 2**20:,.0f}"
            print(f"| {name} | {batch_size} | {context} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="124M", choices=list(GPT_CONFIGS))
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--contexts", action="store_true", help="ours alone as the context grows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        given = json.loads(options.one)
        if "way" in given:
            print(json.dumps(measure(**given)))
        else:
            dtype = torch.float32 if given.pop("format") == "fp32" else HALF
            print(json.dumps(measure_context(dtype=dtype, **given)))
        return
    devices = host.detect_devices()
    name = (
        devices.names[0]
        if devices.n_gpus
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(f"{name}, torch {torch.__version__}\n")
    if options.contexts:
        contexts(options.size)
        return
    for batch_size in options.batch_sizes:
        side_by_side(options.ways, options.size, batch_size, options.new_tokens, options.repeats)


if __name__ == "__main__":
    main()
