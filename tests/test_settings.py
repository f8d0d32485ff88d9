"""The settings: GPT-2's published sizes, the defaults that the design promises, and what is refused by name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS
from golf_nb_utils.settings import (
    GPT_CONFIGS,
    MODEL_SIZES,
    CheckpointConfig,
    ConfigError,
    DataConfig,
    GPTConfig,
    SampleConfig,
    TrainConfig,
    read_value,
    resolve_model_size,
)

REAL_SIZES = ("124M", "355M", "774M", "1558M")
CONFIGS = (DataConfig, CheckpointConfig, TrainConfig, SampleConfig)


# The counts that Hugging Face and OpenAI's erratum publish for gpt2, -medium, -large and -xl.
@pytest.mark.parametrize(
    ("size", "published"),
    [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080), ("1558M", 1_557_611_200)],
)
def test_a_size_has_the_published_number_of_parameters(size, published):
    assert GPT_CONFIGS[size].n_parameters == published


def test_the_area_keys_and_the_score_vector_are_the_apps_own():
    assert list(AREAS) == [
        "setup_quality",
        "tempo_rhythm",
        "weight_shift",
        "body_rotation",
        "followthrough",
        "balance",
    ]
    assert ALL_SCORES == (
        "setup_quality",
        "tempo_rhythm",
        "weight_shift",
        "body_rotation",
        "impact_quality",
        "followthrough",
        "balance",
        "consistency",
    )


@pytest.mark.parametrize("field", ["n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "12"])
def test_a_model_shape_that_is_no_positive_integer_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=rf"GPTConfig\.{field} .*{value!r}"):
        GPTConfig(**{field: value})


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match=r"n_embd \(100\).*n_head \(12\)"):
        GPTConfig(n_embd=100, n_head=12)


def test_auto_is_124M_with_a_gpu_and_tiny_without():
    assert resolve_model_size("auto", has_gpu=True) == "124M"
    assert resolve_model_size("auto", has_gpu=False) == "tiny"


@pytest.mark.parametrize("has_gpu", [True, False])
@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_a_size_that_is_named_is_taken_whatever_the_machine(size, has_gpu):
    assert resolve_model_size(size, has_gpu) == size


@pytest.mark.parametrize("size", ["7B", "124m", "", 124, None])
def test_an_unknown_size_is_refused_and_the_known_ones_are_listed(size):
    with pytest.raises(ConfigError) as caught:
        resolve_model_size(size, has_gpu=True)
    assert repr(size) in str(caught.value)
    assert all(known in str(caught.value) for known in ("auto", "tiny", *REAL_SIZES))


@pytest.mark.parametrize("has_gpu", [True, False])
def test_own_is_a_size_whose_shape_nobody_knows_before_it_is_there(has_gpu):
    assert resolve_model_size("own", has_gpu) == "own"
    assert set(MODEL_SIZES) - set(GPT_CONFIGS) == {"own"}
    with pytest.raises(ConfigError, match="own"):
        resolve_model_size("owm", has_gpu)


@pytest.mark.parametrize("config", [DataConfig, TrainConfig, SampleConfig])
def test_own_has_the_settings_of_the_gpt2_sizes(config):
    assert {**vars(config.for_size("own")), "model_size": ""} == {
        **vars(config.for_size("124M")),
        "model_size": "",
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda **given: CheckpointConfig(model_size="own", **given),
        lambda **given: CheckpointConfig.for_size("own", **given),
    ],
)
def test_own_needs_the_folder_that_it_comes_from(build):
    for given_nothing in ({}, {"checkpoint_folder": ""}):
        with pytest.raises(
            ConfigError, match=r"CheckpointConfig\.checkpoint_folder must be .*'own'"
        ):
            build(**given_nothing)
    assert build(checkpoint_folder="mein Modell").checkpoint_folder == "mein Modell"


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_no_other_size_needs_a_folder(size):
    assert CheckpointConfig.for_size(size).checkpoint_folder == ""


@pytest.mark.parametrize("size", REAL_SIZES)
def test_a_gpt2_size_is_trained_with_the_settings_the_design_promises(size):
    config = TrainConfig.for_size(size)
    assert (config.epochs, config.batch_size, config.learning_rate) == (2, 8, 5e-5)
    assert (config.weight_decay, config.beta2, config.mixed_precision) == (0.1, 0.999, True)
    assert (config.eval_freq, config.context_length, config.loss_on) == (10, 1024, "all")
    assert (config.schedule, config.warmup_steps) == ("constant", 0), "the learning rate is fixed"
    assert config.max_grad_norm == 0, "gradients are not clipped"
    assert (config.gradient_accumulation_steps, config.method, config.strategy) == (
        1,
        "full",
        "auto",
    )
    assert (
        config.activation_checkpointing,
        config.early_stopping_patience,
        config.max_minutes,
    ) == (False, 0, 0)


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_a_run_is_saved_every_ten_minutes_goes_on_where_it_was_and_keeps_its_best_weights(size):
    config = TrainConfig.for_size(size)
    assert (config.save_every, config.save_every_minutes, config.resume, config.save_best) == (
        0,
        10,
        True,
        True,
    )


def test_tiny_warms_up_and_falls_down_a_line_to_its_final_share():
    config = TrainConfig.for_size("tiny")
    assert (config.schedule, config.final_learning_rate_fraction) == ("linear", 0.03)
    assert config.warmup_steps > 0


def test_low_rank_additions_are_not_sharded():
    with pytest.raises(
        ConfigError,
        match=r"TrainConfig\.strategy must be 'auto', 'dp' or 'ddp' with method 'lora', found 'fsdp'",
    ):
        TrainConfig.for_size("124M", method="lora", strategy="fsdp")
    for strategy in ("auto", "dp", "ddp"):
        assert TrainConfig(method="lora", strategy=strategy).lora_rank == 16
    assert TrainConfig(method="full", strategy="fsdp").strategy == "fsdp"


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_every_schedule_is_known_by_name(schedule):
    assert TrainConfig.for_size("124M", schedule=schedule).schedule == schedule


@pytest.mark.parametrize("size", REAL_SIZES)
def test_a_gpt2_size_gets_400_examples_and_samples_at_0_7_from_the_top_50(size):
    assert DataConfig.for_size(size).n_examples == 400
    assert (DataConfig.for_size(size).val_fraction, DataConfig.for_size(size).test_fraction) == (
        0.10,
        0.05,
    )
    assert (SampleConfig.for_size(size).temperature, SampleConfig.for_size(size).top_k) == (0.7, 50)


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_a_model_may_write_the_longest_of_12_000_right_answers(size):
    # Counted with OpenAI's vocabulary, which is not in the repository; one in eleven has more than 400 tokens.
    assert SampleConfig.for_size(size).max_new_tokens >= 448


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_every_size_can_hold_the_context_it_is_trained_with(size):
    assert TrainConfig.for_size(size).context_length <= GPT_CONFIGS[size].n_ctx


@pytest.mark.parametrize("size", ["tiny", *REAL_SIZES])
def test_every_size_is_taught_all_of_the_knowledge_but_one_topic_an_area(size):
    config = DataConfig.for_size(size)
    assert config.unseen_topics_per_area == 1
    assert config.all_scores_fraction == 0.75
    assert (config.extra_knowledge, config.jsonl) == ("", False), (
        "nothing of the user's own, and JSON alone"
    )


def test_tiny_has_more_records_and_a_learning_rate_of_its_own():
    assert DataConfig.for_size("tiny").n_examples > 400
    assert TrainConfig.for_size("tiny").learning_rate > 5e-5


@pytest.mark.parametrize("size", ["tiny", "124M"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_parameter_that_is_none_takes_the_sizes_preset(config, size):
    preset = config.for_size(size)
    names = [name for name in vars(preset) if name != "model_size"]
    assert config.for_size(size, **dict.fromkeys(names)) == preset
    assert preset.model_size == size


def test_a_given_parameter_beats_the_preset_and_leaves_the_others_alone():
    given_one, preset = TrainConfig.for_size("tiny", batch_size=3), TrainConfig.for_size("tiny")
    assert given_one.batch_size == 3
    assert {**vars(given_one), "batch_size": preset.batch_size} == vars(preset)


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("False", False), ("true", True), ("TRUE", True)]
)
def test_papermills_text_for_a_flag_is_read_as_the_flag(text, value):
    assert TrainConfig.for_size("124M", mixed_precision=text).mixed_precision is value
    assert DataConfig.for_size("124M", jsonl=text).jsonl is value


@pytest.mark.parametrize("value", ["no", "", "0", 0, 1, 0.0])
def test_a_flag_that_is_neither_true_nor_false_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"TrainConfig\.mixed_precision .*bool"):
        TrainConfig.for_size("124M", mixed_precision=value)


def test_yamls_text_for_a_rate_in_scientific_notation_is_read_as_a_number():
    assert TrainConfig.for_size("124M", learning_rate="1e-4").learning_rate == 0.0001
    assert TrainConfig.for_size("124M", max_minutes="90").max_minutes == 90.0


def test_a_whole_number_written_as_float_is_accepted_where_an_integer_is_wanted():
    epochs = TrainConfig.for_size("124M", epochs=3.0).epochs
    assert (epochs, type(epochs)) == (3, int)


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_any_rate_survives_being_passed_as_text(rate):
    assert TrainConfig.for_size("124M", learning_rate=repr(rate)).learning_rate == rate


@given(st.integers(min_value=1, max_value=10**9))
def test_any_count_survives_being_passed_as_text_or_as_float(count):
    assert TrainConfig.for_size("124M", epochs=str(count)).epochs == count
    assert TrainConfig.for_size("124M", epochs=float(count)).epochs == count


@given(st.floats(min_value=1, max_value=1e9).filter(lambda number: not number.is_integer()))
def test_a_broken_number_is_never_rounded_to_a_count(number):
    for value in (number, repr(number)):
        with pytest.raises(ConfigError, match=r"TrainConfig\.epochs .*int"):
            TrainConfig.for_size("124M", epochs=value)


def test_two_and_a_half_epochs_are_refused_with_the_value():
    with pytest.raises(ConfigError, match=r"TrainConfig\.epochs must be of type int, found 2\.5"):
        TrainConfig.for_size("124M", epochs=2.5)


@given(st.text(max_size=20) | st.lists(st.integers(), max_size=2))
def test_whatever_is_passed_for_a_count_gives_a_count_or_a_refusal_by_name(value):
    try:
        epochs = TrainConfig.for_size("124M", epochs=value).epochs
    except ConfigError as error:
        outcome = str(error)
    else:
        outcome = (
            f"TrainConfig.epochs {epochs}"
            if type(epochs) is int and epochs >= 1
            else f"accepted {epochs!r}"
        )
    assert outcome.startswith("TrainConfig.epochs ")


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_for_a_number_is_refused_by_name(flag):
    for name in ("epochs", "weight_decay"):
        with pytest.raises(ConfigError, match=rf"TrainConfig\.{name} must be of type .*{flag}"):
            TrainConfig.for_size("124M", **{name: flag})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", math.nan, math.inf, -math.inf])
def test_a_rate_that_is_not_finite_is_refused_by_name(value):
    for name in ("learning_rate", "weight_decay", "max_grad_norm"):
        with pytest.raises(ConfigError, match=name):
            TrainConfig.for_size("124M", **{name: value})


@pytest.mark.parametrize("value", ["nan", "inf", math.nan])
def test_a_count_that_is_not_finite_is_refused_by_name(value):
    with pytest.raises(ConfigError, match="batch_size"):
        TrainConfig.for_size("124M", batch_size=value)


def test_a_number_for_a_text_is_refused():
    for name in ("output_root", "extra_knowledge"):
        with pytest.raises(ConfigError, match=rf"DataConfig\.{name} .*str"):
            DataConfig.for_size("124M", **{name: 5})


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (DataConfig, "n_examples", 0),
        (DataConfig, "n_examples", -400),
        (DataConfig, "val_fraction", 0.0),
        (DataConfig, "val_fraction", 0.5),
        (DataConfig, "test_fraction", 0.0),
        (DataConfig, "test_fraction", 1.0),
        (DataConfig, "unseen_topics_per_area", -1),
        (DataConfig, "all_scores_fraction", -0.1),
        (DataConfig, "all_scores_fraction", 1.1),
        (TrainConfig, "epochs", 0),
        (TrainConfig, "batch_size", 0),
        (TrainConfig, "batch_size", -8),
        (TrainConfig, "eval_freq", 0),
        (TrainConfig, "eval_batches", 0),
        (TrainConfig, "context_length", 0),
        (TrainConfig, "learning_rate", 0.0),
        (TrainConfig, "learning_rate", 1.0),
        (TrainConfig, "final_learning_rate_fraction", -0.1),
        (TrainConfig, "final_learning_rate_fraction", 1.1),
        (TrainConfig, "beta2", 1.0),
        (TrainConfig, "warmup_steps", -1),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "max_grad_norm", -1.0),
        (TrainConfig, "loss_on", "answer"),
        (TrainConfig, "gradient_accumulation_steps", 0),
        (TrainConfig, "schedule", "exponential"),
        (TrainConfig, "method", "qlora"),
        (TrainConfig, "lora_rank", 0),
        (TrainConfig, "strategy", "deepspeed"),
        (TrainConfig, "early_stopping_patience", -1),
        (TrainConfig, "save_every", -1),
        (TrainConfig, "save_every_minutes", -0.5),
        (TrainConfig, "max_minutes", -1.0),
        (SampleConfig, "max_new_tokens", 0),
        (SampleConfig, "batch_size", 0),
        (SampleConfig, "n_shown", 0),
        (SampleConfig, "temperature", -0.1),
        (SampleConfig, "top_k", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_on_either_way_in(config, name, value):
    for build in (config, lambda **parameters: config.for_size("124M", **parameters)):
        with pytest.raises(
            ConfigError, match=rf"{config.__name__}\.{name} must be .*found {value!r}"
        ):
            build(**{name: value})


def test_the_values_at_the_edge_of_a_range_are_accepted():
    TrainConfig(
        epochs=1,
        batch_size=1,
        eval_freq=1,
        eval_batches=1,
        context_length=1,
        final_learning_rate_fraction=0.0,
        weight_decay=0.0,
    )
    TrainConfig(
        final_learning_rate_fraction=1.0,
        gradient_accumulation_steps=1,
        lora_rank=1,
        save_every_minutes=0.0,
    )
    SampleConfig(temperature=0.0, top_k=0, max_new_tokens=1, batch_size=1, n_shown=1)
    DataConfig(n_examples=1, val_fraction=0.25, test_fraction=0.25, all_scores_fraction=0.0)
    DataConfig(unseen_topics_per_area=0, all_scores_fraction=1.0)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("learning_rat", "learning_rate"), ("batchsize", "batch_size"), ("epoch", "epochs")],
)
def test_a_misspelt_parameter_is_refused_with_the_nearest_right_one(wrong, right):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.for_size("124M", **{wrong: 1})
    assert f"{wrong!r}" in str(caught.value)
    assert f"did you mean {right!r}" in str(caught.value)


def test_a_parameter_like_no_other_is_refused_without_a_guess():
    with pytest.raises(ConfigError) as caught:
        TrainConfig.for_size("124M", xyzzy=None)
    assert "'xyzzy'" in str(caught.value)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_cannot_be_changed_once_it_is_checked(config):
    with pytest.raises(AttributeError):
        config().seed = -5


# What is told of settings.

SECRETS = "https://me:s3cret@host https://host/gpt2?sv=1&sig=s3cret"


def test_settings_are_shown_without_the_secrets_of_addresses():
    config = CheckpointConfig.for_size("124M", more_urls=SECRETS)
    assert config.more_urls == SECRETS
    assert str(config) == "defaults of 124M, but more_urls = 'https://host https://host/gpt2'"
    assert "more_urls='https://host https://host/gpt2', seed=123" in repr(config)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: CheckpointConfig.for_size("124M", more_urls=[SECRETS]),
        lambda: CheckpointConfig.for_size("124M", seed=SECRETS),
        lambda: CheckpointConfig.for_size(SECRETS),
        lambda: read_value(f"more_urls: [{SECRETS}", f"-p more_urls {SECRETS}"),
    ],
)
def test_what_is_refused_is_told_without_the_secrets_of_addresses(refused):
    with pytest.raises(ConfigError) as caught:
        refused()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "name"),
    [(DataConfig, "extra_knowledge"), (DataConfig, "output_root"), (CheckpointConfig, "checkpoint_folder"),
     (TrainConfig, "output_root"), (SampleConfig, "extra_knowledge")],
)  # fmt: skip
def test_in_a_folder_a_tilde_is_the_home_folder(monkeypatch, config, name):
    monkeypatch.setenv("HOME", "/home/jane")
    for folder, expected in {
        "~": "/home/jane", "~/my gpt2": "/home/jane/my gpt2", "a/~": "a/~", "": "", "~nobody-here/x": "~nobody-here/x",
    }.items():  # fmt: skip
        assert getattr(config.for_size("124M", **{name: folder}), name) == expected
    assert CheckpointConfig.for_size("124M", more_urls="~").more_urls == "~"
