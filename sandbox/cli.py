"""The command line of the sandbox: `python -m sandbox up | down | status | env | demo | …`.

Exit codes: 0 all is well, 1 something failed (or the certificate is not complete), 2 a wrong
setting, flag or file. Every flag has an environment variable `SANDBOX_*`; the flag wins.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sandbox import lifecycle
from sandbox.airflow.dags import Dags, access, airflow_of, dag_files
from sandbox.airflow.environment import password_file
from sandbox.process import controlling_owner
from sandbox.settings import (
    EXCHANGES,
    OFF,
    ON,
    PORTS_SETTING,
    PUBSUB_CHOICES,
    TABLE_PLACES,
    TRANSPORTS,
    Ports,
    Settings,
    SettingsError,
    read_settings,
)
from sandbox.state import STARTING, State, read_state

_WRONG_USE: Final = 2
_RUN_UP: Final = "90"
_MINUTES_WITH_RUN_UP: Final = 3
_MEBIBYTE: Final = 2**20
DEMO_FAULTS: Final = Path(__file__).with_name("faults") / "demo.yaml"


def main(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "supervise":
        from sandbox.daemon import supervise

        settings = Settings.from_document(json.loads(options.settings))
        return supervise(settings, options.run, options.owner)
    try:
        settings = settings_of(options, os.environ)
        settings.home.mkdir(parents=True, exist_ok=True)
        return _COMMANDS[options.command](settings, options)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return _WRONG_USE
    except lifecycle.LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # as shells have it


def settings_of(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Merge flags over variables and read the settings.

    Raises:
        SettingsError: with all mistakes.
    """
    flags = {name: value for name, value in vars(options).items() if name.startswith("SANDBOX_")}
    given = {name: str(value) for name, value in flags.items() if value is not None}
    recordings = tuple(path.absolute() for path in getattr(options, "files", ()) or ())
    if recordings:
        given["SANDBOX_EXCHANGE"] = "recording"
        given["SANDBOX_AIRFLOW"] = OFF
    chosen = {**environment, **given}
    if getattr(options, "faults", None) is not None:
        chosen.setdefault("SANDBOX_RUN_UP", "0")
        chosen.setdefault("SANDBOX_PUBSUB", "embedded")  # Google's can't be made to fail
    if options.command == "demo" and not chosen.keys() & {"SANDBOX_SPEED", "SANDBOX_EXCHANGE"}:
        default = "0" if options.minutes < _MINUTES_WITH_RUN_UP else _RUN_UP
        chosen.setdefault("SANDBOX_RUN_UP", default)
    settings = read_settings(chosen, recordings)
    check_files([*recordings, *(getattr(options, "klines", None) or ())])
    if settings.exchange == "recording" and not recordings:
        raise SettingsError("SANDBOX_EXCHANGE: recording needs files; use `replay FILE…`")
    return settings


