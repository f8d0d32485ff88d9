"""The figures: they show the numbers they were given, and leave matplotlib's global state alone."""

import io
import json
from itertools import product

import damaged
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from golf_nb_utils.files import ArtifactMismatchError, MissingArtifactError
from golf_nb_utils.golf.records import Record
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.settings import GPTConfig
from golf_nb_utils.show import plots
from golf_nb_utils.training.history import History

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


def record(area, severity, current, target):
    meta = {"area": area, "severity": severity, "current_score": current, "target_score": target}
    return Record("Coach.", "", "", meta)


RECORDS = [
    record("balance", "clear", 0.55, 0.8), record("balance", "clear", 0.6, 0.8), record("balance", "none", 0.9, 0.85),
    record("setup_quality", "large", 0.2, 0.7),
]  # fmt: skip


def history():
    return History(
        steps=[10, 20], tokens=[3000, 6000], train_loss=[2.5, 1.25], val_loss=[2.6, 1.5],
        learning_rate=[1e-3, 1e-3], seconds=[40.0, 80.0], n_planned=50, n_steps=20, n_tokens=6000, phases={"training": 80.0},
    )  # fmt: skip


def pairs(cell, by_severity=(2, 0, 1)):
    """Pairs for every case: `cell(area, club, level)` of the places in their lists, and on top what a severity adds."""
    return {
        (area, severity, level, club): cell(AREAS.index(area), CLUBS.index(club), LEVELS.index(level)) + more
        for area, (severity, more), level, club in product(
            AREAS, zip(("slight", "clear", "large"), by_severity, strict=True), LEVELS, CLUBS
        )
    }  # fmt: skip


