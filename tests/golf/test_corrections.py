"""What golfers said becomes training records; a line that cannot is kept aside with its number and the reason."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf_nb_utils.golf.corrections import append_correction, read_corrections, write_rejected
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.rules import Rule
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.prompt import format_feedback
from golf_nb_utils.settings import DataConfig

OUTCOMES = ("used", "thumb down without a correction", "double", "near to the test set", "rejected")
SCORES = {"balance": 0.45, "consistency": 0.91}
REQUEST = Request("balance", 0.45, 0.8, club="7-iron", level="beginner", all_scores=SCORES).text
# Three rules of our own, so that a new rule of the repository breaks no test here.
RULES = (
    Rule("no_slower", "A swing is not just slower.", never="swing slower", unless="never"),
    Rule("every_cue_a_question", "A cue asks.", always=r"\?"),
    Rule("degrees_stay_in_ideals", "An ideal names no degrees.", never="degrees", parts=("ideal",)),
)
BOM = b"\xef\xbb\xbf"
OURS = KnowledgeBase(sources={}, rules=RULES, topics=())


def answer(
    happening="You lean back a little at the finish.",
    to_do="1. Feet together.\n2. Hold the finish.",
):
    return format_feedback("The weight ends on the lead foot.", happening, to_do)


def line(**fields):
    """A line of the file with thumb up; a field set to None is left out."""
    given = {"input": REQUEST, "output": answer(), "thumb": "up"} | fields
    return json.dumps({name: value for name, value in given.items() if value is not None}).encode()


@pytest.fixture
def read(tmp_path):
    """A function that writes lines to a file and reads them."""

    def read_lines(*lines, knowledge=OURS, evaluation_answers=(), ending=b"\n"):
        path = tmp_path / "feedback.jsonl"
        path.write_bytes(ending.join(lines))
        return read_corrections(path, knowledge, list(evaluation_answers))

    return read_lines


def only(counts):
    """The outcomes that occurred."""
    assert set(counts) == set(OUTCOMES)
    return {name: count for name, count in counts.items() if count}


# Lines that are used.


def test_an_answer_with_thumb_up_becomes_a_record_that_says_where_it_comes_from(read):
    found = read(line())
    assert only(found.counts) == {"used": 1}
    (record,) = found.records
    assert (record.instruction, record.input, record.output) == (
        INSTRUCTIONS[0],
        REQUEST,
        answer(),
    )
    expected = {
        "area": "balance", "current_score": 0.45, "target_score": 0.8, "all_scores": SCORES, "severity": "large", "club": "7-iron",
        "level": "beginner", "handedness": "right", "audience": "adult", "items": [], "source": "user_feedback", "unseen_topic": False,
    }  # fmt: skip
    assert {name: record.meta[name] for name in expected} == expected


def test_a_record_of_a_golfer_has_the_fields_of_a_generated_one(read, tiny_records):
    (record,) = read(line()).records
    assert set(record.meta) == set(tiny_records["train"][0].meta)


def test_what_the_request_says_of_the_golfer_is_kept(read):
    request = Request("tempo_rhythm", 0.7, 0.8, handedness="left", audience="senior").text
    meta = read(line(input=request)).records[0].meta
    assert (meta["area"], meta["handedness"], meta["audience"], meta["severity"]) == (
        "tempo_rhythm",
        "left",
        "senior",
        "slight",
    )
    assert (meta["club"], meta["level"], meta["all_scores"]) == (None, None, None)


def test_a_golfers_words_and_what_they_mean_stay_in_the_record(read):
    request = Request(
        "balance", 0.45, 0.8, observation="did it all week, still on my heels", meaning="Falling onto the heels",
        tried="Step drill", minutes=15,
    ).text  # fmt: skip
    (record,) = read(line(input=request)).records
    assert record.input == request
    assert record.meta["meaning"] == "Falling onto the heels"
    assert read(line()).records[0].meta["meaning"] == ""
    # What the answer is about was drawn by nobody.
    assert {record.meta[name] for name in ("topic", "fault", "chain", "drill", "kind")} == {""}


@pytest.mark.parametrize("thumb", ["up", "down"])
def test_a_corrected_text_takes_the_place_of_the_answer_that_was_shown(read, thumb):
    corrected = answer("You lean back at the finish, as the video shows.")
    found = read(
        line(thumb=thumb, corrected=f"\n{corrected} \n", output="A rambling answer at 99.9%.")
    )
    assert only(found.counts) == {"used": 1}
    assert found.records[0].output == corrected


def test_a_line_may_bring_its_own_instruction_and_keys_of_the_app(read):
    found = read(line(instruction="Coach me.", user=7, when="today"))
    assert found.records[0].instruction == "Coach me."
    assert "user" not in found.records[0].meta


@pytest.mark.parametrize("corrected", ["", None])
def test_an_answer_with_thumb_down_and_no_correction_is_counted_and_left_out(read, corrected):
    fields = {"thumb": "down"} | ({"corrected": corrected} if corrected is not None else {})
    assert only(read(line(**fields)).counts) == {"thumb down without a correction": 1}
    assert only(
        read(
            json.dumps({"input": "x", "output": "y", "thumb": "down", "corrected": None}).encode()
        ).counts
    ) == {"thumb down without a correction": 1}


def test_a_text_that_is_there_already_is_used_once(read):
    other = Request("balance", 0.5, 0.8).text
    corrected = line(thumb="down", output="Shown.", corrected=answer())
    found = read(line(), corrected, line(user=7), line(input=other), line(output=f"{answer()}\n"))
    assert only(found.counts) == {"used": 2, "double": 3}
    assert [record.input for record in found.records] == [REQUEST, other]


LINE_ENDS = pytest.mark.parametrize("ending", ["\r\n", "\r", "\u2028", "\x85", "\x0b"], ids=ascii)


@LINE_ENDS
def test_a_text_with_other_line_ends_is_the_same_text(read, ending):
    def other(text):
        return text.replace("\n", ending)

    found = read(
        line(),
        line(output=other(answer()), input=other(REQUEST)),
        line(output="x", thumb="down", corrected=other(answer("You sway."))),
        line(output=answer("You sway.")),
    )
    assert only(found.counts) == {"used": 2, "double": 2}
    assert [one.output for one in found.records] == [answer(), answer("You sway.")]
    assert [one.input for one in found.records] == [REQUEST, REQUEST]


@LINE_ENDS
def test_a_correction_of_an_html_form_is_kept_with_the_line_ends_of_records(tmp_path, ending):
    path, request = tmp_path / "feedback.jsonl", {"instruction": "Help.", "input": REQUEST}
    better = answer("You sway.")
    kept = [
        append_correction(path, request, answer(), "up", corrected=text.replace("\n", ending))
        for text in (answer(), better)
    ]
    assert "corrected" not in kept[0]
    assert kept[1]["corrected"] == better
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(each) for each in lines] == kept


def test_a_text_near_to_the_test_set_is_left_out(read):
    shown, far = answer(), format_feedback("Something else.", "Nothing alike.", "1. Do that.")
    nearly = shown.replace("a little", "a bit")
    assert only(read(line(), evaluation_answers=[far]).counts) == {"used": 1}
    for held_out in ([shown], [nearly], [far, shown], [nearly, far]):
        found = read(line(), evaluation_answers=held_out)
        assert only(found.counts) == {"near to the test set": 1}
        assert found.records == ()


def test_a_correction_is_compared_with_the_test_set_and_not_what_was_shown(read):
    corrected = format_feedback("Something else.", "Nothing alike.", "1. Do that.")
    assert only(read(line(corrected=corrected), evaluation_answers=[answer()]).counts) == {
        "used": 1
    }
    assert only(read(line(corrected=corrected), evaluation_answers=[corrected]).counts) == {
        "near to the test set": 1
    }


# Lines that are rejected.

NOT_AN_OBJECT = {
    "a list": (b"[1, 2]", "expected an object, found list"),
    "a text": (b'"up"', "expected an object, found str"),
    "a number": (b"3", "expected an object, found int"),
    "null": (b"null", "expected an object, found NoneType"),
    "cut off": (line()[:-20], "not JSON"),
    "no JSON": (b"thumb: up", "not JSON"),
    "two objects": (line() + line(), "not JSON"),
    "not UTF-8": (line(user="Jos\u00e9").replace(b"\\u00e9", b"\xe9"), "not UTF-8"),
    "a number of five thousand digits": (b'{"input": ' + b"1" * 5000 + b"}", "not JSON"),
    "a byte order mark twice": (b"\xef\xbb\xbf\xef\xbb\xbf" + line(), "not JSON"),
    "nested deeper than the parser goes": (b"[" * 100_000, "not JSON"),
    "nested objects deeper than the parser goes": (b'{"a":' * 30_000, "not JSON"),
    "200,000 opening brackets": (b"[" * 200_000, "not JSON"),
    "a megabyte": (line(user=["x" * 10**6]), "bytes, expected 200,000 at most"),
}
WRONG_FIELDS = {
    **{
        f"{name} {value!r}": ({name: value}, f"needs a text in '{name}'")
        for name in ("input", "output") for value in (None, "", " \n", 5, [REQUEST], {"a": 1}, True)
    },
    **{
        f"thumb {value!r}": ({"thumb": value}, "needs `thumb` up or down")
        for value in (None, "", "UP", "sideways", 1, True, ["up"], {"up": 1})
    },
    **{
        f"{name} {value!r}": ({name: value}, "`corrected` and `instruction` are texts")
        for name in ("corrected", "instruction") for value in (5, False, ["text"], {"a": 1})
    },
    "blank correction": ({"thumb": "down", "corrected": "  \n"}, "occurs 0 times"),
    "no heading": ({"output": "Stand still."}, "WHAT SHOULD HAPPEN"),
    "a heading missing": ({"output": answer().replace("WHAT TO DO (Actionable Steps):", "To do:")}, "WHAT TO DO"),
    "an empty part": ({"output": answer(happening=" ")}, "nothing stands below the heading 'WHAT IS HAPPENING"),
    "a correction without headings": ({"corrected": "Stand still."}, "WHAT SHOULD HAPPEN"),
    "an unknown area": ({"input": REQUEST.replace("balance", "putting")}, "Area: putting"),
    "a text before the first heading": ({"output": f"Sure!\n\n{answer()}"}, "'Sure!' stands before the heading" ),
    "an instruction that is too long": ({"instruction": "Coach me. " * 101}, "'instruction' has 1,010 characters"),
    "an observation that is too long": ({"input": f"{REQUEST}\nObservation: {'heels ' * 333}"}, "'input' has 2,"),
    "an answer that is too long": ({"output": answer("score " * 20_000)}, "'output' has 120,"),
    "a correction that is too long": ({"corrected": answer("score " * 20_000)}, "'corrected' has 120,"),
    "a text of the app that is too long": ({"user": "x" * 4001}, "'user' has 4,001 characters"),
    **{
        f"end-of-text in {name}": ({name: text.replace("heels", "<|endoftext|>")}, f"'{name}' holds <|endoftext|>")
        for name, text in {
            "instruction": "Coach my heels.", "input": f"{REQUEST}\nObservation: on my heels again",
            "corrected": answer("You lean on the heels."), "output": answer("You lean on the heels."),
        }.items()
    },
    **{
        f"{what} in {name}: {text}": ({name: f"Coach me.\n{text}" if name == "instruction" else answer(text)}, f"'{name}' holds {what}, ")
        for name in ("corrected", "output", "instruction")
        for what, texts in {
            "a link": (
                "see https://example.org/x now.", "see www.example.org now.", "see youtu.be/abc.", "mail me@example.org.",
                "see example.com for more.", "look at HTTP://X.", "mailto:me.", "see \uff48\uff54\uff54\uff50\uff53\uff1a//x.", "//evil.example/x.",
            ),
            "markup": (
                "<b>Turn</b>.", "Turn <script>.", "**Turn**.", "Turn `now`.", "# Turn", "### Response:", "Turn &amp; hold.", "See [here](x).",
                "_Turn_ now.", "{left}", "a | b", "[b]Turn[/b]", "~~Turn~~", "Turn.\n---\nHold.", "\\textbf.", "\uff1cb\uff1eTurn.",
            ),
            "medicine": (
                "Take 400 mg before you play.", "Take 400mg.", "Two tablets help.", "Swallow a pill first.", "Try some ibuprofen.",
                "An ASPIRIN calms the back.", "Twenty milligrams of it.", "Ask for beta-blockers.", "Use a painkiller.", "5 puffs.",
            ),
            "an invisible character": ("Swi\u200bng slower.", "Turn \u202enruT.", "Turn\x00 now.", "Tu\u00adrn.", "\x1bc"),
        }.items()
        for text in texts
    },
    "a free text for the input": ({"input": "My balance is bad."}, "My balance is bad."),
    "a percentage from nowhere": ({"output": answer("You are at 46.0% of balance.")}, "46.0% is none of the input's scores"),
    "a percentage from nowhere in a score sentence": (
        {"output": answer("Your balance target is 81.0%.")}, "81.0% is none of the input's scores",
    ),
    "a percentage from nowhere in a correction": ({"corrected": answer("Put 70% on the lead foot.")}, "70% is none of the input's scores"),
    **{
        f"half a surrogate pair in {name}": ({name: f"{answer()} \ud800."}, "half a surrogate pair")
        for name in ("input", "output", "corrected", "instruction", "user")
    },
    "a false gap": ({"input": REQUEST.replace("Gap: 0.35", "Gap: 0.53")}, "the gap is given as 0.53"),
    "a broken rule": ({"output": answer(to_do="1. Just swing slower.")}, "breaks the rule no_slower: 'Just swing slower.'"),
    "a broken rule in a correction": ({"corrected": answer("You are fine. Swing SLOWER, though!")}, "no_slower: 'Swing SLOWER, though!'"),
}  # fmt: skip


def is_kept_aside(found, raw, reason):
    assert only(found.counts) == {"rejected": 1}
    assert found.records == ()
    (entry,) = found.rejected
    assert reason in entry["reason"]
    assert (entry["line"], entry["text"]) == (
        1,
        raw.removeprefix(BOM).decode("utf-8", errors="replace"),
    )


@pytest.mark.parametrize(("raw", "reason"), NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
def test_a_line_that_is_no_json_object_is_kept_aside_with_the_reason(read, raw, reason):
    is_kept_aside(read(raw), raw, reason)


@pytest.mark.parametrize(("fields", "reason"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_line_that_no_model_should_learn_from_is_kept_aside_with_the_reason(read, fields, reason):
    raw = line(**fields)
    is_kept_aside(read(raw), raw, reason)


@pytest.mark.parametrize(
    "happening",
    [
        "You are at 45.0% and should be at 80%.",
        "You lack 35.0%, and consistency is at 91%.",
        "Your balance target is 80.0%.",
        "Make 10 swings, 3 of them at 45.0%.",
        "Never swing slower on purpose.",
        "Turn by a few degrees more.",
        "You might lean back.",
    ],
)
def test_the_inputs_own_scores_other_numbers_and_what_a_rule_allows_are_fine(read, happening):
    assert only(read(line(output=answer(happening))).counts) == {"used": 1}


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("Turn until the chest faces the target.", None),
        ("Swing slower.", "tempo_not_just_slower"),
        ("Keep your head perfectly still.", "head_fairly_still"),
        ("Turn the shoulders 45 degrees.", "steps_without_targets_in_degrees"),
        ("Turn the shoulders 45 degrees at 45.0%.", "steps_without_targets_in_degrees"),
        # A score of the input is no figure of the golfer's own, wherever it is stated.
        ("Put 45.0% on the lead foot.", None),
        ("Put 45% on the lead foot, then 80% of it.", None),
    ],
)
def test_the_rules_of_the_repository_hold_for_what_golfers_write(read, knowledge, sentence, rule):
    found = read(line(corrected=answer(to_do=f"1. {sentence}")), knowledge=knowledge)
    if rule:
        assert rule in found.rejected[0]["reason"]
    else:
        assert only(found.counts) == {"used": 1}


def test_a_percentage_that_is_no_score_is_refused_before_any_rule(read, knowledge):
    found = read(
        line(corrected=answer(to_do="1. Put 46.0% on the lead foot.")), knowledge=knowledge
    )
    assert found.rejected[0]["reason"] == "46.0% is none of the input's scores"


def test_a_golfers_own_sentence_may_state_the_inputs_score(read, knowledge):
    assert only(read(line(output=answer("You are at 45.0% now.")), knowledge=knowledge).counts) == {
        "used": 1
    }


def test_every_generated_answer_with_thumb_up_is_used(read, knowledge):
    records = [
        record
        for rows in generate_records(knowledge, DataConfig(n_examples=120)).values()
        for record in rows
    ]
    found = read(
        *(line(input=record.input, output=record.output) for record in records),
        knowledge=knowledge,
    )
    assert found.rejected == ()
    assert only(found.counts) == {"used": len(records)}


def test_a_score_sentence_of_our_own_breaks_no_rule_on_percentages(read, knowledge):
    said = "Your current balance score is 45.0%, far below the target of 80.0%."
    assert only(read(line(output=answer(said)), knowledge=knowledge).counts) == {"used": 1}


@pytest.mark.parametrize(
    "happening",
    [
        "You lean back & stay there; hit ~10 balls with a 460cc driver, then rest.",
        "At the top-left, e.g. as in picture 2, you are on the heels (a little).",
        "The weight is back: look at the data: it never leaves.\n- This is seen often.",
        "Throw a medicine ball, or film it with a tablet; mind the pills of grass.",
        "Du stehst auf der Ferse, wie man h\u00e4ufig sieht \u2013 das ist n\u00fctzlich \U0001f44d.",
    ],
)
def test_plain_words_are_no_link_no_markup_and_no_medicine(read, happening):
    assert only(read(line(corrected=answer(happening))).counts) == {"used": 1}


def test_a_rule_is_kept_to_the_end_of_the_longest_sentence(read):
    long = answer(to_do=f"1. {'Turn and turn ' * 200} and swing slower.")
    assert "breaks the rule no_slower" in read(line(output=long)).rejected[0]["reason"]


def test_a_blank_instruction_is_none(read):
    assert read(line(instruction=" \n")).records[0].instruction == INSTRUCTIONS[0]


# Whole files.


def test_lines_are_numbered_as_an_editor_shows_them_and_empty_ones_are_skipped(read):
    found = read(b"", b"no", line(), b"  \t", b"\r", line(thumb="x"), b"", b"[]", b"")
    assert [entry["line"] for entry in found.rejected] == [2, 6, 8]
    assert only(found.counts) == {"used": 1, "rejected": 3}


def test_windows_line_ends_change_nothing(read):
    lines = (line(), b"", b"no", line(thumb="down"), line())
    unix, windows = read(*lines), read(*lines, ending=b"\r\n")
    assert windows.records == unix.records
    assert windows.counts == unix.counts
    assert [(entry["line"], entry["reason"]) for entry in windows.rejected] == [
        (entry["line"], entry["reason"]) for entry in unix.rejected
    ]


def test_a_byte_order_mark_does_not_cost_the_first_line(read):
    found = read(BOM + line(), b"no")
    assert only(found.counts) == {"used": 1, "rejected": 1}
    assert found.rejected[0]["line"] == 2
    assert only(read(BOM).counts) == {}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_that_powershell_wrote_is_called_by_its_encoding(tmp_path, encoding):
    path = tmp_path / "feedback.jsonl"
    text = "\ufeff" + "\r\n".join([line().decode()] * 2)
    path.write_bytes(text.encode(encoding))
    found = read_corrections(path, OURS, [])
    assert only(found.counts) == {"rejected": 1}
    (entry,) = found.rejected
    assert "feedback.jsonl is UTF-16" in entry["reason"]
    assert entry["text"] == text.removeprefix("\ufeff"), "nothing is lost"


def test_an_empty_file_has_no_records(read):
    found = read()
    assert (found.records, found.rejected, only(found.counts)) == ((), (), {})


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"feedback\.jsonl"):
        read_corrections(tmp_path / "feedback.jsonl", OURS, [])


HELD_OUT = format_feedback("Something else.", "Nothing alike.", "1. Do that.")
KINDS = {
    "used": line(),
    "thumb down without a correction": line(thumb="down"),
    "near to the test set": line(corrected=HELD_OUT),
    "rejected": b"{}",
    "": b" \r",
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=12))
def test_every_line_is_counted_once_and_as_what_it_is(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("feedback") / "feedback.jsonl"
    path.write_bytes(b"\n".join(KINDS[kind] for kind in kinds))
    found = read_corrections(path, OURS, [HELD_OUT])
    assert sum(found.counts.values()) == len([kind for kind in kinds if kind])
    for kind in ("rejected", "thumb down without a correction"):
        assert found.counts[kind] == kinds.count(kind)
    assert found.counts["used"] == len(found.records) == ("used" in kinds)
    assert found.counts["near to the test set"] >= ("near to the test set" in kinds)
    assert [entry["line"] for entry in found.rejected] == [
        number for number, kind in enumerate(kinds, 1) if kind == "rejected"
    ]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [line(), line()[:-1], b"{}", b'{"input": NaN}', BOM + line(), BOM + b"{}"]
            ),
        )
    )
)
def test_no_file_however_broken_stops_the_reading(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("feedback") / "feedback.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = read_corrections(path, OURS, [])
    # An editor's byte order mark is no part of the first line; anywhere else it is, and no JSON.
    written = [
        raw for raw in b"\n".join(lines).removeprefix(BOM).split(b"\n") if raw.strip(b" \t\r\v\f")
    ]
    assert sum(found.counts.values()) == len(written)
    assert len(found.rejected) == found.counts["rejected"]
    assert [entry["text"] for entry in found.rejected] == [
        raw.decode("utf-8", errors="replace") for raw in written if raw != line()
    ]


# The file of rejected lines.


def test_the_rejected_lines_are_written_one_a_line_with_their_number_reason_and_text(
    read, tmp_path
):
    shown = '{"input": "Größe"}'
    path = write_rejected(
        tmp_path / "rejected.jsonl", read(line(), shown.encode(), b"\xff\xfe", b'["a\\nb"]')
    )
    assert path == tmp_path / "rejected.jsonl"
    text = path.read_text(encoding="utf-8")
    assert [json.loads(row) for row in text.splitlines()] == [
        {"line": 2, "reason": "needs a text in 'output'", "text": shown},
        {"line": 3, "reason": "not UTF-8", "text": "\ufffd\ufffd"},
        {"line": 4, "reason": "expected an object, found list", "text": '["a\\nb"]'},
    ]
    assert "Größe" in text, "an umlaut stays readable"
    assert text.endswith("\n")


def test_a_mended_line_of_the_rejected_file_can_be_read_in_its_turn(read, tmp_path):
    path = write_rejected(tmp_path / "rejected.jsonl", read(line(thumb="upp")))
    (entry,) = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    assert only(read(entry["text"].replace('"upp"', '"up"').encode()).counts) == {"used": 1}


def test_a_file_without_rejected_lines_says_so_by_being_empty(read, tmp_path):
    path = write_rejected(tmp_path / "rejected.jsonl", read(line(), line(thumb="down")))
    assert path.read_bytes() == b""


# Lines that are written.

ENTRY = {"instruction": INSTRUCTIONS[2], "input": REQUEST}


def test_a_thumb_that_was_kept_is_a_record_of_the_next_round(tmp_path):
    path = tmp_path / "user_feedback" / "feedback.jsonl"
    append_correction(
        path, ENTRY, answer(), "up", generated_by="fine-tuned", model_sha256="ab" * 32
    )
    better = answer("You lean back a little; stand up to the finish.")
    append_correction(path, ENTRY, answer("You lean back."), "down", corrected=better)
    found = read_corrections(path, OURS, [])
    assert [(record.instruction, record.input, record.output) for record in found.records] == [
        (INSTRUCTIONS[2], REQUEST, answer()), (INSTRUCTIONS[2], REQUEST, better),
    ]  # fmt: skip


def test_a_line_says_which_model_answered_and_nothing_about_the_person(tmp_path):
    path = tmp_path / "feedback.jsonl"
    kept = append_correction(
        path, ENTRY, answer(), "up", generated_by="fine-tuned", model_sha256="ab" * 32
    )
    assert json.loads(path.read_text(encoding="utf-8")) == kept
    assert kept == {
        "schema_version": 1, "instruction": INSTRUCTIONS[2], "input": REQUEST, "output": answer(), "thumb": "up",
        "generated_by": "fine-tuned", "model_sha256": "ab" * 32,
    }  # fmt: skip


@pytest.mark.parametrize("corrected", [None, "", " \n", answer(), answer() + "\n"])
def test_a_correction_that_changes_nothing_is_none(tmp_path, corrected):
    assert "corrected" not in append_correction(
        tmp_path / "feedback.jsonl", ENTRY, answer(), "down", corrected=corrected
    )


def test_after_a_line_that_was_cut_off_the_next_one_stands_alone(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_bytes(line()[:40])
    append_correction(path, ENTRY, answer(), "up")
    assert only(read_corrections(path, OURS, []).counts) == {"used": 1, "rejected": 1}


def test_lines_written_at_the_same_time_stay_whole(tmp_path):
    path = tmp_path / "feedback.jsonl"
    texts = [
        answer(f"You lean back {'a little ' * 400}at finish {number}.") for number in range(60)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: append_correction(path, ENTRY, text, "up"), texts))
    # A reader passes over empty lines.
    written = [
        json.loads(raw)["output"] for raw in path.read_text(encoding="utf-8").split("\n") if raw
    ]
    assert sorted(written) == sorted(texts)


@pytest.mark.parametrize(
    ("thumb", "text", "named"),
    [
        ("sideways", answer(), "thumb"),
        ("up", "  ", "output"),
        ("up", "half \ud800", "surrogate"),
        ("up", answer("<|endoftext|>"), "'output' holds <|endoftext|>"),
        ("up", answer("See https://example.org."), "'output' holds a link"),
        ("down", "x" * 4001, "'output' has 4,001 characters, expected 4,000"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, thumb, text, named):
    with pytest.raises(ValueError, match=named):
        append_correction(tmp_path / "feedback.jsonl", ENTRY, text, thumb)
    assert not list(tmp_path.iterdir())
