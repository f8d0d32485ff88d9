"""Whatever a model is led to say is a text of the grammar, and what it chooses is what it finds likeliest."""

from itertools import pairwise

import pytest
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.gpt2.sampling import generate
from golf_nb_utils.gpt2.steering import Steerer
from golf_nb_utils.settings import GPTConfig

CONFIG = GPTConfig(n_vocab=257, n_ctx=96, n_embd=32, n_head=2, n_layer=2)
PROMPTS = [b"Balance?", b"A much longer question about tempo:", b"x"]
# {state: (text, state after it) pairs}: sentences that begin alike, one that another begins with,
# two ways to the same text, and an end that is a choice.
SMALL = {
    "start": [("Turn", "how"), ("Tempo", "how"), ("Turn slowly", "end"), ("T", "end")],
    "how": [(" well", "end"), (" well and", "more"), ("!", "end")],
    "more": [(" often.", None), (" calmly.", "end")],
    "end": [("", None), (" Rest.", None)],
    None: [("", None)],
}


def next_texts(graph):
    return lambda state: graph[state]


def language(graph, state="start"):
    """All texts of a graph without circles."""
    texts = set()
    for text, then in graph[state]:
        texts |= {text + rest for rest in language(graph, then)} if text else {""}
    return texts


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(CONFIG)


@pytest.fixture(scope="module")
def steerer(model, byte_tokenizer):
    return Steerer(model, byte_tokenizer)


def written(steerer, graph=SMALL, prompts=PROMPTS, **sampling):
    grammars = [(next_texts(graph), "start")] * len(prompts)
    return steerer.write([list(prompt) for prompt in prompts], grammars, **sampling)


def likeliest(model, prompt, texts):
    """The text of a finite set that greedy choices lead to: after every token the whole is read again."""
    ids = list(prompt)
    ended = {(*text.encode(), 256) for text in texts}
    said = []
    while said[-1:] != [256]:
        legal = sorted({text[len(said)] for text in ended if list(text[: len(said)]) == said})
        logits = model(torch.tensor([ids]))[0, -1]
        said.append(legal[int(logits[legal].argmax())])
        ids.append(said[-1])
    return bytes(said[:-1]).decode()


def test_greedy_choices_are_those_of_reading_everything_again(model, steerer):
    texts = language(SMALL)
    assert len(texts) == 18
    with torch.no_grad():
        expected = [likeliest(model, prompt, texts) for prompt in PROMPTS]
    assert [bytes(each.tokens).decode() for each in written(steerer)] == expected


def test_every_text_of_the_grammar_is_written_sooner_or_later_and_no_other(steerer):
    found = set()
    for seed in range(300):
        (each,) = written(steerer, prompts=PROMPTS[:1], temperature=50.0, seeds=[seed])
        found.add(bytes(each.tokens).decode())
    assert found == language(SMALL)


def test_a_row_writes_the_same_alone_and_in_company(steerer):
    together = written(steerer, temperature=3.0, seeds=[5, 6, 7])
    for row, prompt in enumerate(PROMPTS):
        (alone,) = written(steerer, prompts=[prompt], temperature=3.0, seeds=[5 + row])
        assert alone.tokens == together[row].tokens
        for own, other in zip(alone.choices, together[row].choices, strict=True):
            assert own.shares == pytest.approx(other.shares, abs=1e-4)


def test_candidates_share_the_reading_of_their_prompt(steerer):
    """Eight answers to one prompt cost its tokens once, and each is what its seed draws alone."""
    prompt, read = list(b"How is my balance at the end of it?"), []

    def count(module, args, _):
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == CONFIG.n_vocab:
            read.append(args[0].numel())

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        several = written(steerer, prompts=[prompt] * 8, temperature=3.0, seeds=range(8))
    finally:
        hook.remove()
    answers = sum(len(each.tokens) for each in several)
    assert len(prompt) + 8 <= sum(read) <= len(prompt) + 8 + answers
    for seed, each in enumerate(several):
        (alone,) = written(steerer, prompts=[prompt], temperature=3.0, seeds=[seed])
        assert alone.tokens == each.tokens


def test_a_choice_keeps_what_could_have_followed_and_how_likely_it_was(model, steerer):
    graph = {"start": [("say ", "more")], "more": [("ant", None), ("bee", None), ("big", None)]}
    (each,) = written(steerer, graph | {None: [("", None)]}, [b"ab"])
    with torch.no_grad():
        probabilities = model(torch.tensor([list(b"absay ")]))[0, -1].softmax(0)
    likely = probabilities[list(b"ab")]
    first = each.choices[0]
    assert (first.place, first.legal_mass) == (4, pytest.approx(float(likely.sum()), rel=1e-4))
    # "bee" stands for all that begin with its letter.
    assert [bytes(option) for option in first.options] == [b"ant", b"bee"]
    assert first.shares == pytest.approx((likely / likely.sum()).tolist(), rel=1e-4)
    for choice in each.choices:
        assert each.tokens[choice.place] == choice.options[choice.taken][0]
    assert each.legal_mass == sum(one.legal_mass for one in each.choices) / len(each.choices)


def test_a_small_top_p_leaves_the_likeliest_alone(steerer):
    greedy = written(steerer)
    for seed in range(10):
        drawn = written(steerer, temperature=2.0, top_p=1e-6, seeds=[seed] * 3)
        assert [each.tokens for each in drawn] == [each.tokens for each in greedy]


