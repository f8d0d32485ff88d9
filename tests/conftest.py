"""Shared by several test modules: a byte tokenizer, small models with random weights and their twins in transformers, impatience."""

import signal

import pytest
import tiktoken
import torch
import toy_runs
from hypothesis import settings

from golf_nb_utils.coach import generators
from golf_nb_utils.golf.knowledge import KnowledgeBase, load_knowledge
from golf_nb_utils.golf.reader import Reader, load_wordings, train
from golf_nb_utils.golf.records import generate_records
from golf_nb_utils.gpt2 import transfer
from golf_nb_utils.settings import DataConfig

# The same examples in every run: what fails in CI fails on the maintainer's machine too.
settings.register_profile("golf", deadline=None, derandomize=True)
settings.load_profile("golf")

# A file goes to the next free worker as a whole, so those that take minutes come first.
LONGEST = (
    "test_notebooks.py", "test_series.py", "test_gpu_script.py", "test_generators.py",
    "test_workers.py", "test_hosts.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def knowledge(pytestconfig) -> KnowledgeBase:
    """The repository's own knowledge folder."""
    return load_knowledge(pytestconfig.rootpath / "knowledge" / "golf_instruction")


@pytest.fixture(scope="session")
def reader(knowledge, pytestconfig) -> Reader:
    """A reader that has heard two authors, which takes a second: enough to tell heels from toes."""
    wordings = load_wordings(pytestconfig.rootpath / "knowledge" / "wordings", knowledge)
    return train([each for each in wordings if each.author in ("amber", "heath")], knowledge)


@pytest.fixture(autouse=True)
def _small_reader(request, monkeypatch):
    """No generator of a test learns from all wordings, or takes what lies in experimental/."""
    monkeypatch.setattr(generators, "find_reader", lambda *_: request.getfixturevalue("reader"))


@pytest.fixture(scope="session")
def tiny_records(knowledge) -> dict[str, list[dict]]:
    """Sixty records: 51 for training, 6 for validation, 3 for the test."""
    return generate_records(knowledge, DataConfig(n_examples=60))


@pytest.fixture(scope="session")
def byte_tokenizer():
    """One token a byte, and end-of-text as number 256: no file, and every length can be counted by hand."""
    return tiktoken.Encoding(
        name="bytes",
        pat_str=r"[\s\S]",
        mergeable_ranks={bytes([byte]): byte for byte in range(256)},
        special_tokens={"<|endoftext|>": 256},
    )


@pytest.fixture(scope="session")
def random_model():
    """A function that makes a GPTModel with every parameter drawn at random, so that no part of it is idle."""
    return toy_runs.random_model


@pytest.fixture(scope="session")
def empty_twin():
    """A function that makes the GPT2LMHeadModel of transformers for a GPTConfig, weights not yet set."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def make(config):
        eot = config.n_vocab - 1
        shape = {"vocab_size": config.n_vocab, "n_positions": config.n_ctx}
        shape |= {"n_embd": config.n_embd, "n_head": config.n_head, "n_layer": config.n_layer}
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        tokens = {"bos_token_id": eot, "eos_token_id": eot, "pad_token_id": eot}
        return GPT2LMHeadModel(GPT2Config(**shape, **dropout, **tokens)).eval()

    return make


@pytest.fixture(scope="session")
def gpt2_twin(empty_twin):
    """A function that makes the GPT2LMHeadModel with the weights of a GPTModel; its Conv1D keeps matrices as [in, out]."""

    def make(model):
        twin = empty_twin(model.config)
        ours = dict(model.named_parameters())
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                weight = ours.pop(name.removeprefix("transformer."))
                parameter.copy_(weight.T if "c_" in name and name.endswith("weight") else weight)
        assert not ours
        return twin

    return make


@pytest.fixture
def impatient(monkeypatch):
    """For hosts that are silent; elsewhere a busy machine must not be taken for one."""
    monkeypatch.setattr(transfer, "TIMEOUT", (10, 0.25))


@pytest.fixture
def interruptible():
    """Ctrl-C counts even where the tests run in the background, which shells start with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
