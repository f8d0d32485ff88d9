"""The knowledge files: the repository's own load, and each rule refuses a minimal broken file with its name and line."""

from pathlib import Path

import pytest

from golf_nb_utils.config import AREAS, CLUB_FAMILIES, LEVELS
from golf_nb_utils.knowledge import KnowledgeError, load_knowledge

SOURCES = """\
PAPER: {grade: P, text: "A paper, 2010"}
COACH: {grade: C, text: "A coach"}
BLOG: {grade: B, text: "A blog"}
HABIT: {grade: U, text: "A convention"}
"""

# The smallest topic that is valid; ID, AREA and the numbers of the fault and the drill are filled in for each area.
TOPIC = """\
---
id: {id}
area: {area}
title: The basics
phase: address
clubs: [driver, iron]
levels: [beginner, advanced]
---

# The basics

## Ideal

- The club is held lightly. [PAPER]

## Fault AF{n}: Grip too tight

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

## Drill AD{n}: Ladder

- Fixes: AF{n}
- Equipment: an iron
- Dose: 3 sets
- Sources: HABIT

### Steps

1. Squeeze the club
   and let go again.

## Cues

- Soft hands!

## Safety

- Stop when it hurts.
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A valid knowledge folder with one minimal topic for each area; the setup topic has the ids AF1 and AD1."""
    (tmp_path / "sources.yaml").write_text(SOURCES)
    for number, area in enumerate(AREAS.values(), 1):
        topic = tmp_path / area.folder / f"{area.folder}_basics.md"
        topic.parent.mkdir()
        topic.write_text(TOPIC.format(id=topic.stem, area=area.key, n=number))
    return tmp_path


@pytest.fixture
def setup_topic(folder) -> Path:
    return folder / "setup" / "setup_basics.md"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} must occur once for the change to be the one that is meant"
    path.write_text(text.replace(old, new), encoding="utf-8")


def line_of(path: Path, line: str) -> int:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.count(line) == 1
    return lines.index(line) + 1


def refusal(folder: Path, path: Path, line: str | int) -> str:
    """Load the folder, check that the refusal begins with `path` and the number of `line`, and return its message."""
    number = line if isinstance(line, int) else line_of(path, line)
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(folder)
    place = f"{path}:{number}: "
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


# The repository's own knowledge.


def test_the_repositorys_own_files_hold_three_topics_or_more_for_each_area(knowledge):
    areas = [topic.area for topic in knowledge.topics]
    assert set(areas) == set(AREAS)
    assert all(areas.count(area) >= 3 for area in AREAS)


def test_every_fault_of_the_repository_has_a_drill_for_every_club_and_level_it_concerns(knowledge):
    for fault in knowledge.faults:
        drills = knowledge.drills_for(fault.id)
        for club in fault.clubs:
            for level in fault.levels:
                assert any(club in drill.clubs and level in drill.levels for drill in drills), (fault.id, club, level)


def test_no_sentence_of_the_repository_shows_a_tag_or_names_a_side_outright(knowledge):
    for item_id, sentence in knowledge.sentences().items():
        words = sentence.lower().replace("{left}", "").replace("{right}", "").replace(",", " ").replace(".", " ").split()
        assert not {"left", "right"} & set(words), item_id
        assert "[" not in sentence, item_id


def test_no_two_items_of_the_repository_share_an_id(knowledge):
    n_items = 0
    for topic in knowledge.topics:
        n_items += len(topic.ideal) + len(topic.cues) + len(topic.safety) + len(topic.drills)
        for fault in topic.faults:
            n_items += sum(len(part) for part in (fault.observation, fault.cause, fault.effect, fault.feel, fault.check, fault.steps))
    assert len(knowledge.sentences()) == n_items


# What a valid file becomes.


