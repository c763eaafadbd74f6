"""Jobs submitted by the real DataflowRunner: what arrives, and whether a worker can load it.

Dataflow is a stand-in (`dataflow.py`), Cloud Storage is fake-gcs-server, Google's sign-in and the
making of tables are left out; all between is Beam's own. A worker is a process that has the image's
packages and what was staged, and nothing of the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from sandbox.settings import ROOT
from tests.integration.conftest import Gcs, new_project
from tests.integration.dataflow import ENDPOINT, Dataflow, dataflow

pytestmark = pytest.mark.integration

IMAGE = "europe-west1-docker.pkg.dev/my-project/images/beam@sha256:" + "0" * 64
ACCOUNT = "stream-trades@my-project.iam.gserviceaccount.com"
SUBNETWORK = "regions/europe-west1/subnetworks/workers"
SUBSCRIPTION = "projects/my-project/subscriptions/frames"
COMMON = (
    *("--runner=DataflowRunner", f"--dataflow_endpoint={ENDPOINT}", "--project=my-project"),
    *("--region=europe-west1", f"--sdk_container_image={IMAGE}"),
    *(f"--service_account_email={ACCOUNT}", "--no_use_public_ips", f"--subnetwork={SUBNETWORK}"),
    *("--machine_type=n2-standard-2", "--num_workers=1", "--max_num_workers=4"),
    *("--autoscaling_algorithm=THROUGHPUT_BASED", "--labels=env=dev", "--labels=version=abc1234"),
)
STREAM = ("beam_jobs.stream_trades", "--job_name=stream-trades", f"--subscription={SUBSCRIPTION}")
REPLAY = (
    *("beam_jobs.replay_archive", "--job_name=replay-archive", "--proof=proof.json"),
    *("--first=2026-03-01T17", "--last=2026-03-01T18"),
)

# Runs modules as `python -m` does, one after the other, and prints their exit codes.
LAUNCHER = """
import json, runpy, sys
import google.auth
from google.auth.credentials import AnonymousCredentials
import beam_jobs.tables

google.auth.default = lambda *_, **__: (AnonymousCredentials(), None)
beam_jobs.tables.create_tables = lambda *_: None
for module, *arguments in json.load(sys.stdin):
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        print("exit", end.code)
"""

# Loads what a worker loads, the main session and each step's function, and prints their classes.
WORKER = """
from pathlib import Path
from apache_beam.internal import pickler
from apache_beam.portability.api import beam_runner_api_pb2 as api

pickler.set_library("cloudpickle")
pickler.load_session("pickled_main_session")
pipeline = api.Pipeline.FromString(Path("pipeline.pb").read_bytes())
for transform in pipeline.components.transforms.values():
    if transform.spec.urn == "beam:transform:pardo:v1":
        step = api.ParDoPayload.FromString(transform.spec.payload).do_fn
        print(type(pickler.loads(step.payload)[0]).__name__)
