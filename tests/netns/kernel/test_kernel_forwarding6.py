"""IPv6 forwarding against the real kernel: it is switched on, and the host keeps its default route."""
from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from advertising import advertise
from labs import wait_until

from calicopy.kernel.kernel import Kernel
from calicopy.kernel.sysctl import SysctlSpec

pytestmark = pytest.mark.netns
CONF = Path("/proc/sys/net/ipv6/conf")


def setting(name: str) -> int:
    return int((CONF / name).read_text())


def default_routes(netns) -> str:
    return netns.ip("-6 route show default")


@pytest.fixture
def router(netns) -> Iterator[str]:
    """The far end of `va` as a router in a namespace of its own; its name. It has advertised itself once."""
    name = f"{netns.name}r"
    netns.ip(f"netns add {name}")
    try:
        netns.ip(f"link set vb netns {name}")
        for command in ("address add fe80::1/64 dev vb nodad", "link set vb up"):
            netns.ip(f"-n {name} {command}")
        learn(netns, name)
        yield name
    finally:
        netns.ip(f"netns delete {name}")


def learn(netns, router: str) -> None:
    def learned() -> bool:
        advertise(router, "vb")
        return "via fe80::1 dev va" in default_routes(netns)

    wait_until(learned, within=10, what="a default route is learned")


async def test_a_default_route_that_was_learned_outlives_forwarding_and_is_learned_again(
    netns, kernel: Kernel, router: str
) -> None:
    assert (setting("all/forwarding"), setting("va/accept_ra")) == (0, 1)
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), ipv6=True)) == []
    assert (setting("all/forwarding"), setting("va/accept_ra")) == (1, 2)
    assert "via fe80::1 dev va" in default_routes(netns)
    netns.ip("-6 route flush default")
    learn(netns, router)
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), ipv6=True)) == []


async def test_without_ipv6_pools_nothing_of_ipv6_is_touched(netns, kernel: Kernel, router: str) -> None:
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",))) == []
    assert (setting("all/forwarding"), setting("va/accept_ra")) == (0, 1)


async def test_a_device_that_took_no_advertisements_takes_none_afterwards(netns, kernel: Kernel) -> None:
    netns.ip("link add wk type veth peer name pod")
    netns.ip("link add cali0123 type veth peer name pod2")
    (CONF / "wk/accept_ra").write_text("0")
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), ipv6=True)) == []
    assert [setting(f"{device}/accept_ra") for device in ("va", "wk", "cali0123")] == [2, 0, 1]


async def test_where_forwarding_is_on_already_what_was_decided_stays(netns, kernel: Kernel) -> None:
    (CONF / "all/forwarding").write_text("1")
    assert await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), ipv6=True)) == []
    assert setting("va/accept_ra") == 1


_READ_ONLY = """
    import asyncio
    from calicopy.kernel.kernel import Kernel
    from calicopy.kernel.sysctl import SysctlSpec
    async def main():
        kernel = Kernel()
        await kernel.open()
        found = await kernel.ensure_sysctls(SysctlSpec(underlay=("va",), ipv6=True))
        await kernel.close()
        print(*(f"{one.name} {one.severe} {one.as_problem().message}" for one in found), sep="\\n")
    asyncio.run(main())
"""


def test_with_a_read_only_proc_sys_it_is_told(netns) -> None:
    script = "mount -t proc proc /proc && mount -o bind,ro /proc/sys /proc/sys && exec \"$@\""
    inside = [sys.executable, "-c", textwrap.dedent(_READ_ONLY)]
    words = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", *inside]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    (line,) = (one for one in told if "ipv6" in one)
    assert line.startswith("net.ipv6.conf.all.forwarding True is 0, wanted 1: Read-only file system; ")


async def test_an_address_that_is_looked_for_duplicates_of_is_tentative_until_it_is_not(netns, kernel: Kernel) -> None:
    async def tentative() -> list[str]:
        found = (await kernel.interfaces())[netns.index("va")]
        return [str(address) for address in found.tentative if not address.is_link_local]

    netns.ip("address add 2001:db8::1/64 dev va nodad")
    assert await tentative() == []
    netns.ip("address add 2001:db8::2/64 dev va")
    assert await tentative() == ["2001:db8::2"]
    deadline = time.monotonic() + 10
    while await tentative():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
