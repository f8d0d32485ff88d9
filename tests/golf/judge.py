"""Is a text a right answer? Judged the plain way, with nothing of the grammar: words, one regular expression, and counting."""

import re
from dataclasses import dataclass

from golf_nb_utils.golf.topic import FIGURE
from golf_nb_utils.golf.wording import REFERRALS, SAY, WITHOUT_SCORE

FAMILIES = {
    "driver": "driver", "3-wood": "wood", "5-wood": "wood", "hybrid": "wood", "pitching wedge": "wedge", "sand wedge": "wedge",
    **{f"{number}-iron": "iron" for number in range(5, 10)},
}  # fmt: skip
ALL_CLUBS = {"driver", "wood", "iron", "wedge"}
ALL_LEVELS = {"beginner", "intermediate", "advanced"}
NAMES = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift", "body_rotation": "body rotation",
    "impact_quality": "impact", "followthrough": "follow-through", "balance": "balance", "consistency": "consistency",
}  # fmt: skip
# From how many hundredths below the target on; what the gap is called, and how it is said.
BANDS = (
    (30, "large", "far below"), (15, "clear", "clearly below"), (5, "slight", "a little below"),
    (-4, "none", "in line with"), (-100, "none", "above"),
)  # fmt: skip
# What may stand in an answer besides sentences, and how it is written down here.
SIGNS = {
    "WHAT SHOULD HAPPEN (Ideal/Expected):\n": "SHOULD", "\n\nWHAT IS HAPPENING (Current Issue):\n": "HAPPENING",
    "\n\nWHAT TO DO (Actionable Steps):\n": "DO", "Check: ": "Check:", " Easier: ": "Easier:", " Harder: ": "Harder:",
    "\nAs a senior: ": "senior:", "\nAs a junior: ": "junior:", "\nWith limited mobility: ": "limited mobility:",
    "\nSwing thought: ": "Thought:", "\nSafety: ": "Safety:", "\nGoal: ": "Goal:", "\nNext: ": "Next:", "\n": "/", " ": "_",
}  # fmt: skip
VARIATIONS = {
    None: set(), "beginner": {"easier"}, "advanced": {"harder"}, "intermediate": {"easier", "harder"},
}  # fmt: skip
PLAIN = ("ideal", "keep", "cues", "adaptations", "safety")
OF_FAULT = ("observation", "cause", "effect", "feel", "check", "steps")


@dataclass(frozen=True)
class Known:
    """A sentence of the knowledge base: what kind it is, and whose."""

    kind: str
    topic: object
    fault: object = None
    item: object = None
    drill: object = None


