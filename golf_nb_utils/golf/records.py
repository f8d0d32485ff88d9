"""From knowledge to training records: a request is drawn, then one of its right answers.

What a golfer says stands in the request in somebody's own words (knowledge/wordings), and the chain
that the answer follows is the one that a coach would choose for them: of the causes of a fault the
one that the words tell, else the commonest.

Records are drawn split by split from disjoint groups (subject, severity, club family, level), and a
draw that comes close to an answer of the test or validation set is drawn again, so that no answer
skeleton of these is ever trained on. Areas, severities and groups take turns: ninety test records
are ninety groups as far as there are so many, since records of one group are one finding told
again. Record number i of a split depends on the knowledge, the seed, the settings and i alone,
whoever makes it and in what company.
"""

import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from golf_nb_utils.golf.answer import GrammarBook, build_index
from golf_nb_utils.golf.areas import (
    ALL_SCORES,
    AREAS,
    AUDIENCES,
    CLUB_FAMILIES,
    CLUBS,
    HANDEDNESS,
    SEVERITIES,
)
from golf_nb_utils.golf.grammar import Answer
from golf_nb_utils.golf.knowledge import Advice, Fault, KnowledgeBase, Topic
from golf_nb_utils.golf.reader import Wording, load_wordings, wordings_folder
from golf_nb_utils.golf.referral import referral_of
from golf_nb_utils.golf.request import MINUTES, Request
from golf_nb_utils.golf.similarity import NEAR_DUPLICATE, trigrams
from golf_nb_utils.golf.topic import OUTCOMES
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.prompt import format_example, format_input
from golf_nb_utils.settings import ConfigError, DataConfig

SPLITS = ("train", "val", "test", "unseen")
# A share measured on a thousand answers is known within three points; what a larger set would hold
# is better trained on.
LARGEST_EVALUATION_SET = 1000
# Every twelfth record of an area has no fault to show; the shares of the optional lines are this
# project's choice.
KEEP_EVERY = 12
SHOWN = {"club": 0.9, "level": 0.9, "handedness": 0.85}
LEFT_HANDED_SHARE, TIMED_SHARE, FOLLOW_UP_SHARE = 0.2, 0.1, 0.07
# How often somebody who names a fault tells its cause as well.
CAUSE_TOLD_SHARE = 0.5
# What a record of a gap is about takes turns, too.
KINDS_IN_TURN = (
    "fault", "fault", "unclear", "fault", "fault", "outcome", "fault", "other_area", "fault",
    "fault",
)  # fmt: skip
# Of AUDIENCES, in their order.
AUDIENCE_SHARES = (0.73, 0.12, 0.08, 0.07)
# Joined trigrams of the items leave out the sentences with scores, so the draw keeps more distance
# than the bar asks.
KEPT_DISTANCE = NEAR_DUPLICATE - 0.08
MOST_DRAWS = 200
# Then the next group has its turn: this one may have little to say.
DRAWS_A_GROUP = 10


class RecordError(ValueError):
    """A record is not one that a model can be trained on."""


@dataclass(frozen=True)
class Record:
    """One example to learn from: what is asked, the answer, and facts about both.

    The fields are those of a line of the data files, in their order. `instruction`, `input` and
    `output` are what every Alpaca-style tool reads; `meta` has the keys that `record_meta` writes,
    and none in a record of another tool.
    """

    instruction: str
    input: str
    output: str
    meta: dict = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, str]:
        """What a system is asked: `instruction` and `input`, without the answer."""
        return {"instruction": self.instruction, "input": self.input}

    @property
    def prompt(self) -> str:
        """The text that a model continues with the answer."""
        return format_input(vars(self))

    @property
    def example(self) -> str:
        """Prompt and answer, as a model learns them."""
        return format_example(vars(self))


@dataclass(frozen=True)
class Group:
    """What the records of a group share: the unit that is never split among train, val and test."""

    topic: str
    subject: str
    """The id of a fault, or of advice that is no chain."""
    severity: str
    club_family: str
    level: str

    @property
    def key(self) -> str:
        """The group's name in `meta.group`."""
        return f"{self.subject}/{self.severity}/{self.club_family}/{self.level}"


Groups = dict[tuple[str, str, str], list[Group]]
"""{(area, severity, kind): groups, in the order in which they take turns}"""


