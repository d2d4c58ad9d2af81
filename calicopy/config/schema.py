"""The JSON schema of the cluster file, for editors and other checkers."""

from __future__ import annotations

import json
from pathlib import Path

from calicopy.config.model import ClusterConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as JSON text, with a newline at the end; the same for the same version of calicopy."""
    schema = ClusterConfig.model_json_schema(by_alias=True, mode="validation")
    schema.pop("description", None)
    _tidy(schema)
    head = {
        "$schema": DIALECT,
        "title": "calicopy cluster file",
        "description": "The cluster file: the same on every node.",
    }
    return json.dumps({**head, **{key: value for key, value in schema.items() if key != "title"}}, indent=2) + "\n"


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
