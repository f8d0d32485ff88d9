"""Every right answer to a request is read and no other text: corruptions, other golfers' items, other requests; and advice without a score."""

import dataclasses
import itertools
import re
from itertools import combinations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.answer import GrammarBook, build_index, mirror, trace
from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUBS, LEVELS
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.knowledge import FIGURE
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.golf.request import InputFormatError, Request
from golf_nb_utils.golf.wording import SAY_BY_ID
from golf_nb_utils.settings import DataConfig

HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
SIDES = re.compile(r"\b(left|right)\b")
OTHER_SIDE = {"left": "right", "right": "left"}
ADAPTED = {
    "senior": "As a senior: ",
    "junior": "As a junior: ",
    "limited mobility": "With limited mobility: ",
}


@pytest.fixture(scope="module")
def index(knowledge):
    return build_index(knowledge)


@pytest.fixture(scope="module")
def book(knowledge):
    return GrammarBook(knowledge)


@pytest.fixture(scope="module")
def records(knowledge):
    """Six hundred records and thirty of unseen topics: every severity, audience and hand, and inputs without their optional lines."""
    return [
        record
        for rows in generate_records(knowledge, DataConfig(n_examples=600)).values()
        for record in rows
    ]


def request_of(record):
    return Request.from_text(record.input)


def read(book, record, text=None, request=None):
    """Read a record's answer, or another text, as an answer to its request, or to another."""
    grammar = book.grammar(request or request_of(record))
    return grammar.read(record.output if text is None else text)


def refused(book, record, text=None, request=None, match=None):
    with pytest.raises(GrammarError, match=match):
        read(book, record, text, request)


def rendered(record, index, name):
    """The text of one of the record's items as its answer has it, or nothing for a score sentence."""
    return index[name].text(record.meta["handedness"]) if name in index else ""


def turned(text):
    """A text with left and right exchanged: nothing in the knowledge names a side but the flight of the ball."""
    return SIDES.sub(lambda match: OTHER_SIDE[match[1]], text)


def replaced(record, index, mine, other):
    return record.output.replace(rendered(record, index, mine), rendered(record, index, other))


def kind_of(name):
    """The kind of sentence that an id stands for: ideal, drill, easier, score, ..."""
    parts = name.split(".")
    if parts[0] == "say":
        return parts[1]
    return {1: "drill", 2: parts[-1]}.get(len(parts)) or parts[-2]


# The index.


def test_the_index_has_every_sentence_and_drill_of_the_knowledge_for_both_hands(knowledge, index):
    sentences = knowledge.sentences()
    assert set(index) == set(sentences)
    for name, text in sentences.items():
        assert index[name].right == text.replace("{left}", "left").replace("{right}", "right")
        assert index[name].left == text.replace("{left}", "right").replace("{right}", "left")


def test_the_index_knows_whom_an_entry_is_for(knowledge, index):
    for topic in knowledge.topics:
        scopes = [
            (name, fault or "", item)
            for part, fault, item in topic.items()
            if part != "drill"
            for name in item.named_phrasings
        ]
        for name, fault, scope in scopes:
            entry = index[name]
            assert (entry.topic, entry.fault) == (topic.id, fault)
            assert (entry.clubs, entry.levels, entry.audiences) == (
                scope.clubs,
                scope.levels,
                scope.audiences,
            )
            assert entry.any_club == all(club in scope.clubs for club in topic.clubs)
            assert entry.any_level == all(level in scope.levels for level in topic.levels)
            assert entry.severities == scope.severities
            assert (entry.drill, entry.fixes, entry.item) == ("", (), scope.id)


def test_the_parts_of_a_drill_are_for_whom_the_drill_is_for_and_for_any_gap(knowledge, index):
    for topic in knowledge.topics:
        for drill in topic.drills:
            for name in (
                drill.id,
                drill.easier.id,
                drill.harder.id,
                *(step.id for step in drill.steps),
            ):
                entry = index[name]
                assert (entry.topic, entry.fault, entry.drill, entry.fixes) == (
                    topic.id,
                    "",
                    drill.id,
                    drill.fixes,
                )
                assert (entry.clubs, entry.levels, entry.audiences) == (
                    drill.clubs,
                    drill.levels,
                    drill.audiences,
                )
                assert entry.any_club == all(club in drill.clubs for club in topic.clubs)
                assert entry.any_level == all(level in drill.levels for level in topic.levels)
                assert entry.severities == ("none", "slight", "clear", "large")


