"""The parameters of a run: the files of notebooks/params, and what is refused before a notebook runs, whichever way it comes in."""

import ast
import errno
import json
import os
import re
from pathlib import Path

import papermill
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from golf_nb_utils import settings
from golf_nb_utils.__main__ import main
from golf_nb_utils.settings import (
    GPT_CONFIGS,
    CheckpointConfig,
    ConfigError,
    DataConfig,
    SampleConfig,
    TrainConfig,
    check_parameters,
    declared,
    read_parameters,
    read_value,
)
from golf_nb_utils.training import memory
from tools import write_parameters

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
FILES = sorted((REPOSITORY / "notebooks" / "params").glob("*.yaml"))
ON_KAGGLE = [path for path in FILES if path.stem.startswith("kaggle_2xt4_")]
CONFIGS = (DataConfig, CheckpointConfig, TrainConfig, SampleConfig)
SERIES = (1, 2, 3, 4)
NAMES = sorted({name for number in SERIES for name in declared(number)})
KAGGLE_DISK = 20e9
"""Bytes of /kaggle/working."""

by_name = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
on_kaggle = pytest.mark.parametrize("path", ON_KAGGLE, ids=lambda path: path.stem)


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """What papermill would have been given, by notebook number; nothing is run."""
    calls = {}

    def execute(source, target, parameters, **options):
        calls[int(Path(source).name[:2])] = parameters

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    # The command sets them for the kernels.
    monkeypatch.setenv("GOLF_HEADLESS", "1")
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(tmp_path))
    return calls


@pytest.fixture
def run(executed, tmp_path):
    """A function that calls `run` with an output root of its own, and returns its exit code."""
    return lambda *arguments: main(
        ["run", *map(str, arguments), "--output-root", str(tmp_path / "out")]
    )