@dataclass
class Deck:
    """All that drawing a record needs, the same in every process; see make_deck."""

    config: DataConfig
    extra_topics: frozenset[str]
    books: dict[str, GrammarBook]
    """{split: what its answers may say}"""
    groups: dict[str, Groups]
    grams: dict[str, int]
    """{id: character 3-grams of the text, as the bits of an integer}"""
    said: dict[str, dict[str, list[str]]]
    """{split: {id of a fault or chain, key of OUTCOMES, "follow_up" or "" (none): what people say}}
    """
    avoided: dict[str, dict[str, list[tuple[int, int]]]] = field(default_factory=dict)
    """{split: {subject: [(3-grams, their number) of each answer to keep away from]}}"""


def split_sizes(config: DataConfig) -> dict[str, int]:
    """Return the records of each split: 400 gives 340, 40 and 20, and 20 of unseen topics on top.

    Val and test have at most LARGEST_EVALUATION_SET records; with fewer than three in all, some
    splits are empty.
    """
    n = config.n_examples
    most = LARGEST_EVALUATION_SET
    test = min(max(1, round(n * config.test_fraction)), most) if n >= 2 else 0
    val = min(max(1, round(n * config.val_fraction)), most) if n >= 3 else 0
    unseen = test if config.unseen_topics_per_area else 0
    return {"train": n - val - test, "val": val, "test": test, "unseen": unseen}


def generate_records(knowledge: KnowledgeBase, config: DataConfig) -> dict[str, list[Record]]:
    """Make the records of all splits in memory: {split: records}.

    Raises:
        ConfigError: an area has too few topics, see deal_topics.
        RecordError: see make_record.
    """
    deck, sizes = make_deck(knowledge, config), split_sizes(config)
    return {split: [make_record(deck, split, n) for n in range(sizes[split])] for split in sizes}


def vocabulary_records(knowledge: KnowledgeBase) -> list[Record]:
    """Return the records that the vocabulary of `tiny` is learnt from: always the same ones."""
    return generate_records(knowledge, DataConfig(n_examples=2000))["train"]


# Who may be drawn for which split.


def deal_topics(knowledge: KnowledgeBase, config: DataConfig) -> tuple[set[str], set[str]]:
    """Return the ids of the topics that are taught, and of those kept for the unseen records.

    Which ones these are is drawn by the seed. A topic that answers golfers who name no fault is
    always taught: where there is no other one for their club it would be missed.

    Raises:
        ConfigError: an area has too few topics.
    """
    taught, unseen = set(knowledge.extra_topics), set()
    for_anybody = {advice.topic for advice in knowledge.advice if advice.kind == "unclear"}
    taught.update(t.id for t in knowledge.topics if not t.faults or t.id in for_anybody)
    n_unseen = config.unseen_topics_per_area
    own = [topic for topic in knowledge.topics if topic.faults and topic.id not in taught]
    for area in AREAS:
        topics = [topic.id for topic in own if topic.area == area]
        if len(topics) <= n_unseen:
            raise ConfigError(
                f"{area} has {len(topics)} topics that can be held out, too few to keep {n_unseen} "
                "unseen and teach the others; lower unseen_topics_per_area."
            )
        random.Random(f"{config.seed}/topics/{area}").shuffle(topics)
        unseen.update(topics[:n_unseen])
        taught.update(topics[n_unseen:])
    return taught, unseen


def make_deck(knowledge: KnowledgeBase, config: DataConfig) -> Deck:
    """Settle who may be drawn for which split, and which answers training must keep away from.

    Raises:
        ConfigError: an area has too few topics, see deal_topics.
        RecordError: the knowledge is too small for a test and a validation set that keep away from
            each other.
    """
    taught, unseen = deal_topics(knowledge, config)
    index = build_index(knowledge)
    deck = Deck(
        config=config,
        extra_topics=knowledge.extra_topics,
        books=_books(knowledge, config, index, taught, unseen),
        groups=_split_groups(knowledge, config, taught, unseen),
        grams=_gram_bits({name: entry.right for name, entry in index.items()}),
        said=_said(load_wordings(wordings_folder(), knowledge)),
        avoided={split: {} for split in SPLITS},
    )
    # Test first, then val at a distance from it, then train at a distance from both.
    for split, then in (("test", ("val", "train")), ("val", ("train",))):
        for number in range(split_sizes(config)[split]):
            drawn = _draw(deck, split, number)
            bits = _bits(deck, drawn.answer)
            for other in then:
                avoided = deck.avoided[other].setdefault(drawn.group.subject, [])
                avoided.append((bits, bits.bit_count()))
    return deck


