"""The page as a browser sees it, the predictions read back, and two runs compared as text."""

import hashlib
import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import damaged
import pytest

from golf_nb_utils.__main__ import main
from golf_nb_utils.evaluation import judging
from golf_nb_utils.evaluation.changes import KINDS, measure_changes
from golf_nb_utils.evaluation.metrics import DIVERSITY, METRICS
from golf_nb_utils.files import ArtifactMismatchError, write_manifest
from golf_nb_utils.golf.checks import CHECKS
from golf_nb_utils.show import report

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)> & {braces}"
LOG = [
    {"epochs": 1},
    {
        "steps": 10,
        "tokens": 1000,
        "train_loss": 3.0,
        "val_loss": 3.5,
        "learning_rate": 0.1,
        "seconds": 1.0,
    },
    {
        "steps": 20,
        "tokens": 2000,
        "train_loss": 2.0,
        "val_loss": None,
        "learning_rate": 0.1,
        "seconds": 2.0,
    },
    {
        "steps": 30,
        "tokens": 3000,
        "train_loss": 1.5,
        "val_loss": 2.5,
        "learning_rate": 0.1,
        "seconds": 3.0,
    },
]


def judged(answer, failed=(), grounded=(4, 4), chrf=50.0, unsupported=(), perplexity=None):
    measures = {
        "verified": [int(not failed), 1],
        **{name: [int(name not in failed), 1] for name in CHECKS},
    }
    measures |= {
        "grounded_sentences": list(grounded),
        "tokens": [len(answer), 1],
        "chrf": [chrf, 1],
    }
    if perplexity:
        measures["perplexity"] = [math.log(perplexity) * 10, 10]
    unsupported = [
        {"text": text, "nearest": "say.score.1", "similarity": 0.75} for text in unsupported
    ]
    reasons = [f"The {name} is wrong." for name in failed]
    return judging.Judged(
        answer, not failed, list(failed), reasons, unsupported, [], "F1", "D1", measures
    )


def row(number, system, stratum="test", **texts):
    systems = {"base": judged("Noise.", ["headings"]), "fine-tuned": system}
    found = judging.JudgedRecord(stratum, "Coach.", f"request {number}", "Turn.", systems)
    return replace(found, **texts)


ROWS = [
    row(0, judged("Turn. Fly.", ["grounded"], (1, 2), unsupported=["Fly."], perplexity=2.0)),
    row(1, judged("Turn.", perplexity=2.0)),
    row(
        2,
        judged("Fly off.", ["grounded", "area"], (0, 1), unsupported=["Fly off."], perplexity=2.0),
    ),
    row(3, judged("Step.", chrf=80.0, perplexity=2.0)),
]


