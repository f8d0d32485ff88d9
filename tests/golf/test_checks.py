"""The gate before the golfer: right answers pass, and each way of being wrong fails the check that is meant for it."""

import dataclasses
import random
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import CLUBS
from golf_nb_utils.golf.checks import CHECKS, Verifier
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.golf.request import InputFormatError, Request
from golf_nb_utils.golf.rules import Rule
from golf_nb_utils.golf.similarity import jaccard, trigrams
from golf_nb_utils.golf.wording import SAY_BY_ID
from golf_nb_utils.settings import DataConfig

SHOULD = "WHAT SHOULD HAPPEN (Ideal/Expected):"
HAPPENING = "WHAT IS HAPPENING (Current Issue):"
STEPS = "WHAT TO DO (Actionable Steps):"
NAMES = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift", "body_rotation": "body rotation",
    "impact_quality": "impact", "followthrough": "follow-through", "balance": "balance", "consistency": "consistency",
}  # fmt: skip
WORDS = {"slight": "a little below", "clear": "clearly below", "large": "far below"}
SIDES = {"left": "right", "right": "left"}


@pytest.fixture(scope="module")
def verifier(knowledge):
    return Verifier(knowledge)


@pytest.fixture(scope="module")
def records(knowledge):
    """Sixteen hundred records and eighty of unseen topics: every severity, audience and hand, and inputs without their optional lines."""
    return [
        record
        for rows in generate_records(knowledge, DataConfig(n_examples=1600)).values()
        for record in rows
    ]


def failed(verdict):
    return {name for name, holds in verdict.checks.items() if not holds}


# Right answers.


def test_every_answer_of_the_generator_passes(verifier, records):
    for record in records:
        verdict = verifier.verify(record.output, record.input)
        assert verdict.passed, (record.input, record.output, verdict.reasons)
        assert verdict.reasons == ()
        assert tuple(verdict.checks) == tuple(CHECKS)


def test_what_an_answer_is_made_of_is_read_back_from_it(verifier, records):
    for record in records[:600]:
        verdict = verifier.verify(record.output, record.input)
        assert [span.origin for span in verdict.sentences] == record.meta["items"]
        assert (verdict.fault, verdict.drill) == (record.meta["fault"], record.meta["drill"])
        bare = re.sub(r"(?m)^[0-9]+[.] ", "", record.output)
        assert [span.text for span in verdict.numbers] == re.findall(
            r"[0-9]+(?:[.][0-9]+)?%?", bare
        )
        assert all(span.origin for span in verdict.numbers)


def test_blanks_and_line_breaks_around_an_answer_do_not_count(verifier, records):
    record = records[0]
    assert verifier.verify(f" \n{record.output}\n\n ", record.input).passed
    assert not verifier.verify(f"{record.output}\t", record.input).passed


def test_a_sentence_that_two_items_share_belongs_to_the_one_that_fits(knowledge, records):
    """The same swing thought in every topic, and the same first step in every fault: it is each answer's own."""

    def same(items, text):
        return (dataclasses.replace(items[0], phrasings=(text,)), *items[1:])

    topics = tuple(
        dataclasses.replace(
            topic,
            cues=same(topic.cues, "Easy does it."),
            faults=tuple(
                dataclasses.replace(fault, steps=same(fault.steps, "Breathe out."))
                for fault in topic.faults
            ),
        )
        for topic in knowledge.topics
    )
    shared = dataclasses.replace(knowledge, topics=topics)
    verifier, count = Verifier(shared), 0
    for record in generate_records(shared, DataConfig(n_examples=300))["train"]:
        count += "Easy does it." in record.output and "Breathe out." in record.output
        verdict = verifier.verify(record.output, record.input)
        assert verdict.passed, verdict.reasons
        assert [span.origin for span in verdict.sentences] == record.meta["items"]
    assert count > 10


def test_a_sentence_shared_by_two_parts_is_what_its_place_makes_it(knowledge):
    """A sentence that is a feel and a step of the same fault, at both places of one answer."""
    text = "Breathe out."
    topics = tuple(
        dataclasses.replace(
            topic,
            faults=tuple(
                dataclasses.replace(
                    fault,
                    feel=tuple(
                        dataclasses.replace(item, phrasings=(text,)) for item in fault.feel[:1]
                    ),
                    steps=tuple(
                        dataclasses.replace(item, phrasings=(text,)) for item in fault.steps[:1]
                    ),
                )
                for fault in topic.faults
            ),
        )
        for topic in knowledge.topics
    )
    shared = dataclasses.replace(knowledge, topics=topics)
    verifier = Verifier(shared)
    twice = [
        record
        for record in generate_records(shared, DataConfig(n_examples=200))["train"]
        if record.output.count(text) == 2
    ]
    assert len(twice) > 5
    for record in twice:
        assert verifier.verify(record.output, record.input).passed


