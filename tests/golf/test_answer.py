"""The proof of a generated answer refuses its corruptions, and any other text is told apart into what has a source and what has none."""

import ast
import dataclasses
import re
from itertools import combinations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.answer import (
    Entry,
    Grounding,
    GroundingError,
    Span,
    build_index,
    check_record,
    ground,
    mirror,
    trace,
)
from golf_nb_utils.golf.areas import CLUBS
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.golf.request import InputFormatError, Request
from golf_nb_utils.golf.wording import SAY_BY_ID
from golf_nb_utils.settings import DataConfig

HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
# From how many hundredths below the target on a severity holds.
BANDS = ((30, "large"), (15, "clear"), (5, "slight"), (-100, "none"))
SIDES = re.compile(r"\b(left|right)\b")
OTHER_SIDE = {"left": "right", "right": "left"}
# A request whose every score sentence can be filled by hand.
SCORES = {"setup_quality": 0.91, "balance": 0.45, "impact_quality": 0.31, "consistency": 0.65}
REQUEST = Request("balance", 0.45, 0.8, all_scores=SCORES).text
FILLED = {
    "label": "balance", "current": "45.0%", "target": "80.0%", "words": "far below",
    "strength": "setup", "strength_score": "91.0%", "weakest": "impact", "weakest_score": "31.0%",
}  # fmt: skip
SMALL = {
    "a.ideal.1": Entry("Swing easy.", "Swing easy."),
    "a.effect.1": Entry("The ball starts left of the flag.", "The ball starts right of the flag."),
    "a.steps.1": Entry("Stand tall.", "Stand tall."),
    "a.steps.2": Entry("Stand tall. Breathe out.", "Stand tall. Breathe out."),
    "AD1": Entry(
        'Drill "Pump" with a towel: Pump twice. Dose: 10 swings.',
        'Drill "Pump" with a towel: Pump twice. Dose: 10 swings.',
    ),
}


@pytest.fixture(scope="module")
def index(knowledge):
    return build_index(knowledge)


@pytest.fixture(scope="module")
def records(knowledge):
    """Six hundred records and thirty of unseen topics: every severity, audience and hand, and inputs without their optional lines."""
    return [
        record
        for rows in generate_records(knowledge, DataConfig(n_examples=600)).values()
        for record in rows
    ]


def changed(record, **fields):
    """A copy with another input, output or part of the meta."""
    texts = {name: fields.pop(name) for name in ("input", "output") if name in fields}
    return record | texts | {"meta": record["meta"] | fields}


def refused(record, index, match=None):
    with pytest.raises(GroundingError, match=match):
        check_record(record, index)


def rendered(record, index, name):
    """The text of one of the record's items as its answer has it, or nothing for a score sentence."""
    if name not in index:
        return ""
    return index[name].left if record["meta"]["handedness"] == "left" else index[name].right


def turned(text):
    """A text with left and right exchanged: nothing in the knowledge names a side but the flight of the ball."""
    return SIDES.sub(lambda match: OTHER_SIDE[match[1]], text)


def with_line(record, name, value, **meta):
    """The record with a line of its input set, or taken out; `meta` is what its meta says instead."""
    lines = [line for line in record["input"].split("\n") if not line.startswith(f"{name}: ")]
    if value is not None:
        lines.insert(4, f"{name}: {value}")
    return changed(record, input="\n".join(lines), **meta)


def rescored(record, **steps):
    """The record with its `current` or `target` score some hundredths off, wherever input and meta have it, and the gap that follows."""
    meta = record["meta"]
    current, target = (
        round(meta[f"{name}_score"] * 100) + steps.get(name, 0) for name in ("current", "target")
    )
    text = re.sub(r"Current Score: \S+", f"Current Score: {current / 100:.2f}", record["input"])
    text = re.sub(r"Target Score: \S+", f"Target Score: {target / 100:.2f}", text)
    text = re.sub(r"Gap: \S+", f"Gap: {max(0, target - current) / 100:.2f}", text)
    text = re.sub(rf"{meta['area']} \d\.\d\d", f"{meta['area']} {current / 100:.2f}", text)
    scores = meta["all_scores"] and meta["all_scores"] | {meta["area"]: current / 100}
    severity = next(name for edge, name in BANDS if target - current >= edge)
    return changed(
        record,
        input=text,
        current_score=current / 100,
        target_score=target / 100,
        all_scores=scores,
        severity=severity,
    )


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
            assert entry.fault_name == next(
                (known.name for known in topic.faults if known.id == fault), ""
            )
            assert (entry.drill, entry.fixes) == ("", ())


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


# The proof of a record.


def test_every_generated_record_is_accepted(records, tiny_records, index):
    for record in [*records, *(record for rows in tiny_records.values() for record in rows)]:
        check_record(record, index)


