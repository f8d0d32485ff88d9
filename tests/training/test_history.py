"""What a run says about itself: the log, the summary, the bar's numbers."""

import json
import math

from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training.history import History, summary, write_log


def history(**changes):
    values = {
        "steps": [10, 20], "tokens": [900, 1800], "train_loss": [3.0, 2.0], "val_loss": [3.1, 2.1], "learning_rate": [1e-3, 1e-3],
        "seconds": [5.0, 10.0], "n_planned": 80, "n_per_epoch": 40, "n_steps": 20, "n_tokens": 1800, "peak_bytes": 3 * 2**29,
        "phases": {"training": 10.0, "evaluation": 2.4, "samples": 0.0, "saving": 1.0}, "best_step": 20, "best_val_loss": 2.1,
    }  # fmt: skip
    return History(**values | changes)


def test_the_summary_has_the_steps_the_speed_the_time_by_phase_and_the_best_step():
    text = summary(history(n_skipped=3), padding_share=0.0123)
    for part in (
        "20 of 80",
        "1,800, 180 a second",
        "1.2% of all",
        "training 10 s, evaluation 2 s",
        "1.5 GiB",
        "2.1000 after step 20",
    ):
        assert part in text
    assert "steps left out     3" in text
    assert "ended by" not in text


def test_the_summary_says_why_a_run_ended_early_and_what_happened_when():
    text = summary(
        history(
            stopped="max_minutes",
            events=[(12, "memory ran out")],
            best_step=0,
            best_val_loss=math.inf,
        ),
        0.0,
    )
    assert "20 of 80, ended by max_minutes" in text
    assert text.splitlines()[-1] == "step 12            memory ran out"
    assert "inf" not in text


def test_a_loss_that_is_no_number_is_null_in_the_log(tmp_path):
    write_log(tmp_path / "log.jsonl", TrainConfig(), history(val_loss=[3.1, math.nan]))

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    lines = [
        json.loads(line, parse_constant=refuse)
        for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert [line["val_loss"] for line in lines[1:]] == [3.1, None]


def test_time_left_and_speed_before_the_first_step_are_zero():
    assert (History().seconds_left, History().tokens_per_second) == (0.0, 0.0)
    # 60 steps to go at half a second each.
    assert history().seconds_left == 30.0
