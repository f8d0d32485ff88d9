"""Is a text a right answer? Judged the plain way, with nothing of the grammar: words, one regular expression, and counting."""

import re

from golf_nb_utils.golf.topic import FIGURE, OUTCOMES
from golf_nb_utils.golf.wording import REFERRALS, SAY, WITHOUT_SCORE

FAMILIES = {
    "driver": "driver", "3-wood": "wood", "5-wood": "wood", "hybrid": "wood", **{f"{kind} wedge": "wedge" for kind in ("pitching", "gap", "sand", "lob")},
    **{f"{number}-iron": "iron" for number in range(3, 10)},
    "putter": "putter",
}  # fmt: skip
ALL_CLUBS = {"driver", "wood", "iron", "wedge"}
ALL_LEVELS = {"beginner", "intermediate", "advanced"}
NAMES = {
    "setup_quality": "setup", "tempo_rhythm": "tempo and rhythm", "weight_shift": "weight shift", "body_rotation": "body rotation",
    "impact_quality": "impact", "followthrough": "follow-through", "balance": "balance", "consistency": "consistency",
}  # fmt: skip
# What comes first in the swing comes first.
ORDER = ("setup_quality", "body_rotation", "weight_shift", "tempo_rhythm", "followthrough", "balance")  # fmt: skip
# From how many hundredths below the target on; what the gap is called, and how it is said.
BANDS = (
    (30, "large", "far below"), (15, "clear", "clearly below"), (5, "slight", "a little below"),
    (-4, "none", "in line with"), (-100, "none", "above"),
)  # fmt: skip
# What may stand in an answer besides sentences, and how it is written down here.
SIGNS = {
    "WHAT SHOULD HAPPEN (Ideal/Expected):\n": "SHOULD", "\n\nWHAT IS HAPPENING (Current Issue):\n": "HAPPENING",
    "\n\nWHAT TO DO (Actionable Steps):\n": "DO", "Check: ": "Check:", "\nAs a senior: ": "senior:", "\nAs a junior: ": "junior:",
    "\nWith limited mobility: ": "limited mobility:", "\nSwing thought: ": "Thought:", "\nSafety: ": "Safety:", "\n": "/", " ": "_",
}  # fmt: skip
# After "lead" and "trail" where they are what somebody does: "hands that lead to", "let it trail behind".
NO_SIDE = r"(?:to|on|here|there|the|it|up|and|behind|way)\b"
OF_A_DRILL = ("drill", "easier", "harder", "dose", "small_dose")


