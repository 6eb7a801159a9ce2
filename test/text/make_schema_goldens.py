#!/usr/bin/env python3
"""Makes data/schema_goldens.json, for development: pip install jsonschema.

Random schemas with values that follow them or do not, as jsonschema judges, and random regular expressions with texts, as Python's re does.
The values are written as a model would write them: members in the order of the schema. Of the keywords only those combinations come up that
Baton supports; what it refuses is not told by a reference and stands in json_schema_test.cpp.
"""

import json
import pathlib
import random
import re
import warnings

import jsonschema

DATA = pathlib.Path(__file__).resolve().parent / "data"
NAMES = list("abcd")
OTHER_NAMES = ["x", "y", "ab", "ba", ""]
PATTERNS = ["^a+$", "b", "^[a-c]{2}", '"', "^(a|é)*$", "a$", "\\d", "x\\\\y"]
STRINGS = ["", "a", "b", "aa", "ab", "é", 'x"y', "abcd", "aaaaa", "1", "x\\y", "cab\n"]
SCHEMAS, EXPRESSIONS, TEXTS = 160, 120, 5


def chance(of):
    return random.random() < of


def numbers(kind):
    schema = {"type": kind}
    for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if chance(0.3):
            whole = random.choice([0, 1, -1, 9, 10, 99, 100, -10, random.randint(-3000, 3000)])
            schema[keyword] = whole if chance(0.6) else round(random.uniform(-20, 20), random.randint(1, 3))
    return schema


def strings():
    schema = {"type": "string"}
    if chance(0.5):
        schema["minLength"] = random.randint(0, 3)
        schema["maxLength"] = random.randint(schema["minLength"], 5)
    elif chance(0.5):
        schema["pattern"] = random.choice(PATTERNS)
    return schema


def objects(depth, others=True):
    declared = NAMES[: random.randint(0, 4)]  # so that names in order have the declared ones first
    schema = {"type": "object", "properties": {name: any_schema(depth - 1) for name in declared}}
    schema["required"] = [name for name in declared if chance(0.5)]
    if others and chance(0.6):
        schema["additionalProperties"] = False if chance(0.6) else any_schema(depth - 1)
    return schema


def arrays(depth):
    schema = {"type": "array"}
    if chance(0.3):
        schema["prefixItems"] = [any_schema(depth - 1) for _ in range(random.randint(1, 3))]
    if chance(0.7):
        schema["items"] = any_schema(depth - 1)
    if chance(0.3):
        schema["minItems"] = random.randint(0, 3)
    if chance(0.3):
        schema["maxItems"] = random.randint(schema.get("minItems", 0), 4)
    return schema


def any_schema(depth):
    if depth <= 0 or chance(0.35):
        return random.choice(
            [
                lambda: numbers("integer"),
                lambda: numbers("number"),
                strings,
                lambda: {"enum": random.sample(["a", "b", 1, 2, None, True, [1], {"a": 1}, 2.5], random.randint(1, 4))},
                lambda: {"type": random.sample(["string", "integer", "null", "boolean"], 2)},
                lambda: {} if chance(0.5) else {"const": random.choice(["a", 0, None, {"b": []}])},
            ]
        )()
    kind = random.random()
    if kind < 0.5:
        return objects(depth)
    if kind < 0.7:
        return arrays(depth)
    if kind < 0.8:
        return {"anyOf": [any_schema(depth - 1) for _ in range(random.randint(2, 3))]}
    if kind < 0.9:
        return {"allOf": [objects(depth, others=False), {**objects(0, others=False), "required": NAMES[: random.randint(0, 2)]}]}
    return {"$ref": "#/$defs/one"}


def any_value(depth=2):
    if depth > 0 and chance(0.4):
        if chance(0.5):
            return [any_value(depth - 1) for _ in range(random.randint(0, 3))]
        return {name: any_value(depth - 1) for name in random.sample(NAMES + OTHER_NAMES, random.randint(0, 3))}
    return random.choice([None, True, False, 0, 1, -5, 12, 0.5, random.randint(-3000, 3000)] + STRINGS)


