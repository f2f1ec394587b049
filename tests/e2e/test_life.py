"""What happens to a node between its first join and its end."""
import signal
import time

import pytest

from net import wait_for
from node import NEW, OLD

BOTH = pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])


@BOTH
def test_down_and_up(world, version):
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    n2.wait_peers("n1")
    before = n1.addresses
    n1.down()
    n2.wait_offline("n1")
    server.wait_online("n1", False)
    n1.up()
    n2.wait_peers("n1")
    assert n1.addresses == before
    n2.ping(before[0])


@BOTH
def test_restarted_client_needs_no_login(world, version):
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    before = n1.addresses
    n1.stop(signal.SIGKILL)
    n1.start()
    n1.wait_running()
    n2.wait_peers("n1")
    assert n1.addresses == before
    assert len(server.nodes()) == 2
    n2.ping(before[0])


@BOTH
def test_logout_and_login_again(world, version):
    """The machine comes back as the same node, with the same address and name."""
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    n2.wait_peers("n1")
    before, number = n1.addresses, server.node("n1")["id"]
    n1.logout()
    wait_for("n1 is logged out", lambda: n1.state == "NeedsLogin")
    n2.wait_offline("n1")
    # A logout now and then leaves 1.80 with another login server and flags than it had, which `up` then asks about.
    n1.up(server.key(), "--reset")
    assert n1.addresses == before
    assert server.node("n1")["id"] == number
    assert len(server.nodes()) == 2
    n2.wait_peers("n1")
    n2.ping(before[0])
    n1.ping(n2.addresses[0])


def test_force_reauth_keeps_the_node(world):
    """A new node key for the same machine: the others go on talking to it."""
    server = world.server()
    n1, n2 = world.join("n1", "n2")
    n2.wait_peers("n1")
    before, number = n1.addresses, server.node("n1")["id"]
    n1.up(server.key(), "--force-reauth")
    assert n1.addresses == before
    assert server.node("n1")["id"] == number and len(server.nodes()) == 2
    n2.ping(before[0])


def watch_calls(server, node):
    """From now on the server counts what this node sends to its control port."""
    server.space.nft("""
        counter calls { }
        counter volume { }
        chain input { type filter hook input priority 0;
            ip saddr %s tcp dport 443 counter name "volume"
            ip saddr %s tcp dport 443 tcp flags & (syn|ack) == syn counter name "calls"
        }
    """ % (node.ip, node.ip))


def check_quiet(server, node, most_calls, most_packets=100, seconds=6):
    """Checks that the client does not retry in a loop: hardly a new connection and few packets for some seconds."""
    calls, volume = server.space.packets("calls"), server.space.packets("volume")
    time.sleep(seconds)
    calls, volume = server.space.packets("calls") - calls, server.space.packets("volume") - volume
    assert calls <= most_calls and volume <= most_packets, "%s: %d calls, %d packets" % (node.name, calls, volume)
    print("%s: %d calls, %d packets in %d s" % (node.name, calls, volume, seconds))


@BOTH
def test_delete_while_connected(world, version):
    """The client ends logged out and stays quiet; the others forget it."""
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    n2.wait_peers("n1")
    watch_calls(server, n1)
    server.cli("nodes", "delete", "-i", str(server.node("n1")["id"]), "--force")
    wait_for("n1 is logged out", lambda: n1.state == "NeedsLogin")
    n2.wait_gone("n1")
    assert [n["givenName"] for n in server.nodes()] == ["n2"]
    check_quiet(server, n1, most_calls=1)
    # It may come back, as a new node.
    n1.up(server.key())
    n2.wait_peers("n1")
    n1.ping(n2.addresses[0])


