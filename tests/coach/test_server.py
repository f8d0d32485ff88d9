"""The server, asked by the clients that apps use, unchanged, and by people who mean it no good."""

import contextlib
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import jsonschema
import ollama
import openai
import pytest
import requests
from feedback_judge import Judge
from langchain_ollama import ChatOllama, OllamaLLM
from prometheus_client.parser import text_string_to_metric_families

from golf_nb_utils.__main__ import main
from golf_nb_utils.coach import limits
from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator
from golf_nb_utils.coach.ollama import OllamaFeedbackGenerator
from golf_nb_utils.coach.protocol import Model
from golf_nb_utils.coach.server import Serving, listen, make_app, uvicorn_server
from golf_nb_utils.files import Paths, write_manifest
from golf_nb_utils.golf.checks import Verifier
from golf_nb_utils.golf.reader import reader_path
from golf_nb_utils.golf.request import Request
from golf_nb_utils.gpt2.checkpoints import save_model
from golf_nb_utils.gpt2.tokenizer import learn_bpe
from golf_nb_utils.prompt import HEADINGS, format_input
from golf_nb_utils.settings import GPTConfig, SampleConfig

ASKED = {
    "area": "balance", "issue": "Falling onto the heels", "current_score": 0.45, "target_score": 0.80,
    "golfer_context": {"club": "7-iron", "level": "beginner"},
}  # fmt: skip
PROMPT = "Area: balance, score 45 %, target 80 %, Club: 7-iron, Level: beginner\nIssue: Falling onto the heels"
SHAPE = GPTConfig(n_vocab=257, n_ctx=4096, n_embd=16, n_head=2, n_layer=1)
MODEL = "gpt2-tiny-golf-feedback"
QUESTION = "I would love to help with your swing"


class Gated(FineTunedGolfFeedbackGenerator):
    """A coach that writes only while its gate is open."""

    def __init__(self, *given):
        super().__init__(*given)
        self.gate, self.n_finished = threading.Event(), 0
        self.gate.set()

    def step(self, writings):
        assert self.gate.wait(60)
        super().step(writings)

    def finish(self, writing):
        self.n_finished += 1
        return super().finish(writing)


