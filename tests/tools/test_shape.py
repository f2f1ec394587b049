"""tools/check-shape finds each kind of fault in a small made-up tree, and nothing in a tree without faults."""
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

CUP_H = """/* Cups. */
/* A cup of `n` ml. */
int cup_make(int n);
int cup_fill(int n);

int cup_drink(void); /* empties it */
"""
CUP_C = """#include "cup/cup.h"
int cup_make(int n)
{
    return n > 0 ? cup_fill(n) : 0;
}
"""
FILL_C = """static int level; /* cup_make() in a comment is no call, nor is "cup_make()" */
int cup_fill(int n)
{
    return level += n;
}
__attribute__((cold)) int cup_drink(void)
{
    const char *text = "{ cup_make(1); ";
    return text[0] ? level = 0 : 1;
}
"""


@pytest.fixture
def tree(tmp_path):
    """A module `cup` of two files, and a module `jug` without any."""
    for name in ("check-shape", "modules.py"):
        (tmp_path / "tools").mkdir(exist_ok=True)
        shutil.copy(TOOLS / name, tmp_path / "tools" / name)
    write(tmp_path, "src/meson.build", "foreach m : ['cup', 'jug']\nendforeach\n")
    write(tmp_path, "src/cup/meson.build", "prefixes = ['cup_']\nsources = ['cup.c', 'fill.c']\n")
    write(tmp_path, "src/jug/meson.build", "uses = ['cup']\nprefixes = ['jug_']\n")
    write(tmp_path, "src/cup/cup.h", CUP_H)
    write(tmp_path, "src/cup/cup.c", CUP_C)
    write(tmp_path, "src/cup/fill.c", FILL_C)
    return tmp_path


