"""The DNS configuration that nodes are sent: bytes of maps, read by a client of our own.

   srv (control)
"""
import json

import wire
from sockets import connect

ATTRS = {"tagOwners": {"tag:kids": []}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}


def resolvers(message):
    return [r["Addr"] for r in message["DNSConfig"]["Resolvers"]]


def wait_dns(stream):
    while True:
        message = stream.next_map()
        if "DNSConfig" in message:
            return resolvers(message)


def test_nextdns(world):
    """nextdns:PROFILE and nextdns:no-device-info change the resolvers of the nodes that have them, as soon as the
    policy grants them."""
    server = world.server(policy={"mode": "database"}, dns={
        "base_domain": "tail.example", "override_local_dns": True,
        "nameservers": {"global": ["https://dns.nextdns.io/abc123", "9.9.9.9"]}})
    path = world.folder / "p.hujson"

    def put(*attrs):
        path.write_text(json.dumps({**ATTRS, "nodeAttrs": [{"target": ["tag:kids"], "attr": list(attrs)}]}))
        server.cli("policy", "set", "-f", str(path))

    put("x")
    node_key, public = wire.Key(), wire.server_key_over(connect(server))
    session = wire.Session(connect(server), public, wire.Key())
    assert session.register(node_key, server.key("--tags", "tag:kids"), "box")["MachineAuthorized"]
    stream = session.poll(node_key, "box")
    ip = server.node("box")["ipAddresses"][0]
    own = "?device_ip=%s&device_model=linux&device_name=box" % ip
    assert wait_dns(stream) == ["https://dns.nextdns.io/abc123" + own, "9.9.9.9"]
    put("nextdns:fedcba")
    assert wait_dns(stream) == ["https://dns.nextdns.io/fedcba" + own, "9.9.9.9"]
    put("nextdns:fedcba", "nextdns:no-device-info")
    assert wait_dns(stream) == ["https://dns.nextdns.io/fedcba", "9.9.9.9"]
    put("nextdns:no-device-info")
    assert wait_dns(stream) == ["https://dns.nextdns.io/abc123", "9.9.9.9"]
