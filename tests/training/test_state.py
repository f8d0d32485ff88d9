"""The states of a run on the disk: written whole, checked when read, two of them kept, none of them taken for another run's."""

import errno
import hashlib
import json
import os
import shutil

import damaged
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.training import state as state_module
from golf_nb_utils.training.state import RunStateError, delete_states, load_state, save_state

IDENTITY = {"data": "abc", "learning_rate": 0.1, "shape": {"n_layer": 2}}


def state_of(step):
    history = {
        "steps": [step],
        "phases": {"training": 1.5},
        "events": [(1, "a remark")],
        "best": float("inf"),
    }
    return {
        "weights": {"w": torch.full((3, 2), float(step))},
        "history": history,
        "random": (3, (1, 2), None),
    }


def best_of(step):
    return step, {"w": torch.full((3, 2), -float(step))}


def names(folder):
    return sorted(path.name for path in folder.glob("*"))


def loaded_step(folder, identity=IDENTITY):
    """The step of the state that is loaded, after a look at all that it holds; None if there is none."""
    state, best, _ = load_state(folder, identity)
    if state is None:
        return None
    step = int(state["weights"]["w"][0, 0])
    assert_is_that_of(step, state)
    assert best is None or best["w"].shape == (3, 2)
    return step


def assert_is_that_of(step, state):
    expected = state_of(step)
    assert torch.equal(state.pop("weights")["w"], expected.pop("weights")["w"])
    assert state == expected


@pytest.fixture
def two_states(tmp_path):
    """The folder of two states, after the steps 4 and 8; both have the best weights of step 3."""
    for step in (4, 8):
        save_state(tmp_path, step, state_of(step), IDENTITY, best_of(3))
    return tmp_path


def test_what_was_saved_is_what_is_loaded(tmp_path):
    assert (
        save_state(tmp_path / "new", 7, state_of(7), IDENTITY, best_of(5))
        == tmp_path / "new" / "state-00000007.json"
    )
    state, best, remarks = load_state(tmp_path / "new", IDENTITY)
    assert_is_that_of(7, state)
    torch.testing.assert_close(best, best_of(5)[1])
    assert remarks == []


@pytest.mark.parametrize("best", [None, best_of(1)])
def test_a_state_may_come_without_best_weights(tmp_path, best):
    save_state(tmp_path, 2, state_of(2), IDENTITY, best)
    assert (load_state(tmp_path, IDENTITY)[1] is None) == (best is None)


