"""What golfers said about answers: feedback.jsonl becomes training records, as far as it can.

A line is a JSON object: `input` and `output` (the request and the answer that was shown), `thumb`
("up" or "down"), and where the person gave one, `corrected` (the text as it should have been).
Other keys are left alone: `append_correction` adds `schema_version`, and which model and which way
made the answer, but nothing about the person.

A model learns what stands here, and says it to others. So a text has a length that an answer may
have, and it is plain words: what links, marks up, hides or prescribes something is rejected.
"""

import codecs
import errno
import json
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from golf_nb_utils.files import explained_if_full, explained_if_read_only, write_text
from golf_nb_utils.golf.answer import build_index
from golf_nb_utils.golf.checks import LONGEST_ANSWER
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.records import Record, record_meta
from golf_nb_utils.golf.request import InputFormatError, Request
from golf_nb_utils.golf.rules import contradictions
from golf_nb_utils.golf.sentences import SentenceReader, Span, number_origins
from golf_nb_utils.golf.similarity import NEAR_DUPLICATE, nearest_similarities
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.prompt import END_OF_TEXT, HEADINGS, FeedbackFormatError, parse_feedback


@dataclass(frozen=True)
class Corrections:
    """Training records, rejected lines ({"line", "reason", "text"}), and how often each outcome."""

    records: tuple[Record, ...]
    rejected: tuple[dict, ...]
    counts: dict[str, int]


# What may become of a line.
_OUTCOMES = (
    "used", "thumb down without a correction", "double", "near to the test set", "rejected",
)  # fmt: skip
# As which part of a topic file a golfer's own sentence is held against the rules.
_RULES_OF = {"what_should_happen": "ideal", "what_is_happening": "happening", "what_to_do": "steps"}
# Characters of a text, and bytes of a line: what takes more was not written by a golfer.
_LONGEST = {"instruction": 1000, "input": 2000}
_LONGEST_LINE = 200_000
# What is learnt holds none of these.
_DOSED = r"(?:pill|tablet|capsule|puff)s?"
_UNFIT = {
    name: re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for name, pattern in {
        "an invisible character": (
            r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
        ),
        "a link": (
            r"\w:/|//\w|\bwww\.|\b(?:mailto|javascript|data|tel):\S|\w@\w|\w\.[a-z]{2,}/\w|"
            r"\w\.(?:com|org|net|info|biz|io|shop|gg|co\.[a-z]{2})\b"
        ),
        "markup": (
            r"[<>\[\]{}`*|\\^]|~~|##|(?<!\w)_|_(?!\w)|^[ \t]*(?:#|[-=]{3,}[ \t]*$)|&#?\w{1,20};"
        ),
        "medicine": (
            r"\b\d*(?:mg|mcg|ug|\u03bcg|ml|iu|(?:milli|micro)(?:gram(?:me)?|lit(?:er|re))s?)\b|"
            rf"(?:\d|\b(?:one|two|three|four|five|six|half an?)) {_DOSED}\b|"
            rf"\b(?:take|taking|swallow|pop|chew)\w*\b[^.]{{0,30}}\b{_DOSED}\b|"
            r"\b(?:ibuprofen|paracetamol|acetaminophen|aspirin|naproxen|diclofenac|tylenol|advil|"
            r"aleve|motrin|voltaren|codeine|tramadol|oxycodone|morphine|opioids?|cortisone|"
            r"steroids?|propranolol|beta[- ]?blockers?|valium|diazepam|xanax|cbd|"
            r"anti-?inflammator(?:y|ies)|pain ?(?:killer|relief|reliever|med)s?|"
            r"muscle relaxants?|medications?|medicines?(?! ball))\b"
        ),
    }.items()
}


class _Rejected(Exception):
    pass


SCHEMA_VERSION = 1


