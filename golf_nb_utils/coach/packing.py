"""A verified answer as the dict that the app reads: plain JSON, whatever wrote the answer."""

import re

from golf_nb_utils.golf.grammar import Answer
from golf_nb_utils.prompt import parse_feedback

# {id: (file and line, sources)} of every sentence, see golf.answer.places.
Places = dict[str, tuple[str, tuple[str, ...]]]


def pack(answer: Answer, told: str, places: Places, generated_by: str, verification: dict) -> dict:
    """Return what generate_feedback returns, whose docstring says what its keys are.

    `told` is the drill that the answer tells, or "". `verification` is all that the key of this
    name holds but the sentences, which are added here.
    """
    parts = parse_feedback(answer.text)
    steps = re.findall(r"^[0-9]+[.] (.*)$", parts["what_to_do"], re.MULTILINE)
    thoughts = re.findall(r"^Swing thought: (.*)$", parts["what_to_do"], re.MULTILINE)
    points = [step for step in steps if step != told]
    return {
        **parts,
        "suggestion": answer.text,
        "drill": told,
        "key_points": [*points, *thoughts],
        "generated_by": generated_by,
        "verification": verification
        | {"sentences": [_traced(*sentence, places) for sentence in answer.sentences]},
    }


def _traced(text: str, name: str, places: Places) -> dict[str, str]:
    """A sentence with its id, where it stands, and on which sources it rests."""
    place, sources = places[name]
    return {"text": text, "id": name, "place": place, "sources": ", ".join(sources)}
