"""Tens of thousands of answers and of mutants: the grammar takes for right what a judge takes that shares no code with it, and nothing else."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from judge import Judge
from some_requests import some_request

from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUBS, LEVELS
from golf_nb_utils.golf.grammar import GrammarError

N_REQUESTS, N_ANSWERS = 3000, 7
HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
LABELS = (
    "Check: ",
    "Easier: ",
    "Harder: ",
    "Swing thought: ",
    "Safety: ",
    "Goal: ",
    "As a senior: ",
)
WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
TENS = (".", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SIDES = {"left": "right", "right": "left"}


# The mutants: each gets a drawn answer and returns a changed text, or nothing where it does not apply.


class Mutant:
    """A drawn answer, and what it may be changed with: all sentences by their kind and item."""

    def __init__(self, book):
        self.index, self.of_kind, self.of_item = book.index, {}, {}
        for name, entry in book.index.items():
            self.of_kind.setdefault(entry.kind, []).append(name)
            self.of_item.setdefault(entry.item, []).append(name)

    def of(self, answer, request, rng):
        self.answer, self.request, self.rng, self.text = answer, request, rng, answer.text
        return self

    def said(self, *kinds):
        """One of its (text, id) pairs of the knowledge base, of one of these kinds."""
        known = [
            (text, name) for text, name in self.answer.sentences
            if name in self.index and (not kinds or self.index[name].kind in kinds)
        ]  # fmt: skip
        return self.rng.choice(known) if known else (None, None)

    def exchange(self, text, name, where):
        """The answer with another sentence of the same kind, for which `where` holds."""
        others = [
            other for other in self.of_kind[self.index[name].kind]
            if other != name and where(self.index[other])
        ]  # fmt: skip
        return others and self.text.replace(text, self.sentence(self.rng.choice(others)))

    def sentence(self, name):
        return self.index[name].text(self.request.hand)

    def put(self, pattern, new):
        """The answer with one match of a pattern replaced."""
        matches = list(re.finditer(pattern, self.text))
        if not matches:
            return None
        match = self.rng.choice(matches)
        return self.text[: match.start()] + new(match[0]) + self.text[match.end() :]


def another_number(m):
    return m.put(r"\d+", lambda number: str(int(number) + m.rng.choice([1, 2, 10, 100])))


def another_score_of_the_request(m):
    request = m.request
    scores = [request.current_score, request.target_score, *(request.all_scores or {}).values()]
    printed = [f"{score * 100:.1f}%" for score in scores if score is not None]
    return m.put(r"\d+\.\d%", lambda _: m.rng.choice(printed))


def a_number_in_words(m):
    def in_words(number):
        n = int(number.split(".")[0])
        tens = TENS[n // 10] if n < 100 else "hundred"
        words = WORDS[n] if n < 13 else f"{tens}-{WORDS[n % 10]}" if n % 10 else tens
        return words + (" percent" if "%" in number else "")

    return m.put(r"\b\d+(\.0%)?", in_words)


def digits_of_another_script(m):
    zero = ord(m.rng.choice("\u0660\u0966\uff10\u0e50"))
    return m.put(r"\d+", lambda number: "".join(chr(zero + int(digit)) for digit in number))


def an_item_of_another_fault(m):
    text, name = m.said("observation", "cause", "effect", "feel", "check", "steps")
    if name is None:
        return None
    own, is_near = m.index[name], m.rng.random() < 0.5
    return m.exchange(
        text, name, lambda e: e.fault != own.fault and (not is_near or e.topic == own.topic)
    )


def an_item_of_another_topic(m):
    text, name = m.said("ideal", "keep", "cues", "adaptations", "safety")
    return m.exchange(text, name, lambda entry: entry.topic != m.index[name].topic)


def another_drill(m):
    text, name = m.said("drill", "easier", "harder")
    return m.exchange(text, name, lambda entry: True)


def a_step_of_the_drill_outside_it(m):
    drill = m.index[m.said("drill")[1]].drill
    steps = [name for name in m.of_kind["drill_step"] if m.index[name].drill == drill]
    step = m.sentence(m.rng.choice(steps))
    text, _ = m.said("steps", "keep", "cues", "ideal", "check")
    new = m.rng.choice([step, f"{text} {step}", f"{step} {text}", f"{text}\n2. {step}"])
    return m.text.replace(text, new)


def a_drill_that_is_not_whole(m):
    text, _ = m.said("drill")
    sentences = re.split(r"(?<=[.!?]) ", text)
    sentences.pop(m.rng.randrange(len(sentences)))
    return m.text.replace(text, " ".join(sentences))


def two_sentences_exchanged(m):
    (one, _), (other, _) = m.rng.sample(m.answer.sentences, 2)
    return m.text.replace(one, "\0").replace(other, one).replace("\0", other)


def a_sentence_in_the_wrong_place(m):
    (one, _), (other, _) = m.rng.sample(m.answer.sentences, 2)
    return m.text.replace(one, f"{one}\0").replace(f" {other}", "").replace("\0", f" {other}")


def a_sentence_twice(m):
    one = m.rng.choice(m.answer.sentences)[0]
    return m.text.replace(one, m.rng.choice([" ", "\n", "\n2. "]).join([one, one]))


def a_sentence_left_out(m):
    one = m.rng.choice(m.answer.sentences)[0]
    return m.text.replace(m.rng.choice([" ", ""]) + one, "")


def a_line_left_out(m):
    """And the numbered ones numbered again, or not."""
    lines = m.text.split("\n")
    lines.pop(m.rng.randrange(len(lines)))
    if m.rng.random() < 0.5:
        numbers = iter(range(1, 9))
        lines = [re.sub(r"^\d\. ", lambda _: f"{next(numbers)}. ", line) for line in lines]
    return "\n".join(lines)


def two_lines_exchanged(m):
    """Numbered ones, each with the number of its place or with its own."""
    lines = m.text.split("\n")
    one, other = m.rng.sample([n for n, line in enumerate(lines) if re.match(r"\d\. ", line)], 2)
    kept = m.rng.choice([0, 3, 3])
    ours, theirs = lines[one], lines[other]
    lines[one], lines[other] = ours[:kept] + theirs[kept:], theirs[:kept] + ours[kept:]
    return "\n".join(lines)


def a_heading_twice(m):
    heading, again = m.rng.choice(HEADINGS), m.rng.choice(HEADINGS)
    return m.text.replace(heading, f"{heading}{m.rng.choice([chr(10), ' ', chr(10) * 2])}{again}")


def another_heading(m):
    one, other = m.rng.sample(HEADINGS, 2)
    return m.text.replace(one, m.rng.choice(["", other, one.lower(), one[:-1], f"{one} "]))


def the_other_hand(m):
    if not re.search(r"\b(left|right)\b", m.text):
        return None
    return re.sub(r"\b(left|right)\b", lambda side: SIDES[side[1]], m.text)


def words_around(m):
    sentence = m.sentence(m.rng.choice(list(m.index)))
    words = m.rng.choice(
        ["Sure!", "Here it is:", ".", " ", "\n", "1. ", "Goal: ", sentence, m.text]
    )
    between = m.rng.choice(["", " ", "\n", "\n\n"])
    return m.rng.choice([f"{words}{between}{m.text}", f"{m.text}{between}{words}"])


def a_truncated_end(m):
    if m.rng.random() < 0.5:
        return m.text[: m.rng.randrange(len(m.text))]
    return m.text[: m.rng.choice(list(re.finditer(r"[.\n]", m.text))[:-1]).end()]


def another_label(m):
    return m.put("|".join(LABELS), lambda _: m.rng.choice(["", *LABELS]))


def a_character(m):
    place = m.rng.randrange(len(m.text))
    new = m.rng.choice(["", "a", " ", ".", "\n", "0", "\u200b", "\u00a0"])
    return m.text[:place] + new + m.text[place + m.rng.choice([0, 1]) :]


def another_phrasing(m):
    """The same item in other words, which is right."""
    text, name = m.said()
    others = [other for other in m.of_item[m.index[name].item] if other != name]
    return others and m.text.replace(text, m.sentence(m.rng.choice(others)))


def another_item_of_the_same_part(m):
    """It may be for this golfer, or not, and in the right order, or not."""
    text, name = m.said()
    own = m.index[name]
    return m.exchange(text, name, lambda e: (e.topic, e.fault) == (own.topic, own.fault))


NEVER_RIGHT = (
    another_number, a_number_in_words, digits_of_another_script, an_item_of_another_fault, an_item_of_another_topic,
    a_step_of_the_drill_outside_it, a_drill_that_is_not_whole, a_sentence_in_the_wrong_place, a_sentence_twice, a_heading_twice,
    another_heading, the_other_hand, words_around, a_truncated_end, another_label, a_character,
)  # fmt: skip
SOMETIMES_RIGHT = (
    another_score_of_the_request, another_drill, two_sentences_exchanged, a_sentence_left_out, a_line_left_out,
    two_lines_exchanged, another_phrasing, another_item_of_the_same_part,
)  # fmt: skip


@pytest.fixture(scope="module")
def book(knowledge):
    return GrammarBook(knowledge)


@pytest.fixture(scope="module")
def judge(knowledge):
    return Judge(knowledge)


@pytest.fixture(scope="module")
def drawn(book, knowledge):
    """[(request, its grammar, some of its answers)]"""
    rng, found = random.Random(17), []
    for _ in range(N_REQUESTS):
        request = some_request(rng, knowledge)
        grammar = book.grammar(request)
        found.append((request, grammar, [grammar.draw(rng) for _ in range(N_ANSWERS)]))
    return found


def is_read(grammar, text):
    try:
        grammar.read(text)
    except GrammarError:
        return False
    return True


def test_the_judge_calls_every_drawn_answer_right_and_the_grammar_reads_it_as_it_was_made(
    drawn, judge
):
    kinds = {
        "area": 6,
        "severity": 4,
        "hand": 2,
        "golfer": 4,
        "club": 12,
        "level": 4,
        "is_scored": 2,
    }
    seen = {name: Counter() for name in kinds}
    n_answers = 0
    for request, grammar, answers in drawn:
        for name, counter in seen.items():
            counter[getattr(request, name)] += 1
        for answer in answers:
            assert judge.why_wrong(answer.text, request) == "", (request, answer.text)
            assert grammar.read(answer.text) == answer
            n_answers += 1
    print(n_answers, "drawn answers to", len(drawn), "requests:", seen)
    assert n_answers >= 20_000
    for name, n_kinds in kinds.items():
        assert len(seen[name]) == n_kinds
        assert min(seen[name].values()) > 100


def test_no_mutant_gets_through_that_the_judge_refuses_and_none_is_lost_that_it_calls_right(
    drawn, judge, book
):
    rng, mutant = random.Random(18), Mutant(book)
    tried, right = Counter(), Counter()
    for request, grammar, answers in drawn:
        for answer in answers:
            # Of the changes that this answer can have, the one that was tried least.
            for change in sorted(
                (*NEVER_RIGHT, *SOMETIMES_RIGHT), key=lambda change: tried[change]
            ):
                text = change(mutant.of(answer, request, rng))
                if text and text != answer.text:
                    break
            tried[change] += 1
            why = judge.why_wrong(text, request)
            assert is_read(grammar, text) == (not why), (change, why, request, answer.text, text)
            right[change] += not why
    print(
        sum(tried.values()),
        "mutants,",
        sum(right.values()),
        "of them right:",
        {change.__name__: (right[change], n) for change, n in tried.items()},
    )
    assert sum(tried.values()) >= 20_000
    assert min(tried.values()) > 800
    assert not set(+right) & set(NEVER_RIGHT)
    assert right[another_phrasing] == tried[another_phrasing]
    assert right[another_item_of_the_same_part] > 300


def test_an_answer_is_right_under_another_request_where_the_judge_says_so_and_nowhere_else(
    drawn, judge, book
):
    """One thing of the request is another: what an answer does not rest on leaves it right."""
    rng = random.Random(19)
    tried, right = Counter(), Counter()
    for request, _, answers in drawn[::2]:
        others = {
            "area": replace(request, area=rng.choice(list(AREAS))),
            "hand": replace(request, handedness=SIDES[request.hand]),
            "club": replace(request, club=rng.choice([None, *CLUBS])),
            "level": replace(request, level=rng.choice([None, *LEVELS])),
            "golfer": replace(request, audience=rng.choice([one for one in AUDIENCES if one != request.golfer])),
            "observation": replace(request, observation=None),
            "all scores": replace(request, all_scores=None),
        }  # fmt: skip
        if request.is_scored:
            others["score"] = replace(request, current_score=rng.randint(0, 100) / 100)
            others["no score"] = replace(request, current_score=None)
        name, other = rng.choice([pair for pair in others.items() if pair[1] != request])
        why = judge.why_wrong(answers[0].text, other)
        assert is_read(book.grammar(other), answers[0].text) == (not why), (name, why, other)
        tried[name] += 1
        right[name] += not why
    print(
        "answers under other requests, right and tried:",
        {name: (right[name], n) for name, n in tried.items()},
    )
    assert min(tried.values()) > 50
    assert set(+right) == {"hand", "club", "level", "observation", "all scores"}
