"""The modules under src/, read from their meson.build files (plain lists only)."""
import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"


class Module:
    """One folder under src/: the lists of its meson.build, which src/meson.build explains."""

    LISTS = ("uses", "prefixes", "sources", "tests", "helpers", "fuzzers", "fuzz_helpers")

    def __init__(self, name):
        self.name = name
        self.folder = SRC / name
        text = re.sub(r"#[^\n]*", "", (self.folder / "meson.build").read_text())
        for key in self.LISTS:
            setattr(self, key, self._list(text, key))

    @staticmethod
    def _list(text, key):
        found = re.search(r"^%s\s*=\s*(\[[^\]]*\])" % key, text, re.M)
        return ast.literal_eval(found.group(1)) if found else []

    def files(self):
        return sorted(p for p in self.folder.rglob("*") if p.suffix in (".c", ".h"))


def load():
    """All modules, in the order in which src/meson.build builds them."""
    text = re.sub(r"#[^\n]*", "", (SRC / "meson.build").read_text())
    names = ast.literal_eval("[" + re.search(r"foreach m : \[([^\]]*)\]", text).group(1) + "]")
    return [Module(name) for name in names]
