"""The data folder of notebook 01: records as JSON files, what was measured of them, reading back.

Outside of the files a record is a Record; here alone it is written as JSON and read again.
"""

import dataclasses
import gc
import hashlib
import itertools
import json
import math
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

from tqdm.auto import tqdm

from golf_nb_utils.files import (
    MANIFEST,
    ArtifactMismatchError,
    MissingArtifactError,
    hold,
    write_json,
    write_manifest,
    write_text,
    write_with,
)
from golf_nb_utils.golf.corrections import Corrections, read_corrections, write_rejected
from golf_nb_utils.golf.diversity import leakage, measure_diversity
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.golf.records import (
    SPLITS,
    Deck,
    Record,
    RecordError,
    deal_topics,
    make_deck,
    make_record,
    split_sizes,
)
from golf_nb_utils.prompt import END_OF_TEXT
from golf_nb_utils.settings import DataConfig

SAMPLE = 10_000
"""Answers of the training set, from the first on, that the measures are taken over."""
REPORTED = (
    "area", "topic", "fault", "chain", "kind", "severity", "club", "level", "handedness",
    "audience", "source",
)  # fmt: skip
"""The keys of meta whose values the report counts."""
CHUNK = 1000
"""Records that a worker process makes at a time."""


def records_path(folder: Path, split: str) -> Path:
    """Return the path of a split's JSON file in the data folder."""
    return folder / f"golf_feedback_{split}.json"


def write_dataset(
    folder: Path,
    knowledge: KnowledgeBase,
    config: DataConfig,
    corrections: Path | None = None,
    workers: int | None = None,
) -> list[Path]:
    """Write golf_feedback_{split}.json, dataset_report.json and README.md; return their paths.

    A file has one record a line, and the training set is streamed into it: memory does not grow
    with it. Usable lines of the file `corrections` (see golf.corrections.read_corrections) join it,
    the others go to feedback_rejected.jsonl. `workers` processes make the records (default: one per
    core for a large set, else none); the bytes do not depend on their number. The folder is held
    (files.hold) until `finish`.

    Raises:
        ConfigError, RecordError: see records.make_deck and make_record; the file in question is
            not written.
        FolderInUseError: another process writes the set.
    """
    deck, sizes = make_deck(knowledge, config), split_sizes(config)
    hold(folder, f"notebook 01 with seed {config.seed}")
    if workers is None:
        workers = (os.cpu_count() or 1) if sizes["train"] >= 20 * CHUNK else 0
    told, counts, files = None, Counter(), []
    answers: dict[str, list[str]] = {split: [] for split in sizes}
    # The training set last: what users sent must not come close to an answer of the others.
    for split in ("test", "val", "unseen", "train"):
        chunks = _chunks(deck, knowledge, split, sizes[split], workers if split == "train" else 0)
        if split == "train" and corrections:
            others = list(itertools.chain(*answers.values()))
            told = read_corrections(corrections, knowledge, others)
            files.append(write_rejected(folder / "feedback_rejected.jsonl", told))
            chunks = itertools.chain(chunks, [_encode(told.records)] if told.records else [])
        files.append(records_path(folder, split))
        answers[split] = _stream(files[-1], chunks, sizes[split], counts)
        if config.jsonl:
            files.append(_json_lines(files[-1]))
    # What an earlier run with other settings left does not belong to this set.
    optional = {*folder.glob("golf_feedback_*.jsonl"), folder / "feedback_rejected.jsonl"}
    for stale in optional - set(files):
        stale.unlink(missing_ok=True)
    report = _report(knowledge, config, told, counts, answers)
    files.append(write_json(folder / "dataset_report.json", report))
    files.append(write_text(folder / "README.md", dataset_card(report, config)))
    return files


def _report(
    knowledge: KnowledgeBase,
    config: DataConfig,
    told: Corrections | None,
    counts: Counter,
    answers: dict[str, list[str]],
) -> dict:
    """The content of dataset_report.json; `counts` is {(name of REPORTED, value): records}."""
    sizes, (taught, unseen) = split_sizes(config), deal_topics(knowledge, config)
    report: dict = {
        "records": sizes | {"train": sizes["train"] + len(told.records if told else ())},
        "taught_topics": sorted(taught),
        "unseen_topics": sorted(unseen),
    }
    if told:
        report["user_feedback"] = told.counts
    report["names"] = {topic.id: topic.title for topic in knowledge.topics}
    report["names"] |= {fault.id: fault.name for fault in knowledge.faults}
    for name in REPORTED:
        mine = {value: count for (key, value), count in sorted(counts.items()) if key == name}
        report[name] = mine
    held_out = {split: answers[split] for split in ("val", "test", "unseen")}
    return report | {
        "measured_over": {split: len(texts) for split, texts in answers.items()},
        "diversity": measure_diversity(answers["train"]),
        "leakage": leakage(held_out, answers["train"]),
        "knowledge_sha256": knowledge_hash(knowledge),
    }


def finish(folder: Path, files: list[Path], config: DataConfig) -> Path:
    """Write the manifest of the data folder, last: `files` with their hashes, and the settings."""
    settings = {
        name: value for name, value in dataclasses.asdict(config).items() if name != "output_root"
    }
    return write_manifest(folder, "notebook 01", files, config=settings)


