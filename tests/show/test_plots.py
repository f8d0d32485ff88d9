"""The figures: they show the numbers they were given, and leave matplotlib's global state alone."""

import io
import json
from itertools import product

import damaged
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.answer import Entry
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.sentences import SentenceReader
from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.show import plots
from golf_nb_utils.training import memory
from golf_nb_utils.training.batches import collate
from golf_nb_utils.training.history import History
from golf_nb_utils.training.memory import MemoryPlan

AREAS = (
    "setup_quality",
    "tempo_rhythm",
    "weight_shift",
    "body_rotation",
    "followthrough",
    "balance",
)
LEVELS = ("beginner", "intermediate", "advanced")
CLUBS = ("driver", "wood", "iron", "wedge", "putter")
ANSWER = (
    "WHAT SHOULD HAPPEN (Ideal/Expected):\nStand tall. You aim for 80.0%.\n\n"
    "WHAT TO DO (Actionable Steps):\n1. Stand tall."
)
ORIGINS = [
    ["Stand tall.", "tall.A.ideal.1", "tall.md:7", "PGA"],
    ["You aim for 80.0%.", "say.target.3", "wording.py", "the request"],
    ["Stand tall.", "tall.A.steps.1", "tall.md:9", ""],
]


def history():
    return History(
        steps=[10, 20], tokens=[3000, 6000], train_loss=[2.5, 1.25], val_loss=[2.6, 1.5],
        learning_rate=[1e-3, 1e-3], seconds=[40.0, 80.0], n_planned=50, n_steps=20, n_tokens=6000, phases={"training": 80.0},
    )  # fmt: skip


# Token ids and how many of them are the prompt.
ROWS = [([5, 6, 7, 8, 9, 0], 3), ([5, 6, 7, 0], 2)]
PARTS = dict.fromkeys(memory.PARTS, 2**28)


def reading(text):
    return SentenceReader({"a.steps.1": Entry("Go.", "Go.")}).read(
        text, Request("balance", 0.5, 0.8)
    )


def pairs(cell, by_severity=(2, 0, 1)):
    """Pairs for every case: `cell(area, club, level)` of the places in their lists, and on top what a severity adds."""
    return {
        (area, severity, level, club): cell(AREAS.index(area), CLUBS.index(club), LEVELS.index(level)) + more
        for area, (severity, more), level, club in product(
            AREAS, zip(("slight", "clear", "large"), by_severity, strict=True), LEVELS, CLUBS
        )
    }  # fmt: skip


COUNTS = {
    "small": {"embedding": 300, "attention": 100, "MLP": 500, "norms": 100},
    "medium": {"embedding": 2_000, "attention": 1_000, "MLP": 1_000, "norms": 0},
    "large": {"embedding": 1_000_000, "attention": 4_000_000, "MLP": 4_000_000, "norms": 1_000_000},
}
LOGITS = np.array([[0.0, 1.0, 2.0], [-1.0, 0.5, 3.0]])
CONVERSIONS = {"right": LOGITS + 0.0004, "wrong": -LOGITS}
MISTAKES = {"nothing wrong": 0.001, "rounded": 0.05, "a swap": 0.5}

