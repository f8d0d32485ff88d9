"""Advice without a score: for this golfer, in this hand, against this fault, and nothing that is not in the knowledge base."""

import itertools
from dataclasses import replace

import pytest

from golf_nb_utils.golf.answer import build_index
from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUBS, LEVELS
from golf_nb_utils.golf.general_advice import general_advice, holds_only

ADAPTED = {
    "senior": "As a senior: ",
    "junior": "As a junior: ",
    "limited mobility": "With limited mobility: ",
}


@pytest.fixture(scope="module")
def advise(knowledge):
    index = build_index(knowledge)
    area_of = {topic.id: topic.area for topic in knowledge.topics}
    names = {
        area: [name for name, entry in index.items() if area_of[entry.topic] == area]
        for area in AREAS
    }

    # No sentence of today's topics that is used here has a left or right in it.
    sides = {
        name: replace(entry, left=f"{entry.left} (left)", right=f"{entry.right} (right)")
        for name, entry in index.items()
    }

    def advise(
        area,
        fault="",
        case=(None, None, "adult"),
        hand="right",
        seed=1,
        area_is_known=True,
        marked=False,
    ):
        return general_advice(
            sides if marked else index, names[area], area, area_is_known, fault, case, hand, seed
        )

    return advise


@pytest.fixture(scope="module")
def items(knowledge):
    """{id: the item or drill, its topic}"""
    found = {}
    for topic in knowledge.topics:
        found |= {item.id: (item, topic) for _, _, item in topic.items()} | {
            drill.id: (drill, topic) for drill in topic.drills
        }
    return found


@pytest.mark.parametrize("area", AREAS)
def test_every_item_is_for_the_golfer_and_all_are_of_one_topic(advise, items, area):
    for (club, level, audience), seed in itertools.product(
        itertools.product((None, *CLUBS), (None, *LEVELS), AUDIENCES), (1, 2)
    ):
        text, sentences, drill = advise(area, case=(club, level, audience), seed=seed)
        named = [
            (*items[name], sentence)
            for sentence, name in sentences
            if not name.startswith("general.")
        ]
        assert len({topic.id for _, topic, _ in named}) == 1
        for item, topic, sentence in named:
            assert topic.area == area
            assert set([CLUBS[club]] if club else topic.clubs) <= set(item.clubs), sentence
            assert set([level] if level else topic.levels) <= set(item.levels), sentence
            assert audience in item.audiences
        assert items[drill][0].text in text
        assert [label for label in ADAPTED.values() if label in text] == (
            [ADAPTED[audience]] if audience in ADAPTED else []
        )


def test_a_left_hander_gets_the_sentences_for_a_left_hander(advise):
    for area, hand in itertools.product(AREAS, ("right", "left")):
        _, sentences, _ = advise(area, hand=hand, seed=4, marked=True)
        assert [sentence.endswith(f" ({hand})") for sentence, name in sentences] == [
            not name.startswith("general.") for _, name in sentences
        ]


def test_the_steps_the_check_and_the_drill_are_against_the_fault(advise, knowledge, items):
    for fault, seed in itertools.product(knowledge.faults, range(3)):
        _, sentences, drill = advise(fault.area, fault.name, seed=seed)
        named = [items[name][0] for _, name in sentences if not name.startswith("general.")]
        assert [item in fault.steps for item in named].count(True) == 2
        assert [item in fault.check for item in named].count(True) == 1
        assert fault.id in items[drill][0].fixes
        assert all(
            topic.id == fault.topic
            for topic in (
                items[name][1] for _, name in sentences if not name.startswith("general.")
            )
        )


def test_without_a_fault_nothing_is_about_one(advise, items):
    for area, seed in itertools.product(AREAS, range(20)):
        _, sentences, _ = advise(area, seed=seed)
        named = [items[name] for _, name in sentences if not name.startswith("general.")]
        assert [item in topic.keep for item, topic in named].count(True) == 2
        assert all(
            name.split(".")[1][:2] in ("id", "ke", "cu")
            for _, name in sentences
            if name.count(".") == 2
        )


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (True, "Without a score and a target for your tempo and rhythm"),
        (False, "It is not said which part"),
    ],
)
def test_it_says_why_there_is_no_score(advise, known, words):
    text, _, _ = advise("tempo_rhythm", area_is_known=known)
    assert words in text
    assert "%" not in text


def test_the_seed_draws_and_draws_the_same_again(advise):
    texts = [advise("balance", seed=seed)[0] for seed in (*range(30), *range(30))]
    assert texts[:30] == texts[30:]
    assert len(set(texts)) > 20


def test_a_text_that_holds_more_than_its_sentences_is_told_from_one_that_does_not(advise):
    text, used, _ = advise("balance", case=(None, None, "senior"))
    sentences = [sentence for sentence, _ in used]
    assert holds_only(text, sentences)
    for place in range(len(sentences)):
        assert not holds_only(text, sentences[:place] + sentences[place + 1 :])
    for added in (" Buy.", "\nBuy a driver.", "\n7. Swing", f" {sentences[0]}", " 45.0%"):
        assert not holds_only(text + added, sentences)
