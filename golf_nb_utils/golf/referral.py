"""Whether somebody should see a doctor, and how soon, or a coach who is trained for them.

A rule, not a model: it comes before everything else, and errs on the safe side. A complaint and a
part of the body within six words refer, and so does any word of illness, surgery or pregnancy, even
where it is denied ("no pain, but my old back injury"). What golfers say of shots and clubs in such
words ("killed that drive", "a pain to hit") is taken out first, as whole phrases. Who plays seated,
with one arm or with low vision is sent to a coach trained in adaptive golf: no drill here was
written for them. The words are data: knowledge/golf_instruction/referral.yaml.
"""

import re
from functools import lru_cache

import yaml

from golf_nb_utils.host import knowledge_folder

TIERS = ("emergency", "day", "stop", "adaptive")
"""How soon somebody should see a doctor, the most urgent first; then who needs another coach."""
_WORDS_BETWEEN = 6


@lru_cache(maxsize=1)
def _patterns() -> dict[str, re.Pattern]:
    """{name of a list in referral.yaml, or of a tier of illness: a pattern of all its phrases}"""
    lists = yaml.safe_load((knowledge_folder() / "referral.yaml").read_text(encoding="utf-8"))
    lists |= lists.pop("illness")
    return {name: re.compile(rf"\b(?:{'|'.join(each)})(?!\w)") for name, each in lists.items()}


@lru_cache(maxsize=1 << 15)
def referral_of(text: str) -> str:
    """Return the tier of TIERS that a text calls for, or "".

    Raises:
        FileNotFoundError: referral.yaml does not exist.
    """
    patterns = _patterns()
    text = " ".join(text.casefold().replace("\u2019", "'").split())
    # A mark keeps the words before and after a phrase from becoming neighbours of each other.
    text = patterns["harmless"].sub(" | ", text)
    named = next((tier for tier in TIERS if patterns[tier].search(text)), "")
    if named not in ("", "adaptive"):
        return named
    parts, complaints = (
        [found.start() for found in patterns[name].finditer(text)]
        for name in ("parts", "complaints")
    )
    is_near = any(
        len(text[min(part, complaint) : max(part, complaint)].split()) <= _WORDS_BETWEEN
        for part in parts
        for complaint in complaints
    )
    return "stop" if is_near else named