@contextlib.contextmanager
def running(app):
    """Serve an app on a free port of 127.0.0.1; yield its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        server = uvicorn_server(app)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def coach(knowledge, reader, random_model, byte_tokenizer):
    model = random_model(SHAPE, seed=1)
    coach = Gated(model, byte_tokenizer, SampleConfig(model_size="tiny"), knowledge)
    coach._reader = reader
    return coach


@pytest.fixture(scope="module")
def serving(coach, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    model = Model((MODEL, "llama3.2"), 1, "0" * 64, SHAPE, datetime.now(UTC))
    return Serving(model, coach, folder / "feedback.jsonl")


@pytest.fixture(scope="module")
def url(serving):
    with running(make_app(serving, n_rows=4, n_waiting=8)) as address:
        yield address


@pytest.fixture(scope="module")
def expected(coach):
    return coach.generate_many([ASKED])[0]


@pytest.fixture
def closed_gate(coach):
    """While a test runs the coach writes nothing, until the test opens the gate."""
    coach.gate.clear()
    yield coach.gate
    coach.gate.set()


def metric(url, name, **labels):
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=60).text)
    samples = [sample for family in families for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def until(url, name, value, **labels):
    """Ask for a metric until it has a value: the pace is that of the requests."""
    for _ in range(5000):
        if metric(url, name, **labels) == value:
            return
    raise AssertionError(f"{name} never became {value}, it is {metric(url, name, **labels)}")


# The clients of others, unchanged.


@pytest.fixture(scope="module")
def client(url):
    return ollama.Client(host=url)


def test_ollamas_client_gets_the_answer_of_generate_feedback(client, expected, knowledge):
    answer = client.generate(MODEL, PROMPT)
    assert answer.response == expected["suggestion"]
    Judge(knowledge).check(expected, "balance", (0.45, 0.8, {}))
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert answer.eval_count == len(answer.response.encode())
    assert answer.prompt_eval_count > 100
    assert answer.total_duration == sum(
        (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    )
    assert min(answer.prompt_eval_duration, answer.eval_duration) > 0
    assert (
        client.chat(MODEL, [{"role": "user", "content": PROMPT}]).message.content == answer.response
    )


def test_every_moment_of_a_stream_begins_the_right_answer(client, expected):
    *pieces, last = client.generate(MODEL, PROMPT, stream=True)
    assert len(pieces) > 5
    assert all(not piece.done and piece.response for piece in pieces)
    assert "".join(piece.response for piece in pieces) == expected["suggestion"]
    assert (last.response, last.done, last.done_reason) == ("", True, "stop")
    assert last.eval_count > 0
    *pieces, last = client.chat(MODEL, [{"role": "user", "content": PROMPT}], stream=True)
    assert "".join(piece.message.content for piece in pieces) == expected["suggestion"]
    assert {piece.message.role for piece in pieces} == {"assistant"}


def test_ollamas_client_finds_the_model_by_both_names(client):
    assert [each.model for each in client.list().models] == [f"{MODEL}:latest", "llama3.2:latest"]
    assert [each.name for each in client.ps().models] == [f"{MODEL}:latest", "llama3.2:latest"]
    assert client.ps().models[0].expires_at.year > 2300
    assert client.show(MODEL).modelinfo["general.architecture"] == "gpt2"
    assert client.show("llama3.2:latest").details.family == "gpt2"
    for ask in (client.show, client.generate, client.chat):
        with pytest.raises(ollama.ResponseError, match="model 'other' not found") as refused:
            ask("other")
        assert refused.value.status_code == 404


def test_an_empty_prompt_loads_and_unloads(client):
    assert client.generate(MODEL).done_reason == "load"
    assert client.chat(MODEL).done_reason == "load"
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"


def test_options_are_kept_and_those_that_are_unknown_passed_over(client, expected):
    def text(**options):
        return client.generate(MODEL, PROMPT, raw=True, keep_alive="5m", options=options)

    whole = expected["suggestion"]
    assert text(num_ctx=2048, mirostat=1, top_k=3).response == whole
    cut = text(num_predict=40)
    assert (cut.response, cut.done_reason, cut.eval_count) == (whole[:40], "length", 40)
    assert text(num_predict=-1).response == whole
    stop = list(HEADINGS.values())[1]
    stopped = text(stop=[stop, "never"])
    assert (stopped.response, stopped.done_reason) == (whole[: whole.index(stop)], "stop")
    drawn = [text(temperature=2.0, seed=seed).response for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    nearly_greedy = text(temperature=2.0, top_p=1e-9, seed=3).response
    assert nearly_greedy == whole
    for wrong in ({"temperature": "hot"}, {"seed": [1]}, {"top_p": 7}, {"stop": 3}):
        (name,) = wrong
        with pytest.raises(ollama.ResponseError, match=name) as refused:
            text(**wrong)
        assert refused.value.status_code == 400


def test_a_stop_is_never_shown_in_part(client, expected):
    stop = "\n\nWHAT IS"
    pieces = client.generate(MODEL, PROMPT, stream=True, options={"stop": [stop]})
    whole = expected["suggestion"]
    assert "".join(piece.response for piece in pieces) == whole[: whole.index(stop)]


def test_json_has_what_its_schema_names(client, expected):
    every = json.loads(client.generate(MODEL, PROMPT, format="json").response)
    assert every == {name: expected[name] for name in every}
    assert {*HEADINGS, "drill", "key_points"} < every.keys()
    schema = {
        "type": "object",
        "properties": {"what_to_do": {"type": "array", "items": {"type": "string"}}, "mood": {}},
        "required": ["what_to_do"],
    }
    piece, _ = client.generate(MODEL, PROMPT, format=schema, stream=True)
    value = json.loads(piece.response)
    jsonschema.validate(value, schema)
    assert "\n".join(value["what_to_do"]) == expected["what_to_do"]
    with pytest.raises(ollama.ResponseError, match="'mood'"):
        client.generate(MODEL, PROMPT, format=schema | {"required": ["mood"]})
    assert (
        QUESTION
        in json.loads(client.generate(MODEL, "hello", format="json").response)["suggestion"]
    )


def test_what_cannot_be_read_is_asked_for(client):
    answer = client.generate(MODEL, "hello there").response
    assert answer.startswith(QUESTION)
    assert "the area of the swing, its score now and the score you aim for" in answer
    messages = [
        {"role": "system", "content": "You are a coach. Target: 80 %"},
        {"role": "user", "content": "balance, 45 %"},
        {"role": "assistant", "content": "Tell me more: Area: setup"},
        {"role": "user", "content": "I keep falling onto my heels"},
    ]
    assert (
        "balance score of 45.0%"
        in client.chat(MODEL, messages).message.content.replace(" is", " score of", 1)
        or "45.0%" in client.chat(MODEL, messages).message.content
    )
    assert QUESTION in client.chat(MODEL, messages[1:]).message.content


def test_openais_client(url, expected):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == [MODEL, "llama3.2"]
    assert client.models.retrieve(MODEL).id == MODEL
    messages = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    ask = client.chat.completions.create
    answer = ask(model=MODEL, messages=messages)
    assert answer.choices[0].message.content == expected["suggestion"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + len(
        expected["suggestion"].encode()
    )
    *pieces, last = ask(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    texts = [piece.choices[0].delta.content or "" for piece in pieces]
    assert "".join(texts) == expected["suggestion"]
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert last.usage == answer.usage
    cut = ask(model=MODEL, messages=messages, max_tokens=30)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 30)
    parts = ask(model=MODEL, messages=messages, response_format={"type": "json_object"})
    assert json.loads(parts.choices[0].message.content)["drill"] == expected["drill"]
    with pytest.raises(openai.NotFoundError, match="model 'other' not found"):
        ask(model="other", messages=messages)
    with pytest.raises(openai.BadRequestError, match="messages must be a list"):
        ask(model=MODEL, messages=None)


def test_langchains_client(url, expected):
    chat = ChatOllama(model=MODEL, base_url=url, validate_model_on_init=True)
    answer = chat.invoke(PROMPT)
    assert answer.content == expected["suggestion"]
    assert answer.usage_metadata["output_tokens"] == len(answer.content.encode())
    assert "".join(piece.content for piece in chat.stream(PROMPT)) == answer.content
    assert OllamaLLM(model=MODEL, base_url=url).invoke(PROMPT) == answer.content


def test_our_own_client_of_ollama_is_answered_and_what_was_read_before_is_not_read_again(
    url, knowledge, reader
):
    with_server = OllamaFeedbackGenerator("llama3.2", url, knowledge)
    with_server._reader = reader
    given = with_server.generate_feedback(**ASKED, gap=None, impact_level=None)
    assert (given["generated_by"], given["verification"]["refused"]) == ("ollama/llama3.2", [])
    # These words alone mean nothing that is known; the prompt says what they were taken for.
    entry = Request(
        "balance", 0.45, 0.8, observation="xyzzy", meaning="Falling onto the heels"
    ).entry()
    answer = ollama.Client(host=url).generate(MODEL, format_input(entry)).response
    assert Verifier(knowledge).verify(answer, entry["input"]).passed


def test_curl(url, expected):
    def curl(*arguments):
        return subprocess.run(
            ["curl", "-sS", "--noproxy", "*", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    assert curl(url) == "Ollama is running"
    assert "200 OK" in curl("-I", url)
    lines = curl(f"{url}/api/generate", "-d", json.dumps({"model": MODEL, "prompt": PROMPT}))
    assert (
        "".join(json.loads(line)["response"] for line in lines.splitlines())
        == expected["suggestion"]
    )
    body = json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    )
    events = curl(f"{url}/v1/chat/completions", "-d", body).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert curl(f"{url}/api/chat", "-X", "POST") == '{"error": "missing request body"}'
    assert "version" in json.loads(curl(f"{url}/api/version"))


# The app's own route.


def test_feedback_is_that_of_generate_feedback_and_fits_its_description(url, expected):
    schema = requests.get(f"{url}/openapi.json", timeout=60).json()["paths"]["/feedback"]["post"]
    answers = schema["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(ASKED, schema["requestBody"]["content"]["application/json"]["schema"])
    given = requests.post(f"{url}/feedback", json=ASKED, timeout=60).json()
    jsonschema.validate(given, answers)
    assert given == expected
    *pieces, last = requests.post(
        f"{url}/feedback", json=ASKED | {"stream": True}, timeout=60
    ).text.splitlines()
    assert "".join(json.loads(piece)["text"] for piece in pieces) == expected["suggestion"]
    assert json.loads(last) == {"done": True, "feedback": expected}


def test_no_argument_makes_feedback_fail(url):
    for odd in (
        {},
        {"area": {"a": [[[1]]]}},
        {"current_score": "\ud800"},
        {"stream": "yes", "x": 1},
    ):
        answer = requests.post(f"{url}/feedback", data=json.dumps(odd), timeout=60)
        assert answer.json()["verification"]["passed"]


def test_a_thumb_is_kept_for_an_answer_of_this_coach_alone(url, serving, expected):
    thumb = {
        "input": expected["verification"]["input"], "answer": expected["suggestion"], "thumb": "up",
        "generated_by": expected["generated_by"],
    }  # fmt: skip
    assert requests.post(f"{url}/thumbs", json=thumb, timeout=60).json() == {"kept": True}
    (line,) = serving.thumbs_path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["output"] == expected["suggestion"]
    assert json.loads(line)["model_sha256"] == "0" * 64
    wrong = (
        {"thumb": "sideways"},
        {"answer": "Buy my clubs."},
        {"input": "x"},
        {"input": 3},
        {"corrected": "see http://x.org"},
    )
    for change in wrong:
        refused = requests.post(f"{url}/thumbs", json=thumb | change, timeout=60)
        assert (refused.status_code, [*refused.json()]) == (400, ["error"])
    assert len(serving.thumbs_path.read_text(encoding="utf-8").splitlines()) == 1


def test_the_page_asks_no_other_host(url):
    page = requests.get(f"{url}/coach", timeout=60)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"(?:src|href)=|https?://|@import", page.text)


def test_metrics_count_requests_answers_and_tokens(url, expected):
    before = {
        name: metric(url, name)
        for name in ("golf_answers_total", "golf_tokens_total", "golf_request_seconds_count")
    }
    requests.post(f"{url}/feedback", json=ASKED, timeout=60)
    n_tokens = len(
        format_input(Request.from_text(expected["verification"]["input"]).entry())
    ) + len(expected["suggestion"].encode())
    assert metric(url, "golf_answers_total") == before["golf_answers_total"] + 1
    assert metric(url, "golf_tokens_total") == before["golf_tokens_total"] + n_tokens
    assert metric(url, "golf_request_seconds_count") > before["golf_request_seconds_count"]
    requests.get(f"{url}/made-up", timeout=60)
    assert "made-up" not in requests.get(f"{url}/metrics", timeout=60).text
    assert 0 < metric(url, "golf_model_written_share") <= 1


# Load.


def test_many_at_once_get_what_each_would_get_alone(url, coach):
    rng = random.Random(3)
    asked = [ASKED | {"current_score": rng.randrange(20, 70) / 100} for _ in range(6)]
    asked += [{"area": "tempo_rhythm"}]
    expected = coach.generate_many(asked)
    with ThreadPoolExecutor(7) as threads:
        given = threads.map(
            lambda body: requests.post(f"{url}/feedback", json=body, timeout=60).json(), asked
        )
        assert list(given) == expected


def test_a_full_queue_refuses_at_once_and_serves_again_later(url, closed_gate, expected):
    with ThreadPoolExecutor(9) as threads:
        ask = functools.partial(requests.post, f"{url}/feedback", json=ASKED, timeout=60)
        # The first is being written and goes no further, eight wait.
        taken = [threads.submit(ask)]
        until(url, "golf_running", 1)
        taken += [threads.submit(ask) for _ in range(8)]
        until(url, "golf_queue_length", 8)
        for path in ("feedback", "api/generate"):
            body = ASKED | {"model": MODEL, "prompt": PROMPT}
            refused = requests.post(f"{url}/{path}", json=body, timeout=60)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "busy" in refused.json()["error"]
        # Who only looks is answered all the while.
        assert requests.get(f"{url}/api/tags", timeout=60).ok
        closed_gate.set()
        assert [answer.result().json() for answer in taken] == [expected] * 9
    assert requests.post(f"{url}/feedback", json=ASKED, timeout=60).json() == expected


@pytest.mark.parametrize("streams", [True, False])
def test_a_client_that_goes_away_frees_its_row(url, coach, closed_gate, streams):
    n_finished, count = coach.n_finished, metric(url, "golf_requests_total", route="/feedback")
    with socket.create_connection(url.removeprefix("http://").split(":")) as connection:
        body = json.dumps(ASKED | {"stream": streams})
        connection.sendall(
            f"POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        until(url, "golf_running", 1)
    until(url, "golf_requests_total", count + 1, route="/feedback")
    closed_gate.set()
    until(url, "golf_running", 0)
    assert coach.n_finished == n_finished


def test_an_answer_that_takes_too_long_is_given_up(url, serving, closed_gate, monkeypatch):
    monkeypatch.setattr(serving, "seconds_to_answer", 0.2)
    late = requests.post(f"{url}/feedback", json=ASKED, timeout=60)
    assert (late.status_code, late.json()) == (503, {"error": "no answer within 0.2 s"})
    stream = requests.post(f"{url}/feedback", json=ASKED | {"stream": True}, timeout=60)
    assert (stream.status_code, stream.json()) == (200, {"error": "no answer within 0.2 s"})
    client = ollama.Client(host=url)
    with pytest.raises(ollama.ResponseError, match="no answer within"):
        list(client.generate(MODEL, PROMPT, stream=True))
    closed_gate.set()
    until(url, "golf_running", 0)


# Abuse.


def test_a_big_body_is_refused(url):
    big = b'{"area": "' + b"x" * (1 << 20) + b'"}'
    answer = requests.post(f"{url}/feedback", data=big, timeout=60)
    assert (answer.status_code, "1,048,576 bytes" in answer.json()["error"]) == (413, True)
    # In chunks nobody says beforehand how much it is.
    with contextlib.suppress(requests.ConnectionError):
        answer = requests.post(f"{url}/api/generate", data=iter([big[:900_000], big]), timeout=60)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "body",
    ["{", "[]", "3", '{"a":' * 50_000, "9" * 5000, b"\xff", '{"model": ["x"]}', '{"model": null}'],
)
def test_what_is_no_request_is_refused_in_one_sentence(url, body):
    for path in ("api/generate", "api/chat", "api/show", "v1/chat/completions"):
        answer = requests.post(f"{url}/{path}", data=body, timeout=60)
        assert answer.status_code in (400, 404)
        assert answer.json()["error"]


def test_what_is_no_route_is_refused_as_json(url):
    assert requests.get(f"{url}/api/generate", timeout=60).status_code == 405
    for path in ("nowhere", "coach/../../etc/passwd", "%2e%2e/etc/passwd"):
        answer = requests.get(f"{url}/{path}", timeout=60)
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])
    assert "message" in requests.get(f"{url}/v1/nothing", timeout=60).json()["error"]


def raw(url, data, n_bytes=1 << 16):
    """What comes back for bytes, until the server closes."""
    with socket.create_connection(url.removeprefix("http://").split(":"), timeout=60) as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: connection.recv(n_bytes), b""))
    return b""


def test_slow_clients_are_cut_off(url, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS_TO_ASK", 0.2)
    assert raw(url, b"") == b""
    assert raw(url, b"POST /feedback HTTP/1.1\r\nHost: localh") == b""
    slow_body = raw(
        url, b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
    )
    assert slow_body.startswith(b"HTTP/1.1 408")


def test_too_many_connections_cost_the_others_nothing(url, monkeypatch):
    monkeypatch.setattr(limits, "CONNECTIONS", 20)
    address = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack, requests.Session() as session:
        assert session.get(url, timeout=60).ok
        held = [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(40)
        ]
        closed = 0
        for connection in held[-15:]:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            closed += 1
        assert closed == 15
        assert session.get(url, timeout=60).ok


def test_no_page_of_another_host_may_ask(url):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:11434"},
    ):
        answer = requests.post(f"{url}/feedback", json=ASKED, headers=headers, timeout=60)
        assert answer.status_code == 403
    host = url.removeprefix("http://")
    for headers in ({"Origin": url, "Host": host}, {"Host": "localhost:1"}, {"Host": "[::1]:1"}):
        assert requests.get(f"{url}/api/tags", headers=headers, timeout=60).ok


def test_with_a_key_only_who_has_it_may_ask(url, serving, monkeypatch):
    monkeypatch.setattr(serving, "api_key", "s3cret")
    for path in ("api/tags", "metrics", "openapi.json"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xfc"}):
            assert requests.get(f"{url}/{path}", headers=headers, timeout=60).status_code == 401
    assert requests.post(f"{url}/thumbs", json={}, timeout=60).status_code == 401
    assert requests.get(url, timeout=60).ok
    client = ollama.Client(host=url, headers={"Authorization": "Bearer s3cret"})
    assert client.list().models
    assert openai.OpenAI(base_url=f"{url}/v1", api_key="s3cret").models.list().data


# The command.


@pytest.fixture
def serve(tmp_path, knowledge, reader, random_model):
    """A function that starts `serve` on a port with a model that nobody trained: (process, address)."""
    paths = Paths(tmp_path)
    texts = [item.text for topic in knowledge.topics[:9] for _, _, item in topic.items()]
    learn_bpe(texts, 400, paths.checkpoint("tiny"))
    write_manifest(paths.checkpoint("tiny"), "notebook 02", [])
    model = random_model(GPTConfig(n_vocab=400, n_ctx=2048, n_embd=16, n_head=2, n_layer=1))
    save_model(paths.weights("tiny"), model, paths.checkpoint("tiny"))
    write_manifest(paths.models, "notebook 03", [])
    paths.data.mkdir()
    reader.save(reader_path(paths.data))
    write_manifest(paths.data, "notebook 01", [])
    processes = []

    def start(port=0):
        command = [
            sys.executable,
            "-m",
            "golf_nb_utils",
            "serve",
            "--model-size",
            "tiny",
            "--port",
            str(port),
            "--name",
            "llama3.2",
        ]
        env = os.environ | {"GOLF_API_KEY": "s3cret"}
        process = subprocess.Popen(
            [*command, "--output-root", str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        said = process.stdout.readline()
        return process, re.search(r"http://[0-9.]+:([0-9]+)", said)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_killed_server_is_an_error_and_one_that_is_told_to_end_ends_what_it_began(serve):
    headers = {"Authorization": "Bearer s3cret"}

    def ask(address):
        client = ollama.Client(host=address, headers=headers)
        pieces = client.generate("llama3.2", PROMPT, stream=True)
        return client, pieces, next(pieces).response

    process, found = serve()
    _, pieces, _ = ask(found[0])
    process.send_signal(signal.SIGSTOP)
    process.kill()
    with pytest.raises(httpx.TransportError):
        list(pieces)
    # The same port is free at once.
    process, again = serve(int(found[1]))
    assert again[0] == found[0]
    client, pieces, first = ask(found[0])
    process.send_signal(signal.SIGTERM)
    *texts, last = pieces
    assert first + "".join(piece.response for piece in texts)
    assert last.done_reason == "stop"
    process.wait(60)
    with pytest.raises(ConnectionError):
        client.list()


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--output-root", "nowhere"]) == 2
    assert f"cannot listen at 127.0.0.1, port {port}" in capsys.readouterr().err
