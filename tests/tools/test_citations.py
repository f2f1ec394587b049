"""tools/check-citations: what resolves, and that nothing wrong gets by."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = "# A page\n\n## 5. Five\n\n### 5.4 States\n\n1. one\n2. two\n\n## 6. Six\n\n### 6.1 A\n\n### 6.3 B\n"

GOOD = [
    "/* src: docs/protocol/page.md 5.4, 6.1-6.3 */",
    "/* A state machine. src: docs/protocol/page.md 5.4 step 2 */",
    "/* (src: docs/protocol/page.md 5). More is said here. */",
    "/* src: docs/protocol/page.md; tests/a.py; as both have it */",
    " * src: RFC 9112 2.2, 3; RFC 9110 5 */",
    "/* src: tailscale 1.102.5 derp/derp.go; Headscale 0.30-dev hscontrol/derp */",
    "/* Where it is told: docs/protocol/page.md 6.3. */",
    "int a; /* src: sd_notify(3): datagrams; https://sqlite.org/uri.html */",
]
WRONG = {
    "/* src: docs/protocol/page.md 5.5 */": "has no section 5.5",
    "/* src: docs/protocol/page.md 5.4, 6.1-6.4 */": "has no section 6.4",
    "/* src: docs/protocol/page.md 5.4 step 3 */": "has no step 3",
    "/* src: docs/protocol/pages.md 5 */": "there is no page docs/protocol/pages.md",
    "/* src: page.md 5 */": "there is no page page.md",
    "/* Where it is told: docs/protocol/page.md 9. */": "has no section 9",
    "/* src: 5.4 */": "unknown form of source: 5.4",
    "/* src: policy 5 */": "unknown form of source",
    "/* src: tailscale derp/derp.go */": "unknown form of source",
    "/* src: RFC 9112; tests/b.json */": "there is no file tests/b.json",
    "/* A longer comment, whose source is on its next line: src:\n * docs/protocol/page.md 7 */": "has no section 7",
}


def check(folder, source):
    (folder / "docs/protocol").mkdir(parents=True)
    (folder / "docs/protocol/page.md").write_text(PAGE)
    (folder / "tests").mkdir()
    (folder / "tests/a.py").write_text("")
    (folder / "src").mkdir()
    (folder / "src/a.c").write_text(source + "\nint b;\n")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return subprocess.run([str(ROOT / "tools" / "check-citations"), str(folder)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("source", GOOD)
def test_a_good_citation_resolves(tmp_path, source):
    done = check(tmp_path, source)
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(r"citations: [1-9]\d*, 0 do not resolve\n", done.stdout)


@pytest.mark.parametrize("source", WRONG)
def test_a_wrong_citation_is_found(tmp_path, source):
    done = check(tmp_path, source)
    assert done.returncode == 1
    assert re.match(r"src/a\.c:[12]: ", done.stderr) and WRONG[source] in done.stderr
    assert done.stdout.endswith(", 1 do not resolve\n")


def test_sections_on_a_page_resolve(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/other.md").write_text("# Other\n\n## 1. One\n\nSee §1, and §2.\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    done = subprocess.run([str(ROOT / "tools" / "check-citations"), str(tmp_path)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.stdout == "citations: 2, 1 do not resolve\n" and "other.md has no section 2" in done.stderr


def test_this_repository_resolves():
    done = subprocess.run([str(ROOT / "tools" / "check-citations")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    assert done.returncode == 0, done.stdout