@pytest.fixture
def written(tmp_path):
    """A function that writes a parameter file."""

    def write(text):
        path = tmp_path / "given.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_there_is_a_file_for_each_common_run():
    assert [path.stem for path in FILES] == [
        "kaggle_2xt4_124M",
        "kaggle_2xt4_1558M",
        "kaggle_2xt4_355M",
        "tiny_smoke",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_cell_has_settings_of_the_notebook_and_their_meanings_behind_them(path):
    number = int(path.name[:2])
    cell = papermill.inspect_notebook(path)
    *names, last = cell
    assert last == "more"
    assert names[0] == "model_size"
    for name in names:
        literal = ast.literal_eval(cell[name]["default"])
        assert cell[name]["help"] == write_parameters.comment(number, name, literal)
        # What stands there is the default, so that the cell as it is changes nothing.
        assert literal in (None, *write_parameters.defaults(number, name))


@by_name
def test_a_file_has_only_parameters_that_a_notebook_declares_and_papermill_reads_the_same(path):
    parameters = read_parameters(path)
    assert set(parameters) <= set(NAMES)
    assert papermill.iorw.read_yaml_file(str(path)) == parameters


@by_name
@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_config_of_each_notebook_takes_a_file_and_its_values_are_of_the_right_type(
    path, has_gpu
):
    parameters = read_parameters(path)
    check_parameters(parameters, SERIES, has_gpu)
    assert parameters["model_size"] in path.stem
    for config in CONFIGS:
        fields = vars(config())
        for name in parameters.keys() & fields.keys():
            # A text for a number or a flag would be read, too; but not by somebody who copies it.
            wanted = {float: (int, float)}.get(type(fields[name]), (type(fields[name]),))
            assert type(parameters[name]) in wanted, name


def planned(path, length, **changed) -> memory.MemoryPlan:
    parameters = read_parameters(path) | changed
    size = parameters["model_size"]
    training = TrainConfig.for_size(
        size, **{name: value for name, value in parameters.items() if name in declared(3)[1:]}
    )
    return memory.plan(GPT_CONFIGS[size], training, length, 2, torch.float16)


@on_kaggle
def test_the_longest_possible_record_fits_into_two_t4s_and_the_comment_says_the_plan(path):
    n_devices, capacity = memory.named_devices("2xT4")
    assert n_devices == 2
    plan = planned(path, length=1024)
    assert memory.fits(plan, capacity)
    assert (
        f"Planned on the fullest card, for records of 1,024 tokens: {plan.total / memory.GIB:.1f} GiB."
        in path.read_text("utf-8")
    )


@pytest.mark.parametrize(
    "changed", [{"strategy": "dp"}, {"activation_checkpointing": False}], ids=str
)
def test_1558M_would_not_fit_without_the_settings_that_its_file_has_for_that(changed):
    (path,) = (path for path in ON_KAGGLE if "1558M" in path.stem)
    assert not memory.fits(planned(path, length=330, **changed), memory.T4_BYTES)


@on_kaggle
def test_a_session_of_kaggle_has_the_disk_for_what_a_run_writes(path):
    parameters = read_parameters(path)
    size = parameters["model_size"]
    training = TrainConfig.for_size(
        size, **{name: value for name, value in parameters.items() if name in declared(3)[1:]}
    )
    trained = memory.disk_bytes(GPT_CONFIGS[size], training)
    # OpenAI's data file and model.safetensors, both in FP32.
    checkpoint = 2 * 4 * GPT_CONFIGS[size].n_parameters
    if "One session each" in path.read_text("utf-8"):
        assert max(checkpoint, trained) < KAGGLE_DISK < checkpoint + trained
    else:
        assert checkpoint + trained < KAGGLE_DISK


@on_kaggle
def test_one_t4_holds_both_models_of_notebook_04_and_the_cache_of_their_answers(path):
    parameters = read_parameters(path)
    config = SampleConfig.for_size(
        parameters["model_size"],
        **{name: value for name, value in parameters.items() if name in declared(4)[1:]},
    )
    shape = GPT_CONFIGS[parameters["model_size"]]
    rows = max(config.batch_size, config.n_candidates)
    # Keys and values of each layer, in FP32 as the weights are.
    cache = 4 * rows * shape.n_ctx * 2 * shape.n_layer * shape.n_embd
    assert 2 * 4 * shape.n_parameters + cache < memory.T4_BYTES


@by_name
def test_run_gives_each_notebook_what_it_declares_of_a_file(run, executed, path):
    parameters = read_parameters(path)
    assert run("-f", path) == 0
    assert executed == {
        number: {name: value for name, value in parameters.items() if name in declared(number)}
        for number in SERIES
    }


def test_a_file_for_the_series_serves_a_part_of_it(run, executed):
    assert run(3, 4, "-f", FILES[0]) == 0
    assert sorted(executed) == [3, 4]
    assert "epochs" in executed[3]
    assert "epochs" not in executed[4]


def test_what_stands_on_the_command_line_goes_before_the_file(run, executed, written):
    path = written("model_size: tiny\nepochs: 3\nbatch_size: 8\nseed: 5")
    assert run("-f", path, "--epochs", 1, "-p", "seed", 7) == 0
    assert executed[3] == {"model_size": "tiny", "epochs": 1, "batch_size": 8, "seed": 7}
    assert executed[1] == {"model_size": "tiny", "seed": 7}


def test_an_empty_file_changes_nothing(run, executed, written):
    assert run("-f", written("# nothing yet\n")) == 0
    assert executed == {1: {}, 2: {}, 3: {}, 4: {}}


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate: 1e-4",
        "learning_rate: 0.0001",
        "mixed_precision: 'false'",
        "epochs: 3.0",
        "epochs:",
        "lora_rank: '8'",
    ],
)
def test_a_value_that_the_configs_can_read_is_let_through(run, executed, written, text):
    assert run(3, "-f", written(text)) == 0
    assert executed[3] == yaml.safe_load(text)


def test_folders_are_relative_to_where_the_command_is_called_not_to_the_notebooks(
    executed, written, tmp_path, monkeypatch
):
    place = tmp_path / "called"
    place.mkdir()
    monkeypatch.chdir(place)
    assert (
        main(
            [
                "run",
                "-f",
                str(written("output_root: out\nextra_knowledge: mine")),
                "-p",
                "checkpoint_folder",
                "../gpt2",
            ]
        )
        == 0
    )
    assert executed[1] == {"extra_knowledge": str(place / "mine")}
    assert executed[2] == {"checkpoint_folder": str(tmp_path / "gpt2")}
    assert os.environ["GOLF_OUTPUT_ROOT"] == str(place / "out")
    assert (place / "out" / "experimental" / "runs").is_dir()


def test_the_executed_notebook_keeps_no_secret_of_an_address(run, tmp_path, monkeypatch):
    def execute(source, target, parameters, **options):
        Path(target).write_text(json.dumps({"source": f"more_urls = {parameters['more_urls']!r}"}))

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    assert run(2, "-p", "more_urls", "https://me:s3cret@a/b?sig=s3cret https://c") == 0
    (path,) = (tmp_path / "out").rglob("*.ipynb")
    assert json.loads(path.read_text()) == {"source": "more_urls = 'https://a/b https://c'"}


