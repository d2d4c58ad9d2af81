"""What ExaBGP negotiates for a session of ours, in this process: for tests of what it packs and of what it is given."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from calicopy.speaker import launcher

launcher.prepare_environment()  # before exabgp is loaded

from exabgp.bgp.message import Open  # noqa: E402 - after the environment
from exabgp.bgp.message.open import RouterID, Version  # noqa: E402 - as above
from exabgp.bgp.message.open.capability import Capabilities, Negotiated  # noqa: E402 - as above
from exabgp.configuration.configuration import Configuration  # noqa: E402 - as above
from exabgp.environment import getenv  # noqa: E402 - as above
from exabgp.logger import log  # noqa: E402 - as above

from calicopy.seam.speaker import SessionSpec  # noqa: E402 - as above
from calicopy.speaker.render import render  # noqa: E402 - as above

log.init(getenv())
ADD_PATH = 69  # RFC 7911


def negotiate(spec: SessionSpec, directory: Path, *, add_path: bool = True) -> Any:
    """A real negotiation of the session with itself."""
    config = directory / "exabgp.conf"
    config.write_text(render([spec], socket_path="/run/x.sock").text)
    configuration = Configuration([str(config)])
    assert configuration.reload(), configuration.error
    (neighbor,) = configuration.neighbors.values()
    capabilities = Capabilities().new(neighbor, True)
    if not add_path:
        del capabilities[ADD_PATH]
    opened = Open(Version(4), neighbor["local-as"], neighbor["hold-time"], RouterID(spec.peer_address), capabilities)
    negotiated = Negotiated(neighbor)
    negotiated.sent(opened)
    negotiated.received(opened)
    return negotiated
