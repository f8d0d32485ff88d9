"""What the app sends, read into a request: no value breaks it, and none is taken on trust.

Areas, clubs and levels are matched to the names that this project knows, and the known name is what
is written. What the golfer says stands in the prompt as it was said, beside what it means, which is
for golf.reader. What could not be read is left out, and a remark tells the app's developer so.
"""

import difflib
import math
import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from numbers import Number

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS, CLUBS, LEVELS
from golf_nb_utils.golf.follow_up import speaks_of_practice
from golf_nb_utils.golf.reader import LONGEST_TEXT, Heard
from golf_nb_utils.golf.referral import TIERS, referral_of
from golf_nb_utils.golf.request import LONGEST_OBSERVATION, MINUTES
from golf_nb_utils.golf.wording import severity_of

ARGUMENTS = (
    "area", "issue", "current_score", "target_score", "gap", "impact_level", "swing_type",
    "golfer_context", "all_quality_scores", "all_weaknesses", "all_strengths",
)  # fmt: skip
"""The arguments of the app's generate_feedback.

`impact_level` and `all_strengths` are taken and not read: what they say follows from the scores.
`all_weaknesses` is, where there is no issue: the first that means something in the area.
"""

Hear = Callable[[str, str], Heard]
"""From an area and what was said of it to what that means: reader.Reader.hear."""

_OTHER_AREA_NAMES = {
    "tempo": "tempo_rhythm", "rhythm": "tempo_rhythm", "rotation": "body_rotation",
    "weighttransfer": "weight_shift", "impact": "impact_quality",
}  # fmt: skip
_CONTEXT_KEYS = {
    "club": "club", "level": "level", "skilllevel": "level", "skill": "level",
    "experience": "level", "handedness": "handedness", "hand": "handedness",
    "audience": "audience", "golfer": "audience",
    "minutes": "minutes", "time": "minutes", "drill": "tried", "lastdrill": "tried",
}  # fmt: skip
_CLUB_PATTERNS = {
    "driver": r"driver|1[- ]?wood", "3-wood": r"3[- ]?wood", "5-wood": r"5[- ]?wood",
    "hybrid": r"hybrid",
    **{f"{number}-iron": rf"{number}[- ]?iron|{number}i" for number in range(3, 10)},
    "pitching wedge": r"pitching[- ]wedge|pw", "gap wedge": r"(?:gap|approach)[- ]wedge|gw|aw",
    "sand wedge": r"sand[- ]wedge|sw", "lob wedge": r"lob[- ]wedge|lw",
    "putter": r"putter|putts?|putting",
}  # fmt: skip
_CHOICES = {
    "club": {name: re.compile(rf"\b(?:{pattern})\b") for name, pattern in _CLUB_PATTERNS.items()},
    "level": {name: re.compile(rf"\b{name}s?\b") for name in LEVELS},
    "handedness": {
        hand: re.compile(rf"\b{hand}(?:y|ies|[- ]?hand(?:ed|er)?)\b|^{hand}$")
        for hand in ("right", "left")
    },
    "audience": {
        "adult": re.compile(r"\b(?:adults?|wom[ae]n|m[ae]n|female|male)\b"),
        "senior": re.compile(r"\bseniors?\b"),
        "junior": re.compile(r"\bjuniors?\b"),
        # A joint that cannot turn or push: what loads a joint or one leg is left out.
        "limited mobility": re.compile(r"\blimited[- ]mobility\b|\bprosthe(?:sis|tic)\b"),
    },
}
# Whatever else swing_type says (power, precision or balanced swing) tells no cause.
_ANY_CLUB = re.compile(r"\b(?:[0-9]+[- ]?(?:iron|wood)|irons?|woods?|wedges?)\b")
# A fault is named from this probability on, if the golfer has done a drill for it.
_LIKELY_BESIDE = 0.2
_NUMBER = re.compile(r"([+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*(%?)")


