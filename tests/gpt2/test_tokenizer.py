"""The byte-pair encoding: OpenAI's two files, and the same tokens as transformers makes from them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tokenizers import ByteLevelBPETokenizer

from golf_nb_utils.files import MissingArtifactError
from golf_nb_utils.gpt2.tokenizer import (
    END_OF_TEXT,
    learn_bpe,
    load_tokenizer,
    text_to_token_ids,
    token_ids_to_text,
    tokenizer_hash,
)

N_VOCAB = 600
# Surrogates are no text; characters that this Python does not know yet may be letters to one library and not to another.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cn")), min_size=1, max_size=80
)


@pytest.fixture(scope="module")
def texts(tiny_records):
    return [record.input + "\n" + record.output for record in tiny_records["train"]]


@pytest.fixture(scope="module")
def folder(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    learn_bpe(texts, N_VOCAB, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def peer(folder, tmp_path_factory):
    return transformers_tokenizer(folder, tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="module")
def plain_folder(texts, tmp_path_factory):
    """A vocabulary that the tokenizers library learnt as OpenAI did, with blanks and digits merged, in OpenAI's files."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    trained = ByteLevelBPETokenizer()
    contractions = [
        "I'll say it's what they're at, don't you've said I'm he'd! ... ((45)) 100% 45 45"
    ] * 50
    trained.train_from_iterator([*texts, *contractions], 900, show_progress=False)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    tokens = [*bytes_to_unicode().values(), *("".join(merge) for merge in merges), END_OF_TEXT]
    folder = tmp_path_factory.mktemp("plain")
    (folder / "encoder.json").write_text(
        json.dumps({token: number for number, token in enumerate(tokens)})
    )
    (folder / "vocab.bpe").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def plain_tokenizer(plain_folder):
    return load_tokenizer(plain_folder)


@pytest.fixture(scope="module")
def plain_peer(plain_folder, tmp_path_factory):
    return transformers_tokenizer(plain_folder, tmp_path_factory.mktemp("plain_peer"))


def transformers_tokenizer(folder, renamed):
    """transformers' GPT-2 tokenizer from the same two files, under the names that it wants."""
    from transformers import GPT2Tokenizer

    shutil.copy(folder / "encoder.json", renamed / "vocab.json")
    shutil.copy(folder / "vocab.bpe", renamed / "merges.txt")
    return GPT2Tokenizer.from_pretrained(str(renamed))


def encoder_of(folder):
    return json.loads((folder / "encoder.json").read_text(encoding="utf-8"))


def test_the_first_256_tokens_are_gpt2s_bytes_in_gpt2s_order(folder):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = list(encoder_of(folder))
    assert tokens[:256] == list(bytes_to_unicode().values())
    # Ids that are well known from GPT-2 itself: an exclamation mark, A, a, a line end, a blank.
    assert [encoder_of(folder)[token] for token in ("!", "A", "a", "Ċ", "Ġ")] == [
        0,
        32,
        64,
        198,
        220,
    ]


def test_the_two_files_have_openais_format(folder):
    encoder = encoder_of(folder)
    lines = (folder / "vocab.bpe").read_bytes().decode("utf-8").split("\n")
    assert lines[0] == "#version: 0.2"
    assert lines[-1] == ""
    merges = [line.split(" ") for line in lines[1:-1]]
    assert all(len(merge) == 2 for merge in merges)
    assert len(merges) == N_VOCAB - 256 - 1
    for number, (left, right) in enumerate(merges):
        assert encoder[left + right] == 256 + number
        assert encoder[left] < 256 + number
        assert encoder[right] < 256 + number
    assert sorted(encoder.values()) == list(range(N_VOCAB))


def test_end_of_text_is_the_last_token(folder, tokenizer):
    assert encoder_of(folder)["<|endoftext|>"] == N_VOCAB - 1
    assert tokenizer.eot_token == N_VOCAB - 1
    assert tokenizer.n_vocab == N_VOCAB
    assert text_to_token_ids(f"a{END_OF_TEXT}", tokenizer)[0, -1] == N_VOCAB - 1