def first(record, index, part):
    """The text of the record's first item of a part."""
    return next(
        rendered(record, index, name)
        for name in record["meta"]["items"]
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
def test_a_corrupted_answer_is_refused(records, index, corrupt):
    for record in records[::10]:
        output = corrupt(
            record["output"], first(record, index, "ideal"), first(record, index, "cues")
        )
        assert output != record["output"]
        refused(changed(record, output=output), index)


def test_an_answer_with_one_word_of_any_of_its_sentences_changed_is_refused(records, index):
    for record in records[::10]:
        for name in record["meta"]["items"]:
            words = rendered(record, index, name).split(" ")
            for place in {0, len(words) // 2, len(words) - 1} if words[0] else ():
                other = " ".join([*words[:place], "banana", *words[place + 1 :]])
                output = record["output"].replace(" ".join(words), other)
                refused(
                    changed(record, output=output),
                    index,
                    re.escape(f"the item {name} is listed but not in the answer"),
                )


def test_an_answer_with_any_of_its_numbers_changed_is_refused(records, index):
    for record in records[::10]:
        text = record["output"]
        numbers = list(re.finditer(r"\d+", text))
        assert len(numbers) > 8, "two scores twice or more, a dose, and the steps"
        for number in numbers:
            for other in (int(number[0]) + 1, int(number[0]) + 10):
                refused(
                    changed(
                        record, output=f"{text[: number.start()]}{other}{text[number.end() :]}"
                    ),
                    index,
                )


@settings(max_examples=400)
@given(data=st.data())
def test_an_answer_with_any_one_character_replaced_or_removed_is_refused(records, index, data):
    record = data.draw(st.sampled_from(records[::20]), label="record")
    text = record["output"]
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    other = data.draw(
        st.one_of(st.just(""), st.characters(), st.sampled_from("aeo 019.\n\0%")), label="other"
    )
    assume(other != text[place])
    refused(changed(record, output=text[:place] + other + text[place + 1 :]), index)


@settings(max_examples=200)
@given(data=st.data())
def test_an_answer_with_a_character_put_in_or_two_exchanged_is_refused(records, index, data):
    record = data.draw(st.sampled_from(records[::20]), label="record")
    text = record["output"]
    place = data.draw(st.integers(0, len(text) - 2), label="place")
    if data.draw(st.booleans(), label="put in"):
        output = (
            text[:place]
            + data.draw(st.characters(exclude_categories=["Nd"]), label="character")
            + text[place:]
        )
    else:
        assume(text[place] != text[place + 1])
        output = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    refused(changed(record, output=output), index)


@pytest.mark.parametrize("name", ["no.such.item", "", "say.score.99", "XD99", "say.score"])
def test_a_listed_item_that_does_not_exist_is_refused_by_its_name(records, index, name):
    for record in records[:5]:
        items = [*record["meta"]["items"], name]
        refused(
            changed(record, items=items),
            index,
            re.escape(f"the item {name!r} is listed but exists nowhere"),
        )


def test_a_sentence_whose_item_is_not_listed_is_refused_and_quoted(records, index):
    for record in records[::10]:
        for name in record["meta"]["items"]:
            items = [other for other in record["meta"]["items"] if other != name]
            with pytest.raises(GroundingError, match="words that no listed item renders") as caught:
                check_record(changed(record, items=items), index)
            quoted = ast.literal_eval(str(caught.value).split(": ", 1)[1].removesuffix("."))
            assert rendered(record, index, name) in quoted


def test_an_item_listed_twice_is_refused(records, index):
    for record in records[::10]:
        for name in record["meta"]["items"]:
            message = re.escape(f"the item {name} is listed but not in the answer")
            refused(changed(record, items=[*record["meta"]["items"], name]), index, message)


def test_a_score_sentence_said_twice_is_refused(records, index):
    for record in records[::10]:
        target = re.search(r"[^.]*target[^.]*\.0%[^.]*\.", record["output"])[0].removeprefix(" ")
        refused(
            changed(record, output=record["output"].replace(target, f"{target} {target}", 1)),
            index,
            "words that no listed item renders",
        )


def test_two_sentences_that_changed_places_are_refused(knowledge, records, index):
    # The steps and the drill come in several orders, so that these may change places.
    free = {"steps", "keep", "drill"}
    pairs = set()
    for record in records[::60]:
        for (one, name, *_), (other, other_name, *_) in combinations(trace(record, knowledge), 2):
            kinds = {kind_of(name), kind_of(other_name)}
            if len(kinds) == 2 and not kinds <= free and one not in other and other not in one:
                pairs.add(frozenset(kinds))
                output = exchanged(record["output"], one, other)
                refused(changed(record, output=output), index, "not in this order")
                places = {name: other_name, other_name: name}
                items = [places.get(item, item) for item in record["meta"]["items"]]
                refused(
                    changed(record, output=output, items=items),
                    index,
                    "a sentence out of its place",
                )
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
def test_a_sentence_under_another_label_or_none_is_refused(records, index, label):
    labelled = [record for record in records if f"{label}: " in record["output"]]
    assert labelled
    for record in labelled[:: len(labelled) // 10 + 1]:
        for other in ("", *(f"{other}: " for other in (*LABELS, "Goal") if other != label)):
            refused(changed(record, output=record["output"].replace(f"{label}: ", other)), index)


@pytest.mark.parametrize("label", ["Check", "Easier", "Safety", "As a senior", "Goal"])
def test_a_step_under_a_label_that_it_should_not_have_is_refused(records, index, label):
    for record in records[::20]:
        step = re.search(r"(?m)^\d\. (?!Check|Drill)", record["output"])[0]
        refused(
            changed(record, output=record["output"].replace(step, f"{step}{label}: ")),
            index,
            "a sentence out of its place",
        )


@pytest.mark.parametrize("place", ["ideal", "cues"])
@pytest.mark.parametrize(
    "character", ["\0", "\1", "\ufffd", *map(chr, range(0xE000, 0xE020))], ids=ascii
)
def test_no_character_stands_for_a_sentence(records, index, place, character):
    record = records[0]
    name = next(name for name in record["meta"]["items"] if kind_of(name) == place)
    output = record["output"].replace(rendered(record, index, name), character)
    refused(
        changed(
            record,
            output=output,
            items=[other for other in record["meta"]["items"] if other != name],
        ),
        index,
    )
    refused(changed(record, output=f"{record['output']} {character}"), index)


def test_an_item_whose_words_another_item_begins_with_is_found_in_its_own_place(records, index):
    for record in records[::10]:
        ideal, cue = (
            next(name for name in record["meta"]["items"] if f".{part}." in name)
            for part in ("ideal", "cues")
        )
        start = rendered(record, index, ideal)[:20]
        output = record["output"].replace(
            f"Swing thought: {rendered(record, index, cue)}", f"Swing thought: {start}"
        )
        reworded = index | {cue: dataclasses.replace(index[cue], right=start, left=start)}
        check_record(changed(record, output=output), reworded)


def test_items_in_another_order_than_the_answer_are_refused(records, index):
    for record in records[::10]:
        refused(changed(record, items=record["meta"]["items"][::-1]), index, "not in this order")


def test_an_item_listed_but_not_said_is_refused(records, index):
    for record in records[::10]:
        of_topic = [
            name
            for name, entry in index.items()
            if entry.topic == record["meta"]["topic"] and name not in record["meta"]["items"]
        ]
        for name in of_topic[::5]:
            refused(changed(record, items=[*record["meta"]["items"], name]), index, re.escape(name))


def test_a_score_sentence_with_a_score_that_the_input_does_not_give_is_refused(records, index):
    without = [record for record in records if not record["meta"]["all_scores"]]
    assert without
    for record in without:
        for name in ("say.strength.1", "say.weakest.1", "say.weakest_keep.2"):
            items = [*record["meta"]["items"], name]
            refused(
                changed(record, items=items),
                index,
                rf"{name} needs '\w+', which the input does not give",
            )


# Whom the items are for.


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"topic": "elsewhere", "fixes": ()}, "(belongs to another fault or topic|does not fix)"),
        ({"clubs": (), "any_club": False}, "not for this club, level, audience or severity"),
        ({"levels": (), "any_level": False}, "not for this club, level, audience or severity"),
        ({"audiences": ()}, "not for this club, level, audience or severity"),
        ({"severities": ()}, "not for this club, level, audience or severity"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_any_item_that_is_for_somebody_else_is_refused_by_its_name(records, index, scope, message):
    for record in records[::20]:
        for name in set(record["meta"]["items"]) & set(index):
            moved = index | {name: dataclasses.replace(index[name], **scope)}
            refused(record, moved, f"{re.escape(name)} .*{message}")


def test_an_item_of_another_fault_is_refused_by_its_name(records, index):
    for record in records[::20]:
        for name in set(record["meta"]["items"]) & set(index):
            if not index[name].drill:
                refused(
                    record,
                    index | {name: dataclasses.replace(index[name], fault="XX1")},
                    f"{re.escape(name)} belongs to another fault",
                )


@pytest.mark.parametrize("part", ["ideal", "keep", "cues", "safety"])
def test_an_item_of_another_topic_cannot_take_a_place(records, index, part):
    having = [
        record
        for record in records
        if any(kind_of(name) == part for name in record["meta"]["items"])
    ]
    of_part = [name for name in index if kind_of(name) == part]
    tried = 0
    for record in having[:20]:
        mine = next(name for name in record["meta"]["items"] if kind_of(name) == part)
        for other in of_part:
            one, entry = index[mine], index[other]
            if entry.topic == record["meta"]["topic"]:
                continue
            same = ("clubs", "levels", "audiences", "severities", "any_club", "any_level")
            if all(getattr(one, field) == getattr(entry, field) for field in same):
                items = [other if name == mine else name for name in record["meta"]["items"]]
                output = record["output"].replace(
                    rendered(record, index, mine), rendered(record, index, other)
                )
                message = f"the item {re.escape(other)} belongs to another fault or topic"
                refused(changed(record, items=items, output=output), index, message)
                tried += 1
                break
    assert tried > 15


def test_a_drill_that_does_not_fix_the_fault_cannot_take_a_place(knowledge, records, index):
    tried = 0
    for record in records[::3]:
        meta = record["meta"]
        if any(kind_of(name) in ("easier", "harder") for name in meta["items"]):
            continue
        for topic in knowledge.topics:
            for drill in topic.drills:
                does_fix = (
                    meta["fault"] in drill.fixes if meta["fault"] else topic.id == meta["topic"]
                )
                for_all = (
                    len(drill.clubs) == 4
                    and len(drill.levels) == 3
                    and meta["audience"] in drill.audiences
                )
                if does_fix or not for_all:
                    continue
                items = [drill.id if name == meta["drill"] else name for name in meta["items"]]
                output = record["output"].replace(
                    rendered(record, index, meta["drill"]), rendered(record, index, drill.id)
                )
                wrong = changed(record, items=items, output=output, drill=drill.id)
                refused(
                    wrong,
                    index,
                    f"the drill of {drill.id} does not fix '{meta['fault'] or meta['topic']}'",
                )
                tried += 1
                break
    assert tried > 100


@pytest.mark.parametrize("kind", ["easier", "harder"])
def test_a_variation_of_another_drill_cannot_take_a_place(records, index, kind):
    varied = [
        record
        for record in records
        if any(kind_of(name) == kind for name in record["meta"]["items"])
    ]
    tried = 0
    for record in varied[::5]:
        mine = f"{record['meta']['drill']}.{kind}"
        fault, fits = record["meta"]["fault"], dataclasses.asdict(index[mine])
        for other in (
            name
            for name, entry in index.items()
            if kind_of(name) == kind and name != mine and fault in entry.fixes
        ):
            scope = {
                field: fits[field]
                for field in ("clubs", "levels", "audiences", "any_club", "any_level")
            }
            items = [other if name == mine else name for name in record["meta"]["items"]]
            output = record["output"].replace(
                rendered(record, index, mine), rendered(record, index, other)
            )
            moved = index | {other: dataclasses.replace(index[other], **scope)}
            refused(
                changed(record, items=items, output=output),
                moved,
                f"the drill of {re.escape(other)} does not fix",
            )
            tried += 1
    assert tried > 20


def misfits(knowledge, records):
    """(what is wrong, record, listed item, item of the same part that must not take its place), one thing wrong at a time."""
    for record in records:
        meta = record["meta"]
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
    knowledge, records, index
):
    seen = set()
    for wrong, record, item, other in misfits(knowledge, records[::3]):
        seen.add(wrong)
        items = [other.id if name == item.id else name for name in record["meta"]["items"]]
        output = record["output"].replace(
            rendered(record, index, item.id), rendered(record, index, other.id)
        )
        message = "belongs to another fault" if wrong == "fault" else "is not for this club"
        refused(
            changed(record, items=items, output=output),
            index,
            f"the item {re.escape(other.id)} {message}",
        )
    assert {"fault", "club", "one club of several", "audience"} <= seen


def test_advice_adapted_to_an_audience_is_refused_once_the_input_names_it_no_longer(records, index):
    adapted = [record for record in records if record["meta"]["audience"] != "adult"]
    assert {record["meta"]["audience"] for record in adapted} == {
        "senior",
        "junior",
        "limited mobility",
    }
    for record in adapted:
        refused(
            with_line(record, "Golfer", None, audience="adult"),
            index,
            "is not for this club, level, audience or severity",
        )


def test_a_fault_is_refused_where_the_gap_is_met_and_no_fault_where_it_is_not(records, index):
    without = [record for record in records if not record["meta"]["fault"]]
    assert without
    for record in without:
        refused(changed(record, fault="SF2"), index, "the gap is none but the fault is 'SF2'")
    for record in records[::10]:
        if record["meta"]["fault"]:
            refused(
                changed(record, fault=""),
                index,
                f"the gap is {record['meta']['severity']} but the fault is ''",
            )
            missing = round(
                (record["meta"]["target_score"] - record["meta"]["current_score"]) * 100
            )
            refused(
                rescored(record, current=missing),
                index,
                f"the gap is none but the fault is '{record['meta']['fault']}'",
            )


# What the input says.

OTHER_VALUES = {
    "area": "putting", "current_score": 0.01, "target_score": 1.0, "all_scores": {"balance": 0.01}, "severity": "huge", "club": "putter",
    "level": "pro", "handedness": "both", "audience": "child",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_meta_that_says_other_than_the_input_is_refused(records, index, name):
    for record in records[::20]:
        assert record["meta"][name] != OTHER_VALUES[name]
        refused(
            changed(record, **{name: OTHER_VALUES[name]}),
            index,
            f"meta says .*{re.escape(repr(OTHER_VALUES[name]))}.*, the input",
        )


@pytest.mark.parametrize("name", ["club", "level", "all_scores"])
def test_a_meta_that_says_nothing_of_what_the_input_says_is_refused(records, index, name):
    for record in records[::20]:
        if record["meta"][name] is not None:
            refused(changed(record, **{name: None}), index, "meta says .*None.*, the input")


@pytest.mark.parametrize("name", ["topic", "fault", "drill"])
def test_a_meta_that_names_another_topic_fault_or_drill_than_the_items_are_of_is_refused(
    records, index, name
):
    for record in records[::20]:
        if record["meta"][name]:
            refused(
                changed(record, **{name: "XX1"}),
                index,
                "belongs to another fault or topic|does not fix",
            )


def test_an_observation_of_another_fault_is_refused_and_none_is_accepted(knowledge, records, index):
    names = {fault.id: fault.name for fault in knowledge.faults}
    for record in records[::10]:
        fault = record["meta"]["fault"]
        if fault:
            other = next(name for name in names.values() if name != names[fault])
            message = rf"the observation is {re.escape(repr(other))}, the item .* is about {re.escape(repr(names[fault]))}"
            refused(with_line(record, "Observation", other), index, message)
            check_record(with_line(record, "Observation", None), index)
            check_record(with_line(record, "Observation", names[fault]), index)


def test_two_values_for_the_areas_own_score_are_refused(records, index):
    shown = [record for record in records if record["meta"]["all_scores"]]
    for record in shown[::20]:
        area, score = record["meta"]["area"], record["meta"]["current_score"]
        text = record["input"].replace(f"{area} {score:.2f}", f"{area} 0.01")
        assert text != record["input"]
        scores = record["meta"]["all_scores"] | {area: 0.01}
        refused(changed(record, input=text), index, "meta says")
        message = f"All Scores has 0.01 for {area}, the current score is {score}"
        refused(changed(record, input=text, all_scores=scores), index, re.escape(message))


def test_a_gap_that_is_not_that_of_the_scores_is_refused(records, index):
    for record in records[::20]:
        wrong = changed(record, input=re.sub(r"Gap: \S+", "Gap: 0.99", record["input"]))
        with pytest.raises(InputFormatError, match=r"the gap is given as 0\.99"):
            check_record(wrong, index)


@pytest.mark.parametrize("name", ["current", "target"])
@pytest.mark.parametrize("step", [-1, 1])
def test_an_answer_is_refused_once_a_score_of_the_input_is_another(records, index, name, step):
    for record in records[::10]:
        refused(rescored(record, **{name: step}), index)


@pytest.mark.parametrize(
    ("kind", "extreme", "far", "step"), [("strength", max, 0.0, 0.01), ("weakest", min, 1.0, -0.01)]
)
def test_an_answer_is_refused_once_the_other_score_that_it_names_is_another(
    records, index, kind, extreme, far, step
):
    naming = [
        record
        for record in records
        if any(name.startswith(f"say.{kind}") for name in record["meta"]["items"])
    ]
    assert len(naming) > 50
    for record in naming[::10]:
        others = {
            name: score
            for name, score in record["meta"]["all_scores"].items()
            if name != record["meta"]["area"]
        }
        name = extreme(others, key=others.get)
        for other in (far, others[name] + step):
            text = record["input"].replace(f"{name} {others[name]:.2f}", f"{name} {other:.2f}")
            assert text != record["input"]
            refused(
                changed(
                    record, input=text, all_scores=record["meta"]["all_scores"] | {name: other}
                ),
                index,
            )
        without = changed(record, input=record["input"].split("\nAll Scores: ")[0], all_scores=None)
        refused(without, index, "which the input does not give")


def test_a_left_handers_answer_is_a_right_handers_with_the_sides_exchanged(records, index):
    sided = [record for record in records if SIDES.search(record["output"])]
    assert {record["meta"]["handedness"] for record in sided} == {"right", "left"}
    for record in sided:
        hand = OTHER_SIDE[record["meta"]["handedness"]]
        check_record(
            with_line(
                changed(record, output=turned(record["output"])),
                "Handedness",
                hand,
                handedness=hand,
            ),
            index,
        )


def test_a_ball_that_flies_to_the_wrong_side_is_refused(records, index):
    for record in records:
        if SIDES.search(record["output"]):
            hand, message = record["meta"]["handedness"], "is listed but not in the answer"
            refused(
                with_line(record, "Handedness", OTHER_SIDE[hand], handedness=OTHER_SIDE[hand]),
                index,
                message,
            )
            refused(changed(record, output=turned(record["output"])), index, message)
            unsaid = with_line(record, "Handedness", None, handedness="right")
            if hand == "left":
                refused(unsaid, index, message)
            else:
                check_record(unsaid, index)


@pytest.mark.parametrize(
    "line",
    ["Club: putter", "Level: pro", "Handedness: both", "Golfer: child", "Mood: good", "no line"],
)
def test_a_record_with_a_malformed_input_is_refused(records, index, line):
    with pytest.raises(InputFormatError):
        check_record(changed(records[0], input=f"{records[0]['input']}\n{line}"), index)


# Where the sentences of an answer stand in the files.


def test_the_trace_of_an_answer_leads_from_each_sentence_to_its_line_and_its_sources(
    knowledge, records
):
    texts = knowledge.sentences()
    folder = knowledge.topics[0].path.parent.parent
    for record in records[::100]:
        rows = trace(record, knowledge)
        assert [name for _, name, _, _ in rows] == record["meta"]["items"]
        assert in_order(record["output"], [Span(sentence, name) for sentence, name, _, _ in rows])
        for _, name, place, sources in rows:
            if name in SAY_BY_ID:
                assert (place, sources) == ("phrases.py", "the input")
                continue
            file, line = place.split(":")
            (path,) = folder.glob(f"*/{file}")
            written = path.read_text(encoding="utf-8").splitlines()[int(line) - 1]
            # A further phrasing, such as ideal.3b, goes by the line of its item.
            item = re.sub(r"(?<=[0-9])[b-z]$", "", name)
            assert (
                f"## Drill {name}: "
                if name == record["meta"]["drill"]
                else " ".join(texts[item].split()[:3])
            ) in written
            assert set(filter(None, sources.split(", "))) <= set(knowledge.sources)


def test_the_trace_of_a_left_handers_answer_has_its_sentences_as_they_were_said(knowledge, records):
    record = next(
        record
        for record in records
        if record["meta"]["handedness"] == "left" and SIDES.search(record["output"])
    )
    rows = trace(record, knowledge)
    assert any(SIDES.search(sentence) for sentence, *_ in rows)
    assert all(sentence in record["output"] for sentence, *_ in rows)


# Any text.


def test_every_sentence_and_number_of_a_generated_answer_is_grounded_in_the_item_that_it_was_made_of(
    records, index
):
    sided = [
        record
        for record in records
        if record["meta"]["handedness"] == "left" and SIDES.search(record["output"])
    ]
    for record in [*records[::60], *sided[:3]]:
        found = ground(record["output"], record["input"], index)
        assert [span.origin for span in found.sentences] == record["meta"]["items"]
        assert found.grounded_share == 1.0
        # The numbers of the steps are none of the answer's.
        assert [span.text for span in found.numbers] == re.findall(
            r"\d+(?:\.\d+)?%?", re.sub(r"(?m)^\d+\. ", "", record["output"])
        )
        for span in found.numbers:
            say = SAY_BY_ID.get(span.origin)
            assert span.text in (
                say.format_map(score_words(record)) if say else index[span.origin].right
            )


def score_words(record):
    """What fills a score sentence, as far as numbers go, read off the printed input."""
    lines = dict(line.split(": ", 1) for line in record["input"].split("\n"))
    shown = [entry.split(" ") for entry in lines.get("All Scores", "").split(", ") if entry]
    others = sorted(round(float(score) * 100) for name, score in shown if name != lines["Area"])
    percents = {
        "current": round(float(lines["Current Score"]) * 100),
        "target": round(float(lines["Target Score"]) * 100),
    }
    percents |= {"weakest_score": others[0], "strength_score": others[-1]} if others else {}
    return dict.fromkeys(("label", "words", "strength", "weakest"), "") | {
        name: f"{value}.0%" for name, value in percents.items()
    }


def test_a_made_up_sentence_has_no_origin_and_the_nearest_item_with_its_similarity():
    # Swi win ing "ng " "g e" " ea" eas are in both; asy sy. in the item alone; asi sil ily ly. in the sentence alone.
    found = ground("Swing easily.", REQUEST, SMALL)
    assert found.sentences == (Span("Swing easily.", None, "a.ideal.1", pytest.approx(7 / 13)),)
    assert found.grounded_share == 0.0


def test_a_text_is_told_apart_into_sentences_with_and_without_an_origin():
    text = (
        f"{HEADINGS[0]}\nSwing easy. Hope for the best.\n\n"
        f"{HEADINGS[1]}\nYour balance target is 80.0%. It was 7 of 45.0%!\n\n"
        f"{HEADINGS[2]}\n1. Stand tall. Breathe out.\n2. Check: Film 3 swings.\n3. {SMALL['AD1'].right} Easier: Stand tall.\n"
        "As a senior: Rest often.\nSwing thought: Swing easy.\nSafety: Mind your back"
    )
    found = ground(text, REQUEST, SMALL)
    assert [(span.text, span.origin) for span in found.sentences] == [
        ("Swing easy.", "a.ideal.1"),
        ("Hope for the best.", None),
        ("Your balance target is 80.0%.", "say.target.5"),
        ("It was 7 of 45.0%!", None),
        ("Stand tall. Breathe out.", "a.steps.2"),
        ("Film 3 swings.", None),
        (SMALL["AD1"].right, "AD1"),
        ("Stand tall.", "a.steps.1"),
        ("Rest often.", None),
        ("Swing easy.", "a.ideal.1"),
        ("Mind your back", None),
    ]
    assert [(span.text, span.origin) for span in found.numbers] == [
        ("80.0%", "say.target.5"),
        ("7", None),
        ("45.0%", "Current Score"),
        ("3", None),
        ("10", "AD1"),
    ]
    assert found.grounded_share == 6 / 11


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Why? You sway! So it is.", ["Why?", "You sway!", "So it is."]),
        ("It is 4.5 times, e.g. more.", ["It is 4.5 times, e.g.", "more."]),
        ("One.Two. \tThree...  Four", ["One.Two.", "Three...", "Four"]),
        ("No end\nin sight. - !", ["No end", "in sight."]),
        ("1. First\n2 Second\n3.Third", ["First", "2 Second", "3.Third"]),
        ("Check: this. Check: that.", ["this.", "Check: that."]),
        ("Sit down. Easier:", ["Sit down."]),
        ("Stand tall. Harder: \nSafety: So.", ["Stand tall.", "So."]),
    ],
)
def test_a_made_up_text_is_split_into_its_sentences(text, sentences):
    assert [span.text for span in ground(text, REQUEST, SMALL).sentences] == sentences


