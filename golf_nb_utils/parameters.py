"""The parameters of a run: read from a YAML file or the command line, and checked before a notebook runs."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import yaml

from golf_nb_utils.settings import (
    CheckpointConfig,
    ConfigError,
    DataConfig,
    SampleConfig,
    TrainConfig,
    nearest,
    resolve_model_size,
)

CONFIGS = {1: DataConfig, 2: CheckpointConfig, 3: TrainConfig, 4: SampleConfig}
"""The config that checks the parameters of each notebook; they are its fields, by the same names."""


def declared(number: int) -> list[str]:
    """Return the names of a notebook's parameters, in their order."""
    return [field.name for field in dataclasses.fields(CONFIGS[number])]


def read_parameters(path: Path) -> dict:
    """Read a YAML file of parameters, as papermill takes it by `-f`.

    Raises:
        OSError: the file cannot be read.
        ConfigError: it is no YAML of names and values, has a name twice, or one that no notebook declares.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not encoded as UTF-8 ({error.reason}); save it as UTF-8."
        ) from error
    parameters = read_value(text, str(path))
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise ConfigError(
            f"{path} must have a line 'name: value' for each parameter, found {parameters!r}."
        )
    known = {name for number in CONFIGS for name in declared(number)}
    seen = set()
    # The mapping has only the last of two values for a name, and no lines.
    for key, _ in yaml.compose(text, Loader=yaml.SafeLoader).value:
        place = f"{path}:{key.start_mark.line + 1}"
        if key.value not in known:
            raise ConfigError(
                f"{place}: no notebook declares the parameter {key.value!r}{nearest(key.value, known)}."
            )
        if key.value in seen:
            raise ConfigError(
                f"{place}: the parameter {key.value!r} is given twice; leave one of them."
            )
        seen.add(key.value)
    return parameters


def read_value(text: str, place: str):
    """Return what YAML 1.1 makes of `text`, which stands at `place`.

    A number needs a point before its exponent: `1e-4` is a text, which the configs turn into the number.

    Raises:
        ConfigError: the text is not YAML, or holds an impossible date or number.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{place} is not valid YAML: {' '.join(str(error).split())}.") from error


def check_parameters(parameters: dict, numbers: Iterable[int], has_gpu: bool) -> None:
    """Refuse now what the config cells of the notebooks `numbers` would refuse; each gets those of `parameters` that it declares.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """
    size = resolve_model_size(parameters.get("model_size", "auto"), has_gpu)
    for number in numbers:
        names = set(declared(number)) - {"model_size"}
        CONFIGS[number].for_size(
            size, **{name: value for name, value in parameters.items() if name in names}
        )
