"""Keeps results in the user's data folder: one file for each exam, a line for each task as soon as it is done."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import json
from msgspec.structs import replace

from claude_bridge.config.locate import exams_folder
from claude_bridge.errors import disk_errors_as
from claude_bridge.exam.results import Exam, Result, Settings
from claude_bridge.wire.lenient_json import read_or_none

_result_decoder = json.Decoder(Result)


class Store:
    """The folder of all exams."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` None: the usual one."""
        self.folder = folder or exams_folder()

    def begin(self, settings: Settings) -> tuple[Exam, Path]:
        """Return a new exam, and the file that its results go to."""
        now = time.time()
        started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.model)[:60].strip(".-") or "model"
        path = self.folder / f"{started_at[:19].replace(':', '')}-{name}-{secrets.token_hex(2)}.jsonl"
        exam = Exam(settings=settings, started_at=started_at, planned=settings.planned)
        with _keeping(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=False)  # transcripts are nobody else's business
            path.write_bytes(json.encode(exam))
        return exam, path

    def add(self, path: Path, result: Result) -> None:
        """Keep one more result."""
        with _keeping(path), path.open("ab") as file:
            file.write(b"\n" + json.encode(result))  # the line before may have been cut off

    def all(self) -> Iterator[tuple[Exam, Path]]:
        """Yield all exams, the newest first; files that can't be read are left out."""
        for path in sorted(self.folder.glob("*.jsonl"), reverse=True):
            exam = _read(path)
            if exam is not None:
                yield exam, path

    def newest(self, settings: Settings) -> tuple[Exam, Path] | None:
        """Return the newest exam with the same settings, or None."""
        return next(((exam, path) for exam, path in self.all() if exam.settings == settings), None)

    def newest_by_model(self) -> dict[tuple[str, str], Exam]:
        """Return the newest exam that is whole, by address and model."""
        found: dict[tuple[str, str], Exam] = {}
        for exam, _ in self.all():
            if exam.is_whole:
                found.setdefault((exam.settings.base_url, exam.settings.model), exam)
        return found


def _read(path: Path) -> Exam | None:
    """Return what a file holds; a last line that was cut off is left out."""
    try:
        head, *lines = path.read_bytes().splitlines()
        exam = json.decode(head, type=Exam)
    except (OSError, ValueError):
        return None
    results = (read_or_none(_result_decoder.decode, line) for line in lines)
    return replace(exam, results=list({result.key: result for result in results if result}.values()))


def _keeping(path: Path) -> AbstractContextManager[None]:
    return disk_errors_as(f"Results can't be kept in {path}", "Make the data folder writable.")