def test_a_minimal_topic_becomes_what_it_says(folder):
    knowledge = load_knowledge(folder)
    topic = next(topic for topic in knowledge.topics if topic.area == "setup_quality")
    assert (topic.id, topic.title, topic.phase) == ("setup_basics", "The basics", "address")
    assert (topic.clubs, topic.levels) == (("driver", "iron"), ("beginner", "advanced"))
    assert [(item.text, item.sources) for item in topic.ideal] == [("The club is held lightly.", ("PAPER",))]
    assert [item.text for item in topic.cues + topic.safety] == ["Soft hands!", "Stop when it hurts."]
    fault = knowledge.fault("AF1")
    assert (fault.name, fault.area, fault.topic) == ("Grip too tight", "setup_quality", "setup_basics")
    assert [item.text for item in fault.observation + fault.cause] == ["The hands look tense.", "The golfer fears to lose the club."]
    assert [item.text for item in fault.effect + fault.feel] == ["The ball drifts to the {right}.", "The forearms feel hard."]
    assert [item.text for item in fault.check] == ["Do the forearms feel soft?"]
    assert [item.text for item in fault.steps] == ["Lift the club.", "Let it rest."]
    (drill,) = knowledge.drills_for("AF1")
    assert (drill.id, drill.name, drill.fixes) == ("AD1", "Ladder", ("AF1",))
    assert (drill.equipment, drill.dose, drill.sources) == ("an iron", "3 sets", ("HABIT",))
    assert [step.text for step in drill.steps] == ["Squeeze the club and let go again."]


def test_every_sentence_can_be_looked_up_by_its_id(folder):
    knowledge = load_knowledge(folder)
    sentences = knowledge.sentences()
    fault = knowledge.fault("AF1")
    assert sentences[fault.cause[0].id] == "The golfer fears to lose the club."
    assert sentences["AD1"] == "Ladder: Squeeze the club and let go again. Dose: 3 sets."


def test_an_item_without_tags_fits_the_topics_clubs_and_levels_and_a_tag_narrows_them(folder, setup_topic):
    change(setup_topic, "- Soft hands!", "- Soft hands!\n- Tee it high. [club=driver; level=beginner]")
    topic = next(topic for topic in load_knowledge(folder).topics if topic.id == "setup_basics")
    soft, high = topic.cues
    assert high.text == "Tee it high."
    fitting = [(club, level) for club in CLUB_FAMILIES for level in LEVELS if soft.fits(club, level)]
    assert fitting == [("driver", "beginner"), ("driver", "advanced"), ("iron", "beginner"), ("iron", "advanced")]
    assert [(club, level) for club in CLUB_FAMILIES for level in LEVELS if high.fits(club, level)] == [("driver", "beginner")]


def test_a_drill_may_fix_a_fault_of_another_file(folder, setup_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF1, AF6")
    assert [drill.id for drill in load_knowledge(folder).drills_for("AF6")] == ["AD6", "AD1"]


@pytest.mark.parametrize("source", ["PAPER", "COACH", "BLOG, PAPER"])
def test_a_figure_from_a_graded_source_is_accepted(folder, setup_topic, source):
    change(setup_topic, "- The club is held lightly. [PAPER]", f"- About 60 percent of the weight is in front. [{source}]")
    assert any("60 percent" in sentence for sentence in load_knowledge(folder).sentences().values())


@pytest.mark.parametrize("sentence", ["Feel the bright, upright leftover.", "The ball starts {left} and turns {right}."])
def test_words_that_only_contain_a_side_and_the_two_placeholders_are_accepted(folder, setup_topic, sentence):
    change(setup_topic, "Soft hands!", sentence)
    assert sentence in load_knowledge(folder).sentences().values()


# What is refused in one file.


@pytest.mark.parametrize("text", ["", "# The basics\n", "---\nid: setup_basics\n"])
def test_a_file_without_front_matter_is_refused_at_its_first_line(folder, setup_topic, text):
    setup_topic.write_text(text)
    assert "front matter" in refusal(folder, setup_topic, 1)


def test_front_matter_that_is_no_yaml_is_refused_at_the_line_that_breaks_it(folder, setup_topic):
    change(setup_topic, "title: The basics", "title: The basics: again")
    assert "not valid YAML" in refusal(folder, setup_topic, "title: The basics: again")


@pytest.mark.parametrize("field", ["id", "area", "title", "phase", "clubs", "levels"])
def test_a_front_matter_field_that_is_missing_is_refused_at_the_closing_line(folder, setup_topic, field):
    lines = [line for line in setup_topic.read_text().split("\n") if not line.startswith(f"{field}: ")]
    setup_topic.write_text("\n".join(lines))
    # Six fields less one, between two lines of dashes.
    assert f"`{field}`" in refusal(folder, setup_topic, 7)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("area: setup_quality", "area: setup"),
        ("phase: address", "phase: takeaway"),
        ("clubs: [driver, iron]", "clubs: [driver, putter]"),
        ("levels: [beginner, advanced]", "levels: [beginner, expert]"),
    ],
)
def test_an_unknown_value_in_the_front_matter_is_refused_at_its_line(folder, setup_topic, old, new):
    change(setup_topic, old, new)
    field, value = old.split(":")[0], new.strip("]").split(" ")[-1]
    assert f"unknown {field} '{value}'" in refusal(folder, setup_topic, new)