def test_an_item_that_begins_like_another_is_read_whole(knowledge):
    """The first swing thought of a topic, and the same with a second sentence."""
    texts = ("Breathe out.", "Breathe out. Stand tall.")
    topics = tuple(
        dataclasses.replace(
            topic,
            cues=tuple(
                dataclasses.replace(item, phrasings=(text,))
                for item, text in zip(topic.cues, texts, strict=False)
            ),
        )
        for topic in knowledge.topics
    )
    nested = dataclasses.replace(knowledge, topics=topics)
    verifier = Verifier(nested)
    cues = {1: 0, 2: 0}
    for record in generate_records(nested, DataConfig(n_examples=60))["train"]:
        verdict = verifier.verify(record.output, record.input)
        assert verdict.passed, verdict.reasons
        cues[2 if texts[1] in record.output else 1] += 1
    assert min(cues.values()) > 5


def test_threads_may_share_a_verifier(verifier, records):
    judge = partial(_judge, verifier)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(judge, records[:16])) == [judge(record) for record in records[:16]]


def _judge(verifier, record):
    return verifier.verify(record.output.replace("the ", "a "), record.input, nearest=True)


# Wrong answers: a right one with one thing changed. Each change returns the new answer, or None where it does not apply.


class Answer:
    """A right answer and what a change needs to know of it."""

    def __init__(self, record, verifier, knowledge):
        self.text, self.input, self.meta = record.output, record.input, record.meta
        self.index, self.knowledge = verifier.index, knowledge
        self.spans = {
            kind_of(span.origin): span.text
            for span in verifier.verify(self.text, self.input).sentences
        }
        self.area, self.severity, self.fault = (
            self.meta["area"],
            self.meta["severity"],
            self.meta["fault"],
        )
        self.current, self.target = (
            f"{self.meta[name] * 100:.1f}%" for name in ("current_score", "target_score")
        )
        self.family = CLUBS.get(self.meta["club"])

    def swap(self, kind, old, new):
        """The answer with the first `old` of its sentence of a kind replaced, or None where it has no such sentence."""
        sentence = self.spans.get(kind)
        return (
            sentence
            and old in sentence
            and self.text.replace(sentence, sentence.replace(old, new, 1))
        )

    def replace(self, kind, new):
        sentence = self.spans.get(kind)
        return sentence and new and self.text.replace(sentence, new)

    def other(self, kind, where):
        """The text of an entry of a kind for which `where` holds and which this golfer's hand does not change."""
        for entry in self.index.values():
            if entry.kind == kind and entry.left == entry.right and where(entry):
                return entry.right
        return None

    def is_for(self, entry):
        return entry.is_for(
            self.meta["club"], self.meta["level"], self.meta["audience"], self.severity
        )

    def area_of(self, entry):
        return self.knowledge.topic(entry.topic).area

    @property
    def drill(self):
        return next(drill for drill in self.knowledge.drills if drill.id == self.meta["drill"])


def kind_of(origin):
    parts = origin.split(".")
    if parts[0] == "say":
        return parts[1]
    return {1: "drill", 2: parts[-1]}.get(len(parts)) or parts[-2]


def another_score(answer, kind, score):
    return answer.swap(kind, getattr(answer, score), "3.0%")


def scores_swapped(answer, kind):
    if answer.current == answer.target or kind not in answer.spans:
        return None
    return answer.swap(kind, f"{answer.current}", "#") and answer.text.replace(
        answer.spans[kind],
        answer.spans[kind]
        .replace(answer.current, "#")
        .replace(answer.target, answer.current)
        .replace("#", answer.target),
    )


def the_other_two_names_swapped(answer):
    kinds = [kind for kind in ("strength", "weakest", "weakest_keep") if kind in answer.spans]
    others = {
        NAMES[name]: score
        for name, score in (answer.meta["all_scores"] or {}).items()
        if name != answer.area
    }
    if len(kinds) < 2:
        return None
    best, lowest = max(others, key=others.get), min(others, key=others.get)
    text = answer.text
    for kind, (old, new) in zip(kinds, ((best, lowest), (lowest, best)), strict=True):
        if old not in answer.spans[kind]:
            return None
        text = text.replace(answer.spans[kind], answer.spans[kind].replace(old, new))
    return text


def another_name(answer, kind):
    other = "balance" if answer.area != "balance" else "weight shift"
    return answer.swap(kind, NAMES[answer.area], other)


def sentence_of_another_area(answer):
    return answer.replace(
        "ideal",
        answer.other(
            "ideal", lambda entry: answer.area_of(entry) != answer.area and answer.is_for(entry)
        ),
    )


def sentence_of_another_topic(answer):
    def where(entry):
        return (
            answer.area_of(entry) == answer.area
            and entry.topic != answer.meta["topic"]
            and answer.is_for(entry)
        )

    return answer.replace("cues", answer.other("cues", where))


def sentence_of_another_fault(answer):
    def where(entry):
        return (
            entry.topic == answer.meta["topic"]
            and entry.fault != answer.fault
            and answer.is_for(entry)
        )

    return answer.replace("check", answer.other("check", where))