def test_delete_while_away(world):
    """A node that was deleted while its client was off gets nowhere when it returns: not a node again, no traffic, no
    storm of requests. (Clients from 1.102 show their stored map meanwhile, so that their state says little.) With a key
    it is a node."""
    server = world.server()
    n1, n2 = world.join("n1", "n2")
    n1.stop()
    server.cli("nodes", "delete", "-i", str(server.node("n1")["id"]), "--force")
    n2.wait_gone("n1")
    watch_calls(server, n1)
    n1.start()
    time.sleep(2)
    assert len(server.nodes()) == 1
    assert n1.space.run("ping", "-c", "1", "-W", "1", n2.addresses[0], check=False).returncode != 0
    # When its links settle, a client pings its relay several times within a second, and the relay does not admit it
    # each time: some 40 calls. A loop is every 10 to 15 ms, 400 and more.
    check_quiet(server, n1, most_calls=80, most_packets=700)
    n1.up(server.key(), "--force-reauth")
    n2.wait_peers("n1")
    n1.ping(n2.addresses[0])
    assert len(server.nodes()) == 2


@BOTH
def test_expire_by_the_administrator(world, version):
    server = world.server()
    n1, n2 = world.join(("n1", version), "n2")
    before = n1.addresses
    server.cli("nodes", "expire", "-i", str(server.node("n1")["id"]))
    wait_for("n1 is logged out", lambda: n1.state == "NeedsLogin")
    n1.up(server.key())
    assert n1.addresses == before
    n2.wait_peers("n1")
    n2.ping(before[0])


def test_rename_is_told_to_the_others(world):
    server = world.server()
    n1, n2 = world.join("n1", "n2")
    n2.wait_peers("n1")
    server.cli("nodes", "rename", "-i", str(server.node("n1")["id"]), "printer")
    def renamed():
        return [p["DNSName"] for p in n2.peers().values()] == ["printer.tailnet.internal."]
    wait_for("n2 sees the new name", renamed)
    n2.ping(n1.addresses[0])


@BOTH
def test_bad_keys_are_refused_in_words(world, version):
    server = world.server()
    used, short = server.key(), server.key("--reusable", "--expiration", "1s")
    n1 = world.node("n1", version)
    n1.up(used)
    time.sleep(1.1)
    # Each login has a client of its own: one whose login was refused goes on trying, and repeats the error.
    for i, (key, word) in enumerate(((used, "used"), (short, "expired"), ("nonsense", "key"))):
        refused = world.node("n%d" % (i + 2), version)
        said = refused.up(key, check=False)  # ends at once when refused
        text = (said.stdout + said.stderr).lower()
        assert said.returncode != 0, key
        assert "backend error" in text and word in text, text
        assert key.lower() not in text
        # Log lines of later refusals may be held back.
        assert i > 0 or "from=%s host=%s" % (refused.ip, refused.name) in server.log.read_text()
    assert [n["givenName"] for n in server.nodes()] == ["n1"]
    # Such a client joins with a valid key.
    refused.up(server.key(), "--force-reauth")
    refused.wait_peers("n1")


def test_expired_key_by_command(world):
    server = world.server()
    key = server.key("--reusable")
    keys = server.json("preauthkeys", "list")
    server.cli("preauthkeys", "expire", "-i", str(keys[-1]["id"]))
    n1 = world.node("n1")
    said = n1.up(key, check=False)
    assert said.returncode != 0 and "expired" in (said.stdout + said.stderr).lower()


@BOTH
def test_ephemeral_node_vanishes(world, version):
    server = world.server(node={"ephemeral": {"inactivity_timeout": "3s"}})
    n1, = world.join("n1")
    n2 = world.node("n2", version)
    n2.up(server.key("--ephemeral"))
    n1.wait_peers("n2")
    n2.stop(signal.SIGKILL)
    n1.wait_gone("n2", timeout=40)
    assert [n["givenName"] for n in server.nodes()] == ["n1"]


def test_ephemeral_node_vanishes_at_logout(world):
    server = world.server()
    n1, = world.join("n1")
    n2 = world.node("n2")
    n2.up(server.key("--ephemeral"))
    n1.wait_peers("n2")
    n2.logout()
    n1.wait_gone("n2", timeout=10)
    assert len(server.nodes()) == 1
