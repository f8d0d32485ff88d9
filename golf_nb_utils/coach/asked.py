"""What a prompt asks, as the arguments of generate_feedback: fields in any order, JSON, free text.

An app that talks to a general model sends its scores inside a prompt of its own making. Three forms
are read, and may be mixed: a JSON object; fields with a name (`Area: balance`), those of our own
template among them; and free text ("weight shift, score 45 %, target 80 %, I keep falling back").
Sentences that tell a model how to answer are no words of a golfer, and are left out.
"""

import json
import re
from collections.abc import Mapping, Sequence

from golf_nb_utils.golf.app_request import ARGUMENTS, score_name, words_that_refer
from golf_nb_utils.golf.areas import AREAS, AUDIENCES, CLUBS, HANDEDNESS, LEVELS

LONGEST_PROMPT = 20_000
"""Characters that are read: the end of a longer prompt, where the request stands."""

MOST_PROMPTS = 20
"""Messages of a chat that are read: the last."""

# {name of a field, squeezed: argument, or key of golfer_context}
_NAMES = {
    "area": "area", "swingarea": "area", "category": "area", "skill": "area", "part": "area",
    "issue": "issue", "observation": "issue", "problem": "issue", "fault": "issue",
    "weakness": "issue", "note": "issue", "notes": "issue", "comment": "issue", "said": "issue",
    "golfersays": "issue", "userinput": "issue", "description": "issue",
    "currentscore": "current_score", "score": "current_score", "current": "current_score",
    "myscore": "current_score", "yourscore": "current_score", "scorenow": "current_score",
    "targetscore": "target_score", "target": "target_score", "goal": "target_score",
    "goalscore": "target_score", "mytarget": "target_score",
    "gap": "gap", "impactlevel": "impact_level", "impact": "impact_level",
    "swingtype": "swing_type",
    "allscores": "all_quality_scores", "allqualityscores": "all_quality_scores",
    "scores": "all_quality_scores", "qualityscores": "all_quality_scores",
    "weaknesses": "all_weaknesses", "allweaknesses": "all_weaknesses",
    "meaning": "meaning", "strengths": "all_strengths", "allstrengths": "all_strengths",
    "golfercontext": "golfer_context", "context": "golfer_context",
    "club": "club", "level": "level", "skilllevel": "level", "experience": "level",
    "handedness": "handedness", "hand": "handedness", "golfer": "audience", "audience": "audience",
    "time": "minutes", "minutes": "minutes", "practicetime": "minutes", "tried": "drill",
    "drill": "drill", "lastdrill": "drill",
}  # fmt: skip
_OF_THE_GOLFER = ("club", "level", "handedness", "audience", "minutes", "drill")
# A field of these has the rest of its line, commas and all; the others end at a comma.
_WHOLE_LINE = {
    "issue",
    "drill",
    "meaning",
    "all_quality_scores",
    "all_weaknesses",
    "all_strengths",
    "golfer_context",
}
_SCORES = ("current_score", "target_score")

_FIELD = re.compile(r"[ \t>*#-]*([A-Za-z][A-Za-z_ ]{1,24}?)[ \t*]*[:=][ \t*]*(?=\S)")
_NUMBER = r"([0-9]+(?:[.,][0-9]+)?)\s*(%|percent\b|/\s*100\b|out of 100\b)?"
_AFTER = r"(?:\s+score)?(?:\s*(?:is|was|of|at|now|:|=|,))*\s*"
_FROM_TO = re.compile(rf"\b(?:from\s+)?{_NUMBER}\s*(?:to|->|→)\s*{_NUMBER}", re.IGNORECASE)
_TARGET = re.compile(rf"\b(?:target|goal|aim(?:ing)? for|want){_AFTER}{_NUMBER}", re.IGNORECASE)
_SCORE = re.compile(rf"\b(?:current|score[sd]?){_AFTER}{_NUMBER}", re.IGNORECASE)
_SHARE = re.compile(r"\b([0-9]+(?:[.,][0-9]+)?)\s*(%|percent\b|/\s*100\b|out of 100\b)")
_SCORE_PATTERNS = (
    ("target_score", _TARGET), ("current_score", _SCORE), ("current_score", _SHARE),
)  # fmt: skip
_READ = "\0"
_MARKS = " \t,;:-*#>\"'"
# What a sentence about the golfer, and not about the swing, consists of.
_KNOWN_NAMES = re.compile(
    r"\b(?:i'?m|i am|an?|the|my|is|with|using|for|player|golfer|handed|hander|wood|iron|wedge|"
    r"hybrid|[0-9]+|"
    + "|".join(map(re.escape, (*LEVELS, *CLUBS, *AUDIENCES, *HANDEDNESS)))
    + "|"
    + "|".join(area.label for area in AREAS.values())
    + r")\b"
)
_SCORE_ENTRY = re.compile(rf"([A-Za-z][A-Za-z_ -]{{0,30}}?)\s*[:=]?\s*{_NUMBER}")
# How a sentence begins that is said to a model, not by a golfer.
_TO_A_MODEL = re.compile(
    r"(?:you(?:'re| are| will| should| must)|act as|as an? |please|give|write|explain|provide|"
    r"respond|answer|reply|generate|return|output|format|use|do not|don't|keep (?:it|the|your)|be|"
    r"describe|describing|turn|coach the|help (?:this|the)|tell (?:this|the|me|them)|analy[sz]e|"
    r"create|based on|below is|here (?:is|are)|the following|if (?:the|a)|your (?:task|job)|"
    r"make sure|include|hello|hi\b|thanks|thank you|(?:can|could|would|will) you)\b",
    re.IGNORECASE,
)
_OWN_TEMPLATE = re.compile(r"### Input:\n(.*?)(?:\n\n### Response:|\Z)", re.DOTALL)

