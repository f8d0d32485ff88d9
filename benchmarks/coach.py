"""What a verified answer costs: the first call of a fresh process, then one request at a time and many at once, on the CPU.

    python benchmarks/coach.py                      # the model that `make run` left in experimental/; two minutes
    python benchmarks/coach.py --model-size 124M --requests 4

Steered, the model chooses among right answers; free, it writes what it likes, which is verified, and where needed written again.
"verification" and "template" are the parts that need no model.
The requests are the first ones of the test set. Each figure is the best of `--repeats`.
"""

import argparse
import sys
import time

STARTED = time.perf_counter()

import torch  # noqa: E402

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator, TemplateFeedbackGenerator  # noqa: E402
from golf_nb_utils.files import Paths  # noqa: E402
from golf_nb_utils.golf import dataset  # noqa: E402
from golf_nb_utils.golf.answer import GrammarBook  # noqa: E402
from golf_nb_utils.golf.checks import Verifier  # noqa: E402
from golf_nb_utils.golf.records import Record  # noqa: E402
from golf_nb_utils.golf.request import Request  # noqa: E402
from golf_nb_utils.gpt2.steering import Steerer  # noqa: E402
from golf_nb_utils.host import output_root  # noqa: E402
from golf_nb_utils.prompt import format_input  # noqa: E402


def arguments(record: Record) -> dict:
    """The arguments of generate_feedback that lead to the record's own input."""
    request = Request.from_text(record.input)
    golfer = ("club", "level", "handedness", "audience")
    return {
        "area": request.area,
        "issue": request.observation,
        "current_score": request.current_score,
        "target_score": request.target_score,
        "golfer_context": {name: getattr(request, name) for name in golfer},
        "all_quality_scores": request.all_scores,
    }


def best(repeats: int, work) -> float:
    """The fewest seconds of so many runs."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model-size", default="tiny")
    parser.add_argument("--output-root", default="")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads, Python {sys.version.split()[0]}, torch {torch.__version__}\n"
    )

    imported = time.perf_counter()
    generator = FineTunedGolfFeedbackGenerator.load(
        options.model_size, output_root=options.output_root
    )
    loaded = time.perf_counter()
    data = Paths(output_root(options.output_root)).data
    records = dataset.first_records(dataset.records_path(data, "test"), options.requests)
    requests = [arguments(record) for record in records]
    first_begun = time.perf_counter()
    generator.generate_many(requests[:1])
    first_ended = time.perf_counter()
    print("| first call of a process | seconds |")
    print("| --- | ---: |")
    for name, seconds in (
        ("import", imported - STARTED), ("load knowledge and model", loaded - imported), ("first answer", first_ended - first_begun),
    ):  # fmt: skip
        print(f"| {name} | {seconds:.2f} |")

    free = FineTunedGolfFeedbackGenerator.load(
        options.model_size, steered=False, output_root=options.output_root
    )
    template, verifier = (
        TemplateFeedbackGenerator(generator.knowledge),
        Verifier(generator.knowledge),
    )
    entries = [record.entry for record in records]
    rows = {
        "steered, one by one": lambda: [generator.generate_many([one]) for one in requests],
        "steered, generate_many": lambda: generator.generate_many(requests),
        "free and unverified, one by one": lambda: [free.unverified([one]) for one in entries],
        "free and unverified, together": lambda: free.unverified(entries),
        "free until one passes, together": lambda: free.generate_many(requests),
        "template": lambda: template.generate_many(requests),
        "verification": lambda: [
            verifier.verify(record.output, record.input) for record in records
        ],
    }
    print(f"\n| {len(requests)} requests | ms an answer | answers/s |")
    print("| --- | ---: | ---: |")
    for name, work in rows.items():
        seconds = best(options.repeats, work) / len(requests)
        print(f"| {name} | {seconds * 1000:,.1f} | {1 / seconds:,.1f} |", flush=True)
    for name, system in (("steered", generator), ("free", free)):
        own = sum(answer["generated_by"] != "template" for answer in system.generate_many(requests))
        print(f"\nOf {len(requests)} answers {own} are the {name} model's.", end="")
    print(f"\n\n{variety(generator, Request.from_text(records[0].input))}")


def variety(generator: FineTunedGolfFeedbackGenerator, request: Request, n: int = 100) -> str:
    """How many different answers to one request the model at temperature 1 and the template give."""
    book = GrammarBook(generator.knowledge)
    grammar, tokenizer = book.grammar(request), generator._tokenizer
    prompt = tokenizer.encode(format_input(request.entry()))
    written = Steerer(generator._model, tokenizer).write(
        [prompt] * n, [(grammar.next_texts, grammar.start)] * n, temperature=1.0
    )
    by_model = len({tuple(each.tokens) for each in written})
    by_template = len({book.draw(request, seed).text for seed in range(n)})
    return f"Different answers to one request, of {n}: steered at temperature 1 {by_model}, template {by_template}."


if __name__ == "__main__":
    main()
