"""What a kernel says that has no nexthop objects, or whose table moves while it is read."""
from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import cast

import pytest

from calicopy.kernel.encode import Identity
from calicopy.kernel.netlink import NetlinkError, NetlinkSocket
from calicopy.kernel.nexthops import dump_next_hops

OURS = Identity(117, 1024)


class Answering:
    """A socket that refuses every question with one errno."""

    def __init__(self, code: int) -> None:
        self.code, self.asked = code, 0

    def ask(self, data: bytes, *, flags: int, what: str) -> Iterator[tuple[int, bytes, int, int]]:
        self.asked += 1
        raise NetlinkError(self.code, what)

    def drain(self) -> None:
        """Nothing is left over."""


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_kernel_that_does_not_know_the_question_has_no_objects(code: int) -> None:
    assert dump_next_hops(cast(NetlinkSocket, Answering(code)), OURS) is None


@pytest.mark.parametrize("code", [errno.EINTR, errno.ENOBUFS])
def test_a_dump_that_is_disturbed_is_tried_a_few_times_and_then_refused(code: int) -> None:
    socket = Answering(code)
    with pytest.raises(NetlinkError):
        dump_next_hops(cast(NetlinkSocket, socket), OURS)
    assert socket.asked > 1


def test_any_other_refusal_is_an_error_and_not_a_kernel_without_objects() -> None:
    with pytest.raises(NetlinkError):
        dump_next_hops(cast(NetlinkSocket, Answering(errno.EPERM)), OURS)