def read_arguments(
    arguments: Mapping, hear: Hear, names: Mapping[str, str], drills: Mapping[str, Collection[str]]
) -> tuple[dict, Heard | None, list[str]]:
    """Read the arguments of generate_feedback; never raises.

    Each may be missing or hold anything. `names` is {fault id or key of OUTCOMES: name}, `drills`
    {name of a drill: ids of the faults that it is for}. Returns the fields of a Request, what the
    golfer's words mean, and remarks that tell the app's developer what was not read.
    """
    remarks: list[str] = []
    given = _read_names(arguments, remarks)
    scores = _read_all_scores(given["all_quality_scores"], remarks)
    area, is_own, area_is_known = _read_area(given["area"], scores, remarks)
    current = target = None
    if is_own:
        current, target = _read_own_scores(given, area, scores, remarks)
    if current is not None and area in scores:
        scores = scores | {area: current}
    golfer = _read_golfer(given["golfer_context"], given["swing_type"], drills, remarks)
    if golfer["audience"] is None and "limited mobility" in _named(given["issue"], "audience"):
        golfer["audience"] = "limited mobility"
    if current is None or target is None:
        remarks.append(
            "without a usable score and target for its area the answer is general advice, "
            "and states no score."
        )
    else:
        _compare_gap(given["gap"], current, target, remarks)
    observation, heard = words_that_refer(given), None
    if not observation:
        observation, heard = _read_words(given, area, hear, remarks)
    tried = golfer.pop("tried")
    if tried is None and observation and speaks_of_practice(observation):
        tried = _drill_named(observation, drills)
    if heard and not heard.meaning and tried:
        heard = _heard_beside(heard, drills[tried])
    meaning = names.get(heard.meaning or heard.elsewhere) if heard else None
    is_met = None not in (current, target) and severity_of(current, target) == "none"
    if is_met and meaning:
        remarks.append(
            f"issue sounds like {meaning!r}, but the score meets its target; "
            "the answer keeps what works."
        )
        meaning = None
    elif heard and not heard.meaning:
        remarks.append(
            f"issue {_shown(observation)} sounds like {meaning!r}, which is of another area than "
            f"{area}; the answer says so."
            if meaning
            else f"issue {_shown(observation)} names no fault, as far as is known in {area}; "
            "the answer asserts none."
        )
    scores = {name: scores[name] for name in ALL_SCORES if name in scores}
    values = {"area": area, "area_is_known": area_is_known, "all_scores": scores or None}
    values |= {"current_score": current, "target_score": target, "observation": observation}
    values |= {"meaning": meaning, "tried": tried}
    return values | golfer, heard, remarks


def _read_names(arguments: Mapping, remarks: list[str]) -> dict:
    """Every argument by its name, None where it is missing."""
    if not isinstance(arguments, Mapping):
        remarks.append(
            "a request must be a dict of the arguments of generate_feedback, "
            f"found {_shown(arguments)}."
        )
        arguments = {}
    unknown = [name for name in arguments if name not in ARGUMENTS]
    if unknown:
        remarks.append(
            f"generate_feedback has no argument {_shown(unknown[0])}; "
            f"it has {', '.join(ARGUMENTS)}."
        )
    return {name: arguments.get(name) for name in ARGUMENTS}


def _shown(value) -> str:
    """A value of any kind in a few characters, for a remark."""
    if isinstance(value, str | bytes):
        value = value[:40]
    try:
        return reprlib.repr(value)[:60]
    except Exception:
        # Whatever an object's own __repr__ raises.
        return f"a {type(value).__name__}"


def _squeezed(text) -> str:
    """Letters and digits of a name, so that `Follow-through` and `followthrough` are the same."""
    return re.sub(r"[\W_]+", "", text[:LONGEST_TEXT].casefold()) if isinstance(text, str) else ""


