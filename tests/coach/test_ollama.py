"""Ollama, beside a server that speaks its protocol as docs/api.md has it: right answers are given, all else ends at the template.

Behind one of these servers llama.cpp itself writes, with a model that the product exported.
"""

import gzip
import json
import os
import random
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from feedback_judge import HAPPENING, SHOULD, STEPS, Judge
from llama_server import exported, llama_server
from schema_values import as_gbnf, fitting
from some_requests import some_request

from golf_nb_utils.coach.generators import WritingError
from golf_nb_utils.coach.ollama import OllamaFeedbackGenerator, ollama_url
from golf_nb_utils.golf.answer import GrammarBook
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.request import Request
from golf_nb_utils.settings import GPTConfig

REQUEST = {
    "area": "balance", "issue": "Falling onto the heels", "current_score": 0.45, "target_score": 0.80, "gap": 0.35, "impact_level": "high",
    "golfer_context": {"club": "7-iron", "level": "beginner"},
}  # fmt: skip


@pytest.fixture(scope="module")
def judge(knowledge):
    return Judge(knowledge)


@pytest.fixture(scope="module")
def book(knowledge):
    return GrammarBook(knowledge)


@pytest.fixture
def ollama(knowledge):
    """A function that starts a server whose answers are `reply(request body)`: (status, body) or None for silence."""
    servers, silence = [], threading.Event()

    def start(reply, **settings):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                seen.append(
                    (self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                )
                answer = reply(seen[-1][1])
                if answer is None:
                    silence.wait(20)
                    return
                status, body = answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_address[1]}"
        return OllamaFeedbackGenerator("llama3.2", host, knowledge, **settings), seen

    yield start
    silence.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def message(text):
    return 200, json.dumps(
        {"model": "llama3.2", "message": {"role": "assistant", "content": text}, "done": True}
    ).encode()


def right(book, body):
    """A right answer to a request as the server sees it."""
    return book.draw(Request.from_text(body["messages"][-1]["content"]), 1).text


def steered(body):
    """What a server answers that reads `format`: any value that fits it, in short tokens of a character each."""
    rng = random.Random(body["options"]["seed"])
    text = json.dumps(fitting(body["format"], rng), indent=rng.choice([None, 0]))
    return text[: body["options"]["num_predict"]]


def arguments(request):
    """The arguments of generate_feedback that lead to a request."""
    names = ("club", "level", "handedness", "audience")
    return {
        "area": request.area,
        "issue": request.observation,
        "current_score": request.current_score,
        "target_score": request.target_score,
        "golfer_context": {name: getattr(request, name) for name in names},
        "all_quality_scores": request.all_scores,
    }


def test_a_right_answer_of_ollama_is_given(ollama, book, judge):
    generator, seen = ollama(lambda body: message(right(book, body)), steered=False)
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", (0.45, 0.8, {}))
    assert feedback["generated_by"] == "ollama/llama3.2"
    ((path, body),) = seen
    assert path == "/api/chat"
    assert body.keys() == {"model", "messages", "stream", "options"}
    assert {key: body[key] for key in ("model", "stream")} == {"model": "llama3.2", "stream": False}
    assert set(body["options"]) == {"temperature", "seed", "num_predict"}
    assert body["options"]["temperature"] == 0
    system, user = body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert all(heading in system["content"] for heading in (SHOULD, HAPPENING, STEPS))
    assert user["content"].startswith("Area: balance\nCurrent Score: 0.45\n")
    assert [*generator.stream_feedback(**REQUEST)] == [feedback["suggestion"], feedback]


def test_a_wrong_answer_of_ollama_is_asked_for_again_and_then_left_to_the_template(
    ollama, book, judge
):
    generator, seen = ollama(lambda body: message(right(book, body).replace("45.0%", "46.0%")))
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", (0.45, 0.8, {}))
    assert feedback["generated_by"] == "template"
    assert [body["options"]["temperature"] > 0 for _, body in seen] == [False, True]
    assert all(
        "46.0%" in " ".join(refused["reasons"]) for refused in feedback["verification"]["refused"]
    )


def test_a_steered_model_answers_requests_of_every_kind_at_the_first_attempt(
    ollama, judge, knowledge
):
    generator, seen = ollama(lambda body: message(steered(body)))
    rng = random.Random(3)
    requests = [some_request(rng, knowledge) for _ in range(60)]
    answers = generator.generate_many([*map(arguments, requests)])
    scored = [request.is_scored for request in requests]
    assert len(seen) == sum(scored)
    assert 0 < sum(scored) < 60
    for request, feedback in zip(requests, answers, strict=True):
        if request.is_scored:
            scores = (request.current_score, request.target_score, request.all_scores or {})
            judge.check(feedback, request.area, scores)
            assert feedback["generated_by"] == "ollama/llama3.2"
            assert feedback["verification"]["attempts"] == 1
        else:
            judge.check(feedback, request.area, None)
            assert feedback["generated_by"] == "template"


