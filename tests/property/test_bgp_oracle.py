"""Our UPDATE decoder beside ExaBGP's own, on the same octets.

On sound messages both must see the same prefixes and attributes. On broken ones RFC 7606 wins: every difference in the
verdict must be explained by a row of `DIFFERENCES`, and a row that explains nothing any more fails the test too.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest
from exabgp.bgp.message.action import Action
from exabgp.bgp.message.direction import Direction
from exabgp.bgp.message.notification import Notify
from exabgp.bgp.message.open.asn import ASN
from exabgp.bgp.message.open.capability.negotiated import Negotiated
from exabgp.bgp.message.update import Update as ExaUpdate
from exabgp.bgp.message.update.attribute import Attribute
from exabgp.bgp.message.update.attribute.generic import GenericAttribute
from exabgp.bgp.message.update.eor import EOR
from exabgp.logger import log
from exabgp.protocol.family import AFI, SAFI
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.bgp import FaultKind, NlriBatch, PathAttributes, SessionOptions, Update, Verdict, decode_update
from calicopy.bgp.encode import encode_attribute
from calicopy.net import Family, Prefix, pack

FAMILIES = frozenset(Family)
EXA_FAMILIES = [(AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)]
INTERNAL = SessionOptions(families=FAMILIES, ibgp=True)
EXTERNAL = SessionOptions(families=FAMILIES)
OLD = SessionOptions(families=FAMILIES, asn4=False)

Route = tuple[str, int | None]


@dataclass(frozen=True)
class Seen:
    """What a decoder made of a message, in terms that both have."""

    verdict: Verdict
    announced: frozenset[tuple[Route, str]] = frozenset()  # with its next hop
    withdrawn: frozenset[Route] = frozenset()
    attributes: dict[int, object] = field(default_factory=dict)  # by type code, what is empty left out
    end_of_rib: bool = False


@pytest.fixture(autouse=True, scope="module")
def _quiet_library() -> None:
    log.disable()


def exa_negotiated(session: SessionOptions) -> Negotiated:
    negotiated = Negotiated({"capability": {"aigp": False}})
    negotiated.asn4 = session.asn4
    negotiated.local_as = ASN(64512)
    negotiated.peer_as = ASN(64512 if session.ibgp else 64513)
    negotiated.families = EXA_FAMILIES
    for family in session.add_path:
        negotiated.addpath._receive[AFI.create(int(family)), SAFI.unicast] = True
    return negotiated


def exa_sees(octets: bytes, session: SessionOptions) -> Seen:
    """ExaBGP's view, with the treatment that its reactor gives to the decoder's marks."""
    Attribute.cache.clear()
    try:
        update = ExaUpdate.unpack_message(octets, Direction.IN, exa_negotiated(session))
    except (Notify, Exception):  # its reactor answers every exception of the decoder with a NOTIFICATION
        return Seen(Verdict.SESSION_RESET)
    if isinstance(update, EOR):
        return Seen(Verdict.OK, end_of_rib=True)
    as_withdraw = Attribute.CODE.INTERNAL_TREAT_AS_WITHDRAW in update.attributes
    discarded = Attribute.CODE.INTERNAL_DISCARD in update.attributes
    announced, withdrawn = set(), set()
    for nlri in update.nlris:
        path_id = int.from_bytes(nlri.path_info.path_info, "big") if nlri.path_info.path_info else None
        route = (str(Prefix.of(ip_network(nlri.cidr.prefix(), strict=False))), path_id)
        if nlri.action == Action.WITHDRAW or as_withdraw:
            withdrawn.add(route)
        elif not str(nlri.nexthop).startswith("fe80"):  # it gives a prefix once per next hop
            announced.add((route, next_hop_text(str(nlri.nexthop))))
    if as_withdraw:
        return Seen(Verdict.TREAT_AS_WITHDRAW, withdrawn=frozenset(withdrawn))
    verdict = Verdict.ATTRIBUTE_DISCARD if discarded else Verdict.OK
    values = exa_attributes(update.attributes) if announced else {}
    return Seen(verdict, frozenset(announced), frozenset(withdrawn), values)


def next_hop_text(text: str) -> str:
    """In the notation of `ipaddress`; its mark for a missing next hop stays."""
    return str(ip_address(text)) if text != "no-nexthop" else text


def exa_attributes(attributes: dict[int, Attribute]) -> dict[int, object]:
    read: dict[int, Callable[[Attribute], object]] = {
        1: lambda one: one.origin,
        2: lambda one: tuple((int(part.ID), tuple(map(int, part))) for part in one.aspath),
        4: lambda one: one.med,
        5: lambda one: one.localpref,
        6: lambda one: True,
        7: lambda one: (int(one.asn), str(one.speaker)),
        8: lambda one: sorted({int.from_bytes(part.pack(), "big") for part in one.communities}),
        9: str,
        10: lambda one: [str(part) for part in one.clusters],
        16: lambda one: [part.pack() for part in one.communities],
        25: lambda one: [part.pack() for part in one.communities],
        18: lambda one: (int(one.asn), str(one.speaker)),
        32: lambda one: sorted({struct.unpack(">III", part.pack()) for part in one.communities}),
    }
    values: dict[int, object] = {}
    for code, value in attributes.items():
        if code in (3, Attribute.CODE.INTERNAL_DISCARD):
            continue
        values[7 if code == 18 else int(code)] = read.get(code, octets_of)(value)
    return {code: value for code, value in values.items() if value not in ((), [])}


def octets_of(attribute: Attribute) -> bytes | None:
    """Those of an attribute that we pass on unread; None for one that ExaBGP takes apart, PMSI_TUNNEL for one."""
    return attribute.data if isinstance(attribute, GenericAttribute) else None


def we_see(update: Update) -> Seen:
    announced = {(route, str(batch.next_hop)) for batch in update.announced for route in routes(batch)}
    withdrawn = {route for batch in update.withdrawn for route in routes(batch)}
    values = our_attributes(update.attributes) if update.attributes is not None else {}
    end_of_rib = update.end_of_rib is not None
    return Seen(update.verdict, frozenset(announced), frozenset(withdrawn), values, end_of_rib)


def routes(batch: NlriBatch) -> Iterator[Route]:
    path_ids = batch.path_ids if batch.path_ids is not None else itertools.repeat(None)
    for packed, path_id in zip(batch.prefixes, path_ids, strict=False):
        yield str(Prefix(batch.family, packed)), path_id


def our_attributes(values: PathAttributes) -> dict[int, object]:
    aggregator = values.aggregator
    read: dict[int, object] = {
        1: int(values.origin),
        2: tuple((int(part.kind), part.asns) for part in values.as_path.segments),
        4: values.med,
        5: values.local_pref,
        6: values.atomic_aggregate or None,
        7: (aggregator.asn, str(aggregator.address)) if aggregator is not None else None,
        8: sorted(set(values.communities)),
        9: str(values.originator_id) if values.originator_id is not None else None,
        10: [str(one) for one in values.cluster_list],
        32: sorted(values.large_communities),
    }
    for one in values.unknown:
        width = {16: 8, 25: 20}.get(one.code)
        read[one.code] = [one.value[at : at + width] for at in range(0, len(one.value), width)] if width else one.value
    return {code: value for code, value in read.items() if value is not None and value not in ((), [])}


def message(attributes: bytes, nlri: bytes = b"", withdrawn: bytes = b"") -> bytes:
    lengths = struct.pack(">H", len(withdrawn)), struct.pack(">H", len(attributes))
    return lengths[0] + withdrawn + lengths[1] + attributes + nlri


SAMPLES: dict[int, tuple[int, bytes]] = {  # type code: flags and a sound value, on a 4-octet session
    1: (0x40, b"\0"),
    2: (0x40, bytes.fromhex("0201" + "0000fc01")),
    3: (0x40, bytes.fromhex("0a000001")),
    4: (0x80, bytes.fromhex("00000005")),
    5: (0x40, bytes.fromhex("00000064")),
    6: (0x40, b""),
    7: (0xC0, bytes.fromhex("0000fc01" + "01020304")),
    8: (0xC0, bytes.fromhex("fc010001" + "fc010002")),
    9: (0x80, bytes.fromhex("0a000002")),
    10: (0x80, bytes.fromhex("0a000003" + "0a000004")),
    16: (0xC0, bytes.fromhex("0002fc0100000001")),
    25: (0xC0, bytes(19) + b"\1"),
    32: (0xC0, bytes.fromhex("0000fc01" + "00000001" + "0a000001")),
    99: (0xC0, b"any"),
}
BLOCK = pack(0x0AF40040, 26, Family.IPV4)
BLOCK6 = pack(0xFD << 120, 122, Family.IPV6)
NEXT_HOP6 = bytes.fromhex("20010db8000000000000000000000001")
MP_REACH = (0x80, b"\0\2\1\x10" + NEXT_HOP6 + b"\0" + BLOCK6)
MP_UNREACH = (0x80, b"\0\2\1" + BLOCK6)


# ------------------------------------------------------------------------------------------------------- sound messages

asns = st.one_of(st.integers(1, 65534), st.integers(65536, 2**32 - 2))
short_asns = st.integers(1, 65534)
addresses = st.integers(1, 0xDFFFFFFF).map(lambda number: struct.pack(">I", number))
words = st.integers(0, 2**32 - 1)


@st.composite
def as_paths(draw: st.DrawFn, *, asn4: bool) -> bytes:
    out = b""
    for kind in draw(st.lists(st.sampled_from((1, 2)), max_size=3)):
        numbers = draw(st.lists(asns if asn4 else short_asns, min_size=1, max_size=5, unique=True))
        # ExaBGP keeps the members of a set sorted
        numbers = sorted(numbers) if kind == 1 else numbers
        out += bytes((kind, len(numbers))) + struct.pack(f">{len(numbers)}{'I' if asn4 else 'H'}", *numbers)
    return out


def several(size: int, most: int = 4) -> st.SearchStrategy[bytes]:
    """A list of different values of `size` octets, joined."""
    return st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=most, unique=True).map(b"".join)


def optional_values(session: SessionOptions) -> dict[int, st.SearchStrategy[bytes]]:
    values: dict[int, st.SearchStrategy[bytes]] = {
        4: words.map(lambda number: struct.pack(">I", number)),
        6: st.just(b""),
        8: several(4),
        16: st.just(SAMPLES[16][1]),
        32: several(12),
        99: st.binary(min_size=1, max_size=300),
    }
    if session.ibgp:
        values |= {5: values[4], 9: addresses, 10: several(4)}
    asn = asns.map(lambda number: struct.pack(">I", number))
    if not session.asn4:
        asn = short_asns.map(lambda number: struct.pack(">H", number))
    values[7] = st.tuples(asn, addresses).map(b"".join)
    return values


@st.composite
def prefixes(draw: st.DrawFn, family: Family, *, add_path: bool) -> bytes:
    out = b""
    for length in draw(st.lists(st.integers(0, family.bits), min_size=1, max_size=20)):
        network = draw(st.integers(0, 2**family.bits - 1))
        out += (struct.pack(">I", draw(st.integers(1, 2**32 - 1))) if add_path else b"") + pack(network, length, family)
    return out


@st.composite
def sound_messages(draw: st.DrawFn) -> tuple[bytes, SessionOptions]:
    add_path = frozenset(draw(st.sets(st.sampled_from(list(Family)))))
    session = SessionOptions(
        asn4=draw(st.booleans()), families=FAMILIES, add_path=add_path, ibgp=draw(st.booleans())
    )
    attributes = [(0x40, 1, bytes((draw(st.integers(0, 2)),))), (0x40, 2, draw(as_paths(asn4=session.asn4)))]
    for code, values in optional_values(session).items():
        if draw(st.booleans()):
            attributes.append((SAMPLES[code][0], code, draw(values)))
    nlri = withdrawn = b""
    form = draw(st.sampled_from(("ipv4", "ipv6", "both", "withdraw4", "withdraw6")))
    if form == "withdraw4":
        return message(b"", b"", draw(prefixes(Family.IPV4, add_path=Family.IPV4 in add_path))), session
    six = draw(prefixes(Family.IPV6, add_path=Family.IPV6 in add_path))
    if form == "withdraw6":
        return message(encode_attribute(0x80, 15, b"\0\2\1" + six)), session
    if form in ("ipv4", "both"):
        attributes.append((0x40, 3, draw(addresses)))
        nlri = draw(prefixes(Family.IPV4, add_path=Family.IPV4 in add_path))
        withdrawn = draw(st.one_of(st.just(b""), prefixes(Family.IPV4, add_path=Family.IPV4 in add_path)))
    if form in ("ipv6", "both"):
        link_local = draw(st.sampled_from((b"", bytes.fromhex("fe800000000000000000000000000001"))))
        next_hop = NEXT_HOP6 + link_local
        attributes.append((0x80, 14, b"\0\2\1" + bytes((len(next_hop),)) + next_hop + b"\0" + six))
    attributes = draw(st.permutations(attributes))
    return message(b"".join(encode_attribute(*one) for one in attributes), nlri, withdrawn), session


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sound_messages())
def test_both_decoders_see_the_same_in_sound_messages(generated: tuple[bytes, SessionOptions]) -> None:
    octets, session = generated
    update = decode_update(octets, session)
    assert update.faults == ()
    assert we_see(update) == exa_sees(octets, session)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(asns, min_size=1, max_size=6), st.integers(0, 6), short_asns)
def test_both_decoders_rebuild_the_same_path_on_a_2_octet_session(path: list[int], kept: int, aggregator: int) -> None:
    old = [asn if asn < 65536 else 23456 for asn in path]
    tail = path[-kept:] if kept else []
    as_path = bytes((2, len(old))) + struct.pack(f">{len(old)}H", *old)
    attributes = encode_attribute(0x40, 1, b"\0") + encode_attribute(0x40, 2, as_path)
    attributes += encode_attribute(0x40, 3, SAMPLES[3][1])
    attributes += encode_attribute(0xC0, 7, struct.pack(">HI", aggregator, 1))
    if tail:
        as4_path = bytes((2, len(tail))) + struct.pack(f">{len(tail)}I", *tail)
        attributes += encode_attribute(0xC0, 17, as4_path)
    octets = message(attributes, BLOCK)
    update = decode_update(octets, OLD)
    assert update.faults == ()
    assert we_see(update) == exa_sees(octets, OLD)


# ------------------------------------------------------------------------------------------------------ broken messages

Mutation = Callable[[int, int, bytes], bytes]
MUTATIONS: dict[str, Mutation] = {
    "optional bit flipped": lambda flags, code, value: encode_attribute(flags ^ 0x80, code, value),
    "transitive bit flipped": lambda flags, code, value: encode_attribute(flags ^ 0x40, code, value),
    "partial bit set": lambda flags, code, value: encode_attribute(flags | 0x20, code, value),
    "value cut by one": lambda flags, code, value: encode_attribute(flags, code, value[:-1]),
    "value one longer": lambda flags, code, value: encode_attribute(flags, code, value + b"\1"),
    "value empty": lambda flags, code, value: encode_attribute(flags, code, b""),
    "value all ones": lambda flags, code, value: encode_attribute(flags, code, b"\xff" * len(value)),
    "value all zero": lambda flags, code, value: encode_attribute(flags, code, bytes(len(value))),
    "length over the end": lambda flags, code, value: bytes((flags, code, 250)) + value,
    "there twice": lambda flags, code, value: encode_attribute(flags, code, value) * 2,
    "left out": lambda flags, code, value: b"",
}


@dataclass(frozen=True)
class Difference:
    """Where the decoders part: our kind of fault (None: we see none), the two verdicts, the attributes, and why."""

    kind: FaultKind | None
    ours: Verdict
    theirs: Verdict
    attributes: frozenset[int]
    why: str


def _row(kind: FaultKind | None, ours: int, theirs: int, attributes: tuple[int, ...], why: str) -> Difference:
    return Difference(kind, Verdict(ours), Verdict(theirs), frozenset(attributes), why)


OK, DISCARD, WITHDRAW, RESET = Verdict
DIFFERENCES = (
    _row(
        FaultKind.ATTRIBUTE_DUPLICATE, DISCARD, OK, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 25, 32, 99),
        "the same effect (the first counts, RFC 7606 section 3 g); we also name the fault",
    ),
    _row(
        FaultKind.ATTRIBUTE_FLAGS, DISCARD, OK, (6, 7),
        "the same effect (discard, RFC 7606 section 3 f); we also name the fault",
    ),
    _row(
        FaultKind.ATTRIBUTE_FLAGS, WITHDRAW, OK, (9, 10),
        "RFC 7606 section 3 c: wrong flags are treat-as-withdraw; ExaBGP drops the attribute in silence",
    ),
    _row(
        FaultKind.ATTRIBUTE_LENGTH, DISCARD, WITHDRAW, (7,),
        "RFC 7606 section 7.7: a malformed AGGREGATOR is discarded; ExaBGP treats any empty attribute as withdraw",
    ),
    _row(
        FaultKind.ATTRIBUTE_LENGTH, RESET, WITHDRAW, (14, 15),
        "RFC 7606 section 5.3: an MP attribute too short for its fixed part hides its NLRI",
    ),
    _row(
        FaultKind.ATTRIBUTE_LENGTH, WITHDRAW, OK, (1,),
        "RFC 7606 section 7.1: ORIGIN has one octet; ExaBGP reads the first of several",
    ),
    _row(
        FaultKind.ATTRIBUTE_LENGTH, WITHDRAW, RESET, (9, 10),
        "RFC 7606 sections 7.9 and 7.10: treat-as-withdraw; ExaBGP resets",
    ),
    _row(
        FaultKind.ATTRIBUTE_MISSING, WITHDRAW, OK, (1, 2, 3),
        "RFC 7606 section 3 d: a mandatory attribute is missing; ExaBGP does not look",
    ),
    _row(
        FaultKind.ATTRIBUTE_OVERRUN, RESET, WITHDRAW, (14, 15),
        "RFC 7606 sections 3 j and 4: the NLRI in an MP attribute cut short cannot be located",
    ),
    _row(
        FaultKind.ATTRIBUTE_UNRECOGNIZED, RESET, OK, (99,),
        "RFC 4271 section 6.3: an unrecognized well-known attribute; ExaBGP passes it on",
    ),
    _row(
        FaultKind.ATTRIBUTE_VALUE, DISCARD, OK, (7,),
        "RFC 7607 section 2: AS 0 in AGGREGATOR; ExaBGP takes it",
    ),
    _row(
        FaultKind.ATTRIBUTE_VALUE, WITHDRAW, OK, (1,),
        "RFC 7606 section 7.1: ORIGIN has an undefined value; ExaBGP shows it as invalid",
    ),
    _row(
        FaultKind.FAMILY_NOT_NEGOTIATED, DISCARD, RESET, (14, 15),
        "RFC 4760 section 7 leaves it open; a family that nobody asked for does no harm when ignored",
    ),
    _row(
        FaultKind.NEXT_HOP_INVALID, WITHDRAW, OK, (3,),
        "RFC 4271 section 6.3: NEXT_HOP must be a host's address; ExaBGP leaves that to its helper",
    ),
    _row(
        FaultKind.NLRI_NOT_LOCATED, RESET, OK, (1, 9, 10),
        "RFC 7606 section 5.2, over faults that ExaBGP does not see (above)",
    ),
    _row(
        FaultKind.NLRI_NOT_LOCATED, RESET, WITHDRAW, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 25, 32, 99),
        "RFC 7606 section 5.2: a broken attribute and no reachable NLRI is a reset; ExaBGP has no such rule",
    ),
    _row(
        None, OK, WITHDRAW, (1, 2, 3, 5),
        "RFC 7606 section 3 c speaks of the Optional and Transitive bits only: a Partial bit does no harm",
    ),
    _row(
        None, OK, OK, (6,),
        "the same again: ExaBGP discards an ATOMIC_AGGREGATE with the Partial bit",
    ),
)  # fmt: skip


def broken_messages() -> Iterator[tuple[str, int, bytes, SessionOptions]]:
    """Every mutation of every attribute, inside and outside, in announcements of both families and in a withdrawal."""
    for session, form, name in itertools.product((INTERNAL, EXTERNAL), ("ipv4", "ipv6", "withdraw"), MUTATIONS):
        samples = {code: sample for code, sample in SAMPLES.items() if session.ibgp or code not in (5, 9, 10)}
        if form == "ipv6":
            del samples[3]
            samples[14] = MP_REACH
        elif form == "withdraw":
            samples[15] = MP_UNREACH
        for code, (flags, value) in samples.items():
            others = [(flag, one, octets) for one, (flag, octets) in samples.items() if one != code]
            rest = b"".join(encode_attribute(*other) for other in others)
            octets = message(rest + MUTATIONS[name](flags, code, value), BLOCK if form == "ipv4" else b"")
            yield f"{form}, attribute {code}, {name}", code, octets, session


def test_every_difference_in_verdict_has_its_reason() -> None:
    unexplained, used = [], set()
    for name, code, octets, session in broken_messages():
        update = decode_update(octets, session)
        ours, theirs = we_see(update), exa_sees(octets, session)
        if ours == theirs:
            continue
        worst = max(update.faults, key=lambda fault: fault.verdict).kind if update.faults else None
        rows = [row for row in DIFFERENCES if (row.kind, row.ours, row.theirs) == (worst, ours.verdict, theirs.verdict)]
        explained = [row for row in rows if code in row.attributes]
        used.update(explained)
        if not explained:
            unexplained.append((name, worst, ours, theirs))
    assert unexplained == []
    assert [row for row in DIFFERENCES if row not in used] == []


@pytest.mark.parametrize("code", range(11, 256))
def test_an_attribute_that_we_do_not_read_keeps_no_prefix_from_either(code: int) -> None:
    value = bytes.fromhex("00 00 fc01 01 02030405")  # a sound PMSI_TUNNEL, which ExaBGP reads
    parts = [(flags, one, octets) for one, (flags, octets) in SAMPLES.items() if one in (1, 2, 3, 5)]
    octets = message(b"".join(encode_attribute(*part) for part in [*parts, (0xC0, code, value)]), BLOCK)
    update = decode_update(octets, INTERNAL)
    ours, theirs = we_see(update), exa_sees(octets, INTERNAL)
    if update.verdict is Verdict.OK and theirs.verdict is Verdict.OK:
        assert ours.announced == theirs.announced


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sound_messages(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_octets_never_make_the_decoders_announce_different_prefixes(
    generated: tuple[bytes, SessionOptions], flips: list[tuple[int, int]]
) -> None:
    """Whatever is broken: where both accept, they announce the same routes; and our verdict is always carried out."""
    octets, session = bytearray(generated[0]), generated[1]
    for place, mask in flips:
        octets[place % len(octets)] ^= mask
    update = decode_update(bytes(octets), session)
    ours, theirs = we_see(update), exa_sees(bytes(octets), session)
    match update.verdict:
        case Verdict.SESSION_RESET:
            assert (ours.announced, ours.withdrawn) == (frozenset(), frozenset())
        case Verdict.TREAT_AS_WITHDRAW:
            assert ours.announced == frozenset()
        case _:
            ignored = FaultKind.FAMILY_NOT_NEGOTIATED in {fault.kind for fault in update.faults}
            if theirs.verdict <= Verdict.ATTRIBUTE_DISCARD and not ignored:
                assert {route for route, _ in ours.announced} == {route for route, _ in theirs.announced}
    assert (update.verdict is Verdict.OK) == (not update.faults)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_no_octets_make_the_decoder_raise(octets: bytes, ibgp: bool) -> None:
    update = decode_update(octets, SessionOptions(families=FAMILIES, ibgp=ibgp))
    assert update.verdict in Verdict
