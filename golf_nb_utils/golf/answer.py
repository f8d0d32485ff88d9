"""Every right answer to a request, as a grammar that writes answers and reads them.

`build_index` lists what can be said: every phrasing of the knowledge base, by its id, with whom it
is for. `GrammarBook.grammar` puts those that are for the golfer of a request together with the
sentences that carry the scores, in the one form that an answer has. What belongs together stays
together: an answer takes all its parts from one piece of advice (topic.Advice), and its drill from
those that fix what this is about.
"""

import hashlib
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from golf_nb_utils.golf.areas import AREAS, CLUBS, LEVELS, SEVERITIES, SWUNG
from golf_nb_utils.golf.grammar import (
    Answer,
    Grammar,
    GrammarError,
    Maybe,
    Node,
    Row,
    Say,
    either,
)
from golf_nb_utils.golf.knowledge import FIGURE, Advice, Drill, Fault, KnowledgeBase, drills_for
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.topic import OUTCOMES, Topic
from golf_nb_utils.golf.wording import (
    ADAPTED,
    REFERRALS,
    REFERRED,
    SAY,
    SAY_BY_ID,
    WITHOUT_SCORE,
)
from golf_nb_utils.prompt import HEADINGS

SHOULD, HAPPENING, TO_DO = HEADINGS.values()
# How often an optional sentence is drawn; whatever the share, an answer may have it or not.
NOTED_SHARE, VARIATION_SHARE = 0.5, 0.5
# What some kinds of answer say before what is happening; keys of SAY.
OPENINGS = {"unclear": "unclear", "follow_up": "follow_up", "other_area": "elsewhere"}

# What has a lead and a trail one; where another word follows, the hands lead or the club trails.
_SIDED = (
    "arm|back pocket|big toe|ear|edge|elbow|end|finger|fist|foot|forearm|glove|half|hand|heel|hip|"
    "knee|knuckle|lace|leg|one|palm|pocket|shoe|shoulder|side|sleeve|sole|step|thigh|thumb|tip|toe|"
    "wrist|V "
)


# What can be said: every phrasing of the knowledge base, by its id.


@dataclass(frozen=True)
class Entry:
    """What an id stands for: its text for a right- and a left-hander, and whom it is for."""

    right: str
    left: str
    kind: str = ""
    """A part of advice (ideal, happening, ...), of a drill (drill, dose, ...), or adaptations."""
    topic: str = ""
    advice: str = ""
    fault: str = ""
    """Of a chain, its fault."""
    drill: str = ""
    fixes: tuple[str, ...] = ()
    clubs: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    any_club: bool = True
    any_level: bool = True
    item: str = ""
    """The id of the item that it phrases."""
    has_figure: bool = False
    """Whether one of the item's phrasings has a figure, which a beginner is spared."""

    def text(self, hand: str) -> str:
        """The sentence as a golfer of that hand reads it."""
        return self.left if hand == "left" else self.right

    def is_for(self, club: str | None, level: str | None, audience: str, severity: str) -> bool:
        """Return whether the entry holds for a golfer.

        A club or level that is None is any of the topic's.
        """
        return (
            (CLUBS[club] in self.clubs if club else self.any_club)
            and (level in self.levels if level else self.any_level)
            and audience in self.audiences
            and severity in self.severities
        )


def mirror(text: str, handedness: str) -> str:
    """Fill {left} and {right}, which are written for a right-hander's ball flight."""
    left, right = ("right", "left") if handedness == "left" else ("left", "right")
    return text.replace("{left}", left).replace("{right}", right) if "{" in text else text


def build_index(knowledge: KnowledgeBase) -> dict[str, Entry]:
    """Return {id: Entry} of every phrasing."""
    return dict(entry for topic in knowledge.topics for entry in _entries(topic))


