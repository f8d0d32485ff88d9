"""The knowledge files: the repository's own load, and each rule refuses a minimal broken file with its name and line."""

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.knowledge import KnowledgeError, Source, Topic, load_knowledge, read_topic

SOURCES = """\
PAPER: {grade: P, text: "A paper, 2010"}
COACH: {grade: C, text: "A coach"}
BLOG: {grade: B, text: "A blog"}
HABIT: {grade: U, text: "A convention"}
"""
READ_SOURCES = {
    name: Source(name, grade, "A text")
    for name, grade in {"PAPER": "P", "COACH": "C", "BLOG": "B", "HABIT": "U"}.items()
}

RULES = r"""
- id: head_stays_free
  says: The head is never nailed.
  never: "\\bnail"
  unless: "\\bnot nail"
  parts: [cue, drill, dose, easier]
- id: one_ball_position
  says: A file teaches one ball position.
  together: ["lead heel", "middle of the stance"]
"""

# The smallest topic that is valid; ID, AREA and the numbers of the fault and the drill are filled in for each area.
TOPIC = """\
---
id: {id}
area: {area}
topic: The basics
phase: address
clubs: [driver, iron]
levels: [beginner, advanced]
audiences: [adult, senior]
severity: [slight, large]
conflicts: []
---

# The basics

## Fault AF{n}: Grip too tight {n}

## Chain AF{n}a: Fear of losing the club

### Ideal

- The club is held lightly. [PAPER]

### Happening

- The ball may drift to the {{right}}. [HABIT]

### Steps

1. Lift the club.
2. Let it rest.

### Check

- Do the forearms feel soft?

### Plan

- Film again in a week.

### Cue

- Soft hands!

## Drill AD{n}: Ladder {n}

- Fixes: AF{n}
- Place: home, range
- Equipment: an iron
- Risk: none
- Loads: none
- Dose: Three sets, twice a week.
- Small dose: One set a week.
- Easier: Use one hand.
- Harder: Use a long club.
- Sources: HABIT

### Text

- Squeeze the club
  and let go again.

## Keep AK{n}: Soft hold {n}

### Ideal

- A soft hold lets the club swing. [COACH]

### Happening

- There is nothing to mend. [HABIT]

### Steps

1. Go on like this.
2. Try a long club.

### Plan

- Count the soft swings.

### Cue

- Soft as ever!

## Adaptations

- A thicker grip helps. [audience=senior]
"""
VALID = TOPIC.format(id="setup_basics", area="setup_quality", n=1)

# What a file may hold beside faults, with what a golfer may name in place of one.
OTHERS = {
    "Unclear": """\
## Unclear AU1: Too tight or too loose

- Faults: AF1

### Ideal

- The hold is the same all along. [PAPER]

### Happening

- Two habits are common. [HABIT]

### Steps

1. Find out which.
2. Take the first.
3. Take the second.

### Plan

- Tell the app.

### Cue

- All along!
""",
    "Outcome": """\
## Outcome AO1: Slice and the grip

- Outcome: slice
- Faults: AF1

### Ideal

- The face looks at the target. [PAPER]

### Happening

- A tight hold can leave it open. [HABIT]

### Steps

1. Look at the glove.
2. Loosen it.
3. Watch the ball.

### Plan

- Look at the tempo next.

### Cue

- Loose glove!
""",
    "Meanwhile": """\
## Meanwhile AM1: A light hold until then

### Ideal

- A light hold never harms. [PAPER]

### Steps

1. Until then, hold it lightly.
2. Count the light ones.

### Cue

- Light!
""",
}

FAULT, DRILL = "## Fault AF1: Grip too tight 1", "## Drill AD1: Ladder 1"
CHAIN, KEEP = "## Chain AF1a: Fear of losing the club", "## Keep AK1: Soft hold 1"
CUE = "- Soft hands!"
DOSE = "- Dose: Three sets, twice a week."
FRONT_MATTER = (
    "id", "area", "topic", "phase", "clubs", "levels", "audiences", "severity", "conflicts",
)  # fmt: skip
# The parts of a section in their order.
PARTS = {
    "Chain": ("Ideal", "Happening", "Steps", "Check", "Plan", "Cue"),
    "Keep": ("Ideal", "Happening", "Steps", "Plan", "Cue"),
    "Unclear": ("Ideal", "Happening", "Steps", "Plan", "Cue"),
    "Outcome": ("Ideal", "Happening", "Steps", "Plan", "Cue"),
    "Meanwhile": ("Ideal", "Steps", "Cue"),
}
OUTCOMES = {
    "slice", "hook", "push", "pull", "top", "thin", "fat", "shank", "toe", "heel", "too_high", "too_low", "distance", "contact",
}  # fmt: skip
# Of every advice of a kind, so many steps are for each golfer.
STEPS = {"fault": 2, "keep": 2, "unclear": 3, "outcome": 3, "other_area": 2}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A valid knowledge folder with one minimal topic for each area; the setup topic has the ids AF1 and AD1, the balance topic AF6."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "sources.yaml").write_text(SOURCES)
    (folder / "rules.yaml").write_text(RULES)
    for number, area in enumerate(AREAS.values(), 1):
        topic = folder / area.folder / f"{area.folder}_basics.md"
        topic.parent.mkdir()
        topic.write_text(TOPIC.format(id=topic.stem, area=area.key, n=number))
    return folder


@pytest.fixture
def setup_topic(folder) -> Path:
    return folder / "setup" / "setup_basics.md"


@pytest.fixture
def balance_topic(folder) -> Path:
    return folder / "balance" / "balance_basics.md"


@pytest.fixture
def extra(tmp_path) -> Path:
    """A folder of one's own with a single topic on balance, with the fault AF7 and the drill AD7."""
    path = tmp_path / "own" / "balance" / "my_balance.md"
    path.parent.mkdir(parents=True)
    path.write_text(TOPIC.format(id="my_balance", area="balance", n=7))
    return tmp_path / "own"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (
        f"{old!r} must occur once for the change to be the one that is meant"
    )
    path.write_text(text.replace(old, new), encoding="utf-8")


def line_of(path: Path, line: str) -> int:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.count(line) == 1
    return lines.index(line) + 1


def refusal(folder: Path, path: Path, line: str | int, extra: Path | None = None) -> str:
    """Load the folder, check that the refusal begins with `path` and the number of `line`, and return its message."""
    number = line if isinstance(line, int) else line_of(path, line)
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder, extra)
    place = f"{path}:{number}: "
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


def load_setup(folder: Path) -> Topic:
    return load_knowledge(folder).topic("setup_basics")


def cues_of(topic: Topic):
    """The items of the chain's part that most tests change."""
    return topic.chains[0].items["cue"]


def add_drill(path: Path, fields: str, text: str) -> None:
    """Write a second drill, AD8; the first of a minimal topic has to serve everybody."""
    risk = "" if "- Risk:" in fields else "- Risk: none\n"
    loads = "" if "- Loads:" in fields else "- Loads: none\n"
    drill = f"## Drill AD8: Towel\n\n- Fixes: AF1a\n- Place: mat\n- Equipment: a towel\n{risk}{loads}- Dose: Two sets.\n"
    drill += f"- Small dose: One set.\n- Easier: Sit.\n- Harder: Stand.\n- Sources: HABIT\n{fields}"
    change(path, KEEP, f"{drill}\n### Text\n\n- {text}\n\n{KEEP}")


def add_chain(path: Path, fields: str, cue: str = "Go!") -> None:
    """Write a second chain, AF1b; the first of a minimal topic has to serve everybody."""
    text = path.read_text()
    first = text[text.index(CHAIN) : text.index(DRILL)].removeprefix(CHAIN)
    chain = f"## Chain AF1b: Habit\n\n{fields}" + first.replace(CUE, f"- {cue}")
    change(path, DRILL, f"{chain}{DRILL}")


def add_section(path: Path, kind: str) -> None:
    change(path, "## Adaptations", f"{OTHERS[kind]}\n## Adaptations")


# The repository's own knowledge.


def test_the_repositorys_own_files_hold_ten_topics_for_each_area_and_hundreds_of_chains_and_drills(
    knowledge,
):
    topics = Counter(topic.area for topic in knowledge.topics)
    assert set(topics) == set(AREAS)
    assert min(topics.values()) >= 10
    assert len(knowledge.faults) >= 100
    assert len([advice for advice in knowledge.advice if advice.kind == "fault"]) >= 300
    assert len(knowledge.drills) >= 350
    assert not knowledge.extra_topics


def for_all_of(one):
    """Every (club, level, audience, gap) that something is for."""
    return product(one.clubs, one.levels, one.audiences, one.severities)


def test_every_fault_of_the_repository_has_a_chain_and_a_drill_in_its_own_file_for_everyone(
    knowledge,
):
    for topic in knowledge.topics:
        drills = {chain.id: [d for d in topic.drills if {chain.id, *chain.faults} & set(d.fixes)] for chain in topic.chains}  # fmt: skip
        for fault, (*golfer, gap) in product(topic.faults, for_all_of(topic)):
            assert any(
                chain.faults == (fault.id,) and all(v in s for v, s in zip((*golfer, gap), chain.scope, strict=True))
                and any(drill.fits(*golfer) for drill in drills[chain.id])
                for chain in topic.chains
            ), (fault.id, golfer, gap)  # fmt: skip


def test_every_chain_of_the_repository_can_be_told_to_everyone_it_is_for(knowledge):
    for chain in (advice for advice in knowledge.advice if advice.kind == "fault"):
        drills = [d for d in knowledge.drills if {chain.id, *chain.faults} & set(d.fixes)]
        for golfer in product(chain.clubs, chain.levels, chain.audiences):
            assert any(drill.fits(*golfer) for drill in drills), (chain.id, golfer)


def test_every_advice_of_the_repository_has_one_item_a_part_and_its_steps_for_everyone_it_is_for(
    knowledge,
):
    for advice in knowledge.advice:
        for golfer in for_all_of(advice):
            fitting = {p: sum(i.fits(*golfer) for i in items) for p, items in advice.items.items()}
            assert fitting.pop("steps") == STEPS[advice.kind], (advice.id, golfer)
            assert set(fitting.values()) == {1}, (advice.id, golfer)


def test_every_part_of_the_repositorys_advice_can_be_said_in_two_ways(knowledge):
    for advice in knowledge.advice:
        for items in advice.items.values():
            assert all(len(item.phrasings) >= 2 for item in items), advice.id


def test_the_repository_has_an_answer_for_everyone_who_names_no_fault(knowledge):
    for area, *golfer in product(AREAS, CLUB_FAMILIES, LEVELS, AUDIENCES):
        mine = [
            a for a in knowledge.advice
            if a.area == area and all(v in s for v, s in zip(golfer, a.scope[:3], strict=True))
        ]  # fmt: skip
        assert any(advice.kind == "keep" for advice in mine), (area, golfer)
        for gap in SEVERITIES:
            kinds = Counter(advice.kind for advice in mine if gap in advice.severities)
            # A putt has no flight to speak of.
            putts = golfer[0] == "putter"
            assert kinds["unclear"] >= (2 if putts else 3), (area, golfer, gap)
            assert kinds["other_area"] >= (1 if putts else 3), (area, golfer, gap)
            outcomes = {advice.outcome for advice in mine if gap in advice.severities}
            assert putts or outcomes >= OUTCOMES, (area, golfer, gap)


def test_every_unclear_section_of_the_repository_considers_two_or_three_faults(knowledge):
    for advice in knowledge.advice:
        if advice.kind == "unclear":
            assert len(set(advice.faults)) in (2, 3), advice.id


def test_every_topic_of_the_repository_speaks_to_every_audience(knowledge):
    for topic in knowledge.topics:
        assert topic.audiences == AUDIENCES
        if topic.faults:
            adapted = {audience for item in topic.adaptations for audience in item.audiences}
            assert adapted >= set(AUDIENCES) - {"adult"}, topic.id


def test_no_drill_of_the_repository_asks_a_senior_or_limited_mobility_for_too_much(knowledge):
    for drill in knowledge.drills:
        if {"one leg", "speed"} & set(drill.risks):
            assert not {"senior", "limited mobility"} & set(drill.audiences), drill.id
        if drill.loads:
            assert "limited mobility" not in drill.audiences, drill.id