def append_correction(
    path: Path,
    request: dict,
    answer: str,
    thumb: str,
    corrected: str | None = None,
    generated_by: str = "",
    model_sha256: str = "",
) -> dict:
    """Add a line to feedback.jsonl and return it.

    `request` has the `instruction` and `input` that the answer was for. `corrected` is left out if
    it is empty or the answer itself. Line ends become LF. The line is written at once, so that two
    kernels can write to one file.

    Raises:
        ValueError: `thumb` is not "up" or "down", or a text is empty, too long, cannot be stored,
            or holds what no model should learn.
        OSError: the file cannot be written, or its disk is full.
    """
    given = {
        "schema_version": SCHEMA_VERSION,
        "instruction": request["instruction"],
        "input": request["input"],
        "output": answer,
        "thumb": thumb,
        "corrected": corrected,
        "generated_by": generated_by,
        "model_sha256": model_sha256,
    }
    try:
        line = _read_line(json.dumps(given).encode())
    except _Rejected as error:
        raise ValueError(
            f"this feedback cannot be kept, since it could not be read again: {error}."
        ) from None
    better = (line["corrected"] or "").strip()
    if better in ("", line["output"].strip()):
        del line["corrected"]
    _append(path, json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return line


def _append(path: Path, encoded: bytes) -> None:
    with explained_if_read_only(path.parent), explained_if_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A write that was cut off leaves a line without its end: this one must not become part of
        # it.
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            encoded = b"\n" + encoded
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, encoded)
        finally:
            os.close(descriptor)
        if written != len(encoded):
            raise OSError(errno.ENOSPC, f"only {written} of {len(encoded)} bytes went into it")


def read_corrections(
    path: Path, knowledge: KnowledgeBase, evaluation_answers: list[str]
) -> Corrections:
    """Turn the usable lines of feedback.jsonl into records with `meta.source` "user_feedback".

    A corrected text is used as it stands, an answer with thumb up likewise; an answer with thumb
    down and no correction is counted and left out, and so is a text that is there already, or near
    to one of `evaluation_answers` (the outputs of test, val and unseen). A line is rejected if it
    is not such an object, if the text lacks a headed part, breaks a rule of the knowledge base,
    states a percentage that is none of the input's scores, or is not in plain words.

    Raises:
        FileNotFoundError: there is no such file.
    """
    counts = dict.fromkeys(_OUTCOMES, 0)
    records: dict[tuple[str, str], Record] = {}
    rejected = []
    reader = SentenceReader(build_index(knowledge), knowledge.faults)
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        reason = f"{path.name} is UTF-16, as `>` writes it in PowerShell 5; save it as UTF-8"
        text = content.decode("utf-16", errors="replace")
        whole = {"line": 1, "reason": reason, "text": text}
        return Corrections((), (whole,), counts | {"rejected": 1})
    for number, raw in enumerate(content.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            record = _record(_read_line(raw), knowledge, reader)
        except _Rejected as error:
            text = raw.decode(errors="replace")
            rejected.append({"line": number, "reason": str(error), "text": text})
            counts["rejected"] += 1
            continue
        if record is None:
            counts["thumb down without a correction"] += 1
        elif (record.input, record.output) in records:
            counts["double"] += 1
        else:
            records[record.input, record.output] = record
    nearest = nearest_similarities([output for _, output in records], evaluation_answers)
    candidates = zip(records.values(), nearest, strict=True)
    used = tuple(record for record, similarity in candidates if similarity < NEAR_DUPLICATE)
    counts["used"], counts["near to the test set"] = len(used), len(records) - len(used)
    return Corrections(used, tuple(rejected), counts)


def write_rejected(path: Path, corrections: Corrections) -> Path:
    """Write the rejected lines with their reasons as JSON lines: none, if none was."""
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in corrections.rejected)
    return write_text(path, "".join(lines))