def check_files(paths: list[Path]) -> None:
    """Make sure that files can be read.

    Raises:
        SettingsError: names every file that can't.
    """
    mistakes = []
    for path in paths:
        try:
            with path.open("rb") as file:
                if not file.read(1):
                    mistakes.append(f"{path}: the file is empty")
        except OSError as error:
            mistakes.append(f"{path}: {error.strerror}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))


def up(settings: Settings, options: argparse.Namespace) -> int:
    """Start the sandbox, or find it running, and wait until it is healthy."""
    state = lifecycle.find(settings)
    has_password = password_file(settings).exists() and not (state is None and options.fresh)
    if state is None:
        owner = None if options.detach else controlling_owner()
        if options.fresh:
            lifecycle.remove_data(settings)
        run_id = lifecycle.start(settings, owner=owner.pid if owner else None)
    else:
        run_id = state.run_id
    was_running = state is not None and state.phase != STARTING
    try:
        state = lifecycle.wait_ready(settings, run_id, StartProgress())
    except KeyboardInterrupt:
        lifecycle.stop(settings)
        raise
    running = Settings.from_document(state.settings)
    print("already running" if was_running else f"ready after {state.ready_seconds:.1f} s")
    print_addresses(running, state)
    if running.airflow == ON:
        late = Dags(airflow_of(running)).unpause(dag_files(), lambda: time.sleep(1))
        if late:
            print(f"Airflow has not parsed {', '.join(sorted(late))}: see its import errors")
        print(access(running, show_password=not has_password))
    return 0


def down(settings: Settings, options: argparse.Namespace) -> int:
    """Stop the sandbox; fine when there is none."""
    print("stopped" if lifecycle.stop(settings) else "nothing is running")
    return 0


def status(settings: Settings, options: argparse.Namespace) -> int:
    """Show the services; exit code 1 when the sandbox is not running and healthy."""
    state = lifecycle.find(settings)
    if state is None:
        last = read_state(settings.home)
        print("not running" + (f"; it failed:\n{last.error}" if last and last.error else ""))
        return 1
    if options.as_json:
        print((settings.home / "state.json").read_text("utf-8"), end="")
        return 0 if state.phase == "ready" else 1
    print(f"{state.phase}, supervisor pid {state.pid}, started {state.started_at}")
    print(f"{'service':<12}{'phase':<12}{'pid':>8}{'restarts':>10}{'MiB':>7}{'peak':>7}  address")
    for service in state.services:
        print(
            f"{service.name:<12}{service.phase:<12}{service.pid or '':>8}{service.restarts:>10}"
            f"{service.resident_bytes // _MEBIBYTE:>7}{service.peak_resident_bytes // _MEBIBYTE:>7}"
            f"  {service.address} {service.note}".rstrip()
        )
    print(f"peak of all together: {state.peak_resident_bytes // _MEBIBYTE} MiB")
    return 0 if state.phase == "ready" else 1


def env(settings: Settings, options: argparse.Namespace) -> int:
    """Print what a shell must export so that ordinary clients find the sandbox."""
    state = lifecycle.find(settings)
    running = Settings.from_document(state.settings) if state else settings
    for name, value in running.client_environment.items():
        print(f"export {name}={value}")
    return 0


def demo(settings: Settings, options: argparse.Namespace) -> int:
    """Run the simulated or live market for some minutes and certify it."""
    from sandbox.demo import run_demo

    seconds = options.minutes * 60
    if settings.run_up >= seconds:
        raise SettingsError(
            f"--run-up: {settings.run_up} s do not fit into {seconds:g} s; give more --minutes"
        )
    return run_demo(
        settings,
        seconds=seconds,
        fresh=options.fresh,
        leave=options.exit,
        output=options.json,
        reference_klines=(),
        faults=checked_script(settings, options.faults, seconds) if options.faults else None,
    )


def checked_script(settings: Settings, path: Path, seconds: float) -> Path:
    """Return the path of a fault script that is right and fits into a demo.

    Raises:
        SettingsError: it is wrong, longer than the demo, or asks for what is not there.
    """
    from sandbox.faults.script import BROKER, EXCHANGE, ScriptError, read_script

    try:
        script = read_script(path)
    except ScriptError as error:
        raise SettingsError(str(error)) from None
    needed = settings.run_up + script.lasts_seconds
    if needed > seconds:
        raise SettingsError(
            f"--faults: {path} lasts {needed:g} s and the demo {seconds:g} s; give more --minutes"
        )
    places = {each.place for each in script.injections}
    if BROKER in places and settings.pubsub != "embedded":
        raise SettingsError(
            f"SANDBOX_PUBSUB: {path} breaks the broker, which only the embedded one lets happen,"
            f" was {settings.pubsub!r}; use --pubsub embedded"
        )
    if EXCHANGE in places and settings.exchange_url is None:
        raise SettingsError(
            f"SANDBOX_EXCHANGE: {path} breaks the exchange, which only the simulated one lets"
            f" happen, was {settings.exchange!r}"
        )
    return path


def faults(settings: Settings, options: argparse.Namespace) -> int:
    """Run a fault script against the running sandbox; code 1 when a fault could not be injected."""
    from sandbox.faults.run import INJECTIONS_FILE, Runner, Target
    from sandbox.faults.script import ScriptError, read_script

    try:
        script = read_script(options.file)
    except ScriptError as error:
        raise SettingsError(str(error)) from None
    state = lifecycle.find(settings)
    if state is None:
        print("not running; start it with `python -m sandbox up`", file=sys.stderr)
        return 1
    time.sleep(options.wait)
    runner = Runner(
        script,
        Target(Settings.from_document(state.settings)),
        settings.home / INJECTIONS_FILE,
        notice=lambda injected: print(injected.sentence, flush=True),
    )
    return 1 if any(injected.error for injected in runner.run()) else 0


def chaos(settings: Settings, options: argparse.Namespace) -> int:
    """Run a campaign of seeded random faults and prove that nothing was lost."""
    from sandbox.chaos.campaign import run_campaign
    from sandbox.chaos.plan import Plan
    from sandbox.faults.script import ScriptError, read_script

    try:
        script = read_script(options.script) if options.script else None
    except ScriptError as error:
        raise SettingsError(str(error)) from None
    plan = Plan(
        first=options.first,
        seeds=options.seeds,
        seconds=options.seconds,
        rate=options.rate,
        kill=options.kill,
        script=script,
        home=settings.home / "chaos",
        keep=options.keep,
    )
    return run_campaign(settings, plan, options.json)


def replay(settings: Settings, options: argparse.Namespace) -> int:
    """Run recordings through the platform and certify them."""
    from sandbox.demo import run_demo

    return run_demo(
        settings,
        seconds=None,
        fresh=options.fresh,
        leave=options.exit,
        output=options.json,
        reference_klines=tuple(path.absolute() for path in options.klines or ()),
    )


def verify(settings: Settings, options: argparse.Namespace) -> int:
    """Compare socket, archive, tables and marts by symbol and minute, then all candles."""
    from sandbox.verify import verify_stages

    state = lifecycle.find(settings)
    if state is None:
        print("not running; start it with `python -m sandbox up`", file=sys.stderr)
        return 1
    return verify_stages(Settings.from_document(state.settings), state, options.since)


_COMMANDS: Final = {
    "up": up,
    "down": down,
    "status": status,
    "env": env,
    "demo": demo,
    "replay": replay,
    "verify": verify,
    "faults": faults,
    "chaos": chaos,
}


class StartProgress:
    """Prints each service's change of phase once, while the sandbox starts."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def __call__(self, state: State) -> None:
        """Print what changed since the last call."""
        for service in state.services:
            if self._seen.get(service.name) != service.phase and service.phase != "waiting":
                print(f"  {service.name:<12}{service.phase:<10} {service.address}", flush=True)
            self._seen[service.name] = service.phase


def print_addresses(settings: Settings, state: State) -> None:
    """Print where everything is."""
    for service in state.services:
        if service.address:
            print(f"  {service.name:<12}{service.address}")
    print(f"  {'logs':<12}{settings.home / 'logs'}")
    print('For ordinary clients: eval "$(python -m sandbox env)", which exports')
    for name, value in settings.client_environment.items():
        print(f"  {name}={value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        summary = (command.__doc__ or "").splitlines()[0]
        _add_flags(name, commands.add_parser(name, help=summary, description=summary))
    internal = commands.add_parser("supervise")
    internal.add_argument("--settings", required=True)
    internal.add_argument("--run", required=True)
    internal.add_argument("--owner", type=int)
    return parser


def _add_flags(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", dest="SANDBOX_HOME", help="folder of logs, state and data")
    if name == "status":
        parser.add_argument("--json", dest="as_json", action="store_true")
    if name == "verify":
        parser.add_argument(
            "--since", type=_time, metavar="TIME", help="as in 2026-01-31T12:00; default: all"
        )
    if name == "faults":
        parser.add_argument("file", type=Path, metavar="FILE", help="docs/reliability.md")
        parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="at first")
    if name == "chaos":
        _add_chaos_flags(parser)
    if name not in ("up", "demo", "replay"):
        return
    _add_run_flags(parser)
    yes = argparse.BooleanOptionalAction
    parser.add_argument(
        "--fresh", action=yes, default=name != "up", help="remove the data of earlier runs first"
    )
    if name == "up":
        parser.add_argument("--detach", action="store_true", help="outlive this terminal")
        return
    parser.add_argument("--exit", action="store_true", help="stop all after the certificate")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the certificate here too")
    if name == "demo":
        parser.add_argument("--minutes", type=_minutes, default=3.0, help="default: 3")
        parser.add_argument(
            "--run-up",
            dest="SANDBOX_RUN_UP",
            metavar="SECONDS",
            help=f"of the minutes, for the market's day before; 0: none; default: {_RUN_UP}"
            f" from {_MINUTES_WITH_RUN_UP} minutes on",
        )
        parser.add_argument(
            "--faults",
            type=Path,
            nargs="?",
            const=DEMO_FAULTS,
            metavar="FILE",
            help="break things by a fault script (docs/reliability.md); default: some of each kind",
        )
    else:
        parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
        parser.add_argument("--klines", type=Path, nargs="+", metavar="CSV")


def _add_chaos_flags(parser: argparse.ArgumentParser) -> None:
    from sandbox.chaos.plan import KILLABLE

    add = parser.add_argument
    add("--seeds", type=_count, default=1, help="how many; default: 1")
    add("--first", type=_count, default=1, metavar="SEED", help="default: 1")
    add("--seconds", type=_seconds, default=40.0, help="of market under faults; default: 40")
    add("--rate", type=_count, default=200, help="trades a second; default: 200")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kill", choices=KILLABLE, help="kill this process, and nothing else")
    what.add_argument("--script", type=Path, metavar="FILE", help="this fault script every time")
    add("--keep", action="store_true", help="keep the data and logs of seeds that passed")
    add("--json", type=Path, metavar="OUT", help="write the report here too")


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pubsub", dest="SANDBOX_PUBSUB", choices=PUBSUB_CHOICES)
    add("--exchange", dest="SANDBOX_EXCHANGE", choices=EXCHANGES)
    add("--transport", dest="SANDBOX_TRANSPORT", choices=TRANSPORTS)
    add("--collectors", dest="SANDBOX_COLLECTORS", choices=("1", "2"), help="default: 1")
    add("--tables", dest="SANDBOX_TABLES", choices=TABLE_PLACES, help="default: memory")
    add("--symbols", dest="SANDBOX_SYMBOLS", help="as in BTCUSDT,ETHUSDT; default: all")
    add("--channels", dest="SANDBOX_CHANNELS", help="as in trade,kline_1m")
    add("--market-size", dest="SANDBOX_MARKET_SIZE", help="simulated symbols; default: 50")
    add("--rate", dest="SANDBOX_RATE", help="simulated trades a second; default: 1000")
    add("--speed", dest="SANDBOX_SPEED", help="of the exchange's clock; default: 1")
    add("--seed", dest="SANDBOX_SEED", help="of the simulated market; default: 1")
    add(
        "--no-airflow",
        dest="SANDBOX_AIRFLOW",
        action="store_const",
        const=OFF,
        help="without Airflow: half the memory, and dbt runs beside",
    )
    add("--ports", dest=PORTS_SETTING, choices=("fixed", "auto"), help="auto: any free ones")
    for port in fields(Ports):
        flag = f"--{port.name.replace('_', '-')}-port"
        add(flag, dest=Ports.setting(port.name), help=f"default: {port.default}", metavar="PORT")


def _time(text: str) -> datetime:
    """Read a time in UTC, cut to its minute."""
    try:
        time = datetime.fromisoformat(text).replace(second=0, microsecond=0)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a time like 2026-01-31T12:00, was {text!r}"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1_000_000):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, was {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 15 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds from 15 to 3600, was {text}")
    return seconds


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < 24 * 60:
        raise argparse.ArgumentTypeError(f"expected minutes above 0 and below a day, was {text}")
    return minutes
