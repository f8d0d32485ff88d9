"""The memory plan against the peaks of real steps in small shapes, and against arithmetic for GPT-2's sizes."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import GPT_CONFIGS, ConfigError, GPTConfig, TrainConfig
from golf_nb_utils.training import memory
from golf_nb_utils.training.state import save_state
from golf_nb_utils.training.step import make_optimizer

N_124M, N_1558M = (
    124_439_808,
    1_557_611_200,
)  # parameters as OpenAI's repository and transformers count them
CPU = torch.device("cpu")
# In each of them another part is the most: activations of many blocks, the logits, the weights, activations of the block at work.
SHAPES = {
    "deep": (GPTConfig(n_vocab=300, n_ctx=320, n_embd=64, n_head=2, n_layer=4), 1, 300),
    "head": (GPTConfig(n_vocab=6001, n_ctx=64, n_embd=64, n_head=2, n_layer=1), 18, 60),
    "wide": (GPTConfig(n_vocab=500, n_ctx=64, n_embd=256, n_head=4, n_layer=3), 1, 40),
    "long": (GPTConfig(n_vocab=100, n_ctx=128, n_embd=64, n_head=2, n_layer=2), 6, 120),
    "tiny": (GPT_CONFIGS["tiny"], 1, 100),
}
SETTINGS = {
    "full": {},
    "recomputed": {"activation_checkpointing": True},
    "accumulated": {"gradient_accumulation_steps": 2},
    "recomputed-accumulated": {"activation_checkpointing": True, "gradient_accumulation_steps": 2},
    "lora": {"method": "lora"},
    "lora-recomputed": {"method": "lora", "activation_checkpointing": True},
}


@pytest.fixture(scope="module")
def benchmark(pytestconfig):
    """The module benchmarks/memory.py, whose `measure` takes a step and returns its peak."""
    specification = importlib.util.spec_from_file_location(
        "benchmark_of_memory", pytestconfig.rootpath / "benchmarks" / "memory.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def planned(size="124M", n_devices=1, dtype=torch.float16, length=330, **settings):
    return memory.plan(
        GPT_CONFIGS[size], TrainConfig(model_size=size, **settings), length, n_devices, dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_plan_of_a_step_agrees_with_its_measured_peak(shape, settings, dtype, benchmark):
    config, batch_size, length = shape
    training = TrainConfig(batch_size=batch_size, lora_rank=4, **settings)
    measured = benchmark.measure(config, training, length, Devices(CPU, (), ("cpu",), dtype, ""))
    assert memory.plan(config, training, length, 1, dtype).total == pytest.approx(
        measured, rel=0.07
    )


@pytest.mark.parametrize("settings", ["full", "recomputed", "accumulated"])
def test_a_gpus_formats_are_planned_as_measured_where_a_cpu_has_them_too(settings, benchmark):
    # Slow on a CPU, so the shape is the smallest. LoRA is left out: on a GPU alone autocast computes layer norms in fp32.
    config = GPTConfig(n_vocab=1001, n_ctx=64, n_embd=32, n_head=2, n_layer=3)
    training = TrainConfig(batch_size=3, **SETTINGS[settings])
    measured = benchmark.measure(
        config, training, 50, Devices(CPU, (), ("cpu",), torch.float16, "")
    )
    assert memory.plan(config, training, 50, 1, torch.float16).total == pytest.approx(
        measured, rel=0.07
    )


def test_the_measured_peak_is_what_was_alive_at_once_and_not_the_sum(benchmark):
    before = torch.zeros(1000)

    def step():
        for _ in range(3):
            (before.repeat(500) + 1).sum()

    assert benchmark.measured_peak(step, CPU) == pytest.approx(2 * 500 * before.nbytes, rel=0.01)


def test_full_training_keeps_16_bytes_a_weight_and_lora_little_more_than_the_frozen_half():
    at_the_end = planned().moments["optimizer"]
    assert (at_the_end["weights"], at_the_end["gradients"]) == (4 * N_124M, 4 * N_124M)
    assert (at_the_end["optimizer"], sum(at_the_end.values())) == (8 * N_124M, 16 * N_124M)
    # Rank 16 beside c_attn (768 -> 2304), c_proj (768 -> 768), c_fc (768 -> 3072) and c_proj (3072 -> 768), in 12 blocks.
    added = 12 * 16 * (768 + 2304 + 768 + 768 + 768 + 3072 + 3072 + 768)
    assert sum(planned(method="lora").moments["optimizer"].values()) == 2 * N_124M + 16 * added


@pytest.mark.parametrize(
    ("strategy", "bytes_a_weight"), [("auto", 20), ("dp", 20), ("ddp", 20), ("fsdp", 8)]
)
def test_over_two_gpus_gradients_are_there_twice_or_everything_is_halved(strategy, bytes_a_weight):
    parts = planned("1558M", n_devices=2, strategy=strategy, batch_size=1, length=1).moments[
        "end of backward"
    ]
    # Nothing but the tokens' activations, the embedding's second gradient and FSDP's whole root group come on top.
    root = 4 * (50257 + 1024 + 2) * 1600
    on_top = sum(parts.values()) - bytes_a_weight * N_1558M
    assert 0 <= on_top <= (3.1 * root if strategy == "fsdp" else 1.1 * root)


def test_a_strategy_for_several_gpus_changes_nothing_on_one():
    assert planned(strategy="fsdp") == planned(strategy="ddp") == planned()


def test_autocasts_copies_are_there_in_the_forward_pass_only_for_the_backward_pass():
    blocks = 2 * 12 * 12 * 768**2  # FP16, four matrices of 12 n_embd^2 weights in 12 blocks
    for moment in ("end of forward", "start of backward"):
        assert planned().moments[moment]["autocast copies"] == blocks
        assert planned(activation_checkpointing=True).moments[moment]["autocast copies"] == 0
    assert planned(dtype=torch.float32).moments["end of forward"]["autocast copies"] == 0


def test_a_text_longer_than_the_context_is_refused():
    planned(length=1024)
    with pytest.raises(ConfigError, match=r"between 1 and n_ctx \(1024\), found 1025"):
        planned(length=1025)


def test_devices_are_known_by_name():
    assert memory.named_devices("1xT4") == (1, 14.5 * 2**30)
    assert memory.named_devices("2xT4") == (2, 14.5 * 2**30)


@pytest.mark.parametrize("name", ["T4", "0xT4", "2xT40", "2xP100", "2 x T4", ""])
def test_other_names_of_devices_are_refused(name):
    with pytest.raises(ConfigError, match="2xT4"):
        memory.named_devices(name)


def test_the_usable_memory_of_a_cpu_is_what_is_free_of_main_memory():
    import psutil

    n_devices, capacity = memory.usable_memory(Devices(CPU, (), ("cpu",), torch.float32, ""))
    assert n_devices == 1
    assert 0 < capacity < psutil.virtual_memory().total


def test_a_plan_fits_up_to_its_last_byte():
    plan = planned()
    assert memory.fits(plan, plan.total)
    assert not memory.fits(plan, plan.total - 1)


def least_capacity(n_devices=2, **settings):
    return planned("355M", n_devices, batch_size=settings.pop("batch_size", 8), **settings).total


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({}, {}),
        ({"activation_checkpointing": True}, {"activation_checkpointing": True}),
        ({"strategy": "fsdp"}, {"strategy": "fsdp"}),
        (
            {"strategy": "fsdp", "activation_checkpointing": True},
            {"strategy": "fsdp", "activation_checkpointing": True},
        ),
        (
            {"method": "lora", "activation_checkpointing": True},
            {"method": "lora", "activation_checkpointing": True},
        ),
    ],
)
def test_the_proposal_changes_no_more_than_it_must(settings, changed):
    training = TrainConfig(model_size="355M", batch_size=8)
    found, sentence = memory.proposal(
        GPT_CONFIGS["355M"], training, 330, 2, torch.float16, least_capacity(**settings)
    )
    assert found == replace(training, **changed)
    assert all(f"{name}={value!r}" in sentence for name, value in changed.items())


def test_before_lora_the_batch_is_cut_and_a_step_keeps_its_records():
    training = TrainConfig(model_size="124M", batch_size=6, gradient_accumulation_steps=2)
    cut = {"activation_checkpointing": True, "batch_size": 4, "gradient_accumulation_steps": 3}
    # Five records would fit, too, but do not divide twelve.
    capacity = planned(length=1024, **{**cut, "batch_size": 5}).total
    found, _ = memory.proposal(GPT_CONFIGS["124M"], training, 1024, 1, torch.float16, capacity)
    assert found == replace(training, **cut)


def test_where_nothing_fits_the_proposal_says_so():
    found, sentence = memory.proposal(
        GPT_CONFIGS["1558M"], TrainConfig(model_size="1558M"), 330, 1, torch.float16, 2**30
    )
    assert found is None
    assert "of 1.0 GiB" in sentence


@settings(max_examples=40)
@given(
    size=st.sampled_from(["124M", "355M", "774M", "1558M"]),
    levers=st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 12),
            "gradient_accumulation_steps": st.integers(1, 4),
            "method": st.sampled_from(["full", "lora"]),
            "activation_checkpointing": st.booleans(),
        }
    ),
    strategy=st.sampled_from(["auto", "dp", "ddp", "fsdp"]),
    length=st.integers(1, 1024),
    n_devices=st.integers(1, 3),
    capacity=st.integers(2**30, 2**35),
)
def test_whatever_is_proposed_fits_and_keeps_the_records_of_a_step(
    size, levers, strategy, length, n_devices, capacity
):
    if levers["method"] == "lora" and strategy == "fsdp":
        strategy = "auto"
    training = TrainConfig(model_size=size, strategy=strategy, **levers)
    found, _ = memory.proposal(
        GPT_CONFIGS[size], training, length, n_devices, torch.float16, capacity
    )
    if found is None:
        assert not memory.fits(
            planned(size, n_devices, length=length, **levers, strategy=strategy), capacity
        )
    else:
        assert memory.fits(
            memory.plan(GPT_CONFIGS[size], found, length, n_devices, torch.float16), capacity
        )
        records = found.batch_size * found.gradient_accumulation_steps
        assert records == training.batch_size * training.gradient_accumulation_steps


def test_the_description_names_the_fullest_moment_its_largest_part_and_whether_it_fits():
    plan = planned("774M", 2)
    text = memory.describe(plan, memory.T4_BYTES, 2)
    peak = plan.moments[plan.fullest]
    largest = sorted(peak, key=peak.get)[-1]
    assert text.startswith(f"{sum(peak.values()) / 2**30:.2f} GiB in the moment '{plan.fullest}'")
    assert f"{peak[largest] / 2**30:.2f} of them {largest}: " in text
    assert text.endswith("does not fit into the 14.50 GiB of each of 2 devices")
    assert memory.describe(planned(), memory.T4_BYTES).endswith(
        ": fits into the 14.50 GiB of the device"
    )


@pytest.mark.parametrize("save_best", [True, False])
def test_the_disk_space_of_a_run_is_that_of_the_files_it_writes(save_best, tmp_path):
    training = TrainConfig(save_best=save_best)
    model = GPTModel(GPT_CONFIGS["tiny"])
    optimizer = make_optimizer(model, training)
    model(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    optimizer.step()
    weights = model.state_dict()
    state = {"weights": weights, "moments": optimizer.state_dict()}
    for step in (1, 2):
        save_state(tmp_path, step, state, {}, (step, weights) if save_best else None)
    two_states = sum(path.stat().st_size for path in tmp_path.iterdir())
    save_state(tmp_path, 3, {"weights": weights, "moments": {}}, {})
    torch.save(weights, tmp_path / "result.pth")
    in_the_end = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert memory.disk_bytes(GPT_CONFIGS["tiny"], training) == pytest.approx(
        max(two_states, in_the_end), rel=0.02
    )


def test_lora_writes_only_what_it_trains_and_one_whole_result():
    added = 12 * 16 * 16 * 768
    assert (
        memory.disk_bytes(GPT_CONFIGS["124M"], TrainConfig(method="lora"))
        == (12 + 4) * added + 4 * added + 4 * N_124M
    )


def test_without_states_a_run_of_1558m_fits_into_kaggles_20_gb():
    config = GPT_CONFIGS["1558M"]
    assert memory.disk_bytes(config, TrainConfig()) == 2 * 16 * config.n_parameters
    assert (
        memory.disk_bytes(config, TrainConfig(save_every_minutes=0))
        == 2 * 4 * config.n_parameters
        < 20e9
    )
    assert (
        memory.disk_bytes(config, TrainConfig(save_every_minutes=0, max_minutes=60))
        == 2 * 16 * config.n_parameters
    )


def test_main_memory_holds_a_state_with_the_best_weights_or_each_workers_base_model():
    config = GPT_CONFIGS["124M"]
    assert memory.host_bytes(config, TrainConfig(), 2) == 16 * N_124M
    assert memory.host_bytes(config, TrainConfig(save_every_minutes=0), 2) == 8 * N_124M
    assert (
        memory.host_bytes(config, TrainConfig(save_best=False, strategy="ddp"), 4)
        == (16 + 4) * N_124M
    )
    assert (
        memory.host_bytes(config, TrainConfig(method="lora", strategy="ddp"), 2) == (8 + 4) * N_124M
    )
