"""The shapes of Ollama's protocol and of OpenAI's, as far as the server speaks them.

Ollama: github.com/ollama/ollama, docs/api.md, docs/api/errors.mdx, api/types.go (fb30760).
OpenAI: platform.openai.com/docs/api-reference/chat, which Ollama serves below /v1, too.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.settings import GPTConfig


class RefusedError(Exception):
    """A request that is not answered: an HTTP status, and the sentence that says why."""

    def __init__(self, status: int, message: str, headers: dict | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Model:
    """What there is to say of the model that is served."""

    names: tuple[str, ...]
    """Its own, and one that an app asks for."""
    size: int
    """Bytes of its weights."""
    digest: str
    config: GPTConfig
    modified_at: datetime

    def require(self, name) -> str:
        """Return the name as it was asked for.

        Raises:
            RefusedError: 404, the name is another model's.
        """
        asked = str(name or "").removesuffix(":latest").casefold()
        if asked not in map(str.casefold, self.names):
            raise RefusedError(404, f"model {str(name or '')[:200]!r} not found")
        return name


@dataclass(frozen=True)
class Wishes:
    """What a request says of how the answer is to be written."""

    sampling: dict
    most_tokens: int | None
    stop: tuple[str, ...]
    format: dict | None
    """A schema of a JSON object, {} for any; None for text."""


def now() -> str:
    """Return the time as both protocols' clients read it (RFC 3339)."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


# Requests.


def wishes(options: dict, format, most_tokens: str) -> Wishes:
    """Return what `options` (of Ollama, or a whole request of OpenAI) and `format` ask for.

    `most_tokens` is the name of the option that says how long an answer may be. Options that are
    not known are passed over, as Ollama does.

    Raises:
        RefusedError: 400, a value is not what its name says.
    """
    temperature = _number(options, "temperature", 0.0, 0.0, 100.0)
    sampling = {
        # Below this the softmax of an ordinary logit overflows, and the likeliest is taken anyway.
        "temperature": temperature if temperature >= 0.01 else 0.0,
        "top_p": max(_number(options, "top_p", 1.0, 0.0, 1.0), 1e-6),
    }
    seed = _number(options, "seed", None, -(2**63), 2**63)
    if seed is not None:
        sampling["seed"] = int(seed) % 2**31
    most = _number(options, most_tokens, None, -(2**31), 2**31)
    stop = options.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stop, list | tuple) or not all(isinstance(each, str) for each in stop):
        raise RefusedError(400, "stop must be a string or a list of strings")
    stops = tuple(each for each in stop[:16] if each)
    return Wishes(sampling, int(most) if most and most > 0 else None, stops, _schema(format))


def _number(options: dict, name: str, default, low: float, high: float):
    value = options.get(name)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise RefusedError(400, f"{name} must be a number from {low:g} to {high:g}")
    return value


def _schema(format) -> dict | None:
    if format in (None, ""):
        return None
    if format == "json":
        return {}
    if not isinstance(format, dict):
        raise RefusedError(400, 'format must be "json" or a schema')
    missing = [name for name in format.get("required") or () if name not in FIELDS]
    if missing:
        raise RefusedError(
            400, f"format requires {str(missing[0])[:80]!r}; an answer has {', '.join(FIELDS)}"
        )
    return format


FIELDS = (*HEADINGS, "suggestion", "drill", "key_points")
"""What of an answer a JSON object may hold."""


def as_json(feedback: dict, schema: dict) -> str:
    """Return an answer as a JSON object of those of FIELDS that a schema names, by default all.

    Where the schema is no object's, it is that of golf.engines (or nothing that an answer fits):
    a list of texts that make the answer.
    """
    if schema and schema.get("type") != "object" and "properties" not in schema:
        return json.dumps([feedback["suggestion"]])
    wanted = schema.get("properties")
    if not isinstance(wanted, dict) or not wanted:
        wanted = dict.fromkeys(FIELDS)
    return json.dumps({n: _fitting(feedback[n], wanted[n]) for n in FIELDS if n in wanted})


def _fitting(value, schema):
    """A text as a list of its lines, or a list as a text, where the schema asks for that."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "array" and isinstance(value, str):
        return [line for line in value.splitlines() if line]
    if kind == "string" and isinstance(value, list):
        return "\n".join(value)
    return value


def texts_of(messages) -> tuple[list[str], str]:
    """Return what the user says in the messages of a chat, oldest first, and the system's part.

    Raises:
        RefusedError: 400, they are no messages.
    """
    if not isinstance(messages, list):
        raise RefusedError(400, "messages must be a list")
    texts: dict[str, list[str]] = {}
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RefusedError(400, "a message must be an object with role and content")
        content = message.get("content") or ""
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            content = "\n".join(part for part in parts if isinstance(part, str))
        if not isinstance(content, str):
            raise RefusedError(400, "the content of a message must be a string")
        texts.setdefault(message["role"], []).append(content)
    return texts.get("user", []), "\n".join(texts.get("system", []))


# Ollama's answers.


def counts(n_prompt: int, n_tokens: int, seconds: tuple[float, float, float]) -> dict:
    """Return the last line's counts and durations (ns), of the wait, the prompt and the answer."""
    wait, prompt, answer = (int(1e9 * max(each, 0.0)) for each in seconds)
    return {
        "total_duration": wait + prompt + answer, "load_duration": wait,
        "prompt_eval_count": n_prompt, "prompt_eval_duration": prompt,
        "eval_count": n_tokens, "eval_duration": answer,
    }  # fmt: skip


