"""The templates' parameters are the jobs' options, and what a job takes, its template takes."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
from google.cloud.dataflow import TemplateMetadata

from beam_jobs.options import OptionsError, StreamOptions, check
from beam_jobs.replay_options import ReplayOptions, check_replay
from beam_jobs.template import job_of
from market_data.channels import CHANNELS
from plugins.market_ops.archive.replay import job_options, proof_name
from plugins.market_ops.settings import Settings
from sandbox.settings import ROOT


@dataclass(frozen=True)
class Template:
    """A template and its job.

    Attributes:
        file: the template.
        module: of the job that the image starts.
        options: the job's own.
        left_out: those of them that a template does not take: of a process of its own, or of the
            other job.
        needed: options that have no default that would do.
        good: what both take.
        check: raises an error for what the job does not take.
    """

    file: str
    module: str
    options: tuple[type[PipelineOptions], ...]
    left_out: frozenset[str]
    needed: frozenset[str]
    good: dict[str, str]
    check: Callable[[PipelineOptions], object]

    @property
    def text(self) -> str:
        return (ROOT / "beam_jobs" / self.file).read_text("utf-8")

    @property
    def parameters(self) -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(self.text)["parameters"]}

    def takes(self, name: str, value: str) -> bool:
        return all(re.search(regex, value) for regex in self.parameters[name]["regexes"])

    def job_takes(self, name: str, value: str) -> bool:
        given = {**self.good, name: value}
        arguments = [f"--{each}={text}" for each, text in given.items()]
        options = PipelineOptions(["--runner=DataflowRunner", "--project=my-project", *arguments])
        try:
            self.check(options)
        except OptionsError:
            return False
        return True


COMMON = {
    "archive": "gs://archive",
    "sdk_container_image": "europe-west1-docker.pkg.dev/my-project/images/beam:1",
}
STREAM = Template(
    file="flex_template.json",
    module="beam_jobs.stream_trades",
    options=(StreamOptions,),
    left_out=frozenset({"resume_seconds", "health_port", "health_host"}),
    needed=frozenset({"subscription", "archive"}),
    good={**COMMON, "subscription": "projects/my-project/subscriptions/frames"},
    check=check,
)
REPLAY = Template(
    file="replay_template.json",
    module="beam_jobs.replay_archive",
    options=(StreamOptions, ReplayOptions),
    left_out=STREAM.left_out | {"subscription", "archive_seconds", "archive_shards"},
    needed=frozenset({"archive", "first", "last"}),
    good={**COMMON, "first": "2026-03-01T17", "last": "2026-03-01T18"},
    check=lambda options: check_replay(options, datetime(2026, 3, 2, tzinfo=UTC)),
)
BOTH = pytest.mark.parametrize("template", [STREAM, REPLAY], ids=lambda each: each.module)


def options_of(*groups: type[PipelineOptions]) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    for group in groups:
        group._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


@BOTH
def test_dataflow_reads_it(template: Template) -> None:
    read = TemplateMetadata.from_json(template.text)
    assert bool(read.streaming) is (template is STREAM)
    assert [each.name for each in read.parameters] == list(template.parameters)


@BOTH
def test_each_option_is_a_parameter(template: Template) -> None:
    options = options_of(*template.options)
    assert set(template.parameters) - {"sdk_container_image"} == set(options) - template.left_out
    assert "sdk_container_image" in options_of(WorkerOptions)
    for name, parameter in template.parameters.items():
        assert set(parameter) - {"defaultValue"} == {
            *("name", "label", "helpText", "paramType", "isOptional", "regexes"),
        }, name
        assert parameter["isOptional"] is (name not in template.needed)
        if name in options:
            option = options[name]
            default = None if option.default is None else str(option.default)
            assert parameter["helpText"] == option.help
            assert parameter.get("defaultValue") == default
            assert (parameter["paramType"] == "NUMBER") is (option.type is int)


@BOTH
def test_the_image_starts_the_templates_job(template: Template) -> None:
    assert job_of([f"--{name}={value}" for name, value in template.good.items()]) == template.module


@BOTH
def test_what_is_good_is_taken(template: Template) -> None:
    for name, value in template.good.items():
        assert template.takes(name, value), name
        assert template.job_takes(name, value), name


@pytest.mark.parametrize(
    ("template", "name", "values"),
    [
        (STREAM, "subscription", [STREAM.good["subscription"], "frames", "projects/p/topics/f"]),
        (STREAM, "subscription", ["", "projects/p/subscriptions/ab", "projects/p/topics/1abc"]),
        (STREAM, "archive", ["gs://archive", "gs://archive/", "gs://a", "gs://b/folder", "b", ""]),
        (STREAM, "archive_seconds", ["0", "1", "60", "999", "1000", "3599", "3600", "3601"]),
        (STREAM, "archive_shards", ["0", "1", "999", "1000", "1001"]),
        (STREAM, "sdk_container_image", [COMMON["sdk_container_image"], ""]),
        (REPLAY, "archive", ["gs://archive", "gs://archive/", "gs://a", "gs://b/folder", "b", ""]),
        (REPLAY, "first", ["2026-03-01T17", "2026-03-01", "17", "", "2026-03-01T17:00"]),
        (REPLAY, "last", ["2026-03-01T18", "2026-03-01 18", ""]),
        (REPLAY, "tables", ["", "replayed", "r2", "1r", "a-b", "x" * 101]),
        (REPLAY, "sdk_container_image", [COMMON["sdk_container_image"], ""]),
    ],
)
def test_the_template_takes_what_the_job_takes(
    template: Template, name: str, values: list[str]
) -> None:
    for value in values:
        assert template.takes(name, value) is template.job_takes(name, value), value


@pytest.mark.parametrize("tables", [None, "replayed"])
def test_the_template_takes_what_the_dag_gives(tables: str | None) -> None:
    params = {
        **{"first": "2026-03-01T17", "last": "2026-03-01T18", "tables": tables},
        "channels": [*CHANNELS],
        "symbols": ["BTCUSDT", "1INCHUSDT", "币安人生USDT"],
    }
    proof = proof_name("manual__2026-03-01T17:00:00+00:00", 1)
    given = job_options(Settings(project="my-project", bucket="archive"), params, proof)
    # Dataflow gives the job its project.
    for name, value in given.items():
        if name != "project":
            assert REPLAY.takes(name, value), name
            assert REPLAY.job_takes(name, value), name


def test_the_image_starts_what_tells_jobs_apart() -> None:
    dockerfile = (ROOT / "images" / "beam" / "Dockerfile").read_text("utf-8")
    assert "FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/app/beam_jobs/template.py" in dockerfile
