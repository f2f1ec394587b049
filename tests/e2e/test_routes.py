"""Routes: subnet routers, exit nodes, and a router that takes over from another. And tags.

    ┌──────── NET 198.18.0.0/24 ────────┐
    │            │                      │
 ┌──┴───┐   ┌────┴─────┐           ┌────┴────┐
 │ srv  │   │  router  ├── 10.x.0 ─┤ behind  │     the client reaches `behind` only through the router's node
 └──────┘   └──────────┘           └─────────┘
"""
import signal
import time

import pytest

from net import PATIENCE, wait_for
from node import NEW, OLD


def routed(world, name, version=NEW):
    """A node on a machine that forwards to a network of its own, and a machine in there."""
    space = world.net.add_router(name)
    behind = world.net.add(name + "-in", router=space)
    return world.node(name, version, space=space), behind, space.inside + ".0/24"


def routes_of(server, name, kind):
    return (server.node(name) or {}).get(kind) or []


def wait_advertised(server, name, *routes):
    wait_for("%s advertises %s" % (name, routes),
             lambda: set(routes) <= set(routes_of(server, name, "availableRoutes")))


def wait_allowed(client, peer, route, is_there=True):
    def allowed():
        return route in (client.peers().get(peer, {}).get("AllowedIPs") or [])
    wait_for("%s %s a route to %s by %s" % (client.name, "has" if is_there else "has not", route, peer),
             lambda: allowed() == is_there)


@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_subnet_router(world, version):
    server = world.server()
    router, behind, route = routed(world, "router", version)
    router.up(server.key(), "--advertise-routes=" + route)
    client = world.node("client", version)
    client.up(server.key(), "--accept-routes")
    client.wait_peers("router")
    wait_advertised(server, "router", route)
    assert route not in client.peers()["router"]["AllowedIPs"]
    assert not client.answers(behind.ip)

    said = server.cli("nodes", "approve-routes", "-i", str(server.node("router")["id"]), "-r", route).stdout
    assert route in said, said
    wait_allowed(client, "router", route)
    client.ping(behind.ip)
    assert client.peers()["router"]["PrimaryRoutes"] == [route]
    assert routes_of(server, "router", "subnetRoutes") == [route]
    assert route in server.cli("nodes", "list-routes").stdout

    # The approval outlives a restart of the server.
    server.restart()
    client.wait_running()
    assert routes_of(server, "router", "approvedRoutes") == [route]
    client.ping(behind.ip)

    server.cli("nodes", "approve-routes", "-i", "router", "-r", "")
    wait_allowed(client, "router", route, is_there=False)
    assert not client.answers(behind.ip)


@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_exit_node(world, version):
    server = world.server()
    gateway, behind, _ = routed(world, "gateway", version)
    # Not the gateway's own network: an exit node keeps that to itself, unless it advertises it as well.
    far = "203.0.113.7"
    world.net.ip("-n", behind.full, "addr", "add", far + "/32", "dev", "lo")
    world.net.ip("-n", gateway.space.full, "route", "add", far, "via", behind.ip)
    gateway.space.sysctl("net.ipv6.conf.all.forwarding=1")
    gateway.up(server.key(), "--advertise-exit-node")
    client = world.node("client", version)
    client.up(server.key())
    client.wait_peers("gateway")
    wait_advertised(server, "gateway", "0.0.0.0/0", "::/0")
    refused = client.ts("set", "--exit-node=" + gateway.addresses[0], check=False)
    assert refused.returncode != 0, refused.stdout

    # Approving the exit route of one family approves that of the other.
    server.cli("nodes", "approve-routes", "-i", "gateway", "-r", "0.0.0.0/0")
    wait_for("the client sees an exit node", lambda: client.peers()["gateway"]["ExitNodeOption"])
    assert sorted(routes_of(server, "gateway", "subnetRoutes")) == ["0.0.0.0/0", "::/0"]
    assert gateway.addresses[0] in client.ts("exit-node", "list").stdout
    assert not client.answers(far)
    client.ts("set", "--exit-node=" + gateway.addresses[0])
    client.ping(far)
    client.ts("set", "--exit-node=")
    wait_for("it goes no longer through it", lambda: not client.answers(far))


def two_routers(world, server, route, inside, version, router_version=NEW):
    """r1 and r2, both approved for the same network, which has one host; r1 serves it. Returns them and a client that
    uses it."""
    routers = [world.node(name, router_version) for name in ("r1", "r2")]
    for router in routers:
        world.net.ip("-n", router.space.full, "addr", "add", inside + "/24", "dev", "lo")
        router.up(server.key(), "--advertise-routes=" + route)
    client = world.node("client", version)
    client.up(server.key(), "--accept-routes")
    for router in routers:
        wait_advertised(server, router.name, route)
        server.cli("nodes", "approve-routes", "-i", router.name, "-r", route)
    wait_allowed(client, "r1", route)
    assert routes_of(server, "r2", "subnetRoutes") == []
    client.ping(inside)
    return routers, client