def test_every_source_that_the_repository_cites_is_known(knowledge):
    for topic in knowledge.topics:
        for part, _, item in topic.items():
            assert set(item.sources) <= set(knowledge.sources), item.id
            assert item.sources or part not in ("ideal", "happening", "drill"), item.id


def test_every_digit_in_an_item_of_the_repository_has_a_source_that_may_carry_a_figure(knowledge):
    for topic in knowledge.topics:
        for _, _, item in topic.items():
            if re.search("[0-9]", " ".join(item.phrasings)):
                assert {knowledge.sources[source].grade for source in item.sources} & set(
                    "PRSCD"
                ), item.id


def test_no_sentence_of_the_repository_shows_a_tag_or_a_label_or_names_a_side_outright(knowledge):
    for item_id, sentence in knowledge.sentences().items():
        words = re.findall("[a-z]+", sentence.lower().replace("{left}", "").replace("{right}", ""))
        assert not {"left", "right"} & set(words), item_id
        assert not re.search(r"[][]|\bor:|^(Check|Safety|Swing thought):|^Drill\b", sentence), (
            item_id
        )


def test_every_id_and_every_name_of_the_repository_is_given_once(knowledge):
    n_phrasings = sum(
        len(item.phrasings) for topic in knowledge.topics for _, _, item in topic.items()
    )
    assert len(knowledge.sentences()) == n_phrasings
    entries = [*knowledge.faults, *knowledge.drills]
    ids = [entry.id for entry in (*entries, *knowledge.advice)]
    assert len(set(ids)) == len(ids)
    assert len({entry.name for entry in entries}) == len(entries)


def test_conflicts_of_the_repository_are_mutual(knowledge):
    home = {fault.id: topic for topic in knowledge.topics for fault in topic.faults}
    pairs = {(topic.id, home[fault].id) for topic in knowledge.topics for fault in topic.conflicts}
    assert pairs
    assert pairs == {(other, topic) for topic, other in pairs}


# What a valid file becomes.


def test_a_minimal_topic_becomes_what_it_says(folder, setup_topic):
    knowledge = load_knowledge(folder)
    topic = knowledge.topic("setup_basics")
    assert (topic.id, topic.area, topic.title) == ("setup_basics", "setup_quality", "The basics")
    assert (topic.phase, topic.conflicts, topic.path) == ("address", (), setup_topic)
    assert (topic.clubs, topic.levels) == (("driver", "iron"), ("beginner", "advanced"))
    assert (topic.audiences, topic.severities) == (("adult", "senior"), ("slight", "large"))
    assert [item.text for item in topic.adaptations] == ["A thicker grip helps."]
    fault = knowledge.fault("AF1")
    assert (fault.name, fault.area) == ("Grip too tight 1", "setup_quality")
    assert (fault.topic, fault.line) == ("setup_basics", line_of(setup_topic, FAULT))
    (chain,) = knowledge.chains_of("AF1")
    assert (chain.id, chain.kind, chain.name) == ("AF1a", "fault", "Fear of losing the club")
    assert (chain.area, chain.topic) == ("setup_quality", "setup_basics")
    assert (chain.line, chain.faults, chain.outcome) == (
        line_of(setup_topic, CHAIN),
        ("AF1",),
        "",
    )
    assert chain.scope == (*topic.scope[:3], ("none", "slight", "large"))
    assert {part: [item.text for item in items] for part, items in chain.items.items()} == {
        "ideal": ["The club is held lightly."],
        "happening": ["The ball may drift to the {right}."],
        "steps": ["Lift the club.", "Let it rest."],
        "check": ["Do the forearms feel soft?"],
        "plan": ["Film again in a week."],
        "cue": ["Soft hands!"],
    }
    assert [item.sources for item in chain.items["ideal"] + chain.items["happening"]] == [
        ("PAPER",),
        ("HABIT",),
    ]
    assert topic.chains == (chain,)
    assert knowledge.sources["BLOG"] == Source("BLOG", "B", "A blog")


def test_a_drill_becomes_what_it_says(folder, setup_topic):
    knowledge = load_knowledge(folder)
    (drill,) = knowledge.drills_for(knowledge.chains_of("AF1")[0])
    assert (drill.id, drill.name, drill.area, drill.topic, drill.line) == (
        "AD1", "Ladder 1", "setup_quality", "setup_basics", line_of(setup_topic, DRILL)
    )  # fmt: skip
    assert (drill.fixes, drill.places, drill.equipment) == (("AF1",), ("home", "range"), "an iron")
    assert (drill.risks, drill.loads, drill.sources) == ((), (), ("HABIT",))
    assert drill.text.phrasings == ("Squeeze the club and let go again.",)
    assert (drill.dose.text, drill.small_dose.text) == (
        "Three sets, twice a week.",
        "One set a week.",
    )
    assert (drill.easier.text, drill.harder.text) == ("Use one hand.", "Use a long club.")
    assert drill.told(drill.text.text) == 'Drill "Ladder 1": Squeeze the club and let go again.'
    # Each of its texts is found where it stands, and rests on the drill's sources.
    assert drill.dose.line == line_of(setup_topic, DOSE)
    assert drill.harder.line == line_of(setup_topic, "- Harder: Use a long club.")
    assert drill.text.line == line_of(setup_topic, "- Squeeze the club")
    for item in (drill.text, drill.dose, drill.small_dose, drill.easier, drill.harder):
        assert item.sources == ("HABIT",)


@pytest.mark.parametrize(
    ("kind", "id", "name", "faults", "outcome"),
    [
        ("Unclear", "AU1", "Too tight or too loose", ("AF1",), ""),
        ("Outcome", "AO1", "Slice and the grip", ("AF1",), "slice"),
        ("Meanwhile", "AM1", "A light hold until then", (), ""),
    ],
)
def test_the_other_kinds_of_advice_become_what_they_say(
    folder, setup_topic, kind, id, name, faults, outcome
):
    add_section(setup_topic, kind)
    topic = load_setup(folder)
    (advice,) = [advice for advice in topic.advice if advice.kind not in ("fault", "keep")]
    assert advice.kind == {"Meanwhile": "other_area"}.get(kind, kind.lower())
    assert (advice.id, advice.name, advice.area) == (id, name, "setup_quality")
    assert (advice.faults, advice.outcome) == (faults, outcome)
    assert tuple(advice.items) == tuple(part.lower() for part in PARTS[kind])
    written = re.findall(r"^(?:- |\d\. )([A-Z][^:\n]*[.!])", OTHERS[kind], re.MULTILINE)
    assert [item.text for items in advice.items.values() for item in items] == written
    assert topic.chains == tuple(a for a in topic.advice if a.kind == "fault")


def test_a_file_may_hold_no_fault_but_other_advice_alone(folder):
    path = folder / "setup" / "setup_unclear.md"
    front = VALID.split("# The basics")[0].replace("setup_basics", "setup_unclear")
    path.write_text(front + "\n".join(OTHERS.values()))
    knowledge = load_knowledge(folder)
    topic = knowledge.topic("setup_unclear")
    assert (topic.faults, topic.drills, topic.adaptations) == ((), (), ())
    assert [advice.kind for advice in topic.advice] == ["unclear", "outcome", "other_area"]
    assert all(advice in knowledge.advice for advice in topic.advice)


def test_the_topics_of_a_folder_come_with_all_their_faults_chains_and_drills(folder):
    knowledge = load_knowledge(folder)
    assert {topic.area for topic in knowledge.topics} == set(AREAS)
    assert {fault.id for fault in knowledge.faults} == {f"AF{number}" for number in range(1, 7)}
    assert {drill.id for drill in knowledge.drills} == {f"AD{number}" for number in range(1, 7)}
    assert {advice.id for advice in knowledge.advice} == {
        f"A{rest}" for number in range(1, 7) for rest in (f"F{number}a", f"K{number}")
    }
    assert [rule.id for rule in knowledge.rules] == ["head_stays_free", "one_ball_position"]


def test_items_names_the_part_and_the_owner_of_every_item(folder):
    listed = [
        (part, owner.id if owner else None, item.text)
        for part, owner, item in load_setup(folder).items()
    ]
    assert listed == [
        ("ideal", "AF1a", "The club is held lightly."),
        ("happening", "AF1a", "The ball may drift to the {right}."),
        ("steps", "AF1a", "Lift the club."),
        ("steps", "AF1a", "Let it rest."),
        ("check", "AF1a", "Do the forearms feel soft?"),
        ("plan", "AF1a", "Film again in a week."),
        ("cue", "AF1a", "Soft hands!"),
        ("ideal", "AK1", "A soft hold lets the club swing."),
        ("happening", "AK1", "There is nothing to mend."),
        ("steps", "AK1", "Go on like this."),
        ("steps", "AK1", "Try a long club."),
        ("plan", "AK1", "Count the soft swings."),
        ("cue", "AK1", "Soft as ever!"),
        ("drill", "AD1", "Squeeze the club and let go again."),
        ("dose", "AD1", "Three sets, twice a week."),
        ("small_dose", "AD1", "One set a week."),
        ("easier", "AD1", "Use one hand."),
        ("harder", "AD1", "Use a long club."),
        ("adaptations", None, "A thicker grip helps."),
    ]


def test_every_sentence_can_be_looked_up_by_its_id(folder):
    knowledge = load_knowledge(folder)
    sentences = knowledge.sentences()
    for topic in knowledge.topics:
        assert all(sentences[item.id] == item.text for _, _, item in topic.items())
    # Six topics with a chain of seven, what is kept of six, a drill of five items, and one adaptation.
    assert len(sentences) == 6 * 19


def test_the_phrasings_of_an_item_share_its_tags_and_go_by_its_id_with_a_letter(
    folder, setup_topic
):
    change(
        setup_topic,
        CUE,
        "- Keep the soft\n  hold. [COACH; club=iron]\n  or: Go on with\n  soft hands.\n  or: Stay soft!\n- Stay calm. [club=driver]",
    )
    topic = load_setup(folder)
    first, second = cues_of(topic)
    assert first.phrasings == ("Keep the soft hold.", "Go on with soft hands.", "Stay soft!")
    assert (first.text, first.sources, first.clubs) == (
        "Keep the soft hold.",
        ("COACH",),
        ("iron",),
    )
    assert first.named_phrasings == {
        first.id: "Keep the soft hold.", f"{first.id}b": "Go on with soft hands.", f"{first.id}c": "Stay soft!"
    }  # fmt: skip
    assert second.phrasings == ("Stay calm.",)
    assert {**first.named_phrasings, second.id: "Stay calm."}.items() <= topic.sentences().items()
    assert first.line == line_of(setup_topic, "- Keep the soft")


def test_the_text_of_a_drill_may_have_several_phrasings(folder, setup_topic):
    change(setup_topic, "  and let go again.", "  and let go again.\n  or: Press it, and ease off.")
    drill = load_setup(folder).drills[0]
    assert drill.text.phrasings == (
        "Squeeze the club and let go again.",
        "Press it, and ease off.",
    )


# What a topic of two clubs, levels, audiences and gaps each leaves.
EVERY = {
    "club": {"driver", "iron"},
    "level": {"beginner", "advanced"},
    "audience": {"adult", "senior"},
    "severity": {"none", "slight", "large"},
}


