"""What golfers' words mean: read from authors that were never heard, kept in a file, and never a crash."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.coach.generators import TemplateFeedbackGenerator
from golf_nb_utils.files import write_manifest
from golf_nb_utils.golf import reader as reading
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.knowledge import KnowledgeError
from golf_nb_utils.golf.reader import Wording, load_wordings, train
from golf_nb_utils.golf.topic import OUTCOMES


@pytest.fixture(scope="module")
def folder(pytestconfig):
    return pytestconfig.rootpath / "knowledge" / "wordings"


@pytest.fixture(scope="module")
def wordings(folder, knowledge):
    return load_wordings(folder, knowledge)


# The wordings.


def test_every_fault_and_every_outcome_has_wordings_in_every_register_and_split(
    wordings, knowledge
):
    area_of = {fault.id: fault.area for fault in knowledge.faults}
    area_of |= dict.fromkeys([*OUTCOMES, "follow_up"], "")
    for meaning, area in area_of.items():
        own = [each for each in wordings if each.meaning == meaning]
        assert len(own) >= 40, meaning
        assert {each.register for each in own} == {"golfer", "coach", "app"}, meaning
        assert {each.split for each in own} == {"train", "val", "test"}, meaning
        assert {each.area for each in own} == {area}, meaning
    assert {each.meaning for each in wordings} == {*area_of, ""}
    for area in AREAS:
        assert sum(each.area == area and not each.meaning for each in wordings) >= 100


def test_a_text_means_one_thing_in_its_area_and_an_author_is_of_one_split(wordings):
    means = {}
    for each in wordings:
        means.setdefault((each.area, each.text.casefold()), set()).add(each.meaning)
    assert [text for text, meanings in means.items() if len(meanings) > 1] == []
    splits = {}
    for each in wordings:
        splits.setdefault(each.text.casefold(), set()).add(each.split)
    assert [text for text, some in splits.items() if len(some) > 1] == []
    split_of = {each.author: each.split for each in wordings}
    assert all(each.split == split_of[each.author] for each in wordings)


def test_what_the_ball_does_or_was_tried_in_vain_is_said_of_any_area(tmp_path, knowledge):
    (tmp_path / "authors.yaml").write_text("ann: {split: val}", encoding="utf-8")
    (tmp_path / "ann").mkdir()
    files = {
        "outcomes": "## slice\n\n- app, lefty: Curves left: 20 m.\n\n## fat\n- golfer: turf first\n",
        "follow_up": "## follow_up\n- coach: {drill} did nothing\n",
        "balance": "## none\n- golfer, weather: nice out\n## BF1\n- golfer: i fall\n",
    }
    for name, content in files.items():
        (tmp_path / "ann" / f"{name}.md").write_text(content, encoding="utf-8")
    assert load_wordings(tmp_path, knowledge) == [
        Wording("nice out", "balance", "", "golfer", "weather", "ann", "val"),
        Wording("i fall", "balance", "BF1", "golfer", "", "ann", "val"),
        Wording("{drill} did nothing", "", "follow_up", "coach", "", "ann", "val"),
        Wording("Curves left: 20 m.", "", "slice", "app", "lefty", "ann", "val"),
        Wording("turf first", "", "fat", "golfer", "", "ann", "val"),
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("## BF1\n- golfer: I fall back.\n- shouts: fore\n", 3),
        ("- golfer: said of nothing\n", 1),
        ("## WF1\n", 1),
        ("## slice\n", 1),
        ("## follow_up\n", 1),
        ("## BF1\n- golfer:\n", 2),
        ("## BF1\n- golfer, two words: I fall\n", 2),
    ],
)
def test_a_malformed_line_is_refused_at_its_place(tmp_path, knowledge, content, line):
    (tmp_path / "authors.yaml").write_text("ann: {split: train}", encoding="utf-8")
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "balance.md").write_text(content, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=rf"balance\.md:{line}: expected"):
        load_wordings(tmp_path, knowledge)


@pytest.mark.parametrize(("name", "heading"), [("outcomes", "BF1"), ("follow_up", "slice")])
def test_what_the_ball_does_and_faults_do_not_stand_in_one_file(tmp_path, knowledge, name, heading):
    (tmp_path / "authors.yaml").write_text("ann: {split: train}", encoding="utf-8")
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / f"{name}.md").write_text(f"## {heading}\n", encoding="utf-8")
    with pytest.raises(KnowledgeError, match=rf"{name}\.md:1: expected"):
        load_wordings(tmp_path, knowledge)


@pytest.mark.parametrize("name", ["bob/balance.md", "ann/putting.md"])
def test_an_unknown_author_or_area_is_refused(tmp_path, knowledge, name):
    (tmp_path / "authors.yaml").write_text("ann: {split: train}", encoding="utf-8")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(KnowledgeError, match="expected an author"):
        load_wordings(tmp_path, knowledge)


# What is heard.


def test_an_author_that_was_never_heard_is_understood(reader, wordings):
    """Two authors of a dozen are enough to find most of a third one's faults, and to keep silent on the rest."""
    asked = [each for each in wordings if each.author == "birch" and each.area]
    heard = [reader.hear(each.area, each.text) for each in asked]
    faulty = [
        (h.meaning, each.meaning) for h, each in zip(heard, asked, strict=True) if each.meaning
    ]
    nothing = [h.meaning for h, each in zip(heard, asked, strict=True) if not each.meaning]
    assert np.mean([found == right for found, right in faulty]) > 0.55
    assert np.mean([found not in ("", right) for found, right in faulty]) < 0.12
    assert np.mean([found != "" for found in nothing]) < 0.12
    assert np.mean([h.elsewhere != "" for h in heard]) < 0.05


