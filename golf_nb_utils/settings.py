"""Every number that a run depends on: the model sizes, and the validated settings of each notebook.

A notebook's parameters are the fields of its config, under the same names. They come from its
parameters cell, the command line or a YAML file, and are checked before anything runs. A parameter
that is None takes the preset of the model size: the defaults below are those of the GPT-2 sizes,
and TINY_PRESET holds what differs for `tiny`. What a parameter means is said here, once: the
comments of the parameters cells and docs/parameters.md repeat it.

Frozen dataclasses, not pydantic: training imports this module on bare GPU machines without it.
"""

import ast
import dataclasses
import difflib
import math
import os
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import ge, gt, le, lt
from pathlib import Path

import yaml

from golf_nb_utils.addresses import without_secrets


class ConfigError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of range."""

    def __init__(self, message: str):
        # It quotes what was given, and an address may hold a password or a signature.
        super().__init__(without_secrets(message))


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT-2, under the names of OpenAI's hparams.json."""

    n_vocab: int = 50257
    n_ctx: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"GPTConfig.{field.name} must be a positive integer, found {value!r}."
                )
        width, heads = self.n_embd, self.n_head
        if width % heads:
            raise ConfigError(f"n_embd ({width}) must be a multiple of n_head ({heads}).")

    @property
    def n_parameters(self) -> int:
        """Number of parameters; the output head shares the token embedding, so that counts once."""
        # A block: 4 width^2 for attention, 8 width^2 for the MLP, the rest biases and layer norms.
        width = self.n_embd
        block = 12 * width**2 + 13 * width
        return (self.n_vocab + self.n_ctx) * width + self.n_layer * block + 2 * width


GPT_CONFIGS = {
    "tiny": GPTConfig(n_vocab=2048, n_ctx=1024, n_embd=256, n_head=4, n_layer=2),
    "124M": GPTConfig(),
    "355M": GPTConfig(n_embd=1024, n_head=16, n_layer=24),
    "774M": GPTConfig(n_embd=1280, n_head=20, n_layer=36),
    "1558M": GPTConfig(n_embd=1600, n_head=25, n_layer=48),
}
MODEL_SIZES = (*GPT_CONFIGS, "own")
"""`own` is a GPT-2 of any shape that the user brings; its hparams.json says which."""


def resolve_model_size(model_size: str, has_gpu: bool) -> str:
    """Turn `auto` into `124M` with a GPU and `tiny` without; return any other known size as it is.

    Raises:
        ConfigError: the size is unknown.
    """
    if model_size == "auto":
        return "124M" if has_gpu else "tiny"
    if model_size not in MODEL_SIZES:
        raise ConfigError(
            f"unknown model_size {shown(model_size)}; "
            f"expected one of auto, {', '.join(MODEL_SIZES)}."
        )
    return model_size


# How a setting is declared, read and checked.

BOUNDS = {"at_least": ge, "above": gt, "at_most": le, "below": lt}


