"""The signals that end the server: real ones, through the one code path that all systems take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import pytest

from claude_bridge.server.stop_signals import open_stop_signals
from tests.fake_upstream import WAIT_S

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_comes_out_of_the_iterator_and_the_process_lives(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with open_stop_signals() as signals, anyio.fail_after(WAIT_S):
        os.kill(os.getpid(), number)
        assert await anext(signals) is number
    assert signal.getsignal(number) is before


async def test_a_signal_wakes_up_a_loop_that_sleeps() -> None:
    with open_stop_signals() as signals, anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as tasks:

            async def send_soon() -> None:
                await anyio.wait_all_tasks_blocked()
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)

            tasks.start_soon(send_soon)
            assert {await anext(signals), await anext(signals)} == {signal.SIGTERM, signal.SIGINT}


async def test_what_was_ignored_at_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with open_stop_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            with anyio.fail_after(WAIT_S):
                assert await anext(signals) is signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_hangup_can_mean_something_else() -> None:
    hangups: list[bool] = []
    with open_stop_signals(lambda: hangups.append(True)) as signals, anyio.fail_after(WAIT_S):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await anext(signals) is signal.SIGTERM
    assert hangups == [True]


def test_a_process_without_a_terminal_knows_that_it_has_none() -> None:
    program = "from claude_bridge.server.stop_signals import has_terminal; print(has_terminal())"
    done = subprocess.run([sys.executable, "-c", program], start_new_session=True, capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_a_sleeping_uvloop_is_woken_up_too() -> None:
    program = """
import anyio, os, signal, sys
from claude_bridge.server.stop_signals import open_stop_signals

async def main():
    with open_stop_signals() as signals:
        print("ready", flush=True)
        print((await anext(signals)).name)

anyio.run(main, backend_options={"use_uvloop": True})
"""
    pytest.importorskip("uvloop")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=WAIT_S)[0] == "SIGTERM\n"
