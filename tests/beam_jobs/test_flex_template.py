"""The template's parameters are the job's options, and what it takes, the job takes."""

import argparse
import json
import re
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
from google.cloud.dataflow import TemplateMetadata

from beam_jobs.options import OptionsError, StreamOptions, check
from sandbox.settings import ROOT

TEXT = (ROOT / "beam_jobs" / "flex_template.json").read_text("utf-8")
TEMPLATE: dict[str, Any] = json.loads(TEXT)
PARAMETERS = {each["name"]: each for each in TEMPLATE["parameters"]}
# Options of a job that runs as a process of its own.
ONLY_HERE = {"resume_seconds", "health_port"}
GOOD = {
    "subscription": "projects/my-project/subscriptions/frames",
    "archive": "gs://archive",
    "sdk_container_image": "europe-west1-docker.pkg.dev/my-project/images/beam:1",
}


def options_of(group: type[PipelineOptions]) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    group._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


def is_taken_by_the_template(name: str, value: str) -> bool:
    return all(re.search(regex, value) for regex in PARAMETERS[name]["regexes"])


def is_taken_by_the_job(name: str, value: str) -> bool:
    given = {**GOOD, name: value}
    arguments = [f"--{each}={text}" for each, text in given.items()]
    options = PipelineOptions(["--runner=DataflowRunner", "--project=my-project", *arguments])
    try:
        check(options)
    except OptionsError:
        return False
    return True


def test_dataflow_reads_it() -> None:
    read = TemplateMetadata.from_json(TEXT)
    assert read.streaming
    assert [each.name for each in read.parameters] == list(PARAMETERS)


def test_each_option_is_a_parameter() -> None:
    options = options_of(StreamOptions)
    assert set(PARAMETERS) - {"sdk_container_image"} == set(options) - ONLY_HERE
    assert "sdk_container_image" in options_of(WorkerOptions)
    for name, parameter in PARAMETERS.items():
        assert set(parameter) - {"defaultValue"} == {
            *("name", "label", "helpText", "paramType", "isOptional", "regexes"),
        }, name
        if name in options:
            option = options[name]
            default = None if option.default is None else str(option.default)
            assert parameter["helpText"] == option.help
            assert parameter.get("defaultValue") == default
            assert parameter["isOptional"] is (default is not None)
            assert (parameter["paramType"] == "NUMBER") is (option.type is int)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("subscription", [GOOD["subscription"], "frames", "projects/p/topics/frames", ""]),
        ("subscription", ["projects/p/subscriptions/ab", "projects/p/subscriptions/1abc"]),
        ("archive", ["gs://archive", "gs://archive/", "gs://a", "gs://b/folder", "archive", ""]),
        ("archive_seconds", ["0", "1", "60", "999", "1000", "3599", "3600", "3601", "9999"]),
        ("archive_shards", ["0", "1", "999", "1000", "1001"]),
        ("sdk_container_image", [GOOD["sdk_container_image"], ""]),
    ],
)
def test_the_template_takes_what_the_job_takes(name: str, values: list[str]) -> None:
    for value in values:
        assert is_taken_by_the_template(name, value) is is_taken_by_the_job(name, value), value
