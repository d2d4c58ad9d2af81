"""Intervals, jitter and poll sequences (RFC 5880 sections 6.5, 6.8.2 to 6.8.4, 6.8.7)."""
from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from bfdlink import Link, pair, parameters, up_pair

from calicopy.bfd.negotiation import Parameters, jittered
from calicopy.bfd.packet import FINAL, POLL, State


def gaps(link: Link, end: int, since: float) -> list[float]:
    return [later - earlier for (earlier, _), (later, _) in pairwise(link.packets(end, since))]


def test_no_session_that_is_not_up_sends_more_than_a_packet_a_second() -> None:
    link = pair()
    link.cut = {0, 1}
    link.run(30.0)
    assert all(packet.desired_min_tx_us == 1_000_000 for _, packet in link.packets(0))  # section 6.8.3
    assert all(0.75 <= gap <= 1.0 for gap in gaps(link, 0, 0.0))


def test_the_wanted_interval_is_advertised_with_a_poll_once_up_and_the_poll_ends_with_its_answer() -> None:
    link = pair()
    link.until_up()
    first_up = next(packet for _, packet in link.packets(0) if packet.state is State.UP and not packet.flags & FINAL)
    assert first_up.desired_min_tx_us == 100_000
    assert first_up.flags & POLL
    link.run(1.0)
    since = link.now
    link.run(2.0)
    assert not any(packet.flags & (POLL | FINAL) for end in (0, 1) for _, packet in link.packets(end, since))


@pytest.mark.parametrize(("mult", "least", "most"), [(3, 0.075, 0.1), (1, 0.075, 0.09)])
def test_periodic_packets_are_jittered_as_section_6_8_7_says(mult: int, least: float, most: float) -> None:
    seconds = [jittered(100_000, mult, Random(seed).random) for seed in range(1000)]
    assert least <= min(seconds) < least + 0.001
    assert most - 0.001 < max(seconds) <= most


def test_packets_of_a_session_that_is_up_come_at_the_negotiated_interval() -> None:
    link = up_pair(parameters(tx_ms=50, rx_ms=100), parameters(tx_ms=300, rx_ms=200))
    since = link.now
    link.run(10.0)
    assert [session.tx_interval_us() for session in link.ends] == [200_000, 300_000]  # the greater of the two wishes
    assert all(0.1499 <= gap <= 0.2001 for gap in gaps(link, 0, since))
    assert all(0.2249 <= gap <= 0.3001 for gap in gaps(link, 1, since))


def test_the_detection_time_is_the_peers_multiplier_times_the_greater_interval() -> None:
    link = up_pair(parameters(tx_ms=50, rx_ms=100, mult=3), parameters(tx_ms=300, rx_ms=200, mult=5))
    assert [session.detection_time_us() for session in link.ends] == [5 * 300_000, 3 * 200_000]  # section 6.8.4


def test_an_interval_to_send_that_grows_is_used_only_once_the_peer_knows() -> None:
    link = up_pair()
    session = link.ends[0]
    link.cut = {0}  # section 6.8.3: the peer hears no poll
    session.set_parameters(parameters(tx_ms=250), auth=None)
    since = link.now
    link.run(0.15)
    assert session.tx_interval_us() == 100_000
    said = {(packet.flags & POLL, packet.desired_min_tx_us) for _, packet in link.packets(0, since)}
    assert said == {(POLL, 250_000)}
    link.cut = set()
    link.run(0.15)
    assert session.tx_interval_us() == 250_000
    assert link.ends[1].detection_time_us() == 750_000
    link.run(2.0)
    assert link.up()


def test_an_interval_to_send_that_shrinks_is_used_at_once() -> None:
    link = up_pair(parameters(tx_ms=300))
    link.cut = {1}
    link.ends[0].set_parameters(parameters(tx_ms=100), auth=None)
    assert link.ends[0].tx_interval_us() == 100_000


def test_an_interval_to_receive_that_shrinks_shortens_the_detection_time_only_once_the_peer_knows() -> None:
    link = up_pair(parameters(rx_ms=300))
    session = link.ends[0]
    assert session.detection_time_us() == 900_000
    link.cut = {0}
    session.set_parameters(parameters(rx_ms=100), auth=None)
    link.run(0.2)
    assert session.detection_time_us() == 900_000  # section 6.8.3
    link.cut = set()
    link.run(0.5)
    assert session.detection_time_us() == 300_000
    assert link.up()


def test_an_interval_to_receive_that_grows_lengthens_the_detection_time_at_once() -> None:
    link = up_pair()
    link.ends[0].set_parameters(parameters(rx_ms=400), auth=None)
    assert link.ends[0].detection_time_us() == 1_200_000
    link.run(5.0)
    assert link.ends[1].tx_interval_us() == 400_000
    assert link.up()


def test_what_changes_during_a_poll_needs_a_poll_of_its_own() -> None:
    link = up_pair()
    session = link.ends[0]
    link.delay_s = 0.03
    session.set_parameters(parameters(tx_ms=200), auth=None)
    link.run(0.045)  # the first poll is on its way, its answer not here yet
    session.set_parameters(parameters(tx_ms=400), auth=None)
    link.run(0.02)  # the answer to the first
    assert session.timers.polling
    assert session.tx_interval_us() == 100_000
    link.run(0.5)
    assert not session.timers.polling
    assert session.tx_interval_us() == 400_000


def test_another_multiplier_is_said_at_once_and_needs_no_poll() -> None:
    link = up_pair()
    link.ends[0].set_parameters(parameters(mult=5), auth=None)
    link.run(0.002)
    assert link.ends[1].detection_time_us() == 500_000  # section 6.8.12
    assert not link.ends[0].timers.polling


def test_a_poll_is_repeated_with_the_periodic_packets_and_adds_none() -> None:
    link = up_pair()
    link.cut = {1}
    since = link.now
    link.ends[0].set_parameters(parameters(rx_ms=110), auth=None)
    link.run(0.25)
    packets = link.packets(0, since)
    assert all(packet.flags & POLL for _, packet in packets)
    assert all(gap > 0.07 for gap in gaps(link, 0, since))  # section 6.5


def test_a_peer_that_wants_packets_sooner_gets_them_sooner() -> None:
    link = up_pair(right=parameters(rx_ms=10_000))
    assert link.ends[0].tx_interval_us() == 10_000_000
    since = link.now
    link.ends[1].set_parameters(parameters(), auth=None)
    link.run(0.3)
    assert len(link.packets(0, since)) >= 3


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1 << 32, 1, 1), (1, 1, 256)])
def test_parameters_that_no_packet_can_carry_are_an_error(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="BFD cannot have"):
        Parameters(desired_min_tx_us=wrong[0], required_min_rx_us=wrong[1], detect_mult=wrong[2])
