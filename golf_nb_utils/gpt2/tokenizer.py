"""GPT-2's byte-pair encoding through tiktoken, from a checkpoint's own encoder.json and vocab.bpe.

A text is cut into words by GPT2_PATTERN, a word into its bytes, and then the two neighbours that
were merged first in training (vocab.bpe lists the merges in their order) are merged, again and
again, until no listed pair is left. encoder.json numbers what can come of it. Every byte is a
token, so no text is out of the vocabulary. `learn_bpe` makes the small vocabulary of `tiny`, in the
same two files.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import tiktoken
import torch

from golf_nb_utils.files import MissingArtifactError, sha256_file, write_text

END_OF_TEXT = "<|endoftext|>"
# GPT-2's own pre-tokenization (openai/gpt-2, src/encoder.py).
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def load_tokenizer(folder: str | Path) -> tiktoken.Encoding:
    """Build the tokenizer of the checkpoint in `folder`.

    Raises:
        MissingArtifactError: encoder.json or vocab.bpe is not there.
        ValueError: the two files contradict each other.
    """
    encoder, merges = _tokenizer_files(folder)
    try:
        ranks = _read_ranks(encoder, merges)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{encoder} and {merges.name} beside it are not one GPT-2 vocabulary; "
            "run notebook 02 again."
        ) from error
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=len(ranks) + 1,
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
    )


def _read_ranks(encoder: Path, merges: Path) -> dict[bytes, int]:
    """{token: its number}, as tiktoken wants it.

    tiktoken's own reader puts a copy into its cache, which may be read-only or somebody else's, and
    compares the two files by an assertion, which Python can be told to leave out.
    """
    byte_of = _gpt2_byte_characters()

    def decoded(token: str) -> bytes:
        return bytes(byte_of[character] for character in token)

    ranks = {bytes([byte]): number for number, byte in enumerate(byte_of.values())}
    _, *lines = merges.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(filter(str.strip, lines), len(ranks)):
        left, right = line.split()
        ranks[decoded(left) + decoded(right)] = number
    numbers = json.loads(encoder.read_text(encoding="utf-8"))
    named = {decoded(token): n for token, n in numbers.items() if token != END_OF_TEXT}
    if named != ranks:
        raise ValueError(
            f"{len(named):,} tokens, {len(ranks):,} by the merges, or in another order"
        )
    return ranks


def tokenizer_hash(folder: str | Path) -> str:
    """Return one SHA-256 over encoder.json and vocab.bpe.

    Raises:
        MissingArtifactError: one of them is not there.
    """
    hashes = [sha256_file(path) for path in _tokenizer_files(folder)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _tokenizer_files(folder: str | Path) -> tuple[Path, Path]:
    files = Path(folder) / "encoder.json", Path(folder) / "vocab.bpe"
    for path in files:
        if not path.is_file():
            raise MissingArtifactError(
                f"{path} does not exist: run notebook 02 first, or attach its output."
            )
    return files


def text_to_token_ids(text: str, tokenizer: tiktoken.Encoding) -> torch.Tensor:
    """Return the token ids of `text` as an int64 tensor of shape (1, n_tokens)."""
    return torch.tensor([tokenizer.encode(text, allowed_special={END_OF_TEXT})], dtype=torch.int64)


def token_ids_to_text(token_ids: torch.Tensor, tokenizer: tiktoken.Encoding) -> str:
    """Return the text of token ids, (n_tokens,) or (1, n_tokens), up to the first end-of-text."""
    ids = token_ids.reshape(-1).tolist()
    if tokenizer.eot_token in ids:
        ids = ids[: ids.index(tokenizer.eot_token)]
    return tokenizer.decode(ids)


def learn_bpe(texts: Iterable[str], n_vocab: int, folder: str | Path) -> None:
    """Learn a byte-level BPE of `n_vocab` tokens and write it as OpenAI has it, in two files.

    Numbers never merge with the blank before them, and every two-digit number becomes one token: so
    `0.45` in a prompt and `45.0%` in an answer share the token `45`, and stating a score is copying
    one token.

    Raises:
        ValueError: the texts hold too few distinct pairs for `n_vocab` tokens.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT2_PATTERN), "isolated"),
            pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    byte_characters = list(_gpt2_byte_characters())
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab - 1, initial_alphabet=byte_characters, show_progress=False
    )
    two_digits = [" ".join(f"{number:02d}" for number in range(100))] * 1000
    learner.train_from_iterator([*two_digits, *texts], trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*byte_characters, *("".join(merge) for merge in merges), END_OF_TEXT]
    if len(tokens) != n_vocab:
        hint = (
            "give more text or a smaller n_vocab"
            if len(tokens) < n_vocab
            else "256 bytes and the end-of-text are the least"
        )
        raise ValueError(f"the texts yield {len(tokens)} tokens, {n_vocab} were asked for; {hint}.")
    numbers = {token: number for number, token in enumerate(tokens)}
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]
    write_text(Path(folder) / "encoder.json", json.dumps(numbers))
    write_text(Path(folder) / "vocab.bpe", "\n".join(lines))


def _gpt2_byte_characters() -> dict[str, int]:
    """{character: the byte it stands for in GPT-2's files}, in the order of its first 256 tokens.

    vocab.bpe parts its pairs by blanks and lines, so that no token may hold one: bytes that are no
    visible character are written as letters from code point 256 on (a blank is "Ġ").
    """
    visible = [("!", "~"), ("¡", "¬"), ("®", "ÿ")]
    printable = [byte for first, last in visible for byte in range(ord(first), ord(last) + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }
