"""What BFD says of a path, in words for logs, `explain` and `peers`."""
from __future__ import annotations

from calicopy.seam.bfd import BfdState, SessionState

DIAGNOSTICS = {
    0: "no diagnostic",
    1: "control detection time expired",
    2: "echo function failed",
    3: "neighbor signaled session down",
    4: "forwarding plane reset",
    5: "path down",
    6: "concatenated path down",
    7: "administratively down",
    8: "reverse concatenated path down",
}
"""RFC 5880 section 4.1."""
EXPIRED, SIGNALED = 1, 3


def why_down(state: BfdState, detection_us: int) -> str:
    """Why the session is not Up, or last was not, as far as its end knows. `detection_us` was its detection time."""
    if state.diagnostic == EXPIRED:
        return f"no packet from it for {detection_us / 1000:g} ms" if detection_us else diagnostic(EXPIRED)
    if state.diagnostic == SIGNALED:
        return f"it says that the path is down ({diagnostic(state.remote_diagnostic)})"
    return diagnostic(state.diagnostic)


def diagnostic(code: int) -> str:
    """A diagnostic in words."""
    return DIAGNOSTICS.get(code, f"diagnostic {code}")


def why_ignored(state: BfdState) -> str:
    """Why a session that is not Up says nothing about the path."""
    if state.state is SessionState.ADMIN_DOWN:
        return "we have it administratively down"
    if state.remote_state is SessionState.ADMIN_DOWN:
        return "the peer has it administratively down"
    if not state.heard:
        return "the peer sends none"
    return "it has not been up since the BGP session began"
