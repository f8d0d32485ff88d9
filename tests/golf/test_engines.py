"""What other engines write under our grammar is right: by llama.cpp itself for GBNF, by jsonschema for the JSON schema."""

import json
import random
import re
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from judge import Judge
from llama_server import exported, llama_server
from schema_values import fitting, resolved
from some_requests import some_request

from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.engines import gbnf, joined, json_schema, requests_to_engines, token_gbnf
from golf_nb_utils.golf.grammar import Either, Grammar, Maybe, Row, Say
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.steering import Steerer
from golf_nb_utils.gpt2.tokenizer import load_tokenizer
from golf_nb_utils.prompt import format_input
from golf_nb_utils.settings import GPTConfig

SEEDS = st.integers(0, 2**32 - 1)
# Whatever a notation may have to escape, with forms of each kind.
AWKWARD = Grammar(
    Row((
        Say((("", 'say "this"'), ("", "back\\slash"), ("", "[a] | b?"))),
        Either(("\n", "\t\u00e9\u2013\U0001f3cc"), (1.0, 0.0)),
        Maybe(Row((Say((("", "$1 {2}"),)), "/")), 0.5),
        "end",
    ))
)  # fmt: skip
TEXTS_OF_AWKWARD = {
    first + then + more + "end"
    for first in ('say "this"', "back\\slash", "[a] | b?")
    for then in ("\n", "\t\u00e9\u2013\U0001f3cc")
    for more in ("", "$1 {2}/")
}


@pytest.fixture(scope="module")
def book(knowledge):
    return GrammarBook(knowledge)


@pytest.fixture(scope="module")
def judge(knowledge):
    return Judge(knowledge)


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(GPTConfig(n_vocab=1500, n_ctx=2048, n_embd=32, n_head=2, n_layer=1))


@pytest.fixture(scope="module")
def gguf_file(model, tmp_path_factory):
    """A model that knows nothing, exported as we export ours."""
    return exported(tmp_path_factory.mktemp("llama"), model, "f32")


@pytest.fixture(scope="module")
def server(gguf_file):
    """The address of llama.cpp's server."""
    with llama_server(gguf_file) as address:
        yield address


@pytest.fixture(scope="module")
def tokenizer(gguf_file):
    return load_tokenizer(gguf_file.parent.parent)


def written(server, body):
    """The text that llama.cpp answers to the body of a request."""
    reply = requests.post(f"{server}/completion", json=body, timeout=60)
    assert reply.ok, reply.text
    return reply.json()["content"]


@pytest.fixture(scope="module")
def llama(server):
    """A function that lets llama.cpp write under a grammar."""

    def write(grammar, seed, temperature=1.0):
        asked = {"prompt": "Coach me.", "n_predict": 2000, "grammar": gbnf(grammar), "seed": seed}
        # By default it leaves out what is unlikely.
        sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        return written(server, asked | sampling)

    return write


# GBNF. The schema is not tried with this llama.cpp: its wheel leaves JSON schemas to LLGuidance, which ends
# some constant texts too early. llama.cpp's own converter, which Ollama uses, is in no wheel.


def test_what_llama_cpp_writes_under_the_grammar_is_right(llama, book, judge, knowledge):
    rng, seen = random.Random(5), set()
    for seed in range(48):
        request = some_request(rng, knowledge)
        if seed % 12 == 0:
            request = request.said("my back hurts")
        grammar = book.grammar(request)
        text = llama(grammar, seed)
        assert grammar.read(text).text == text
        assert judge.why_wrong(text, request) == "", (request, text)
        named = "named" if book.fault_of(request) else "not named"
        scores = "all scores" if request.all_scores else "own score"
        seen |= {named, scores, request.hand, request.level, request.severity, request.is_scored}
        seen |= {book.kind_of(request), request.minutes}
    assert seen == {
        "named", "not named", "all scores", "own score", "left", "right", None, "beginner", "intermediate", "advanced",
        "none", "slight", "clear", "large", True, False, 5, 15, 40,
        "keep", "fault", "follow_up", "unclear", "outcome", "other_area", "refer",
    }  # fmt: skip


