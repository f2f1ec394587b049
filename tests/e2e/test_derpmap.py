"""The DERP map while the server runs: URLs that come and go, files, and a new certificate of the relay.

        ┌──────┐  derp.urls   ┌──────┐   DERPMap   ┌────┐ ┌────┐
        │ web  │ ───────────► │ srv  │ ──────────► │ n1 │ │ n2 │ (1.80)
        └──────┘              └──────┘             └────┘ └────┘
"""
import http.server
import json
import signal
import threading
import time

import yaml

from net import PATIENCE, echo, wait_for
from node import NEW, OLD
from server import OWN_RELAY_PORT

NOWHERE = "198.18.0.250"


class Site:
    """A little web server in a namespace of its own, which is not there before `open`."""

    def __init__(self, world):
        self.space = world.net.add("web")
        self.url = "http://%s:8000/derpmap" % self.space.ip
        self.status, self.body, self.asked, self.not_modified = 200, "", 0, 0
        self.http = None

    def open(self):
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked += 1
                etag = '"%x"' % (hash(site.body) & 0xffffffff)
                if site.status == 200 and self.headers.get("If-None-Match") == etag:
                    site.not_modified += 1
                    self.send_response(304)
                    self.end_headers()
                    return
                self.send_response(site.status)
                self.send_header("ETag", etag)
                self.end_headers()
                self.wfile.write(site.body.encode())

            def log_message(self, *args):
                echo("web", args[0] % args[1:])

        with self.space.entered():
            self.http = http.server.ThreadingHTTPServer((self.space.ip, 8000), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def say(self, *regions):
        """A map of these regions, as Tailscale's servers write it, with a key that no client knows."""
        self.status = 200
        self.body = json.dumps({"Regions": {str(r): {
            "RegionID": r, "RegionCode": "r%d" % r, "RegionName": "Region %d" % r, "Future": {"x": [1]},
            "Nodes": [{"Name": "%da" % r, "RegionID": r, "HostName": "derp%d.invalid" % r, "IPv4": NOWHERE,
                       "IPv6": "none", "STUNPort": -1}],
        } for r in regions}})


def hup(server):
    echo("srv", "kill HUP")
    server.process.send_signal(signal.SIGHUP)


def regions_of(node):
    """The numbers of the regions that the client knows."""
    known = json.loads(node.ts("debug", "derp-map", quiet=True).stdout)
    return sorted(int(r) for r in known["Regions"])


def wait_regions(node, *regions):
    wait_for("%s (%s) knows the regions %s" % (node.name, node.version, regions),
             lambda: regions_of(node) == sorted(regions))


def served(server):
    said = server.space.run("curl", "-skf", server.url + "/derpmap/default", quiet=True).stdout
    return sorted(int(r) for r in json.loads(said)["Regions"])


def refreshes(server, result):
    return server.metrics()['fullscale_derpmap_refreshes_total{result="%s"}' % result]


def test_urls_and_files(world):
    site = Site(world)
    file = world.folder / "derp.yaml"
    file.write_text("regions: {}\n")
    began = time.monotonic()
    server = world.server(derp={"urls": [site.url], "paths": [str(file)]})  # the URL is down
    assert time.monotonic() - began < 10 * PATIENCE
    nodes = world.join(("n1", NEW), ("n2", OLD))
    for node in nodes:
        assert regions_of(node) == [999]

    site.say(900, 901)
    site.open()
    hup(server)
    for node in nodes:
        wait_regions(node, 900, 901, 999)
    assert served(server) == [900, 901, 999]

    # The same map again is not sent.
    changed, same = refreshes(server, "changed"), refreshes(server, "unchanged")
    hup(server)
    wait_for("a refresh without a change", lambda: refreshes(server, "unchanged") == same + 1)
    assert refreshes(server, "changed") == changed
    assert site.not_modified == 1

    # A file takes a region out, another one brings one in.
    file.write_text(yaml.safe_dump({"regions": {901: None, 950: {"nodes": [
        {"name": "950a", "hostname": "derp950.invalid", "ipv4": NOWHERE, "stunport": -1}]}}}))
    hup(server)
    for node in nodes:
        wait_regions(node, 900, 950, 999)

    # A document that cannot be read changes nothing.
    file.write_text("regions: {950: {nodes: 7}}\n")
    site.status = 500
    asked = site.asked
    hup(server)
    wait_for("the URL is asked", lambda: site.asked > asked)
    failed = 'fullscale_derpmap_fetches_total{result="failed"}'
    wait_for("its failure is counted", lambda: server.metrics()[failed] >= 1)
    assert served(server) == [900, 950, 999]
    for node in nodes:
        assert regions_of(node) == [900, 950, 999]
    assert server.log.read_text(errors="replace").count("HTTP status 500") == 1

    # The last good copy outlives a restart; the region leaves when the document at the URL has it no longer.
    file.write_text("regions: {}\n")
    site.close()
    server.restart()
    assert served(server) == [900, 901, 999]
    for node in nodes:
        wait_regions(node, 900, 901, 999)
    site.say()
    site.open()
    hup(server)
    for node in nodes:
        wait_regions(node, 999)
    n1, n2 = nodes
    n1.wait_peers("n2")
    n1.ping(n2.addresses[0])
    site.close()


def test_by_the_clock(world):
    site = Site(world)
    site.say(900)
    site.open()
    server = world.server(derp={"urls": [site.url], "update_frequency": "10s"})
    wait_for("the first map", lambda: served(server) == [900, 999])
    site.say(900, 902)
    wait_for("the next map", lambda: served(server) == [900, 902, 999], 15)
    site.close()


def pin_of(node):
    known = json.loads(node.ts("debug", "derp-map", quiet=True).stdout)
    return known["Regions"]["999"]["Nodes"][0].get("CertName")


def test_certificate_is_renewed(world):
    """Nodes that reach each other only through the relay are connected again within seconds of a new certificate; old
    clients, which check none, keep their connections."""
    server = world.server(derp=OWN_RELAY_PORT)
    n1, n2, old = nodes = world.nodes_without_udp("n1", "n2", ("n3", OLD))
    n1.wait_peers("n2", "n3")
    n1.ping(n2.addresses[0])
    old.ping(n1.addresses[0])
    first = pin_of(n1)
    assert first.startswith("sha256-raw:") and pin_of(old) is None
    run, run_old = n1.ping_long(n2.addresses[0], 12), old.ping_long(n1.addresses[0], 12)
    time.sleep(2)
    (server.folder / "state" / "derp_cert.pem").unlink()
    began = time.monotonic()
    hup(server)
    for node in (n1, n2):
        wait_for("%s has the new pin" % node.name, lambda: pin_of(node) not in (None, first))
    echo("test", "the pins took %.2f s" % (time.monotonic() - began))
    assert pin_of(n1) == pin_of(n2) and pin_of(old) is None
    lost, lost_old = run.lost(30), run_old.lost(30)
    refused = sum(node.log.read_text(errors="replace").count("cert hash does not match") for node in nodes)
    echo("test", "connections that met the wrong certificate: %d" % refused)
    assert refused <= 2, refused
    assert len(lost) <= 40, lost
    assert len(lost_old) <= 40, lost_old
    n1.ping(n2.addresses[0])
    old.ping(n2.addresses[0])
    assert server.metrics()['fullscale_derp_certificate_renewals_total{result="ok"}'] == 1

    # The next start uses the same certificate.
    pin = pin_of(n1)
    server.restart()
    for node in nodes:
        server.wait_online(node.name)
    n1.ping(n2.addresses[0])
    assert pin_of(n1) == pin