def _score_names() -> dict[str, str]:
    """{name in any spelling, squeezed: key of ALL_SCORES}"""
    names = {_squeezed(name): name for name in ALL_SCORES}
    names |= {name.removesuffix("quality"): key for name, key in names.items()} | _OTHER_AREA_NAMES
    return names | {
        _squeezed(text): area.key for area in AREAS.values() for text in (area.label, area.folder)
    }


_SCORE_NAMES = _score_names()


def score_name(value) -> str | None:
    """Return the key of ALL_SCORES that a name in any spelling stands for, or None."""
    return _SCORE_NAMES.get(_squeezed(value))


def _read_area(value, scores: dict[str, float], remarks: list[str]) -> tuple[str, bool, bool]:
    """The area, whether it is the one that was sent, and whether anything decided on it."""
    name = score_name(value)
    if name in AREAS:
        return name, True, True
    squeezed = [_squeezed(key) for key in AREAS]
    close = difflib.get_close_matches(_squeezed(value)[:40], squeezed, n=1, cutoff=0.8)
    if close and name is None:
        name = score_name(close[0])
        remarks.append(f"area {_shown(value)} was read as {name}.")
        return name, True, True
    remarks.append(f"area {_shown(value)} is none of {', '.join(AREAS)}.")
    candidates = {name: score for name, score in scores.items() if name in AREAS}
    name = min(candidates, key=candidates.get, default=next(iter(AREAS)))
    chosen = "the lowest of all_quality_scores"
    if not candidates:
        chosen = "the first, since all_quality_scores names none"
    remarks.append(
        f"the answer is about {name}, {chosen}; current_score and target_score, which belong to "
        "another, are not used."
    )
    return name, False, bool(candidates)


def _read_own_scores(
    given: dict, area: str, scores: dict[str, float], remarks: list[str]
) -> tuple[float | None, float | None]:
    """Current score and target of the area."""
    current = _read_score("current_score", given["current_score"], remarks)
    target = _read_score("target_score", given["target_score"], remarks)
    if area not in scores:
        return current, target
    if current is None:
        current = scores[area]
        remarks.append(f"the current score is that of {area} in all_quality_scores, {current:.2f}.")
    elif abs(scores[area] - current) > 0.005:
        remarks.append(
            f"all_quality_scores has {scores[area]:.2f} for {area}, "
            f"current_score is {current:.2f}; current_score counts."
        )
    return current, target


def _read_score(argument: str, value, remarks: list[str]) -> float | None:
    """A score of 0..1 with two decimals, or None; only `%` makes a number a percentage."""
    if value is None:
        remarks.append(f"{argument} is missing; send a number of 0 to 1.")
        return None
    number = _number(value)
    if number is None or not math.isfinite(number):
        remarks.append(
            f"{argument} is {_shown(value)}, which is no number; send a number of 0 to 1."
        )
        return None
    # Sums of floats end a little above 1.
    if not -1e-6 <= number <= 1 + 1e-6:
        remarks.append(
            f"{argument} is {_shown(value)}, outside 0 to 1; divide a percentage by 100."
        )
        return None
    return round(min(max(number, 0.0), 1.0), 2)


def _number(value) -> float | None:
    try:
        if isinstance(value, str):
            match = _NUMBER.fullmatch(value.strip())
            return float(match[1].replace(",", ".")) / (100 if match[2] else 1) if match else None
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        # A truth value is a number to Python; as a score it is a mistake.
        return float(value) if isinstance(value, Number) and not isinstance(value, bool) else None
    except (TypeError, ValueError, ArithmeticError, RuntimeError):
        return None


