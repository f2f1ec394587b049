"""The clock of the server's machine is set while nodes are connected."""
import glob
import os

import pytest

from net import wait_for
from node import NEW, OLD
from server import RELEASE

FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class Clock:
    """What the server takes for the time: the machine's, and `set` more. Its monotonic clock is left alone."""

    def __init__(self, server):
        self.file = server.folder / "faketime"
        self.set("+0")
        server.env = dict(os.environ, LD_PRELOAD=glob.glob(FAKETIME)[0], FAKETIME_TIMESTAMP_FILE=str(self.file),
                          FAKETIME_NO_CACHE="1", DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_FAKE_MONOTONIC="1")

    def set(self, by):
        beside = self.file.with_suffix(".new")
        beside.write_text(by)
        beside.rename(self.file)


@pytest.mark.skipif(not glob.glob(FAKETIME), reason="no faketime")
@pytest.mark.parametrize("version", [OLD, NEW], ids=["old", "new"])
def test_a_clock_that_is_set_ahead_and_back_costs_nobody_anything(world, version):
    """With the clock ten years ahead all keys have expired; when it is set back they are valid again, and all nodes
    return by themselves."""
    server = world.server_to_be(RELEASE, node={"expiry": "180d", "ephemeral": {"inactivity_timeout": "2m"}})
    clock = Clock(server)
    server.start()
    server.user()
    nodes = world.join(("n1", version), ("n2", version))
    guest = world.node("guest", version, with_tun=False)
    guest.up(server.key("--ephemeral"))
    server.wait_online("guest")
    guest.stop()
    server.wait_online("guest", is_online=False)
    nodes[0].ping(nodes[1].addresses[0])

    clock.set("+1h")
    wait_for("the server says so", lambda: "clock was set ahead" in server.tail(500))
    assert server.node("guest") and not server.node("n1")["expired"]
    nodes[0].ping(nodes[1].addresses[0])

    clock.set("+3650d")
    wait_for("keys have expired", lambda: server.node("n1")["expired"])
    assert server.node("guest")

    clock.set("+0")
    wait_for("the server says so", lambda: "clock was set back" in server.tail(500))
    wait_for("keys hold again", lambda: not server.node("n1")["expired"])
    assert server.node("guest")
    for node in nodes:
        node.wait_running()
    nodes[0].ping(nodes[1].addresses[0])
    assert server.metrics()["fullscale_clock_steps_total"] == 3