QUESTION = (
    "I would love to help with your swing, and I need a little more for that: {missing}. "
    "Write it like this, with your own figures:\n\n"
    "Area: weight shift\nCurrent score: 45 %\nTarget score: 80 %\n"
    "I keep falling back when I hit it.\n\n"
    "The area is one of {areas}."
)
_MISSING = {
    "area": "the area of the swing",
    "current_score": "its score now",
    "target_score": "the score you aim for",
}


def read_prompt(text: str, is_golfers: bool = True) -> dict:
    """Return the arguments of generate_feedback that a prompt tells; what it does not is left out.

    One more is `meaning`, which our own template has: what the words were taken for. No text makes
    it raise. Values are as golf.app_request reads them, which judges them. Of a text that is not
    the golfer's (the system's part of a chat) only JSON and fields are read.
    """
    # Single blanks: many in a row cost a pattern that has two places for them their square.
    text = "\n".join(" ".join(line.split()) for line in text[-LONGEST_PROMPT:].splitlines())
    if own := _OWN_TEMPLATE.search(text):
        text = own[1]
    named, text = _read_json(text)
    free = "\n".join(_read_fields(line, named) for line in text.splitlines())
    said = []
    if is_golfers:
        free = _read_scores(free, named)
        if "area" not in named and (area := _area_in(free)):
            named["area"] = area
        said = _said(free)
    words = [each for each in said if _tells_more(each)]
    if words and not named.get("issue"):
        named["issue"] = ". ".join(words)
    _add_the_golfer(named, said)
    if "meaning" in named:
        # Where nobody said anything, the name of a fault is what there is to hear.
        named.setdefault("issue", named["meaning"])
    return {name: named[name] for name in (*ARGUMENTS, "meaning") if named.get(name) is not None}


def read_chat(prompts: Sequence[str], system: str = "") -> dict:
    """Return the arguments that a golfer's messages tell, oldest first; what came last counts."""
    found = read_prompt(system, is_golfers=False)
    for prompt in prompts[-MOST_PROMPTS:]:
        found |= read_prompt(prompt)
    return found


def question_for(arguments: Mapping) -> str:
    """Return a text that asks for what an answer needs and nobody said, or "".

    Words that call for a doctor are answered without a score.
    """
    if words_that_refer(dict.fromkeys(ARGUMENTS) | dict(arguments)):
        return ""
    missing = [name for name in _MISSING if name not in arguments]
    scores = arguments.get("all_quality_scores")
    area = score_name(arguments.get("area"))
    if isinstance(scores, Mapping) and area and area in map(score_name, scores):
        missing = [name for name in missing if name != "current_score"]
    if not missing:
        return ""
    *first, last = (_MISSING[name] for name in missing)
    areas = ", ".join(area.label for area in AREAS.values())
    listed = f"{', '.join(first)} and {last}" if first else last
    return QUESTION.format(missing=listed, areas=areas)


def _read_json(text: str) -> tuple[dict, str]:
    """What the first JSON object in a text tells, and the text without it."""
    for found in list(re.finditer(r"\{", text))[:20]:
        try:
            value, end = json.JSONDecoder().raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        if named := _known(value):
            return named, text[: found.start()] + "\n" + text[end:]
    return {}, text