def test_what_the_ball_does_is_understood_of_any_area(reader, wordings):
    asked = [each for each in wordings if each.author == "birch" and each.meaning in OUTCOMES]
    for area in AREAS:
        heard = [reader.hear(area, each.text) for each in asked]
        pairs = [(h.meaning, each.meaning) for h, each in zip(heard, asked, strict=True)]
        # An outcome is named sooner than a fault, since its answer asserts none.
        assert np.mean([found == right for found, right in pairs]) > 0.5
        assert np.mean([found not in ("", right) for found, right in pairs]) < 0.25


def test_probabilities_are_those_of_the_areas_faults_in_order(reader, knowledge):
    heard = reader.hear("balance", "i rock onto my heels")
    assert {fault for fault, _ in heard.considered} == {
        fault.id for fault in knowledge.faults if fault.area == "balance"
    }
    shares = [share for _, share in heard.considered]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    assert heard.meaning == heard.considered[0][0] == "BF3"
    assert reader.hear("balance", "i rock onto my heels", asserted_from=1.0).meaning == ""


def test_an_outcome_takes_its_share_from_the_faults(reader):
    heard = reader.hear("balance", "i slice it every time, big banana")
    assert heard.meaning == "slice"
    assert not {name for name, _ in heard.considered} & set(OUTCOMES)
    assert sum(share for _, share in heard.considered) < 0.5


def test_words_of_another_area_are_heard_as_its_fault(reader):
    heard = reader.hear("balance", "my grip is far too tight, white knuckles on the handle")
    assert (heard.meaning, heard.elsewhere) == ("", "SF13")
    at_home = reader.hear("setup_quality", "my grip is far too tight, white knuckles on the handle")
    assert (at_home.meaning, at_home.elsewhere) == ("SF13", "")


@settings(max_examples=50)
@given(text=st.text(max_size=600), area=st.sampled_from(list(AREAS)))
def test_any_text_is_heard_without_an_error(reader, text, area):
    heard = reader.hear(area, text)
    assert all(0 <= share <= 1 for _, share in heard.considered)
    # What is named is of the area or of any, what is elsewhere of neither; never both.
    area_of = dict(zip(reader.meanings, reader.areas, strict=True))
    assert area_of.get(heard.meaning, area) in (area, "")
    assert area_of.get(heard.elsewhere, "elsewhere") not in (area, "")
    assert not (heard.meaning and heard.elsewhere)


def test_what_nobody_worded_is_known_by_its_name(knowledge):
    few = [Wording("I fall over", "balance", "BF1", "golfer", "", "ann", "train")] * 4
    quiet = [Wording("lovely weather", "balance", "", "golfer", "", "ann", "train")] * 4
    learnt = train(few + quiet, knowledge)
    assert learnt.hear("setup_quality", "grip too tight", 0.0).meaning == "SF13"
    assert learnt.hear("setup_quality", "a topped ball", 0.0).meaning == "top"


def test_what_was_tried_in_vain_teaches_nothing_of_faults(knowledge):
    some = [Wording("I fall over", "balance", "BF1", "golfer", "", "ann", "train")] * 4
    some += [Wording("lovely weather", "balance", "", "golfer", "", "ann", "train")] * 4
    vain = [Wording("tried it, nothing", "", "follow_up", "golfer", "", "ann", "train")] * 4
    one, other = train(some, knowledge), train(some + vain, knowledge)
    assert one.grams == other.grams
    assert np.array_equal(one.weights, other.weights)


# The file.