def line(model: str, text: str, is_chat: bool, reason: str = "", numbers: dict | None = None):
    """Return a line of a stream; the last, and an answer in one piece, has its `reason`."""
    said = {"message": {"role": "assistant", "content": text}} if is_chat else {"response": text}
    last = {"done_reason": reason} if reason else {}
    head = {"model": model, "created_at": now()}
    return head | said | {"done": bool(reason)} | last | (numbers or {})


def _details(model: Model) -> dict:
    return {
        "parent_model": "", "format": "pytorch", "family": "gpt2", "families": ["gpt2"],
        "parameter_size": f"{model.config.n_parameters / 1e6:.1f}M", "quantization_level": "F32",
    }  # fmt: skip


def tags(model: Model) -> dict:
    """Return the models that there are."""
    about = {
        "modified_at": model.modified_at.isoformat(), "size": model.size, "digest": model.digest,
        "details": _details(model),
    }  # fmt: skip
    names = (name if ":" in name else f"{name}:latest" for name in model.names)
    return {"models": [{"name": name, "model": name} | about for name in names]}


def running(model: Model) -> dict:
    """Return the models that are loaded: the same, for as long as the server runs."""
    more = {
        "expires_at": "2318-01-01T00:00:00Z",
        "size_vram": 0,
        "context_length": model.config.n_ctx,
    }
    return {"models": [each | more for each in tags(model)["models"]]}


def show(model: Model) -> dict:
    """Return what there is to say of the model."""
    return {
        "modelfile": f"# {model.names[0]}, fine-tuned and steered by golf_nb_utils",
        "parameters": "temperature 0", "template": "{{ .Prompt }}",
        "license": "see LICENSE-MODEL.md", "capabilities": ["completion"],
        "modified_at": model.modified_at.isoformat(), "details": _details(model),
        "model_info": {
            "general.architecture": "gpt2", "general.parameter_count": model.config.n_parameters,
            "gpt2.context_length": model.config.n_ctx,
        },
    }  # fmt: skip


# OpenAI's.


def openai_error(status: int, message: str) -> dict:
    """Return an error as OpenAI's clients read it."""
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    kind = kinds.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def openai_models(model: Model) -> dict:
    """Return the list of models."""
    return {"object": "list", "data": [openai_model(model, name) for name in model.names]}


def openai_model(model: Model, name: str) -> dict:
    """Return one model."""
    created = int(model.modified_at.timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "library"}


def usage(numbers: dict) -> dict:
    """Return the counts of tokens from `counts`."""
    prompt, answer = numbers["prompt_eval_count"], numbers["eval_count"]
    return {
        "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer,
    }  # fmt: skip


def completion(model: str, number: str, text: str, reason: str, numbers: dict) -> dict:
    """Return an answer in one piece."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _head(model, number, "chat.completion") | {"choices": [choice], "usage": usage(numbers)}


def chunk(model: str, number: str, text: str | None, reason: str | None = None) -> dict:
    """Return a piece of a stream; the last one has no text, and its reason."""
    delta = {} if text is None else {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _head(model, number, "chat.completion.chunk") | {"choices": [choice]}


def usage_chunk(model: str, number: str, numbers: dict) -> dict:
    """Return the piece after the last that has the counts, for who asks for it."""
    return chunk(model, number, None) | {"choices": [], "usage": usage(numbers)}


def _head(model: str, number: str, kind: str) -> dict:
    created = int(datetime.now(UTC).timestamp())
    return {
        "id": f"chatcmpl-{number}", "object": kind, "created": created, "model": model,
        "system_fingerprint": "fp_golf",
    }  # fmt: skip


def before_stop(text: str, stops: tuple[str, ...], is_last: bool) -> tuple[str, bool]:
    """Return a text up to the first of the `stops`, and whether there is one in it.

    While more may come, what may be the beginning of one is held back.
    """
    places = [text.index(stop) for stop in stops if stop in text]
    if places:
        return text[: min(places)], True
    held = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return text[: len(text) - (0 if is_last else max(held, default=0))], False
