"""Sampling against transformers' generate, and one prompt at a time against many."""

import pytest
import torch

from golf_nb_utils.gpt2.sampling import (
    answer,
    cumulative_probabilities,
    generate,
    generate_batch,
    stream_batch,
)
from golf_nb_utils.settings import GPTConfig

CONFIG = GPTConfig(n_vocab=61, n_ctx=32, n_embd=24, n_head=4, n_layer=3)
NEVER = CONFIG.n_vocab - 1


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(CONFIG, seed=2)


@pytest.fixture(scope="module")
def twin(model, gpt2_twin):
    return gpt2_twin(model)


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randint(CONFIG.n_vocab - 1, (length,), generator=generator)
        for length in (7, 1, 12, 7, 20)
    ]


def greedy_of_transformers(twin, prompt, max_new_tokens, eot_id):
    """New tokens up to, and without, the first end-of-text."""
    ids = twin.generate(
        prompt[None], attention_mask=torch.ones_like(prompt[None]), do_sample=False,
        max_new_tokens=max_new_tokens, eos_token_id=eot_id, pad_token_id=eot_id,
    )  # fmt: skip
    new = ids[0, len(prompt) :].tolist()
    return new[: new.index(eot_id)] if eot_id in new else new


@pytest.fixture(scope="module")
def greedy(twin, prompts):
    """What transformers writes for each prompt when only the last id of the vocabulary ends a text."""
    return [greedy_of_transformers(twin, prompt, 10, NEVER) for prompt in prompts]


def as_lists(rows):
    return [row.tolist() for row in rows]


def test_greedy_equals_transformers(model, prompts, greedy):
    assert len({token for row in greedy for token in row}) > 5, (
        "this model repeats itself too much to be a test"
    )
    for prompt, expected in zip(prompts, greedy, strict=True):
        new = generate(model, prompt[None], max_new_tokens=10)
        assert new.dtype == torch.int64
        assert new.tolist() == [expected]


def test_prompts_of_different_length_share_a_batch_without_disturbing_each_other(
    model, prompts, greedy
):
    assert as_lists(generate_batch(model, prompts, max_new_tokens=10)) == greedy
    assert as_lists(generate_batch(model, prompts[::-1], max_new_tokens=10)) == greedy[::-1]


def test_each_row_stops_at_its_own_end_of_text_and_does_not_return_it(model, twin, prompts, greedy):
    # Tokens of the free-running answers, so that rows end at different steps, one of them at its very first.
    stops = [greedy[0][4], greedy[1][0], greedy[2][2]]
    n_new = set()
    for eot_id in stops:
        expected = [greedy_of_transformers(twin, prompt, 10, eot_id) for prompt in prompts]
        assert (
            as_lists(generate_batch(model, prompts, max_new_tokens=10, eot_id=eot_id)) == expected
        )
        # One by one too: nothing is left to do once the only row has ended.
        assert [
            generate(model, prompt[None], 10, eot_id=eot_id)[0].tolist() for prompt in prompts
        ] == expected
        n_new |= {len(row) for row in expected}
    assert {0, 10} <= n_new
    assert len(n_new) > 2


@pytest.mark.parametrize("max_new_tokens", [0, 1, 4])
def test_no_more_than_max_new_tokens_are_written(model, prompts, greedy, max_new_tokens):
    rows = as_lists(generate_batch(model, prompts, max_new_tokens))
    assert rows == [expected[:max_new_tokens] for expected in greedy]


@pytest.mark.parametrize("context_size", [21, 24, None, 1000])
def test_a_row_ends_when_the_context_is_full(model, twin, prompts, context_size):
    limit = min(context_size or CONFIG.n_ctx, CONFIG.n_ctx)
    rows = generate_batch(model, prompts, 100, context_size)
    for prompt, row in zip(prompts, rows, strict=True):
        ids = prompt.tolist()
        # The model reads at most `limit` tokens; the last one it writes is not read any more.
        with torch.inference_mode():
            while len(ids) <= limit:
                ids.append(int(twin(torch.tensor([ids])).logits[0, -1].argmax()))
        assert row.tolist() == ids[len(prompt) :]


