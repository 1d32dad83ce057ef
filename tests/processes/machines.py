"""Two machines: network namespaces of this one, and between them a link that can be slow, or parted.

Each has a network of its own, with nobody on it but the other, and a host name of its own; the disk is one.
"""

import ctypes
import fcntl
import heapq
import os
import select
import signal
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, run

DEVICE = "link0"
_NEW_NETWORK = 0x40000000
_SET_DEVICE, _PACKETS_ALONE = 0x400454CA, 0x0001 | 0x1000
_PACKET_BYTES, _PORTS_AT = 65536, 20


def why_not() -> str | None:
    """Why no such machine can be made here; None where it can."""
    try:
        made = run(["unshare", "--net", "--uts", "ip", "tuntap", "add", DEVICE, "mode", "tun"], stderr=DEVNULL)
    except OSError:
        return "network namespaces need Linux, with unshare, nsenter and ip"
    return "network namespaces need root and /dev/net/tun" if made.returncode else None


class Machine:
    """One of the two."""

    def __init__(self, name: str, address: str) -> None:
        """Makes it; `tunnel` has what it sends."""
        self.name = name
        self.address = address
        with ThreadPoolExecutor(1) as thread:  # the namespace is its thread's, and stays for as long as it is open
            self._network, self.tunnel = thread.submit(_network_of_its_own).result()
        run(self.command("ip", "link", "set", "lo", "up"), check=True)
        run(self.command("ip", "addr", "add", f"{address}/24", "dev", DEVICE), check=True)
        run(self.command("ip", "link", "set", DEVICE, "up"), check=True)

    def command(self, *words: str) -> list[str]:
        """A command line that runs there."""
        place = f"--net=/proc/{os.getpid()}/fd/{self._network}"
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return ["nsenter", place, *named, *words]

    def processes(self) -> list[int]:
        """All that run there."""
        name = os.fstat(self._network)
        found = []
        for network in Path("/proc").glob("[0-9]*/ns/net"):
            with suppress(OSError):  # it has ended meanwhile
                if os.path.samestat(network.stat(), name):
                    found.append(int(network.parts[2]))
        return found

    def kill(self) -> None:
        """Ends all that run there as a loss of power does, but that others are told."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def close(self) -> None:
        """It is gone, and all that runs there."""
        self.kill()
        os.close(self.tunnel)
        os.close(self._network)


class Link:
    """Carries the packets of two machines to each other."""

    def __init__(self, tunnels: Sequence[int]) -> None:
        self.delay = 0.0
        """Seconds that each packet is under way"""
        self.rate = float("inf")
        """Bytes a second, in each direction"""
        self.parted = False
        """Whether every packet is lost, and nobody is told"""
        self.open_port: int | None = None
        """The only port of TCP whose packets are let through, where not all are"""
        self._across = dict(zip(tunnels, reversed(tunnels), strict=True))
        self._free_from = dict.fromkeys(tunnels, 0.0)
        self._under_way: list[tuple[float, int, bytes]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _carry(self) -> None:
        while not self._closed.is_set():
            wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 0.1
            for tunnel in select.select(list(self._across), [], [], min(wait, 0.1))[0]:
                self._take(tunnel, os.read(tunnel, _PACKET_BYTES))
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, tunnel, packet = heapq.heappop(self._under_way)
                with suppress(OSError):  # the other has no room for it: TCP sends it again
                    os.write(tunnel, packet)

    def _take(self, tunnel: int, packet: bytes) -> None:
        if self.parted or self.open_port not in (None, *struct.unpack_from("!HH", packet, _PORTS_AT)):
            return
        self._free_from[tunnel] = max(self._free_from[tunnel], time.monotonic()) + len(packet) / self.rate
        heapq.heappush(self._under_way, (self._free_from[tunnel] + self.delay, self._across[tunnel], packet))


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine, Link]]:
    """Two that see each other."""
    both = Machine("one", "10.9.0.1"), Machine("two", "10.9.0.2")
    link = Link([machine.tunnel for machine in both])
    try:
        yield *both, link
    finally:
        link.close()
        for machine in both:
            machine.close()


def _network_of_its_own() -> tuple[int, int]:
    """Opens a new namespace and its only device."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "no network namespace")
    network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, _SET_DEVICE, struct.pack("16sH", DEVICE.encode(), _PACKETS_ALONE))
    return network, tunnel
