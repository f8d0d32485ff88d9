"""Cells in any order: what is out of date is not read, and what is not out of date is."""

import dataclasses

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from golf_nb_utils import cells, settings
from golf_nb_utils.runs import NOTEBOOKS

SETTINGS = """
from golf_nb_utils import cells, test_settings as settings
cells.watch(["seed", "size", "more"])
config = settings(globals()["seed"], globals()["size"])
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int
    size: int


@pytest.fixture
def kernel():
    """A function that runs a cell in a kernel of its own and returns the refusal, or an empty text."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"hist_file": ":memory:"}}))

    def run_cell(source):
        result = shell.run_cell(source, store_history=True)
        error = result.error_before_exec
        assert error is not None or result.error_in_exec is None, result.error_in_exec
        return str(error or "")

    yield run_cell
    InteractiveShell.clear_instance()


@pytest.fixture
def run(kernel, monkeypatch, capsys):
    """The same, after two parameters and the settings that are read from them."""
    monkeypatch.setattr("golf_nb_utils.test_settings", Settings, raising=False)
    kernel("seed, size = 1, 10")
    kernel(SETTINGS)
    return kernel


def test_what_was_made_from_an_earlier_value_is_not_read_and_the_cells_to_run_are_named(run):
    run("batches = [config, 1]")  # the third cell
    run("model = {'weights': 0}\nhistory = (model, len(batches))")
    assert run("print(history)") == ""
    run("seed = 2")
    run(SETTINGS)
    assert run("print(batches)") == (
        "`batches` was made before `config` was made again; run these cells, and then this one: "
        "[3] (batches)."
    )
    said = run("print(history)")
    assert said.startswith("`history` was made before `batches` was made again; run these cells")
    assert said.endswith("[3] (batches), [4] (history).")
    # What does not come from it may be read.
    assert run("print(model)") == ""
    run("batches = [config, 1]")
    assert run("print(batches)") == ""
    assert run("print(history)").endswith("then this one: [4] (history).")
    run("history = (model, len(batches))")
    assert run("print(history)") == ""


def test_a_setting_that_is_not_read_makes_nothing_out_of_date(run):
    run("sizes = [config.size] * 3")
    run("seed = 2")
    run(SETTINGS)
    assert run("print(sizes)") == ""
    run("size = 11")
    run(SETTINGS)
    assert "[3] (sizes)" in run("print(sizes)")


def test_a_changed_parameter_makes_the_settings_out_of_date_that_are_read_from_all_variables(run):
    run("steps = config.size")
    run("size = 11")
    assert run("print(steps)").startswith("`steps` was made before `config` was made again;")
    run(SETTINGS)
    run("steps = config.size")
    run("seed, size = 1, 11")
    assert run("print(steps)") == ""
    # As the parameters cell has it, which may be run again as it is.
    run("more = {'top_k': 5}")
    run(SETTINGS)
    run("more = {'top_k': 5}")
    assert run("print(config)") == ""
    run("more['top_k'] = 6")
    assert "`config` was made before `more` was made again" in run("print(config)")


@pytest.mark.parametrize("number", settings.CONFIGS)
def test_a_notebooks_settings_are_out_of_date_when_any_parameter_is_another(kernel, number):
    code = [
        cell.source
        for cell in nbformat.read(NOTEBOOKS[number], as_version=4).cells
        if cell.cell_type == "code"
    ]
    for source in code[1:3]:
        kernel(source)
    # Run again as it is, it changes nothing.
    kernel(code[1])
    assert kernel("before = config") == ""
    for changed in ("more = {'seed': 8}", "output_root = '/somewhere'"):
        assert kernel(changed) == ""
        assert "(config)" in kernel("print(before)")
        kernel(code[1])
        kernel(code[2])
        kernel("before = config")


def test_a_cell_that_makes_the_same_again_makes_nothing_out_of_date(run):
    run("import math\nfrom math import pi\nn = 3")
    run("areas = [n * pi, math.e, config]")
    run(SETTINGS)
    run("import math\nfrom math import pi\nn = 3")
    assert run("print(areas)") == ""
    run("n = 3.0")
    assert run("print(areas)") != ""


def test_another_list_or_model_is_another_one_whatever_it_holds(run):
    run("records = [1]")
    run("rows = list(records)")
    run("records = [1]")
    assert "`rows` was made before `records`" in run("print(rows)")


def test_an_entry_that_is_set_counts_as_making(run):
    run("systems = {}\nfor name in 'ab':\n    systems[name] = config")
    run("answers = {}\nfor name, system in systems.items():\n    answers[name] = system")
    assert run("print(answers)") == ""
    run("systems['c'] = None")
    assert "`answers` was made before `systems`" in run("print(answers)")


def test_a_cells_own_names_and_those_of_functions_and_loops_are_its_own(run):
    run("rows = [1, 2]")
    run("total = sum(row for row in rows)\nfor row in rows:\n    last = row")
    # Another cell's loop and comprehension use the same name for something else.
    run("for row in 'abc':\n    pass\nfound = [row for row in 'abc']")
    assert run("print(total, last)") == ""
    run("def double(n):\n    return 2 * n * config.seed\nn = 7\ntwice = double(n)")
    run("n = 8")
    assert run("print(twice, double(1))") == ""
    run("seed = 5")
    run(SETTINGS)
    assert "`twice` was made before `config`" in run("print(twice)")


def test_what_is_used_and_made_anew_in_one_cell_is_not_out_of_date_with_itself(run):
    run("model = [config.size]")
    run("counted = len(model)\nmodel = list(model)")
    assert run("print(model, counted)") == ""
    run("model = model + [2]")
    assert run("print(model)") == ""
    assert "`counted` was made before `model`" in run("print(counted)")


def test_a_cell_that_failed_made_what_it_came_to(run):
    run("first = [config]\nsecond = [config]")
    run("seed = 2")
    run(SETTINGS)
    with pytest.raises(AssertionError):  # of `run`: the cell fails
        run("first = [config]\nraise LookupError\nsecond = [config]")
    assert run("print(first)") == ""
    assert "(second)" in run("print(second)")


def test_outside_of_a_kernel_nothing_is_watched():
    InteractiveShell.clear_instance()
    cells.watch([])


def test_a_refusal_is_one_line_in_the_notebook(run, capsys):
    run("batches = [config]")
    run("size = 11")
    run(SETTINGS)
    capsys.readouterr()
    said = run("print(batches)")
    assert capsys.readouterr().out.strip() == f"OutOfDate: {said}"
