"""What the knowledge base covers, case by case, and how easily it reads.

These are the numbers that the command `check-knowledge` prints.
"""

from itertools import product

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.knowledge import KnowledgeBase, Topic

# A case with a single drill for a fault can be answered, but always with that drill.
THIN = 1


def coverage(knowledge: KnowledgeBase) -> dict[tuple[str, str, str, str], int]:
    """Return {(area, severity, level, club family): pairs of a fault and a drill for an adult}."""
    # Every case is a key, so that one which nothing covers shows as 0 and not as missing.
    counts = dict.fromkeys(product(AREAS, SEVERITIES, LEVELS, CLUB_FAMILIES), 0)
    for topic in knowledge.topics:
        for fault in topic.faults:
            drills = knowledge.drills_for(fault.id)
            for severity, level, club in product(topic.severities, topic.levels, topic.clubs):
                counts[topic.area, severity, level, club] += sum(
                    drill.fits(club, level) for drill in drills
                )
    return counts


def holes(knowledge: KnowledgeBase) -> list[str]:
    """Return a sentence for each case of `coverage` that no fault and drill covers."""
    return [
        f"{area}: no fault and drill for a {severity} gap of a {level} with the {club}"
        for (area, severity, level, club), pairs in coverage(knowledge).items() if not pairs
    ]  # fmt: skip


def thin_places(knowledge: KnowledgeBase) -> list[str]:
    """Return a line for each fault that has one drill only for some clubs, levels or audiences."""
    lines = []
    for topic in knowledge.topics:
        for fault in topic.faults:
            drills = knowledge.drills_for(fault.id)
            cases = [
                case for case in product(topic.clubs, topic.levels, topic.audiences)
                if sum(drill.fits(*case) for drill in drills) <= THIN
            ]  # fmt: skip
            if cases:
                named = [sorted({case[place] for case in cases}, key=str) for place in range(3)]
                lines.append(
                    f"{fault.id} {fault.name}: one drill for "
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
