"""What strangers can make the server hold, and for how long; and that others get through meanwhile. Memory is measured
on the release build."""
import contextlib
import json
import os
import resource
import struct
import time
from pathlib import Path

import wire
from server import OWN_RELAY_PORT, RELEASE
from sockets import connect, stranger

MIB = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
STRANGER_BYTES = 256 * 1024  # docs/limits.md


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(first, bits, n):
    most = (1 << bits) - 1
    if n < most:
        return bytes([first | n])
    out, n = bytes([first | most]), n - most
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def literal(index, value):
    """A header with a name of the static table, not to be indexed."""
    return number(0, 4, index) + number(0, 7, len(value)) + value


def head(path=b"/machine/register"):
    return bytes([0x83, 0x87]) + literal(4, path) + literal(1, b"x")


# Headers for the table that a client may use until it has acknowledged SETTINGS.
REMEMBERED = b"\x40\x01x" + number(0, 7, 4060) + b"v" * 4060
AGAIN = b"\xbe"
SMALL = b"\x90"


def session(server, public, machine=None, space=None):
    return wire.Session(connect(server, space), public, machine or wire.Key())


def bomb(made, repeats, is_complete, window=None):
    """250 requests whose heads repeat 4 KiB by a byte each. SETTINGS is never acknowledged."""
    settings = b"" if window is None else struct.pack(">HI", 4, window)
    out = PREFACE + frame(SETTINGS, 0, 0, settings)
    for i in range(250):
        block = head() + (AGAIN if i else REMEMBERED) + repeats
        out += frame(HEADERS, END_HEADERS | (END_STREAM if is_complete else 0), 1 + 2 * i, block)
    with contextlib.suppress(wire.Closed):
        made.send(out)


def is_over(sock, end):
    """The server has closed the connection, at `end` at the latest."""
    while True:
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            if not sock.recv(1 << 20):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True


def public_key(server):
    return wire.server_key_over(connect(server))


def known_session(server, public):
    """A session of a node, with its machine key and its node key."""
    machine, node = wire.Key(), wire.Key()
    made = session(server, public, machine)
    made.register(node, server.key("--reusable"), "known")
    return made, machine, node


def test_heads_and_closed_windows_of_strangers_are_bounded(world):
    """Heads that are small on the wire and large in memory, complete or not, behind windows that stay closed: a
    connection holds no more than is documented, newcomers and large bodies of nodes get through, and before a minute is
    over all of it is gone."""
    server = world.server(program=RELEASE, with_tls=False)
    public = public_key(server)
    _, machine, node = known_session(server, public)
    before, held = server.rss_bytes(), []
    for repeats in (AGAIN * 2, AGAIN * 2 + SMALL * 30 + AGAIN * 31):
        for is_complete in (False, True):
            for _ in range(5):
                made = session(server, public)
                held.append(made)
                bomb(made, repeats, is_complete, window=0)
    for _ in range(20):  # whole bodies whose answers cannot leave
        made = session(server, public)
        held.append(made)
        out = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
        for i in range(40):
            out += frame(HEADERS, END_HEADERS, 1 + 2 * i, head()) + frame(DATA, END_STREAM, 1 + 2 * i, b"["
                                                                          + b" " * 1000)
        with contextlib.suppress(wire.Closed):
            made.send(out)
    sent, grown = time.monotonic(), server.rss_bytes() - before
    print("%.1f KiB a connection" % (grown / len(held) / 1024))
    assert grown < len(held) * STRANGER_BYTES
    newcomer = session(server, public)
    assert newcomer.register(wire.Key(), server.key(), "newcomer")["MachineAuthorized"]
    blanks = json.dumps(newcomer.map_request(node)).encode()
    again = session(server, public, machine)  # known from the handshake on
    status, _ = again.request("/machine/map", b" " * (MIB - len(blanks)) + blanks)
    assert status == 200
    status, _ = session(server, public).request("/machine/update-health", b" " * (60 * 1024 + 1))
    assert status == 413
    assert all(is_over(made.sock, sent + 60) for made in held)


def test_idle_sessions_keep_nobody_out(world):
    """One address fills its places with sessions that send nothing: a new connection of another address, and even of
    that one, gets in; nodes keep their connections."""
    server = world.server(program=RELEASE, with_tls=False, limits={"connections": 100})
    public, space = public_key(server), stranger(server)
    known, _, node = known_session(server, public)
    held = []
    for _ in range(150):
        with contextlib.suppress(OSError, wire.Closed):
            held.append(session(server, public, space=space))
    for where in (None, space):
        newcomer = session(server, public, space=where)
        assert newcomer.register(wire.Key(), server.key(), "newcomer")["MachineAuthorized"]
    status, _ = known.request("/machine/map", known.map_request(node, OmitPeers=True))
    assert status == 200
    assert server.is_healthy()
    assert server.metrics()["fullscale_tcp_evicted_total"] > 100


