"""The tables, and how an older file becomes a newer one.

`MIGRATIONS[n]` takes a file from version n to n + 1; version 0 is an empty file. A released entry never changes: a
new shape is a new entry. The version is SQLite's `user_version`.
"""
from __future__ import annotations

from collections.abc import Sequence

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE counter (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL) STRICT",
        "CREATE TABLE block (prefix TEXT PRIMARY KEY, pool TEXT NOT NULL, claimed_at INTEGER NOT NULL,"
        " rival TEXT) STRICT",
        "CREATE TABLE address (address TEXT PRIMARY KEY, block TEXT NOT NULL, handle TEXT, sequence INTEGER NOT NULL,"
        " freed_at INTEGER, attributes TEXT NOT NULL) STRICT",
        "CREATE TABLE reservation (prefix TEXT PRIMARY KEY, node TEXT NOT NULL) STRICT",
        "CREATE TABLE workload (name TEXT PRIMARY KEY, netns TEXT NOT NULL, interface TEXT NOT NULL,"
        " host_interface TEXT NOT NULL, addresses TEXT NOT NULL, mac TEXT NOT NULL, created_at REAL NOT NULL,"
        " mtu INTEGER NOT NULL) STRICT",
    ),
    (
        "CREATE TABLE drain (only INTEGER PRIMARY KEY CHECK (only = 1), since REAL NOT NULL, wait_s REAL NOT NULL,"
        " finished INTEGER NOT NULL CHECK (finished IN (0, 1))) STRICT",
    ),
)
