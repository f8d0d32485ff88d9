"""The command line refuses what it cannot run, before anything runs; tests/test_notebooks.py runs it for real."""

import dataclasses
import json
from pathlib import Path

import nbformat
import papermill
import pytest

from golf_nb_utils import config
from golf_nb_utils.__main__ import main

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
CONFIGS = (config.DataConfig, config.CheckpointConfig, config.TrainConfig, config.SampleConfig)


@pytest.mark.parametrize(("path", "settings"), zip(NOTEBOOKS, CONFIGS, strict=True), ids=lambda value: getattr(value, "stem", ""))
def test_a_notebooks_parameters_and_its_configs_fields_are_the_same_names(path, settings):
    assert list(papermill.inspect_notebook(path)) == [field.name for field in dataclasses.fields(settings)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_parameter_has_a_comment_and_a_literal(path):
    for name, parameter in papermill.inspect_notebook(path).items():
        assert parameter["help"], name
        assert parameter["default"] in ("None", "True", "False") or json.loads(parameter["default"]) is not None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_nbval_compares_has_a_count_and_an_output(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if "NBVAL_CHECK_OUTPUT" in cell.source]
    assert cells
    for cell in cells:
        assert cell.execution_count, cell.source
        assert cell.outputs, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_stored_with_a_picture(path):
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_all_notebooks_share_one_bootstrap_cell_and_one_repository():
    bootstraps = {cell.source for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells if "REPOSITORY =" in cell.source}
    assert len(bootstraps) == 1
    assert len(NOTEBOOKS) == 4


def test_an_unknown_parameter_is_refused_with_the_nearest_right_one(tmp_path, capsys):
    assert main(["run", "--output-root", str(tmp_path), "-p", "epoch", "3"]) == 2
    assert "no notebook of this run declares the parameter 'epoch'; did you mean 'epochs'?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_parameter_of_a_notebook_that_is_not_run_is_refused(tmp_path, capsys):
    assert main(["run", "1", "--epochs", "3", "--output-root", str(tmp_path)]) == 2
    assert "'epochs'" in capsys.readouterr().err


def test_an_unknown_notebook_number_is_refused(tmp_path, capsys):
    assert main(["run", "5", "--output-root", str(tmp_path)]) == 2
    assert "there is no notebook 5; expected one of 1, 2, 3, 4." in capsys.readouterr().err
