"""How well golfers' words are read, by the reader, by the language model, and by both together;
and how often an answer gives the cause that they told.

The reader is golf.reader. A model whose loss is over the whole text has learnt what follows
`Observation:` in a request: so its probability of each name after `Meaning:` is what it takes the
words to mean, without a record made for it. (One that learns the answers alone, as `tiny` does, has
not.) Both together are a product of experts: the reader's probability times a power of the model's;
the power is found on the validation authors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tiktoken

from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.areas import CLUBS
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.reader import ASSERTED_FROM, Probabilities, Reader, Wording, heard
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.steering import Steered, Steerer
from golf_nb_utils.prompt import format_input

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""The powers of the model's probability that are tried."""


@dataclass(frozen=True)
class Understood:
    """A wording, and what it is taken to mean (a fault, or "" for none), with its probability."""

    wording: Wording
    meaning: str
    share: float


def understood(
    probabilities: Sequence[Probabilities], wordings: Sequence[Wording]
) -> list[Understood]:
    """Return what each wording is taken to mean; of the area's own, faults alone count."""
    found = []
    for each, wording in zip(probabilities, wordings, strict=True):
        (fault, share), *_ = heard(each).considered
        found.append(Understood(wording, fault, share))
    return found


def shares(read: Sequence[Understood], asserted_from: float) -> dict[str, tuple]:
    """Return {name: (share, low, high, n)} where a fault is named from a probability on.

    `found` and `wrong` are shares of the wordings that mean a fault: it is named, another one is.
    `false_alarm` is the share of those that mean none for which one is named all the same. The
    intervals are Wilson's; one author's wordings are taken as independent.
    """
    named = [(each.meaning if each.share >= asserted_from else "", each) for each in read]
    faulty = [(fault, each.wording.meaning) for fault, each in named if each.wording.meaning]
    none = [fault for fault, each in named if not each.wording.meaning]
    counts = {
        "found": (sum(fault == right for fault, right in faulty), len(faulty)),
        "wrong": (sum(fault not in ("", right) for fault, right in faulty), len(faulty)),
        "false_alarm": (sum(fault != "" for fault in none), len(none)),
    }
    return {
        name: (count / n if n else float("nan"), *wilson(count, n), n)
        for name, (count, n) in counts.items()
    }


class ModelReader:
    """What a language model takes words to mean."""

    def __init__(self, steerer: Steerer, tokenizer: tiktoken.Encoding, names: dict[str, str]):
        """Take `names`, {id of a fault or key of OUTCOMES: its name in a request}."""
        self._steerer, self._tokenizer, self._names = steerer, tokenizer, names

    def probabilities(self, area: str, text: str, own: Iterable[str]) -> Probabilities:
        """Return how likely each of `own`, ids of the area's faults and outcomes, is.

        What is left of 1 is the probability that the request goes on without a meaning.
        """
        request = Request(area, 0.5, 0.8, observation=text)
        prompt = format_input(request.entry())
        end = f"Observation: {request.observation}"
        asked = prompt[: prompt.index(end) + len(end)]
        own = list(own)
        logs = self._steerer.log_probabilities(
            self._tokenizer.encode(asked, disallowed_special=()),
            [f"\nMeaning: {self._names[name]}\n" for name in own],
        )
        shares = dict(zip(own, np.exp(logs).tolist(), strict=True))
        ranked = {name: shares[name] for name in sorted(shares, key=shares.get, reverse=True)}
        return Probabilities(ranked, {"": max(0.0, 1 - sum(shares.values()))})


def told_causes(wordings: Iterable[Wording], knowledge: KnowledgeBase) -> list[tuple[Request, str]]:
    """Return a request for each wording that tells the cause of its fault, with that chain's id.

    Club, level and gap are such that the chain may be given.
    """
    chains = {advice.id: advice for advice in knowledge.advice}
    names = {fault.id: fault.name for fault in knowledge.faults}
    found = []
    for each in wordings:
        if not each.chain:
            continue
        chain = chains[each.chain]
        club = next(club for club, family in CLUBS.items() if family in chain.clubs)
        current = 0.4 if "large" in chain.severities else 0.6
        asked = Request(each.area, current, 0.8, club, chain.levels[-1])
        found.append((asked.said(each.text, names[each.meaning]), chain.id))
    return found


def chosen_causes(
    steerer: Steerer, tokenizer: tiktoken.Encoding, book: GrammarBook, requests: Sequence[Request]
) -> list[tuple[str, Steered]]:
    """Return which chain a steered model chooses for each request, and what it wrote.

    The chain is "" where the answer does not fit into the context.
    """
    prompts = [format_input(request.entry()) for request in requests]
    grammars = [book.grammar(request) for request in requests]
    written = steerer.write(
        [tokenizer.encode(prompt, disallowed_special=()) for prompt in prompts],
        [(grammar.next_texts, grammar.start) for grammar in grammars],
    )
    chains = [
        book.about(grammar.read(tokenizer.decode(each.tokens)).names)["chain"]
        if each.is_whole
        else ""
        for grammar, each in zip(grammars, written, strict=True)
    ]
    return list(zip(chains, written, strict=True))


def read_by_both(
    reader: Reader, model: ModelReader, wordings: Sequence[Wording]
) -> list[tuple[Probabilities, Probabilities]]:
    """Return what the reader and what the model takes each wording to mean."""
    pairs = []
    for each in wordings:
        found = reader.probabilities(each.area, each.text)
        pairs.append((found, model.probabilities(each.area, each.text, found.own)))
    return pairs


def together(reader: Probabilities, model: Probabilities, weight: float) -> Probabilities:
    """Return the product of the reader's probabilities and the model's to the power of `weight`."""
    tiny = 1e-9
    own = {name: share * (model.own[name] + tiny) ** weight for name, share in reader.own.items()}
    rest = (model.away[""] + tiny) ** weight
    away = {name: share * rest for name, share in reader.away.items()}
    total = sum(own.values()) + sum(away.values())
    own, away = (
        {name: each[name] / total for name in sorted(each, key=each.get, reverse=True)}
        for each in (own, away)
    )
    return Probabilities(own, away)


def best_weight(
    pairs: Sequence[tuple[Probabilities, Probabilities]], wordings: Sequence[Wording]
) -> float:
    """Return the weight of WEIGHTS that finds most faults and errs no more than the reader alone.

    `pairs` read the wordings. To name another fault, or one where none is meant, is an error. Of
    equals it is the smallest, so a model that knows nothing has no say.
    """

    def counted(weight: float) -> tuple[int, int]:
        both = [together(*pair, weight) for pair in pairs]
        named = [
            (each.meaning if each.share >= ASSERTED_FROM else "", each.wording.meaning)
            for each in understood(both, wordings)
        ]
        n_found = sum(fault == meant != "" for fault, meant in named)
        return n_found, sum(fault not in ("", meant) for fault, meant in named)

    counts = {weight: counted(weight) for weight in WEIGHTS}
    allowed = [weight for weight in WEIGHTS if counts[weight][1] <= counts[0.0][1]]
    return max(allowed, key=lambda weight: counts[weight][0])