def test_the_share_is_that_of_the_sentences_and_leaves_the_numbers_out():
    spans = tuple(Span("A.", origin) for origin in ("a.ideal.1", None, None, "say.target.5"))
    assert Grounding(spans, (Span("9", None),)).grounded_share == 0.5


def test_nothing_said_is_grounded_throughout():
    assert Grounding((), ()).grounded_share == 1.0
    assert ground("", REQUEST, SMALL) == Grounding((), ())


def test_the_nearest_item_is_looked_for_only_when_it_is_wanted():
    text = f"Swing easily. {SMALL['AD1'].right} At 45.0% or 9%."
    found, fast = ground(text, REQUEST, SMALL), ground(text, REQUEST, SMALL, nearest=False)
    assert [(span.text, span.origin) for span in fast.sentences] == [
        (span.text, span.origin) for span in found.sentences
    ]
    assert fast.numbers == found.numbers
    assert found.sentences[0].nearest == "a.ideal.1"
    assert {(span.nearest, span.similarity) for span in fast.sentences} == {(None, 0.0)}


def test_only_headings_numbers_and_labels_make_no_sentence():
    scaffold = f"{HEADINGS[0]}\n\n{HEADINGS[1]}\n\n{HEADINGS[2]}\n1. \n2. Check:\nAs a junior:\nSwing thought: \nGoal:\nSafety:  ..."
    assert ground(scaffold, REQUEST, SMALL) == Grounding((), ())


