"""The coach over HTTP: Ollama's protocol and OpenAI's for apps that speak it, and one of its own.

    python -m golf_nb_utils serve

Starlette's routes on uvicorn. What is asked goes to the one thread that writes (batching), and what
it tells comes back here, piece by piece; every piece is the beginning of a right answer.
"""

import asyncio
import contextlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from golf_nb_utils.coach import limits, protocol
from golf_nb_utils.coach.asked import question_for, read_chat
from golf_nb_utils.coach.batching import Batcher, BusyError, Job, Written
from golf_nb_utils.coach.generators import TEMPLATE, FineTunedGolfFeedbackGenerator
from golf_nb_utils.coach.metrics import Metrics
from golf_nb_utils.coach.openapi import SCHEMA
from golf_nb_utils.coach.protocol import Model, RefusedError, Wishes
from golf_nb_utils.coach.thumbs import keep_thumb
from golf_nb_utils.files import Paths, read_json
from golf_nb_utils.host import output_root
from golf_nb_utils.prompt import HEADINGS
from golf_nb_utils.settings import GPTConfig

ROWS, WAITING = 16, 64
"""Answers that are written at once, and requests that may wait for one to end."""
SECONDS_TO_ANSWER = 60.0
PAGE = Path(__file__).with_name("page.html")
# The page may load nothing from anywhere, and ask this server alone.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass
class Serving:
    """What the routes share, as `app.state.serving`."""

    model: Model
    coach: FineTunedGolfFeedbackGenerator
    thumbs_path: Path
    api_key: str = ""
    is_local: bool = True
    seconds_to_answer: float = SECONDS_TO_ANSWER
    metrics: Metrics = field(default_factory=Metrics)
    batcher: Batcher | None = None
    """While the app runs."""


def load(model_size: str, root: str = "", other_name: str = "") -> Serving:
    """Load a fine-tuned model from an output root; `other_name` is one that it answers to, too.

    Raises:
        ConfigError, MissingArtifactError, ArtifactMismatchError: see
            FineTunedGolfFeedbackGenerator.load.
    """
    coach = FineTunedGolfFeedbackGenerator.load(model_size, output_root=root)
    # What is learnt, read or allocated once is not left to the first golfer.
    scores = {"current_score": 0.4, "target_score": 0.8}
    coach.generate_many([{"area": "balance", "issue": "falling back"} | scores])
    paths = Paths(output_root(root))
    weights = paths.weights(coach.config.model_size)
    sidecar, about = read_json(weights.with_suffix(".json")), weights.stat()
    model = Model(
        names=(coach.generated_by, *filter(None, [other_name])),
        size=about.st_size,
        digest=sidecar["weights_sha256"],
        config=GPTConfig(**sidecar["config"]),
        modified_at=datetime.fromtimestamp(about.st_mtime, UTC),
    )
    return Serving(model, coach, paths.user_feedback())


def make_app(serving: Serving, n_rows: int = ROWS, n_waiting: int = WAITING) -> Starlette:
    """Return the app."""

    @contextlib.asynccontextmanager
    async def lifespan(_):
        serving.batcher = Batcher(serving.coach, n_rows, n_waiting)
        yield
        await run_in_threadpool(serving.batcher.close)

    routes = [
        Route("/", health, methods=["GET"]),
        Route("/coach", page, methods=["GET"]),
        *(
            Route(path, _asked(endpoint), methods=[method])
            for method, path, endpoint in (
                ("GET", "/api/version", version),
                ("GET", "/api/tags", tags),
                ("GET", "/api/ps", running),
                ("POST", "/api/show", show),
                ("POST", "/api/generate", generate),
                ("POST", "/api/chat", chat),
                ("GET", "/v1/models", openai_models),
                ("GET", "/v1/models/{name}", openai_model),
                ("POST", "/v1/chat/completions", openai_chat),
                ("POST", "/feedback", feedback),
                ("POST", "/thumbs", thumbs),
                ("GET", "/metrics", metrics),
                ("GET", "/openapi.json", openapi),
            )
        ),
    ]
    paths = {route.path for route in routes}

    def note(path: str, status: int, seconds: float) -> None:
        # What somebody makes up is no label of ours.
        serving.metrics.request(path if path in paths else "other", status, seconds)

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(limits.bounded, note=note)],
        exception_handlers={
            RefusedError: refused,
            HTTPException: refused,
            BusyError: refused,
            500: refused,
        },
    )
    app.state.serving = serving
    return app


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections; who comes before the model is loaded waits.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=limits.CONNECTIONS)
    except OSError as error:
        advice = "stop what listens there (is it Ollama?), or choose another --port"
        raise OSError(f"cannot listen at {host}, port {port} ({error}); {advice}") from error


