"""The policy in force: which node reaches which on which port, which peers a client lists, and changes without a
reconnect.

   srv (control) ── n1 (anna), n2 (bert), web (tag:web), db (tag:db), ...
"""
import concurrent.futures
import json
import socket
import time

import pytest

from net import PATIENCE, echo, wait_for
from node import NEW, OLD

HEAD = """
  "groups": {"group:ops": ["anna@"]},
  "tagOwners": {"tag:web": ["anna@"], "tag:db": ["anna@"]},
"""
POLICY = "{" + HEAD + """
  "grants": [
    {"src": ["group:ops"], "dst": ["tag:web"], "ip": ["tcp:7000"]},
    {"src": ["tag:web"], "dst": ["tag:db"], "ip": ["tcp:7000-7001"]},
    {"src": ["anna@"], "dst": ["tag:web"], "app": {"example.com/cap/admin": [{"level": 7}]}},
  ],
  "ssh": [{"action": "accept", "src": ["anna@"], "dst": ["tag:web"], "users": ["root", "autogroup:nonroot"]}],
  "nodeAttrs": [{"target": ["tag:db"], "attr": ["example:backup"]}],
}"""


def put(server, text):
    path = server.folder / "policy.hujson"
    path.write_text(text)
    server.cli("policy", "set", "-f", str(path))


def join(world, owner, *specs):
    """Nodes of a user, or with a tag that the user owns."""
    server = world.servers[0]
    if owner.startswith("tag:"):
        key = server.key("--reusable", "--tags", owner)
    else:
        key = server.key("--reusable", user=owner)
    nodes = [world.node(name, version) for name, version in specs]
    with concurrent.futures.ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda n: n.up(key), nodes))
    return nodes


def is_let_in(node, other, address, port):
    """Whether a TCP connection reaches a listener there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with other.space.entered():
        listener = socket.create_server((address, port), family=family)
    with listener:
        try:
            with node.space.entered():
                socket.create_connection((address, port), timeout=4).close()
            answer = True
        except OSError:
            answer = False
    echo(node.name, "TCP to [%s]:%d: %s" % (address, port, "open" if answer else "closed"))
    return answer


def names(node):
    return set(node.peers())


def owner(node, address):
    """The login name of the owner of the node with that address, as `node` knows it."""
    return json.loads(node.ts("whois", "--json", address, quiet=True).stdout)["UserProfile"]["LoginName"]


@pytest.mark.parametrize("one,other", [(OLD, NEW), (NEW, OLD)], ids=["old-new", "new-old"])
def test_users_tags_and_ports(world, one, other):
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    put(server, POLICY)
    n1, = join(world, "anna", ("n1", one))
    n2, = join(world, "bert", ("n2", other))
    web, = join(world, "tag:web", ("web", other))
    db, = join(world, "tag:db", ("db", one))
    n1.wait_peers("web")
    web.wait_peers("n1", "db")
    db.wait_peers("web")
    assert (names(n1), names(n2), names(web), names(db)) == ({"web"}, set(), {"n1", "db"}, {"web"})
    for address in web.addresses:
        n1.tcp(web, address)
        assert not is_let_in(n1, web, address, 7001)
    for address in db.addresses:
        assert is_let_in(web, db, address, 7001)
        assert not is_let_in(web, db, address, 7002)
    # In the opposite direction nothing is open, though the nodes see each other.
    assert not is_let_in(web, n1, n1.addresses[0], 7000)

    who = json.loads(web.ts("whois", "--json", n1.addresses[0]).stdout)
    assert who["CapMap"]["example.com/cap/admin"] == [{"level": 7}], who
    assert who["UserProfile"]["LoginName"] == "anna"
    ssh = web.netmap()["SSHPolicy"]["rules"]
    assert [r["action"]["accept"] for r in ssh] == [True] and ssh[0]["sshUsers"]["root"] == "root", ssh
    assert {p["nodeIP"] for p in ssh[0]["principals"]} == set(n1.addresses)
    assert not db.netmap()["SSHPolicy"]["rules"]
    assert "example:backup" in db.netmap()["SelfNode"]["CapMap"]
    assert "example:backup" not in web.netmap()["SelfNode"]["CapMap"]


def test_five_nodes_hear_of_a_change(world):
    """A change takes effect within two seconds, over the streams that are open: no client polls anew."""
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    n1, n3 = join(world, "anna", ("n1", NEW), ("n3", OLD))
    n2, = join(world, "bert", ("n2", OLD))
    web, = join(world, "tag:web", ("web", OLD))
    db, = join(world, "tag:db", ("db", NEW))
    every = (n1, n2, n3, web, db)
    everyone = {n.name: {m.name for m in every} - {n.name} for n in every}

    def see(expected):
        return all(names(n) == expected[n.name] for n in every)

    wait_for("everyone sees everyone", lambda: see(everyone), 30)
    polls = 'fullscale_map_requests_total{kind="poll"}'
    polled = server.metrics()[polls]
    steps = [
        (POLICY, {"n1": {"web"}, "n3": {"web"}, "n2": set(), "web": {"n1", "n3", "db"}, "db": {"web"}}),
        ('{"grants": []}', {n.name: set() for n in every}),
        ('{"grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}]}',
         {"n1": {"n3"}, "n3": {"n1"}, "n2": set(), "web": set(), "db": set()}),
        (POLICY.replace('["tag:web"], "dst": ["tag:db"]', '["bert@"], "dst": ["tag:db"]'),
         {"n1": {"web"}, "n3": {"web"}, "n2": {"db"}, "web": {"n1", "n3"}, "db": {"n2"}}),
        ("{}", everyone),
    ]
    for text, expected in steps:
        put(server, text)
        done = time.monotonic()
        wait_for("all five know", lambda: see(expected), 5)
        assert time.monotonic() - done < 2.0 * PATIENCE
    n2.ping(db.addresses[1])
    # A user's new name reaches the nodes that see the user's nodes.
    server.cli("users", "rename", "bert", "bertrand")
    wait_for("all five know", lambda: {owner(n, n2.addresses[0]) for n in every} == {"bertrand"}, 5)
    # A user's groups follow the name; so do the filters of the nodes that the user reaches.
    put(server, POLICY)
    wait_for("anna's nodes see web", lambda: names(n1) == {"web"}, 5)
    assert is_let_in(n3, web, web.addresses[0], 7000)
    server.cli("users", "rename", "anna", "emma")
    wait_for("nobody is called anna", lambda: names(n1) == set() and names(web) == {"db"}, 5)
    assert server.metrics()[polls] == polled
