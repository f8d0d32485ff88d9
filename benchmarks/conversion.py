"""Seconds and memory from a TensorFlow checkpoint to a PyTorch GPT-2: ours, the `llms-from-scratch` package's, transformers'.

    pip install --no-deps llms-from-scratch       # it pins an old numpy
    python benchmarks/conversion.py 124M          # or 355M, 774M, 1558M; writes a random checkpoint of that size first

Every row is a process of its own, on a file that is in the page cache. transformers reads TensorFlow's checkpoints no more
(version 5), so that it is the peer of the second run: its row reads the same weights from its own safetensors file.
Memory is the peak beyond what the process had after its imports; a row with a child shows the larger of the two, since they
do not hold the weights at the same time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from golf_nb_utils.files import DATA_FILE
from golf_nb_utils.gpt2 import checkpoints
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.settings import GPT_CONFIGS

IMPORT_TENSORFLOW = (
    "import tensorflow, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


def make_checkpoint(size: str, folder: Path) -> None:
    config = GPT_CONFIGS[size]
    with torch.device("meta"):
        model = GPTModel(config)
    model.to_empty(device="cpu")
    init_weights(model, seed=1)
    tensors = checkpoints.state_dict_to_tf(model.state_dict(), config)
    del model  # TensorFlow's Saver needs the room: 13 GB for 1558M
    checkpoints.write_tf_checkpoint(folder, tensors, config)


def ours(folder: Path):
    return lambda: checkpoints.load_base_model(folder)


def ours_first(folder: Path):
    (folder / checkpoints.CONVERTED).unlink(missing_ok=True)
    return ours(folder)


def llms_from_scratch(folder: Path):
    import tensorflow  # noqa: F401
    from llms_from_scratch.ch04 import GPTModel as Theirs
    from llms_from_scratch.ch05 import load_gpt2_params_from_tf_ckpt, load_weights_into_gpt

    def load():
        settings = json.loads((folder / "hparams.json").read_text(encoding="utf-8"))
        params = load_gpt2_params_from_tf_ckpt(str(folder / "model.ckpt"), settings)
        model = Theirs({
            "vocab_size": settings["n_vocab"], "context_length": settings["n_ctx"], "emb_dim": settings["n_embd"],
            "n_heads": settings["n_head"], "n_layers": settings["n_layer"], "drop_rate": 0.0, "qkv_bias": True,
        })  # fmt: skip
        load_weights_into_gpt(model, params)
        return model

    return load


def transformers(folder: Path):
    from transformers import GPT2LMHeadModel

    return lambda: GPT2LMHeadModel.from_pretrained(folder / "transformers")


def save_for_transformers(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    ours = checkpoints.load_base_model(folder)
    shape = ours.config
    twin = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.n_vocab,
            n_positions=shape.n_ctx,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
        )
    )
    with torch.no_grad():
        for name, parameter in twin.transformer.named_parameters():
            weight = ours.get_parameter(name)
            parameter.copy_(weight.T if "c_" in name and name.endswith("weight") else weight)
    twin.save_pretrained(folder / "transformers")


WAYS = {
    "ours, first run (TensorFlow in a child)": ours_first,
    "ours, every further run": ours,
    "llms-from-scratch": llms_from_scratch,
    "transformers, from its own file": transformers,
}


def measure(way: str, folder: Path) -> dict:
    load = WAYS[way](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    # Every weight is touched: a file that is only mapped has cost nothing yet.
    total = sum(float(parameter.detach().sum()) for parameter in load().parameters())
    seconds = time.perf_counter() - started
    assert total == total
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": seconds,
        "self": peak,
        "child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }


def child(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "size", nargs="?", default="124M", choices=[size for size in GPT_CONFIGS if size != "tiny"]
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the checkpoint is, or is written to; default: a temporary folder",
    )
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--task", nargs=2, metavar=("TASK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task, folder = options.task[0], Path(options.task[1])
        tasks = {
            "make": lambda: make_checkpoint(options.size, folder),
            "twin": lambda: save_for_transformers(folder),
        }
        print(json.dumps(tasks[task]() if task in tasks else measure(task, folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / DATA_FILE).is_file():
            child(__file__, options.size, "--task", "make", str(folder))
        if (
            "transformers, from its own file" in options.ways
            and not (folder / "transformers").is_dir()
        ):
            child(__file__, options.size, "--task", "twin", str(folder))
        n_bytes = (folder / DATA_FILE).stat().st_size
        child("-c", IMPORT_TENSORFLOW)  # warms the page cache
        started = time.perf_counter()
        tensorflow_kib = int(child("-c", IMPORT_TENSORFLOW))
        tensorflow_seconds = time.perf_counter() - started
        print(
            f"{options.size}: {n_bytes / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"
        )
        print(
            f"`import tensorflow` alone: {tensorflow_seconds:.1f} s, {tensorflow_kib / 1024:,.0f} MiB\n"
        )
        print(
            "| way | seconds | of these beyond `import tensorflow` | peak MiB beyond imports | x checkpoint |"
        )
        print("| --- | ---: | ---: | ---: | ---: |")
        for way in options.ways:
            # The best of three: what disturbs a run only makes it slower.
            rows = [
                json.loads(child(__file__, options.size, "--task", way, str(folder)))
                for _ in range(3)
            ]
            row = min(rows, key=lambda row: row["seconds"])
            in_child = way == "ours, first run (TensorFlow in a child)"
            peak = max(row["self"], row["child"] - tensorflow_kib if in_child else 0) * 1024
            total = row["seconds"] + (tensorflow_seconds if way == "llms-from-scratch" else 0)
            beyond = row["seconds"] - (tensorflow_seconds if in_child else 0)
            print(
                f"| {way} | {total:.2f} | {beyond:.2f} | {peak / 2**20:,.0f} | {peak / n_bytes:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