class Judge:
    """Knows every sentence of a knowledge base, as a golfer of each hand reads it."""

    def __init__(self, knowledge):
        self.knowledge, self.pools = knowledge, {}
        facts = {}
        for topic in knowledge.topics:
            owners = [(None, topic, PLAIN), *((fault, fault, OF_FAULT) for fault in topic.faults)]
            for fault, owner, kinds in owners:
                for kind in kinds:
                    for item in getattr(owner, kind):
                        facts |= dict.fromkeys(item.phrasings, Known(kind, topic, fault, item))
            for drill in topic.drills:
                steps = " ".join(step.text for step in drill.steps)
                whole = f'Drill "{drill.name}" with {drill.equipment}: {steps} Dose: {drill.dose}.'
                facts[whole] = Known("drill", topic, drill=drill)
                for kind in ("easier", "harder"):
                    facts[getattr(drill, kind).text] = Known(kind, topic, drill=drill)
        self.known = {"right": {}, "left": {}}
        self.starting = {}
        for hand, (left, right) in (("right", ("left", "right")), ("left", ("right", "left"))):
            for text, known in facts.items():
                read = text.replace("{left}", left).replace("{right}", right)
                self.known[hand][read] = known
                self.starting.setdefault((hand, read[:9]), []).append(read)
            assert len(self.known[hand]) == len(facts), "every sentence is one thing"

    def why_wrong(self, text, request):
        """Return what is wrong with an answer to a request; nothing, if it is right."""
        hand = request.handedness or "right"
        said = said_about(request)
        words, sentences, place, lines = [], [], 0, 0
        while place < len(text):
            rest = text[place : place + 1500]
            whole = (*said, *self.starting.get((hand, rest[:9]), ()))
            found = next((one for one in whole if rest.startswith(one)), None)
            if found in said:
                kind = said[found]
            elif found:
                kind = self.known[hand][found].kind
                sentences.append(self.known[hand][found])
            elif rest.startswith(f"{lines + 1}. ") and words and words[-1] in ("DO", "/"):
                lines += 1
                found, kind = f"{lines}. ", "#"
            else:
                found = next((sign for sign in SIGNS if rest.startswith(sign)), None)
                if found is None:
                    return f"unknown words: {rest[:60]!r}"
                kind = SIGNS[found]
            words.append(kind)
            place += len(found)
        numbers = set(re.findall(r"[\d.]+%", text)) - {f"{score}.0%" for score in shown(request)}
        if numbers:
            return f"scores of nowhere: {numbers}"
        return self.wrong_form(" ".join(words), request) or self.wrong_for(sentences, request)

    def wrong_form(self, words, request):
        """What stands in which order."""
        if request.referral:
            lines = " / ".join(["# go"] * (len(REFERRALS[request.referral]) - 1))
            can_wait = " _ wait" if scored(request) else ""
            form = f"SHOULD health HAPPENING heard{can_wait} DO {lines}"
            return "" if words == form else f"not in this form: {words}"
        praise = "praise" in words if scored(request) else "keep" in words
        guess = scored(request) and not praise and not self.observed(request)
        about = "praise" if praise else "observation _ cause _ (effect|feel)"
        about = "unclear" if guess else about
        weakest = "weakest_keep" if praise else "weakest"
        happening = (
            f"score _ {about}( _ strength)?( _ {weakest})?" if scored(request) else "general"
        )
        step = "# keep( / # keep)?" if praise else "# steps( / # steps)?"
        drill, check = "# drill( (Easier: easier|Harder: harder))?", "# Check: check"
        orders = [(step, drill), (drill, step)]
        if not praise:
            orders = [(check, step, drill)]
            orders += (
                [(check, drill, step)] if guess else [(step, drill, check), (drill, step, check)]
            )
        do = "|".join(" / ".join(order) for order in orders)
        audience = request.audience if request.audience not in (None, "adult") else ""
        adapted = f" {audience}: adaptations" if audience else ""
        goal = " Goal: goal" if scored(request) and not praise else ""
        goal = " Next: ask" if guess else goal
        safety = " Safety: safety" if severity(request)[0] == "large" else ""
        ideals = "ideal( _ ideal)?" + (" _ target" if scored(request) else "")
        form = (
            f"SHOULD {ideals} HAPPENING {happening} DO ({do}){adapted} Thought: cues{goal}{safety}"
        )
        return "" if re.fullmatch(form, words) else f"not in this form: {words}"

    def wrong_for(self, sentences, request):
        """Whether all sentences are for this golfer, and about one topic and one fault."""
        if request.referral:
            return ""
        own = [known for known in sentences if not known.drill]
        topic = own[0].topic
        fault = next((known.fault for known in own if known.fault), None)
        if topic.area != request.area:
            return "another area"
        if any(known.topic is not topic or known.fault not in (None, fault) for known in own):
            return "two topics or faults"
        if wrong := self.wrong_subject(topic, fault, request):
            return wrong
        for kind in ("ideal", "steps", "keep"):
            owner = fault if kind == "steps" else topic
            items = [known.item for known in own if known.kind == kind]
            order = [getattr(owner, kind).index(item) for item in items]
            if items and len(set(order)) != min(2, len(self.pool(kind, topic, owner, request))):
                return f"{len(set(order))} of {kind}"
            if kind != "ideal" and order != sorted(order):
                return f"{kind} out of order"
        for known in own:
            if known.item not in self.pool(known.kind, topic, known.fault or topic, request):
                return f"{known.item.id} is for somebody else"
        drills = {known.drill.id for known in sentences if known.drill}
        fitting = {drill.id for drill in self.drills(topic, fault, request)}
        if len(drills) != 1 or not drills <= fitting:
            return "a drill for something or somebody else"
        kinds = {known.kind for known in sentences} & {"easier", "harder"}
        return "" if kinds <= VARIATIONS[request.level] else "a variation for another level"

    def wrong_subject(self, topic, fault, request):
        gap = severity(request)[0] != "none"
        observed = self.observed(request)
        if observed and (gap or not scored(request)):
            return "" if [fault] == observed else "not the fault that was observed"
        if bool(fault) != gap:
            return "a fault without a gap, or a gap without a fault"
        all_clubs = request.club or set(topic.clubs) == ALL_CLUBS
        all_levels = request.level or set(topic.levels) == ALL_LEVELS
        return "" if all_clubs and all_levels else "a topic for some alone"

    def observed(self, request):
        """The fault that was named, if there is something to say of it."""
        return [
            other for other in self.knowledge.faults
            if other.name == request.observation and other.area == request.area and self.can_answer(other, request)
        ]  # fmt: skip

    def can_answer(self, fault, request):
        """Whether there is something for this golfer for each part of an answer about a fault."""
        topic = next(topic for topic in self.knowledge.topics if topic.id == fault.topic)
        plain = [
            kind
            for kind in PLAIN
            if kind != "adaptations" or request.audience not in (None, "adult")
        ]
        needed = ("observation", "cause", "check", "steps")
        return (
            all(self.pool(kind, topic, topic, request) for kind in plain)
            and all(self.pool(kind, topic, fault, request) for kind in needed)
            and any(self.pool(kind, topic, fault, request) for kind in ("effect", "feel"))
            and bool(self.drills(topic, fault, request))
        )

    def pool(self, kind, topic, owner, request):
        """The items of a topic or fault that are for this golfer; for a beginner those with a figure only if all have one."""
        gap, level = severity(request)[0], request.level
        key = (kind, owner.id, FAMILIES.get(request.club), level, request.audience, gap)
        if key not in self.pools:
            items = [
                item
                for item in getattr(owner, kind)
                if suits(item, topic, request) and gap in item.severities
            ]
            plain = [item for item in items if not any(map(FIGURE.search, item.phrasings))]
            self.pools[key] = plain if plain and level in (None, "beginner") else items
        return self.pools[key]

    def drills(self, topic, fault, request):
        """The drills against a fault, or of a topic, that are for this golfer, whichever file they stand in."""
        return [
            drill
            for home in self.knowledge.topics
            for drill in home.drills
            if (fault.id in drill.fixes if fault else home is topic)
            and suits(drill, topic, request)
            and suits(drill, home, request)
        ]


