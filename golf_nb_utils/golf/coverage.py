"""What the knowledge base covers, case by case, and how easily it reads: the numbers behind `check-knowledge`."""

from itertools import product

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS, SEVERITIES
from golf_nb_utils.golf.knowledge import KnowledgeBase, Topic

# A case with a single drill for a fault can be answered, but always with that drill.
THIN = 1


def coverage(knowledge: KnowledgeBase) -> dict[tuple[str, str, str, str], int]:
    """Return {(area, severity, level, club family): number of different pairs of a fault and a drill for an adult}."""
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
    """Return a sentence for each case of area, severity, level and club that no fault and drill covers."""
    return [
        f"{area}: no fault and drill for a {severity} gap of a {level} with the {club}"
        for (area, severity, level, club), pairs in coverage(knowledge).items() if not pairs
    ]  # fmt: skip


def thin_places(knowledge: KnowledgeBase) -> list[str]:
    """Return a line for each fault that has only one drill for some club, level or audience, with those cases."""
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
    """Return the Coleman-Liau index of a topic's sentences: the US school grade that reads them with ease.

    The index counts letters and sentences (Coleman & Liau 1975), by textstat; it needs no dictionary of syllables.
    """
    import textstat

    return textstat.coleman_liau_index(
        " ".join(text for _, _, item in topic.items() for text in item.phrasings)
    )
