"""Runs the campaign: for each seed a fresh sandbox, a script, the market's end, the proof.

`python -m sandbox chaos`. A seed that fails keeps its home with all logs and prints the command
that repeats it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from market_data.frames import FrameKey
from sandbox import lifecycle
from sandbox.chaos import prove
from sandbox.chaos.draw import SYMBOLS
from sandbox.chaos.plan import Plan
from sandbox.daemon import Signals
from sandbox.faults.report import holes_table, read_holes
from sandbox.faults.run import INJECTIONS_FILE, Injected, Runner, Target
from sandbox.faults.script import Script
from sandbox.marts import Marts
from sandbox.probes import get, post_json
from sandbox.process import members
from sandbox.progress import Reader
from sandbox.settings import DISK, OFF, SIMULATED, Platform, Ports, Settings, platform_of
from sandbox.state import READY, State, read_state

# A collector that notices everything soon: seconds of market must show what days do.
COLLECTOR: Final[Mapping[str, str]] = {
    "COLLECTOR_SILENCE_SECONDS": "5",
    "COLLECTOR_EXCHANGE_INFO_SECONDS": "5",
    "COLLECTOR_ROTATE_SECONDS": "20",
}
CHANNELS: Final = ("trade", "aggTrade", "kline_1m")
_SETTLE_SECONDS: Final = 90.0
_TICK_SECONDS: Final = 0.5
_STUCK_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 240.0
_FIRST_TRADES_SECONDS: Final = 30.0
_FILE_COLUMNS: Final = 140  # of a log or a pipe


Stream = tuple[str, str]  # channel and symbol


class Stopped(Exception):
    """A signal asked us to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed proved.

    Attributes:
        seed: the seed.
        problems: sentences; empty when everything was proven.
        injections: what was done.
        symbols: symbols whose control totals were compared.
        trades: trades at the exchange, equal in the marts.
        holes: recorded holes.
        healed_ids: ids that only REST delivered.
        repeated: rows of raw.trades that repeat one that is there.
        peak_mib: peak memory by process.
        seconds: wall time by phase.
    """

    seed: int
    problems: list[str]
    injections: list[Injected]
    symbols: int = 0
    trades: int = 0
    holes: int = 0
    healed_ids: int = 0
    repeated: int = 0
    peak_mib: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)


def run_campaign(settings: Settings, plan: Plan, output: Path | None) -> int:
    """Run all seeds; return 0 when every one proved everything.

    Args:
        settings: of every seed's sandbox; home, ports, market and channels are the campaign's.
        plan: what is run.
        output: file for the report as JSON.

    Raises:
        OSError: `output` can't be written.
    """
    if output is not None:
        output.touch()  # before minutes of work, not after
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_COLUMNS)
    signals = Signals()
    outcomes: list[Outcome] = []
    settings = replace(settings, ports=Ports.free())  # the same for all: dbt parses anew otherwise
    with signals.handled():
        for seed in range(plan.first, plan.first + plan.seeds):
            run = _Seed(settings, plan, seed, signals, console)
            try:
                outcome = run.run()
            except Stopped:
                break
            outcomes.append(outcome)
            _tell(console, outcome, plan, run.settings.home)
            if output is not None:
                output.write_text(json.dumps(report_of(plan, outcomes), indent=2) + "\n", "utf-8")
    console.print(summary(outcomes))
    passed = [outcome for outcome in outcomes if not outcome.problems]
    console.print(f"{len(passed)} of {plan.seeds} seeds proved that nothing was lost")
    return 0 if len(passed) == plan.seeds else 1


def report_of(plan: Plan, outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the report as JSON: the plan, each seed's outcome, how many passed."""
    return {
        "first": plan.first,
        "seeds": plan.seeds,
        "seconds": plan.seconds,
        "rate": plan.rate,
        "kill": plan.kill,
        "passed": sum(not outcome.problems for outcome in outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def summary(outcomes: list[Outcome]) -> Table:
    """Return one line a seed: what was injected, what was proven, how long it took."""
    table = Table(title="fault campaign", title_justify="left")
    for heading in ("seed", "injected", "trades", "holes", "healed ids", "repeats", "s", "proven"):
        table.add_column(heading, justify="left" if heading == "injected" else "right")
    for each in outcomes:
        table.add_row(
            str(each.seed),
            " ".join(
                injected.parameters.get("process", injected.what) for injected in each.injections
            ),
            f"{each.trades:,}",
            str(each.holes),
            str(each.healed_ids),
            str(each.repeated),
            f"{sum(each.seconds.values()):.0f}",
            "NO" if each.problems else "yes",
        )
    return table


def repeat_command(plan: Plan, seed: int) -> str:
    """Return the command that repeats a seed."""
    kill = f" --kill {plan.kill}" if plan.kill else ""
    return (
        f"python -m sandbox chaos --first {seed} --seeds 1 --seconds {plan.seconds:g}"
        f" --rate {plan.rate}{kill}"
    )


def _last_ids_sent(settings: Settings) -> dict[Stream, int]:
    """Return the last id of each channel and symbol that the exchange has sent; may be empty."""
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        totals = json.loads(get(f"{settings.exchange_url}/sim/totals")[1])
        return {
            (channel, row["symbol"]): row["last_id"]
            for channel, rows in (("trade", totals["trades"]), ("aggTrade", totals["agg_trades"]))
            for row in rows
        }
    return {}


def _last_ids_received(settings: Settings) -> dict[Stream, int]:
    """Return the last id of each channel and symbol that the collector has made durable."""
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        ledger = json.loads(get(f"{settings.collector_url}/ledger")[1])
        return {(row["channel"], row["symbol"]): row["last_id"] for row in ledger["symbols"]}
    return {}


def _tell(console: Console, outcome: Outcome, plan: Plan, home: Path) -> None:
    if not outcome.problems:
        console.print(f"seed {outcome.seed}: nothing was lost", style="green", highlight=False)
        return
    console.print(f"seed {outcome.seed}: FAILED", style="red", highlight=False)
    for problem in outcome.problems[:10]:
        console.print(f"  - {problem}", highlight=False, soft_wrap=True)
    console.print(f"  logs: {home / 'logs'}", highlight=False, soft_wrap=True)
    console.print(f"  again: {repeat_command(plan, outcome.seed)}", highlight=False, soft_wrap=True)


class _Seed:
    """One seed: a sandbox of its own, from start to proof."""

    def __init__(
        self, settings: Settings, plan: Plan, seed: int, signals: Signals, console: Console
    ) -> None:
        self.settings = replace(
            settings,
            home=plan.home / f"seed-{seed}",
            pubsub="embedded",
            exchange=SIMULATED,
            tables=DISK if plan.kill == "bigquery" else settings.tables,
            symbols=(),
            market_size=len(SYMBOLS),
            channels=CHANNELS,
            rate=plan.rate,
            seed=seed,
            airflow=OFF,
        )
        self._plan = plan
        self._seed = seed
        self._signals = signals
        self._console = console
        self._seconds: dict[str, float] = {}
        self._marked = time.monotonic()
        self._marts: Marts | None = None

    def run(self) -> Outcome:
        """Do it all; a sandbox that fails is an outcome too.

        Raises:
            Stopped: a signal came.
        """
        shutil.rmtree(self.settings.home, ignore_errors=True)
        self.settings.home.mkdir(parents=True)
        parsed = self._plan.home / "dbt"  # shared: parsing the project anew costs seconds
        parsed.mkdir(exist_ok=True)
        (self.settings.home / "dbt").symlink_to(parsed)
        script = self._plan.script_of(self._seed)
        (self.settings.home / "script.yaml").write_text(script.text, "utf-8")
        os.environ.update({**COLLECTOR, **self.settings.client_environment})
        self._say(f"seed {self._seed}: {' '.join(each.what for each in script.injections)}")
        run_id, injections = "", list[Injected]()
        try:
            run_id = lifecycle.start(self.settings, owner=os.getpid())
            outcome = self._prove(run_id, script, injections)
        except Stopped:
            raise
        except Exception as error:  # whatever it is, the seed has proven nothing; others may
            outcome = Outcome(self._seed, [f"{type(error).__name__}: {error}"], injections)
        finally:
            if self._marts is not None:
                self._marts.close()
            lifecycle.stop(self.settings)
        self._mark("stop")
        leaked = [process.pid for process in members(run_id)] if run_id else []
        problems = outcome.problems + [f"process {pid} outlived the run" for pid in leaked]
        if not problems and not self._plan.keep:
            shutil.rmtree(self.settings.home, ignore_errors=True)
        return replace(outcome, problems=problems, seconds=dict(self._seconds))

    def _prove(self, run_id: str, script: Script, injections: list[Injected]) -> Outcome:
        state = lifecycle.wait_ready(self.settings, run_id, lambda _: self._look())
        platform = self._platform(state)
        reader = Reader(platform)
        self._wait(lambda: bool(reader.read_stream().received), _FIRST_TRADES_SECONDS)
        self._mark("start")
        runner = Runner(
            script,
            Target(self.settings),
            self.settings.home / INJECTIONS_FILE,
            notice=lambda injected: self._say(f"  {injected.sentence}"),
        )
        injections += runner.run(lambda: bool(self._signals.count))
        self._look()
        unsettled = self._settle()
        post_json(f"{self.settings.exchange_url}/sim/pause", {})
        self._mark("faults")
        missing = self._drain(reader)
        self._mark("drain")
        built = self._build(platform, run_id)
        self._mark("marts")
        outcome = self._judge(platform, injections)
        self._mark("proof")
        return replace(outcome, problems=[*unsettled, *missing, *built, *outcome.problems])

    def _settle(self) -> list[str]:
        """Wait until every symbol has a trade that was sent after the last fault.

        A hole at the end of a symbol's ids is seen with the next one.
        """
        began, wanted = time.monotonic(), dict[Stream, int]()
        behind: set[Stream] = set()
        while time.monotonic() - began < _SETTLE_SECONDS:
            state = read_state(self.settings.home)
            if state is not None and state.phase == READY and not wanted:
                wanted = _last_ids_sent(self.settings)
            received = _last_ids_received(self.settings)
            behind = {each for each, last in wanted.items() if received.get(each, -1) <= last}
            if wanted and not behind:
                return []
            self._rest(_TICK_SECONDS)
        named = ", ".join(f"{symbol} {channel}" for channel, symbol in sorted(behind))
        return [f"no message since the last fault within {_SETTLE_SECONDS:.0f} s: {named or 'any'}"]

    def _drain(self, reader: Reader) -> list[str]:
        """Wait until what the exchange sent is in the tables and the archive.

        Silent connections are replaced as long as the market is closed, and each replies: the
        archive need not have those frames, only what was loaded when the last trade was.
        """
        began = moved = time.monotonic()
        before = ""
        wanted: set[FrameKey] = set()
        while True:
            sealed = reader.read_stream().sealed
            progress = reader.read(exactly=True)
            missing = progress.missing(sealed, with_archive=False)
            if not missing:
                wanted = wanted or reader.loaded_frames()
                late = reader.not_archived(wanted)
                if not late:
                    return []
                missing = f"{len(late):,} of {len(wanted):,} frames are not archived"
            now = time.monotonic()
            if missing != before:
                moved, before = now, missing
            if now - moved > _STUCK_SECONDS or now - began > _DRAIN_SECONDS:
                return [f"not drained after {now - began:.0f} s: {missing}"]
            self._rest(_TICK_SECONDS)

    def _build(self, platform: Platform, run_id: str) -> list[str]:
        marts = self._marts = Marts(self.settings, platform, run_id)
        marts.start("run")
        good = marts.wait(lambda: self._rest(_TICK_SECONDS))
        return [] if good else [f"dbt run failed; its log is {marts.log}"]

    def _judge(self, platform: Platform, injections: list[Injected]) -> Outcome:
        warnings.simplefilter("ignore", FutureWarning)  # Google's on our Python, once per library
        from sandbox.certificate import collect
        from sandbox.equality import compare_stages

        certificate = collect(platform)
        _, unequal = compare_stages(platform)
        (self.settings.home / "certificate.json").write_text(json.dumps(certificate, indent=2))
        holes, fetched = read_holes(platform), prove.fetched_ids(platform)
        if holes:
            self._console.print(holes_table(holes))
        memory = platform.peak_memory()
        trades = [row for row in certificate["symbols"] if row["channel"] == "trade"]
        return Outcome(
            seed=self._seed,
            problems=[
                *unequal,
                *prove.problems_of(certificate, holes, fetched, injections, memory),
            ],
            injections=injections,
            symbols=len(trades),
            trades=sum(row["exchange"]["count"] for row in trades),
            holes=len(holes),
            healed_ids=len(fetched),
            repeated=prove.repeated_trades(platform),
            peak_mib={name: size >> 20 for name, size in memory.items()},
        )

    def _platform(self, state: State) -> Platform:
        return platform_of(
            self.settings,
            started_at=datetime.fromisoformat(state.started_at),
            ready_seconds=state.ready_seconds or 0.0,
            peak_memory=self._peak_memory,
        )

    def _peak_memory(self) -> dict[str, int]:
        state = read_state(self.settings.home)
        services = state.services if state is not None else ()
        return {each.name: each.peak_resident_bytes for each in services if each.address}

    def _wait(self, is_done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > deadline:
                raise lifecycle.LifecycleError(f"no trade was received within {seconds:.0f} s")
            self._rest(_TICK_SECONDS)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._signals.wait(left)
            self._look()

    def _look(self) -> None:
        if self._signals.count:
            raise Stopped

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _mark(self, phase: str) -> None:
        now = time.monotonic()
        self._seconds[phase] = round(now - self._marked, 1)
        self._marked = now
