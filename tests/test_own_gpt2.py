"""A small GPT-2 of one's own through the four notebooks: a short context, a padded vocabulary, an added token."""

import json

import pytest
import torch
from own_gpt2 import write_own_gpt2
from test_hosts import NOTEBOOKS, run_cells

from golf_nb_utils import host
from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.evaluation import words
from golf_nb_utils.files import Paths
from golf_nb_utils.golf import knowledge as knowledge_module
from golf_nb_utils.golf import reader as reading
from golf_nb_utils.gpt2.checkpoints import load_base_model, load_model
from golf_nb_utils.gpt2.tokenizer import load_tokenizer

N_TOKENS, N_CTX = 2048, 512


@pytest.fixture
def few_and_fast(monkeypatch, knowledge, reader):
    """The notebooks read neither the knowledge nor the wordings anew, ask the model about few words, and see no GPU."""
    read_by_both = words.read_by_both
    monkeypatch.setattr(
        words,
        "read_by_both",
        lambda reader, model, some: (read_by_both(reader, model, some[:5]) * 60)[: len(some)],
    )
    monkeypatch.setattr(knowledge_module, "load_knowledge", lambda *_: knowledge)
    monkeypatch.setattr(reading, "train", lambda *_: reader)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("GOLF_HEADLESS", "1")
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpt2_of_ones_own_goes_through_all_four_notebooks(few_and_fast, tmp_path):
    texts = [path.read_text(encoding="utf-8") for path in host.knowledge_folder().rglob("*.md")]
    own = tmp_path / "own"
    model = write_own_gpt2(own, texts, N_TOKENS, N_CTX, n_padding=60, added=["[PAD]"])
    given = {"model_size": "own", "output_root": str(tmp_path)}
    paths = Paths(tmp_path)

    run_cells(NOTEBOOKS[0], last="dataset.finish(", **given, n_examples=60, test_fraction=0.1)
    run_cells(NOTEBOOKS[1], last="write_manifest(", **given, checkpoint_folder=str(own))
    folder = paths.checkpoint("own")
    base, tokenizer = load_base_model(folder), load_tokenizer(folder)
    assert (base.config.n_vocab, tokenizer.n_vocab) == (N_TOKENS, N_TOKENS)
    assert torch.equal(base.wte.weight, model.wte.weight[:N_TOKENS])

    _, said = run_cells(
        NOTEBOOKS[2],
        last="write_manifest(",
        **given,
        context_length=N_CTX,
        epochs=1,
        eval_batches=1,
    )
    assert "records dropped because they exceed the context" in said
    tuned, _ = load_model(paths.weights("own"), folder)
    assert tuned.config == base.config

    few = {"n_records": 5, "n_changed": 1, "max_new_tokens": 20, "n_candidates": 1}
    names, said = run_cells(NOTEBOOKS[3], last="write_manifest(", **given, **few)
    n_long = names["losses"]["test"]["base"].count(None)
    assert 0 < n_long < 5
    assert f"test    {n_long} of 5 records exceed the context of {N_CTX} tokens: " in said
    metrics = json.loads((paths.evaluation("own") / "metrics.json").read_text(encoding="utf-8"))
    figures = metrics["strata"]["test"]["systems"]["base"]
    assert (figures["perplexity"]["n"], figures["verified"]["n"]) == (5 - n_long, 5)

    coach = FineTunedGolfFeedbackGenerator.load("own", output_root=str(tmp_path))
    feedback = coach.generate_feedback("balance", "falling back", 0.45, 0.8, 0.35, "high")
    assert feedback["verification"]["passed"]
