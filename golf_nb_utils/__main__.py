"""The command line: `python -m golf_nb_utils run` executes the notebooks with papermill, headless and with parameters."""

import argparse
import os
import sys
import time
from datetime import datetime
from pathlib import Path

import yaml

from golf_nb_utils.artifacts import Paths
from golf_nb_utils.config import ConfigError, nearest
from golf_nb_utils.environment import REPOSITORY_ROOT, output_root

NOTEBOOKS = REPOSITORY_ROOT / "notebooks"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m golf_nb_utils", description=__doc__)
    run = parser.add_subparsers(dest="command", required=True).add_parser("run", help="execute the notebooks in order")
    run.add_argument("numbers", nargs="*", type=int, metavar="N", help="notebook numbers to run (default: all)")
    run.add_argument("--model-size", help="auto, tiny, 124M, 355M, 774M or 1558M")
    run.add_argument("--epochs", type=int)
    run.add_argument("--batch-size", type=int, help="records per GPU and step")
    run.add_argument("--lr", type=float, help="learning rate")
    run.add_argument("--eval-freq", type=int, help="steps between two evaluations")
    run.add_argument("--no-mixed-precision", action="store_true", help="train in float32")
    run.add_argument("--output-root", default="", help="folder that holds experimental/")
    run.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="any other parameter")
    options = parser.parse_args(arguments)
    try:
        return run_notebooks(options.numbers, _parameters(options), output_root(options.output_root))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parameters(options: argparse.Namespace) -> dict:
    given = {
        "model_size": options.model_size,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.lr,
        "eval_freq": options.eval_freq,
        "mixed_precision": False if options.no_mixed_precision else None,
    }
    # YAML 1.1 reads 1e-4 as a text; the notebooks' configs turn it into the number.
    extra = {name: yaml.safe_load(value) for name, value in options.parameters}
    return {name: value for name, value in given.items() if value is not None} | extra


def run_notebooks(numbers: list[int], parameters: dict, root: Path) -> int:
    """Execute notebooks by number (all without any) into `root`, each with those of `parameters` that it declares.

    Returns 0, or 1 after the first notebook that fails; its name, cell and error are printed.

    Raises:
        ConfigError: a number has no notebook, or a parameter is declared by none of those chosen.
    """
    import papermill

    available = {int(path.name[:2]): path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    for number in numbers:
        if number not in available:
            raise ConfigError(f"there is no notebook {number}; expected one of {', '.join(map(str, available))}.")
    chosen = [available[number] for number in sorted(set(numbers))] or list(available.values())
    declared = {path: set(papermill.inspect_notebook(path)) for path in chosen}
    known = set().union(*declared.values())
    for name in parameters:
        if name not in known:
            raise ConfigError(f"no notebook of this run declares the parameter {name!r}{nearest(name, known)}.")

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
                parameters={name: value for name, value in parameters.items() if name in declared[path]},
                kernel_name="python3",
                cwd=str(NOTEBOOKS),
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except papermill.PapermillExecutionError as error:
            print(f"\nFAILED: {path.name}, cell {error.exec_count}: {error.ename}: {error.evalue}", file=sys.stderr)
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
