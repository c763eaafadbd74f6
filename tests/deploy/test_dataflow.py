"""A job's outputs: every mistake is named before anything is touched; commands name the job."""

import json
from typing import Any

import pytest

from deploy.dataflow import (
    METADATA,
    REPLAY_METADATA,
    Job,
    build,
    build_replay,
    check_version,
    fingerprint,
    launch,
    parse_job,
    seek,
    validate,
)
from deploy.outputs import OutputsError
from sandbox.settings import ROOT
from tests.deploy.test_outputs import GOOD

TEMPLATE: dict[str, Any] = json.loads((ROOT / METADATA).read_text("utf-8"))


def job(**change: Any) -> Job:
    return parse_job("dev", {**GOOD, **change}, TEMPLATE, "dev.json")


def with_dataflow(**change: Any) -> dict[str, Any]:
    variable = GOOD["market_ops"]
    return {"market_ops": {**variable, "dataflow": {**variable["dataflow"], **change}}}


def test_the_example_is_good() -> None:
    found = job()
    assert (found.project, found.region, found.name) == (
        *("my-project", "europe-west1"),
        "stream-trades",
    )
    assert found.template("1.2.3") == (
        "gs://my-project-archive-dataflow/templates/stream-trades/1-2-3.json"
    )
    assert found.current == GOOD["market_ops"]["dataflow"]["template"]
    assert found.image("1.2.3") == "europe-west1-docker.pkg.dev/my-project/images/beam:1.2.3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"registry": None}, "registry: is missing; expected a registry as europe-west1-docker"),
        ({"dataflow_workers": {}}, "dataflow_workers.machine_type: is missing; expected a machine"),
        ({"dataflow_bucket": "gs://b"}, "dataflow_bucket: expected a bucket's name as my-project"),
        (
            with_dataflow(region="EU"),
            "market_ops.dataflow.region: expected a region as europe-west1",
        ),
        (
            with_dataflow(parameters=None),
            "parameters: expected an object of the job's options, was",
        ),
        (with_dataflow(parameters={}), "parameters.archive: is missing; expected gs://BUCKET that"),
        (
            with_dataflow(parameters={"shards": 4}),
            "parameters.shards: there is no such option; known are subscription, archive",
        ),
        (
            with_dataflow(parameters={"archive_seconds": "0"}),
            "parameters.archive_seconds: expected how long frames are gathered into one archive",
        ),
        (
            with_dataflow(
                parameters={
                    **GOOD["market_ops"]["dataflow"]["parameters"],
                    "subscription": "projects/my-prod/subscriptions/frames",
                }
            ),
            "parameters.subscription: belongs to project my-prod, market_ops.project is my-project;"
            " take both from the same environment",
        ),
        (
            {
                "dataflow_workers": {
                    **GOOD["dataflow_workers"],
                    "service_account": "stream-job@my-prod.iam.gserviceaccount.com",
                }
            },
            "dataflow_workers.service_account: belongs to project my-prod, market_ops.project is",
        ),
        (
            {"registry": "europe-west1-docker.pkg.dev/my-prod/images"},
            "registry: belongs to project my-prod, market_ops.project is my-project; take both",
        ),
        (
            with_dataflow(parameters={"subscription": "projects/p/subscriptions/a,b=c"}),
            "parameters.subscription: expected projects/PROJECT/subscriptions/NAME that frames",
        ),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(OutputsError) as caught:
        job(**change)
    assert said in str(caught.value)
    assert all(line.startswith("dev.json: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize("version", ["", "latest", "V1", "-x", "a/b", "x" * 64])
def test_a_version_names_one_image(version: str) -> None:
    with pytest.raises(OutputsError, match="VERSION: expected what names one image for ever"):
        check_version(version)
    assert check_version("1.2.3-rc1") == "1.2.3-rc1"


def test_a_template_holds_what_workers_are() -> None:
    labels = {"env": "dev", "version": "1"}
    both = {*build(job(), "1", labels)} & {*launch(job(), "1", labels)}
    assert {
        *(
            "--enable-streaming-engine",
            "--num-workers=1",
            "--max-workers=4",
            "--disable-public-ips",
        ),
        "--worker-machine-type=n2-standard-2",
        "--service-account-email=stream-job@my-project.iam.gserviceaccount.com",
        "--subnetwork=regions/europe-west1/subnetworks/platform",
        "--additional-user-labels=env=dev,version=1",
    } <= both


def test_the_replays_template_has_its_workers_and_no_streaming() -> None:
    command = build_replay(job(), "1")
    assert f"--metadata-file={REPLAY_METADATA}" in command
    assert GOOD["market_ops"]["dataflow"]["replay_template"] in command
    assert "--max-workers=4" in command
    assert set(build(job(), "1", {})) - set(command) > {"--enable-streaming-engine"}


def test_a_check_is_an_update_that_changes_nothing() -> None:
    update, check = (make(job(), "1", {}) for make in (launch, validate))
    assert {*check} - {*update} == {"--update", "--additional-experiments=graph_validate_only"}


def test_a_job_reads_the_subscription_of_its_parameters() -> None:
    assert "projects/my-project/subscriptions/binance-frames-job" in seek(job(), "s")


def test_a_changed_worker_option_or_image_is_another_launch() -> None:
    marks = {
        fingerprint(job(), "sha256:1"),
        fingerprint(job(), "sha256:2"),
        fingerprint(
            job(dataflow_workers={**GOOD["dataflow_workers"], "max_workers": 5}), "sha256:1"
        ),
    }
    assert len(marks) == 3
    assert fingerprint(job(), "sha256:1") in marks
