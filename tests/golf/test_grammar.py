"""A grammar draws and reads one set of texts, which small ones let a test write out in full."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.grammar import (
    Answer,
    Either,
    Grammar,
    GrammarError,
    Maybe,
    Row,
    Say,
    choices,
    either,
)

# Of few letters, so that one sentence begins like another and two ways through a graph meet in one text.
WORDS = st.text("ab.", min_size=1, max_size=2)
SENTENCES = st.lists(WORDS, min_size=1, max_size=3, unique=True)


@st.composite
def says(draw):
    return Say(tuple((f"{draw(st.integers(0, 99))}", text) for text in draw(SENTENCES)))


@st.composite
def eithers(draw, forms):
    found = tuple(draw(st.lists(forms, min_size=1, max_size=3)))
    weight, n = st.sampled_from([0.0, 0.5, 1.0, 3.0]), len(found)
    return Either(found, tuple(draw(st.lists(weight, min_size=n, max_size=n).filter(any))))


NODES = st.recursive(
    st.one_of(says(), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple).map(Row),
        eithers(inner),
        st.builds(Maybe, inner, st.sampled_from([0.0, 0.3, 1.0])),
    ),
    max_leaves=6,
)
NAMES = Grammar(
    Row(
        (
            "A: ",
            Say((("x.1", "one."), ("x.2", "two."))),
            Maybe(Row((" ", Say((("y", "Aside."),)))), 0.5),
            " ",
            Either((Say((("z", "End."),)), Say((("w", "Over."),))), (1.0, 0.0)),
        )
    )
)


def written_out(node):
    """{(text, its (sentence, id) pairs): how often it is drawn}, by the plain meaning of each kind of node."""
    found = Counter()
    if isinstance(node, str):
        found[node, ()] = 1.0
    elif isinstance(node, Say):
        for name, text in node.options:
            found[text, ((text, name),)] += 1 / len(node.options)
    elif isinstance(node, Row):
        found["", ()] = 1.0
        for part in node.parts:
            joined = Counter()
            for (text, sentences), share in found.items():
                for (more, others), its_share in written_out(part).items():
                    joined[text + more, sentences + others] += share * its_share
            found = joined
    elif isinstance(node, Either):
        for form, weight in zip(node.forms, node.weights, strict=True):
            for one, share in written_out(form).items():
                found[one] += share * weight / sum(node.weights)
    else:
        found["", ()] = 1 - node.share
        for one, share in written_out(node.form).items():
            found[one] += share * node.share
    return found


@given(NODES)
def test_the_ways_through_a_graph_are_counted(node):
    def ways(state):
        return 1 if state is None else sum(ways(then) for _, then in Grammar.next_texts(state))

    grammar = Grammar(Row((node, Say((("end", "!"),)))))
    assert grammar.n_texts == ways(grammar.start)


def reads(grammar, text):
    try:
        return grammar.read(text)
    except GrammarError:
        return None


@given(NODES)
def test_every_text_of_a_grammar_is_read_with_the_ids_of_one_way_to_write_it(node):
    ways = {}
    for text, sentences in written_out(node):
        ways.setdefault(text, set()).add(sentences)
    for text, sentences in ways.items():
        found = Grammar(node).read(text)
        assert found.text == text
        assert found.sentences in sentences


@given(NODES, st.data())
def test_no_other_text_is_read(node, data):
    texts = sorted({text for text, _ in written_out(node)})
    text = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    changed = text[:start] + data.draw(st.text("ab. ", max_size=3)) + text[end:]
    for other in (changed, f"{text}a", f" {text}", text[:-1], text * 2):
        assert bool(reads(Grammar(node), other)) == (other in texts)


@given(NODES, st.integers())
def test_only_what_has_a_share_is_drawn_and_it_is_read_back(node, seed):
    drawn = {one for one, share in written_out(node).items() if share > 0}
    rng = random.Random(seed)
    for _ in range(20):
        answer = Grammar(node).draw(rng)
        assert (answer.text, answer.sentences) in drawn
        assert Grammar(node).read(answer.text).text == answer.text


def walks(todo, text="", sentences=(), share=1.0):
    """{(text, sentences): share} by following the choices, each set of which must be whole."""
    found, total = Counter(), 0.0
    for choice in choices(todo):
        total += choice.share
        said = text + choice.glue + choice.text
        if choice.then is None and not choice.text:
            found[said, sentences] += share * choice.share
        else:
            then = (*sentences, (choice.text, choice.name))
            found.update(walks(choice.then, said, then, share * choice.share))
    assert total == pytest.approx(1.0)
    return found


@given(NODES)
def test_the_choices_at_every_place_have_shares_that_add_up_and_lead_to_every_text(node):
    expected = written_out(node)
    found = walks((node, None))
    assert set(found) == set(expected)
    for one, share in expected.items():
        assert found[one] == pytest.approx(share)


def test_texts_are_drawn_as_often_as_their_shares_say():
    rng, n = random.Random(3), 4000
    counts = Counter(NAMES.draw(rng).text for _ in range(n))
    expected = {text: share for (text, _), share in written_out(NAMES.root).items()}
    assert set(counts) == {text for text, share in expected.items() if share}
    for text, count in counts.items():
        assert abs(count / n - expected[text]) < 0.03


def test_a_form_of_weight_zero_is_right_and_never_drawn():
    rng = random.Random(4)
    assert not any("Over." in NAMES.draw(rng).text for _ in range(300))
    assert NAMES.read("A: one. Over.").names == ["x.1", "w"]
    never = Grammar(Row(("So.", Maybe(" Never.", 0.0))))
    assert {never.draw(rng).text for _ in range(300)} == {"So."}
    assert never.read("So. Never.") == Answer("So. Never.", ())


def test_a_single_form_is_itself_and_several_are_equally_likely():
    assert either(("a",)) == "a"
    assert either(("a", "b")) == Either(("a", "b"), (1.0, 1.0))
    assert either(("a", "b"), (1.0, 2.0)) == Either(("a", "b"), (1.0, 2.0))


def test_a_sentence_that_begins_like_another_is_read_as_the_one_that_fits_the_rest():
    first = Say((("short", "Go."), ("long", "Go. Go.")))
    grammar = Grammar(Row((first, Maybe(Row((" ", Say((("more", "Go."),)))), 0.5), "!")))
    assert grammar.read("Go.!").names == ["short"]
    assert grammar.read("Go. Go. Go.!").names == ["long", "more"]
    assert grammar.read("Go. Go.!").names in (["short", "more"], ["long"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: ten. End.", "after 'A: t' stands 'en. End.', expected 'wo.'."),
        ("A: six. End.", "after 'A: ' stands 'six. End.', expected 'one.' or 'two.'."),
        ("B: one. End.", "after '' stands 'B: one. End.', expected 'A: one.' or 'A: two.'."),
        ("A: one. Stop.", "after 'A: one. ' stands 'Stop.', expected 'Aside.' or 'End.' or 'Over.'."),
        ("A: one. Aside. Aside.", "after 'A: one. Aside. ' stands 'Aside.', expected 'End.' or 'Over.'."),
        ("A: one. ", "after 'A: one. ' stands the end, expected 'Aside.' or 'End.' or 'Over.'."),
        ("A: one. En", "after 'A: one. En' stands the end, expected 'd.'."),
        ("A: one. End. End.", "after 'A: one. End.' stands ' End.', expected the end."),
        ("", "after '' stands the end, expected 'A: one.' or 'A: two.'."),
    ],
)  # fmt: skip
def test_a_refusal_says_where_the_text_leaves_the_grammar_and_what_could_have_stood_there(
    text, message
):
    with pytest.raises(GrammarError) as caught:
        NAMES.read(text)
    assert str(caught.value) == message


def test_a_refusal_names_three_sentences_counts_the_others_and_cuts_long_ones():
    grammar = Grammar(Say(tuple((str(n), f"{n} {'long ' * 20}.") for n in range(1, 7))))
    with pytest.raises(GrammarError) as caught:
        grammar.read("x" * 100)
    shown = " or ".join(repr(f"{n} {'long ' * 20}"[:40]) for n in (1, 2, 3))
    assert str(caught.value) == f"after '' stands {'x' * 40!r}, expected {shown} or 3 others."