@pytest.fixture(scope="module")
def llama(random_model, tmp_path_factory):
    """The address of llama.cpp's server with an exported model that knows nothing."""
    model = random_model(GPTConfig(n_vocab=1500, n_ctx=2048, n_embd=32, n_head=2, n_layer=1))
    with llama_server(exported(tmp_path_factory.mktemp("llama"), model, "f16")) as address:
        yield address


def test_llama_cpp_behind_the_protocol_answers_right_with_an_exported_model(
    ollama, llama, judge, knowledge
):
    """As Ollama does it: the model's template makes the prompt, llama.cpp gets `format` as a grammar."""

    def reply(body):
        options = body["options"]
        asked = {name: options[name] for name in ("temperature", "seed")}
        asked |= {"messages": body["messages"], "max_tokens": options["num_predict"]}
        asked["grammar"] = as_gbnf(body["format"])
        answer = requests.post(f"{llama}/v1/chat/completions", json=asked, timeout=60)
        assert answer.ok, answer.text
        return message(answer.json()["choices"][0]["message"]["content"])

    generator, _ = ollama(reply)
    rng = random.Random(4)
    asked = [each for each in (some_request(rng, knowledge) for _ in range(12)) if each.is_scored]
    answers = generator.generate_many([*map(arguments, asked)])
    assert len(answers) > 5
    for request, feedback in zip(asked, answers, strict=True):
        scores = (request.current_score, request.target_score, request.all_scores or {})
        judge.check(feedback, request.area, scores)
        assert feedback["generated_by"] == "ollama/llama3.2", feedback["verification"]["refused"]


def test_a_server_that_does_not_read_the_schema_may_still_be_right(ollama, book, judge):
    generator, seen = ollama(lambda body: message(right(book, body)))
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", (0.45, 0.8, {}))
    assert feedback["generated_by"] == "ollama/llama3.2"
    assert "format" in seen[0][1]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda text: text.replace("45.0%", "46.0%"), "current_score"), (lambda text: text[:500], "headings"),
        (lambda text: "7", "headings"), (lambda text: "[" * 100_000, "headings"), (lambda text: '["A good swing."]', "headings"),
    ],
    ids=["another score", "cut", "a number", "brackets", "another text"],
)  # fmt: skip
def test_what_a_server_makes_of_the_schema_is_verified(ollama, judge, spoil, check):
    generator, seen = ollama(lambda body: message(spoil(steered(body))))
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", (0.45, 0.8, {}))
    assert feedback["generated_by"] == "template"
    assert len(seen) == 2
    assert all(check in refused["failed"] for refused in feedback["verification"]["refused"])


def test_without_a_right_answer_to_a_request_the_server_is_not_asked(ollama, judge, monkeypatch):
    generator, seen = ollama(lambda body: message(steered(body)))
    grammar = generator._verifier.book.grammar

    def nothing_scored(request):
        if request.is_scored:
            raise GrammarError("no topic for a senior")
        return grammar(request)

    monkeypatch.setattr(generator._verifier.book, "grammar", nothing_scored)
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", None)
    assert feedback["generated_by"] == "template"
    assert feedback["verification"]["refused"][0]["reasons"] == ["no topic for a senior"]
    assert not seen


BROKEN = [
    ((500, b'{"error": "out of memory"}'), "Ollama refused: 500"), ((404, b'{"error": "model not found"}'), "ollama pull llama3.2"),
    ((200, b"<html>hello</html>"), "chat protocol"), ((200, b""), "chat protocol"), ((200, b"\xff\xfe"), "chat protocol"),
    ((200, b"[]"), "chat protocol"), ((200, b'{"message": "hi"}'), "chat protocol"), ((200, b'{"message": {"content": 7}}'),
    "chat protocol"),
    ((200, b'{"error": "?"}'), "chat protocol"), ((200, b"[" * 100_000), "chat protocol"), (None, "did not answer within"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reason"), BROKEN, ids=range(len(BROKEN)))
def test_whatever_else_a_server_answers_ends_at_the_template_with_the_reason(
    ollama, judge, answer, reason
):
    generator, seen = ollama(lambda body: answer, read_seconds=0.3)
    feedback = generator.generate_feedback(**REQUEST)
    judge.check(feedback, "balance", (0.45, 0.8, {}))
    assert feedback["generated_by"] == "template"
    (refused,) = feedback["verification"]["refused"]
    assert reason in refused["reasons"][0]
    assert len(seen) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:1",
        "http://[::1",
        "http://127.0.0.1:99999999",
        "ftp://127.0.0.1",
        "http://",
        "\ud800",
        "a b",
    ],
)
def test_a_server_that_is_not_there_ends_at_the_template(knowledge, host):
    feedback = OllamaFeedbackGenerator("llama3.2", host, knowledge).generate_feedback(**REQUEST)
    assert feedback["generated_by"] == "template"
    assert feedback["verification"]["refused"][0]["reasons"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"), ("0.0.0.0", "http://127.0.0.1:11434"), ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("gpu-box", "http://gpu-box:11434"), ("http://gpu-box", "http://gpu-box"), ("https://llm.example.com/ollama/",
        "https://llm.example.com/ollama"),
        ("http://gpu-box:11434/", "http://gpu-box:11434"), (" gpu-box:1 ", "http://gpu-box:1"),
        (":11434", "http://127.0.0.1:11434"), (":8080", "http://127.0.0.1:8080"), ("http://:8080", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:11434"), ("[::1]", "http://[::1]:11434"), ("[::1]:8080", "http://[::1]:8080"),
        ("::", "http://[::1]:11434"), ("[::]:8080", "http://[::1]:8080"), ("http://[::]/", "http://[::1]"),
        ("fd00::7", "http://[fd00::7]:11434"), ("http://0.0.0.0:11434", "http://127.0.0.1:11434"), ("10.0.0.0", "http://10.0.0.0:11434"),
        ("100.0.0.0:1", "http://100.0.0.0:1"), ("'gpu-box'", "http://gpu-box:11434"), ('"0.0.0.0"', "http://127.0.0.1:11434"),
        ("https://me:p:w@gpu-box/a/", "https://me:p:w@gpu-box/a"), ("me:pw@gpu-box", "http://me:pw@gpu-box:11434"), ("gpu-box:", "http://gpu-box:11434"),
    ],
)  # fmt: skip
def test_the_host_may_be_written_in_each_form_that_ollama_takes(host, url):
    assert ollama_url(host) == url


