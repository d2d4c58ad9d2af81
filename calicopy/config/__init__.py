"""The cluster file: one YAML file, the same on every node, read into one typed, whole result.

Importing this package loads nothing else: pydantic comes with `calicopy.config.model`, PyYAML with
`calicopy.config.load`, so that processes of the standard library alone (the supervisor, the CNI shim, `calicopy
--help`) stay light.

- `errors`: what is wrong with a file, and where; `problems`: the same by path, as the checks find it (no dependency)
- `fields`, `fields_bgp`: the value types of the file (addresses, prefixes, communities); `sections`, `sections_policy`,
  `sections_bgp`: its parts (pure)
- `checks`, `checks_bgp`, `checks_peers`, `checks_policy`: what must hold between the parts (pure)
- `model`: `ClusterConfig`, the whole (pure)
- `detect`: which of a host's addresses is the node's, when the file leaves it out (pure)
- `resolve`: `NodeConfig`, what one node needs of the file; `nodeconfig` holds its values, `peering` makes the sessions,
  `chains` the filters (pure)
- `diff`: what a change does to the sessions of a node (pure)
- `yamltree`: YAML text to a tree with places, strictly
- `load`: text or file to `ClusterConfig`, or every error at once
- `schema`: the JSON schema of the file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calicopy.config.load import LoadResult


def load_text(text: str, *, filename: str) -> LoadResult:
    """The text of a cluster file to a whole config or every error (see `load`); loads pydantic and PyYAML."""
    from calicopy.config import load

    return load.load_text(text, filename=filename)


def load_file(path: str) -> LoadResult:
    """The cluster file at `path` to a whole config or every error (see `load`); loads pydantic and PyYAML."""
    from calicopy.config import load

    return load.load_file(path)


__all__ = ["load_file", "load_text"]
