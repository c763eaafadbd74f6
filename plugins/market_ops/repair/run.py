"""What the DAG `repair_gaps` does: find holes, fetch and publish, look for the frames, record.

What one task hands to the next is plain JSON; a task that is repeated makes the same frames again,
as ids and order come from the plan, and copies of a trade are removed by its id.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from ..backfill.rows import Mangled
from ..backfill.vision import Vision, VisionError
from ..settings import CONNECTION, Settings
from . import ledger
from .budget import Banned, Budget
from .fetch import Api, Fetched, from_archive, from_rest
from .frames import MARKET, Message, UnusableTrades, seal
from .holes import FAILED, HEALED, Hole, Part, parts, plan, runs
from .rest import Rest, SourceError

if TYPE_CHECKING:
    from google.cloud import bigquery

logger = logging.getLogger(__name__)

# A run uses 25 for each 1,000 ids and 29 more a hole: about what one minute's budget allows.
MAX_HOLES: Final = 50
MAX_IDS: Final = 100_000
# Until when Binance refuses this address; a run that knows does not ask.
BAN_VARIABLE: Final = "market_ops_exchange"

Json = dict[str, Any]


class RepairFailed(Exception):
    """Something could not be repaired; names each hole, why, and the remedy."""


def find(
    client: bigquery.Client,
    now: datetime,
    *,
    symbol: str | None = None,
    first_id: int | None = None,
    last_id: int | None = None,
    day: str | None = None,
) -> Json | None:
    """Return the plan of a run; None when there is nothing to do.

    Args:
        client: of the marts' project.
        now: the run's start.
        symbol: repair a range of this symbol, whatever the marts show.
        first_id: first id of the range.
        last_id: last id of the range, inclusive.
        day: UTC day of the range, for the archive.

    Raises:
        RepairFailed: the range is not one.
    """
    if symbol or first_id is not None or last_id is not None:
        chosen = [_by_hand(symbol, first_id, last_id, day)]
    else:
        holes, attempts = ledger.open_holes(client, now), ledger.attempts(client, now)
        chosen = plan(holes, attempts, now, max_holes=MAX_HOLES, max_ids=MAX_IDS)
        logger.info("%d holes are open, this run takes %d", len(holes), len(chosen))
    if not chosen:
        return None
    return {
        "epoch": _microseconds(now),
        "found_at": now.isoformat(),
        "holes": [_to_json(hole) for hole in chosen],
    }


def _by_hand(
    symbol: str | None, first_id: int | None, last_id: int | None, day: str | None
) -> Hole:
    if not symbol or first_id is None or last_id is None:
        raise RepairFailed("symbol, first_id and last_id: give all three, or none")
    if not 0 <= first_id <= last_id < first_id + MAX_IDS:
        raise RepairFailed(
            f"first_id, last_id: expected a range of 1 to {MAX_IDS} ids, was {first_id} to"
            f" {last_id}; for more give parts of it, or run backfill_history for the days"
        )
    hole = Hole(symbol=symbol, first_id=first_id, last_id=last_id)
    if not day:
        return hole
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return replace(hole, before=start, after=start + timedelta(days=1, microseconds=-1))


def fetch(
    told: Json,
    *,
    api: Api,
    vision: Vision,
    folder: Path,
    publish: Callable[[Sequence[Message]], None],
    clock: Callable[[], float] = time.time,
) -> Json:
    """Fetch the plan's holes, one after another, and publish their trades.

    A hole that no source serves is noted, and the next one taken. REST is left alone from the
    moment it says that the address is banned.

    Args:
        told: the plan.
        api: REST.
        vision: the archive.
        folder: where its files are kept during the run.
        publish: sends frames and returns when the topic has them.
        clock: Unix seconds.

    Returns:
        `holes`, each with its `source`, `frames` (id, ranges of trade ids, number of trades),
        `absent` parts and `why`; `banned_until` (Unix seconds, 0 without a ban).
    """
    done: list[Json] = []
    sequence, banned_until = 1, 0.0
    for row in told["holes"]:
        hole = _from_json(row)
        found, ban = _fetched(hole, api, vision, folder)
        banned_until = max(banned_until, ban)
        try:
            messages = [
                *seal(
                    hole.symbol,
                    found.trades,
                    source=found.source,
                    epoch=told["epoch"],
                    sequence=sequence,
                    received_at=int(clock() * 1_000_000),
                )
            ]
        except UnusableTrades as error:
            messages, found = [], replace(found, trades=[], why=str(error))
        publish(messages)
        sequence += len(messages)
        logger.info(
            "%s %d to %d: %d trades from %s in %d frames, %d ranges absent; %s",
            *(hole.symbol, hole.first_id, hole.last_id, len(found.trades), found.source or "-"),
            *(len(messages), len(found.absent), found.why or "complete"),
        )
        done.append(
            {
                **row,
                "source": found.source,
                "frames": _frames(messages, found),
                "absent": [asdict(part) for part in found.absent],
                "why": found.why,
            }
        )
    return {"holes": done, "banned_until": banned_until}


def _fetched(hole: Hole, api: Api, vision: Vision, folder: Path) -> tuple[Fetched, float]:
    """Return the best that the sources have of a hole, and the end of a ban, else 0.

    The archive is asked when REST leaves something open.
    """
    best, problems, banned_until = Fetched(source="", trades=[]), [], 0.0
    for source in (partial(from_rest, api), partial(from_archive, vision, folder)):
        try:
            found = source(hole)
        except Banned as error:
            banned_until = error.until
            problems.append(f"REST: banned until {_time(error.until).isoformat()}")
        except (SourceError, VisionError, Mangled) as error:
            problems.append(str(error))
        else:
            if not found.why:
                return found, banned_until
            problems.append(found.why)
            best = max(best, found, key=_settled)
    return replace(best, why="; ".join(problems)), banned_until


def _frames(messages: Sequence[Message], found: Fetched) -> list[Json]:
    """Return the frames of a hole's trades with the ids that each carries."""
    ids, frames = iter(found.trades), []
    for message in messages:
        carried = [trade.id for trade in islice(ids, message.trades)]
        frames.append({"id": message.frame_id, "ids": runs(carried), "trades": message.trades})
    return frames


