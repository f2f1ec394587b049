"""`fullscale relay`: enrolled with one command, in every node's map for as long as it runs, meshed, and admitting the
clients that the server allows.

   srv (control; relay 999 inside) ── r1 (902) ── r2 (902 or 903) ── clients
"""
import os
import time

import pytest

import derp
from net import PATIENCE, wait_for
from node import NEW, OLD
from relay import Relay, dial, home, regions, registered_key


def test_enrolled_with_one_command(world):
    """The relay appears in every map, leaves it when it is drained or killed, and returns without a new enrolment."""
    server = world.server()
    n1, n2 = world.join("n1", ("n2", OLD))
    assert set(regions(n1)) == {999}
    r1 = Relay(world, "r1").enrol().wait_up()
    assert r1.region == 901
    for node in (n1, n2):
        wait_for("%s knows r1" % node.name, lambda: regions(node) == {901: ["901-r1"], 999: ["999a"]}, 5)
    assert r1.metrics()["fullscale_relay_control_connected"] == 1

    r1.stop()  # drains
    assert not r1.listed()["up"]
    for node in (n1, n2):
        wait_for("%s knows that r1 is gone" % node.name, lambda: set(regions(node)) == {999}, 5)
    r1.start().wait_up()
    wait_for("n1 knows r1 again", lambda: 901 in regions(n1), 5)
    r1.kill()
    r1.wait_up(False, timeout=30)
    wait_for("n1 knows that r1 died", lambda: 901 not in regions(n1), 5)
    r1.start().wait_up()

    # The server restarts: nodes keep the relay, and it announces itself to the new one.
    server.restart()
    assert r1.listed()["up"]
    wait_for("r1 has found the server again", lambda: r1.metrics()["fullscale_relay_control_connected"] == 1, 20)
    assert 901 in regions(n1)
    server.cli("relays", "delete", "r1", "--force")
    wait_for("n1 knows that r1 is deleted", lambda: 901 not in regions(n1), 5)


def test_refused_in_words(world):
    server = world.server()
    r1 = Relay(world, "r1")
    r1.start("--server", server.url, "--key", "fskey-relay-0123456789ab-wrong")
    assert r1.process.wait(20) == 1
    assert "relays create" in r1.tail()
    r1.start()
    assert r1.process.wait(20) == 78  # systemd does not try again
    assert "belongs to no control server yet" in r1.tail()
    r1.start("--server", "hs.example.com", "--key", r1.key)
    assert r1.process.wait(20) == 78  # systemd does not try again
    assert "must be a URL" in r1.tail()


def test_only_nodes_of_the_tailnet(world):
    """The control server admits clients; a node that is deleted or expires there is disconnected here at once."""
    server = world.server()
    auth_key = server.key("--reusable")
    stays, goes, expires = (registered_key(server, auth_key, name) for name in ("stays", "goes", "expires"))
    r1 = Relay(world, "r1").enrol().wait_up()
    stranger = world.net.add("stranger")
    clients = {key: dial(stranger, r1, key) for key in (stays, goes, expires)}
    with pytest.raises((EOFError, ConnectionError)):
        dial(stranger, r1, None)
    server.cli("nodes", "delete", "goes", "--force")
    server.cli("nodes", "expire", "expires")
    for key in (goes, expires):
        with pytest.raises((EOFError, ConnectionError)):
            clients[key].expect(derp.RECV_PACKET, timeout=2)
        with pytest.raises((EOFError, ConnectionError)):
            dial(stranger, r1, key)
    clients[stays].packet(stays.public, b"still here")
    assert clients[stays].expect(derp.RECV_PACKET) == stays.public + b"still here"

    # While the server is away, clients that it has admitted before are let in, and others are not.
    late = registered_key(server, auth_key, "late")
    server.kill()
    clients[stays].close()
    again = dial(stranger, r1, stays)
    with pytest.raises((EOFError, ConnectionError)):
        dial(stranger, r1, late)
    server.start()
    dial(stranger, r1, late).close()
    # What was missed meanwhile is asked for: a node that is deleted while the relay cannot be reached.
    server.cli("nodes", "delete", "stays", "--force")
    with pytest.raises((EOFError, ConnectionError)):
        again.expect(derp.RECV_PACKET, timeout=20)