def _known(value: dict) -> dict:
    """The entries of an object whose names are known; one below another counts, too."""
    named: dict = {}
    for key, entry in list(value.items())[:100]:
        name = _name(key)
        if name and entry is not None:
            named.setdefault(name, _score(entry) if name in _SCORES else entry)
        elif isinstance(entry, dict):
            named = _known_once(entry) | named
    if isinstance(named.get("all_weaknesses"), str):
        named["all_weaknesses"] = [named["all_weaknesses"]]
    return named


def _known_once(value: dict) -> dict:
    flat = {key: entry for key, entry in value.items() if not isinstance(entry, dict)}
    return _known(flat)


def _name(key: str) -> str | None:
    return _NAMES.get(re.sub(r"[\W_]+", "", key).casefold())


def _score(value):
    """A score as people write it: what is above 1 can only be a percentage."""
    if isinstance(value, str) and (found := re.fullmatch(rf"\s*{_NUMBER}\s*", value)):
        return _as_share(*found.groups())
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        return value / 100
    return value


def _as_share(number: str, unit: str | None) -> float:
    value = float(number.replace(",", "."))
    return value / 100 if unit or value > 1 else value


def _read_fields(line: str, named: dict) -> str:
    """Add the fields of a line to `named`; return what is left of it."""
    left, place = "", 0
    while place < len(line):
        found = _FIELD.match(line, place)
        name = _name(found[1]) if found else None
        if not name:
            # On to what stands behind the next comma.
            end = re.compile(r"[,;]\s*|[.]\s+|\Z").search(line, place).end()
            left += line[place : max(end, place + 1)]
            place = max(end, place + 1)
            continue
        stop = r"\Z" if name in _WHOLE_LINE else r"[;]\s*|,\s+|[.](?:\s+|\Z)|\Z"
        end = re.compile(stop).search(line, found.end())
        value = line[found.end() : end.start()].strip(" \t*\"'")
        place = end.end() if end.end() > place else len(line)
        if value.casefold() in ("", "none", "null", "n/a", "unknown", "not said"):
            continue
        if name == "all_quality_scores":
            value = {m[1].strip(" ,"): _as_share(m[2], m[3]) for m in _SCORE_ENTRY.finditer(value)}
        elif name in ("all_weaknesses", "all_strengths"):
            value = [value]
        elif name in _SCORES:
            value = _score(value)
        elif name == "minutes" and (number := re.match("[0-9]{1,4}", value)):
            value = int(number[0])
        named.setdefault(name, value)
    return left


def _read_scores(text: str, named: dict) -> str:
    """Add score and target that stand in free text; return the text with _READ in their place."""
    found = _FROM_TO.search(text)
    if found and (found[2] or found[4]) and not any(name in named for name in _SCORES):
        units = found[2] or found[4]
        named["current_score"] = _as_share(found[1], units)
        named["target_score"] = _as_share(found[3], units)
        text = text[: found.start()] + _READ + text[found.end() :]
    for name, pattern in _SCORE_PATTERNS:
        if name not in named and (found := pattern.search(text)):
            named[name] = _as_share(found[1], found[2])
            text = text[: found.start()] + _READ + text[found.end() :]
    return text


def _said(text: str) -> list[str]:
    """The sentences that a golfer may have said, without the clauses that told a score."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text)
    said = []
    for sentence in sentences:
        if _TO_A_MODEL.match(sentence.strip(_MARKS)):
            continue
        if _READ in sentence:
            clauses = re.split(r"[,;:.]|\band\b|\bbut\b", sentence)
            sentence = ", ".join(each.strip(_MARKS) for each in clauses if _READ not in each)
        said.append(sentence.strip(_MARKS + ".,"))
    return [each for each in said if re.search(r"[^\W\d_]{2}", each)]


def _tells_more(sentence: str) -> bool:
    """Whether a sentence tells more than an area, a club, or who plays."""
    left = _KNOWN_NAMES.sub(" ", sentence.casefold())
    return len(re.findall(r"[^\W\d_]+", left)) >= 2


def _add_the_golfer(named: dict, said: list[str]) -> None:
    """Put what tells of the golfer where generate_feedback expects it."""
    told = {name: named.pop(name) for name in _OF_THE_GOLFER if name in named}
    given = named.get("golfer_context")
    if told:
        named["golfer_context"] = told | (given if isinstance(given, Mapping) else {})
    elif given is None and said:
        named["golfer_context"] = ". ".join(said)


def _area_in(text: str) -> str | None:
    """The area that a text names, if it names one and no other."""
    words = re.findall(r"[a-z_]+", text.casefold())
    found = set()
    for length in (1, 2, 3):
        for place in range(len(words) - length + 1):
            name = score_name("".join(words[place : place + length]))
            if name in AREAS:
                found.add(name)
    return found.pop() if len(found) == 1 else None