def test_the_host_is_that_of_the_environment_where_none_is_given(knowledge, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "gpu-box:1")
    assert OllamaFeedbackGenerator("llama3.2", knowledge=knowledge).host == "http://gpu-box:1"
    assert OllamaFeedbackGenerator("llama3.2", "other", knowledge).host == "http://other:11434"


# Proxies, hosts that want to go on for ever, secrets.


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def refused(generator):
    """Why the server was of no use: the template has answered."""
    feedback = generator.generate_feedback(**REQUEST)
    assert feedback["generated_by"] == "template"
    (reason,) = feedback["verification"]["refused"][0]["reasons"]
    assert "s3cret" not in str(feedback)
    return reason


def test_a_server_on_this_machine_is_asked_without_the_proxy(ollama, book, monkeypatch):
    proxied = []
    proxy, _ = ollama(lambda body: proxied.append(body) or (503, b""))
    monkeypatch.setenv("HTTP_PROXY", proxy.host)
    monkeypatch.setenv("http_proxy", proxy.host)
    generator, seen = ollama(lambda body: message(right(book, body)), steered=False)
    for host in (generator.host, generator.host.replace("127.0.0.1", "localhost")):
        generator.host = host
        assert generator.generate_feedback(**REQUEST)["generated_by"] == "ollama/llama3.2"
    assert len(seen) == 2
    assert not proxied


@pytest.mark.parametrize("answer", [(503, b""), (407, b""), (200, b"<html>log in</html>"), None])
def test_a_proxy_that_comes_between_is_named(ollama, knowledge, monkeypatch, answer):
    proxy, _ = ollama(lambda body: answer)
    monkeypatch.setenv("http_proxy", proxy.host.replace("//", "//me:s3cret@"))
    reason = refused(OllamaFeedbackGenerator("llama3.2", "gpu-box", knowledge, read_seconds=0.3))
    assert f"by way of the proxy {proxy.host}" in reason
    assert "NO_PROXY=gpu-box" in reason


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(knowledge):
    ended = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not ended.wait(0.05):
                self.wfile.write(b" ")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_address[1]}"
        started = time.monotonic()
        reason = refused(OllamaFeedbackGenerator("llama3.2", host, knowledge, read_seconds=0.4))
        assert time.monotonic() - started < 5
        ended.set()
        server.shutdown()
    assert "did not answer within 3 s to connect and 0.4 s to read" in reason


def test_an_answer_is_read_up_to_a_bound_also_where_it_comes_packed(ollama, monkeypatch):
    monkeypatch.setattr(OllamaFeedbackGenerator, "ANSWER_BYTES", 10_000)
    generator, _ = ollama(lambda body: message("a" * 10_000))
    assert "more than 10,000 bytes" in refused(generator)
    monkeypatch.setattr(BaseHTTPRequestHandler, "end_headers", packed(BaseHTTPRequestHandler))
    generator, _ = ollama(lambda body: (200, gzip.compress(message("a" * 10_000_000)[1])))
    assert "more than 10,000 bytes" in refused(generator)


def packed(handler):
    """The headers end with one more, which says that the body is packed."""
    end = handler.end_headers

    def end_headers(self):
        self.send_header("Content-Encoding", "gzip")
        end(self)

    return end_headers


@pytest.mark.parametrize("answer", [(500, b""), (200, b"?"), None])
@pytest.mark.parametrize("way", ["generate_feedback", "unverified"])
def test_no_secret_of_the_address_is_told(ollama, answer, way):
    generator, _ = ollama(lambda body: answer, read_seconds=0.3)
    generator.host = generator.host.replace("//", "//me:s3cret@")
    if way == "generate_feedback":
        assert generator.host.replace("me:s3cret@", "") in refused(generator)
        return
    entry = Request("balance", 0.45, 0.8).entry()
    with pytest.raises(WritingError) as caught:
        generator.unverified([entry])
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
