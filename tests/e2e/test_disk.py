"""The database cannot be written: changes are refused in words, everything else goes on, writing resumes by itself, and
nothing that was acknowledged is lost."""
import contextlib
import json
import sqlite3
import threading
import time

import pytest

import wire
from derp import RECV_PACKET, Derp
from net import PATIENCE, run, wait_for
from sockets import connect
from test_relay import stun_answers

FULL = "the disk of the server is full; nothing is lost, try again when there is room"
LOCKED = "another program has locked the server's database; nothing is lost, try again"


class SmallDisk:
    """A file system of 2 MiB at `folder`, that can be filled to the last byte."""

    def __init__(self, folder):
        self.folder, self.filler = folder, folder / "filler"
        folder.mkdir()
        run("srv", ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder)])

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def make_room(self):
        self.filler.unlink()

    def close(self):
        run("srv", ["umount", "-l", str(self.folder)], check=False)


@pytest.fixture
def small_disk(world):
    made = SmallDisk(world.folder / "state")
    yield made
    made.close()


class WireNode:
    """A machine of a few hundred bytes, with one connection at a time."""

    def __init__(self, server, name, machine=None, key=None):
        self.server, self.name = server, name
        self.machine, self.key = machine or wire.Key(), key or wire.Key()
        self.dial()

    def dial(self):
        public = wire.server_key_over(connect(self.server))
        self.session = wire.Session(connect(self.server, timeout=30 * PATIENCE), public, self.machine)

    def register(self, auth_key):
        """The error with which the server refused the machine; empty when it has joined."""
        answer = self.session.register(self.key, auth_key, self.name)
        assert answer["Error"] or answer["MachineAuthorized"], answer
        return answer["Error"]

    def poll(self, **more):
        said = {"OS": "linux", "Hostname": self.name, "NetInfo": {"PreferredDERP": 999}}
        self.stream = self.session.open("/machine/map",
                                        self.session.map_request(self.key, Stream=True, Hostinfo=said, **more))
        return self.stream.next_map()

    def report(self, endpoint):
        """Reports an endpoint: presence, which does not wait for the disk."""
        made = WireNode(self.server, self.name, self.machine, self.key)
        status, _ = made.session.request("/machine/map", made.session.map_request(self.key, self.name, OmitPeers=True,
                                                                                  Endpoints=[endpoint]))
        made.close()
        assert status == 200, status

    def wait_word(self, word):
        """Waits until its map stream contains `word`."""
        end = time.monotonic() + 10 * PATIENCE
        while word not in json.dumps(self.stream.next_map()):
            assert time.monotonic() < end, "%s was not sent %s" % (self.name, word)

    def close(self):
        self.session.close()


class Books:
    """Users by the command line: what was acknowledged, and what was refused."""

    def __init__(self, server):
        self.server, self.acknowledged, self.refused, self.said = server, {"anna"}, set(), ""

    def write(self):
        name = "user-%d" % (len(self.acknowledged) + len(self.refused))
        said = self.server.cli("users", "create", name, check=False)
        (self.refused if said.returncode else self.acknowledged).add(name)
        self.said = said.stderr
        return said.returncode == 0

    def write_until(self, is_kept, timeout):
        wait_for("a change is %s" % ("kept" if is_kept else "refused"), lambda: self.write() == is_kept, timeout,
                 every=0.2)

    def check(self, *nodes):
        """Every user that was acknowledged exists, once, and none that was refused."""
        assert sorted(u["name"] for u in self.server.json("users", "list", quiet=True)) == sorted(self.acknowledged)
        assert sorted(n["givenName"] for n in self.server.nodes()) == sorted(nodes)


class Bystanders:
    """What needs no disk: two nodes with a map stream, and a pair at the relay."""

    def __init__(self, server):
        self.server, self.turn = server, 0
        key = server.key("--reusable")
        self.nodes = a, b = [WireNode(server, name) for name in ("a", "b")]
        assert not a.register(key) and not b.register(key)
        self.pair = [Derp(server.space, server.address, key=n.key) for n in self.nodes]
        a.poll()
        b.poll()

    def check(self):
        self.turn += 1
        (a, b), (left, right) = self.nodes, self.pair
        endpoint = "192.0.2.%d:7" % self.turn
        b.report(endpoint)
        a.wait_word(endpoint)
        left.packet(right.key.public, b"are you there")
        assert right.expect(RECV_PACKET) == left.key.public + b"are you there"
        assert stun_answers(self.server, self.server.space, timeout=5)
        assert self.server.process.poll() is None

    def return_to_the_server(self):
        """After a restart each gets its map, with the other node in it."""
        for node in self.nodes:
            node.close()
            node.dial()
            peers = node.poll()["Peers"]
            assert {p["Name"].split(".")[0] for p in peers} >= {"a", "b"} - {node.name}
        for one in self.pair:
            one.close()
        self.pair = [Derp(self.server.space, self.server.address, key=n.key) for n in self.nodes]

    def close(self):
        for one in self.nodes + self.pair:
            one.close()


