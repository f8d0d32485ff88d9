"""The process that TensorFlow has to itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import golf_nb_utils
from golf_nb_utils.gpt2 import tensorflow_io
from golf_nb_utils.gpt2.convert import CheckpointError

INDEX = "model.ckpt.index"
TABLE = {
    "model/w": ["linear.weight", [1, 3, 2], True],
    "model/e": ["wte.weight", [4, 3], False],
    "model/b": ["linear.bias", [2], False],
}


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A function that puts a program of its own in the place of Python, which `run` starts."""

    def make(*lines: str) -> None:
        program = tmp_path / "python"
        program.write_text("\n".join(("#!/bin/sh", *lines, "")))
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return make


# The process.


CALLER = """
import sys
sys.path.insert(0, sys.argv[1])
from golf_nb_utils.gpt2 import tensorflow_io
try:
    tensorflow_io.run("convert")
except RuntimeError as error:
    print(error)
print("imported:", "tensorflow" in sys.modules)
"""
# Stands in for the library and tells the surroundings in which it is imported.
TENSORFLOW = """
import os, sys
raise ImportError(f"devices {os.environ['CUDA_VISIBLE_DEVICES']}, package {sys.modules['__main__'].__file__}")
"""


@pytest.mark.parametrize("of_the_callers_own", [False, True])
def test_the_process_sees_no_gpu_and_runs_the_callers_package_although_it_is_not_installed(
    tmp_path, of_the_callers_own
):
    source, elsewhere, libraries = (
        tmp_path / "source",
        tmp_path / "elsewhere",
        tmp_path / "libraries",
    )
    package = shutil.copytree(
        Path(golf_nb_utils.__file__).parent,
        source / "golf_nb_utils",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for folder in (elsewhere, libraries):
        folder.mkdir()
    ((libraries if of_the_callers_own else source) / "tensorflow.py").write_text(TENSORFLOW)
    (elsewhere / "caller.py").write_text(CALLER)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "CUDA_VISIBLE_DEVICES": "0"
    }
    environment |= {"PYTHONPATH": str(libraries)} if of_the_callers_own else {}
    said = subprocess.run(
        [sys.executable, "caller.py", str(source)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert f"devices -1, package {package / 'gpt2' / 'tensorflow_io.py'}" in said
    assert "status 1" in said
    assert said.endswith("imported: False\n")


def test_a_process_that_dies_is_an_error_with_its_last_words(process):
    process("for line in one two three four five six; do echo line $line >&2; done", "exit 3")
    with pytest.raises(RuntimeError, match="status 3") as caught:
        tensorflow_io.run("convert", folder="somewhere")
    assert not isinstance(caught.value, ValueError)
    assert re.findall(r"line (\w+)", str(caught.value)) == ["two", "three", "four", "five", "six"]
    assert "'convert'" in str(caught.value)


def test_last_words_that_are_no_utf8_are_quoted_as_far_as_they_can_be_read(process):
    process(r"printf 'cannot read C:\\Users\\J\374rgen' >&2", "exit 3")
    with pytest.raises(RuntimeError, match=r"cannot read C:.*rgen"):
        tensorflow_io.run("convert", folder="somewhere")


def test_a_process_that_is_killed_is_an_error_with_its_signal(process):
    process("kill -9 $$")
    with pytest.raises(RuntimeError, match="status -9"):
        tensorflow_io.run("convert", folder="somewhere")


@pytest.mark.parametrize("task", ["convert", "logits"])
def test_a_task_gets_its_arguments_and_its_answer_comes_back_past_other_output(
    process, tmp_path, task
):
    process(
        f"cat > {tmp_path}/asked",
        "echo WARNING: something else",
        'echo \'{"tensors": {}, "seconds": 1.5}\'',
    )
    assert tensorflow_io.run(task, folder=tmp_path, token_ids=[1, 2]) == {
        "tensors": {},
        "seconds": 1.5,
    }
    assert (
        tmp_path / "asked"
    ).read_text() == f'{{"task": "{task}", "folder": "{tmp_path}", "token_ids": [1, 2]}}'


def test_what_tensorflow_refuses_is_a_checkpoint_error_here_too_and_tensorflow_is_not_imported_here(
    tmp_path,
):
    before = "tensorflow" in sys.modules
    (tmp_path / INDEX).write_text("<html>log in</html>")
    with pytest.raises(
        CheckpointError, match=rf"{re.escape(INDEX)} is damaged, says TensorFlow: \S"
    ) as caught:
        tensorflow_io.run(
            "convert", folder=tmp_path, out=tmp_path / "out", table=TABLE, metadata={}
        )
    assert caught.value.damaged == INDEX
    assert ("tensorflow" in sys.modules) == before
    assert [path.name for path in tmp_path.iterdir()] == [INDEX]
