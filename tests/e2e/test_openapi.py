"""The OpenAPI document, as others read it: it validates, and what a running server answers is what it describes."""
import copy
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

VALIDATOR = "openapi-spec-validator==0.9.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fullscale" / "python"


@pytest.fixture(scope="module")
def validator():
    """A Python that has the validator: an environment of its own, made at the first use."""
    folder = CACHE / VALIDATOR.replace("==", "-")
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        for command in (["/usr/bin/python3", "-m", "venv", str(fresh)],
                        [str(fresh / "bin" / "python"), "-m", "pip", "install", "-q", VALIDATOR]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
            if done.returncode != 0:
                shutil.rmtree(fresh, ignore_errors=True)
                pytest.skip("%s cannot be installed (%s): needs python3-venv and a network that reaches PyPI; or put "
                            "an environment that has it at %s"
                            % (VALIDATOR, (done.stdout.strip().splitlines() or ["no reason given"])[-1], folder))
        try:
            fresh.rename(folder)
        except OSError:  # another test was as quick
            shutil.rmtree(fresh, ignore_errors=True)
    return folder / "bin" / "python"


def faults(validator, document, answers=()):
    done = subprocess.run([str(validator), str(Path(__file__).parent / "openapi_check.py")],
                          input=json.dumps({"document": document, "answers": list(answers)}), text=True,
                          stdout=subprocess.PIPE, timeout=120, check=True)
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def call(server, method, path, url=None, body=None):
    """An answer as openapi_check.py takes it; `path` as in the document."""
    connection = Connection(str(server.folder / "server.sock"))
    connection.request(method, url or path, json.dumps(body) if body is not None else None)
    said = connection.getresponse()
    answer = {"method": method, "path": path, "status": said.status, "type": said.getheader("Content-Type"),
              "body": json.loads(said.read())}
    connection.close()
    return answer


POLICY = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:22"]}]}'
CALLS = [
    ("POST", "/api/v1/user", None, {"name": "bert", "displayName": "Bert"}),
    ("POST", "/api/v1/user/{id}/rename/{name}", "/api/v1/user/2/rename/bertram", None),
    ("POST", "/api/v1/user/{id}/role", "/api/v1/user/2/role", {"role": "auditor"}),
    ("GET", "/api/v1/user", "/api/v1/user?name=bertram", None),
    ("DELETE", "/api/v1/user/{id}", "/api/v1/user/2", None),
    ("POST", "/api/v1/preauthkey", None, {"user": 1, "aclTags": ["tag:a"], "expiration": "2099-01-01T00:00:00Z",
                                          "sources": ["10.0.0.0/8"]}),
    ("GET", "/api/v1/preauthkey", None, None),
    ("POST", "/api/v1/preauthkey/expire", None, {"id": 1}),
    ("POST", "/api/v1/relay", None, {"name": "fra", "regionName": "Frankfurt"}),
    ("GET", "/api/v1/relay", None, None),
    ("DELETE", "/api/v1/relay/{id}", "/api/v1/relay/1", None),
    ("GET", "/api/v1/node", None, None),
    ("GET", "/api/v1/node/{id}", "/api/v1/node/1", None),
    ("POST", "/api/v1/node/{id}/expire", "/api/v1/node/1/expire", {"disableExpiry": True}),
    ("POST", "/api/v1/node/{id}/approve_routes", "/api/v1/node/1/approve_routes", {"routes": ["10.0.0.0/8"]}),
    ("POST", "/api/v1/policy/check", None, {"policy": POLICY}),
    ("POST", "/api/v1/policy/diff", None, {"policy": POLICY}),
    ("PUT", "/api/v1/policy", None, {"policy": POLICY, "note": "why not"}),
    ("GET", "/api/v1/policy", None, None),
    ("GET", "/api/v1/policy/history", None, None),
    ("GET", "/api/v1/policy/history/{id}", "/api/v1/policy/history/1", None),
    ("GET", "/api/v1/policy/why", "/api/v1/policy/why?src=anna@&dst=laptop:22", None),
    ("GET", "/api/v1/health", None, None),
    ("GET", "/api/v1/log/level", None, None),
    ("POST", "/api/v1/log/level", None, {"module": "api", "level": "debug"}),
]


def test_openapi_document_validates_and_describes_the_answers(world, validator):
    server = world.server(with_tls=False, policy={"mode": "database"})
    world.join("laptop")
    document = server.json("api", "openapi")
    assert document == call(server, "GET", "/api/v1/openapi.json")["body"]
    answers = [call(server, *one) for one in CALLS]
    failed = [a for a in answers if a["status"] != 200]
    assert not failed, failed
    # Every route of the document is there, and refuses in the form that is described.
    for path, methods in document["paths"].items():
        for method in methods:
            url = path.replace("{id}", "77").replace("{name}", "x")
            answers.append(call(server, method.upper(), path, url))
            assert "path" not in str(answers[-1]["body"].get("detail")), answers[-1]
    assert faults(validator, document, answers) == []


def test_openapi_check_finds_what_is_wrong(world, validator):
    server = world.server(with_tls=False)
    document = server.json("api", "openapi")
    health = call(server, "GET", "/api/v1/health")
    assert faults(validator, document, [health]) == []
    health["body"] = {"databaseConnectivity": "yes"}
    assert len(faults(validator, document, [health])) == 1
    broken = copy.deepcopy(document)
    del broken["info"]["title"]
    assert faults(validator, broken) != []
