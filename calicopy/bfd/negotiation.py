"""The timers that two systems agree on, and the poll sequences that change them (RFC 5880 sections 6.5, 6.8.2-6.8.4).

Theory of operation: each value of ours is there twice, as advertised and as in use. They differ while a poll sequence
goes on: an interval to send that grew, and an interval to receive that shrank, are used only once the peer has said
(with its F bit) that it knows them, so that neither side expects more packets than come. All intervals are
microseconds, as on the wire; 0 as an interval to send means "send nothing".
"""
from __future__ import annotations

from collections.abc import Callable

from calicopy.bfd.packet import DEMAND, FINAL, Packet

SLOW_US = 1_000_000  # section 6.8.3: the least interval to send while the session is not Up


class Parameters:
    """What we want of a session. Intervals at least 1; `detect_mult` 1 to 255. ValueError."""

    __slots__ = ("desired_min_tx_us", "detect_mult", "required_min_rx_us")

    def __init__(self, *, desired_min_tx_us: int, required_min_rx_us: int, detect_mult: int) -> None:
        if not (0 < desired_min_tx_us < 1 << 32 and 0 < required_min_rx_us < 1 << 32 and 0 < detect_mult < 256):
            raise ValueError(f"BFD cannot have {desired_min_tx_us}/{required_min_rx_us} us x {detect_mult}")
        self.desired_min_tx_us = desired_min_tx_us
        self.required_min_rx_us = required_min_rx_us
        self.detect_mult = detect_mult


class Negotiation:
    """Ours as advertised (`desired_tx_us`, `required_rx_us`) and in use, the peer's, and the poll sequence."""

    __slots__ = (
        "desired_tx_us", "detect_mult", "parameters", "poll_again", "polling", "remote_demand", "remote_desired_tx_us",
        "remote_detect_mult", "remote_required_rx_us", "required_rx_us", "used_rx_us", "used_tx_us",
    )

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.detect_mult = parameters.detect_mult
        self.desired_tx_us = self.used_tx_us = max(parameters.desired_min_tx_us, SLOW_US)
        self.required_rx_us = self.used_rx_us = parameters.required_min_rx_us
        self.polling = self.poll_again = False
        self.forget()

    def forget(self) -> None:
        """Nothing was heard of the peer for the detection time: the values of section 6.8.1."""
        self.remote_detect_mult = 0
        self.remote_desired_tx_us = 0
        self.remote_required_rx_us = 1
        self.remote_demand = False

    def tx_interval_us(self) -> int:
        """Between two packets of ours, before jitter (section 6.8.7); 0: the peer wants none."""
        return max(self.used_tx_us, self.remote_required_rx_us) if self.remote_required_rx_us else 0

    def detection_time_us(self) -> int:
        """Section 6.8.4; 0 when nothing was heard yet."""
        return self.remote_detect_mult * max(self.used_rx_us, self.remote_desired_tx_us)

    def want(self, parameters: Parameters | None = None, *, up: bool) -> bool:
        """New parameters, or the session went Up or left it. Whether what we advertise is something else now."""
        parameters = self.parameters = parameters or self.parameters
        tx = parameters.desired_min_tx_us if up else max(parameters.desired_min_tx_us, SLOW_US)
        rx = parameters.required_min_rx_us
        other_timers = (tx, rx) != (self.desired_tx_us, self.required_rx_us)
        other = other_timers or parameters.detect_mult != self.detect_mult
        self.desired_tx_us, self.required_rx_us, self.detect_mult = tx, rx, parameters.detect_mult
        if not up:
            self.used_tx_us, self.used_rx_us = tx, rx
            self.polling = self.poll_again = False
            return other
        self.used_tx_us = min(self.used_tx_us, tx)
        self.used_rx_us = max(self.used_rx_us, rx)
        if other_timers:
            self.poll_again = self.polling  # what the next F answers are the values before
            self.polling = True
        return other

    def restore(self, saved: list[int]) -> None:
        """Go on with what was agreed: the poll, ours as advertised and in use, the peer's (session.SAVED)."""
        self.polling, self.poll_again = bool(saved[0]), bool(saved[1])
        self.desired_tx_us, self.required_rx_us, self.detect_mult, self.used_tx_us, self.used_rx_us = saved[2:7]
        self.remote_detect_mult, self.remote_desired_tx_us, self.remote_required_rx_us = saved[7:10]
        self.remote_demand = bool(saved[10])

    def hear(self, packet: Packet) -> None:
        """The peer's values, and its answer to our poll (section 6.8.6)."""
        self.remote_detect_mult = packet.detect_mult
        self.remote_desired_tx_us = packet.desired_min_tx_us
        self.remote_required_rx_us = packet.required_min_rx_us
        self.remote_demand = bool(packet.flags & DEMAND)
        if self.polling and packet.flags & FINAL:
            if self.poll_again:
                self.poll_again = False
                return
            self.polling = False
            self.used_tx_us, self.used_rx_us = self.desired_tx_us, self.required_rx_us


def jittered(interval_us: int, detect_mult: int, random: Callable[[], float]) -> float:
    """Seconds to the next packet: 75 to 100 % of the interval, to 90 % when one lost packet is a Down (section 6.8.7).

    `random` gives numbers from 0 (inclusive) to 1.
    """
    return interval_us * (1e-6 - (0.25e-6 * random() if detect_mult > 1 else 0.1e-6 + 0.15e-6 * random()))