def setting(default, meaning: str, **rules):
    """Declare a field of a config: its default, what it means, and which values it may have.

    `meaning` names the unit and fits behind the value in a parameters cell. `rules` are BOUNDS,
    `choices`, and `free_on_resume` for what may change between two sessions of one training run.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, **rules})


@dataclass(frozen=True)
class _Settings:
    """What the notebooks' configs share: presets, types, ranges, the refusal of unknown names."""

    model_size: str = setting(
        "124M", "tiny, 124M, 355M, 774M, 1558M, own; auto: 124M on GPUs, else tiny",
        choices=MODEL_SIZES,
    )  # fmt: skip
    output_root: str = setting(
        "", 'folder for experimental/; "": the clone, /kaggle/working or /content',
        free_on_resume=True,
    )  # fmt: skip

    @classmethod
    def defaults(cls, model_size: str) -> dict:
        """Return the value of each setting that a size takes where none is given."""
        values = {field.name: field.default for field in dataclasses.fields(cls)}
        preset = TINY_PRESET.get(cls.__name__, {}) if model_size == "tiny" else {}
        return values | preset | {"model_size": model_size}

    @classmethod
    def for_size(cls, model_size: str, **parameters):
        """Build the config of a resolved size from a notebook's parameters.

        A parameter that is None takes the size's preset. Strings are read as papermill passes
        them (`"false"`, `"1e-4"`).

        Raises:
            ConfigError: a name is unknown, a value has the wrong type or is out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = cls.defaults(model_size)
        for name, value in parameters.items():
            if name not in fields:
                close = nearest(name, fields)
                raise ConfigError(f"{cls.__name__} has no parameter {name!r}{close}.")
            if value is not None:
                values[name] = _typed(cls.__name__, fields[name], value)
        return cls(**values)

    def __str__(self):
        # What notebooks print below their parameters.
        defaults = self.defaults(self.model_size)
        changed = {name: value for name, value in vars(self).items() if value != defaults[name]}
        if not changed:
            return f"all defaults of {self.model_size}"
        listed = ", ".join(f"{name} = {value!r}" for name, value in changed.items())
        return without_secrets(f"defaults of {self.model_size}, but {listed}")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata.get("choices")
            limits = {name: field.metadata[name] for name in BOUNDS if name in field.metadata}
            # NaN fails every comparison, so it is refused wherever there is a bound.
            if not all(BOUNDS[name](value, limit) for name, limit in limits.items()):
                self._refuse(field.name, _range(limits))
            if choices and value not in choices:
                *others, last = map(repr, choices)
                self._refuse(field.name, f"{', '.join(others)} or {last}")

    def _refuse(self, name: str, expected: str) -> None:
        raise ConfigError(
            f"{type(self).__name__}.{name} must be {expected}, found {shown(getattr(self, name))}."
        )


def _range(limits: dict) -> str:
    if tuple(limits) in (("at_least", "at_most"), ("above", "below")):
        low, high = limits.values()
        return f"between {low} and {high}"
    return " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in limits.items())


FOLDERS = ("output_root", "extra_knowledge", "checkpoint_folder")
"""The parameters that are folders; `~` in them is the home folder."""


def _typed(owner: str, field: dataclasses.Field, value):
    """Return `value` as the field's type.

    papermill types what it is given loosely: `-p flag false` arrives as the text "false", YAML's
    `1e-4` as a text, too. What would lose something (2.5 epochs, a flag for a number) is refused.
    """
    wanted = field.type
    if wanted is bool and isinstance(value, bool | str) and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    # No path and no address may hold the zero byte.
    if wanted is str and isinstance(value, str) and "\0" not in value:
        return os.path.expanduser(value) if field.name in FOLDERS else value
    if wanted in (int, float) and not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):
            number = wanted(value)
            is_kept = number == value or not isinstance(value, float)
            # What is larger is no number to torch, and another one in the JSON of other languages.
            if math.isfinite(number) and is_kept and (wanted is float or abs(number) <= 2**53):
                return number
    raise ConfigError(
        f"{owner}.{field.name} must be of type {wanted.__name__}, found {shown(value)}."
    )


def shown(value) -> str:
    """Return a value in a line of an error message, however large it is."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 200
    try:
        return brief.repr(value)
    except ValueError:
        # Python writes no integer of thousands of digits.
        return "an integer of thousands of digits"


