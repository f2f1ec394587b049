"""Our relay and the reference's (derper) in one region: each forwards what its clients send to clients of the other.

   a ── our relay (srv, 198.18.0.1:8443) ══ mesh link each way ══ derper (198.18.0.11:8443) ── b
"""
import json
import os
import subprocess

import pytest

import derp
from node import CLIENTS, NEW
from net import wait_for
from server import make_certificates

MESH_KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
PORT = 8443


class Derper:
    """The reference's relay in a namespace of its own. With a certificate of the folder's CA when there is one, else
    with one that it makes and signs itself, whose pin is `pin`."""

    def __init__(self, world, neighbour, trusts):
        self.space = world.net.add("derper")
        self.address = (self.space.ip, PORT)
        self.folder = world.folder / "derper"
        self.log = self.folder / "log"
        self.neighbour, self.trusts = neighbour, trusts
        self.folder.mkdir()
        (world.folder / "mesh.key").write_text(MESH_KEY + "\n")
        self.mesh_key = world.folder / "mesh.key"

    def make_certificate(self):
        """Signed by a CA, whose file is returned."""
        ca = make_certificates(self.folder, self.space.ip)
        for kind, name in (("pem", "crt"), ("key", "key")):
            (self.folder / ("leaf." + kind)).rename(self.folder / ("%s.%s" % (self.space.ip, name)))
        return ca

    def start(self):
        env = dict(os.environ, SSL_CERT_FILE=str(self.trusts))
        self.process = self.space.popen(
            str(CLIENTS / NEW / "derper"), "-a", ":%d" % PORT, "-certmode", "manual", "-certdir", str(self.folder),
            "-hostname", self.space.ip, "-http-port", "-1", "-stun=false", "-c", str(self.folder / "derper.json"),
            "-mesh-psk-file", str(self.mesh_key), "-mesh-with", self.neighbour, stdout=open(self.log, "ab"),
            stderr=subprocess.STDOUT, env=env)
        wait_for("derper listens", self.is_up)

    def is_up(self):
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        try:
            self.space.connect(self.address, timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait(timeout=10)

    def pin(self):
        """The pin of its certificate, which derper logs for the DERP map."""
        line = next(l for l in self.log.read_text().splitlines() if "sha256-raw:" in l)
        return json.loads(line[line.index("{"):])["CertName"]


def start(world, signed):
    """Both relays, with links to each other."""
    server_settings = {"server": {
        "listen_addr": "0.0.0.0:%d" % PORT, "verify_clients": False, "mesh_key_path": str(world.folder / "mesh.key"),
        "tls_cert_path": str(world.folder / "leaf.pem"), "tls_key_path": str(world.folder / "leaf.key")}}
    derper = Derper(world, "198.18.0.1:%d" % PORT, world.folder / "ca.pem")
    server = world.server_to_be(derp=server_settings)
    ca = derper.make_certificate() if signed else None
    derper.start()
    server_settings["server"]["mesh_with"] = [
        "%s:%d" % derper.address + ("" if signed else "/" + wait_for("its pin", lambda: derper.pin()))]
    server.write_config(derp=server_settings)
    if signed:
        server.env = dict(os.environ, SSL_CERT_FILE=str(ca))
    server.start()
    wait_links(server)
    return server, derper


def wait_links(server):
    """Both links are up: derper watches us, and we know derper's own connection at derper's."""
    def is_there():
        m = server.metrics()
        return m["fullscale_derp_watchers"] == 1 and "neighbour reached" in server.log.read_text(errors="replace")
    wait_for("the links", is_there, 30)


def try_until_it_comes(src, dst, data):
    """Sends until it is received: presence takes a moment to get from relay to relay."""
    def once():
        src.packet(dst.key.public, data)
        try:
            got = dst.expect(derp.RECV_PACKET, timeout=0.5)
        except TimeoutError:
            return False
        assert got == src.key.public + data
        return True
    wait_for("a packet", once, 20, every=0)


def drain(client):
    """The packets that arrived more than once."""
    try:
        while True:
            client.frame(timeout=0.5)
    except TimeoutError:
        pass


@pytest.mark.parametrize("signed", [False, True], ids=["pinned", "signed"])
def test_with_the_reference(world, signed):
    server, derper = start(world, signed)
    ours, theirs = (server.space.ip, PORT), derper.address
    stranger = world.net.add("stranger")
    a, b = derp.Derp(stranger, ours), derp.Derp(stranger, theirs)
    before = server.metrics()

    try_until_it_comes(a, b, b"from ours to the reference's")
    try_until_it_comes(b, a, b"and back")
    drain(a), drain(b)
    for size in (0, 1, 1400, 65536):  # now that all know each other, each comes once, in order
        data = os.urandom(size)
        a.packet(b.key.public, data)
        assert b.expect(derp.RECV_PACKET) == a.key.public + data
        b.packet(a.key.public, data)
        assert a.expect(derp.RECV_PACKET) == b.key.public + data
    after = server.metrics()
    for name in ("fullscale_derp_packets_forwarded_out_total", "fullscale_derp_packets_forwarded_in_total"):
        assert after[name] - before[name] >= 5, name
    assert after["fullscale_derp_clients_remote"] >= 1

    # A client that leaves is announced on the other side, and is not there afterwards.
    b.close()
    assert a.expect(derp.PEER_GONE) == b.key.public + bytes([derp.DISCONNECTED])
    a.packet(b.key.public, derp.DISCO)
    assert a.expect(derp.PEER_GONE) == b.key.public + bytes([derp.NOT_HERE])
    b = derp.Derp(stranger, theirs, key=b.key)
    try_until_it_comes(a, b, b"again")
    try_until_it_comes(b, a, b"so that b knows a")
    a.close()
    assert b.expect(derp.PEER_GONE) == a.key.public + bytes([derp.DISCONNECTED])


def test_a_neighbour_comes_back(world):
    """derper dies and starts again: the links are made anew by both sides, within some seconds."""
    server, derper = start(world, False)
    stranger = world.net.add("stranger")
    a = derp.Derp(stranger, (server.space.ip, PORT))
    b = derp.Derp(stranger, derper.address)
    try_until_it_comes(b, a, b"before")
    derper.stop()
    assert a.expect(derp.PEER_GONE) == b.key.public + bytes([derp.DISCONNECTED])
    derper.start()
    b = derp.Derp(stranger, derper.address)
    try_until_it_comes(a, b, b"after")
    try_until_it_comes(b, a, b"both ways")


def test_watching_ours(world):
    """A client with the mesh key may watch; one with another key may not."""
    derper_less = {"server": {"listen_addr": "0.0.0.0:%d" % PORT, "verify_clients": True,
                              "mesh_key_path": str(world.folder / "mesh.key")}}
    (world.folder / "mesh.key").write_text(MESH_KEY)
    server = world.server(derp=derper_less)
    stranger = world.net.add("stranger")
    address = (server.space.ip, PORT)
    w = derp.Derp(stranger, address, mesh_key=MESH_KEY)  # admitted, though no node
    w.send(derp.WATCH_CONNS)
    present = w.expect(derp.PEER_PRESENT)
    assert present[:32] == w.key.public and present[50] == 2
    assert present[32:48] == bytes(10) + b"\xff\xff" + bytes(map(int, stranger.ip.split(".")))
    other = derp.Derp(stranger, address, mesh_key=MESH_KEY)
    assert w.expect(derp.PEER_PRESENT)[:32] == other.key.public
    other.close()
    assert w.expect(derp.PEER_GONE) == other.key.public + bytes([derp.DISCONNECTED])
    with pytest.raises(EOFError):
        derp.Derp(stranger, address, mesh_key="11" * 32)