@pytest.mark.parametrize("hand", ["right", "left"])
def test_the_side_of_the_ball_is_grounded_for_the_inputs_hand_alone(hand):
    request = Request("balance", 0.45, 0.8, handedness=hand).text
    texts = {
        "right": "The ball starts left of the flag.",
        "left": "The ball starts right of the flag.",
    }
    assert ground(texts[hand], request, SMALL).sentences == (Span(texts[hand], "a.effect.1"),)
    (wrong,) = ground(texts[OTHER_SIDE[hand]], request, SMALL).sentences
    assert (wrong.origin, wrong.nearest) == (None, "a.effect.1")
    assert 0.5 < wrong.similarity < 1


def test_a_golfer_whose_hand_is_not_given_is_right_handed():
    (span,) = ground("The ball starts left of the flag.", REQUEST, SMALL).sentences
    assert span.origin == "a.effect.1"


@pytest.mark.parametrize(
    ("number", "origin"),
    [
        ("45.0%", "Current Score"), ("45%", "Current Score"), ("0.45", "Current Score"),
        ("80.0%", "Target Score"), ("80%", "Target Score"), ("0.80", "Target Score"),
        ("35.0%", "Gap"), ("91.0%", "setup_quality"), ("31%", "impact_quality"), ("0.65", "consistency"),
        ("46.0%", None), ("4.5%", None), ("145.0%", None), ("45", None), ("45.1%", None), ("0.46", None), ("0.8", None), ("7", None),
    ],
)  # fmt: skip
def test_a_number_of_a_made_up_sentence_is_grounded_if_the_input_has_it_as_a_score(number, origin):
    assert ground(f"Nobody says {number} here.", REQUEST, SMALL).numbers == (Span(number, origin),)


