"""The composition root: makes the edges and the core of one node, and joins them."""
from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import time
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from calicopy.agent.backend import AgentBackend
from calicopy.agent.bfd_edge import BfdEdge
from calicopy.agent.changeover import Changeover
from calicopy.agent.changes import Changes
from calicopy.agent.config_files import ConfigFiles
from calicopy.agent.edges import SpeakerEdge, StoreEdge
from calicopy.agent.ending import drain_to_stop
from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.loop import CoreLoop
from calicopy.agent.probe_edge import ProbeEdge
from calicopy.agent.readiness import Readiness
from calicopy.agent.readyz import ReadyzServer
from calicopy.agent.service import ServiceManager
from calicopy.agent.startup import Startup, wait_for_address
from calicopy.agent.udp_edge import UdpEdge
from calicopy.agent.wishes import Wish, work_out
from calicopy.agent.workloads import WorkloadPorts, Workloads
from calicopy.api.backend import AddressWishes, RefusalKind, RefusedError
from calicopy.api.sockets import SocketLock, hold_sockets
from calicopy.config.fields import Listen
from calicopy.config.resolve import NodeConfig
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.core.views import ChangeView, ReadinessView, WorkloadView
from calicopy.ipam import AddressRecord
from calicopy.kernel.kernel import Kernel
from calicopy.net import Encapsulation, IPAddress, Prefix
from calicopy.speaker.client import SpeakerClient
from calicopy.speaker.control import SpeakerControl
from calicopy.store import Store, StoreChange, StoreError, WorkloadRecord

if TYPE_CHECKING:
    from calicopy.api.server import ApiServer

log = logging.getLogger(__name__)

INSPECT_WORKLOADS_S = 30.0
INSTALL_TIMEOUT_S = 5.0
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


async def run_agent(
    startup: Startup,
    name: str,
    *,
    config_file: Path,
    stopping: asyncio.Event,
    hurry: asyncio.Event | None = None,
    readyz_listen: Listen | None = None,
    began_at: float,
) -> None:
    """Run the agent of node `name` until `stopping` is set; sessions and routes then stay as they are. With `hurry` the
    node is drained first, until that is set too. `began_at`: the start of the process, monotonic seconds. SIGHUP is
    ignored until the core runs. `readyz_listen` goes before the one of the cluster file.

    Raises StoreError when the state directory cannot be used or another agent holds it, OSError for sockets.
    """
    config, settings = startup.config, startup.config.agent
    async with AsyncExitStack() as stack:
        run_dir = Path(settings.run_dir)
        await asyncio.to_thread(run_dir.mkdir, mode=0o750, parents=True, exist_ok=True)
        store = await asyncio.to_thread(Store, Path(settings.state_dir))
        stack.callback(store.close)
        stored = await asyncio.to_thread(store.load)
        kernel = Kernel(protocol=settings.route_protocol, metric=settings.route_metric)
        await kernel.open()
        stack.push_async_callback(kernel.close)
        node = await _unless(stopping, wait_for_address(config, name, kernel))
        if node is not None:
            now = asyncio.get_running_loop().time()
            core = Core(node, stored.ipam, now=now, began_at=began_at, drain=stored.drain)
            files = ConfigFiles(config_file, Path(settings.state_dir))
            if startup.own:
                await asyncio.to_thread(_keep, files, startup.text)
            agent = Agent(core, store, kernel, files=files, text=startup.text, readyz_listen=readyz_listen)
            if settings.journal is not None:
                from calicopy.agent.journal import recording  # most agents have no use for it

                beginning = (node, stored.ipam, stored.drain)
                agent.loop.journal = stack.enter_context(recording(beginning, now=now, began_at=began_at))
            await agent.run(stored.workloads, stopping, hurry=hurry)


def _keep(files: ConfigFiles, text: bytes) -> None:
    """The text of the start is the last good one. Without a place for it the agent runs all the same."""
    try:
        files.keep(text)
    except OSError as error:
        log.warning("the configuration cannot be kept in the state directory: %s", error)


async def _unless(
    stopping: asyncio.Event, work: Coroutine[object, object, NodeConfig]
) -> NodeConfig | None:
    """The result of `work`, or None when `stopping` was set first."""
    task, stop = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None