@pytest.mark.parametrize("exists", [True, False])
def test_where_nothing_was_saved_there_is_nothing_to_load_or_delete(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "none"
    assert load_state(folder, IDENTITY) == (None, None, [])
    delete_states(folder)
    assert not folder.exists()


def test_deleting_leaves_no_empty_folders(tmp_path):
    save_state(tmp_path / "checkpoints" / "gpt2-tiny", 2, state_of(2), IDENTITY, best_of(1))
    save_state(tmp_path / "checkpoints" / "gpt2-124M", 2, state_of(2), IDENTITY)
    delete_states(tmp_path / "checkpoints" / "gpt2-tiny")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["gpt2-124M"]
    delete_states(tmp_path / "checkpoints" / "gpt2-124M")
    assert not (tmp_path / "checkpoints").exists()


def test_the_newest_two_are_kept_with_the_best_weights_they_name(tmp_path):
    for step, best in ((4, 3), (8, 3), (90_000_000, 10), (100_000_000, 10)):
        save_state(tmp_path, step, state_of(step), IDENTITY, best_of(best))
    expected = [
        "best-00000010.pt",
        "state-100000000.json",
        "state-100000000.pt",
        "state-90000000.json",
        "state-90000000.pt",
    ]
    assert names(tmp_path) == expected
    # A step of nine digits comes after one of eight, though not in the alphabet.
    assert int(load_state(tmp_path, IDENTITY)[0]["weights"]["w"][0, 0]) == 100_000_000


def test_best_weights_that_are_there_are_not_written_again(two_states, monkeypatch):
    written = []
    monkeypatch.setattr(
        state_module,
        "_write",
        lambda temporary, content: (written.append(content), torch.save(content, temporary)),
    )
    save_state(two_states, 12, state_of(12), IDENTITY, best_of(3))
    assert [content.keys() for content in written] == [state_of(12).keys()]
    assert loaded_step(two_states) == 12


def test_best_weights_that_were_damaged_are_written_again(two_states):
    path = two_states / "best-00000003.pt"
    path.write_bytes(path.read_bytes()[:-9])
    save_state(two_states, 12, state_of(12), IDENTITY, best_of(3))
    assert loaded_step(two_states) == 12
    torch.testing.assert_close(load_state(two_states, IDENTITY)[1], best_of(3)[1])


def test_a_step_saved_again_replaces_its_state(two_states):
    save_state(two_states, 8, state_of(8), {**IDENTITY, "data": "new"}, best_of(6))
    assert names(two_states) == [
        "best-00000003.pt", "best-00000006.pt",
        "state-00000004.json", "state-00000004.pt", "state-00000008.json", "state-00000008.pt",
    ]  # fmt: skip
    assert loaded_step(two_states, {**IDENTITY, "data": "new"}) == 8


def test_the_same_state_has_the_same_bytes(tmp_path):
    for folder in ("first", "second"):
        save_state(tmp_path / folder, 4, state_of(4), IDENTITY, best_of(3))
    for name in names(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_what_a_cut_write_left_goes_with_the_next_save_and_files_of_others_stay(two_states):
    for name in (
        ".state-00000012.pt.a1.pt",
        ".best-00000009.pt.b2.pt",
        ".state-00000012.json.c3.json",
        "state-00000012.pt",
        "best-00000009.pt",
    ):
        (two_states / name).write_bytes(b"part")
    (two_states / "notes.txt").write_text("mine")
    save_state(two_states, 16, state_of(16), IDENTITY, best_of(3))
    left = [
        "best-00000003.pt",
        "notes.txt",
        "state-00000008.json",
        "state-00000008.pt",
        "state-00000016.json",
        "state-00000016.pt",
    ]
    assert names(two_states) == left
    delete_states(two_states)
    assert names(two_states) == ["notes.txt"]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**IDENTITY, "data": "xyz"}, r"other data \(data is 'abc' there, 'xyz' here\)"),
        ({**IDENTITY, "learning_rate": 0.2, "data": "xyz"}, r"other data, learning_rate \("),
        (
            {**IDENTITY, "shape": {"n_layer": 3}},
            r"other shape \(shape is \{'n_layer': 2\} there, \{'n_layer': 3\} here\)",
        ),
        ({"data": "abc", "learning_rate": 0.1}, r"other shape \(.* None here\)"),
        ({**IDENTITY, "lora_rank": 8}, r"other lora_rank \(lora_rank is None there, 8 here\)"),
    ],
)
def test_a_state_of_another_run_is_refused_by_what_differs_and_stays(two_states, other, named):
    with pytest.raises(
        RunStateError,
        match=rf"{two_states} holds the states of another run, with {named}.*resume=False",
    ):
        load_state(two_states, other)
    assert loaded_step(two_states) == 8


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("[enforce fail] write failed")],
)
@pytest.mark.parametrize("kind", ["state", "best"])
def test_a_full_disk_leaves_the_state_before_it_and_says_so(two_states, monkeypatch, error, kind):
    write = state_module._write

    def until_full(temporary, content):
        if ("history" in content) == (kind == "state"):
            temporary.write_bytes(b"part")
            raise error
        write(temporary, content)

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "_write", until_full)
        with pytest.raises(
            RunStateError,
            match=rf"step 12 could not be written to {two_states} \(.*the state of step 8 is as it was.*output_root",
        ):
            save_state(two_states, 12, state_of(12), IDENTITY, best_of(9))
    assert loaded_step(two_states) == 8
    assert not [path for path in two_states.iterdir() if path.name.startswith(".")]
    # With room again, nothing of the failure is left.
    save_state(two_states, 12, state_of(12), IDENTITY, best_of(9))
    assert loaded_step(two_states) == 12
    assert len(names(two_states)) == 6


def test_a_full_disk_at_the_first_state_says_that_there_is_none(tmp_path, monkeypatch):
    def full(temporary, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state_module, "_write", full)
    with pytest.raises(RunStateError, match=r"No space left on device.*there is no earlier one"):
        save_state(tmp_path, 4, state_of(4), IDENTITY)
    assert loaded_step(tmp_path) is None


class PowerCut(BaseException):
    """Nothing in the code under test expects it."""


@pytest.mark.parametrize("n_replaced", [0, 1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_off_around_any_of_its_three_renames_a_save_leaves_a_whole_state(
    two_states, monkeypatch, n_replaced, moment
):
    replace, done = os.replace, []

    def cut(source, target):
        if moment == "after":
            replace(source, target)
        if len(done) == n_replaced:
            raise PowerCut
        if moment == "before":
            replace(source, target)
        done.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(PowerCut):
            save_state(two_states, 12, state_of(12), IDENTITY, best_of(9))
    assert loaded_step(two_states) == (12 if (n_replaced, moment) == (2, "after") else 8)


def test_the_old_state_goes_only_while_a_whole_one_stays(two_states, monkeypatch):
    before = []
    unlink = os.unlink
    monkeypatch.setattr(
        os, "unlink", lambda path: (before.append(loaded_step(two_states)), unlink(path))
    )
    save_state(two_states, 12, state_of(12), IDENTITY, best_of(3))
    assert before[:2] == [8, 8]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1, 2]", "null", "7", '"text"', "{}", '{"files": {}}', '{"identity": {"data": "abc"}}', '{"files": 3, "identity": {}}',
     '{"files": ["a"], "identity": {}}', '{"files": {}, "identity": null}', json.dumps({"files": {}, "identity": IDENTITY}), "\u0000"],
)  # fmt: skip
def test_a_json_file_that_describes_no_state_is_a_damaged_state(two_states, text):
    (two_states / "state-00000008.json").write_text(text)
    state, _, remarks = load_state(two_states, IDENTITY)
    assert int(state["weights"]["w"][0, 0]) == 4
    assert remarks == [
        "state-00000008.json is damaged or missing: the state after step 8 was deleted"
    ]
    assert "state-00000008.json" not in names(two_states)


