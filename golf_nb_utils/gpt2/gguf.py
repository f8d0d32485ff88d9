"""A fine-tuned model as GGUF, the one file that llama.cpp and Ollama run.

It holds the weights, the shape, the tokenizer and the prompt (github.com/ggml-org/ggml,
docs/gguf.md). llama.cpp's own converter knows a tokenizer by what it makes of one text, and refuses
a vocabulary that was learnt here; but all of GPT-2's kind cut words by the same rule, which the
file names `gpt-2`. Matrices are [out, in] there, as in our model.
"""

import json
import math
from pathlib import Path
from types import ModuleType

import torch

from golf_nb_utils.files import MissingArtifactError, write_text, write_with
from golf_nb_utils.gpt2.checkpoints import load_model
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.prompt import END_OF_TEXT, PROMPT
from golf_nb_utils.settings import ConfigError, GPTConfig, SampleConfig

OUTTYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
"""What a matrix is stored as, under the names of llama.cpp's converter, and GGUF's own names.

Q8_0 keeps 32 numbers as bytes and one scale. Vectors and the position embedding stay float32.
"""
_BLOCK = 32


def export_gguf(
    weights: Path, checkpoint_folder: Path, out: Path, instruction: str, outtype: str = "f16"
) -> list[Path]:
    """Write a fine-tuned model as GGUF, and beside it the Modelfile with which Ollama runs it.

    `weights` is the .pth of notebook 03, `checkpoint_folder` the one with its tokenizer; the prompt
    gets `instruction` where the caller sends no system message. Returns the files.

    Raises:
        MissingArtifactError, ArtifactMismatchError: see checkpoints.load_model; or the package
            gguf is not installed.
        ConfigError: Q8_0 does not fit the model's shape.
    """
    package = _package()
    model, sidecar = load_model(weights, checkpoint_folder)
    n_embd = model.config.n_embd
    if outtype == "q8_0" and n_embd % _BLOCK:
        raise ConfigError(
            f"n_embd is {n_embd}; Q8_0 needs a multiple of {_BLOCK}: choose --outtype f16."
        )
    path = out / f"{weights.stem}-{outtype.upper()}.gguf"

    def write(temporary: Path) -> None:
        writer = package.GGUFWriter(temporary, "gpt2")
        try:
            writer.add_name(weights.stem)
            writer.add_file_type(package.LlamaFileType[OUTTYPES[outtype]])
            _add_shape(writer, model.config)
            _add_tokenizer(package, writer, Path(checkpoint_folder))
            writer.add_chat_template(chat_template(instruction))
            _write_tensors(package, writer, model, outtype)
        finally:
            writer.close()

    write_with(path, write)
    n_new = SampleConfig.for_size(sidecar["model_size"]).max_new_tokens
    text = modelfile(path.name, model.config.n_ctx, n_new, instruction)
    return [path, write_text(out / "Modelfile", text)]


def _package() -> ModuleType:
    # Only here, since neither the notebooks nor an app need it.
    try:
        import gguf
    except ImportError as error:
        raise MissingArtifactError(
            "the package gguf is not installed, which writes the file; run "
            "`python -m pip install -c constraints.txt gguf`."
        ) from error
    return gguf


def _add_shape(writer, config: GPTConfig) -> None:
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(1e-5)


def _add_tokenizer(package: ModuleType, writer, folder: Path) -> None:
    numbers = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    tokens = sorted(numbers, key=numbers.get)
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    kinds = package.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [kinds.CONTROL if token == END_OF_TEXT else kinds.NORMAL for token in tokens]
    )
    writer.add_token_merges([merge for merge in merges if merge])
    writer.add_bos_token_id(numbers[END_OF_TEXT])
    writer.add_eos_token_id(numbers[END_OF_TEXT])
    # Our prompts begin with their first word: the model has seen nothing before it.
    writer.add_add_bos_token(False)


def _write_tensors(package: ModuleType, writer, model: GPTModel, outtype: str) -> None:
    """Write the file's head and then one tensor at a time: no second copy of the model is held.

    There is no output matrix: llama.cpp then takes the token embedding, as we do.
    """
    types = package.GGMLQuantizationType
    names = package.get_tensor_name_map(package.MODEL_ARCH.GPT2, model.config.n_layer)
    stored = {}
    for name, tensor in model.state_dict().items():
        kind = types[outtype.upper()] if tensor.dim() == 2 and name != "wpe.weight" else types.F32
        shape = package.quants.quant_shape_to_byte_shape(tensor.shape, kind)
        theirs = names.get_name(f"transformer.{name}", (".weight", ".bias"))
        writer.add_tensor_info(theirs, tensor.shape, None, math.prod(shape), raw_dtype=kind)
        stored[name] = kind
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in model.state_dict().items():
        values = tensor.to(torch.float32).numpy()
        writer.write_tensor_data(package.quants.quantize(values, stored[name]))


def chat_template(instruction: str) -> str:
    """Return our prompt as a Jinja template of chat messages: the input is the last one.

    Without it llama.cpp would put the marks of other models around what it is sent.
    """
    system = f"messages[0].content if messages[0].role == 'system' else {json.dumps(instruction)}"
    prompt = PROMPT.format(instruction=f"{{{{ {system} }}}}", input="{{ messages[-1].content }}")
    # Jinja drops a line break at the end of a template.
    return prompt.removesuffix("\n") + r"{{ '\n' }}"


def modelfile(name: str, n_ctx: int, n_new: int, instruction: str) -> str:
    """Return the Modelfile (github.com/ollama/ollama, docs/modelfile.mdx) of the GGUF file `name`.

    A prompt there is the `input` of one of ours. Without a template and a stop Ollama writes
    gibberish without end; its penalty for repetition would spoil an answer, which repeats scores.
    """
    prompt = PROMPT.format(instruction="{{ .System }}", input="{{ .Prompt }}")
    return (
        f'FROM ./{name}\nSYSTEM """{instruction}"""\nTEMPLATE """{prompt}"""\n'
        f"PARAMETER num_ctx {n_ctx}\nPARAMETER num_predict {n_new}\nPARAMETER temperature 0\n"
        f'PARAMETER repeat_penalty 1.0\nPARAMETER stop "{END_OF_TEXT}"\n'
    )
