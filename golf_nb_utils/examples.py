"""From knowledge to training records: one fault a record, every sentence of the answer a rendering of one listed item.

Records are drawn split by split from disjoint groups (fault, severity, club family, level), so that no answer skeleton
of the test set is ever trained on. Record number i of a split depends on the seed and i alone.
"""

import dataclasses
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from golf_nb_utils.artifacts import MissingArtifactError, write_json, write_manifest
from golf_nb_utils.config import ALL_SCORES, AREAS, CLUBS, HANDEDNESS, DataConfig
from golf_nb_utils.knowledge import Drill, Fault, Item, KnowledgeBase, Topic
from golf_nb_utils.prompts import INSTRUCTION, format_feedback, make_entry

SPLITS = ("train", "val", "test")

# Severity is how far the score lies below the target; the edges are this project's proposal, not a measurement.
SEVERITY_EDGES = {"none": 0.05, "slight": 0.15, "clear": 0.30, "large": 1.01}
SEVERITY_WORDS = {"slight": "a little below", "clear": "clearly below", "large": "far below"}

# All of ten words: the scores then stand in nearly the same place of every prompt, which a small model learns sooner.
INSTRUCTIONS = (
    INSTRUCTION,
    "Turn this swing score into coaching that the golfer understands.",
    "Explain this score and tell the golfer what to practise.",
    "Coach the golfer on the one area that was scored.",
    "Write swing feedback that helps the golfer in this area.",
    "Help this golfer to improve the area that was scored.",
)
# In each of these the current score comes first and the target second; the evaluation relies on it.
SCORE_SENTENCES = (
    "Your current {label} score is {current}, {words} the target of {target}.",
    "Your current {label} score of {current} is {words} the target of {target}.",
    "Your current {label} score is {current}, which is {words} the target of {target}.",
)
TARGET_SENTENCES = (
    "The target for your {label} is {target}.",
    "You are aiming for {target} in {label}.",
    "A {label} score of {target} is the goal.",
)
GOAL_SENTENCES = (
    "Goal: take your {label} from {current} to {target}.",
    "Goal: {label} up from {current} to {target}.",
)
KEEP_SENTENCES = (
    "Your current {label} score is {current}, in line with the target of {target}.",
    "Your current {label} score of {current} is in line with the target of {target}.",
)
KEEP_ADVICE = (
    "There is no fault to chase here, so keep what works.",
    "Nothing needs to be rebuilt, so protect what you do well.",
)


class RecordError(ValueError):
    """A record is not one that a model can be trained on."""


@dataclass(frozen=True)
class Group:
    """What the records of one group share; the unit that is never split between train, val and test."""

    topic: str
    fault: str
    severity: str
    club_family: str
    level: str

    @property
    def key(self) -> str:
        return f"{self.fault or self.topic}/{self.severity}/{self.club_family}/{self.level}"


def severity_of(current: float, target: float) -> str:
    """Return none, slight, clear or large for the gap between two scores of 0..1."""
    gap = round(target - current, 2)
    return next(name for name, edge in SEVERITY_EDGES.items() if gap < edge)


def percent(score: float) -> str:
    """Print a score of 0..1 as an answer has it: 0.45 becomes 45.0%."""
    return f"{round(score, 2) * 100:.1f}%"


def split_sizes(config: DataConfig) -> dict[str, int]:
    """Return the number of records a split: 400 gives 340, 40 and 20."""
    val = max(1, round(config.n_examples * config.val_fraction))
    test = max(1, round(config.n_examples * config.test_fraction))
    return {"train": config.n_examples - val - test, "val": val, "test": test}


def generate_records(knowledge: KnowledgeBase, config: DataConfig) -> dict[str, list[dict]]:
    """Make the records of all splits: {"train": [...], "val": [...], "test": [...]}."""
    groups = _split_groups(knowledge, config)
    return {split: list(_records(knowledge, groups[split], size, f"{config.seed}/{split}")) for split, size in split_sizes(config).items()}