def test_a_disk_that_fills_up_under_a_notebook_is_one_sentence(run, tmp_path, monkeypatch, capsys):
    def execute(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    assert run(2) == 2
    assert re.search(
        r"^error: [^\n]*no room for [^\n]+/02_[^\n]+\.ipynb [^\n]+$",
        capsys.readouterr().err,
        re.MULTILINE,
    )


REFUSED = {
    "epoch: 3": r"given\.yaml:1: no notebook declares the parameter 'epoch'; did you mean 'epochs'\?",
    "# a comment\n\nseed: 1\nbatchsize: 8": r"given\.yaml:4: .*'batchsize'; did you mean 'batch_size'\?",
    "xyzzy: 1": r"given\.yaml:1: no notebook declares the parameter 'xyzzy'\.",
    "7: 1": r"given\.yaml:1: .*'7'",
    "epochs: 3\nseed: 1\nepochs: 4": r"given\.yaml:3: the parameter 'epochs' is given twice",
    "epochs: three": r"TrainConfig\.epochs must be of type int, found 'three'",
    "epochs: 2.5": r"TrainConfig\.epochs must be of type int, found 2\.5",
    "epochs: 0": r"TrainConfig\.epochs must be at least 1, found 0",
    "epochs: [3]": r"TrainConfig\.epochs must be of type int, found \[3\]",
    "mixed_precision: 0": r"TrainConfig\.mixed_precision must be of type bool, found 0",
    "strategy: off": r"TrainConfig\.strategy must be of type str, found False",
    "strategy: fdsp": r"TrainConfig\.strategy must be .*'fsdp', found 'fdsp'",
    "method: lora\nstrategy: fsdp": r"TrainConfig\.strategy must be .* with method 'lora', found 'fsdp'",
    "n_examples: many": r"DataConfig\.n_examples must be of type int, found 'many'",
    "n_shown: -1": r"SampleConfig\.n_shown must be at least 1, found -1",
    "backup_url: 5": r"CheckpointConfig\.backup_url must be of type str, found 5",
    "ollama_model: 2026-11-23": r"SampleConfig\.ollama_model must be of type str, found datetime\.date\(2026, 11, 23\)",
    "model_size: own": r"CheckpointConfig\.checkpoint_folder must be a folder",
    "model_size: 124": r"unknown model_size 124; expected one of auto, tiny, 124M",
    "- epochs": r"given\.yaml must have a line 'name: value' for each parameter, found \['epochs'\]",
    "epochs": r"given\.yaml must have a line 'name: value' for each parameter, found 'epochs'",
    "epochs: [3": r"given\.yaml is not valid YAML: while parsing .*line 1",
    "epochs: 3\n\tseed: 1": r"given\.yaml is not valid YAML: .*line 2",
    "output_root: 2026-13-01": r"given\.yaml is not valid YAML: month must be in 1\.\.12",
    b"output_root: \xff": r"given\.yaml is not encoded as UTF-8",
    'extra_knowledge: "a\\0b"': r"extra_knowledge must be of type str, found 'a\\x00b'",
    "epochs: &one 3\nseed: *one": r"given\.yaml is not valid YAML: aliases .* line 2",
    # Of nine levels of nine each: some gigabytes, once somebody prints them.
    "\n".join(
        f"n_shown: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'ha, ' * 8}]" for n in range(10)
    ): r"given\.yaml is not valid YAML: aliases",
    "seed: " + "[" * 100_000: r"given\.yaml is not valid YAML: maximum recursion",
    "seed: " + "{a: " * 100_000: r"given\.yaml is not valid YAML: maximum recursion",
    "seed: " + "9" * 5000: r"given\.yaml is not valid YAML: Exceeds the limit",
    "seed: 0x" + "f" * 5000: r"seed must be of type int, found an integer of thousands of digits",
    "mixed_precision: 0x" + "f" * 5000: r"mixed_precision must be of type bool, found an integer",
    "model_size: 0x" + "f" * 5000: r"unknown model_size an integer of thousands of digits",
    f"seed: {2**53 + 1}": rf"seed must be of type int, found {2**53 + 1}",
    "n_examples: [" + "1, " * 10_000 + "]": r"DataConfig\.n_examples must be .*, \.\.\.\]\.",
    "- " + "x" * 100_000: r"found \['x.{80,190}\.\.\.",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_a_wrong_file_is_refused_in_one_sentence_before_anything_runs(
    run, executed, written, tmp_path, capsys, text
):
    assert run("-f", written(text)) == 2
    captured = capsys.readouterr()
    assert re.search(REFUSED[text], captured.err), captured.err
    assert re.fullmatch(r"error: [^\n]{1,700}[.?]\n", captured.err)
    assert captured.out == ""
    assert executed == {}
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_refused_by_its_name(run, executed, tmp_path, capsys):
    assert run("-f", tmp_path / "missing.yaml") == 2
    assert "missing.yaml" in capsys.readouterr().err
    assert executed == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "epoch", "3"], "'epoch'; did you mean 'epochs'?"),
        (["-p", "epochs", "three"], "TrainConfig.epochs must be of type int, found 'three'"),
        (
            ["-p", "mixed_precision", "0"],
            "TrainConfig.mixed_precision must be of type bool, found 0",
        ),
        (["-p", "more_urls", "[https://host"], "-p more_urls [https://host is not valid YAML"),
        (["--lr", "5"], "TrainConfig.learning_rate must be between 0 and 1, found 5.0"),
        (["--model-size", "124m"], "unknown model_size '124m'; expected one of auto, tiny, 124M"),
        (["4", "-p", "n_shown", "0"], "SampleConfig.n_shown must be at least 1, found 0"),
    ],
)
def test_a_wrong_value_on_the_command_line_is_refused_in_one_sentence_before_anything_runs(
    run, executed, tmp_path, capsys, arguments, said
):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert re.fullmatch(r"error: [^\n]+[.?]\n", captured.err)
    assert executed == {}
    assert not (tmp_path / "out").exists()


