"""Low-rank additions: alone trained, alone saved, and merged into a model that is a plain GPT-2 again."""

import copy
import math

import pytest
import torch
import toy_runs
from torch.nn import functional as F
from toy_runs import GPT, cpu, fresh_model, loader

from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training.lora import add_lora, merge_lora, n_trained
from golf_nb_utils.training.step import make_optimizer

MATRICES = [
    f"h.{layer}.{name}"
    for layer in range(2)
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
]


def lora_model(rank=4, dtype=torch.float32, seed=3):
    model = fresh_model()
    add_lora(model, rank, dtype, seed)
    return model


def additions(model):
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def frozen(model):
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture
def run(tmp_path):
    return lambda model, **given: toy_runs.train(
        tmp_path, model, method="lora", lora_rank=4, **{"learning_rate": 3e-2, **given}
    )


@pytest.fixture
def trained(run):
    """A model whose additions were trained, and its history."""
    return run(lora_model())


def test_every_matrix_of_the_blocks_gets_an_addition_of_the_rank_and_nothing_else_is_trained():
    model = lora_model(rank=4)
    named = {name.rsplit(".", 3)[0] for name in additions(model)}
    assert named == set(MATRICES)
    # Rank times (inputs + outputs), for widths 16 -> 48, 16 -> 16, 16 -> 64 and 64 -> 16.
    assert n_trained(model) == 2 * 4 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))
    assert {parameter.dtype for parameter in additions(model).values()} == {torch.float32}
    assert n_trained(fresh_model()) == sum(
        parameter.numel() for parameter in fresh_model().parameters()
    )


def test_before_training_the_additions_change_no_logit():
    input_ids = torch.arange(16)[None]
    with torch.inference_mode():
        assert torch.equal(lora_model()(input_ids), fresh_model()(input_ids))


def test_the_seed_draws_the_additions():
    assert_same(additions(lora_model(seed=3)), additions(lora_model(seed=3)))
    assert any(
        not torch.equal(one, other)
        for one, other in zip(
            *(additions(lora_model(seed=seed)).values() for seed in (3, 4)), strict=True
        )
    )


def test_the_frozen_weights_are_kept_in_the_format_asked_for():
    model = lora_model(dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in frozen(model).values()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in additions(model).values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_changes_the_additions_and_no_bit_of_the_base(run, dtype):
    model = lora_model(dtype=dtype)
    before, base = additions(model), frozen(model)
    _, history = run(model, devices=cpu(dtype), epochs=4, learning_rate=3e-3)
    assert history.train_loss[-1] < history.train_loss[0]
    assert_same(frozen(model), base)
    assert not [
        name for name, addition in additions(model).items() if torch.equal(addition, before[name])
    ]


def test_a_layers_output_is_the_frozen_one_plus_twice_the_product_of_its_additions(trained):
    model, _ = trained
    layer, x = model.h[1].mlp.c_fc, torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = F.linear(x, layer.base_layer.weight, layer.base_layer.bias) + 2 * x @ down.T @ up.T
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def test_the_merged_model_is_a_plain_gpt2_with_the_logits_of_the_one_that_was_trained(trained):
    model, _ = trained
    input_ids = torch.randint(23, (4, 16), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(input_ids)
        merged = merge_lora(model, fresh_model())
        torch.testing.assert_close(merged(input_ids), expected, atol=1e-5, rtol=1e-5)
        assert (fresh_model()(input_ids) - expected).abs().max() > 0.01, (
            "the additions do something"
        )
    assert list(merged.state_dict()) == list(fresh_model().state_dict())
    GPTModel(GPT).load_state_dict(merged.state_dict())
    changed = {
        name
        for name, weight in merged.state_dict().items()
        if not torch.equal(weight, fresh_model().state_dict()[name])
    }
    assert changed == {f"{name}.weight" for name in MATRICES}


def test_merging_into_a_base_in_fp32_loses_nothing_to_the_format_of_the_frozen_weights(run):
    model, _ = run(lora_model(dtype=torch.bfloat16), devices=cpu(torch.bfloat16))
    merged = merge_lora(model, fresh_model())
    assert {weight.dtype for weight in merged.state_dict().values()} == {torch.float32}
    for name in MATRICES:
        layer = model.get_submodule(name)
        with torch.no_grad():
            expected = (
                fresh_model().get_parameter(f"{name}.weight")
                + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            )
        torch.testing.assert_close(
            merged.get_parameter(f"{name}.weight").detach(), expected, atol=1e-7, rtol=1e-6
        )


def test_merging_leaves_the_trained_model_as_it_is(trained):
    model, _ = trained
    before = copy.deepcopy(model.state_dict())
    merge_lora(model, fresh_model())
    assert_same(dict(model.state_dict()), dict(before))


class PowerCut(BaseException):
    """Nothing in the code under test expects it."""


def test_a_cut_run_goes_on_to_the_same_additions(run, tmp_path):
    whole, history = toy_runs.train(
        tmp_path / "uncut", lora_model(), method="lora", lora_rank=4, learning_rate=3e-2
    )

    def cut(history, loss):
        if history.n_steps == 8:
            raise PowerCut

    with pytest.raises(PowerCut):
        run(lora_model(), calls={"on_step": cut}, save_every=3)
    resumed, its_history = run(lora_model())
    assert its_history.events[0][0] == 6
    assert its_history.val_loss == history.val_loss
    assert_same(additions(resumed), additions(whole))


def test_the_best_additions_are_what_comes_back(run):
    model, kept = lora_model(), {}
    note = {"on_evaluation": lambda history: kept.update({history.n_steps: additions(model)})}
    _, history = run(model, learning_rate=0.9, eval_freq=1, calls=note)
    assert history.best_step < 12
    assert_same(additions(model), kept[history.best_step])


def test_a_state_holds_the_additions_and_their_moments_alone(run, tmp_path):
    model, _ = run(lora_model(), save_every=10)
    earlier, last = (
        torch.load(tmp_path / "states" / f"state-000000{step}.pt", weights_only=True)
        for step in (10, 12)
    )
    assert list(earlier["weights"]) == list(additions(model))
    assert set(earlier["moments"]["state"]) == set(additions(model))
    assert_same(last["weights"], additions(model))
    for best in (tmp_path / "states").glob("best-*.pt"):
        assert list(torch.load(best, weights_only=True)) == list(additions(model))


def test_weight_decay_acts_on_the_additions():
    optimizer = make_optimizer(lora_model(), TrainConfig(method="lora", weight_decay=0.3))
    assert [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups] == [
        (2 * len(MATRICES), 0.3)
    ]


def test_activation_checkpointing_trains_the_same_additions(run):
    results = [
        additions(run(lora_model(), activation_checkpointing=on, resume=False)[0])
        for on in (False, True)
    ]
    assert_same(*results)


def test_additions_learn_a_few_records_by_heart(run, random_model):
    model, records = random_model(GPT), loader(n_records=6, batch_size=3)
    add_lora(model, 4, torch.float32, 3)
    _, history = run(model, train_loader=records, val_loader=records, epochs=60, eval_freq=100)
    # Half of a blind guess among 23 tokens.
    assert history.train_loss[-1] < math.log(23) / 2