class Agent:
    """One node: core, edges, API."""

    def __init__(
        self,
        core: Core,
        store: Store,
        kernel: Kernel,
        *,
        files: ConfigFiles,
        text: bytes,
        readyz_listen: Listen | None = None,
    ) -> None:
        node = core.node
        settings = node.cluster.agent
        run_dir = Path(settings.run_dir)
        self.node = node
        self.core = core
        self.loop = CoreLoop(self.core, self._dispatch, self._after)
        self.probes = ProbeEdge(self.loop.post)
        self.backend = AgentBackend(
            self.core,
            self.loop.post,
            config_file=str(files.own),
            edge_counters=self._counters,
            match_route=kernel.match,
            count_packets=self._count_packets,
            round_trips=self.probes.round_trips,
        )
        self.readiness = Readiness(self.backend.readiness)
        self.changes = Changes(self.core, self.backend)
        self.client = SpeakerClient(str(run_dir / "speaker.sock"))
        control = SpeakerControl(self.client, config_path=str(run_dir / "exabgp.conf"))
        self.speaker = SpeakerEdge(self.client, control, self.loop.post)
        self.udp = UdpEdge(run_dir, self.loop.post)
        self.bfd = BfdEdge(run_dir, self.loop.post, protocol=settings.route_protocol)
        self.kernel = KernelEdge(
            kernel, tuple(pool.cidr for pool in node.cluster.pools), self.loop.post, udp=self.udp
        )
        self.store = StoreEdge(store, self.loop.post)
        self.changeover = Changeover(core, files, self.loop.post, text=text, changed=self._configured)
        self.service = ServiceManager(core, self.loop.post, changing=self.changeover.changing)
        self._mtu_changed = asyncio.Event()
        self._installing: list[tuple[Prefix, asyncio.Future[None]]] = []
        self._server: ApiServer | None = None
        self._readyz_listen = readyz_listen or settings.readyz_listen

    async def run(
        self, workloads: Sequence[WorkloadRecord], stopping: asyncio.Event, *, hurry: asyncio.Event | None = None
    ) -> None:
        """Until `stopping` is set, or a part of it ends, which is an error. With `hurry` it drains the node then, until
        that is set too.
        """
        calls = Workloads(workloads, self._ports())
        lock = hold_sockets(self.node.cluster.agent)  # a second agent ends before it has done anything
        self.backend.workload_calls = calls
        self.backend.config_calls = self.changeover
        readyz = ReadyzServer(self._readiness_now, self.node.cluster.agent, listen=self._readyz_listen)
        self.backend.more_problems = lambda: (*self.changeover.problems(), *readyz.problems())
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self.udp.configure(wanted=Encapsulation.UDP in self.node.cluster.decapsulated)
        self.client.start()
        tasks = [asyncio.create_task(work, name=name) for name, work in self._works(calls).items()]
        self.loop.post(ev.Ticked())
        stop = asyncio.create_task(stopping.wait())
        server: ApiServer | None = None
        try:
            await readyz.start()
            server = await self._serve(lock)
            self.service.serving()
            log.info("node %s: agent is up, API on %s", self.node.name, self.node.cluster.agent.socket_path)
            done, _ = await asyncio.wait((stop, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
                raise RuntimeError(f"the {task.get_name()} task ended by itself")
            self.service.stopping()
            if hurry is not None:
                await drain_to_stop(self.backend, self.speaker, hurry)
        finally:
            await readyz.stop()
            if server is not None:
                await server.stop()
            lock.release()
            await self.changeover.stop()
            await self.client.close()
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
            self.udp.close()
            await asyncio.to_thread(self.store.close)

    def _works(self, calls: Workloads) -> dict[str, Coroutine[object, object, None]]:
        """What runs as long as the agent does, by name."""
        return {
            "core": self.loop.run(),
            "changes": self.changes.run(),
            "speaker events": self.speaker.listen(),
            "speaker commands": self.speaker.task.run(),
            "speaker sessions": self.speaker.sessions.run(),
            "speaker control": self.speaker.control.watch(),
            "kernel events": self.kernel.listen(),
            "kernel routes": self.kernel.routes.run(),
            "kernel next hops": self.kernel.next_hops.run(),
            "kernel looks": self.kernel.looks.run(),
            "kernel host": self.kernel.host.run(),
            "kernel nft": self.kernel.nft.run(),
            "kernel nft events": self.kernel.watch_nft(calls.restore_guard),
            "store": self.store.task.run(),
            "udp": self.udp.watch(),
            "bfd files": self.bfd.write(),
            "bfd states": self.bfd.listen(),
            "probes": self.probes.run(),
            "readiness": self.readiness.watch(self._set_ready),
            "workloads": self._look_after(calls),
            "service manager": self.service.run(),
        }

    def _reload(self) -> None:
        self.service.reloading()
        self.changeover.reload()

    async def _serve(self, lock: SocketLock) -> ApiServer:
        """The API, started. gRPC is loaded beside the first steps of the core, so that routing does not wait for it."""
        module = await asyncio.to_thread(importlib.import_module, "calicopy.api.server")
        server: ApiServer = module.ApiServer(self.backend, self.node.cluster.agent, lock=lock)
        await server.start()
        self._server = server
        return server

    # -- commands -----------------------------------------------------------------------------------------------

    def _dispatch(self, command: do.Command) -> Awaitable[object] | None:
        """Hand it to its edge; gives what the loop has to wait for."""
        match command:
            case do.WriteRoutes() | do.DumpRoutes():
                self.kernel.put_routes(command)
            case do.WriteNextHops():
                return self.kernel.put_next_hops(command)
            case do.ResolveNextHops():
                self.kernel.looks.put(command)
            case do.SetTunnel() | do.SetHost():
                self.kernel.host.put(command)
            case do.SetWorkloadMtu():
                self._mtu_changed.set()
            case do.Persist():
                self.store.task.put(command)
            case do.Reply():
                self.backend.reply(command)
            case do.SetBfdSessions() | do.SetBfdTable() | do.AcknowledgeBfd():
                self.bfd.put(command)
            case do.ProbeTunnels():
                self.probes.set(command)
            case do.DrainProgress():
                self.backend.drain_went_on(command)
            case do.Log():
                line = command.line
                log.log(_LEVELS[line.level], "%s: %s", f"{line.component} {line.object}".rstrip(), line.message)
                self.backend.publish([ChangeView(line)])
            case _:
                self.speaker.task.put(command)
        return None

    def _configured(self, node: NodeConfig) -> None:
        """What the agent itself takes from the file, while it runs."""
        self.node = node
        logging.getLogger().setLevel(node.cluster.agent.log_level.value.upper())
        self.kernel.set_pools(tuple(pool.cidr for pool in node.cluster.pools))
        self.udp.configure(wanted=Encapsulation.UDP in node.cluster.decapsulated)

    def _after(self) -> None:
        self.changes.happened()
        self.changeover.stepped()
        self.service.stepped(time.monotonic())
        if self._installing:
            still = []
            for prefix, future in self._installing:
                status = self.core.fib.status(prefix)
                if future.done():
                    continue
                if status is not None and status.installed:
                    future.set_result(None)
                else:
                    still.append((prefix, future))
            self._installing = still

    def _counters(self) -> dict[str, int]:
        return {
            "agent.slow_steps": self.loop.slow_steps,
            "agent.longest_step_us": int(self.loop.longest_step_s * 1e6),
            "api.watchers_dropped": self._server.hub.dropped if self._server is not None else 0,
            **self.kernel.counters,
            **self.udp.counters,
            **self.bfd.counters,
        }

    def _readiness_now(self) -> ReadinessView:
        self.probes.hurry()
        return self.readiness.now()

    async def _set_ready(self, ready: bool) -> None:
        if self._server is not None:
            await self._server.set_ready(ready)

    async def _count_packets(self) -> None:
        self.probes.hurry()
        await self.kernel.count_packets()

    # -- workloads ----------------------------------------------------------------------------------------------

    def _ports(self) -> WorkloadPorts:
        def wishes(asked: AddressWishes, held: Sequence[IPAddress]) -> list[Wish]:
            pools = {pool.label: pool.cidr.family for pool in self.node.cluster.pools}
            return work_out(asked, pools=pools, served={pool.cidr.family for pool in self.node.pools}, held=held)

        async def assign(handle: str, wish: Wish) -> AddressRecord:
            return await self.backend.assign(handle, family=wish.family, pool=wish.pool, address=wish.address)

        async def commit(changes: Sequence[StoreChange]) -> None:
            try:
                await self.store.commit(list(changes))
            except StoreError as error:
                raise RefusedError(RefusalKind.FAILED, "store-failed", str(error)) from error

        def changed(view: WorkloadView, deleted: bool) -> None:
            self.backend.publish([ChangeView(view, deleted=deleted)])

        return WorkloadPorts(
            work_out=wishes,
            assign=assign,
            release=self.backend.release,
            commit=commit,
            routes_changed=lambda routes: self.loop.post(ev.WorkloadsChanged(routes)),
            route_installed=self._installed,
            mtu=lambda: self.core.host.workload_mtu,
            changed=changed,
        )

    async def _look_after(self, calls: Workloads) -> None:
        handles = {record.handle for record in self.core.ipam.addresses() if record.handle is not None}
        await calls.inspect()
        await calls.free_leftovers(handles)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INSPECT_WORKLOADS_S):
                    await self._mtu_changed.wait()
            if self._mtu_changed.is_set():
                self._mtu_changed.clear()
                await calls.follow_mtu(self.core.host.workload_mtu)
            await calls.inspect()

    async def _installed(self, prefix: Prefix) -> None:
        """Wait until the kernel holds the route. Raises RefusedError when it does not come."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._installing.append((prefix, future))
        self.loop.post(ev.Ticked())
        try:
            await asyncio.wait_for(future, INSTALL_TIMEOUT_S)
        except TimeoutError:
            status = self.core.fib.status(prefix)
            why = status.reason.message if status is not None and status.reason is not None else "no answer in time"
            message = f"the host route of {prefix} is not in the kernel: {why}"
            raise RefusedError(RefusalKind.FAILED, "route-not-installed", message, subject=str(prefix)) from None

