"""What a person meets before anything is built: progress, causes in words, quoting, install and uninstall."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


def run(*argv, check=True, **kwargs):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          text=True, **kwargs)
    assert not check or done.returncode == 0, done.stdout
    return done


CAUSES = {
    "disk": ("/tmp/cc.s: fatal error: error writing to /tmp/cc.s: No space left on device", "the disk is full"),
    "apt disk": ("E: You don't have enough free space in /var/cache/apt/archives/.", "the disk is full"),
    "network": ("Err:1 http://deb.debian.org/debian bookworm InRelease\n  Temporary failure resolving 'deb.debian.org'",
                "the network, or the package server, cannot be reached"),
    "lock": ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (apt-get)",
             "another program installs packages"),
    "package": ("E: Unable to locate package libfyaml-dev", "do not have libfyaml-dev"),
    "meson": ("meson.build:1:0: ERROR: Meson version is 0.61.2 but project requires >=1.0.1", "Meson is too old here"),
    "compiler": ("meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]", "there is no C compiler"),
    "library": ('meson.build:33:0: ERROR: Dependency "libfyaml" not found, tried pkgconfig',
                "apt-get install libfyaml-dev"),
    "find_library": ("meson.build:31:14: ERROR: C shared or static library 'wslay' not found",
                     "apt-get install libwslay-dev"),
    "pkg-config": ("Pkg-config binary for MachineChoice.HOST not found. Giving up.\nProgram 'pkg-config' not found",
                   "apt-get install pkg-config"),
    "old library": ("Dependency openssl found: NO found 1.1.1 but need: '>=3.0'", "openssl is too old here"),
    "memory": ("gcc: fatal error: Killed signal terminated program cc1", "JOBS=1 make"),
    "header": ("../src/a.c:3:10: fatal error: wslay/wslay.h: No such file or directory",
               "apt-get install libwslay-dev"),
    "compile": ("[3/9] Compiling\n../src/a.c:3:10: error: expected ';'\nmore",
                "the first error is this:\n  ../src/a.c:3:10: error"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes_are_told_in_words(tmp_path, name):
    said, cause = CAUSES[name]
    log = tmp_path / "log"
    log.write_text("before\n%s\n" % said)
    assert cause in run(TOOLS / "explain", log).stdout


def test_a_failing_step_keeps_and_shows_what_was_said(tmp_path):
    log = tmp_path / "logs" / "x.log"
    said = run(TOOLS / "step", "Configuring", log, "sh", "-c",
               "echo one; echo 'Unable to locate package x' >&2; exit 7",
               check=False)
    assert said.returncode == 7
    assert "Configuring failed. The end of %s:" % log in said.stdout and "    one" in said.stdout
    assert "do not have x" in said.stdout
    assert log.read_text() == "one\nUnable to locate package x\n"


def test_a_good_step_is_silent(tmp_path):
    assert run(TOOLS / "step", "Building", tmp_path / "log", "echo", "fine").stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_of_sudo_are_named_with_the_remedy(tmp_path):
    shutil.copytree(TOOLS, tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "x.o").touch()
    (tmp_path / "src").mkdir()
    os.chown(tmp_path / "build", 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    said = run(tmp_path / "tools" / "check-owner", check=False, user=65534, group=65534)
    assert said.returncode == 1 and "build/x.o" in said.stdout
    assert "sudo chown -R nobody: build" in said.stdout
    os.chown(tmp_path / "build" / "x.o", 65534, 65534)
    assert run(tmp_path / "tools" / "check-owner", user=65534, group=65534).stdout == ""


def test_what_is_here_needs_no_package(tmp_path):
    """No apt and no dpkg: with everything in sight nothing is asked for, else it is named."""
    shutil.copytree(TOOLS, tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "awk", "dirname", "cat", "sed", "id", "cc", "gcc", "make", "meson", "ninja", "pkg-config", "as",
                 "ld"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    env = {"PATH": str(bare)}
    assert run(tmp_path / "tools" / "install-packages", "build", env=env).stdout == ""
    said = run(tmp_path / "tools" / "install-packages", "build", check=False,
               env=dict(env, PKG_CONFIG_LIBDIR="/nonexistent"))
    assert said.returncode == 1
    assert "pkg-config finds no libfyaml (YAML, for the configuration; Debian: libfyaml-dev)" in said.stdout
    assert "meson" not in said.stdout and "dnf" not in said.stdout
    (bare / "dnf").symlink_to("/bin/true")
    said = run(tmp_path / "tools" / "install-packages", "build", check=False,
               env=dict(env, PKG_CONFIG_LIBDIR="/nonexistent"))
    assert "sudo dnf install 'pkgconfig(openssl)' " in said.stdout


FAKE_APT = """#!/bin/sh
echo "$*" >>"$APT_LOG"
case "$*" in
*--assume-no*)
    case "$*" in
    *Debug::NoLocking=1*) ;;
    *) echo "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?" >&2; exit 100 ;;
    esac
    [ -z "${APT_UNKNOWN:-}" ] || echo "E: Unable to locate package $APT_UNKNOWN" >&2
    echo "0 upgraded, 31 newly installed, 0 to remove and 2 not upgraded."
    echo "Need to get 24.5 MB of archives."
    echo "After this operation, 98.1 MB of additional disk space will be used."
    exit 1
    ;;
