"""Every number that a run depends on: the model sizes and the validated settings of each notebook.

The parameters of a notebook are the fields of its config, by the same names. A parameter that is None takes the
preset of the model size: the class defaults are those of the GPT-2 sizes, TINY_PRESET holds what differs for `tiny`.
"""

import dataclasses
import difflib
import math
from dataclasses import dataclass


class ConfigError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of range."""


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
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})."
            )

    @property
    def n_parameters(self) -> int:
        """Parameters with the tied head counted once."""
        per_layer = 12 * self.n_embd**2 + 13 * self.n_embd
        return (
            (self.n_vocab + self.n_ctx) * self.n_embd + self.n_layer * per_layer + 2 * self.n_embd
        )


GPT_CONFIGS = {
    "tiny": GPTConfig(n_vocab=2048, n_ctx=1024, n_embd=256, n_head=4, n_layer=2),
    "124M": GPTConfig(),
    "355M": GPTConfig(n_embd=1024, n_head=16, n_layer=24),
    "774M": GPTConfig(n_embd=1280, n_head=20, n_layer=36),
    "1558M": GPTConfig(n_embd=1600, n_head=25, n_layer=48),
}
MODEL_SIZES = (*GPT_CONFIGS, "own")
"""`own` is a GPT-2 that the user brings, of any shape; its hparams.json says which."""


def resolve_model_size(model_size: str, has_gpu: bool) -> str:
    """Turn `auto` into `124M` with a GPU and `tiny` without; return any other known size as it is.

    Raises:
        ConfigError: the size is unknown.
    """
    if model_size == "auto":
        return "124M" if has_gpu else "tiny"
    if model_size not in MODEL_SIZES:
        raise ConfigError(
            f"unknown model_size {model_size!r}; expected one of auto, {', '.join(MODEL_SIZES)}."
        )
    return model_size


AT_LEAST_1 = ("at least 1", lambda value: value >= 1)
ZERO_OR_MORE = ("0 or more", lambda value: value >= 0)
BETWEEN_0_AND_1 = ("between 0 and 1", lambda value: 0 < value < 1)
SHARE = ("between 0 and 1", lambda value: 0 <= value <= 1)


def one_of(*choices: str) -> tuple:
    """Return what `setting` takes for a field that is one of a few words."""
    *most, last = map(repr, choices)
    return f"{', '.join(most)} or {last}", lambda value: value in choices


def setting(default, allowed: tuple | None = None, free_on_resume: bool = False):
    """Return a config's field with all that is to be said of it, so that it is said in one place.

    `allowed` is (what the error says is expected, a function that tells whether a value is that).
    `free_on_resume` marks what a resumed run may have otherwise, as the weights come out the same.
    """
    about = {"free_on_resume": free_on_resume} | ({"allowed": allowed} if allowed else {})
    return dataclasses.field(default=default, metadata=about)


class _Settings:
    """What the configs of the notebooks share: presets, types, and the refusal of unknown names."""

    @classmethod
    def for_size(cls, model_size: str, **parameters):
        """Build the config of a resolved size from a notebook's parameters; None takes the size's preset.

        Strings are read as papermill passes them (`"false"`, `"1e-4"`).

        Raises:
            ConfigError: a name is unknown, a value has the wrong type or is out of range.
        """
        if model_size not in MODEL_SIZES:
            raise ConfigError(
                f"unknown model_size {model_size!r}; expected one of {', '.join(MODEL_SIZES)}."
            )
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = dict(TINY_PRESET.get(cls.__name__, {})) if model_size == "tiny" else {}
        for name, value in parameters.items():
            if name not in fields:
                raise ConfigError(
                    f"{cls.__name__} has no parameter {name!r}{nearest(name, fields)}."
                )
            if value is not None:
                values[name] = _typed(cls.__name__, fields[name], value)
        return cls(model_size=model_size, **values)

    def _check_fields(self) -> None:
        """Refuse what a field's own `allowed` (see `setting`) does not hold for."""
        for field in dataclasses.fields(self):
            expected, holds = field.metadata.get("allowed", ("", lambda value: True))
            self._require(field.name, holds(getattr(self, field.name)), expected)

    def _require(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise ConfigError(
                f"{type(self).__name__}.{name} must be {expected}, found {getattr(self, name)!r}."
            )


def nearest(name: str, known) -> str:
    """Return `; did you mean ...?` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _typed(owner: str, field: dataclasses.Field, value):
    wanted = field.type if isinstance(field.type, type) else type(field.default)
    error = ConfigError(f"{owner}.{field.name} must be of type {wanted.__name__}, found {value!r}.")
    if wanted is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise error
        return value
    if wanted is str:
        if not isinstance(value, str):
            # papermill reads `-p model_size 124` as a number.
            raise error
        return value
    if isinstance(value, bool):
        raise error
    try:
        number = wanted(value)
        finite = math.isfinite(number)
    except (TypeError, ValueError, OverflowError):
        raise error from None
    if not finite or (isinstance(value, float) and number != value):
        raise error
    return number


@dataclass(frozen=True)
class DataConfig(_Settings):
    """Notebook 01: what records are made."""

    model_size: str = "124M"
    n_examples: int = 400
    """Records over train, val and test; the records of unseen topics come on top."""
    val_fraction: float = 0.10
    test_fraction: float = 0.05
    unseen_topics_per_area: int = 1
    """Topics of each area that are kept for the file of unseen topics; 0 teaches them all."""
    topics_per_area: int = 0
    """Topics of each area that are taught; 0 is all of them."""
    phrasings: int = 0
    """Phrasings of an item that are used; 0 is all of them. The sentences that carry the scores always have all of theirs."""
    all_scores_fraction: float = 0.75
    """Share of the records whose input shows all eight scores and whose answer uses them."""
    extra_knowledge: str = ""
    """Folder of one's own topic files, in the layout of knowledge/golf_instruction."""
    jsonl: bool = False
    """Write each file as JSON lines, too."""
    seed: int = 123
    output_root: str = ""
    """Folder that holds experimental/; empty means the host's own (see environment.output_root)."""

    def __post_init__(self):
        self._require("n_examples", self.n_examples >= 1, "at least 1")
        self._require("val_fraction", 0 < self.val_fraction <= 0.25, "above 0 and at most 0.25")
        self._require("test_fraction", 0 < self.test_fraction <= 0.25, "above 0 and at most 0.25")
        for name in ("unseen_topics_per_area", "topics_per_area", "phrasings"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("all_scores_fraction", 0 <= self.all_scores_fraction <= 1, "between 0 and 1")


@dataclass(frozen=True)
class CheckpointConfig(_Settings):
    """Notebook 02: which GPT-2 is made or downloaded."""

    model_size: str = "124M"
    backup_url: str = "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2"
    """Used when the official host fails."""
    more_urls: str = ""
    """Further hosts, separated by spaces, asked after the backup; each has {size}/{file} below it."""
    checkpoint_folder: str = ""
    """Folder that has the files already: OpenAI's seven, or a GPT-2 as transformers saves it; `own` needs it."""
    seed: int = 123
    """Draws tiny's random weights; the GPT-2 sizes have none to draw."""
    output_root: str = ""

    def __post_init__(self):
        self._require(
            "checkpoint_folder",
            self.model_size != "own" or self.checkpoint_folder != "",
            "a folder, for model_size 'own'",
        )


@dataclass(frozen=True)
class TrainConfig(_Settings):
    """Notebook 03: how the model is fine-tuned."""

    model_size: str = "124M"
    epochs: int = setting(2, AT_LEAST_1)
    batch_size: int = setting(8, AT_LEAST_1)
    """Records per GPU and micro-batch."""
    gradient_accumulation_steps: int = setting(1, AT_LEAST_1)
    """Micro-batches whose gradients are added before the weights change."""
    learning_rate: float = setting(5e-5, BETWEEN_0_AND_1)
    schedule: str = setting("constant", one_of("constant", "linear", "cosine"))
    """How the rate goes on after the warm-up: `constant`, `linear` or `cosine`."""
    final_learning_rate_fraction: float = setting(0.0, SHARE)
    """The share of learning_rate that `linear` and `cosine` reach in the last step."""
    warmup_steps: int = setting(0, ZERO_OR_MORE)
    weight_decay: float = setting(0.1, ZERO_OR_MORE)
    beta2: float = setting(0.999, BETWEEN_0_AND_1)
    """AdamW's second beta; the first is 0.9."""
    max_grad_norm: float = setting(0.0, ZERO_OR_MORE)
    """Gradients are clipped to this norm; 0 means no clipping."""
    mixed_precision: bool = True
    loss_on: str = setting("all", one_of("all", "response"))
    """`all` positions, or the `response` alone."""
    context_length: int = setting(1024, AT_LEAST_1)
    method: str = setting("full", one_of("full", "lora"))
    """`full` trains every weight, `lora` low-rank additions to the matrices of the blocks."""
    lora_rank: int = setting(16, AT_LEAST_1)
    activation_checkpointing: bool = setting(False, free_on_resume=True)
    """Blocks are computed again in the backward pass instead of being kept: a third more work, far less memory."""
    strategy: str = setting("auto", one_of("auto", "dp", "ddp", "fsdp"), free_on_resume=True)
    """`auto` (one device: plain, several GPUs: dp), `dp`, `ddp` or `fsdp`."""
    eval_freq: int = setting(10, AT_LEAST_1)
    """Steps between two measurements of train and validation loss."""
    eval_batches: int = setting(5, AT_LEAST_1)
    """Batches averaged in each such measurement."""
    save_best: bool = True
    """The weights with the lowest validation loss are what is saved in the end, not the last ones."""
    early_stopping_patience: int = setting(0, ZERO_OR_MORE)
    """Training ends after so many evaluations without a better validation loss; 0 means never."""
    save_every: int = setting(0, ZERO_OR_MORE, free_on_resume=True)
    """Steps between two states to resume from; 0 leaves it to save_every_minutes."""
    save_every_minutes: float = setting(10.0, ZERO_OR_MORE, free_on_resume=True)
    """Minutes between two states to resume from; 0 leaves it to save_every."""
    max_minutes: float = setting(0.0, ZERO_OR_MORE, free_on_resume=True)
    """After so many minutes of this run the state is saved and training ends, to be continued by the next run; 0 means never."""
    resume: bool = setting(True, free_on_resume=True)
    """Go on from the newest state of the same run; False begins anew and deletes what is there."""
    tensorboard: bool = setting(False, free_on_resume=True)
    """Write the points of the log for TensorBoard, too."""
    seed: int = 123
    output_root: str = setting("", free_on_resume=True)

    def __post_init__(self):
        self._check_fields()
        # Sharding needs one number format for all weights of a block; LoRA keeps its frozen ones in half of it.
        self._require(
            "strategy",
            (self.method, self.strategy) != ("lora", "fsdp"),
            "'auto', 'dp' or 'ddp' with method 'lora'",
        )


@dataclass(frozen=True)
class SampleConfig(_Settings):
    """Notebook 04: how the model answers."""

    model_size: str = "124M"
    max_new_tokens: int = 512
    """The longest of 12,000 right answers has 448 tokens in GPT-2's vocabulary (benchmarks/results/2026-11-23_series.md)."""
    temperature: float = 0.7
    """0 is greedy; the evaluation is always greedy, so that it can be repeated."""
    top_k: int = 50
    top_p: float = 1.0
    """Share of the probability that is drawn from, its likeliest tokens; 1 is all."""
    batch_size: int = 16
    """Prompts answered at once."""
    n_records: int = 200
    """Records of the test set, and as many of the unseen topics, that are evaluated; 0 is all."""
    n_changed: int = 20
    """Test records whose request is changed in each way, to see what becomes of the answer."""
    n_shown: int = 3
    """Worst answers shown."""
    max_attempts: int = 2
    """How often answers are written before the template is taken: once greedily, then in candidates."""
    n_candidates: int = 8
    """Answers sampled together after a refused one."""
    ollama_model: str = "llama3.2"
    """A further system, where OLLAMA_HOST is set."""
    extra_knowledge: str = ""
    """The folder of one's own topic files that notebook 01 was given; without it what the model learnt from them is refused."""
    seed: int = 123
    output_root: str = ""

    def __post_init__(self):
        for name in (
            "max_new_tokens",
            "batch_size",
            "n_shown",
            "n_changed",
            "max_attempts",
            "n_candidates",
        ):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("temperature", "top_k", "n_records"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("top_p", 0 < self.top_p <= 1, "above 0 and at most 1")


# `tiny` starts from random weights, so it needs more records, steps and a schedule of its own. It learns from the answers
# alone: with a loss on the prompts too, whose scores nothing predicts, it had copied no score after the same time
# (measured, benchmarks/results/).
TINY_PRESET = {
    "DataConfig": {
        "n_examples": 9000, "val_fraction": 0.03, "test_fraction": 0.02,
        "topics_per_area": 1, "phrasings": 1, "all_scores_fraction": 0.15,
    },
    "TrainConfig": {
        "epochs": 1, "batch_size": 4, "learning_rate": 2.5e-3, "warmup_steps": 100, "schedule": "linear",
        "final_learning_rate_fraction": 0.03,
        "beta2": 0.97, "max_grad_norm": 1.0, "loss_on": "response", "eval_freq": 100,
    },
    "SampleConfig": {"batch_size": 50, "n_records": 90},
}  # fmt: skip