def vocabulary_records(knowledge: KnowledgeBase) -> list[dict]:
    """Return the records whose language the vocabulary of `tiny` is learnt from: always the same ones."""
    return generate_records(knowledge, DataConfig(n_examples=2000))["train"]


def write_records(folder: Path, records: dict[str, list[dict]], config: DataConfig) -> list[Path]:
    """Write golf_feedback_{split}.json, dataset_report.json and, last, manifest.json; return the paths."""
    files = [write_json(records_path(folder, split), rows) for split, rows in records.items()]
    everything = [record["meta"] for rows in records.values() for record in rows]
    report = {"records": {split: len(rows) for split, rows in records.items()}}
    report |= {
        field: dict(sorted(Counter(meta[field] for meta in everything).items()))
        for field in ("area", "fault", "severity", "club", "level", "handedness")
    }
    files.append(write_json(folder / "dataset_report.json", report))
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name != "output_root"}
    return [*files, write_manifest(folder, "notebook 01", files, config=settings)]


def records_path(folder: Path, split: str) -> Path:
    """Return the path of a split's JSON file in the data folder."""
    return folder / f"golf_feedback_{split}.json"


def _split_groups(knowledge: KnowledgeBase, config: DataConfig) -> dict[str, list[Group]]:
    """Deal the groups of every fault out to the splits, so that each split has each fault, and no group is in two."""
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    dealt: dict[str, list[Group]] = {split: [] for split in SPLITS}
    for topic in knowledge.topics:
        for fault in (None, *topic.faults):
            severities = ("none",) if fault is None else tuple(SEVERITY_WORDS)
            groups = [
                Group(topic.id, fault.id if fault else "", severity, club, level)
                for severity in severities for club in topic.clubs for level in topic.levels
            ]  # fmt: skip
            random.Random(f"{config.seed}/{topic.id}/{fault.id if fault else ''}").shuffle(groups)
            start = 0
            for split, share in shares.items():
                count = max(1, round(len(groups) * share))
                dealt[split] += groups[start : start + count]
                start += count
            dealt["train"] += groups[start:]
    return dealt


def _records(knowledge: KnowledgeBase, groups: list[Group], n_records: int, seed: str) -> Iterator[dict]:
    faults = {fault.id: fault for fault in knowledge.faults}
    topics = {topic.id: topic for topic in knowledge.topics}
    drills = {fault_id: knowledge.drills_for(fault_id) for fault_id in faults}
    # Of equal chances: the six areas first, then a fault of the area; a twelfth of the records has no fault to show.
    by_area = {
        area: (
            [g for g in groups if topics[g.topic].area == area and g.fault],
            [g for g in groups if topics[g.topic].area == area and not g.fault],
        )
        for area in AREAS
    }
    for index in range(n_records):
        rng = random.Random(f"{seed}/{index}")
        area = list(AREAS)[index % len(AREAS)]
        with_fault, without_fault = by_area[area]
        group = rng.choice(without_fault if rng.random() < 1 / 12 else with_fault)
        yield _render(knowledge, group, faults.get(group.fault), topics[group.topic], drills.get(group.fault), rng)


