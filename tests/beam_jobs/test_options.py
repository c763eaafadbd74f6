import pytest
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

from beam_jobs.options import OptionsError, StreamOptions, archive_bucket, check, name_image

GOOD = (
    "--project=test-project",
    "--subscription=projects/test-project/subscriptions/frames",
    "--archive=gs://archive",
)


def mistakes(*arguments: str) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        check(PipelineOptions(list(arguments)))
    return str(caught.value).splitlines()


def test_good_options() -> None:
    check(PipelineOptions(list(GOOD)))
    check(PipelineOptions([*GOOD, "--health_port=8081", "--resume_seconds=60"]))


def test_defaults() -> None:
    options = PipelineOptions(list(GOOD)).view_as(StreamOptions)
    assert (options.archive_seconds, options.archive_shards) == (60, 1)
    assert (options.resume_seconds, options.health_port) == (300, None)
    assert options.dataset_location == "US"


def test_all_mistakes_in_one_message() -> None:
    found = mistakes(
        *("--archive_seconds=0", "--archive_shards=1001", "--resume_seconds=700000"),
        *("--health_port=70000", "--archive=s3://b", "--subscription=frames"),
    )
    assert found == [
        "--subscription: expected projects/PROJECT/subscriptions/NAME, was 'frames'",
        "--archive: expected gs://BUCKET, was 's3://b'",
        "--project: expected the project of the tables, was nothing",
        "--archive_seconds: expected 1 to 3600, was 0",
        "--archive_shards: expected 1 to 1000, was 1001",
        "--resume_seconds: expected 0 to 604800, was 700000",
        "--health_port: expected 1 to 65535, was 70000",
    ]


def test_a_restart_must_archive_again_what_was_being_gathered() -> None:
    (found,) = mistakes(*GOOD, "--archive_seconds=61", "--resume_seconds=60")
    assert found.startswith("--archive_seconds: expected at most --resume_seconds (60), was 61")


def test_nothing_at_all() -> None:
    names = [text.split(":")[0] for text in mistakes()]
    assert names == ["--subscription", "--archive", "--project"]


def test_dataflow_needs_the_image() -> None:
    (found,) = mistakes(*GOOD, "--runner=DataflowRunner")
    assert found.startswith("--sdk_container_image: expected the jobs' image, was nothing; in Beam")
    check(PipelineOptions([*GOOD, "--runner=DataflowRunner", "--sdk_container_image=h/p/r/i:1"]))


def test_workers_run_the_image_that_launches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_JOBS_IMAGE", "h/p/r/i:2")
    for arguments, image in (
        (["--runner=DataflowRunner"], "h/p/r/i:2"),
        (["--runner=DataflowRunner", "--sdk_container_image=h/p/r/i:1"], "h/p/r/i:1"),
        ([], None),
    ):
        options = PipelineOptions(arguments)
        name_image(options)
        assert options.view_as(WorkerOptions).sdk_container_image == image


@pytest.mark.parametrize(
    "subscription",
    ["", "projects/p/topics/frames", "projects/p/subscriptions/1x", "projects/p/subscriptions/ab"],
)
def test_wrong_subscriptions(subscription: str) -> None:
    (found,) = mistakes(*GOOD, f"--subscription={subscription}")
    assert found.startswith("--subscription: ")


def test_a_health_port_of_0_is_wrong() -> None:
    (found,) = mistakes(*GOOD, "--health_port=0")
    assert found == "--health_port: expected 1 to 65535, was 0"


@pytest.mark.parametrize(
    ("archive", "bucket"), [("gs://archive", "archive"), ("gs://my.raw-data_1/", "my.raw-data_1")]
)
def test_buckets(archive: str, bucket: str) -> None:
    options = PipelineOptions([f"--archive={archive}"]).view_as(StreamOptions)
    assert archive_bucket(options) == bucket


@pytest.mark.parametrize("archive", ["archive", "gs://", "gs://Archive", "gs://a", "gs://b/folder"])
def test_wrong_buckets(archive: str) -> None:
    with pytest.raises(OptionsError, match="--archive: expected gs://BUCKET"):
        archive_bucket(PipelineOptions([f"--archive={archive}"]).view_as(StreamOptions))