@pytest.mark.parametrize(
    "name",
    [
        "../best-3.pt",
        "sub/best-3.pt",
        "/etc/hostname",
        "best-3.pt/..",
        "",
        "other.pt",
        "state-8.json",
    ],
)
def test_a_state_that_names_what_is_none_of_its_files_is_damaged_and_nothing_else_is_touched(
    two_states, name
):
    outside = two_states.parent / "best-3.pt"
    outside.write_bytes(b"of somebody else")
    path = two_states / "state-00000008.json"
    about = json.loads(path.read_text())
    about["files"][name] = hashlib.sha256(b"of somebody else").hexdigest()
    path.write_text(json.dumps(about))
    assert loaded_step(two_states) == 4
    delete_states(two_states)
    assert outside.read_bytes() == b"of somebody else"
    outside.unlink()


def test_any_damage_to_the_json_of_a_state_costs_this_state_alone(two_states):
    path = two_states / "state-00000008.json"
    content, kept = path.read_bytes(), json.loads(path.read_bytes())
    for found in [*damaged.texts(content), *(value.encode() for value in damaged.values(kept))]:
        path.write_bytes(found)
        try:
            assert loaded_step(two_states) in (4, 8)
        except RunStateError as error:
            # The run that it belongs to is part of what may have changed.
            assert "states of another run" in str(error)  # noqa: PT017
    (two_states / "state-\u00b2.json").write_text("{}", encoding="utf-8")
    path.unlink(missing_ok=True)
    path.mkdir()
    assert loaded_step(two_states) == 4


def test_with_no_whole_state_left_there_is_none(two_states):
    for name in ("state-00000004.pt", "state-00000008.pt"):
        (two_states / name).unlink()
    state, best, remarks = load_state(two_states, IDENTITY)
    assert (state, best) == (None, None)
    assert [remark.split(" is ")[0] for remark in remarks] == [
        "state-00000008.pt",
        "state-00000004.pt",
    ]
    save_state(two_states, 2, state_of(2), IDENTITY)
    assert loaded_step(two_states) == 2
    assert names(two_states) == ["state-00000002.json", "state-00000002.pt"]


def test_a_deleted_state_does_not_count_as_one_of_the_two(two_states):
    (two_states / "state-00000008.pt").write_bytes(b"damaged")
    assert loaded_step(two_states) == 4
    save_state(two_states, 6, state_of(6), IDENTITY, best_of(3))
    (two_states / "state-00000006.pt").unlink()
    assert loaded_step(two_states) == 4


NAMES = ("state-00000008.json", "state-00000008.pt", "best-00000007.pt")


@pytest.fixture(scope="module")
def whole_states(tmp_path_factory):
    """The folder of two states, each with best weights of its own."""
    folder = tmp_path_factory.mktemp("whole")
    for step, best in ((4, 3), (8, 7)):
        save_state(folder, step, state_of(step), IDENTITY, best_of(best))
    return folder


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=100)
def test_whatever_bytes_of_a_state_are_cut_or_flipped_the_one_before_it_is_loaded(
    whole_states, tmp_path_factory, name, data
):
    folder, whole = tmp_path_factory.mktemp("states") / "states", (whole_states / name).read_bytes()
    shutil.copytree(whole_states, folder)
    content = bytearray(whole)
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="length") :]
    else:
        positions = st.integers(0, len(content) - 1)
        for position, mask in data.draw(
            st.lists(st.tuples(positions, st.integers(1, 255)), min_size=1, max_size=4),
            label="flips",
        ):
            content[position] ^= mask
    (folder / name).write_bytes(content)
    try:
        outcome = loaded_step(folder)
    except RunStateError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        # The flipped bytes are in what tells the run from others; that is said, and nothing is deleted.
        assert "another run" in outcome
        assert name.endswith(".json")
        assert names(folder) == names(whole_states)
    else:
        # Of the JSON file some bytes say nothing: the spaces, the number of the step.
        unhurt = content == whole or (name.endswith(".json") and still_says(content, whole))
        assert outcome == (8 if unhurt else 4)


def still_says(content, whole):
    try:
        found, expected = json.loads(content), json.loads(whole)
    except ValueError:
        return False
    return isinstance(found, dict) and all(
        found.get(name) == expected[name] for name in ("files", "identity")
    )


def test_a_copy_that_a_person_made_beside_a_state_is_passed_over(two_states):
    (two_states / "state-00000008 (1).json").write_text("{}", encoding="utf-8")
    assert loaded_step(two_states) == 8