def test_two_relays_mesh(world):
    """Two relays of one region forward packets to each other; the server sent them the secret and the address of the
    other."""
    server = world.server()
    auth_key = server.key("--reusable")
    ka, kb = (registered_key(server, auth_key, name) for name in ("a", "b"))
    r1 = Relay(world, "r1", region=902).enrol()
    r2 = Relay(world, "r2", region=902).enrol()
    r1.wait_up(), r2.wait_up()
    stranger = world.net.add("stranger")
    a, b = dial(stranger, r1, ka), dial(stranger, r2, kb)

    def try_until_it_comes(src, dst, data):
        def once():
            src.packet(dst.key.public, data)
            try:
                return dst.expect(derp.RECV_PACKET, timeout=0.5) == src.key.public + data
            except TimeoutError:
                return False
        wait_for("a packet", once, 20, every=0)

    try_until_it_comes(a, b, b"there")
    try_until_it_comes(b, a, b"and back")
    for size in (0, 1200, 65536):
        data = os.urandom(size)
        a.packet(kb.public, data)
        while (got := b.expect(derp.RECV_PACKET)) == ka.public + b"there":
            pass
        assert got == ka.public + data
    assert r1.metrics()["fullscale_derp_packets_forwarded_out_total"] >= 4
    n1, = world.join("n1")
    assert regions(n1)[902] == ["902-r1", "902-r2"]
    # One of them drains: the other goes on, and the clients of the first connect to it.
    r2.stop()
    b = dial(stranger, r1, kb)
    while True:
        a.packet(kb.public, b"over one relay")
        if b.expect(derp.RECV_PACKET) == ka.public + b"over one relay":
            break


def test_with_the_relay_inside(world):
    """A relay that is enrolled into the region of the server's own meshes with that."""
    server = world.server()
    auth_key = server.key("--reusable")
    ka, kb = (registered_key(server, auth_key, name) for name in ("a", "b"))
    r1 = Relay(world, "r1", region=999).enrol().wait_up()
    stranger = world.net.add("stranger")
    a, b = derp.Derp(stranger, server.address, key=ka), dial(stranger, r1, kb)
    for src, dst in ((a, b), (b, a)):
        def once():
            src.packet(dst.key.public, b"hello")
            try:
                return dst.expect(derp.RECV_PACKET, timeout=0.5) == src.key.public + b"hello"
            except TimeoutError:
                return False
        wait_for("a packet", once, 20, every=0)


@pytest.mark.parametrize("version", [NEW, OLD], ids=["new", "old"])
def test_a_killed_relay_is_left(world, version):
    """Two regions, UDP blocked: the relay that is home to both nodes is killed. They use the other and reach each
    other again within 15 seconds; when the killed one is back it is in the map again, and they still do."""
    world.server(derp={"server": {"enabled": False}})
    r1, r2 = Relay(world, "r1", region=902).enrol().wait_up(), Relay(world, "r2", region=903)
    n1, n2 = world.nodes_without_udp(("n1", version), ("n2", version), stun=[r1.space.ip, r2.space.ip])
    n1.wait_peers("n2")
    n1.ping(n2.addresses[0])
    r2.enrol().wait_up()
    for node in (n1, n2):
        wait_for("%s knows r2" % node.name, lambda: r2.region in regions(node), 5)
        assert home(node) == "r1"  # the first was first
    n1.ping(n2.addresses[0])
    r1.kill()
    start = time.monotonic()
    wait_for("n1 reaches n2 again", lambda: n1.answers(n2.addresses[0]), 30, every=0)
    took = time.monotonic() - start
    print("talked again after %.1f s" % took)
    assert took < 15 * PATIENCE
    wait_for("both have moved", lambda: home(n1) == home(n2) == "r2", 20)
    n1.ping(n2.addresses[0], count=5)
    r1.wait_up(False, timeout=30)
    wait_for("n1 knows that r1 is gone", lambda: r1.region not in regions(n1), 5)
    n1.ping(n2.addresses[0], count=5)
    r1.start().wait_up()
    wait_for("n1 knows that it is back", lambda: r1.region in regions(n1), 5)
    n1.ping(n2.addresses[0], count=5)
