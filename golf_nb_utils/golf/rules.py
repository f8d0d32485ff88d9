"""The contradictions that golf advice falls into, as data: each rule is a pattern that no sentence may match (or must).

rules.yaml beside the topic files holds them; knowledge.py checks every item against them, and `contradictions` any text.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from golf_nb_utils.golf.areas import AREAS, CLUB_FAMILIES, LEVELS

PARTS = (
    "ideal", "observation", "cause", "effect", "feel", "check", "steps", "drill", "keep", "cues", "adaptations", "safety",
)  # fmt: skip
FIELDS = {
    "id": str, "says": str, "never": str, "unless": str, "always": str, "together": list,
    "parts": list, "areas": list, "levels": list, "only_clubs": list, "only_faults": list,
}  # fmt: skip


# What the list fields of a rule may name; the ids of faults are checked with the files.
_ALLOWED = {"parts": PARTS, "areas": AREAS, "levels": LEVELS, "only_clubs": CLUB_FAMILIES}


class RuleError(ValueError):
    """rules.yaml holds something that is no rule."""


class _PlainLoader(yaml.BaseLoader):
    """YAML of texts, lists and mappings alone: no tags, no dates, no aliases (a few bytes of which can grow to gigabytes),
    and no double keys (of which one would be lost)."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (`*name`) are not allowed; write the value out", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if not isinstance(key.value, str) or keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is no text or stands twice", key.start_mark
                )
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
    """One rule: `never` and `always` are held against sentences, `together` against a whole file."""

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
        fault: str | None,
    ) -> bool:
        """Return whether the rule holds for an item of this part, area, clubs, levels and fault."""
        return (
            part in self.parts
            and (not self.areas or area in self.areas)
            and (not self.levels or bool(set(levels) & set(self.levels)))
            and not (self.only_clubs and set(clubs) <= set(self.only_clubs))
            and fault not in self.only_faults
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
        raise FileNotFoundError(
            f"{path} does not exist; it holds the rules that every topic file keeps."
        )
    try:
        entries = load_plain_yaml(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: not valid YAML in UTF-8 ({error}).") from error
    if not isinstance(entries, list):
        raise RuleError(f"{path}: expected a list of rules, found {type(entries).__name__}.")
    rules = []
    for number, entry in enumerate(entries, 1):
        name = f"{path}: rule {number}"
        if (
            not isinstance(entry, dict)
            or not {"id", "says"} <= set(entry)
            or not {"never", "always", "together"} & set(entry)
        ):
            raise RuleError(f"{name} needs `id`, `says`, and one of `never`, `always`, `together`.")
        for field, value in entry.items():
            texts = value if isinstance(value, list) else [value]
            if (
                field not in FIELDS
                or not isinstance(value, FIELDS[field])
                or not texts
                or not all(isinstance(t, str) and t for t in texts)
            ):
                raise RuleError(
                    f"{name} ({entry['id']}): {field!r} is no field of a rule or has the wrong type: {value!r}."
                )
            unknown = set(texts) - set(_ALLOWED.get(field, texts))
            if unknown:
                raise RuleError(
                    f"{name} ({entry['id']}): {field} has the unknown value {min(unknown)!r}."
                )
        for pattern in (
            entry.get("never"),
            entry.get("unless"),
            entry.get("always"),
            *entry.get("together", ()),
        ):
            try:
                re.compile(pattern or "")
            except (re.error, OverflowError) as error:
                raise RuleError(
                    f"{name} ({entry['id']}): {pattern!r} is no regular expression ({error})."
                ) from error
        if any(rule.id == entry["id"] for rule in rules):
            raise RuleError(f"{name}: the id {entry['id']} is used twice.")
        rules.append(
            Rule(
                **{
                    field: tuple(value) if isinstance(value, list) else value
                    for field, value in entry.items()
                }
            )
        )
    return tuple(rules)


def contradictions(rules: tuple[Rule, ...], sentence: str, part: str = "steps") -> list[str]:
    """Return the ids of the `never` rules that a sentence of any text breaks, read as one of `part`; rules for some clubs,
    levels, areas or faults only are left out."""
    return [
        rule.id for rule in rules
        if rule.never and part in rule.parts and rule.broken_by(sentence)
        and not (rule.only_faults or rule.only_clubs or rule.areas or rule.levels)
    ]  # fmt: skip