def suits(scope, topic, request):
    """Who does not say the club or the level gets what is for all of the topic's."""
    clubs = {FAMILIES[request.club]} if request.club else set(topic.clubs)
    levels = {request.level} if request.level else set(topic.levels)
    audience = request.audience or "adult"
    return clubs <= set(scope.clubs) and levels <= set(scope.levels) and audience in scope.audiences


def scored(request):
    return request.current_score is not None and request.target_score is not None


def hundredths(score):
    return int(f"{score * 100:.0f}")


def severity(request):
    """What the gap is called, and how it is said."""
    if not scored(request):
        return "none", ""
    gap = hundredths(request.target_score) - hundredths(request.current_score)
    return next((name, words) for least, name, words in BANDS if gap >= least)


def shown(request):
    """The scores of a request, in hundredths."""
    scores = [request.current_score, request.target_score, *(request.all_scores or {}).values()]
    return [hundredths(score) for score in scores if score is not None]


def said_about(request):
    """{sentence: its kind} of all that may be said of the scores."""
    label = NAMES[request.area]
    if request.referral:
        heard, *lines = REFERRALS[request.referral]
        said = {heard: "heard", **dict.fromkeys(lines, "go")}
        said["A golf swing should not hurt, and how you feel comes before any score."] = "health"
        if scored(request):
            current, target = hundredths(request.current_score), hundredths(request.target_score)
            wait = f"Your {label} score of {current}.0%, with its target of {target}.0%, can wait."
            said[wait] = "wait"
        return said
    if not scored(request):
        name = "general.no_score" if request.area_is_known else "general.no_area"
        return {WITHOUT_SCORE[name].replace("{label}", label): "general"}
    current, target = (
        f"{hundredths(score)}.0%" for score in (request.current_score, request.target_score)
    )
    fill = {"label": label, "current": current, "target": target, "words": severity(request)[1]}
    scores = (request.all_scores or {}).items()
    others = [(hundredths(score), name) for name, score in scores if name != request.area]
    # Of two that are equal, the first in the request.
    best = max(others, key=lambda pair: pair[0], default=(0, ""))
    lowest = min(others, key=lambda pair: pair[0], default=(100, ""))
    if best[0] >= 70:
        fill |= {"strength": NAMES[best[1]], "strength_score": f"{best[0]}.0%"}
    if lowest[0] < 60:
        fill |= {"weakest": NAMES[lowest[1]], "weakest_score": f"{lowest[0]}.0%"}
    found = {}
    for kind, texts in SAY.items():
        for text in texts:
            filled = re.sub(r"\{(\w+)\}", lambda slot: fill.get(slot[1], slot[0]), text)
            if "{" not in filled:
                found[filled.removeprefix("Goal: ").removeprefix("Next: ")] = kind
    return found