SHARES = {
    "found": (0.75, 0.6, 0.8, 40),
    "wrong": (0.05, 0.0, 0.1, 40),
    "false_alarm": (0.5, 0.2, 0.8, 4),
}
FIGURES = {
    "origins": lambda: plots.plot_origins("i tip over", ANSWER, ORIGINS),
    "coverage": lambda: plots.plot_coverage(pairs(lambda area, club, level: area + club + level)),
    "kinds": lambda: plots.plot_kinds({"fault": 3, "keep": 1}),
    "nearest": lambda: plots.plot_nearest({"val": [0.5, 0.6], "test": [0.7, 0.9]}, 0.8),
    "nearest without test answers": lambda: plots.plot_nearest({"val": [], "test": []}, 0.8),
    "nearest without a held-out set": lambda: plots.plot_nearest({}, 0.8),
    "certainty": lambda: plots.plot_certainty(90),
    "certainty without a test set": lambda: plots.plot_certainty(0),
    "heard": lambda: plots.plot_heard({"fern": SHARES}, 0.75),
    "understood": lambda: plots.plot_understood({0.0: SHARES, 0.5: SHARES}, 0.5),
    "parameters": lambda: plots.plot_parameters(COUNTS),
    "logits": lambda: plots.plot_logits(LOGITS, CONVERSIONS, "tiny"),
    "mistakes": lambda: plots.plot_mistakes(MISTAKES, 0.1),
    "mistakes of a model that is compared with itself": lambda: plots.plot_mistakes(
        {"nothing wrong": 0.0, "a swap": 0.5}, 0.1
    ),
    "batch": lambda: plots.plot_batch(ROWS, collate(ROWS, 0, "all")[1]),
    "gradients": lambda: plots.plot_gradients(np.float32([1e-9, 1e-3, 0.0]), 65536.0),
    "memory": lambda: plots.plot_memory({("tiny", ""): MemoryPlan({"end": PARTS})}, 2**30),
    "samples": lambda: plots.plot_samples({0: reading("Go."), 5: reading("")}, {0: 7.5}),
    "losses": lambda: plots.plot_losses(history()),
    "losses before the first evaluation": lambda: plots.plot_losses(History()),
    "intervals": lambda: plots.plot_intervals(
        {"test": {"base": {"verified": {"value": 0.5, "low": 0.2, "high": 0.8}}}}
    ),
    "understood by": lambda: plots.plot_understood_by(
        {"reader": dict.fromkeys(("found", "wrong", "false_alarm"), (0.5, 0.2, 0.8, 9))}
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_can_be_saved_and_leaves_no_trace_in_pyplot(name, monkeypatch):
    monkeypatch.setattr(
        plt, "figure", lambda *args, **kwargs: pytest.fail("pyplot was asked for a figure")
    )
    settings, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    figure = FIGURES[name]()
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        assert buffer.getvalue().startswith(magic)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings
    assert matplotlib.get_backend() == backend


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_words_for_whoever_does_not_see_it(name):
    words = plots.describe(FIGURES[name]())
    assert len(words) > 15
    assert "\n" not in words


def texts_of(axis):
    return [text.get_text() for text in axis.texts]


def test_the_card_names_the_line_and_the_source_beside_each_sentence_or_the_request():
    (axis,) = plots.plot_origins("i tip over", ANSWER, ORIGINS).axes
    assert texts_of(axis) == [
        "\u201ci tip over\u201d",
        "What should happen",
        "Stand tall.", "tall, line 7\nPGA",
        "You aim for 80.0%.", "the request",
        "What to do",
        "Stand tall.", "tall, line 9\n",
    ]  # fmt: skip
    # What the request fills in has a hatched bar, so that no colour is needed to tell it.
    assert [bool(bar.get_hatch()) for bar in axis.patches] == [False, True, False]
    tops = [text.get_position()[1] for text in axis.texts]
    assert tops == sorted(tops)


def test_a_bar_of_the_coverage_is_the_golfer_with_the_fewest_pairs():
    figure = plots.plot_coverage(pairs(lambda area, club, level: 100 * area + 10 * club + level))
    (axis,) = figure.axes
    swings, putts = axis.containers
    assert [bar.get_width() for bar in swings] == [0, 100, 200, 300, 400, 500]
    # The putter is the fifth club.
    assert [bar.get_width() for bar in putts] == [40, 140, 240, 340, 440, 540]
    assert texts_of(axis) == [str(bar.get_width()) for bar in (*swings, *putts)]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "setup", "tempo and rhythm", "weight shift", "body rotation", "follow-through", "balance",
    ]  # fmt: skip
    # One area, level, club and two of three severities have none: with the driver, see `pairs`.
    assert figure.get_suptitle() == "Without an answer: 1 kinds of golfer"
    figure = plots.plot_coverage(pairs(lambda area, club, level: 7 + area))
    assert "At least 7 ways" in figure.get_suptitle()


def test_the_title_tells_how_many_records_diagnose_nothing():
    figure = plots.plot_kinds({"keep": 2, "follow_up": 1, "fault": 5})
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [5, 1, 2]
    assert "25%" in figure.get_suptitle()


def test_a_box_reaches_from_the_furthest_held_out_answer_to_the_nearest_and_the_bar_is_marked():
    figure = plots.plot_nearest({"val": [0.3, 0.5, 0.7], "test": [], "unseen": [0.2, 0.4]}, 0.8)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["val", "unseen"]
    ends = {round(float(x), 2) for line in axis.lines for x in line.get_xdata()}
    assert {0.3, 0.5, 0.7, 0.2, 0.4, 0.8} <= ends
    assert "No held-out answer is a near copy" in figure.get_suptitle()
    near = plots.plot_nearest({"val": [0.3, 0.81], "test": [0.8]}, 0.8)
    assert "2 held-out answers" in near.get_suptitle()


def test_what_a_share_of_few_groups_can_mean_is_in_the_title():
    # Wilson's interval of 72 of 90: prop.test(72, 90, correct = FALSE) in R gives 0.706 and 0.869.
    figure = plots.plot_certainty(90)
    assert figure.get_suptitle() == "80% right in 90 groups means 71% to 87%"


def test_the_three_parts_of_a_bar_of_what_was_heard_make_all_of_it():
    figure = plots.plot_heard({"fern": SHARES, "nettle": SHARES}, 0.75)
    (axis,) = figure.axes
    found, silent, wrong = axis.containers
    for parts in zip(found, silent, wrong, strict=True):
        assert [part.get_width() for part in parts] == pytest.approx([0.75, 0.2, 0.05])
        assert parts[2].get_x() == pytest.approx(0.95)
    assert "75% understood" in figure.get_suptitle()


def test_the_shares_are_told_at_the_probability_that_the_coach_uses():
    other = {name: (0.1, 0.0, 0.2, 40) for name in SHARES}
    figure = plots.plot_understood({0.0: other, 0.5: SHARES, 0.9: other}, 0.5)
    drawn = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert drawn["found"] == [0.1, 0.75, 0.1]
    assert drawn["false alarm"] == [0.1, 0.5, 0.1]
    assert figure.get_suptitle() == "At 50% the coach finds 75% and errs in 5%"


def test_a_models_parts_fill_its_bar_and_the_title_has_the_least_and_the_largest_share():
    figure = plots.plot_parameters(COUNTS)
    (axis,) = figure.axes
    drawn = {
        part.get_label(): [(patch.get_x(), patch.get_width()) for patch in part]
        for part in axis.containers
    }
    expected = {
        "embedding": [(0, 0.3), (0, 0.5), (0, 0.1)],
        "attention": [(0.3, 0.1), (0.5, 0.25), (0.1, 0.4)],
        "MLP": [(0.4, 0.5), (0.75, 0.25), (0.5, 0.4)],
        "norms": [(0.9, 0.1), (1, 0), (0.9, 0.1)],
    }
    assert list(drawn) == list(expected)
    for part, bars in expected.items():
        np.testing.assert_allclose(drawn[part], bars, atol=1e-12)
    assert figure.get_suptitle() == "embedding: 10% of large to 50% of medium"
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["small\n0.0 M", "medium\n0.0 M", "large\n10.0 M"]


def test_each_conversion_is_drawn_against_what_is_expected_with_its_largest_difference():
    right, wrong = plots.plot_logits(LOGITS, CONVERSIONS, "tiny").axes
    assert right.get_title() == "right\nlargest difference\n0.0004"
    assert wrong.get_title() == "wrong\nlargest difference\n6"
    for axis, logits in ((right, LOGITS + 0.0004), (wrong, -LOGITS)):
        (dots,) = axis.collections
        np.testing.assert_allclose(
            dots.get_offsets(), np.stack([LOGITS.ravel(), logits.ravel()], axis=1)
        )


def test_of_many_logits_some_are_drawn_and_all_are_compared():
    expected = np.zeros((100, 900))
    off = expected.copy()
    off[0, 1] = 7  # between two that are drawn
    figure = plots.plot_logits(expected, {"right": expected, "wrong": off}, "124M")
    (dots,) = figure.axes[1].collections
    assert len(dots.get_offsets()) < 5000
    assert not dots.get_offsets()[:, 1].any()
    assert figure.axes[1].get_title().endswith("7")


def test_a_mistake_above_the_bound_is_noticed_and_has_another_mark():
    figure = plots.plot_mistakes(MISTAKES, 0.1)
    (axis,) = figure.axes
    marks = {
        line.get_xdata()[0]: line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1
    }
    assert marks == {0.001: "o", 0.05: "o", 0.5: "X"}
    assert figure.get_suptitle() == "The number notices 1 of 2 silent mistakes"
    assert [text.get_text() for text in axis.texts] == ["0.001", "0.05", "0.5"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("parameters", ("large: embedding 10%", "medium: embedding 50%")),
        ("logits", ("right 0.0004", "wrong 6")),
        ("mistakes", ("nothing wrong 0.001", "a swap 0.5", "bound is 0.1")),
    ],
)
def test_a_figure_of_notebook_02_says_its_numbers_in_words(name, said):
    words = plots.describe(FIGURES[name]())
    for part in said:
        assert part in words


