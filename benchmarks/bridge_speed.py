"""Measure what the bridge adds: ``python benchmarks/bridge_speed.py`` (see docs/how-to/measure-speed.md)."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
from answers import BrokenAnswerError
from bodies import LARGE
from measurements import (
    FULL,
    MEASUREMENTS,
    QUICK,
    Bench,
    Figures,
    Plan,
    first_tokens_by_turn,
    open_bench,
    open_forgetful,
    paced_streams,
    warm_up,
)
from processes import Pinning, choose_pinning, pin, raise_open_files
from report import Samples, all_intact, describe_machine, encode_json, render_table
from svg_plot import render_plot

PACED_ROUNDS = 3
"""These take the longest, and have a hundred thousand figures in each round."""

RUN_LIMIT_S = 1800.0


async def run(plan: Plan, rounds: int, pinning: Pinning, plot: Path | None) -> Samples | None:
    """Measure both sides by turns in each round, and draw the plot if there is to be one; None if a signal came."""
    samples = Samples()
    done = False
    with anyio.fail_after(RUN_LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
            async with open_bench(plan, pinning) as bench:
                for side in (bench.direct, bench.bridged):
                    await warm_up(bench, side)
                for number in range(rounds):
                    await _run_round(bench, number, samples)
                if plot is not None:
                    await anyio.Path(plot).write_text(await _plot(bench, rounds, pinning), encoding="utf-8")
            done = True
            tasks.cancel_scope.cancel()
    return samples if done else None


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)
        scope.cancel()


async def _run_round(bench: Bench, number: int, samples: Samples) -> None:
    direct: Figures = {}
    bridged: Figures = {}
    turns = [(bench.direct, direct), (bench.bridged, bridged)]
    for measure in MEASUREMENTS:
        if measure is paced_streams and number >= PACED_ROUNDS:
            continue
        print(f"round {number + 1}: {measure.__name__.replace('_', ' ')}", file=sys.stderr, flush=True)
        # Each round begins with the other side, so that none always follows the same one.
        for side, figures in turns if number % 2 == 0 else reversed(turns):
            figures.update(await measure(bench, side))
    samples.direct.append(direct)
    samples.bridged.append(bridged)


async def _plot(bench: Bench, rounds: int, pinning: Pinning) -> str:
    """Return how long the first token takes in each turn of a session, as SVG."""
    async with open_forgetful(bench, pinning) as forgetful:
        sides = {"the bridge": bench.bridged, "with --no-memo": forgetful, "the engine itself": bench.direct}
        times: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                times[name].append(await first_tokens_by_turn(bench, side, LARGE))
    lines = {name: [statistics.median(turn) for turn in zip(*some, strict=True)] for name, some in times.items()}
    return render_plot("Time to the first token of a session of 1 MB", "turn", "ms", lines)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the bridge adds to an engine that is asked directly.")
    parser.add_argument("--quick", action="store_true", help="a look in half a minute: less of everything")
    parser.add_argument("--rounds", type=_count, metavar="N", help="how often all is measured (5, or 2 with --quick)")
    parser.add_argument("--streams", type=_count, metavar="N", help="paced streams at once (200, or 50 with --quick)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each paced stream (10, or 3 with --quick)")
    parser.add_argument("--trace", action="store_true", help="compare a bridge with --trace with one without")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how a session of 1 MB grows, as SVG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures to a file")
    return parser.parse_args()


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first


def main() -> int:
    """Run and print; the exit status is 0 if every answer came back intact."""
    arguments = _parse_arguments()
    plan = QUICK if arguments.quick else FULL
    plan = msgspec.structs.replace(
        plan,
        paced_streams=arguments.streams or plan.paced_streams,
        paced_s=arguments.seconds or plan.paced_s,
        of_trace=arguments.trace,
    )
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    raise_open_files()
    pinning = choose_pinning()
    machine = describe_machine(pinning)
    pin(os.getpid(), pinning.client)
    try:
        samples = anyio.run(
            partial(run, plan, rounds, pinning, arguments.plot),
            backend_options={"use_uvloop": find_spec("uvloop") is not None},
        )
    except* (BrokenAnswerError, RuntimeError, TimeoutError, OSError) as group:
        print(f"The run failed: {_first_cause(group)}", file=sys.stderr)
        samples = None
    if samples is None:
        return 1
    print(f"{machine}; {rounds} round{'s' * (rounds > 1)}, median (lowest to highest)\n")
    print(render_table(plan, samples))
    if arguments.json is not None:
        arguments.json.write_bytes(encode_json(plan, samples, machine))
    return 0 if all_intact(plan, samples) else 1


if __name__ == "__main__":
    sys.exit(main())