@given(text=TEXTS)
@example(text="Your weight shift score is 45.0%, clearly below the target of 80.0%.")
@example(text="I'll say it's they're \t\n\n   twice  \r\n don't\u00a0stop")
@example(text="0.45 1234567 ½ ٣ 重心移動 🏌️‍♀️ e\u0301")
def test_any_text_gets_the_tokens_that_transformers_gives_it(tokenizer, peer, text):
    assert text_to_token_ids(text, tokenizer)[0].tolist() == peer(text)["input_ids"]


@given(text=TEXTS)
@example(text="Your weight shift score is 45.0%, clearly below the target of 80.0%.")
@example(text="I'll say it's they're \t\n\n   twice  \r\n don't\u00a0stop ((45)) ...")
def test_a_vocabulary_learnt_as_openai_did_gives_the_tokens_that_transformers_gives(
    plain_tokenizer, plain_peer, text
):
    assert text_to_token_ids(text, plain_tokenizer)[0].tolist() == plain_peer(text)["input_ids"]


def test_a_vocabulary_learnt_as_openai_did_splits_the_projects_texts_as_transformers_does(
    plain_tokenizer, plain_peer, texts
):
    for text in texts:
        assert text_to_token_ids(text, plain_tokenizer)[0].tolist() == plain_peer(text)["input_ids"]


def test_a_common_word_and_the_blank_before_it_are_one_token_as_in_gpt2(tokenizer):
    assert tokenizer.decode_tokens_bytes(tokenizer.encode(" of the club")) == [
        b" of",
        b" the",
        b" club",
    ]


def test_the_projects_own_texts_get_the_tokens_that_transformers_gives_them(tokenizer, peer, texts):
    for text in texts:
        assert text_to_token_ids(text, tokenizer)[0].tolist() == peer(text)["input_ids"]


@given(text=st.text(min_size=1))
def test_any_text_comes_back_from_its_tokens(tokenizer, text):
    ids = text_to_token_ids(text, tokenizer)
    assert (ids.dtype, ids.ndim, ids.shape[0]) == (torch.int64, 2, 1)
    assert token_ids_to_text(ids, tokenizer) == text
    assert token_ids_to_text(ids[0], tokenizer) == text


def test_a_score_has_the_same_tokens_in_a_prompt_and_in_an_answer(tokenizer):
    for number in range(10, 100):
        score = tokenizer.decode_tokens_bytes(tokenizer.encode(str(number)))
        for text in (
            f"Current Score: 0.{number}",
            f"is {number}.0%",
            f"({number}",
            f"At {number}.0%, your",
        ):
            before, after = text.split(str(number))
            around = [
                tokenizer.decode_tokens_bytes(tokenizer.encode(part)) for part in (before, after)
            ]
            assert tokenizer.decode_tokens_bytes(tokenizer.encode(text)) == [
                *around[0],
                *score,
                *around[1],
            ]


def test_a_text_ends_at_its_first_end_of_text(tokenizer):
    ids = [
        *tokenizer.encode("Swing"),
        tokenizer.eot_token,
        *tokenizer.encode("on"),
        tokenizer.eot_token,
    ]
    assert token_ids_to_text(torch.tensor(ids), tokenizer) == "Swing"
    assert token_ids_to_text(torch.tensor([tokenizer.eot_token]), tokenizer) == ""


def test_learning_twice_gives_the_same_two_files_byte_for_byte(folder, texts, tmp_path):
    learn_bpe(iter(texts), N_VOCAB, tmp_path)
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert tokenizer_hash(tmp_path) == tokenizer_hash(folder)