def test_the_snippet_of_the_page_for_apps_gets_a_right_answer(
    server, judge, knowledge, pytestconfig
):
    page = (pytestconfig.rootpath / "docs" / "app.md").read_text(encoding="utf-8")
    snippet = re.search(
        r"^## Inside Ollama and llama.cpp\n.*?^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    )[1]
    names = {"coach": SimpleNamespace(knowledge=knowledge)}
    exec(compile(snippet, "docs/app.md", "exec"), names)
    request = Request("balance", 0.45, 0.8)
    assert judge.why_wrong(names["completion"](request, server), request) == ""


def test_held_to_its_own_tokens_an_exported_model_writes_what_our_coach_would(
    server, model, tokenizer, book, judge, knowledge
):
    rng, steerer = random.Random(2), Steerer(model, tokenizer)
    drawn = [some_request(rng, knowledge) for _ in range(12)]
    asked = [request for request in drawn if request.is_scored]
    assert len(asked) > 5
    for request in asked:
        grammar = book.grammar(request)
        bodies = requests_to_engines(request, grammar, "golf", tokenizer.encode_ordinary)
        text = written(server, bodies["llama_cpp_request.json"])
        assert judge.why_wrong(text, request) == ""
        prompt = tokenizer.encode_ordinary(format_input(request.entry()))
        (ours,) = steerer.write([prompt], [(grammar.next_texts, grammar.start)])
        assert text == tokenizer.decode(ours.tokens)


def test_a_grammar_of_tokens_has_every_text_and_no_other(server, tokenizer):
    grammar = token_gbnf(AWKWARD, tokenizer.encode_ordinary)
    asked = {"prompt": "Coach me.", "grammar": grammar, "temperature": 10.0}
    asked |= {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert {written(server, asked | {"seed": seed}) for seed in range(150)} == TEXTS_OF_AWKWARD


def test_llama_cpp_writes_every_text_of_a_grammar_and_no_other(llama):
    written = {llama(AWKWARD, seed, temperature=10.0) for seed in range(150)}
    assert written == TEXTS_OF_AWKWARD


# The JSON schema.


def cuts(schema, root, text, place=0):
    """Yield (value, place) for each value that fits a schema and whose texts stand in a text from a place on, to the next place."""
    schema = resolved(schema, root)
    if "anyOf" in schema:
        for form in schema["anyOf"]:
            yield from cuts(form, root, text, place)
    elif "prefixItems" in schema:
        yield from rows(schema["prefixItems"], root, text, place)
    else:
        for said in schema.get("enum") or [schema["const"]]:
            if text.startswith(said, place):
                yield said, place + len(said)


def rows(parts, root, text, place):
    if not parts:
        yield [], place
        return
    for value, after in cuts(parts[0], root, text, place):
        for rest, end in rows(parts[1:], root, text, after):
            yield [value, *rest], end


def cut(schema, text):
    return next(value for value, end in cuts(schema, schema, text) if end == len(text))


def arrays(value):
    """Every array in a value, itself included."""
    if isinstance(value, list):
        yield value
        for part in value:
            yield from arrays(part)


def case(book, knowledge, seed):
    """A request, its schema, a validator of it, and a value that fits, cut from a drawn answer."""
    rng = random.Random(seed)
    request = some_request(rng, knowledge)
    grammar = book.grammar(request)
    schema = json_schema(grammar)
    text = grammar.draw(rng).text
    return rng, request, schema, Draft202012Validator(schema), text, cut(schema, text)


@given(seed=SEEDS)
def test_a_drawn_answer_fits_the_schema_once_it_is_cut_and_joined_gives_it_back(
    book, knowledge, seed
):
    _, _, _, validator, text, value = case(book, knowledge, seed)
    assert validator.is_valid(value)
    assert joined(json.dumps(value)) == text
    assert joined(json.dumps(value, ensure_ascii=False, indent=4)) == text


@given(seed=SEEDS)
def test_whatever_fits_the_schema_is_a_right_answer(book, judge, knowledge, seed):
    rng, request, schema, validator, _, _ = case(book, knowledge, seed)
    value = fitting(schema, rng)
    assert validator.is_valid(value)
    assert judge.why_wrong(joined(json.dumps(value)), request) == ""


def another_sentence(book, request, rng, array, place):
    others = [entry.text(request.hand) for entry in book.index.values() if entry.kind == "ideal"]
    array[place] = rng.choice([text for text in others if text != array[place]])


def a_missing_part(book, request, rng, array, place):
    del array[place]


def a_part_too_many(book, request, rng, array, place):
    array.append(array[place])


def another_number(book, request, rng, array, place):
    # Beyond the figures of any score, line or item.
    array[place] = f"{array[place]} {rng.randint(101, 999)}"


def another_character(book, request, rng, array, place):
    kept = array[place][:-1]
    array[place] = kept + rng.choice([sign for sign in "?a " if kept + sign != array[place]])


def no_text(book, request, rng, array, place):
    array[place] = rng.choice([None, 7, {}, {"text": array[place]}, True, [array[place]]])


MUTANTS = (
    another_sentence,
    a_missing_part,
    a_part_too_many,
    another_number,
    another_character,
    no_text,
)


@pytest.mark.parametrize("mutate", MUTANTS)
@given(seed=SEEDS)
def test_a_changed_value_does_not_fit_the_schema(book, knowledge, mutate, seed):
    rng, request, _, validator, _, value = case(book, knowledge, seed)
    places = [
        (array, place)
        for array in arrays(value)
        for place, part in enumerate(array)
        if isinstance(part, str)
    ]
    mutate(book, request, rng, *rng.choice(places))
    assert not validator.is_valid(value)


def test_the_schema_has_only_what_llama_cpp_converts(book):
    """In its converter `items` hides `prefixItems`, and in older ones a `$ref` hides the `$defs` beside it."""
    for area in AREAS:
        schema = json_schema(book.grammar(Request(area, 0.45, 0.8)))
        Draft202012Validator.check_schema(schema)
        assert schema.keys() == {"anyOf", "$defs"}
        kinds = {frozenset(each) for each in [*schema["$defs"].values(), *schema["anyOf"]]}
        assert kinds <= {
            frozenset(keys)
            for keys in (
                ("enum",),
                ("anyOf",),
                ("$ref",),
                ("type", "prefixItems", "minItems", "maxItems"),
            )
        }


def test_the_schema_of_awkward_texts_holds_each_of_them():
    schema = json_schema(AWKWARD)
    rng = random.Random(0)
    drawn = {joined(json.dumps(fitting(schema, rng))) for _ in range(300)}
    assert drawn == TEXTS_OF_AWKWARD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Sure! Here is your feedback:\nWHAT", "'Sure! Here is your feedback:"), ("", "found ''"), ('["WHAT SHOULD', "WHAT SHOULD"),
        ("7", "found 7"), ("null", "found None"), ('["a", {"b": "c"}]', "found {'b': 'c'}"), ('[["a", [true]]]', "found True"),
        ("[" * 100_000, "recursion"), ("[" * 5000 + "]" * 5000, "recursion"),
    ],
)  # fmt: skip
def test_what_is_no_text_and_no_array_of_texts_is_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")) as error:
        joined(text)
    assert str(error.value).startswith("an answer ")
    assert len(str(error.value)) < 200