# (tags, the clubs, levels, audiences and severities that remain of the topic's)
@pytest.mark.parametrize(
    ("tags", "narrowed"),
    [
        ("", {}),
        ("club=driver", {"club": {"driver"}}),
        ("club=iron/driver; level=beginner", {"level": {"beginner"}}),
        ("level=advanced, audience=senior", {"level": {"advanced"}, "audience": {"senior"}}),
        ("severity=slight/large", {"severity": {"slight", "large"}}),
        ("PAPER; severity=none; audience=adult/senior", {"severity": {"none"}}),
        (
            "club=iron; level=advanced; audience=adult; severity=large",
            {"club": {"iron"}, "level": {"advanced"}, "audience": {"adult"}, "severity": {"large"}},
        ),
    ],
)
def test_a_tag_narrows_an_item_and_without_it_the_topics_values_hold(
    folder, setup_topic, tags, narrowed
):
    # A third step leaves no case without one.
    change(
        setup_topic, "2. Let it rest.", "2. Let it rest.\n3. Wait." + (f" [{tags}]" if tags else "")
    )
    item = load_setup(folder).chains[0].items["steps"][2]
    assert item.text == "Wait."
    expected = EVERY | narrowed
    for case in product(CLUB_FAMILIES, LEVELS, AUDIENCES, ("none", *SEVERITIES)):
        assert item.fits(*case) == all(
            value in values for value, values in zip(case, expected.values(), strict=True)
        ), case


def test_an_item_without_a_word_on_whom_is_for_an_adult_without_a_gap(folder, setup_topic):
    change(
        setup_topic, "2. Let it rest.", "2. Go. [audience=senior]\n3. Come. [severity=slight/large]"
    )
    steps = load_setup(folder).chains[0].items["steps"]
    assert [item.fits("iron", "beginner") for item in steps] == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", EVERY),
        ("- Clubs: iron\n", EVERY | {"club": {"iron"}}),
        ("- Levels: advanced, beginner\n", EVERY),
        ("- Not for: senior\n", EVERY | {"audience": {"adult"}}),
        (
            "- Clubs: driver\n- Levels: beginner\n- Not for: adult\n",
            {"club": {"driver"}, "level": {"beginner"}, "audience": {"senior"}},
        ),
    ],
)
def test_a_drills_fields_say_whom_it_is_for(folder, setup_topic, fields, expected):
    add_drill(setup_topic, fields, "Fold it.")
    drill = next(drill for drill in load_knowledge(folder).drills if drill.id == "AD8")
    for case in product(CLUB_FAMILIES, LEVELS, AUDIENCES):
        assert drill.fits(*case) == all(
            value in values for value, values in zip(case, expected.values(), strict=False)
        ), case
    assert drill.fits("driver", "beginner") == (
        "adult" in expected["audience"] and "driver" in expected["club"]
    )


@pytest.mark.parametrize(
    ("fields", "barred"),
    [
        ("", set()),
        ("- Risk: rods, throw\n", set()),
        ("- Loads: knee\n", {"limited mobility"}),
        ("- Risk: rods\n- Loads: back, wrist\n", {"limited mobility"}),
        ("- Risk: one leg\n", {"limited mobility", "senior"}),
        ("- Risk: throw, speed\n", {"limited mobility", "senior"}),
        ("- Loads: hip\n- Not for: junior\n", {"limited mobility", "junior"}),
    ],
)
def test_a_drill_that_loads_a_joint_or_is_risky_is_never_for_those_it_could_harm(
    folder, setup_topic, fields, barred
):
    everyone = "[adult, senior, junior, limited mobility]"
    change(setup_topic, "audiences: [adult, senior]", f"audiences: {everyone}")
    adapted = "- Play. [audience=junior]\n- Sit. [audience=limited mobility]\n"
    change(setup_topic, "## Adaptations\n\n", f"## Adaptations\n\n{adapted}")
    add_drill(setup_topic, fields, "Fold it.")
    assert set(load_setup(folder).drills[1].audiences) == set(AUDIENCES) - barred


@pytest.mark.parametrize(
    ("fields", "narrowed"),
    [
        ("", {}),
        ("- Clubs: iron\n", {"club": {"iron"}}),
        ("- Levels: beginner\n- Gaps: large\n", {"level": {"beginner"}, "severity": {"large"}}),
        ("- Not for: senior\n", {"audience": {"adult"}}),
    ],
)
def test_the_fields_of_a_chain_say_whom_it_is_for(folder, setup_topic, fields, narrowed):
    add_chain(setup_topic, fields)
    _, chain = load_setup(folder).chains
    assert (chain.id, chain.faults) == ("AF1b", ("AF1",))
    assert list(map(set, chain.scope)) == list((EVERY | narrowed).values())


def test_the_gap_of_a_golfer_who_met_the_target_is_no_part_of_a_chains_cases(folder, setup_topic):
    # What a chain says is for a gap, and what is kept for none; so neither needs items for the other.
    change(setup_topic, CUE, "- Go. [severity=slight/large]")
    change(setup_topic, "- Soft as ever!", "- Soft as ever! [severity=none]")
    assert load_setup(folder)


def test_a_drill_fixes_a_chain_or_all_chains_of_a_fault(folder, setup_topic):
    add_chain(setup_topic, "")
    change(setup_topic, "- Fixes: AF1\n", "- Fixes: AF1b\n")
    # This one is for AF1a.
    add_drill(setup_topic, "", "Fold it.")
    knowledge = load_knowledge(folder)
    names = [[drill.id for drill in knowledge.drills_for(c)] for c in knowledge.chains_of("AF1")]
    assert names == [["AD8"], ["AD1"]]
    change(setup_topic, "- Fixes: AF1b\n", "- Fixes: AF1\n")
    knowledge = load_knowledge(folder)
    names = [[drill.id for drill in knowledge.drills_for(c)] for c in knowledge.chains_of("AF1")]
    assert names == [["AD1", "AD8"], ["AD1"]]


@pytest.mark.parametrize("fixed", ["AF6", "AF6a"])
def test_a_drill_may_fix_a_fault_or_a_chain_of_another_file(folder, setup_topic, fixed):
    change(setup_topic, "- Fixes: AF1", f"- Fixes: AF1, {fixed}")
    knowledge = load_knowledge(folder)
    drills = knowledge.drills_for(knowledge.chains_of("AF6")[0])
    assert [drill.id for drill in drills] == ["AD6", "AD1"]


@pytest.mark.parametrize(
    "figure",
    ["About 60 percent is in front.", "Hold it for three seconds.", "Turn by ninety degrees."],
)
@pytest.mark.parametrize("sources", ["PAPER", "COACH", "BLOG, PAPER"])
def test_a_figure_from_a_graded_source_is_accepted(folder, setup_topic, figure, sources):
    change(setup_topic, CUE, f"- {figure} [{sources}]")
    assert figure in load_knowledge(folder).sentences().values()


@pytest.mark.parametrize(
    "sentence",
    [
        "Use two hands.",
        "Someone often waits a second.",
        "Weight the foot, then swing ten.",
        "Stand on two feet.",
    ],
)
def test_a_number_in_words_that_counts_no_unit_needs_no_source(folder, setup_topic, sentence):
    change(setup_topic, CUE, f"- {sentence}")
    assert cues_of(load_setup(folder))[0].text == sentence


@pytest.mark.parametrize(
    "sentence", ["Feel the bright, upright leftover.", "Starts {left}, then turns {right}."]
)
def test_words_that_only_contain_a_side_and_the_two_placeholders_are_accepted(
    folder, setup_topic, sentence
):
    change(setup_topic, CUE, f"- {sentence}")
    assert sentence in load_knowledge(folder).sentences().values()


@pytest.mark.parametrize("byte_order_mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_editors_line_ends_and_byte_order_mark_change_nothing(folder, byte_order_mark, line_end):
    expected = load_knowledge(folder)
    for path in [*folder.glob("*/*.md"), folder / "sources.yaml", folder / "rules.yaml"]:
        path.write_bytes(byte_order_mark + path.read_bytes().replace(b"\n", line_end))
    assert load_knowledge(folder) == expected


# The text is data.


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').abort().",
        "%(topic)s and %s and %d.",
        "$HOME, ~ and `reboot` stay.",
        "A \\n and \\\\ stay signs.",
        "!!python/object/apply:os.abort.",
        "<script>alert()</script> &amp; *this*.",
        "Größe 大きさ \N{SNOWMAN}.",
    ],
)
def test_a_text_is_kept_to_the_letter_and_never_evaluated(folder, setup_topic, text):
    change(setup_topic, CUE, f"- {text}")
    assert cues_of(load_setup(folder))[0].text == text


@pytest.mark.parametrize(
    "text", ["{0.__class__}", "${HOME}", "{topic}", "{{left}}", "{left!r}", "{}"]
)
def test_braces_other_than_the_placeholders_are_refused_at_their_line(folder, setup_topic, text):
    change(setup_topic, CUE, f"- Go {text}.")
    refusal(folder, setup_topic, f"- Go {text}.")


def test_the_texts_of_a_drill_are_kept_to_the_letter(folder, setup_topic):
    change(setup_topic, "- Equipment: an iron", "- Equipment: {0.__class__},or: none")
    change(setup_topic, DOSE, "- Dose: ${HOME}? %s,%s ,&amp; `reboot`.".replace("${HOME}", "$HOME"))
    drill = load_setup(folder).drills[0]
    assert drill.equipment == "{0.__class__},or: none"
    assert drill.dose.text == "$HOME? %s,%s ,&amp; `reboot`."


@pytest.mark.parametrize("call", ["apply:os.mkdir", "new:os.mkdir"])
def test_yaml_that_would_run_python_is_refused_at_its_line_and_runs_nothing(
    folder, setup_topic, tmp_path, monkeypatch, call
):
    monkeypatch.chdir(tmp_path)
    change(setup_topic, "topic: The basics", f"topic: !!python/object/{call} [made]")
    assert "wrong type" in refusal(folder, setup_topic, f"topic: !!python/object/{call} [made]")
    (folder / "sources.yaml").write_text(f"{SOURCES}ODD: !!python/object/{call} [made]\n")
    refusal(folder, folder / "sources.yaml", 5)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("7", "7"), ("1_000", "1_000"), ("0x1F", "0x1F"), ("yes", "yes"), ("null", "null"), ("2024-02-29", "2024-02-29"),
        # No calendar has this day, and no tag makes it one.
        ("2023-02-30", "2023-02-30"), ("!!timestamp 2023-02-30", "2023-02-30"), ("!!bool x", "x"), ("!!map 7", "7"), ("'a: b'", "a: b"),
    ],
)  # fmt: skip
def test_a_value_of_the_front_matter_is_a_text_whatever_it_looks_like(
    folder, setup_topic, value, title
):
    change(setup_topic, "topic: The basics", f"topic: {value}")
    assert load_setup(folder).title == title


def test_the_fields_of_a_source_are_texts_whatever_they_look_like(folder):
    (folder / "sources.yaml").write_text(f"{SOURCES}7: {{grade: P, text: 2024-02-30}}\n")
    assert load_knowledge(folder).sources["7"] == Source("7", "P", "2024-02-30")


# What is refused in one file.


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# The basics\n", "---\nid: setup_basics\n", "id: setup_basics\n---\n"]
)
def test_a_file_without_front_matter_is_refused_at_its_first_line(folder, setup_topic, text):
    setup_topic.write_text(text)
    assert "front matter" in refusal(folder, setup_topic, 1)


def test_a_file_that_is_not_utf_8_is_refused(folder, setup_topic):
    setup_topic.write_bytes(VALID.replace("Soft hands!", "Größe!").encode("latin-1"))
    assert "UTF-8" in refusal(folder, setup_topic, 1)


@pytest.mark.parametrize("character", ["\x00", "\x0c", "\x1b", "\x7f", "\x85", "\x92"])
def test_an_invisible_control_character_is_refused_at_its_line(folder, setup_topic, character):
    text = VALID.replace("Soft hands!", f"Soft{character} hands!")
    setup_topic.write_bytes(text.encode())
    assert repr(character) in refusal(
        folder, setup_topic, VALID.split("Soft hands!")[0].count("\n") + 1
    )


def test_front_matter_that_is_no_yaml_is_refused_at_the_line_that_breaks_it(folder, setup_topic):
    change(setup_topic, "topic: The basics", "topic: The basics: again")
    assert "not valid YAML" in refusal(folder, setup_topic, "topic: The basics: again")