"""

# Makes one step of the stream another one.
WITH_A_CLIENT = """
from beam_jobs import archive
from google.cloud.storage import Client
archive.WriteUnreadable.__init__ = lambda self, *_: setattr(self, "client", Client("my-project"))
"""
WITH_A_MODULE_OF_THE_LAUNCHER = """
import sys
sys.path.append("tests/integration")
import beam_jobs.archive, unstaged
beam_jobs.archive.WriteUnreadable = unstaged.Unstaged
"""


@dataclass
class Submission:
    """What launches have left behind: exit codes, requests that make a job, objects by name."""

    codes: list[int]
    errors: str
    jobs: list[dict[str, Any]]
    objects: dict[str, bytes]


Launch = Callable[..., Submission]


@pytest.fixture(scope="module")
def service() -> Iterator[Dataflow]:
    with dataflow() as it:
        it.running = [
            {"id": "other", "name": "another-job", "currentState": "JOB_STATE_RUNNING"},
            {"id": "job-0", "name": "stream-trades", "currentState": "JOB_STATE_RUNNING"},
        ]
        yield it


@pytest.fixture(scope="module")
def launch(gcs: Gcs, service: Dataflow) -> Launch:
    """Launch modules with arguments in one process, `change` before them."""
    client = storage.Client(
        project="my-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": gcs.rest_url},
    )
    environment = {**os.environ, **gcs.environment, **service.environment}

    def launch(*launches: Sequence[str], change: str = "") -> Submission:
        service.jobs.clear()
        bucket = client.create_bucket(new_project())
        bucket.blob("proof.json").upload_from_string('{"symbols": [], "is_proven": true}')
        here = f"gs://{bucket.name}"
        common = [*COMMON, f"--temp_location={here}/temp", f"--archive={here}"]
        done = subprocess.run(
            [sys.executable, "-c", change + LAUNCHER],
            input=json.dumps(
                [
                    [*(word.replace("gs://HERE", here) for word in each), *common]
                    for each in launches
                ]
            ),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line[:5] == "exit "]
        objects = {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()}
        return Submission(codes, done.stderr, [*service.jobs], objects)

    return launch


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our code as a package, to be staged where it is newer than the image's."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("market_data", "beam_jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    uv = [str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--wheel", "--offline"]
    command = [*uv, "--no-build-isolation", "--python", sys.executable]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def submitted(launch: Launch, wheel: Path) -> Submission:
    """Both jobs with our code staged, then the stream as an update and as a template's launch."""
    return launch(
        (*STREAM, f"--extra_package={wheel}"),
        (*REPLAY, f"--extra_package={wheel}"),
        (*STREAM, "--update"),
        (*STREAM, "--template_location=gs://HERE/job.json"),
    )


def staged(submission: Submission, job: dict[str, Any]) -> dict[str, bytes]:
    """Return what was staged for a job, by name without folders."""
    folder = job["environment"]["tempStoragePrefix"].rpartition("/")[2]
    return {
        name.rpartition("/")[2]: data for name, data in submission.objects.items() if folder in name
    }


def steps(pipeline: bytes) -> list[str]:
    """Return the names of the outermost steps."""
    components = beam_runner_api_pb2.Pipeline.FromString(pipeline)
    transforms = components.components.transforms
    return [
        transforms[child].unique_name
        for root in components.root_transform_ids
        for child in (transforms[root].subtransforms or [root])
    ]


def work(files: dict[str, bytes], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a worker with what was staged."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for package in folder.glob("*.whl"):
        zipfile.ZipFile(package).extractall(folder / "site")
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", WORKER],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_stream_arrives_as_it_was_asked_for(submitted: Submission) -> None:
    assert submitted.codes == [0, 0, 0, 0], submitted.errors[-3000:]
    stream = submitted.jobs[0]
    assert stream["path"] == "/v1b3/projects/my-project/locations/europe-west1/jobs"
    assert stream["name"] == "stream-trades"
    assert stream["labels"] == {"env": "dev", "version": "abc1234"}
    assert stream["type"] == 2  # JOB_TYPE_STREAMING
    environment = stream["environment"]
    assert environment["version"]["job_type"] == "FNAPI_STREAMING"
    assert {"use_runner_v2", "enable_streaming_engine", "enable_windmill_service"} <= {
        *environment["experiments"]
    }
    assert environment["serviceAccountEmail"] == ACCOUNT
    (pool,) = environment["workerPools"]
    assert pool["kind"] == "harness"
    assert (pool["machineType"], pool["numWorkers"]) == ("n2-standard-2", 1)
    assert pool["autoscalingSettings"] == {"algorithm": 2, "maxNumWorkers": 4}
    assert (pool["subnetwork"], pool["ipConfiguration"]) == (SUBNETWORK, 2)  # private
    assert [each["containerImage"] for each in pool["sdkHarnessContainerImages"]] == [IMAGE]
    options = environment["sdkPipelineOptions"]["options"]
    assert options["subscription"] == SUBSCRIPTION
    assert (options["archive_seconds"], options["archive_shards"]) == (60, 1)


def test_the_stream_has_its_steps_and_files(submitted: Submission, wheel: Path) -> None:
    stream = submitted.jobs[0]
    files = staged(submitted, stream)
    assert steps(files["pipeline.pb"]) == [
        *("Read messages", "Open frames", "Load rows", "Archive frames", "Archive unreadable"),
        *("All rejections", "Load rejections"),
    ]
    assert files[wheel.name] == wheel.read_bytes()
    (pool,) = stream["environment"]["workerPools"]
    assert {package["name"] for package in pool["packages"]} == files.keys() - {"pipeline.pb"}
    code = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"market_data", "beam_jobs"} <= code
    assert "collector" not in code


