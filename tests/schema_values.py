"""Random values that fit a JSON schema of the kind that golf.engines writes, as a server draws them that honours it.

And what llama.cpp's server makes of the schema: a grammar of the values.
"""

import json


def resolved(schema, root):
    """The schema that a reference stands for."""
    return root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def fitting(schema, rng, root=None):
    """A value that fits a schema, drawn at random."""
    root = root or schema
    schema = resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return fitting(rng.choice(schema["anyOf"]), rng, root)
    return [fitting(part, rng, root) for part in schema["prefixItems"]]


def as_gbnf(schema):
    """The values that fit a schema as JSON without blanks, in llama.cpp's notation."""

    def literal(text):
        return json.dumps(json.dumps(text, ensure_ascii=False), ensure_ascii=False)

    def rule(schema):
        if "$ref" in schema:
            return schema["$ref"].rpartition("/")[2]
        if "anyOf" in schema:
            return f"({' | '.join(map(rule, schema['anyOf']))})"
        if "prefixItems" in schema:
            comma = ' "," '
            return f'"[" {comma.join(map(rule, schema["prefixItems"]))} "]"'
        return f"({' | '.join(map(literal, schema.get('enum') or [schema['const']]))})"

    rules = {"root": rule({"anyOf": schema["anyOf"]})}
    rules |= {name: rule(part) for name, part in schema["$defs"].items()}
    return "\n".join(f"{name} ::= {text}" for name, text in rules.items())
