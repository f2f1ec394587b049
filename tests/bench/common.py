"""What the benchmarks share: building, ports, tables, and the part of docs/benchmarks.md that each of them writes."""
import hashlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOADGEN = os.path.join(ROOT, "tests", "loadgen")
BUILD = os.path.join(ROOT, "build-bench")
PROGRAM = os.path.join(BUILD, "src", "fullscale")
BENCH = os.path.join(BUILD, "src", "fullscale-bench")
DOC = os.path.join(ROOT, "docs", "benchmarks.md")
GENERATORS = {"loadgen": "loadgen (Go)", "fullscale": "`fullscale-bench`"}
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


class BenchError(Exception):
    """Said to the user in one line."""


def log(text):
    print("bench: " + text, file=sys.stderr, flush=True)


# --- building ---


def build_program():
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        subprocess.run(["meson", "setup", BUILD, "--buildtype=release", "-Dtests=disabled"], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)
    log("building %s (release)" % os.path.relpath(PROGRAM, ROOT))
    subprocess.run(["ninja", "-C", BUILD, "--quiet", "src/fullscale", "src/fullscale-bench"], check=True,
                   stdout=subprocess.DEVNULL)


def build_target(name):
    """A program of this checkout beside the main one, such as tests/make_nodes. Its path."""
    subprocess.run(["ninja", "-C", BUILD, "--quiet", name], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(BUILD, name)


def source_hash(folder):
    digest = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith((".go", ".mod", ".sum")) and not name.endswith("_test.go"):
            with open(path, "rb") as f:
                digest.update(name.encode() + b"\0" + f.read())
    return digest.hexdigest()[:16]


def build_loadgen():
    """Path of tests/loadgen as a program; built once for each state of its sources, in the user's cache."""
    folder = os.path.join(CACHE, "fullscale-bench", source_hash(LOADGEN))
    binary = os.path.join(folder, "loadgen")
    if not os.path.exists(binary):
        log("building tests/loadgen in %s" % folder)
        os.makedirs(folder, exist_ok=True)
        if subprocess.run(["go", "build", "-o", binary, "."], cwd=LOADGEN, stdout=sys.stderr).returncode != 0:
            raise BenchError("tests/loadgen does not build; see above")
    return binary


def why_no_loadgen():
    """A sentence when tests/loadgen cannot be built here, else None."""
    if shutil.which("go") is not None:
        return None
    return "no Go, which tests/loadgen is built with: install Go 1.26 or newer (go.dev/dl) and put it in PATH"


def generator_command(name):
    """The load generator: tests/loadgen, or `fullscale-bench`, which has been built. They share flags and figures."""
    return [BENCH] if name == "fullscale" else [build_loadgen()]


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- what Headscale needed ---


def read_baseline():
    """Rows of the first table of BASELINE.md: label to cells, as they stand there."""
    rows = {}
    with open(os.path.join(LOADGEN, "BASELINE.md")) as f:
        for line in f:
            cells = [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]
            if line.startswith("| ") and len(cells) == 5:
                rows.setdefault(cells[0], cells[1:4])
    return rows


class Baseline:
    def __init__(self):
        self.rows = read_baseline()

    def get(self, label, nodes, part=None):
        """`part`: which of several figures that one cell holds, split at ';' or '/'."""
        column = {100: 0, 300: 1, 1000: 2}.get(nodes)
        cell = self.rows.get(label, ["", "", ""])[column] if column is not None else ""
        if part is not None and cell:
            pieces = re.split(r"\s*[;/]\s*", cell)
            cell = pieces[part] if part < len(pieces) else ""
        return cell if cell and cell != "not run" else "-"


# --- figures to text ---


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 100 or float(value).is_integer():
        return "{:,.0f}".format(value)
    return "%.1f" % value if abs(value) >= 10 else "%.2f" % value


def table(header, lines):
    out = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(out + ["| " + " | ".join(line) + " |" for line in lines])


# --- the machine ---


def first_match(path, pattern, default):
    try:
        with open(path) as f:
            found = re.search(pattern, f.read(), re.MULTILINE)
    except OSError:
        return default
    return found.group(1).strip() if found else default


def output_of(*command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def machine():
    """What the figures were measured on, as one item of a list."""
    cpu = first_match("/proc/cpuinfo", r"^model name\s*:\s*(.*)$", platform.machine())
    memory_kb = int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)", "0"))
    return "- machine: %s, %d cores, %d MB, Linux %s" % (cpu, os.cpu_count(), memory_kb // 1000, platform.release())


def version():
    revision = output_of("git", "describe", "--always", "--dirty")
    return "%s%s, release build" % (output_of(PROGRAM, "version"), " (%s)" % revision if revision else "")


def write_doc(begin, end, text):
    """Between the markers only: what people wrote around them stays."""
    with open(DOC) as f:
        old = f.read()
    if begin not in old or end not in old:
        old = old.rstrip("\n") + "\n\n%s\n%s\n" % (begin, end)
    head, rest = old.split(begin, 1)
    tail = rest.split(end, 1)[1]
    with open(DOC, "w") as f:
        f.write(head + begin + "\n\n" + text + "\n\n" + end + tail)
    log("wrote %s" % os.path.relpath(DOC, ROOT))
