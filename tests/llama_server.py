"""llama.cpp's own server on 127.0.0.1, with a model that the product exported."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from golf_nb_utils.gpt2.checkpoints import save_model
from golf_nb_utils.gpt2.gguf import export_gguf
from golf_nb_utils.gpt2.tokenizer import learn_bpe

INSTRUCTION = "Coach the golfer."
# Its cache in float32 and attention in steps: by default both are in float16, which blurs a comparison.
SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx = sys.argv[1], int(sys.argv[2])
params.port, params.warmup, params.verbosity, params.n_parallel = 0, False, -1, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_server(path: Path):
    """Its address. In a process of its own: what llama.cpp refuses ends the process, not the tests."""
    command = [sys.executable, "-c", SERVE, str(path), "2048"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), address
            yield address
        finally:
            process.kill()


def project_texts() -> list[str]:
    """A sample of what the project says, whole files: 300,000 characters."""
    files = sorted((Path(__file__).parent.parent / "knowledge").rglob("*.md"))[::8]
    return [path.read_text(encoding="utf-8") for path in files]


def exported(folder: Path, model, outtype: str) -> Path:
    """The GGUF file of a model; its vocabulary lies in the folder, or is learnt from the project's texts."""
    if not (folder / "vocab.bpe").exists():
        learn_bpe(project_texts(), model.config.n_vocab, folder)
    training = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "loss_on": "all"}
    facts = {"model_size": "own", "seed": 1, "training": training, "metrics": {}, "data": {}}
    weights = save_model(folder / "golf.pth", model, folder, **facts)
    return export_gguf(weights, folder, folder / "gguf", INSTRUCTION, outtype)[0]
