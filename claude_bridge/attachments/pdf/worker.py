"""Reads one PDF in a process of its own, so that a hostile or broken file can cost no more than this process.

Runs as ``python -m claude_bridge.attachments.pdf.worker``. In: one line of JSON (``PdfLimits``), then the file in
base64. Out: one line of JSON for each thing found, the moment that it is found, so that nothing is lost when time is
up: ``{"pages": 3, "title": "…"}``, ``{"page": 1, "text": "…"}``, ``{"page": 1, "jpeg": "…"}``,
``{"trouble": "encrypted"}``, and ``{"done": true}`` at the end. It imports nothing of the package: it must start fast.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

JPEG_QUALITY = 80


class _EncryptedError(Exception):
    pass


class _PypdfReader:
    def __init__(self, file: bytes) -> None:
        import pypdf

        self._pdf = pypdf.PdfReader(io.BytesIO(file))
        if self._pdf.is_encrypted and not self._pdf.decrypt(""):
            raise _EncryptedError
        metadata = self._pdf.metadata
        self.title = (metadata.title if metadata else None) or ""
        self._pages = len(self._pdf.pages)

    def __len__(self) -> int:
        return self._pages

    def text(self, index: int) -> str:
        return self._pdf.pages[index].extract_text()


class _PdfiumReader:
    def __init__(self, file: bytes) -> None:
        import pypdfium2

        try:
            self._pdf = pypdfium2.PdfDocument(file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise _EncryptedError from error
            raise
        self.title = str(self._pdf.get_metadata_dict().get("Title") or "")

    def __len__(self) -> int:
        return len(self._pdf)

    def text(self, index: int) -> str:
        return str(self._pdf[index].get_textpage().get_text_bounded())

    def jpeg(self, index: int, side: int) -> bytes | None:
        """Return a picture of the page, or None for one that is blank."""
        page = self._pdf[index]
        if next(iter(page.get_objects(max_depth=1)), None) is None:
            return None
        scale = min(side / max(page.get_width(), page.get_height(), 1), 4.0)
        out = io.BytesIO()
        page.render(scale=scale).to_pil().convert("RGB").save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
        return out.getvalue()


def main() -> None:
    """Answer the order on stdin."""
    order = json.loads(sys.stdin.buffer.readline())
    _limit_this_process(order)
    for found in _findings(base64.b64decode(sys.stdin.buffer.read()), order):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _findings(file: bytes, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    reader, trouble = _opened(file)
    if reader is None:
        yield {"trouble": trouble}
        return
    yield {"pages": len(reader), "title": _clean(reader.title)}
    wordless: list[int] = []
    room = order["max_chars"]
    for index in range(min(len(reader), order["max_pages"])):
        text = ""
        with suppress(Exception):  # a library may stumble over a broken page in any way
            text = _clean(reader.text(index))
        if not text:
            wordless.append(index)
        yield {"page": index + 1, "text": text[:room]}
        room -= len(text)
        if room <= 0:
            break
    if order["max_images"] and wordless:
        yield from _images(file, wordless, order)
    yield {"done": True}


def _opened(file: bytes) -> tuple[_PypdfReader | _PdfiumReader | None, str]:
    """Return whichever library can read the file, or why none can: where one gives up, the other may not."""
    trouble = "missing"
    for library in (_PypdfReader, _PdfiumReader):
        try:
            reader = library(file)
            if len(reader):
                return reader, ""
            trouble = "empty"
        except ModuleNotFoundError:
            continue
        except _EncryptedError:
            trouble = "encrypted"
        except Exception:  # noqa: BLE001 - see above
            trouble = "broken" if trouble == "missing" else trouble
    return None, trouble


def _images(file: bytes, wordless: list[int], order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        reader = _PdfiumReader(file)
    except ModuleNotFoundError:
        yield {"trouble": "missing"}
        return
    except Exception:  # noqa: BLE001 - as above; the text was sent already
        return
    left = order["max_images"]
    for index in wordless:
        if not left:
            return
        with suppress(Exception):
            jpeg = reader.jpeg(index, order["image_side"])
            left -= jpeg is not None
            yield {"page": index + 1, "jpeg": base64.b64encode(jpeg).decode() if jpeg else ""}


def _clean(text: str) -> str:
    """Return the text without trailing blanks, and without what no JSON can carry."""
    printable = text.encode("utf-8", "replace").decode().replace("\0", "")
    return "\n".join(line.rstrip() for line in printable.splitlines()).strip()


def _limit_this_process(order: dict[str, Any]) -> None:
    if sys.platform == "win32":  # it has no such limits; the time is limited from outside
        return
    import resource

    with suppress(OSError):
        os.nice(10)  # streams that are running come first
    limits = {resource.RLIMIT_AS: order["max_memory"], resource.RLIMIT_CPU: max(1, round(order["max_s"]))}
    for kind, limit in limits.items():
        with suppress(ValueError, OSError):  # a stricter limit holds already
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main()
