"""`fullscale relay` in a namespace of its own, enrolled at the server."""
import json
import os
import signal
import subprocess

import yaml

import derp
import wire
from net import PATIENCE, echo, wait_for
from server import CHECKED, SANITIZER_REPORT
from sockets import connect

PORT = 8443


class Relay:
    def __init__(self, world, name, region=None):
        self.world, self.server, self.name = world, world.servers[0], name
        self.space = world.net.add(name)
        self.address = (self.space.ip, PORT)
        self.folder = world.folder / name
        self.folder.mkdir()
        self.log = self.folder / "log"
        self.process = None
        self.write_config()
        flags = ["--region-id", str(region)] if region else []
        made = self.server.json("relays", "create", name, *flags)
        self.key, self.region = made["key"], made["regionId"]
        world.relays.append(self)

    def write_config(self, **relay):
        config = {"state_dir": str(self.folder / "state"), "metrics_listen_addr": "127.0.0.1:9090",
                  "log": {"level": "debug"}, "relay": dict({"drain": "1s"}, **relay)}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def enrol(self):
        """Enrols the relay with the one command and starts it."""
        return self.start("--server", self.server.url, "--key", self.key)

    def start(self, *args):
        env = dict(os.environ)
        if self.server.ca:
            env["SSL_CERT_FILE"] = str(self.server.ca)
        self.process = self.space.popen(str(CHECKED), "--config", str(self.folder / "config.yaml"), "relay", *args,
                                        stdout=open(self.log, "ab"), stderr=subprocess.STDOUT, env=env)
        return self

    def wait_up(self, is_up=True, timeout=20):
        wait_for("%s is %s" % (self.name, "up" if is_up else "gone"), lambda: self.listed()["up"] == is_up, timeout)
        return self

    def listed(self):
        return next(r for r in self.server.json("relays", "list", quiet=True) if r["name"] == self.name)

    def stop(self):
        echo(self.name, "kill TERM")
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30 * PATIENCE)
        assert status == 0, "the relay ended with %d\n%s" % (status, self.tail())

    def kill(self):
        echo(self.name, "kill KILL")
        self.process.kill()
        self.process.wait(timeout=10 * PATIENCE)

    def check_clean(self):
        if self.process is not None and self.process.poll() is None:
            self.stop()
        found = SANITIZER_REPORT.search(self.log.read_text(errors="replace")) if self.log.exists() else None
        assert not found, self.tail(200)

    def metrics(self):
        said = self.space.run("curl", "-sf", "http://127.0.0.1:9090/metrics", quiet=True).stdout
        pairs = (line.rsplit(" ", 1) for line in said.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def registered_key(server, auth_key, name):
    """A node key that the server knows, without a client behind it."""
    key, machine = wire.Key(), wire.Key()
    session = wire.Session(connect(server), wire.server_key_over(connect(server)), machine)
    answer = session.register(key, auth_key, name)
    assert not answer["Error"], answer
    session.close()
    return key


def regions(node):
    """The DERP map as a client has it: region number -> names of its nodes."""
    found = json.loads(node.ts("debug", "derp-map", quiet=True).stdout)
    return {int(number): [n["Name"] for n in region["Nodes"]] for number, region in found["Regions"].items()}


def home(node):
    return node.status()["Self"]["Relay"]


def dial(space, relay, key):
    return derp.Derp(space, relay.address, key=key)
