"""JSON Schemas of the YAML files below conf/, written from the constructors that their nodes name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import ConfigDict, PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticUserError

from shoal.build.annotations import in_words
from shoal.build.checked_job import SETTINGS
from shoal.build.documented import GIVEN, Documented, documented
from shoal.build.expectations import Expectation
from shoal.build.hydra_keys import OWN, TARGET
from shoal.build.named_constructor import constructor
from shoal.build.trainer import GIVEN_TO_TRAINER, LIMITS

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The version that editors know best."""
ALLOWED = "x-allowed"
"""Beside a property: what it allows, in words."""
NAMED = ("callbacks", "logger")
"""Groups whose files have several nodes, each with a name."""
REFERENCE = {"$ref": "#/definitions/reference"}
NODE = {"$ref": "#/definitions/node"}
_COMMON: dict[str, Schema] = {
    "reference": {
        "description": "A value that is given later, or refers to another.",
        "type": "string",
        "pattern": r"^\?\?\?$|\$\{",
    },
    "node": {
        "description": "An object of a class.",
        "type": "object",
        "required": [TARGET],
        "properties": {TARGET: {"type": "string"}},
    },
}
_PLAIN = (int, float, str, bool, type(None), Any, Ellipsis)


def definitions(
    targets: Mapping[str, Iterable[str]], named: Mapping[str, str], meanings: Mapping[str, Mapping[str, str]]
) -> dict[str, Schema]:
    """The schema of each node by its `_target_`, and of each group by its name.

    `targets` are the classes of each group, `named` those of callbacks and loggers that are known by their name, and
    `meanings` says of classes what their settings mean where they do not say it themselves.
    """
    found: dict[str, Schema] = dict(_COMMON)
    for group, paths in targets.items():
        for path in paths:
            found[path] = _node(group, path, meanings.get(path, {}))
        found[group] = _named(paths, named) if group in NAMED else _choice(paths, found)
    return found


def top(groups: Iterable[str], meanings: Mapping[str, str], sweep: Schema) -> Schema:
    """The schema of a file that may set anything: train.yaml, a task's or an experiment's."""
    settings = {name: _property(hint, meanings.get(name, "")) for name, hint in SETTINGS.items()}
    nodes = {group: _or_null(_reference(group)) for group in groups}
    expectation = _node("expect", f"{Expectation.__module__}.{Expectation.__name__}", {})
    # An expectation is no node: it has no class.
    for name in ("defaults", *OWN):
        del expectation["properties"][name]
    whole = {"defaults": {"type": "array"}, "sweep": sweep, "hydra": {"type": "object"}}
    expect = {
        "expect": {
            "description": meanings.get("expect", ""),
            "anyOf": [{"type": "null"}, {"type": "array", "items": expectation}],
        }
    }
    return _object({**whole, **settings, **nodes, **expect}, closed=True)


def sweep_node(values: Mapping[str, Any], hints: Mapping[str, Any], meanings: Mapping[str, str]) -> Schema:
    """The schema of the node `sweep`, whose settings conf/train.yaml lists and explains."""
    properties = {
        name: {**_property(hints.get(name), meanings.get(f"sweep.{name}", "")), "default": value}
        for name, value in values.items()
    }
    return _object(properties, closed=True)


def _node(group: str, path: str, meanings: Mapping[str, str]) -> Schema:
    """An object of one class: it has that class's settings and no others."""
    made = constructor(path)
    defaults = {name: each.default for name, each in made.parameters.items() if each.default is not each.empty}
    # As in a file that leaves them open; no key is required, as files extend each other.
    required = dict.fromkeys(made.required, "???")
    listed = {name: value for name, value in {**required, **defaults}.items() if name not in GIVEN.get(group, ())}
    rows = documented(group, {TARGET: path, **listed}, meanings)
    if group == "trainer":
        rows = [_limited(row) for row in rows if row.name not in GIVEN_TO_TRAINER]
    properties = {row.name: _setting(row) for row in rows}
    hydras = {"defaults": {"type": "array"}, TARGET: {"const": path}, **{name: {} for name in OWN if name != TARGET}}
    whole = _object({**hydras, **properties}, closed=not made.open)
    said = (inspect.getdoc(made.call) or "").partition("\n\n")[0]
    return {**whole, "description": " ".join(said.split())} if said else whole