def _read_all_scores(value, remarks: list[str]) -> dict[str, float]:
    """The usable ones of the eight scores, by name."""
    order = f"the eight scores in the order {', '.join(ALL_SCORES)}"
    if value is None:
        return {}
    if isinstance(value, Mapping):
        named = {}
        for key in list(value)[:100]:
            name = score_name(key)
            if name is None or name in named:
                remarks.append(
                    f"all_quality_scores has the key {_shown(key)}, which is none of "
                    f"{', '.join(ALL_SCORES)}, or one of them twice."
                )
            else:
                named[name] = value[key]
    else:
        vector = (
            value.tolist()
            if hasattr(value, "tolist") and getattr(value, "shape", None) == (len(ALL_SCORES),)
            else value
        )
        if not isinstance(vector, list | tuple) or len(vector) != len(ALL_SCORES):
            remarks.append(
                f"all_quality_scores is {_shown(value)}; expected {order}. None of them is used."
            )
            return {}
        named = dict(zip(ALL_SCORES, vector, strict=True))
    scores = {
        name: _read_score(f"all_quality_scores, {name},", score, remarks)
        for name, score in named.items()
    }
    return {name: score for name, score in scores.items() if score is not None}


def _compare_gap(value, current: float, target: float, remarks: list[str]) -> None:
    gap = None if value is None else _number(value)
    # The app may call a score above its target a negative gap, or none.
    if (
        gap is not None
        and min(abs(gap - (target - current)), abs(gap - max(0.0, target - current))) > 0.011
    ):
        remarks.append(
            f"gap is {_shown(value)}, but target_score minus current_score is "
            f"{target - current:.2f}, which counts."
        )


def _read_context(context, remarks: list[str]) -> dict[str, str | None]:
    """What golfer_context says of the golfer, each None where it is not said."""
    golfer: dict[str, str | None] = dict.fromkeys((*_CHOICES, "minutes", "tried"))
    if isinstance(context, Mapping):
        unread = []
        for key in list(context)[:100]:
            name, value = _CONTEXT_KEYS.get(_squeezed(key)), context[key]
            if name is None:
                unread.append(key)
            elif name in ("minutes", "tried"):
                golfer[name] = value
            elif value is not None:
                found = _named(value, name)
                golfer[name] = found[0] if len(found) == 1 else None
                if len(found) != 1:
                    expected = CLUBS if name == "club" else _CHOICES[name]
                    remarks.append(
                        f"golfer_context has the {name} {_shown(value)}; "
                        f"expected one of {', '.join(expected)}."
                    )
        if unread:
            remarks.append(
                "golfer_context: of its keys club, level, handedness, audience, minutes and drill "
                f"are read, {_shown(unread[0])} is not."
            )
    elif isinstance(context, str):
        for name in _CHOICES:
            found = _named(context, name)
            golfer[name] = found[0] if len(found) == 1 else None
            if len(found) > 1:
                remarks.append(
                    f"golfer_context names more than one {name} ({', '.join(found)}); "
                    "none of them is used."
                )
    elif context is not None:
        remarks.append(
            f"golfer_context is {_shown(context)}; "
            "expected a dict with club, level, handedness, audience, or a text."
        )
    return golfer


def _read_golfer(
    context, swing_type, drills: Collection[str], remarks: list[str]
) -> dict[str, str | None]:
    """The same, with the club of swing_type where golfer_context says none."""
    golfer = _read_context(context, remarks)
    drill = golfer["tried"]
    golfer["tried"] = _drill_named(drill, drills)
    if drill is not None and golfer["tried"] is None:
        remarks.append(
            f"golfer_context has the drill {_shown(drill)}; send the name of one that was told."
        )
    minutes = _number(golfer["minutes"]) if golfer["minutes"] is not None else None
    if golfer["minutes"] is not None and not (minutes and minutes > 0):
        remarks.append(
            f"golfer_context has the minutes {_shown(golfer['minutes'])}; send a number."
        )
    # The longest plan that fits into the time, or the shortest.
    fitting = [each for each in MINUTES if minutes and each <= minutes]
    golfer["minutes"] = max(fitting, default=MINUTES[0]) if minutes and minutes > 0 else None
    # What holds for everybody has no line in a prompt.
    golfer["audience"] = None if golfer["audience"] == "adult" else golfer["audience"]
    clubs = _named(swing_type, "club")
    if len(clubs) == 1 and golfer["club"] in (None, clubs[0]):
        golfer["club"] = clubs[0]
    elif clubs:
        remarks.append(
            f"swing_type names {' and '.join(clubs)}, "
            f"golfer_context {golfer['club'] or 'no club'}, which counts."
        )
    elif isinstance(swing_type, str) and _ANY_CLUB.search(_plain(swing_type)):
        remarks.append(
            f"swing_type {_shown(swing_type)} names none of the clubs {', '.join(CLUBS)}."
        )
    return golfer


