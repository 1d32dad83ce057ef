"""Connections that the system ends once the other machine is out of reach."""

import errno
import os
import socket
import sys
from contextlib import ExitStack

import pytest

from truing.processes.connections import ended_when_unreachable, is_unreachable


def _asks(connection: socket.socket) -> tuple[int, ...]:
    """Whether it asks if the other is there, after how many seconds, how often, and when a sent byte has been lost."""
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    asked = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return (asked, *(connection.getsockopt(socket.IPPROTO_TCP, name) for name in names))


@pytest.mark.skipif(sys.platform != "linux", reason="the options are those of Linux")
def test_connections_of_the_block_end_a_minute_after_the_last_answer() -> None:
    """10 seconds of silence, then five questions, 10 seconds apart."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))

        def connected() -> list[socket.socket]:
            both = socket.create_connection(server.getsockname()), server.accept()[0]
            return [opened.enter_context(one) for one in both]

        earlier = connected()
        with ended_when_unreachable():
            made = connected()
            for other in socket.socketpair():
                opened.enter_context(other)
        assert [_asks(one)[0] for one in earlier] == [0, 0]
        assert [_asks(one) for one in made] == [(1, 10, 10, 5, 60_000)] * 2


def test_a_machine_out_of_reach_is_no_process_that_ended() -> None:
    read = "[/gloo/transport/tcp/pair.cc:547] Read error [10.0.0.2]:7843: {}"
    assert is_unreachable(RuntimeError(read.format(os.strerror(errno.ETIMEDOUT))))
    assert is_unreachable(RuntimeError(read.format(os.strerror(errno.EHOSTUNREACH))))
    assert not is_unreachable(RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]"))
    assert not is_unreachable(RuntimeError("Timed out waiting 3600000ms for recv operation to complete"))
