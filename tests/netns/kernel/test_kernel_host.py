"""Tunnel, settings and permissions against the real kernel, in a namespace."""
from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from calicopy.kernel.kernel import Kernel
from calicopy.kernel.problems import ProblemKind
from calicopy.kernel.sysctl import SysctlSpec
from calicopy.kernel.tunnel import ANCHOR, TunnelSpec
from calicopy.net import Prefix

pytestmark = pytest.mark.netns
POOL = Prefix.parse("10.0.0.0/16")
PROC = Path("/proc/sys/net/ipv4")


async def _run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_forwarding_and_loose_reverse_path_are_set_and_only_once(netns, kernel: Kernel) -> None:
    netns.ip("link add wk type veth peer name pod")
    spec = SysctlSpec(underlay=("va", "gone"), workloads=("wk",))
    assert await kernel.ensure_sysctls(spec) == []
    values = {name: int((PROC / name).read_text()) for name in
              ("ip_forward", "nexthop_compat_mode", "conf/va/forwarding", "conf/va/rp_filter", "conf/wk/forwarding")}
    assert values == {"ip_forward": 1, "nexthop_compat_mode": 0, "conf/va/forwarding": 1, "conf/va/rp_filter": 2,
                      "conf/wk/forwarding": 1}
    assert await kernel.ensure_sysctls(spec) == []


_READ_ONLY = """
    import asyncio, json, pathlib
    from calicopy.kernel.kernel import Kernel
    from calicopy.kernel.sysctl import SysctlSpec
    async def main():
        kernel = Kernel()
        await kernel.open()
        problems = await kernel.ensure_sysctls(SysctlSpec(underlay=("va",)))
        await kernel.close()
        read = lambda name: int(pathlib.Path("/proc/sys/net/ipv4", name).read_text())
        print(json.dumps({
            "problems": [[found.name, found.severe, found.as_problem().message] for found in problems],
            "forwarding": read("conf/va/forwarding"), "rp_filter": read("conf/va/rp_filter"),
        }))
    asyncio.run(main())
"""


async def test_with_a_read_only_proc_sys_the_device_settings_go_over_netlink_and_the_rest_is_told(netns) -> None:
    netns.ip("link set va up")
    (PROC / "conf/va/rp_filter").write_text("1\n")
    script = "mount -t proc proc /proc && mount -o bind,ro /proc/sys /proc/sys && exec \"$@\""
    code, output = await _run(
        "unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", sys.executable, "-c",
        textwrap.dedent(_READ_ONLY),
    )
    assert code == 0, output
    told = json.loads(output)
    assert (told["forwarding"], told["rp_filter"]) == (1, 2)
    ((name, severe, message),) = told["problems"]
    assert (name, severe) == ("net.ipv4.nexthop_compat_mode", False)
    assert "Read-only file system" in message


async def test_without_the_ipip_module_the_tunnel_is_unavailable_with_a_sentence(netns, kernel: Kernel) -> None:
    if (await _run("ip", "link", "add", "probe", "type", "ipip", "local", "127.0.0.1"))[0] == 0:
        status = await kernel.ensure_tunnel(TunnelSpec(1480, (IPv4Address("10.0.0.1"),), (POOL,)))
        assert (status.up, status.mtu, status.problems) == (True, 1480, ())
        return
    status = await kernel.ensure_tunnel(TunnelSpec(1480, (IPv4Address("10.0.0.1"),), (POOL,)))
    (problem,) = status.problems
    assert status.unsupported
    assert (status.ifindex, problem.kind, problem.object) == (None, ProblemKind.TUNNEL_UNAVAILABLE, "tunl0")
    assert "ipip" in problem.message


async def test_a_device_of_another_kind_with_the_tunnels_name_is_left_alone(netns, kernel: Kernel) -> None:
    if (await _run("ip", "link", "show", "tunl0"))[0] == 0:
        netns.ip("link add tunl9 type veth peer name other")
        spec = TunnelSpec(1400, (IPv4Address("10.0.0.1"),), (POOL,), device="tunl9")
    else:
        netns.ip("link add tunl0 type veth peer name other")
        spec = TunnelSpec(1400, (IPv4Address("10.0.0.1"),), (POOL,))
    status = await kernel.ensure_tunnel(spec)
    assert (status.ifindex, status.problems[0].kind) == (None, ProblemKind.TUNNEL_UNAVAILABLE)
    assert "veth" in status.problems[0].message
    assert "mtu 1500" in netns.ip(f"link show {spec.device}")


@pytest.mark.parametrize("with_other", [False, True], ids=["ours alone", "with an address of somebody"])
async def test_a_device_that_is_not_used_any_more_loses_our_addresses_and_is_down_unless_somebody_uses_it(
    netns, kernel: Kernel, with_other: bool
) -> None:
    spec = TunnelSpec(0, pools=(POOL,), device="vb")
    assert await kernel.retire_tunnel(spec) == []
    assert "state UP" in netns.ip("link show vb"), "it was never ours"
    for address in (str(ANCHOR), "10.0.0.1", *(["172.16.0.1"] if with_other else [])):
        netns.ip(f"address add {address}/32 dev vb")
    for _ in range(2):
        assert await kernel.retire_tunnel(spec) == []
        held = netns.ip("-o -4 address show vb")
        assert not any(address in held for address in (str(ANCHOR), "10.0.0.1"))
        assert ("172.16.0.1" in held) == ("state UP" in netns.ip("link show vb")) == with_other


_NO_CAPABILITY = """
    import asyncio, errno, ipaddress, json
    from calicopy.fib.types import BLACKHOLE, RouteBatch, RouteOp
    from calicopy.kernel.kernel import Kernel
    from calicopy.kernel.nft import NftSpec
    from calicopy.kernel.sysctl import SysctlSpec
    from calicopy.kernel.tunnel import TunnelSpec
    from calicopy.net import Family, Prefix
    async def main():
        pool = Prefix.parse("10.0.0.0/26")
        kernel = Kernel()
        await kernel.open()
        problem = await kernel.permission_problem()
        batch = RouteBatch(RouteOp.ADD, Family.IPV4, BLACKHOLE, [pool.packed])
        (result,) = await kernel.write([batch])
        tunnel = await kernel.ensure_tunnel(TunnelSpec(1480, (ipaddress.ip_address("10.0.0.1"),), (pool,)))
        sysctls = await kernel.ensure_sysctls(SysctlSpec(underlay=("va",)))
        nft = await kernel.ensure_nft(NftSpec((pool,), (pool,)))
        links = await kernel.interfaces()
        await kernel.close()
        print(json.dumps([problem.kind.value, errno.errorcode[result.failures[0][1]],
                          [found.kind.value for found in tunnel.problems], sorted(found.name for found in sysctls),
                          [found.kind.value for found in nft], len(links)]))
    asyncio.run(main())
"""


async def test_without_cap_net_admin_each_part_says_so_and_reading_works(netns, kernel: Kernel) -> None:
    assert await kernel.permission_problem() is None
    code, output = await _run(
        "setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", textwrap.dedent(_NO_CAPABILITY)
    )
    assert code == 0, output
    permission, route, tunnel, sysctls, nft, links = json.loads(output.strip().splitlines()[-1])
    assert (permission, route, tunnel, nft) == ("no-permission", "EPERM", ["no-permission"], ["no-permission"])
    assert "net.ipv4.conf.va.forwarding" in sysctls
    assert "net.ipv4.ip_forward" in sysctls
    assert links == 3
