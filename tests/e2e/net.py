"""Network namespaces for the tests: one bridge that stands for the internet, the server behind it, one namespace a
node.

        ┌────────────── NET (bridge br0, 198.18.0.254) ──────────────┐
        │                    │                  │                    │
   ┌────┴─────┐         ┌────┴─────┐       ┌────┴─────┐         ┌────┴─────┐
   │   srv    │         │    n1    │       │    n2    │   ...   │ stranger │
   │ eth0: .1 │         │ eth0: .11│       │ eth0: .12│         │ eth0: .x │
   └──────────┘         └──────────┘       └──────────┘         └──────────┘
        198.18.0.0/24 is set aside for such tests (RFC 2544). The root namespace is never touched.

A router is a namespace on the bridge with a bridge of its own behind it, and changes the source addresses of what
passes:

   NET ── eth0: .13 ┌───────────┐ br0: 10.13.0.254 ──── eth0: 10.13.0.14 ┌────┐
                    │  router   │                                        │ n1 │
                    └───────────┘                                        └────┘

Every command is echoed with its namespace. Names carry the process id, so that runs can go side by side.
"""
import contextlib
import ctypes
import itertools
import os
import shlex
import socket
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def echo(where, *words):
    stamp = "%.2f" % (time.monotonic() % 1000)
    print("%s [%s] %s" % (stamp, where, " ".join(str(w) for w in words)), flush=True)


def run(where, argv, check=True, timeout=30, quiet=False, **kwargs):
    """Runs a command, echoed; returns what subprocess.run does, with output as text."""
    if not quiet:
        echo(where, shlex.join(argv))
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError("[%s] %s ended with %d\n%s%s" % (where, shlex.join(argv), done.returncode, done.stdout,
                                                              done.stderr))
    return done


# On a slow or busy machine everything takes longer: limits of waiting are multiplied by this.
PATIENCE = float(os.environ.get("E2E_PATIENCE") or 3)


def wait_for(what, probe, timeout=20, every=0.05):
    """Calls `probe` until it gives something true, which is returned."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain: %s" % (timeout, what))
        time.sleep(every)


class Namespace:
    """One network namespace, plugged into the bridge, or into that of a router."""

    def __init__(self, net, name, last_octet, router=None):
        self.net, self.name = net, name
        self.full = net.full(name)
        switch, prefix = (router.full, router.inside) if router else (net.bridge, "198.18.0")
        self.ip = "%s.%d" % (prefix, last_octet)
        net.ip("netns", "add", self.full)
        net.ip("-n", switch, "link", "add", "p%d" % last_octet, "type", "veth", "peer", "name", "eth0", "netns",
               self.full)
        net.ip("-n", switch, "link", "set", "p%d" % last_octet, "master", "br0", "up")
        self.sysctl("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
                    "net.ipv6.conf.eth0.accept_dad=0")
        for args in (["link", "set", "lo", "up"], ["addr", "add", self.ip + "/24", "dev", "eth0"],
                     ["link", "set", "eth0", "up"], ["route", "add", "default", "via", prefix + ".254"]):
            net.ip("-n", self.full, *args)

    def sysctl(self, *settings):
        self.run("sysctl", "-qw", *settings, quiet=True)

    def argv(self, *argv):
        return ["ip", "netns", "exec", self.full, *argv]

    def run(self, *argv, **kwargs):
        if not kwargs.get("quiet"):
            echo(self.name, shlex.join(argv))
        return run(self.name, self.argv(*argv), **dict(kwargs, quiet=True))

    def popen(self, *argv, **kwargs):
        """`ip netns exec` keeps the process id: signals go straight to the program."""
        echo(self.name, shlex.join(argv), "&")
        process = subprocess.Popen(self.argv(*argv), stdin=subprocess.DEVNULL, **kwargs)
        self.net.processes.append(process)
        return process

    def nft(self, rules):
        """Replaces this namespace's own firewall table."""
        echo(self.name, "nft <<<", shlex.quote(rules.strip()))
        table = "table inet e2e\ndelete table inet e2e\ntable inet e2e {\n%s\n}\n" % rules
        done = subprocess.run(self.argv("nft", "-f", "-"), input=table, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout

    def packets(self, counter):
        """The packets that a named counter of the table has seen."""
        words = self.run("nft", "list", "counter", "inet", "e2e", counter, quiet=True).stdout.split()
        return int(words[words.index("packets") + 1])

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in the namespace; sockets made meanwhile stay in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open("/run/netns/" + self.full, os.O_RDONLY)
        try:
            if _libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            _libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)

    def connect(self, address, timeout=10, receive_buffer=None):
        """A TCP connection from this namespace."""
        with self.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(timeout)
            sock.connect(address)
        return sock


class Router(Namespace):
    """Masquerades what comes from inside, as home routers do ("easy NAT"); drops UDP if `drops_udp`."""

    def __init__(self, net, name, last_octet, drops_udp):
        super().__init__(net, name, last_octet)
        self.inside = "10.%d.0" % last_octet
        for args in (["link", "add", "br0", "type", "bridge", "forward_delay", "0"],
                     ["addr", "add", self.inside + ".254/24", "dev", "br0"], ["link", "set", "br0", "up"]):
            net.ip("-n", self.full, *args)
        self.sysctl("net.ipv4.ip_forward=1")
        self.nft("""
            chain forward { type filter hook forward priority 0;
                %s
            }
            chain nat { type nat hook postrouting priority 100;
                oifname "eth0" masquerade
            }
        """ % ("meta l4proto udp drop" if drops_udp else ""))


class Net:
    """The whole topology of one test."""

    def __init__(self):
        self.tag = "fs%x-%d" % (os.getpid(), next(_numbers))
        self.processes, self.spaces = [], []
        self.octets = itertools.count(11)
        self.lock = threading.Lock()
        self.bridge = self.full("net")
        self.ip("netns", "add", self.bridge)
        self.ip("-n", self.bridge, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self.ip("-n", self.bridge, "addr", "add", "198.18.0.254/24", "dev", "br0")
        self.ip("-n", self.bridge, "link", "set", "br0", "up")
        self.server_space = self.add("srv", 1)

    def full(self, name):
        return "%s-%s" % (self.tag, name)

    def ip(self, *args):
        run("net", ["ip", *args], quiet=True)

    def add(self, name, last_octet=None, router=None):
        with self.lock:
            space = Namespace(self, name, last_octet or next(self.octets), router)
            self.spaces.append(space)
        return space

    def add_router(self, name, drops_udp=False):
        with self.lock:
            router = Router(self, name, next(self.octets), drops_udp)
            self.spaces.append(router)
        return router

    def close(self):
        """Ends what was started, by its own id, and removes the namespaces."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait(timeout=20)
        for name in [space.full for space in self.spaces] + [self.bridge]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
