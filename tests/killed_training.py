"""Train the same toy run twice in a folder: `uncut`, and `cut`, which is killed at 20 moments and resumed after each.

    python killed_training.py FOLDER

Each attempt is a fork of this process, which has imported torch but computed nothing. A moment is a number of calls and returns
in the code that trains and saves, so that the same seed kills at the same places.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import torch
from toy_runs import fresh_model, train

from golf_nb_utils.files import write_with
from golf_nb_utils.settings import TrainConfig
from golf_nb_utils.training.step import make_optimizer

N_KILLS = 20
SETTINGS = {
    "epochs": 8,
    "eval_freq": 3,
    "save_every": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 3,
    "schedule": "cosine",
}
FILES = tuple(
    f"golf_nb_utils/{name}.py"
    for name in ("training/loop", "training/step", "training/history", "training/state", "files")
)


class Moments:
    """Counts events outside of saves (place 0) and inside the n-th one (place n), and kills this process at a given number."""

    def __init__(self, place=0, fatal=0):
        self.place, self.fatal = place, fatal
        self.counts, self.saving, self.n_saves = Counter(), None, 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        in_the_middle_of_a_file = event == "c_call" and argument.__name__ == "write_record"
        if not (in_the_middle_of_a_file or code.co_filename.endswith(FILES)):
            return
        if code.co_name == "save_state" and event == "call":
            self.saving, self.n_saves = frame, self.n_saves + 1
        here = self.n_saves if self.saving else 0
        self.counts[here] += 1
        ends = frame is self.saving and event == "return"
        # A save that writes no best weights has fewer events: it is killed at its end.
        if (
            self.fatal
            and here == self.place
            and (self.counts[here] == self.fatal or (here and ends))
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if ends:
            self.saving = None


def run(folder):
    model, _ = train(folder, **SETTINGS)

    def write(path):
        with open(path, "wb") as file:
            torch.save(model.state_dict(), file)

    write_with(folder / "model.pth", write)


def attempt(folder, moments):
    """Return whether an attempt came to its end, and how many events `moments` counted outside of saves and in the second one."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        failed = 1
        try:
            sys.setprofile(moments)
            run(folder)
            sys.setprofile(None)
            os.write(writing, json.dumps([moments.counts[0], moments.counts[2]]).encode())
            failed = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(failed)
    os.close(writing)
    with open(reading) as pipe:
        counted = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt failed with {status}")
    return status == 0, json.loads(counted or "null")


def main(folder):
    torch.set_num_threads(1)
    # The first optimizer imports half of torch: once here, not in each fork.
    make_optimizer(fresh_model(), TrainConfig())
    _, (n_outside, n_in_save) = attempt(folder / "uncut", Moments())
    draw, left_by_kills, n_steps = random.Random(5), [], SETTINGS["epochs"] * 6
    for number in range(N_KILLS):
        if number % 2:
            # One in each tenth of a save, from its beginning to its end; not always in the first of an attempt, so that the run gets on.
            moments = Moments(
                draw.choice((1, 2, 3)), int(n_in_save * (number // 2 + draw.random()) / 10) + 1
            )
        else:
            moments = Moments(0, draw.randint(1, 5 * n_outside // n_steps))
        ended, _ = attempt(folder / "cut", moments)
        if ended:
            raise SystemExit(f"the run ended before its kill number {number + 1}")
        left_by_kills.append(sorted(path.name for path in (folder / "cut" / "states").glob("*")))
    ended, _ = attempt(folder / "cut", Moments())
    print(json.dumps({"ended": ended, "left_by_kills": left_by_kills}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