def test_a_house_behind_one_address(world):
    """60 devices with three connections each, all from one address that may have a few strangers only."""
    server = world.server(program=RELEASE, with_tls=False, limits={"strangers_per_address": 5, "connections": 2000})
    public, key, held = public_key(server), server.key("--reusable"), []
    for i in range(60):
        machine, node = wire.Key(), wire.Key()
        for k in range(3):
            made = session(server, public, machine)
            if k == 0:
                assert made.register(node, key, "device-%d" % i)["MachineAuthorized"]
            held.append((made, node))
            status, _ = made.request("/machine/map", made.map_request(node, OmitPeers=True))
            assert status == 200
    for made, node in held:  # all are still there
        status, _ = made.request("/machine/map", made.map_request(node, OmitPeers=True))
        assert status == 200


@contextlib.contextmanager
def memory_cgroup(pid, limit):
    """Puts the process into a cgroup with so much memory; yields whether that could be done."""
    folder = Path("/sys/fs/cgroup/fullscale-e2e-%d" % os.getpid())
    try:
        folder.mkdir()
        (folder / "memory.max").write_text(str(limit))
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        print("no memory cgroup here (%s): resident memory is looked at instead" % error)
        with contextlib.suppress(OSError):
            folder.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            (folder.parent / "cgroup.procs").write_text(str(pid))
            folder.rmdir()


def test_a_thousand_anonymous_peers_with_endless_bodies(world):
    """Each sends a body that never ends, in a process that may have 400 MiB: it goes on serving."""
    server = world.server(program=RELEASE, with_tls=False, limits={"handshakes_per_address": 0})
    public, space, held = public_key(server), stranger(server), []
    with memory_cgroup(server.process.pid, 400 * MIB):
        for i in range(1000):
            with contextlib.suppress(OSError, wire.Closed):
                made = session(server, public, space=space)
                made.sock.settimeout(0.2)
                made.send(PREFACE + frame(SETTINGS, 0, 0))
                made.send(frame(HEADERS, END_HEADERS, 1, head()))
                for _ in range(4):
                    made.send(frame(DATA, 0, 1, b"[" * 16000))
                held.append(made)
        print("%d peers, %.1f MiB" % (len(held), server.rss_bytes() / MIB))
        assert len(held) > 900
        assert server.peak_rss_bytes() < 400 * MIB
        newcomer = session(server, public)
        assert newcomer.register(wire.Key(), server.key(), "newcomer")["MachineAuthorized"]


def test_out_of_descriptors(world):
    """Strangers hold every descriptor that they can get: the admin's command line and /health go on."""
    server = world.server(program=RELEASE, with_tls=False)
    limit = server.open_files() + 100
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    space, held = stranger(server), []
    for _ in range(300):
        with contextlib.suppress(OSError):
            held.append(space.connect(server.address, 5))
    assert server.is_healthy()
    server.user("ben")
    said = server.space.run("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", server.url
                            + "/health").stdout
    assert said == "200"
    assert server.open_files() < limit
    for sock in held:
        sock.close()


def test_hello_after_hello(world):
    """TLS handshakes that are begun without end have a rate; another address is not held up."""
    server = world.server(program=RELEASE, limits={"accepts_per_address": 2})
    space, begun = stranger(server), []
    for _ in range(60):
        with contextlib.suppress(OSError):
            sock = space.connect(server.address, 2)
            begun.append(sock)
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50))
    assert server.metrics()['fullscale_tcp_refused_total{reason="rate"}'] >= 20
    public_key(server)


def test_listeners_answer_to_their_own_names(world):
    """Every listener checks the Host header: a page of another site whose name resolves to us gets nothing."""
    server = world.server(program=RELEASE, with_tls=False, derp=OWN_RELAY_PORT, allowed_hosts=["known.example"])
    ip = server.space.ip
    rows = [(server.url, "/health"), (server.url, "/version"), (server.url, "/"),
            (server.url, "/robots.txt"), (server.url, "/nothing"), ("http://127.0.0.1:9090", "/metrics"),
            ("http://127.0.0.1:9090", "/"), ("https://%s:8443" % ip, "/"), ("https://%s:8443" % ip, "/robots.txt")]

    def status(url, host):
        return server.space.run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: " + host,
                                url).stdout

    for base, path in rows:
        good = status(base + path, "127.0.0.1")
        assert good != "421"
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", ip + ".evil.example"):
            assert status(base + path, host) == "421", (base, path, host)
        for host in ("localhost", "[::1]:80", ip, "known.example", "KNOWN.example:1"):
            assert status(base + path, host) == good, (base, path, host)
    # Nodes go on using the name by which they joined; clients ask relays by whatever name a DERP map has for them.
    assert status(server.url + "/key?v=113", "formerly.example") == "200"
    for base in (server.url, "https://%s:8443" % ip):
        assert status(base + "/generate_204", "relay.elsewhere.example") == "204"
