"""Where the policy comes from: a file that changes under the server, or the database; what is wrong with it changes
nothing.

   srv (control) ── n1, n2
"""
import json
import os
import re
import subprocess
import time

from net import run, wait_for
from server import ROOT

OPEN = """{
  // everyone
  "acls": [
    {"action": "accept", "src": ["*"], "dst": ["*:*"]},
  ],
}
"""
CLOSED = OPEN.replace("*:*", "*:443")
BROKEN = OPEN.replace('"dst"', '"dts"')
RELOADS = 'fullscale_policy_reloads_total{result="%s"}'


def at_work(server):
    return server.json("policy", "get", quiet=True)


def reloads(server, result):
    return server.metrics()[RELOADS % result]


def test_file(world):
    """Read at the start, on SIGHUP and when it changes; refused as a whole, with every error, when it is wrong."""
    path = world.folder / "policy.hujson"
    server = world.server_to_be(policy={"mode": "file", "path": "policy.hujson"})
    path.write_text(BROKEN)
    said = run("srv", [str(server.program), "--config", str(server.config), "serve"], check=False, quiet=True)
    assert said.returncode == 78  # the service manager does not try again
    assert "%s:4:47:" % path in said.stderr, said.stderr
    assert "cannot start: " in said.stderr

    path.write_text(OPEN)
    server.start()
    server.user()
    assert at_work(server)["policy"] == OPEN
    assert at_work(server)["updatedAt"] is None
    n1, n2 = world.join("n1", "n2")
    n1.wait_peers("n2")
    assert "%s:4" % path in server.cli("policy", "why", "n1", "n2:22").stdout

    # The file is read again by itself, also when an editor replaces it by another one.
    path.write_text(CLOSED)
    wait_for("the change is seen", lambda: at_work(server)["policy"] == CLOSED, 10)
    said = server.cli("policy", "why", "n1", "n2:22", check=False)
    assert said.returncode == 1
    assert "%s:4  acls[0]: matches all but the port or protocol" % path in said.stdout
    other = world.folder / "policy.new"
    other.write_text(OPEN)
    os.replace(other, path)
    wait_for("the other file is seen", lambda: at_work(server)["policy"] == OPEN, 10)
    assert reloads(server, "changed") == 2

    # With an invalid or missing file the last good policy stays in force, which is reported.
    for text, fault in ((BROKEN, "%s:4:47:" % path), (None, str(path)), ('{"acls": [', "%s:1:" % path),
                        ("", "write {}"), ("  \n", "write {}"), ("// acls\n", "write {}"),
                        ("\0" * 100, "%s:1:" % path)):
        failed = reloads(server, "failed")
        path.unlink() if text is None else path.write_text(text)
        wait_for("the mistake is seen", lambda: reloads(server, "failed") > failed, 10)
        assert fault in at_work(server)["fault"]
        assert at_work(server)["policy"] == OPEN
        assert server.metrics()["fullscale_policy_file_faulty"] == 1
        said = server.cli("policy", "get")
        assert said.stdout == OPEN and "last good policy" in said.stderr
    assert "%s:4:47" % path in server.log.read_text()

    # SIGHUP reads the file at once; the same text again is no change.
    path.write_text(CLOSED)
    server.process.send_signal(1)
    wait_for("SIGHUP is heard", lambda: at_work(server)["policy"] == CLOSED, 2)
    assert at_work(server)["fault"] == ""
    assert server.metrics()["fullscale_policy_file_faulty"] == 0
    same = reloads(server, "unchanged")
    server.process.send_signal(1)
    wait_for("SIGHUP is heard", lambda: reloads(server, "unchanged") == same + 1, 5)

    # A policy whose own tests fail is refused like one that does not parse.
    path.write_text(CLOSED.replace('"acls"', '"tests": [{"src": "anna@", "accept": ["anna@:22"]}],\n"acls"'))
    wait_for("the test fails", lambda: "expected ALLOWED" in at_work(server)["fault"], 10)
    assert at_work(server)["policy"] == CLOSED
    assert server.cli("policy", "set", "-f", str(path), check=False).returncode == 1
    said = server.cli("policy", "set", "-f", str(other), check=False)
    assert said.returncode == 1