def check_says(server, words):
    """The fault is reported by the command line, by /health, in the metrics and in the log."""
    said = server.cli("health", check=False)
    assert said.returncode != 0 and words in said.stdout, said
    assert server.metrics()["fullscale_store_failing"] == 1
    url = server.url + "/health"
    said = wait_for("/health says so",
                    lambda: server.space.run("curl", "-sk", "-w", " %{http_code}", url, quiet=True).stdout)
    assert words in said and said.endswith(" 500"), said


def check_recovered(server):
    assert server.is_healthy()
    metrics = server.metrics()
    assert metrics["fullscale_store_failing"] == 0
    assert metrics["fullscale_store_commit_failures_total"] > 0 and metrics["fullscale_core_refused_jobs_total"] > 0


def start_on_full_disk(server):
    """The server answers, though it is not healthy."""
    server.start(until=lambda: server.cli("users", "list", check=False, quiet=True).returncode == 0)


def test_a_full_disk_refuses_and_forgets_nothing(world, small_disk):
    """The disk is full while the server runs, at an orderly restart and at one after a crash; then there is room."""
    server = world.server()
    books, bystanders = Books(server), Bystanders(server)
    n1, = world.join("n1")
    late, key, wire_key = world.node("late", with_tun=False), server.key(), server.key()

    small_disk.fill()
    books.write_until(False, 10)
    assert FULL in books.said
    check_says(server, FULL)
    stranger = WireNode(server, "stranger")
    assert FULL in stranger.register(wire_key)
    assert FULL in server.cli("preauthkeys", "create", "--user", "anna", check=False).stderr
    said = late.up(key, check=False)
    assert said.returncode != 0 and FULL in said.stdout + said.stderr, said
    late.stop()  # its daemon would try again by itself, and might use the key up just before its user does
    assert "bytes free" in server.tail(1000)
    bystanders.check()
    books.check("a", "b", "n1")

    for end in (server.stop, server.kill):
        end()
        small_disk.fill()
        start_on_full_disk(server)
        assert not books.write() and FULL in books.said
        check_says(server, FULL)
        stranger.dial()
        assert FULL in stranger.register(wire_key)
        bystanders.return_to_the_server()
        bystanders.check()
        n1.wait_running()
        server.wait_online("n1")
        books.check("a", "b", "n1")

    small_disk.make_room()
    books.write_until(True, 10)
    check_recovered(server)
    stranger.dial()
    assert not stranger.register(wire_key)  # a key for one machine: it was not used up
    late.start()
    late.up(key)
    late.wait_peers("n1")
    bystanders.check()
    books.check("a", "b", "n1", "stranger", "late")
    server.kill()
    server.start()
    books.check("a", "b", "n1", "stranger", "late")
    bystanders.close()
    stranger.close()
    server.stop()


class Registering(threading.Thread):
    """One registration, and how long the answer took."""

    def __init__(self, server, name, auth_key):
        super().__init__(daemon=True)
        self.node, self.auth_key, self.error, self.took_s = WireNode(server, name), auth_key, "no answer", None
        self.start()

    def run(self):
        begin = time.monotonic()
        self.error = self.node.register(self.auth_key)
        self.took_s = time.monotonic() - begin

    def wait(self):
        self.join(40 * PATIENCE)
        self.node.close()
        return self.error


@contextlib.contextmanager
def locked(server):
    """Another program holds a write transaction on the database."""
    other = sqlite3.connect(server.folder / "state" / "db.sqlite", isolation_level=None, timeout=20)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


def test_a_lock_of_another_program_delays_or_refuses(world):
    """The server waits for a short transaction of another program; while one lasts longer than 10 s, changes are
    refused with the reason."""
    server = world.server()
    books, bystanders = Books(server), Bystanders(server)
    keys = [server.key() for _ in range(3)]

    with locked(server):
        short = Registering(server, "short", keys[0])
        bystanders.check()
    assert short.wait() == ""

    with locked(server):
        begin = time.monotonic()
        long = Registering(server, "long", keys[1])
        bystanders.check()
        assert LOCKED in long.wait(), long.error
        assert long.took_s > 5  # it was waited for
        late = Registering(server, "late", keys[2])
        assert LOCKED in late.wait() and late.took_s < 5 * PATIENCE
        assert not books.write() and LOCKED in books.said
        check_says(server, LOCKED)
        bystanders.check()
        books.check("a", "b", "short")
        time.sleep(max(0, 15 - (time.monotonic() - begin)))
    books.write_until(True, 10)
    check_recovered(server)
    assert Registering(server, "long", keys[1]).wait() == ""
    assert Registering(server, "late", keys[2]).wait() == ""
    bystanders.check()
    books.check("a", "b", "short", "long", "late")
    server.kill()
    server.start()
    books.check("a", "b", "short", "long", "late")
    bystanders.close()
    server.stop()