def serve(serving: Serving, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; then what runs ends, and nothing new is taken."""
    host, port, *_ = listener.getsockname()
    serving.is_local = limits.is_loopback(host)
    at = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"{serving.model.names[0]} answers at {at}, the page is at {at}/coach", flush=True)
    uvicorn_server(make_app(serving)).run([listener])


def uvicorn_server(app: Starlette) -> uvicorn.Server:
    """Return the server of an app, with its bounds."""
    config = uvicorn.Config(
        app, http=limits.BoundedProtocol, ws="none", log_level="warning", server_header=False,
        timeout_keep_alive=30, timeout_graceful_shutdown=int(SECONDS_TO_ANSWER),
    )  # fmt: skip
    return uvicorn.Server(config)


def _asked(endpoint: Callable) -> Callable:
    """An endpoint for those who may ask; it gets what is shared, and the body if it is a POST."""

    async def answer(request: Request) -> Response:
        serving: Serving = request.app.state.serving
        limits.require_allowed(request, serving.api_key, serving.is_local)
        if request.method == "POST":
            return await endpoint(request, serving, _read_json(await limits.read_body(request)))
        return await endpoint(request, serving)

    return answer


def _read_json(body: bytes) -> dict:
    if not body.strip():
        raise RefusedError(400, "missing request body")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return value


def _json(value, status: int = 200, headers: dict | None = None) -> Response:
    # ASCII: what somebody sends may hold halves of characters, which no UTF-8 has.
    return Response(json.dumps(value), status, headers, "application/json")


async def refused(request: Request, error: Exception) -> Response:
    """Answer with an error in the shape of the protocol that was spoken."""
    status, message, headers = 500, str(error), {}
    if isinstance(error, BusyError):
        status, headers = 503, {"Retry-After": "1"}
    elif isinstance(error, RefusedError):
        status, headers = error.status, error.headers
    elif isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    else:
        # What went wrong in here is for the log.
        message = "internal error"
    is_openai = request.url.path.startswith("/v1/")
    body = protocol.openai_error(status, message) if is_openai else {"error": message}
    return _json(body, status, headers)


# What needs no answer of the coach.


async def health(_: Request) -> Response:
    """Say what Ollama says, which its clients wait for."""
    return PlainTextResponse("Ollama is running")


async def page(_: Request) -> Response:
    """Give the panel for a browser."""
    html = await run_in_threadpool(PAGE.read_text, "utf-8")
    return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY})


async def version(_: Request, serving: Serving) -> Response:
    """Say which version of the protocol's server this is: none of Ollama's."""
    return _json({"version": "0.0.0-golf"})


async def tags(_: Request, serving: Serving) -> Response:
    """List the model."""
    return _json(protocol.tags(serving.model))


async def running(_: Request, serving: Serving) -> Response:
    """List the model that is loaded."""
    return _json(protocol.running(serving.model))


async def show(_: Request, serving: Serving, body: dict) -> Response:
    """Describe the model."""
    serving.model.require(body.get("model") or body.get("name"))
    return _json(protocol.show(serving.model))


async def openai_models(_: Request, serving: Serving) -> Response:
    """List the model."""
    return _json(protocol.openai_models(serving.model))


async def openai_model(request: Request, serving: Serving) -> Response:
    """Describe the model."""
    name = serving.model.require(request.path_params["name"])
    return _json(protocol.openai_model(serving.model, name))


async def metrics(_: Request, serving: Serving) -> Response:
    """Give the counters."""
    batcher = serving.batcher
    text = serving.metrics.text(batcher.n_waiting, batcher.n_running)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def thumbs(_: Request, serving: Serving, body: dict) -> Response:
    """Keep a thumb for an answer that was shown."""
    given = serving.thumbs_path, serving.coach.verifier, body, serving.model.digest
    await run_in_threadpool(keep_thumb, *given)
    return _json({"kept": True})


async def openapi(_: Request, serving: Serving) -> Response:
    """Describe POST /feedback and POST /thumbs."""
    return _json(SCHEMA)


# Answers.


@dataclass
class Answer:
    """An answer that is being written, and what its last line says."""

    pieces: AsyncIterator[Written]
    job: Job | None = None
    """None where a fixed text asks for what is missing."""

    def numbers(self, last: Written) -> dict:
        """The counts and durations of the last line."""
        job = self.job
        if job is None:
            return protocol.counts(0, 0, (0, 0, 0))
        seconds = (
            job.begun_at - job.asked_at,
            job.chosen_at - job.begun_at,
            time.monotonic() - job.chosen_at,
        )
        return protocol.counts(job.n_prompt, last.n_tokens, seconds)


def answer_to(serving: Serving, arguments: dict, wishes: Wishes | None = None) -> Answer:
    """Begin an answer to the arguments of generate_feedback.

    Raises:
        BusyError: the queue is full.
    """
    told: asyncio.Queue[Written] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(written: Written) -> None:
        # A loop that is closed has nobody who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(told.put_nowait, written)

    job = Job(arguments, tell)
    if wishes:
        meaning = arguments.pop("meaning", None)
        job.options = wishes.sampling | ({"meaning": meaning} if meaning else {})
        job.most_tokens = wishes.most_tokens
    serving.batcher.put(job)

    async def pieces() -> AsyncIterator[Written]:
        until = time.monotonic() + serving.seconds_to_answer
        try:
            while True:
                try:
                    async with asyncio.timeout(until - time.monotonic()):
                        written = await told.get()
                except TimeoutError:
                    seconds = serving.seconds_to_answer
                    yield Written("", 0, is_last=True, error=f"no answer within {seconds:g} s")
                    return
                if written.is_last and not written.error:
                    by_model = not written.feedback or written.feedback["generated_by"] != TEMPLATE
                    by = "model" if by_model else "template"
                    serving.metrics.answer(by, job.n_prompt, written.n_tokens)
                yield written
                if written.is_last:
                    return
        finally:
            job.is_gone = True

    return Answer(pieces(), job)


async def _question(serving: Serving, text: str) -> AsyncIterator[Written]:
    serving.metrics.answer("question", 0, 0)
    feedback = dict.fromkeys(HEADINGS, "") | {"suggestion": text, "what_to_do": text}
    feedback |= {"drill": "", "key_points": []}
    yield Written(text, 0, is_last=True, feedback=feedback)


async def prompted(serving: Serving, prompts: list[str], system: str, wishes: Wishes) -> Answer:
    """Begin an answer to what a golfer's messages say; it has the wishes' stops and format."""
    # Beside the loop: a long text takes a while to read.
    arguments = await run_in_threadpool(read_chat, prompts, system)
    if question := await run_in_threadpool(question_for, arguments):
        answer = Answer(_question(serving, question))
    else:
        answer = answer_to(serving, arguments, wishes)
    answer.pieces = _as_wished(answer.pieces, wishes)
    return answer


async def _as_wished(pieces: AsyncIterator[Written], wishes: Wishes) -> AsyncIterator[Written]:
    """The same pieces, as JSON or cut at a stop."""
    async with contextlib.aclosing(pieces):
        async for each in pieces:
            if each.error:
                yield each
                return
            if wishes.format is not None:
                # JSON is whole or it is none, so it comes in one piece.
                if each.is_last:
                    text = protocol.as_json(each.feedback, wishes.format) if each.feedback else ""
                    yield replace(each, text=text)
                continue
            text, is_stopped = protocol.before_stop(each.text, wishes.stop, each.is_last)
            yield replace(each, text=text, is_last=each.is_last or is_stopped)
            if is_stopped:
                return


async def _increments(answer: Answer) -> AsyncIterator[tuple[str, Written]]:
    """What is new in each piece, and the piece."""
    shown = ""
    async with contextlib.aclosing(answer.pieces) as pieces:
        async for each in pieces:
            if not each.error and not each.text.startswith(shown):
                # The context was full, and another answer takes this one's place.
                error = "the answer could not be written to its end; ask again without streaming"
                each = Written("", each.n_tokens, is_last=True, error=error)
            yield ("" if each.error else each.text[len(shown) :]), each
            shown = each.text


async def _whole(request: Request, answer: Answer) -> Written:
    """The last piece, unless the client goes away.

    Raises:
        RefusedError: 499, the client is gone; 500, the answer could not be written.
    """

    async def last() -> Written:
        async with contextlib.aclosing(answer.pieces) as pieces:
            async for each in pieces:
                if each.is_last:
                    return each
        raise RefusedError(500, "no answer was written")

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    writing, leaving = asyncio.create_task(last()), asyncio.create_task(gone())
    try:
        await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            raise RefusedError(499, "the client is gone")
        written = writing.result()
    finally:
        writing.cancel()
        leaving.cancel()
    if written.error:
        raise RefusedError(503 if "within" in written.error else 500, written.error)
    return written


def _ndjson(lines: AsyncIterator[dict]) -> Response:
    async def encoded() -> AsyncIterator[str]:
        async with contextlib.aclosing(lines):
            async for each in lines:
                yield json.dumps(each) + "\n"

    return StreamingResponse(encoded(), media_type="application/x-ndjson")


# Ollama's routes for answers.


async def generate(request: Request, serving: Serving, body: dict) -> Response:
    """Answer a prompt."""
    prompt = body.get("prompt") or ""
    if not isinstance(prompt, str):
        raise RefusedError(400, "prompt must be a string")
    system = body.get("system") or ""
    if not isinstance(system, str):
        raise RefusedError(400, "system must be a string")
    said = ([prompt], system) if prompt else None
    return await _ollama(request, serving, body, said, is_chat=False)


async def chat(request: Request, serving: Serving, body: dict) -> Response:
    """Answer the messages of a chat."""
    messages = body.get("messages") or []
    said = protocol.texts_of(messages)
    if body.get("tools"):
        raise RefusedError(400, f"{serving.model.names[0]} does not support tools")
    return await _ollama(request, serving, body, said if messages else None, is_chat=True)


async def _ollama(
    request: Request,
    serving: Serving,
    body: dict,
    said: tuple[list[str], str] | None,
    is_chat: bool,
) -> Response:
    name = serving.model.require(body.get("model"))
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise RefusedError(400, "options must be an object")
    wishes = protocol.wishes(options, body.get("format"), "num_predict")
    if said is None:
        # Without a prompt a client only wants to have the model loaded, or unloaded.
        reason = "unload" if body.get("keep_alive") in (0, "0") else "load"
        return _json(protocol.line(name, "", is_chat, reason))
    answer = await prompted(serving, *said, wishes)
    if body.get("stream") is False:
        last = await _whole(request, answer)
        reason = "length" if last.is_cut else "stop"
        return _json(protocol.line(name, last.text, is_chat, reason, answer.numbers(last)))

    async def lines() -> AsyncIterator[dict]:
        async with contextlib.aclosing(_increments(answer)) as pieces:
            async for new, each in pieces:
                if each.error:
                    yield {"error": each.error}
                    return
                if new:
                    yield protocol.line(name, new, is_chat)
        reason = "length" if each.is_cut else "stop"
        yield protocol.line(name, "", is_chat, reason, answer.numbers(each))

    return _ndjson(lines())


# OpenAI's.


async def openai_chat(request: Request, serving: Serving, body: dict) -> Response:
    """Answer the messages of a chat."""
    name = serving.model.require(body.get("model"))
    said = protocol.texts_of(body.get("messages"))
    most = "max_tokens" if body.get("max_tokens") is not None else "max_completion_tokens"
    wishes = protocol.wishes(body, _response_format(body.get("response_format")), most)
    answer, number = await prompted(serving, *said, wishes), uuid.uuid4().hex
    if not body.get("stream"):
        last = await _whole(request, answer)
        reason = "length" if last.is_cut else "stop"
        numbers = answer.numbers(last)
        return _json(protocol.completion(name, number, last.text, reason, numbers))
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True

    async def events() -> AsyncIterator[str]:
        async with contextlib.aclosing(_increments(answer)) as pieces:
            async for new, each in pieces:
                if each.error:
                    yield _event(protocol.openai_error(500, each.error))
                    return
                if new:
                    yield _event(protocol.chunk(name, number, new))
        yield _event(protocol.chunk(name, number, None, "length" if each.is_cut else "stop"))
        if with_usage:
            yield _event(protocol.usage_chunk(name, number, answer.numbers(each)))
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(value: dict) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _response_format(value) -> dict | str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_schema":
        schema = value.get("json_schema")
        return schema.get("schema") if isinstance(schema, dict) else None
    return "json" if kind == "json_object" else None


# Its own.


async def feedback(request: Request, serving: Serving, body: dict) -> Response:
    """Answer the arguments of generate_feedback."""
    streams = body.pop("stream", False) is True
    answer = answer_to(serving, body)
    if not streams:
        return _json((await _whole(request, answer)).feedback)

    async def lines() -> AsyncIterator[dict]:
        async with contextlib.aclosing(_increments(answer)) as pieces:
            async for new, each in pieces:
                if each.error:
                    yield {"error": each.error}
                    return
                if new:
                    yield {"text": new}
        yield {"done": True, "feedback": each.feedback}

    return _ndjson(lines())
