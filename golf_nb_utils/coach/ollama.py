"""Answers of a model that an Ollama server runs, steered by it and verified like any other."""

import ipaddress
import json
import os
import re
from urllib.parse import urlsplit

import requests

from golf_nb_utils import network
from golf_nb_utils.addresses import without_secrets
from golf_nb_utils.coach.generators import LLMFeedbackGenerator, WritingError
from golf_nb_utils.golf.engines import joined, json_schema
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.prompt import HEADINGS


class OllamaFeedbackGenerator(LLMFeedbackGenerator):
    """Answers of a model that an Ollama server runs.

    They come over its chat protocol: POST /api/chat (github.com/ollama/ollama, docs/api.md).
    Steered, the server lets the model choose among the right answers alone, which it gets as a JSON
    schema; what comes back is verified all the same, since an old server does not read the schema.
    With `steered=False` the model writes freely, and seldom passes.
    """

    CONNECT_SECONDS = 3.0
    ANSWER_BYTES = 1 << 22
    """An answer has no more; a long one has a thousandth of that."""

    def __init__(
        self,
        model: str,
        host: str = "",
        knowledge: KnowledgeBase | None = None,
        max_attempts: int = 2,
        read_seconds: float = 60.0,
        max_new_tokens: int | None = None,
        seed: int = 123,
        steered: bool = True,
    ):
        """Ask `model` at `host`, and wait `read_seconds` for a whole answer.

        The host is by default OLLAMA_HOST's, or this machine. `max_new_tokens` is by default 600,
        and 2500 steered: what is cut there is no JSON, the longest answers have 2,100 characters as
        JSON, and a model that is held to words not its own writes them in very short tokens.
        """
        super().__init__(knowledge, max_attempts, seed)
        self.generated_by = f"ollama/{model}"
        self.model, self.read_seconds, self.steered = model, read_seconds, steered
        self.max_new_tokens = max_new_tokens or (2500 if steered else 600)
        self.host = ollama_url(host or os.environ.get("OLLAMA_HOST", ""))

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        answers: list[list[str] | WritingError] = []
        for entry, seed in zip(entries, seeds, strict=True):
            try:
                answers.append([self._ask(entry, 0.0 if attempt == 1 else 0.7, seed + attempt)])
            except WritingError as error:
                answers.append(error)
        return answers

    def _ask(self, entry: dict, temperature: float, seed: int) -> str:
        # Ollama's seed is a 32-bit number.
        options = {"temperature": temperature, "seed": seed % 2**31}
        body = {
            "model": self.model,
            "messages": chat(entry, self.steered),
            "stream": False,
            "options": options | {"num_predict": self.max_new_tokens},
        }
        if not self.steered:
            return self._chat(body)
        try:
            grammar = self._verifier.book.grammar(self._verifier.request(entry["input"]))
        except GrammarError as error:
            raise WritingError(str(error)) from error
        content = self._chat(body | {"format": json_schema(grammar)})
        try:
            return joined(content)
        except ValueError:
            # An old server, which does not read `format`, writes freely.
            return content

    def _chat(self, body: dict) -> str:
        """Send a request, and return the content of the message that comes back."""
        url = f"{self.host}/api/chat"
        shown, without = without_secrets(url), ""
        if proxy := network.proxy_of(url):
            shown += f" by way of the proxy {proxy}"
            without = f"; NO_PROXY={urlsplit(url).hostname} goes without the proxy"
        timeout = (self.CONNECT_SECONDS, self.read_seconds)
        try:
            with network.ask("POST", url, timeout, json=body) as reply:
                response = reply.response
                if response.status_code >= 400:
                    refusal = f"{response.status_code} {network.shown(response.reason or '')}"
                    raise WritingError(
                        f"Ollama refused: {refusal} from {shown}; is the model pulled "
                        f"(`ollama pull {self.model}`)?{without}"
                    )
                content = json.loads(reply.read(self.ANSWER_BYTES))["message"]["content"]
                if not isinstance(content, str):
                    raise ValueError(f"the content is {content!r:.60}")
                return content
        except requests.Timeout:
            reason = (
                f"did not answer within {self.CONNECT_SECONDS:g} s to connect "
                f"and {self.read_seconds:g} s to read"
            )
        except requests.ConnectionError:
            reason = "cannot be reached; start `ollama serve`, or set host or OLLAMA_HOST"
        except (
            requests.RequestException,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            # What is no JSON, or other JSON, down to one of a hundred thousand brackets.
            found = network.shown(f"{type(error).__name__}: {error}")
            reason = f"did not answer as Ollama's chat protocol says ({found})"
        # Not from those errors, which name the address with its secrets.
        raise WritingError(f"{shown} {reason}{without}.")


def chat(entry: dict, steered: bool) -> list[dict[str, str]]:
    """Return the messages that ask for an answer: the instruction as the system's, and the input.

    The template of our own exported model makes its prompt of the two (gpt2.gguf). A model that
    writes freely is told the headings as well; steered, it cannot miss them.
    """
    instruction = entry["instruction"]
    if not steered:
        headings = "\n".join(HEADINGS.values())
        instruction += (
            " Answer in three parts, under exactly these headings, "
            f"each on a line of its own:\n{headings}"
        )
    said = {"system": instruction, "user": entry["input"]}
    return [{"role": role, "content": content} for role, content in said.items()]


def ollama_url(host: str) -> str:
    """Return the address of a server from what OLLAMA_HOST may hold.

    That is a URL, host:port, :port, a host, an IPv6 address with brackets or without, or nothing
    (github.com/ollama/ollama, envconfig/config.go: Host).
    """
    scheme, _, rest = host.strip().strip("\"'").rpartition("://")
    address, _, path = rest.partition("/")
    user, at, address = address.rpartition("@")
    name, port = address, ""
    if found := re.fullmatch(r"(\[.*\]|[^:]*):([0-9]*)", address):
        name, port = found.groups()
    name = name.strip("[]") or "127.0.0.1"
    try:
        ip = ipaddress.ip_address(name)
        if ip.is_unspecified:
            # A server is told to listen everywhere; a client cannot connect to it everywhere.
            ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
        name = f"[{ip}]" if ip.version == 6 else str(ip)
    except ValueError:
        pass
    if not port and not scheme:
        port = "11434"
    path = path.rstrip("/")
    address = user + at + name + (f":{port}" if port else "")
    return f"{scheme or 'http'}://{address}" + (f"/{path}" if path else "")