def _named(value, kind: str) -> list[str]:
    """Which of the known clubs, levels, hands or audiences a text names."""
    if not isinstance(value, str):
        return []
    text = _plain(value)
    return [name for name, pattern in _CHOICES[kind].items() if pattern.search(text)]


def _plain(text: str) -> str:
    """The first words of a text in lower case, with single spaces."""
    return " ".join(text[:LONGEST_TEXT].casefold().replace("_", " ").split())


def _read_words(
    given: dict, area: str, hear: Hear, remarks: list[str]
) -> tuple[str | None, Heard | None]:
    """What was said of the area, and what it means; None where nothing was said.

    Where there is no issue, a weakness may mean something in the area.
    """
    issue, weaknesses = given["issue"], given["all_weaknesses"]
    if issue is not None and not isinstance(issue, str):
        remarks.append(f"issue is {_shown(issue)}; expected a text.")
    if isinstance(issue, str) and issue.strip():
        return issue, hear(area, issue)
    for text in weaknesses[:20] if isinstance(weaknesses, list | tuple) else ():
        if isinstance(text, str) and (heard := hear(area, text)).meaning:
            return text, heard
    return None, None


def _heard_beside(heard: Heard, worked_on: Collection[str]) -> Heard:
    """What words mean, where it is known which faults the golfer has worked on by a drill."""
    likely = (f for f, share in heard.considered if f in worked_on and share >= _LIKELY_BESIDE)
    return heard._replace(meaning=next(likely, ""))


def _drill_named(text, drills: Collection[str]) -> str | None:
    """The drill whose name a text has in it, the longest such name."""
    said = (
        f" {' '.join(re.findall(r'[a-z0-9]+', text.casefold()))} " if isinstance(text, str) else ""
    )
    found = [
        name
        for name in drills
        if f" {' '.join(re.findall(r'[a-z0-9]+', name.casefold()))} " in said
    ]
    return max(found, key=len, default=None)


def _described(key, value):
    """A value of golfer_context, in words that say so if it tells who the golfer is."""
    is_golfer = isinstance(value, str) and _CONTEXT_KEYS.get(_squeezed(key)) == "audience"
    return f"{value} golfer" if is_golfer else value


def words_that_refer(arguments: dict) -> str | None:
    """Return the most urgent words that call for somebody else, wherever they stand, or None.

    They come on one line. `arguments` has all of ARGUMENTS.
    """
    texts = []
    for value in (arguments["issue"], arguments["golfer_context"], arguments["all_weaknesses"]):
        values = value
        if isinstance(value, Mapping):
            values = [_described(key, value[key]) for key in list(value)[:100]]
        values = [*values][:100] if isinstance(values, list | tuple) else [values]
        texts += [text[: 10 * LONGEST_TEXT] for text in values if isinstance(text, str)]
    said = " ".join(" ".join(texts).split())[: 10 * LONGEST_TEXT]
    # A prompt has room for a part of a long text; no phrase is as long as half of one.
    encoded, half = said.encode(errors="ignore"), LONGEST_OBSERVATION // 2
    starts = range(0, max(1, len(encoded) - half), half)
    cut = [encoded[start : start + LONGEST_OBSERVATION] for start in starts]
    parts = [part.decode(errors="ignore") for part in cut]
    urgent = [part for part in parts if referral_of(part)]
    return min(urgent, key=lambda part: TIERS.index(referral_of(part)), default=None)
