"""The training records: exact splits, no leak between them, and not a word or number that the knowledge and the scores do not hold."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.artifacts import MissingArtifactError, read_manifest
from golf_nb_utils.config import ALL_SCORES, AREAS, CLUBS, DataConfig
from golf_nb_utils.examples import (
    RecordError,
    generate_records,
    percent,
    read_records,
    records_path,
    severity_of,
    split_sizes,
    write_records,
)

HEADINGS = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):",
    "WHAT IS HAPPENING (Current Issue):",
    "WHAT TO DO (Actionable Steps):",
)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def records(knowledge):
    """Six hundred records of all splits: enough that each kind of golfer and each severity occurs."""
    by_split = generate_records(knowledge, DataConfig(n_examples=600))
    return [record for split in SPLITS for record in by_split[split]]


@pytest.fixture(scope="module")
def items(knowledge):
    """{item id: the item, the drill's own id: the drill}, collected here from the topics."""
    found = {drill.id: drill for drill in knowledge.drills}
    for topic in knowledge.topics:
        found |= {item.id: item for item in topic.ideal + topic.cues + topic.safety}
        for fault in topic.faults:
            parts = (fault.observation, fault.cause, fault.effect, fault.feel, fault.check, fault.steps)
            found |= {item.id: item for part in parts for item in part}
    return found


def mirrored(text, handedness):
    sides = {"left": "left", "right": "right"} if handedness == "right" else {"left": "right", "right": "left"}
    return re.sub(r"\{(left|right)\}", lambda match: sides[match[1]], text)


def score_lines(record):
    return dict(line.split(": ", 1) for line in record["input"].split("\n"))


def cents(score):
    return round(100 * score)


# The splits.


def test_400_records_are_split_340_40_20(knowledge):
    assert split_sizes(DataConfig()) == {"train": 340, "val": 40, "test": 20}
    assert {split: len(rows) for split, rows in generate_records(knowledge, DataConfig()).items()} == {"train": 340, "val": 40, "test": 20}


@given(st.integers(20, 100_000), st.floats(0.01, 0.25), st.floats(0.01, 0.25))
def test_the_splits_add_up_and_each_holds_its_share(n_examples, val_fraction, test_fraction):
    sizes = split_sizes(DataConfig(n_examples=n_examples, val_fraction=val_fraction, test_fraction=test_fraction))
    assert sum(sizes.values()) == n_examples
    assert all(size >= 1 for size in sizes.values())
    for split, share in (("val", val_fraction), ("test", test_fraction)):
        assert sizes[split] == 1 or abs(sizes[split] - n_examples * share) <= 0.5


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), test_fraction=st.floats(0.02, 0.25))
def test_no_group_is_in_two_splits(knowledge, seed, test_fraction):
    records = generate_records(knowledge, DataConfig(n_examples=120, seed=seed, test_fraction=test_fraction))
    groups = {}
    for split, rows in records.items():
        meta = [record["meta"] for record in rows]
        groups[split] = {(m["fault"] or m["topic"], m["severity"], CLUBS[m["club"]], m["level"]) for m in meta}
    assert not groups["train"] & groups["val"]
    assert not groups["train"] & groups["test"]
    assert not groups["val"] & groups["test"]


def test_the_group_in_the_meta_tells_groups_apart(records):
    by_key = {}
    for meta in (record["meta"] for record in records):
        what = (meta["fault"] or meta["topic"], meta["severity"], CLUBS[meta["club"]], meta["level"])
        assert by_key.setdefault(meta["group"], what) == what
    assert len(set(by_key.values())) == len(by_key)


def test_no_answer_of_the_test_split_is_trained_on_even_with_other_scores(knowledge):
    by_split = generate_records(knowledge, DataConfig(n_examples=600))

    def skeletons(split):
        return {re.sub(r"\d+\.\d%", "#", record["output"]) for record in by_split[split]}

    assert not skeletons("train") & (skeletons("test") | skeletons("val"))


