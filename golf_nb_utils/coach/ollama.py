"""Answers of a model that an Ollama server runs, steered by it and verified like any other."""

import os
import re

import requests

from golf_nb_utils.coach.generators import LLMFeedbackGenerator, WritingError
from golf_nb_utils.golf.engines import joined, json_schema
from golf_nb_utils.golf.grammar import GrammarError
from golf_nb_utils.golf.knowledge import KnowledgeBase
from golf_nb_utils.prompt import HEADINGS, format_input


class OllamaFeedbackGenerator(LLMFeedbackGenerator):
    """Answers of a model that an Ollama server runs.

    They come over its chat protocol: POST /api/chat (github.com/ollama/ollama, docs/api.md).
    Steered, the server lets the model choose among the right answers alone, which it gets as a JSON
    schema; what comes back is verified all the same, since an old server does not read the schema.
    With `steered=False` the model writes freely, and seldom passes.
    """

    CONNECT_SECONDS = 3.0

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
        """Ask `model` at `host`, and wait `read_seconds` for an answer.

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
            "messages": [{"role": "user", "content": chat_prompt(entry)}],
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
        try:
            response = requests.post(
                url, json=body, timeout=(self.CONNECT_SECONDS, self.read_seconds)
            )
            response.raise_for_status()
            content = response.json()["message"]["content"]
        except requests.HTTPError as error:
            raise WritingError(
                f"Ollama refused: {error}; is the model pulled (`ollama pull {self.model}`)?"
            ) from error
        except requests.Timeout as error:
            raise WritingError(
                f"{url} did not answer within {self.CONNECT_SECONDS:g} s to connect "
                f"and {self.read_seconds:g} s to read."
            ) from error
        except requests.ConnectionError as error:
            raise WritingError(
                f"{url} cannot be reached; start `ollama serve`, or set host or OLLAMA_HOST."
            ) from error
        except (
            requests.RequestException,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            # What is no JSON, or other JSON, down to one of a hundred thousand brackets.
            raise WritingError(
                f"{url} did not answer as Ollama's chat protocol says ({error!r:.100})."
            ) from error
        if not isinstance(content, str):
            raise WritingError(
                f"{url} did not answer as Ollama's chat protocol says "
                f"(the content is {content!r:.60})."
            )
        return content


def chat_prompt(entry: dict) -> str:
    """Return what a model is told that was not trained on our prompt: it with the headings."""
    headings = "\n".join(HEADINGS.values())
    asked = (
        f"{entry['instruction']} Answer in three parts, under exactly these headings, "
        f"each on a line of its own:\n{headings}"
    )
    return format_input(entry | {"instruction": asked})


def ollama_url(host: str) -> str:
    """Return the address of a server from what OLLAMA_HOST may hold.

    That is a URL, host:port, a host or nothing.
    """
    host = host.strip().rstrip("/") or "127.0.0.1"
    scheme, _, rest = host.rpartition("://")
    address, _, path = rest.partition("/")
    # A server is told to listen on 0.0.0.0; a client cannot connect to it everywhere.
    address = address.replace("0.0.0.0", "127.0.0.1")
    if not re.search(r":[0-9]+$", address) and not scheme:
        address += ":11434"
    return f"{scheme or 'http'}://{address}" + (f"/{path}" if path else "")
