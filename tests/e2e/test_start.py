"""What a start says of ports that are taken and of folders that were moved."""
import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess

import yaml

from net import wait_for
from server import CHECKED


def taken_port():
    """A listener of this process, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def write(folder, **settings):
    config = {"server_url": "http://127.0.0.1:1", "listen_addr": "127.0.0.1:0", "metrics_listen_addr": "",
              "state_dir": ".", "unix_socket": "sock",
              "derp": {"server": {"listen_addr": "127.0.0.1:0", "stun_listen_addr": "127.0.0.1:0",
                                  "hostname": "127.0.0.1"}}}
    config.update(settings)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def run(folder, *args):
    return subprocess.run([str(CHECKED), "--config", str(folder / "config.yaml"), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)


@contextlib.contextmanager
def serving(folder):
    log = folder / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen([str(CHECKED), "--config", str(folder / "config.yaml"), "serve"], stdout=out,
                                   stderr=subprocess.STDOUT)
    try:
        def is_healthy():
            assert process.poll() is None, log.read_text(errors="replace")
            return run(folder, "health").returncode == 0
        wait_for("the server is healthy", is_healthy, 60)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def test_taken_port_names_key_holder_and_file(tmp_path):
    listener, port = taken_port()
    with listener:
        write(tmp_path / "s", listen_addr="127.0.0.1:%d" % port)
        said = run(tmp_path / "s", "serve")
    assert said.returncode == 1, said.stdout
    wanted = (r"cannot start: %s/config\.yaml:\d+:\d+: listen_addr \(127\.0\.0\.1:%d\): the port is taken by "
              r"process %d \(" % (re.escape(str(tmp_path / "s")), port, os.getpid()))
    assert re.search(wanted, said.stdout), said.stdout


def test_taken_metrics_port_stops_nothing(tmp_path):
    folder = tmp_path / "s"
    listener, port = taken_port()
    with listener:
        write(folder, metrics_listen_addr="127.0.0.1:%d" % port)
        checked = run(folder, "config", "check")
        assert checked.returncode == 0 \
            and "metrics_listen_addr (127.0.0.1:%d): the port is taken by" % port in checked.stdout
        with serving(folder) as log:
            assert "metrics_listen_addr: 127.0.0.1:%d is taken" % port in run(folder, "health").stdout
            assert "there are no metrics for now; all else is served" in log.read_text()


def test_check_changes_nothing_beside_a_server(tmp_path):
    folder = tmp_path / "s"
    write(folder)
    assert run(folder, "config", "check").returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]
    with serving(folder):
        def look():
            return {path.name: (path.stat().st_mtime_ns,
                                path.stat().st_size) for path in folder.iterdir() if path.name != "log"}
        before = look()
        checked = run(folder, "config", "check")
        assert checked.returncode == 0, checked.stdout
        assert look() == before


def contents(folder):
    """The digest of every file except the log of this test and the shared memory of the database's readers."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*")
            if path.is_file() and path.name != "log" and not path.name.endswith("-shm")}


def test_second_server_changes_nothing_of_the_first(tmp_path):
    folder = tmp_path / "s"
    write(folder)
    with serving(folder):
        assert run(folder, "users", "create", "anna").returncode == 0
        before = contents(folder)
        assert len(before) > 3, before
        second = run(folder, "serve")
        assert second.returncode != 0
        assert "another server" in second.stdout, second.stdout
        assert contents(folder) == before
        assert run(folder, "health").returncode == 0


def test_moved_and_copied_folders(tmp_path):
    """A moved folder works with relative paths; with absolute ones the server does not start with an empty tailnet."""
    here, there = tmp_path / "here", tmp_path / "there"
    write(here)
    with serving(here):
        run(here, "users", "create", "anna")
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("sock", "log"))
    with serving(there) as log:
        assert "anna" in run(there, "users", "list").stdout
        assert "the state directory lies elsewhere than at the last start" in log.read_text()
    write(there, state_dir=str(here))
    checked = run(there, "config", "check")
    assert checked.returncode == 0 and "lies elsewhere than this configuration" in checked.stdout, checked.stdout
    shutil.rmtree(here)
    said = run(there, "serve")
    assert said.returncode != 0 and "Was the folder moved? Write `state_dir: .`" in said.stdout, said.stdout
    assert not here.exists()
