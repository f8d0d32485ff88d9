"""The right answers to a request, in the notations by which other engines are steered.

llama.cpp takes a GBNF grammar (github.com/ggml-org/llama.cpp, grammars/README.md), Ollama a JSON
schema in the field `format` of a request. Both come from the grammar that steers our own model, so
any model that such an engine runs can write nothing but one of the right answers.
"""

import json
from collections.abc import Callable, Iterable, Iterator

from golf_nb_utils.golf.grammar import Either, Grammar, Maybe, Node, Row, Say
from golf_nb_utils.golf.request import Request
from golf_nb_utils.prompt import format_input

Encode = Callable[[str], Iterable[int]]
"""A tokenizer: from a text to its tokens."""


class _Shared:
    """Definitions by name; what is said in two places is defined once."""

    def __init__(self):
        self.names: dict[str, str] = {}

    def name(self, definition: str) -> str:
        return self.names.setdefault(definition, f"n{len(self.names)}")


def _quoted(text: str) -> str:
    # GBNF has JSON's escapes for these; all other characters stand for themselves.
    return json.dumps(text, ensure_ascii=False)


def gbnf(grammar: Grammar) -> str:
    """Return the grammar in llama.cpp's notation; the texts of `root` are the right answers."""
    shared = _Shared()

    def rule(node: Node) -> str:
        match node:
            case str():
                return _quoted(node)
            case Say(options):
                return shared.name(" | ".join(_quoted(text) for _, text in options))
            case Row(parts):
                return shared.name(" ".join(map(rule, parts)))
            case Either(forms):
                return shared.name(" | ".join(map(rule, forms)))
            case Maybe(form):
                return f"{rule(form)}?"

    root = rule(grammar.root)
    rules = (f"{name} ::= {definition}" for definition, name in shared.names.items())
    return "\n".join([f"root ::= {root}", *rules, ""])


def token_gbnf(grammar: Grammar, encode: Encode) -> str:
    """Return the grammar in llama.cpp's notation, of a model's own tokens instead of characters.

    `encode` is the model's tokenizer. Held to characters, a model may write a word in other tokens
    than it learnt, and then chooses worse; so it writes what our own steering writes
    (gpt2.steering). For llama.cpp of December 2025 or later, with the vocabulary of `encode`.
    """
    names, waiting, rules = {grammar.start: "root"}, [grammar.start], []

    def way(text: str, then: object) -> str:
        if not text:
            return '""'
        if then not in names:
            names[then] = f"n{len(names)}"
            waiting.append(then)
        # llama.cpp aborts at a token that ends within a character.
        tokens = " ".join(f"<[{token}]>" for token in encode(text)) if text.isascii() else ""
        return f"{tokens or _quoted(text)} {names[then]}"

    while waiting:
        state = waiting.pop()
        ways = " | ".join(way(text, then) for text, then in grammar.next_texts(state))
        rules.append(f"{names[state]} ::= {ways}")
    return "\n".join([*rules, ""])


def json_schema(grammar: Grammar) -> dict:
    """Return the grammar as a JSON schema: a value that fits it is an answer cut into sentences.

    Rows become arrays, and what is left out an empty text; `joined` makes the answer of a value.
    """
    shared = _Shared()

    def schema(node: Node) -> dict:
        match node:
            case str():
                return {"const": node}
            case Say(options):
                return reference({"enum": [text for _, text in options]})
            case Row(parts):
                # Not `"items": False`: beside it llama.cpp does not read `prefixItems`.
                length = {"minItems": len(parts), "maxItems": len(parts)}
                return reference({"type": "array", "prefixItems": [*map(schema, parts)], **length})
            case Either(forms):
                return reference({"anyOf": [*map(schema, forms)]})
            case Maybe(form):
                return {"anyOf": [schema(form), {"const": ""}]}

    def reference(definition: dict) -> dict:
        return {"$ref": f"#/$defs/{shared.name(json.dumps(definition))}"}

    # Not a `$ref` itself: beside one, older llama.cpp does not look into `$defs`.
    root = {"anyOf": [schema(grammar.root)]}
    return root | {"$defs": {name: json.loads(text) for text, name in shared.names.items()}}


def joined(text: str) -> str:
    """Return the answer that a JSON value holds which fits json_schema.

    Raises:
        ValueError: the text is not JSON, or holds something else than texts and arrays of them.
    """

    def leaves(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for part in value:
                yield from leaves(part)
        else:
            raise ValueError(f"an answer holds texts and arrays of them, found {value!r:.40}.")

    try:
        return "".join(leaves(json.loads(text)))
    except (json.JSONDecodeError, RecursionError) as error:
        # JSON may have a hundred thousand brackets.
        raise ValueError(f"an answer is a JSON array, found {text[:40]!r} ({error}).") from error


def requests_to_engines(
    request: Request, grammar: Grammar, model: str, encode: Encode
) -> dict[str, dict]:
    """Return {file name: what to POST}, to /completion of llama.cpp and /api/chat of Ollama.

    For our exported model, whose tokenizer is `encode`, and which Ollama calls `model`: there its
    template makes the prompt. Neither limits the tokens: the grammar ends the answer.
    """
    entry = request.entry()
    messages = [{"role": "user", "content": entry["input"]}]
    ollama = {"model": model, "messages": messages, "stream": False, "options": {"num_predict": -1}}
    llama_cpp = {"prompt": format_input(entry), "temperature": 0}
    return {
        "llama_cpp_request.json": llama_cpp | {"grammar": token_gbnf(grammar, encode)},
        "ollama_request.json": ollama | {"format": json_schema(grammar)},
    }
