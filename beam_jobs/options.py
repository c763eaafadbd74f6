"""Options of the streaming job; all mistakes are reported together."""

from __future__ import annotations

import argparse
import os
import re
from typing import Final

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

_SUBSCRIPTION: Final = re.compile(r"projects/[^/]+/subscriptions/[A-Za-z][\w.~%+-]{2,254}")
_BUCKET: Final = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])/?")
# The image knows its own name by this; so a template's workers run the image that launched them.
IMAGE: Final = "BEAM_JOBS_IMAGE"


class OptionsError(ValueError):
    """One or more options are wrong; the text has a line for each."""


class StreamOptions(PipelineOptions):
    """Where frames come from and where they go."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--subscription", help="projects/PROJECT/subscriptions/NAME that frames are read from"
        )
        parser.add_argument("--archive", help="gs://BUCKET that raw frames are archived in")
        parser.add_argument(
            "--dataset_location", default="US", help="location of datasets that have to be made"
        )
        parser.add_argument(
            "--archive_seconds",
            type=int,
            default=60,
            help="how long frames are gathered into one archive object (default 60)",
        )
        parser.add_argument(
            "--archive_shards",
            type=int,
            default=1,
            help="objects written at once for one folder (default 1; more for Dataflow)",
        )
        parser.add_argument(
            "--resume_seconds",
            type=int,
            default=300,
            help="DirectRunner only: how far before what is durable to read again at start",
        )
        parser.add_argument(
            "--health_port", type=int, help="serve /healthz on this port while the job runs"
        )
        parser.add_argument(
            "--health_host",
            default="127.0.0.1",
            help="address of /healthz (default 127.0.0.1); 0.0.0.0 in a container",
        )


def archive_bucket(options: StreamOptions) -> str:
    """Return the bucket of `--archive`."""
    match = _BUCKET.fullmatch(options.archive or "")
    if match is None:
        raise OptionsError(f"--archive: expected gs://BUCKET, was {options.archive!r}")
    return match[1]


def name_direct_runner(options: PipelineOptions) -> bool:
    """Return whether this is the DirectRunner; name it by its class, or Beam downloads another."""
    standard = options.view_as(StandardOptions)
    is_direct = standard.runner in (None, "DirectRunner")
    if is_direct:
        standard.runner = "BundleBasedDirectRunner"
    return is_direct


def name_image(options: PipelineOptions) -> None:
    """Let Dataflow's workers run the image that this process runs in, where none is named."""
    workers = options.view_as(WorkerOptions)
    if options.view_as(StandardOptions).runner == "DataflowRunner":
        workers.sdk_container_image = workers.sdk_container_image or os.environ.get(IMAGE)


def mistakes_on_dataflow(options: PipelineOptions) -> list[str]:
    """Return what Dataflow would find out only on its workers, a line each."""
    is_dataflow = options.view_as(StandardOptions).runner == "DataflowRunner"
    if not is_dataflow or options.view_as(WorkerOptions).sdk_container_image:
        return []
    return [
        "--sdk_container_image: expected the jobs' image, was nothing; in Beam's own image workers"
        " find neither our code nor its packages"
    ]


def check(options: PipelineOptions) -> None:
    """Check all options.

    Raises:
        OptionsError: naming every option that is wrong, its value and the remedy.
    """
    stream = options.view_as(StreamOptions)
    mistakes = []
    if not _SUBSCRIPTION.fullmatch(stream.subscription or ""):
        mistakes.append(
            "--subscription: expected projects/PROJECT/subscriptions/NAME,"
            f" was {stream.subscription!r}"
        )
    try:
        archive_bucket(stream)
    except OptionsError as error:
        mistakes.append(str(error))
    if not options.view_as(GoogleCloudOptions).project:
        mistakes.append("--project: expected the project of the tables, was nothing")
    for name, value, lowest, highest in (
        ("--archive_seconds", stream.archive_seconds, 1, 3600),
        ("--archive_shards", stream.archive_shards, 1, 1000),
        ("--resume_seconds", stream.resume_seconds, 0, 7 * 86_400),
        ("--health_port", 1 if stream.health_port is None else stream.health_port, 1, 65_535),
    ):
        if not lowest <= value <= highest:
            mistakes.append(f"{name}: expected {lowest} to {highest}, was {value}")
    is_dataflow = options.view_as(StandardOptions).runner == "DataflowRunner"
    if not is_dataflow and stream.archive_seconds > stream.resume_seconds:
        mistakes.append(
            f"--archive_seconds: expected at most --resume_seconds ({stream.resume_seconds}), was"
            f" {stream.archive_seconds}; else a restart would not archive again what was lost"
        )
    mistakes += mistakes_on_dataflow(options)
    if mistakes:
        raise OptionsError("\n".join(mistakes))