def words_of_another_gap(answer):
    if answer.severity not in WORDS:
        return answer.swap("score", "in line with", "clearly below") or answer.swap(
            "score", "above", "in line with"
        )
    return answer.swap(
        "score",
        WORDS[answer.severity],
        next(words for name, words in WORDS.items() if name != answer.severity),
    )


def no_words_for_the_gap(answer):
    return answer.swap(
        "score", f"{WORDS.get(answer.severity, 'in line with')} the target", "and the target"
    )


def invented_drill_step(answer):
    return answer.swap("drill", " Dose:", " Then jump over the ball. Dose:")


def drill_step_left_out(answer):
    return answer.swap("drill", f" {answer.drill.steps[1].text}", "")


def drill_without_its_dose(answer):
    return answer.swap("drill", f" Dose: {answer.drill.dose}.", "")


def drill_of_another_fault(answer):
    if not answer.fault or "easier" in answer.spans or "harder" in answer.spans:
        return None
    return answer.replace(
        "drill",
        answer.other(
            "drill", lambda entry: answer.fault not in entry.fixes and answer.is_for(entry)
        ),
    )


def drill_of_another_topic(answer):
    if answer.fault or "easier" in answer.spans or "harder" in answer.spans:
        return None
    return answer.replace(
        "drill",
        answer.other(
            "drill", lambda entry: entry.topic != answer.meta["topic"] and answer.is_for(entry)
        ),
    )


def invented_drill(answer):
    return answer.replace(
        "drill", 'Drill "Moon walk" with a ball: Walk backwards to the tee. Dose: 10 steps.'
    )


def second_drill(answer):
    other = answer.other(
        "drill",
        lambda entry: (
            answer.fault in entry.fixes
            and entry.drill != answer.meta["drill"]
            and answer.is_for(entry)
        ),
    )
    return other and add_step(answer, other)


def invented_second_drill(answer):
    return add_step(
        answer, 'Drill "Moon walk" with a ball: Walk backwards to the tee. Dose: 10 steps.'
    )


def no_drill(answer):
    lines = [line for line in answer.text.split("\n") if 'Drill "' not in line]
    return renumbered("\n".join(lines))


def step_of_the_drill_again(answer):
    return add_step(answer, answer.drill.steps[0].text)


def add_step(answer, text):
    """The answer with one more numbered line at the end of the others."""
    numbers = re.findall(r"(?m)^([0-9]+)[.] ", answer.text)
    last = re.search(rf"(?m)^{numbers[-1]}[.] .*$", answer.text)
    return f"{answer.text[: last.end()]}\n{len(numbers) + 1}. {text}{answer.text[last.end() :]}"


def renumbered(text):
    numbers = iter(range(1, 100))
    return re.sub(r"(?m)^[0-9]+[.] ", lambda match: f"{next(numbers)}. ", text)


def item_for_another_club(answer):
    if not answer.family:
        return None
    for topic in answer.knowledge.topics:
        if topic.id != answer.meta["topic"]:
            continue
        for item in topic.ideal:
            if (
                answer.family not in item.clubs
                and item.text not in answer.text
                and "{" not in item.text
            ):
                return answer.replace("ideal", item.text)
    return None


def adaptation_for_another_golfer(answer):
    def where(entry):
        return (
            entry.topic == answer.meta["topic"] and answer.meta["audience"] not in entry.audiences
        )

    return answer.replace("adaptations", answer.other("adaptations", where))


def harder_for_a_beginner(answer):
    return answer.spans.get("easier") and answer.text.replace(
        f"Easier: {answer.spans['easier']}", f"Harder: {answer.drill.harder.text}"
    )


def variation_of_another_drill(answer):
    return answer.replace(
        "easier",
        answer.other(
            "easier", lambda entry: entry.drill != answer.meta["drill"] and answer.is_for(entry)
        ),
    )


def for_the_other_hand(answer):
    for kind in ("effect", "feel", "observation", "cause", "steps", "drill", "check"):
        sentence = answer.spans.get(kind, "")
        if re.search(r"\b(left|right)\b", sentence):
            return answer.text.replace(
                sentence, re.sub(r"\b(left|right)\b", lambda match: SIDES[match[1]], sentence)
            )
    return None


def no_safety_note(answer):
    return "safety" in answer.spans and answer.text.replace(
        f"\nSafety: {answer.spans['safety']}", ""
    )


def needless_safety_note(answer):
    note = answer.other(
        "safety", lambda entry: entry.topic == answer.meta["topic"] and answer.is_for(entry)
    )
    return None if answer.severity == "large" or not note else f"{answer.text}\nSafety: {note}"


def figure_changed(answer):
    for kind in ("drill", "check", "ideal", "steps", "keep"):
        sentence = answer.spans.get(kind, "")
        figure = re.search(r"\b\d+\b", sentence)
        if figure:
            return answer.text.replace(
                sentence, sentence.replace(figure[0], str(int(figure[0]) + 777), 1)
            )
    return None