def _render(
    knowledge: KnowledgeBase, group: Group, fault: Fault | None, topic: Topic, drills: tuple[Drill, ...] | None, rng: random.Random
) -> dict:
    target = rng.randint(65, 95)
    # Uniform in the score itself, so that the low scores, too, are met often enough to be learnt.
    low, high = {
        "none": (target - 4, 99), "slight": (target - 14, target - 5), "clear": (target - 29, target - 15), "large": (5, target - 30),
    }[group.severity]  # fmt: skip
    current = rng.randint(low, high)
    club = rng.choice([name for name, family in CLUBS.items() if family == group.club_family])
    handedness = rng.choices(HANDEDNESS, (0.8, 0.2))[0]
    scores = {name: rng.randint(20, 99) / 100 for name in ALL_SCORES} | {topic.area: current / 100}
    shown = {"scores": rng.random() < 0.15, "observation": fault is not None and rng.random() < 0.9}
    used: list[str] = []

    def pick(items: tuple[Item, ...], count: int = 1, keep_order: bool = False) -> list[str]:
        fitting = [item for item in items if item.fits(group.club_family, group.level)]
        chosen = rng.sample(fitting, min(count, len(fitting)))
        if keep_order:
            chosen.sort(key=fitting.index)
        used.extend(item.id for item in chosen)
        return [_mirror(item.text, handedness) for item in chosen]

    words = {
        "label": AREAS[topic.area].label,
        "current": percent(current / 100),
        "target": percent(target / 100),
        "words": SEVERITY_WORDS.get(group.severity, ""),
    }
    should = [*pick(topic.ideal, 2), rng.choice(TARGET_SENTENCES).format(**words)]
    if fault is None:
        is_happening = [rng.choice(KEEP_SENTENCES).format(**words), rng.choice(KEEP_ADVICE)]
        candidates = [drill for drill in topic.drills if group.club_family in drill.clubs and group.level in drill.levels]
        steps: list[str] = ["Keep your present routine for this part of the swing."]
        check = []
    else:
        is_happening = [
            rng.choice(SCORE_SENTENCES).format(**words),
            *pick(fault.observation),
            *pick(fault.cause),
            *pick(fault.effect if rng.random() < 0.7 else fault.feel),
        ]
        candidates = [drill for drill in drills if group.club_family in drill.clubs and group.level in drill.levels]
        steps = pick(fault.steps, 2, keep_order=True)
        check = [f"Check: {text}" for text in pick(fault.check)]
    drill = rng.choice(candidates)
    used.append(drill.id)
    drill_text = " ".join(_mirror(step.text, handedness) for step in drill.steps)
    lines = [*steps, f'Drill "{drill.name}" with {drill.equipment}: {drill_text} Dose: {drill.dose}.', *check]
    what_to_do = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    what_to_do.append(f"Swing thought: {pick(topic.cues)[0]}")
    if fault is not None:
        what_to_do.append(rng.choice(GOAL_SENTENCES).format(**words))
    if group.severity == "large":
        # Who is about to change much gets the safety note; a small refinement does not need one.
        what_to_do.append(f"Safety: {pick(topic.safety)[0]}")

    entry = make_entry(
        topic.area, current / 100, target / 100, club, group.level, handedness,
        observation=fault.name if shown["observation"] else None,
        all_scores=scores if shown["scores"] else None,
        instruction=rng.choice(INSTRUCTIONS),
    )  # fmt: skip
    return {
        **entry,
        "output": format_feedback(" ".join(should), " ".join(is_happening), "\n".join(what_to_do)),
        "meta": {
            "area": topic.area, "topic": topic.id, "fault": group.fault, "drill": drill.id,
            "current_score": current / 100, "target_score": target / 100, "all_scores": scores if shown["scores"] else None,
            "severity": group.severity, "club": club, "level": group.level, "handedness": handedness,
            "items": used, "group": group.key,
        },
    }  # fmt: skip


def _mirror(text: str, handedness: str) -> str:
    """Fill {left} and {right}, which are written for a right-hander's ball flight."""
    left, right = ("left", "right") if handedness == "right" else ("right", "left")
    return text.replace("{left}", left).replace("{right}", right)


def read_records(path: Path) -> list[dict]:
    """Read a JSON list of records and check each one.

    Raises:
        MissingArtifactError: the file does not exist; the message names the notebook to run.
        RecordError: the file is no list of records, or a record lacks a field or has an empty one; file and number are named.
    """
    if not path.is_file():
        raise MissingArtifactError(f"{path} does not exist: run notebook 01 first, or attach its output.")
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RecordError(f"{path}:{error.lineno}: not valid JSON ({error.msg}); run notebook 01 again.") from error
    if not isinstance(records, list) or not records:
        raise RecordError(f"{path}: expected a list of records, found {'an empty list' if records == [] else type(records).__name__}.")
    for number, record in enumerate(records):
        for field in ("instruction", "input", "output"):
            value = record.get(field) if isinstance(record, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise RecordError(f"{path}: record {number} needs a non-empty text in {field!r}, found {value!r}.")
    return records
