"""Which of a host's addresses is the node's, when the cluster file leaves it out.

Theory of operation: the kernel edge hands over what it sees (addresses, with two facts about each), the file says by
which rule to choose, and the rule gives one address, or none and the reason. It never takes "the first found": when a
rule fits more than one address the answer is none, with the candidates named, so that the same host never gets
another address because its interfaces came up in another order. An answer of none is not final: addresses may appear
after the agent has started. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from calicopy.config.fields import DetectionMethod, IPInterface
from calicopy.config.sections import AddressDetection
from calicopy.net import Family, Prefix


@dataclass(frozen=True, slots=True)
class AddressFact:
    """An address that the host has."""

    interface: str
    """The interface's name."""
    address: IPInterface
    """The address with its prefix length."""
    default_route: bool = False
    """Whether the interface is that of the (best) default route of the address's family."""
    reaches_target: bool = False
    """Whether the kernel's route towards the target of `can-reach` leaves with this source address."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The outcome: an address, or the reason why there is none (yet)."""

    address: IPInterface | None
    reason: str
    """When there is an address: by which rule. Else: what is missing, or which addresses fit alike."""


def choose_address(
    spec: AddressDetection, facts: Iterable[AddressFact], family: Family, *, exclude: Collection[Prefix] = ()
) -> Detection:
    """The node's address of `family` among `facts`, by `spec`.

    Loopback, link-local and multicast addresses never qualify, nor those inside `exclude` (the pools: the address of
    `tunl0` is one of a pod). The order of `facts` does not matter."""
    usable = [fact for fact in facts if _usable(fact, family, exclude)]
    rule = _rule(spec)
    matching = {fact.address: fact for fact in sorted(usable, key=_order) if _matches(spec, fact)}
    if not matching:
        return Detection(None, f"no {family} address {rule}; this host has {_listed(usable)}")
    by_address = {interface.ip for interface in matching}
    if len(by_address) > 1:
        return Detection(
            None, f"more than one {family} address {rule}: {_listed(list(matching.values()))}; narrow the rule down"
        )
    # one address given twice with different prefix lengths: the longer subnet claims less to be on link
    chosen = max(matching.values(), key=lambda fact: fact.address.network.prefixlen)
    return Detection(chosen.address, f"the {family} address {rule} is {chosen.address} on {chosen.interface}")


def _usable(fact: AddressFact, family: Family, exclude: Collection[Prefix]) -> bool:
    address = fact.address.ip
    if address.version != (4 if family is Family.IPV4 else 6):
        return False
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return not any(address in prefix for prefix in exclude)


def _matches(spec: AddressDetection, fact: AddressFact) -> bool:
    match spec.method:
        case DetectionMethod.CIDR:
            return fact.address.ip in spec.prefix
        case DetectionMethod.INTERFACE:
            return fact.interface == spec.value
        case DetectionMethod.CAN_REACH:
            return fact.reaches_target
        case DetectionMethod.DEFAULT_ROUTE:
            return fact.default_route


def _rule(spec: AddressDetection) -> str:
    match spec.method:
        case DetectionMethod.CIDR:
            return f"inside {spec.value}"
        case DetectionMethod.INTERFACE:
            return f"on interface {spec.value}"
        case DetectionMethod.CAN_REACH:
            return f"from which {spec.value} is reached"
        case DetectionMethod.DEFAULT_ROUTE:
            return "on the interface of the default route"


def _order(fact: AddressFact) -> tuple[int, int, str]:
    return int(fact.address.ip), fact.address.network.prefixlen, fact.interface


def _listed(facts: list[AddressFact]) -> str:
    return ", ".join(f"{fact.address} on {fact.interface}" for fact in sorted(facts, key=_order)) or "none"