def _books(
    knowledge: KnowledgeBase, config: DataConfig, index: dict, taught: set[str], unseen: set[str]
) -> dict[str, GrammarBook]:
    """An unseen topic keeps its drills to itself, and what a user brought is for training alone."""

    def book(topics: set[str], sources: set[str]) -> GrammarBook:
        drills = [drill for drill in knowledge.drills if drill.topic in sources]
        return GrammarBook(knowledge, topics, drills, index)

    evaluated = book(taught, taught - knowledge.extra_topics)
    return {
        "train": book(taught, taught),
        "val": evaluated,
        "test": evaluated,
        "unseen": book(unseen, unseen),
    }


def _said(wordings: list[Wording]) -> dict[str, dict[str, list[str]]]:
    """What people of each split say; of unseen topics those of the test set speak."""
    said: dict[str, dict[str, list[str]]] = {split: defaultdict(list) for split in SPLITS}
    for each in wordings:
        # Whoever speaks of pain is sent to a doctor, whatever else the words mean.
        if not referral_of(each.text):
            said[each.split][each.chain or each.meaning].append(each.text)
    return said | {"unseen": said["test"]}


def _split_groups(
    knowledge: KnowledgeBase, config: DataConfig, taught: set[str], unseen: set[str]
) -> dict[str, Groups]:
    """Deal the groups of every fault out: each split has each fault, and no group is in two."""
    groups: dict[str, Groups] = {split: defaultdict(list) for split in SPLITS}
    for topic in knowledge.topics:
        subjects = [("fault", fault.id, topic) for fault in topic.faults]
        subjects += [(a.kind, a.id, a) for a in topic.advice if a.kind != "fault"]
        for kind, subject, scope in subjects:
            gaps = [gap for gap in scope.severities if gap != "none"]
            for severity in ("none",) if kind == "keep" else gaps:
                dealt = _deal(topic, subject, severity, scope, config)
                if topic.id in unseen or topic.id in knowledge.extra_topics:
                    whole = "unseen" if topic.id in unseen else "train"
                    dealt = {whole: [group for part in dealt.values() for group in part]}
                elif topic.id not in taught:
                    continue
                for split, some in dealt.items():
                    groups[split][topic.area, severity, kind].extend(some)
    for split, of_split in groups.items():
        for case, some in of_split.items():
            random.Random(f"{config.seed}/{split}/{case}").shuffle(some)
            # Subjects take turns: one with few clubs has few groups, and shall not be missed.
            turns, counts = {}, Counter()
            for group in some:
                turns[group] = counts[group.subject]
                counts[group.subject] += 1
            some.sort(key=turns.get)
    return groups


