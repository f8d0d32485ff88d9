"""Execute the notebooks with papermill, headless, one after the other."""

import json
import logging
import os
import sys
import time
from datetime import datetime
from pathlib import Path

from golf_nb_utils.addresses import without_secrets
from golf_nb_utils.files import Paths, explained_if_full, write_text
from golf_nb_utils.host import REPOSITORY_ROOT, output_root
from golf_nb_utils.settings import FOLDERS, ConfigError, check_parameters, declared, nearest

# By name: what papermill, or a person, puts beside them is not of the series.
NOTEBOOKS = {
    int(name[:2]): REPOSITORY_ROOT / "notebooks" / f"{name}.ipynb"
    for name in (
        "01_generate_data",
        "02_download_and_convert_gpt2",
        "03_finetune_dataparallel_fp16",
        "04_sample_and_evaluate",
    )
}
"""The four notebooks, by their numbers."""


def run_notebooks(numbers: list[int], parameters: dict, from_file: dict) -> int:
    """Execute notebooks by number (all without any), each with those parameters that it declares.

    `parameters` go before those of a file, `from_file`, which may be about notebooks that are not
    chosen. Folders are relative to the caller's working directory, not to the notebooks'.
    Returns 0, or 1 after the first notebook that fails; its name, cell and error are printed.

    Raises:
        ConfigError: a number has no notebook, none of those chosen declares one of `parameters`,
            a value is refused, or a notebook holds parameters of an earlier run.
    """
    import torch

    chosen = _choose(numbers)
    known = {name for number in chosen for name in declared(number)}
    for name in parameters:
        if name not in known:
            close = nearest(name, known)
            raise ConfigError(f"no notebook of this run declares the parameter {name!r}{close}.")
    parameters = from_file | parameters
    # Not detect_devices: to ask for the GPUs' names takes memory of theirs, which the notebooks
    # would lack as long as this process runs.
    check_parameters(parameters, chosen, torch.cuda.is_available())
    for name in FOLDERS:
        if parameters.get(name):
            parameters[name] = str(Path(os.path.expanduser(parameters[name])).resolve())

    root = output_root(parameters.pop("output_root", ""))
    # By the environment, so that the executed notebooks do not depend on where they lie.
    os.environ |= {"GOLF_HEADLESS": "1", "GOLF_OUTPUT_ROOT": str(root)}
    folder = Paths(root).experimental / "runs" / datetime.now().strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    for place, (number, path) in enumerate(chosen.items(), 1):
        print(f"\n=== {place}/{len(chosen)} {path.name} ===", flush=True)
        given = {name: parameters[name] for name in declared(number) if name in parameters}
        if not _execute(path, folder / path.name, given):
            return 1
    _print_results(Paths(root), folder)
    return 0


def _choose(numbers: list[int]) -> dict[int, Path]:
    """Return {number: notebook} in order."""
    for number in numbers:
        if number not in NOTEBOOKS:
            expected = ", ".join(map(str, NOTEBOOKS))
            raise ConfigError(f"there is no notebook {number}; expected one of {expected}.")
    chosen = {number: NOTEBOOKS[number] for number in sorted(set(numbers) or NOTEBOOKS)}
    for path in chosen.values():
        _refuse_injected_parameters(path)
    return chosen


def _refuse_injected_parameters(path: Path) -> None:
    """Without parameters to inject, papermill leaves those of an earlier run where they are."""
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            lines = "".join(cell["source"]).splitlines()
            found = "; ".join(line for line in lines if "=" in line)
            raise ConfigError(
                f"{path}, cell {number}: papermill has written parameters of an earlier run into "
                f"it ({found}); delete this cell, and give papermill another path for its output."
            )


def _execute(path: Path, target: Path, parameters: dict) -> bool:
    """Execute one notebook, written to `target`; say whether it came to its end."""
    import papermill

    # It warns of every parameter without a line in the parameters cell; ours were checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    started = time.perf_counter()
    try:
        with explained_if_full(target):
            papermill.execute_notebook(
                path,
                target,
                parameters=parameters,
                kernel_name="python3",
                cwd=str(path.parent),
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
    except papermill.PapermillExecutionError as error:
        where = f"{path.name}, cell {error.exec_count}"
        print(f"\nFAILED: {where}: {error.ename}: {error.evalue}", file=sys.stderr)
        print(f"The notebook as far as it came: {target}", file=sys.stderr)
        return False
    finally:
        _hide_secrets(target, parameters)
    print(f"=== {path.name} done in {time.perf_counter() - started:.0f} s ===", flush=True)
    return True


def _hide_secrets(notebook: Path, parameters: dict) -> None:
    """Take the secrets of addresses out of the parameters that papermill wrote into a notebook."""
    values = {value for value in map(str, parameters.values()) if without_secrets(value) != value}
    if values and notebook.is_file():
        text = notebook.read_text(encoding="utf-8")
        for value in values:
            text = text.replace(value, without_secrets(value))
        write_text(notebook, text)


def _print_results(paths: Paths, folder: Path) -> None:
    print(f"\nnotebooks  {folder}")
    for label, pattern in {
        "model": "golf_feedback_models/*.pth",
        "report": "golf_feedback_evaluation/*/report.html",
        "plots": "golf_feedback_models/*.pdf",
    }.items():
        for path in sorted(paths.experimental.glob(pattern)):
            print(f"{label:<10} {path}")
