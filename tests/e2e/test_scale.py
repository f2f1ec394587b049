"""A thousand nodes that `fullscale-bench` simulates on the loopback of the server, and which nodes each of them knows
after every step. Nothing is timed here: tests/bench does that."""
import json
import re
import shlex

import pytest

from net import wait_for
from server import RELEASE

NODES = 1000
# "hold" checks what all nodes know.
STEPS = ["join", "churn", "hold", "reconnect", "restart", "hold"]
CHANGES_PER_S, CHURN_S = 20, 3
POLITE = ("nice", "-n", "10")  # the tests beside this one have limits of time

USERS = ["anna", "bert", "carl", "dora", "emil", "fred"]
GROUPS = {"group:dev": ["anna", "bert"], "group:ops": ["carl"]}
# Classes of nodes that have tags.
TAGGED = {"web": ["web"], "db": ["db"], "web+db": ["web", "db"], "ci": ["ci"], "web+ci": ["web", "ci"], "cam": ["cam"],
          "spare": ["spare"], "alone": ["alone"]}
# Sources and destinations; besides, a user's nodes reach each other.
RULES = [
    (["group:dev"], ["tag:web", "tag:ci"]),
    (["group:ops"], ["tag:web", "tag:db", "tag:ci", "tag:cam", "group:dev"]),
    (["tag:web"], ["tag:db"]),
    (["tag:ci"], ["tag:ci"]),
    (["dora", "emil"], ["tag:cam"]),
    (["tag:spare"], ["fred"]),
]


def policy_text():
    def name(selector):
        return selector + "@" if selector in USERS else selector
    tags = sorted({tag for tags in TAGGED.values() for tag in tags})
    return json.dumps({
        "groups": {group: [name(user) for user in members] for group, members in GROUPS.items()},
        "tagOwners": {"tag:" + tag: ["anna@"] for tag in tags},
        "grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}] +
                  [{"src": [name(s) for s in src], "dst": [name(d) for d in dst], "ip": ["tcp:443"]}
                   for src, dst in RULES],
    })


def is_meant(kind, selector):
    """Whether nodes of the class are among those that a rule names."""
    if kind in TAGGED:
        return selector in ["tag:" + tag for tag in TAGGED[kind]]
    return kind == selector or kind in GROUPS.get(selector, ())


def reaches(one, other):
    if one == other and one in USERS:
        return True
    return any(any(is_meant(one, s) for s in src) and any(is_meant(other, d) for d in dst) for src, dst in RULES)


def make_classes(server):
    """The simulated nodes' classes, with the classes that they must see: computed from the rules, not by the server."""
    kinds = USERS + list(TAGGED)
    out = []
    for i, kind in enumerate(kinds):
        tags = ["tag:" + tag for tag in TAGGED.get(kind, [])]
        owner = ["--tags", ",".join(tags)] if tags else []
        key = server.key("--reusable", *owner, user=kind if kind in USERS else "anna")
        out.append({"name": kind, "authkey": key, "tags": tags, "weight": 1 + i % 3,
                    "sees": [other for other in kinds if reaches(kind, other) or reaches(other, kind)]})
    return out


class Fleet:
    """A run of `fullscale-bench suite`, with the server's restart in the middle of it."""

    def __init__(self, world, *args):
        self.server, self.folder = world.servers[0], world.folder
        self.ask, self.answer = self.folder / "restart", self.folder / "restarted"
        restart = ": >{0}; until [ -e {1} ]; do sleep 0.05; done; cat {1}".format(
            shlex.quote(str(self.ask)), shlex.quote(str(self.answer)))
        self.process = self.server.space.popen(
            *POLITE, str(RELEASE.with_name("fullscale-bench")), "suite", "--server",
            "http://127.0.0.1:%d" % self.server.address[1],
            "--server-pid", str(self.server.process.pid), "--nodes", str(NODES), "--steps", ",".join(STEPS),
            "--restart-cmd", restart, "--churn-rate", str(CHANGES_PER_S), "--churn-for", "%ds" % CHURN_S,
            "--hold-for", "1ms", "--quiet", "1s", "--timeout", "60s", "--check", "deep", *args,
            stdout=open(self.folder / "bench.out", "wb"), stderr=open(self.folder / "bench.log", "wb"))

    def is_over(self):
        if self.ask.exists() and not self.answer.exists():
            self.server.kill()
            self.server.start()
            draft = self.folder / "restarted.draft"
            draft.write_text("pid=%d\n" % self.server.process.pid)
            draft.rename(self.answer)
        return self.process.poll() is not None

    def reports(self):
        """One for each step, in order."""
        wait_for("the simulated nodes have been through all steps", self.is_over, 300)
        print((self.folder / "bench.log").read_text())
        assert self.process.returncode == 0
        reports = [json.loads(line) for line in (self.folder / "bench.out").read_text().splitlines()]
        assert len(reports) == len(STEPS)
        return reports


def check_faults(report, is_restart):
    """No error, and no session lost but those that the killed server held."""
    counts = ("register_errors", "update_errors", "decode_errors", "first_without_node", "self_as_peer", "missed",
              "wrong_records")
    assert not {name: report[name] for name in counts if report.get(name)}
    if is_restart:
        assert report["sessions_lost"] == NODES
        meant = re.compile("× (map|connect): (?!nothing came)")
        assert all(meant.search(error) for error in report["errors"]), report["errors"]
    else:
        assert report["sessions_lost"] == 0 and report["failed_starts"] == 0
        assert not report["errors"], report["errors"]


def check_known(report):
    """Every node knows exactly the nodes that it must, and what those last reported."""
    found = dict(report["verify"])
    assert found.pop("ok") and found.pop("pairs_checked") == NODES * (NODES - 1)
    assert not any(found.values()), found


@pytest.mark.parametrize("with_policy", [False, True], ids=["all", "policy"])
def test_a_thousand_nodes(world, with_policy):
    """The nodes join, change, lose all connections at once, and the server is killed and restarted."""
    server = world.server(with_tls=False, log={"level": "info"}, policy={"mode": "database"})
    if with_policy:
        for user in USERS[1:]:
            server.user(user)
        (world.folder / "policy.hujson").write_text(policy_text())
        server.cli("policy", "set", "-f", str(world.folder / "policy.hujson"))
        (world.folder / "classes.json").write_text(json.dumps(make_classes(server)))
        fleet = Fleet(world, "--classes", str(world.folder / "classes.json"))
    else:
        fleet = Fleet(world, "--authkey", server.key("--reusable"))

    join, churn, held, reconnect, restart, back = fleet.reports()
    for report in (join, churn, held, reconnect, restart, back):
        check_faults(report, report is restart)
        if report is not churn:
            check_known(report)
    assert churn["changes"] == CHANGES_PER_S * CHURN_S and churn["delivered"] > 0
    assert reconnect["full_maps"] == restart["full_maps"] == NODES
    assert (join["visible_pairs"] < NODES * (NODES - 1)) == with_policy