def test_the_stream_yields_what_generate_returns_and_drops_rows_that_ended(model, prompts, greedy):
    eot_id = greedy[0][4]
    expected = as_lists(generate_batch(model, prompts, 10, eot_id=eot_id))
    steps = list(stream_batch(model, prompts, 10, eot_id=eot_id))
    assert [[step[row] for step in steps if row in step] for row in range(len(prompts))] == expected
    assert [set(step) for step in steps] == [
        {row for row, new in enumerate(expected) if len(new) > number}
        for number in range(len(steps))
    ]


def test_a_paused_stream_leaves_gradients_on_for_its_reader(model, prompts):
    stream = stream_batch(model, prompts, 3)
    next(stream)
    assert torch.is_grad_enabled()


def frequencies(model, prompt, **settings):
    """Shares of the vocabulary among the first tokens of 4000 samples."""
    rows = generate_batch(
        model, [prompt] * 4000, max_new_tokens=1, eot_id=NEVER, seed=11, **settings
    )
    return torch.bincount(torch.cat(rows), minlength=CONFIG.n_vocab) / 4000


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, 0, 1.0),
        (0.5, 0, 1.0),
        (3.0, 0, 1.0),
        (3.0, 5, 1.0),
        (1.5, CONFIG.n_vocab, 1.0),
        (1.5, 10_000, 1.0),
        (3.0, 0, 0.5),
    ],
)
def test_samples_follow_the_softmax_of_the_scaled_and_cut_logits(
    model, twin, prompts, temperature, top_k, top_p
):
    with torch.inference_mode():
        logits = twin(prompts[0][None]).logits[0, -1] / temperature
    kept = logits.argsort(descending=True)[: top_k or CONFIG.n_vocab]
    larger = logits[kept].softmax(0).cumsum(0) - logits[kept].softmax(0)
    kept = kept[larger < top_p]
    expected = torch.zeros(CONFIG.n_vocab)
    expected[kept] = logits[kept].softmax(0)
    found = frequencies(model, prompts[0], temperature=temperature, top_k=top_k, top_p=top_p)
    # An end-of-text ends a row and is not returned.
    expected[NEVER] = 0
    # Five standard errors of a share of 4000 draws.
    assert (found - expected).abs().max() < 5 * (0.25 / 4000) ** 0.5
    assert found[expected == 0].sum() == 0


def test_temperature_zero_is_greedy_whatever_top_k_and_seed_say(model, prompts, greedy):
    assert as_lists(generate_batch(model, prompts, 10, temperature=0.0, top_k=7, seed=4)) == greedy


def test_one_token_to_choose_from_is_greedy_at_any_temperature(model, prompts, greedy):
    assert as_lists(generate_batch(model, prompts, 10, temperature=2.5, top_k=1)) == greedy


def test_the_same_seed_draws_the_same_sample(model, prompts):
    settings = {"max_new_tokens": 10, "temperature": 2.0, "top_k": 40}
    samples = []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        torch.manual_seed(noise)
        samples.append(as_lists(generate_batch(model, prompts, seed=seed, **settings)))
    assert samples[0] == samples[1] != samples[2]


SAMPLED = {"temperature": 2.0, "top_k": 40, "top_p": 0.95}


def test_a_row_draws_the_same_alone_and_in_any_company(model, prompts):
    settings = {"max_new_tokens": 10, "eot_id": -1} | SAMPLED
    alone = [
        generate(model, prompt[None], seed=5 + row, **settings)[0].tolist()
        for row, prompt in enumerate(prompts)
    ]
    assert as_lists(generate_batch(model, prompts, seed=5, **settings)) == alone
    assert (
        as_lists(generate_batch(model, prompts[::-1], seed=[9, 8, 7, 6, 5], **settings))
        == alone[::-1]
    )
    # Rows end at different steps, and the others go on as if they had not been there.
    eot_id = alone[2][3]
    cut = [row[: row.index(eot_id)] if eot_id in row else row for row in alone]
    assert len({len(row) for row in cut}) > 1
    assert as_lists(generate_batch(model, prompts, seed=5, **settings | {"eot_id": eot_id})) == cut


