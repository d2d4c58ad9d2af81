"""A core with a BFD process that says what it is told to say."""
from __future__ import annotations

from corescript import N2, N3, Script, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.peering.bfd import BfdEffect
from calicopy.net import Prefix
from calicopy.seam import speaker as sp
from calicopy.seam.bfd import BfdState, HopMode, SessionState

OURS, THEIRS, OTHERS, SHARED = "10.244.0.0/26", "10.244.1.0/26", "10.244.2.0/26", "10.244.2.9/32"
UP = SessionState.UP
DOWN = SessionState.DOWN
BROKEN = sp.PeerDown(N2, "connection reset")
BFD_DOWN = 10  # RFC 9384


def bfd(state: SessionState = UP, *, at: float = 1000.0, peer: str = N2, **fields: object) -> BfdState:
    """n2's session as the process has it."""
    there: dict[str, object] = {
        "remote_state": UP if state is UP else DOWN, "diagnostic": 0 if state is UP else 1, "remote_diagnostic": 0,
        "local_discriminator": 1, "remote_discriminator": 2, "remote_independent": True, "hop": HopMode.MULTI,
        "ups": 1, "downs": 0 if state is UP else 1, "heard": state is UP, "changed_at": at, "tx_interval_us": 100_000,
        "detection_time_us": 300_000 if state is UP else 0, "remote_detect_mult": 3, "holding": state is DOWN, **fields,
    }  # fmt: skip
    return BfdState(peer=peer, state=state, **there)  # type: ignore[arg-type]  # a test's own


class BfdScript(Script):
    """With a BFD process that says what it is told to say, and lets go of what is acknowledged."""

    def say(self, *states: BfdState, attached: bool = True) -> BfdScript:
        self.tell(ev.BfdSeen({state.peer: state for state in states}, attached))
        return self

    def fall(self, **fields: object) -> BfdScript:
        """n2 was Up, and is not."""
        return self.say(bfd(DOWN, at=self.now, **fields))

    def rise(self, **fields: object) -> BfdScript:
        return self.say(bfd(at=self.now, **{"ups": 2, "downs": 1, **fields}))

    def end(self) -> BfdScript:
        """The session with n2 ends as asked, without a word."""
        assert [(one.peer, one.subcode) for one in self.take(do.ResetPeer)] == [(N2, BFD_DOWN)]
        self.tell(BROKEN)
        return self

    @property
    def acknowledged(self) -> list[dict[str, int]]:
        return [dict(one.downs) for one in self.seen(do.AcknowledgeBfd)]

    @property
    def effect(self) -> BfdEffect:
        return self.core.bfd.standing(N2, self.now).effect

    @property
    def why(self) -> str:
        return self.core.bfd.standing(N2, self.now).why

    def way(self, prefix: str = THEIRS) -> set[str] | None:
        """Where the kernel sends packets; none when it drops them, None without a route."""
        target = self.kernel.get(Prefix.parse(prefix).packed)
        return None if target is None else set(map(str, self.next_hops.led(target)))


def settled(**fields: object) -> BfdScript:
    """Two peers in sync that have announced a block each, BFD with n2 up; `fields` change the session with n2."""
    script = BfdScript(with_session(node(), **fields), snapshot(OURS))
    script.boot()
    script.say(bfd()).up(N2).up(N3)
    script.hear(N2, THEIRS).hear(N3, OTHERS).end_of_rib(N2, N3)
    assert script.way() == {N2}
    script.done.clear()
    return script
