"""The description of the server's own routes, as OpenAPI 3.1 has it (spec.openapis.org)."""

from golf_nb_utils.golf.areas import ALL_SCORES, AREAS
from golf_nb_utils.prompt import HEADINGS

_SCORE = {"type": ["number", "string", "null"], "description": "0 to 1, or a text as in 45%"}
_TEXT = {"type": ["string", "null"]}
_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}


def _object(properties: dict, required: list[str] | None = None) -> dict:
    return {"type": "object", "properties": properties, "required": required or []}


_ARGUMENTS = _object({
    "area": {"type": "string", "examples": list(AREAS)},
    "issue": _TEXT | {"description": "what the golfer says, in any words"},
    "current_score": _SCORE, "target_score": _SCORE, "gap": _SCORE, "impact_level": _TEXT,
    "swing_type": _TEXT | {"description": "the club, as in 7-iron"},
    "golfer_context": {
        "type": ["object", "string", "null"],
        "description": "club, level, handedness, audience, minutes, drill (of the last answer)",
    },
    "all_quality_scores": {
        "type": ["object", "array", "null"],
        "description": f"by name, or in the order {', '.join(ALL_SCORES)}",
    },
    "all_weaknesses": _TEXTS, "all_strengths": _TEXTS,
    "stream": {
        "type": "boolean", "default": False,
        "description": "NDJSON: lines {text}, each the next piece of a right answer; the last "
        "line is {done: true, feedback}; an error on the way is a line {error}",
    },
})  # fmt: skip
_FEEDBACK = _object({
    **{name: {"type": "string"} for name in (*HEADINGS, "suggestion", "drill")},
    "key_points": {"type": "array", "items": {"type": "string"}},
    "generated_by": {"type": "string"},
    "verification": {"type": "object"},
}, ["suggestion", "generated_by", "verification"])  # fmt: skip
_THUMB = _object({
    "input": {"type": "string", "description": "verification.input of the answer"},
    "answer": {"type": "string", "description": "suggestion of the answer"},
    "thumb": {"enum": ["up", "down"]},
    "corrected": _TEXT | {"description": "the answer as it should have been, with its headings"},
    "generated_by": _TEXT,
}, ["input", "answer", "thumb"])  # fmt: skip
_ERROR = _object({"error": {"type": "string"}}, ["error"])


def _route(summary: str, body: dict, answer: dict) -> dict:
    def content(schema: dict) -> dict:
        return {"content": {"application/json": {"schema": schema}}}

    failures = {
        "400": "the body is not as described", "401": "the key is missing or wrong",
        "413": "the body is too long", "503": "too busy; Retry-After says when to ask again",
    }  # fmt: skip
    answers = {"200": {"description": "the answer"} | content(answer)}
    answers |= {code: {"description": why} | content(_ERROR) for code, why in failures.items()}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True} | content(body),
            "responses": answers,
        }
    }


SCHEMA = {
    "openapi": "3.1.0",
    "info": {"title": "Golf Feedback", "version": "1"},
    "paths": {
        "/feedback": _route("Verified feedback on a scored swing", _ARGUMENTS, _FEEDBACK),
        "/thumbs": _route("A thumb for an answer that was shown", _THUMB, _object({})),
    },
}
