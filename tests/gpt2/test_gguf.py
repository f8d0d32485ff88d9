"""The GGUF file of an export, read by llama.cpp itself; and the Modelfile beside it."""

import json
import re
import sys

import gguf
import numpy as np
import pytest
import requests
import torch
from awkward_texts import TEXTS
from hypothesis import example, given, settings
from llama_server import INSTRUCTION, exported, llama_server, project_texts
from tokenizers import ByteLevelBPETokenizer

from golf_nb_utils.coach.ollama import chat
from golf_nb_utils.files import MissingArtifactError
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.gguf import OUTTYPES
from golf_nb_utils.gpt2.tokenizer import END_OF_TEXT, load_tokenizer
from golf_nb_utils.prompt import format_input
from golf_nb_utils.settings import ConfigError, GPTConfig

# Of eleven layers, so that the tenth and the first could be mixed up.
CONFIG = GPTConfig(n_vocab=1200, n_ctx=256, n_embd=64, n_head=4, n_layer=11)
REQUEST = Request("balance", 0.45, 0.8, "7-iron", "beginner")


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(CONFIG)


@pytest.fixture(scope="module", params=["tiny", "openai"])
def llama(request, model, tmp_path_factory):
    """(our tokenizer, the address of llama.cpp's server): with a vocabulary like `tiny`'s, and one like OpenAI's."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "openai":
        learner = ByteLevelBPETokenizer()
        learner.train_from_iterator(project_texts(), CONFIG.n_vocab - 1, show_progress=False)
        learner.add_special_tokens([END_OF_TEXT])
        learner.save_model(str(folder))
        numbers = sorted(learner.get_vocab().items(), key=lambda token: token[1])
        (folder / "encoder.json").write_text(json.dumps(dict(numbers)), encoding="utf-8")
        (folder / "merges.txt").rename(folder / "vocab.bpe")
    path = exported(folder, model, "f32")
    with llama_server(path) as address:
        yield load_tokenizer(folder), address


def post(address, path, **body):
    response = requests.post(f"{address}/{path}", json=body, timeout=60)
    assert response.ok, response.text
    return response.json()


def tokens_of(address, text):
    return post(address, "tokenize", content=text, parse_special=False, add_special=True)["tokens"]


def test_llama_cpp_cuts_the_projects_texts_into_the_tokens_that_the_model_learnt(llama):
    tokenizer, address = llama
    texts = project_texts()
    assert sum(map(len, texts)) > 100_000
    for text in texts:
        assert tokens_of(address, text) == tokenizer.encode_ordinary(text)


@given(text=TEXTS)
@example(text="Drücken Sie den Fuß 🏌️ 重心移動 e\u0301 \u200b\u00a0 ")
@example(text=" \t\n  \r\n    x   ")
@settings(max_examples=120)
def test_llama_cpp_cuts_any_text_as_we_do(llama, text):
    tokenizer, address = llama
    assert tokens_of(address, text) == tokenizer.encode_ordinary(text)


def test_llama_cpp_computes_the_probabilities_of_the_model_and_writes_its_text(llama, model):
    tokenizer, address = llama
    # The server is silent about a token that ends within a character; bans do not change the probabilities that it tells.
    banned = [
        i for i in range(CONFIG.n_vocab - 1) if not tokenizer.decode_single_token_bytes(i).isascii()
    ]
    banned.append(tokenizer.eot_token)
    said = {"temperature": 0.0, "n_predict": 20, "n_probs": CONFIG.n_vocab}
    said["logit_bias"] = [[token, False] for token in banned]
    for prompt in (format_input(REQUEST.entry()), "Tempo"):
        ids = tokenizer.encode_ordinary(prompt)
        found = post(address, "completion", prompt=prompt, **said)
        steps = found["completion_probabilities"]
        taken = [step["id"] for step in steps]
        assert (found["tokens_evaluated"], len(taken)) == (len(ids), 20)
        with torch.inference_mode():
            logits = model(torch.tensor([ids + taken]))[0, len(ids) - 1 : -1]
        expected = logits.log_softmax(dim=-1).numpy()
        assert np.ptp(expected) > 5
        theirs = np.empty_like(expected)
        for scores, step in zip(theirs, steps, strict=True):
            for token in step["top_logprobs"]:
                scores[token["id"]] = token["logprob"]
        assert np.abs(theirs - expected).max() <= 5e-3
        # The likeliest token, unless the second is as likely but for a hundredth.
        expected[:, banned] = -np.inf
        assert (expected.max(axis=1) - expected[range(20), taken] < 0.01).all()


def test_an_answer_ends_at_the_end_of_text(random_model, tmp_path):
    ending = random_model(GPTConfig(n_vocab=600, n_ctx=256, n_embd=64, n_head=4, n_layer=1))
    with torch.no_grad():
        ending.wte.weight[-1] = 1.0
        ending.ln_f.weight.zero_()
        ending.ln_f.bias.fill_(10.0)
    with llama_server(exported(tmp_path, ending, "f16")) as address:
        found = post(address, "completion", prompt="Tempo", n_predict=20, temperature=0.0)
    assert (found["content"], found["stop_type"]) == ("", "eos")


def test_a_chat_with_llama_cpp_gets_the_projects_prompt(llama):
    _, address = llama
    entry = REQUEST.entry()
    messages = chat(entry, steered=True)
    assert post(address, "apply-template", messages=messages)["prompt"] == format_input(entry)
    alone = post(address, "apply-template", messages=messages[-1:])["prompt"]
    assert alone == format_input(entry | {"instruction": INSTRUCTION})


@pytest.mark.parametrize("outtype", OUTTYPES)
def test_each_type_keeps_every_weight_as_well_as_it_can(model, tmp_path, outtype):
    path = exported(tmp_path, model, outtype)
    assert path.name == f"golf-{outtype.upper()}.gguf"
    state = model.state_dict()
    # Of llama.cpp's converter: conversion/gpt2.py, gguf-py/gguf/tensor_mapping.py.
    theirs = {
        "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert len(tensors) == len(state)
    for name, weight in state.items():
        _, layer, part, kind = re.fullmatch(r"(h\.(\d+)\.)?(.+)\.(\w+)", name).groups()
        tensor = tensors[
            f"blk.{layer}.{theirs[part]}.{kind}" if layer else f"{theirs[part]}.{kind}"
        ]
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        exact = weight.numpy()
        if outtype == "f32" or weight.dim() == 1 or name == "wpe.weight":
            assert np.array_equal(found, exact)
        elif outtype == "f16":
            assert np.array_equal(found, weight.half().float().numpy())
        else:
            # A scale for 32 numbers, itself in float16: half a step, and a little for the scale.
            blocks = np.abs(exact).reshape(-1, 32).max(axis=1)
            error = np.abs(found - exact).reshape(-1, 32).max(axis=1)
            assert tensor.tensor_type is gguf.GGMLQuantizationType.Q8_0
            assert (error <= blocks * (0.5 / 127 + 1e-3)).all()
            assert error.max() > 0


def test_a_shape_that_q8_0_does_not_fit_is_refused_before_anything_is_written(
    random_model, tmp_path
):
    odd = random_model(GPTConfig(n_vocab=600, n_ctx=64, n_embd=48, n_head=4, n_layer=1))
    with pytest.raises(ConfigError, match="n_embd is 48; Q8_0 needs a multiple of 32"):
        exported(tmp_path, odd, "q8_0")
    assert not (tmp_path / "gguf").exists()
    exported(tmp_path, odd, "f16")


def test_without_the_package_one_sentence_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingArtifactError, match=r"pip install -c constraints\.txt gguf`"):
        exported(tmp_path, model, "f32")
    assert not (tmp_path / "gguf").exists()


def test_the_modelfile_has_the_prompt_the_end_and_no_penalty(model, tmp_path):
    path = exported(tmp_path, model, "f16")
    text = (path.parent / "Modelfile").read_text(encoding="utf-8")
    long = dict(re.findall(r'^(SYSTEM|TEMPLATE) """(.*?)"""$', text, re.MULTILINE | re.DOTALL))
    short = re.findall(r"^(?:PARAMETER )?(FROM|\w+) (\S+)$", text, re.MULTILINE)
    prompt = long["TEMPLATE"].replace("{{ .System }}", long["SYSTEM"])
    entry = REQUEST.entry(INSTRUCTION)
    assert prompt.replace("{{ .Prompt }}", entry["input"]) == format_input(entry)
    assert dict(short) == {
        "FROM": f"./{path.name}", "num_ctx": "256", "num_predict": "512", "temperature": "0", "repeat_penalty": "1.0",
        "stop": json.dumps(END_OF_TEXT),
    }  # fmt: skip
