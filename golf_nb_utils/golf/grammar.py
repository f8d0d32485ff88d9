"""A set of texts as a small graph: it draws one at random, and reads one back.

A `Say` is one of several sentences, each with the id of what it renders; `Row`, `Either` and
`Maybe` put them in order. `Grammar.draw` walks at random and so writes a text; `Grammar.read` walks
along a text and finds the ids of all its sentences, or the place where it leaves the graph and what
could have stood there. Because both walk one graph, what is written is what is accepted.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple


class GrammarError(ValueError):
    """The knowledge has no answer for a request, or a text is none of its answers."""


@dataclass(frozen=True, slots=True)
class Say:
    """One of several sentences: (id, text) pairs."""

    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Parts one after the other; a part that is a str is said as it stands."""

    parts: tuple


@dataclass(frozen=True, slots=True)
class Either:
    """One of several forms. A form of weight 0 is right, but never drawn."""

    forms: tuple
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """A form that may be left out; `share` is how often it is drawn."""

    form: object
    share: float


Node = str | Say | Row | Either | Maybe
Todo = tuple | None
"""What is still to be said, as a linked list (node, todo); None is the end of the answer."""


class Choice(NamedTuple):
    """What may come next: the words before a sentence, the sentence, its id, what then follows.

    The choice to end has no sentence and `then` None; `share` is how often it is drawn.
    """

    glue: str
    text: str
    name: str
    then: Todo
    share: float


def choices(todo: Todo, glue: str = "", share: float = 1.0) -> Iterator[Choice]:
    """Yield every sentence that may be said next, in whatever form it may come."""
    if todo is None:
        yield Choice(glue, "", "", None, share)
        return
    node, rest = todo
    if isinstance(node, str):
        yield from choices(rest, glue + node, share)
    elif isinstance(node, Say):
        for name, text in node.options:
            yield Choice(glue, text, name, rest, share / len(node.options))
    elif isinstance(node, Row):
        for part in reversed(node.parts):
            rest = (part, rest)
        yield from choices(rest, glue, share)
    elif isinstance(node, Either):
        total = sum(node.weights)
        for form, weight in zip(node.forms, node.weights, strict=True):
            yield from choices((form, rest), glue, share * weight / total)
    else:
        yield from choices((node.form, rest), glue, share * node.share)
        yield from choices(rest, glue, share * (1 - node.share))


@dataclass(frozen=True)
class Answer:
    """A text and its (sentence, id) pairs in their order."""

    text: str
    sentences: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        """The ids of its sentences."""
        return [name for _, name in self.sentences]


@dataclass(frozen=True)
class Grammar:
    """All right answers to one request."""

    root: Node

    @property
    def start(self) -> Todo:
        """Where every text begins."""
        return self.root, None

    @staticmethod
    def next_texts(state: Todo) -> Iterator[tuple[str, Todo]]:
        """Yield (words, state after them) of all that may follow a state; words "" end the text."""
        for choice in choices(state):
            yield choice.glue + choice.text, choice.then

    @property
    def n_texts(self) -> int:
        """How many ways lead through the graph."""
        return _count(self.root)

    def draw(self, rng: random.Random) -> Answer:
        """Write an answer at random."""
        words: list[str] = []
        sentences: list[tuple[str, str]] = []
        todo: list[Node] = [self.root]
        while todo:
            node = todo.pop()
            if isinstance(node, str):
                words.append(node)
            elif isinstance(node, Say):
                name, text = node.options[int(rng.random() * len(node.options))]
                words.append(text)
                sentences.append((text, name))
            elif isinstance(node, Row):
                todo.extend(reversed(node.parts))
            elif isinstance(node, Either):
                todo.append(rng.choices(node.forms, node.weights)[0])
            elif rng.random() < node.share:
                todo.append(node.form)
        return Answer("".join(words), tuple(sentences))

    def read(self, text: str) -> Answer:
        """Recognise an answer and the id of each of its sentences.

        Raises:
            GrammarError: the text is no answer; the message says where it stops being one, and
                what could have stood there.
        """
        furthest, expected = 0, []

        def walk(todo: Todo, place: int) -> tuple | None:
            nonlocal furthest, expected
            for choice in choices(todo):
                said = choice.glue + choice.text
                if choice.then is None and not choice.text:
                    if text[place:] == said:
                        return ()
                elif text.startswith(said, place):
                    rest = walk(choice.then, place + len(said))
                    if rest is not None:
                        return ((choice.text, choice.name), *rest)
                if place > furthest:
                    furthest, expected = place, []
                if place == furthest:
                    expected.append(said)
            return None

        sentences = walk((self.root, None), 0)
        if sentences is None:
            raise GrammarError(_unexpected(text, furthest, expected))
        return Answer(text, sentences)


def _count(node: Node) -> int:
    if isinstance(node, str):
        return 1
    if isinstance(node, Say):
        return len(node.options)
    if isinstance(node, Row):
        return math.prod(map(_count, node.parts))
    return sum(map(_count, node.forms)) if isinstance(node, Either) else 1 + _count(node.form)


def _unexpected(text: str, place: int, expected: list[str]) -> str:
    """Say what stands in a text where none of the expected sentences goes on."""
    shared = {
        said: sum(
            1
            for _ in takewhile(
                lambda pair: pair[0] == pair[1], zip(said, text[place:], strict=False)
            )
        )
        for said in expected
    }
    # Of all sentences that could stand here, those that agree with the text for longest.
    most = max(shared.values(), default=0)
    going_on = [said[most:] for said in shared if shared[said] == most]
    before, found = text[max(0, place + most - 40) : place + most], text[place + most :]
    shown = " or ".join(dict.fromkeys(map(_shown, going_on[:3])))
    more = f" or {len(going_on) - 3} others" if len(going_on) > 3 else ""
    return f"after {before!r} stands {_shown(found)}, expected {shown}{more}."


def _shown(words: str) -> str:
    """The first words of what stands, or should stand, somewhere."""
    return repr(words[:40]) if words else "the end"


def either(forms: tuple[Node, ...], weights: tuple[float, ...] = ()) -> Node:
    """Return one of several forms, equally likely without weights; a single one is itself."""
    return forms[0] if len(forms) == 1 else Either(forms, weights or (1.0,) * len(forms))