def nearest(name: str, known) -> str:
    """Return `; did you mean ...?` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


# The notebooks' settings.


@dataclass(frozen=True)
class DataConfig(_Settings):
    """Notebook 01: what records are made."""

    n_examples: int = setting(400, "records of train, val and test together", at_least=1)
    val_fraction: float = setting(0.10, "share of n_examples, 0 to 0.25", above=0, at_most=0.25)
    test_fraction: float = setting(0.05, "share of n_examples, 0 to 0.25", above=0, at_most=0.25)
    unseen_topics_per_area: int = setting(
        1, "topics of each area that are never taught, to test with; 0 teaches all", at_least=0
    )
    all_scores_fraction: float = setting(
        0.75, "share of the records that show, and use, all eight scores", at_least=0, at_most=1
    )
    extra_knowledge: str = setting(
        "", "folder of your topics, laid out as knowledge/golf_instruction"
    )
    jsonl: bool = setting(False, "True writes each file as JSON lines, too")
    seed: int = setting(123, "any integer; the same seed gives the same bytes")


@dataclass(frozen=True, repr=False)
class CheckpointConfig(_Settings):
    """Notebook 02: which GPT-2 is made or downloaded."""

    checkpoint_folder: str = setting(
        "", "folder with OpenAI's or transformers' files, needed for own"
    )
    backup_url: str = setting(
        "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2",
        "address asked where OpenAI's host fails; below it {size}/{file}",
    )
    more_urls: str = setting("", "more addresses, separated by spaces, asked last")
    seed: int = setting(123, "any integer; draws tiny's random weights")

    def __repr__(self):
        # An error may quote it.
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return without_secrets(f"{type(self).__name__}({values})")

    def __post_init__(self):
        super().__post_init__()
        if self.model_size == "own" and not self.checkpoint_folder:
            self._refuse("checkpoint_folder", "a folder, for model_size 'own'")


@dataclass(frozen=True)
class TrainConfig(_Settings):
    """Notebook 03: how the model is fine-tuned."""

    epochs: int = setting(2, "passes over the training records", at_least=1)
    batch_size: int = setting(8, "records per GPU and micro-batch", at_least=1)
    gradient_accumulation_steps: int = setting(
        1, "micro-batches whose gradients are added before the weights change", at_least=1
    )
    learning_rate: float = setting(5e-5, "AdamW's step size after the warm-up", above=0, below=1)
    schedule: str = setting(
        "constant", "how the rate goes on after the warm-up: constant, linear or cosine",
        choices=("constant", "linear", "cosine"),
    )  # fmt: skip
    final_learning_rate_fraction: float = setting(
        0.0, "share of learning_rate that linear and cosine reach in the last step",
        at_least=0, at_most=1,
    )  # fmt: skip
    warmup_steps: int = setting(0, "steps in which the rate rises from 0", at_least=0)
    weight_decay: float = setting(0.1, "AdamW's, per unit of learning_rate", at_least=0)
    beta2: float = setting(0.999, "AdamW's second beta; the first is 0.9", above=0, below=1)
    max_grad_norm: float = setting(0.0, "norm to clip gradients to; 0 never clips", at_least=0)
    mixed_precision: bool = setting(
        True, "FP16 on GPUs, bfloat16 on CPUs that have it; False trains in float32"
    )
    loss_on: str = setting(
        "all", "positions that count: all, or those of the response", choices=("all", "response")
    )
    context_length: int = setting(
        1024, "tokens; longer records are left out and counted", at_least=1
    )
    method: str = setting(
        "full", "full trains every weight, lora small additions to them", choices=("full", "lora")
    )
    lora_rank: int = setting(16, "rank of lora's additions", at_least=1)
    activation_checkpointing: bool = setting(
        False, "True computes blocks twice: a third more work, far less memory",
        free_on_resume=True,
    )  # fmt: skip
    strategy: str = setting(
        "auto", "several GPUs: dp, ddp or fsdp; auto is dp, and plain on one device",
        choices=("auto", "dp", "ddp", "fsdp"), free_on_resume=True,
    )  # fmt: skip
    eval_freq: int = setting(10, "steps between two measurements of the losses", at_least=1)
    eval_batches: int = setting(5, "batches averaged in each measurement", at_least=1)
    save_best: bool = setting(
        True, "keep the weights with the lowest validation loss; False, the last"
    )
    early_stopping_patience: int = setting(
        0, "measurements without a better validation loss that end the run; 0: none do", at_least=0
    )
    save_every: int = setting(
        0, "steps between two states to resume from; 0 leaves it to save_every_minutes",
        at_least=0, free_on_resume=True,
    )  # fmt: skip
    save_every_minutes: float = setting(
        10.0, "minutes between two states to resume from; 0 leaves it to save_every",
        at_least=0, free_on_resume=True,
    )  # fmt: skip
    max_minutes: float = setting(
        0.0, "minutes until the run pauses, for the next to go on; 0 never pauses",
        at_least=0, free_on_resume=True,
    )  # fmt: skip
    resume: bool = setting(
        True, "go on from this run's newest state; False deletes its states and begins anew",
        free_on_resume=True,
    )  # fmt: skip
    tensorboard: bool = setting(
        False, "True writes the log for TensorBoard, too", free_on_resume=True
    )
    seed: int = setting(123, "any integer; draws the order of the batches")

    def __post_init__(self):
        super().__post_init__()
        # Sharding needs one number format for all weights of a block; LoRA keeps its frozen ones
        # in half of it.
        if (self.method, self.strategy) == ("lora", "fsdp"):
            self._refuse("strategy", "'auto', 'dp' or 'ddp' with method 'lora'")


@dataclass(frozen=True)
class SampleConfig(_Settings):
    """Notebook 04: how the model answers."""

    # The longest of 12,000 right answers has 448 (benchmarks/results/2026-11-23_series.md).
    max_new_tokens: int = setting(512, "tokens of the longest answer", at_least=1)
    temperature: float = setting(
        0.7, "of sampled answers; 0 is greedy, as the evaluation is", at_least=0
    )
    top_k: int = setting(50, "likeliest tokens to draw from; 0 is all", at_least=0)
    top_p: float = setting(
        1.0, "share of the probability to draw from; 1 is all", above=0, at_most=1
    )
    batch_size: int = setting(16, "prompts answered at once", at_least=1)
    n_records: int = setting(200, "records of test and of unseen each; 0 is all", at_least=0)
    n_changed: int = setting(
        20, "test records whose request is changed, to see what becomes of the answer", at_least=1
    )
    n_shown: int = setting(3, "worst answers shown", at_least=1)
    max_attempts: int = setting(
        2, "attempts before the template answers: one greedy, the rest sampled", at_least=1
    )
    n_candidates: int = setting(8, "answers sampled together after a refused one", at_least=1)
    ollama_model: str = setting("llama3.2", "one more system, where OLLAMA_HOST is set")
    extra_knowledge: str = setting("", "folder of your topics, as notebook 01 was given it")
    seed: int = setting(123, "any integer; draws the sampled answers")


# `tiny` starts from random weights, so it needs more records, more steps and a schedule of its own.
# It learns from the answers alone: the scores in a prompt are random, so a loss on the prompts
# drowns the signal, and after the same time it had copied no score (measured, benchmarks/results/).
TINY_PRESET = {
    "DataConfig": {
        "n_examples": 3000, "val_fraction": 0.04, "test_fraction": 0.03,
    },
    "TrainConfig": {
        "epochs": 1, "batch_size": 4, "learning_rate": 2.5e-3, "warmup_steps": 100,
        "schedule": "linear", "final_learning_rate_fraction": 0.03, "beta2": 0.97,
        "max_grad_norm": 1.0, "loss_on": "response", "eval_freq": 100,
    },
    "SampleConfig": {"batch_size": 50, "n_records": 90},
}  # fmt: skip


# The parameters of a notebook, once it runs.

MORE = "more"
"""The variable of a parameters cell that holds, by name, the settings without a line there."""


def read(number: int, variables: Mapping) -> _Settings:
    """Return a notebook's config from its variables, `globals()`.

    A variable with the name of a setting is its value, whether it stands in the parameters cell or
    papermill injected it; the others are looked up in the dict `more`. A name in both is refused:
    whichever won, somebody would be wrong about what ran.

    Raises:
        ConfigError: a name is unknown or given twice, a value of the wrong type or out of range.
    """
    import torch

    names, more = declared(number), variables.get(MORE, {})
    if not isinstance(more, Mapping):
        raise ConfigError(
            f"`{MORE}` must be a dict of settings by their names, found {shown(more)}; "
            "papermill takes each setting by itself, -p seed 7."
        )
    unknown = {name: nearest(str(name), names) for name in more if name not in names}
    unknown |= _misspelt(variables.get("In", ()), names)
    for name, close in unknown.items():
        raise ConfigError(f"notebook {number:02} has no setting {shown(name)}{close}.")
    given = {name: variables[name] for name in names if variables.get(name) is not None}
    for name in more:
        if name in given and more[name] is not None:
            raise ConfigError(
                f"{name} is given twice: {shown(given[name])} as a variable, {shown(more[name])} "
                f"in `{MORE}`; take it out of `{MORE}`, or set {name} = None."
            )
    given |= {name: value for name, value in more.items() if value is not None}
    size = given.pop("model_size", "auto")
    size = resolve_model_size(size, has_gpu=torch.cuda.is_available())
    return CONFIGS[number].for_size(size, **given)


def _misspelt(cells: Iterable[str], names: list[str]) -> dict[str, str]:
    """Return {variable: what it resembles} of the last parameters cell and papermill's last.

    A misspelt setting would be a variable that nobody reads; papermill only warns, and of every
    name that the cell lacks. Those of other notebooks, as a file of parameters has them, may be
    there, and so may variables of one's own. `cells` is IPython's `In`.
    """
    found = {}
    for cell in cells:
        for mark in (f"{MORE} = ", "# Parameters\n"):
            if f"\n{mark}" in f"\n{cell}":
                found[mark] = cell
    known = {MORE} | {name for number in CONFIGS for name in declared(number)}
    resembled = {}
    for cell in found.values():
        with suppress(SyntaxError):
            for node in ast.walk(ast.parse(cell)):
                is_new = isinstance(node, ast.Name) and node.id not in known
                if is_new and isinstance(node.ctx, ast.Store) and nearest(node.id, names):
                    resembled[node.id] = nearest(node.id, names)
    return resembled


# The parameters of a run, before it begins.


class WithoutAliases:
    """Part of a YAML loader: no aliases, a few bytes of which can grow to gigabytes."""

    def compose_node(self, parent, index):
        """Refuse an alias at its line."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            wrong = "aliases (`*name`) are not allowed; write the value out"
            raise yaml.composer.ComposerError(None, None, wrong, mark)
        return super().compose_node(parent, index)


