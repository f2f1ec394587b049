"""What kinds of rules do to traffic: groups, hosts, protocols, one's own nodes, the internet through an exit node,
SSH."""
import pytest

from net import run, wait_for
from node import NEW, OLD
from test_policy import is_let_in, join, names, put
from test_routes import routed

VERSIONS = pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])


@VERSIONS
def test_groups_hosts_and_protocols(world, version):
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    put(server, '{"tagOwners": {"tag:web": ["anna@"]}}')
    n1, = join(world, "anna", ("n1", version))
    n2, = join(world, "bert", ("n2", NEW))
    web, = join(world, "tag:web", ("web", version))
    v4, v6 = web.addresses
    put(server, """{
      "groups": {"group:ops": ["anna@"]}, "tagOwners": {"tag:web": ["anna@"]},
      "hosts": {"web-v4": "%s", "web-v6": "%s"},
      "acls": [
        {"action": "accept", "src": ["group:ops"], "proto": "icmp", "dst": ["web-v4:*"]},
        {"action": "accept", "src": ["group:ops"], "proto": "ipv6-icmp", "dst": ["web-v6:*"]},
        {"action": "accept", "src": ["bert@"], "proto": "tcp", "dst": ["web-v4:7000-7001", "web-v6:7000-7001"]},
      ]}""" % (v4, v6))
    n1.wait_peers("web")
    n2.wait_peers("web")
    for address in (v4, v6):
        n1.ping(address)
        assert not is_let_in(n1, web, address, 7001)
        assert is_let_in(n2, web, address, 7001)
        assert not is_let_in(n2, web, address, 7002)
        # A client lets pings in from every source that it lets anything in from. src: tailscale 1.102 wgengine/filter
        n2.ping(address)
    assert "n1" not in n2.peers()


@VERSIONS
def test_ones_own_nodes(world, version):
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    put(server, """{"tagOwners": {"tag:web": ["anna@"]},
      "grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["tcp:7000-7001"]}]}""")
    n1, n3 = join(world, "anna", ("n1", version), ("n3", NEW))
    n2, = join(world, "bert", ("n2", version))
    web, = join(world, "tag:web", ("web", NEW))
    n1.wait_peers("n3")
    n3.wait_peers("n1")
    assert (names(n1), names(n2), names(web)) == ({"n3"}, set(), set())
    for address in n3.addresses:
        assert is_let_in(n1, n3, address, 7001)
        assert not is_let_in(n1, n3, address, 7002)
        assert not is_let_in(n2, n3, address, 7001)
    assert not is_let_in(n1, web, web.addresses[0], 7001)


@VERSIONS
def test_the_internet_through_an_exit_node(world, version):
    """An exit node, approved by the policy, serves only the nodes that the policy grants it to, and not into private
    networks."""
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    put(server, """{"tagOwners": {"tag:exit": ["anna@"]}, "autoApprovers": {"exitNode": ["tag:exit"]},
      "grants": [{"src": ["anna@"], "dst": ["autogroup:internet"], "ip": ["*"]},
                 {"src": ["bert@"], "dst": ["tag:exit"], "ip": ["tcp:7000"]}]}""")
    gateway, behind, _ = routed(world, "gateway", version)
    gateway.space.sysctl("net.ipv6.conf.all.forwarding=1")
    for address in ("203.0.113.7", "10.99.0.7"):
        world.net.ip("-n", behind.full, "addr", "add", address + "/32", "dev", "lo")
        world.net.ip("-n", gateway.space.full, "route", "add", address, "via", behind.ip)
    gateway.up(server.key("--tags", "tag:exit"), "--advertise-exit-node")
    n1, = join(world, "anna", ("n1", version))
    n2, = join(world, "bert", ("n2", NEW))
    wait_for("n1 is offered the exit node", lambda: n1.peers().get("gateway", {}).get("ExitNodeOption"))
    n2.wait_peers("gateway")
    assert not n2.peers()["gateway"]["ExitNodeOption"]
    n1.ts("set", "--exit-node=gateway")
    n1.ping("203.0.113.7")
    assert not n1.answers("10.99.0.7")
    # The exit node itself is not part of the internet.
    assert not is_let_in(n1, gateway, gateway.addresses[0], 7000)