class Page(HTMLParser):
    """What a browser would see: tags, texts, marked texts and the addresses it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.marked, self.addresses, self.open = [], [], [], [], []
        self.unfolded = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if "details" not in self.open:
            self.unfolded.add(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "srcset", "data")
        ]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["mark"]:
            self.marked.append(data)
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


@pytest.fixture
def written(tmp_path):
    """A function that writes the report of some rows and returns what a browser would see of it."""

    def write(rows=ROWS, changes=None, manifest=None, log=None, title="Evaluation"):
        path = None
        if log is not None:
            path = tmp_path / "training_log.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in log))
        measured = judging.measure(rows, seed=7)
        evaluation = report.Evaluation(rows, measured, changes or {}, manifest or {"seed": 7}, path)
        whole = report.write_report(tmp_path / "report.html", title, "Four records.", evaluation)
        page = Page(whole.read_text(encoding="utf-8"))
        assert page.open == []
        return page

    return write


def test_the_report_shows_every_figure_with_its_interval(written):
    page = written()
    text = " ".join(page.texts)
    for metric in (
        "verified",
        *CHECKS,
        "grounded_sentences",
        "chrf",
        "perplexity",
        "tokens",
        *DIVERSITY,
    ):
        assert (METRICS | DIVERSITY)[metric].label in text
    # Two of four pass: Wilson's interval is 0.15 to 0.85 (prop.test(2, 4, correct = FALSE) in R).
    place = page.texts.index("On 4 test records, fine-tuned passes most often")
    assert [each for each in page.texts[place + 1 : place + 9] if each.strip()] == [
        "fine-tuned", "50%", "15 to 85%", "base", "0%", "0 to 49%",
    ]  # fmt: skip
    place = page.texts.index(METRICS["verified"].label, page.texts.index("All figures", place))
    assert page.texts[place + 1 : place + 5] == [
        "50.0%", "15.0% to 85.0%", "0.0%", "0.0% to 49.0%",
    ]  # fmt: skip
    # Every record has a perplexity of 2, and so has every resample; the base model has none.
    place = page.texts.index(METRICS["perplexity"].label)
    assert page.texts[place + 1 : place + 4] == ["2.000", "2.000 to 2.000", "-"]
    assert "10,000 resamples, seed 7" in text
    assert '"seed": 7' in text


def test_what_was_found_comes_first_then_the_contents_and_the_tables_last(written):
    unseen = [row(n, judged("Turn.", ["area"]), stratum="unseen") for n in (8, 9)]
    page = written(ROWS + unseen, changes={"fine-tuned": measure_changes([])}, log=LOG)
    found = next(text for text in page.texts if text.startswith("On 4 test records, "))
    # Two of four pass; "grounded" fails twice, every other check less often.
    assert found.split(". ") == [
        "On 4 test records, these shares of answers pass every check: fine-tuned 50.0%, base 0.0%",
        f"Of the {len(CHECKS)} checks, fine-tuned always passes {len(CHECKS) - 2}; the hardest, "
        f'passed in 50.0%, is "{CHECKS["grounded"]}"',
        "On 2 records on topics that training left out, 0.0% of its answers pass every check.",
    ]
    assert page.texts.index(found) < page.texts.index("Who passes") < page.texts.index("Training")
    assert page.tags.count("figure") + page.tags.count("img") <= 5
    # No table stands open, and no answer.
    assert page.unfolded.isdisjoint({"table", "article", "pre"})


def test_the_worst_answers_come_first_and_their_unsupported_sentences_are_marked(written):
    page = written()
    requests = [text for text in page.texts if text.startswith("request ") and text[-1].isdigit()]
    assert requests == [f"request {number}" for number in (2, 0, 1, 3, 3, 1, 0, 2)]
    assert page.marked == ["Fly off.", "Fly.", "Fly.", "Fly off."]
    assert page.texts.count("fails: grounded, area") == 2
    assert page.texts.count("passes every check") >= 4
    assert page.texts.count("The area is wrong.") == 2


def test_ten_answers_are_shown_of_the_worst_and_ten_of_the_best(written):
    rows = [row(number, judged("Turn.", chrf=float(number))) for number in range(30)]
    requests = [
        text for text in written(rows).texts if text.startswith("request ") and text[-1].isdigit()
    ]
    assert requests == [f"request {number}" for number in (*range(10), *range(29, 19, -1))]


def test_each_unsupported_sentence_is_marked_where_it_stands_with_what_comes_closest():
    spans = [
        {"text": "Fly <b>.", "nearest": None, "similarity": 0.0},
        {"text": "Fly.", "nearest": "BF1.steps.1", "similarity": 0.345},
    ]
    page = Page(report.mark_unsupported("Fly. Turn. Fly <b>. Fly. & more", spans))
    # The first "Fly." stands before the first unsupported sentence: it is another one.
    assert page.marked == ["Fly <b>.", "Fly."]
    assert "".join(page.texts) == (
        "Fly. Turn. Fly <b>. [without an origin] Fly. [without an origin; closest: BF1.steps.1, 34% alike] & more"
    )
    assert report.mark_unsupported(" \n", []) == "(nothing but blanks)"


def test_every_text_is_shown_as_text(written):
    hostile = replace(judged(ATTACK, ["area"], unsupported=[ATTACK]), reasons=[ATTACK])
    usual = written([row(0, judged("x", ["area"], unsupported=["x"]))])
    page = written(
        [row(0, hostile, input=ATTACK, reference=ATTACK)], title=ATTACK, manifest={"note": ATTACK}
    )
    assert page.tags == usual.tags
    # Title and heading; among the worst and among the best: input, reason, marked answer, reference.
    assert page.texts.count(ATTACK) == 2 + 2 * 4
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_the_page_needs_nothing_from_elsewhere(written):
    page = written(log=LOG)
    pictures = [address for address in page.addresses if not address.startswith("#part-")]
    assert len(pictures) == 1
    assert pictures[0].startswith("data:image/png;base64,iVBOR")
    assert "Training" in page.texts
    assert "Training" not in written(log=LOG[:1]).texts


def test_the_log_of_a_later_run_is_not_drawn_as_the_models(written):
    content = "".join(json.dumps(line) + "\n" for line in LOG).encode()
    own = {"log_sha256": hashlib.sha256(content).hexdigest()}
    assert "img" in written(log=LOG, manifest=own).tags
    page = written(log=[*LOG, LOG[-1]], manifest=own)
    assert "img" not in page.tags
    assert "training_log.jsonl is the log of a later run, not of the model's." in page.texts


def test_the_changed_requests_are_shown_for_each_system(written):
    changed = [{"kind": "club", "follows": True, "keeps": number > 0} for number in range(4)]
    page = written(changes={"fine-tuned": measure_changes(changed), "retrieval": {}})
    place = page.texts.index(KINDS["club"][0] + " ")
    assert page.texts[place + 1 : place + 13] == [
        "(4)", f"must: {KINDS['club'][1]}", f"keeps: {KINDS['club'][2]}", "100%", "51% to 100%", "75%", "30% to 95%", "75%", "30% to 95%",
        "-", "-", "-",
    ]  # fmt: skip


# predictions.jsonl


def test_predictions_are_read_back_as_they_were_written(tmp_path):
    rows = [row(0, judged("Zeile\neins\u2028zwei “hoch”")), row(1, judged("\x85\x1e"))]
    path = report.write_predictions(tmp_path / "new" / "predictions.jsonl", rows)
    assert path.read_text(encoding="utf-8").count("\n") == 2
    assert report.read_predictions(path) == rows
    assert report.read_predictions(path.parent) == rows


def test_a_line_of_predictions_may_hold_more_than_is_read(tmp_path):
    path = report.write_predictions(tmp_path / "predictions.jsonl", ROWS[:1])
    line = json.loads(path.read_text(encoding="utf-8"))
    assert list(line) == ["stratum", "instruction", "input", "reference", "systems", "group"]
    line["systems"]["base"]["note"] = line["note"] = "from another version"
    path.write_text(json.dumps(line) + "\n")
    assert report.read_predictions(path) == ROWS[:1]


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "3", "null", '"text"', '{"input": "x", "systems": {}}', '{"systems": []}',
        '{"stratum": "test", "instruction": "x", "input": "x", "reference": "x", "systems": {"base": {"answer": "x"}}}',
    ],
)  # fmt: skip
def test_a_line_that_is_none_of_an_evaluation_is_named(tmp_path, line):
    path = tmp_path / "predictions.jsonl"
    report.write_predictions(path, ROWS[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(
        ArtifactMismatchError, match=r"predictions\.jsonl:2: .* run notebook 04 again"
    ):
        report.read_predictions(tmp_path)


def test_the_predictions_are_those_of_the_manifest_beside_them(tmp_path):
    path = report.write_predictions(tmp_path / "predictions.jsonl", ROWS)
    page = tmp_path / "report.html"
    page.write_text("a page")
    write_manifest(tmp_path, "notebook 04", [path, page])
    # Somebody keeps the figures without the page, and an older run beside the new one.
    page.unlink()
    older = report.write_predictions(tmp_path / "round_1.jsonl", ROWS[:1])
    assert report.read_predictions(tmp_path) == report.read_predictions(path) == ROWS
    assert report.read_predictions(older) == ROWS[:1]
    path.write_bytes(path.read_bytes().replace(b"Turn.", b"Burn."))
    for named in (tmp_path, path):
        with pytest.raises(
            ArtifactMismatchError, match=r"predictions\.jsonl differs from manifest"
        ):
            report.read_predictions(named)
    write_manifest(tmp_path, "notebook 04", [])
    with pytest.raises(ArtifactMismatchError, match=r"manifest\.json lists no predictions\.jsonl"):
        report.read_predictions(tmp_path)


def test_damaged_predictions_are_one_sentence_with_file_and_line_or_can_be_compared(tmp_path):
    path = report.write_predictions(tmp_path / "predictions.jsonl", ROWS[:2])
    first, second = path.read_bytes().split(b"\n")[:2]
    values = damaged.values(json.loads(second))
    n_refused, read = 0, {}
    for found in [*damaged.texts(second), *(value.encode() for value in values)]:
        path.write_bytes(first + b"\n" + found + b"\n")
        said = damaged.refusal(ArtifactMismatchError, report.read_predictions, path)
        if said:
            assert said.startswith(f"{path}:")
            assert said.endswith("run notebook 04 again.")
            assert "\n" not in said
            n_refused += 1
        else:
            changed = report.read_predictions(path)
            read[str([one.measures for one in changed[-1].systems.values()])] = changed
    assert n_refused > 200
    assert len(read) > 20
    for changed in [*read.values()][::20]:
        report.comparison_table(judging.compare(ROWS[:2], changed, seed=1))
    path.write_bytes(b"\n")
    with pytest.raises(ArtifactMismatchError, match="holds no line"):
        report.read_predictions(path)


# Two runs.


def many(n_right, n=40):
    return [
        row(number, judged("Turn.", [] if number < n_right else ["area"])) for number in range(n)
    ]


def test_two_runs_are_compared_on_the_command_line(tmp_path, capsys):
    for name, n_right in {"a": 10, "b": 35}.items():
        report.write_predictions(tmp_path / name / "predictions.jsonl", many(n_right))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b" / "predictions.jsonl")]) == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [
        f"test, {name}: 40 prompts, the same in both" for name in ("base", "fine-tuned")
    ]
    lines = [line.split() for line in blocks[1].split("\n")[1:]]
    assert [line[:5] for line in lines[:2]] == [
        ["better", name, "25.0%", "->", "87.5%"] for name in ("verified", "area")
    ]
    assert lines[0][5] == "+62.5%"
    assert all(line[:3] == ["no", "clear", "difference"] for line in lines[2:])


def test_a_folder_without_predictions_is_refused(tmp_path, capsys):
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "predictions.jsonl" in capsys.readouterr().err


def test_runs_on_other_prompts_say_so_and_what_got_worse_is_called_worse():
    other = [replace(each, input="another " + each.input) for each in many(5, 30)]
    text = report.comparison_table(judging.compare(many(35), other, seed=1))
    assert "test, fine-tuned: 40 and 30 different prompts" in text
    assert [line.split()[:2] for line in text.split("\n") if line.startswith("  worse")] == [
        ["worse", "verified"],
        ["worse", "area"],
    ]


def test_runs_without_anything_in_common_say_so():
    assert report.comparison_table({}) == "The two runs have no stratum and system in common."