def test_a_front_matter_field_that_stands_twice_is_refused_at_the_first(folder, setup_topic):
    change(setup_topic, "phase: address", "phase: address\ntopic: The advanced")
    assert "the key 'topic'" in refusal(folder, setup_topic, "topic: The basics")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("levels: [beginner, advanced]", "conflicts: &none []\nlevels: *none"),
        ("topic: The basics", "topic: *The basics"),
        ("topic: The basics", "topic: [a, *b]"),
    ],
)
def test_a_yaml_alias_is_refused_at_its_line(folder, setup_topic, old, new):
    change(setup_topic, old, new)
    assert "alias" in refusal(folder, setup_topic, new.split("\n")[-1])


def test_an_alias_in_the_sources_is_refused_at_its_line(folder):
    (folder / "sources.yaml").write_text(f"{SOURCES}ONE: &one {{grade: P, text: x}}\nTWO: *one\n")
    assert "alias" in refusal(folder, folder / "sources.yaml", 6)


@pytest.mark.parametrize("name", ["setup/setup_basics.md", "sources.yaml"])
def test_yaml_that_is_nested_too_deeply_is_refused(folder, name):
    path = folder / name
    change(
        path,
        "The basics\nphase" if name.endswith(".md") else '{grade: B, text: "A blog"}',
        f"{'[' * 3000}\nphase",
    )
    with pytest.raises(KnowledgeError, match="nested too deeply") as caught:
        load_knowledge(folder)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("area: setup_quality", '"area": balance'),
        ("phase: address", "phase : takeaway"),
        ("levels: [beginner, advanced]", "'levels': [beginner, expert]"),
    ],
)
def test_a_front_matter_field_is_found_at_its_line_however_its_name_is_written(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    refusal(folder, setup_topic, new)


@pytest.mark.parametrize("front_matter", ["- id\n- area", "setup_basics", "7"])
def test_front_matter_that_has_no_fields_is_refused_at_its_first_line(
    folder, setup_topic, front_matter
):
    setup_topic.write_text(f"---\n{front_matter}\n---\n" + VALID.split("---\n")[2])
    assert "expected `field: value`" in refusal(folder, setup_topic, 2)


@pytest.mark.parametrize("field", FRONT_MATTER)
def test_a_front_matter_field_that_is_missing_is_refused_at_the_closing_line(
    folder, setup_topic, field
):
    lines = [
        line for line in setup_topic.read_text().split("\n") if not line.startswith(f"{field}: ")
    ]
    setup_topic.write_text("\n".join(lines))
    # Nine fields less one, between two lines of dashes.
    assert f"`{field}`" in refusal(folder, setup_topic, 10)


@pytest.mark.parametrize("field", sorted(set(FRONT_MATTER) - {"conflicts"}))
def test_a_front_matter_field_without_a_value_is_refused_by_name(folder, setup_topic, field):
    lines = [
        f"{field}:" if line.startswith(f"{field}: ") else line
        for line in setup_topic.read_text().split("\n")
    ]
    setup_topic.write_text("\n".join(lines))
    assert f"`{field}`" in refusal(folder, setup_topic, 11)


@pytest.mark.parametrize("field", ["title: The basics", "sources: [HABIT]", "evidence: P"])
def test_an_unknown_front_matter_field_is_refused_at_its_line(folder, setup_topic, field):
    change(setup_topic, "topic: The basics", f"topic: The basics\n{field}")
    assert f"unknown field '{field.split(':')[0]}'" in refusal(folder, setup_topic, field)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("area: setup_quality", "area: setup"),
        ("phase: address", "phase: takeaway"),
        ("clubs: [driver, iron]", "clubs: [driver, chipper]"),
        ("levels: [beginner, advanced]", "levels: [beginner, expert]"),
        ("audiences: [adult, senior]", "audiences: [adult, seniors]"),
        ("severity: [slight, large]", "severity: [slight, none]"),
    ],
)
def test_an_unknown_value_in_the_front_matter_is_refused_at_its_line(folder, setup_topic, old, new):
    change(setup_topic, old, new)
    field, value = old.split(":")[0], new.strip("]").split(" ")[-1]
    assert f"unknown {field} '{value}'" in refusal(folder, setup_topic, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clubs: [driver, iron]", "clubs: driver"),
        ("topic: The basics", "topic: {The: basics}"),
        ("topic: The basics", "topic: !!str [a]"),
        ("phase: address", "phase: [address]"),
        ("severity: [slight, large]", "severity: {slight: large}"),
        ("clubs: [driver, iron]", "clubs: [driver, {iron: x}]"),
        ("conflicts: []", "conflicts: AF6"),
    ],
)
def test_a_front_matter_field_of_the_wrong_type_is_refused_at_its_line(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    assert "wrong type" in refusal(folder, setup_topic, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clubs: [driver, iron]", "clubs: [driver, driver, iron]"),
        ("audiences: [adult, senior]", "audiences: [adult, senior, adult]"),
        ("severity: [slight, large]", "severity: [slight, large, large]"),
        ("conflicts: []", "conflicts: [AF6, AF6]"),
    ],
)
def test_a_list_of_the_front_matter_that_names_a_value_twice_is_refused_at_its_line(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    assert "twice" in refusal(folder, setup_topic, new)


def test_a_topic_in_another_areas_folder_is_refused_with_the_right_folder(folder, setup_topic):
    moved = setup_topic.rename(folder / "balance" / setup_topic.name)
    message = refusal(folder, moved, "area: setup_quality")
    assert "setup/" in message
    assert "balance/" in message


def test_an_id_that_differs_from_the_files_name_is_refused(folder, setup_topic):
    change(setup_topic, "id: setup_basics", "id: setup_basic")
    assert "'setup_basic'" in refusal(folder, setup_topic, "id: setup_basic")


@pytest.mark.parametrize(
    "heading",
    [
        "## Ideal",
        "## Cues",
        "## Keep",
        "## Safety",
        "## adaptations",
        "## Fault: Too tight",
        "## Fault X1: Too tight",
        "## Chain AF1: ",
        "## Chain AF1A: Habit",
        "## Drill AD9 Ladder",
        "## Drill ad9: Ladder",
        "## Outcomes AO1: Slice",
    ],
)
def test_an_unknown_section_is_refused_at_its_line(folder, setup_topic, heading):
    change(setup_topic, KEEP, heading)
    assert heading in refusal(folder, setup_topic, heading)


@pytest.mark.parametrize("heading", [FAULT, CHAIN, DRILL, "## Adaptations"])
def test_a_section_that_stands_twice_is_refused_at_the_second(folder, setup_topic, heading):
    text = setup_topic.read_text() + f"\n{heading}\n"
    setup_topic.write_text(text)
    assert "twice" in refusal(folder, setup_topic, len(text.splitlines()))


@pytest.mark.parametrize("part", PARTS["Chain"])
def test_a_part_of_a_chain_that_stands_twice_is_refused_at_the_second(folder, setup_topic, part):
    change(setup_topic, DRILL, f"### {part}\n\n- Twice said.\n\n{DRILL}")
    assert "twice" in refusal(folder, setup_topic, line_of(setup_topic, "- Twice said.") - 2)


def test_the_text_of_a_drill_that_stands_twice_is_refused_at_the_second(folder, setup_topic):
    change(setup_topic, KEEP, f"### Text\n\n- Rest.\n\n{KEEP}")
    assert "twice" in refusal(folder, setup_topic, line_of(setup_topic, "- Rest.") - 2)


@pytest.mark.parametrize(
    ("heading", "first"),
    [
        ("### Check", "### Feel"),
        (DRILL, f"### Text\n\n{DRILL}"),
        (KEEP, f"### Dose\n\n{KEEP}"),
        (CHAIN, f"### Ideal\n\n{CHAIN}"),
        ("## Adaptations", "### Check\n\n## Adaptations"),
    ],
)
def test_an_unknown_part_is_refused_at_its_line(folder, setup_topic, heading, first):
    change(setup_topic, heading, first)
    wrong = first.split("\n")[0]
    number = VALID.split("\n").index(heading) + 1
    assert f"unknown part `{wrong}`" in refusal(folder, setup_topic, number)


@pytest.mark.parametrize(
    "line",
    [
        "Soft hands.",
        "* Soft hands.",
        "#### Soft hands",
        "### Soft hands",
        "---",
        "<!-- Soft. -->",
        "-Soft.",
    ],
)
def test_a_line_that_is_neither_heading_nor_item_is_refused_at_its_line(folder, setup_topic, line):
    # The closing dashes of the front matter are three, too.
    item = "- A thicker grip helps. [audience=senior]"
    setup_topic.write_text(VALID.replace(item, line))
    number = VALID.split("\n").index(item) + 1
    assert repr(line) in refusal(folder, setup_topic, number)


@pytest.mark.parametrize("line", ["- Soft hands.", "  or: Soft hands."])
def test_an_item_or_a_phrasing_before_the_first_section_is_refused_at_its_line(
    folder, setup_topic, line
):
    change(setup_topic, "\n# The basics\n", f"\n{line}\n\n# The basics\n")
    assert repr(line) in refusal(folder, setup_topic, line)


@pytest.mark.parametrize("heading", ["### Check", "### Text", "## Adaptations", FAULT])
def test_a_phrasing_without_an_item_is_refused_at_its_line(folder, setup_topic, heading):
    change(setup_topic, heading, f"{heading}\n\n  or: Soft hands.")
    assert repr("  or: Soft hands.") in refusal(folder, setup_topic, "  or: Soft hands.")


@pytest.mark.parametrize("heading", [FAULT, CHAIN, KEEP])
@pytest.mark.parametrize("line", ["- It is tight.", "- Sources: HABIT", "1. Lift it."])
def test_an_item_above_the_first_part_of_its_section_is_refused_at_its_line(
    folder, setup_topic, heading, line
):
    change(setup_topic, heading, f"{heading}\n\n{line}")
    # The drill's own sources have the same line.
    number = VALID.split("\n").index(heading) + 3
    assert f"found {line!r}" in refusal(folder, setup_topic, number)


@pytest.mark.parametrize("empty", [True, False])
def test_adaptations_that_are_missing_or_empty_are_refused_with_whom_they_leave_out(
    folder, setup_topic, empty
):
    before = VALID.split("## Adaptations")[0]
    setup_topic.write_text(before + ("## Adaptations\n" if empty else ""))
    assert "nothing for: senior" in refusal(folder, setup_topic, "audiences: [adult, senior]")


def test_a_file_with_faults_that_keeps_nothing_is_refused(folder, setup_topic):
    setup_topic.write_text(
        VALID.split(KEEP)[0] + "## Adaptations" + VALID.split("## Adaptations")[1]
    )
    assert "no `## Keep`" in refusal(folder, setup_topic, 1)


def test_a_fault_without_a_chain_is_refused_at_its_heading(folder, setup_topic):
    change(setup_topic, CHAIN, f"## Fault AF8: Grip too loose\n\n{CHAIN}")
    # Where a chain belongs is said by its id alone.
    message = refusal(folder, setup_topic, "## Fault AF8: Grip too loose")
    assert "AF8" in message
    assert "`## Chain AF8a: name`" in message


def test_a_topic_that_advises_nothing_is_refused_at_the_files_end(folder, setup_topic):
    front = VALID.split("# The basics")[0]
    setup_topic.write_text(f"{front}## Adaptations\n\n- A thicker grip helps. [audience=senior]\n")
    message = refusal(folder, setup_topic, len(setup_topic.read_text().splitlines()))
    assert all(f"`## {kind} ID: name`" in message for kind in PARTS)


HEADINGS = {
    "Chain": CHAIN, "Keep": KEEP, **{kind: text.split("\n")[0] for kind, text in OTHERS.items()},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "part"), [(kind, part) for kind, parts in PARTS.items() for part in parts]
)
@pytest.mark.parametrize("whole", [True, False])
def test_advice_without_one_of_its_parts_is_refused_at_its_heading(
    folder, setup_topic, kind, part, whole
):
    if kind in OTHERS:
        add_section(setup_topic, kind)
    before, after = setup_topic.read_text().split(HEADINGS[kind], 1)
    section, rest = after.split(f"### {part}\n", 1)
    left = rest[rest.index("\n#") + 1 :]
    setup_topic.write_text(
        before + HEADINGS[kind] + section + ("" if whole else f"### {part}\n\n") + left
    )
    message = refusal(folder, setup_topic, HEADINGS[kind])
    assert re.search(r"A[FKUOM]1", message)
    assert part in message or part.lower() in message