def look_alike_digits(answer, zero):
    wide = "".join(
        chr(ord(zero) + int(digit)) if digit.isdigit() else digit for digit in answer.current
    )
    return answer.swap("score", answer.current, wide)


def insert(answer, kind, text):
    sentence = answer.spans.get(kind)
    middle = sentence and sentence.index(" ")
    return sentence and answer.text.replace(sentence, sentence[:middle] + text + sentence[middle:])


def around(answer, kind, before, after):
    sentence = answer.spans.get(kind)
    return sentence and answer.text.replace(sentence, f"{before}{sentence}{after}")


def headings_exchanged(answer):
    return answer.text.replace(SHOULD, "#").replace(HAPPENING, SHOULD).replace("#", HAPPENING)


def noise(answer, alphabet, length=100_000):
    rng = random.Random(answer.text)
    return "".join(rng.choice(alphabet) for _ in range(length))


def driver_advice_for_another_club(answer):
    return answer.family in ("iron", "wedge", "wood") and answer.replace(
        "steps", "Tee it up off the lead heel."
    )


def steps_in_another_order(answer):
    """The two numbered steps of the fault exchanged, where they stand side by side."""
    steps = [
        span for span in re.findall(r"(?m)^[0-9]+[.] (.*)$", answer.text)
        if 'Drill "' not in span and not span.startswith("Check: ")
    ]  # fmt: skip
    if len(steps) != 2:
        return None
    return answer.text.replace(steps[0], "#").replace(steps[1], steps[0]).replace("#", steps[1])


def said_twice(answer):
    """Both phrasings of an ideal, side by side."""
    for topic in answer.knowledge.topics:
        for item in topic.ideal:
            if (
                len(item.phrasings) > 1
                and answer.spans["ideal"] in item.phrasings
                and "{" not in "".join(item.phrasings)
            ):
                ideal = answer.text.split(f"{SHOULD}\n")[1].split("\n")[0]
                return answer.text.replace(
                    ideal, f"{item.phrasings[0]} {item.phrasings[1]} {answer.spans['target']}"
                )
    return None


def praise_for_a_fault(answer):
    if answer.meta["kind"] != "fault":
        return None
    last = answer.spans.get("effect") or answer.spans["feel"]
    start, end = answer.text.index(answer.spans["observation"]), answer.text.index(last) + len(last)
    return f"{answer.text[:start]}Nothing needs to be rebuilt, so protect what you do well.{answer.text[end:]}"


def keep_line_for_a_fault(answer):
    def where(entry):
        return entry.topic == answer.meta["topic"] and answer.is_for(entry)

    keep = answer.fault and answer.other("keep", where)
    return add_step(answer, keep) if keep else None


def goal_without_a_fault(answer):
    if answer.fault:
        return None
    return f"{answer.text}\nGoal: take your {NAMES[answer.area]} from currently {answer.current} to the target of {answer.target}."


def only_the_drill_is_left(answer):
    # Without the check nothing tells which fault a guess was about.
    if answer.meta["kind"] == "unclear":
        return None
    lines = [
        line
        for line in answer.text.split("\n")
        if not re.match(r"[0-9]+[.] ", line) or 'Drill "' in line
    ]
    return renumbered("\n".join(lines))


def without(answer, kind, before="", after=""):
    sentence = answer.spans.get(kind)
    return sentence and answer.text.replace(f"{before}{sentence}{after}", "")


