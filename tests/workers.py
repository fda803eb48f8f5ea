"""How the suite uses every core: which tests stay together in one worker, and which have the machine to themselves.

A worker takes a whole file, so that its fixtures are made once. Sessions with real engines and clients are one unit:
they share a model of 400 MB. Tests that bound a wall-clock time are one unit too, and no other test runs beside it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadGroupScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

if os.name == "posix":
    import fcntl

MAX_WORKERS = 8
"""With more, each would wait longer for the machine than it works; and each takes some 300 MB."""

_REAL = ("claude_code", "engine", "ollama")
_LOCKS = pytest.StashKey["_Machine"]()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use every core for the whole suite, up to MAX_WORKERS, and no worker for a few files.

    One worker more than there are cores works while another one waits: for a process, an engine, a timeout.
    """
    is_whole = config.args == config.getini("testpaths") and not config.option.usepdb
    return min((os.cpu_count() or 1) + 1, MAX_WORKERS) if is_whole and os.name == "posix" else 0


class _ByFile(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling:
    return _ByFile(config, log)


@contextmanager
def one_worker_at_a_time(config: pytest.Config) -> Generator[None]:
    """Hold what all workers do at their beginning, such as a download, to one of them."""
    machine = config.stash.get(_LOCKS, None)
    if machine is None:
        yield
        return
    machine.enter(alone=True)
    try:
        yield
    finally:
        machine.leave()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.xdist_group("timing"))
        elif any(map(item.get_closest_marker, _REAL)) and not item.get_closest_marker("in_background"):
            item.add_marker(pytest.mark.xdist_group("real"))


class _Machine:
    """A lock that many tests hold together, or one alone. Who waits to be alone is not overtaken."""

    def __init__(self, folder: Path) -> None:
        self._gate = (folder / "gate.lock").open("w")
        self._room = (folder / "room.lock").open("w")
        self.is_alone = False

    def enter(self, *, alone: bool) -> None:
        if self.is_alone and alone:
            return
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self.is_alone = alone

    def leave(self) -> None:
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self.is_alone = False

    def close(self) -> None:
        self._gate.close()
        self._room.close()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]  # the folder that all workers share
        config.stash[_LOCKS] = _Machine(factory.getbasetemp().parent)


def pytest_unconfigure(config: pytest.Config) -> None:
    machine = config.stash.get(_LOCKS, None)
    if machine is not None:
        machine.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Give a test that bounds a time the machine to itself, up to the last such test in a row."""
    machine = item.config.stash.get(_LOCKS, None)
    if machine is None or item.get_closest_marker("in_background"):  # it only waits
        return (yield)
    machine.enter(alone=item.get_closest_marker("timing") is not None)
    try:
        return (yield)
    finally:
        if not machine.is_alone or nextitem is None or nextitem.get_closest_marker("timing") is None:
            machine.leave()
