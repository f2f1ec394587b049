"""The embedded relay: what clients reach only through it, what it sends them, and which are disconnected."""
import os
import socket
import struct
import time
import zlib

import pytest

import derp
from net import PATIENCE, wait_for
from node import NEW, OLD
from relay import registered_key
from sockets import stranger

RELAY_PORT = 8443


def relay_connections(server, ip):
    """How many connections from `ip` the server's side of the relay has open."""
    said = server.space.run("ss", "-Htn", "state", "established", "sport", "= :%d" % RELAY_PORT, "dst", ip,
                            quiet=True).stdout
    return len(said.splitlines())


def stun_request():
    """A binding request as clients send it."""
    body = struct.pack(">HH8s", 0x8022, 8, b"tailnode")
    head = struct.pack(">HHI12s", 1, len(body) + 8, 0x2112A442, os.urandom(12))
    return head + body + struct.pack(">HHI", 0x8028, 4, zlib.crc32(head + body) ^ 0x5354554E)


def stun_answers(server, space, timeout=0.5):
    """Whether a binding request is answered."""
    with space.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(timeout)
        sock.sendto(stun_request(), (server.space.ip, 3478))
        try:
            return sock.recv(2048)[:2] == b"\x01\x01"
        except TimeoutError:
            return False


def test_behind_routers_that_block_udp(world):
    """Plain HTTP, nothing configured, no UDP: nodes in two home networks reach each other only through the relay."""
    server = world.server(with_tls=False)
    key = server.key("--reusable")
    nodes = []
    for name, version in (("n1", NEW), ("n2", OLD)):
        router = world.net.add_router("router-" + name, drops_udp=True)
        nodes.append(world.node(name, version, router=router))
        nodes[-1].up(key)
    n1, n2 = nodes
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    assert "UDP: false" in n1.ts("netcheck").stdout
    for a, b in ((n1, n2), (n2, n1)):
        said = a.ts_ping(b.addresses[0], "--until-direct=false", count=3)
        assert "via DERP(fullscale)" in said, said
    n1.ping(n2.addresses[0])
    n1.tcp(n2, n2.addresses[0])
    assert server.metrics()['fullscale_derp_packets_received_kind_total{kind="other"}'] > 100


def test_direct_after_the_introduction(world):
    """One node behind a home router, one public: they find a direct path by disco packets through the relay, and the
    first knows its outer address from STUN."""
    server = world.server()
    router = world.net.add_router("router")
    key = server.key("--reusable")
    n1, n2 = world.node("n1", router=router), world.node("n2")
    n1.up(key)
    n2.up(key)
    n2.wait_peers("n1")
    said = n2.ts_ping(n1.addresses[0], "--until-direct")
    assert "via %s:" % router.ip in said, said
    endpoints = n2.netmap()["Peers"][0]["Endpoints"]
    assert any(at.startswith(router.ip + ":") for at in endpoints), endpoints
    metrics = server.metrics()
    assert metrics['fullscale_stun_addrfamily_total{family="ipv4"}'] > 0
    assert metrics['fullscale_derp_packets_received_kind_total{kind="disco"}'] > 0


def test_a_deleted_node_leaves_the_relay_at_once(world):
    """A deleted node's connection is closed and it does not come back; others lose no packet."""
    server = world.server(derp={"server": {"listen_addr": "0.0.0.0:%d" % RELAY_PORT}})
    n1, n2, n3 = world.nodes_without_udp("n1", "n2", "n3")
    for node in (n1, n2, n3):
        wait_for("%s is at the relay" % node.name, lambda: relay_connections(server, node.ip) == 1)
    n1.wait_peers("n2", "n3")
    n1.ping(n2.addresses[0])
    closed = 'fullscale_derp_closed_total{reason="revoked"}'
    before = server.metrics()[closed]
    pings = n1.ping_long(n2.addresses[0], 5)
    time.sleep(1)
    started = time.monotonic()
    server.cli("nodes", "delete", "n3", "--force")
    wait_for("its connection is closed", lambda: server.metrics()[closed] == before + 1, timeout=2)
    took = time.monotonic() - started
    assert took < 2 * PATIENCE, "%.1f s" % took
    wait_for("it is away", lambda: relay_connections(server, n3.ip) == 0, timeout=5)
    assert pings.lost(timeout=30) == []
    assert server.metrics()["fullscale_derp_clients_local"] == 2
    assert relay_connections(server, n3.ip) == 0
    assert server.metrics()[closed] == before + 1


