"""What the knowledge base covers, counted by hand for a small one, and what is promised of the repository's own."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.coverage import coverage, external_cues, holes, reading_grade, thin_places
from golf_nb_utils.golf.knowledge import Advice, Drill, Fault, Item, KnowledgeBase, Topic

ALL = {"clubs": CLUB_FAMILIES, "levels": LEVELS, "audiences": ("adult",)}


def make_item(*phrasings: str) -> Item:
    return Item("i", phrasings, (), severities=("none", *SEVERITIES), line=1, **ALL)


def make_chain(name: str, cue=(), kind="fault", **fit) -> Advice:
    """A chain of the fault that is named like it less its letter."""
    fit = ALL | {"severities": ("none", *SEVERITIES)} | fit
    area = fit.pop("area", "balance")
    items = {"cue": tuple(cue)}
    return Advice(
        name, kind, name, area, "t", 1, faults=(name[:-1],), outcome="", items=items, **fit
    )


def make_drill(name: str, *fixes: str, **fit) -> Drill:
    item = make_item("Go.")
    return Drill(
        name, f"Drill {name}", "balance", "t", 1, fixes=fixes, places=("home",), equipment="a club", risks=(), loads=(), sources=(),
        text=item, dose=item, small_dose=item, easier=item, harder=item, **ALL | fit,
    )  # fmt: skip


def make_topic(area: str, chains=(), drills=(), **fit) -> Topic:
    """Chains are made of their names, and a topic has the faults of its chains."""
    fit = ALL | {"severities": SEVERITIES} | fit
    own = fit | {"severities": ("none", *fit["severities"]), "area": area}
    chains = tuple(make_chain(one, **own) if isinstance(one, str) else one for one in chains)
    named = dict.fromkeys(chain.id[:-1] for chain in chains)
    return Topic(
        id=f"{area}_topic", area=area, title="A topic", phase="finish", conflicts=(), path=Path("t.md"),
        faults=tuple(Fault(name, f"Fault {name}", area, "t", 1) for name in named), advice=chains, drills=tuple(drills), adaptations=(),
        **fit,
    )  # fmt: skip


def make_knowledge(*topics: Topic) -> KnowledgeBase:
    return KnowledgeBase({}, (), topics)


def test_coverage_counts_the_pairs_of_a_chain_and_a_drill_for_each_case():
    two = {"clubs": ("driver", "iron")}
    knowledge = make_knowledge(
        make_topic(
            "balance",
            [
                make_chain("BF1a", **two, severities=("none", "slight", "clear")),
                make_chain("BF1b", **two, severities=("clear",), levels=("advanced",)),
                # What is for no fault has no drill, and so no pair.
                make_chain("BF1c", kind="unclear", **two),
            ],
            [
                make_drill("BD1", "BF1"),
                make_drill("BD2", "BF1a", clubs=("driver",), levels=("beginner", "advanced")),
                make_drill("BD3", "BF1b", audiences=("senior",)),
            ],
            **two,
        ),
        make_topic(
            "weight_shift",
            ["WF1a"],
            [make_drill("WD1", "WF1", "BF1b", levels=("advanced",))],
            levels=("advanced",),
        ),
    )
    pairs = coverage(knowledge)
    assert set(pairs) == set(product(AREAS, SEVERITIES, LEVELS, CLUB_FAMILIES))
    # BD1 fixes both chains; BD2 one of them, for the driver; BD3 is for no adult; WD1 of another file fixes BF1b for the advanced.
    slight = {
        ("beginner", "driver"): 2, ("intermediate", "driver"): 1, ("advanced", "driver"): 2,
        ("beginner", "iron"): 1, ("intermediate", "iron"): 1, ("advanced", "iron"): 1,
    }  # fmt: skip
    expected = {("balance", "slight", *case): n for case, n in slight.items()}
    # BF1b brings the advanced two pairs more where the gap is clear.
    expected |= {
        ("balance", "clear", *case): n + 2 * (case[0] == "advanced") for case, n in slight.items()
    }
    expected |= {
        ("weight_shift", severity, "advanced", club): 1
        for severity in SEVERITIES
        for club in CLUB_FAMILIES
    }
    assert {case: n for case, n in pairs.items() if n} == expected


def test_two_topics_of_an_area_add_up():
    topics = [
        make_topic("balance", [f"BF{n}a"], [make_drill(f"BD{n}", f"BF{n}")]) for n in range(3)
    ]
    assert coverage(make_knowledge(*topics))["balance", "large", "beginner", "wood"] == 3


def test_every_case_without_a_pair_is_a_hole():
    everything = [
        make_topic(area, [f"{area}Fa"], [make_drill(f"{area}D", f"{area}F")])
        for area in AREAS
        if area != "balance"
    ]
    assert len(holes(make_knowledge())) == len(AREAS) * 3 * 3 * 5
    assert len(holes(make_knowledge(*everything))) == 3 * 3 * 5
    nearly = make_topic(
        "balance",
        ["BF1a"],
        [make_drill("BD1", "BF1", clubs=("driver", "iron", "wedge"))],
        severities=("slight", "large"),
    )
    missing = holes(make_knowledge(*everything, nearly))
    # Every club and level at a clear gap, and the wood and the putter at the two other gaps.
    assert len(missing) == 5 * 3 + 2 * 2 * 3
    assert all("balance" in line for line in missing)
    assert sum("wood" in line for line in missing) == 9
    assert any(
        all(word in line for word in ("balance", "clear", "beginner", "driver")) for line in missing
    )


def test_a_fault_of_which_some_golfer_can_be_told_one_chain_only_is_a_thin_place_with_those_cases():
    fit = {
        "clubs": ("driver", "iron"),
        "levels": ("beginner", "advanced"),
        "audiences": ("adult", "senior"),
    }
    chains = [
        make_chain("BF1a", **fit),
        make_chain("BF1b", **fit),
        make_chain("BF2a", **fit),
        make_chain("BF2b", **fit | {"clubs": ("iron",)}),
        make_chain("BF3a", **fit),
        make_chain("BF3b", **fit),
    ]
    drills = [
        make_drill("BD1", "BF1a", "BF2", "BF3", audiences=("adult", "senior")),
        make_drill("BD2", "BF1b", audiences=("adult",)),
        # The advanced senior with the driver has BF1a alone.
        make_drill("BD3", "BF1b", audiences=("senior",), levels=("beginner",)),
        make_drill("BD4", "BF1b", audiences=("senior",), clubs=("iron",)),
    ]
    lines = thin_places(make_knowledge(make_topic("balance", chains, drills, **fit)))
    # BF2: with the driver, everybody has BF2a alone. BF3 has two for everybody, if with the same drill.
    assert len(lines) == 2
    assert lines[0].startswith("BF1 Fault BF1: ")
    assert lines[0].endswith("driver; advanced; senior")
    assert lines[1].startswith("BF2 Fault BF2: ")
    assert lines[1].endswith("driver; advanced, beginner; adult, senior")


def test_a_fault_with_one_chain_is_thin_whatever_its_drills_and_a_chain_without_drill_is_none():
    drills = [make_drill("BD1", "BF1a"), make_drill("BD2", "BF1a")]
    assert len(thin_places(make_knowledge(make_topic("balance", ["BF1a"], drills)))) == 1
    topic = make_topic("balance", ["BF1a", "BF1b"], drills)
    assert len(thin_places(make_knowledge(topic))) == 1
    # A drill of another file makes it a chain that can be told.
    other = make_topic("weight_shift", [], [make_drill("WD1", "BF1b")])
    assert thin_places(make_knowledge(topic, other)) == []


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
    topic = make_topic("balance", [make_chain("BF1a", [make_item(*phrasings)])])
    assert reading_grade(topic) == pytest.approx(expected, abs=0.001 * 100 * letters / words)


def test_a_topic_reads_as_hard_as_all_of_its_items_together():
    easy, hard = (
        make_item("The ball is on the tee."),
        make_item("Considerable concentration accompanies sophisticated instruction."),
    )
    grades = [
        reading_grade(make_topic("balance", [make_chain("BF1a", items)]))
        for items in ([easy], [easy, hard], [hard])
    ]
    assert grades[0] < grades[1] < grades[2]
    chain = make_chain("BF1a", [hard])
    assert reading_grade(make_topic("balance", [chain], [make_drill("BD1")])) < grades[2]


# The repository's own knowledge.


def test_the_repository_has_no_hole_and_several_pairs_for_every_case(knowledge):
    assert holes(knowledge) == []
    for (*_, club), pairs in coverage(knowledge).items():
        assert pairs >= (4 if club == "putter" else 20)


def test_no_golfer_who_comes_back_to_the_repository_is_told_the_same_chain_again(knowledge):
    assert thin_places(knowledge) == []


def test_every_topic_of_the_repository_reads_at_grade_seven_or_below(knowledge):
    for topic in knowledge.topics:
        assert reading_grade(topic) <= 7, topic.id


def test_most_swing_thoughts_of_the_repository_point_outside_the_body(knowledge):
    assert external_cues(knowledge) >= 0.5


@pytest.mark.parametrize(
    ("cue", "is_external"),
    [
        ("Quiet hands.", False),
        ("Turn your shoulders.", False),
        ("Handle in the fingers.", True),
        ("Brush the grass.", True),
    ],
)
def test_a_swing_thought_is_external_if_it_names_something_outside_the_body(cue, is_external):
    chain = make_chain("BF1a", [make_item(cue)])
    assert external_cues(SimpleNamespace(advice=[chain])) == is_external