def near(schema, root, depth=6):
    """A value that has a chance to follow the schema."""
    if depth <= 0 or not isinstance(schema, dict) or chance(0.04):
        return any_value(1)
    if "$ref" in schema:
        return near(root["$defs"]["one"], root, depth - 1)
    if "enum" in schema or "const" in schema:
        return random.choice(schema["enum"]) if "enum" in schema else schema["const"]
    if "anyOf" in schema:
        return near(random.choice(schema["anyOf"]), root, depth - 1)
    if "allOf" in schema:
        values = [near(part, root, depth - 1) for part in schema["allOf"]]
        return {k: v for value in values for k, v in value.items()} if all(isinstance(v, dict) for v in values) else values[0]
    kind = schema.get("type", "null")
    kind = random.choice(kind) if isinstance(kind, list) else kind
    if kind in ("integer", "number"):
        bounds = [value for keyword, value in schema.items() if keyword.lower().endswith("imum")]
        value = round(random.choice(bounds or [random.randint(-200, 200)]) + random.choice([0, 1, -1, 0.5, -0.5, 0.01, -3]), 3)
        return int(value) if kind == "integer" or value == int(value) else value
    if kind == "string":
        return random.choice(STRINGS + ["aaa", "éa", "abc"])
    if kind == "array":
        first = schema.get("prefixItems", [])
        return [near(first[i] if i < len(first) else schema.get("items"), root, depth - 1) for i in range(random.randint(0, 4))]
    if kind == "object":
        value = {
            name: near(inner, root, depth - 1) for name, inner in schema["properties"].items() if name in schema["required"] or chance(0.6)
        }
        for name in random.sample(OTHER_NAMES, random.choice([0, 0, 0, 1, 2])):
            value[name] = near(schema.get("additionalProperties"), root, depth - 1)
        return value
    return {"null": None, "boolean": chance(0.5)}[kind]


def in_order(value):
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value, key=lambda name: (name not in NAMES, name))}
    return [in_order(inner) for inner in value] if isinstance(value, list) else value


def written(value):
    style = random.choice([{"separators": (",", ":")}, {}, {"indent": 2}])
    return json.dumps(in_order(value), ensure_ascii=False, **style)


def schema_case():
    schema = any_schema(3)
    if '"$ref"' in json.dumps(schema):
        schema["$defs"] = {"one": objects(0)}
        if not any(jsonschema.Draft202012Validator(schema["$defs"]["one"]).is_valid(near(schema["$defs"]["one"], {})) for _ in range(60)):
            return None  # Baton refuses a definition that nothing can follow
    validator = jsonschema.Draft202012Validator(schema)
    values = [near(schema, schema) if chance(0.9) else any_value() for _ in range(60)]
    yes = sorted({written(value) for value in values if validator.is_valid(value)})
    no = sorted({written(value) for value in values if not validator.is_valid(value)})
    if not yes:  # perhaps nothing follows it at all
        return None
    return {"schema": schema, "yes": yes[:: max(1, len(yes) // TEXTS)][:TEXTS], "no": no[:: max(1, len(no) // TEXTS)][:TEXTS]}


def expression(depth, anchors=False):
    branches = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        branch = ""
        for _ in range(random.choice([0, 1, 1, 2, 2, 3])):
            if depth > 0 and chance(0.25):
                branch += random.choice(["(", "(?:"]) + expression(depth - 1) + ")"
            elif chance(0.4):
                branch += random.choice(["[abc]", "[^a]", '[a-c"]', "\\d", "\\w", "\\s", ".", "[\\w.-]", "\\S", "\\W", "[^\\d]", "[\\]x]"])
            else:
                branch += random.choice(["a", "b", "c", "\\.", "é", '"', "\\\\", "\\n", "\\x41", "/", "}"])
            if chance(0.35):
                branch += random.choice(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}", "*?", "??"])
        if anchors and chance(0.4):
            branch = "^" + branch
        if anchors and chance(0.4):
            branch += "$"
        branches.append(branch)
    return "|".join(branches)


def expression_case():
    pattern = expression(3, anchors=True)
    # In JSON Schema `$` is the very end; Python's also stands before a last newline.
    compiled = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.ASCII)
    texts = sorted({"".join(random.choice('aabbc"\\.é\n A1-/}]') for _ in range(random.randint(0, 6))) for _ in range(60)})
    case = {"pattern": pattern, "matches": [], "found": [], "neither": []}
    for text in texts:
        case["matches" if compiled.fullmatch(text) else "found" if compiled.search(text) else "neither"].append(text)
    return {key: value[:TEXTS] if key != "pattern" else value for key, value in case.items()}


def main():
    random.seed(20240229)
    warnings.simplefilter("ignore")
    schemas = []
    while len(schemas) < SCHEMAS:
        case = schema_case()
        if case:
            schemas.append(case)
    lines = [json.dumps(case, ensure_ascii=False) for case in schemas]
    expressions = [json.dumps(expression_case(), ensure_ascii=False) for _ in range(EXPRESSIONS)]
    text = '{"schemas": [\n' + ",\n".join(lines) + '\n], "expressions": [\n' + ",\n".join(expressions) + "\n]}\n"
    (DATA / "schema_goldens.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