def test_what_stands_in_the_place_of_the_file(world):
    """A directory, a pipe, a huge file, none, an emptied one: the last good policy stays, a start is refused, {}
    opens."""
    path = world.folder / "policy.hujson"
    path.write_text(CLOSED)
    server = world.server(policy={"mode": "file", "path": "policy.hujson"})

    def put(kind):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        {"directory": path.mkdir, "pipe": lambda: os.mkfifo(path),
         "huge": lambda: path.write_text(CLOSED + " " * (5 << 20)),
         "none": lambda: None, "emptied": lambda: path.write_text("")}[kind]()

    for kind, fault in (("directory", "a directory"), ("pipe", "device or pipe"), ("huge", "larger than"),
                        ("none", "No such file"), ("emptied", "write {}")):
        put(kind)
        wait_for("the %s is seen" % kind, lambda: fault in at_work(server)["fault"], 10)
        assert at_work(server)["policy"] == CLOSED
    server.stop()
    for kind in ("directory", "pipe", "huge", "none", "emptied"):
        put(kind)
        said = run("srv", [str(server.program), "--config", str(server.config), "serve"], check=False, quiet=True)
        assert said.returncode in (1, 78) and str(path) in said.stderr, (kind, said.stderr)
    path.write_text("{}\n")
    server.start()
    assert at_work(server)["policy"] == "{}\n"


def test_file_mode_refuses_to_be_set(world):
    server = world.server()
    path = world.folder / "p.hujson"
    path.write_text(OPEN)
    said = server.cli("policy", "set", "-f", str(path), check=False)
    assert said.returncode == 1 and "update is disabled" in said.stderr
    assert "update is disabled" in server.cli("policy", "history", check=False).stderr
    assert "no policy" in server.cli("policy", "why", "a", "b").stdout


def test_database(world):
    """A policy is set, shown and rolled back: what was acknowledged survives kill -9."""
    server = world.server(policy={"mode": "database"})
    path = world.folder / "p.hujson"

    def put(text, *more, check=True):
        path.write_text(text)
        return server.cli("policy", "set", "-f", str(path), *more, check=check)

    assert server.cli("policy", "get", check=False).returncode == 3
    n1, n2 = world.join("n1", "n2")
    n1.wait_peers("n2")
    assert "version 1 " in put(OPEN, "-m", "first of all").stdout
    assert server.cli("policy", "get").stdout == OPEN
    for wrong, place in ((BROKEN, ":4:47: "), ("", ":1:1: "), (" // all\n", ":1:1: "), ('{"acls": [', ":1:")):
        said = put(wrong, check=False)
        assert said.returncode == 1 and str(path) + place in said.stderr, said.stderr
    said = put(OPEN.replace('"acls"', '"tests": [{"src": "anna@", "deny": ["anna@:22"]}],\n"acls"'), check=False)
    assert said.returncode == 1 and str(path) + ":3:" in said.stderr and "got ALLOWED" in said.stderr, said.stderr
    assert server.cli("policy", "get").stdout == OPEN

    path.write_text(CLOSED)
    gone = server.json("policy", "diff", "-f", str(path))["changes"]
    assert gone and not any(c["gained"] for c in gone)
    assert {(c["firstPort"], c["lastPort"]) for c in gone if c["protocol"] == 6} == {(0, 442), (444, 65535)}
    assert "nobody@" in put(CLOSED.replace('"src": ["*"]', '"src": ["*", "nobody@"]')).stderr
    server.kill()
    server.start()
    assert "nobody@" in server.cli("policy", "get").stdout
    assert server.cli("policy", "why", "n1", "n2:443").returncode == 0
    assert server.cli("policy", "why", "n1", "n2:22", check=False).returncode == 1

    server.cli("policy", "rollback", "1", "--force")
    server.kill()
    server.start()
    assert server.cli("policy", "get").stdout == OPEN
    history = server.json("policy", "history")
    assert [v["version"] for v in history] == ["3", "2", "1"]
    assert [v["note"] for v in history] == ["rollback to 1", "", "first of all"]
    assert server.cli("policy", "get", "-n", "2").stdout != OPEN
    assert server.cli("policy", "rollback", "9", "--force", check=False).returncode == 3
    n1.wait_peers("n2")


