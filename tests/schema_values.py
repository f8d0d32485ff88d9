"""Random values that fit a JSON schema of the kind that golf.engines writes, as a server draws them that honours it."""


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