def test_only_the_notebooks_that_run_refuse_a_value(run, executed, written):
    assert run(1, "-f", written("n_examples: 5\nepochs: 0")) == 0
    assert executed == {1: {"n_examples": 5}}


def test_the_size_that_auto_stands_for_is_the_one_that_is_checked(monkeypatch):
    asked = []
    monkeypatch.setattr(DataConfig, "for_size", lambda size, **parameters: asked.append(size))
    for has_gpu, parameters in [
        (True, {}),
        (False, {"model_size": "auto"}),
        (False, {"model_size": "355M"}),
    ]:
        check_parameters(parameters, [1], has_gpu)
    assert asked == ["124M", "tiny", "355M"]


def test_run_asks_torch_whether_there_is_a_gpu(run, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(TrainConfig, "for_size", lambda size, **parameters: asked.append(size))
    assert run(3) == 0
    assert asked == ["124M"]


@pytest.mark.parametrize("name", [name for name in NAMES if len(name) > 4])
def test_a_name_with_a_letter_missing_is_refused_with_the_right_one_wherever_it_is_given(
    run, written, capsys, name
):
    wrong = name[:2] + name[3:]
    said = f"{wrong!r}; did you mean {name!r}?"
    assert run("-f", written(f"{wrong}: 1")) == 2
    assert said in capsys.readouterr().err
    assert run("-p", wrong, 1) == 2
    assert said in capsys.readouterr().err
    for config in CONFIGS:
        if hasattr(config, name) and name != "model_size":
            with pytest.raises(ConfigError, match=re.escape(said)):
                config.for_size("tiny", **{wrong: 1})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
    | st.binary(max_size=4)
)
# The file of an example is overwritten by the next.
repeated = settings_of_hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])


@repeated
@given(
    parameters=st.dictionaries(
        st.sampled_from(NAMES), SCALARS.filter(lambda value: value == value), max_size=5
    )
)
def test_parameters_survive_being_written_as_yaml(written, parameters):
    assert read_parameters(written(yaml.safe_dump(parameters))) == parameters


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5), st.booleans())
def test_whatever_yaml_can_hold_is_taken_by_the_configs_or_refused_by_the_name_of_a_parameter(
    parameters, has_gpu
):
    refusal = None
    try:
        check_parameters(parameters, SERIES, has_gpu)
    except ConfigError as error:
        refusal = str(error)
    assert refusal is None or any(name in refusal for name in (*parameters, "checkpoint_folder"))


TEXTS = (
    st.text(max_size=40)
    | st.text(max_size=8).map("epochs: {}".format)
    | st.text(max_size=8).map("seed: 1\n{}".format)
)