@pytest.mark.parametrize("name", SAY_BY_ID)
def test_a_score_sentence_is_grounded_with_the_inputs_scores_and_with_no_other(name):
    sentence = SAY_BY_ID[name].format_map(FILLED)
    found = ground(sentence, REQUEST, SMALL)
    assert found.sentences == (Span(sentence, name),)
    assert all(span.origin == name for span in found.numbers)
    for score in re.findall(r"\d+\.0%", sentence):
        wrong = ground(sentence.replace(score, "99.0%"), REQUEST, SMALL)
        assert {span.origin for span in wrong.sentences} == {None}
        assert {span.nearest for span in wrong.sentences} == {name}
        assert [span.text for span in wrong.numbers if span.origin is None] == ["99.0%"]


@pytest.mark.parametrize(
    "sentence",
    [
        "Your current balance score is 80.0%, far below the target of 45.0%.",
        "Your current balance score is 45.0%, a little below the target of 80.0%.",
        "Your current setup score is 45.0%, far below the target of 80.0%.",
        "Build on your impact, the best of your other scores at 91.0%.",
    ],
)
def test_a_score_sentence_with_scores_exchanged_or_the_wrong_words_is_not_grounded(sentence):
    (span,) = ground(sentence, REQUEST, SMALL).sentences
    assert span.origin is None
    assert span.nearest.startswith(("say.score.", "say.strength."))