@pytest.mark.parametrize(
    ("old", "new"), [("clubs: [driver, iron]", "clubs: driver"), ("title: The basics", "title: 7"), ("phase: address", "phase: [address]")]
)
def test_a_front_matter_field_of_the_wrong_type_is_refused_at_its_line(folder, setup_topic, old, new):
    change(setup_topic, old, new)
    assert "wrong type" in refusal(folder, setup_topic, new)


def test_a_topic_in_another_areas_folder_is_refused_with_the_right_folder(folder, setup_topic):
    moved = setup_topic.rename(folder / "balance" / setup_topic.name)
    message = refusal(folder, moved, "area: setup_quality")
    assert "setup/" in message
    assert "balance/" in message


def test_an_id_that_differs_from_the_files_name_is_refused(folder, setup_topic):
    change(setup_topic, "id: setup_basics", "id: setup_basic")
    assert "'setup_basic'" in refusal(folder, setup_topic, "id: setup_basic")


@pytest.mark.parametrize("heading", ["## Ideals", "## Fault: Grip too tight", "## Fault X1: Grip too tight", "## Drill AD1 Ladder"])
def test_an_unknown_section_is_refused_at_its_line(folder, setup_topic, heading):
    change(setup_topic, "## Cues", heading)
    assert heading in refusal(folder, setup_topic, heading)


@pytest.mark.parametrize(("heading", "first"), [("### Feel", "### Feeling"), ("## Drill AD1: Ladder", "## Drill AD1: Ladder\n\n### Dose")])
def test_an_unknown_part_is_refused_at_its_line(folder, setup_topic, heading, first):
    change(setup_topic, heading, first)
    wrong = first.split("\n")[-1]
    assert f"unknown part `{wrong}`" in refusal(folder, setup_topic, wrong)


@pytest.mark.parametrize("line", ["Soft hands.", "* Soft hands.", "#### Soft hands", "### Soft hands"])
def test_a_line_that_is_neither_heading_nor_item_is_refused_at_its_line(folder, setup_topic, line):
    change(setup_topic, "- Soft hands!", line)
    assert repr(line) in refusal(folder, setup_topic, line)


@pytest.mark.parametrize("section", ["Ideal", "Cues", "Safety"])
def test_a_section_without_an_item_is_refused(folder, setup_topic, section):
    before, after = setup_topic.read_text().split(f"## {section}\n\n")
    setup_topic.write_text(f"{before}## {section}\n\n" + after.split("\n", 1)[1])
    n_lines = len(setup_topic.read_text().rstrip("\n").split("\n")) + (section == "Safety")
    assert f"## {section}" in refusal(folder, setup_topic, n_lines)


@pytest.mark.parametrize("part", ["Observation", "Cause", "Effect", "Feel", "Check", "Steps"])
def test_a_fault_without_one_of_its_parts_is_refused_at_its_heading(folder, setup_topic, part):
    before, after = setup_topic.read_text().split(f"### {part}\n", 1)
    setup_topic.write_text(before + after[after.index("\n#") + 1 :])
    message = refusal(folder, setup_topic, "## Fault AF1: Grip too tight")
    assert "AF1" in message
    assert f"### {part}" in message