def test_examples_of_the_manual(world):
    """The policy that docs/policy.md gives to start from is accepted."""
    server = world.server(policy={"mode": "database"})
    path = world.folder / "p.hujson"
    blocks = re.findall(r"^```\n(\{.*?)^```$", (ROOT / "docs" / "policy.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        path.write_text(re.sub(r'\n  "tests": \[.*?\n  \],', "", block, flags=re.S))
        assert ": good" in server.cli("policy", "check", "-f", str(path)).stdout


def test_kill_while_setting(world):
    """Every version that was acknowledged is there, and the newest is in force."""
    server = world.server(policy={"mode": "database"})
    path = world.folder / "p.hujson"
    acknowledged = 0
    for turn in range(5):
        path.write_text(OPEN + "// %d\n" % turn)
        setter = subprocess.Popen(
            server.space.argv("sh", "-c", "while %s -c %s policy set -f %s -o json-line; do :; done" %
                              (server.program, server.config, path)),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(0.3 + turn * 0.11)
        server.kill()
        said = setter.communicate(timeout=30)[0]
        answers = [json.loads(line) for line in said.splitlines() if line.endswith("}")]
        acknowledged = max([acknowledged] + [int(a["version"]) for a in answers])
        server.start()
        newest = server.json("policy", "history", quiet=True)[0] if acknowledged else {"version": "0"}
        assert int(newest["version"]) >= acknowledged
        if answers:
            assert server.cli("policy", "get", quiet=True).stdout.endswith("// %d\n" % turn)
    assert acknowledged >= 5


def test_hostile_texts_cost_little(world):
    """10 MB, 10,000 levels, a million elements, a group in itself: refused with the position, in bounded memory."""
    server = world.server(policy={"mode": "database"})
    path = world.folder / "p.hujson"
    before = server.peak_rss_bytes()
    texts = {
        "too large": "{\n" + "// and so on and on\n" * (10 << 20 >> 4) + "}",
        "deep": "{\"acls\": " + "[" * 10_000,
        "long": '{"acls": [{"action": "accept", "dst": ["*:*"], "src": [' + '"a@",' * 1_000_000 + "]}]}",
        "itself": '{"groups": {"group:a": ["group:a"]}}',
    }
    for name, text in texts.items():
        path.write_text(text)
        body = json.dumps({"policy": text})
        (world.folder / "body.json").write_text(body)
        said = server.space.run("curl", "-s", "--unix-socket", str(server.folder / "server.sock"), "-X", "PUT",
                                "--data-binary", "@" + str(world.folder / "body.json"), "-H", "Expect:",
                                "http://x/api/v1/policy", quiet=True).stdout
        answer = json.loads(said)
        assert answer["status"] == 400, (name, said[:500])
        assert answer["errors"][0]["message"], name
        said = server.cli("policy", "check", "-f", str(path), check=False, quiet=True)
        assert said.returncode == 1 and str(path) in said.stderr
    # the body, its strings, the tree: with the sanitizer's shadow and quarantine
    assert server.peak_rss_bytes() - before < 600 << 20
    assert server.cli("policy", "get", check=False).returncode == 3


def test_a_policy_that_approves_routes(world):
    """A policy set while the router is connected approves its routes at once, and they stay approved after kill -9."""
    server = world.server(policy={"mode": "database"})
    path = world.folder / "p.hujson"
    (n1,) = world.join("n1")
    n1.ts("set", "--advertise-routes=10.7.0.0/24")
    wait_for("the route is advertised", lambda: server.node("n1")["availableRoutes"] == ["10.7.0.0/24"], 10)
    path.write_text(OPEN.replace('"acls"', '"autoApprovers": {"routes": {"10.0.0.0/8": ["anna@"]}},\n"acls"'))
    server.cli("policy", "set", "-f", str(path))
    wait_for("the route is approved", lambda: server.node("n1")["subnetRoutes"] == ["10.7.0.0/24"], 5)
    server.kill()
    server.start()
    assert server.node("n1")["approvedRoutes"] == ["10.7.0.0/24"]