@pytest.mark.parametrize(
    ("hand", "expected"), [("right", "left, then right"), ("left", "right, then left")]
)
def test_the_flight_of_the_ball_is_mirrored_for_a_left_hander(hand, expected):
    assert mirror("{left}, then {right}", hand) == expected
    assert mirror("No side at all.", hand) == "No side at all."


# What is read, and what is not.


def test_every_generated_record_is_read_back_as_what_it_was_made_of(records, tiny_records, book):
    for record in [*records, *(record for rows in tiny_records.values() for record in rows)]:
        found = read(book, record)
        assert found.names == record.meta["items"]
        meta = record.meta
        assert book.about(found.names) == (meta["topic"], meta["fault"], meta["drill"])


def first(record, index, part):
    """The text of the record's first item of a part."""
    return next(
        rendered(record, index, name)
        for name in record.meta["items"]
        if f".{part}." in name and name in index
    )


def exchanged(text, one, other):
    return text.replace(one, "\1").replace(other, one).replace("\1", other)


CORRUPTIONS = {
    "a sentence added in the first part": lambda text, ideal, cue: text.replace(
        ideal, f"{ideal} Trust your hands."
    ),
    "a sentence added before the first heading": lambda text, ideal, cue: (
        f"Sure, here it is. {text}"
    ),
    "a sentence added after the last": lambda text, ideal, cue: f"{text} Good luck.",
    "a line added after the last": lambda text, ideal, cue: f"{text}\nGood luck.",
    "a step added": lambda text, ideal, cue: text.replace(
        "\nSwing thought", "\n9. Relax.\nSwing thought"
    ),
    "a safety note added": lambda text, ideal, cue: f"{text}\nSafety: Drink water.",
    "a sentence removed": lambda text, ideal, cue: text.replace(f"{ideal} ", ""),
    "a sentence said twice": lambda text, ideal, cue: text.replace(ideal, f"{ideal} {ideal}"),
    "the cue removed with its label": lambda text, ideal, cue: text.replace(
        f"\nSwing thought: {cue}", ""
    ),
    "the label of the cue removed": lambda text, ideal, cue: text.replace("Swing thought: ", ""),
    "another label for the cue": lambda text, ideal, cue: text.replace(
        "Swing thought: ", "Swing idea: "
    ),
    "a word before a sentence": lambda text, ideal, cue: text.replace(ideal, f"Perhaps: {ideal}"),
    "no full stop": lambda text, ideal, cue: text.replace(ideal, ideal[:-1]),
    "lower case": lambda text, ideal, cue: text.lower(),
    "the numbering begins with two": lambda text, ideal, cue: re.sub(
        r"(?m)^\d(?=\. )", lambda n: str(int(n[0]) + 1), text
    ),
    "the numbering skips a number": lambda text, ideal, cue: text.replace("\n2. ", "\n7. "),
    "a number twice": lambda text, ideal, cue: text.replace("\n2. ", "\n1. "),
    "a number with a zero before it": lambda text, ideal, cue: text.replace("\n1. ", "\n01. "),
    "all numbers with a zero before them": lambda text, ideal, cue: re.sub(
        r"(?m)^(?=\d\. )", "0", text
    ),
    "a number of another script": lambda text, ideal, cue: text.replace("\n1. ", "\n\u0661. "),
    "a sentence and the cue exchanged": lambda text, ideal, cue: exchanged(text, ideal, cue),
    "the cue first": lambda text, ideal, cue: (
        f"Swing thought: {cue}\n" + text.replace(f"\nSwing thought: {cue}", "")
    ),
    "the label of another line for the cue": lambda text, ideal, cue: text.replace(
        "Swing thought: ", "Safety: "
    ),
    "the numbering backwards": lambda text, ideal, cue: exchanged(text, "\n1. ", "\n2. "),
    "a step without its number": lambda text, ideal, cue: text.replace("\n2. ", "\n"),
    "bullets for numbers": lambda text, ideal, cue: re.sub(r"(?m)^\d\. ", "- ", text),
    "the first two headings exchanged": lambda text, ideal, cue: exchanged(
        text, HEADINGS[0], HEADINGS[1]
    ),
    "the last two headings exchanged": lambda text, ideal, cue: exchanged(
        text, HEADINGS[1], HEADINGS[2]
    ),
    "a heading missing": lambda text, ideal, cue: text.replace(f"{HEADINGS[1]}\n", ""),
    "a heading twice": lambda text, ideal, cue: text.replace(
        HEADINGS[1], f"{HEADINGS[1]}\n{HEADINGS[1]}"
    ),
    "a heading with another word": lambda text, ideal, cue: text.replace(
        "WHAT TO DO", "WHAT TO TRY"
    ),
    "parts without an empty line between": lambda text, ideal, cue: text.replace("\n\n", "\n"),
    "a line break between two sentences": lambda text, ideal, cue: text.replace(
        f"{ideal} ", f"{ideal}\n"
    ),
    "two spaces between two sentences": lambda text, ideal, cue: text.replace(
        f"{ideal} ", f"{ideal}  "
    ),
    "a space at the end": lambda text, ideal, cue: f"{text} ",
    "an empty line at the end": lambda text, ideal, cue: f"{text}\n",
    "nothing left": lambda text, ideal, cue: "",
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupted_answer_is_refused(records, index, book, corrupt):
    for record in records[::10]:
        text = corrupt(record.output, first(record, index, "ideal"), first(record, index, "cues"))
        assert text != record.output
        refused(book, record, text, match=r"^after .* stands .*, expected .*[.]$")


def test_an_answer_with_one_word_of_any_of_its_sentences_changed_is_refused(records, index, book):
    for record in records[::10]:
        for name in record.meta["items"]:
            words = rendered(record, index, name).split(" ")
            for place in {0, len(words) // 2, len(words) - 1} if words[0] else ():
                other = " ".join([*words[:place], "banana", *words[place + 1 :]])
                refused(book, record, record.output.replace(" ".join(words), other))


def test_an_answer_with_any_of_its_numbers_changed_is_refused(records, book):
    for record in records[::10]:
        text = record.output
        numbers = list(re.finditer(r"\d+", text))
        assert len(numbers) > 8, "two scores twice or more, a dose, and the steps"
        for number in numbers:
            for other in (int(number[0]) + 1, int(number[0]) + 10):
                refused(book, record, f"{text[: number.start()]}{other}{text[number.end() :]}")


@settings(max_examples=400)
@given(data=st.data())
def test_an_answer_with_any_one_character_replaced_or_removed_is_refused(records, book, data):
    record = data.draw(st.sampled_from(records[::20]), label="record")
    text = record.output
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    other = data.draw(
        st.one_of(st.just(""), st.characters(), st.sampled_from("aeo 019.\n\0%")), label="other"
    )
    assume(other != text[place])
    refused(book, record, text[:place] + other + text[place + 1 :])


@settings(max_examples=200)
@given(data=st.data())
def test_an_answer_with_a_character_put_in_or_two_exchanged_is_refused(records, book, data):
    record = data.draw(st.sampled_from(records[::20]), label="record")
    text = record.output
    place = data.draw(st.integers(0, len(text) - 2), label="place")
    if data.draw(st.booleans(), label="put in"):
        character = data.draw(st.characters(), label="character")
        changed = text[:place] + character + text[place:]
    else:
        changed = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assume(changed != text)
    refused(book, record, changed)


def test_any_sentence_said_twice_or_left_out_is_refused(records, book):
    """But for the word on another score, and the variation of a drill: an answer is right without them."""
    optional = {"strength", "weakest", "weakest_keep", "easier", "harder"}
    left_out = set()
    for record in records[::20]:
        for text, name in read(book, record).sentences:
            refused(book, record, record.output.replace(text, f"{text} {text}"))
            without = record.output.replace(text, "")
            refused(book, record, without)
            before = {"easier": " Easier: ", "harder": " Harder: "}.get(kind_of(name), " ")
            without = record.output.replace(before + text, "")
            if without == record.output:
                continue
            if kind_of(name) in optional:
                read(book, record, without)
                left_out.add(kind_of(name))
            else:
                refused(book, record, without)
    assert left_out == optional


def test_two_sentences_that_changed_places_are_refused(records, book):
    # The steps and the drill come in several orders, so that these may change places.
    free = {"steps", "keep", "drill"}
    pairs = set()
    for record in records[::60]:
        for (one, name), (other, other_name) in combinations(read(book, record).sentences, 2):
            kinds = {kind_of(name), kind_of(other_name)}
            if len(kinds) == 2 and not kinds <= free:
                pairs.add(frozenset(kinds))
                refused(book, record, exchanged(record.output, one, other))
    assert len(pairs) > 60


LABELS = (
    "Check",
    "Easier",
    "Harder",
    "Swing thought",
    "Safety",
    "As a senior",
    "As a junior",
    "With limited mobility",
)


@pytest.mark.parametrize("label", LABELS)
def test_a_sentence_under_another_label_or_none_is_refused(records, book, label):
    labelled = [record for record in records if f"{label}: " in record.output]
    assert labelled
    for record in labelled[:: len(labelled) // 10 + 1]:
        for other in ("", *(f"{other}: " for other in (*LABELS, "Goal") if other != label)):
            refused(book, record, record.output.replace(f"{label}: ", other))


@pytest.mark.parametrize("label", ["Check", "Easier", "Safety", "As a senior", "Goal"])
def test_a_step_under_a_label_that_it_should_not_have_is_refused(records, book, label):
    for record in records[::20]:
        step = re.search(r"(?m)^\d\. (?!Check|Drill)", record.output)[0]
        refused(book, record, record.output.replace(step, f"{step}{label}: "))


@pytest.mark.parametrize("place", ["ideal", "cues"])
@pytest.mark.parametrize(
    "character", ["\0", "\1", "\ufffd", *map(chr, range(0xE000, 0xE004))], ids=ascii
)
def test_no_character_stands_for_a_sentence(records, index, book, place, character):
    record = records[0]
    name = next(name for name in record.meta["items"] if kind_of(name) == place)
    refused(book, record, record.output.replace(rendered(record, index, name), character))
    refused(book, record, f"{record.output} {character}")


def test_an_answer_made_of_balance_items_is_refused_under_a_tempo_request(book, records):
    """The scores and their names are those of the request; every other sentence is about balance."""
    tried = 0
    for record in records:
        if record.meta["area"] != "balance":
            continue
        request = request_of(record)
        scores = {
            name: score for name, score in request.other_scores.items() if name != "tempo_rhythm"
        }
        balance = dataclasses.replace(request, observation=None, all_scores=scores)
        for observation in (None, request.observation):
            tempo = dataclasses.replace(balance, area="tempo_rhythm", observation=observation)
            text = book.draw(balance, 1).text
            for phrase in SAY_BY_ID.values():
                if {"label"} <= set(re.findall(r"{(\w+)}", phrase)):
                    text = text.replace(
                        phrase.format_map(balance.slots), phrase.format_map(tempo.slots)
                    )
            assert "tempo and rhythm" in text
            refused(book, record, text, tempo)
            tried += 1
    assert tried > 100


# What is needed for an answer to be whole.


def one_left_out(text, sentence):
    """The text without a sentence of its first part, or without a numbered line, the rest numbered again."""
    lines = [
        line for line in text.split("\n") if not re.fullmatch(rf"\d\. {re.escape(sentence)}", line)
    ]
    numbers = iter(range(1, 9))
    lines = [re.sub(r"^\d\. ", lambda _: f"{next(numbers)}. ", line) for line in lines]
    return "\n".join(lines).replace(f"{sentence} ", "", 1)


@pytest.mark.parametrize("kind", ["ideal", "steps", "keep"])
def test_two_ideals_and_two_steps_are_said_where_there_are_two(
    knowledge, records, index, book, kind
):
    """And one where there is one: each topic cut down to its first ideal, keep and step."""
    topics = [
        dataclasses.replace(
            topic,
            ideal=topic.ideal[:1],
            keep=topic.keep[:1],
            faults=tuple(
                dataclasses.replace(fault, steps=fault.steps[:1]) for fault in topic.faults
            ),
        )
        for topic in knowledge.topics
    ]
    little = GrammarBook(dataclasses.replace(knowledge, topics=tuple(topics)))
    tried = 0
    for record in records[::3]:
        own = [name for name in record.meta["items"] if kind_of(name) == kind]
        if len(own) == 2:
            text = one_left_out(record.output, rendered(record, index, own[tried % 2]))
            assert len(text) < len(record.output)
            refused(book, record, text)
            tried += 1
    assert tried > 10
    for area in AREAS:
        request = Request(area, 0.2 if kind == "steps" else 0.8, 0.8, "7-iron", "advanced")
        if little.subjects(request):
            names = little.draw(request, 1).names
            assert [kind_of(name) for name in names].count(kind) == 1


def test_the_goal_is_said_for_a_fault_and_for_no_other_answer(records, book):
    for record in records[::5]:
        goal = re.search(r"\nGoal: .*", record.output)
        assert bool(goal) == (record.meta["kind"] == "fault")
        if goal:
            refused(book, record, record.output.replace(goal[0], ""))


def test_who_does_not_say_the_club_is_not_told_about_the_driver_alone(book):
    """Unless it is the driver's fault that was observed, or there is nothing else."""
    asked = Request("setup_quality", 0.4, 0.8, "driver", "advanced")
    assert {book.about(book.draw(asked, seed).names)[1] for seed in range(200)} >= {"SF16"}
    unsaid = dataclasses.replace(asked, club=None)
    fault = book.faults["SF16"]
    assert fault.topic == "driver_setup"
    observed = [dataclasses.replace(one, observation=fault.name) for one in (asked, unsaid)]
    for seed in range(20):
        answer = book.draw(observed[0], seed)
        # To say that it is so, somebody must have seen it.
        refused(book, None, answer.text, asked)
        refused(book, None, answer.text, unsaid)
        answer = book.draw(observed[1], seed)
        assert book.grammar(observed[1]).read(answer.text) == answer
        assert book.about(answer.names)[1] == "SF16"
    assert ("driver_setup", "SF16") in book.subjects(asked)
    assert all(topic != "driver_setup" for topic, _ in book.subjects(unsaid))


def test_a_beginner_is_refused_a_figure_where_there_is_another_way_to_say_it(book, index):
    """The same answer holds for an advanced golfer; a beginner's drill has its dose all the same."""
    figures = {entry.item for entry in index.values() if FIGURE.search(entry.right)}
    tried = 0
    for area, seed in product(AREAS, range(150)):
        advanced = Request(area, 0.6, 0.8, "7-iron", "advanced")
        beginner = dataclasses.replace(advanced, level="beginner")
        answer = book.draw(advanced, seed)
        own = {name for name in answer.names if name in index and not index[name].drill}
        numbered = {name for name in own if index[name].item in figures}
        avoidable = [
            name for name in numbered
            if any(index[other].item not in figures for other, _ in book.pool(index[name].fault or index[name].topic, index[name].kind, beginner))
        ]  # fmt: skip
        if avoidable and " Harder: " not in answer.text:
            refused(book, None, answer.text, beginner)
            tried += 1
    assert tried > 10


# Whom the items are for.


@pytest.mark.parametrize("part", ["ideal", "keep", "cues", "safety"])
def test_an_item_of_another_topic_cannot_take_a_place(records, index, book, part):
    having = [
        record for record in records if any(kind_of(name) == part for name in record.meta["items"])
    ]
    tried = 0
    for record in having[:20]:
        mine = next(name for name in record.meta["items"] if kind_of(name) == part)
        for other, entry in index.items():
            same = ("kind", "clubs", "levels", "audiences", "severities", "any_club", "any_level")
            if entry.topic != record.meta["topic"] and all(
                getattr(index[mine], field) == getattr(entry, field) for field in same
            ):
                refused(book, record, replaced(record, index, mine, other))
                tried += 1
                break
    assert tried > 15


@pytest.mark.parametrize("part", ["observation", "cause", "effect", "feel", "check", "steps"])
def test_an_item_of_another_fault_cannot_take_a_place(records, index, book, part):
    """Neither of the same topic nor of another."""
    tried = {True: 0, False: 0}
    for record in records[::3]:
        own = [name for name in record.meta["items"] if kind_of(name) == part]
        fault, topic = record.meta["fault"], record.meta["topic"]
        for mine, is_near in product(own[:1], (True, False)):
            others = (
                name for name, entry in index.items()
                if entry.kind == part and entry.fault != fault and (entry.topic == topic) == is_near
                and entry.is_for(*request_of(record).case)
            )  # fmt: skip
            if other := next(others, None):
                refused(book, record, replaced(record, index, mine, other))
                tried[is_near] += 1
    assert min(tried.values()) > 20


def test_a_drill_that_does_not_fix_the_fault_cannot_take_a_place(knowledge, records, index, book):
    tried = 0
    for record in records[::3]:
        meta = record.meta
        if any(kind_of(name) in ("easier", "harder") for name in meta["items"]):
            continue
        for drill in knowledge.drills:
            does_fix = (
                meta["fault"] in drill.fixes if meta["fault"] else drill.topic == meta["topic"]
            )
            if not does_fix and index[drill.id].is_for(*request_of(record).case):
                refused(book, record, replaced(record, index, meta["drill"], drill.id))
                tried += 1
                break
    assert tried > 100


@pytest.mark.parametrize("kind", ["easier", "harder"])
def test_a_variation_of_another_drill_cannot_take_a_place(records, index, book, kind):
    tried = 0
    for record in records[::3]:
        mine = f"{record.meta['drill']}.{kind}"
        if mine in record.meta["items"]:
            for other, entry in index.items():
                if (
                    entry.kind == kind
                    and other != mine
                    and record.meta["fault"] in entry.fixes
                    and entry.is_for(*request_of(record).case)
                ):
                    refused(book, record, replaced(record, index, mine, other))
                    tried += 1
    assert tried > 10


def misfits(knowledge, records):
    """(what is wrong, record, listed item, item of the same part that must not take its place), one thing wrong at a time."""
    for record in records:
        meta = record.meta
        topic = knowledge.topic(meta["topic"])
        for (part, fault, item), (other_part, other_fault, other) in product(
            topic.items(), topic.items()
        ):
            if part != other_part or item.id not in meta["items"] or other.id in meta["items"]:
                continue
            wrong = {
                "fault": fault != other_fault,
                "club": meta["club"] and CLUBS[meta["club"]] not in other.clubs,
                "one club of several": not meta["club"] and set(other.clubs) < set(topic.clubs),
                "level": meta["level"] and meta["level"] not in other.levels,
                "one level of several": not meta["level"] and set(other.levels) < set(topic.levels),
                "audience": meta["audience"] not in other.audiences,
                "severity": meta["severity"] not in other.severities,
            }
            if sum(map(bool, wrong.values())) == 1:
                yield next(name for name, value in wrong.items() if value), record, item, other


def test_an_item_of_the_same_topic_for_another_fault_club_or_audience_cannot_take_a_place(
    knowledge, records, index, book
):
    seen = set()
    for wrong, record, item, other in misfits(knowledge, records[::3]):
        seen.add(wrong)
        refused(book, record, replaced(record, index, item.id, other.id))
    assert {"fault", "club", "one club of several", "audience"} <= seen


def test_advice_adapted_to_an_audience_is_refused_once_the_input_names_it_no_longer(records, book):
    adapted = [record for record in records if record.meta["audience"] != "adult"]
    assert {record.meta["audience"] for record in adapted} == set(ADAPTED)
    for record in adapted:
        refused(book, record, request=dataclasses.replace(request_of(record), audience=None))


# What the request says.


def test_a_fault_is_refused_where_the_gap_is_met_and_no_fault_where_it_is_not(records, book):
    for record in records[::5]:
        request = request_of(record)
        met = record.meta["fault"] == ""
        other = 0.1 if met else request.target_score
        other = dataclasses.replace(request, current_score=other)
        assert (other.severity == "none") != met
        refused(book, record, request=other)
        # With its scores put right, too.
        text = record.output.replace(request.slots["current"], other.slots["current"])
        text = text.replace(f"{request.slots['words']} the", f"{other.slots['words']} the")
        refused(book, record, text, other)


@pytest.mark.parametrize("name", ["current_score", "target_score"])
@pytest.mark.parametrize("step", [-0.01, 0.01])
def test_an_answer_is_refused_once_a_score_of_the_input_is_another(records, book, name, step):
    for record in records[::10]:
        request = request_of(record)
        other = min(1.0, max(0.0, getattr(request, name) + step))
        if round(other, 2) != getattr(request, name):
            refused(book, record, request=dataclasses.replace(request, **{name: other}))


@pytest.mark.parametrize(
    ("kind", "extreme", "far", "step"), [("strength", max, 0.0, 0.01), ("weakest", min, 1.0, -0.01)]
)
def test_an_answer_is_refused_once_the_other_score_that_it_names_is_another(
    records, book, kind, extreme, far, step
):
    naming = [
        record
        for record in records
        if any(name.startswith(f"say.{kind}") for name in record.meta["items"])
    ]
    assert len(naming) > 50
    for record in naming[::10]:
        request = request_of(record)
        others = request.other_scores
        name = extreme(others, key=others.get)
        for other in (far, others[name] + step):
            scores = request.all_scores | {name: other}
            refused(book, record, request=dataclasses.replace(request, all_scores=scores))
        refused(book, record, request=dataclasses.replace(request, all_scores=None))


def test_a_left_handers_answer_is_a_right_handers_with_the_sides_exchanged(records, book):
    sided = [record for record in records if SIDES.search(record.output)]
    assert {record.meta["handedness"] for record in sided} == {"right", "left"}
    for record in sided:
        hand = OTHER_SIDE[record.meta["handedness"]]
        other = dataclasses.replace(request_of(record), handedness=hand)
        assert read(book, record, turned(record.output), other).names == record.meta["items"]


def test_a_ball_that_flies_to_the_wrong_side_is_refused(records, book):
    for record in records:
        if SIDES.search(record.output):
            request, hand = request_of(record), record.meta["handedness"]
            refused(book, record, request=dataclasses.replace(request, handedness=OTHER_SIDE[hand]))
            refused(book, record, turned(record.output))
            unsaid = dataclasses.replace(request, handedness=None)
            if hand == "left":
                refused(book, record, request=unsaid)
            else:
                read(book, record, request=unsaid)


@pytest.mark.parametrize(
    "line",
    ["Club: putter", "Level: pro", "Handedness: both", "Golfer: child", "Mood: good", "no line"],
)
def test_a_record_with_a_malformed_input_is_refused(records, line):
    with pytest.raises(InputFormatError):
        Request.from_text(f"{records[0].input}\n{line}")


# A part of the knowledge.


def test_a_book_of_some_topics_and_drills_says_nothing_else(knowledge, book, index):
    """And what it says is right for the whole book, too."""
    topics = [topic.id for topic in knowledge.topics if topic.area == "balance"][:2]
    own = {
        fault.id: tuple(d for d in knowledge.drills_for(fault.id) if d.topic == fault.topic)
        for fault in knowledge.faults
    }
    part = GrammarBook(knowledge, topics, own)
    seen = set()
    for seed, gap in product(range(40), (0.0, 0.1, 0.5)):
        request = Request("balance", 0.9 - gap, 0.9, "7-iron", "intermediate")
        answer = part.draw(request, seed)
        assert book.grammar(request).read(answer.text) == answer
        entries = [index[name] for name in answer.names if name in index]
        assert {entry.topic for entry in entries} <= set(topics)
        seen.update(entry.topic for entry in entries)
    assert seen == set(topics)
    assert part.subjects(Request("tempo_rhythm", 0.3, 0.8)) == []
    with pytest.raises(GrammarError, match="the knowledge on tempo_rhythm has no answer"):
        part.draw(Request("tempo_rhythm", 0.3, 0.8), 0)


def test_the_phrasings_of_an_item_are_drawn_as_often_as_each_other(book, index):
    request = Request("balance", 0.4, 0.9, "7-iron", "intermediate")
    several = {entry.item for name, entry in index.items() if name != entry.item}
    names = [name for seed in range(600) for name in book.draw(request, seed).names]
    names = [name for name in names if name in index and index[name].item in several]
    second = sum(name != index[name].item for name in names)
    assert len(names) > 600
    assert 0.45 < second / len(names) < 0.55


# Where the sentences of an answer stand in the files.


def test_the_trace_of_an_answer_leads_from_each_sentence_to_its_line_and_its_sources(
    knowledge, records, book
):
    texts = knowledge.sentences()
    folder = knowledge.topics[0].path.parent.parent
    for record in records[::100]:
        rows = trace(read(book, record).sentences, knowledge)
        assert [name for _, name, _, _ in rows] == record.meta["items"]
        for sentence, name, place, sources in rows:
            assert sentence in record.output
            if name in SAY_BY_ID:
                assert (place, sources) == ("wording.py", "the request")
                continue
            file, line = place.split(":")
            (path,) = folder.glob(f"*/{file}")
            written = path.read_text(encoding="utf-8").splitlines()[int(line) - 1]
            # A further phrasing, such as ideal.3b, goes by the line of its item.
            item = re.sub(r"(?<=[0-9])[b-z]$", "", name)
            assert (
                f"## Drill {name}: "
                if name == record.meta["drill"]
                else " ".join(texts[item].split()[:3])
            ) in written
            assert set(filter(None, sources.split(", "))) <= set(knowledge.sources)


# Advice without a score: for this golfer, in this hand, against this fault.


def advice(book, area, fault="", case=(None, None, "adult"), seed=1, **more):
    club, level, audience = case
    request = Request(area, None, None, club, level, observation=fault, audience=audience, **more)
    answer = book.draw(request, seed)
    assert book.grammar(request).read(answer.text) == answer
    return answer


@pytest.fixture(scope="module")
def items(knowledge):
    """{id: the item or drill, its topic}, of every phrasing."""
    found = {}
    for topic in knowledge.topics:
        for _, _, item in topic.items():
            found |= dict.fromkeys(item.named_phrasings, (item, topic))
        found |= {drill.id: (drill, topic) for drill in topic.drills}
    return found


def named(answer, items):
    return [items[name] for name in answer.names if not name.startswith("general.")]


@pytest.mark.parametrize("area", AREAS)
def test_every_item_of_general_advice_is_for_the_golfer_and_all_are_of_one_topic(book, items, area):
    cases = itertools.product((None, *CLUBS), (None, *LEVELS), AUDIENCES)
    for seed, (club, level, audience) in enumerate(cases):
        answer = advice(book, area, case=(club, level, audience), seed=seed)
        found = named(answer, items)
        assert len({topic.id for _, topic in found}) == 1
        for item, topic in found:
            assert topic.area == area
            assert set([CLUBS[club]] if club else topic.clubs) <= set(item.clubs), item
            assert set([level] if level else topic.levels) <= set(item.levels), item
            assert audience in item.audiences
        assert items[book.about(answer.names)[2]][0].text in answer.text
        assert [label for label in ADAPTED.values() if label in answer.text] == (
            [ADAPTED[audience]] if audience in ADAPTED else []
        )


def test_a_left_hander_gets_the_sentences_for_a_left_hander(knowledge, index):
    # No sentence of today's topics that is used here has a left or right in it.
    sides = {
        name: dataclasses.replace(
            entry, left=f"{entry.left} (left)", right=f"{entry.right} (right)"
        )
        for name, entry in index.items()
    }
    marked = GrammarBook(knowledge, index=sides)
    for area, hand in itertools.product(AREAS, ("right", "left")):
        sentences = advice(marked, area, handedness=hand, seed=4).sentences
        assert [sentence.endswith(f" ({hand})") for sentence, _ in sentences] == [
            not name.startswith("general.") for _, name in sentences
        ]


def test_the_steps_the_check_and_the_drill_are_against_the_fault_that_is_named(
    book, knowledge, items
):
    for fault, seed in itertools.product(knowledge.faults, range(3)):
        answer = advice(book, fault.area, fault.name, seed=seed)
        found = named(answer, items)
        assert [item in fault.steps for item, _ in found].count(True) == 2
        assert [item in fault.check for item, _ in found].count(True) == 1
        topic, about, drill = book.about(answer.names)
        assert (topic, about) == (fault.topic, fault.id)
        assert fault.id in items[drill][0].fixes
        assert {topic.id for item, topic in found if item.id != drill} == {fault.topic}


def test_general_advice_without_a_fault_is_about_none(book, items):
    for area, seed in itertools.product(AREAS, range(20)):
        answer = advice(book, area, seed=seed)
        assert [item in topic.keep for item, topic in named(answer, items)].count(True) == 2
        kinds = {kind_of(name) for name in answer.names if name.count(".") == 2}
        assert kinds == {"ideal", "keep", "cues"}


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (True, "Without a score and a target for your tempo and rhythm"),
        (False, "It is not said which part"),
    ],
)
def test_general_advice_says_why_there_is_no_score(book, known, words):
    text = advice(book, "tempo_rhythm", area_is_known=known).text
    assert f"{HEADINGS[1]}\n{words}" in text
    assert "%" not in text
    assert "Goal: " not in text
    assert "Safety: " not in text


def test_the_seed_draws_general_advice_and_draws_the_same_again(book):
    texts = [advice(book, "balance", seed=seed).text for seed in (*range(30), *range(30))]
    assert texts[:30] == texts[30:]
    assert len(set(texts)) > 20


def test_general_advice_with_more_or_less_than_its_sentences_is_refused(book):
    request = Request("balance", audience="senior")
    answer = book.draw(request, 1)
    grammar = book.grammar(request)
    for sentence, _ in answer.sentences:
        with pytest.raises(GrammarError):
            grammar.read(answer.text.replace(sentence, ""))
    first = answer.sentences[0][0]
    for added in (" Buy.", "\nBuy a driver.", "\n7. Swing", f" {first}", " 45.0%"):
        with pytest.raises(GrammarError, match=r"expected the end\.$"):
            grammar.read(answer.text + added)
    # And it is no answer to a request with scores, nor the other way round.
    scored = dataclasses.replace(request, current_score=0.4, target_score=0.8)
    refused(book, None, answer.text, scored)
    refused(book, None, book.draw(scored, 1).text, request)