def test_the_replay_arrives_as_a_batch_job(submitted: Submission) -> None:
    replay = submitted.jobs[1]
    assert (replay["name"], replay["type"]) == ("replay-archive", 1)  # JOB_TYPE_BATCH
    assert replay["environment"]["version"]["job_type"] == "FNAPI_BATCH"
    assert "enable_streaming_engine" not in replay["environment"]["experiments"]
    names = steps(staged(submitted, replay)["pipeline.pb"])
    assert {"Find objects", "Group by frame", "Load rows", "Prove hours", "Write proof"} <= {*names}


def test_an_update_names_the_job_that_it_replaces(submitted: Submission) -> None:
    assert [job.get("replaceJobId") for job in submitted.jobs] == [None, None, "job-0"]


def test_a_template_leaves_the_same_job_for_dataflow(submitted: Submission) -> None:
    stream = submitted.jobs[0]
    job = json.loads(submitted.objects["job.json"])
    assert (job["name"], job["type"]) == ("stream-trades", "JOB_TYPE_STREAMING")
    mine, theirs = (each["environment"]["workerPools"][0] for each in (job, stream))
    assert mine["sdkHarnessContainerImages"][0]["containerImage"] == IMAGE
    assert mine["machineType"] == theirs["machineType"]
    # Code is the image's: nothing of ours is staged.
    assert not any(package["name"].endswith(".whl") for package in mine["packages"])


def test_workers_can_load_every_step(submitted: Submission, tmp_path: Path) -> None:
    for job, some in zip(
        submitted.jobs[:2],
        ({"OpenFrames", "LoadFrames", "LoadRejections"}, {"ReadObjects", "LoadMissing"}),
        strict=True,
    ):
        worker = work(staged(submitted, job), tmp_path / job["name"])
        assert worker.returncode == 0, worker.stderr[-2000:]
        assert some <= {*worker.stdout.split()}


def test_code_that_is_neither_staged_nor_in_the_image_fails_a_worker(
    submitted: Submission, tmp_path: Path
) -> None:
    files = staged(submitted, submitted.jobs[0])
    without = {name: data for name, data in files.items() if not name.endswith(".whl")}
    worker = work(without, tmp_path / "nothing")
    assert worker.returncode != 0
    assert "No module named 'beam_jobs'" in worker.stderr


def test_a_step_of_a_module_that_only_the_launcher_has_fails_a_worker(
    launch: Launch, wheel: Path, tmp_path: Path
) -> None:
    found = launch((*STREAM, f"--extra_package={wheel}"), change=WITH_A_MODULE_OF_THE_LAUNCHER)
    (job,) = found.jobs
    worker = work(staged(found, job), tmp_path / "worker")
    assert worker.returncode != 0
    assert "No module named 'unstaged'" in worker.stderr


def test_a_step_that_can_not_be_pickled_is_not_submitted(launch: Launch) -> None:
    """A client is the usual one; a lock Beam replaces by a new one."""
    found = launch(STREAM, change=WITH_A_CLIENT)
    assert "Pickling client objects is explicitly not supported" in found.errors
    assert (found.codes, found.jobs) == ([], [])