def _limited(row: Documented) -> Documented:
    """An argument of the Trainer, by the narrower range that means something."""
    return replace(row, annotation=LIMITS[row.name][0]) if row.name in LIMITS else row


def _choice(paths: Iterable[str], known: Mapping[str, Schema]) -> Schema:
    """A node that names its class, or leaves that to the file that it extends."""
    parts: dict[str, list[Schema]] = {}
    for path in paths:
        for name, schema in known[path]["properties"].items():
            if schema not in parts.setdefault(name, []):
                parts[name].append(schema)
    names = {
        name: each[0] if len(each) == 1 else {"anyOf": each} for name, each in parts.items() if not name.startswith("_")
    }
    extended = {"if": {"not": {"required": [TARGET]}}, "then": {"properties": names}}
    properties = {TARGET: {"type": "string", "examples": sorted(paths)}}
    return {**_object(properties, closed=False), "allOf": [extended, *(_case(path) for path in paths)]}


def _case(path: str) -> Schema:
    named = {"required": [TARGET], "properties": {TARGET: {"const": path}}}
    return {"if": named, "then": _reference(path)}


def _named(paths: Iterable[str], named: Mapping[str, str]) -> Schema:
    """Nodes by their names; without a class, a node of a name that is known belongs to the class it has by default."""
    node = {"type": ["object", "null"], "allOf": [_case(path) for path in paths]}
    properties: dict[str, Schema] = {"defaults": {"type": "array"}}
    for name, path in named.items():
        if path in paths:
            other = {"required": [TARGET], "properties": {TARGET: {"not": {"const": path}}}}
            properties[name] = {"if": {**other, "type": "object"}, "then": node, "else": _or_null(_reference(path))}
    return {"type": "object", "properties": properties, "additionalProperties": node}


def _setting(row: Documented) -> Schema:
    schema = _property(row.annotation, row.meaning)
    return schema if row.default == "???" or not _plain(row.default) else {**schema, "default": row.default}


def _property(annotation: Any, meaning: str) -> Schema:
    allowed = _of(annotation)
    schema: Schema = {"description": meaning} if meaning else {}
    if annotation is not None:
        schema[ALLOWED] = in_words(annotation)
    nodes = [NODE] if _takes_an_object(annotation) else []
    return {**schema, "anyOf": [*_flat(allowed), *nodes, REFERENCE]} if allowed else schema


def _takes_an_object(annotation: Any) -> bool:
    """Whether a value may be a node that names a class, beside what JSON has."""
    if get_origin(annotation) is Annotated:
        return _takes_an_object(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return False
    parts = get_args(annotation)
    # Anything but JSON's own types: what a node builds.
    return any(map(_takes_an_object, parts)) if parts else annotation not in _PLAIN


def _flat(schema: Schema) -> list[Schema]:
    return list(schema["anyOf"]) if set(schema) == {"anyOf"} else [schema]


def _of(annotation: Any) -> Schema:
    """The schema of an annotation; empty where a value of any kind may stand."""
    if annotation is None:
        return {}
    rules = ConfigDict(arbitrary_types_allowed=True)
    try:
        found = TypeAdapter(annotation, config=rules).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return {}
    # Definitions within a definition would have to be moved out of it.
    return {} if "$defs" in found or _nothing_fits(found) else found


def _nothing_fits(schema: Any) -> bool:
    """Whether some part of a schema allows nothing, as that of a class that JSON does not have."""
    if isinstance(schema, dict):
        return schema.get("anyOf") == [] or any(map(_nothing_fits, schema.values()))
    return isinstance(schema, list) and any(map(_nothing_fits, schema))


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _object(properties: Mapping[str, Schema], *, closed: bool) -> Schema:
    return {"type": "object", "properties": dict(properties), **({"additionalProperties": False} if closed else {})}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [{"type": "null"}, schema]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}