def test_a_longer_answer_begins_with_the_shorter_one_of_the_same_seed(model, prompts):
    assert as_lists(generate_batch(model, prompts, 4, seed=5, **SAMPLED)) == [
        row[:4].tolist() for row in generate_batch(model, prompts, 10, seed=5, **SAMPLED)
    ]


def test_samples_of_one_prompt_in_one_batch_differ(model, prompts):
    assert (
        len(
            {
                tuple(row)
                for row in as_lists(generate_batch(model, prompts[:1] * 6, 10, seed=5, **SAMPLED))
            }
        )
        == 6
    )


def test_each_step_draws_anew(random_model):
    model = random_model(CONFIG, seed=2)
    with torch.no_grad():
        model.ln_f.weight.zero_()
        model.ln_f.bias.zero_()
    # Every token is as likely as any other, at every step.
    row = generate(
        model, torch.ones(1, 2, dtype=torch.int64), 20, temperature=1.0, eot_id=-1, seed=1
    )[0].tolist()
    assert len(set(row)) > 10


def test_without_a_seed_torchs_own_decides(model, prompts):
    samples = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        samples.append(as_lists(generate_batch(model, prompts, 10, **SAMPLED)))
    assert samples[0] == samples[1] != samples[2]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(
    ("top_k", "top_p"), [(0, 1.0), (7, 1.0), (0, 0.6), (12, 0.8), (1000, 0.9), (0, 1e-9), (1, 0.5)]
)
def test_what_may_be_drawn_is_what_transformers_leaves(temperature, top_k, top_p):
    from transformers import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = 3 * torch.randn(4, 300, generator=torch.Generator().manual_seed(1))
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    expected = warpers(torch.zeros(4, 1, dtype=torch.int64), logits).softmax(dim=-1)
    cumulative, token_ids = cumulative_probabilities(logits, temperature, top_k, top_p)
    found = (cumulative / cumulative[:, -1:]).diff(dim=-1, prepend=torch.zeros(4, 1))
    assert torch.equal(
        torch.zeros(4, 300).scatter(1, token_ids, found.float()) > 1e-9, expected > 1e-9
    )
    torch.testing.assert_close(
        torch.zeros(4, 300, dtype=torch.float64).scatter(1, token_ids, found).float(), expected
    )


def test_a_temperature_next_to_zero_is_greedy_and_not_a_division_by_it(model, prompts, greedy):
    assert as_lists(generate_batch(model, prompts, 10, temperature=1e-300, seed=1)) == greedy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": value}, f"temperature is {value}; expected")
        for value in (-0.1, float("nan"), float("inf"))
    ]
    + [
        ({"top_p": value}, f"top_p is {value}; expected")
        for value in (0.0, -0.5, 1.01, float("nan"))
    ]
    + [
        ({"top_k": -1}, "top_k is -1; expected 0 or more"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1; expected 0 or more"),
    ],
)
def test_a_setting_outside_its_range_is_refused(model, prompts, settings, message):
    with pytest.raises(ValueError, match=message):
        generate_batch(model, prompts, **{"max_new_tokens": 5, "temperature": 1.0} | settings)


@pytest.mark.parametrize(
    ("length", "context_size"), [(0, None), (32, None), (40, None), (12, 12), (1, 1), (3, 0)]
)
def test_an_empty_prompt_and_one_that_fills_the_context_are_refused(
    model, prompts, length, context_size
):
    with pytest.raises(ValueError, match=f"prompt 0 has {length} tokens; expected 1 to"):
        generate(model, torch.zeros(1, length, dtype=torch.int64), 5, context_size)


