"""Tens of thousands of answers and of mutants: the grammar takes for right what a judge takes that shares no code with it, and nothing else."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from judge import Judge
from some_requests import some_request

from golf_nb_utils.golf.answer import GrammarBook, elsewhere_slots
from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUBS, LEVELS
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.request import MINUTES
from golf_nb_utils.golf.wording import SAY_BY_ID

N_REQUESTS, N_ANSWERS = 3000, 7
HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
LABELS = (
    "Check: ",
    "Swing thought: ",
    "Safety: ",
    "As a senior: ",
    "As a junior: ",
    "With limited mobility: ",
    "Goal: ",
)
PAINS = (
    "my lower back hurts on every swing",
    "chest pain on the back nine",
    "got hit on the head by a ball and feel dizzy",
)
WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
TENS = (".", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SIDES = {"left": "right", "right": "left"}


# The mutants: each gets a drawn answer and returns a changed text, or nothing where it does not apply.


class Mutant:
    """A drawn answer, and what it may be changed with: all sentences by their kind and item, and other answers to the request."""

    def __init__(self, book):
        self.book, self.index, self.of_kind, self.of_item = book, book.index, {}, {}
        for name, entry in book.index.items():
            self.of_kind.setdefault(entry.kind, []).append(name)
            self.of_item.setdefault(entry.item, []).append(name)

    def of(self, answer, request, rng, others):
        self.answer, self.request, self.rng, self.text = answer, request, rng, answer.text
        self.others = others
        return self

    def said(self, *kinds):
        """One of its (text, id) pairs of the knowledge base, of one of these kinds."""
        known = [
            (text, name) for text, name in self.answer.sentences
            if name in self.index and (not kinds or self.index[name].kind in kinds)
        ]  # fmt: skip
        return self.rng.choice(known) if known else (None, None)

    def exchange(self, text, name, where):
        """The answer with another sentence of the same kind, for which `where` holds; it is no other phrasing."""
        own = {self.sentence(other) for other in self.of_item[self.index[name].item]}
        others = [
            other for other in self.of_kind[self.index[name].kind]
            if where(self.index[other]) and self.sentence(other) not in own
        ]  # fmt: skip
        return others and self.text.replace(text, self.told(self.rng.choice(others), text))

    def sentence(self, name):
        return self.index[name].text(self.request.hand)

    def told(self, name, before):
        """A sentence, explained to a beginner as far as the one was whose place it takes."""
        text = self.sentence(name)
        for word, side in re.findall(r"(lead|trail) (\(\w+\))", before):
            text = re.sub(rf"\b{word}\b", f"{word} {side}", text, count=1)
        return text

    def say(self, where):
        """A sentence around the advice, filled for the request, for whose id `where` holds."""
        slots = (
            dict(self.request.slots)
            if self.request.is_scored
            else {"label": AREAS[self.request.area].label}
        )
        fault = self.book.fault_of(self.request)
        slots |= elsewhere_slots(fault) if fault else {}
        known = [
            text.format_map(slots) for name, text in SAY_BY_ID.items()
            if where(name) and set(re.findall(r"{(\w+)}", text)) <= set(slots)
        ]  # fmt: skip
        return self.rng.choice(known) if known else None

    def filled(self):
        """One of its (text, id) pairs of wording.SAY."""
        found = [pair for pair in self.answer.sentences if pair[1] in SAY_BY_ID]
        return self.rng.choice(found) if found else (None, None)

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


def an_item_of_another_chain(m):
    """Of the same fault, of another one of the topic, or of any."""
    text, name = m.said("ideal", "happening", "steps", "check", "plan", "cue")
    if name is None:
        return None
    own, near = m.index[name], m.rng.choice(["fault", "topic", "kind"])
    return m.exchange(
        text, name, lambda e: e.advice != own.advice and getattr(e, near) == getattr(own, near)
    )


def an_item_of_another_topic(m):
    text, name = m.said("ideal", "plan", "cue", "adaptations")
    return name and m.exchange(text, name, lambda entry: entry.topic != m.index[name].topic)


def the_same_part_of_another_answer(m):
    """All below one heading, or all but this: right where the other answer gives the same advice, and the same side is explained."""
    ours, theirs = m.text.split("\n\n"), m.rng.choice(m.others).text.split("\n\n")
    place = m.rng.randrange(3)
    ours[place] = theirs[place]
    return "\n\n".join(ours)


def another_drill(m):
    """The drill or its variation alone: the dose stays, which is not that of the other."""
    text, name = m.said("drill", "easier", "harder")
    return name and m.exchange(
        text,
        name,
        lambda e: all(
            m.sentence(f"{e.drill}.{one}") not in m.text for one in ("dose", "small_dose")
        ),
    )


def another_whole_drill(m):
    """With dose, variation and safety note, one that fixes the same or any."""
    text, name = m.said("drill")
    if name is None:
        return None
    own = m.index[name].drill
    near = [
        one.id
        for chain in m.book.advice_for(m.request)
        for one in m.book.drills_of(chain, m.request)
    ]
    other = m.book.drills[m.rng.choice(m.rng.choice([near, list(m.book.drills)]))]
    found = re.sub(r"\nSafety: .*", "", m.text)
    for text, name in m.answer.sentences:
        entry = m.index.get(name)
        if entry and entry.drill == own:
            item = other.text if entry.kind == "drill" else getattr(other, entry.kind)
            found = found.replace(text, m.sentence(item.id))
    risk = next((risk for risk in other.risks if risk != "none"), None)
    return found + (f"\nSafety: {m.say(lambda name: f'.{risk}.' in name)}" if risk else "")


def another_dose(m):
    """The small one for the other or the other way round, or that of another drill."""
    text, name = m.said("dose", "small_dose")
    own = name and m.index[name].drill
    others = [
        other for kind in ("dose", "small_dose") for other in m.of_kind[kind]
        if own and (m.index[other].drill == own or m.rng.random() < 0.01)
    ]  # fmt: skip
    return others and m.text.replace(text, m.sentence(m.rng.choice(others)))


def a_variation_added(m):
    """Which is right for the advanced, if it is the harder one."""
    text, name = m.said("drill")
    if name is None:
        return None
    new = m.sentence(f"{m.index[name].drill}.{m.rng.choice(['easier', 'harder', 'harder'])}")
    return m.text.replace(text, f"{text} {new}")


def a_part_of_the_drill_outside_it(m):
    _, name = m.said("drill")
    if name is None:
        return None
    kinds = ("drill", "dose", "small_dose", "easier", "harder")
    parts = [
        n for kind in kinds for n in m.of_kind[kind] if m.index[n].drill == m.index[name].drill
    ]
    part = m.sentence(m.rng.choice(parts))
    text, _ = m.said("ideal", "happening", "steps", "check", "plan", "cue")
    new = m.rng.choice([part, f"{text} {part}", f"{part} {text}", f"{text}\n2. {part}"])
    return m.text.replace(text, new)


def a_drill_that_is_not_whole(m):
    text, _ = m.said("drill")
    if text is None:
        return None
    sentences = re.split(r"(?<=[.!?]) ", text)
    sentences.pop(m.rng.randrange(len(sentences)))
    return m.text.replace(text, " ".join(sentences))


def another_safety_note(m):
    """None, a second one, or that of another risk."""
    own = re.search(r"\nSafety: (.*)", m.text)
    mine = (
        own and next(name for text, name in m.answer.sentences if text == own[1]).rsplit(".", 1)[0]
    )
    new = m.say(
        lambda name: name.startswith("say.safety.") and not (mine and name.startswith(mine))
    )
    if own is None:
        return f"{m.text}\nSafety: {new}"
    return m.text.replace(
        own[0],
        m.rng.choice(["", f"\nSafety: {new}", f"{own[0]}\nSafety: {new}", f"{own[0]} {new}"]),
    )


def sides_explained_otherwise(m):
    """Not at all, the wrong one, once more, or to somebody who knows."""
    explained = r"\b(lead|trail) \((?:left|right)\)"
    if re.search(explained, m.text) and m.rng.random() < 0.6:
        return m.put(
            explained,
            lambda told: m.rng.choice(
                [told.split()[0], re.sub(r"left|right", lambda s: SIDES[s[0]], told)]
            ),
        )
    return m.put(r"\b(lead|trail)\b(?! \()", lambda word: f"{word} ({m.rng.choice(list(SIDES))})")


def a_filled_sentence_of_another_kind(m):
    """In place of one, or after it."""
    text, name = m.filled()
    kind = name and name.rsplit(".", 1)[0]
    new = name and m.say(lambda other: not other.startswith(f"{kind}."))
    return new and m.text.replace(text, m.rng.choice([new, f"{text} {new}"]))


def another_filled_sentence_of_the_kind(m):
    text, name = m.filled()
    return name and m.text.replace(
        text, m.say(lambda other: other.rsplit(".", 1)[0] == name.rsplit(".", 1)[0])
    )


def a_word_on_another_score_added(m):
    """Which is right once where the target is met."""
    head, _, rest = m.text.partition(f"\n\n{HEADINGS[2]}")
    new = m.say(lambda name: name.split(".")[1] in ("earlier", "later", "strength"))
    return new and f"{head} {new}\n\n{HEADINGS[2]}{rest}"


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
    """As often as not one that may be."""
    optional = [pair for pair in m.answer.sentences if re.search("later|strength|harder", pair[1])]
    some = optional if optional and m.rng.random() < 0.5 else m.answer.sentences
    return m.text.replace(m.rng.choice([" ", ""]) + m.rng.choice(some)[0], "")


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
    """The same item in other words, which is right where no side has to be explained."""
    text, name = m.said()
    others = [other for other in m.of_item[m.index[name].item] if other != name] if name else ()
    new = others and m.sentence(m.rng.choice(others))
    if m.request.level == "beginner" and re.search(r"\b(lead|trail)\b", f"{text} {new}"):
        return None
    return new and m.text.replace(text, new)


def another_item_of_the_same_part(m):
    """It may be for this golfer, or not, and in the right order, or not."""
    text, name = m.said()
    if name is None:
        return None
    own = m.index[name]
    others = [
        other for other in m.of_kind[own.kind] if other != name
        and (m.index[other].topic, m.index[other].advice, m.index[other].drill) == (own.topic, own.advice, own.drill)
    ]  # fmt: skip
    return others and m.text.replace(text, m.told(m.rng.choice(others), text))


NEVER_RIGHT = (
    another_number, another_score_of_the_request, a_number_in_words, digits_of_another_script, an_item_of_another_chain,
    an_item_of_another_topic, another_drill, another_dose, a_part_of_the_drill_outside_it, a_drill_that_is_not_whole, another_safety_note,
    sides_explained_otherwise, a_filled_sentence_of_another_kind, two_sentences_exchanged, a_sentence_in_the_wrong_place,
    a_sentence_twice, a_line_left_out, two_lines_exchanged, a_heading_twice, another_heading, the_other_hand, words_around,
    a_truncated_end, another_label, a_character,
)  # fmt: skip
SOMETIMES_RIGHT = (
    the_same_part_of_another_answer, another_whole_drill, a_variation_added, a_sentence_left_out,
    a_word_on_another_score_added, another_item_of_the_same_part,
)  # fmt: skip
ALWAYS_RIGHT = (another_phrasing, another_filled_sentence_of_the_kind)


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
        if rng.random() < 0.05:
            request = request.said(rng.choice(PAINS))
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
    drawn, judge, book
):
    kinds = {
        "area": 6,
        "severity": 4,
        "hand": 2,
        "golfer": 4,
        "club": 17,
        "level": 4,
        "is_scored": 2,
        "minutes": 4,
        "is_follow_up": 2,
    }
    seen = {name: Counter() for name in kinds} | {"kind": Counter()}
    n_answers = 0
    for request, grammar, answers in drawn:
        for name in kinds:
            seen[name][getattr(request, name)] += 1
        seen["kind"][book.kind_of(request)] += 1
        for answer in answers:
            assert judge.why_wrong(answer.text, request) == "", (request, answer.text)
            assert grammar.read(answer.text) == answer
            n_answers += 1
    print(n_answers, "drawn answers to", len(drawn), "requests:", seen)
    assert n_answers >= 20_000
    for name, n_kinds in (*kinds.items(), ("kind", 7)):
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
                (*NEVER_RIGHT, *SOMETIMES_RIGHT, *ALWAYS_RIGHT), key=lambda change: tried[change]
            ):
                text = change(mutant.of(answer, request, rng, answers))
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
    assert min(tried.values()) > 500
    assert not set(+right) & set(NEVER_RIGHT)
    assert all(right[change] == tried[change] for change in ALWAYS_RIGHT)
    assert all(0 < right[change] < tried[change] for change in SOMETIMES_RIGHT)
    assert right[another_item_of_the_same_part] > 300


def test_an_answer_is_right_under_another_request_where_the_judge_says_so_and_nowhere_else(
    drawn, judge, book
):
    """One thing of the request is another: what an answer does not rest on leaves it right."""
    rng = random.Random(19)
    names, drills = ([one.name for one in some.values()] for some in (book.faults, book.drills))
    tried, right = Counter(), Counter()
    for request, _, answers in drawn[::2]:
        others = {
            # Whom to see does not depend on it.
            "area": request if request.referral else replace(request, area=rng.choice(list(AREAS))),
            "hand": replace(request, handedness=SIDES[request.hand]),
            "club": replace(request, club=rng.choice([None, *CLUBS])),
            "level": replace(request, level=rng.choice([None, *LEVELS])),
            "golfer": replace(request, audience=rng.choice([one for one in AUDIENCES if one != request.golfer])),
            "observation": replace(request, observation=None),
            "meaning": replace(request, meaning=rng.choice([None, rng.choice(names)])),
            "tried": replace(request, tried=rng.choice([None, rng.choice(drills)])),
            "minutes": replace(request, minutes=rng.choice([None, *MINUTES])),
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
    assert set(+right) == {
        "hand", "club", "level", "golfer", "observation", "meaning", "tried", "minutes", "all scores",
    }  # fmt: skip
