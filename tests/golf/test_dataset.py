"""The data folder: whole files with the records that were made, whoever made them, what is said about them, and reading them back."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
import yaml

from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError, read_manifest
from golf_nb_utils.golf import dataset
from golf_nb_utils.golf.dataset import (
    dataset_card,
    finish,
    first_records,
    knowledge_hash,
    read_records,
    records_path,
    require_made_for,
    require_same_data,
    write_dataset,
)
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.golf.records import Record, RecordError, generate_records
from golf_nb_utils.settings import DataConfig

SPLITS = ("train", "val", "test", "unseen")
SIZES = {"train": 340, "val": 40, "test": 20, "unseen": 20}
CONFIG = DataConfig(output_root="/somewhere/private", jsonl=True)


@pytest.fixture(scope="module")
def made(knowledge):
    """The records of the default settings, made in memory."""
    return generate_records(knowledge, CONFIG)


@pytest.fixture(scope="module")
def written(knowledge, tmp_path_factory):
    """A folder with the same records as files, JSON lines and manifest included."""
    folder = tmp_path_factory.mktemp("data")
    finish(folder, write_dataset(folder, knowledge, CONFIG), CONFIG)
    return folder


@pytest.fixture(scope="module")
def report(written):
    return json.loads((written / "dataset_report.json").read_text(encoding="utf-8"))


def load(folder, split):
    """The records of a file, whose keys are the fields of a Record and no others."""
    path = folder / f"golf_feedback_{split}.json"
    return [Record(**values) for values in json.loads(path.read_text(encoding="utf-8"))]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The files.


@pytest.mark.parametrize("split", SPLITS)
def test_a_file_is_a_json_list_of_the_records_that_were_made_one_a_line(written, made, split):
    assert records_path(written, split) == written / f"golf_feedback_{split}.json"
    assert read_records(records_path(written, split)) == made[split]
    lines = records_path(written, split).read_text(encoding="utf-8").split("\n")
    assert [Record(**json.loads(line.rstrip(","))) for line in lines[1:-2]] == made[split]
    assert (lines[0], lines[-2:]) == ("[", ["]", ""])


@pytest.mark.parametrize("split", SPLITS)
def test_the_json_lines_are_the_same_records(written, made, split):
    lines = (written / f"golf_feedback_{split}.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [Record(**json.loads(line)) for line in lines] == made[split]


def test_no_json_lines_are_written_unless_asked_for(knowledge, tmp_path):
    paths = write_dataset(tmp_path, knowledge, DataConfig(n_examples=20))
    names = {f"golf_feedback_{split}.json" for split in SPLITS} | {
        "dataset_report.json",
        "README.md",
    }
    assert {path.name for path in paths} == set(contents(tmp_path)) == names


def test_the_manifest_lists_every_file_and_the_settings_but_no_path_of_this_machine(written):
    manifest = read_manifest(written)
    assert set(manifest["files"]) == set(contents(written)) - {"manifest.json"}
    assert len(manifest["files"]) == 10
    assert (manifest["config"]["n_examples"], manifest["config"]["seed"], manifest["made_by"]) == (
        400,
        123,
        "notebook 01",
    )
    assert "/somewhere/private" not in (written / "manifest.json").read_text()


@pytest.mark.parametrize("n_examples", [1, 3])
def test_a_set_of_very_few_records_is_written_with_empty_files_where_nothing_is_left(
    knowledge, tmp_path, n_examples
):
    files = write_dataset(tmp_path, knowledge, DataConfig(n_examples=n_examples, jsonl=True))
    finish(tmp_path, files, DataConfig(n_examples=n_examples, jsonl=True))
    read_manifest(tmp_path)
    sizes = {"train": 1, "val": n_examples == 3, "test": n_examples == 3, "unseen": n_examples == 3}
    assert {split: len(load(tmp_path, split)) for split in SPLITS} == sizes
    assert {
        split: len((tmp_path / f"golf_feedback_{split}.jsonl").read_text().splitlines())
        for split in SPLITS
    } == sizes


# Chunks of 16 leave a part of one at the end; a set of twenty chunks or more gets the machine's cores by default.
@pytest.mark.parametrize(
    ("chunk", "workers", "started"), [(16, None, [2]), (1000, None, []), (7, 0, []), (100, 2, [2])]
)
def test_the_bytes_do_not_depend_on_how_many_processes_make_them(
    knowledge, written, tmp_path, monkeypatch, chunk, workers, started
):
    pools = []
    real = dataset.ProcessPoolExecutor
    monkeypatch.setattr(
        dataset,
        "ProcessPoolExecutor",
        lambda n, *arguments: pools.append(n) or real(n, *arguments),
    )
    monkeypatch.setattr(dataset, "CHUNK", chunk)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    files = write_dataset(tmp_path, knowledge, CONFIG, workers=workers)
    finish(tmp_path, files, CONFIG)
    assert pools == started
    assert contents(tmp_path) == contents(written)


SCRIPT = """
import sys
from pathlib import Path
from golf_nb_utils.golf import dataset
from golf_nb_utils.golf.knowledge import load_knowledge
from golf_nb_utils.settings import DataConfig