FIGURES = {
    "records": lambda: plots.plot_records(RECORDS),
    "coverage": lambda: plots.plot_coverage(pairs(lambda area, club, level: area + club + level)),
    "coverage of nothing": lambda: plots.plot_coverage(
        pairs(lambda area, club, level: 0, (0, 0, 0))
    ),
    "nearest": lambda: plots.plot_nearest({"val": [0.5, 0.6], "test": [0.7, 0.9]}, 0.8),
    "nearest without test answers": lambda: plots.plot_nearest({"val": [], "test": []}, 0.8),
    "nearest without a held-out set": lambda: plots.plot_nearest({}, 0.8),
    "token lengths": lambda: plots.plot_token_lengths({"train": [50, 60, 70], "val": [55]}, 1024),
    "parameters": lambda: plots.plot_parameters({"embedding": 524_288, "attention": 100}),
    "weight scales": lambda: plots.plot_weight_scales(
        GPTModel(GPTConfig(n_vocab=5, n_ctx=4, n_embd=4, n_head=2, n_layer=2))
    ),
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


def test_the_records_are_counted_by_area_and_severity():
    bars, cloud = plots.plot_records(RECORDS).axes
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names == [
        "setup",
        "tempo and rhythm",
        "weight shift",
        "body rotation",
        "follow-through",
        "balance",
    ]
    found = {
        container.get_label(): {
            name: patch.get_width()
            for name, patch in zip(names, container, strict=True)
            if patch.get_width()
        }
        for container in bars.containers
    }
    assert found == {
        "none": {"balance": 1},
        "slight": {},
        "clear": {"balance": 2},
        "large": {"setup": 1},
    }
    # Stacked, not drawn over each other: clear begins where none ends.
    assert [patch.get_x() for patch in bars.containers[2]][-1] == 1
    points = sorted(
        tuple(point) for dots in cloud.collections for point in dots.get_offsets().tolist()
    )
    assert points == [(0.2, 0.7), (0.55, 0.8), (0.6, 0.8), (0.9, 0.85)]


def test_a_cell_of_the_coverage_is_the_pairs_at_the_severity_with_the_fewest():
    (axis,) = plots.plot_coverage(
        pairs(lambda area, club, level: 100 * area + 10 * club + level)
    ).axes
    drawn = {text.get_position(): text.get_text() for text in axis.texts}
    places = product(range(6), range(5), range(3))
    assert drawn == {
        (3 * club + level, area): str(100 * area + 10 * club + level)
        for area, club, level in places
    }
    (image,) = axis.images
    for (column, row), value in drawn.items():
        assert image.get_array()[row][column] == int(value)


def test_the_coverage_names_areas_levels_and_clubs():
    (axis,) = plots.plot_coverage(pairs(lambda area, club, level: 1)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "setup", "tempo and rhythm", "weight shift", "body rotation", "follow-through", "balance",
    ]  # fmt: skip
    assert [label.get_text() for label in axis.get_xticklabels()] == list(LEVELS) * 5
    (upper,) = axis.child_axes
    # A club stands over the middle one of its three levels.
    assert list(zip(upper.get_xticks(), (label.get_text() for label in upper.get_xticklabels()), strict=True)) == [
        (1, "driver"), (4, "wood"), (7, "iron"), (10, "wedge"), (13, "putter"),
    ]  # fmt: skip


def test_the_numbers_of_the_coverage_can_be_read_on_dark_and_on_light_cells():
    (axis,) = plots.plot_coverage(pairs(lambda area, club, level: 10 * (area == 0), (0, 0, 0))).axes
    assert {(text.get_text(), text.get_color()) for text in axis.texts} == {
        ("10", "white"),
        ("0", "black"),
    }


def test_held_out_answers_are_counted_by_how_near_training_comes_and_the_bar_is_marked():
    (axis,) = plots.plot_nearest(
        {"val": [0.51, 0.51, 0.83], "test": [0.31], "unseen": [1.0]}, 0.8
    ).axes
    labels = {
        text.get_text(): handle
        for handle, text in zip(
            axis.get_legend().legend_handles, axis.get_legend().get_texts(), strict=True
        )
    }
    assert set(labels) == {"val", "test", "unseen", "near duplicate"}
    names = {labels[name].get_facecolor(): name for name in ("val", "test", "unseen")}
    drawn = {}
    for container in axis.containers:
        # Fifty bins of two hundredths.
        assert len(container) == 50
        heights = {2 * place / 100: patch.get_height() for place, patch in enumerate(container)}
        drawn[names[container[0].get_facecolor()]] = {
            edge: height for edge, height in heights.items() if height
        }
    assert drawn == {"val": {0.5: 2, 0.82: 1}, "test": {0.3: 1}, "unseen": {0.98: 1}}
    (line,) = axis.lines
    assert list(line.get_xdata()) == [0.8, 0.8]


def test_the_longest_record_is_marked_and_set_against_the_context():
    (axis,) = plots.plot_token_lengths({"train": [50, 60, 70], "val": [55]}, 1024).axes
    (line,) = axis.lines
    assert list(line.get_xdata()) == [70, 70]
    assert "70 of 1,024 tokens" in axis.get_title()
    assert {"train", "val"} <= {text.get_text() for text in axis.get_legend().get_texts()}


def test_the_bars_of_parameters_are_labelled_with_their_counts():
    (axis,) = plots.plot_parameters({"embedding": 524_288, "attention": 100}).axes
    assert [patch.get_width() for patch in axis.patches] == [524_288, 100]
    assert {"524,288", "100"} <= {text.get_text() for text in axis.texts}
    assert "524,388" in axis.get_title()


@pytest.mark.parametrize("n_layer", [2, 12])
def test_each_kind_of_matrix_is_a_line_with_the_root_mean_square_of_each_layer(
    random_model, n_layer
):
    model = random_model(GPTConfig(n_vocab=5, n_ctx=4, n_embd=8, n_head=2, n_layer=n_layer))
    (axis,) = plots.plot_weight_scales(model).axes
    kinds = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert {text.get_text() for text in axis.get_legend().get_texts()} == set(kinds)
    drawn = {line.get_label(): line for line in axis.lines}
    assert len(axis.lines) == 4
    assert len({line.get_color() for line in axis.lines}) == 4
    weights = model.state_dict()
    for kind in kinds:
        matrices = [
            weights[f"h.{layer}.{kind}.weight"].numpy().astype(np.float64)
            for layer in range(n_layer)
        ]
        assert list(drawn[kind].get_xdata()) == list(range(n_layer))
        np.testing.assert_allclose(
            drawn[kind].get_ydata(), [np.sqrt(np.mean(matrix**2)) for matrix in matrices], rtol=1e-5
        )
    # A layer is no fraction, and a scale is seen from nothing on.
    assert all(float(tick).is_integer() for tick in axis.get_xticks())
    assert axis.get_ylim()[0] == 0


def test_both_losses_are_drawn_over_the_steps_and_the_tokens():
    figure = plots.plot_losses(history())
    figure.savefig(io.BytesIO())  # the upper axis takes its limits when it is drawn
    (axis,) = figure.axes
    drawn = {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines
    }
    assert drawn == {"train": ([10, 20], [2.5, 1.25]), "validation": ([10, 20], [2.6, 1.5])}
    # 300 tokens a step on the upper axis.
    assert axis.child_axes[0].get_xlim() == pytest.approx(
        [place * 300 / 1e6 for place in axis.get_xlim()]
    )


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
    losses = [(10, 3.0, 3.5), (20, 2.0, None), (30, 1.5, 2.5)]
    rows = [
        {"steps": step, "tokens": 100 * step, "train_loss": train, "val_loss": val, "learning_rate": 0.1, "seconds": 1.0}
        for step, train, val in losses
    ]  # fmt: skip
    path = tmp_path / "training_log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"epochs": 1}, *rows)))
    train, validation, best = plots.plot_log(path).axes[0].lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([10, 20, 30], [3.0, 2.0, 1.5])
    assert [value for value in validation.get_ydata() if value == value] == [3.5, 2.5]
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
