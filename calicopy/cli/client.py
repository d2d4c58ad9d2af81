"""Talks to the agent. gRPC is loaded here, once it is known that somebody listens."""
from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.options import Server, Target

if TYPE_CHECKING:
    import grpc

Response = TypeVar("Response")
PROBE_TIMEOUT_S = 2.0
LARGEST_ANSWER = 64 * 1024 * 1024
_REFUSED = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED", "OUT_OF_RANGE")
_UNREACHABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def read_only_path(path: str) -> str:
    """The read-only socket beside the read-write one: `-ro` before the ending."""
    stem, dot, ending = path.rpartition(".")
    if not dot or "/" in ending:
        return f"{path}-ro"
    return f"{stem}-ro.{ending}"


@contextlib.contextmanager
def connect(target: Target, *, reading: bool = True) -> Iterator[grpc.Channel]:
    """A channel to the agent; errors of calls made inside end the command.

    `reading`: the calls change nothing, so that the read-only socket does when the other one may not be opened.
    """
    address = None if target.server is not None else f"unix:{_find_socket(target, reading=reading)}"
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the library's own words on stderr explain nothing to a user
    import grpc

    options = (("grpc.max_receive_message_length", LARGEST_ANSWER), ("grpc.enable_http_proxy", 0))
    if target.server is not None:
        channel = grpc.secure_channel(target.server.address, _credentials(target.server), options=options)
    else:
        assert address is not None
        channel = grpc.insecure_channel(address, options=options)
    with channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise _explained(error, target) from error


def is_lost(error: grpc.RpcError) -> bool:
    """Whether the agent went away, so that what it was asked for may go on."""
    import grpc

    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE


def call(method: Callable[..., Response], request: object, target: Target) -> Response:
    """One call with the user's deadline."""
    return method(request, timeout=target.timeout_s)


def _credentials(server: Server) -> grpc.ChannelCredentials:
    import grpc

    try:
        ca, key, certificate = (Path(name).read_bytes() for name in (server.ca, server.key, server.certificate))
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}") from error
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _find_socket(target: Target, *, reading: bool) -> str:
    """The socket that answers. Raises CliError when none does."""
    paths = [target.socket, read_only_path(target.socket)] if reading else [target.socket]
    refused = None
    for path in paths:
        try:
            _probe(path)
        except PermissionError as error:
            refused = error
        except OSError as error:
            if refused is None:
                raise _unreachable(path, error) from error
        else:
            return path
    raise CliError(
        f"permission denied: {target.socket}",
        code=ExitCode.UNREACHABLE,
        details=[_allowed(target.socket)],
    ) from refused


def _allowed(path: str) -> str:
    """Who may use the agent's sockets: their directory has the group."""
    import grp

    try:
        number = Path(path).parent.stat().st_gid
        group = grp.getgrgid(number).gr_name
    except (OSError, KeyError):
        return "root and the members of agent.socket_group may use the agent's sockets"
    if number == 0:
        return "only root may use the agent's sockets: agent.socket_group was no group of this host when it started"
    return f"root and the members of the group {group} may use the agent's sockets"


def _probe(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        probe.connect(path)


def _unreachable(path: str, error: OSError) -> CliError:
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        why = "there is no such socket" if error.errno == errno.ENOENT else "nobody listens there any more"
        details = [f"{path}: {why}", "start it with `calicopy node --config FILE`, or name its socket with --socket"]
        return CliError("no agent is running here", code=ExitCode.UNREACHABLE, details=details)
    return CliError(f"cannot reach the agent: {path}: {error.strerror or error}", code=ExitCode.UNREACHABLE)


def _explained(error: grpc.RpcError, target: Target) -> CliError:
    """What an error of a call means to the user."""
    import grpc

    assert isinstance(error, grpc.Call)
    code, message = error.code().name, error.details() or "no details"
    reason, fields = _details(error)
    if code in _UNREACHABLE and reason in ("", "stopping"):
        if code == "DEADLINE_EXCEEDED":
            message = f"no answer within {target.timeout_s:g} s"
        return CliError(f"the agent at {target.place} cannot be reached: {message}", code=ExitCode.UNREACHABLE)
    if code == "UNIMPLEMENTED":
        return CliError(f"the agent does not know this call: {message}", details=["it has another version"])
    exit_code = ExitCode.REFUSED if code in _REFUSED else ExitCode.ERROR
    return CliError(fields or message, code=exit_code, details=[f"reason: {reason}"] if reason else [])


def _details(error: grpc.Call) -> tuple[str, str]:
    """The stable reason code, and the wrong fields, each empty when the status has none."""
    from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # the package ships no types
    from grpc_status import rpc_status

    reason, fields = "", []
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the code: not ours
        status = None
    for detail in status.details if status is not None else ():
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            fields += [f"{violation.field}: {violation.description}" for violation in bad_request.field_violations]
    return reason, "; ".join(fields)
