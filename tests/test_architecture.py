"""The tree is the architecture: layers, homes of outside libraries, a pure core, and names that say something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import claude_bridge

PACKAGE = Path(claude_bridge.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

CORE = ("errors.py", "wire/", "conversion/", "adapters/")
CORE_MAY_IMPORT = {
    "claude_bridge",
    "msgspec",
    "json_repair",
    # the standard library's pure modules
    "__future__",
    "abc",
    "base64",
    "collections",
    "copy",
    "dataclasses",
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
    "types",
    "typing",
    "urllib",
}

HOMES = {
    "h11": ("attachments/http_get.py", "server/http1.py", "upstream/transport.py"),
    "httpx": ("attachments/public_web.py", "upstream/client.py"),
    "json_repair": ("conversion/tool_json/repair.py",),
    "platformdirs": ("cli/run.py", "cli/service.py", "config/locate.py", "upstream/embedded/model_file.py"),
    "pypdf": ("attachments/pdf/worker.py",),
    "pypdfium2": ("attachments/pdf/worker.py",),
    "prometheus_client": ("server/handlers/metrics.py",),
    "rich": ("app/", "cli/", "doctor/", "trace/"),
    "typer": ("app/", "cli/", "doctor/"),
    "xllamacpp": ("upstream/embedded/engine.py",),
}
"""Where each outside library lives. What is in no row may only be msgspec, the language of values, or anyio."""

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


def imports_of(module: Path) -> Iterator[str]:
    """Yield the top-level names of all that a module imports, late imports and those for types included."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where a thing lives"
            yield (node.module or "").partition(".")[0]


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def lives_in(module: Path, homes: tuple[str, ...]) -> bool:
    return any(place(module) == home or (home.endswith("/") and place(module).startswith(home)) for home in homes)


each_module = pytest.mark.parametrize("module", MODULES, ids=place)


def test_the_contracts_of_the_layers_are_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@each_module
def test_a_module_says_in_a_sentence_what_it_is(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    assert docstring, "it has no docstring"
    assert docstring.partition("\n\n")[0].rstrip().endswith((".", "?", "!")), "its first paragraph is no sentence"


@each_module
def test_outside_libraries_stay_in_their_homes(module: Path) -> None:
    for library in set(imports_of(module)) & set(HOMES):
        assert lives_in(module, HOMES[library]), f"{library} lives in {' and '.join(HOMES[library])}"


@pytest.mark.parametrize("library", HOMES)
def test_a_home_is_lived_in(library: str) -> None:
    assert any(library in set(imports_of(module)) for module in MODULES), "this row of HOMES is out of date"


@pytest.mark.parametrize("module", [module for module in MODULES if lives_in(module, CORE)], ids=place)
def test_the_core_imports_nothing_that_does_anything(module: Path) -> None:
    assert not set(imports_of(module)) - CORE_MAY_IMPORT


@each_module
def test_a_module_has_a_name_that_says_something(module: Path) -> None:
    assert module.stem not in NAMES_THAT_SAY_NOTHING
