"""All that needs TensorFlow, in a process of its own: `run(task, ...)` starts this file.

So a notebook's process never imports TensorFlow, which would keep 0.6 GB of its memory and, on a
GPU, all of the card's. The functions of TASKS run in that other process. They import no torch.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from golf_nb_utils.files import DATA_FILE, INDEX_FILE
from golf_nb_utils.gpt2.convert import CheckpointError, check_table, numpy_logits, write_safetensors

# TensorFlow takes a path for a pattern, in which [, *, ? and \\ mean something. So the functions
# below work in the checkpoint's folder, and TensorFlow sees no more of the path than this.
PREFIX = "./model.ckpt"


def run(task: str, **arguments) -> dict:
    """Run one of TASKS in a new process and return what it returns.

    `seconds` is added to it: how long the task took, without the import of TensorFlow.

    Raises:
        CheckpointError: the task raised it.
        OSError: the process could not write or read a file.
        RuntimeError: the process died, or TensorFlow cannot be imported; the end of what it said is
            quoted.
    """
    # Not above: the other process, which imports this file too, has no use for torch.
    from golf_nb_utils.host import python_child

    child = python_child(
        "golf_nb_utils.gpt2.tensorflow_io",
        CUDA_VISIBLE_DEVICES="-1",  # It takes all memory of the GPUs that it sees.
        TF_CPP_MIN_LOG_LEVEL="3",
        TF_ENABLE_ONEDNN_OPTS="0",
    )
    request = json.dumps({"task": task, **arguments}, default=str)
    ended = subprocess.run(
        **child, input=request, capture_output=True, check=False,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if ended.returncode or not ended.stdout.strip():
        said = "\n".join(ended.stderr.strip().splitlines()[-5:])
        raise RuntimeError(
            f"TensorFlow's process ended with status {ended.returncode} "
            f"in the task {task!r}:\n{said}"
        )
    answer = json.loads(ended.stdout.splitlines()[-1])
    if "error" in answer:
        raise CheckpointError(answer["error"], answer["damaged"])
    if "os_error" in answer:
        raise OSError(*answer["os_error"])
    return answer


# Below: what runs in the other process.


def convert(folder: str, out: str, table: dict[str, list], metadata: dict[str, str]) -> dict:
    """Write the tensors of a checkpoint to a safetensors file.

    TensorFlow compares each tensor that it reads with its CRC32C in the index.

    Raises:
        CheckpointError: TensorFlow refuses the files, or tensors are missing, unexpected or
            misshapen.
    """
    reader = _open(folder)
    shapes = {name: list(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    check_table(shapes, table)
    write_safetensors(out, lambda name: _read(reader, name), table, metadata)
    return {"tensors": shapes}


def logits(folder: str, out: str, config: dict[str, int], token_ids: list[int]) -> dict:
    """Save numpy_logits of a checkpoint's own tensors as a .npy file."""
    reader = _open(folder)
    with open(out, "wb") as file:
        np.save(file, numpy_logits(lambda name: _read(reader, name), config, token_ids))
    return {}


def write(folder: str, arrays: str) -> dict:
    """Write a checkpoint as OpenAI's Saver did: the three model.ckpt files and `checkpoint`.

    `arrays` is a .npz file of {TensorFlow name: array}.
    """
    import tensorflow as tf

    os.chdir(folder)
    for left in Path().glob("model.ckpt*tempstate*"):  # by a process that was killed
        left.unlink()
    with np.load(arrays) as tensors, tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = []
        for name in tensors.files:
            value = tf.compat.v1.placeholder(tf.float32, tensors[name].shape)
            variable = tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            session.run(variable.initializer, {value: tensors[name]})
            variables.append(variable)
        saver = tf.compat.v1.train.Saver(variables)
        saver.save(session, PREFIX, latest_filename="checkpoint")
    # Saver records its own path; OpenAI's file holds the bare prefix.
    name = PREFIX.removeprefix("./")
    text = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
    Path("checkpoint").write_text(text, encoding="utf-8", newline="\n")
    return {}


TASKS = {"convert": convert, "logits": logits, "write": write}


def _open(folder: str):
    import tensorflow as tf

    os.chdir(folder)
    try:
        reader = tf.train.load_checkpoint(PREFIX)
        reader.get_variable_to_shape_map()
        return reader
    except (tf.errors.OpError, ValueError) as error:
        raise _refused(INDEX_FILE, error) from error


def _read(reader, name: str) -> np.ndarray:
    import tensorflow as tf

    try:
        return reader.get_tensor(name)
    except (tf.errors.OpError, IndexError) as error:
        raise _refused(DATA_FILE, error, name) from error


def _refused(file: str, error: Exception, tensor: str = "") -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    try:
        open(file, "rb").close()
    except OSError as unread:
        return CheckpointError(f"{file} cannot be read: {unread.strerror}")
    return CheckpointError(
        f"{file} is damaged{f' in {tensor}' if tensor else ''}, says TensorFlow: {reason}", file
    )


def main() -> int:
    """Do the task that stands on stdin as JSON, and write the answer to stdout as JSON."""
    request = json.load(sys.stdin)
    import tensorflow  # noqa: F401  (before the clock starts)

    started = time.perf_counter()
    try:
        answer = TASKS[request.pop("task")](**request)
    except CheckpointError as error:
        answer = {"error": str(error), "damaged": error.damaged}
    except OSError as error:
        answer = {"os_error": [error.errno, error.strerror or str(error)]}
    answer["seconds"] = time.perf_counter() - started
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