@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_another_router_takes_over(world, version):
    """Two routers for one network: the second serves it soon after the first was killed, and goes on when the first is
    back."""
    server = world.server()
    route, inside = "10.77.0.0/24", "10.77.0.10"
    routers, client = two_routers(world, server, route, inside, version)

    routers[0].stop(signal.SIGKILL)
    killed = time.monotonic()
    wait_for("r2 answers", lambda: client.answers(inside), 15)
    took = time.monotonic() - killed
    print("failover took %.1f s" % took)
    assert took < 8 * PATIENCE
    wait_allowed(client, "r2", route)
    assert routes_of(server, "r2", "subnetRoutes") == [route]

    routers[0].start()
    routers[0].wait_running()
    server.wait_online("r1")
    assert routes_of(server, "r2", "subnetRoutes") == [route]
    assert routes_of(server, "r1", "subnetRoutes") == []
    client.ping(inside)


def outage_s(lost):
    """Of ten pings a second those without an answer, in seconds from the first to the last."""
    return (max(lost) - min(lost) + 1) / 10 if lost else 0.0


@pytest.mark.parametrize("version, how, with_tls", [
    (OLD, "cut", True), (OLD, "frozen", False), (NEW, "cut", False), (NEW, "frozen", True),
], ids=["old-cut-tls", "old-frozen-plain", "new-cut-plain", "new-frozen-tls"])
def test_a_silent_router_is_replaced(world, version, how, with_tls):
    """A router whose cable is pulled, or whose process hangs, cannot report that, and TCP notices only after more than
    a minute: the server pings it."""
    server = world.server(with_tls=with_tls)
    route, inside = "10.77.0.0/24", "10.77.0.10"
    routers, client = two_routers(world, server, route, inside, version, version)
    wait_for("both have answered a ping",
             lambda: server.metrics().get('fullscale_router_pings_total{result="answered"}', 0) >= 2)
    first = routers[0]
    port = "p" + first.ip.split(".")[3]

    traffic = client.ping_long(inside, 32)
    time.sleep(1)
    if how == "cut":
        world.net.ip("-n", world.net.bridge, "link", "set", port, "down")
    else:
        first.process.send_signal(signal.SIGSTOP)
    lost = traffic.lost(60)
    print("takeover after %s took %.1f s" % (how, outage_s(lost)))
    assert 0 < outage_s(lost) <= 15 and max(lost) < traffic.wanted - 50
    assert server.node("r1")["online"]  # its poll is still there
    assert routes_of(server, "r2", "subnetRoutes") == [route]
    assert routes_of(server, "r1", "subnetRoutes") == []

    # The first router is back and stands by: no route moves, no packet is lost.
    if how == "cut":
        world.net.ip("-n", world.net.bridge, "link", "set", port, "up")
    else:
        first.process.send_signal(signal.SIGCONT)
    wait_for("r1 answers again", lambda: "stands by" in server.tail(400), 60)
    assert client.ping_long(inside, 12).lost(30) == []
    assert routes_of(server, "r2", "subnetRoutes") == [route]
    assert routes_of(server, "r1", "subnetRoutes") == []


@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_a_router_whose_key_expires_is_replaced(world, version):
    server = world.server()
    route, inside = "10.77.0.0/24", "10.77.0.10"
    routers, client = two_routers(world, server, route, inside, version, version)
    server.cli("nodes", "expire", "r1")
    wait_allowed(client, "r2", route)
    client.ping(inside)
    assert routes_of(server, "r1", "subnetRoutes") == []


@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_routes_and_tags_of_nodes(world, version):
    """An admin's tags are seen at once, by the node and its peers; a client gets no tag that it is not permitted."""
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    n2.wait_peers("n1")
    server.cli("nodes", "tag", "n1", "tag:web,tag:prod")
    wanted = ["tag:prod", "tag:web"]
    wait_for("n2 sees the tags", lambda: n2.peers()["n1"].get("Tags") == wanted, 5)
    wait_for("n1 sees its tags", lambda: n1.status()["Self"].get("Tags") == wanted, 5)
    n2.ping(n1.addresses[0])
    emptied = server.cli("nodes", "tag", "-i", "n1", "-t", ",", check=False)
    assert emptied.returncode != 0 and "at least one tag" in emptied.stderr, emptied.stderr

    n3 = world.node("n3", version)
    said = n3.up(server.key(), "--advertise-tags=tag:web", check=False)
    assert said.returncode != 0 and "requested tags [tag:web]" in said.stderr, said.stderr
    assert server.node("n3") is None
    n3.up(server.key("--tags", "tag:web"), "--advertise-tags=tag:web", "--reset")
    assert server.node("n3")["tags"] == ["tag:web"]
