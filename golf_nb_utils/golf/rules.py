"""The contradictions that golf advice falls into, as data: what no sentence may say, or must.

rules.yaml beside the topic files holds the rules. knowledge.py checks every item against them, and
`contradictions` any other text.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS
from golf_nb_utils.settings import WithoutAliases

PARTS = (
    "ideal", "happening", "steps", "check", "plan", "cue", "drill", "dose", "small_dose", "easier",
    "harder", "adaptations",
)  # fmt: skip

_TEXTS = ("id", "says", "never", "unless", "always")
# The list fields of a rule with the values that they may name; None is any text, since the ids of
# faults are known only once all files are read.
_LISTS = {
    "together": None, "parts": PARTS, "areas": AREAS, "levels": LEVELS,
    "only_clubs": CLUB_FAMILIES, "only_faults": None,
}  # fmt: skip


class RuleError(ValueError):
    """rules.yaml holds something that is no rule."""


class _PlainLoader(WithoutAliases, yaml.BaseLoader):
    """YAML of texts, lists and mappings alone.

    No tags and no dates, no aliases, no double keys, of which one would be lost.
    """

    def construct_mapping(self, node, deep=False):
        """Refuse a double key, and one that is no text, at its line."""
        n_of = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        for key, _ in node.value:
            if not isinstance(key.value, str) or n_of[key.value] > 1:
                wrong = f"the key {key.value!r:.80} is no text or stands twice"
                raise yaml.constructor.ConstructorError(None, None, wrong, key.start_mark)
        return super().construct_mapping(node, deep)


def load_plain_yaml(text: str):
    """Read YAML whose leaves are all texts.

    Raises:
        yaml.YAMLError: it is not valid, has an alias or a double key, or is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


@dataclass(frozen=True)
class Rule:
    """One rule: `never` and `always` hold for a sentence, `together` for a whole file.

    `never`, `unless` (what lifts it), `always` and `together` are regular expressions, `says` is
    the reason for people. The other fields narrow what the rule concerns; empty is everything.
    """

    id: str
    says: str
    never: str = ""
    unless: str = ""
    always: str = ""
    together: tuple[str, ...] = ()
    parts: tuple[str, ...] = PARTS
    areas: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    only_clubs: tuple[str, ...] = ()
    only_faults: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern]:
        return {
            name: re.compile(text, re.IGNORECASE)
            for name in ("never", "unless", "always")
            if (text := getattr(self, name))
        }

    def broken_by(self, text: str) -> bool:
        """Return whether a sentence breaks the rule, wherever it stands."""
        patterns = self._patterns
        if "always" in patterns:
            return not patterns["always"].search(text)
        if "never" not in patterns or not patterns["never"].search(text):
            return False
        return not ("unless" in patterns and patterns["unless"].search(text))

    def concerns(
        self,
        part: str,
        area: str,
        clubs: tuple[str, ...],
        levels: tuple[str, ...],
        faults: tuple[str, ...],
    ) -> bool:
        """Return whether the rule holds for an item of this part, area, clubs, levels, faults."""
        return (
            part in self.parts
            and (not self.areas or area in self.areas)
            and (not self.levels or bool(set(levels) & set(self.levels)))
            and not (self.only_clubs and set(clubs) <= set(self.only_clubs))
            and not set(faults) & set(self.only_faults)
        )

    def joined_in(self, text: str) -> bool:
        """Return whether a file's whole text holds all expressions of `together`."""
        return bool(self.together) and all(
            re.search(pattern, text, re.IGNORECASE) for pattern in self.together
        )


def load_rules(path: str | Path) -> tuple[Rule, ...]:
    """Read the rules of a YAML file.

    Raises:
        FileNotFoundError: the file does not exist.
        RuleError: an entry is no rule; its place in the list is named.
    """
    path = Path(path)
    if not path.is_file():
        wrong = "does not exist; it holds the rules that every topic file keeps."
        raise FileNotFoundError(f"{path} {wrong}")
    try:
        entries = load_plain_yaml(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: not valid YAML in UTF-8 ({error}).") from error
    if not isinstance(entries, list):
        raise RuleError(f"{path}: expected a list of rules, found {type(entries).__name__}.")
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(entries, 1):
        if wrong := _wrong_in_rule(entry):
            raise RuleError(f"{path}: rule {number}{wrong}")
        if entry["id"] in rules:
            raise RuleError(f"{path}: rule {number}: the id {entry['id']} is used twice.")
        fields = {name: tuple(value) if name in _LISTS else value for name, value in entry.items()}
        rules[entry["id"]] = Rule(**fields)
    return tuple(rules.values())


def _wrong_in_rule(entry) -> str:
    known = set(entry) if isinstance(entry, dict) else set()
    if not {"id", "says"} <= known or not {"never", "always", "together"} & known:
        return " needs `id`, `says`, and one of `never`, `always`, `together`."
    name = f" ({entry['id']}):"
    for field, value in entry.items():
        kind = str if field in _TEXTS else list if field in _LISTS else ()
        texts = value if isinstance(value, list) else [value]
        if (
            not isinstance(value, kind)
            or not texts
            or not all(isinstance(text, str) and text for text in texts)
        ):
            return f"{name} {field!r} is no field of a rule or has the wrong type: {value!r}."
        unknown = set(texts) - set(_LISTS.get(field) or texts)
        if unknown:
            return f"{name} {field} has the unknown value {min(unknown)!r}."
    patterns = [entry[field] for field in ("never", "unless", "always") if field in entry]
    for pattern in (*patterns, *entry.get("together", ())):
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            return f"{name} {pattern!r} is no regular expression ({error})."
    return ""


def contradictions(rules: tuple[Rule, ...], sentence: str, part: str = "steps") -> list[str]:
    """Return the ids of the `never` rules that a sentence breaks, read as one of `part`.

    Rules that hold for some clubs, levels, areas or faults only are left out.
    """
    return [
        rule.id for rule in rules
        if rule.never and part in rule.parts and rule.broken_by(sentence)
        and not (rule.only_faults or rule.only_clubs or rule.areas or rule.levels)
    ]  # fmt: skip
