"""The JSON schema of the cluster file, for editors and other checkers."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from calicopy.config import model, sections, sections_bfd, sections_bgp, sections_policy
from calicopy.config.model import ClusterConfig
from calicopy.config.sections import Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as JSON text, with a newline at the end; the same for the same version of calicopy."""
    schema = ClusterConfig.model_json_schema(by_alias=True, mode="validation")
    schema.pop("description", None)
    _describe(schema)
    _tidy(schema)
    head = {
        "$schema": DIALECT,
        "title": "calicopy cluster file",
        "description": "The cluster file: the same on every node.",
    }
    return json.dumps({**head, **{key: value for key, value in schema.items() if key != "title"}}, indent=2) + "\n"


def _describe(schema: dict[str, Any]) -> None:
    """Give each property the string below its field as its description, in place."""
    for module in (sections, sections_policy, sections_bfd, sections_bgp, model):
        for node in ast.parse(inspect.getsource(module)).body:
            if not isinstance(node, ast.ClassDef):
                continue
            kind = getattr(module, node.name)
            properties = (schema if kind is ClusterConfig else schema["$defs"].get(node.name, {})).get("properties")
            if not properties or not issubclass(kind, Section):
                continue
            for name, text in _field_docs(node):
                alias = kind.model_fields[name].validation_alias
                key = alias if isinstance(alias, str) else name
                properties[key] = dict(sorted({**properties[key], "description": text}.items()))


def _field_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Names of the class's fields, and the strings right below them."""
    for statement, below in pairwise(node.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


def _tidy(node: object) -> None:
    """Drop the titles made from names (they say nothing new) and the line breaks inside descriptions, in place."""
    if isinstance(node, list):
        for inner in node:
            _tidy(inner)
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].split())
        for inner in node.values():
            _tidy(inner)


def write_schema(path: str) -> None:
    """Write the schema to `path`. Raises OSError."""
    Path(path).write_text(schema_text(), encoding="utf-8")
