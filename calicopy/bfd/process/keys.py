"""Keys of authenticated sessions: read from their files, told to nobody."""
from __future__ import annotations

import os
import stat

from calicopy.bfd.auth import Authentication, MeticulousSha1, SimplePassword
from calicopy.bfd.process.settings import SIMPLE, SessionSetting

_MOST = 64  # octets that are read; no key is as long
_SHA1_KEY, _PASSWORD = 20, 16


class KeyRefusedError(Exception):
    """The key cannot be used; the message says why, and nothing of the key."""


def read_authentication(setting: SessionSetting) -> Authentication | None:
    """How the session authenticates; None when it does not. KeyRefusedError."""
    if not setting.auth_type:
        return None
    path = setting.auth_key_file
    try:
        return _authentication(setting, _read(path))
    except OSError as error:
        raise KeyRefusedError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise KeyRefusedError(f"{path}: {error}") from None


def unknown_key(setting: SessionSetting) -> Authentication:
    """A key that nobody has: a session whose key cannot be read must not go on without one."""
    return _authentication(setting, os.urandom(_PASSWORD if setting.auth_type == SIMPLE else _SHA1_KEY))


def _authentication(setting: SessionSetting, key: bytes) -> Authentication:
    kind = SimplePassword if setting.auth_type == SIMPLE else MeticulousSha1
    return kind(setting.auth_key_id, key)


def _read(path: str) -> bytes:
    """The content without the end of its line. ValueError when others than its owner may read it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"others may read it (mode {found.st_mode & 0o777:o}): chmod 600")
        return os.read(descriptor, _MOST).rstrip(b"\r\n")
    finally:
        os.close(descriptor)