def _settled(found: Fetched) -> int:
    return len(found.trades) + sum(part.last_id - part.first_id + 1 for part in found.absent)


def frame_ids(done: Json) -> list[str]:
    """Return the frames that were published."""
    return [frame["id"] for hole in done["holes"] for frame in hole["frames"]]


def records(
    run_id: str,
    told: Json,
    done: Json,
    loaded: Mapping[str, tuple[int, int]],
    now: datetime,
) -> list[ledger.Record]:
    """Return the rows of `ops.holes` for a run.

    Args:
        run_id: Airflow's id of the run.
        told: the plan.
        done: what `fetch` returned.
        loaded: rows loaded and lines rejected of the frames in `ops.frames`.
        now: when they were looked for.
    """
    found_at = datetime.fromisoformat(told["found_at"])
    rows: list[ledger.Record] = []
    for row in done["holes"]:
        hole = _from_json(row)
        good = [each for each in row["frames"] if loaded.get(each["id"]) == (each["trades"], 0)]
        lost = [each["id"] for each in row["frames"] if each not in good]
        why = [row["why"]] if row["why"] else []
        why += [_not_loaded(name, loaded) for name in lost]
        healed = [(first, last) for each in good for first, last in each["ids"]]
        absent = [Part(**each) for each in row["absent"]]
        rows += [
            ledger.Record(
                run_id=run_id,
                market=MARKET,
                symbol=hole.symbol,
                first_missing_id=part.first_id,
                last_missing_id=part.last_id,
                missing=part.last_id - part.first_id + 1,
                found_at=found_at,
                closed_at=None if part.outcome == FAILED else now,
                outcome=part.outcome,
                source=row["source"] if part.outcome == HEALED else "",
                witnesses=part.witnesses,
                frames=", ".join(_carriers(part, good)) if part.outcome == HEALED else "",
                detail=part.detail,
                received_at=now,
                loaded_at=now,
            )
            for part in parts(hole, healed, absent, "; ".join(why))
        ]
    return rows


def _not_loaded(name: str, loaded: Mapping[str, tuple[int, int]]) -> str:
    if name not in loaded:
        return f"frame {name} is not in ops.frames: see whether the streaming job runs"
    count, rejected = loaded[name]
    return f"frame {name}: {count} rows were loaded and {rejected} lines rejected"


def _carriers(part: Part, frames: Sequence[Json]) -> list[str]:
    return [
        each["id"]
        for each in frames
        if any(first <= part.last_id and last >= part.first_id for first, last in each["ids"])
    ]