def test_a_strength_that_the_input_does_not_show_is_not_grounded():
    request = Request("balance", 0.45, 0.8).text
    (span,) = ground(SAY_BY_ID["say.strength.1"].format_map(FILLED), request, SMALL).sentences
    assert span.origin is None


def test_a_sentence_said_twice_is_found_twice():
    found = ground("Swing easy. Swing easy.\nSwing easy.", REQUEST, SMALL)
    assert [span.origin for span in found.sentences] == ["a.ideal.1"] * 3


def test_without_any_knowledge_the_score_sentences_are_still_known():
    found = ground("Your balance target is 80.0%. Swing easy.", REQUEST, {})
    assert [span.origin for span in found.sentences] == ["say.target.5", None]
    assert found.sentences[1].nearest in SAY_BY_ID


def in_order(text, spans):
    """Whether the spans follow each other in the text and none overlaps the next."""
    place = 0
    for span in spans:
        place = text.find(span.text, place)
        if place < 0:
            return False
        place += len(span.text)
    return True


PIECES = st.sampled_from(
    [
        *HEADINGS, *(entry.right for entry in SMALL.values()), *(text.format_map(FILLED) for text in list(SAY_BY_ID.values())[::4]),
        "\n", " ", "1. ", "12. Check: ", "Goal: ", "Safety:", "Swing thought: ", "As a senior: ",
        "Made up.", "At 45.0% or 99%?", "\0", "\r\n", ".",
    ]
)  # fmt: skip


