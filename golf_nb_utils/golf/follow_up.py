"""Whether a golfer says that something was tried and did not help.

A rule, like golf.referral: words of an effort and words of no effect, in one text. It decides only
that another cause is looked at. Some faults are told in the same words ("my weight is still back",
"he keeps his head still", "trying to lift it", "my hips haven't done a thing"): these do not count.
"""

import re

_EFFORT = re.compile(
    r"\b(?:did(?!n'?t\b| not\b)|(?<!'re )(?<!'m )(?<!are )done(?! anything| nothing| a thing)|"
    r"(?<!still )doing (?:the|your|that|this|those|it|them|as you|what you)|"
    r"tried|trying (?!to\b|not\b)|worked (?:on|at|through)|working (?:on|through)|"
    r"(?:give|gave|given) (?:\w+ ){1,5}(?:go|try|shot|crack|trial)|"
    r"practi[sc](?:ed|ing)|drilled|trained|completed|followed|kept at|been at|stuck (?:to|with)|"
    r"(?:the|your|that|this|those) (?:\w+ ){0,4}(?:drills?|exercises?)|"
    r"(?:reps|sessions|lessons|nights|days|weeks|months?|fortnight|buckets?) (?:of|with|on)|"
    r"you (?:told|gave|had|said|suggested|prescribed|recommended))\b"
)
_NO_EFFECT = re.compile(
    r"\b(?:(?:did|does|do|has|have|had|is|was|are|ai)(?:n'?t| not) (?:\w+ )?"
    r"(?:help|work|change|fix|cure|better|any|budge|shift|st[iu]ck|made|make|improv)\w*|"
    r"(?:no|zero|without) (?:\w+ )?(?:better|chang\w+|difference|different|improvement|luck|"
    r"effect|use|good|joy|gain|further|progress)|"
    r"not (?:\w+ )?(?:better|working|helping|improv\w+|fixed)|"
    r"(?<!keep )(?<!keeps )(?<!kept )(?<!stood )(?<!stand )(?<!stay )(?<!sit )(?<!hold )still|"
    r"same (?:as|result|problem|miss|thing|old|rubbish)|"
    r"nothing(?:'s| has)? (?:changed|helped|helps|worked|works|improved|different)|"
    r"nowhere with|in vain|unchanged|where i (?:was|started)|as before|plan b|"
    r"(?:made|makes|making|got|gotten|getting) (?:it |things |me |even )*worse|useless)\b"
)


def says_it_did_not_help(text: str) -> bool:
    """Return whether a text speaks of something that was tried in vain."""
    text = _plain(text)
    return bool(_EFFORT.search(text) and _NO_EFFECT.search(text))


def speaks_of_practice(text: str) -> bool:
    """Return whether a text that names a drill may mean that it was done.

    Some drills are named in words that golfers use anyhow ("Feet together", "Stop at the top").
    """
    text = _plain(text)
    return bool(_EFFORT.search(text) or _NO_EFFECT.search(text))


def _plain(text: str) -> str:
    return text.casefold().replace("\u2019", "'")
