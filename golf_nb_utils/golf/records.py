"""From knowledge to training records: one fault a record, every sentence of the answer a rendering of one listed item.

Records are drawn split by split from disjoint groups (fault, severity, club family, level), and a draw that comes close to
an answer of the test or validation set is drawn again, so that no answer skeleton of these is ever trained on. Record
number i of a split depends on the knowledge, the seed, the settings and i alone, whoever makes it and in what company.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass, field
from functools import lru_cache

from golf_nb_utils.golf.answer import ADAPTED, Entry, build_index, check_record
from golf_nb_utils.golf.areas import (
    ALL_SCORES,
    AREAS,
    AUDIENCES,
    CLUB_FAMILIES,
    CLUBS,
    HANDEDNESS,
    LEVELS,
    SEVERITIES,
)
from golf_nb_utils.golf.checks import Request, Verifier
from golf_nb_utils.golf.knowledge import FIGURE, Drill, Fault, Item, KnowledgeBase, Topic
from golf_nb_utils.golf.request import make_entry
from golf_nb_utils.golf.similarity import NEAR_DUPLICATE, trigrams
from golf_nb_utils.golf.wording import INSTRUCTIONS, SAY, score_slots
from golf_nb_utils.prompt import format_feedback
from golf_nb_utils.settings import ConfigError, DataConfig

SPLITS = ("train", "val", "test", "unseen")
# A share measured on a thousand answers is known within three points; what a larger set would hold is better trained on.
LARGEST_EVALUATION_SET = 1000

# A twelfth of the records has no fault to show; the shares of the optional lines are this project's choice.
KEEP_SHARE = 1 / 12
SHOWN = {"club": 0.9, "level": 0.9, "handedness": 0.85, "observation": 0.9}
# Of AUDIENCES, in their order: 73 % adults, 12 % seniors, 8 % juniors, 7 % with limited mobility.
AUDIENCE_SHARES_SUMMED = (0.73, 0.85, 0.93, 1.0)
STEP_ORDERS = (
    ("steps", "drill", "check"),
    ("check", "steps", "drill"),
    ("drill", "steps", "check"),
)
# Joined trigrams of the items leave out the sentences with scores, so the draw keeps more distance than the bar asks.
KEPT_DISTANCE = NEAR_DUPLICATE - 0.08


_AREA_NAMES = tuple(AREAS)
_CLUBS_OF = {
    family: tuple(club for club, its_family in CLUBS.items() if its_family == family)
    for family in CLUB_FAMILIES
}
_CASES = {
    case: 1 << place
    for place, case in enumerate(
        itertools.product(CLUB_FAMILIES, LEVELS, AUDIENCES, ("none", *SEVERITIES))
    )
}


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


@dataclass
class Plan:
    """All that drawing a record needs, the same in every process; see make_plan."""

    config: DataConfig
    extra_topics: frozenset[str]
    topics: dict[str, Topic]
    faults: dict[str, Fault]
    drills: dict[str, dict[str, tuple[Drill, ...]]]
    """{split: {fault id: drills}}"""
    groups: dict[str, dict[str, tuple[list[Group], list[Group]]]]
    """{split: {area: (groups with a fault, groups without)}}"""
    index: dict[str, Entry]
    grams: dict[str, int]
    """{id: character 3-grams of the text, as the bits of an integer}"""
    names: dict[str, tuple[str, ...]]
    """{item id: the ids of the phrasings that may be drawn}"""
    scope: dict[str, int]
    """{id of an item or drill: the cases (club family, level, audience, severity) that it is for, as bits}"""
    with_figure: frozenset[str]
    """Ids of the items that say a number."""
    avoided: dict[str, dict[str, list[tuple[int, int]]]]
    """{split: {fault or topic: 3-grams, and their number, of the answers that a record must not come close to}}"""
    pools: dict = field(default_factory=dict)
    """{case: {part: items}}; cases with the same items share one dict"""
    shared_pools: dict = field(default_factory=dict)


def split_sizes(config: DataConfig) -> dict[str, int]:
    """Return the number of records a split: 400 gives 340, 40 and 20, and 20 of unseen topics on top.

    Val and test have at most LARGEST_EVALUATION_SET records; with fewer than three in all, some splits are empty.
    """
    n = config.n_examples
    test = min(max(1, round(n * config.test_fraction)), LARGEST_EVALUATION_SET) if n >= 2 else 0
    val = min(max(1, round(n * config.val_fraction)), LARGEST_EVALUATION_SET) if n >= 3 else 0
    return {
        "train": n - val - test,
        "val": val,
        "test": test,
        "unseen": test if config.unseen_topics_per_area else 0,
    }


def generate_records(knowledge: KnowledgeBase, config: DataConfig) -> dict[str, list[dict]]:
    """Make the records of all splits in memory: {"train": [...], "val": [...], "test": [...], "unseen": [...]}.

    Raises:
        ConfigError: an area has too few topics, see deal_topics.
        GroundingError, RecordError: see make_record.
    """
    plan = make_plan(knowledge, config)
    return {
        split: [make_record(plan, split, index) for index in range(size)]
        for split, size in split_sizes(config).items()
    }


def vocabulary_records(knowledge: KnowledgeBase) -> list[dict]:
    """Return the records whose language the vocabulary of `tiny` is learnt from: always the same ones.

    They are about more topics than `tiny` is taught, whose words alone are too few for its vocabulary.
    """
    return generate_records(
        knowledge, DataConfig.for_size("tiny", n_examples=2000, topics_per_area=2)
    )["train"]


def deal_topics(knowledge: KnowledgeBase, config: DataConfig) -> tuple[set[str], set[str]]:
    """Return the ids of the topics that are taught, and of those that only the unseen records are about; drawn by the seed.

    Raises:
        ConfigError: an area has too few topics.
    """
    taught, unseen = set(knowledge.extra_topics), set()
    n_unseen = config.unseen_topics_per_area
    for area in AREAS:
        topics = [
            topic.id
            for topic in knowledge.topics
            if topic.area == area and topic.id not in knowledge.extra_topics
        ]
        if len(topics) < n_unseen + max(1, config.topics_per_area):
            raise ConfigError(
                f"{area} has {len(topics)} topics, too few to keep {n_unseen} unseen and teach {max(1, config.topics_per_area)}; "
                "lower unseen_topics_per_area or topics_per_area."
            )
        random.Random(f"{config.seed}/topics/{area}").shuffle(topics)
        unseen.update(topics[:n_unseen])
        taught.update(
            topics[n_unseen : n_unseen + config.topics_per_area]
            if config.topics_per_area
            else topics[n_unseen:]
        )
    return taught, unseen


def make_plan(knowledge: KnowledgeBase, config: DataConfig) -> Plan:
    """Settle who may be drawn for which split, and draw the answers of test and val that training must not come close to.

    Raises:
        ConfigError: an area has too few topics, see deal_topics.
        RecordError: the knowledge is too small for a test and a validation set that keep away from each other.
    """
    taught, unseen = deal_topics(knowledge, config)
    index = build_index(knowledge)
    plan = _bare_plan(knowledge, config, index, _split_drills(knowledge, taught, unseen))
    plan.groups.update(_split_groups(knowledge, config, taught, unseen))
    plan.grams.update(_gram_bits(index))
    # Test first, then val at a distance from it, then train at a distance from both.
    for split, then in (("test", ("val", "train")), ("val", ("train",))):
        for number in range(split_sizes(config)[split]):
            group, chosen = _draw(plan, split, number)
            bits = _bits(plan, chosen)
            for other in then:
                plan.avoided[other].setdefault(group.fault or group.topic, []).append(
                    (bits, bits.bit_count())
                )
    return plan


def _bare_plan(
    knowledge: KnowledgeBase, config: DataConfig, index: dict[str, Entry], drills: dict
) -> Plan:
    """A plan without groups, and with nothing to keep away from."""
    items = [item for topic in knowledge.topics for _, _, item in topic.items()]
    return Plan(
        config=config,
        extra_topics=knowledge.extra_topics,
        topics={topic.id: topic for topic in knowledge.topics},
        faults={fault.id: fault for fault in knowledge.faults},
        drills=drills,
        groups={},
        index=index,
        grams={},
        names={item.id: tuple(item.named_phrasings)[: config.phrasings or None] for item in items},
        scope={
            item.id: _cases(item.clubs, item.levels, item.audiences, item.severities)
            for item in items
        }
        | {
            drill.id: _cases(drill.clubs, drill.levels, drill.audiences, ("none", *SEVERITIES))
            for drill in knowledge.drills
        },
        with_figure=frozenset(item.id for item in items if any(map(FIGURE.search, item.phrasings))),
        avoided={split: {} for split in SPLITS},
    )


def _split_drills(
    knowledge: KnowledgeBase, taught: set[str], unseen: set[str]
) -> dict[str, dict[str, tuple[Drill, ...]]]:
    """An unseen topic keeps its drills to itself, and what a user brought is for training alone."""
    drills: dict[str, dict[str, tuple[Drill, ...]]] = {split: {} for split in SPLITS}
    for fault in knowledge.faults:
        fixing = knowledge.drills_for(fault.id)
        if fault.topic in unseen:
            drills["unseen"][fault.id] = tuple(
                drill for drill in fixing if drill.topic == fault.topic
            )
        if fault.topic in taught:
            drills["train"][fault.id] = tuple(drill for drill in fixing if drill.topic in taught)
            drills["val"][fault.id] = drills["test"][fault.id] = tuple(
                drill
                for drill in drills["train"][fault.id]
                if drill.topic not in knowledge.extra_topics
            )
    return drills


def _split_groups(
    knowledge: KnowledgeBase, config: DataConfig, taught: set[str], unseen: set[str]
) -> dict[str, dict]:
    """Deal the groups of every fault out to the splits, so that each split has each fault, and no group is in two."""
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    dealt: dict[str, list[Group]] = {split: [] for split in SPLITS}
    for topic in knowledge.topics:
        for fault in (None, *topic.faults):
            severities = ("none",) if fault is None else topic.severities
            groups = [
                Group(topic.id, fault.id if fault else "", severity, club, level)
                for severity in severities for club in topic.clubs for level in topic.levels
            ]  # fmt: skip
            if topic.id in unseen or topic.id in knowledge.extra_topics:
                dealt["unseen" if topic.id in unseen else "train"] += groups
                continue
            if topic.id not in taught:
                continue
            random.Random(f"{config.seed}/{topic.id}/{fault.id if fault else ''}").shuffle(groups)
            start = 0
            for split, share in shares.items():
                count = min(max(1, round(len(groups) * share)), (len(groups) - 1) // 2)
                dealt[split] += groups[start : start + count]
                start += count
            dealt["train"] += groups[start:]
    area_of = {topic.id: topic.area for topic in knowledge.topics}
    return {
        split: {
            area: (
                [group for group in groups if area_of[group.topic] == area and group.fault],
                [group for group in groups if area_of[group.topic] == area and not group.fault],
            )
            for area in AREAS
        }
        for split, groups in dealt.items()
    }


def _gram_bits(index: dict[str, Entry]) -> dict[str, int]:
    number: dict[str, int] = {}
    bits = {}
    for name, entry in index.items():
        bits[name] = 0
        for gram in trigrams(entry.right):
            bits[name] |= 1 << number.setdefault(gram, len(number))
    return bits


# One record.


def make_record(plan: Plan, split: str, number: int) -> dict:
    """Make record `number` of a split, and prove it.

    Raises:
        GroundingError: the record failed its proof; that is a bug, here or in the knowledge.
        RecordError: the knowledge is too small to keep the record away from the test and validation sets.
    """
    _, chosen = _draw(plan, split, number)
    record = _render(plan, split, chosen)
    check_record(record, plan.index)
    return record


def _draw(plan: Plan, split: str, number: int) -> tuple[Group, dict]:
    """Draw what record `number` of a split is made of, until it is far enough from the answers that it must avoid."""
    seed = hashlib.blake2b(f"{plan.config.seed}/{split}/{number}".encode(), digest_size=8).digest()
    rng = random.Random(int.from_bytes(seed, "big"))
    area = _AREA_NAMES[number % len(_AREA_NAMES)]
    with_fault, without_fault = plan.groups[split][area]
    for _ in range(200):
        groups = (
            (without_fault if rng.random() < KEEP_SHARE else with_fault)
            or without_fault
            or with_fault
        )
        if not groups:
            raise RecordError(
                f"the knowledge on {area} is too small to give {split} a group (fault, severity, club, level) of its own."
            )
        group = groups[int(rng.random() * len(groups))]
        chosen = _choose(plan, split, group, rng)
        avoided = plan.avoided[split].get(group.fault or group.topic)
        if not avoided:
            return group, chosen
        bits = _bits(plan, chosen)
        size = bits.bit_count()
        for other, other_size in avoided:
            shared = (bits & other).bit_count()
            if shared >= KEPT_DISTANCE * (size + other_size - shared):
                break
        else:
            return group, chosen
    raise RecordError(
        f"record {number} of {split}: 200 draws in a row came close to an answer of the test or validation set; "
        f"the knowledge on {area} is too small for these fractions, so add phrasings or lower val_fraction and test_fraction."
    )


def _bits(plan: Plan, chosen: dict) -> int:
    bits = 0
    for name in chosen["names"]:
        bits |= plan.grams[name]
    return bits


@lru_cache(maxsize=1 << 14)
def _cases(
    clubs: tuple[str, ...],
    levels: tuple[str, ...],
    audiences: tuple[str, ...],
    severities: tuple[str, ...],
) -> int:
    return sum(_CASES[case] for case in itertools.product(clubs, levels, audiences, severities))


def _case_pools(
    plan: Plan, split: str, group: Group, audience: str, club_shown: bool, level_shown: bool
) -> dict | None:
    """{part: items} for a case, or None where the input must say more for an answer to exist."""
    key = (split in ("train", "unseen"), group, audience, club_shown, level_shown)
    if key in plan.pools:
        return plan.pools[key]
    topic, fault = plan.topics[group.topic], plan.faults.get(group.fault)
    clubs = (group.club_family,) if club_shown else topic.clubs
    levels = (group.level,) if level_shown else topic.levels
    # Where the input does not say the club or level, an item must hold for all of the topic's.
    wanted = _cases(clubs, levels, (audience,), (group.severity,))

    def fitting(items: tuple) -> tuple:
        return tuple(item for item in items if plan.scope[item.id] & wanted == wanted)

    def pool(items: tuple[Item, ...]) -> tuple[Item, ...]:
        fit = fitting(items)
        # A beginner gets no numbers where there is another way to say it.
        return (
            tuple(item for item in fit if item.id not in plan.with_figure) or fit
            if "beginner" in levels
            else fit
        )

    parts: dict = {part: pool(getattr(topic, part)) for part in ("ideal", "keep", "cues", "safety")}
    if audience != "adult":
        parts["adaptations"] = pool(topic.adaptations)
    if fault:
        parts |= {
            part: pool(getattr(fault, part))
            for part in ("observation", "cause", "effect", "feel", "check", "steps")
        }
    drills = fitting(plan.drills[split][fault.id] if fault else topic.drills)
    # The answer must hold for every club or level of the drill's own topic, too.
    parts["drill"] = tuple(
        drill for drill in drills
        if (club_shown or plan.index[drill.id].any_club) and (level_shown or plan.index[drill.id].any_level)
    )  # fmt: skip
    if fault and split == "all":
        # An answer says one of the two, so a request is not turned away for want of the other.
        parts |= {
            "effect": parts["effect"] or parts["feel"],
            "feel": parts["feel"] or parts["effect"],
        }
    content = tuple(tuple(map(id, items)) for items in parts.values())
    plan.pools[key] = plan.shared_pools.setdefault(content, parts) if all(parts.values()) else None
    return plan.pools[key]


def _choose(
    plan: Plan, split: str, group: Group, rng: random.Random, request: Request | None = None
) -> dict:
    """Draw everything about a record: scores, lines that are shown, and the items in the order of the answer.

    With a request, what it says is taken instead of drawn.
    """
    draw = rng.random

    def one(values):
        return values[int(draw() * len(values))]

    topic = plan.topics[group.topic]
    audience = rng.choices(AUDIENCES, cum_weights=AUDIENCE_SHARES_SUMMED)[0]
    if audience not in topic.audiences:
        audience = "adult"
    club_shown, level_shown = draw() < SHOWN["club"], draw() < SHOWN["level"]
    if request:
        audience, club_shown, level_shown = (
            request.audience,
            bool(request.values["club"]),
            bool(request.values["level"]),
        )
    parts = _case_pools(plan, split, group, audience, club_shown, level_shown)
    if parts is None:
        club_shown = level_shown = True
        parts = _case_pools(plan, split, group, audience, True, True)

    target = 65 + int(draw() * 31)
    # Uniform in the score itself, so that the low scores, too, are met often enough to be learnt.
    low, high = {
        "none": (target - 4, 99), "slight": (target - 14, target - 5), "clear": (target - 29, target - 15), "large": (5, target - 30),
    }[group.severity]  # fmt: skip
    current = low + int(draw() * (high - low + 1))
    scores = {name: (20 + int(draw() * 80)) / 100 for name in ALL_SCORES} | {
        topic.area: current / 100
    }
    handedness = HANDEDNESS[draw() < 0.2]
    names: list[str] = []

    def phrase(item: Item) -> str:
        name = one(plan.names[item.id])
        names.append(name)
        return name

    def some(items: tuple[Item, ...], in_order: bool = False) -> list[str]:
        """Two different ones of the items, or the only one."""
        if len(items) < 2:
            return [phrase(items[0])]
        first, second = int(draw() * len(items)), int(draw() * (len(items) - 1))
        second += second >= first
        if in_order and second < first:
            first, second = second, first
        return [phrase(items[first]), phrase(items[second])]

    ideal = some(parts["ideal"])
    if group.fault:
        happening = [
            phrase(one(parts["observation"])),
            phrase(one(parts["cause"])),
            phrase(one(parts["effect" if draw() < 0.7 else "feel"])),
        ]
        steps = some(parts["steps"], in_order=True)
        check = phrase(one(parts["check"]))
    else:
        happening, check = [], ""
        steps = some(parts["keep"], in_order=True)
    drill = one(parts["drill"])
    names.append(drill.id)
    variation = ""
    if group.level in ("beginner", "advanced") and level_shown and draw() < 0.5:
        variation = phrase(drill.easier if group.level == "beginner" else drill.harder)
    chosen = {
        "group": group, "names": names, "ideal": ideal, "happening": happening, "steps": steps, "check": check,
        "drill": drill.id, "variation": variation, "order": STEP_ORDERS[int(draw() * len(STEP_ORDERS))],
        "cue": phrase(one(parts["cues"])),
        "adaptation": phrase(one(parts["adaptations"])) if audience != "adult" else "",
        # Who is about to change much gets the safety note; a small refinement does not need one.
        "safety": phrase(one(parts["safety"])) if group.severity == "large" else "",
        "current": current / 100, "target": target / 100,
        "scores": scores if draw() < plan.config.all_scores_fraction else None,
        "club": one(_CLUBS_OF[group.club_family]) if club_shown else None,
        "level": group.level if level_shown else None,
        "handedness": handedness,
        "handedness_shown": handedness == "left" or draw() < SHOWN["handedness"],
        "audience": audience,
        "observation_shown": bool(group.fault) and draw() < SHOWN["observation"],
        "instruction": one(INSTRUCTIONS),
        "say": {kind: int(draw() * len(texts)) for kind, texts in SAY.items()},
        "strength_shown": draw() < 0.7,
    }  # fmt: skip
    if request:
        values = request.values
        chosen |= {
            "current": values["current_score"],
            "target": values["target_score"],
            "scores": values["all_scores"],
        }
        chosen |= {
            "club": values["club"],
            "level": values["level"],
            "handedness": values["handedness"] or "right",
        }
    return chosen


def _render(plan: Plan, split: str, chosen: dict) -> dict:
    group = chosen["group"]
    topic = plan.topics[group.topic]
    fault = plan.faults.get(group.fault)
    left = chosen["handedness"] == "left"
    slots = score_slots(topic.area, chosen["current"], chosen["target"], chosen["scores"])
    used: list[str] = []

    def text(name: str) -> str:
        used.append(name)
        entry = plan.index[name]
        return entry.left if left else entry.right

    def say(kind: str) -> str:
        place = chosen["say"][kind]
        used.append(f"say.{kind}.{place + 1}")
        return SAY[kind][place].format_map(slots)

    should = [*map(text, chosen["ideal"]), say("target")]
    happening = [say("score"), *map(text, chosen["happening"])]
    if not fault:
        happening.append(say("praise"))
    if "strength" in slots and chosen["strength_shown"]:
        happening.append(say("strength"))
    if "weakest" in slots:
        happening.append(say("weakest" if fault else "weakest_keep"))

    lines = []
    for part in chosen["order"]:
        if part == "steps":
            lines += map(text, chosen["steps"])
        elif part == "check" and chosen["check"]:
            lines.append(f"Check: {text(chosen['check'])}")
        elif part == "drill":
            lines.append(text(chosen["drill"]))
            if chosen["variation"]:
                lines[-1] += (
                    f" {'Easier' if group.level == 'beginner' else 'Harder'}: {text(chosen['variation'])}"
                )
    to_do = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    if chosen["adaptation"]:
        to_do.append(f"{ADAPTED[chosen['audience']]}: {text(chosen['adaptation'])}")
    to_do.append(f"Swing thought: {text(chosen['cue'])}")
    if fault:
        to_do.append(say("goal"))
    if chosen["safety"]:
        to_do.append(f"Safety: {text(chosen['safety'])}")

    entry = make_entry(
        topic.area, chosen["current"], chosen["target"], chosen["club"], chosen["level"],
        chosen["handedness"] if chosen["handedness_shown"] else None,
        fault.name if chosen["observation_shown"] else None,
        chosen["scores"],
        chosen["audience"] if chosen["audience"] != "adult" else None,
        chosen["instruction"],
    )  # fmt: skip
    is_extra = bool(plan.extra_topics) and any(
        plan.index[name].topic in plan.extra_topics for name in chosen["names"]
    )
    return {
        **entry,
        "output": format_feedback(" ".join(should), " ".join(happening), "\n".join(to_do)),
        "meta": {
            "area": topic.area, "topic": topic.id, "fault": group.fault, "drill": chosen["drill"],
            "current_score": chosen["current"], "target_score": chosen["target"], "all_scores": chosen["scores"],
            "severity": group.severity, "club": chosen["club"], "level": chosen["level"], "handedness": chosen["handedness"],
            "audience": chosen["audience"], "items": used, "group": group.key,
            "source": "extra_knowledge" if is_extra else "knowledge", "unseen_topic": split == "unseen",
        },
    }  # fmt: skip


# An answer to a request.


@dataclass(frozen=True)
class Template:
    """All that answering any request from the whole knowledge base needs; see make_template."""

    plan: Plan
    verifier: Verifier
    groups: dict = field(default_factory=dict)
    """{(area, club family, level, audience, severity): (groups that have an answer, those to draw from)}"""


def make_template(knowledge: KnowledgeBase, verifier: Verifier | None = None) -> Template:
    """Prepare answer_for; no topic is kept away, and a verifier of the same knowledge may be shared."""
    verifier = verifier or Verifier(knowledge)
    drills = {fault.id: knowledge.drills_for(fault.id) for fault in knowledge.faults}
    return Template(_bare_plan(knowledge, DataConfig(), verifier.index, {"all": drills}), verifier)


def answer_for(template: Template, input_text: str, seed: int) -> dict:
    """Make the record (instruction, input, output, meta) of a right answer to a request, the same for the same input and seed.

    Defined for every input that parse_input accepts. An observation that names a fault of the area settles what the answer is
    about, if the knowledge has an answer for this golfer; any other observation is ignored, and the seed draws the fault. A
    score that meets its target gets praise, whatever the observation. Where All Scores has another value for the area than
    Current Score, Current Score counts: the record's meta then says so, and check_record would refuse the input. The answer
    passes Verifier.verify, always.

    Raises:
        InputFormatError: the input is malformed.
        RecordError: the knowledge has no answer for such a golfer; the repository's own has one for every golfer.
    """
    request = template.verifier.request(input_text)
    groups = _groups_for(template, request)
    if not groups:
        wanted = ", ".join(
            value or f"any {name}"
            for name, value in zip(("club", "level"), request.case[:2], strict=True)
        )
        raise RecordError(
            f"the knowledge on {request.values['area']} has no answer for {wanted}, {request.audience}, with a {request.severity} gap; "
            "add a topic for them."
        )
    digest = hashlib.blake2b(
        f"{seed}/{input_text}".encode(errors="surrogatepass"), digest_size=8
    ).digest()
    rng = random.Random(int.from_bytes(digest, "big"))
    for _ in range(20):
        chosen = _choose(template.plan, "all", rng.choice(groups), rng, request)
        record = _render(template.plan, "all", chosen) | {"input": input_text}
        verdict = template.verifier.verify(record["output"], input_text)
        # Items of two topics, each sound in its file, can break a rule together.
        if verdict.passed:
            return record
    raise RecordError(
        f"20 answers in a row failed their check, the last one so: {' '.join(verdict.reasons)}"
    )


def _groups_for(template: Template, request: Request) -> list[Group]:
    plan, (club, level, audience, severity) = template.plan, request.case
    key = (
        request.values["area"],
        CLUBS[club] if club else "any club",
        level or "any level",
        audience,
        severity,
    )
    if key not in template.groups:
        groups = [
            group
            for topic in plan.topics.values() if topic.area == key[0]
            for group in (Group(topic.id, fault, severity, *key[1:3]) for fault in _faults_at(topic, severity))
            if _case_pools(plan, "all", group, audience, bool(club), bool(level))
        ]  # fmt: skip
        # A golfer who does not say the club is not told about the driver alone, where there is a choice.
        for_all = [
            group for group in groups
            if (club or set(CLUB_FAMILIES) <= set(plan.topics[group.topic].clubs))
            and (level or set(LEVELS) <= set(plan.topics[group.topic].levels))
        ]  # fmt: skip
        template.groups[key] = (groups, for_all or groups)
    groups, preferred = template.groups[key]
    return (
        [group for group in groups if group.fault == request.fault] if request.fault else preferred
    )


def _faults_at(topic: Topic, severity: str) -> tuple[str, ...]:
    return ("",) if severity == "none" else tuple(fault.id for fault in topic.faults)
