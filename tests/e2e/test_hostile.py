"""Bad neighbours and bad input against a running server: it answers with an error or closes, nothing is lost, memory
stays bounded. Memory is measured on the release build."""
import json
import os
import socket
import struct
import time

import pytest

import wire
from net import wait_for
from node import OLD
from server import OWN_RELAY_PORT, RELEASE
from sockets import connect, stranger

MIB = 1 << 20


def server_public(server):
    return wire.server_key_over(connect(server))


def session(server, public=None, **kwargs):
    """A Noise session of a machine that is unknown to the server."""
    return wire.Session(connect(server, **kwargs), public or server_public(server), wire.Key())


def is_closed(sock, timeout=30):
    """Whether the server ends the connection (answers before that are read and dropped)."""
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def is_refused(sock, timeout=20):
    """Whether the server closes the connection or answers with an error."""
    sock.settimeout(timeout)
    try:
        said = sock.recv(65536)
    except TimeoutError:
        return False
    except OSError:
        return True
    return said == b"" or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4", b"\x03"))


def check_still_serves(world, server):
    """A new official client joins and reaches an older one."""
    fresh, = world.join("fresh")
    fresh.wait_peers("n1")
    assert server.is_healthy()


def test_ten_thousand_half_open_connections(world):
    """10,000 connections that send half a request: nodes go on, memory stays bounded, all are closed in time."""
    server = world.server(program=RELEASE, with_tls=False, limits={"handshake_timeout": "20s"})
    n1, = world.join("n1")
    space, held = stranger(server), []
    before, idle_files = server.rss_bytes(), server.open_files()
    with space.entered():
        for i in range(10_000):
            sock = socket.socket()
            sock.settimeout(5)
            try:
                sock.connect(server.address)
                sock.sendall(b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgr" if i % 2 else b"")
                held.append(sock)
            except OSError:
                sock.close()
    print("%d connections held, server has %d files, RSS %.1f MiB (before %.1f)" % (
        len(held), server.open_files(), server.rss_bytes() / MIB, before / MIB))
    assert server.rss_bytes() - before < 150 * MIB
    check_still_serves(world, server)
    wait_for("the server lets go of them", lambda: server.open_files() < idle_files + 100, 60, every=0.5)
    for sock in held:
        sock.close()
    assert n1.state == "Running"


def test_silent_peers_of_tls(world):
    """The same for TLS: connections that never finish the handshake are closed."""
    server = world.server(limits={"handshake_timeout": "2s"})
    world.join("n1")
    held = [stranger(server).connect(server.address) for _ in range(300)]
    for i, sock in enumerate(held):
        sock.sendall(b"\x16\x03\x01\x02\x00\x01" if i % 2 else b"")
    check_still_serves(world, server)
    for sock in held:
        assert is_closed(sock)
        sock.close()


def test_vanished_peers(world):
    """Machines with established sessions vanish without a FIN: other nodes are not affected."""
    server = world.server()
    n1, = world.join("n1")
    key, space = server.key("--reusable"), stranger(server)
    sessions = []
    for i in range(20):
        machine, node_key = wire.Key(), wire.Key()
        made = wire.Session(connect(server, space), server_public(server), machine)
        made.register(node_key, key, "ghost-%d" % i)
        made.poll(node_key, "ghost-%d" % i).next_map()
        sessions.append(made)
    n1.wait_peers("ghost-0", "ghost-19")
    space.nft("chain output { type filter hook output priority 0; drop\n}\n"
              "chain input { type filter hook input priority 0; drop\n}")
    check_still_serves(world, server)
    for made in sessions:
        made.close()


@pytest.mark.parametrize("path", ["/", "/machine/map", "/ts2021"])
def test_body_of_100_mb_outside_noise(world, path):
    server = world.server(program=RELEASE, with_tls=False)
    world.join("n1")
    before = server.peak_rss_bytes()
    sock = connect(server)
    sent = pour(sock, b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n" % path.encode(), 100 * MIB)
    print("%d bytes taken" % sent)
    assert is_closed(sock)
    assert server.peak_rss_bytes() - before < 20 * MIB
    check_still_serves(world, server)


def pour(sock, head, total):
    """Sends until the server closes or stops reading; returns how many bytes it took."""
    sent = 0
    try:
        sock.sendall(head)
        while sent < total:
            sock.sendall(bytes(65536))
            sent += 65536
    except OSError:
        pass
    return sent


def test_body_of_100_mb_inside_noise(world):
    """Any stranger can complete the handshake: ten at once, each with a request that never ends."""
    server = world.server(program=RELEASE)
    world.join("n1")
    before = server.peak_rss_bytes()
    statuses = []
    for _ in range(10):
        made = session(server)
        try:
            statuses.append(made.request("/machine/register", bytes(100 * MIB))[0])
        except (wire.Closed, OSError):
            statuses.append(None)
        made.close()
    print(statuses)
    assert all(s is None or 400 <= s < 500 for s in statuses)
    assert server.peak_rss_bytes() - before < 60 * MIB
    check_still_serves(world, server)


def test_hostile_json(world):
    """Bodies nested 100,000 deep, cut short, of the wrong type, with impossible numbers: an error each time, and the
    session goes on working."""
    server = world.server()
    world.join("n1")
    key = server.key("--reusable")
    made = session(server)
    node_key = wire.Key()
    bodies = [b"", b"{", b"[" * 100_000, b'{"Hostinfo":' + b'{"a":' * 100_000, b"null", b"[]", b"1e999", b"\xff\xfe",
              b'{"Version":"113"}', b'{"Version":1e400}', b'{"Version":113,"NodeKey":"nodekey:00"}',
              b'{"Version":113,"NodeKey":null,"Hostinfo":"x"}', b"{}" + b" " * 1000 + b"x",
              json.dumps({"Version": 113, "NodeKey": node_key.text("nodekey"), "Hostinfo": {"Hostname": "a" * 500_000},
                          "Auth": {"AuthKey": "k" * 200_000}}).encode()]
    for path in ("/machine/register", "/machine/map"):
        for body in bodies:
            try:
                status, answer = made.request(path, body)
            except wire.Closed:
                made.close()
                made = session(server)
                continue
            refused = status >= 400 or json.loads(answer or b"{}").get("Error") or json.loads(answer).get("AuthURL")
            assert refused, (path, body[:60], status, answer[:200])
            assert status < 500, (path, body[:60], status)
    assert not made.register(node_key, key, "honest")["Error"]
    made.close()
    check_still_serves(world, server)


def test_another_nodes_key(world):
    """A machine that asks for the map of another machine's node gets nothing, and that node is not affected."""
    server = world.server()
    n1, = world.join("n1")
    victim = server.node("n1")["nodeKey"]
    thief = session(server)
    for more in ({"Stream": True}, {}, {"OmitPeers": True}, {"ReadOnly": True}):
        body = dict(thief.map_request(wire.Key(), **more), NodeKey=victim)
        stream = thief.open("/machine/map", body)
        while not stream.is_ended and not stream.body:
            thief._pump()
        said = bytes(stream.body).decode(errors="replace")
        assert stream.status in (401, 403, 404) or n1.addresses[0] not in said, said
    answer = thief.register(wire.Key(), None, "thief", NodeKey=victim)
    assert answer.get("Error") or answer.get("AuthURL")
    # Nor may it take over the node by naming it as its former self, even with a good key of its own.
    mine = wire.Key()
    answer = thief.register(mine, server.key(), "thief", OldNodeKey=victim)
    assert server.node("n1")["nodeKey"] == victim
    logout = thief.register(wire.Key(), None, "thief", NodeKey=victim, Expiry="1970-01-01T00:02:03Z")
    assert logout.get("Error") or logout.get("NodeKeyExpired")
    assert n1.state == "Running" and server.node("n1")["online"]
    thief.close()


def test_handshake_for_another_server(world):
    server = world.server()
    world.join("n1")
    for _ in range(5):
        with pytest.raises((wire.Closed, AssertionError)):
            wire.Session(connect(server), wire.Key().public, wire.Key())
    check_still_serves(world, server)


def test_handshakes_that_are_none(world):
    """Upgrade requests whose handshake has a wrong length or type, is not base64, or is absent."""
    server = world.server()
    world.join("n1")
    good = wire.Handshake(wire.Key(), server_public(server)).initiation()
    for bad in (b"", good[:-1], good + b"x", bytes(101), b"\x00\x71\x02" + good[3:], good[:3] + b"\x00\x61" + good[5:],
                os.urandom(101), good[:60] + bytes(41)):
        sock = connect(server)
        sock.sendall(wire.upgrade_request(bad))
        assert is_refused(sock) or is_closed(sock, 5), bad
        sock.close()
    for raw in (b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\n"
                b"Connection: upgrade\r\n\r\n",
                b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
                b"X-Tailscale-Handshake: !!!!\r\n\r\n", b"GET /ts2021 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x00" * 4000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000, b"GET /" + b"a" * 1_000_000):
        sock = connect(server)
        try:
            sock.sendall(raw)
        except OSError:
            pass
        assert is_refused(sock), raw[:60]
        sock.close()
    check_still_serves(world, server)


def test_records_that_are_none(world):
    """Records of every kind of wrong length, forged, replayed: the connection is closed."""
    server = world.server()
    world.join("n1")
    for index in range(8):
        made = session(server)
        made._start_h2()
        good = made.record(b"hello")
        bad = [b"\x04\x00\x00", b"\x04\x00\x0f" + bytes(15), b"\x04\x0f\xfe" + bytes(4094),
               b"\x04\xff\xff" + bytes(65535),
               b"\x01\x00\x10" + bytes(16), good[:-1] + bytes([good[-1] ^ 1]), b"\x04\x00\x10" + bytes(16),
               good + good][index]
        try:
            made.send_raw(bad)
        except wire.Closed:
            pass
        assert is_closed(made.sock), index
        made.close()
    check_still_serves(world, server)


def test_slow_reader(world):
    """A node that asks for its map and does not read: the others get every change at once, the server does not
    grow, and when the slow node reads again it gets the newest state."""
    server = world.server(program=RELEASE)
    n1, n2 = world.join("n1", ("n2", OLD))
    key = server.key("--reusable")
    public = server_public(server)
    slow = session(server, public, receive_buffer=4096)
    slow_key = wire.Key()
    slow.register(slow_key, key, "slow")
    stream = slow.poll(slow_key, "slow")
    stream.next_map()
    before = server.rss_bytes()
    everyone = {"m-%d" % i for i in range(200)}
    for i, name in enumerate(sorted(everyone)):
        node_key, made = wire.Key(), session(server, public)
        assert not made.register(node_key, key, name)["Error"]
        made.request("/machine/map",
                     made.map_request(node_key, name, OmitPeers=True, Endpoints=["198.18.0.9:%d" % (i + 1)]))
        made.close()
    for node in (n1, n2):
        node.wait_peers(*everyone, online=False, timeout=20)
    grown = server.rss_bytes() - before
    print("grown by %.1f MiB" % (grown / MIB))
    assert grown < 40 * MIB
    # Either the server has closed the session, or the node now reads up to the newest state.
    names, end = set(), time.monotonic() + 60
    slow.sock.settimeout(20)
    try:
        while not everyone <= names and time.monotonic() < end:
            frame = stream.next_map()
            for peer in (frame.get("Peers") or []) + (frame.get("PeersChanged") or []):
                names.add(peer["Name"].split(".")[0])
        assert everyone <= names
    except (wire.Closed, OSError):
        stream = None
    slow.close()
    assert n1.state == "Running" and n2.state == "Running"


def test_strangers_get_little(world):
    """Sessions that never register are closed after a while, and do not make the server grow."""
    server = world.server(program=RELEASE, with_tls=False, limits={"idle_timeout": "10s"})
    world.join("n1")
    before = server.rss_bytes()
    public = server_public(server)
    held = [wire.Session(connect(server), public, wire.Key()) for _ in range(500)]
    grown = server.rss_bytes() - before
    print("%.1f KiB a session" % (grown / 500 / 1024))
    assert grown < 40 * MIB
    check_still_serves(world, server)
    for made in held:
        assert is_closed(made.sock, 40)
        made.close()


def test_relay_port_gets_garbage(world):
    """Invalid bytes to the relay's and STUN's ports do no harm."""
    server = world.server(derp=OWN_RELAY_PORT)
    n1, = world.join("n1")
    space = stranger(server)
    for raw in (b"", b"GET /derp HTTP/1.1\r\n\r\n", os.urandom(5000), b"\x16\x03\x01" + os.urandom(600)):
        sock = space.connect((server.space.ip, 8443))
        sock.sendall(raw)
        sock.close()
    with space.entered():
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    good = struct.pack(">HHI", 1, 0, 0x2112A442) + os.urandom(12)
    for raw in (b"", good[:19], os.urandom(20), os.urandom(1400), good[:2] + b"\xff\xff" + good[4:]):
        udp.sendto(raw, (server.space.ip, 3478))
    udp.settimeout(0.5)
    with pytest.raises(TimeoutError):
        udp.recv(2000)
    udp.close()
    check_still_serves(world, server)
    assert n1.state == "Running"


def test_a_neighbour_that_says_nonsense(world):
    """Official clients, new and old, beside a node whose Hostinfo has no member of the right type: they stay online,
    see and reach each other, and still do after the clients were restarted and have only a full map."""
    server = world.server()
    n1, n2 = world.join("n1", ("n2", OLD))
    evil, evil_key = session(server), wire.Key()
    nonsense = {"OS": {"a": 1}, "OSVersion": 7, "Hostname": ["evil"], "App": [1], "ShieldsUp": "maybe",
                "sshHostKeys": 5,
                "Location": "nowhere", "IngressEnabled": 3, "WireIngress": {}, "PeerRelay": "x",
                "AppConnector": "unset",
                "Services": [{"Proto": "peerapi4", "Port": 99999, "Description": {}}, 7], "RoutableIPs": [8, "x"]}
    assert not evil.register(evil_key, server.key(), "evil", Hostinfo=nonsense)["Error"]
    stream = evil.open("/machine/map", dict(evil.map_request(evil_key, Stream=True), Hostinfo=nonsense))
    stream.next_map()
    for i in range(3):
        said = dict(nonsense, NetInfo={"PreferredDERP": 999}, OSVersion=i)
        body = dict(evil.map_request(evil_key, OmitPeers=True, Endpoints=["x", "192.0.2.%d:1" % i]), Hostinfo=said)
        assert evil.request("/machine/map", body)[0] == 200
    n3, = world.join("n3")
    n1.wait_peers("n2", "n3")
    n2.wait_peers("n1", "n3")
    for node in (n1, n2):
        node.stop()
        node.start()
        node.wait_running()
    n1.wait_peers("n2", "n3")
    n2.wait_peers("n1", "n3")
    assert n1.answers(n2.addresses[0]) and n3.answers(n1.addresses[0])
    evil.close()
