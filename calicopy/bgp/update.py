"""UPDATE: octets to batches of prefixes that share attributes (RFC 4271 section 4.3, RFC 4760, RFC 7606, RFC 7911).

Theory of operation: `decode_update` is a pure function of the body, the session's options and (for speed alone) a
cache. It never raises: what is wrong becomes faults, the strictest gives the verdict, and the verdict is already
carried out here:

- OK, ATTRIBUTE_DISCARD: withdrawn and announced as read, without the discarded attributes;
- TREAT_AS_WITHDRAW: nothing announced, the announced prefixes stand among the withdrawn;
- SESSION_RESET: nothing at all; the caller ends the session.

Withdrawn batches are to be applied before the announced: a prefix in both is announced (RFC 4271 section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from calicopy.bgp.attribute_decoder import AttributeCache, AttributesField, decode_attributes
from calicopy.bgp.attributes import AttributeCode, AttributeFlag, PathAttributes, RawAttribute
from calicopy.bgp.nlri import NlriError, decode_nlri
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.verdict import Fault, FaultKind, Verdict, strictest
from calicopy.net import Family, IPAddress, Packed
from calicopy.net.family import SAFI_UNICAST

__all__ = ["AttributeCache", "NlriBatch", "SessionOptions", "Update", "decode_update"]

_END_OF_RIB_IPV4 = b"\0\0\0\0"
_MP_REACH = int(AttributeCode.MP_REACH_NLRI)
_MP_UNREACH = int(AttributeCode.MP_UNREACH_NLRI)
_KIND_BITS = int(AttributeFlag.OPTIONAL | AttributeFlag.TRANSITIVE)
_FAMILIES = {int(family): family for family in Family}


@dataclass(frozen=True, slots=True)
class NlriBatch:
    """Prefixes of one family from one field of an UPDATE, in the order received.

    `path_ids` run beside `prefixes` where ADD-PATH is in use, else None. `next_hop` (announced batches alone) comes
    from NEXT_HOP or MP_REACH_NLRI; `link_local` is the second next hop that IPv6 peers on one link send (RFC 2545
    section 3).
    """

    family: Family
    prefixes: list[Packed]
    path_ids: list[int] | None = None
    next_hop: IPAddress | None = None
    link_local: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """One UPDATE, its verdict already carried out. `attributes` belong to every announced batch; None when there is
    none.

    `faults` are in the order found, milder ones included. `end_of_rib` names the family whose End-of-RIB this is (RFC
    4724).
    """

    withdrawn: tuple[NlriBatch, ...] = ()
    announced: tuple[NlriBatch, ...] = ()
    attributes: PathAttributes | None = None
    end_of_rib: Family | None = None
    verdict: Verdict = Verdict.OK
    faults: tuple[Fault, ...] = ()


def decode_update(body: bytes, session: SessionOptions, cache: AttributeCache | None = None) -> Update:
    """The body of an UPDATE (without the 19-octet header) to an Update. Never raises."""
    if body == _END_OF_RIB_IPV4:
        return Update(end_of_rib=Family.IPV4)
    try:
        withdrawn_field, attributes_raw, nlri_field = _split_body(body)
        reader = _Reader(session, decode_attributes(attributes_raw, session, cache))
        reader.read_ipv4(withdrawn_field, nlri_field)
        reader.read_mp_unreach()
        reader.read_mp_reach()
    except _ResetError as error:
        return Update(verdict=Verdict.SESSION_RESET, faults=(error.fault,))
    return reader.finish(plain_nlri=bool(withdrawn_field or nlri_field))


class _ResetError(Exception):
    """The message cannot be taken apart: nothing but a session reset is left."""

    def __init__(self, kind: FaultKind, attribute: int | None, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(Verdict.SESSION_RESET, kind, attribute, text)


def _split_body(body: bytes) -> tuple[bytes, bytes, bytes]:
    """(withdrawn routes, path attributes, NLRI), by the two length fields (RFC 4271 sections 4.3 and 6.3)."""
    if len(body) < 4:
        raise _ResetError(FaultKind.MESSAGE_LENGTH, None, f"the body has {len(body)} octets, expected at least 4")
    start = 2 + int.from_bytes(body[:2], "big")
    if start + 2 > len(body):
        text = f"withdrawn routes of {start - 2} octets do not fit in {len(body)}"
        raise _ResetError(FaultKind.MESSAGE_LENGTH, None, text)
    stop = start + 2 + int.from_bytes(body[start : start + 2], "big")
    if stop > len(body):
        raise _ResetError(FaultKind.MESSAGE_LENGTH, None, f"attributes run {stop - len(body)} octets over the message")
    return body[2:start], body[start + 2 : stop], body[stop:]


class _Reader:
    """Gathers the batches and faults of one message."""

    def __init__(self, session: SessionOptions, fields: AttributesField) -> None:
        self._session = session
        self._fields = fields
        self._faults: list[Fault] = [*fields.faults, *fields.decoded.faults]
        self._withdrawn: list[NlriBatch] = []
        self._announced: list[NlriBatch] = []
        self._reachable = False  # some NLRI is announced, in whatever family
        self._end_of_rib: Family | None = None

    def read_ipv4(self, withdrawn: bytes, nlri: bytes) -> None:
        """The two fields that RFC 4271 itself has."""
        if withdrawn:
            batch = self._batch(withdrawn, Family.IPV4, attribute=None, place="withdrawn routes")
            self._keep(self._withdrawn, batch)
        if not nlri:
            return
        self._reachable = True
        decoded = self._fields.decoded
        next_hop = decoded.attributes.next_hop
        batch = self._batch(nlri, Family.IPV4, attribute=None, place="NLRI", next_hop=next_hop)
        if AttributeCode.NEXT_HOP not in decoded.codes:
            self._missing(AttributeCode.NEXT_HOP)
        elif isinstance(next_hop, IPv4Address):
            self._check_next_hop(next_hop, AttributeCode.NEXT_HOP)
        self._keep(self._announced, batch)

    def read_mp_unreach(self) -> None:
        """MP_UNREACH_NLRI (RFC 4760 section 4)."""
        attribute = self._fields.mp_unreach
        if attribute is None:
            return
        self._check_mp(attribute, least=3)
        value = attribute.value
        family = self._family(attribute)
        if family is None:
            return
        if len(value) == 3:
            self._end_of_rib = family
            return
        self._keep(self._withdrawn, self._batch(value[3:], family, attribute=_MP_UNREACH, place="MP_UNREACH_NLRI"))

    def read_mp_reach(self) -> None:
        """MP_REACH_NLRI (RFC 4760 section 3): AFI 2, SAFI 1, next hop length 1, next hop, reserved 1, NLRI."""
        attribute = self._fields.mp_reach
        if attribute is None:
            return
        self._check_mp(attribute, least=5)
        value = attribute.value
        stop = 4 + value[3]
        if stop + 1 > len(value):
            text = f"a next hop of {value[3]} octets runs over MP_REACH_NLRI"
            raise _ResetError(FaultKind.NLRI_NOT_LOCATED, _MP_REACH, text)
        family = self._family(attribute)
        if family is None:
            self._reachable = self._reachable or stop + 1 < len(value)
            return
        next_hop, link_local = self._mp_next_hop(value[4:stop], family)
        if stop + 1 == len(value):
            return
        self._reachable = True
        self._check_next_hop(next_hop, AttributeCode.MP_REACH_NLRI)
        batch = self._batch(
            value[stop + 1 :],
            family,
            attribute=_MP_REACH,
            place="MP_REACH_NLRI",
            next_hop=next_hop,
            link_local=link_local,
        )
        self._keep(self._announced, batch)

    def finish(self, *, plain_nlri: bool) -> Update:
        """The Update, with the verdict of all faults carried out."""
        decoded = self._fields.decoded
        if self._reachable:
            for code in (AttributeCode.ORIGIN, AttributeCode.AS_PATH):
                if code not in decoded.codes:
                    self._missing(code)
        has_attributes = bool(decoded.codes or self._fields.mp_reach is not None or self._fields.faults)
        if has_attributes and not self._reachable and strictest(self._faults) is Verdict.TREAT_AS_WITHDRAW:
            # RFC 7606 section 5.2: with no reachable NLRI to be seen, nobody can say that all of it was parsed
            text = "a broken attribute, and no reachable NLRI to treat as withdrawn"
            self._faults.append(Fault(Verdict.SESSION_RESET, FaultKind.NLRI_NOT_LOCATED, None, text))
        faults = tuple(self._faults)
        verdict = strictest(faults)
        if verdict is Verdict.SESSION_RESET:
            return Update(verdict=verdict, faults=faults)
        withdrawn, announced = tuple(self._withdrawn), tuple(self._announced)
        if verdict is Verdict.TREAT_AS_WITHDRAW:
            taken = tuple(replace(batch, next_hop=None, link_local=None) for batch in announced)
            return Update(withdrawn=withdrawn + taken, verdict=verdict, faults=faults)
        lone = not plain_nlri and not has_attributes  # the End-of-RIB marker carries MP_UNREACH_NLRI and nothing else
        return Update(
            withdrawn=withdrawn,
            announced=announced,
            attributes=decoded.attributes if announced else None,
            end_of_rib=self._end_of_rib if lone else None,
            verdict=verdict,
            faults=faults,
        )

    def _batch(
        self,
        data: bytes,
        family: Family,
        *,
        attribute: int | None,
        place: str,
        next_hop: IPAddress | None = None,
        link_local: IPv6Address | None = None,
    ) -> NlriBatch:
        try:
            prefixes, path_ids = decode_nlri(data, family, add_path=family in self._session.add_path)
        except NlriError as error:
            raise _ResetError(error.kind, attribute, f"{place}: {error}") from None
        return NlriBatch(family, prefixes, path_ids, next_hop, link_local)

    def _keep(self, batches: list[NlriBatch], batch: NlriBatch) -> None:
        if batch.family in self._session.families:
            batches.append(batch)
        else:
            self._not_negotiated(None, f"{batch.family} unicast")

    def _family(self, attribute: RawAttribute) -> Family | None:
        """The family at the head of an MP attribute; None, with a fault, when the session does not carry it."""
        afi, safi = int.from_bytes(attribute.value[:2], "big"), attribute.value[2]
        family = _FAMILIES.get(afi) if safi == SAFI_UNICAST else None
        if family in self._session.families:
            return family
        self._not_negotiated(attribute.code, f"AFI {afi} SAFI {safi}")
        return None

    def _not_negotiated(self, attribute: int | None, what: str) -> None:
        text = f"{what} is not negotiated: its prefixes are ignored"
        self._faults.append(Fault(Verdict.ATTRIBUTE_DISCARD, FaultKind.FAMILY_NOT_NEGOTIATED, attribute, text))

    def _check_mp(self, attribute: RawAttribute, *, least: int) -> None:
        """RFC 7606 section 5.3: wrong flags, or too short for its fixed part, and the NLRI inside cannot be trusted."""
        if attribute.flags & _KIND_BITS != AttributeFlag.OPTIONAL:
            text = f"attribute {attribute.code} has flags 0x{attribute.flags:02x}, expected 0x80 in the first two bits"
            raise _ResetError(FaultKind.ATTRIBUTE_FLAGS, attribute.code, text)
        if len(attribute.value) < least:
            text = f"attribute {attribute.code} has {len(attribute.value)} octets, expected at least {least}"
            raise _ResetError(FaultKind.ATTRIBUTE_LENGTH, attribute.code, text)

    def _mp_next_hop(self, octets: bytes, family: Family) -> tuple[IPAddress, IPv6Address | None]:
        """(next hop, link-local one or None). A length that the family does not have is a reset (RFC 7606 section
        7.11).
        """
        if family is Family.IPV4 and len(octets) == 4:
            return IPv4Address(octets), None
        if len(octets) in (16, 32) and (family is Family.IPV6 or self._session.extended_next_hop):
            link_local = IPv6Address(octets[16:]) if len(octets) == 32 else None
            return IPv6Address(octets[:16]), link_local
        expected = "16 or 32" if family is Family.IPV6 else "4, 16 or 32" if self._session.extended_next_hop else "4"
        text = f"the next hop in MP_REACH_NLRI for {family} has {len(octets)} octets, expected {expected}"
        raise _ResetError(FaultKind.ATTRIBUTE_LENGTH, _MP_REACH, text)

    def _check_next_hop(self, next_hop: IPAddress, attribute: AttributeCode) -> None:
        """A next hop must be the address of a host (RFC 4271 section 6.3)."""
        reserved = isinstance(next_hop, IPv4Address) and next_hop.is_reserved
        if next_hop.is_unspecified or next_hop.is_multicast or reserved:
            text = f"the next hop {next_hop} is no host's address"
            self._faults.append(Fault(Verdict.TREAT_AS_WITHDRAW, FaultKind.NEXT_HOP_INVALID, attribute, text))

    def _missing(self, code: AttributeCode) -> None:
        """RFC 7606 section 3 d."""
        text = f"{code.name} is mandatory and not there"
        self._faults.append(Fault(Verdict.TREAT_AS_WITHDRAW, FaultKind.ATTRIBUTE_MISSING, code, text))