@pytest.mark.parametrize("field", ["- Fixes: AF1", "- Equipment: an iron", "- Dose: 3 sets", "- Sources: HABIT"])
def test_a_drill_without_one_of_its_fields_is_refused_at_its_heading(folder, setup_topic, field):
    change(setup_topic, f"{field}\n", "")
    message = refusal(folder, setup_topic, "## Drill AD1: Ladder")
    assert "AD1" in message
    assert field.split(":")[0] in message


def test_a_drill_without_steps_is_refused_at_its_heading(folder, setup_topic):
    change(setup_topic, "### Steps\n\n1. Squeeze the club\n   and let go again.\n", "")
    assert "### Steps" in refusal(folder, setup_topic, "## Drill AD1: Ladder")


def test_an_unknown_field_of_a_drill_is_refused_at_its_line(folder, setup_topic):
    change(setup_topic, "- Dose: 3 sets", "- Amount: 3 sets")
    assert "Amount" in refusal(folder, setup_topic, "- Amount: 3 sets")


@pytest.mark.parametrize("field", ["Clubs: driver, putter", "Levels: expert", "Sources: PAPER, NOBODY"])
def test_an_unknown_value_in_a_drills_field_is_refused_at_its_line(folder, setup_topic, field):
    if field.startswith("Sources"):
        change(setup_topic, "- Sources: HABIT", f"- {field}")
    else:
        change(setup_topic, "- Sources: HABIT", f"- Sources: HABIT\n- {field}")
    assert f"unknown value '{field.split(' ')[-1]}'" in refusal(folder, setup_topic, f"- {field}")


@pytest.mark.parametrize("tag", ["NOBODY06", "PAPER, NOBODY06", "club=putter", "level=expert"])
def test_an_unknown_source_or_tag_is_refused_at_its_line(folder, setup_topic, tag):
    change(setup_topic, "lightly. [PAPER]", f"lightly. [{tag}]")
    assert f"'{tag.split(', ')[-1]}'" in refusal(folder, setup_topic, f"- The club is held lightly. [{tag}]")


@pytest.mark.parametrize("sentence", ["- Soft hands", "- Soft hands:", "- Soft hands [PAPER]"])
def test_an_item_that_is_no_whole_sentence_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, "- Soft hands!", sentence)
    assert "full stop" in refusal(folder, setup_topic, sentence)


@pytest.mark.parametrize(
    "sentence", ["- Turn to the right.", "- Left hand first!", "- The RIGHT-hand side.", "- Is it {left} or right?", "- Lead (left) foot."]
)
def test_a_bare_left_or_right_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, "- Soft hands!", sentence)
    assert "lead/trail" in refusal(folder, setup_topic, sentence)


@pytest.mark.parametrize("sentence", ["- Aim {up}.", "- Aim {LEFT}.", "- Aim left}.", "- Aim {forward."])
def test_an_unknown_placeholder_is_refused_at_its_line(folder, setup_topic, sentence):
    change(setup_topic, "- Soft hands!", sentence)
    refusal(folder, setup_topic, sentence)


@pytest.mark.parametrize("old", ["- The club is held lightly. [PAPER]", "- The ball drifts to the {right}. [HABIT]"])
def test_an_ideal_or_an_effect_without_a_source_is_refused_at_its_line(folder, setup_topic, old):
    new = old.split(" [")[0]
    change(setup_topic, old, new)
    assert "source" in refusal(folder, setup_topic, new)


@pytest.mark.parametrize("tags", ["", " [BLOG]", " [HABIT]", " [BLOG, HABIT]"])
def test_a_figure_without_a_graded_source_is_refused_at_its_line(folder, setup_topic, tags):
    change(setup_topic, "- Soft hands!", f"- Hold it at 4 of 10.{tags}")
    message = refusal(folder, setup_topic, f"- Hold it at 4 of 10.{tags}")
    assert "figure" in message
    assert all(tag in message for tag in tags.strip(" []").split(", "))


