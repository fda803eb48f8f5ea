"""The tree is the architecture: layers, homes of outside libraries, a pure core, and names that say something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from importlinter.cli import lint_imports

import claude_bridge

PACKAGE = Path(claude_bridge.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

CORE = ("errors.py", "wire/", "conversion/", "adapters/")
CORE_MAY_IMPORT = {
    "claude_bridge",
    "msgspec",
    # the standard library's pure modules
    "__future__",
    "abc",
    "base64",
    "codecs",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "decimal",
    "difflib",
    "email",
    "enum",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "string",
    "threading",  # for its lock
    "types",
    "typing",
    "urllib",
}

HOMES = {
    "httpx": ("upstream/httpx_transport.py",),
    "platformdirs": ("config/locate.py", "upstream/embedded/model_file.py"),
    "pypdf": ("attachments/pdf/worker.py",),
    "pypdfium2": ("attachments/pdf/worker.py",),
    "prometheus_client": ("server/handlers/metrics.py",),
    "rich": ("cli/", "trace/"),
    "socksio": ("upstream/httpx_transport.py",),
    "typer": ("cli/",),
    "xllamacpp": ("upstream/embedded/server.py",),
}
"""Where each outside library lives. What is in no row may only be msgspec, the language of values, or anyio."""

PATCHED = {
    "tests/cli/conftest.py": "no option of a command says where engines are that nobody names",
}
"""The tests that put something in the place of a part of the bridge, and why it can't be handed in."""

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text("utf-8"))


@cache
def imports_of(module: Path) -> set[str]:
    """Return the top-level names of all that a module imports, late imports and those for types included."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where a thing lives"
            found.add((node.module or "").partition(".")[0])
    return found


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def lives_in(module: Path, homes: tuple[str, ...]) -> bool:
    return any(place(module) == home or (home.endswith("/") and place(module).startswith(home)) for home in homes)


def test_the_contracts_of_the_layers_are_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_a_module_says_in_a_sentence_what_it_is() -> None:
    assert [place(module) for module in MODULES if not _first_sentence(module).endswith((".", "?", "!"))] == []


def _first_sentence(module: Path) -> str:
    docstring = ast.get_docstring(tree_of(module)) or ""
    return docstring.partition("\n\n")[0].rstrip()


def test_outside_libraries_stay_in_their_homes() -> None:
    strays = [
        f"{place(module)} imports {library}, which lives in {' and '.join(HOMES[library])}"
        for module in MODULES
        for library in sorted(imports_of(module) & HOMES.keys())
        if not lives_in(module, HOMES[library])
    ]
    assert strays == []


def test_a_home_is_lived_in() -> None:
    imported = {library for module in MODULES for library in imports_of(module)}
    assert sorted(set(HOMES) - imported) == [], "these rows of HOMES are out of date"


def test_the_core_imports_nothing_that_does_anything() -> None:
    strays = {
        place(module): found
        for module in MODULES
        if lives_in(module, CORE) and (found := imports_of(module) - CORE_MAY_IMPORT)
    }
    assert strays == {}


def test_a_module_has_a_name_that_says_something() -> None:
    assert [place(module) for module in MODULES if module.stem in NAMES_THAT_SAY_NOTHING] == []


def test_a_test_hands_in_what_it_needs_and_patches_no_part_of_the_bridge() -> None:
    tests = sorted((ROOT / "tests").rglob("test_*.py")) + sorted((ROOT / "tests").rglob("conftest.py"))
    patched = {file.relative_to(ROOT).as_posix(): found for file in tests if (found := list(_patches_in(file)))}
    assert {file: found for file, found in patched.items() if file not in PATCHED} == {}
    assert sorted(patched) == sorted(PATCHED), "these rows of PATCHED are out of date"


_PATCHING = re.compile(r"\b(setattr|delattr|setitem|patch|object|multiple)\(")


def _patches_in(test: Path) -> Iterator[str]:
    """Yield the calls with which a test replaces something of the bridge: by monkeypatch or by mock."""
    if _PATCHING.search(test.read_text("utf-8")) is None:
        return
    nodes = list(ast.walk(tree_of(test)))
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("claude_bridge")
        for alias in node.names
    }
    for node in nodes:
        if (
            isinstance(node, ast.Call)
            and node.args
            and _PATCHING.match(ast.unparse(node.func).rpartition(".")[2] + "(")
        ):
            target = node.args[0]
            name = str(target.value) if isinstance(target, ast.Constant) else ast.unparse(target)
            if name.startswith("claude_bridge.") or name.partition(".")[0] in imported:
                yield f"line {node.lineno}: {ast.unparse(node)}"
