"""What the knowledge base covers, counted by hand for a small one, and what is promised of the repository's own."""

from itertools import product
from pathlib import Path

import pytest

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.coverage import coverage, holes, reading_grade, thin_places
from golf_nb_utils.golf.knowledge import Drill, Fault, Item, KnowledgeBase, Topic

ALL = {"clubs": CLUB_FAMILIES, "levels": LEVELS, "audiences": ("adult",)}


def make_item(*phrasings: str) -> Item:
    return Item("i", phrasings, (), severities=("none",), line=1, **ALL)


def make_fault(name: str) -> Fault:
    return Fault(name, f"Fault {name}", "balance", "t", 1, (), (), (), (), (), ())


def make_drill(name: str, *fixes: str, **fit) -> Drill:
    item = make_item("Go.")
    return Drill(
        name, f"Drill {name}", "balance", "t", 1, fixes=fixes, equipment="a club", dose="1", sources=(), steps=(item,),
        easier=item, harder=item, **ALL | fit,
    )  # fmt: skip


def make_topic(area: str, faults=(), drills=(), severities=SEVERITIES, ideal=(), **fit) -> Topic:
    return Topic(
        id=f"{area}_topic", area=area, title="A topic", phase="finish", severities=severities, conflicts=(), sources=(), evidence="P",
        path=Path("t.md"), ideal=tuple(ideal), faults=tuple(map(make_fault, faults)), drills=tuple(drills),
        keep=(), cues=(), adaptations=(), safety=(), **ALL | fit,
    )  # fmt: skip


def make_knowledge(*topics: Topic) -> KnowledgeBase:
    return KnowledgeBase({}, (), topics)


def test_coverage_counts_the_pairs_of_a_fault_and_a_drill_for_each_case():
    knowledge = make_knowledge(
        make_topic(
            "balance",
            ["BF1", "BF2"],
            [
                make_drill("BD1", "BF1", "BF2"),
                make_drill("BD2", "BF1", clubs=("driver",), levels=("beginner", "advanced")),
                make_drill("BD3", "BF2", audiences=("senior",)),
            ],
            severities=("slight", "clear"),
            clubs=("driver", "iron"),
        ),
        make_topic(
            "weight_shift",
            ["WF1"],
            [make_drill("WD1", "WF1", "BF2", levels=("advanced",))],
            levels=("advanced",),
        ),
    )
    pairs = coverage(knowledge)
    assert set(pairs) == set(product(AREAS, SEVERITIES, LEVELS, CLUB_FAMILIES))
    # BD1 fixes two faults; BD2 one of them, for the driver; BD3 is for no adult; WD1 of another file fixes BF2 for the advanced.
    balance = {
        ("beginner", "driver"): 3, ("intermediate", "driver"): 2, ("advanced", "driver"): 4,
        ("beginner", "iron"): 2, ("intermediate", "iron"): 2, ("advanced", "iron"): 3,
    }  # fmt: skip
    expected = {
        ("balance", severity, *case): n
        for severity in ("slight", "clear")
        for case, n in balance.items()
    }
    expected |= {
        ("weight_shift", severity, "advanced", club): 1
        for severity in SEVERITIES
        for club in CLUB_FAMILIES
    }
    assert {case: n for case, n in pairs.items() if n} == expected


def test_two_topics_of_an_area_add_up():
    topics = [make_topic("balance", [f"BF{n}"], [make_drill(f"BD{n}", f"BF{n}")]) for n in range(3)]
    assert coverage(make_knowledge(*topics))["balance", "large", "beginner", "wood"] == 3


def test_every_case_without_a_pair_is_a_hole():
    everything = [
        make_topic(area, [f"{area}F"], [make_drill(f"{area}D", f"{area}F")])
        for area in AREAS
        if area != "balance"
    ]
    assert len(holes(make_knowledge())) == len(AREAS) * 3 * 3 * 4
    assert len(holes(make_knowledge(*everything))) == 3 * 3 * 4
    nearly = make_topic(
        "balance",
        ["BF1"],
        [make_drill("BD1", "BF1", clubs=("driver", "iron", "wedge"))],
        severities=("slight", "large"),
    )
    missing = holes(make_knowledge(*everything, nearly))
    # Every club and level at a clear gap, and the wood at the two other gaps.
    assert len(missing) == 4 * 3 + 2 * 3
    assert all("balance" in line for line in missing)
    assert sum("wood" in line for line in missing) == 9
    assert any(
        all(word in line for word in ("balance", "clear", "beginner", "driver")) for line in missing
    )


