"""A terminal that tests can type into and read: tmux, with a server of its own."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from msgspec import Struct

WAIT_S = 30.0
POLL_S = 0.05
COLUMNS, ROWS = 120, 45
PROMPT_MARK = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"


async def holds(condition: Callable[[], Awaitable[bool]], *, within_s: float = WAIT_S) -> bool:
    """Return whether the condition comes to hold in time."""
    with anyio.move_on_after(within_s):
        while True:
            if await condition():
                return True
            await anyio.sleep(POLL_S)
    return False


class Terminal(Struct, frozen=True, kw_only=True):
    """One screen with one program."""

    socket: Path

    async def ask(self, words: str) -> None:
        """Type some words at the prompt, and Enter.

        An Enter that comes together with words is taken for a part of a paste, so it is pressed until it is understood.
        """
        await self._tmux("send-keys", "-t", "main", "-l", words)
        await self.wait_for(words)

        async def is_sent() -> bool:
            return words not in await self.prompt()

        for _ in range(int(WAIT_S)):
            await self.press("Enter")
            if await holds(is_sent, within_s=1.0):
                return
        raise AssertionError(f"{words!r} was not sent. The screen:\n{await self.screen()}")

    async def prompt(self) -> str:
        """Return the line in which one types: the last of those that begin with its mark."""
        lines = [line for line in (await self.screen()).splitlines() if line.lstrip().startswith(PROMPT_MARK)]
        return lines[-1] if lines else ""

    async def type(self, words: str) -> None:
        """Type a line into a shell."""
        await self._tmux("send-keys", "-t", "main", "-l", words)
        await self.press("Enter")

    async def press(self, key: str) -> None:
        """Press a key, by tmux's name for it."""
        await self._tmux("send-keys", "-t", "main", key)

    async def screen(self) -> str:
        """Return what stands on the screen; nothing once the program has ended."""
        return await self._tmux("capture-pane", "-p", "-t", "main")

    async def wait_for(self, words: str, *, times: int = 1, within_s: float = WAIT_S) -> None:
        """Wait until the words stand on the screen as often as said."""

        async def have_come() -> bool:
            return (await self.screen()).count(words) >= times

        if not await holds(have_come, within_s=within_s):
            raise AssertionError(f"{words!r} did not come within {within_s:.0f} s. The screen:\n{await self.screen()}")

    async def wait_until_gone(self, words: str, *, within_s: float = WAIT_S) -> None:
        """Wait until the words do not stand on the screen any more."""

        async def are_gone() -> bool:
            return words not in await self.screen()

        if not await holds(are_gone, within_s=within_s):
            raise AssertionError(f"{words!r} is still there after {within_s:.0f} s:\n{await self.screen()}")

    async def press_until(self, key: str, words: str) -> None:
        """Press a key until the words have come: a dialog that has just opened ignores keys for a moment."""
        for _ in range(int(WAIT_S)):
            await self.press(key)
            with suppress(AssertionError):
                await self.wait_for(words, within_s=1.0)
                return
        await self.wait_for(words)

    async def wait_for_end(self) -> None:
        """Wait until the program has ended."""

        async def has_ended() -> bool:
            return not await self.screen()

        if not await holds(has_ended):
            raise AssertionError(f"The program still runs. The screen:\n{await self.screen()}")

    async def _tmux(self, *arguments: str) -> str:
        done = await anyio.run_process(["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments], check=False)
        return done.stdout.decode("utf-8", "replace")


@asynccontextmanager
async def open_terminal(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    project: Path,
    socket: Path,
    columns: int = COLUMNS,
) -> AsyncIterator[Terminal]:
    """Run a program on a screen of its own while the context lasts. ``socket`` is a path that is free."""
    terminal = Terminal(socket=socket)
    variables = [f"{name}={value}" for name, value in environment.items()]
    size = ["-x", str(columns), "-y", str(ROWS)]
    program = shlex.join(["env", "-i", *variables, *command])
    await terminal._tmux("new-session", "-d", "-s", "main", *size, "-c", str(project), program)
    try:
        yield terminal
    finally:
        with anyio.CancelScope(shield=True):
            await terminal._tmux("kill-server")
