"""`python -m beam_jobs.replay_archive`: rebuild raw tables from the archive, and prove it.

The batch twin of `beam_jobs.stream_trades`. It appends what the tables lack of the archive's
frames, so it may run at any time, twice, beside the streaming job, and after it was killed. What
it finds and leaves behind is written to the bucket as control totals; docs/replay.md explains it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.exceptions import NotFound

from beam_jobs.archive import UPLOAD_SECONDS, storage_client
from beam_jobs.compare import FrameCount
from beam_jobs.frames import REJECTIONS
from beam_jobs.load import LoadRejections
from beam_jobs.options import OptionsError, StreamOptions, name_direct_runner, name_image
from beam_jobs.read_archive import PROBLEMS, FindObjects, ReadObjects, hours_between
from beam_jobs.replay import BEFORE, FindMissing, LoadMissing, ProveHours, WriteProof, count
from beam_jobs.replay_options import Replay, check_replay
from beam_jobs.tables import create_tables


def build(pipeline: beam.Pipeline, project: str, replay: Replay) -> None:
    """Put the job's transforms into `pipeline`."""
    tables = (project, replay.dataset)
    hours = hours_between(replay.market, replay.channels, replay.first, replay.last)

    found = (
        pipeline
        | "Hours" >> beam.Create(hours)
        | "Find objects" >> _outputs(FindObjects(replay.bucket, project), PROBLEMS)
    )
    read = (
        found.main
        | "Spread objects" >> beam.Reshuffle()
        | "Read objects" >> _outputs(ReadObjects(replay.bucket, project), PROBLEMS)
    )
    # A frame may be in two objects.
    frames = (
        read.main
        | "Group by frame" >> beam.GroupByKey()
        | "Take each frame once" >> beam.Map(lambda group: next(iter(group[1])))
    )
    counted = frames | "Count frames" >> beam.Map(count, symbols=replay.symbols)
    empty: list[tuple[Any, FrameCount | None]] = [(hour, None) for hour in hours]
    by_hour = (
        (counted, pipeline | "Empty hours" >> beam.Create(empty))
        | "All hours" >> beam.Flatten()
        | "Group by hour" >> beam.GroupByKey()
    )
    missing = by_hour | "Find what is missing" >> _outputs(
        FindMissing(*tables, replay.symbols), BEFORE
    )
    loaded = frames | "Load rows" >> _outputs(
        LoadMissing(*tables, replay.symbols),
        REJECTIONS,
        missing=beam.pvalue.AsDict(_apart(missing.main, "Missing")),
    )
    replayed = beam.pvalue.AsIter(_apart(loaded.main, "Replayed"))
    loaded[REJECTIONS] | "Load rejections" >> beam.ParDo(LoadRejections(*tables))
    proofs = by_hour | "Prove hours" >> beam.ParDo(
        ProveHours(*tables),
        replayed=replayed,
        before=beam.pvalue.AsDict(_apart(missing[BEFORE], "Before")),
    )
    problems = (found[PROBLEMS], read[PROBLEMS]) | "All problems" >> beam.Flatten()
    (
        pipeline
        | "Once" >> beam.Create([None])
        | "Write proof"
        >> beam.ParDo(
            WriteProof(replay.bucket, project, replay.proof, replay.asked),
            hours=beam.pvalue.AsIter(proofs),
            problems=beam.pvalue.AsIter(problems),
            replayed=replayed,
        )
    )


def _outputs(step: beam.DoFn, *tags: str, **sides: Any) -> Any:
    return beam.ParDo(step, **sides).with_outputs(*tags, main="main")


def _apart(output: Any, label: str) -> Any:
    """Return one output of several by itself: as a side input DirectRunner would take all."""
    return output | label >> beam.Map(lambda element: element)


def main(arguments: Sequence[str]) -> int:
    """Replay, print the proof; returns the exit code: 0 proven, 1 not, 2 for wrong options."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
    options = PipelineOptions(list(arguments))
    name_image(options)
    try:
        replay = check_replay(options, datetime.now(UTC))
    except OptionsError as error:
        print(error, file=sys.stderr)
        return 2
    cloud = options.view_as(GoogleCloudOptions)
    create_tables(cloud.project, options.view_as(StreamOptions).dataset_location, replay.dataset)
    name_direct_runner(options)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, cloud.project, replay)
    pipeline.run().wait_until_finish()
    if cloud.template_location:
        return 0  # a template's launcher: the job has only begun
    return show_proof(cloud.project, replay)


def show_proof(project: str, replay: Replay) -> int:
    """Print the proof that the job has written, of its symbols those that differ."""
    blob = storage_client(project).bucket(replay.bucket).blob(replay.proof)
    try:
        proof = json.loads(blob.download_as_bytes(timeout=UPLOAD_SECONDS))
    except NotFound:
        print(f"gs://{replay.bucket}/{replay.proof}: the job has written no proof", file=sys.stderr)
        return 1
    different = [symbol for symbol in proof["symbols"] if not symbol["is_equal"]]
    print(json.dumps(proof | {"symbols": different}, indent=1, ensure_ascii=False))
    print(f"gs://{replay.bucket}/{replay.proof} has all symbols")
    return 0 if proof["is_proven"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