def write(tree, name, text):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def shape(tree, *modules):
    done = subprocess.run([str(tree / "tools" / "check-shape"), *modules], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode in (0, 1), done.stdout
    assert (done.returncode == 0) == ("shape: ok" in done.stdout), done.stdout
    return done.stdout


def test_a_tree_without_faults_passes(tree):
    said = shape(tree)
    assert "shape: ok" in said and "100.0 %" in said
    assert "4 / 5 / 5" not in said and "4 / 4 / 5" in said, said


@pytest.mark.parametrize("lines, is_fault", [(60, False), (61, True)])
def test_long_functions(tree, lines, is_fault):
    write(tree, "src/cup/long.c", "int cup_long(int a)\n{\n%s    return a;\n}\n" % ("    a++;\n" * (lines - 4)))
    assert ("src/cup/long.c:1: cup_long has 61 lines" in shape(tree)) == is_fault


@pytest.mark.parametrize("lines, is_fault", [(600, False), (601, True)])
def test_long_files(tree, lines, is_fault):
    write(tree, "src/cup/table.c", "const int cup_table[] = {\n%s};\n" % ("    1,\n" * (lines - 2)))
    write(tree, "tests/e2e/test_x.py", "pass\n" * lines)
    said = shape(tree)
    assert ("src/cup/table.c: 601 lines" in said) == is_fault
    assert ("tests/e2e/test_x.py: 601 lines" in said) == is_fault


def test_an_exception_needs_a_reason_and_a_fault(tree):
    write(tree, "src/cup/table.c", "const int cup_table[] = {\n%s};\n" % ("    1,\n" * 700))
    write(tree, "tools/shape-exceptions", "# why\nfile src/cup/table.c: one table\n")
    assert "shape: ok" in shape(tree)
    write(tree, "src/cup/table.c", "const int cup_table[] = {1};\n")
    assert "no longer needed: file src/cup/table.c" in shape(tree)
    write(tree, "tools/shape-exceptions", "file src/cup/table.c\n")
    done = subprocess.run([str(tree / "tools" / "check-shape")], capture_output=True, text=True)
    assert done.returncode == 1 and "without a reason" in done.stderr


def test_what_passes_for_a_while_is_counted(tree):
    write(tree, "src/cup/table.c", "const int table_a = 1;\nint table_b(void)\n{\n    return 1;\n}\n")
    write(tree, "tools/shape-exceptions", "until cup prefixes 1\n")
    assert "table_a has no prefix" in shape(tree)
    write(tree, "tools/shape-exceptions", "until cup prefixes 2\n")
    assert "shape: ok" in shape(tree)
    assert "table_b has no prefix" in shape(tree, "cup")
    write(tree, "tools/shape-exceptions", "until cup prefixes 3\n")
    assert "write `until cup prefixes 2`" in shape(tree)


def test_circles_of_files(tree):
    write(tree, "src/cup/cup.c", CUP_C + "int cup_x(void)\n{\n    return 1;\n}\n")
    write(tree, "src/cup/fill.c", FILL_C + "int cup_y(void)\n{\n    return cup_wash();\n}\n")
    write(tree, "src/cup/wash.c", "int cup_wash(void)\n{\n    return cup_x();\n}\n")
    said = shape(tree)
    assert "src/cup: cup.c fill.c wash.c need each other" in said and "wash.c -> cup.c: cup_x" in said
    write(tree, "tools/shape-exceptions", "circle cup cup.c fill.c wash.c: a reason\n")
    said = shape(tree)
    assert "shape: ok" in said and "circle cup cup.c fill.c wash.c: a reason" in said


def test_a_member_or_a_test_closes_no_circle(tree):
    write(tree, "src/cup/fill.c", FILL_C + "int cup_y(struct x *a)\n{\n    return a->cup_make + a[0].cup_make;\n}\n")
    write(tree, "src/cup/cup_test.c", "int cup_test_help(void)\n{\n    return cup_make(1);\n}\n")
    assert "shape: ok" in shape(tree)


@pytest.mark.parametrize("code, fault", [
    ("int mug_make(void)\n{\n    return 1;\n}\n", "mug_make has no prefix"),
    ("const struct x *const mug_rows[] = {{1}, {2}};\n", "mug_rows has no prefix"),
    ("_Atomic int mug_count;\n", "mug_count has no prefix"),
    ("int jug_make(void)\n{\n    return 1;\n}\n", "jug_make: jug_ belongs to jug"),
    ("static int mug_make(void)\n{\n    return 1;\n}\nstatic const int mugs[] = {1};\nextern int mug_count;\n", None),
    ("struct mug {\n    int n;\n};\nenum mug_kind { MUG_A };\nstruct mug;\n", None),
    ("typedef int (*mug_fn)(int);\nint mug_make(void);\n", None),
    ("int cup_jug_make(void)\n{\n    return 1;\n}\n", "cup_jug_make: cup_jug_ belongs to jug"),
])
def test_a_prefix_has_one_owner(tree, code, fault):
    write(tree, "src/jug/meson.build", "uses = ['cup']\nprefixes = ['jug_', 'cup_jug_']\n")
    write(tree, "src/cup/more.c", code)
    said = shape(tree)
    assert fault in said if fault else "shape: ok" in said, said


def test_a_prefix_that_two_modules_list(tree):
    write(tree, "src/jug/meson.build", "uses = ['cup']\nprefixes = ['cup_']\n")
    assert "src/jug/meson.build: cup_ belongs to cup too" in shape(tree)


@pytest.mark.parametrize("header, names", [
    ("/* Cups. */\n\nint cup_a(void);\n", ["cup_a"]),
    ("/* A block. */\nint cup_a(void);\nint cup_b(int n,\n    int m);\nint cup_c(void);\n\nint cup_d(void);\n",
     ["cup_d"]),
    ("int cup_a(void); /* a */\nint cup_b(void);\n", ["cup_b"]),
    ("/* A type. */\nstruct cup {\n    int n; /* how many */\n};\nint cup_a(struct cup *cup);\n", ["cup_a"]),
    ("/* A. */\nstatic inline int cup_a(void)\n{\n    return 1;\n}\n\n"
     "static inline int cup_b(int b)\n{\n    return b;\n}\n", ["cup_b"]),
    ("/* With an attribute. */\nMUST_CHECK PRINTF_LIKE(1, 2)\nint cup_a(const char *format, ...);\n", []),
    ("/* A macro's comment. */\n#define CUPS 3\nint cup_a(void);\n", ["cup_a"]),
])
def test_documented_prototypes(tree, header, names):
    write(tree, "src/cup/cup.h", header)
    found = [line.split()[1] for line in shape(tree, "cup").splitlines() if line.endswith("has no comment")]
    assert found == names


def test_private_headers_need_no_comment(tree):
    write(tree, "src/cup/cup_internal.h", "int cup_a(void);\n")
    assert "shape: ok" in shape(tree)


def test_a_share_of_prototypes_may_lack_a_comment(tree):
    commented, bare = "/* x */\nint cup_a(void);\n\n", "int cup_b(void);\n\n"
    write(tree, "src/cup/cup.h", commented * 19 + bare)
    assert "shape: ok" in shape(tree)
    write(tree, "src/cup/cup.h", commented * 18 + bare)
    assert "cup_b has no comment" in shape(tree)


@pytest.mark.parametrize("name", ["src/cup/cup.h", "src/jug/meson.build", "meson.build", "tests/meson.build",
                                  "tests/sim/sim.c", "tests/tools/test_x.py", "tools/check-x"])
@pytest.mark.parametrize("columns, is_fault", [(120, False), (121, True)])
def test_wide_lines(tree, name, columns, is_fault):
    write(tree, name, "/* %s */\n" % ("é" * (columns - 6)))
    assert ("%s:1: 121 columns" % name in shape(tree)) == is_fault


@pytest.mark.parametrize("first, is_fault", [("#!/usr/bin/python3", True), ("the result of a run", False)])
def test_wide_lines_of_scripts_without_an_extension(tree, first, is_fault):
    write(tree, "tests/bench/run", "%s\n%s\n" % (first, "x" * 121))
    assert ("tests/bench/run:2: 121 columns" in shape(tree)) == is_fault