@given(
    st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))
)
def test_any_text_is_grounded_without_an_error_and_its_spans_come_in_its_order(text):
    found = ground(text, REQUEST, SMALL)
    assert in_order(text, found.sentences)
    assert in_order(text, found.numbers)
    renderings = {name: entry.right for name, entry in SMALL.items()} | {
        name: say.format_map(FILLED) for name, say in SAY_BY_ID.items()
    }
    for span in found.sentences:
        if span.origin:
            assert span.text == renderings[span.origin]
        else:
            assert 0 <= span.similarity <= 1
            assert span.nearest in renderings
            assert span.text == span.text.strip() != ""


@given(st.text(alphabet="abcdefg .!?,\n"))
def test_no_word_of_a_made_up_text_goes_uncounted(text):
    found = ground(text, REQUEST, SMALL)
    assert re.findall(r"\w+", " ".join(span.text for span in found.sentences)) == re.findall(
        r"\w+", text
    )
    assert not any(span.origin for span in found.sentences)


@given(st.lists(st.sampled_from(sorted(SMALL)), max_size=6))
def test_the_sentences_of_the_index_are_found_in_whatever_order_they_stand(names):
    # A full stop in between keeps two short sentences from reading as the longer one that joins them.
    found = ground(" . ".join(SMALL[name].right for name in names), REQUEST, SMALL)
    assert [span.origin for span in found.sentences] == names


@pytest.mark.parametrize(
    "request_text", ["", "Area: balance", "Area: golf\nCurrent Score: 0.45\nTarget Score: 0.80"]
)
def test_a_text_for_a_malformed_request_is_refused(request_text):
    with pytest.raises(InputFormatError):
        ground("Swing easy.", request_text, SMALL)
