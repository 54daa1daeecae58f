"""What the processes of a server cost: CPU seconds and memory, their children included."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable

from bench.peer import Address
from handlers.errors import MissingExtraError, SettingsError

try:
    import psutil
except ImportError:
    raise MissingExtraError("Measuring processes", "dev") from None

_SAMPLE_SECONDS = 0.2
"""Between two looks at the memory; each costs the measuring process under a millisecond."""

_MIB = 1024 * 1024


class Usage:
    """The processes of one target."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Raises SettingsError for a process that is not there."""
        self._roots: list[psutil.Process] = []
        for pid in sorted(set(pids)):
            try:
                self._roots.append(psutil.Process(pid))
            except psutil.Error:
                raise SettingsError(f"There is no process {pid} to measure") from None
        self._peak_bytes = 0

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._roots]

    @property
    def peak_rss_mib(self) -> float | None:
        """Largest resident memory seen while watched, summed over the processes (shared pages count in each)."""
        return round(self._peak_bytes / _MIB, 1) if self._peak_bytes else None

    def cpu_seconds(self) -> float | None:
        """User and system time so far, also of children that have ended; None without processes."""
        try:
            times = [process.cpu_times() for process in self._tree()]
        except psutil.Error:
            return None
        if not times:
            return None
        # The last two are Linux's and macOS's; Windows has them as zeros.
        return sum(time.user + time.system + time.children_user + time.children_system for time in times)

    def look(self) -> None:
        """Take note of the memory that is in use now."""
        with contextlib.suppress(psutil.Error):  # a child that has just ended; the next look counts
            used = sum(process.memory_info().rss for process in self._tree())
            self._peak_bytes = max(self._peak_bytes, used)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Look at the memory again and again during a `with` block."""
        task = asyncio.create_task(self._look_often())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_often(self) -> None:
        while self._roots:
            self.look()
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _tree(self) -> list[psutil.Process]:
        found = {process.pid: process for process in self._roots}
        for root in self._roots:
            found.update({child.pid: child for child in root.children(recursive=True)})
        return list(found.values())


def machine_cpu_seconds() -> float:
    """Processor time that all processes of this machine have used so far."""
    times = psutil.cpu_times()
    waiting = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    counted_twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # within user and nice
    return float(sum(times) - waiting - counted_twice)


def listening(*addresses: Address) -> set[int]:
    """Ids of the processes of this machine that listen at these addresses, as far as this user may see them."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:  # macOS shows them to root only
        return set()
    ports = {port for host, port in addresses if _is_here(host)}
    return {
        connection.pid
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.pid
        and connection.laddr
        and connection.laddr.port in ports
    }


def _is_here(host: str) -> bool:
    """Whether a name or address is this machine's."""
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own = {address.address.partition("%")[0] for addresses in psutil.net_if_addrs().values() for address in addresses}
    return any(address in own or ipaddress.ip_address(address).is_loopback for address in found)
