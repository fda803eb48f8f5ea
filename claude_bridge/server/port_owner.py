"""Who listens on a port of this machine, as far as Linux tells."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def describe_port_owner(port: int) -> str:
    """Return " by NAME (process PID)", or an empty text where it can't be found out."""
    try:
        inodes = _listening_inodes(port)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and inodes & _socket_inodes(process):
                name = (process / "comm").read_text().strip()
                return f" by {name} (process {process.name})"
    except OSError:
        pass
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _socket_inodes(process: Path) -> set[str]:
    inodes = set()
    with suppress(OSError):  # another user's process, or one that has just ended
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # a file that has just been closed
                target = str(link.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    return inodes