def _entries(topic: Topic) -> Iterator[tuple[str, Entry]]:
    for part, owner, item in topic.items():
        # A drill of a topic without large gaps still serves another topic's fault at any gap.
        severities, about = ("none", *SEVERITIES), {}
        scope = [item.clubs, item.levels, item.audiences]
        if owner is not None:
            own = (owner.clubs, owner.levels, owner.audiences)
            scope = [tuple(v for v in one if v in two) for one, two in zip(scope, own, strict=True)]
        if isinstance(owner, Drill):
            about = {"drill": owner.id, "fixes": owner.fixes}
        elif isinstance(owner, Advice):
            severities = tuple(s for s in item.severities if s in owner.severities)
            about = {"advice": owner.id}
            about["fault"] = owner.faults[0] if owner.kind == "fault" else ""
        clubs, levels, audiences = scope
        about |= {"clubs": clubs, "levels": levels, "audiences": audiences}
        about["any_club"] = set(topic.clubs) <= set(clubs)
        about["any_level"] = set(topic.levels) <= set(levels)
        about["has_figure"] = any(map(FIGURE.search, item.phrasings))
        for name, text in item.named_phrasings.items():
            told = owner.told(text) if part == "drill" else text
            yield name, Entry(
                mirror(told, "right"), mirror(told, "left"), part, topic.id,
                severities=severities, item=item.id, **about,
            )  # fmt: skip


# The grammar of a request.


