"""The command line: `run` executes the notebooks with papermill, `check-knowledge` validates the
knowledge base, `export` writes a fine-tuned model for other libraries, `serve` answers in place of
Ollama, `compare` holds two evaluations against each other."""

import argparse
import os
import sys
from itertools import product
from pathlib import Path

from golf_nb_utils.files import ArtifactMismatchError, Paths, write_json
from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.coverage import (
    coverage,
    external_cues,
    holes,
    reading_grade,
    thin_places,
)
from golf_nb_utils.golf.knowledge import KnowledgeBase, KnowledgeError, load_knowledge
from golf_nb_utils.golf.rules import RuleError
from golf_nb_utils.host import (
    detect_devices,
    knowledge_folder,
    output_root,
    replace_what_cannot_be_shown,
)
from golf_nb_utils.settings import (
    MODEL_SIZES,
    ConfigError,
    read_parameters,
    read_value,
    resolve_model_size,
)


def given_path(path: str) -> Path:
    """Return a path in which `~` is the home folder: `--out=~/x` reaches us as it stands."""
    return Path(os.path.expanduser(path))


SIZES = f"auto, {', '.join(MODEL_SIZES[:-1])} or {MODEL_SIZES[-1]}"
ROOT = "folder that holds experimental/"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    replace_what_cannot_be_shown()
    parser = argparse.ArgumentParser(prog="python -m golf_nb_utils", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (add_run, add_check_knowledge, add_export, add_serve, add_compare):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.function(options)
    except (ConfigError, ArtifactMismatchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


# Each command: its arguments, and the function that gets them. What takes long to import (torch,
# papermill, matplotlib) is imported by the command that needs it, so that --help answers at once.


def add_run(commands) -> None:
    """Add `run`."""
    run = commands.add_parser("run", help="execute the notebooks in order, headless")
    run.set_defaults(function=run_series)
    what = "notebook numbers to run (default: all)"
    run.add_argument("numbers", nargs="*", type=int, metavar="N", help=what)
    run.add_argument("--model-size", help=SIZES)
    run.add_argument("--epochs", type=int)
    run.add_argument("--batch-size", type=int, help="records per GPU and step")
    run.add_argument("--lr", type=float, help="learning rate")
    run.add_argument("--eval-freq", type=int, help="steps between two evaluations")
    run.add_argument("--no-mixed-precision", action="store_true", help="train in float32")
    run.add_argument("--output-root", default="", help=ROOT)
    what = "YAML file of parameters; see notebooks/params/"
    run.add_argument("-f", dest="file", type=given_path, metavar="FILE", help=what)
    run.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="any other parameter",
    )


def run_series(options: argparse.Namespace) -> int:
    """Execute the notebooks, see runs.run_notebooks."""
    from golf_nb_utils.runs import run_notebooks

    given = {
        "model_size": options.model_size,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
        "eval_freq": options.eval_freq,
        "mixed_precision": False if options.no_mixed_precision else None,
        "output_root": options.output_root or None,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    for name, value in options.parameters:
        parameters[name] = read_value(value, f"-p {name} {value[:80]}")
    from_file = read_parameters(options.file) if options.file else {}
    return run_notebooks(options.numbers, parameters, from_file)


def add_check_knowledge(commands) -> None:
    """Add `check-knowledge`."""
    what = "validate every topic file; print coverage, holes and reading level"
    check = commands.add_parser("check-knowledge", help=what)
    check.set_defaults(function=check_knowledge)
    what = "default: the project's own knowledge/golf_instruction"
    check.add_argument("folder", nargs="?", type=given_path, help=what)
    what = "a folder of one's own topic files that joins it"
    check.add_argument("--extra", type=given_path, help=what)


def check_knowledge(options: argparse.Namespace) -> int:
    """Print what the topic files cover; return 0, or 1 after printing the first broken rule."""
    try:
        knowledge = load_knowledge(options.folder or knowledge_folder(), options.extra)
    except (KnowledgeError, RuleError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_counts(knowledge)
    _print_coverage(knowledge)
    thin = "Thin (a fault with one chain only, for these clubs; levels; golfers)"
    for title, lines in {
        "\nHoles (no pair)": holes(knowledge),
        thin: thin_places(knowledge),
    }.items():
        print(f"{title}: {len(lines) or 'none'}")
        print("".join(f"  {line}\n" for line in lines), end="")
    return 0


def _print_counts(knowledge: KnowledgeBase) -> None:
    heads = f"{'area':<18}{'topics':>7}{'faults':>7}{'chains':>7}{'drills':>7}{'sentences':>10}"
    print(f"{heads}{'reading grade':>15}")
    for area in AREAS.values():
        topics = [topic for topic in knowledge.topics if topic.area == area.key]
        faults = sum(len(topic.faults) for topic in topics)
        chains = sum(len(topic.chains) for topic in topics)
        drills = sum(len(topic.drills) for topic in topics)
        sentences = sum(len(topic.sentences()) for topic in topics)
        grades = [reading_grade(topic) for topic in topics]
        counts = f"{area.label:<18}{len(topics):>7}{faults:>7}{chains:>7}{drills:>7}"
        print(f"{counts}{sentences:>10,}{min(grades):>9.1f} to {max(grades):.1f}")
    print(
        f"\n{len(knowledge.topics)} topics, {len(knowledge.faults)} faults, "
        f"{sum(advice.kind == 'fault' for advice in knowledge.advice)} chains, "
        f"{len(knowledge.drills)} drills, {len(knowledge.rules)} rules kept, "
        f"{len(knowledge.sources)} sources.\n"
        "Reading grade: Coleman-Liau index, the US school grade that reads a topic with ease.\n"
        f"Swing thoughts with an external focus: {external_cues(knowledge):.0%}.\n"
    )


def _print_coverage(knowledge: KnowledgeBase) -> None:
    what = "pairs of a chain and a drill for each club and level"
    print(f"Coverage: {what}, at a slight / clear / large gap")
    print(f"{'area':<18}{'level':<14}" + "".join(f"{club:>15}" for club in CLUB_FAMILIES))
    pairs = coverage(knowledge)
    for area, level in product(AREAS.values(), LEVELS):
        cells = (
            "/".join(str(pairs[area.key, severity, level, club]) for severity in SEVERITIES)
            for club in CLUB_FAMILIES
        )
        print(f"{area.label:<18}{level:<14}" + "".join(f"{cell:>15}" for cell in cells))


def add_export(commands) -> None:
    """Add `export`."""
    what = "write the fine-tuned model for transformers, or for llama.cpp and Ollama"
    export = commands.add_parser("export", help=what)
    export.set_defaults(function=export_model)
    what = "transformers (default), or gguf: one file for llama.cpp and Ollama"
    forms = ("transformers", "gguf")
    export.add_argument("--format", choices=forms, default=forms[0], help=what)
    what = "with gguf: how matrices are stored, f16 by default"
    export.add_argument("--outtype", choices=("f32", "f16", "q8_0"), help=what)
    what = "with gguf: a file with the `input` of a prompt, to write what to POST for its answer"
    export.add_argument("--request", type=given_path, metavar="FILE", help=what)
    export.add_argument("--model-size", default="auto", help=SIZES)
    export.add_argument("--out", type=given_path, help="default: beside the model")
    export.add_argument("--output-root", default="", help=ROOT)


def export_model(options: argparse.Namespace) -> int:
    """Write a fine-tuned model for another library, see gpt2.huggingface and gpt2.gguf.

    Raises:
        ConfigError: the size is unknown, or an option does not fit the others.
        MissingArtifactError, ArtifactMismatchError: the model is not there, or does not belong to
            its surroundings.
    """
    from golf_nb_utils.golf.wording import INSTRUCTIONS
    from golf_nb_utils.gpt2.gguf import export_gguf
    from golf_nb_utils.gpt2.huggingface import export_pretrained

    paths = Paths(output_root(options.output_root))
    size = resolve_model_size(options.model_size, has_gpu=detect_devices().n_gpus > 0)
    out = options.out or paths.exported(size, options.format)
    model = paths.weights(size), paths.checkpoint(size), out
    if options.format == "gguf":
        bodies = _bodies(options.request, *model[:2]) if options.request else {}
        written = export_gguf(*model, INSTRUCTIONS[0], options.outtype or "f16")
        written += [write_json(out / name, body) for name, body in bodies.items()]
    elif options.outtype or options.request:
        raise ConfigError("--outtype and --request are for --format gguf; add that.")
    else:
        written = export_pretrained(*model)
    for path in written:
        print(f"{path.stat().st_size:>14,} bytes  {path}")
    return 0


def _bodies(path: Path, weights: Path, checkpoint: Path) -> dict[str, dict]:
    """What to POST for the answer to the request in a file, see engines.requests_to_engines."""
    from golf_nb_utils.golf.answer import GrammarBook
    from golf_nb_utils.golf.engines import requests_to_engines
    from golf_nb_utils.golf.request import Request
    from golf_nb_utils.gpt2.tokenizer import load_tokenizer

    try:
        request = Request.from_text(path.read_text(encoding="utf-8").strip())
        grammar = GrammarBook(load_knowledge(knowledge_folder())).grammar(request)
    except ValueError as error:
        raise ConfigError(f"{path} is not the `input` of a prompt: {error}") from error
    encode = load_tokenizer(checkpoint).encode_ordinary
    return requests_to_engines(request, grammar, weights.stem, encode)


def add_serve(commands) -> None:
    """Add `serve`."""
    what = "answer over HTTP, in place of Ollama"
    serve = commands.add_parser("serve", help=what)
    serve.set_defaults(function=serve_model)
    serve.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    serve.add_argument("--port", type=int, default=11434, help="default: Ollama's, 11434")
    serve.add_argument("--model-size", default="auto", help=SIZES)
    what = "also answer to this name of a model: the one that the app asks Ollama for"
    serve.add_argument("--name", default="", help=what)
    serve.add_argument("--output-root", default="", help=ROOT)
    what = "ask clients for this key (default: GOLF_API_KEY, which other users cannot list)"
    serve.add_argument("--api-key", default=os.environ.get("GOLF_API_KEY", ""), help=what)


def serve_model(options: argparse.Namespace) -> int:
    """Serve a fine-tuned model until SIGTERM or Ctrl-C, see coach.server.

    Raises:
        ConfigError: the size is unknown.
        MissingArtifactError, ArtifactMismatchError: the model is not there, or does not belong to
            its surroundings.
        OSError: the address is taken.
    """
    from golf_nb_utils.coach import server

    listener = server.listen(options.host, options.port)
    serving = server.load(options.model_size, options.output_root, options.name)
    serving.api_key = options.api_key
    server.serve(serving, listener)
    return 0


def add_compare(commands) -> None:
    """Add `compare`."""
    what = "say what differs between two evaluations, and whether it is more than noise"
    compare = commands.add_parser("compare", help=what)
    compare.set_defaults(function=compare_runs)
    what = "a folder with predictions.jsonl, or that file"
    compare.add_argument("first", type=given_path, metavar="RUN_A", help=what)
    compare.add_argument("second", type=given_path, metavar="RUN_B")


def compare_runs(options: argparse.Namespace) -> int:
    """Print what differs between the predictions of two evaluations.

    Raises:
        MissingArtifactError: a folder holds no predictions.jsonl.
        ArtifactMismatchError: the file is not that of the manifest, or none of an evaluation.
    """
    from golf_nb_utils.evaluation.judging import compare
    from golf_nb_utils.show.report import comparison_table, read_predictions

    first, second = read_predictions(options.first), read_predictions(options.second)
    print(comparison_table(compare(first, second, seed=123)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