def test_both_losses_are_drawn_over_the_steps_on_a_log_scale_and_the_title_is_the_finding():
    figure = plots.plot_losses(history())
    (axis,) = figure.axes
    assert axis.get_yscale() == "log"
    assert figure.get_suptitle() == "Validation loss: 2.60 before, 1.50 at best"
    drawn = {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines
    }
    assert drawn == {"train": ([10, 20], [2.5, 1.25]), "validation": ([10, 20], [2.6, 1.5])}


def test_a_row_of_the_batch_is_cut_where_the_loss_begins_and_ends():
    # The first row: two positions whose target is still the prompt, then three of the answer. The second: one, two, and
    # two of padding.
    _, targets = collate(ROWS, 0, "response")
    figure = plots.plot_batch(ROWS, targets)
    (axis,) = figure.axes
    drawn = [
        (round(p.get_y() + p.get_height() / 2), p.get_x(), p.get_width()) for p in axis.patches
    ]
    assert drawn == [(0, 0, 2), (0, 2, 3), (0, 5, 0), (1, 0, 1), (1, 1, 2), (1, 3, 2)]
    assert axis.get_title(loc="left") == "The loss looks at 5 of 10 positions"


def test_the_gradients_that_fp16_drops_are_those_that_torch_rounds_to_0():
    gradients = np.geomspace(1e-13, 1e-2, 400, dtype=np.float32)
    dropped = [
        float((torch.from_numpy(gradients * factor).half() == 0).float().mean())
        for factor in (1, 65536)
    ]
    figure = plots.plot_gradients(np.append(-gradients, np.float32(0)), 65536.0)
    assert (
        figure.get_suptitle()
        == f"FP16 drops {dropped[0]:.0%} of these gradients, scaled {dropped[1]:.0%}"
    )
    heights = [sum(patch.get_height() for patch in axis.containers[0]) for axis in figure.axes]
    assert heights == pytest.approx([1, 1])