CHANGES = {
    "an empty answer": ("headings", lambda a: ""),
    "blanks alone": ("headings", lambda a: " \n \n"),
    "no heading at all": ("headings", lambda a: "Swing easy."),
    "a heading renamed": ("headings", lambda a: a.text.replace(HAPPENING, "WHAT IS GOING ON:")),
    "a heading in small letters": ("headings", lambda a: a.text.replace(STEPS, STEPS.lower())),
    "a heading twice": ("headings", lambda a: a.text.replace(STEPS, f"{STEPS}\n{STEPS}")),
    "headings exchanged": ("headings", headings_exchanged),
    "a heading that goes on": ("headings", lambda a: a.text.replace(f"{SHOULD}\n", f"{SHOULD} ")),
    "a part without text": ("headings", lambda a: re.sub(rf"(?s)({re.escape(HAPPENING)}).*({re.escape(STEPS)})", r"\1\n\n\2", a.text)),
    "a word before the first heading": ("headings", lambda a: f"Sure!\n\n{a.text}"),
    "the answer twice": ("headings", lambda a: f"{a.text}\n\n{a.text}"),
    "the answer cut off": ("headings", lambda a: a.text[: a.text.index(STEPS) - 20]),
    "100 kB of letters": ("headings", partial(noise, alphabet="abcdefg .,!?\n")),
    "100 kB of anything": ("headings", partial(noise, alphabet="".join(map(chr, range(1, 0x2FF))))),
    "100 kB of percentages": ("headings", lambda a: "balance 45.0% " * 7000),
    "noise below the headings": ("grounded", lambda a: f"{SHOULD}\nx\n\n{HAPPENING}\n{noise(a, 'ab. %9')}\n\n{STEPS}\ny"),
    "another area in the score": ("area", partial(another_name, kind="score")),
    "another area in the target": ("area", partial(another_name, kind="target")),
    "another area in the goal": ("area", partial(another_name, kind="goal")),
    "a sentence of another area": ("area", sentence_of_another_area),
    "a wrong current score": ("current_score", partial(another_score, kind="score", score="current")),
    "a wrong current score in the goal": ("current_score", partial(another_score, kind="goal", score="current")),
    "no score at all": ("current_score", partial(without, kind="score", after=" ")),
    "wide digits": ("current_score", partial(look_alike_digits, zero="\uff10")),
    "Arabic digits": ("numbers", partial(look_alike_digits, zero="\u0660")),
    "a wrong target": ("target_score", partial(another_score, kind="target", score="target")),
    "a wrong target beside the score": ("target_score", partial(another_score, kind="score", score="target")),
    "a wrong target in the goal": ("target_score", partial(another_score, kind="goal", score="target")),
    "current and target exchanged": ("current_score", partial(scores_swapped, kind="score")),
    "current and target exchanged, seen from the target": ("target_score", partial(scores_swapped, kind="score")),
    "current and target exchanged in the goal": ("target_score", partial(scores_swapped, kind="goal")),
    "a wrong strength": ("other_scores", lambda a: a.replace("strength", "Your impact at 2.0% is best.")),
    "the other two names exchanged": ("other_scores", the_other_two_names_swapped),
    "a score without a name": ("other_scores", lambda a: around(a, "cause", "", " That is 1.0%.")),
    "words of another gap": ("severity", words_of_another_gap),
    "no words for the gap": ("severity", no_words_for_the_gap),
    "a sentence appended": ("grounded", lambda a: f"{a.text}\nTrust yourself."),
    "a sentence appended to a line": ("grounded", lambda a: f"{a.text} Trust yourself."),
    "a character appended": ("grounded", lambda a: f"{a.text} \u2713"),
    "a line of HTML": ("grounded", lambda a: f"{a.text}\n<script>alert(1)</script>"),
    "a bold step": ("grounded", partial(around, kind="check", before="<b>", after="</b>")),
    "a zero-width space": ("grounded", partial(insert, kind="score", text="\u200b")),
    "a zero-width space between sentences": ("grounded", partial(around, kind="score", before="", after="\u200b")),
    "a soft hyphen": ("grounded", partial(insert, kind="cues", text="\u00ad")),
    "a word put before": ("grounded", partial(around, kind="observation", before="Never say: ", after="")),
    "a Cyrillic letter": ("grounded", lambda a: a.swap("drill", "Drill", "Dr\u0456ll")),
    "words for the other hand": ("grounded", for_the_other_hand),
    "a no-break space between sentences": ("grounded", lambda a: a.text.replace(f" {a.spans['target']}", f"\u00a0{a.spans['target']}")),
    "a figure changed": ("numbers", figure_changed),
    "a number of nowhere": ("numbers", lambda a: f"{a.text} Hit 413 balls."),
    "a numeral of nowhere": ("numbers", lambda a: f"{a.text} Hit \u2163 balls."),
    "a rule broken by a step": ("rules", lambda a: a.replace("steps", "Keep your head perfectly still.")),
    "a rule broken by a cue": ("rules", lambda a: a.replace("cues", "Stand as wide as possible.")),
    "a rule broken by an ideal": ("rules", lambda a: a.replace("ideal", "At impact the hips are square, and impact is all.")),
    "driver advice for another club": ("rules", driver_advice_for_another_club),
    "an invented drill step": ("drill", invented_drill_step),
    "a drill step left out": ("drill", drill_step_left_out),
    "a drill without its dose": ("drill", drill_without_its_dose),
    "a drill of another fault": ("drill", drill_of_another_fault),
    "a drill of another topic": ("drill", drill_of_another_topic),
    "an invented drill": ("drill", invented_drill),
    "two drills": ("drill", second_drill),
    "an invented drill beside a real one": ("drill", invented_second_drill),
    "no drill": ("drill", no_drill),
    "a drill step on its own": ("drill", step_of_the_drill_again),
    "an item for another club": ("fits", item_for_another_club),
    "an adaptation for another golfer": ("fits", adaptation_for_another_golfer),
    "a sentence of another topic": ("fits", sentence_of_another_topic),
    "a sentence of another fault": ("fits", sentence_of_another_fault),
    "harder for a beginner": ("fits", harder_for_a_beginner),
    "a variation of another drill": ("fits", variation_of_another_drill),
    "no safety note for a large gap": ("safety", no_safety_note),
    "a safety note for a small gap": ("safety", needless_safety_note),
    "steps in another order": ("composition", steps_in_another_order),
    "one ideal in both phrasings": ("composition", said_twice),
    "praise for a fault": ("composition", praise_for_a_fault),
    "a line of praise among the steps": ("composition", keep_line_for_a_fault),
    "a goal without a fault": ("composition", goal_without_a_fault),
    "no step but the drill": ("composition", only_the_drill_is_left),
    "no target": ("composition", partial(without, kind="target", before=" ")),
    "no swing thought": ("composition", partial(without, kind="cues", before="\nSwing thought: ")),
    "no adaptation": ("composition", lambda a: "adaptations" in a.spans and re.sub(r"(?m)^(As a|With limited).*\n", "", a.text)),
    "a check twice": ("composition", lambda a: "check" in a.spans and add_step(a, f"Check: {a.spans['check']}")),
    "an ideal for a swing thought": ("composition", lambda a: a.text.replace(a.spans["cues"], a.spans["ideal"])),
    "steps numbered wrongly": ("composition", lambda a: a.text.replace("\n2. ", "\n3. ")),
    "steps without numbers": ("composition", lambda a: re.sub(r"(?m)^[0-9]+[.] ", "", a.text)),
    "a label left out": ("composition", lambda a: a.text.replace("Swing thought: ", "")),
    "a label twice": ("composition", lambda a: a.text.replace("Swing thought: ", "Swing thought: Swing thought: ")),
    "an empty line too many": ("composition", lambda a: a.text.replace(f"\n\n{STEPS}", f"\n\n\n{STEPS}")),
    "two blanks": ("composition", lambda a: a.text.replace(f" {a.spans['target']}", f"  {a.spans['target']}")),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(records, verifier, knowledge):
    return [Answer(record, verifier, knowledge) for record in records[:500]]


@pytest.mark.parametrize(("check", "change"), CHANGES.values(), ids=CHANGES)
def test_a_changed_answer_fails_the_check_that_is_meant(verifier, answers, check, change):
    tried = 0
    for answer in answers:
        text = change(answer)
        if not text and text != "":
            continue
        assert text != answer.text
        verdict = verifier.verify(text, answer.input)
        assert check in failed(verdict), (text[:3000], verdict.reasons)
        assert len(verdict.reasons) == len(failed(verdict))
        if check == "composition":
            assert failed(verdict) == {"composition"}, verdict.reasons
        tried += 1
        if tried == (12 if len(text) < 50_000 else 3):
            break
    assert tried >= 3


def test_an_answer_to_another_request_fails(verifier, records):
    """Every record's answer under the next record's input: none is right there, bar its scores."""
    for record, other in pairwise(records[:800]):
        assert not verifier.verify(record.output, other.input).passed


def test_an_item_for_another_level_fails(knowledge, records):
    """The first swing thought of every topic is for advanced golfers alone."""
    topics = tuple(
        dataclasses.replace(
            topic, cues=(dataclasses.replace(topic.cues[0], levels=("advanced",)), *topic.cues[1:])
        )
        for topic in knowledge.topics
    )
    verifier, seen = Verifier(dataclasses.replace(knowledge, topics=topics)), set()
    for record in records[:600]:
        meta = record.meta
        if f"{meta['topic']}.cues.1" in meta["items"]:
            expected = set() if meta["level"] == "advanced" else {"fits", "composition"}
            assert failed(verifier.verify(record.output, record.input)) == expected
            seen.add(meta["level"])
    assert seen == {None, "beginner", "intermediate", "advanced"}


def with_line(text, name, value):
    lines = [line for line in text.split("\n") if not line.startswith(f"{name}: ")]
    return "\n".join([*lines[:4], f"{name}: {value}", *lines[4:]] if value else lines)


def test_a_right_handers_answer_fails_for_a_left_hander_if_it_names_a_side(verifier, records):
    tried = 0
    for record in records[:1000]:
        meta = record.meta
        turned = with_line(
            record.input, "Handedness", "left" if meta["handedness"] == "right" else "right"
        )
        verdict = verifier.verify(record.output, turned)
        assert ("grounded" in failed(verdict)) == bool(
            re.search(r"\b(left|right)\b", record.output)
        )
        tried += not verdict.passed
    assert tried > 100


def test_an_answer_for_a_driver_fails_for_a_wedge(verifier, records):
    driver = [
        record
        for record in records
        if record.meta["topic"] == "driver_setup" and record.meta["club"]
    ]
    assert driver
    for record in driver:
        verdict = verifier.verify(record.output, with_line(record.input, "Club", "sand wedge"))
        assert {"fits", "composition"} <= failed(verdict)
        assert failed(verdict) <= {"fits", "drill", "composition"}


def test_driver_advice_breaks_no_rule_for_the_driver(verifier, answers):
    tried = 0
    for answer in answers:
        if text := answer.replace("steps", "Tee it up off the lead heel."):
            verdict = verifier.verify(text, answer.input)
            assert verdict.checks["rules"] == (answer.family == "driver")
            assert not verdict.passed
            tried += answer.family == "driver"
    assert tried > 10


# What an answer is told.


def test_each_failed_check_has_one_reason_in_the_order_of_the_checks(verifier, records):
    record = next(
        record for record in records if record.meta["severity"] == "large" and record.meta["drill"]
    )
    score = next(
        span
        for span in verifier.verify(record.output, record.input).sentences
        if "say.score" in span.origin
    )
    current = f"{record.meta['current_score'] * 100:.1f}%"
    wrong = score.text.replace(current, "99.0%")
    verdict = verifier.verify(
        f"{record.output.replace(score.text, wrong)} Hit 413 balls.", record.input
    )
    assert list(failed_in_order(verdict)) == ["current_score", "grounded", "numbers", "composition"]
    current_score, grounded, numbers, composition = verdict.reasons
    assert "'99.0%'" not in current_score
    assert wrong in current_score
    assert f"99.0% as the current score, expected {current}" in current_score
    assert wrong in grounded
    assert grounded.startswith("2 of ")
    assert "'99.0%'" in numbers
    assert (
        composition
        == "Structure not checked, because other checks failed: current_score, grounded, numbers."
    )
    assert [span.text for span in verdict.sentences if span.origin is None] == [
        wrong,
        "Hit 413 balls.",
    ]


def failed_in_order(verdict):
    return (name for name, holds in verdict.checks.items() if not holds)


def test_a_drill_that_is_not_whole_is_shown_whole_in_the_reason(verifier, records, knowledge):
    answer = Answer(records[0], verifier, knowledge)
    reasons = " ".join(verifier.verify(drill_step_left_out(answer), answer.input).reasons)
    assert f"The drill {answer.drill.name!r} is not given whole" in reasons
    assert answer.drill.steps[1].text in reasons


def test_the_nearest_entry_is_that_of_a_search_through_all_of_them(verifier, records):
    """The same by comparing a sentence with every entry, one by one."""
    for record in records[:3]:
        text = re.sub(r"\b(if|when|and)\b", "but", record.output)
        request = verifier.request(record.input)
        texts = {name: entry.text(request.hand) for name, entry in verifier.index.items()}
        for name, phrase in SAY_BY_ID.items():
            slots = re.findall(r"{(\w+)}", phrase)
            if set(slots) <= set(request.slots):
                texts[name] = phrase.format_map(request.slots)
        grams = {name: trigrams(known) for name, known in texts.items()}
        verdict = verifier.verify(text, record.input, nearest=True)
        found = [span for span in verdict.sentences if span.origin is None]
        assert found
        for span in found:
            alike = {name: jaccard(trigrams(span.text), known) for name, known in grams.items()}
            assert span.similarity == pytest.approx(max(alike.values()))
            assert span.similarity == pytest.approx(alike[span.nearest])
    assert all(span.nearest is None for span in verifier.verify(text, record.input).sentences)


# Requests that contradict themselves.


def test_an_observation_counts_where_it_names_a_fault_that_has_an_answer(verifier, knowledge):
    fault = next(
        fault
        for fault in knowledge.faults
        if fault.area == "balance" and "large" in knowledge.topic(fault.topic).severities
    )
    driver = next(fault for fault in knowledge.faults if fault.topic == "driver_setup")
    small = next(
        fault
        for fault in knowledge.faults
        if "large" not in knowledge.topic(fault.topic).severities
    )

    def wanted(area, observation, current=0.3, **lines):
        request = Request(area, current, 0.8, observation=observation, **lines)
        return verifier.book.fault_of(verifier.request(request.text))

    assert wanted("balance", fault.name) == fault.id
    assert wanted("balance", fault.name, current=0.8) == ""
    assert wanted("balance", fault.name, current=0.9) == ""
    assert wanted("setup_quality", fault.name) == ""
    assert wanted("balance", f"{fault.name}, they say") == ""
    assert wanted("balance", None) == ""
    assert wanted("setup_quality", driver.name, club="driver") == driver.id
    assert wanted("setup_quality", driver.name) == driver.id
    assert wanted("setup_quality", driver.name, club="sand wedge") == ""
    assert wanted(small.area, small.name) == ""
    assert wanted(small.area, small.name, current=0.6) == small.id


def test_an_answer_about_another_fault_than_the_one_observed_fails(verifier, records, knowledge):
    for record in records[:100]:
        meta = record.meta
        if meta["kind"] != "fault":
            continue
        free = with_line(record.input, "Observation", "I slice it on the first tee")
        assert failed(verifier.verify(record.output, free)) == {"composition"}
        other = next(
            fault for fault in knowledge.faults
            if fault.area == meta["area"] and fault.id != meta["fault"]
            and verifier.book.fault_of(verifier.request(with_line(record.input, "Observation", fault.name)))
        )  # fmt: skip
        verdict = verifier.verify(record.output, with_line(record.input, "Observation", other.name))
        assert failed(verdict) == {"fits", "composition"}
        assert f"expected {other.id}, which the observation names" in verdict.reasons[0]


def test_the_current_score_counts_where_all_scores_contradict_it(verifier, records):
    tried = 0
    for record in records[:300]:
        meta = record.meta
        if meta["all_scores"]:
            own = f"{meta['area']} {meta['current_score']:.2f}"
            other = f"{meta['area']} {(meta['current_score'] + 0.5) % 1:.2f}"
            assert verifier.verify(record.output, record.input.replace(own, other)).passed
            tried += 1
    assert tried > 50


@pytest.mark.parametrize(
    ("sentence", "holds"),
    [
        ("Your impact is at 31.0% and your setup at 91.0%.", True),
        ("Your impact is at 91.0% and your setup at 31.0%.", False),
        ("At 31.0% your impact is the lowest.", True),
        ("At 91.0% your impact is the lowest.", False),
        ("That leaves a gap of 35.0% in balance.", True),
        ("That leaves a gap of 36.0% in balance.", False),
        ("That leaves a gap of 35.0%.", True),
        ("That leaves a gap of 35.0% in setup.", False),
        ("Your tempo and rhythm is at 31.0%.", False),
    ],
)
def test_a_score_is_held_against_the_name_beside_it(verifier, sentence, holds):
    """In a model's own words, too: the check of the scores does not ask where a sentence comes from."""
    text = Request(
        "balance",
        0.45,
        0.8,
        all_scores={"setup_quality": 0.91, "balance": 0.45, "impact_quality": 0.31},
    ).text
    score = "Your balance score is currently 45.0%, far below the target of 80.0%."
    answer = f"{SHOULD}\nStand tall.\n\n{HAPPENING}\n{score} {sentence}\n\n{STEPS}\n1. Stand tall."
    verdict = verifier.verify(answer, text)
    assert verdict.checks["other_scores"] == holds
    assert verdict.checks["current_score"]
    assert verdict.checks["target_score"]
    assert not verdict.checks["grounded"]


def test_a_malformed_input_is_refused(verifier):
    with pytest.raises(InputFormatError):
        verifier.verify("Swing easy.", "Area: putting")


def test_two_items_of_two_files_that_break_a_rule_together_fail(knowledge, verifier, records):
    """The topic's own file says one thing, and the drill of another the other; within a file, loading refuses it."""
    record = next(
        record
        for record in records
        if verifier.index[record.meta["drill"]].topic != record.meta["topic"]
    )
    heads = (record.output.split("\n")[1][:20], re.search(r'Drill "[^"]+"', record.output)[0])
    rule = Rule("never_both", "One or the other.", together=tuple(map(re.escape, heads)))
    strict = Verifier(dataclasses.replace(knowledge, rules=(*knowledge.rules, rule)))
    assert verifier.verify(record.output, record.input).passed
    assert failed(strict.verify(record.output, record.input)) == {"rules", "composition"}
    assert "never_both" in strict.verify(record.output, record.input).reasons[0]


# Whatever the text.


@pytest.fixture(scope="module")
def one(records):
    """An answer with a drill, a strength, a weakness and a safety note."""
    return next(
        record for record in records
        if record.meta["severity"] == "large" and "best of your other" in record.output and "lowest of your other" in record.output
    )  # fmt: skip


@settings(max_examples=300)
@given(text=st.text(st.characters(), max_size=400), nearest=st.booleans())
def test_no_text_makes_it_raise(verifier, one, text, nearest):
    verdict = verifier.verify(text, one.input, nearest)
    assert not verdict.passed
    assert not verdict.checks["headings"]


@settings(max_examples=300)
@given(data=st.data())
def test_an_answer_with_anything_put_in_or_taken_out_fails(verifier, one, data):
    text = one.output
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    new = data.draw(
        st.one_of(
            st.just(""),
            st.text(max_size=8),
            st.sampled_from(["\u200b", "0", " ", ".", "%", "\n", "\x80", "\ud800"]),
        )
    )
    changed = text[:start] + new + text[end:]
    if changed.strip(" \n") != text:
        assert not verifier.verify(changed, one.input, nearest=False).passed, changed


@pytest.mark.parametrize("letter", ["\u017f", "\u212a", "\u0131", "\u0130"])
@pytest.mark.parametrize(
    "place",
    ["{0}etup at 45.0% is far below the target", "wea{0} weight {0}hift 45.0%", 'Dr{0}ll "x"'],
)
def test_letters_that_fold_to_others_do_not_make_it_raise(verifier, one, letter, place):
    """The long s folds to s, the Kelvin sign to k, the dotless and the dotted i to i."""
    text = f"{SHOULD}\n{place.format(letter)}\n\n{HAPPENING}\n{place.format(letter)}\n\n{STEPS}\n{place.format(letter)}"
    assert not verifier.verify(text, one.input, nearest=True).passed