def judge(done: Json, rows: Sequence[ledger.Record]) -> Json:
    """Return a summary for people.

    Raises:
        RepairFailed: a hole failed for the first time, or this run was banned. A hole that failed
            before is in the log, in `ops.holes` and in watch_stream's stage `holes`.
    """
    failed = [row for row in rows if row.outcome == FAILED]
    for row in failed:
        logger.warning("%s", _sentence(row))
    told = [row for row in failed if _is_news(row, done["holes"])]
    lines = [_sentence(row) for row in told]
    if done["banned_until"]:
        lines.append(
            f"REST: this address is banned until {_time(done['banned_until']).isoformat()};"
            " nothing asks before. Find out what else uses the address"
        )
    if lines:
        raise RepairFailed("\n".join(lines))
    ids = dict.fromkeys({row.outcome for row in rows}, 0)
    for row in rows:
        ids[row.outcome] += row.missing
    return {"holes": len(done["holes"]), "ids": ids}


def _sentence(row: ledger.Record) -> str:
    return f"{row.symbol} {row.first_missing_id} to {row.last_missing_id}: {row.detail}"


def _is_news(row: ledger.Record, holes: Sequence[Json]) -> bool:
    return any(
        hole["is_news"]
        for hole in holes
        if hole["symbol"] == row.symbol
        and hole["first_id"] <= row.first_missing_id <= hole["last_id"]
    )


def fetch_and_publish(told: Json, settings: Settings) -> Json:
    """Fetch and publish under the settings; a ban is kept in a Variable for the runs to come."""
    from airflow.sdk import Variable

    known = Variable.get(BAN_VARIABLE, default={}, deserialize_json=True)
    known_until = float(known.get("banned_until", 0))
    with httpx.Client(follow_redirects=True) as client, tempfile.TemporaryDirectory() as folder:
        done = fetch(
            told,
            api=Rest(settings.exchange_url, Budget(banned_until=known_until), client),
            vision=Vision(settings.vision_url, client),
            folder=Path(folder),
            publish=publisher(settings),
        )
    if done["banned_until"] > known_until:
        Variable.set(BAN_VARIABLE, {"banned_until": done["banned_until"]}, serialize_json=True)
        return done
    return done | {"banned_until": 0.0}  # people were told by the run that was banned


def all_loaded(client: bigquery.Client, told: Json, done: Json) -> bool:
    """Tell whether all frames of a run are in `ops.frames`."""
    names = frame_ids(done)
    found = _loaded(client, told, names)
    logger.info("%d of %d frames are loaded", len(found), len(names))
    return len(found) == len(names)


def record(client: bigquery.Client, run_id: str, told: Json, done: Json) -> Json:
    """Append what became of the holes to `ops.holes`, and judge it.

    Raises:
        RepairFailed: as `judge`.
    """
    found = _loaded(client, told, frame_ids(done))
    rows = records(run_id, told, done, found, datetime.now(UTC))
    ledger.append(client, rows)
    return judge(done, rows)


def _loaded(client: bigquery.Client, told: Json, names: Sequence[str]) -> dict[str, Any]:
    return ledger.loaded(client, names, datetime.fromisoformat(told["found_at"])) if names else {}


def publisher(settings: Settings) -> Callable[[Sequence[Message]], None]:
    """Return what publishes frames to the settings' topic."""
    from airflow.providers.google.cloud.hooks.pubsub import PubSubHook

    hook = PubSubHook(gcp_conn_id=CONNECTION)

    def publish(messages: Sequence[Message]) -> None:
        if messages:
            hook.publish(
                project_id=settings.project,
                topic=settings.topic,
                messages=[{"data": each.data, "attributes": each.attributes} for each in messages],
            )

    return publish


def _to_json(hole: Hole) -> Json:
    times = {name: getattr(hole, name) for name in ("before", "after")}
    return asdict(hole) | {name: at.isoformat() if at else None for name, at in times.items()}


def _from_json(row: Json) -> Hole:
    times = {name: row[name] for name in ("before", "after")}
    return Hole(
        symbol=row["symbol"],
        first_id=row["first_id"],
        last_id=row["last_id"],
        is_news=row["is_news"],
        **{name: datetime.fromisoformat(at) if at else None for name, at in times.items()},
    )


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