class GrammarBook:
    """Builds the grammar of any request from a knowledge base, or from a part of it.

    `topics` and `drills` narrow what answers may be about, which keeps the splits of a data set
    apart.
    """

    def __init__(
        self,
        knowledge: KnowledgeBase,
        topics: Iterable[str] | None = None,
        drills: Iterable[Drill] | None = None,
        index: dict[str, Entry] | None = None,
    ):
        self.index = index or build_index(knowledge)
        self.topics = {t.id: t for t in knowledge.topics if topics is None or t.id in topics}
        self.advice = {a.id: a for topic in self.topics.values() for a in topic.advice}
        self.faults = {fault.id: fault for fault in knowledge.faults}
        self._fault_named = {fault.name: fault for fault in knowledge.faults}
        self._outcome_named = {label: outcome for outcome, label in OUTCOMES.items()}
        known = knowledge.drills if drills is None else tuple(drills)
        self.drills = {drill.id: drill for drill in known}
        clashes = _Clashes(knowledge)
        self._drills_of = {
            advice.id: tuple(
                d for d in drills_for(advice, known) if not clashes.found(advice.topic, d)
            )
            for advice in self.advice.values()
            if advice.kind == "fault"
        }
        self._entries = self._by_owner()
        # {(area, id of a fault, key of OUTCOMES or any other kind): advice}
        self._about: dict[tuple[str, str], list[Advice]] = {}
        for advice in self.advice.values():
            subject = advice.faults[0] if advice.kind == "fault" else advice.outcome or advice.kind
            self._about.setdefault((advice.area, subject), []).append(advice)
        # What is the same for all requests of one case is built once.
        self._pools: dict = {}
        self._fits: dict = {}
        self.forms: dict = {}

    def _by_owner(self) -> dict[tuple[str, str], list[tuple[str, Entry]]]:
        """{(advice, drill or topic, kind): entries}"""
        found: dict[tuple[str, str], list[tuple[str, Entry]]] = {}
        for name, entry in self.index.items():
            owner = entry.advice or entry.drill or entry.topic
            found.setdefault((owner, entry.kind), []).append((name, entry))
        return found

    def fault_of(self, request: Request) -> Fault | None:
        """Return the fault that the words of a request mean, of its own area or of another."""
        return self._fault_named.get(request.meaning)

    def kind_of(self, request: Request) -> str:
        """Return what kind of answer a request gets.

        "refer" where somebody speaks of pain or illness, "keep" where the score meets its target;
        "fault" where the words mean one of the area, and "follow_up" where what was told for it did
        not help; "other_area" where they mean a fault of another area, "outcome" where they name
        what the ball does; "unclear" where nobody said what is wrong, or nothing on it is for this
        golfer.
        """
        if request.referral:
            return "refer"
        if request.is_scored and request.severity == "none":
            return "keep"
        fault = self.fault_of(request)
        if fault and fault.area != request.area:
            return "other_area"
        if fault and self._chains(request, fault.id):
            return "follow_up" if request.is_follow_up else "fault"
        return "outcome" if self._outcomes(request) else "unclear"

    def advice_for(self, request: Request) -> list[Advice]:
        """Return all advice that an answer to a request may give.

        The list is empty where the knowledge has nothing for this golfer.
        """
        kind = self.kind_of(request)
        if kind in ("fault", "follow_up"):
            return self._chains(request, self.fault_of(request).id)
        return self._outcomes(request) if kind == "outcome" else self._fitting(request, kind)

    def _outcomes(self, request: Request) -> list[Advice]:
        """The advice for this golfer on the flight or the strike that the words name."""
        outcome = self._outcome_named.get(request.meaning)
        return self._fitting(request, outcome) if outcome else []

    def _chains(self, request: Request, fault: str) -> list[Advice]:
        """The chains of a fault that are for this golfer; who was told one gets another."""
        found = self._fitting(request, fault)
        others = [
            chain
            for chain in found
            if all(drill.name != request.tried for drill in self._drills_of[chain.id])
        ]
        # Where that drill is for all of them, those that have another one for this golfer.
        return (
            others
            or [
                chain
                for chain in found
                if any(drill.name != request.tried for drill in self.drills_of(chain, request))
            ]
            or found
        )

    def _fitting(self, request: Request, subject: str) -> list[Advice]:
        """The advice for this golfer: a fault's chains, on an outcome, or of any other kind."""
        key = (request.area, subject, *_case_of(request), request.minutes == 5)
        if key not in self._fits:
            about = self._about.get((request.area, subject), ())
            found = [advice for advice in about if self.is_for(advice, request)]
            # Who does not say the club is not told about the driver alone, where there is a choice.
            for_all = [advice for advice in found if self.is_for_all(advice.topic, request)]
            self._fits[key] = for_all or found
        return self._fits[key]

    def is_for(self, advice: Advice, request: Request) -> bool:
        """Return whether all parts of advice, and a drill if it is a chain, are for a golfer."""
        if (request.severity == "none" and request.is_scored) != (advice.kind == "keep"):
            return False
        return all(self.pool(advice.id, part, request) for part in advice.items) and (
            advice.kind != "fault" or bool(self.drills_of(advice, request))
        )

    def is_for_all(self, topic: str, request: Request) -> bool:
        """Return whether a topic is for every club and every level that a request leaves open."""
        clubs, levels = self.topics[topic].clubs, self.topics[topic].levels
        return (request.club is not None or set(SWUNG) <= set(clubs)) and (
            request.level is not None or set(LEVELS) <= set(levels)
        )

    def grammar(self, request: Request, advice: list[Advice] | None = None) -> Grammar:
        """Return the grammar of all right answers to a request, or of those that give `advice`.

        Where All Scores has another value for the area than Current Score, Current Score counts.

        Raises:
            GrammarError: the knowledge has no answer for such a golfer.
        """
        if request.referral:
            return Grammar(_referral(request))
        advice = self.advice_for(request) if advice is None else advice
        if not advice:
            club, level, golfer, severity = request.case
            raise GrammarError(
                f"the knowledge on {request.area} has no answer for {club or 'any club'}, "
                f"{level or 'any level'}, {golfer}, with a {severity} gap; add a topic for them."
            )
        return Grammar(either(tuple(_Form(self, request, one).whole() for one in advice)))

    def draw(self, request: Request, seed: int) -> Answer:
        """Draw one of the right answers to a request: the template.

        The same request and seed give the same answer.

        Raises:
            GrammarError: the knowledge has no answer for such a golfer.
        """
        digest = hashlib.blake2b(f"{seed}/{request}".encode(errors="surrogatepass"), digest_size=8)
        return self.grammar(request).draw(random.Random(int.from_bytes(digest.digest(), "big")))

    def about(self, names: Iterable[str]) -> dict[str, str]:
        """Return what the sentences of an answer are about: topic, fault, chain and drill.

        `chain` is the advice, of whatever kind. What there is none of is "".
        """
        entries = [self.index[name] for name in names if name in self.index]
        own = next((entry for entry in entries if entry.advice), Entry("", ""))
        drill = next((entry.drill for entry in entries if entry.drill), "")
        return {"topic": own.topic, "fault": own.fault, "chain": own.advice, "drill": drill}

    def pool(self, owner: str, kind: str, request: Request) -> tuple[tuple[str, str], ...]:
        """Return the (id, text) of an owner's entries of a kind for this golfer."""
        key = (owner, kind, *_case_of(request))
        if key not in self._pools:
            case = request.case
            fitting = [
                (name, entry)
                for name, entry in self._entries.get((owner, kind), ())
                if entry.is_for(*case)
            ]
            # A beginner gets no numbers where there is another way to say it.
            if request.level in (None, "beginner"):
                plain = [(name, entry) for name, entry in fitting if not entry.has_figure]
                fitting = plain or fitting
            self._pools[key] = tuple((name, entry.text(request.hand)) for name, entry in fitting)
        return self._pools[key]

    def drills_of(self, chain: Advice, request: Request) -> tuple[Drill, ...]:
        """Return the drills for a chain that are for this golfer, and not the one that failed."""
        topic, fitting = self.topics[chain.topic], []
        for drill in self._drills_of[chain.id]:
            # A drill of a topic for one club serves chains of topics for all: whoever does not say
            # the club may hold another.
            is_for_any = (request.club or set(topic.clubs) <= set(drill.clubs)) and (
                request.level or set(topic.levels) <= set(drill.levels)
            )
            if is_for_any and self.pool(drill.id, "drill", request):
                fitting.append(drill)
        # Five minutes are for where one stands.
        at_home = [drill for drill in fitting if "home" in drill.places]
        fitting = (request.minutes == 5 and at_home) or fitting
        return tuple([d for d in fitting if d.name != request.tried] or fitting)


