"""`python -m beam_jobs.stream_trades`: frames from Pub/Sub to Cloud Storage and BigQuery.

What acknowledges when. Dataflow acknowledges a message when its bundle is committed, that is
after its rows are in BigQuery and it lies in the archive's grouping state. DirectRunner
acknowledges when it reads; so the subscription keeps acknowledged messages, and at start the job
seeks back before the first frame that is not both in the ledger and in the archive
(`beam_jobs.resume`). Either way a frame may come twice and never not at all; ids and frame ids make
the repetition harmless.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io import ReadFromPubSub
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from beam_jobs.archive import ArchiveFrames, WriteUnreadable
from beam_jobs.frames import FRAMES, REJECTIONS, UNREADABLE, OpenFrames
from beam_jobs.health import serve_health
from beam_jobs.load import LoadFrames, LoadRejections
from beam_jobs.options import (
    OptionsError,
    StreamOptions,
    archive_bucket,
    check,
    name_direct_runner,
    name_image,
)
from beam_jobs.resume import seek_back
from beam_jobs.tables import create_tables


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> None:
    """Put the job's transforms into `pipeline`."""
    stream = options.view_as(StreamOptions)
    project = options.view_as(GoogleCloudOptions).project
    bucket = archive_bucket(stream)

    messages = pipeline | "Read messages" >> ReadFromPubSub(
        subscription=stream.subscription, with_attributes=True
    )
    opened = messages | "Open frames" >> _outputs(
        OpenFrames(bucket), FRAMES, REJECTIONS, UNREADABLE
    )
    loaded = opened[FRAMES] | "Load rows" >> _outputs(LoadFrames(project), "", REJECTIONS)

    opened[FRAMES] | "Archive frames" >> ArchiveFrames(
        bucket=bucket,
        project=project,
        seconds=stream.archive_seconds,
        shards=stream.archive_shards,
    )
    opened[UNREADABLE] | "Archive unreadable" >> beam.ParDo(WriteUnreadable(bucket, project))
    (
        (opened[REJECTIONS], loaded[REJECTIONS])
        | "All rejections" >> beam.Flatten()
        | "Load rejections" >> beam.ParDo(LoadRejections(project))
    )


def _outputs(step: beam.DoFn, main: str, *tags: str) -> Any:
    return beam.ParDo(step).with_outputs(*tags, main=main or "nothing")


def main(arguments: Sequence[str]) -> int:
    """Run the job until it is stopped; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
    options = PipelineOptions(list(arguments))
    # It reads without end, and the launcher of a template can't give a flag without a value.
    options.view_as(StandardOptions).streaming = True
    name_image(options)
    try:
        check(options)
    except OptionsError as error:
        print(error, file=sys.stderr)
        return 2
    stream = options.view_as(StreamOptions)
    project = options.view_as(GoogleCloudOptions).project
    create_tables(project, stream.dataset_location)
    if name_direct_runner(options):
        seek_back(project, stream.subscription, archive_bucket(stream), stream.resume_seconds)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options)
    result = pipeline.run()
    with serve_health(stream.health_host, stream.health_port, lambda: str(result.state)):
        result.wait_until_finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