@pytest.mark.parametrize("kind", ["Chain", "Unclear"])
def test_parts_in_another_order_are_refused_at_the_heading(folder, setup_topic, kind):
    if kind in OTHERS:
        add_section(setup_topic, kind)
    before, after = setup_topic.read_text().split(HEADINGS[kind])
    swapped = {"### Plan": "### Cue", "### Cue": "### Plan"}
    after = re.sub("### (Plan|Cue)", lambda found: swapped[found[0]], after, count=2)
    setup_topic.write_text(before + HEADINGS[kind] + after)
    expected = f"expected {', '.join(PARTS[kind])}."
    assert expected in refusal(folder, setup_topic, HEADINGS[kind])


@pytest.mark.parametrize(
    ("kind", "field"),
    [("Unclear", "- Faults: AF1"), ("Outcome", "- Faults: AF1"), ("Outcome", "- Outcome: slice")],
)
def test_advice_without_one_of_its_fields_is_refused_at_its_heading(
    folder, setup_topic, kind, field
):
    add_section(setup_topic, kind)
    change(setup_topic, f"{field}\n", "")
    message = refusal(folder, setup_topic, HEADINGS[kind])
    assert f"`- {field[2:].split(':')[0]}: ...`" in message


def test_an_unknown_outcome_is_refused_at_its_line_with_those_that_are_known(folder, setup_topic):
    add_section(setup_topic, "Outcome")
    change(setup_topic, "- Outcome: slice", "- Outcome: slyce")
    message = refusal(folder, setup_topic, "- Outcome: slyce")
    assert "'slyce'" in message
    assert all(outcome in message for outcome in OUTCOMES)


def test_two_outcomes_at_once_are_refused(folder, setup_topic):
    add_section(setup_topic, "Outcome")
    change(setup_topic, "- Outcome: slice", "- Outcome: slice, hook")
    assert "several outcomes" in refusal(folder, setup_topic, HEADINGS["Outcome"])


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
def test_every_outcome_may_have_a_section(folder, setup_topic, outcome):
    add_section(setup_topic, "Outcome")
    change(setup_topic, "- Outcome: slice", f"- Outcome: {outcome}")
    assert load_setup(folder).advice[-1].outcome == outcome


@pytest.mark.parametrize(
    "field",
    [
        "- Fixes: AF1",
        "- Place: home, range",
        "- Equipment: an iron",
        "- Risk: none",
        "- Loads: none",
        DOSE,
        "- Small dose: One set a week.",
        "- Sources: HABIT",
        "- Easier: Use one hand.",
        "- Harder: Use a long club.",
    ],
)
def test_a_drill_without_one_of_its_fields_is_refused_at_its_heading(folder, setup_topic, field):
    change(setup_topic, f"{field}\n", "")
    message = refusal(folder, setup_topic, DRILL)
    assert "AD1" in message
    assert field.split(":")[0] in message


@pytest.mark.parametrize("text", ["", "### Text\n", "### Text\n\n- Squeeze it.\n- Let it go.\n"])
def test_a_drill_that_has_not_one_text_is_refused_at_its_heading(folder, setup_topic, text):
    change(setup_topic, "### Text\n\n- Squeeze the club\n  and let go again.\n", text)
    assert "### Text" in refusal(folder, setup_topic, DRILL)


@pytest.mark.parametrize(
    "field", ["- Amount: Two sets.", "- dose: Two sets.", "1. Dose: Two sets.", "- Gaps: large"]
)
def test_an_unknown_field_of_a_drill_is_refused_at_its_line(folder, setup_topic, field):
    change(setup_topic, DOSE, field)
    assert field in refusal(folder, setup_topic, field)


def test_a_field_of_a_drill_that_stands_twice_is_refused_at_the_second(folder, setup_topic):
    change(setup_topic, "- Sources: HABIT", "- Sources: HABIT\n- Dose: Four sets.")
    assert "`Dose` twice" in refusal(folder, setup_topic, "- Dose: Four sets.")


def test_a_field_of_a_drill_has_one_phrasing(folder, setup_topic):
    change(
        setup_topic, "- Harder: Use a long club.", "- Harder: Use a long club.\n  or: Use a driver."
    )
    refusal(folder, setup_topic, "- Harder: Use a long club.")


@pytest.mark.parametrize(
    "field",
    [
        "Easier: Use one hand",
        "Harder: Turn to the left.",
        "Easier: Hold for 9 beats.",
        "Dose: Ten sets",
        "Small dose: Hold it for three seconds.",
        "Dose: Ten {balls}.",
        "Harder: Go. [NOBODY]",
    ],
)
def test_the_variations_and_doses_of_a_drill_are_read_like_items(folder, setup_topic, field):
    (old,) = [x for x in VALID.split("\n") if x.startswith(f"- {field.split(':')[0]}:")]
    change(setup_topic, old, f"- {field}")
    refusal(folder, setup_topic, f"- {field}")


def test_a_figure_in_a_drill_needs_the_drill_to_have_a_graded_source(folder, setup_topic):
    change(setup_topic, "- Squeeze the club\n", "- Squeeze the club for three seconds\n")
    line = "- Squeeze the club for three seconds"
    assert "'three seconds'" in refusal(folder, setup_topic, line)
    change(setup_topic, "- Sources: HABIT", "- Sources: HABIT, COACH")
    assert load_setup(folder).drills[0].text.sources == ("HABIT", "COACH")


@pytest.mark.parametrize(
    "field",
    [
        "Clubs: driver, chipper",
        "Clubs: wedge",
        "Levels: expert",
        "Sources: PAPER, NOBODY",
        "Not for: juniors",
        "Place: home, garden",
        "Risk: fire",
        "Loads: none, toe",
    ],
)
def test_an_unknown_value_in_a_drills_field_is_refused_at_its_line(folder, setup_topic, field):
    name = field.split(":")[0]
    old = [line for line in VALID.split("\n") if line.startswith(f"- {name}:")]
    change(
        setup_topic, *(old or ["- Sources: HABIT"]), "- Sources: HABIT\n" * (not old) + f"- {field}"
    )
    assert f"unknown value '{field.split(' ')[-1]}'" in refusal(folder, setup_topic, f"- {field}")


@pytest.mark.parametrize(
    "field", ["Clubs: wedge", "Levels: beginner, expert", "Not for: junior", "Gaps: slight, clear"]
)
def test_a_limit_of_a_chain_that_the_file_does_not_have_is_refused_at_its_line(
    folder, setup_topic, field
):
    add_chain(setup_topic, f"- {field}\n")
    assert f"unknown value '{field.split(' ')[-1]}'" in refusal(folder, setup_topic, f"- {field}")


@pytest.mark.parametrize(
    "line", ["- Easier: Use one hand.", "- Harder: Use a long club.", DOSE, "- Small dose: One set a week."]
)  # fmt: skip
@pytest.mark.parametrize("tag", ["club=iron", "level=beginner", "audience=adult", "severity=large", "PAPER"])  # fmt: skip
def test_a_tag_on_a_line_of_a_drill_is_refused_at_its_line(folder, setup_topic, line, tag):
    change(setup_topic, line, f"{line} [{tag}]")
    assert "no tags" in refusal(folder, setup_topic, f"{line} [{tag}]")


@pytest.mark.parametrize("tag", ["club=iron", "level=beginner", "audience=adult", "severity=large", "PAPER"])  # fmt: skip
def test_a_tag_on_the_text_of_a_drill_is_refused_at_its_line(folder, setup_topic, tag):
    change(setup_topic, "  and let go again.", f"  and let go again. [{tag}]")
    assert "no tags" in refusal(folder, setup_topic, "- Squeeze the club")


@pytest.mark.parametrize(
    "tag",
    [
        "NOBODY06", "PAPER, NOBODY06", "paper", "club=chipper", "club=wedge", "level=expert", "audience=junior", "severity=clear",
        "club=", "club=iron/chipper", "club=iron/", "clubs=iron", "level=adult",
    ],
)  # fmt: skip
def test_an_unknown_source_or_tag_is_refused_at_its_line(folder, setup_topic, tag):
    change(setup_topic, "lightly. [PAPER]", f"lightly. [{tag}]")
    assert f"'{tag.split(', ')[-1]}'" in refusal(
        folder, setup_topic, f"- The club is held lightly. [{tag}]"
    )


def test_a_tag_that_is_given_twice_is_refused_at_its_line(folder, setup_topic):
    change(setup_topic, CUE, f"{CUE} [club=iron; club=driver]")
    assert "`/`" in refusal(folder, setup_topic, f"{CUE} [club=iron; club=driver]")


@pytest.mark.parametrize("tags", ["level=beginner", "audience=adult/senior", "PAPER"])
def test_an_adaptation_without_its_one_audience_is_refused_at_its_line(folder, setup_topic, tags):
    change(
        setup_topic,
        "- A thicker grip helps. [audience=senior]",
        f"- A thicker grip helps. [{tags}]",
    )
    assert "audience" in refusal(folder, setup_topic, f"- A thicker grip helps. [{tags}]")


def test_an_audience_without_an_adaptation_is_refused_by_name(folder, setup_topic):
    change(setup_topic, "audiences: [adult, senior]", "audiences: [adult, senior, junior]")
    message = refusal(folder, setup_topic, "audiences: [adult, senior, junior]")
    assert "junior" in message
    assert "senior" not in message


@pytest.mark.parametrize(
    ("narrowed", "lacking"),
    [
        ("club=driver", "with the iron"),
        ("level=beginner", "advanced"),
        ("severity=slight", "a large gap"),
    ],
)
def test_an_audience_whose_adaptations_leave_out_a_case_is_refused_with_that_case(
    folder, setup_topic, narrowed, lacking
):
    change(setup_topic, "[audience=senior]", f"[audience=senior; {narrowed}]")
    message = refusal(folder, setup_topic, 1)
    assert "adaptations" in message
    assert "senior" in message
    assert lacking in message


def test_adaptations_that_share_the_cases_of_their_audience_are_accepted(folder, setup_topic):
    change(
        setup_topic,
        "[audience=senior]",
        "[audience=senior; club=driver]\n- A soft grip helps. [audience=senior; club=iron]",
    )
    assert [item.clubs for item in load_setup(folder).adaptations] == [("driver",), ("iron",)]


def test_a_second_phrasing_needs_no_blank_after_its_mark(folder, setup_topic):
    change(setup_topic, CUE, f"{CUE}\n  or:Gentle hands!")
    assert cues_of(load_setup(folder))[0].phrasings == ("Soft hands!", "Gentle hands!")


@pytest.mark.parametrize(
    "sentence",
    ["- Soft hands", "- Soft hands:", "- Soft hands [PAPER]", "- Soft hands!\n  or: Gentle hands"],
)
def test_an_item_that_is_no_whole_sentence_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, CUE, sentence)
    assert "full stop" in refusal(folder, setup_topic, sentence.split("\n")[0])


def test_two_phrasings_that_are_the_same_are_refused(folder, setup_topic):
    change(setup_topic, CUE, "- Soft hands, please! [club=iron]\n  or: Soft hands, please!")
    assert "same" in refusal(folder, setup_topic, "- Soft hands, please! [club=iron]")


@pytest.mark.parametrize(
    "second",
    ["Gentle [PAPER] hands.", "[PAPER] Gentle hands.", "Gentle hands. [PAPER].", "Gentle] hands."],
)
def test_a_tag_in_a_second_phrasing_is_refused_at_the_items_line(folder, setup_topic, second):
    change(setup_topic, CUE, f"{CUE}\n  or: {second}")
    assert "first phrasing" in refusal(folder, setup_topic, CUE)


@pytest.mark.parametrize(
    "sentence",
    [
        "- Turn to the right.",
        "- Left hand first!",
        "- The RIGHT-hand side.",
        "- Is it {left} or right?",
        "- Lead (left) foot.",
    ],
)
def test_a_bare_left_or_right_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, CUE, sentence)
    assert "lead/trail" in refusal(folder, setup_topic, sentence)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FAULT, "## Fault AF1: Right hand too tight"),
        (DRILL, "## Drill AD1: Left-hand ladder"),
        ("- Easier: Use one hand.", "- Easier: Use the left hand."),
        ("- Equipment: an iron", "- Equipment: a glove for the left hand"),
        (DOSE, "- Dose: Three sets, right hand first."),
        ("- Soft hands!\n", "- Soft hands! [club=iron]\n  or: A soft left hand.\n"),
    ],
)
def test_a_bare_left_or_right_is_refused_in_names_fields_and_second_phrasings(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    assert "lead/trail" in refusal(folder, setup_topic, new.split("\n")[0])


@pytest.mark.parametrize(
    "sentence", ["- Aim {up}.", "- Aim {LEFT}.", "- Aim left}.", "- Aim {forward."]
)
def test_an_unknown_placeholder_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, CUE, sentence)
    refusal(folder, setup_topic, sentence)


@pytest.mark.parametrize(
    "old",
    [
        "- The club is held lightly. [PAPER]",
        "- The ball may drift to the {right}. [HABIT]",
        "- A soft hold lets the club swing. [COACH]",
        "- There is nothing to mend. [HABIT]",
    ],
)
def test_an_ideal_or_a_happening_without_a_source_is_refused_at_its_line(folder, setup_topic, old):
    new = old.split(" [")[0]
    change(setup_topic, old, new)
    assert "source" in refusal(folder, setup_topic, new)


# An answer has some hundred words, so every part of it is short; knowledge/README.md has the numbers.
@pytest.mark.parametrize(
    ("old", "most"),
    [
        ("- The club is held lightly. [PAPER]", 17),
        ("- The ball may drift to the {right}. [HABIT]", 26),
        ("1. Lift the club.", 14),
        ("- Do the forearms feel soft?", 14),
        ("- Film again in a week.", 19),
        (CUE, 6),
        (DOSE, 8),
        ("- Small dose: One set a week.", 8),
        ("- Easier: Use one hand.", 9),
        ("- Harder: Use a long club.", 9),
        ("- A thicker grip helps. [audience=senior]", 14),
    ],
)
def test_an_item_with_more_words_than_its_part_may_have_is_refused_at_its_line(
    folder, setup_topic, old, most
):
    head = re.match(r"- (?:[A-Z][a-z ]+: )?|1\. ", old)[0]
    tags = re.search(r" \[.*|$", old)[0]

    def long(n: int) -> str:
        return f"{head}{'so ' * (n - 1)}on.{tags}"

    change(setup_topic, old, long(most))
    assert load_setup(folder)
    change(setup_topic, long(most), long(most + 1))
    message = refusal(folder, setup_topic, long(most + 1))
    assert f"at most {most} words, found {most + 1}" in message


@pytest.mark.parametrize("kind", ["Unclear", "Outcome"])
def test_the_steps_that_tell_faults_apart_may_be_longer_than_others(folder, setup_topic, kind):
    add_section(setup_topic, kind)
    (line,) = [line for line in OTHERS[kind].split("\n") if line.startswith("1.")]
    change(setup_topic, line, f"1. {'so ' * 25}on.")
    assert load_setup(folder)
    change(setup_topic, "so on.", "so so on.")
    assert "at most 26 words" in refusal(folder, setup_topic, f"1. {'so ' * 26}on.")


def test_a_second_phrasing_may_not_be_longer_than_its_part_either(folder, setup_topic):
    change(setup_topic, CUE, f"{CUE}\n  or: {'so ' * 6}on.")
    assert "at most 6 words" in refusal(folder, setup_topic, CUE)


@pytest.mark.parametrize(
    ("sentence", "figure"),
    [
        ("Hold it at 4 of 10.", "4"),
        ("Hold it for three seconds.", "three seconds"),
        ("Forty percent is in front.", "Forty percent"),
        ("Turn by forty five degrees.", "forty five degrees"),
        ("Nearly one hundred percent lies there.", "hundred percent"),
        ("The grip is two inches off.", "two inches"),
        ("It lasts three times as long.", "three times as"),
        ("Turn by thirteen degrees.", "thirteen degrees"),
        ("Turn by forty-five degrees.", "forty-five degrees"),
        ("Hold it for two more seconds.", "two more seconds"),
        ("Hold it for three full seconds.", "three full seconds"),
        ("Rest for two whole minutes.", "two whole minutes"),
        ("Stand ten yards off.", "ten yards"),
        ("Move it by five centimetres.", "five centimetres"),
        ("Move it by two meters.", "two meters"),
        ("The top comes after eighteen frames.", "eighteen frames"),
        ("Some sixty per cent lies there.", "sixty per cent"),
    ],
)
@pytest.mark.parametrize("tags", ["", "BLOG", "HABIT", "BLOG, HABIT"])
def test_a_figure_in_digits_or_words_without_a_graded_source_is_refused_at_its_line(
    folder, setup_topic, sentence, figure, tags
):
    line = f"- {sentence}" + (f" [{tags}]" if tags else "")
    change(setup_topic, CUE, line)
    message = refusal(folder, setup_topic, line)
    assert f"figure '{figure}'" in message
    assert all(tag in message for tag in tags.split(", "))


def test_a_figure_in_a_second_phrasing_needs_a_source_as_well(folder, setup_topic):
    change(setup_topic, CUE, f"{CUE}\n  or: Hold it for four seconds.")
    assert "'four seconds'" in refusal(folder, setup_topic, CUE)


def test_an_item_over_two_lines_is_refused_at_its_first(folder, setup_topic):
    change(setup_topic, "  and let go again.", "  and let go")
    assert "'Squeeze the club and let go'" in refusal(folder, setup_topic, "- Squeeze the club")


# What is refused between files.


@pytest.mark.parametrize(
    ("fixes", "unknown"),
    [
        ("AF9", "AF9"),
        ("AF1, AF9", "AF9"),
        ("AF1, AF9, AF8", "AF8, AF9"),
        ("AD6", "AD6"),
        ("AF1b", "AF1b"),
        ("AF1, AK1", "AK1"),
    ],
)
def test_a_drill_that_fixes_no_known_fault_is_refused_with_file_and_line(
    folder, setup_topic, fixes, unknown
):
    change(setup_topic, "- Fixes: AF1", f"- Fixes: {fixes}")
    assert f"AD1 fixes {unknown}," in refusal(folder, setup_topic, DRILL)


@pytest.mark.parametrize("fixes", ["AF6", "AF6a"])
def test_a_chain_without_any_drill_is_refused_with_file_and_line(folder, setup_topic, fixes):
    change(setup_topic, "- Fixes: AF1", f"- Fixes: {fixes}")
    assert "AF1a" in refusal(folder, setup_topic, CHAIN)


def test_a_second_chain_without_a_drill_is_refused_though_the_first_has_one(folder, setup_topic):
    add_chain(setup_topic, "")
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF1a")
    assert "AF1b" in refusal(folder, setup_topic, "## Chain AF1b: Habit")


@pytest.mark.parametrize("fault", ["AF6", "AF9"])
@pytest.mark.parametrize("kind", ["Unclear", "Outcome"])
def test_advice_that_considers_a_fault_that_the_area_does_not_have_is_refused(
    folder, setup_topic, kind, fault
):
    add_section(setup_topic, kind)
    change(setup_topic, "- Faults: AF1", f"- Faults: AF1, {fault}")
    assert f" {fault}," in refusal(folder, setup_topic, HEADINGS[kind])


def test_a_chain_of_a_fault_that_the_area_does_not_have_is_refused(folder, setup_topic):
    add_chain(setup_topic, "")
    change(setup_topic, "## Chain AF1b: Habit", "## Chain AF6b: Habit")
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF1, AF6b")
    assert " AF6," in refusal(folder, setup_topic, "## Chain AF6b: Habit")


def test_a_chain_whose_only_drill_is_of_another_file_is_refused(folder, setup_topic, balance_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    change(balance_topic, "- Fixes: AF6", "- Fixes: AF6, AF1")
    assert "of this file" in refusal(folder, setup_topic, CHAIN)


def test_the_line_of_a_fault_is_its_heading_even_where_an_earlier_line_names_it(
    folder, setup_topic
):
    change(
        setup_topic,
        "- The club is held lightly. [PAPER]",
        "- A light hold is what AF1 lacks. [PAPER]",
    )
    change(setup_topic, "- Sources: HABIT", "- Sources: HABIT\n- Clubs: iron")
    refusal(folder, setup_topic, FAULT)


@pytest.mark.parametrize(
    ("field", "lacking"),
    [
        ("- Clubs: iron", ("beginner", "adult", "driver")),
        ("- Levels: beginner", ("advanced", "adult", "driver")),
        ("- Not for: senior", ("beginner", "senior", "driver")),
    ],
)
@pytest.mark.parametrize("of", ["drill", "chain"])
def test_a_fault_without_chain_or_drill_for_one_club_level_or_audience_is_refused_with_that_one(
    folder, setup_topic, field, lacking, of
):
    above = "- Sources: HABIT" if of == "drill" else CHAIN
    change(setup_topic, above, f"{above}\n{field}")
    message = refusal(folder, setup_topic, FAULT)
    assert all(word in message for word in lacking)


def test_a_fault_without_a_chain_for_one_gap_is_refused_with_that_gap(folder, setup_topic):
    change(setup_topic, CHAIN, f"{CHAIN}\n- Gaps: large")
    assert "a slight gap" in refusal(folder, setup_topic, FAULT)


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ("- Risk: one leg", "senior"),
        ("- Risk: speed", "senior"),
        ("- Loads: knee", "limited mobility"),
    ],
)
def test_a_fault_whose_only_drill_could_harm_somebody_is_refused(
    folder, setup_topic, fields, lacking
):
    everyone = "[adult, senior, limited mobility]"
    change(setup_topic, "audiences: [adult, senior]", f"audiences: {everyone}")
    change(
        setup_topic, "## Adaptations\n", "## Adaptations\n\n- Sit. [audience=limited mobility]\n"
    )
    assert load_setup(folder)
    change(setup_topic, f"{fields.split(':')[0]}: none", fields)
    assert f"beginner {lacking} golfer" in refusal(folder, setup_topic, FAULT)


def test_two_chains_that_share_the_cases_of_their_fault_are_accepted(folder, setup_topic):
    add_chain(setup_topic, "- Clubs: driver\n")
    change(setup_topic, CHAIN, f"{CHAIN}\n\n- Clubs: iron")
    assert [chain.clubs for chain in load_setup(folder).chains] == [("iron",), ("driver",)]


@pytest.mark.parametrize(
    ("old", "heading", "part"),
    [
        ("- The club is held lightly. [PAPER]", CHAIN, "ideal of AF1a"),
        ("- Do the forearms feel soft?", CHAIN, "check of AF1a"),
        (CUE, CHAIN, "cue of AF1a"),
        ("- Count the soft swings.", KEEP, "plan of AK1"),
    ],
)
@pytest.mark.parametrize(
    ("tag", "lacking"),
    [
        ("club=iron", "with the driver"),
        ("level=beginner", "advanced"),
        ("audience=senior", "adult"),
    ],
)
def test_a_part_with_nothing_for_one_case_is_refused_with_part_and_case(
    folder, setup_topic, old, heading, part, tag, lacking
):
    change(setup_topic, old, f"{old[:-1]}; {tag}]" if old.endswith("]") else f"{old} [{tag}]")
    message = refusal(folder, setup_topic, heading)
    assert f"{part} has 0 items" in message
    assert lacking in message


def test_steps_that_are_not_for_one_case_are_refused_with_that_case(folder, setup_topic):
    change(setup_topic, "1. Lift the club.", "1. Lift the club. [club=iron]")
    assert load_setup(folder)
    change(setup_topic, "2. Let it rest.", "2. Let it rest. [club=iron]")
    assert "steps of AF1a has 0 items" in refusal(folder, setup_topic, CHAIN)


@pytest.mark.parametrize("old", ["- Film again in a week.", CUE, "- Do the forearms feel soft?"])
def test_two_items_of_a_part_for_the_same_golfer_are_refused(folder, setup_topic, old):
    change(setup_topic, old, f"{old}\n- Wait. [club=iron]")
    message = refusal(folder, setup_topic, CHAIN)
    assert "has 2 items" in message
    assert "with the iron" in message