class Judge:
    """Knows every sentence of a knowledge base, as a golfer of each hand reads it."""

    def __init__(self, knowledge):
        self.knowledge, self.asked = knowledge, None
        self.topics = {topic.id: topic for topic in knowledge.topics}
        self.all_drills = {
            chain.id: [d for d in knowledge.drills if {chain.id, *chain.faults} & set(d.fixes)]
            for chain in knowledge.advice
        }
        self.advice_of = {}
        for advice in knowledge.advice:
            self.advice_of.setdefault((advice.kind, advice.area), []).append(advice)
        # {hand: {text: [(kind, item, the advice, drill or topic that it is of)]}}
        self.known = {"right": {}, "left": {}}
        self.starting = {}
        for hand, (left, right) in (("right", ("left", "right")), ("left", ("right", "left"))):
            for text, fact in self.facts():
                read = text.replace("{left}", left).replace("{right}", right)
                self.known[hand].setdefault(read, []).append(fact)
                self.starting.setdefault((hand, read[:9]), []).append(read)
        for texts in self.starting.values():
            texts.sort(key=len, reverse=True)

    def facts(self):
        for topic in self.knowledge.topics:
            for advice in topic.advice:
                for kind, items in advice.items.items():
                    yield from ((t, (kind, item, advice)) for item in items for t in item.phrasings)
            for drill in topic.drills:
                for text in drill.text.phrasings:
                    yield f'Drill "{drill.name}": {text}', ("drill", drill.text, drill)
                for kind in OF_A_DRILL[1:]:
                    item = getattr(drill, kind)
                    yield item.phrasings[0], (kind, item, drill)
            for item in topic.adaptations:
                yield from ((text, ("adaptations", item, topic)) for text in item.phrasings)

    def why_wrong(self, text, request):
        """Return what is wrong with an answer to a request; nothing, if it is right."""
        hand = request.handedness or "right"
        answer, text = text, re.sub(r"\b(lead|trail) \((left|right)\)", r"\1", text)
        if answer != text and (request.level != "beginner" or request.referral):
            return "explained to somebody who knows"
        if request is not self.asked:
            self.asked, self.said = request, self.said_about(request)
            self.kind_of_answer = self.kind(request)
            self.may_be_given = [] if request.referral else self.right(self.kind_of_answer, request)
        said = self.said
        words, facts, place, lines, cut = [], [], 0, 0, []
        while place < len(text):
            rest = text[place : place + 1500]
            whole = [one for one in said if rest.startswith(one)]
            whole += [
                one for one in self.starting.get((hand, rest[:9]), ()) if rest.startswith(one)
            ]
            found = max(whole, key=len, default=None)
            if found in said:
                kind = said[found]
            elif found:
                kind = len(facts)
                facts.append(self.known[hand][found])
            elif rest.startswith(f"{lines + 1}. ") and words and words[-1] in ("DO", "/"):
                lines += 1
                found, kind = f"{lines}. ", "#"
            else:
                found = next((sign for sign in SIGNS if rest.startswith(sign)), None)
                if found is None:
                    return f"unknown words: {rest[:60]!r}"
                kind = SIGNS[found]
            words.append(kind)
            cut.append(found)
            place += len(found)
        numbers = set(re.findall(r"[\d.]+%", text)) - {f"{score}.0%" for score in shown(request)}
        if numbers:
            return f"scores of nowhere: {numbers}"
        if request.referral:
            return self.wrong_referral(" ".join(map(str, words)), request)
        reasons = {
            self.wrong_as(advice, self.kind_of_answer, words, facts, request)
            or self.wrongly_explained(advice, answer, zip(words, cut, strict=True), facts, request)
            for advice in self.may_be_given
        }
        return "" if "" in reasons else min(reasons, default="nothing is right for this golfer")

    def wrong_referral(self, words, request):
        lines = " / ".join(f"# go{n}" for n in range(1, len(REFERRALS[request.referral]) - 1))
        can_wait = " _ wait" if scored(request) else ""
        form = f"SHOULD health HAPPENING heard{can_wait} DO {lines}"
        return "" if words == form else f"not in this form: {words}"

    def wrong_as(self, advice, kind, words, facts, request):
        """What is wrong if the answer, of this kind, is to give this advice."""
        drills = {id(own): own for fact in facts for what, _, own in fact if what == "drill"}
        drill = next(iter(drills.values()), None)
        owners = {id(advice), id(drill), id(self.topics[advice.topic])}
        kinds, steps = [], []
        for word in words:
            if isinstance(word, str):
                kinds.append(word)
                continue
            own = [(what, item) for what, item, owner in facts[word] if id(owner) in owners]
            if kind_of_gap := [pair for pair in own if pair[0] == dose(request)]:
                own = kind_of_gap
            if not own:
                return "a sentence of something else"
            # Two items may have a phrasing in common, each for other clubs.
            fitting = [
                (w, i) for w, i in own if w in OF_A_DRILL or i in self.pool(w, advice, request)
            ]
            what, item = (fitting or own)[0]
            if what not in OF_A_DRILL and item not in self.pool(what, advice, request):
                return f"{item.id} is for somebody else"
            steps += [item.id] if what == "steps" else []
            kinds.append(what)
        told = self.pool("steps", advice, request)
        is_short = request.level in (None, "beginner") or severity(request)[0] != "large"
        told = told[:1] if is_short and advice.kind == "fault" else told
        if steps != [item.id for item in told]:
            return f"the steps {steps}"
        is_drill = drill is not None
        if is_drill != (advice.kind == "fault") or (
            is_drill and drill.id not in {one.id for one in self.drills(advice, request)}
        ):
            return "a drill for something or somebody else"
        form = self.form(kind, advice, drill, len(told), request)
        found = " ".join(kinds)
        return "" if re.fullmatch(form, found) else f"not in this form: {found}"

    def wrongly_explained(self, advice, answer, told, facts, request):
        """A beginner is told which side lead and trail are, until it was said for sure."""
        expected, unknown = "", {"lead", "trail"} if request.level == "beginner" else set()
        for word, text in told:
            own = [] if isinstance(word, str) else [
                (what, item) for what, item, owner in facts[word]
                if owner is advice and what != "cue" and item in self.pool(what, advice, request)
            ]  # fmt: skip
            for _, item in own[:1]:
                for name in sorted(unknown):
                    place = re.compile(rf"\b{name} (?!{NO_SIDE})(?=\w)")
                    left = (name == "lead") == (request.handedness != "left")
                    text = place.sub(f"{name} ({'left' if left else 'right'}) ", text, count=1)
                    unknown -= {name} if all(map(place.search, item.phrasings)) else set()
            expected += text
        return "" if expected == answer else "lead or trail explained at another place"

    def form(self, kind, advice, drill, n_steps, request):
        """What stands in which order."""
        opening = {
            "unclear": " _ unclear",
            "follow_up": " _ follow_up",
            "other_area": " _ elsewhere",
        }
        target, score = (" _ target", "score") if scored(request) else ("", "general")
        happening = opening.get(kind, "") if scored(request) or kind != "unclear" else ""
        happening += " _ happening" if kind != "other_area" else ""
        first, later, strength = self.others(request)
        if scored(request) and kind in ("fault", "keep", "unclear") and first:
            happening += " _ earlier"
        elif kind == "keep" and later:
            happening += "( _ later)?"
        elif kind == "keep" and strength:
            happening += "( _ strength)?"
        lines = ["settle"] * (kind == "other_area") + ["steps"] * n_steps
        closing = ""
        if drill:
            easier = " _ easier" if request.level == "beginner" else ""
            harder = "( _ harder)?" if request.level == "advanced" else ""
            lines += [f"drill{easier}{harder} _ {dose(request)}", "Check: check"]
            risk = next(iter(drill.risks), None)
            closing = f" Safety: safety.{risk}" if risk else ""
        audience = request.audience if request.audience not in (None, "adult") else ""
        adapted = f" {audience}: adaptations" if audience and advice.kind == "fault" else ""
        adapted = adapted if self.topics[advice.topic].adaptations else ""
        plan = " / plan" if kind != "other_area" else ""
        plan += " _ time" if request.minutes and drill else ""
        do = " / ".join(f"# {line}" for line in lines)
        return (
            f"SHOULD ideal{target} HAPPENING {score}{happening} DO {do}{adapted}{plan} "
            f"Thought: cue{closing}"
        )

    def fault(self, request):
        return next((f for f in self.knowledge.faults if f.name == request.meaning), None)

    def kind(self, request):
        """What kind of answer is right."""
        if scored(request) and severity(request)[0] == "none":
            return "keep"
        fault = self.fault(request)
        if fault and fault.area != request.area:
            return "other_area"
        if fault and self.fitting("fault", request, fault.id):
            return "follow_up" if request.is_follow_up else "fault"
        named = request.meaning in OUTCOMES.values() and self.fitting("outcome", request)
        return "outcome" if named else "unclear"

    def right(self, kind, request):
        """All advice that may be given."""
        if kind in ("fault", "follow_up"):
            return self.fitting("fault", request, self.fault(request).id)
        return self.fitting(kind, request)

    def fitting(self, kind, request, fault=None):
        about = self.advice_of[kind, request.area]
        if kind == "fault":
            about = [advice for advice in about if advice.faults == (fault,)]
        if kind == "outcome":
            about = [advice for advice in about if OUTCOMES[advice.outcome] == request.meaning]
        found = [
            advice for advice in about
            if all(self.pool(part, advice, request) for part in advice.items)
            and (kind != "fault" or self.drills(advice, request))
        ]  # fmt: skip
        own = [advice for advice in found if self.is_for_all(advice, request)] or found
        tried = [
            advice for advice in own
            if any(drill.name == request.tried for drill in self.all_drills[advice.id])
        ]  # fmt: skip
        return [advice for advice in own if advice not in tried] or own

    def is_for_all(self, advice, request):
        topic = self.topics[advice.topic]
        all_clubs = request.club or set(topic.clubs) >= ALL_CLUBS
        return all_clubs and (request.level or set(topic.levels) == ALL_LEVELS)

    def pool(self, kind, advice, request):
        """The items of a part that are for this golfer; for a beginner those with a figure only if all have one."""
        topic, gap = self.topics[advice.topic], severity(request)[0]
        items = topic.adaptations if kind == "adaptations" else advice.items[kind]
        narrow = topic if kind == "adaptations" else advice
        found = [
            item for item in items
            if suits(item, topic, request) and suits(narrow, topic, request)
            and gap in item.severities and (narrow is topic or gap in advice.severities)
        ]  # fmt: skip
        if request.level not in (None, "beginner"):
            return found
        return [item for item in found if not any(map(FIGURE.search, item.phrasings))] or found

    def drills(self, chain, request):
        """The drills for a chain that are for this golfer, whichever file they stand in."""
        found = [
            drill for drill in self.all_drills[chain.id]
            if suits(drill, self.topics[drill.topic], request)
        ]  # fmt: skip
        if request.minutes == 5:
            found = [drill for drill in found if "home" in drill.places] or found
        return [drill for drill in found if drill.name != request.tried] or found

    def others(self, request):
        """The low score that comes first, if before the area or after it, and the best of the others."""
        scores = {k: v for k, v in (request.all_scores or {}).items() if k != request.area}
        low = [name for name in ORDER if scores.get(name, 1) < 0.6]
        first = low[0] if low and ORDER.index(low[0]) < ORDER.index(request.area) else ""
        later = low[0] if low and not first else ""
        # Of two that are equal, the first in the request.
        best = max(scores, key=scores.get, default="")
        return first, later, best if best and scores[best] >= 0.7 else ""

    def said_about(self, request):
        """{sentence: its kind} of all that the request may fill."""
        label = NAMES[request.area]
        if request.referral:
            health, heard, *lines = REFERRALS[request.referral]
            said = {health: "health", heard: "heard"}
            said |= {line: f"go{number}" for number, line in enumerate(lines, 1)}
            if scored(request):
                scores = (request.current_score, request.target_score)
                current, target = (f"{hundredths(score)}.0%" for score in scores)
                said[f"Your {label} score of {current}, with its target of {target}, can wait."] = (
                    "wait"
                )
            return said
        first, later, best = self.others(request)
        fill = {"label": label, "earlier": first, "later": later, "strength": best}
        fill = {key: NAMES.get(value, value) for key, value in fill.items() if value}
        found = {}
        if scored(request):
            scores = (request.current_score, request.target_score)
            current, target = (f"{hundredths(score)}.0%" for score in scores)
            fill |= {"current": current, "target": target, "words": severity(request)[1]}
        else:
            name = "general.no_score" if request.area_is_known else "general.no_area"
            found[WITHOUT_SCORE[name].replace("{label}", label)] = "general"
        fault = self.fault(request)
        if fault and fault.area != request.area:
            fill |= {"fault": fault.name[0].lower() + fault.name[1:], "other": NAMES[fault.area]}
        for kind, texts in SAY.items():
            lists = texts.items() if isinstance(texts, dict) else [(None, texts)]
            for case, some in lists:
                name = "time" if kind == "time" else f"safety.{case}" if case else kind
                if kind == "time" and case != request.minutes:
                    continue
                for text in some:
                    filled = re.sub(r"\{(\w+)\}", lambda slot: fill.get(slot[1], slot[0]), text)
                    if "{" not in filled:
                        found[filled] = name
        return found


def dose(request):
    return "small_dose" if severity(request)[0] == "slight" or request.minutes == 5 else "dose"


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