def _read_line(raw: bytes) -> dict:
    """A line of the file, its texts with LF as their line ends. Raises _Rejected."""
    if len(raw) > _LONGEST_LINE:
        raise _Rejected(f"has {len(raw):,} bytes, expected {_LONGEST_LINE:,} at most")
    try:
        line = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise _Rejected("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        # ValueError, not JSONDecodeError alone: Python itself refuses an integer of thousands of
        # digits.
        raise _Rejected(f"not JSON ({error})") from None
    if not isinstance(line, dict):
        raise _Rejected(f"expected an object, found {type(line).__name__}")
    for name in ("input", "output"):
        if not isinstance(line.get(name), str) or not line[name].strip():
            raise _Rejected(f"needs a text in {name!r}")
    if line.get("thumb") not in ("up", "down"):
        raise _Rejected(f"needs `thumb` up or down, found {line.get('thumb')!r}")
    if not isinstance(line.get("corrected"), str | None) or not isinstance(
        line.get("instruction"), str | None
    ):
        raise _Rejected("`corrected` and `instruction` are texts where they are given")
    # An HTML form sends CR LF; a text is the same whatever ends its lines.
    texts = {name: text for name, text in line.items() if isinstance(text, str)}
    texts = {name: "\n".join(text.splitlines()) for name, text in texts.items()}
    _refuse_unfit(texts)
    return line | texts


def _refuse_unfit(line: dict[str, str]) -> None:
    """Refuse what no file can store, what is too long, and what no model should learn."""
    for name, text in line.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Rejected("holds half a surrogate pair, which no file can store") from None
        most = _LONGEST.get(name, LONGEST_ANSWER)
        if len(text) > most:
            raise _Rejected(f"{name!r} has {len(text):,} characters, expected {most:,} at most")
        if END_OF_TEXT in text:
            raise _Rejected(f"{name!r} holds {END_OF_TEXT}, which ends a text for the model")
    for name in ("instruction", _learnt(line)):
        # Compatible forms, such as letters of full width, are read as what they look like.
        text = unicodedata.normalize("NFKC", line.get(name, ""))
        for what, pattern in _UNFIT.items():
            if found := pattern.search(text):
                raise _Rejected(f"{name!r} holds {what}, {found[0]!r}, expected plain words")


def _learnt(line: dict) -> str:
    """Which text of a line a model would learn, or "" where it only says that an answer is bad."""
    shown = "output" if line["thumb"] == "up" else ""
    return "corrected" if line.get("corrected") else shown


def _record(line: dict, knowledge: KnowledgeBase, reader: SentenceReader) -> Record | None:
    """The training record of a line, or None where there is nothing to learn."""
    if not (learnt := _learnt(line)):
        return None
    text = line[learnt].strip()
    try:
        request = Request.from_text(line["input"].strip())
        parse_feedback(text)
    except (InputFormatError, FeedbackFormatError) as error:
        raise _Rejected(str(error)) from None
    first = next(iter(HEADINGS.values()))
    if not text.startswith(first):
        before = text.partition(first)[0].strip()[:40]
        raise _Rejected(f"{before!r} stands before the heading {first!r}, expected nothing")
    own = (request.all_scores or {}).get(request.area, request.current_score)
    if own != request.current_score:
        raise _Rejected(
            f"All Scores has {own} for {request.area}, the current score is {request.current_score}"
        )
    reading = reader.read(text, request)
    for number in reading.numbers:
        if number.text.endswith("%") and number.origin is None:
            raise _Rejected(f"{number.text} is none of the input's scores")
    for piece, sentence in zip(reading.pieces, reading.sentences, strict=True):
        if sentence.origin is None:
            _refuse_contradiction(sentence, request, knowledge, _RULES_OF[piece.part])
    instruction = (line.get("instruction") or "").strip() or INSTRUCTIONS[0]
    meta = record_meta(request, source="user_feedback")
    return Record(instruction, line["input"].strip(), text, meta)


def _refuse_contradiction(
    sentence: Span, request: Request, knowledge: KnowledgeBase, part: str
) -> None:
    # A score may be stated anywhere; the rules are about other figures.
    bare = sentence.text
    for number in number_origins([sentence], request):
        bare = bare.replace(number.text, "#") if number.origin else bare
    broken = contradictions(knowledge.rules, bare, part)
    if broken:
        raise _Rejected(f"breaks the rule {broken[0]}: {sentence.text!r}")
