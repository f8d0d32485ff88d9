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
  parts: [cues, drill]
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
sources: [HABIT, PAPER]
evidence: P
---

# The basics

## Ideal

- The club is held lightly. [PAPER]

## Fault AF{n}: Grip too tight {n}

### Observation

- The hands look tense.

### Cause

- The golfer fears to lose the club.

### Effect

- The ball drifts to the {{right}}. [HABIT]

### Feel

- The forearms feel hard.

### Check

- Do the forearms feel soft?

### Steps

1. Lift the club.
2. Let it rest.

## Drill AD{n}: Ladder {n}

- Fixes: AF{n}
- Equipment: an iron
- Dose: 3 sets
- Sources: HABIT
- Easier: Use one hand.
- Harder: Use a long club.

### Steps

1. Squeeze the club
   and let go again.

## Keep

- Keep the soft hold.

## Cues

- Soft hands!

## Adaptations

- A thicker grip helps. [audience=senior]

## Safety

- Stop when it hurts.
"""
VALID = TOPIC.format(id="setup_basics", area="setup_quality", n=1)

FAULT, DRILL = "## Fault AF1: Grip too tight 1", "## Drill AD1: Ladder 1"
CUE = "- Soft hands!"
FRONT_MATTER = (
    "id",
    "area",
    "topic",
    "phase",
    "clubs",
    "levels",
    "audiences",
    "severity",
    "conflicts",
    "sources",
    "evidence",
)
PARTS = ("Observation", "Cause", "Effect", "Feel", "Check", "Steps")


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


def add_drill(path: Path, fields: str, step: str) -> None:
    """Write a second drill, AD8; the first of a minimal topic has to serve everybody."""
    drill = f"## Drill AD8: Towel\n\n- Fixes: AF1\n- Equipment: a towel\n- Dose: 2 sets\n- Sources: HABIT\n{fields}"
    change(
        path,
        "## Keep",
        f"{drill}- Easier: Sit.\n- Harder: Stand.\n\n### Steps\n\n1. {step}\n\n## Keep",
    )


# The repository's own knowledge.


def test_the_repositorys_own_files_hold_eight_topics_for_each_area_and_seventy_faults_and_drills(
    knowledge,
):
    topics = Counter(topic.area for topic in knowledge.topics)
    assert set(topics) == set(AREAS)
    assert min(topics.values()) >= 8
    assert len(knowledge.faults) >= 70
    assert len(knowledge.drills) >= 70
    assert not knowledge.extra_topics


def test_every_fault_of_the_repository_has_a_drill_of_its_own_file_for_each_club_level_and_audience(
    knowledge,
):
    for topic in knowledge.topics:
        for fault, club, level, audience in product(
            topic.faults, topic.clubs, topic.levels, topic.audiences
        ):
            fitting = [
                d
                for d in topic.drills
                if fault.id in d.fixes
                and club in d.clubs
                and level in d.levels
                and audience in d.audiences
            ]
            assert fitting, (fault.id, club, level, audience)


def test_every_part_of_the_repository_has_an_item_for_each_club_level_audience_and_gap(knowledge):
    for topic in knowledge.topics:
        parts = [topic.ideal, topic.keep, topic.cues, topic.safety]
        parts += [getattr(fault, part.lower()) for fault in topic.faults for part in PARTS]
        for club, level, audience, severity in product(
            topic.clubs, topic.levels, topic.audiences, ("none", *topic.severities)
        ):
            for items in parts:
                assert any(
                    club in i.clubs and level in i.levels and audience in i.audiences and severity in i.severities for i in items
                ), (topic.id, items[0].id, club, level, audience, severity)  # fmt: skip


def test_every_topic_of_the_repository_speaks_to_every_audience(knowledge):
    for topic in knowledge.topics:
        assert topic.audiences == AUDIENCES
        assert {audience for item in topic.adaptations for audience in item.audiences} >= set(
            AUDIENCES
        ) - {"adult"}, topic.id


def test_every_source_of_the_repository_is_known_and_listed_where_it_is_cited(knowledge):
    for topic in knowledge.topics:
        cited = {source for _, _, item in topic.items() for source in item.sources}
        cited |= {source for drill in topic.drills for source in drill.sources}
        assert cited == set(topic.sources), topic.id
        assert cited <= set(knowledge.sources), topic.id
        assert all(
            item.sources for part, _, item in topic.items() if part in ("ideal", "effect")
        ), topic.id
        # Best first, as knowledge/README.md has them.
        assert topic.evidence == min(
            (knowledge.sources[source].grade for source in cited), key="PRDSCBU".index
        )


def test_every_digit_in_an_item_of_the_repository_has_a_source_that_may_carry_a_figure(knowledge):
    for topic in knowledge.topics:
        for _, _, item in topic.items():
            if re.search("[0-9]", " ".join(item.phrasings)):
                assert {knowledge.sources[source].grade for source in item.sources} & set(
                    "PRSCD"
                ), item.id


def test_no_sentence_of_the_repository_shows_a_tag_or_names_a_side_outright(knowledge):
    for item_id, sentence in knowledge.sentences().items():
        words = re.findall("[a-z]+", sentence.lower().replace("{left}", "").replace("{right}", ""))
        assert not {"left", "right"} & set(words), item_id
        assert not re.search(r"[][]|\bor:", sentence), item_id


def test_every_id_and_every_name_of_the_repository_is_given_once(knowledge):
    n_phrasings = sum(
        len(item.phrasings) for topic in knowledge.topics for _, _, item in topic.items()
    )
    assert len(knowledge.sentences()) == n_phrasings + len(knowledge.drills)
    entries = [*knowledge.faults, *knowledge.drills]
    assert (
        len({entry.id for entry in entries})
        == len({entry.name for entry in entries})
        == len(entries)
    )


def test_conflicts_of_the_repository_are_mutual(knowledge):
    home = {fault.id: topic for topic in knowledge.topics for fault in topic.faults}
    pairs = {(topic.id, home[fault].id) for topic in knowledge.topics for fault in topic.conflicts}
    assert pairs
    assert pairs == {(other, topic) for topic, other in pairs}


# What a valid file becomes.


def test_a_minimal_topic_becomes_what_it_says(folder, setup_topic):
    knowledge = load_knowledge(folder)
    topic = knowledge.topic("setup_basics")
    assert (topic.id, topic.area, topic.title, topic.phase) == (
        "setup_basics",
        "setup_quality",
        "The basics",
        "address",
    )
    assert (topic.clubs, topic.levels) == (("driver", "iron"), ("beginner", "advanced"))
    assert (topic.audiences, topic.severities) == (("adult", "senior"), ("slight", "large"))
    assert (topic.conflicts, topic.sources, topic.evidence, topic.path) == (
        (),
        ("HABIT", "PAPER"),
        "P",
        setup_topic,
    )
    assert [(item.text, item.sources) for item in topic.ideal] == [
        ("The club is held lightly.", ("PAPER",))
    ]
    assert [item.text for item in topic.keep + topic.cues] == ["Keep the soft hold.", "Soft hands!"]
    assert [item.text for item in topic.adaptations + topic.safety] == [
        "A thicker grip helps.",
        "Stop when it hurts.",
    ]
    fault = knowledge.fault("AF1")
    assert (fault.name, fault.area, fault.topic) == (
        "Grip too tight 1",
        "setup_quality",
        "setup_basics",
    )
    assert [item.text for item in fault.observation + fault.cause] == [
        "The hands look tense.",
        "The golfer fears to lose the club.",
    ]
    assert [item.text for item in fault.effect + fault.feel] == [
        "The ball drifts to the {right}.",
        "The forearms feel hard.",
    ]
    assert [item.text for item in fault.check] == ["Do the forearms feel soft?"]
    assert [item.text for item in fault.steps] == ["Lift the club.", "Let it rest."]
    (drill,) = knowledge.drills_for("AF1")
    assert (drill.id, drill.name, drill.area, drill.topic) == (
        "AD1",
        "Ladder 1",
        "setup_quality",
        "setup_basics",
    )
    assert (drill.fixes, drill.equipment, drill.dose, drill.sources) == (
        ("AF1",),
        "an iron",
        "3 sets",
        ("HABIT",),
    )
    assert [step.text for step in drill.steps] == ["Squeeze the club and let go again."]
    assert (drill.easier.text, drill.harder.text) == ("Use one hand.", "Use a long club.")
    assert (
        drill.text
        == 'Drill "Ladder 1" with an iron: Squeeze the club and let go again. Dose: 3 sets.'
    )
    assert knowledge.sources["BLOG"] == Source("BLOG", "B", "A blog")


def test_the_topics_of_a_folder_come_with_all_their_faults_and_drills(folder):
    knowledge = load_knowledge(folder)
    assert {topic.area for topic in knowledge.topics} == set(AREAS)
    assert {fault.id for fault in knowledge.faults} == {f"AF{number}" for number in range(1, 7)}
    assert {drill.id for drill in knowledge.drills} == {f"AD{number}" for number in range(1, 7)}
    assert [rule.id for rule in knowledge.rules] == ["head_stays_free", "one_ball_position"]


def test_items_names_the_part_and_the_fault_of_every_item(folder):
    listed = [(part, fault, item.text) for part, fault, item in load_setup(folder).items()]
    assert sorted(listed, key=str) == sorted(
        [
            ("ideal", None, "The club is held lightly."),
            ("keep", None, "Keep the soft hold."),
            ("cues", None, "Soft hands!"),
            ("adaptations", None, "A thicker grip helps."),
            ("safety", None, "Stop when it hurts."),
            ("observation", "AF1", "The hands look tense."),
            ("cause", "AF1", "The golfer fears to lose the club."),
            ("effect", "AF1", "The ball drifts to the {right}."),
            ("feel", "AF1", "The forearms feel hard."),
            ("check", "AF1", "Do the forearms feel soft?"),
            ("steps", "AF1", "Lift the club."),
            ("steps", "AF1", "Let it rest."),
            ("drill", None, "Squeeze the club and let go again."),
            ("drill", None, "Use one hand."),
            ("drill", None, "Use a long club."),
        ],
        key=str,
    )


def test_every_sentence_can_be_looked_up_by_its_id(folder):
    knowledge = load_knowledge(folder)
    sentences = knowledge.sentences()
    for topic in knowledge.topics:
        assert all(sentences[item.id] == item.text for _, _, item in topic.items())
    assert sentences["AD1"] == knowledge.drills_for("AF1")[0].text
    # Six topics with 15 items and a drill each.
    assert len(sentences) == 6 * 16


def test_the_phrasings_of_an_item_share_its_tags_and_go_by_its_id_with_a_letter(
    folder, setup_topic
):
    change(
        setup_topic,
        "- Keep the soft hold.",
        "- Keep the soft\n  hold. [COACH; club=iron]\n  or: Go on with\n  soft hands.\n  or: Stay soft!\n- Stay.",
    )
    change(setup_topic, "[HABIT, PAPER]", "[COACH, HABIT, PAPER]")
    change(setup_topic, "- Stay.", "- Stay calm.")
    topic = load_setup(folder)
    first, second = topic.keep
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


# (tags, the clubs, levels, audiences and severities that remain of the topic's two each)
EVERY = {
    "club": {"driver", "iron"},
    "level": {"beginner", "advanced"},
    "audience": {"adult", "senior"},
    "severity": {"none", "slight", "large"},
}


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
    change(setup_topic, CUE, f"{CUE}\n- Tee it high." + (f" [{tags}]" if tags else ""))
    item = load_setup(folder).cues[1]
    assert item.text == "Tee it high."
    expected = EVERY | narrowed
    for case in product(CLUB_FAMILIES, LEVELS, AUDIENCES, ("none", *SEVERITIES)):
        assert item.fits(*case) == all(
            value in values for value, values in zip(case, expected.values(), strict=True)
        ), case


def test_an_item_without_a_word_on_whom_is_for_an_adult_without_a_gap(folder, setup_topic):
    change(setup_topic, CUE, f"{CUE}\n- Go. [audience=senior]\n- Come. [severity=large]")
    assert [item.fits("iron", "beginner") for item in load_setup(folder).cues] == [
        True,
        False,
        False,
    ]


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
    ("field", "clubs", "levels", "audiences"),
    [
        ("", ("driver", "iron"), ("beginner", "advanced"), ("adult", "senior")),
        ("- Clubs: iron\n", ("iron",), ("beginner", "advanced"), ("adult", "senior")),
        ("- Levels: advanced\n", ("driver", "iron"), ("advanced",), ("adult", "senior")),
        ("- Not for: senior\n", ("driver", "iron"), ("beginner", "advanced"), ("adult",)),
    ],
)
def test_the_sentences_of_a_drill_are_for_those_whom_the_drill_is_for(
    folder, setup_topic, field, clubs, levels, audiences
):
    add_drill(setup_topic, field, "Fold it.")
    drill = load_setup(folder).drills[1]
    for item in (*drill.steps, drill.easier, drill.harder):
        assert (item.clubs, item.levels, item.audiences) == (clubs, levels, audiences), item.text


def test_a_drill_may_fix_a_fault_of_another_file(folder, setup_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF1, AF6")
    assert [drill.id for drill in load_knowledge(folder).drills_for("AF6")] == ["AD6", "AD1"]


@pytest.mark.parametrize(
    "figure",
    ["About 60 percent is in front.", "Hold it for three seconds.", "Turn by ninety degrees."],
)
@pytest.mark.parametrize("sources", ["PAPER", "COACH", "BLOG, PAPER"])
def test_a_figure_from_a_graded_source_is_accepted(folder, setup_topic, figure, sources):
    change(setup_topic, CUE, f"- {figure} [{sources}]")
    listed = sorted({"HABIT", "PAPER", *sources.split(", ")})
    change(setup_topic, "[HABIT, PAPER]", f"[{', '.join(listed)}]")
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
    assert load_setup(folder).cues[0].text == sentence


@pytest.mark.parametrize(
    "sentence", ["Feel the bright, upright leftover.", "The ball starts {left} and turns {right}."]
)
def test_words_that_only_contain_a_side_and_the_two_placeholders_are_accepted(
    folder, setup_topic, sentence
):
    change(setup_topic, "Soft hands!", sentence)
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
        "$HOME, ~ and `reboot` stay as they are.",
        "A \\n and a \\\\ stay two signs.",
        "!!python/object/apply:os.abort.",
        "<script>alert()</script> &amp; *this*.",
        "Größe 大きさ \N{SNOWMAN}.",
    ],
)
def test_a_text_is_kept_to_the_letter_and_never_evaluated(folder, setup_topic, text):
    change(setup_topic, CUE, f"- {text}")
    assert load_setup(folder).cues[0].text == text


@pytest.mark.parametrize(
    "text", ["{0.__class__}", "${HOME}", "{topic}", "{{left}}", "{left!r}", "{}"]
)
def test_braces_other_than_the_placeholders_are_refused_at_their_line(folder, setup_topic, text):
    change(setup_topic, CUE, f"- Go {text}.")
    refusal(folder, setup_topic, f"- Go {text}.")


def test_the_texts_of_a_drill_are_kept_to_the_letter(folder, setup_topic):
    change(setup_topic, "- Equipment: an iron", "- Equipment: {0.__class__}")
    change(setup_topic, "- Dose: 3 sets", "- Dose: ${HOME} %s")
    assert load_setup(folder).drills[0].text == (
        'Drill "Ladder 1" with {0.__class__}: Squeeze the club and let go again. Dose: ${HOME} %s.'
    )  # fmt: skip


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
        ("evidence: P", "'evidence': C"),
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
    # Eleven fields less one, between two lines of dashes.
    assert f"`{field}`" in refusal(folder, setup_topic, 12)


@pytest.mark.parametrize("field", sorted(set(FRONT_MATTER) - {"conflicts"}))
def test_a_front_matter_field_without_a_value_is_refused_by_name(folder, setup_topic, field):
    lines = [
        f"{field}:" if line.startswith(f"{field}: ") else line
        for line in setup_topic.read_text().split("\n")
    ]
    setup_topic.write_text("\n".join(lines))
    assert f"`{field}`" in refusal(folder, setup_topic, 13)


def test_an_unknown_front_matter_field_is_refused_at_its_line(folder, setup_topic):
    change(setup_topic, "topic: The basics", "topic: The basics\ntitle: The basics")
    assert "unknown field 'title'" in refusal(folder, setup_topic, "title: The basics")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("area: setup_quality", "area: setup"),
        ("phase: address", "phase: takeaway"),
        ("clubs: [driver, iron]", "clubs: [driver, putter]"),
        ("levels: [beginner, advanced]", "levels: [beginner, expert]"),
        ("audiences: [adult, senior]", "audiences: [adult, seniors]"),
        ("severity: [slight, large]", "severity: [slight, none]"),
        ("evidence: P", "evidence: A"),
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
        ("sources: [HABIT, PAPER]", "sources: [HABIT, [PAPER]]"),
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
        ("sources: [HABIT, PAPER]", "sources: [HABIT, PAPER, PAPER]"),
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
    ("old", "new", "source"),
    [
        ("sources: [HABIT, PAPER]", "sources: [COACH, HABIT, PAPER]", "COACH"),
        ("sources: [HABIT, PAPER]", "sources: [HABIT, NOBODY, PAPER]", "NOBODY"),
        # What only a drill cites counts, too.
        ("sources: [HABIT, PAPER]", "sources: [PAPER]", "HABIT"),
        ("- Keep the soft hold.", "- Keep the soft hold. [BLOG]", "BLOG"),
        ("- Easier: Use one hand.", "- Easier: Use one hand. [BLOG]", "BLOG"),
        ("- Sources: HABIT", "- Sources: HABIT, COACH", "COACH"),
    ],
)
def test_the_sources_of_the_front_matter_must_be_those_that_the_items_cite(
    folder, setup_topic, old, new, source
):
    change(setup_topic, old, new)
    line = new if new.startswith("sources") else "sources: [HABIT, PAPER]"
    if source == "HABIT":
        change(setup_topic, "{right}. [HABIT]", "{right}. [PAPER]")
    assert f" {source} " in refusal(folder, setup_topic, line)


@pytest.mark.parametrize(("effect", "best"), [("HABIT", "P"), ("COACH", "P")])
def test_evidence_other_than_the_best_grade_is_refused_with_the_best(
    folder, setup_topic, effect, best
):
    change(setup_topic, "{right}. [HABIT]", f"{{right}}. [{effect}]")
    change(setup_topic, "[HABIT, PAPER]", f"[{', '.join(sorted({'HABIT', 'PAPER', effect}))}]")
    change(setup_topic, "evidence: P", "evidence: C")
    assert f"is {best}," in refusal(folder, setup_topic, "evidence: C")


@pytest.mark.parametrize(("better", "worse"), list(zip("PRDSCB", "RDSCBU", strict=True)))
def test_evidence_is_the_better_of_two_grades(folder, setup_topic, better, worse):
    sources = f"ONE: {{grade: {worse}, text: x}}\nTWO: {{grade: {better}, text: x}}\n"
    (folder / "sources.yaml").write_text(SOURCES + sources)
    text = (
        VALID.replace("[PAPER]", "[ONE]")
        .replace("{right}. [HABIT]", "{right}. [TWO]")
        .replace("Sources: HABIT", "Sources: ONE")
    )
    setup_topic.write_text(
        text.replace("[HABIT, PAPER]", "[ONE, TWO]").replace("evidence: P", f"evidence: {better}")
    )
    assert load_setup(folder).evidence == better
    change(setup_topic, f"evidence: {better}", f"evidence: {worse}")
    refusal(folder, setup_topic, f"evidence: {worse}")


@pytest.mark.parametrize(
    "heading",
    [
        "## Ideals",
        "## Fault: Too tight",
        "## Fault X1: Too tight",
        "## Drill AD9 Ladder",
        "## keep",
        "## Drill ad9: Ladder",
    ],
)
def test_an_unknown_section_is_refused_at_its_line(folder, setup_topic, heading):
    change(setup_topic, "## Cues", heading)
    assert heading in refusal(folder, setup_topic, heading)


@pytest.mark.parametrize("heading", ["## Ideal", FAULT, DRILL])
def test_a_section_that_stands_twice_is_refused_at_the_second(folder, setup_topic, heading):
    change(setup_topic, "## Keep", f"{heading}\n\n## Keep")
    second = len(setup_topic.read_text().split(f"{heading}\n\n## Keep")[0].split("\n"))
    assert "twice" in refusal(folder, setup_topic, second)


@pytest.mark.parametrize(
    ("part", "item"),
    [
        ("### Feel", "- Twice felt."),
        ("### Cause", "- Twice caused."),
        ("### Check", "- Twice checked?"),
    ],
)
def test_a_part_of_a_fault_that_stands_twice_is_refused_at_the_second(
    folder, setup_topic, part, item
):
    change(setup_topic, DRILL, f"{part}\n\n{item}\n\n{DRILL}")
    assert "twice" in refusal(folder, setup_topic, line_of(setup_topic, item) - 2)


def test_the_steps_of_a_drill_that_stand_twice_are_refused_at_the_second(folder, setup_topic):
    change(setup_topic, "## Keep", "### Steps\n\n1. Rest.\n\n## Keep")
    assert "twice" in refusal(folder, setup_topic, line_of(setup_topic, "1. Rest.") - 2)


@pytest.mark.parametrize(
    ("heading", "first"), [("### Feel", "### Feeling"), (DRILL, f"{DRILL}\n\n### Dose")]
)
def test_an_unknown_part_is_refused_at_its_line(folder, setup_topic, heading, first):
    change(setup_topic, heading, first)
    wrong = first.split("\n")[-1]
    assert f"unknown part `{wrong}`" in refusal(folder, setup_topic, wrong)


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
    setup_topic.write_text(VALID.replace(CUE, line))
    number = VALID.split("\n").index(CUE) + 1
    assert repr(line) in refusal(folder, setup_topic, number)


@pytest.mark.parametrize("line", ["- Soft hands.", "  or: Soft hands."])
@pytest.mark.parametrize("before", ["## Ideal", "# The basics"])
def test_an_item_before_the_first_section_or_a_phrasing_without_an_item_is_refused_at_its_line(
    folder, setup_topic, line, before
):
    if before == "## Ideal" and line.startswith("  "):
        change(setup_topic, before, f"{before}\n\n{line}")
    else:
        change(setup_topic, f"\n{before}\n", f"\n{line}\n\n{before}\n")
    assert repr(line) in refusal(folder, setup_topic, line)


def test_an_item_of_a_fault_above_its_first_part_is_refused_at_its_line(folder, setup_topic):
    change(setup_topic, FAULT, f"{FAULT}\n\n- It is tight.")
    assert "### Observation" in refusal(folder, setup_topic, "- It is tight.")


@pytest.mark.parametrize("section", ["Ideal", "Keep", "Cues", "Adaptations", "Safety"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_section_that_is_missing_or_empty_is_refused_at_the_files_end(
    folder, setup_topic, section, empty
):
    before, after = VALID.split(f"## {section}\n\n")
    kept = f"## {section}\n\n" if empty else ""
    setup_topic.write_text(f"{before}{kept}" + after.split("\n", 1)[1].lstrip("\n"))
    assert f"## {section}" in refusal(
        folder, setup_topic, len(setup_topic.read_text().splitlines())
    )


@pytest.mark.parametrize(
    ("kind", "before", "after"), [("Fault", FAULT, DRILL), ("Drill", DRILL, "## Keep")]
)
def test_a_topic_without_fault_or_drill_is_refused(folder, setup_topic, kind, before, after):
    setup_topic.write_text(VALID.split(before)[0] + after + VALID.split(after)[1])
    assert f"## {kind} ID: name" in refusal(
        folder, setup_topic, len(setup_topic.read_text().splitlines())
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_fault_without_one_of_its_parts_is_refused_at_its_heading(folder, setup_topic, part):
    before, after = setup_topic.read_text().split(f"### {part}\n", 1)
    setup_topic.write_text(before + after[after.index("\n#") + 1 :])
    message = refusal(folder, setup_topic, FAULT)
    assert "AF1" in message
    assert f"### {part}" in message


@pytest.mark.parametrize(
    "field",
    [
        "- Fixes: AF1",
        "- Equipment: an iron",
        "- Dose: 3 sets",
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


def test_a_drill_without_steps_is_refused_at_its_heading(folder, setup_topic):
    change(setup_topic, "### Steps\n\n1. Squeeze the club\n   and let go again.\n", "")
    assert "### Steps" in refusal(folder, setup_topic, DRILL)


@pytest.mark.parametrize("field", ["- Amount: 3 sets", "- dose: 3 sets", "1. Dose: 3 sets"])
def test_an_unknown_field_of_a_drill_is_refused_at_its_line(folder, setup_topic, field):
    change(setup_topic, "- Dose: 3 sets", field)
    assert field in refusal(folder, setup_topic, field)


def test_a_field_of_a_drill_that_stands_twice_is_refused_at_the_second(folder, setup_topic):
    change(setup_topic, "- Sources: HABIT", "- Sources: HABIT\n- Dose: 4 sets")
    assert "`Dose` twice" in refusal(folder, setup_topic, "- Dose: 4 sets")


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
        "Harder: Go. [NOBODY]",
    ],
)
def test_the_variations_of_a_drill_are_read_like_items(folder, setup_topic, field):
    old = "- Easier: Use one hand." if field.startswith("Easier") else "- Harder: Use a long club."
    change(setup_topic, old, f"- {field}")
    refusal(folder, setup_topic, f"- {field}")


@pytest.mark.parametrize(
    "field",
    [
        "Clubs: driver, putter",
        "Clubs: wedge",
        "Levels: expert",
        "Sources: PAPER, NOBODY",
        "Not for: juniors",
    ],
)
def test_an_unknown_value_in_a_drills_field_is_refused_at_its_line(folder, setup_topic, field):
    if field.startswith("Sources"):
        change(setup_topic, "- Sources: HABIT", f"- {field}")
    else:
        change(setup_topic, "- Sources: HABIT", f"- Sources: HABIT\n- {field}")
    assert f"unknown value '{field.split(' ')[-1]}'" in refusal(folder, setup_topic, f"- {field}")


@pytest.mark.parametrize("tag", ["club=iron", "level=beginner", "audience=adult", "severity=large"])
def test_a_tag_that_takes_a_step_out_of_its_drill_is_refused_at_its_line(folder, setup_topic, tag):
    change(setup_topic, "   and let go again.", f"   and let go again.\n2. Rest. [{tag}]")
    assert "belong together" in refusal(folder, setup_topic, f"2. Rest. [{tag}]")


@pytest.mark.parametrize("field", ["- Easier: Use one hand.", "- Harder: Use a long club."])
@pytest.mark.parametrize("tag", ["club=iron", "level=beginner", "audience=adult", "severity=large"])
def test_a_tag_that_takes_a_variation_out_of_its_drill_is_refused_at_its_line(
    folder, setup_topic, field, tag
):
    change(setup_topic, field, f"{field} [{tag}]")
    assert "belong together" in refusal(folder, setup_topic, f"{field} [{tag}]")


def test_a_tag_on_a_drills_sentences_that_leaves_nobody_out_and_a_source_are_accepted(
    folder, setup_topic
):
    change(
        setup_topic, "- Easier: Use one hand.", "- Easier: Use one hand. [club=iron/driver; PAPER]"
    )
    assert load_setup(folder).drills[0].easier.sources == ("PAPER",)


def test_a_step_of_a_drill_with_two_phrasings_is_refused_at_its_line(folder, setup_topic):
    change(setup_topic, "   and let go again.", "   and let go again.\n2. Rest.\n   or: Wait.")
    assert "one phrasing" in refusal(folder, setup_topic, "2. Rest.")


@pytest.mark.parametrize(
    "tag",
    [
        "NOBODY06", "PAPER, NOBODY06", "paper", "club=putter", "club=wedge", "level=expert", "audience=junior", "severity=clear",
        "club=", "club=iron/putter", "club=iron/", "clubs=iron", "level=adult",
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
        ("severity=slight/large", "a none gap"),
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
    assert load_setup(folder).cues[0].phrasings == ("Soft hands!", "Gentle hands!")


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
        ("- Equipment: an iron", "- Equipment: a glove for the left hand"),
        ("- Dose: 3 sets", "- Dose: 3 sets, right hand first"),
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
    "old", ["- The club is held lightly. [PAPER]", "- The ball drifts to the {right}. [HABIT]"]
)
def test_an_ideal_or_an_effect_without_a_source_is_refused_at_its_line(folder, setup_topic, old):
    new = old.split(" [")[0]
    change(setup_topic, old, new)
    assert "source" in refusal(folder, setup_topic, new)


@pytest.mark.parametrize(
    ("sentence", "figure"),
    [
        ("Hold it at 4 of 10.", "4"),
        ("Hold it for three seconds.", "three seconds"),
        ("Forty percent is in front.", "Forty percent"),
        ("Turn by forty five degrees.", "forty five degrees"),
        ("Nearly one hundred percent is in front.", "hundred percent"),
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
        ("Some sixty per cent is in front.", "sixty per cent"),
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
    change(setup_topic, "   and let go again.", "   and let go")
    assert "'Squeeze the club and let go'" in refusal(folder, setup_topic, "1. Squeeze the club")


# What is refused between files.


@pytest.mark.parametrize(
    ("fixes", "unknown"),
    [("AF9", "AF9"), ("AF1, AF9", "AF9"), ("AF1, AF9, AF8", "AF8, AF9"), ("AD6", "AD6")],
)
def test_a_drill_that_fixes_no_known_fault_is_refused_with_file_and_line(
    folder, setup_topic, fixes, unknown
):
    change(setup_topic, "- Fixes: AF1", f"- Fixes: {fixes}")
    assert f"AD1 fixes {unknown}," in refusal(folder, setup_topic, DRILL)


def test_a_fault_without_any_drill_is_refused_with_file_and_line(folder, setup_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    assert "AF1 has no drill" in refusal(folder, setup_topic, FAULT)


def test_a_fault_whose_only_drill_is_of_another_file_is_refused(folder, setup_topic, balance_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    change(balance_topic, "- Fixes: AF6", "- Fixes: AF6, AF1")
    assert "in this file" in refusal(folder, setup_topic, FAULT)


def test_the_line_of_a_fault_is_its_heading_even_where_an_earlier_line_names_it(
    folder, setup_topic
):
    change(
        setup_topic,
        "- The club is held lightly. [PAPER]",
        "- A light hold is what AF1 lacks. [PAPER]",
    )
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    refusal(folder, setup_topic, FAULT)


@pytest.mark.parametrize(
    ("field", "lacking"),
    [
        ("- Clubs: iron", ("beginner", "adult", "driver")),
        ("- Levels: beginner", ("advanced", "adult", "driver")),
        ("- Not for: senior", ("beginner", "senior", "driver")),
    ],
)
def test_a_fault_without_a_drill_for_one_club_level_or_audience_is_refused_with_that_one(
    folder, setup_topic, field, lacking
):
    change(setup_topic, "- Sources: HABIT", f"- Sources: HABIT\n{field}")
    message = refusal(folder, setup_topic, FAULT)
    assert all(word in message for word in lacking)


@pytest.mark.parametrize(
    ("old", "part"),
    [
        ("- The club is held lightly. [PAPER]", "ideal"),
        ("- Keep the soft hold.", "keep"),
        (CUE, "cues"),
        ("- Stop when it hurts.", "safety"),
        ("- The hands look tense.", "Observation of AF1"),
        ("- The golfer fears to lose the club.", "Cause of AF1"),
        ("- Do the forearms feel soft?", "Check of AF1"),
    ],
)
@pytest.mark.parametrize(
    ("tag", "lacking"),
    [
        ("club=iron", "with the driver"),
        ("level=beginner", "advanced"),
        ("audience=senior", "adult"),
        ("severity=none", "slight"),
        ("severity=slight/large", "none"),
    ],
)
def test_a_part_with_nothing_for_one_case_is_refused_with_part_and_case(
    folder, setup_topic, old, part, tag, lacking
):
    change(setup_topic, old, f"{old[:-1]}; {tag}]" if old.endswith("]") else f"{old} [{tag}]")
    message = refusal(folder, setup_topic, 1)
    assert part in message
    assert lacking in message


def test_two_items_that_share_the_cases_of_a_part_are_accepted(folder, setup_topic):
    change(
        setup_topic,
        CUE,
        "- Go. [club=iron]\n- Come. [club=driver; severity=none]\n- Wait. [club=driver; severity=slight/large]",
    )
    assert len(load_setup(folder).cues) == 3


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
    ],
)
def test_an_id_or_a_name_that_two_files_use_is_refused_with_file_and_line(
    folder, setup_topic, balance_topic, old, new, first
):
    change(setup_topic, old, new)
    if "AF6:" in new:
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


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "broken link"])
def test_a_topic_that_is_no_file_is_refused(folder, kind):
    path = folder / "setup" / "notes.md"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / ("setup" if kind == "link to a folder" else "nowhere"))
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
        ("- Dose: 3 sets", "- Dose: 3 nails", DRILL),
        (DRILL, "## Drill AD1: Nailed ladder", "## Drill AD1: Nailed ladder"),
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
    [(CUE, "- Do not nail the head down."), ("- Keep the soft hold.", "- Nail the soft hold.")],
)
def test_an_exception_of_a_rule_or_a_part_that_it_leaves_alone_is_accepted(
    folder, setup_topic, old, new
):
    change(setup_topic, old, new)
    assert new.removeprefix("- ") in load_setup(folder).sentences().values()


def test_a_file_with_two_sentences_that_contradict_each_other_is_refused(folder, setup_topic):
    change(setup_topic, CUE, "- Ball off the lead heel.")
    assert load_setup(folder)
    change(setup_topic, "- Dose: 3 sets", "- Dose: 3 balls from the middle of the stance")
    message = refusal(folder, setup_topic, 1)
    assert "one_ball_position" in message
    assert "A file teaches one ball position." in message


def test_a_rule_that_a_club_lifts_is_lifted_for_a_drill_of_that_club_alone(folder, setup_topic):
    (folder / "rules.yaml").write_text(
        '- {id: high, says: Why., never: "tee it high", only_clubs: [driver]}'
    )
    add_drill(setup_topic, "- Clubs: driver\n", "Tee it high.")
    assert load_setup(folder).drills[1].clubs == ("driver",)
    change(setup_topic, "- Clubs: driver", "- Clubs: driver, iron")
    assert "the rule high" in refusal(folder, setup_topic, "1. Tee it high.")


# A folder of one's own.


def test_the_example_of_the_knowledge_folders_page_is_valid(pytestconfig, tmp_path):
    repository = pytestconfig.rootpath / "knowledge"
    text = re.search(
        r"```markdown\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )[1]
    text = re.sub(r" +# [^\n]+", "", text)
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
    assert [drill.name for drill in joined.drills_for("ZF1")] == ["Own drill"]


def test_an_extra_folder_joins_and_is_told_apart(folder, extra):
    base, joined = load_knowledge(folder), load_knowledge(folder, extra)
    assert joined.extra_topics == {"my_balance"}
    assert joined.topics[:-1] == base.topics
    assert joined.topics[-1].path == extra / "balance" / "my_balance.md"
    assert (joined.fault("AF7").area, [drill.id for drill in joined.drills_for("AF7")]) == (
        "balance",
        ["AD7"],
    )
    assert (joined.sources, joined.rules, base.extra_topics) == (
        base.sources,
        base.rules,
        frozenset(),
    )


def test_a_drill_of_an_extra_folder_may_fix_any_fault(folder, extra):
    change(extra / "balance" / "my_balance.md", "- Fixes: AF7", "- Fixes: AF7, AF1")
    assert [drill.id for drill in load_knowledge(folder, str(extra)).drills_for("AF1")] == [
        "AD1",
        "AD7",
    ]


def test_an_extra_folder_may_bring_sources_of_its_own(folder, extra):
    path = extra / "balance" / "my_balance.md"
    path.write_text(
        path.read_text()
        .replace("HABIT", "MY-COACH")
        .replace("[MY-COACH, PAPER]", "[MY-COACH, PAPER]")
    )
    (extra / "sources.yaml").write_text("MY-COACH: {grade: C, text: 'My coach'}\n")
    joined = load_knowledge(folder, extra)
    assert joined.sources["MY-COACH"] == Source("MY-COACH", "C", "My coach")
    assert set(joined.sources) == {"PAPER", "COACH", "BLOG", "HABIT", "MY-COACH"}
    assert joined.fault("AF7").effect[0].sources == ("MY-COACH",)


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


LINES = VALID.splitlines()
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
    assert read_or_refuse(one_file, VALID)


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
            assert set(item.sources) <= set(topic.sources)


@given(mutated(0))
@settings(max_examples=300)
def test_a_file_with_changed_lines_anywhere_is_read_or_refused_at_a_line(one_file, text):
    read_or_refuse(one_file, text)


@given(st.permutations(LINES[1 : BODY - 1]))
def test_the_order_of_the_front_matters_fields_does_not_matter(one_file, fields):
    expected = read_or_refuse(one_file, VALID)
    assert read_or_refuse(one_file, "\n".join(["---", *fields, *LINES[BODY - 1 :]])) == expected


@given(st.sets(st.integers(1, BODY - 2), min_size=1))
def test_front_matter_without_some_of_its_fields_is_refused_at_a_line_of_it(one_file, dropped):
    assert (
        read_or_refuse(
            one_file, "\n".join(line for place, line in enumerate(LINES) if place not in dropped)
        )
        is None
    )
