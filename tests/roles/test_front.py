from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest

from aegis.embedded.trouble import CannotStart
from aegis.roles.front import CONNECTION, READY, Front, open_listeners
from aegis.roles.supervision import Supervision


@pytest.fixture
def front() -> Iterator[Front]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # as `aegis up` does: both ends are in this process
    made = Front(open_listeners(["127.0.0.1"], 0), Supervision())
    yield made
    made.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _gateway(front: Front) -> socket.socket:
    """Our end of a ready gateway's channel."""
    ours, theirs = socket.socketpair()
    front.join(theirs)
    ours.send(READY)
    ours.setblocking(False)
    front._supervision.turn(restart=False)
    return ours


def _calls(front: Front, count: int) -> list[socket.socket]:
    calls = [socket.create_connection(("127.0.0.1", front.port)) for _ in range(count)]
    for _ in range(5):
        front._supervision.turn(restart=False, longest_s=0.05)
    return calls


def _taken(channel: socket.socket) -> list[socket.socket]:
    taken = []
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        except BlockingIOError:
            return taken
        assert data == CONNECTION
        taken += [socket.socket(fileno=number) for number in descriptors]


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


def test_connections_are_dealt_out_evenly(front: Front) -> None:
    gateways = [_gateway(front), _gateway(front)]
    calls = _calls(front, 8)
    taken = [_taken(gateway) for gateway in gateways]
    assert [len(each) for each in taken] == [4, 4]
    taken[0][0].sendall(b"hello")
    assert b"hello" in [call.recv(5) for call in calls if call.getsockname() == taken[0][0].getpeername()]
    _close(*calls, *taken[0], *taken[1], *gateways)


def test_connections_wait_while_no_gateway_is_ready(front: Front) -> None:
    calls = _calls(front, 2)
    gateway = _gateway(front)
    front._supervision.turn(restart=False)
    taken = _taken(gateway)
    assert len(taken) == 2
    _close(*calls, *taken, gateway)


def test_the_first_connections_wait_for_all_gateways() -> None:
    front = Front(open_listeners(["127.0.0.1"], 0), Supervision(), expected=2)
    first = _gateway(front)
    calls = _calls(front, 4)
    assert not _taken(first)
    second = _gateway(front)
    front._supervision.turn(restart=False)
    taken = [_taken(first), _taken(second)]
    assert [len(each) for each in taken] == [2, 2]
    _close(*calls, *taken[0], *taken[1], second)
    front._supervision.turn(restart=False)
    calls = _calls(front, 2)
    alone = _taken(first)
    assert len(alone) == 2
    _close(*calls, *alone, first)
    front.close()


def test_a_gateway_that_died_gets_none(front: Front) -> None:
    dead, alive = _gateway(front), _gateway(front)
    dead.close()
    calls = _calls(front, 4)
    taken = _taken(alive)
    assert len(taken) == 4
    _close(*calls, *taken, alive)


def test_a_gateway_whose_queue_is_full_loses_none(front: Front) -> None:
    gateway = _gateway(front)
    calls = _calls(front, 600)
    taken = _taken(gateway)
    while len(taken) < 600:
        front._supervision.turn(restart=False, longest_s=0.05)
        taken += _taken(gateway)
    _close(*calls, *taken, gateway)


def test_after_closing_nothing_is_accepted(front: Front) -> None:
    gateway = _gateway(front)
    port = front.port
    front.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    gateway.close()


def test_a_port_that_another_program_has_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port}: another program has it: choose another one with --port"):
            open_listeners(["127.0.0.1", "::1"], port)


def test_both_loopbacks_get_the_same_free_port() -> None:
    listeners = open_listeners(["127.0.0.1", "::1"], 0)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    _close(*listeners)


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(CannotStart, match=r"couldn't listen on 192\.0\.2\.1 port"):
        open_listeners(["192.0.2.1"], 0)
