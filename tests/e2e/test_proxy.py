"""Behind nginx and Caddy, configured as in packaging/proxy: one TCP port for all, and STUN beside it."""
import base64
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from net import wait_for
from node import NEW, OLD
from sockets import stranger

PROXY = Path(__file__).resolve().parents[2] / "packaging" / "proxy"


def nginx(server):
    text = (PROXY / "nginx.conf").read_text()
    for old, new in (("/etc/letsencrypt/live/net.example.com/fullchain.pem", str(server.folder / "leaf.pem")),
                     ("/etc/letsencrypt/live/net.example.com/privkey.pem", str(server.folder / "leaf.key")),
                     ("server_name net.example.com", "server_name " + server.space.ip)):
        assert old in text
        text = text.replace(old, new)
    config = server.folder / "nginx.conf"
    temp = "".join("%s_temp_path %s/%s;" % (kind, server.folder, kind)
                   for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text("daemon off; pid %s/nginx.pid; error_log stderr; user root; events {} "
                      "http { access_log off; %s\n%s}" % (server.folder, temp, text))
    return ["nginx", "-e", "stderr", "-c", str(config)]


def caddy(server):
    text = (PROXY / "Caddyfile").read_text()
    assert "net.example.com {\n" in text
    text = text.replace("net.example.com {\n", "https://%s {\n\ttls %s/leaf.pem %s/leaf.key\n" % (
        server.space.ip, server.folder, server.folder))
    config = server.folder / "Caddyfile"
    config.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(world, request):
    """A server that only the proxy reaches, which has the certificate."""
    if not shutil.which(request.param.__name__):
        pytest.skip("%s is not installed" % request.param.__name__)
    server = world.server_to_be(server_url="https://%s" % world.net.server_space.ip, listen_addr="127.0.0.1:8080",
                                tls_cert_path="", tls_key_path="", trusted_proxies=["127.0.0.1"])
    log = open(server.folder / "proxy.log", "ab")
    env = dict(os.environ, HOME=str(server.folder), XDG_DATA_HOME=str(server.folder),
               XDG_CONFIG_HOME=str(server.folder))
    server.proxy = server.space.popen(*request.param(server), stdout=log, stderr=subprocess.STDOUT, env=env)
    server.start()
    server.user()
    wait_for("the proxy passes on", lambda: server.space.run(
        "curl", "-sf", "--cacert", str(server.ca), server.url + "/health", check=False, quiet=True).returncode == 0)
    return server


def test_clients_join_and_talk(world, proxied):
    """Control and relay through the one port: traffic between nodes without a direct path goes by the relay behind
    the proxy."""
    n1, n2 = world.nodes_without_udp("n1", ("n2", OLD))
    n1.wait_peers("n2")
    n2.wait_peers("n1")
    for a, b in ((n1, n2), (n2, n1)):
        for address in b.addresses:
            a.ping(address)
            a.tcp(b, address)
    assert "via DERP" in n1.ts_ping(n2.addresses[0], "--until-direct=false", count=1)
    # Changes arrive at once, over polls that stay open.
    n3, = world.join(("n3", NEW))
    n1.wait_peers("n3", timeout=5)
    n2.wait_peers("n3", timeout=5)
    proxied.cli("nodes", "delete", "n3", "--force")
    n1.wait_gone("n3", timeout=5)


def test_nodes_find_each_other_directly(world, proxied):
    """STUN passes beside the proxy."""
    n1, n2 = world.join("n1", ("n2", OLD))
    n1.wait_peers("n2")
    said = n1.ts_ping(n2.addresses[0], "--until-direct")
    assert "via %s" % n2.ip in said, said


def test_clients_come_back(world, proxied):
    n1, n2 = world.join("n1", ("n2", OLD))
    n1.wait_peers("n2")
    proxied.restart()
    for node in (n1, n2):
        proxied.wait_online(node.name, timeout=60)
    n1.ping(n2.addresses[0])


def test_browsers_reach_the_relay(world, proxied):
    space = stranger(proxied)
    context = ssl.create_default_context(cafile=str(proxied.ca))
    raw = space.connect((proxied.space.ip, 443))
    with context.wrap_socket(raw, server_hostname=proxied.space.ip) as sock:
        sock.sendall(("GET /derp HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: derp\r\nSec-WebSocket-Key: %s\r\n\r\n" % (
                          proxied.space.ip, base64.b64encode(os.urandom(16)).decode())).encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