def test_a_stream_grows_to_what_is_written_and_is_right_at_every_moment(steerer):
    for prompt, each in zip(PROMPTS, written(steerer), strict=True):
        seen = [
            list(tokens) for tokens in steerer.stream(list(prompt), (next_texts(SMALL), "start"))
        ]
        assert seen[-1] == each.tokens
        for earlier, later in pairwise(seen):
            assert later[: len(earlier)] == earlier
        assert all(
            any(text.startswith(bytes(tokens).decode()) for text in language(SMALL))
            for tokens in seen
        )


def test_weights_that_are_not_numbers_choose_nothing(byte_tokenizer, random_model):
    model = random_model(CONFIG)
    with torch.no_grad():
        model.ln_f.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not numbers"):
        written(Steerer(model, byte_tokenizer))


def test_a_grammar_without_a_choice_asks_the_model_nothing(steerer):
    graph = {"start": [("Only this.", None)], None: [("", None)]}
    (each,) = written(steerer, graph, [b"?"])
    assert (bytes(each.tokens), each.choices, each.legal_mass) == (b"Only this.", [], 1.0)


def test_a_grammar_that_forces_all_but_one_token_agrees_with_free_writing(model, steerer):
    prompt = torch.tensor([list(b"Balance?")])
    free = generate(model, prompt, 1, eot_id=256)[0].tolist()
    letters = {"start": [(chr(code), None) for code in range(32, 127)], None: [("", None)]}
    (each,) = written(steerer, letters, [b"Balance?"])
    if free and 32 <= free[0] < 127:
        assert each.tokens == free
    assert len(each.tokens) == 1


def test_an_answer_beyond_the_context_is_cut_and_costs_the_others_nothing(steerer):
    long = {"start": [("a" * 60, "more")], "more": [("b", None), ("c", None)], None: [("", None)]}
    whole, cut, much = written(steerer, long, [b"x" * 36, b"y" * 37, b"z" * 97])
    assert whole.is_whole
    assert whole.tokens[-1] in b"bc"
    assert [(bytes(each.tokens), each.is_whole) for each in (cut, much)] == [(b"a" * 60, False)] * 2
    assert whole.tokens == written(steerer, long, [b"x" * 36])[0].tokens
    with pytest.raises(ValueError, match="97 tokens, the context has 96"):
        list(steerer.stream(list(b"y" * 37), (next_texts(long), "start")))
    with pytest.raises(ValueError, match="empty"):
        written(steerer, prompts=[b""])


GRAPHS = st.lists(
    st.lists(
        st.tuples(st.text("ab.", min_size=1, max_size=4), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(layers=GRAPHS, seed=st.integers(0, 9))
def test_of_any_graph_it_writes_a_text(steerer, layers, seed):
    graph = {None: [("", None)]}
    for place, layer in enumerate(layers):
        after = [place + jump if place + jump < len(layers) else None for _, jump in layer]
        graph[place] = [(text, then) for (text, _), then in zip(layer, after, strict=True)]
    graph["start"] = graph[0]
    (each,) = written(steerer, graph, [b"?"], temperature=5.0, seeds=[seed])
    assert bytes(each.tokens).decode() in language(graph)


def test_the_tokens_are_those_of_the_whole_text(knowledge, random_model, tmp_path):
    """With a learnt vocabulary and the answers to real requests."""
    from golf_nb_utils.golf.checks import Verifier
    from golf_nb_utils.golf.records import generate_records
    from golf_nb_utils.gpt2.tokenizer import learn_bpe, load_tokenizer
    from golf_nb_utils.settings import DataConfig

    records = generate_records(knowledge, DataConfig(n_examples=60))["train"]
    learn_bpe([record.output for record in records], 1500, tmp_path)
    tokenizer: tiktoken.Encoding = load_tokenizer(tmp_path)
    model = random_model(GPTConfig(n_vocab=1500, n_ctx=700, n_embd=32, n_head=2, n_layer=1))
    verifier = Verifier(knowledge)
    asked = [record.input for record in records[:24]]
    grammars = [verifier.book.grammar(verifier.request(text)) for text in asked]
    given_grammars = [(grammar.next_texts, grammar.start) for grammar in grammars]
    prompts = [tokenizer.encode("Coach me.")] * len(asked)
    for text, each in zip(
        asked, Steerer(model, tokenizer).write(prompts, given_grammars), strict=True
    ):
        answer = tokenizer.decode(each.tokens)
        assert tokenizer.encode(answer) == each.tokens
        assert verifier.verify(answer, text).passed


def test_how_likely_texts_are_to_follow_is_what_reading_each_of_them_whole_gives(model, steerer):
    prompt, texts = list(PROMPTS[1]), [" well", " well and", "!", " Rest."]
    found = steerer.log_probabilities(prompt, texts)
    for text, log in zip(texts, found, strict=True):
        ids = torch.tensor([[*prompt, *text.encode()]])
        with torch.no_grad():
            scores = model(ids).log_softmax(dim=2)[0, len(prompt) - 1 : -1]
        expected = scores.gather(1, ids[0, len(prompt) :, None]).sum()
        assert log == pytest.approx(float(expected), abs=1e-3)


def test_nothing_follows_an_empty_prompt(steerer):
    with pytest.raises(ValueError, match="empty"):
        steerer.log_probabilities([], ["x"])