SMALL = {"server": {"listen_addr": "0.0.0.0:%d" % RELAY_PORT, "limits": {"connections": 16}}}


def test_a_full_relay_is_silent(world):
    """STUN answers only while a node would get in: nodes of the tailnet have all places."""
    server = world.server(derp=SMALL)
    key = server.key("--reusable")
    space, address = stranger(server), (server.space.ip, RELAY_PORT)
    assert stun_answers(server, space)
    held = [derp.Derp(space, address, key=registered_key(server, key, "n%d" % i)) for i in range(16)]
    wait_for("STUN is silent", lambda: not stun_answers(server, space), timeout=5)
    metrics = server.metrics()
    assert metrics["fullscale_derp_healthy"] == 0
    assert metrics['fullscale_stun_requests_total{disposition="silent"}'] > 0
    with pytest.raises((EOFError, ConnectionError)):
        derp.Derp(space, address, key=registered_key(server, key, "late"))
    for one in held:
        one.close()
    wait_for("STUN answers again", lambda: stun_answers(server, space), timeout=5)
    assert server.metrics()["fullscale_derp_healthy"] == 1


def hold(space, address, first=b""):
    """A connection that sends no more than this. None: it is not accepted."""
    try:
        sock = space.connect(address, timeout=2)
        sock.sendall(first)
        return sock
    except OSError:
        return None


def twin(space, address, key):
    try:
        return derp.Derp(space, address, key=key)
    except (EOFError, OSError):
        return None


def test_strangers_take_no_places(world):
    """Connections that send nothing, or half of a login, to both listeners, and many of one node: STUN answers
    all the time, and another node gets in, from elsewhere and from where they are."""
    server = world.server(with_tls=False, derp=SMALL)
    key = server.key("--reusable")
    greedy, late, later = (registered_key(server, key, name) for name in ("greedy", "late", "later"))
    space, other = stranger(server), world.net.add("other")
    relay, main = (server.space.ip, RELAY_PORT), server.address
    upgrade = b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
    held = [hold(space, relay) for _ in range(150)]
    held += [hold(space, main, upgrade + b"\x02\x00\x00\x10\x00half a login") for _ in range(150)]
    held += [twin(space, relay, greedy) for _ in range(60)]
    held += [hold(space, relay) for _ in range(50)]
    for _ in range(8):
        assert stun_answers(server, space)
        time.sleep(0.5)
    first, second = derp.Derp(other, relay, key=late), derp.Derp(space, relay, key=later)
    first.packet(later.public, b"hello")
    assert second.expect(derp.RECV_PACKET) == late.public + b"hello"
    metrics = server.metrics()
    assert metrics["fullscale_derp_healthy"] == 1
    assert metrics['fullscale_derp_closed_total{reason="key_limit"}'] > 0
    assert metrics['fullscale_derp_closed_total{reason="login_limit"}'] > 0
    for one in held:
        if one is not None:
            one.close()


def test_stun_floods_nobody(world):
    """Requests with a forged source address get few answers; others are answered meanwhile."""
    server = world.server()
    space, other = stranger(server), world.net.add("other")
    with space.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    got, started = 0, time.monotonic()
    with sock:
        sock.settimeout(0.2)
        for _ in range(60):
            for _ in range(100):
                sock.sendto(stun_request(), (server.space.ip, 3478))
            try:
                while len(sock.recv(100)) <= 40:
                    got += 1
            except TimeoutError:
                pass
    assert 500 < got <= 2000 + 201 * (time.monotonic() - started)
    assert server.metrics()['fullscale_stun_requests_total{disposition="rate"}'] > 0
    assert stun_answers(server, other)