def test_the_refused_prompt_is_named(model, prompts):
    with pytest.raises(ValueError, match="prompt 5 has 0 tokens; expected 1 to 31"):
        generate_batch(model, [*prompts, prompts[0][:0]], 5)


def test_several_rows_are_refused_where_one_is_asked_for(model):
    with pytest.raises(ValueError, match="found 2 rows; use generate_batch"):
        generate(model, torch.ones(2, 3, dtype=torch.int64), 5)


def test_no_prompts_give_no_answers(model):
    assert generate_batch(model, [], 5) == []
    assert list(stream_batch(model, [], 5)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generation_leaves_the_model_as_it_was(random_model, prompts, dtype):
    model = random_model(CONFIG, seed=4).to(dtype)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    logits = model(prompts[0][None])
    new = generate_batch(model, prompts, 10)
    assert torch.equal(model(prompts[0][None]), logits)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    # The weights of today, not those of an earlier call.
    with torch.no_grad():
        model.wte.weight.copy_(model.wte.weight.flip(0))
    assert as_lists(generate_batch(model, prompts, 10)) != as_lists(new)


def test_bfloat16_writes_the_likeliest_tokens_of_its_own_uncached_pass(random_model, prompts):
    model = random_model(CONFIG, seed=2).to(torch.bfloat16)
    for prompt, row in zip(prompts, generate_batch(model, prompts, 10), strict=True):
        with torch.no_grad():
            logits = model(torch.cat((prompt, row))[None])[0, len(prompt) - 1 : -1].float()
        # Rounded to 8 bits, in another order of additions: near the top, not always the top.
        assert (
            logits.max(dim=-1).values - logits.gather(1, row[:, None])[:, 0]
        ).max() < 0.05 * logits.std()


def test_under_autocast_the_answers_are_those_of_autocast(model, prompts):
    with torch.autocast("cpu", torch.bfloat16):
        for prompt, row in zip(prompts, generate_batch(model, prompts, 10), strict=True):
            with torch.no_grad():
                logits = model(torch.cat((prompt, row))[None])[0, len(prompt) - 1 : -1].float()
            assert (
                logits.max(dim=-1).values - logits.gather(1, row[:, None])[:, 0]
            ).max() < 0.05 * logits.std()


def test_weights_that_are_no_numbers_raise_nothing(random_model, prompts):
    model = random_model(CONFIG, seed=2)
    with torch.no_grad():
        model.ln_f.weight.fill_(float("nan"))
    assert len(generate_batch(model, prompts, 3, seed=1, temperature=1.0)) == len(prompts)


def test_answers_come_in_the_order_of_the_prompts(random_model, byte_tokenizer):
    model = random_model(GPTConfig(n_vocab=257, n_ctx=400, n_embd=16, n_head=2, n_layer=2), seed=1)
    prompts = [
        "Area: balance, at length and with more words",
        "Area: setup",
        "Area: weight_shift",
        "A",
        "Area: followthrough",
    ]
    answers = answer(model, byte_tokenizer, prompts, max_new_tokens=6, batch_size=2)
    alone = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt.encode())])
        alone.append(
            bytes(generate(model, ids, 6, eot_id=256)[0].tolist()).decode(errors="replace")
        )
    assert answers == alone
    assert len(set(answers)) > 1


def test_an_answer_does_not_depend_on_the_batch_size(random_model, byte_tokenizer):
    model = random_model(GPTConfig(n_vocab=257, n_ctx=400, n_embd=16, n_head=2, n_layer=2), seed=1)
    prompts = [f"Area: {'x' * (7 * number % 5)}" for number in range(5)]
    settings = {"max_new_tokens": 6, "temperature": 1.5, "top_k": 100, "top_p": 0.9, "seed": 3}
    answers = [
        answer(model, byte_tokenizer, prompts, batch_size=size, **settings) for size in (1, 2, 5)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == 5
