"""The server goes away and comes back: what was acknowledged is there, and clients return by themselves."""
import random
import threading
import time

import pytest

import wire
from net import wait_for
from node import NEW, OLD
from sockets import connect

KILLS = 20


class Joiner(threading.Thread):
    """Registers machine after machine, one Noise connection each, and keeps the books: what the server has answered is
    acknowledged; what broke off is tried again with the same keys, as a client does."""

    def __init__(self, server, key, prefix):
        super().__init__(daemon=True)
        self.server, self.key, self.prefix = server, key, prefix
        self.acknowledged = {}  # name -> node key
        self.stopping = threading.Event()
        self.errors = []

    def run(self):
        try:
            public = None
            while not self.stopping.is_set():
                name = "%s-%d" % (self.prefix, len(self.acknowledged))
                machine, node_key = wire.Key(), wire.Key()
                while not self.stopping.is_set():
                    try:
                        public = public or wire.server_key_over(connect(self.server))
                        session = wire.Session(connect(self.server), public, machine)
                        answer = session.register(node_key, self.key, name)
                        session.close()
                        assert not answer.get("Error"), answer
                        assert not answer["AuthURL"]
                        self.acknowledged[name] = node_key.text("nodekey")
                        break
                    except (OSError, wire.Closed):
                        time.sleep(0.02)
        except Exception as error:  # shown by the test, which is another thread
            self.errors.append(error)


class KeyMaker(threading.Thread):
    """Makes auth keys by the command line; acknowledged is what it printed."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.acknowledged, self.stopping = server, [], threading.Event()

    def run(self):
        while not self.stopping.is_set():
            said = self.server.cli("preauthkeys", "create", "--user", "anna", check=False, quiet=True)
            if said.returncode == 0:
                self.acknowledged.append(said.stdout.strip())
            else:
                time.sleep(0.02)


def check_books(server, joiners, known):
    """`known`: name -> addresses, from the check before."""
    nodes = server.nodes()
    names = [n["givenName"] for n in nodes]
    assert len(names) == len(set(names)), "a node is there twice"
    every = [ip for n in nodes for ip in n["ipAddresses"]]
    assert len(every) == len(set(every)), "an address was given twice"
    by_name = {n["givenName"]: n for n in nodes}
    for joiner in joiners:
        assert not joiner.errors, joiner.errors
        for name, node_key in dict(joiner.acknowledged).items():
            assert name in by_name, "%s was acknowledged and is lost" % name
            assert by_name[name]["nodeKey"] == node_key
    for name, addresses in known.items():
        assert by_name[name]["ipAddresses"] == addresses, "%s has other addresses" % name
    return {name: n["ipAddresses"] for name, n in by_name.items()}


def test_killed_in_the_middle_of_joins(world):
    """SIGKILL and restart, 20 times, while machines join and keys are made."""
    server = world.server()
    n1, n2 = world.join("n1", ("n2", OLD))
    before = {n.name: (n.addresses, server.node(n.name)["nodeKey"]) for n in (n1, n2)}
    reusable = server.key("--reusable")
    rng = random.Random(20)
    known, all_joiners, all_keys = {}, [], []
    for turn in range(KILLS):
        joiners = [Joiner(server, reusable, "t%d-%d" % (turn, i)) for i in range(2)]
        maker = KeyMaker(server)
        for thread in (*joiners, maker):
            thread.start()
        time.sleep(rng.uniform(0.1, 0.7))
        server.kill()
        server.start()
        # Registrations that were cut off succeed with the same keys.
        time.sleep(0.3)
        for thread in (*joiners, maker):
            thread.stopping.set()
        for thread in (*joiners, maker):
            thread.join(20)
            assert not thread.is_alive()
        all_joiners += joiners
        all_keys += maker.acknowledged
        known = check_books(server, all_joiners, known)
    joined = sum(len(j.acknowledged) for j in all_joiners)
    print("%d machines and %d keys acknowledged over %d kills" % (joined, len(all_keys), KILLS))
    assert joined >= KILLS and len(all_keys) >= KILLS

    # Official clients came back without a login, as the nodes that they were.
    for node in (n1, n2):
        wait_for("%s is back" % node.name, lambda: server.node(node.name)["online"], 60)
        addresses, node_key = before[node.name]
        assert node.state == "Running" and node.addresses == addresses
        assert server.node(node.name)["nodeKey"] == node_key
    n1.ping(n2.addresses[0])
    # Each acknowledged key works, once.
    for key in random.Random(1).sample(all_keys, 5):
        machine = wire.Key()
        session = wire.Session(connect(server), wire.server_key_over(connect(server)), machine)
        assert not session.register(wire.Key(), key, "late").get("Error")
        session.close()
        session = wire.Session(connect(server), wire.server_key_over(connect(server)), wire.Key())
        assert "used" in session.register(wire.Key(), key, "later")["Error"].lower()
        session.close()


def test_killed_while_clients_join(world):
    """Official clients whose first login is cut off complete it by themselves."""
    server = world.server()
    key = server.key("--reusable")
    nodes = [world.node("n%d" % i, NEW if i % 2 else OLD, with_tun=False) for i in range(4)]
    threads = [threading.Thread(target=n.up, args=(key,), kwargs={"timeout": 60}) for n in nodes]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.4)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(80)
    for node in nodes:
        node.wait_running()
        server.wait_online(node.name)
    listed = server.nodes()
    assert sorted(n["givenName"] for n in listed) == [n.name for n in nodes]
    assert len({ip for n in listed for ip in n["ipAddresses"]}) == 2 * len(nodes)


def lost_over_restarts(server, n1, n2):
    """The pings that got no answer while the server is restarted, killed, away and back."""
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    # Each side finds its direct path by itself: until both have, answers may still come by the relay, which goes away
    # with the server.
    n1.ts_ping(n2.addresses[0], "--until-direct")
    n2.ts_ping(n1.addresses[0], "--until-direct")
    n1.ping(n2.addresses[0])
    run = n1.ping_long(n2.addresses[0], seconds=15)
    time.sleep(1)
    server.restart()
    time.sleep(3)
    server.kill()
    time.sleep(3)
    server.start()
    return run.lost(timeout=40)


@pytest.mark.parametrize("other", [NEW, OLD], ids=["new", "old"])
def test_traffic_goes_on_during_a_restart(world, other):
    """Direct traffic needs no server: not one packet is lost while it restarts, twice, and is away for three
    seconds."""
    server = world.server()
    n1, n2 = world.join("n1", ("n2", other))
    for _ in range(6):
        before = n1.rebinds() + n2.rebinds()
        lost = lost_over_restarts(server, n1, n2)
        if not lost or n1.rebinds() + n2.rebinds() == before:
            break
        print("a client opened its sockets anew meanwhile: once more")
    assert not lost
    for node in (n1, n2):
        server.wait_online(node.name, timeout=60)
        assert node.state == "Running"
    n3, = world.join("n3")
    n1.wait_peers("n3")
    n2.wait_peers("n3")


def test_relayed_traffic_comes_back(world):
    server = world.server()
    n1, n2 = world.nodes_without_udp("n1", ("n2", OLD))
    n1.wait_peers("n2")
    n1.ping(n2.addresses[0])
    time.sleep(3)  # where a node can be reached is on disk two seconds after it said so
    server.kill()
    server.start()
    n1.ping(n2.addresses[0])
    n2.ping(n1.addresses[1])