class _Form:
    """The form of an answer that gives one piece of advice to one request."""

    def __init__(self, book: GrammarBook, request: Request, advice: Advice):
        self.book, self.request, self.advice = book, request, advice
        self.kind = book.kind_of(request)
        self._sides = {"lead", "trail"} if request.level == "beginner" else set()

    def whole(self) -> Row:
        """All three parts, in the order in which they are read."""
        scored, (ideal, happening, lines) = self.request.is_scored, self.without_scores()
        parts = [f"{SHOULD}\n", ideal]
        parts += [" ", self.said("target")] if scored else []
        parts += [f"\n\n{HAPPENING}\n", self.said("score") if scored else self.no_score()]
        if self.kind in OPENINGS and (scored or self.kind != "unclear"):
            parts += [" ", self.said(OPENINGS[self.kind])]
        return Row((*parts, *happening, *self.others(), f"\n\n{TO_DO}\n", *lines))

    def without_scores(self) -> tuple[Say, tuple[Node, ...], tuple[Node, ...]]:
        """The ideal, what is happening and what to do, from the book if they were needed before."""
        request = self.request
        key = (self.advice.id, self.kind, *_case_of(request), request.minutes, request.tried)
        key += (request.meaning,) if self.kind == "other_area" else ()
        if key not in self.book.forms:
            # In the order in which they are read, since what lead and trail are is explained once.
            ideal = self.part("ideal")
            happening = (" ", self.part("happening")) if "happening" in self.advice.items else ()
            self.book.forms[key] = ideal, happening, tuple(self.lines())
        return self.book.forms[key]

    def others(self) -> list[Node]:
        """What the other scores say."""
        if not self.request.is_scored or self.kind not in ("fault", "keep", "unclear"):
            return []
        # What comes first in the swing has to be said; the rest is for short answers.
        if "earlier" in self.request.slots:
            return [" ", self.said("earlier")]
        found = [kind for kind in ("later", "strength") if kind in self.request.slots]
        if self.kind != "keep" or not found:
            return []
        return [Maybe(Row((" ", self.said(found[0]))), NOTED_SHARE)]

    def lines(self) -> list[Node]:
        """The numbered lines, and what stands below them."""
        request, lines = self.request, []
        if self.kind == "other_area":
            lines.append(self.said("settle"))
        # One thing to do beside the drill is enough, but where there is far to go.
        is_short = request.level in (None, "beginner") or request.severity != "large"
        lines += self.steps(1 if is_short and self.advice.kind == "fault" else None)
        if self.advice.kind != "fault":
            return [_numbered(lines), self.closing()]
        check = Row(("Check: ", self.part("check")))
        rest = self.closing()
        forms = []
        for drill in self.book.drills_of(self.advice, request):
            told = _numbered([*lines, self.drill(drill), check])
            risk = next((r for r in drill.risks if r in SAY["safety"]), None)
            note = ("\nSafety: ", _say("safety", SAY["safety"][risk], risk)) if risk else ()
            forms.append(Row((told, rest, *note)))
        return [either(tuple(forms))]

    def closing(self) -> Row:
        """What follows the numbered lines: for whom else it holds, the plan, the swing thought."""
        request, parts = self.request, []
        if self.kind in ("fault", "follow_up") and request.golfer != "adult":
            adapted = self.book.pool(self.advice.topic, "adaptations", request)
            parts += [f"\n{ADAPTED[request.golfer]}: ", Say(adapted)] if adapted else []
        if "plan" in self.advice.items:
            parts += ["\n", self.part("plan")]
        if request.minutes and self.advice.kind == "fault":
            time = SAY["time"][request.minutes]
            parts += [" ", _say("time", time, str(request.minutes))]
        if "cue" in self.advice.items:
            parts += ["\nSwing thought: ", self.part("cue")]
        return Row(tuple(parts))

    def drill(self, drill: Drill) -> Row:
        """A drill, told whole: easier for a beginner, harder for the advanced, and how often."""
        parts: list[Node] = [self.owned(drill.id, "drill")]
        if self.request.level == "beginner":
            parts += [" ", self.owned(drill.id, "easier")]
        elif self.request.level == "advanced":
            parts.append(Maybe(Row((" ", self.owned(drill.id, "harder"))), VARIATION_SHARE))
        small = self.request.severity == "slight" or self.request.minutes == 5
        return Row((*parts, " ", self.owned(drill.id, "small_dose" if small else "dose")))

    def steps(self, most: int | None) -> list[Node]:
        """The first steps in their order, each in one of its phrasings."""
        pool = self.book.pool(self.advice.id, "steps", self.request)
        return [Say(self.explained(options)) for options in _by_item(self.book.index, pool)[:most]]

    def part(self, kind: str) -> Say:
        """A part of the advice in one of its phrasings."""
        pool = self.book.pool(self.advice.id, kind, self.request)
        return Say(pool if kind == "cue" else self.explained(pool))

    def owned(self, owner: str, kind: str) -> Say:
        """One of the phrasings that a drill has of a part."""
        return Say(self.book.pool(owner, kind, self.request))

    def explained(self, options: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Say which side lead and trail are, where a beginner reads the word first."""
        for word in sorted(self._sides):
            side = f"{word} ({side_of(word, self.request.hand)})"
            found = re.compile(rf"\b{word}(?= (?:{_SIDED}))")
            if all(found.search(text) for _, text in options):
                self._sides.discard(word)
            options = tuple((name, found.sub(side, text, count=1)) for name, text in options)
        return options

    def said(self, kind: str) -> Say:
        """A sentence that the request alone fills."""
        return _say(kind, SAY[kind], slots=self.slots)

    @property
    def slots(self) -> dict[str, str]:
        """What fills the sentences around the advice."""
        slots = {"label": AREAS[self.request.area].label}
        slots |= self.request.slots if self.request.is_scored else {}
        if self.kind == "other_area":
            fault = self.book.fault_of(self.request)
            slots |= elsewhere_slots(fault)
        return slots

    def no_score(self) -> Say:
        """Why there is no number, in general advice."""
        name = "general.no_score" if self.request.area_is_known else "general.no_area"
        return Say(((name, WITHOUT_SCORE[name].format(label=AREAS[self.request.area].label)),))


def side_of(word: str, hand: str) -> str:
    """Return left or right: the side of a golfer's body that is called lead or trail."""
    return "left" if (word == "lead") == (hand == "right") else "right"


def elsewhere_slots(fault: Fault) -> dict[str, str]:
    """Return what the sentences about a fault of another area say of it."""
    return {"other": AREAS[fault.area].label, "fault": fault.name[0].lower() + fault.name[1:]}


def _say(kind: str, texts: tuple[str, ...], case: str = "", slots: dict | None = None) -> Say:
    """One of several sentences of wording.py, `case` being which of its lists they are from."""
    place = f"{kind}.{case}" if case else kind
    return Say(
        tuple(
            (f"say.{place}.{n}", text.format_map(slots) if slots else text)
            for n, text in enumerate(texts, 1)
        )
    )


def _numbered(lines: list[Node]) -> Row:
    parts: list[Node] = []
    for number, line in enumerate(lines, 1):
        parts += [f"{number}. " if number == 1 else f"\n{number}. ", line]
    return Row(tuple(parts))


def _referral(request: Request) -> Row:
    """The one answer to whoever should see somebody else: no drill, no cue, whom to see."""

    def say(name: str) -> Say:
        return Say(((name, REFERRED[name].format_map(request.slots if request.is_scored else {})),))

    tier = request.referral
    ideal, happening, *lines = (f"refer.{tier}.{number}" for number in range(len(REFERRALS[tier])))
    parts = [f"{SHOULD}\n", say(ideal), f"\n\n{HAPPENING}\n", say(happening)]
    if request.is_scored:
        parts += [" ", say("refer.score")]
    return Row((*parts, f"\n\n{TO_DO}\n", _numbered([say(line) for line in lines])))


def _case_of(request: Request) -> tuple:
    """What of a request decides which sentences may be said; a club counts by its family."""
    club, *case = request.case
    return club and CLUBS[club], *case, request.hand, request.is_scored


def _by_item(index: dict[str, Entry], pool: tuple) -> list[tuple[tuple[str, str], ...]]:
    """The (id, text) pairs of each item, in the order of the pool."""
    items: dict[str, tuple] = {}
    for name, text in pool:
        items[index[name].item] = (*items.get(index[name].item, ()), (name, text))
    return list(items.values())


class _Clashes:
    """Which drills of other topics a topic cannot take.

    Together they would break a rule of the kind `together`. Each file keeps these rules by itself,
    so only two files can break one, each with a side of it.
    """

    def __init__(self, knowledge: KnowledgeBase):
        rules = [rule.together for rule in knowledge.rules if rule.together]
        self._rules = [[re.compile(side, re.IGNORECASE) for side in rule] for rule in rules]
        self._sides = {t.id: self._said_in(t.sentences().values()) for t in knowledge.topics}

    def _said_in(self, texts: Iterable[str]) -> list[list[bool]]:
        text = "\n".join(texts)
        return [[bool(side.search(text)) for side in rule] for rule in self._rules]

    def found(self, topic: str, drill: Drill) -> bool:
        """Return whether a drill breaks a rule together with some sentence of a topic."""
        if drill.topic == topic:
            return False
        told = map(drill.told, drill.text.phrasings)
        texts = [*told, drill.easier.text, drill.harder.text]
        both = zip(self._sides[topic], self._said_in(texts), strict=True)
        return any(all(map(any, zip(ours, theirs, strict=True))) for ours, theirs in both)


# Where a sentence stands, and on which sources it rests.


def places(knowledge: KnowledgeBase) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return {id: (file and line, sources)} of every sentence that an answer may hold.

    What carries a score, or says that there is none, stands in wording.py instead of a topic file.
    """
    said = (*SAY_BY_ID, *WITHOUT_SCORE, *REFERRED)
    found = dict.fromkeys(said, ("wording.py", ("the request",)))
    for topic in knowledge.topics:
        for _, _, item in topic.items():
            for name in item.named_phrasings:
                found[name] = (f"{topic.path.name}:{item.line}", item.sources)
    return found


def trace(sentences: Iterable[tuple[str, str]], knowledge: KnowledgeBase) -> list[list[str]]:
    """Return rows [sentence, id, file and line, sources] of an answer's (sentence, id) pairs."""
    known = places(knowledge)
    rows = ([text, name, *known[name]] for text, name in sentences)
    return [[text, name, place, ", ".join(sources)] for text, name, place, sources in rows]
