"""The fixture `world`: namespaces, the server and the nodes of one test."""
import concurrent.futures
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from net import Net  # noqa: E402
from node import NEW, Node  # noqa: E402
from server import CHECKED, Server  # noqa: E402


def pytest_configure(config):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=4)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


class World:
    """What one test has: closed in the right order, logs shown when it failed."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fs-e2e-"))
        self.net = Net()
        self.servers, self.nodes, self.relays = [], [], []

    def server(self, program=CHECKED, with_tls=True, **settings):
        server = self.server_to_be(program, with_tls, **settings)
        server.start()
        server.user()
        return server

    def server_to_be(self, program=CHECKED, with_tls=True, **settings):
        """A node that has not been started yet."""
        server = Server(self.net, self.folder, program, with_tls, **settings)
        self.servers.append(server)
        return server

    def node(self, name, version=NEW, with_tun=True, router=None, space=None):
        node = Node(self.net, self.servers[0], name, version, with_tun, router, space)
        self.nodes.append(node)
        return node

    def join(self, *specs, flags=()):
        """Nodes that are up, all at once: names, or (name, version) pairs. Returns them in order."""
        key = self.servers[0].key("--reusable")
        pairs = [(s, NEW) if isinstance(s, str) else s for s in specs]
        with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
            nodes = list(pool.map(lambda p: self.node(*p), pairs))
            list(pool.map(lambda n: n.up(key, *flags), nodes))
        return nodes

    def nodes_without_udp(self, *specs, stun=("198.18.0.1",)):
        """Like join, but no UDP reaches the nodes except answers of the relays at `stun`. Datagrams are dropped on the
        way in, because one that is refused on the way out is an error on which the client reopens its sockets."""
        key = self.servers[0].key("--reusable")
        nodes = [self.node(*((s, NEW) if isinstance(s, str) else s)) for s in specs]
        for node in nodes:
            node.space.nft("""
                chain input { type filter hook input priority 0;
                    iifname "eth0" meta l4proto udp ip saddr != { %s } drop
                    iifname "eth0" meta l4proto udp meta nfproto ipv6 drop
                }
            """ % ", ".join(stun))
            node.up(key)
        return nodes

    def show(self):
        for server in self.servers:
            print("--- server log\n%s" % server.tail(150))
        for relay in self.relays:
            print("--- log of %s\n%s" % (relay.name, relay.tail()))
        for node in self.nodes:
            print("--- log of %s (%s)\n%s" % (node.name, node.version, node.tail()))

    def close(self, failed):
        if failed:
            self.show()
        try:
            for program in (*self.relays, *self.servers):
                program.check_clean()
        finally:
            self.net.close()
            keep = os.environ.get("E2E_KEEP") and failed
            if keep:
                print("kept: %s" % self.folder)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def world(request):
    made = World()
    yield made
    report = getattr(request.node, "report_call", None)
    made.close(failed=report is None or report.failed)
