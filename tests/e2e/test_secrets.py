"""Secrets stay where they belong: none is in the log at its most talkative level, in the metrics, in the database or in
what commands print later; and no two first starts have one in common."""
import base64
import concurrent.futures
import hashlib
import os
import re
import signal
import subprocess

import yaml

import wire
from net import wait_for
from relay import Relay
from server import CHECKED
from sockets import connect

KEY_FILES = {"noise_private.key", "derp_server_private.key", "derp_key.pem"}  # whose content is the secret


def session(server):
    return wire.Session(connect(server), wire.server_key_over(connect(server)), wire.Key())


def forms(secret):
    """What a secret might look like when it is somewhere it should not be."""
    raw = secret.encode()
    found = {raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode(), raw.hex().upper().encode()}
    if re.fullmatch(r"[0-9a-f]{64}", secret):
        key = bytes.fromhex(secret)
        found |= {key, base64.b64encode(key).rstrip(b"="), secret.upper().encode()}
    return found


def outer(server, head):
    """One plain request to the listener; whatever comes back is read."""
    with connect(server) as sock:
        sock.sendall(head)
        sock.settimeout(5)
        try:
            while sock.recv(65536):
                pass
        except OSError:
            pass


def pour_canaries(server):
    """Sends a secret wherever a caller may put one. Returns the secrets."""
    canary = ["canary-%s-%d" % (os.urandom(12).hex(), i) for i in range(12)]
    made = session(server)
    made.register(wire.Key(), "tskey-auth-" + canary[0], "wrong-key")
    made.register(wire.Key(), "hskey-auth-%s" % canary[1], "wrong-key")
    made.request("/machine/map", b'{"Version":113,"NodeKey":"' + canary[2].encode() + b'"}')
    made.request("/machine/register", b'{"Auth":{"AuthKey":"' + canary[3].encode())
    made.register(wire.Key(), None, "oauth", Auth={"Provider": canary[4], "Oauth2Token": {"access_token": canary[5]}})
    made.close()
    outer(server, b"POST /relay/announce HTTP/1.1\r\nHost: 198.18.0.1\r\nAuthorization: Bearer %s\r\n"
          b"Content-Length: 2\r\nConnection: close\r\n\r\n{}" % canary[6].encode())
    outer(server, b"GET /key?v=113&token=%s HTTP/1.1\r\nHost: 198.18.0.1\r\nCookie: session=%s\r\n"
          b"Connection: close\r\n\r\n" % (canary[7].encode(), canary[8].encode()))
    outer(server, b"GET /nothing/%s HTTP/1.1\r\nHost: 198.18.0.1\r\nX-Api-Key: %s\r\nConnection: close\r\n\r\n"
          % (canary[9].encode(), canary[10].encode()))
    outer(server, b"POST /verify HTTP/1.1\r\nHost: 198.18.0.1\r\nAuthorization: Basic %s\r\nContent-Length: 2\r\n"
          b"Connection: close\r\n\r\n{}" % canary[11].encode())
    return canary


def holders(places, secrets):
    """(where, which) for each secret that was found."""
    return [(name, secret) for name, content in places.items() for secret in secrets
            if any(form in content for form in forms(secret))]


def test_secrets_are_nowhere_else(world):
    """At log level trace: keys that were made and used, keys that were wrong, headers, cookies, queries, the server's
    own keys. What shows them once (`preauthkeys create`, `relays create`) is the only output that has them."""
    server = world.server(log={"level": "trace"})
    single, reusable = server.key(), server.key("--reusable")
    made = session(server)
    nodes = [wire.Key() for _ in range(2)]
    assert not made.register(nodes[0], single, "one").get("Error")
    made.poll(nodes[0], "one").next_map()
    again = session(server)
    assert not again.register(nodes[1], reusable, "two").get("Error")
    assert session(server).register(wire.Key(), single, "three")["Error"]
    relay = Relay(world, "berlin")
    relay.enrol()
    relay.wait_up()
    canaries = pour_canaries(server)
    state = server.folder / "state"
    private = [re.search(r"[0-9a-f]{64}", path.read_text()).group(0) for path in sorted(state.glob("*_private.key"))]
    assert len(private) == 2
    machines = [key.private_hex() for key in (*nodes, made.machine, again.machine)]
    secrets = [single, reusable, relay.key, *private, *canaries, *machines]

    said = server.space.run("curl", "-sf", "http://127.0.0.1:9090/metrics", quiet=True).stdout
    places = {"metrics": said.encode(),
              "preauthkeys list": server.cli("preauthkeys", "list", "-o", "json").stdout.encode(),
              "relays list": server.cli("relays", "list", "-o", "json").stdout.encode(),
              "nodes list": server.cli("nodes", "list", "-o", "json").stdout.encode(),
              "config show": server.cli("config", "show").stdout.encode()}
    made.close()
    again.close()
    relay.stop()
    server.stop()
    files = [path for path in state.rglob("*") if path.is_file() and path.name not in KEY_FILES]
    assert any(path.suffix == ".sqlite" for path in files), files
    places.update({path.name: path.read_bytes() for path in files})
    places["log"] = server.log.read_bytes()
    places["log of the relay"] = relay.log.read_bytes()
    # The same search finds what is not secret in the log, the database and the lists.
    assert {name for name, _ in holders(places, ["berlin"])} >= {"log of the relay", "db.sqlite", "relays list"}
    found = holders(places, secrets)
    assert not found, found


def first_start(folder):
    """Serves once in a folder of its own; returns {name: digest of what is secret}."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({
        "server_url": "http://127.0.0.1:1", "listen_addr": "127.0.0.1:0", "metrics_listen_addr": "",
        "state_dir": str(folder / "state"), "unix_socket": str(folder / "sock"),
        "derp": {"server": {"listen_addr": "127.0.0.1:0", "stun_listen_addr": "127.0.0.1:0",
                            "hostname": "127.0.0.1"}}}))
    arguments = [str(CHECKED), "--config", str(folder / "config.yaml")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*arguments, "serve"], stdout=log, stderr=subprocess.STDOUT)
    try:
        def is_healthy():
            assert process.poll() is None, (folder / "log").read_text(errors="replace")
            return subprocess.run([*arguments, "health"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode == 0
        wait_for("the server of %s is healthy" % folder.name, is_healthy, 60)

        def ask(*args):
            return subprocess.run([*arguments, *args], check=True, stdout=subprocess.PIPE, text=True).stdout
        ask("users", "create", "anna")
        secrets = {"auth key": ask("preauthkeys", "create", "--user", "anna").split()[0]}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    for name in KEY_FILES:
        path = folder / "state" / name
        if path.exists():
            secrets[name] = path.read_text()
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in secrets.items()}


def test_first_starts_have_no_secret_in_common(tmp_path):
    """No default secret, and none that follows from the clock, the process id or the folder's name: installations that
    start at the same moment differ in each."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        starts = list(pool.map(first_start, [tmp_path / ("s%d" % i) for i in range(10)]))
    assert all(set(start) == set(starts[0]) and len(start) >= 3 for start in starts), starts
    for name in starts[0]:
        assert len({start[name] for start in starts}) == len(starts), name
