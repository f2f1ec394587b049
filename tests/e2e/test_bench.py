"""The load generator against the server that it was built with: over TCP, TLS and UDP, as a person runs it."""
import json

RELAY = {"server": {"listen_addr": "127.0.0.1:8443", "verify_clients": False}}  # its clients are no nodes


def bench_of(server):
    """The load generator that was built beside the server's program."""
    return str(server.program.with_name("fullscale-bench"))


def bench(server, *args):
    """The JSON results, one for each run."""
    said = server.space.run(bench_of(server), *args, "--server-pid", str(server.process.pid))
    return {result["scenario"]: result for result in map(json.loads, said.stdout.splitlines())}


def test_relay(world):
    server = world.server(derp=RELAY)
    for url in ("https://127.0.0.1:8443/derp", "https://localhost:443/derp"):
        results = bench(server, "relay", "--url", url, "--pairs", "3", "--duration", "500ms", "--rate", "500",
                        "--idle-conns",
                        "20", "--idle-for", "500ms")
        top, paced, idle = results["derp-throughput"], results["derp-latency"], results["derp-idle"]
        assert top["received"] > 100 and top["lost"] == 0 and top["tls"]
        assert 100 < paced["latency"]["count"] == paced["received"]
        assert idle["connections"] == 20
        for result in results.values():
            assert result.get("bad", 0) == 0 and result["errors"] == [] and result["cpu_s"] >= 0
        assert top["cpu_s"] > 0 and top["cpu_us_per_packet"] > 0 and top["rss_peak_mb"] > 1


def test_stun(world):
    server = world.server(derp=RELAY)
    result = bench(server, "stun", "--duration", "500ms")["stun"]
    assert result["answers"] > 100 and result["bad"] == 0 and result["cpu_s"] > 0
    assert result["answers"] + result["lost"] == result["requests"]


def test_other_machines_are_refused(world):
    server = world.server(derp=RELAY)
    for args in (["relay", "--url", "https://198.18.0.1:8443/derp"], ["stun", "--addr", "198.18.0.1:3478"]):
        said = server.space.run(bench_of(server), *args, check=False)
        assert said.returncode == 4 and "only loopback addresses are allowed" in said.stderr


def fleet(server, *args):
    """With a key in the environment, as it should not be seen in `ps`."""
    server.cli("users", "create", "load", check=False)
    key = server.cli("preauthkeys", "create", "--user", "load", "--reusable").stdout.split()[-1]
    said = server.space.run("env", "FULLSCALE_BENCH_AUTHKEY=" + key, bench_of(server), *args, "--server",
                            "http://127.0.0.1:8080", "--server-pid", str(server.process.pid))
    return {result["scenario"]: result for result in map(json.loads, said.stdout.splitlines())}


def test_simulated_nodes(world):
    server = world.server(with_tls=False)
    results = fleet(server, "suite", "--nodes", "20", "--steps", "churn,reconnect", "--churn-for", "1s",
                    "--check", "deep",
                    "--quiet", "500ms")
    for result in results.values():
        assert result["n"] == 20 and result["errors"] == [] and result["sessions_lost"] == 0 and result["cpu_s"] > 0
    join, churn, reconnect = results["join"], results["churn"], results["reconnect"]
    for result in (join, reconnect):
        assert result["converged"] and result["verify"]["ok"] and result["verify"]["pairs_checked"] == 20 * 19
    assert join["register"]["count"] == 20 and join["peer_records"] >= 20 * 19
    assert churn["changes"] == 10 and churn["missed"] == 0 and churn["delivered"] == 190
    assert reconnect["full_maps"] == 20 and reconnect["full_map_peers"] == 19


def test_short_soak(world):
    server = world.server(with_tls=False)
    result = fleet(server, "soak", "--nodes", "20", "--for", "12s", "--check-every", "5s", "--churn-rate", "50")["soak"]
    assert result["ok"] and result["lost_updates"] == 0 and result["checks"] >= 3 and result["changes"] > 100
    assert result["fds_end"] <= result["fds_start"] + 8