def test_a_limit_of_advice_frees_its_parts_of_the_other_cases(folder, setup_topic):
    add_chain(setup_topic, "- Clubs: driver\n", cue="Tee it low. [club=driver]")
    assert load_setup(folder).chains[1].items["cue"][0].clubs == ("driver",)


def test_two_items_that_share_the_cases_of_a_part_are_accepted(folder, setup_topic):
    change(
        setup_topic,
        CUE,
        "- Go. [club=iron]\n- Come. [club=driver; severity=slight]\n- Wait. [club=driver; severity=large]",
    )
    assert len(cues_of(load_setup(folder))) == 3


def test_conflicts_with_an_unknown_fault_are_refused_at_their_line(folder, setup_topic):
    change(setup_topic, "conflicts: []", "conflicts: [AF9]")
    assert "AF9" in refusal(folder, setup_topic, "conflicts: [AF9]")


def test_conflicts_with_a_fault_of_the_same_file_are_refused_at_their_line(folder, setup_topic):
    change(setup_topic, "conflicts: []", "conflicts: [AF1]")
    assert "a fault of this file" in refusal(folder, setup_topic, "conflicts: [AF1]")


def test_conflicts_that_the_other_file_does_not_name_are_refused_at_their_line(folder, setup_topic):
    change(setup_topic, "conflicts: []", "conflicts: [AF6]")
    message = refusal(folder, setup_topic, "conflicts: [AF6]")
    assert "AF6" in message
    assert "balance_basics.md" in message


def test_conflicts_that_both_files_name_are_kept(folder, setup_topic, balance_topic):
    change(setup_topic, "conflicts: []", "conflicts: [AF6]")
    change(balance_topic, "conflicts: []", "conflicts: [AF1]")
    knowledge = load_knowledge(folder)
    assert knowledge.topic("setup_basics").conflicts == ("AF6",)
    assert knowledge.topic("balance_basics").conflicts == ("AF1",)


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        (FAULT, "## Fault AF6: Grip too tight 1", "## Fault AF6: Grip too tight 6"),
        (DRILL, "## Drill AD6: Ladder 1", "## Drill AD6: Ladder 6"),
        (FAULT, "## Fault AF1: Grip too tight 6", "## Fault AF6: Grip too tight 6"),
        (DRILL, "## Drill AD1: Ladder 6", "## Drill AD6: Ladder 6"),
        (DRILL, "## Drill AD1: Grip too tight 6", "## Fault AF6: Grip too tight 6"),
        (KEEP, "## Keep AK6: Soft hold 1", "## Keep AK6: Soft hold 6"),
        (KEEP, "## Keep AF6: Soft hold 1", "## Fault AF6: Grip too tight 6"),
        (KEEP, "## Keep AF6a: Soft hold 1", "## Chain AF6a: Fear of losing the club"),
    ],
)
def test_an_id_or_a_name_that_two_files_use_is_refused_with_file_and_line(
    folder, setup_topic, balance_topic, old, new, first
):
    change(setup_topic, old, new)
    if new.startswith("## Fault AF6:"):
        change(setup_topic, CHAIN, CHAIN.replace("AF1a", "AF6b"))
        change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    # The balance topic is the first with the id or the name in the order of reading, and the setup topic the one that is refused.
    message = refusal(folder, setup_topic, new)
    assert f"is used already at {balance_topic}:{line_of(balance_topic, first)};" in message


def test_two_topic_files_with_one_id_are_refused(folder, balance_topic):
    twin = folder / "weight_shift" / "balance_basics.md"
    twin.write_text(TOPIC.format(id="balance_basics", area="weight_shift", n=8))
    message = refusal(folder, twin, "id: balance_basics")
    assert (
        f"'balance_basics' is used already at {balance_topic}:{line_of(balance_topic, 'id: balance_basics')};"
        in message
    )


def test_an_area_without_a_topic_is_refused_by_its_name(folder, setup_topic):
    setup_topic.unlink()
    with pytest.raises(KnowledgeError, match="setup_quality") as caught:
        load_knowledge(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_without_any_topic_is_refused_with_every_area(tmp_path):
    (tmp_path / "sources.yaml").write_text(SOURCES)
    (tmp_path / "rules.yaml").write_text(RULES)
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(tmp_path)
    assert all(area in str(caught.value) for area in AREAS)


@pytest.mark.parametrize("name", ["sources.yaml", "rules.yaml"])
def test_a_missing_list_of_sources_or_rules_is_an_error_that_names_it(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder / name))):
        load_knowledge(folder)


LEFT = (
    "balance/._balance_basics.md", "balance/.balance_basics.md.swp", "balance/.#balance_basics.md", "balance/#balance_basics.md#",
    "balance/~$lance_basics.md", "balance/.~lock.balance_basics.md#", "balance/~WRL0001.md", "balance/balance_basics.md~", "balance/.DS_Store",
    "balance/Thumbs.db", "balance/desktop.ini", "balance/Icon\r", "__MACOSX/._balance.md", ".ipynb_checkpoints/balance-checkpoint.md",
    "balance/.ipynb_checkpoints/x-checkpoint.md", "$RECYCLE.BIN/$R1.md", "@eaDir/x.md", ".Trash-1000/x.md", "#recycle/x.md", ".git/x.md",
)  # fmt: skip


def test_what_systems_and_editors_leave_beside_topics_is_none(folder, extra):
    expected = load_knowledge(folder, extra)
    for place in (folder, extra):
        for name in LEFT:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(b"\0\5\x16\7\0 no topic")
        (place / "balance" / ".#linked.md").symlink_to("jane@example.org.1234")
    assert load_knowledge(folder, extra) == expected


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_that_leads_out_of_the_folder_is_refused(folder, tmp_path, setup_topic, linked):
    outside = tmp_path / "outside"
    if linked == "file":
        setup_topic.rename(outside)
        setup_topic.symlink_to(outside)
    else:
        setup_topic.parent.rename(outside)
        setup_topic.parent.symlink_to(outside)
    assert "link" in refusal(folder, setup_topic, 1)


LINKED_TO = {
    "link to a folder": "setup", "broken link": "nowhere", "link to itself": "setup/notes.md", "link to a link to it": "setup/other.md",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", *LINKED_TO])
def test_a_topic_that_is_no_file_is_refused(folder, kind):
    path = folder / "setup" / "notes.md"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / LINKED_TO[kind])
        if kind == "link to a link to it":
            (folder / LINKED_TO[kind]).symlink_to(path)
    assert "expected a file" in refusal(folder, path, 1)


def test_a_link_to_a_file_of_the_same_folder_is_read(folder, setup_topic):
    expected = load_knowledge(folder)
    setup_topic.symlink_to(setup_topic.rename(folder / "kept_elsewhere.txt"))
    assert load_knowledge(folder) == expected


def test_a_folder_that_is_reached_by_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert load_knowledge(tmp_path / "link").sentences() == load_knowledge(folder).sentences()


# The rules between sentences; tests/test_rules.py has the rules themselves.


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (CUE, "- Nail the head down.", "- Nail the head down."),
        (CUE, "- Soft hands.\n  or: Nail the head down.", "- Soft hands."),
        ("- Easier: Use one hand.", "- Easier: Use a nail.", "- Easier: Use a nail."),
        (DOSE, "- Dose: Three nails.", "- Dose: Three nails."),
        ("  and let go", "  and nail it", "- Squeeze the club"),
        # An answer tells the drill with its name.
        (DRILL, "## Drill AD1: Nailed ladder", "- Squeeze the club"),
    ],
)
def test_a_sentence_that_breaks_a_rule_is_refused_with_the_rule_and_its_reason(
    folder, setup_topic, old, new, line
):
    change(setup_topic, old, new)
    message = refusal(folder, setup_topic, line)
    assert "head_stays_free" in message
    assert "The head is never nailed." in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CUE, "- Do not nail the head down."),
        ("- Film again in a week.", "- Nail the soft hold."),
    ],
)
def test_an_exception_of_a_rule_or_a_part_that_it_leaves_alone_is_accepted(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    assert new.removeprefix("- ") in load_setup(folder).sentences().values()


def test_a_file_with_two_sentences_that_contradict_each_other_is_refused(folder, setup_topic):
    change(setup_topic, CUE, "- Ball off the lead heel.")
    assert load_setup(folder)
    change(setup_topic, DOSE, "- Dose: Three balls from the middle of the stance.")
    message = refusal(folder, setup_topic, 1)
    assert "one_ball_position" in message
    assert "A file teaches one ball position." in message


TEE = '- {id: high, says: Why., never: "tee it high", only_clubs: [driver]}'


def test_a_rule_that_a_club_lifts_is_lifted_for_a_drill_of_that_club_alone(folder, setup_topic):
    (folder / "rules.yaml").write_text(TEE)
    add_drill(setup_topic, "- Clubs: driver\n", "Tee it high.")
    assert load_setup(folder).drills[1].clubs == ("driver",)
    change(setup_topic, "- Clubs: driver", "- Clubs: driver, iron")
    assert "the rule high" in refusal(folder, setup_topic, "- Tee it high.")


def test_a_rule_that_a_club_lifts_is_lifted_for_a_chain_of_that_club_alone(folder, setup_topic):
    (folder / "rules.yaml").write_text(TEE)
    add_chain(setup_topic, "- Clubs: driver\n", cue="Tee it high.")
    assert load_setup(folder).chains[1].clubs == ("driver",)
    change(setup_topic, "- Clubs: driver", "- Clubs: driver, iron")
    assert "the rule high" in refusal(folder, setup_topic, "- Tee it high.")


def test_a_rule_for_a_level_leaves_a_chain_of_another_level_alone(folder, setup_topic):
    rule = '- {id: plain, says: Why., never: "lag", levels: [beginner]}'
    (folder / "rules.yaml").write_text(rule)
    add_chain(setup_topic, "- Levels: advanced\n", cue="Feel the lag.")
    assert load_setup(folder)
    change(setup_topic, "- Levels: advanced", "- Levels: advanced, beginner")
    assert "the rule plain" in refusal(folder, setup_topic, "- Feel the lag.")


def test_a_rule_of_what_must_be_said_binds_what_is_about_faults_and_not_praise(folder, setup_topic):
    rule = "- {id: careful, says: Why., always: may, parts: [happening]}"
    (folder / "rules.yaml").write_text(rule)
    # What is kept says for certain that there is nothing to mend.
    assert load_setup(folder)
    add_section(setup_topic, "Outcome")
    line = "- A tight hold can leave it open. [HABIT]"
    assert "the rule careful" in refusal(folder, setup_topic, line)


def test_a_rule_is_lifted_for_the_chains_of_its_faults(folder, setup_topic):
    rule = "- {id: dry, says: Why., never: soft, only_faults: [AF1], parts: [cue]}"
    (folder / "rules.yaml").write_text(rule)
    balance = folder / "balance" / "balance_basics.md"
    kept = "- Soft as ever!"
    for path in folder.glob("*/*.md"):
        change(path, kept, "- As ever!")
        if path not in (setup_topic, balance):
            change(path, CUE, "- Light hands!")
    assert "the rule dry" in refusal(folder, balance, CUE)
    change(balance, CUE, "- Light hands!")
    assert cues_of(load_setup(folder))[0].text == "Soft hands!"


# A folder of one's own.


@pytest.mark.parametrize("whole", [True, False])
def test_the_examples_of_the_knowledge_folders_page_are_valid(pytestconfig, tmp_path, whole):
    repository = pytestconfig.rootpath / "knowledge"
    page = (repository / "README.md").read_text(encoding="utf-8")
    text, others = re.findall(r"```markdown\n(.*?)```", page, re.DOTALL)[:2]
    text = re.sub(r" +# [^\n]+", "", text + others if whole else text)
    renamed = {
        "hanging_back": "my_topic", "WF3": "ZF1", "WD5": "ZD1", ": Hanging back": ": Mine", ": Step drill": ": Own drill",
        # A conflict is mutual, and the repository's files know nothing of this one.
        "conflicts: [WF4]": "conflicts: []",
    }  # fmt: skip
    for old, new in renamed.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "own" / "weight_shift" / "my_topic.md"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    joined = load_knowledge(repository / "golf_instruction", tmp_path / "own")
    for chain in joined.chains_of("ZF1"):
        assert [drill.name for drill in joined.drills_for(chain)] == ["Own drill", "Chair finish"]
    kinds = {advice.kind for advice in joined.topic("my_topic").advice}
    assert kinds == (set(STEPS) if whole else {"fault", "keep"})
    assert all(len(item.phrasings) >= 2 for advice in joined.topic("my_topic").advice for items in advice.items.values() for item in items)  # fmt: skip


def test_an_extra_folder_joins_and_is_told_apart(folder, extra):
    base, joined = load_knowledge(folder), load_knowledge(folder, extra)
    assert joined.extra_topics == {"my_balance"}
    assert joined.topics[:-1] == base.topics
    assert joined.topics[-1].path == extra / "balance" / "my_balance.md"
    (chain,) = joined.chains_of("AF7")
    assert (chain.area, [drill.id for drill in joined.drills_for(chain)]) == ("balance", ["AD7"])
    assert (joined.sources, joined.rules, base.extra_topics) == (
        base.sources,
        base.rules,
        frozenset(),
    )


def test_an_extra_folder_may_give_a_fault_of_the_area_another_chain(folder, extra):
    own = extra / "balance" / "my_balance.md"
    add = f"## Chain AF6b: Another cause\n{VALID.split(CHAIN)[1].split(DRILL)[0]}## Drill AD7:"
    change(own, "## Drill AD7:", add)
    change(own, "- Fixes: AF7", "- Fixes: AF7, AF6b")
    joined = load_knowledge(folder, extra)
    assert [chain.id for chain in joined.chains_of("AF6")] == ["AF6a", "AF6b"]
    assert [[d.id for d in joined.drills_for(chain)] for chain in joined.chains_of("AF6")] == [
        ["AD6"],
        ["AD6", "AD7"],
    ]


def test_a_drill_of_an_extra_folder_may_fix_any_fault(folder, extra):
    change(extra / "balance" / "my_balance.md", "- Fixes: AF7", "- Fixes: AF7, AF1")
    joined = load_knowledge(folder, str(extra))
    (chain,) = joined.chains_of("AF1")
    assert [drill.id for drill in joined.drills_for(chain)] == ["AD1", "AD7"]


def test_an_extra_folder_may_bring_sources_of_its_own(folder, extra):
    path = extra / "balance" / "my_balance.md"
    path.write_text(path.read_text().replace("HABIT", "MY-COACH"))
    (extra / "sources.yaml").write_text("MY-COACH: {grade: C, text: 'My coach'}\n")
    joined = load_knowledge(folder, extra)
    assert joined.sources["MY-COACH"] == Source("MY-COACH", "C", "My coach")
    assert set(joined.sources) == {"PAPER", "COACH", "BLOG", "HABIT", "MY-COACH"}
    assert joined.chains_of("AF7")[0].items["happening"][0].sources == ("MY-COACH",)


def test_a_source_that_neither_folder_lists_is_refused_at_its_line(folder, extra):
    path = extra / "balance" / "my_balance.md"
    change(path, "- The club is held lightly. [PAPER]", "- The club is held lightly. [MY-COACH]")
    assert "'MY-COACH'" in refusal(folder, path, "- The club is held lightly. [MY-COACH]", extra)


def test_a_source_of_an_extra_folder_with_a_known_id_is_refused_at_its_line(folder, extra):
    (extra / "sources.yaml").write_text(
        "MINE: {grade: C, text: x}\nCOACH: {grade: P, text: 'My coach'}\n"
    )
    assert "COACH" in refusal(folder, extra / "sources.yaml", 2, extra)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Fault AF7:", "## Fault AF1:"),
        ("## Drill AD7:", "## Drill AD1:"),
        ("too tight 7", "too tight 1"),
    ],
)
def test_an_id_or_a_name_of_an_extra_folder_that_is_taken_is_refused_there(
    folder, extra, setup_topic, old, new
):
    own = extra / "balance" / "my_balance.md"
    change(own, old, new)
    if "AF1" in new:
        change(own, "## Chain AF7a:", "## Chain AF1b:")
        change(own, "- Fixes: AF7", "- Fixes: AF1")
    with pytest.raises(
        KnowledgeError,
        match=rf"^{re.escape(str(own))}:\d+: .* is used already at {re.escape(str(setup_topic))}:\d+;",
    ):
        load_knowledge(folder, extra)