def test_every_split_has_the_six_areas_in_equal_numbers(knowledge):
    for rows in generate_records(knowledge, DataConfig()).values():
        counts = Counter(record["meta"]["area"] for record in rows)
        assert set(counts) == set(AREAS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_every_fault_occurs_in_every_split(knowledge):
    by_split = generate_records(knowledge, DataConfig(n_examples=3000, val_fraction=0.25, test_fraction=0.25))
    for rows in by_split.values():
        assert {record["meta"]["fault"] for record in rows} - {""} == {fault.id for fault in knowledge.faults}


def test_every_club_level_hand_and_topic_is_trained_on(knowledge):
    train = [record["meta"] for record in generate_records(knowledge, DataConfig())["train"]]
    assert {meta["club"] for meta in train} == set(CLUBS)
    assert {meta["level"] for meta in train} == {"beginner", "intermediate", "advanced"}
    assert {meta["handedness"] for meta in train} == {"right", "left"}
    assert {meta["topic"] for meta in train} == {topic.id for topic in knowledge.topics}


# Seeds.


def test_the_same_seed_makes_the_same_records_and_another_seed_others(knowledge, tiny_records):
    assert generate_records(knowledge, DataConfig(n_examples=60)) == tiny_records
    others = generate_records(knowledge, DataConfig(n_examples=60, seed=124))
    same = sum(a["output"] == b["output"] for a, b in zip(others["train"], tiny_records["train"], strict=True))
    assert same == 0


def test_a_record_does_not_depend_on_how_many_are_made(knowledge, tiny_records):
    more = generate_records(knowledge, DataConfig(n_examples=200))
    for split in SPLITS:
        assert more[split][: len(tiny_records[split])] == tiny_records[split]


# The texts.


def test_the_three_headings_stand_once_each_and_in_order(records):
    for record in records:
        assert [record["output"].count(heading) for heading in HEADINGS] == [1, 1, 1]
        assert [line for line in record["output"].split("\n") if line in HEADINGS] == list(HEADINGS)


def test_an_input_begins_with_the_area_and_its_two_scores_as_decimals(records):
    for record in records:
        meta = record["meta"]
        assert record["input"].split("\n")[:3] == [
            f"Area: {meta['area']}",
            f"Current Score: 0.{cents(meta['current_score']):02d}",
            f"Target Score: 0.{cents(meta['target_score']):02d}",
        ]


def test_an_answer_states_both_scores_as_percentages_and_no_other(records):
    for record in records:
        meta = record["meta"]
        stated = [f"{cents(meta['current_score'])}.0%", f"{cents(meta['target_score'])}.0%"]
        assert set(re.findall(r"[\d.]+%", record["output"])) == set(stated)
        happening = record["output"].split(HEADINGS[1])[1].split(HEADINGS[2])[0]
        assert re.findall(r"[\d.]+%", happening) == stated, "the current score comes first, the evaluation relies on it"


@pytest.mark.parametrize(("score", "printed"), [(0.45, "45.0%"), (0.29, "29.0%"), (0.57, "57.0%"), (1.0, "100.0%"), (0.0, "0.0%")])
def test_a_score_is_printed_as_a_percentage_with_one_decimal(score, printed):
    assert percent(score) == printed


@given(st.integers(0, 100))
def test_no_score_of_two_decimals_is_printed_with_a_rounding_error(score):
    assert percent(score / 100) == f"{score}.0%"


def test_further_lines_of_the_input_say_what_the_meta_says(records):
    for record in records:
        lines, meta = score_lines(record), record["meta"]
        assert (lines["Club"], lines["Level"], lines["Handedness"]) == (meta["club"], meta["level"], meta["handedness"])
        assert meta["club"] in CLUBS
        assert ("All Scores" in lines) == (meta["all_scores"] is not None)
        if meta["all_scores"]:
            shown = dict(pair.split(" ") for pair in lines["All Scores"].split(", "))
            assert tuple(shown) == ALL_SCORES
            assert shown[meta["area"]] == lines["Current Score"]


def test_an_observation_names_the_fault_that_the_answer_is_about(records, knowledge):
    names = {fault.id: fault.name for fault in knowledge.faults}
    observed = [record for record in records if "Observation" in score_lines(record)]
    assert len(observed) > len(records) / 2
    for record in observed:
        assert score_lines(record)["Observation"] == names[record["meta"]["fault"]]


def test_every_listed_item_exists_and_stands_in_the_answer_word_for_word(records, items):
    for record in records:
        output, meta = record["output"], record["meta"]
        assert len(meta["items"]) == len(set(meta["items"]))
        for item_id in meta["items"]:
            assert item_id in items
            if item_id == meta["drill"]:
                drill = items[item_id]
                for text in (drill.name, drill.equipment, drill.dose, *(step.text for step in drill.steps)):
                    assert mirrored(text, meta["handedness"]) in output
            else:
                assert mirrored(items[item_id].text, meta["handedness"]) in output
        assert meta["drill"] in meta["items"]


def test_every_item_is_true_for_the_records_club_and_level(records, items):
    for record in records:
        family, level = CLUBS[record["meta"]["club"]], record["meta"]["level"]
        for item_id in record["meta"]["items"]:
            assert family in items[item_id].clubs
            assert level in items[item_id].levels


def test_a_drill_fixes_the_fault_that_is_described(records, items):
    with_fault = [record["meta"] for record in records if record["meta"]["fault"]]
    assert all(meta["fault"] in items[meta["drill"]].fixes for meta in with_fault)


def test_a_left_handers_ball_flies_to_the_other_side(records, items):
    flights = {"left": [], "right": []}
    for record in records:
        for item_id in record["meta"]["items"]:
            text = getattr(items[item_id], "text", "")
            if "{right}" in text and "{left}" not in text:
                flights[record["meta"]["handedness"]].append((text, record["output"]))
    assert flights["left"]
    assert flights["right"]
    for text, output in flights["left"]:
        assert text.replace("{right}", "left") in output
        assert text.replace("{right}", "right") not in output
    assert all(text.replace("{right}", "right") in output for text, output in flights["right"])


def test_no_placeholder_is_left_in_a_record(records):
    for record in records:
        assert not re.search(r"[{}]", record["instruction"] + record["input"] + record["output"])


def test_the_steps_are_numbered_from_one_without_a_gap(records):
    for record in records:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", record["output"].split(HEADINGS[2])[1], re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 2


def test_the_steps_of_a_fault_keep_the_order_of_the_file(records, knowledge):
    for record in records:
        if record["meta"]["fault"]:
            texts = [mirrored(step.text, record["meta"]["handedness"]) for step in knowledge.fault(record["meta"]["fault"]).steps]
            places = [record["output"].index(text) for text in texts if f". {text}\n" in record["output"]]
            assert len(places) == 2
            assert places == sorted(places)


# Severity.


def test_only_a_score_clearly_below_its_target_has_a_fault(records):
    reached = [record for record in records if record["meta"]["current_score"] >= record["meta"]["target_score"]]
    assert 0 < len(reached) < len(records)
    for record in records:
        meta = record["meta"]
        gap = round(meta["target_score"] - meta["current_score"], 2)
        assert (meta["fault"] == "") == (gap < 0.05)
        assert (meta["severity"] == "none") == (meta["fault"] == "")
        if not meta["fault"]:
            assert "Observation" not in score_lines(record)
            assert "below" not in record["output"].split(HEADINGS[1])[1].split(HEADINGS[2])[0]


def test_the_severity_of_a_record_is_that_of_its_gap(records):
    bands = {"none": (-99, 4), "slight": (5, 14), "clear": (15, 29), "large": (30, 100)}
    assert {record["meta"]["severity"] for record in records} == set(bands)
    for meta in (record["meta"] for record in records):
        low, high = bands[meta["severity"]]
        assert low <= cents(meta["target_score"]) - cents(meta["current_score"]) <= high


@pytest.mark.parametrize(
    ("gap", "severity"),
    [(-30, "none"), (0, "none"), (4, "none"), (5, "slight"), (14, "slight"), (15, "clear"), (29, "clear"), (30, "large"), (100, "large")],
)
def test_a_band_of_severity_begins_and_ends_at_its_edge_for_every_target(gap, severity):
    for target in range(max(0, gap), min(100, 100 + gap) + 1):
        assert severity_of((target - gap) / 100, target / 100) == severity


def test_a_large_gap_comes_with_a_note_on_safety_and_a_small_one_without(records):
    for record in records:
        assert ("\nSafety: " in record["output"]) == (record["meta"]["severity"] == "large")


# Files.


def test_written_records_come_back_and_the_manifest_lists_each_file(tiny_records, tmp_path):
    config = DataConfig(n_examples=60, output_root="/somewhere/private")
    write_records(tmp_path, tiny_records, config)
    for split in SPLITS:
        assert records_path(tmp_path, split) == tmp_path / f"golf_feedback_{split}.json"
        assert read_records(tmp_path / f"golf_feedback_{split}.json") == tiny_records[split]
    manifest = read_manifest(tmp_path)
    assert set(manifest["files"]) == {path.name for path in tmp_path.iterdir()} - {"manifest.json"}
    assert (manifest["config"]["n_examples"], manifest["config"]["seed"]) == (60, 123)
    assert "/somewhere/private" not in (tmp_path / "manifest.json").read_text(), "a path of this machine makes no two runs equal"


def test_the_report_counts_every_record_once_in_each_field(tiny_records, tmp_path):
    write_records(tmp_path, tiny_records, DataConfig(n_examples=60))
    report = json.loads((tmp_path / "dataset_report.json").read_text(encoding="utf-8"))
    assert report["records"] == {"train": 51, "val": 6, "test": 3}
    meta = [record["meta"] for rows in tiny_records.values() for record in rows]
    for field in ("area", "fault", "severity", "club", "level", "handedness"):
        assert report[field] == {value: sum(m[field] == value for m in meta) for value in {m[field] for m in meta}}


def test_writing_twice_gives_the_same_files_byte_for_byte(knowledge, tmp_path):
    config = DataConfig(n_examples=30)
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_records(folder, generate_records(knowledge, config), config)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_missing_file_of_records_names_notebook_01(tmp_path):
    with pytest.raises(MissingArtifactError) as caught:
        read_records(tmp_path / "golf_feedback_train.json")
    assert str(tmp_path / "golf_feedback_train.json") in str(caught.value)
    assert "notebook 01" in str(caught.value)


def test_broken_json_is_refused_with_file_and_line(tmp_path):
    path = tmp_path / "golf_feedback_train.json"
    path.write_text('[\n  {"instruction": "a",\n  "input" "b"}\n]\n')
    with pytest.raises(RecordError) as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize("content", ["[]", "{}", '{"instruction": "a"}', '"text"'])
def test_a_file_that_is_no_list_of_records_is_refused(tmp_path, content):
    path = tmp_path / "golf_feedback_train.json"
    path.write_text(content)
    with pytest.raises(RecordError, match="expected a list of records") as caught:
        read_records(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", ["instruction", "input", "output"])
@pytest.mark.parametrize("value", ["", " \n", None, 5, ["text"]])
def test_a_record_without_one_of_its_texts_is_refused_with_its_number(tmp_path, field, value):
    good = {"instruction": "a", "input": "b", "output": "c"}
    path = tmp_path / "golf_feedback_val.json"
    path.write_text(json.dumps([good, good, good | {field: value}, good]))
    with pytest.raises(RecordError) as caught:
        read_records(path)
    assert str(path) in str(caught.value)
    assert "record 2 " in str(caught.value)
    assert f"'{field}'" in str(caught.value)


@pytest.mark.parametrize("record", [None, "text", 3, []])
def test_an_entry_that_is_no_record_at_all_is_refused_with_its_number(tmp_path, record):
    path = tmp_path / "golf_feedback_val.json"
    path.write_text(json.dumps([record]))
    with pytest.raises(RecordError, match="record 0 "):
        read_records(path)


def test_records_of_another_tool_need_no_meta(tmp_path):
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps([{"instruction": "a", "input": "b", "output": "Schlägerkopf"}], ensure_ascii=False), encoding="utf-8")
    assert read_records(path)[0]["output"] == "Schlägerkopf"