def test_a_saved_reader_hears_the_same_and_has_the_same_bytes_each_time(
    reader, wordings, tmp_path, knowledge
):
    path = reader.save(tmp_path / "reader.npz")
    loaded = reading.load(path)
    for each in wordings[::50]:
        one, other = reader.hear(each.area, each.text), loaded.hear(each.area, each.text)
        assert (one.meaning, one.elsewhere) == (other.meaning, other.elsewhere)
        assert dict(one.considered) == pytest.approx(dict(other.considered), abs=0.01)
    some = [each for each in wordings if each.author == "amber" and each.area == "balance"]
    files = [train(some, knowledge).save(tmp_path / f"{n}.npz").read_bytes() for n in range(2)]
    assert files[0] == files[1]


def test_what_is_no_reader_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="so it is no reader"):
        reading.load(tmp_path / "other.npz")


def test_the_reader_of_notebook_01_is_used_where_it_knows_the_same_faults(
    reader, knowledge, tmp_path, monkeypatch
):
    learnt = []
    monkeypatch.setenv("GOLF_OUTPUT_ROOT", str(tmp_path))
    monkeypatch.setattr(reading, "train", lambda *_: learnt.append(1) or reader)
    assert reading.find_reader(knowledge) is reader
    path = reading.reader_path(reading.Paths(tmp_path).data)
    path.parent.mkdir(parents=True)
    write_manifest(path.parent, "notebook 01", [reader.save(path)])
    found = reading.find_reader(knowledge)
    assert (found.meanings, found.areas) == (reader.meanings, reader.areas)
    assert learnt == [1]
    dataclasses.replace(reader, meanings=reader.meanings[1:]).save(path)
    assert reading.find_reader(knowledge) is reader
    assert learnt == [1, 1]


# In the coach.


def ask(generator, issue, **arguments):
    usual = {"area": "balance", "current_score": 0.45, "target_score": 0.8, "issue": issue}
    return generator.generate_many([usual | arguments])[0]


@pytest.fixture(scope="module")
def template(knowledge, reader):
    generator = TemplateFeedbackGenerator(knowledge)
    generator._reader = reader
    return generator


@pytest.mark.parametrize(
    ("issue", "arguments", "kind", "fault"),
    [
        ("i rock onto my heels", {}, "fault", "BF3"),
        ("FALLING ONTO THE HEELS", {}, "fault", "BF3"),
        ("did it all week, i still rock onto my heels", {}, "follow_up", "BF3"),
        ("i slice it every time, big banana", {}, "outcome", ""),
        ("my grip is far too tight, white knuckles on the handle", {}, "other_area", ""),
        ("lovely weather today", {}, "unclear", ""),
        (None, {}, "unclear", ""),
        ("i rock onto my heels", {"current_score": 0.9}, "keep", ""),
        ("my knee hurts", {}, "refer", ""),
        ("my knee hurts", {"current_score": None}, "refer", ""),
        ("i rock onto my heels", {"target_score": None}, "fault", "BF3"),
        ("i slice it every time, big banana", {"target_score": None}, "outcome", ""),
        (None, {"target_score": None}, "unclear", ""),
    ],
)
def test_an_answer_says_what_is_known_and_no_more(template, issue, arguments, kind, fault):
    feedback = ask(template, issue, **arguments)
    verification = feedback["verification"]
    assert (verification["kind"], verification["fault"]) == (kind, fault)
    assert verification["passed"]
    assert feedback["key_points"]
    has_drill = kind in ("fault", "follow_up")
    assert bool(feedback["drill"]) == ("Drill" in feedback["suggestion"]) == has_drill
    if kind == "refer":
        assert verification["chain"] == ""
        return
    (given,) = (each for each in template.knowledge.advice if each.id == verification["chain"])
    assert given.kind == ("fault" if has_drill else kind)
    assert (given.faults == (fault,)) == has_drill
    assert given.outcome == ("slice" if kind == "outcome" else "")


def test_nothing_is_asserted_where_nobody_said_what_is_wrong(template):
    """Of 500 requests without a fault none is given a fault's chain or a drill for it."""
    rng = np.random.default_rng(0)
    requests = [
        {"area": area, "issue": issue, "current_score": float(score), "target_score": 0.9}
        for area, issue, score in zip(
            rng.choice(list(AREAS), 500),
            rng.choice(["", "help me please", "shot 92 today", "lovely weather"], 500),
            rng.uniform(0.1, 0.8, 500).round(2),
            strict=True,
        )
    ]
    kind_of = {each.id: each.kind for each in template.knowledge.advice}
    for feedback in template.generate_many(requests):
        verification = feedback["verification"]
        assert verification["kind"] == kind_of[verification["chain"]] == "unclear"
        ids = [one["id"].split(".") for one in verification["sentences"]]
        assert {name[1] for name in ids if name[0] != "say"} == {verification["chain"]}
        assert feedback["drill"] == ""