def _deal(
    topic: Topic, subject: str, severity: str, scope: Topic | Advice, config: DataConfig
) -> dict[str, list[Group]]:
    """{split: its groups of a subject with one severity}; `scope` is for whom the subject is."""
    groups = [
        Group(topic.id, subject, severity, club, level)
        for club in scope.clubs
        for level in scope.levels
    ]
    random.Random(f"{config.seed}/{topic.id}/{subject}/{severity}").shuffle(groups)
    n_groups, dealt = len(groups), {}
    for split, share in (("test", config.test_fraction), ("val", config.val_fraction)):
        count = min(max(1, round(n_groups * share)), len(groups) // 2)
        dealt[split], groups = groups[:count], groups[count:]
    return dealt | {"train": groups}


def _gram_bits(texts: dict[str, str]) -> dict[str, int]:
    """The character 3-grams of each text as the bits of an integer: `&` leaves the shared ones."""
    number: dict[str, int] = {}
    return {
        name: sum(1 << number.setdefault(gram, len(number)) for gram in trigrams(text))
        for name, text in texts.items()
    }


# One record.


@dataclass(frozen=True)
class _Drawn:
    group: Group
    request: Request
    instruction: str
    answer: Answer


def make_record(deck: Deck, split: str, number: int) -> Record:
    """Make record `number` of a split.

    Raises:
        RecordError: the knowledge is too small to keep the record away from the test and
            validation sets.
    """
    drawn = _draw(deck, split, number)
    names, book = drawn.answer.names, deck.books[split]
    topics = {book.index[name].topic for name in names if name in book.index}
    source = "extra_knowledge" if topics & deck.extra_topics else "knowledge"
    about = book.about(names) | {"kind": book.kind_of(drawn.request)}
    meta = record_meta(drawn.request, about, names, source, drawn.group.key, split == "unseen")
    return Record(drawn.instruction, drawn.request.text, drawn.answer.text, meta)


def record_meta(
    request: Request,
    about: dict[str, str] | None = None,
    names: list[str] | tuple = (),
    source: str = "",
    group: str = "",
    is_unseen: bool = False,
) -> dict:
    """Return the `meta` of a record: `names` are its items' ids.

    `about` is what GrammarBook.about says of them, and the `kind` of the answer, see
    GrammarBook.kind_of.
    """
    return {
        "area": request.area,
        **(dict.fromkeys(("topic", "fault", "chain", "drill", "kind"), "") | (about or {})),
        "meaning": request.meaning or "",
        "current_score": request.current_score,
        "target_score": request.target_score,
        "all_scores": request.all_scores,
        "severity": request.severity,
        "club": request.club,
        "level": request.level,
        "handedness": request.hand,
        "audience": request.golfer,
        "items": list(names),
        "group": group,
        "source": source,
        "unseen_topic": is_unseen,
    }


def _draw(deck: Deck, split: str, number: int) -> _Drawn:
    """Draw request and answer of a record until the answer is far from those it must avoid."""
    seed = f"{deck.config.seed}/{split}/{number}".encode()
    digest = hashlib.blake2b(seed, digest_size=8).digest()
    rng = random.Random(int.from_bytes(digest, "big"))
    area, severity, kind, turn = _turn(number)
    dealt = deck.groups[split]
    groups = dealt.get((area, severity, kind)) or dealt.get((area, severity, "fault"))
    groups = groups or [group for case, some in dealt.items() if case[0] == area for group in some]
    if not groups:
        raise RecordError(
            f"the knowledge on {area} is too small to give {split} a group "
            "(fault, severity, club, level) of its own."
        )
    for attempt in range(MOST_DRAWS):
        group = groups[(turn + attempt // DRAWS_A_GROUP) % len(groups)]
        drawn = _draw_once(deck, split, group, rng)
        avoided = deck.avoided[split].get(drawn.group.subject)
        if not avoided or not _is_close(_bits(deck, drawn.answer), avoided):
            return drawn
    raise RecordError(
        f"record {number} of {split}: {MOST_DRAWS} draws in a row came close to an answer of the "
        f"test or validation set; the knowledge on {area} is too small for these fractions, so "
        "add phrasings or lower val_fraction and test_fraction."
    )


def _turn(number: int) -> tuple[str, str, str, int]:
    """Area, severity and kind of a record, and how many of its split had the same before it."""
    turn, place = divmod(number, len(AREAS))
    # The areas start at different places of the round: a small set, too, has a golfer or two who
    # met the target.
    turn += KEEP_EVERY // len(AREAS) * place
    n_kept, in_round = divmod(turn, KEEP_EVERY)
    area = list(AREAS)[place]
    if in_round == KEEP_EVERY - 1:
        return area, "none", "keep", n_kept
    round_of, severity = divmod(turn - n_kept, len(SEVERITIES))
    rounds, in_turn = divmod(round_of + place, len(KINDS_IN_TURN))
    kind = KINDS_IN_TURN[in_turn]
    before = rounds * KINDS_IN_TURN.count(kind) + KINDS_IN_TURN[:in_turn].count(kind)
    return area, SEVERITIES[severity], kind, before


def _bits(deck: Deck, answer: Answer) -> int:
    bits = 0
    for name in answer.names:
        bits |= deck.grams.get(name, 0)
    return bits


def _is_close(bits: int, others: list[tuple[int, int]]) -> bool:
    """Whether the Jaccard similarity to one of the others is KEPT_DISTANCE or more."""
    size = bits.bit_count()
    for other, other_size in others:
        shared = (bits & other).bit_count()
        if shared >= KEPT_DISTANCE * (size + other_size - shared):
            return True
    return False


def _draw_once(deck: Deck, split: str, group: Group, rng: random.Random) -> _Drawn:
    book = deck.books[split]
    topic = book.topics[group.topic]
    drawn = rng.choices(AUDIENCES, AUDIENCE_SHARES)[0]
    # Where no answer holds for every club or level, the input must say them.
    for shows_all, audience in ((False, drawn), (True, drawn), (True, "adult")):
        request = _draw_request(deck.config, group, topic, audience, rng, shows_all)
        request, told = _draw_words(deck, split, group, request, rng)
        # Who names a fault of some clubs, and not the club, may get advice of another kind.
        advice = [
            one for one in book.advice_for(request)
            if group.subject in (one.faults if one.kind == "fault" else (one.id,))
        ]  # fmt: skip
        if advice:
            break
    else:
        raise RecordError(f"{group.key}: nothing in {group.topic} is for {request.case}.")
    # The commonest cause stands first; of other advice none comes before another.
    chosen = [one for one in advice if one.id == told] or (
        advice[:1] if advice[0].kind == "fault" else [rng.choice(advice)]
    )
    answer = book.grammar(request, chosen).draw(rng)
    return _Drawn(group, request, rng.choice(INSTRUCTIONS), answer)


def _draw_words(
    deck: Deck, split: str, group: Group, request: Request, rng: random.Random
) -> tuple[Request, str]:
    """The request with what somebody of the split said who meant the group's subject.

    And the id of the chain whose cause they told, or "".
    """
    book, said = deck.books[split], deck.said[split]
    advice = book.advice.get(group.subject)
    if fault := book.faults.get(group.subject):
        return _draw_words_on(fault, book, said, request, rng)
    if advice.kind == "outcome":
        label = OUTCOMES[advice.outcome]
        return request.said(rng.choice(said.get(advice.outcome) or [label]), label), ""
    if advice.kind == "other_area":
        known = [fault for fault in book.faults.values() if fault.topic in book.topics]
        fault = rng.choice([fault for fault in known if fault.area != request.area])
        return request.said(rng.choice(said.get(fault.id) or [fault.name]), fault.name), ""
    # Half of those who do not say what is wrong say something.
    if said[""] and rng.random() < 0.5:
        request = request.said(rng.choice(said[""]))
    return request, ""


def _draw_words_on(
    fault: Fault,
    book: GrammarBook,
    said: dict[str, list[str]],
    request: Request,
    rng: random.Random,
) -> tuple[Request, str]:
    """The request with what somebody said of a fault, and the chain whose cause they told."""
    named = request.said(fault.name, fault.name)
    chains = [chain for chain in book.advice_for(named) if chain.kind == "fault"]
    chain = rng.choice(chains).id if chains and rng.random() < CAUSE_TOLD_SHARE else ""
    chain = chain if said.get(chain) else ""
    words = rng.choice(said.get(chain or fault.id) or [fault.name])
    if said["follow_up"] and rng.random() < FOLLOW_UP_SHARE:
        drills = [drill for each in chains for drill in book.drills_of(each, request)]
        if drills:
            drill = rng.choice(drills)
            tried = rng.choice(said["follow_up"]).replace("{drill}", drill.name.lower())
            asked = replace(request.said(f"{tried} {words}", fault.name), tried=drill.name)
            if not asked.referral:
                return asked, chain
    return request.said(words, fault.name), chain


def _draw_request(
    config: DataConfig,
    group: Group,
    topic: Topic,
    audience: str,
    rng: random.Random,
    shows_all: bool = False,
) -> Request:
    """Draw scores, club and hand of a group's request, and which of them it shows."""
    target = 65 + int(rng.random() * 31)
    # Uniform in the score itself, so that the low scores, too, are met often enough to be learnt.
    low, high = {
        "none": (target - 4, 99),
        "slight": (target - 14, target - 5),
        "clear": (target - 29, target - 15),
        "large": (5, target - 30),
    }[group.severity]
    current = low + int(rng.random() * (high - low + 1))
    scores = {name: (20 + int(rng.random() * 80)) / 100 for name in ALL_SCORES}
    is_left = rng.random() < LEFT_HANDED_SHARE
    is_shown = {name: shows_all or rng.random() < SHOWN[name] for name in ("club", "level")}
    club = rng.choice(_CLUBS_OF[group.club_family])
    return Request(
        topic.area,
        current / 100,
        target / 100,
        club=club if is_shown["club"] else None,
        level=group.level if is_shown["level"] else None,
        handedness=HANDEDNESS[is_left] if is_left or rng.random() < SHOWN["handedness"] else None,
        all_scores=scores | {topic.area: current / 100}
        if rng.random() < config.all_scores_fraction
        else None,
        audience=audience if audience in topic.audiences and audience != "adult" else None,
        minutes=rng.choice(MINUTES) if rng.random() < TIMED_SHARE else None,
    )


_CLUBS_OF = {
    family: tuple(club for club in CLUBS if CLUBS[club] == family) for family in CLUB_FAMILIES
}
