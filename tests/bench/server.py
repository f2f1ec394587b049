"""The server that is measured, on loopback. As a program: `server.py restart FOLDER` kills it and starts it again,
which is what the load generators run in the middle of their work."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from common import PROGRAM, BenchError, free_port

CONFIG = """server_url: http://127.0.0.1:{control}
listen_addr: 127.0.0.1:{control}
metrics_listen_addr: 127.0.0.1:{metrics}
state_dir: {folder}/data
unix_socket: {folder}/fullscale.sock
derp:
  server:
    listen_addr: 127.0.0.1:{derp}
    stun_listen_addr: 127.0.0.1:{stun}
    limits:
      accepts_per_address: 0
# All of the load comes from one address.
limits:
  connections: 100000
  handshakes_per_address: 0
  strangers_per_address: 0
"""


class Server:
    """What it needs stands in its folder, so that the restarting program finds it there too."""

    def __init__(self, folder):
        self.folder = folder
        self.config = os.path.join(folder, "config.yaml")
        with open(os.path.join(folder, "ports.json")) as f:
            ports = json.load(f)
        self.url = "http://127.0.0.1:%d" % ports["control"]
        self.metrics_url = "http://127.0.0.1:%d/metrics" % ports["metrics"]

    @classmethod
    def create(cls, folder, policy=None):
        """`policy`: what goes into the policy file; None for no policy."""
        ports = {"control": free_port(), "metrics": free_port(), "derp": free_port(),
                 "stun": free_port(socket.SOCK_DGRAM)}
        with open(os.path.join(folder, "ports.json"), "w") as f:
            json.dump(ports, f)
        with open(os.path.join(folder, "config.yaml"), "w") as f:
            f.write(CONFIG.format(folder=folder, **ports))
            if policy is not None:
                f.write("policy:\n  path: %s/policy.hujson\n" % folder)
        if policy is not None:
            with open(os.path.join(folder, "policy.hujson"), "w") as f:
                json.dump(policy, f)
        return cls(folder)

    def start(self):
        with open(os.path.join(self.folder, "server.log"), "ab") as out:
            process = subprocess.Popen([PROGRAM, "--config", self.config, "serve"], stdin=subprocess.DEVNULL,
                                       stdout=out,
                                       stderr=out, start_new_session=True)
        with open(os.path.join(self.folder, "pid"), "w") as f:
            f.write(str(process.pid))
        for _ in range(400):
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5):
                    return process.pid
            except (OSError, urllib.error.URLError):
                if process.poll() is not None:
                    break
                time.sleep(0.025)
        raise BenchError("the server does not serve; its log ends:\n" + self.log_end())

    def restart(self):
        """As after a crash or a power cut: nothing is said to the clients."""
        old = self.pid()
        self.kill(signal.SIGKILL)
        while not is_gone(old):
            time.sleep(0.005)
        return self.start()

    def pid(self):
        with open(os.path.join(self.folder, "pid")) as f:
            return int(f.read())

    def kill(self, how):
        """SIGKILL or SIGTERM, once. Keeps the books of what the process has used."""
        try:
            pid = self.pid()
            used = Used.of(pid)
            os.kill(pid, how)
        except (OSError, ValueError):
            return
        os.unlink(os.path.join(self.folder, "pid"))
        with open(os.path.join(self.folder, "used"), "a") as f:
            f.write("%d %d\n" % (used.peak_rss_bytes, used.cpu_ticks))

    def used(self):
        """Of all processes that have been killed: the peak of their memory in MB, and their CPU seconds."""
        with open(os.path.join(self.folder, "used")) as f:
            rows = [[int(word) for word in line.split()] for line in f]
        return max(row[0] for row in rows) / 1e6, sum(row[1] for row in rows) / os.sysconf("SC_CLK_TCK")

    def log_end(self):
        with open(os.path.join(self.folder, "server.log"), errors="replace") as f:
            return "".join(f.readlines()[-15:])

    def cli(self, *args):
        """What it prints."""
        return subprocess.run([PROGRAM, "--config", self.config, *args], check=True, stdout=subprocess.PIPE,
                              text=True).stdout

    def auth_key(self, *flags, user="bench"):
        return self.cli("preauthkeys", "create", "--user", user, "--reusable", *flags).split()[-1]

    def metrics(self):
        """Name with labels to value."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                found[name] = float(value)
        return found


class Used:
    def __init__(self, peak_rss_bytes, cpu_ticks):
        self.peak_rss_bytes, self.cpu_ticks = peak_rss_bytes, cpu_ticks

    @classmethod
    def of(cls, pid):
        with open("/proc/%d/status" % pid) as f:
            found = re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M)
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return cls(int(found.group(1)) * 1024 if found else 0, int(fields[11]) + int(fields[12]))


def is_gone(pid):
    """Whether the last thread of a killed process has let go of its files: until then the database is in use."""
    try:
        if len(os.listdir("/proc/%d/task" % pid)) > 1:
            return False
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def restart_command(folder):
    return "'%s' '%s' restart '%s'" % (sys.executable, os.path.abspath(__file__), folder)


if __name__ == "__main__":
    print("pid=%d" % Server(sys.argv[2]).restart())
