"""Every right answer to a request, as a grammar that writes answers and reads them.

`build_index` lists what can be said: every sentence of the knowledge base, by its id, with whom it
is for. `GrammarBook.grammar` puts those that are for the golfer of a request together with the
sentences that carry the scores, in the one form that an answer has.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, CLUBS, LEVELS, SEVERITIES
from golf_nb_utils.golf.grammar import (
    Answer,
    Either,
    Grammar,
    GrammarError,
    Maybe,
    Node,
    Row,
    Say,
    either,
)
from golf_nb_utils.golf.knowledge import FIGURE, Drill, Item, KnowledgeBase, Topic
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.wording import ADAPTED, REFERRALS, REFERRED, SAY, SAY_BY_ID, WITHOUT_SCORE
from golf_nb_utils.prompt import HEADINGS

SHOULD, HAPPENING, TO_DO = HEADINGS.values()
STEP_ORDERS = (
    ("steps", "drill", "check"),
    ("check", "steps", "drill"),
    ("drill", "steps", "check"),
)
CHECK_FIRST = (("check", "steps", "drill"), ("check", "drill", "steps"))
KEEP_ORDERS = (("steps", "drill"), ("drill", "steps"))
# How often an optional sentence is drawn; whatever the share, an answer may have it or not.
STRENGTH_SHARE, VARIATION_SHARE, EFFECT_SHARE = 0.7, 0.5, 0.7


# What can be said: every sentence of the knowledge base, by its id.


@dataclass(frozen=True)
class Entry:
    """What an id stands for: its text for a right- and a left-hander, and whom it is for."""

    right: str
    left: str
    kind: str = ""
    """ideal, observation, ..., drill, easier, harder, drill_step"""
    topic: str = ""
    fault: str = ""
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
    """Return {id: Entry} of every phrasing, every whole drill and every sentence of a drill."""
    return dict(entry for topic in knowledge.topics for entry in _entries(topic))


def _entries(topic: Topic) -> Iterator[tuple[str, Entry]]:
    def entry(text: str, kind: str, scope: Item | Drill, **more) -> Entry:
        return Entry(
            mirror(text, "right"),
            mirror(text, "left"),
            kind,
            topic.id,
            clubs=scope.clubs,
            levels=scope.levels,
            audiences=scope.audiences,
            any_club=set(topic.clubs) <= set(scope.clubs),
            any_level=set(topic.levels) <= set(scope.levels),
            **more,
        )

    for part, fault, item in topic.items():
        if part != "drill":
            about = {"severities": item.severities, "fault": fault or "", "item": item.id}
            about["has_figure"] = any(map(FIGURE.search, item.phrasings))
            for name, text in item.named_phrasings.items():
                yield name, entry(text, part, item, **about)
    for drill in topic.drills:
        # A drill of a topic without large gaps still serves another topic's fault at any gap.
        about = {"severities": ("none", *SEVERITIES), "drill": drill.id, "fixes": drill.fixes}
        yield drill.id, entry(drill.text, "drill", drill, **about, item=drill.id)
        sentences = {
            "easier": (drill.easier,),
            "harder": (drill.harder,),
            "drill_step": drill.steps,
        }
        for kind, items in sentences.items():
            for item in items:
                yield item.id, entry(item.text, kind, drill, **about, item=item.id)


# The grammar of a request.


class GrammarBook:
    """Builds the grammar of any request from a knowledge base, or from a part of it.

    `topics` and `drills` ({fault id: drills}) narrow what answers may be about, which keeps the
    splits of a data set apart.
    """

    def __init__(
        self,
        knowledge: KnowledgeBase,
        topics: Iterable[str] | None = None,
        drills: dict[str, tuple[Drill, ...]] | None = None,
        index: dict[str, Entry] | None = None,
    ):
        self.index = index or build_index(knowledge)
        self.topics = {t.id: t for t in knowledge.topics if topics is None or t.id in topics}
        self.faults = {fault.id: fault for fault in knowledge.faults if fault.topic in self.topics}
        self._fault_named = {fault.name: fault.id for fault in knowledge.faults}
        if drills is None:
            drills = {fault: knowledge.drills_for(fault) for fault in self.faults}
        clashes = _Clashes(knowledge)
        self._drills = {
            fault: tuple(d.id for d in found if not clashes.found(self.faults[fault].topic, d))
            for fault, found in drills.items()
            if fault in self.faults
        }
        self._entries = self._by_owner()
        # What is the same for all requests of one case is built once.
        self._pools: dict = {}
        self._subjects: dict = {}
        self.forms: dict = {}

    def _by_owner(self) -> dict[tuple[str, str], list[tuple[str, Entry]]]:
        """{(topic or fault, kind): entries}"""
        found: dict[tuple[str, str], list[tuple[str, Entry]]] = {}
        for name, entry in self.index.items():
            if not entry.drill:
                found.setdefault((entry.fault or entry.topic, entry.kind), []).append((name, entry))
        return found

    def fault_of(self, request: Request) -> str:
        """Return the id of the fault that the observation names, or "".

        It counts where it is a fault of the area, the score is below its target, and the knowledge
        has an answer for this golfer (club, level, audience, gap).
        """
        fault = self._fault_named.get(request.observation, "")
        if request.referral or fault not in self.faults or self.faults[fault].area != request.area:
            return ""
        if request.is_scored and request.severity == "none":
            return ""
        return fault if self.is_answerable(self.faults[fault].topic, fault, request) else ""

    def kind_of(self, request: Request) -> str:
        """Return what kind of answer a request gets.

        "refer" where somebody speaks of pain or illness, "keep" where the score meets its target,
        "fault" where the words name one, "unclear" where nobody said what is wrong.
        """
        if request.referral:
            return "refer"
        if request.is_scored and request.severity == "none":
            return "keep"
        return "fault" if self.fault_of(request) else "unclear"

    def subjects(self, request: Request) -> list[tuple[str, str]]:
        """Return the (topic id, fault id or "") that an answer may be about.

        The list is empty where the knowledge has nothing for this golfer.
        """
        named = self.fault_of(request)
        if named:
            return [(self.faults[named].topic, named)]
        keep = request.severity == "none"
        key = (request.area, *_case_of(request))
        if key not in self._subjects:
            found = [
                (topic.id, fault)
                for topic in self.topics.values()
                if topic.area == request.area
                for fault in ([""] if keep else [fault.id for fault in topic.faults])
                if self.is_answerable(topic.id, fault, request)
            ]
            # Who does not say the club is not told about the driver alone, where there is a choice.
            for_all = [pair for pair in found if self.is_for_all(pair[0], request)]
            self._subjects[key] = for_all or found
        return self._subjects[key]

    def is_for_all(self, topic: str, request: Request) -> bool:
        """Return whether a topic is for every club and every level that a request leaves open."""
        clubs, levels = self.topics[topic].clubs, self.topics[topic].levels
        return (request.club is not None or set(CLUB_FAMILIES) <= set(clubs)) and (
            request.level is not None or set(LEVELS) <= set(levels)
        )

    def grammar(self, request: Request, subjects: list[tuple[str, str]] | None = None) -> Grammar:
        """Return the grammar of all right answers to a request, or of those about `subjects`.

        Where All Scores has another value for the area than Current Score, Current Score counts.

        Raises:
            GrammarError: the knowledge has no answer for such a golfer.
        """
        if request.referral:
            return Grammar(_referral(request))
        subjects = self.subjects(request) if subjects is None else subjects
        if not subjects:
            club, level, golfer, severity = request.case
            raise GrammarError(
                f"the knowledge on {request.area} has no answer for {club or 'any club'}, "
                f"{level or 'any level'}, {golfer}, with a {severity} gap; add a topic for them."
            )
        faults_of: dict[str, list[str]] = {}
        for topic, fault in subjects:
            faults_of.setdefault(topic, []).append(fault)
        forms = tuple(_Form(self, request, topic).whole(faults_of[topic]) for topic in faults_of)
        return Grammar(either(forms, tuple(map(len, faults_of.values()))))

    def draw(self, request: Request, seed: int) -> Answer:
        """Draw one of the right answers to a request: the template.

        The same request and seed give the same answer.

        Raises:
            GrammarError: the knowledge has no answer for such a golfer.
        """
        digest = hashlib.blake2b(f"{seed}/{request}".encode(errors="surrogatepass"), digest_size=8)
        return self.grammar(request).draw(random.Random(int.from_bytes(digest.digest(), "big")))

    def about(self, names: Iterable[str]) -> tuple[str, str, str]:
        """Return (topic, fault, drill) that the sentences of an answer are about."""
        entries = [self.index[name] for name in names if name in self.index]
        own = [entry for entry in entries if not entry.drill]
        fault = next((entry.fault for entry in own if entry.fault), "")
        drill = next((entry.drill for entry in entries if entry.drill), "")
        return (own[0].topic if own else ""), fault, drill

    def is_answerable(self, topic: str, fault: str, request: Request) -> bool:
        """Return whether each part of an answer has something for this golfer."""
        kinds = [(topic, kind) for kind in ("ideal", "keep", "cues", "safety")]
        if request.golfer != "adult":
            kinds.append((topic, "adaptations"))
        if fault:
            kinds += [(fault, kind) for kind in ("observation", "cause", "check", "steps")]
            effects = self.pool(fault, "effect", request) or self.pool(fault, "feel", request)
            if not effects:
                return False
        return all(self.pool(*kind, request) for kind in kinds) and bool(
            self.drills_for(topic, fault, request)
        )

    def pool(self, owner: str, kind: str, request: Request) -> tuple[tuple[str, str], ...]:
        """Return the (id, text) of a topic's or fault's entries of a kind for this golfer."""
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

    def drills_for(self, topic: str, fault: str, request: Request) -> tuple[str, ...]:
        """Return the ids of the drills against a fault, or of a topic, that are for this golfer."""
        club, level, _, _ = request.case
        key = ("drills", topic, fault, *_case_of(request))
        if key not in self._pools:
            own = tuple(drill.id for drill in self.topics[topic].drills)
            names = self._drills.get(fault, ()) if fault else own
            # The answer must hold for every club or level of the drill's topic, and of this one.
            self._pools[key] = tuple(
                name
                for name in names
                if (entry := self.index[name]).is_for(*request.case)
                and (club or set(self.topics[topic].clubs) <= set(entry.clubs))
                and (level or set(self.topics[topic].levels) <= set(entry.levels))
            )
        return self._pools[key]


class _Form:
    """The form of an answer about one topic to one request."""

    def __init__(self, book: GrammarBook, request: Request, topic: str):
        self.book, self.request, self.topic = book, request, topic
        self.case = _case_of(request)
        self.is_named = bool(book.fault_of(request))

    def whole(self, faults: list[str]) -> Row:
        """All three parts; `faults` are those that it may be about ("" for none)."""
        ideal = self.kept("ideal", self.two_ideals, self.topic)
        rest = either(tuple(map(self.after_the_score, faults)))
        if not self.request.is_scored:
            return Row((f"{SHOULD}\n", ideal, f"\n\n{HAPPENING}\n", self.without_score(), rest))
        score = (" ", self.said("target"), f"\n\n{HAPPENING}\n", self.said("score"))
        return Row((f"{SHOULD}\n", ideal, *score, rest))

    def after_the_score(self, fault: str) -> Row:
        """What is happening beyond the score, and what to do."""
        parts = self.happening(fault) if self.request.is_scored else []
        lines = self.lines if self.is_named or not fault else self.lines_of_a_guess
        parts += [f"\n\n{TO_DO}\n", self.kept(lines.__name__, lines, self.topic, fault)]
        if self.request.golfer != "adult":
            parts += [f"\n{ADAPTED[self.request.golfer]}: ", self.say(self.topic, "adaptations")]
        parts += ["\nSwing thought: ", self.say(self.topic, "cues")]
        if fault and self.request.is_scored:
            parts += ["\n", self.said("goal" if self.is_named else "ask")]
        # Who is about to change much gets the safety note; a small refinement does not need one.
        if self.request.severity == "large":
            parts += ["\nSafety: ", self.say(self.topic, "safety")]
        return Row(tuple(parts))

    def kept(self, part: str, build: Callable[..., Node], topic: str, *fault: str) -> Node:
        """A part without scores, from the book if another request of this case has needed it."""
        key = (part, topic, *fault, *self.case)
        if key not in self.book.forms:
            self.book.forms[key] = build(*fault)
        return self.book.forms[key]

    def happening(self, fault: str) -> list[Node]:
        """The fault, why and to what effect, or praise; then what the other scores say.

        Where nobody named a fault none is asserted: a score tells how far, not why.
        """
        if fault and not self.is_named:
            parts = [" ", self.said("unclear")]
        elif fault:
            effect, feel = (
                self.book.pool(fault, kind, self.request) for kind in ("effect", "feel")
            )
            either = [(Say(effect), EFFECT_SHARE), (Say(feel), 1 - EFFECT_SHARE)]
            either = [(say, weight) for say, weight in either if say.options]
            parts = [" ", self.say(fault, "observation"), " ", self.say(fault, "cause"), " "]
            parts.append(Either(*map(tuple, zip(*either, strict=True))))
        else:
            parts = [" ", self.said("praise")]
        if "strength" in self.request.slots:
            parts.append(Maybe(Row((" ", self.said("strength"))), STRENGTH_SHARE))
        if "weakest" in self.request.slots:
            # Drawn whenever there is one; an answer that names no other score is right, too.
            weakest = self.said("weakest" if fault else "weakest_keep")
            parts.append(Maybe(Row((" ", weakest)), 1.0))
        return parts

    def lines_of_a_guess(self, fault: str) -> Node:
        """The numbered lines for a fault that nobody named: the check comes first, and decides."""
        return self.lines(fault, CHECK_FIRST)

    def lines(self, fault: str, orders: tuple = STEP_ORDERS) -> Node:
        """The numbered lines: two steps, the drill and the check in one of several orders."""
        owner, kind = (fault, "steps") if fault else (self.topic, "keep")
        steps, drill = self.steps(owner, kind), self.drill(fault)
        check = self.say(fault, "check")
        forms = []
        for order in orders if fault else KEEP_ORDERS:
            parts, number = [], 1
            for part in order:
                parts.append(f"{number}. " if number == 1 else f"\n{number}. ")
                if part == "steps":
                    parts.append(_one_after_another(steps, f"\n{number + 1}. "))
                    number += len(steps[0])
                else:
                    parts += ["Check: ", check] if part == "check" else [drill]
                    number += 1
            forms.append(Row(tuple(parts)))
        return either(tuple(forms))

    def steps(self, owner: str, kind: str) -> list[tuple[Say, ...]]:
        """Two different items, as (an item, one of those after it) for each, or the only one.

        They keep the order of the file, which is that of the swing.
        """
        items = list(_by_item(self.book.index, self.pool(owner, kind)).values())
        if len(items) == 1:
            return [(Say(items[0]),)]
        later = [Say(sum(items[place:], ())) for place in range(1, len(items))]
        return [(Say(first), then) for first, then in zip(items, later, strict=False)]

    def two_ideals(self) -> Node:
        """Two different ideals in any order, or the only one."""
        items = list(_by_item(self.book.index, self.pool(self.topic, "ideal")).values())
        if len(items) == 1:
            return Say(items[0])
        others = [sum(items[:place] + items[place + 1 :], ()) for place in range(len(items))]
        pairs = zip(items, others, strict=True)
        return either(tuple(Row((Say(first), " ", Say(then))) for first, then in pairs))

    def drill(self, fault: str) -> Either:
        """A drill, told whole; it may be made easier for a beginner, harder for the advanced."""
        level = self.request.level
        kinds = {"beginner": "easier", "advanced": "harder"}
        forms = []
        for name in self.book.drills_for(self.topic, fault, self.request):
            parts: list[Node] = [self.sentence(name)]
            told = [kinds[level]] if level in kinds else list(kinds.values()) if level else []
            variations = tuple(
                Row((f" {kind.capitalize()}: ", self.sentence(f"{name}.{kind}"))) for kind in told
            )
            if variations:
                # Both are right for an intermediate golfer, who is told the drill as it is.
                share = VARIATION_SHARE if level in kinds else 0.0
                parts.append(Maybe(either(variations), share))
            forms.append(Row(tuple(parts)))
        return either(tuple(forms))

    def sentence(self, name: str) -> Say:
        """One entry of the knowledge base."""
        return Say(((name, self.book.index[name].text(self.request.hand)),))

    def say(self, owner: str, kind: str) -> Say:
        """One of the entries of a kind."""
        return Say(self.pool(owner, kind))

    def pool(self, owner: str, kind: str) -> tuple[tuple[str, str], ...]:
        """The entries of a kind that are for this golfer."""
        return self.book.pool(owner, kind, self.request)

    def said(self, kind: str) -> Say:
        """A sentence that carries scores."""
        texts = enumerate(SAY[kind], 1)
        slots = self.request.slots
        return Say(tuple((f"say.{kind}.{n}", text.format_map(slots)) for n, text in texts))

    def without_score(self) -> Say:
        """Why there is no number, in general advice."""
        name = "general.no_score" if self.request.area_is_known else "general.no_area"
        return Say(((name, WITHOUT_SCORE[name].format(label=AREAS[self.request.area].label)),))


def _referral(request: Request) -> Row:
    """The one answer to somebody who speaks of pain or illness: no drill, no cue, whom to see."""

    def say(name: str) -> Say:
        return Say(((name, REFERRED[name].format_map(request.slots if request.is_scored else {})),))

    tier = request.referral
    happening, *lines = (f"refer.{tier}.{number}" for number in range(len(REFERRALS[tier])))
    parts = [f"{SHOULD}\n", say("refer.ideal"), f"\n\n{HAPPENING}\n", say(happening)]
    if request.is_scored:
        parts += [" ", say("refer.score")]
    parts.append(f"\n\n{TO_DO}")
    for number, line in enumerate(lines, 1):
        parts += [f"\n{number}. ", say(line)]
    return Row(tuple(parts))


def _one_after_another(steps: list[tuple[Say, ...]], between: str) -> Node:
    """Two steps, the second's number between them, each pair equally likely; or the only one."""
    if len(steps[0]) == 1:
        return steps[0][0]
    rows = tuple(Row((first, between, then)) for first, then in steps)
    return Either(rows, tuple(map(float, range(len(rows), 0, -1))))


def _case_of(request: Request) -> tuple:
    """What of a request decides which sentences may be said; a club counts by its family."""
    club, *case = request.case
    return club and CLUBS[club], *case, request.hand


def _by_item(index: dict[str, Entry], pool: tuple) -> dict[str, tuple[tuple[str, str], ...]]:
    """{item: its (id, text) pairs}, in the order of the pool."""
    items: dict[str, tuple] = {}
    for name, text in pool:
        items[index[name].item] = (*items.get(index[name].item, ()), (name, text))
    return items


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
        texts = [drill.text, drill.easier.text, drill.harder.text]
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
        for drill in topic.drills:
            found[drill.id] = (f"{topic.path.name}:{drill.line}", drill.sources)
    return found


def trace(sentences: Iterable[tuple[str, str]], knowledge: KnowledgeBase) -> list[list[str]]:
    """Return rows [sentence, id, file and line, sources] of an answer's (sentence, id) pairs."""
    known = places(knowledge)
    rows = ([text, name, *known[name]] for text, name in sentences)
    return [[text, name, place, ", ".join(sources)] for text, name, place, sources in rows]