def require_made_for(model_size: str, folder: Path, manifest: dict) -> None:
    """Refuse records that were made for `tiny` where a GPT-2 is to learn, and the other way.

    The presets of the two differ in what is taught.

    Raises:
        ArtifactMismatchError: the manifest of the data in `folder` tells of the other kind, or does
            not tell.
    """
    made = manifest.get("config")
    told = ("model_size", str), ("n_examples", int)
    if not isinstance(made, dict) or not all(isinstance(made.get(n), kind) for n, kind in told):
        raise ArtifactMismatchError(
            f"{folder / MANIFEST} does not tell the model_size and n_examples of the records; "
            "run notebook 01 again."
        )
    if (made["model_size"] == "tiny") != (model_size == "tiny"):
        raise ArtifactMismatchError(
            f"{folder} holds {made['n_examples']:,} records that were made for model_size "
            f"{made['model_size']!r}, expected those for {model_size!r}; run notebook 01 with this "
            "size, or choose the same in all notebooks."
        )


def require_same_data(folder: Path, manifest: dict, trained_with: dict | None) -> None:
    """Refuse other records than those a model was fine-tuned with.

    What it learnt may stand among those that it would be tested on. `trained_with` is `data` of the
    model's sidecar.

    Raises:
        ArtifactMismatchError: a split's file in `folder` is another one, as its manifest tells.
    """
    for split in SPLITS:
        name = records_path(folder, split).name
        if manifest["files"].get(name) != (trained_with or {}).get(name):
            raise ArtifactMismatchError(
                f"{folder / name} is not the file that belonged to the data when the model was "
                "fine-tuned; run notebook 03 again, or attach the data that it was run with."
            )


def knowledge_hash(knowledge: KnowledgeBase) -> str:
    """Return the SHA-256 of all sentences with their ids: the state of the knowledge base."""
    return hashlib.sha256(json.dumps(knowledge.sentences(), sort_keys=True).encode()).hexdigest()


# Streaming: chunks of records as bytes, made here or by worker processes, in order.


def _chunks(
    deck: Deck, knowledge: KnowledgeBase, split: str, size: int, workers: int
) -> Iterator[tuple[bytes, Counter]]:
    """The records of a split, chunk by chunk, each with what is counted of them."""
    ranges = [(split, start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]
    if workers < 2:
        yield from (_make_chunk(deck, *chunk) for chunk in ranges)
        return
    # spawn: a notebook's process has threads (torch, tqdm), which a forked child would inherit in
    # whatever state they are.
    job = (knowledge, deck.config)
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, job) as pool:
        running: deque = deque()
        for chunk in ranges:
            with _without_main_script():
                running.append(pool.submit(_work, *chunk))
            if len(running) > 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Let processes that are started now not run this process's script, as spawn has them do.

    A notebook saved as a script has no `if __name__ == "__main__"`: each worker would begin the
    whole notebook, workers included. They need nothing of it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


_worker_deck: Deck | None = None


def _start_worker(knowledge: KnowledgeBase, config: DataConfig) -> None:
    global _worker_deck
    _worker_deck = make_deck(knowledge, config)
    # The deck is large and stays: the garbage collector need not walk through it again and again.
    gc.collect()
    gc.freeze()


def _work(split: str, start: int, stop: int) -> tuple[bytes, Counter]:
    return _make_chunk(_worker_deck, split, start, stop)


def _make_chunk(deck: Deck, split: str, start: int, stop: int) -> tuple[bytes, Counter]:
    return _encode(make_record(deck, split, number) for number in range(start, stop))


_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False)


def _encode(records: Iterable[Record]) -> tuple[bytes, Counter]:
    """The records as lines of JSON, and how many have each value of REPORTED."""
    counts: Counter = Counter()
    lines = []
    for record in records:
        for name in REPORTED:
            counts[name, record.meta[name] or "none"] += 1
        # Not dataclasses.asdict, which copies every list below, too: that takes as long again.
        lines.append(_JSON.encode(vars(record)))
    return "\n".join(lines).encode(), counts


def _stream(
    path: Path, chunks: Iterable[tuple[bytes, Counter]], size: int, counts: Counter
) -> list[str]:
    """Write the chunks to a JSON file, a list with one record a line, and add to `counts`.

    Returns the first SAMPLE answers.
    """
    answers: list[str] = []
    large = size >= 20 * CHUNK
    bar = tqdm(total=size, unit=" records", unit_scale=True, desc=path.stem, disable=not large)

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file, bar:
            file.write(b"[")
            separator = b"\n"
            for lines, counted in chunks:
                counts.update(counted)
                kept = lines.split(b"\n")[: SAMPLE - len(answers)]
                answers.extend(json.loads(line)["output"] for line in kept)
                file.write(separator + lines.replace(b"\n", b",\n"))
                separator = b",\n"
                bar.update(lines.count(b"\n") + 1)
            file.write(b"\n]\n")

    write_with(path, write)
    return answers