def ssh(node, user, address, command, **env):
    argv = node.space.argv("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
                           "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "SendEnv=FS_*",
                           "%s@%s" % (user, address), command)
    return run(node.name, ["env", *("%s=%s" % e for e in env.items()), *argv], check=False)


@VERSIONS
def test_ssh(world, version):
    server = world.server(policy={"mode": "database"})
    server.user("bert")
    open_22 = '"grants": [{"src": ["*"], "dst": ["*"], "ip": ["tcp:22"]}]'
    rule = '{"action": "accept", "src": ["anna@"], "dst": ["tag:web"], "users": ["root"], "acceptEnv": ["FS_*"]}'
    policy = '{"tagOwners": {"tag:web": ["anna@"]}, %s, "ssh": [%s]}'
    put(server, policy % (open_22, rule))
    n1, = join(world, "anna", ("n1", NEW))
    n2, = join(world, "bert", ("n2", OLD))
    web = world.node("web", version)
    web.up(server.key("--tags", "tag:web"), "--ssh")
    for node in (n1, n2):
        node.wait_peers("web")
    wait_for("n1 knows the host keys of web", lambda: n1.peers()["web"].get("sshHostKeys"))
    for address in web.addresses:
        said = ssh(n1, "root", address, "id -un; echo $FS_COLOUR", FS_COLOUR="green")
        assert said.stdout.split() == ["root", "green"], said
    for node, user in ((n1, "nobody"), (n2, "root")):
        said = ssh(node, user, web.addresses[0], "id -un")
        assert said.returncode == 255 and ("denied" in said.stderr or "policy" in said.stderr), said
    # A check needs a browser login: refused with the reason, at once.
    put(server, policy % (open_22, rule.replace("accept", "check", 1)))
    wait_for("the rule is there", lambda: "holdAndDelegate" in web.netmap()["SSHPolicy"]["rules"][0]["action"])
    said = ssh(n1, "root", web.addresses[0], "id -un")
    assert said.returncode == 255 and "cannot do yet" in said.stdout + said.stderr, said
    put(server, policy % (open_22, rule))
    wait_for("the rule is there", lambda: "accept" in web.netmap()["SSHPolicy"]["rules"][0]["action"])
    # `tailscale ssh` checks the host keys that the netmap has.
    said = n1.ts("ssh", "root@web", "id", "-un")
    assert said.stdout.split() == ["root"], said
    # A rule that is removed while a session is open ends the session.
    session = n1.space.popen("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
                             "UserKnownHostsFile=/dev/null", "root@" + web.addresses[0], "sleep 60")
    wait_for("the session is there", lambda: "sleep 60" in web.log.read_text(errors="replace"))
    put(server, policy % (open_22, ""))
    assert session.wait(timeout=20) != 0
    assert ssh(n1, "root", web.addresses[0], "id").returncode == 255
    assert not web.netmap()["SSHPolicy"]["rules"]


def test_relays_and_addresses(world):
    """derpMap and ipPool: what a policy says of relays reaches nodes that are connected, also after a restart."""
    server = world.server(policy={"mode": "database"})
    text = """{"tagOwners": {"tag:web": ["anna@"]}, "nodeAttrs": [{"target": ["tag:web"], "ipPool": ["100.80.0.0/24"]}],
      "derpMap": {"Regions": {"901": {"RegionID": 901, "RegionCode": "lab", "Nodes": [
        {"Name": "901a", "RegionID": 901, "HostName": "198.18.0.250", "IPv4": "198.18.0.250"}]}}}}"""
    n1, = join(world, "anna", ("n1", OLD))
    put(server, text)

    def regions(node):
        return set(node.netmap()["DERPMap"]["Regions"])

    wait_for("n1 knows the new region", lambda: regions(n1) == {"901", "999"})
    web, = join(world, "tag:web", ("web", NEW))
    assert web.addresses[0].startswith("100.80.0.")
    n1.ping(web.addresses[0])
    server.restart()
    for node in (n1, web):
        node.wait_running()
        assert regions(node) == {"901", "999"}
    put(server, "{}")
    wait_for("it is gone again", lambda: regions(n1) == {"999"})
