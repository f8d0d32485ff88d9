"""Advice on an area of the swing without a score: sentences of the knowledge base, and one that says why there is no number."""

import random
import re

from golf_nb_utils.golf.answer import ADAPTED, LABELS, Entry
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.prompt import SECTIONS, format_feedback

SAY = {
    "general.no_score": "Without a score and a target for your {label} to go by, this is general advice.",
    "general.no_area": "It is not said which part of your swing this is about, so this is general advice on {label}.",
}


def general_advice(
    index: dict[str, Entry],
    names: list[str],
    area: str,
    area_is_known: bool,
    fault_name: str,
    case: tuple[str | None, str | None, str],
    hand: str,
    seed: int,
) -> tuple[str, list[tuple[str, str]], str]:
    """Return a feedback text without a score, its (sentence, id) in their order, and the id of its drill.

    `names` are the ids of the area, `case` is club, level (None for any) and audience. With the name of a fault (or "") the actions
    are those against it, where there are some for this golfer.
    """
    rng = random.Random(seed)
    fitting: dict[str, dict[str, list[str]]] = {}
    for name in names:
        entry = index[name]
        # The first phrasing of each item; the second one's id ends on a letter.
        if (
            entry.fault_name in ("", fault_name)
            and not name[-1].isalpha()
            and entry.is_for(*case, "none")
        ):
            fitting.setdefault(entry.topic, {}).setdefault(entry.kind, []).append(name)
    for kinds in fitting.values():
        faults = {index[name].fault for name in kinds.get("steps", ())}
        kinds["fixing"] = [
            name for name in kinds.get("drill", ()) if faults & set(index[name].fixes)
        ]
    whole = [
        kinds
        for kinds in fitting.values()
        if all(kinds.get(kind) for kind in ("ideal", "keep", "cues", "drill"))
    ]
    against = [
        kinds for kinds in whole if all(kinds.get(kind) for kind in ("steps", "check", "fixing"))
    ]
    kinds = rng.choice(against or whole)
    used: list[tuple[str, str]] = []

    def some(kind: str, count: int = 1) -> list[str]:
        """So many different items of a kind, in their order."""
        places = sorted(rng.sample(range(len(kinds[kind])), min(count, len(kinds[kind]))))
        drawn = [kinds[kind][place] for place in places]
        used.extend(
            (index[name].left if hand == "left" else index[name].right, name) for name in drawn
        )
        return [text for text, _ in used[-len(drawn) :]]

    should = some("ideal", 2)
    own = "general.no_score" if area_is_known else "general.no_area"
    happening = SAY[own].format(label=AREAS[area].label)
    used.append((happening, own))
    lines = some("steps" if against else "keep", 2)
    if against:
        lines.append(f"Check: {some('check')[0]}")
    lines += some("fixing" if against else "drill")
    drill = used[-1][1]
    to_do = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    if case[2] in ADAPTED and kinds.get("adaptations"):
        to_do.append(f"{ADAPTED[case[2]]}: {some('adaptations')[0]}")
    to_do.append(f"Swing thought: {some('cues')[0]}")
    return format_feedback(" ".join(should), happening, "\n".join(to_do)), used, drill


def holds_only(text: str, sentences: list[str]) -> bool:
    """Return whether a text is these sentences, headings, labels and list numbers, and nothing else."""
    for part in sorted((*SECTIONS.values(), *sentences), key=len, reverse=True):
        text = text.replace(part, "", 1)
    return not re.sub(
        rf"^(?:[0-9]+[.] )?(?:(?:{'|'.join(LABELS)}): )?", "", text, flags=re.MULTILINE
    ).strip()