def test_an_item_over_two_lines_is_refused_at_its_first(folder, setup_topic):
    change(setup_topic, "   and let go again.", "   and let go")
    assert "'Squeeze the club and let go'" in refusal(folder, setup_topic, "1. Squeeze the club")


# What is refused between files.


@pytest.mark.parametrize(("fixes", "unknown"), [("AF9", "AF9"), ("AF1, AF9", "AF9")])
def test_a_drill_that_fixes_no_known_fault_is_refused_with_file_and_line(folder, setup_topic, fixes, unknown):
    change(setup_topic, "- Fixes: AF1", f"- Fixes: {fixes}")
    message = refusal(folder, setup_topic, "## Drill AD1: Ladder")
    assert f"AD1 fixes {unknown}," in message


def test_a_fault_without_any_drill_is_refused_with_file_and_line(folder, setup_topic):
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    assert "AF1 has no drill" in refusal(folder, setup_topic, "## Fault AF1: Grip too tight")


def test_the_line_of_a_fault_is_its_heading_even_where_an_earlier_line_names_it(folder, setup_topic):
    change(setup_topic, "- The club is held lightly. [PAPER]", "- A light hold is what AF1 lacks. [PAPER]")
    change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    refusal(folder, setup_topic, "## Fault AF1: Grip too tight")


@pytest.mark.parametrize(("field", "lacking"), [("- Clubs: iron", ("beginner", "driver")), ("- Levels: beginner", ("advanced", "driver"))])
def test_a_fault_without_a_drill_for_one_club_or_level_is_refused_with_that_one(folder, setup_topic, field, lacking):
    change(setup_topic, "- Sources: HABIT", f"- Sources: HABIT\n{field}")
    message = refusal(folder, setup_topic, "## Fault AF1: Grip too tight")
    assert all(word in message for word in lacking)


@pytest.mark.parametrize(
    ("old", "new"), [("## Fault AF1: Grip too tight", "## Fault AF6: Grip too tight"), ("## Drill AD1:", "## Drill AD6:")]
)
def test_an_id_that_two_files_use_is_refused_with_file_and_line(folder, setup_topic, old, new):
    change(setup_topic, old, new)
    if "Fault" in old:
        change(setup_topic, "- Fixes: AF1", "- Fixes: AF6")
    # The balance topic, which has AF6 and AD6, is the first file with the id in the order of reading.
    first = folder / "balance" / "balance_basics.md"
    heading = "## Fault AF6: Grip too tight" if "Fault" in old else "## Drill AD6: Ladder"
    assert "is used 2 times" in refusal(folder, first, heading)


def test_an_area_without_a_topic_is_refused_by_its_name(folder, setup_topic):
    setup_topic.unlink()
    with pytest.raises(KnowledgeError, match="setup_quality") as caught:
        load_knowledge(folder)
    assert str(folder) in str(caught.value)


# The list of sources.


def test_a_missing_list_of_sources_is_an_error_that_names_it(folder):
    (folder / "sources.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"sources\.yaml"):
        load_knowledge(folder)


def test_sources_that_are_no_yaml_are_refused_at_the_line_that_breaks_them(folder):
    path = folder / "sources.yaml"
    path.write_text(SOURCES.replace("BLOG:", "BLOG: is:"))
    assert "not valid YAML" in refusal(folder, path, 3)


@pytest.mark.parametrize("entry", ["{grade: Z, text: x}", "{text: x}", "{grade: P}", "{grade: P, text: ''}"])
def test_a_source_without_text_or_known_grade_is_refused_by_name(folder, entry):
    path = folder / "sources.yaml"
    path.write_text(f"{SOURCES}ODD: {entry}\n")
    with pytest.raises(KnowledgeError, match="ODD") as caught:
        load_knowledge(folder)
    assert str(caught.value).startswith(f"{path}:")
