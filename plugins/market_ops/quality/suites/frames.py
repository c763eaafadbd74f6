"""The transport ledger."""

# ruff: noqa: S608 - what is put into SQL are constants of this module and times

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ..truths import PAIR_NULLS, Expectation, Suite, has_rows, is_fresh, no_rows
from ..window import DAY, Window, sql_time

# A frame that overtakes another one is seen within this; a missing one is lost.
SETTLED: Final = timedelta(minutes=2)
REJECTED_PER_MILLE: Final = 1


def frames(window: Window, stale_after: timedelta) -> Suite:
    """Return what must be true of the transport ledger.

    The batch begins a day earlier: a frame that was delayed has its neighbours there.
    """
    before = window.widened(DAY)
    return Suite(
        name="frames",
        table="ops.frames",
        query=(
            "select collector, epoch, sequence, frame_id, header_lines, lines, loaded_rows,"
            " ignored_lines, rejected_lines, loaded_at"
            f" from `ops`.`frames` where {before.holds('loaded_at')} and {window.is_settled}"
        ),
        keys=("collector", "epoch", "sequence"),
        expectations=(
            has_rows("frames", "Is the collector alive, the job running? See watch_stream."),
            is_fresh("loaded_at", window.end - stale_after, "frames"),
            no_rows(
                "sequences_are_consecutive",
                severity="fail",
                threshold="0 gaps",
                meaning="Frames of a collector's epoch are numbered without a gap: none was lost.",
                remedy=(
                    "Look for the numbers in the bucket; if they are there run replay_archive,"
                    " else repair_gaps."
                ),
                columns=("sequence",),
                sql=f"""
                with numbered as (
                    select collector, epoch, sequence, min(loaded_at) as loaded_at
                    from {{batch}} group by collector, epoch, sequence
                ),
                steps as (
                    select *, coalesce(
                        lag(sequence) over (partition by collector, epoch order by sequence),
                        if(timestamp_micros(epoch) >= {sql_time(before.start)}, 0, sequence - 1)
                    ) as previous
                    from numbered
                )
                select concat(
                    collector, ' epoch ', cast(epoch as string), ' lacks ',
                    cast(previous + 1 as string), ' to ', cast(sequence - 1 as string)
                ) as problem
                from steps
                where sequence > previous + 1
                    and loaded_at >= {sql_time(window.start)}
                    and loaded_at < {sql_time(window.end - SETTLED)}
                """,
            ),
            Expectation(
                name="frames_are_whole",
                kind="ExpectColumnPairValuesToBeEqual",
                severity="fail",
                threshold="lines = header_lines",
                meaning="A frame holds as many lines as its collector put in.",
                remedy="The frame was damaged on its way: run repair_gaps for its time.",
                columns=("lines", "header_lines"),
                arguments=PAIR_NULLS,
            ),
            no_rows(
                "lines_are_accounted_for",
                severity="fail",
                threshold="loaded + ignored + rejected = lines",
                meaning="Each line of a frame became a row, a rejection or was left out by name.",
                remedy="The job lost a line: keep the frame, run replay_archive, report the bug.",
                columns=("lines", "loaded_rows", "ignored_lines", "rejected_lines"),
                sql="""
                select concat(
                    frame_id, ' has ', cast(lines as string), ' lines, of which ',
                    cast(loaded_rows + ignored_lines + rejected_lines as string), ' are known'
                ) as problem
                from {batch} where loaded_rows + ignored_lines + rejected_lines != lines
                """,
            ),
            no_rows(
                "few_rejections",
                severity="warn",
                threshold=f"{REJECTED_PER_MILLE} of 1000 lines",
                meaning="Hardly a line is rejected; many are a change of the exchange's format.",
                remedy="Ask raw.rejections for reason and field; docs/errors.md explains each.",
                columns=("rejected_lines", "lines"),
                sql=f"""
                select concat(
                    cast(cast(sum(rejected_lines) as int64) as string), ' of ',
                    cast(cast(sum(lines) as int64) as string), ' lines rejected'
                ) as problem
                from {{batch}}
                having sum(rejected_lines) * 1000 > sum(lines) * {REJECTED_PER_MILLE}
                """,
            ),
        ),
    )