print("begun", flush=True)
knowledge = load_knowledge(Path(sys.argv[1]))
dataset.write_dataset(Path(sys.argv[2]), knowledge, DataConfig(n_examples=60), workers=2)
print("done", __name__)
"""


def test_a_notebook_saved_as_a_script_is_not_run_by_its_workers(pytestconfig, tmp_path):
    """It has no `if __name__ == "__main__"`, and a spawned process begins with the script of the one that started it."""
    root, script, out = pytestconfig.rootpath, tmp_path / "01.py", tmp_path / "out"
    script.write_text(SCRIPT)
    folders = str(root / "knowledge" / "golf_instruction"), str(out)
    command = [sys.executable, str(script), *folders]
    ended = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (ended.stdout, ended.returncode) == ("begun\ndone __main__\n", 0), ended.stderr
    assert len(read_records(records_path(out, "train"))) == 51


def test_an_interrupted_write_leaves_the_old_file_and_nothing_half_done(
    knowledge, tmp_path, monkeypatch
):
    old = {
        f"golf_feedback_{split}.{ending}": b"old"
        for split in SPLITS
        for ending in ("json", "jsonl")
    }
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    real = dataset.make_record

    def make_record(deck, split, number):
        if (split, number) == ("train", 250):
            raise KeyboardInterrupt
        return real(deck, split, number)

    monkeypatch.setattr(dataset, "make_record", make_record)
    monkeypatch.setattr(dataset, "CHUNK", 50)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, knowledge, CONFIG)
    assert set(contents(tmp_path)) == set(old), "nothing is missing, and nothing is new"
    assert (
        contents(tmp_path)["golf_feedback_train.json"]
        == contents(tmp_path)["golf_feedback_train.jsonl"]
        == b"old"
    )
    assert len(load(tmp_path, "test")) == 20, "a file before it is whole"


def test_what_a_run_with_json_lines_and_feedback_left_does_not_stay_beside_another_set(
    knowledge, tmp_path
):
    config = DataConfig(n_examples=20, jsonl=True)
    folder = tmp_path / "data"
    (tmp_path / "feedback.jsonl").write_text("nonsense\n")
    write_dataset(folder, knowledge, config, tmp_path / "feedback.jsonl")
    assert {"feedback_rejected.jsonl", "golf_feedback_unseen.jsonl"} <= set(contents(folder))
    (folder / "mine.jsonl").write_text("a user's own file")
    files = write_dataset(folder, knowledge, dataclasses.replace(config, jsonl=False))
    assert set(contents(folder)) == {path.name for path in files} | {"mine.jsonl"}
    assert not [path for path in files if path.suffix == ".jsonl"]


def with_other_cues(knowledge, change):
    """The knowledge with the phrasings of all cues changed."""

    def changed(advice):
        cues = (
            dataclasses.replace(cue, phrasings=tuple(map(change, cue.phrasings)))
            for cue in advice.items["cue"]
        )
        return dataclasses.replace(advice, items=advice.items | {"cue": tuple(cues)})

    topics = (
        dataclasses.replace(topic, advice=tuple(map(changed, topic.advice)))
        for topic in knowledge.topics
    )
    return dataclasses.replace(knowledge, topics=tuple(topics))


def test_text_beyond_ascii_is_written_as_it_is(knowledge, tmp_path):
    changed = with_other_cues(knowledge, lambda _: "Grüße \u2028 an den Schläger.")
    config = DataConfig(n_examples=200, unseen_topics_per_area=0, jsonl=True)
    write_dataset(tmp_path, changed, config)
    text = (tmp_path / "golf_feedback_train.json").read_text(encoding="utf-8")
    assert "Swing thought: Grüße \u2028 an den Schläger." in text
    assert load(tmp_path, "train") == generate_records(changed, config)["train"]
    with open(tmp_path / "golf_feedback_train.jsonl", encoding="utf-8") as file:
        assert [Record(**json.loads(line)) for line in file] == load(tmp_path, "train")


# What is measured.


def test_the_report_counts_every_record_once_in_each_field(report, made):
    assert report["records"] == SIZES
    meta = [record.meta for rows in made.values() for record in rows]
    for name in (
        "area",
        "topic",
        "fault",
        "chain",
        "kind",
        "severity",
        "club",
        "level",
        "handedness",
        "audience",
        "source",
    ):
        assert report[name] == Counter(m[name] or "none" for m in meta)
        assert sum(report[name].values()) == 420


def test_the_report_names_the_topics_that_are_taught_and_those_that_are_not(
    report, made, knowledge
):
    assert report["unseen_topics"] == sorted({record.meta["topic"] for record in made["unseen"]})
    assert report["taught_topics"] == sorted(
        {topic.id for topic in knowledge.topics} - set(report["unseen_topics"])
    )


def test_the_report_measures_the_answers_of_each_set(report, made):
    assert report["measured_over"] == SIZES
    train = [record.output for record in made["train"]]
    skeletons = Counter(re.sub(r"\d+(\.\d+)?%?", "#", answer) for answer in train)
    assert report["diversity"]["commonest_answer_skeleton"] == round(
        max(skeletons.values()) / 340, 4
    )

    def grams(text):
        return {text[place : place + 3] for place in range(len(text) - 2)}

    known = [grams(answer) for answer in train]
    nearest = [
        max(len(own & other) / len(own | other) for other in known)
        for own in (grams(record.output) for record in made["test"])
    ]
    assert report["leakage"]["test"]["exact"] == 0
    assert (
        report["leakage"]["test"]["near"] == sum(similarity >= 0.8 for similarity in nearest) / 20
    )
    assert report["leakage"]["test"]["nearest"] == pytest.approx(sum(nearest) / 20, abs=1e-4)


def test_of_a_large_training_set_only_the_first_answers_are_kept_to_measure(
    knowledge, tmp_path, monkeypatch, made
):
    monkeypatch.setattr(dataset, "SAMPLE", 55)
    monkeypatch.setattr(dataset, "CHUNK", 20)
    measured = []
    real = dataset.measure_diversity
    monkeypatch.setattr(
        dataset, "measure_diversity", lambda texts: measured.append(list(texts)) or real(texts)
    )
    write_dataset(tmp_path, knowledge, CONFIG)
    report = json.loads((tmp_path / "dataset_report.json").read_text())
    assert report["measured_over"] == {"train": 55, "val": 40, "test": 20, "unseen": 20}
    assert measured == [[record.output for record in made["train"][:55]]]
    assert len(load(tmp_path, "train")) == 340


def test_the_hash_of_the_knowledge_changes_with_a_single_word(report, knowledge):
    assert report["knowledge_sha256"] == knowledge_hash(knowledge)
    assert re.fullmatch(r"[0-9a-f]{64}", report["knowledge_sha256"])
    first = knowledge.topics[0].advice[0].items["cue"][0].text
    changed = with_other_cues(
        knowledge, lambda text: text.replace(" ", " very ", 1) if text == first else text
    )
    assert knowledge_hash(changed) != knowledge_hash(knowledge)
    assert knowledge_hash(with_other_cues(knowledge, str)) == knowledge_hash(knowledge)


# What is said about the set.


@pytest.fixture
def told(report):
    """The report with figures that stand out."""
    return {
        **report,
        "records": {"train": 12_345, "val": 777, "test": 666, "unseen": 555},
        "measured_over": {"train": 9876, "val": 777, "test": 666, "unseen": 555},
        "unseen_topics": ["free_hips", "grip"],
        "diversity": report["diversity"]
        | {"commonest_answer_skeleton": 0.0456, "mean_pairwise_jaccard": 0.371},
        "leakage": {
            "val": {"exact": 8, "near": 0.025, "nearest": 0.512},
            "test": {"exact": 7, "near": 0.0132, "nearest": 0.433},
            "unseen": {"exact": 9, "near": 0.0, "nearest": 0.25},
        },
    }


def test_the_card_states_sizes_leaks_and_where_the_set_comes_from(told, written):
    card = dataset_card(told, DataConfig(n_examples=13_788, seed=4711))
    for split, count in (("train", "12,345"), ("val", "777"), ("test", "666"), ("unseen", "555")):
        assert f"| golf_feedback_{split}.json | {count} |" in card
    flat = " ".join(card.split())
    for said in (
        "seed 4711 and n_examples 13,788", "Of the test answers 7 are found in train and 1.3% have a near duplicate",
        "holds 2 topics", "free_hips, grip",
        "first 9,876 training answers", "4.56%", "similarity 0.37", told["knowledge_sha256"][:16], "MIT",
    ):  # fmt: skip
        assert said in flat
    assert (written / "README.md").read_text(encoding="utf-8").count("| golf_feedback_") == 4


@pytest.mark.parametrize(
    ("total", "category"),
    [
        (1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10_000, "10K<n<100K"), (100_000, "100K<n<1M"),
        (999_999, "100K<n<1M"), (1_000_000, "1M<n<10M"), (9_999_999, "1M<n<10M"),
    ],
)  # fmt: skip
def test_the_card_begins_with_the_header_that_a_data_hub_reads(told, total, category):
    told["records"] = {"train": total, "val": 0, "test": 0, "unseen": 0}
    _, header, _ = dataset_card(told, CONFIG).split("---\n", 2)
    values = yaml.safe_load(header)
    assert (values["license"], values["language"], values["size_categories"]) == (
        "mit",
        "en",
        [category],
    )


# What a user brings.


def test_feedback_joins_the_training_set_alone_and_what_cannot_is_kept_aside(
    knowledge, made, written, tmp_path
):
    useful = generate_records(knowledge, DataConfig(n_examples=20, seed=9))["train"][0]
    lines = [
        {"input": useful.input, "output": useful.output, "thumb": "up"},
        {"input": useful.input, "output": useful.output, "thumb": "down"},
        {"input": made["test"][0].input, "output": made["test"][0].output, "thumb": "up"},
        {"input": useful.input, "output": "No headings at all.", "thumb": "up"},
    ]
    (tmp_path / "feedback.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "data"
    files = write_dataset(folder, knowledge, CONFIG, tmp_path / "feedback.jsonl")

    train = load(folder, "train")
    assert train[:-1] == made["train"]
    assert (train[-1].input, train[-1].output) == (useful.input, useful.output)
    assert train[-1].meta["source"] == "user_feedback"
    lines = (folder / "golf_feedback_train.jsonl").read_text(encoding="utf-8").splitlines()
    assert Record(**json.loads(lines[-1])) == train[-1]
    for split in ("val", "test", "unseen"):
        assert records_path(folder, split).read_bytes() == records_path(written, split).read_bytes()
    (rejected,) = map(json.loads, (folder / "feedback_rejected.jsonl").read_text().splitlines())
    assert rejected["line"] == 4
    assert "No headings at all." in rejected["text"]

    report = json.loads((folder / "dataset_report.json").read_text())
    outcomes = {
        "used": 1,
        "thumb down without a correction": 1,
        "near to the test set": 1,
        "rejected": 1,
        "double": 0,
    }
    assert report["user_feedback"] == outcomes
    assert report["source"] == {"knowledge": 420, "user_feedback": 1}
    assert report["records"] == SIZES | {"train": 341}
    assert "| golf_feedback_train.json | 341 |" in (folder / "README.md").read_text(
        encoding="utf-8"
    )
    assert set(files) == set(folder.iterdir())


def test_feedback_of_which_no_line_is_usable_leaves_the_training_set_as_it_was(
    knowledge, written, tmp_path
):
    (tmp_path / "feedback.jsonl").write_text("nonsense\n")
    write_dataset(tmp_path / "data", knowledge, CONFIG, tmp_path / "feedback.jsonl")
    for split in SPLITS:
        assert (
            records_path(tmp_path / "data", split).read_bytes()
            == records_path(written, split).read_bytes()
        )
    assert len((tmp_path / "data" / "feedback_rejected.jsonl").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def with_own_topic(pytestconfig, tmp_path_factory):
    """The repository's knowledge and a folder with one topic: a copy of level_height with ids, names and sentences of its own.

    No sentence may grow, so each gets another last word. A drill fixes faults of the repository, too.
    """
    folder = pytestconfig.rootpath / "knowledge" / "golf_instruction"
    text = (folder / "balance" / "level_height.md").read_text(encoding="utf-8")
    text = text.replace("id: level_height", "id: own_height")
    text = re.sub(
        r"(?m)^## (Fault|Chain|Drill|Keep) B([FDK])(\d+[a-z]?): (.*)$",
        r"## \1 Z\2\3: Own \4",
        text,
    )
    text = text.replace("BF10", "ZF10").replace("ZF10d, BF9b", "ZF10d, BF1, BF2, BF3, BF9")
    text = re.sub(r"(?m)(\w+[.?])( \[[^\]\n]*\])?$", r"ours-\1\2", text)
    own = tmp_path_factory.mktemp("own")
    (own / "balance").mkdir()
    (own / "balance" / "own_height.md").write_text(text, encoding="utf-8")
    return load_knowledge(folder, own)


def test_knowledge_of_ones_own_joins_the_training_set_alone_and_is_marked(
    with_own_topic, knowledge, tmp_path
):
    config = DataConfig(n_examples=800)
    write_dataset(tmp_path, with_own_topic, config)
    without = generate_records(knowledge, config)
    for split in ("val", "test", "unseen"):
        assert load(tmp_path, split) == without[split]

    marked = Counter()
    for record in load(tmp_path, "train"):
        meta = record.meta
        speaks = "ours-" in record.output
        assert (meta["source"] == "extra_knowledge") == speaks
        assert ("own_height" in " ".join(meta["items"]) or meta["drill"].startswith("ZD")) == speaks
        marked[speaks, meta["topic"] == "own_height"] += 1
    # Its drill for faults of the repository is used for these, too.
    assert set(marked) == {(True, True), (True, False), (False, False)}
    report = json.loads((tmp_path / "dataset_report.json").read_text())
    assert report["source"]["extra_knowledge"] == marked[True, True] + marked[True, False]
    assert "own_height" in report["taught_topics"]


# Reading.


def test_the_first_records_are_read_without_the_rest(written, made, tmp_path):
    path = records_path(written, "train")
    assert first_records(path, 3) == made["train"][:3]
    assert first_records(path, 0) == []
    assert first_records(path, 1000) == made["train"]
    lines = path.read_text(encoding="utf-8").split("\n")
    (tmp_path / "cut.json").write_text(
        "\n".join(lines[:3]) + "\nno JSON from here", encoding="utf-8"
    )
    assert first_records(tmp_path / "cut.json", 2) == made["train"][:2]


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


def test_a_file_that_is_not_utf_8_is_refused_with_its_name(tmp_path):
    path = tmp_path / "golf_feedback_train.json"
    path.write_bytes('[{"instruction": "a", "input": "b", "output": "Größe"}]'.encode("latin-1"))
    with pytest.raises(RecordError, match="UTF-8") as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[]", "an empty list"),
        ("[\n]\n", "an empty list"),
        ("{}", "dict"),
        ('"text"', "str"),
        ("null", "NoneType"),
    ],
)
def test_a_file_that_is_no_list_of_records_is_refused_with_what_it_is(tmp_path, content, found):
    path = tmp_path / "golf_feedback_train.json"
    path.write_text(content)
    with pytest.raises(
        RecordError, match=f"expected a list of records, found {found};.*larger n_examples"
    ) as caught:
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


def test_an_answer_that_ends_before_its_end_is_refused_with_its_number(tmp_path):
    good = {"instruction": "a", "input": "Observation: <|endoftext|>", "output": "c"}
    path = tmp_path / "golf_feedback_train.json"
    path.write_text(json.dumps([good, good | {"output": "c<|endoftext|>"}]))
    with pytest.raises(RecordError, match=r"output of record 1 holds <\|endoftext\|>") as caught:
        read_records(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["[" * 200_000, "[" + "9" * 5000 + "]"], ids=["deep", "digits"])
def test_json_that_python_cannot_hold_is_refused_with_its_file(tmp_path, content):
    path = tmp_path / "golf_feedback_train.json"
    path.write_text(content)
    with pytest.raises(RecordError, match="not valid JSON") as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "config", [None, [], {}, {"model_size": "tiny"}, {"model_size": 1, "n_examples": 1}]
)
def test_a_manifest_that_does_not_say_what_the_records_are_for_is_refused(tmp_path, config):
    with pytest.raises(ArtifactMismatchError, match=r"manifest\.json does not tell") as caught:
        require_made_for("tiny", tmp_path, {"files": {}, "config": config})
    assert str(tmp_path) in str(caught.value)


def test_a_sidecar_that_does_not_name_the_data_is_of_other_data(tmp_path):
    manifest = {"files": {"golf_feedback_test.json": {"sha256": "0" * 64}}}
    with pytest.raises(ArtifactMismatchError, match=r"golf_feedback_test\.json is not the file"):
        require_same_data(tmp_path, manifest, None)


def test_records_of_another_tool_need_no_meta(tmp_path):
    path = tmp_path / "alpaca.json"
    path.write_text(
        json.dumps(
            [{"instruction": "a", "input": "b", "output": "Schlägerkopf"}], ensure_ascii=False
        ),
        encoding="utf-8",
    )
    assert read_records(path) == [Record("a", "b", "Schlägerkopf", {})]
