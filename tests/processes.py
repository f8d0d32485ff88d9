"""The project's commands as users start them: in a Python of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def run(
    *command: str, root: Path, check: bool = True, cwd: Path = REPOSITORY
) -> subprocess.CompletedProcess:
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"
    }
    environment |= {"GOLF_OUTPUT_ROOT": str(root), "GOLF_HEADLESS": "1"}
    result = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (check and result.returncode), (
        f"{command} failed:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    )
    return result
