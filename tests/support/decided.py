"""What the decision process told, prefix by prefix: easier to compare than runs."""
from __future__ import annotations

from calicopy.net import Family, Packed
from calicopy.rib import Decisions, Selection

Changed = dict[Family, list[tuple[Packed, Selection | None]]]


def changed(decisions: Decisions) -> Changed:
    """Per family every prefix that changed, with its selection now."""
    return {
        family: [(prefix, selection) for selection, prefixes in runs for prefix in prefixes]
        for family, runs in decisions.changes.items()
    }
