"""What the knowledge base covers, case by case, and how easily it reads.

These are the numbers that the command `check-knowledge` prints.
"""

import re
from itertools import product

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.knowledge import KnowledgeBase, Topic

# A case with a single chain for a fault can be answered, but always with that chain.
THIN = 1


def coverage(knowledge: KnowledgeBase) -> dict[tuple[str, str, str, str], int]:
    """Return {(area, severity, level, club family): pairs of a chain and a drill for an adult}."""
    # Every case is a key, so that one which nothing covers shows as 0 and not as missing.
    counts = dict.fromkeys(product(AREAS, SEVERITIES, LEVELS, CLUB_FAMILIES), 0)
    for chain in knowledge.advice:
        drills = knowledge.drills_for(chain) if chain.kind == "fault" else ()
        for severity, level, club in product(chain.severities, chain.levels, chain.clubs):
            if severity != "none":
                counts[chain.area, severity, level, club] += sum(
                    drill.fits(club, level) for drill in drills
                )
    return counts


def holes(knowledge: KnowledgeBase) -> list[str]:
    """Return a sentence for each case of `coverage` that no fault and drill covers."""
    return [
        f"{area}: no chain and drill for a {severity} gap of a {level} with the {club}"
        for (area, severity, level, club), pairs in coverage(knowledge).items() if not pairs
    ]  # fmt: skip


def thin_places(knowledge: KnowledgeBase) -> list[str]:
    """Return a line for each fault that has one chain only for some clubs, levels or audiences.

    Who comes back, since it did not help, is then told the same again.
    """
    lines = []
    for topic in knowledge.topics:
        for fault in topic.faults:
            told = [(chain, knowledge.drills_for(chain)) for chain in knowledge.chains_of(fault.id)]
            cases = [
                (club, level, audience)
                for club, level, audience in product(topic.clubs, topic.levels, topic.audiences)
                if sum(
                    club in chain.clubs and level in chain.levels and audience in chain.audiences
                    and any(drill.fits(club, level, audience) for drill in drills)
                    for chain, drills in told
                ) <= THIN
            ]  # fmt: skip
            if cases:
                named = [sorted({case[place] for case in cases}) for place in range(3)]
                lines.append(
                    f"{fault.id} {fault.name}: one chain for "
                    + "; ".join(", ".join(values) for values in named)
                )
    return lines


def reading_grade(topic: Topic) -> float:
    """Return the US school grade that reads a topic with ease, by the Coleman-Liau index.

    The index counts letters and sentences (Coleman & Liau 1975), so that it needs no dictionary of
    syllables. It is textstat's.
    """
    import textstat

    texts = (text for _, _, item in topic.items() for text in item.phrasings)
    return textstat.coleman_liau_index(" ".join(texts))


_BODY = re.compile(
    r"\b(?:hip|shoulder|arm|wrist|elbow|knee|leg|hand|finger|head|chest|spine|core|your back)s?\b",
    re.IGNORECASE,
)
_OUTSIDE = re.compile(
    r"\b(?:ball|tee|mark|line|target|flag|ground|wall|stick|club|clubhead|handle|grip|shaft|face|"
    r"edge|shoe|laces|print|pocket|button|logo|belt|buckle|sleeve|collar|cup|egg|suitcase)s?\b",
    re.IGNORECASE,
)


def external_cues(knowledge: KnowledgeBase) -> float:
    """Return the share of swing thoughts that point to something outside the body.

    One is internal where it moves or holds a part of the body and names nothing outside it. An
    external focus is preferred, and not proven: Chua et al. 2021 find an effect, McKay et al. 2024
    next to none once they correct for what was never published.
    """
    items = (item for advice in knowledge.advice for item in advice.items.get("cue", ()))
    cues = [text for item in items for text in item.phrasings]
    return sum(not _BODY.search(cue) or bool(_OUTSIDE.search(cue)) for cue in cues) / len(cues)
