"""The command line: `run` executes the notebooks with papermill, `check-knowledge` validates the knowledge base, `export` writes
a fine-tuned model for other libraries, `compare` holds two evaluations against each other, `kaggle` writes what is pushed there."""

import argparse
import os
import sys
import time
from datetime import datetime
from itertools import product
from pathlib import Path

import torch

from golf_nb_utils.files import ArtifactMismatchError, Paths
from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.coverage import coverage, holes, reading_grade, thin_places
from golf_nb_utils.golf.knowledge import KnowledgeError, load_knowledge
from golf_nb_utils.golf.rules import RuleError
from golf_nb_utils.host import REPOSITORY_ROOT, detect_devices, knowledge_folder, output_root
from golf_nb_utils.settings import (
    ConfigError,
    check_parameters,
    nearest,
    read_parameters,
    read_value,
    resolve_model_size,
)

NOTEBOOKS = REPOSITORY_ROOT / "notebooks"
FOLDERS = {"output_root", "extra_knowledge", "checkpoint_folder"}
"""The parameters that are folders."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m golf_nb_utils", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute the notebooks in order, headless")
    run.add_argument(
        "numbers", nargs="*", type=int, metavar="N", help="notebook numbers to run (default: all)"
    )
    run.add_argument("--model-size", help="auto, tiny, 124M, 355M, 774M, 1558M or own")
    run.add_argument("--epochs", type=int)
    run.add_argument("--batch-size", type=int, help="records per GPU and step")
    run.add_argument("--lr", type=float, help="learning rate")
    run.add_argument("--eval-freq", type=int, help="steps between two evaluations")
    run.add_argument("--no-mixed-precision", action="store_true", help="train in float32")
    run.add_argument("--output-root", default="", help="folder that holds experimental/")
    run.add_argument(
        "-f",
        dest="file",
        type=Path,
        metavar="FILE",
        help="YAML file of parameters; see notebooks/params/",
    )
    run.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="any other parameter",
    )
    check = commands.add_parser(
        "check-knowledge", help="validate every topic file; print coverage, holes and reading level"
    )
    check.add_argument(
        "folder", nargs="?", type=Path, help="default: the project's own knowledge/golf_instruction"
    )
    check.add_argument("--extra", type=Path, help="a folder of one's own topic files that joins it")
    export = commands.add_parser(
        "export", help="write the fine-tuned model as a folder that transformers loads"
    )
    export.add_argument(
        "--model-size", default="auto", help="auto, tiny, 124M, 355M, 774M, 1558M or own"
    )
    export.add_argument("--out", type=Path, help="default: beside the model")
    export.add_argument("--output-root", default="", help="folder that holds experimental/")
    compare = commands.add_parser(
        "compare",
        help="say what differs between two evaluations, and whether it is more than noise",
    )
    compare.add_argument(
        "first", type=Path, metavar="RUN_A", help="a folder with predictions.jsonl, or that file"
    )
    compare.add_argument("second", type=Path, metavar="RUN_B")
    kaggle = commands.add_parser(
        "kaggle",
        help="write folders for Kaggle's command line: the four notebooks, and the package as a dataset",
    )
    kaggle.add_argument("--user", required=True, help="your Kaggle user name")
    kaggle.add_argument("--out", type=Path, help="default: kaggle in experimental/")
    kaggle.add_argument(
        "-f",
        dest="file",
        type=Path,
        metavar="FILE",
        help="YAML file of parameters, as in run; without one 124M",
    )
    kaggle.add_argument(
        "--wheelhouse",
        action="store_true",
        help="download what Kaggle's image lacks into the dataset, too",
    )
    options = parser.parse_args(arguments)
    if options.command == "check-knowledge":
        return check_knowledge(options.folder, options.extra)
    try:
        if options.command == "compare":
            return compare_runs(options.first, options.second)
        if options.command == "export":
            return export_model(
                options.model_size, Paths(output_root(options.output_root)), options.out
            )
        if options.command == "kaggle":
            return write_kaggle(options)
        from_file = read_parameters(options.file) if options.file else {}
        return run_notebooks(options.numbers, _parameters(options), from_file)
    except (ConfigError, ArtifactMismatchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def export_model(model_size: str, paths: Paths, out: Path | None) -> int:
    """Write a fine-tuned model as a folder of transformers, see huggingface.export_pretrained; return 0.

    Raises:
        ConfigError: the size is unknown.
        MissingArtifactError, ArtifactMismatchError: the model is not there, or does not belong to its surroundings.
    """
    from golf_nb_utils.gpt2.huggingface import export_pretrained

    size = resolve_model_size(model_size, has_gpu=detect_devices().n_gpus > 0)
    for path in export_pretrained(
        paths.weights(size), paths.checkpoint(size), out or paths.exported(size)
    ):
        print(f"{path.stat().st_size:>14,} bytes  {path}")
    return 0


def write_kaggle(options: argparse.Namespace) -> int:
    """Write the folders for Kaggle and print the commands that push them, see kaggle.write_folders; return 0.

    Raises:
        ConfigError, OSError: as read_parameters, check_parameters and write_folders.
    """
    from golf_nb_utils.kaggle import write_folders

    parameters = read_parameters(options.file) if options.file else {}
    check_parameters(parameters, range(1, 5), has_gpu=True)
    out = options.out or Paths(output_root()).experimental / "kaggle"
    lines = write_folders(options.user, out, parameters, options.wheelhouse)
    print(
        f"{out} holds a dataset and four notebooks. Next, with `pip install kaggle` and the API token of your Kaggle settings:\n"
    )
    print("\n".join(lines))
    return 0


def compare_runs(first: Path, second: Path) -> int:
    """Print what differs between the predictions of two evaluations; return 0.

    Raises:
        FileNotFoundError: a folder holds no predictions.jsonl.
        ArtifactMismatchError: a line of it is none of an evaluation.
    """
    from golf_nb_utils.evaluation.judging import compare
    from golf_nb_utils.show.report import comparison_table, read_predictions

    print(comparison_table(compare(read_predictions(first), read_predictions(second), seed=123)))
    return 0


def _parameters(options: argparse.Namespace) -> dict:
    given = {
        "model_size": options.model_size,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
        "eval_freq": options.eval_freq,
        "mixed_precision": False if options.no_mixed_precision else None,
        "output_root": options.output_root or None,
    }
    extra = {name: read_value(value, f"-p {name} {value}") for name, value in options.parameters}
    return {name: value for name, value in given.items() if value is not None} | extra


def check_knowledge(folder: Path | None, extra: Path | None) -> int:
    """Validate the topic files and print what they cover; return 0, or 1 after printing the first broken rule."""
    try:
        knowledge = load_knowledge(folder or knowledge_folder(), extra)
    except (KnowledgeError, RuleError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(
        f"{'area':<18}{'topics':>7}{'faults':>7}{'drills':>7}{'sentences':>10}{'reading grade':>15}"
    )
    for area in AREAS.values():
        topics = [topic for topic in knowledge.topics if topic.area == area.key]
        grades = [reading_grade(topic) for topic in topics]
        counts = [
            len(topics),
            *(
                sum(len(part(topic)) for topic in topics)
                for part in (lambda t: t.faults, lambda t: t.drills)
            ),
        ]
        sentences = sum(len(topic.sentences()) for topic in topics)
        print(
            f"{area.label:<18}{counts[0]:>7}{counts[1]:>7}{counts[2]:>7}{sentences:>10,}{min(grades):>9.1f} to {max(grades):.1f}"
        )
    print(
        f"\n{len(knowledge.topics)} topics, {len(knowledge.faults)} faults, {len(knowledge.drills)} drills, "
        f"{len(knowledge.rules)} rules kept, {len(knowledge.sources)} sources.\n"
        "Reading grade: Coleman-Liau index, the US school grade that reads a topic with ease.\n"
    )
    print(
        "Coverage: pairs of a fault and a drill for each club and level, at a slight / clear / large gap"
    )
    pairs = coverage(knowledge)
    print(f"{'area':<18}{'level':<14}" + "".join(f"{club:>15}" for club in CLUB_FAMILIES))
    for area, level in product(AREAS.values(), LEVELS):
        cells = (
            "/".join(str(pairs[area.key, severity, level, club]) for severity in SEVERITIES)
            for club in CLUB_FAMILIES
        )
        print(f"{area.label:<18}{level:<14}" + "".join(f"{cell:>15}" for cell in cells))
    missing, thin = holes(knowledge), thin_places(knowledge)
    print(f"\nHoles (no pair): {len(missing) or 'none'}")
    print("".join(f"  {line}\n" for line in missing), end="")
    print(
        f"Thin (a fault with one drill only, for these clubs; levels; golfers): {len(thin) or 'none'}"
    )
    print("".join(f"  {line}\n" for line in thin), end="")
    return 0


def run_notebooks(numbers: list[int], parameters: dict, from_file: dict) -> int:
    """Execute notebooks by number (all without any), each with those of the parameters that it declares.

    `parameters` go before those of a file, `from_file`, which may be about notebooks that are not chosen. Folders among them are
    relative to the caller's working directory, not to the notebooks'.
    Returns 0, or 1 after the first notebook that fails; its name, cell and error are printed.

    Raises:
        ConfigError: a number has no notebook, one of `parameters` is declared by none of those chosen, or a value is refused.
    """
    import papermill

    available = {int(path.name[:2]): path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    for number in numbers:
        if number not in available:
            raise ConfigError(
                f"there is no notebook {number}; expected one of {', '.join(map(str, available))}."
            )
    chosen = [available[number] for number in sorted(set(numbers))] or list(available.values())
    declared = {path: set(papermill.inspect_notebook(path)) for path in chosen}
    known = set().union(*declared.values())
    for name in parameters:
        if name not in known:
            raise ConfigError(
                f"no notebook of this run declares the parameter {name!r}{nearest(name, known)}."
            )
    parameters = from_file | parameters
    # Not detect_devices: the names of GPUs would keep memory of theirs as long as this process runs.
    check_parameters(parameters, [int(path.name[:2]) for path in chosen], torch.cuda.is_available())
    for name in FOLDERS & parameters.keys():
        if parameters[name]:
            parameters[name] = str(Path(parameters[name]).expanduser().resolve())
    # By the environment, so that the executed notebooks do not depend on where they lie.
    root = output_root(parameters.pop("output_root", ""))

    os.environ["GOLF_HEADLESS"] = "1"
    os.environ["GOLF_OUTPUT_ROOT"] = str(root)
    folder = Paths(root).experimental / "runs" / datetime.now().strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    for place, path in enumerate(chosen, 1):
        print(f"\n=== {place}/{len(chosen)} {path.name} ===", flush=True)
        started = time.perf_counter()
        try:
            papermill.execute_notebook(
                path,
                folder / path.name,
                parameters={
                    name: value for name, value in parameters.items() if name in declared[path]
                },
                kernel_name="python3",
                cwd=str(NOTEBOOKS),
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except papermill.PapermillExecutionError as error:
            print(
                f"\nFAILED: {path.name}, cell {error.exec_count}: {error.ename}: {error.evalue}",
                file=sys.stderr,
            )
            print(f"The notebook as far as it came: {folder / path.name}", file=sys.stderr)
            return 1
        print(f"=== {path.name} done in {time.perf_counter() - started:.0f} s ===", flush=True)
    _print_results(Paths(root), folder)
    return 0


def _print_results(paths: Paths, folder: Path) -> None:
    print(f"\nnotebooks  {folder}")
    for label, pattern in {
        "model": "golf_feedback_models/*.pth",
        "report": "golf_feedback_evaluation/*/report.html",
        "plots": "golf_feedback_models/*.pdf",
    }.items():
        for path in sorted(paths.experimental.glob(pattern)):
            print(f"{label:<10} {path}")


if __name__ == "__main__":
    sys.exit(main())
