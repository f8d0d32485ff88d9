"""Where a model looks when a score is due: attention as transformers has it, counted at the right place."""

import pytest
import torch

from golf_nb_utils.evaluation import copying
from golf_nb_utils.golf.records import Record
from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.settings import GPTConfig

CONFIG = GPTConfig(n_vocab=257, n_ctx=1024, n_embd=32, n_head=2, n_layer=3)
SHOULD, HAPPENING, TO_DO = HEADINGS.values()


def record(score=0.83, said="83.0%"):
    asked = f"Area: balance\nCurrent Score: {score:.2f}\nTarget Score: 0.91\nGap: 0.08"
    output = f"{SHOULD}\nStand.\n\n{HAPPENING}\nYou score {said}.\n\n{TO_DO}\n1. Do."
    return Record("Coach.", asked, output, {"current_score": score})


def test_attention_and_logits_are_those_of_transformers(random_model, gpt2_twin):
    model = random_model(CONFIG)
    ids = torch.arange(40) * 5 % 256
    looks, logits = copying.last_attention(model, ids)
    twin = gpt2_twin(model)
    twin.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = twin(ids[None], output_attentions=True)
    torch.testing.assert_close(looks, torch.stack([a[0, :, -1] for a in theirs.attentions]))
    torch.testing.assert_close(logits, theirs.logits[0, -1], rtol=1e-4, atol=1e-4)


def test_a_head_that_sees_everything_alike_shows_how_many_tokens_each_place_has(
    random_model, byte_tokenizer
):
    model = random_model(CONFIG)
    with torch.no_grad():
        for block in model.h:
            block.attn.c_attn.weight.zero_()
            block.attn.c_attn.bias.zero_()
    (due,) = copying.where_scores_are_due(model, byte_tokenizer, [record()])
    # A token is a byte: "83" of the score; 0, 0.91 and 0.08 are numbers, and so is 0. before it.
    n_answer = len(f"{SHOULD}\nStand.\n\n{HAPPENING}\nYou score ")
    n_prompt = len(record().prompt)
    counts = torch.tensor([2, 7, n_prompt - 9, n_answer])
    expected = (counts / counts.sum()).expand(3, 2, 4)
    torch.testing.assert_close(due.looks, expected)
    assert due.right == "8"
    assert 0 < due.share < 1
    assert len(due.likeliest) == 1


@pytest.mark.parametrize("without", [record(said="no score"), record(said="8.3 %" + "x" * 1024)])
def test_an_answer_without_the_score_or_beyond_the_context_is_left_out(
    without, random_model, byte_tokenizer
):
    assert copying.where_scores_are_due(random_model(CONFIG), byte_tokenizer, [without]) == []