def test_a_vocabulary_larger_than_the_texts_can_fill_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="5000 were asked for"):
        learn_bpe(["tempo and rhythm"], 5000, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_a_missing_file_is_named_with_the_notebook_that_makes_it(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(MissingArtifactError) as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "notebook 02" in str(caught.value)


def swap_two_ids(folder):
    numbers = encoder_of(folder)
    first, second = list(numbers)[300:302]
    numbers[first], numbers[second] = numbers[second], numbers[first]
    (folder / "encoder.json").write_text(json.dumps(numbers), encoding="utf-8")


def swap_two_merges(folder):
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    lines[3], lines[4] = lines[4], lines[3]
    (folder / "vocab.bpe").write_text("\n".join(lines), encoding="utf-8")


def repeat_a_merge(folder):
    with open(folder / "vocab.bpe", "a", encoding="utf-8") as file:
        file.write((folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1] + "\n")


def drop_a_token(folder):
    numbers = encoder_of(folder)
    del numbers[list(numbers)[300]]
    (folder / "encoder.json").write_text(json.dumps(numbers), encoding="utf-8")


def write_a_list(folder):
    (folder / "encoder.json").write_text("[]", encoding="utf-8")


def write_brackets(folder):
    (folder / "encoder.json").write_text("[" * 200_000, encoding="utf-8")


def end_elsewhere(folder):
    numbers = encoder_of(folder) | {END_OF_TEXT: N_VOCAB}
    (folder / "encoder.json").write_text(json.dumps(numbers), encoding="utf-8")


def no_end(folder):
    numbers = encoder_of(folder)
    del numbers[END_OF_TEXT]
    (folder / "encoder.json").write_text(json.dumps(numbers), encoding="utf-8")


@pytest.mark.parametrize(
    "spoil",
    [
        swap_two_ids, swap_two_merges, repeat_a_merge, drop_a_token, write_a_list, write_brackets,
        end_elsewhere, no_end,
    ],
)  # fmt: skip
def test_two_files_that_are_not_one_vocabulary_are_refused(folder, tmp_path, spoil):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    with pytest.raises(ValueError, match="not one GPT-2 vocabulary; run notebook 02 again"):
        load_tokenizer(tmp_path)


def test_they_are_refused_where_python_leaves_asserts_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    swap_two_ids(tmp_path)
    code = (
        "import sys; from golf_nb_utils.gpt2 import tokenizer as t; t.load_tokenizer(sys.argv[1])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONOPTIMIZE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "not one GPT-2 vocabulary" in ended.stderr


def test_nothing_is_taken_from_tiktokens_cache_or_put_there(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "tiny"
    learn_bpe(texts, N_VOCAB, folder)
    assert load_tokenizer(folder).n_vocab == N_VOCAB
    learn_bpe(texts, N_VOCAB - 50, folder)
    assert load_tokenizer(folder).n_vocab == N_VOCAB - 50
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "TMPDIR"])
def test_tiktokens_cache_is_neither_needed_nor_asked(texts, tmp_path, monkeypatch, name):
    """A file stands where the cache would be, which nobody can write to, root included."""
    cache = tmp_path / "cache"
    cache.write_text("")
    monkeypatch.setenv(name, str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(cache))
    for size in (N_VOCAB, N_VOCAB - 50):
        learn_bpe(texts, size, tmp_path)
        assert load_tokenizer(tmp_path).n_vocab == size
    assert cache.read_text() == ""


def test_the_two_files_are_read_as_tiktoken_reads_them(folder, tokenizer, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    files = str(folder / "vocab.bpe"), str(folder / "encoder.json")
    ranks = data_gym_to_mergeable_bpe_ranks(*files)
    assert tokenizer._mergeable_ranks == ranks
    assert list(tokenizer._mergeable_ranks) == list(ranks)


def test_files_with_other_line_ends_are_the_same_vocabulary(folder, tokenizer, tmp_path):
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(tmp_path)._mergeable_ranks == tokenizer._mergeable_ranks
    # The last line may lack its end.
    text = (folder / "vocab.bpe").read_text(encoding="utf-8").rstrip("\n")
    (tmp_path / "vocab.bpe").write_text(text, encoding="utf-8")
    assert load_tokenizer(tmp_path)._mergeable_ranks == tokenizer._mergeable_ranks


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_a_change_in_either_file_changes_the_hash_that_travels_with_a_model(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert tokenizer_hash(tmp_path) == tokenizer_hash(folder)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
    assert tokenizer_hash(tmp_path) != tokenizer_hash(folder)


def test_a_score_is_one_token_in_the_prompt_and_in_the_answer(tokenizer):
    for text in ("Current Score: 0.45", "Your current balance score is 45.0%."):
        assert b"45" in tokenizer.decode_tokens_bytes(tokenizer.encode(text))