def test_a_fault_that_some_golfer_has_only_one_drill_for_is_a_thin_place_with_those_cases():
    drills = [
        make_drill("BD1", "BF1", "BF2", audiences=("adult", "senior")),
        make_drill("BD2", "BF1", "BF2", audiences=("adult", "senior"), clubs=("iron",)),
        make_drill("BD3", "BF1", audiences=("adult",), levels=("advanced",)),
        make_drill(
            "BD4", "BF1", audiences=("adult", "senior"), clubs=("driver",), levels=("beginner",)
        ),
    ]
    fit = {
        "clubs": ("driver", "iron"),
        "levels": ("beginner", "advanced"),
        "audiences": ("adult", "senior"),
    }
    lines = thin_places(make_knowledge(make_topic("balance", ["BF1", "BF2"], drills, **fit)))
    # BF1: the advanced senior with the driver has BD1 alone. BF2: with the driver, everybody has BD1 alone.
    assert len(lines) == 2
    assert lines[0].startswith("BF1 Fault BF1: ")
    assert lines[0].endswith("driver; advanced; senior")
    assert lines[1].startswith("BF2 Fault BF2: ")
    assert lines[1].endswith("driver; advanced, beginner; adult, senior")


def test_a_fault_with_two_drills_everywhere_or_a_drill_of_another_file_is_not_thin():
    topic = make_topic("balance", ["BF1"], [make_drill("BD1", "BF1")])
    assert len(thin_places(make_knowledge(topic))) == 1
    assert (
        thin_places(
            make_knowledge(topic, make_topic("weight_shift", [], [make_drill("WD1", "BF1")]))
        )
        == []
    )


@pytest.mark.parametrize(
    ("phrasings", "letters", "words", "sentences"),
    [
        (["The ball is on a tee."], 15, 6, 1),
        (
            ["The ball is on a tee.", "Turn your chest and let the arms follow it."],
            15 + 34,
            6 + 9,
            2,
        ),
        (
            ["Considerable concentration, nevertheless, accompanies sophisticated instruction."],
            72,
            6,
            1,
        ),
    ],
)
def test_the_reading_grade_is_coleman_and_liaus(phrasings, letters, words, sentences):
    assert sum(map(str.isalpha, "".join(phrasings))) == letters
    assert len(" ".join(phrasings).split()) == words
    # The formula of 1975; textstat rounds 0.0588 to 0.058.
    expected = 0.0588 * 100 * letters / words - 0.296 * 100 * sentences / words - 15.8
    topic = make_topic("balance", ideal=[make_item(*phrasings)])
    assert reading_grade(topic) == pytest.approx(expected, abs=0.001 * 100 * letters / words)


def test_a_topic_reads_as_hard_as_all_of_its_items_together():
    easy, hard = (
        make_item("The ball is on the tee."),
        make_item("Considerable concentration accompanies sophisticated instruction."),
    )
    grades = [
        reading_grade(make_topic("balance", ideal=items))
        for items in ([easy], [easy, hard], [hard])
    ]
    assert grades[0] < grades[1] < grades[2]
    drill = make_drill("BD1")
    assert reading_grade(make_topic("balance", ideal=[hard], drills=[drill])) < grades[2]


# The repository's own knowledge.


def test_the_repository_has_no_hole_and_several_pairs_for_every_case(knowledge):
    assert holes(knowledge) == []
    assert min(coverage(knowledge).values()) >= 2


def test_every_topic_of_the_repository_reads_at_grade_eight_or_below(knowledge):
    for topic in knowledge.topics:
        assert reading_grade(topic) <= 8, topic.id
