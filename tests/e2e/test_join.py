"""Joining: by key, both client versions, and reaching each other."""
import concurrent.futures
import time

import pytest

from net import PATIENCE, wait_for
from node import NEW, OLD


@pytest.mark.parametrize("first,second", [(OLD, OLD), (NEW, NEW), (OLD, NEW)], ids=["old", "new", "mixed"])
def test_two_nodes_reach_each_other(world, first, second):
    world.server()
    n1, n2 = world.join(("n1", first), ("n2", second))
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    for a, b in ((n1, n2), (n2, n1)):
        for address in b.addresses:
            a.ping(address)
            a.tcp(b, address)


def test_names_and_addresses(world):
    """Both clients and the server agree about names and addresses; equal names are made unique; MagicDNS answers."""
    server = world.server()
    n1, n2 = world.join("n1", "n2")
    twin = world.node("n3")
    twin.up(server.key(), hostname="n1")
    listed = {n["givenName"]: n for n in server.nodes()}
    assert sorted(listed) == ["n1", "n1-1", "n2"], sorted(listed)
    for name, node in (("n1", n1), ("n2", n2), ("n1-1", twin)):
        assert sorted(listed[name]["ipAddresses"]) == sorted(node.addresses)
        assert listed[name]["online"]
    every = [ip for n in listed.values() for ip in n["ipAddresses"]]
    assert len(every) == len(set(every))
    said = n2.space.run("dig", "+short", "+time=3", "@100.100.100.100", "n1.tailnet.internal", "A").stdout.split()
    assert said == [n1.addresses[0]]


def test_a_third_is_known_within_a_second(world):
    world.server()
    n1, n2 = world.join("n1", ("n2", OLD))
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    n3, = world.join("n3")
    joined = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda n: n.wait_peers("n3", timeout=5), (n1, n2)))
    took = time.monotonic() - joined
    assert took < 1.0 * PATIENCE, "%.2f s" % took
    n3.wait_peers("n1", "n2")


def test_direct_path(world):
    world.server()
    n1, n2 = world.join("n1", ("n2", OLD))
    n1.wait_peers("n2")
    said = n1.ts_ping(n2.addresses[0], "--until-direct")
    assert "via %s:41641" % n2.ip in said, said


def test_relayed_path(world):
    """No UDP between the nodes: everything goes through the relay, over both address families."""
    world.server()
    n1, n2 = world.nodes_without_udp("n1", ("n2", OLD))
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    said = n1.ts_ping(n2.addresses[0], "--until-direct=false", count=3)
    assert "via DERP(fullscale)" in said, said
    for a, b in ((n1, n2), (n2, n1)):
        for address in b.addresses:
            a.ping(address)
    n1.tcp(n2, n2.addresses[0])
    n2.tcp(n1, n1.addresses[1])


def test_netcheck_finds_the_relay(world):
    """STUN answers with the address that the client has, and the relay becomes its home."""
    world.server()
    n1, = world.join("n1")
    said = n1.ts("netcheck").stdout
    assert "UDP: true" in said and n1.ip in said, said
    wait_for("home relay", lambda: n1.status()["Self"]["Relay"] == "fullscale")


def test_plain_http(world):
    world.server(with_tls=False)
    n1, n2 = world.join(("n1", OLD), "n2")
    n1.wait_peers("n2")
    n1.ping(n2.addresses[0])


def test_without_a_network_interface(world):
    """tailscaled --tun=userspace-networking: same control traffic, and `tailscale ping` works."""
    server = world.server()
    n1 = world.node("n1", with_tun=False)
    n1.up(server.key())
    n2, = world.join("n2")
    n2.wait_peers("n1")
    assert "pong from n1" in n2.ts_ping(n1.addresses[0])
