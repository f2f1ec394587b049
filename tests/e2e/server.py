"""The server under test, in the namespace `srv`, and its command line."""
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import yaml

from net import PATIENCE, echo, run, wait_for

ROOT = Path(__file__).resolve().parents[2]
# The build with sanitizers, for all tests except those that measure.
CHECKED = Path(os.environ.get("E2E_PROGRAM") or ROOT / "build-asan" / "src" / "fullscale")
RELEASE = Path(os.environ.get("E2E_RELEASE_PROGRAM") or ROOT / "build" / "src" / "fullscale")
SANITIZER_REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:"
                              r"|Assertion .* failed")


def make_certificates(folder, ip):
    """A private CA and a certificate of it for `ip`; returns the CA's file."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test CA",
            "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", *new_key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=" + ip)
    (folder / "leaf.ext").write_text("subjectAltName=IP:%s\n" % ip)
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "leaf.ext", "-out", "leaf.pem")
    return folder / "ca.pem"


# The relay at a port of its own, with the certificate that it makes itself, as on a server without a certificate.
OWN_RELAY_PORT = {"server": {"listen_addr": "0.0.0.0:8443"}}


class Server:
    """`with_tls`: on port 443 with a certificate of a private CA (`ca`); else plain HTTP on port 8080, where clients do
    not come back from a broken connection, because 198.18.0.1 counts as a public address."""

    def __init__(self, net, folder, program=CHECKED, with_tls=True, **settings):
        self.net, self.folder, self.program = net, folder, program
        self.space = net.server_space
        self.ca = make_certificates(folder, self.space.ip) if with_tls else None
        self.address = (self.space.ip, 443 if with_tls else 8080)
        self.url = "https://%s" % self.space.ip if with_tls else "http://%s:8080" % self.space.ip
        self.log = folder / "server.log"
        self.config = folder / "config.yaml"
        self.process = None
        self.env = None  # of the process; this one's when None
        self.write_config(**settings)

    def write_config(self, **settings):
        config = {
            "server_url": self.url,
            "listen_addr": "0.0.0.0:%d" % self.address[1],
            "metrics_listen_addr": "127.0.0.1:9090",
            "state_dir": str(self.folder / "state"),
            "unix_socket": str(self.folder / "server.sock"),
            "log": {"level": "debug"},
        }
        if self.ca:
            config.update(tls_cert_path=str(self.folder / "leaf.pem"), tls_key_path=str(self.folder / "leaf.key"))
        config.update(settings)
        self.config.write_text(yaml.safe_dump(config))

    def start(self, until=None):
        """Returns when the server is healthy, or when `until` returns true."""
        self.process = self.space.popen(str(self.program), "--config", str(self.config), "serve",
                                        stdout=open(self.log, "ab"), stderr=subprocess.STDOUT, env=self.env)
        if until is None:
            wait_for("the server is healthy", self.is_healthy, 30)
        else:
            wait_for("the server serves", until, 30)
        return self

    def is_healthy(self):
        assert self.process.poll() is None, "the server ended with %s\n%s" % (self.process.returncode, self.tail())
        return self.cli("health", check=False, quiet=True).returncode == 0

    def stop(self):
        """Asks the server to end, which must happen without a sanitizer report."""
        echo("srv", "kill TERM")
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30 * PATIENCE)
        assert status == 0, "the server ended with %d\n%s" % (status, self.tail())

    def kill(self):
        echo("srv", "kill KILL")
        self.process.kill()
        self.process.wait(timeout=10 * PATIENCE)

    def restart(self):
        self.stop()
        self.start()

    def check_clean(self):
        """At the end of each test: still alive, ends by itself, no sanitizer report."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        elif self.process is not None and self.process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError("the server ended with %d\n%s" % (self.process.returncode, self.tail()))
        found = SANITIZER_REPORT.search(self.log.read_text(errors="replace")) if self.log.exists() else None
        assert not found, self.tail(200)

    def cli(self, *args, check=True, quiet=False, timeout=20 * PATIENCE):
        if not quiet:
            echo("srv", "fullscale", *args)
        return run("srv", [str(self.program), "--config", str(self.config), *args], check=check, quiet=True,
                   timeout=timeout)

    def json(self, *args, quiet=False):
        return json.loads(self.cli(*args, "-o", "json", quiet=quiet).stdout)

    def user(self, name="anna"):
        self.cli("users", "create", name)
        return name

    def key(self, *flags, user="anna"):
        """A pre-auth key: one line on standard output."""
        said = self.cli("preauthkeys", "create", "--user", user, *flags).stdout.split()
        assert len(said) == 1, "not just the key: %r" % said
        return said[0]

    def nodes(self):
        return self.json("nodes", "list", quiet=True) or []

    def node(self, name):
        found = [n for n in self.nodes() if name in (n.get("givenName"), n.get("name"))]
        return found[0] if found else None

    def wait_online(self, name, is_online=True, timeout=30):
        wait_for("%s is %s" % (name, "online" if is_online else "offline"),
                 lambda: bool((self.node(name) or {}).get("online")) == is_online, timeout)

    def metrics(self):
        """The metrics: name (with labels) -> value."""
        said = self.space.run("curl", "-sf", "http://127.0.0.1:9090/metrics", quiet=True).stdout
        pairs = (line.rsplit(" ", 1) for line in said.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def rss_bytes(self):
        return self._proc_bytes("VmRSS")

    def peak_rss_bytes(self):
        return self._proc_bytes("VmHWM")

    def _proc_bytes(self, field):
        status = Path("/proc/%d/status" % self.process.pid).read_text()
        return int(re.search(r"^%s:\s+(\d+) kB" % field, status, re.M).group(1)) * 1024

    def cpu_seconds(self):
        fields = Path("/proc/%d/stat" % self.process.pid).read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def tail(self, lines=60):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
