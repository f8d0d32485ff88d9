"""A thumb for an answer that the server gave, kept where notebook 01 learns from it."""

from pathlib import Path

from golf_nb_utils.coach.protocol import RefusedError
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.corrections import append_correction
from golf_nb_utils.golf.wording import INSTRUCTIONS
from golf_nb_utils.prompt import parse_feedback

MOST_BYTES = 1 << 28
"""The file grows no further by way of the server."""


def keep_thumb(path: Path, verifier: Verifier, body: dict, model_sha256: str) -> dict:
    """Add a thumb to feedback.jsonl and return its line.

    `body` has input, answer and thumb, and may have corrected and generated_by: strings. Only a
    right answer is taken, which none but this coach gives; so the server keeps nothing in mind.

    Raises:
        RefusedError: 400, something is missing or is not to be learnt; 507, the file is full.
    """
    given = {name: body.get(name, "") for name in ("input", "answer", "thumb")}
    given |= {name: body.get(name) or "" for name in ("corrected", "generated_by")}
    for name, value in given.items():
        if not isinstance(value, str):
            raise RefusedError(400, f"{name} must be a string")
    if path.exists() and path.stat().st_size > MOST_BYTES:
        raise RefusedError(507, "the file of thumbs is full; move it away, and begin a new one")
    answer, corrected = given["answer"], given["corrected"]
    request = {"instruction": INSTRUCTIONS[0], "input": given["input"]}
    try:
        if reasons := verifier.verify(answer, given["input"]).reasons:
            raise ValueError(f"answer is none of this coach's: {reasons[0]}")
        parse_feedback(corrected or answer)
        made_by = given["generated_by"], model_sha256
        return append_correction(path, request, answer, given["thumb"], corrected, *made_by)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None
