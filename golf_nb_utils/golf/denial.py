"""What is left of a golfer's words without the clauses that deny a fault ("no sway today").

A rule, like golf.referral: to a reader that counts words, "I never sway" has the words of a sway.
"Never turn", though, is a fault, so only words of faults are denied. Other clauses are read on:
what follows a "but" is what is wrong instead. The words are data:
knowledge/golf_instruction/denial.yaml.
"""

import re
from functools import lru_cache

import yaml

from golf_nb_utils.host import knowledge_folder

_CLAUSE = re.compile(
    r"[.,;:!?()]+|\b(?:but|and)\b|\bsince\b(?= the| that| we| i )|\s[-\u2013\u2014]\s"
)
_WORDS_BETWEEN = 4


@lru_cache(maxsize=1)
def _patterns() -> dict[str, re.Pattern]:
    text = (knowledge_folder() / "denial.yaml").read_text(encoding="utf-8")
    lists = {name: rf"\b(?:{'|'.join(each)})\b" for name, each in yaml.safe_load(text).items()}
    bad, no = lists["faulty"], lists["denials"]
    over = lists["over"].removeprefix(r"\b")  # which may begin within a word: "it's gone"
    denied = (
        rf"{no}(?:\s+[\w'-]+){{0,{_WORDS_BETWEEN}}}?\s+{bad}",
        rf"\bused to\b.*{bad}",
        rf"\b(?:days|weeks|months|years|ages) since\b.*{bad}",
        rf"{bad}.*{over}",
    )
    return {
        "denied": re.compile("|".join(denied)),
        "unsure": re.compile(lists["unsure"]),
        "filler": re.compile(rf"(?:\s*{lists['fillers']})+\s*"),
    }


@lru_cache(maxsize=1 << 14)
def undenied(text: str) -> str:
    """Return a text without its clauses that deny a fault, in lower case; "" for nothing.

    A text that denies nothing is returned as it is.

    Raises:
        FileNotFoundError: denial.yaml does not exist.
    """
    patterns = _patterns()
    plain = " ".join(text.casefold().replace("\u2019", "'").split()).replace("up and down", "")
    clauses = [clause.strip() for clause in _CLAUSE.split(plain) if clause.strip()]
    kept = [
        clause
        for clause in clauses
        if patterns["unsure"].search(clause) or not patterns["denied"].search(clause)
    ]
    if len(kept) == len(clauses):
        return text
    return ", ".join(clause for clause in kept if not patterns["filler"].fullmatch(clause))