def test_the_rules_hold_for_an_extra_folder(folder, extra):
    path = extra / "balance" / "my_balance.md"
    change(path, CUE, "- Nail the head down.")
    assert "head_stays_free" in refusal(folder, path, "- Nail the head down.", extra)


def test_a_link_that_leads_out_of_an_extra_folder_is_refused(folder, extra, tmp_path):
    path = extra / "balance" / "my_balance.md"
    path.rename(tmp_path / "outside.md")
    path.symlink_to(tmp_path / "outside.md")
    refusal(folder, path, 1, extra)


@pytest.mark.parametrize("owned", [True, False])
def test_a_list_of_sources_that_is_a_link_out_of_its_folder_is_refused(
    folder, extra, tmp_path, owned
):
    path = (extra if owned else folder) / "sources.yaml"
    (tmp_path / "outside.yaml").write_text("MINE: {grade: C, text: x}\n" if owned else SOURCES)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "outside.yaml")
    assert "link" in refusal(folder, path, 1, extra)


@pytest.mark.parametrize("content", ["nothing", "sources", "file at the top"])
def test_an_extra_folder_without_a_topic_is_refused(folder, tmp_path, content):
    empty = tmp_path / "empty"
    empty.mkdir()
    if content == "sources":
        (empty / "sources.yaml").write_text("MINE: {grade: C, text: x}\n")
    elif content == "file at the top":
        (empty / "my_balance.md").write_text(TOPIC.format(id="my_balance", area="balance", n=7))
    assert "{area}/*.md" in refusal(folder, empty, 1, empty)


@pytest.mark.parametrize("is_file", [True, False])
def test_an_extra_folder_that_is_none_is_an_error_that_names_it(folder, tmp_path, is_file):
    if is_file:
        (tmp_path / "missing").write_text("x")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "missing"))):
        load_knowledge(folder, tmp_path / "missing")


# The list of sources.


def test_sources_that_are_no_yaml_are_refused_at_the_line_that_breaks_them(folder):
    path = folder / "sources.yaml"
    path.write_text(SOURCES.replace("BLOG:", "BLOG: is:"))
    assert "not valid YAML" in refusal(folder, path, 3)


def test_a_source_that_stands_twice_is_refused_at_the_first(folder):
    path = folder / "sources.yaml"
    path.write_text(f"{SOURCES}COACH: {{grade: P, text: x}}\n")
    assert "the key 'COACH'" in refusal(folder, path, 2)


@pytest.mark.parametrize("text", ["", "- PAPER\n", "PAPER\n"])
def test_sources_that_are_no_mapping_are_refused(folder, text):
    path = folder / "sources.yaml"
    path.write_text(text)
    refusal(folder, path, 1)


def test_sources_that_are_not_utf_8_are_refused(folder):
    path = folder / "sources.yaml"
    path.write_bytes(SOURCES.encode() + b"K\xd6HLER: {grade: P, text: x}\n")
    assert "UTF-8" in refusal(folder, path, 1)


@pytest.mark.parametrize(
    "entry",
    [
        "{grade: Z, text: x}", "{text: x}", "{grade: P}", "{grade: P, text: ''}", "A blog", "[P, A blog]", "{grade: [P], text: x}",
        "{grade: P, text: [x]}", "!!map x", "2024-02-30", "",
    ],
)  # fmt: skip
def test_a_source_without_text_or_known_grade_is_refused_at_its_line(folder, entry):
    path = folder / "sources.yaml"
    path.write_text(f"{SOURCES}ODD: {entry}\n")
    assert "ODD" in refusal(folder, path, 5)


# Whatever stands in a file, reading it ends in a topic or in an error that names a line.


@pytest.fixture(scope="module")
def one_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("knowledge") / "setup" / "setup_basics.md"
    path.parent.mkdir()
    return path


def read_or_refuse(path: Path, text: str) -> Topic | None:
    path.write_text(text, encoding="utf-8")
    try:
        topic = read_topic(path, READ_SOURCES)
    except KnowledgeError as error:
        message = str(error)
    else:
        assert isinstance(topic, Topic)
        return topic
    place = re.match(re.escape(str(path)) + r":(\d+): ", message)
    assert place, message
    assert 1 <= int(place[1]) <= max(1, len(text.splitlines())), message
    return None


# Every kind of section is in it.
LINES = (VALID + "\n" + "\n".join(OTHERS.values())).splitlines()
BODY = LINES.index("---", 1) + 1
# Pieces of the format are likelier to find a way through it than any text.
SNIPPETS = st.one_of(
    st.sampled_from(
        [
            *LINES,
            "- ",
            "  or: ",
            "1. ",
            "## ",
            "### ",
            "[",
            "]",
            " [club=iron]",
            "=",
            ";",
            "{left}",
            "{",
            "---",
            "\t",
            "Fault AF1: ",
        ]
    ),
    st.text(max_size=12),
)


@st.composite
def mutated(draw, first: int) -> str:
    """The valid topic with one to four of its lines from `first` on dropped, doubled, moved, cut or filled with something else."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(first, len(lines) - 1))
        line, text = lines[place], draw(SNIPPETS)
        cut = draw(st.integers(0, len(line)))
        lines[place : place + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [line, line],
                    [text],
                    [line + text],
                    [text + line],
                    [line, text],
                    [line[:cut]],
                    [line[:cut] + text + line[cut:]],
                ]
            )
        )
    return "\n".join(lines)


def test_the_file_that_the_next_tests_change_is_valid(one_file):
    assert read_or_refuse(one_file, "\n".join(LINES))


@given(st.text())
@example("---\n---")
@example("---\n\x00\n---\n")
@example("\ufeff---\n\ufeff\n---\n")
def test_any_text_is_refused_at_a_line_of_it(one_file, text):
    assert read_or_refuse(one_file, text) is None


@given(st.text())
def test_any_text_below_valid_front_matter_is_refused_at_a_line_of_it(one_file, text):
    assert read_or_refuse(one_file, "\n".join([*LINES[:BODY], text])) is None


@given(mutated(BODY))
def test_a_file_with_changed_lines_below_its_front_matter_is_read_or_refused_at_a_line(
    one_file, text
):
    topic = read_or_refuse(one_file, text)
    if topic:
        # What was read obeys the format, whatever was changed.
        for _, _, item in topic.items():
            assert all(phrasing.endswith((".", "?", "!")) for phrasing in item.phrasings)
            assert set(item.clubs) <= {"driver", "iron"}
            assert set(item.sources) <= set(READ_SOURCES)
        for advice in topic.advice:
            assert set(advice.clubs) <= {"driver", "iron"}
            assert advice.outcome in {"", *OUTCOMES}
            assert advice.faults or advice.kind in ("keep", "other_area")


@given(mutated(0))
@settings(max_examples=300)
def test_a_file_with_changed_lines_anywhere_is_read_or_refused_at_a_line(one_file, text):
    read_or_refuse(one_file, text)


@given(st.permutations(LINES[1 : BODY - 1]))
def test_the_order_of_the_front_matters_fields_does_not_matter(one_file, fields):
    expected = read_or_refuse(one_file, "\n".join(LINES))
    assert read_or_refuse(one_file, "\n".join(["---", *fields, *LINES[BODY - 1 :]])) == expected


@given(st.sets(st.integers(1, BODY - 2), min_size=1))
def test_front_matter_without_some_of_its_fields_is_refused_at_a_line_of_it(one_file, dropped):
    assert (
        read_or_refuse(
            one_file, "\n".join(line for place, line in enumerate(LINES) if place not in dropped)
        )
        is None
    )
