"""Steered beside free: what an answer costs that the grammar holds, and one of as many tokens that the model writes as it likes.

    OMP_NUM_THREADS=2 python benchmarks/steering.py                       # 124M's shape in bfloat16; six minutes on two cores
    OMP_NUM_THREADS=2 python benchmarks/steering.py --sizes tiny --batches 1 16

The weights are random, so a steered model chooses blindly, and a free one writes past every end-of-text until it has the tokens of the
steered answer. The requests name a fault; the vocabulary is that of the `tiny` which notebook 02 makes (experimental/), whose ids every
size has. Both ways take turns, and the best of `--repeats` counts.
"""

import argparse
import sys
import time

import torch

from golf_nb_utils.files import Paths
from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.sampling import generate_batch
from golf_nb_utils.gpt2.steering import Steerer
from golf_nb_utils.gpt2.tokenizer import load_tokenizer
from golf_nb_utils.host import knowledge_folder, output_root
from golf_nb_utils.prompt import format_input
from golf_nb_utils.settings import GPT_CONFIGS


def seconds(work, *arguments, **options) -> float:
    started = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["124M"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    tokenizer = load_tokenizer(Paths(output_root()).checkpoint("tiny"))
    book = GrammarBook(load_knowledge(knowledge_folder()))
    requests = [
        Request(fault.area, 0.45, 0.8, "7-iron", "beginner", meaning=fault.name)
        for fault in book.faults.values()
    ]
    requests = [request for request in requests if book.kind_of(request) == "fault"]
    asked = [(request, book.grammar(request)) for request in requests]
    print(
        f"{torch.get_num_threads()} threads, Python {sys.version.split()[0]}, torch {torch.__version__}, bfloat16\n"
    )
    print(
        "| size | batch | tokens an answer | steered: s an answer | free: s an answer | free / steered |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for size in options.sizes:
        model = GPTModel(GPT_CONFIGS[size])
        init_weights(model, seed=1)
        model = model.to(torch.bfloat16).eval()
        steerer = Steerer(model, tokenizer)
        for batch in options.batches:
            prompts = [tokenizer.encode(format_input(r.entry())) for r, _ in asked[:batch]]
            ways = [(grammar.next_texts, grammar.start) for _, grammar in asked[:batch]]
            answers = steerer.write(prompts, ways)
            n_tokens = round(sum(len(each.tokens) for each in answers) / batch)
            tensors = [torch.tensor(prompt) for prompt in prompts]
            generate_batch(model, tensors, 2, eot_id=-1)
            best = [float("inf")] * 2
            for _ in range(options.repeats):
                taken = (
                    seconds(steerer.write, prompts, ways),
                    seconds(generate_batch, model, tensors, n_tokens, eot_id=-1),
                )
                best = [min(pair) for pair in zip(best, taken, strict=True)]
            steered, free = (value / batch for value in best)
            row = f"| {size} | {batch} | {n_tokens} | {steered:.3f} | {free:.3f} | {free / steered:.1f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