def _json_lines(path: Path) -> Path:
    """Write the records of a JSON file beside it, one object a line."""

    def write(temporary: Path) -> None:
        with open(path, "rb") as records, open(temporary, "wb") as file:
            file.writelines(
                line.rstrip(b",\n") + b"\n" for line in records if line.startswith(b"{")
            )

    return write_with(path.with_suffix(".jsonl"), write)


# What is said about the set, for people.


# The values that a data hub knows for the size of a set.
_SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M",
          10**7: "1M<n<10M", math.inf: "10M<n<100M"}  # fmt: skip


def dataset_card(report: dict, config: DataConfig) -> str:
    """Return the card, README.md beside the files: source, licence, fields, how made, known limits.

    `report` is the content of dataset_report.json.
    """
    sizes, leaks, diversity = report["records"], report["leakage"]["test"], report["diversity"]
    total = sum(sizes.values())
    rows = "\n".join(f"| golf_feedback_{split}.json | {n:,} |" for split, n in sizes.items())
    return f"""---
license: mit
language: en
task_categories: [text-generation]
pretty_name: Golf swing feedback
size_categories: [{next(name for limit, name in _SIZES.items() if total < limit)}]
---

# Golf swing feedback

Instruction records that turn the scores of a golf swing into coaching. Every sentence of every
generated answer renders one listed item of the project's knowledge base, filled with numbers of
the input alone: answers are drawn from a grammar that holds nothing else.

| file | records |
| --- | --- |
{rows}

- **Source**: the project's own knowledge base (SHA-256 of its sentences
  {report["knowledge_sha256"][:16]}), written from cited sources; records with `meta.source`
  `extra_knowledge` or `user_feedback` rest on what the user added. User feedback is not drawn,
  only validated.
- **Licence**: MIT, as the project. Texts of users are theirs: ask before you publish a set that
  holds any.
- **Fields**: `instruction`, `input`, `output` (texts, the form that Alpaca tools read) and `meta`
  (area, topic, fault, chain, drill, kind of answer, meaning of the words, scores, severity, club,
  level, handedness, audience,
  `items`: the ids of the knowledge items used, group, source, unseen_topic).
- **How made**: notebook 01 with seed {config.seed} and n_examples {config.n_examples:,}; the same
  seed gives the same bytes.
- **Splits**: by group (fault, severity, club family, level). Of the test answers {leaks["exact"]}
  are found in train and {leaks["near"]:.1%} have a near duplicate there (character-3-gram Jaccard
  of 0.8 or more), measured over the first {report["measured_over"]["train"]:,} training answers.
  The file `unseen` holds {len(report["unseen_topics"])} topics that no other file is about:
  {", ".join(report["unseen_topics"]) or "none"}.
- **Variety**, over the same answers: the commonest answer without its numbers has a share of
  {diversity["commonest_answer_skeleton"]:.2%}; mean pairwise similarity
  {diversity["mean_pairwise_jaccard"]:.2f}.
- **Known limits**: English only; scores are drawn at random, not from golfers; answers join
  sentences of a fixed store, so they vary less than a coach's; what a score means for a body is
  hedged, since no video is seen; grades of evidence stand in the knowledge base.
"""


# Reading.


def first_records(path: Path, count: int) -> list[Record]:
    """Read the first records of a split's file, one a line, without reading the rest."""
    with open(path, encoding="utf-8") as file:
        lines = (line.rstrip(",\n") for line in file)
        found = itertools.islice((line for line in lines if line not in ("[", "]")), count)
        return [_record(json.loads(line)) for line in found]


def read_records(path: Path) -> list[Record]:
    """Read a JSON list of records and check each one.

    Raises:
        MissingArtifactError: the file does not exist; the message names the notebook to run.
        RecordError: the file is no list of records, or a record lacks a field, has an empty one, or
            has the end-of-text token in its answer; file and number are named.
    """
    if not path.is_file():
        raise MissingArtifactError(
            f"{path} does not exist: run notebook 01 first, or attach its output."
        )
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}); run notebook 01 again."
        ) from error
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg}); run notebook 01 again."
        ) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets of any depth.
        raise RecordError(f"{path}: not valid JSON ({error}); run notebook 01 again.") from error
    if not isinstance(records, list) or not records:
        found = "an empty list" if records == [] else type(records).__name__
        raise RecordError(
            f"{path}: expected a list of records, found {found}; "
            "run notebook 01 with a larger n_examples."
        )
    for number, record in enumerate(records):
        for name in ("instruction", "input", "output"):
            value = record.get(name) if isinstance(record, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise RecordError(
                    f"{path}: record {number} needs a non-empty text in {name!r}, found {value!r}."
                )
        # What a golfer says may hold it, as text like any other; an answer ends with it.
        if END_OF_TEXT in record["output"]:
            raise RecordError(
                f"{path}: the output of record {number} holds {END_OF_TEXT}, which training adds "
                "at its end; take it out."
            )
    return [_record(values) for values in records]


def _record(values: dict) -> Record:
    """The record of a JSON object, which may be another tool's: it has no `meta`, or more keys."""
    texts = (values[name] for name in ("instruction", "input", "output"))
    return Record(*texts, values.get("meta", {}))