class _Loader(WithoutAliases, yaml.SafeLoader):
    """What papermill reads, but for aliases."""


CONFIGS = {1: DataConfig, 2: CheckpointConfig, 3: TrainConfig, 4: SampleConfig}
"""The config of each notebook; its fields are the notebook's parameters, in their order."""


def declared(number: int) -> list[str]:
    """Return the names of a notebook's parameters, in their order."""
    return [field.name for field in dataclasses.fields(CONFIGS[number])]


def read_parameters(path: Path) -> dict:
    """Read a YAML file of parameters, as papermill takes it by `-f`.

    Raises:
        OSError: the file cannot be read.
        ConfigError: it is no YAML of names and values, or a name is unknown or there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        reason = error.reason
        raise ConfigError(
            f"{path} is not encoded as UTF-8 ({reason}); save it as UTF-8."
        ) from error
    parameters = read_value(text, str(path))
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise ConfigError(
            f"{path} must have a line 'name: value' for each parameter, found {shown(parameters)}."
        )
    known = {name for number in CONFIGS for name in declared(number)}
    seen = set()
    # The mapping has only the last of two values for a name, and no line numbers; YAML's nodes do.
    for key, _ in yaml.compose(text, Loader=_Loader).value:
        place = f"{path}:{key.start_mark.line + 1}"
        name = key.value
        if name not in known:
            close = nearest(name, known)
            raise ConfigError(f"{place}: no notebook declares the parameter {name!r}{close}.")
        if name in seen:
            raise ConfigError(f"{place}: the parameter {name!r} is given twice; leave one of them.")
        seen.add(name)
    return parameters


def read_value(text: str, place: str):
    """Return what YAML 1.1 makes of `text`; an error names `place`, where the text stands.

    In YAML 1.1 a number needs a point before its exponent: `1e-4` is a text, which the configs
    turn into the number.

    Raises:
        ConfigError: the text is not YAML, holds an impossible date or number, an alias, or is
            nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is not valid YAML: {' '.join(str(error).split())}.") from error


def check_parameters(parameters: dict, numbers: Iterable[int], has_gpu: bool) -> None:
    """Refuse now what the notebooks `numbers` would refuse once they run.

    Each gets those of `parameters` that it declares.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """
    size = resolve_model_size(parameters.get("model_size", "auto"), has_gpu)
    for number in numbers:
        names = set(declared(number)) - {"model_size"}
        given = {name: value for name, value in parameters.items() if name in names}
        CONFIGS[number].for_size(size, **given)
