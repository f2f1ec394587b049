"""One official client in its own namespace, and what a person would do with it."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

from net import PATIENCE, echo, run, wait_for

CLIENTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fullscale" / "clients"
OLD, NEW = "v1.80.3", "v1.102.5"

# The client gets no firewall of its own. The old client crashes on a nil pointer when its port changes twice, as it
# may after a look at the network (see `rebinds`): it then removes a rule that it had added for another port.
# src: tailscale 1.80 wgengine/router: UpdateMagicsockPort adds a rule for the port it had, and util/linuxfw:
# removeAcceptOnPortRule deletes the rule it hasn't found.
_UP = {OLD: ["--netfilter-mode=off"], NEW: []}

# A private /etc and /run: a client rewrites resolv.conf, and must not find this machine's D-Bus.
_ENTER = """
mount --bind "$0/etc" /etc && mount -t tmpfs none /run && exec "$@"
"""


class Node:
    """`space` is its namespace; `with_tun=False` gives a cheap one without a network interface; `router`: it is behind;
    `space`: in this one, which is there already."""

    def __init__(self, net, server, name, version=NEW, with_tun=True, router=None, space=None):
        self.net, self.server, self.name, self.version = net, server, name, version
        self.space = space or net.add(name, router=router)
        self.ip = self.space.ip
        self.folder = server.folder / name
        self.socket = self.folder / "sock"
        self.log = self.folder / "log"
        self.with_tun = with_tun
        self.process = None
        self._make_etc()
        self.start()

    def _make_etc(self):
        etc = self.folder / "etc"
        etc.mkdir(parents=True)
        for name in ("passwd", "group", "nsswitch.conf", "hosts", "protocols", "services"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), etc / name)
        (etc / "resolv.conf").write_text("nameserver 198.18.0.1\n")

    def start(self):
        env = dict(os.environ, TS_NO_LOGS_NO_SUPPORT="true", TS_LOGS_DIR=str(self.folder),
                   TS_DEBUG_FIREWALL_MODE="nftables")
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            env.pop(name, None)
        if self.server.ca:
            env["SSL_CERT_FILE"] = str(self.server.ca)
        tun = "tailscale0" if self.with_tun else "userspace-networking"
        self.process = self.space.popen(
            "unshare", "--mount", "sh", "-c", _ENTER, str(self.folder), str(CLIENTS / self.version / "tailscaled"),
            "--statedir=%s" % (self.folder / "state"), "--socket=%s" % self.socket, "--tun=" + tun,
            "--no-logs-no-support", "--port=41641", stdout=open(self.log, "ab"), stderr=subprocess.STDOUT, env=env)
        wait_for("socket of %s" % self.name, self.socket.exists)

    def stop(self, how=signal.SIGTERM):
        echo(self.name, "kill", how.name)
        self.process.send_signal(how)
        self.process.wait(timeout=20 * PATIENCE)
        self.socket.unlink(missing_ok=True)

    def ts(self, *args, check=True, timeout=45 * PATIENCE, quiet=False):
        """`tailscale ARGS` in the node's namespace."""
        if not quiet:
            echo(self.name, "tailscale", *args)
        argv = self.space.argv(str(CLIENTS / self.version / "tailscale"), "--socket=%s" % self.socket, *args)
        try:
            return run(self.name, argv, check=check, timeout=timeout, quiet=True)
        except AssertionError as wrong:
            self.process.poll()
            if self.process.returncode is None:
                raise
            raise AssertionError("tailscaled of %s (%s) has ended with %d: %s\n%s" % (
                self.name, self.version, self.process.returncode, self._last_words(), wrong)) from None

    def _last_words(self):
        """The panic message of a daemon that ended by itself, and where it panicked."""
        text = self.log.read_text(errors="replace")
        at = max(text.rfind("\npanic: "), text.rfind("\nfatal error: "))
        return "\n".join(text[at + 1:].splitlines()[:12]) if at >= 0 else "(no panic in its log)"

    def up(self, key=None, *flags, check=True, timeout=30, hostname=None):
        timeout = int(timeout * PATIENCE)
        args = ["up", "--login-server=%s" % self.server.url, "--hostname=%s" % (hostname or self.name),
                "--timeout=%ds" % timeout, *_UP[self.version]]
        if key:
            args.append("--authkey=" + key)
        return self.ts(*args, *flags, check=check, timeout=timeout + 10)

    def down(self):
        self.ts("down")

    def logout(self):
        self.ts("logout")

    def status(self):
        return json.loads(self.ts("status", "--json", quiet=True).stdout)

    @property
    def state(self):
        return self.status()["BackendState"]

    def wait_running(self, timeout=30):
        wait_for("%s is running" % self.name, lambda: self.state == "Running", timeout)

    @property
    def addresses(self):
        """(IPv4, IPv6) in the tailnet."""
        ips = self.status()["Self"]["TailscaleIPs"]
        return next(i for i in ips if "." in i), next(i for i in ips if ":" in i)

    def peers(self):
        """Host name -> peer, as the client sees them."""
        peers = self.status().get("Peer") or {}
        return {p["HostName"]: p for p in peers.values()}

    def wait_peers(self, *names, online=True, timeout=20):
        def seen():
            peers = self.peers()
            return all(n in peers and (not online or peers[n]["Online"]) for n in names)
        wait_for("%s sees %s" % (self.name, ", ".join(names)), seen, timeout)

    def wait_gone(self, name, timeout=20):
        wait_for("%s no longer sees %s" % (self.name, name), lambda: name not in self.peers(), timeout)

    def wait_offline(self, name, timeout=30):
        wait_for("%s sees %s offline" % (self.name, name), lambda: not self.peers()[name]["Online"], timeout)

    def rebinds(self):
        """How often the client has opened its sockets anew, and so forgotten its direct paths. A client does that by
        itself after a look at the network in which it believes to have sent nothing. src: tailscale 1.102 net/netcheck:
        runProbe notes that it has sent only after it has, and in namespaces the answer may have been there before."""
        return self.log.read_text(errors="replace").count("Rebind; defIf")

    def netmap(self):
        return json.loads(self.ts("debug", "netmap", quiet=True).stdout)

    def ts_ping(self, address, *flags, count=10):
        """What `tailscale ping` says."""
        return self.ts("ping", "--c=%d" % count, *flags, address, check=False, timeout=60 * PATIENCE).stdout

    def answers(self, address):
        """One ICMP packet through the tunnel."""
        version = "-6" if ":" in address else "-4"
        return self.space.run("ping", version, "-n", "-c", "1", "-W", "2", address, check=False).returncode == 0

    def ping(self, address, count=3):
        """ICMP through the tunnel. The first packets may wait for a path."""
        version = "-6" if ":" in address else "-4"
        wait_for("%s reaches %s" % (self.name, address), lambda: self.answers(address), 30)
        said = self.space.run("ping", version, "-n", "-c", str(count), "-i", "0.1", "-W", "2", address, check=False)
        assert received(said.stdout) == count, said.stdout

    def ping_long(self, address, seconds):
        """Ten pings a second in the background."""
        return PingRun(self, address, seconds)

    def tcp(self, other, address, size=200_000):
        """A TCP connection through the tunnel that carries `size` bytes to `other` and as many back."""
        family = "AF_INET6" if ":" in address else "AF_INET"
        echo(self.name, "TCP echo of %d bytes with [%s]:7000" % (size, address))
        with other.space.entered():
            listener = socket.create_server((address, 7000), family=getattr(socket, family))
        listener.settimeout(20)
        thread = threading.Thread(target=_echo_once, args=(listener,))
        thread.start()
        try:
            with self.space.entered():
                sock = socket.create_connection((address, 7000), timeout=20)
            with sock:
                data = os.urandom(size)
                sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
                sender.start()
                back = bytearray()
                while len(back) < size:
                    got = sock.recv(65536)
                    assert got, "connection closed after %d bytes" % len(back)
                    back += got
                sender.join()
                assert bytes(back) == data
        finally:
            thread.join(20)
            listener.close()

    def tail(self, lines=40):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _echo_once(listener):
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(20)
        while data := sock.recv(65536):
            sock.sendall(data)


def received(ping_output):
    found = re.search(r"(\d+) received", ping_output)
    return int(found.group(1)) if found else 0


class PingRun:
    """A running `ping -i 0.1`."""

    def __init__(self, node, address, seconds):
        self.wanted = seconds * 10
        self.process = node.space.popen("ping", "-n", "-i", "0.1", "-c", str(self.wanted), "-W", "2", address,
                                        stdout=subprocess.PIPE, text=True)

    def lost(self, timeout):
        """The numbers of the packets that got no answer."""
        said, _ = self.process.communicate(timeout=timeout)
        answered = {int(n) for n in re.findall(r"icmp_seq=(\d+)", said)}
        missing = [n for n in range(1, self.wanted + 1) if n not in answered]
        echo("ping", "%s; missing: %s" % (said.strip().splitlines()[-2], missing))
        return missing