@repeated
@given(text=TEXTS)
def test_any_text_is_a_parameter_file_or_is_refused_by_the_files_name(written, text):
    refusal, parameters = "", {}
    try:
        parameters = read_parameters(written(text))
    except ConfigError as error:
        refusal = str(error)
    assert set(parameters) <= set(NAMES)
    assert not refusal or "given.yaml" in refusal


def test_yamls_trap_is_a_text_as_its_docstring_says():
    assert read_value("1e-4", "here") == "1e-4"
    assert read_value("1.0e-4", "here") == 0.0001


# The settings of a notebook, from its variables.


def test_a_setting_is_a_variable_or_stands_in_more_and_the_rest_takes_the_sizes_preset():
    config = settings.read(3, {"model_size": "124M", "epochs": 3, "more": {"lora_rank": 8}, "x": 1})
    assert config == TrainConfig.for_size("124M", epochs=3, lora_rank=8)
    # papermill injects names that have no line in the parameters cell, and texts for numbers.
    assert settings.read(3, {"model_size": "124M", "lora_rank": "8"}).lora_rank == 8
    assert settings.read(3, {"more": {"model_size": "124M", "seed": None}}).model_size == "124M"


@pytest.mark.parametrize(("has_gpu", "size"), [(True, "124M"), (False, "tiny")])
def test_auto_is_124M_with_a_gpu_and_tiny_without(monkeypatch, has_gpu, size):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    for variables in ({}, {"model_size": "auto"}, {"model_size": None}):
        assert settings.read(1, variables) == DataConfig.for_size(size)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"more": {"lora_rnk": 8}}, "notebook 03 has no setting 'lora_rnk'; did you mean 'lora_rank'?"),
        ({"more": {"n_examples": 8}}, "notebook 03 has no setting 'n_examples'."),
        ({"more": {3: 8}}, "notebook 03 has no setting 3."),
        ({"more": {"more": {}}}, "notebook 03 has no setting 'more'."),
        ({"epochs": 2, "more": {"epochs": 3}}, "epochs is given twice: 2 as a variable, 3 in `more`;"),
        ({"more": '{"epochs": 3}'}, "`more` must be a dict"),
        ({"more": {"epochs": 0}}, "TrainConfig.epochs must be at least 1, found 0"),
        ({"more": {"model_size": "124m"}}, "unknown model_size '124m'"),
        # What the cells were; IPython keeps it.
        ({"In": ["", "more = {}", "# Parameters\nlora_rnk = 8\n"]}, "'lora_rnk'; did you mean 'lora_rank'?"),
        ({"In": ["epochs = 1\nsed = 7\nmore = {}"]}, "'sed'; did you mean 'seed'?"),
    ],
)  # fmt: skip
def test_a_setting_that_is_unknown_or_given_twice_is_refused_by_its_name(variables, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        settings.read(3, variables)


def test_other_notebooks_settings_papermills_own_names_and_variables_of_ones_own_may_be_there():
    injected = "# Parameters\nn_examples = 5\nPAPERMILL_INPUT_PATH = 'a.ipynb'\n"
    own = "drive = '/content/drive/MyDrive'\noutput_root = drive + '/golf'\nmore = {}"
    variables = {"In": [own, injected], "n_examples": 5, "output_root": "/golf"}
    assert settings.read(3, variables).output_root == "/golf"


def test_a_name_that_was_misspelt_and_corrected_is_no_longer_refused():
    cells = [
        "epocs = 1\nmore = {}",
        "x = 1\nnot_a_setting = more",
        "epochs = 1\nmore = {}",
        "half (",
    ]
    assert settings.read(3, {"In": cells, "epochs": 1, "epocs": 1, "more": {}}).epochs == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "all defaults of tiny"),
        ({"seed": 123, "epochs": 1}, "all defaults of tiny"),
        ({"seed": 7, "more": {"epochs": 3}}, "defaults of tiny, but epochs = 3, seed = 7"),
    ],
)
def test_only_what_differs_from_the_defaults_is_told(variables, said):
    assert str(settings.read(3, {"model_size": "tiny"} | variables)) == said


@given(name=st.sampled_from(NAMES), value=VALUES)
def test_it_is_the_same_for_every_setting_whether_it_is_a_variable_or_in_more(name, value):
    def outcome(number, variables):
        try:
            return settings.read(number, variables)
        except ConfigError as error:
            return str(error)

    for number in SERIES:
        if name in declared(number):
            alone, within = {name: value}, {"more": {name: value}}
            assert repr(outcome(number, alone)) == repr(outcome(number, within))
