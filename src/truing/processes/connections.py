"""Connections that end once the other machine is out of reach.

A process that ends closes its connections, and the others notice at once. A machine that loses its power, or a link
that is parted, closes nothing: who waits for an answer would wait for ever, and who sends, for a quarter of an hour.
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import distributed

UNREACHABLE_SECONDS = 60
"""Without any answer of the other machine's kernel, however busy or stopped the process there is. More than a switch
takes to start again, so that a short gap does no harm"""
UNREACHABLE = (
    f"another machine of this run gave no answer for {UNREACHABLE_SECONDS} seconds: the link to it is down, or it is. "
    "See to that"
)
ASK_SECONDS = 10
"""Between the questions whether it is still there"""


@contextmanager
def ended_when_unreachable() -> Iterator[None]:
    """Each TCP connection that this process makes in the block is ended, with an error, where its other end is."""
    before = _sockets()
    yield
    for descriptor, _ in _sockets() - before:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # where nothing is under way
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASK_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, UNREACHABLE_SECONDS // ASK_SECONDS - 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREACHABLE_SECONDS * 1000)


def is_unreachable(error: RuntimeError) -> bool:
    """Whether it comes of a connection that was ended so: the library passes on what the system calls it."""
    seen = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
    return any(os.strerror(number) in str(error) for number in seen)


def is_of_transport(error: RuntimeError) -> bool:
    """Whether it comes from between the processes, not from what one of them computes.

    NCCL has errors of its own kind; gloo's are any RuntimeError, which begins with the file that it comes from.
    """
    return isinstance(error, distributed.DistError) or "gloo/transport" in str(error)


def _sockets() -> set[tuple[int, str]]:
    """Descriptor and name of all that are open; on Linux, which alone can do this and is what clusters run."""
    found = ((int(one.name), _target(one)) for one in Path("/proc/self/fd").glob("*"))
    return {(descriptor, name) for descriptor, name in found if name.startswith("socket:")}


def _target(descriptor: Path) -> str:
    with suppress(OSError):  # that of the directory that is being read
        return os.readlink(descriptor)
    return ""