def test_the_memory_of_each_plan_adds_up_and_is_set_against_the_device():
    plans = {
        ("S", ""): MemoryPlan({"end": PARTS}),
        ("L", "recomputing"): MemoryPlan({"end": PARTS}),
    }
    plans["L", ""] = MemoryPlan({"start": PARTS, "end": PARTS | {"weights": 2**31}})
    figure = plots.plot_memory(plans, 2 * 2**30)
    (axis,) = figure.axes
    ends = {}
    for bar in axis.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = max(ends.get(row, 0), bar.get_x() + bar.get_width())
    # Seven parts of a quarter, of which one is 2 GiB in the last plan.
    assert list(ends.values()) == pytest.approx([1.75, 1.75, 3.5])
    assert [text.get_text() for text in axis.texts] == ["1.8, fits", "1.8, fits", "3.5, too much"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["S", "L\nrecomputing", "L"]
    assert figure.get_suptitle() == "S fit into 2.0 GiB as they are"


def test_the_sentences_of_each_sample_are_marked_and_counted():
    first = reading(f"{HEADINGS['what_to_do']}\n1. Go. No.\n2. Go.")
    samples = {0: first, 30: reading("Go."), 40: reading("###\n1.")}
    figure = plots.plot_samples(samples, {0: 7.456}, most=3)
    assert [text.get_text() for text in figure.axes[0].texts[:-1]] == [
        "Step 0, loss 7.46: 2 of 3 sentences known", "", HEADINGS["what_to_do"], "\u2713", "Go.", "\u2717", "No.",
        "Step 30: 1 of 1 sentences known", "\u2713", "Go.",
        "Step 40: no sentence yet", "\u2717", "###", "\u2717", "1.",
    ]  # fmt: skip
    assert "Step 30: 1 of 1 sentences known" in figure.get_label()


def test_headless_losses_are_one_line_an_evaluation(capsys):
    plots.LiveLosses()(history())
    # 80 s for 20 of 50 steps leave 120 s; 6000 tokens in 80 s.
    line = " ".join(capsys.readouterr().out.split())
    assert line == "step 20/50 train 1.250 validation 1.500 75 tokens/s 2 min 00 s left"


def test_watched_losses_redraw_the_plot_in_its_place(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", figure))

    def display(figure, display_id):
        assert display_id
        shown.append(("display", figure))
        return Handle()

    monkeypatch.setattr(plots, "is_headless", lambda: False)
    monkeypatch.setattr(plots, "display", display)
    live = plots.LiveLosses()
    for _ in range(3):
        live(history())
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert all(figure.axes for _, figure in shown)


def test_the_losses_of_a_log_are_drawn_without_what_was_not_finite(tmp_path):
    # The first is before training: a point of the curve, and not the best.
    losses = [(0, 4.0, 2.0), (10, 3.0, 3.5), (20, 2.0, None), (30, 1.5, 2.5)]
    rows = [
        {"steps": step, "tokens": 100 * step, "train_loss": train, "val_loss": val, "learning_rate": 0.1, "seconds": 1.0}
        for step, train, val in losses
    ]  # fmt: skip
    path = tmp_path / "training_log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"epochs": 1}, *rows)))
    train, validation, best = plots.plot_log(path).axes[0].lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == (
        [0, 10, 20, 30],
        [4.0, 3.0, 2.0, 1.5],
    )
    assert [value for value in validation.get_ydata() if value == value] == [2.0, 3.5, 2.5]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([30], [2.5])


def test_a_damaged_log_is_one_sentence_with_file_and_line(tmp_path):
    row = {"steps": 10, "tokens": 100, "train_loss": 3.0, "val_loss": None, "learning_rate": 0.1}
    path = tmp_path / "training_log.jsonl"
    good = json.dumps(row).encode()
    for found in [*damaged.texts(good), *(value.encode() for value in damaged.values(row))]:
        path.write_bytes(b"{}\n" + good + b"\n" + found + b"\n")
        said = damaged.refusal(ArtifactMismatchError, plots.plot_log, path)
        if said:
            assert said == f"{path}:3: not a line of a training log; run notebook 03 again."
        else:
            assert plots.plot_log(path).axes
    with pytest.raises(MissingArtifactError, match="run notebook 03 first"):
        plots.plot_log(tmp_path / "nowhere.jsonl")


def test_each_share_is_drawn_with_its_interval_in_the_panel_of_its_stratum():
    # Wilson's intervals of two and of three of four: prop.test(2, 4, correct = FALSE) in R.
    half = {"value": 0.5, "low": 0.1500390, "high": 0.8499610}
    three = {"value": 0.75, "low": 0.3006418, "high": 0.9544127}
    strata = {
        "test": {"base": {"area": half}, "fine-tuned": {"verified": half, "area": three}},
        "unseen": {"base": {}, "fine-tuned": {"verified": three}},
    }
    figure = plots.plot_intervals(strata, ("verified", "area"))
    assert [axis.get_title() for axis in figure.axes] == ["test", "unseen"]
    containers = figure.axes[0].containers
    assert [container.get_label() for container in containers] == ["base", "fine-tuned"]
    values, _, (bars,) = containers[1].lines
    assert list(values.get_xdata()) == [0.5, 0.75]
    assert [tuple(ends[:, 0]) for ends in bars.get_segments()] == [
        pytest.approx((one["low"], one["high"])) for one in (half, three)
    ]
    # What a system lacks leaves its row empty: the base model has a mark beside the second name only.
    assert [round(row) for row in containers[0].lines[0].get_ydata()] == [1]
    # A mark of its own as well as a colour.
    assert len({container.lines[0].get_marker() for container in containers}) == 2
    assert figure.get_suptitle().replace("\n", " ") == "Every check is passed by 50% of fine-tuned"


def test_the_title_says_how_many_faults_each_reader_finds():
    read = {
        reader: {"found": (share, 0, 1, 9), "wrong": (0.1, 0, 1, 9), "false_alarm": (0.2, 0, 1, 9)}
        for reader, share in (("reader", 0.86), ("model", 0.0))
    }
    figure = plots.plot_understood_by(read)
    assert figure.get_suptitle().replace("\n", " ").endswith("words: reader 86%, model 0%")
    (values, *_), _ = (container.lines for container in figure.axes[0].containers)
    assert list(values.get_xdata()) == [0.86, 0.1, 0.2]
