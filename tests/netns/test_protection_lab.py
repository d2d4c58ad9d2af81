"""Two nodes whose pods reach each other over VXLAN, and a stranger on their Ethernet who sends the same packets."""
from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import labs
import pytest
import yaml

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

BLOCKS = {"n1": "10.244.1.0/26", "n2": "10.244.2.0/26"}
CLUSTER = {
    "nodes": [
        {"name": name, "address": f"192.0.2.{number}/24", "blocks": [BLOCKS[name]]}
        for number, name in enumerate(BLOCKS, start=1)
    ],
    "pools": [{"name": "pods", "cidr": "10.244.0.0/16", "encapsulation": "vxlan", "nat_outgoing": True}],
    "nat_exclude": ["192.0.2.99/32"],
    "encapsulation": {"decapsulate": ["ipip", "vxlan", "udp"]},
}  # fmt: skip

# An echo request to the pod from an address of the other node's block, in each encapsulation: pod, MAC, count.
SEND = """
import socket, struct, sys
pod, mac, count = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
echo = struct.pack("!BBHHH", 8, 0, 0, 7, 7) + b"stranger"
echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0,
                   socket.inet_aton("10.244.2.60"), socket.inet_aton(pod))
packet = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + echo
frame = struct.pack("!II", 0x08000000, 4096 << 8) + mac + b"\\x02\\0\\0\\0\\0\\x09\\x08\\0" + packet
for _ in range(count):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 4).sendto(packet, ("192.0.2.1", 0))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(frame, ("192.0.2.1", 4789))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(packet, ("192.0.2.1", 8285))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    plan = {
        "n1": labs.node("192.0.2.1/24"),
        "n2": labs.node("192.0.2.2/24"),
        "stranger": labs.router("192.0.2.99/24", "sleep infinity"),
    }
    plan["stranger"]["exec"].append("ip route add 10.244.1.0/26 via 192.0.2.1")
    topology = labs.one_ethernet(f"pr{os.getpid()}", plan)
    directory = tmp_path_factory.mktemp("lab")
    with labs.running(directory, topology, files={"cluster.yaml": yaml.safe_dump(CLUSTER)}, mgmt=False) as made:
        made.wait_established("n1", "n2")
        yield made


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    """Their addresses by node."""
    return {node: lab.pod(node, "pod") for node in BLOCKS}


def from_pod(lab: labs.TestLab, node: str, *words: str) -> str:
    return lab.run(node, "ip", "netns", "exec", "pod", *words)


def strangers(lab: labs.TestLab, node: str = "n1") -> dict[str, int | None]:
    """What `calicopy status` says of each encapsulation."""
    return {one["encapsulation"]: one["stranger_packets"] for one in lab.status(node)["tunnels"]}


def echo_requests(lab: labs.TestLab) -> int:
    """How many the pod of n1 has had."""
    found = re.search(r"^Icmp: (\d.*)$", from_pod(lab, "n1", "cat", "/proc/net/snmp"), re.MULTILINE)
    assert found
    names = from_pod(lab, "n1", "sh", "-c", "grep ^Icmp: /proc/net/snmp | head -1").split()[1:]
    return int(found[1].split()[names.index("InEchos")])


def test_a_strangers_packets_do_not_reach_a_pod_and_the_status_says_how_many_came(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    from_pod(lab, "n2", "ping", "-c", "1", "-W", "2", pods["n1"])
    assert "dev calivx0" in lab.run("n2", "ip", "route", "get", pods["n1"])
    before = echo_requests(lab)
    assert strangers(lab) == {"ipip": 0, "vxlan": 0, "udp": 0}
    mac = lab.run("n1", "cat", "/sys/class/net/calivx0/address").strip()
    lab.run("stranger", "python3", "-c", SEND, pods["n1"], mac, "3")
    labs.wait_until(lambda: strangers(lab) == {"ipip": 3, "vxlan": 3, "udp": 3}, what="all are counted")
    assert echo_requests(lab) == before, "none came through"
    assert "From strangers     dropped: ipip 3, vxlan 3, udp 3" in lab.run("n1", "calicopy", "status").splitlines()

    # The same packets are good ones as soon as nobody keeps them out: what is tested above is the protection.
    lab.kill("n1", "calicopy", "agent", number=signal.SIGSTOP)
    try:
        lab.run("n1", "nft", "delete", "table", "inet", "calicopy")
        lab.run("stranger", "python3", "-c", SEND, pods["n1"], mac, "1")
        labs.wait_until(lambda: echo_requests(lab) > before, what="without the table they reach the pod")
    finally:
        lab.kill("n1", "calicopy", "agent", number=signal.SIGCONT)


def test_a_pod_cannot_send_encapsulated_packets_that_nat_makes_look_like_its_nodes(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    before, counted = echo_requests(lab), strangers(lab, "n2")
    mac = lab.run("n1", "cat", "/sys/class/net/calivx0/address").strip()
    from_pod(lab, "n2", "python3", "-c", SEND, pods["n1"], mac, "3")
    wanted = {one: (count or 0) + 3 for one, count in counted.items()}
    labs.wait_until(lambda: strangers(lab, "n2") == wanted, what="they are dropped where they come from")
    from_pod(lab, "n2", "ping", "-c", "1", "-W", "2", pods["n1"])
    assert echo_requests(lab) == before + 1, "that one alone came through"


def test_a_table_that_somebody_flushed_is_there_again_at_once_with_its_counters(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    before = strangers(lab)
    lab.run("n1", "nft", "flush", "ruleset")
    labs.wait_until(
        lambda: "dropped_vxlan" in lab.try_run("n1", "nft", "list", "table", "inet", "calicopy").stdout,
        within=5.0,  # the periodic look comes every 30 s
        what="the table is there again",
    )
    assert all((strangers(lab)[one] or 0) >= (before[one] or 0) for one in before)
    from_pod(lab, "n2", "ping", "-c", "1", "-W", "2", pods["n1"])


def test_a_pod_reaches_the_outside_with_the_nodes_address_and_an_exclusion_with_its_own(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    labs.wait_until(lambda: "masquerade" in lab.run("n1", "nft", "list", "ruleset"), what="the table is there")
    lab.run("stranger", "ip", "address", "add", "192.0.2.98/24", "dev", "eth1")
    for target, seen in (("192.0.2.98", "192.0.2.1"), ("192.0.2.99", pods["n1"])):
        sniffed = lab.topology.parent / f"seen-by-{target}"
        listen = "import socket; print(socket.create_server(('', 7000)).accept()[1][0])"
        process = lab.spawn("stranger", "python3", "-c", listen, output=sniffed)
        connect = f"import socket; socket.create_connection(('{target}', 7000), 1, source_address=('{pods['n1']}', 0))"
        labs.wait_until(
            lambda connect=connect: lab.try_run(
                "n1", "ip", "netns", "exec", "pod", "python3", "-c", connect
            ).returncode == 0,
            what=f"the pod connects to {target}",
        )
        process.wait(timeout=10)
        assert sniffed.read_text().split() == [seen]


def test_a_flow_through_nat_loses_nothing_while_the_table_is_replaced(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    lab.run("stranger", "ip", "route", "del", "10.244.1.0/26")  # so that it answers the node's address alone
    report = lab.topology.parent / "flow"
    words = ("ip", "netns", "exec", "pod", "ping", "-i", "0.01", "-c", "500", "192.0.2.98")
    pinging = lab.spawn("n1", *words, output=report)
    labs.wait_until(lambda: report.read_text().count("bytes from") > 10, what="pings")
    for number in range(3):
        foreign = f"203.0.113.{number}"
        lab.run("n1", "nft", "add", "element", "inet", "calicopy", "senders_ipv4", "{", foreign, "}")
        labs.wait_until(
            lambda foreign=foreign: foreign not in lab.run("n1", "nft", "list", "table", "inet", "calicopy"),
            what="the table is replaced by the wanted one",
        )
    pinging.wait(timeout=60)
    assert " 0% packet loss" in report.read_text(), report.read_text()[-500:]


def test_a_smaller_mtu_of_one_way_is_followed_to_the_pods_and_shown(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    def ways() -> list[tuple[str, int, str, int]]:
        found = lab.status("n1")["next_hops"]
        return [(way["node"], way["mtu"], way["encapsulation"], way["pod_mtu"]) for way in found]

    def pods_mtu() -> int:
        return int(from_pod(lab, "n1", "cat", "/sys/class/net/eth0/mtu"))

    mtu = int(lab.run("n1", "cat", "/sys/class/net/eth1/mtu"))
    assert ways() == [("n2", mtu, "vxlan", mtu - 50)]
    lab.run("n1", "ip", "route", "add", "192.0.2.2/32", "dev", "eth1", "src", "192.0.2.1", "mtu", "1400")
    labs.wait_until(lambda: ways() == [("n2", 1400, "vxlan", 1350)], what="the way's MTU is shown")
    labs.wait_until(lambda: pods_mtu() == 1350, what="the pod has what is left of it")
    assert lab.status("n1")["workload_mtu"] == 1350
    assert "MTU of pods        1350" in lab.run("n1", "calicopy", "status").splitlines()
    lab.run("n1", "ip", "route", "del", "192.0.2.2/32", "dev", "eth1")
    labs.wait_until(lambda: pods_mtu() == mtu - 50, what="the pod has its MTU back")