esac
"""


def with_apt(tmp_path, **env):
    """Runs it where no library is in sight, with an apt-get that only notes what it is asked for; also returns these
    notes."""
    shutil.copytree(TOOLS, tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "awk", "dirname", "cat", "sed", "id", "cc", "make", "meson", "ninja", "pkg-config", "env",
                 "sort", "tr",
                 "mkdir", "date", "sleep", "tail", "grep", "cut", "find", "head", "stat"):
        found = shutil.which(name)
        if found:
            (bare / name).symlink_to(found)
    (bare / "apt-get").write_text(FAKE_APT)
    (bare / "apt-get").chmod(0o755)
    notes = tmp_path / "apt.log"
    notes.touch()
    said = run(tmp_path / "tools" / "install-packages", "build", check=False,
               env=dict(env, PATH=str(bare), PKG_CONFIG_LIBDIR="/nonexistent", APT_LOG=str(notes)))
    return said, notes.read_text().splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_is_installed_is_said_before(tmp_path):
    said, asked = with_apt(tmp_path)
    assert said.returncode == 0
    assert "\n  libuv1-dev: event loops and sockets\n" in said.stdout and "  meson:" not in said.stdout
    assert "31 packages, 24.5 MB to fetch, 98.1 MB on disk" in said.stdout
    assert [words.split()[0] for words in asked] == ["-y", "install", "-y"]
    assert asked[-1].startswith("-y ") and asked[-1].endswith("libcurl4-openssl-dev")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_package_that_no_source_has_is_named(tmp_path):
    said, asked = with_apt(tmp_path, APT_UNKNOWN="libfyaml-dev")
    assert said.returncode == 1 and "package sources do not have: libfyaml-dev" in said.stdout
    assert len(asked) == 2, "nothing is installed"


def test_installs_where_it_is_told_and_takes_all_back(tmp_path):
    program = ROOT / "build" / "fullscale"
    if not program.exists():
        pytest.skip("build/fullscale is not built")
    root = tmp_path / "a 'root' \"here\""
    run(TOOLS / "install", program, root, "/usr")
    installed = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert {"usr/bin/fullscale", "usr/lib/systemd/system/fullscale.service",
            "usr/lib/systemd/system/fullscale-relay.service"} <= installed
    assert (root / "usr/bin/fullscale").stat().st_size < program.stat().st_size, "not stripped"
    assert "ExecStart=/usr/bin/fullscale serve" in (root / "usr/lib/systemd/system/fullscale.service").read_text()
    assert run(root / "usr/bin/fullscale", "version").stdout.startswith("fullscale ")
    run(TOOLS / "install", "--uninstall", root, "/usr")
    assert not [p for p in root.rglob("*") if p.is_file()]


def test_units_are_good(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    (tmp_path / "usr/bin").mkdir(parents=True)
    shutil.copy("/bin/true", tmp_path / "usr/bin/fullscale")
    for name in ("fullscale", "fullscale-relay"):
        text = (TOOLS / ("%s.service.in" % name)).read_text().replace("@BINDIR@", str(tmp_path / "usr/bin"))
        assert "Type=notify" in text and "RestartPreventExitStatus=78" in text and "StartLimitIntervalSec=0" in text
        unit = tmp_path / ("%s.service" % name)
        unit.write_text(text)
        said = run("systemd-analyze", "verify", "--man=no", unit, check=False).stdout
        assert name not in said, said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_static_program_needs_nothing(tmp_path):
    """In a root folder that holds nothing else: it runs, and serves."""
    program = ROOT / "build-static" / "fullscale"
    if not program.exists():
        pytest.skip("build-static/fullscale is not built (make static)")
    shutil.copy(program, tmp_path / "fullscale")
    assert run("chroot", tmp_path, "/fullscale", "version").stdout.startswith("fullscale ")
    (tmp_path / "c.yaml").write_text("server_url: http://127.0.0.1:8080\nstate_dir: /data\nunix_socket: /data/s\n")
    script = """ip link set lo up; chroot "$0" /fullscale -c /c.yaml serve & pid=$!
    until chroot "$0" /fullscale -c /c.yaml health; do kill -0 $pid || exit 1; done
    chroot "$0" /fullscale -c /c.yaml users create anna; kill $pid; wait $pid"""
    assert "User anna created" in run("unshare", "--net", "sh", "-c", script, tmp_path).stdout


def test_a_package_is_made_without_root(tmp_path):
    program = ROOT / "build" / "fullscale"
    if not program.exists() or not shutil.which("dpkg-shlibdeps"):
        pytest.skip("build/fullscale or dpkg-shlibdeps is not here")
    run(TOOLS / "build-deb", program, tmp_path / "deb")
    package, = (tmp_path / "deb").glob("*.deb")
    about = run("dpkg-deb", "--info", package).stdout
    assert "libssl3" in about and "ca-certificates" in about and "conffiles" in about
    files = run("dpkg-deb", "--contents", package).stdout
    for name in ("./usr/bin/fullscale", "./usr/lib/systemd/system/fullscale-relay.service",
                 "./etc/fullscale/config.yaml"):
        assert name in files
    assert "bench" not in files
    assert all(line.split()[1] == "root/root" for line in files.splitlines())
    run("dpkg-deb", "--extract", package, tmp_path / "root")
    assert run(tmp_path / "root/usr/bin/fullscale", "version").stdout.startswith("fullscale ")
    assert run(tmp_path / "root/usr/bin/fullscale", "config", "check", "-c",
               tmp_path / "root/etc/fullscale/config.yaml")
    if shutil.which("lintian"):
        said = run("lintian", "--no-cfg", package, check=False).stdout
        assert not [line for line in said.splitlines() if line.startswith(("E:", "W:"))], said
