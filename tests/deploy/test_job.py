"""What a deployment does in each situation, against a gcloud that keeps jobs in memory."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.bucket import DeploymentError
from deploy.commands import Command
from deploy.dataflow import Source, digest_of, fingerprint
from deploy.job import Deployment, show
from tests.deploy.test_dataflow import job

NOW = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
NAME = "stream-trades"


@dataclass
class Cloud:
    """A gcloud; `coming` are the states that the next launches take on, one a look.

    A replacement that runs ends the job that it replaces, or `takes_over` says when it does.
    Commands that begin with `refuses` are refused. An image is there after a push that `arrives`.
    """

    coming: list[list[str]] = field(default_factory=list)
    digest: str = "sha256:1"
    takes_over: str = "RUNNING"
    refuses: str = "nothing"
    arrives: bool = True
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    replaces: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def run_job(self, state: str = "RUNNING", **labels: str) -> str:
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = {"id": name, "currentState": f"JOB_STATE_{state}", "labels": labels}
        return name

    def __call__(self, command: Command) -> str:
        words = " ".join(command[1:])
        self.calls.append(words)
        if words.startswith(self.refuses):
            raise DeploymentError("no quota; mend that and run again")
        if words.startswith("dataflow jobs list"):
            active = ("RUNNING", "PENDING", "DRAINING")
            return "\n".join(
                each["id"] for each in self.jobs.values() if each["currentState"][10:] in active
            )
        if words.startswith("dataflow jobs describe"):
            return json.dumps(self._look(command[4]))
        if words.startswith("artifacts docker images list"):
            images = [{"version": "sha256:0", "tags": ["1", "v2"]}]
            if self.digest:
                images.append({"version": self.digest, "tags": ["2", "edge"]})
            return json.dumps(images)
        if words.startswith("push "):
            self.digest = "sha256:2" if self.arrives else ""
        if words.startswith("dataflow flex-template run"):
            return self._launch(command)
        if words.startswith("dataflow jobs cancel"):
            self.jobs[command[4]]["currentState"] = "JOB_STATE_CANCELLED"
            self.states.pop(command[4])
        return ""

    def _launch(self, command: Command) -> str:
        (labels,) = (each for each in command if each.startswith("--additional-user-labels="))
        pairs = dict(pair.split("=") for pair in labels.partition("=")[2].split(","))
        running = [
            each["id"] for each in self.jobs.values() if each["currentState"][10:] == "RUNNING"
        ]
        name = self.run_job("PENDING", **pairs)
        is_check = "--additional-experiments=graph_validate_only" in command
        self.states[name] = (
            self.coming.pop(0) if self.coming else ["DONE" if is_check else "RUNNING"]
        )
        if "--update" in command and not is_check:
            self.replaces[name] = running[0]
        return name

    def _look(self, name: str) -> dict[str, Any]:
        if self.states.get(name):
            state = self.states[name].pop(0)
            self.jobs[name]["currentState"] = f"JOB_STATE_{state}"
            if state == self.takes_over and name in self.replaces:
                self.jobs[self.replaces[name]]["currentState"] = "JOB_STATE_UPDATED"
        return self.jobs[name]

    def verbs(self) -> list[str]:
        """Return what was done, without looking."""
        words = (call.split() for call in self.calls)
        return [
            " ".join(
                [
                    *each[1:3],
                    *(
                        word
                        for word in each
                        if word in ("--update", "--additional-experiments=graph_validate_only")
                    ),
                ]
            )
            for each in words
            if each[2] not in ("list", "describe", "images")
        ]

    def states_by_job(self) -> dict[str, str]:
        return {
            name: each["currentState"].removeprefix("JOB_STATE_")
            for name, each in self.jobs.items()
        }


VALIDATE = "flex-template run --update --additional-experiments=graph_validate_only"
UPDATE = "flex-template run --update"
LAUNCH = ["flex-template build", "snapshots create", "flex-template run"]
REPLACE = ["flex-template build", VALIDATE, "snapshots create", UPDATE]


def deploy(
    cloud: Cloud,
    version: str = "2",
    waits: list[float] | None = None,
    source: Source | None = None,
) -> str:
    waited = waits if waits is not None else []
    return Deployment(job(), version, cloud, waited.append, NOW, limit=60, source=source).deploy()


def refused(cloud: Cloud, version: str = "2", source: Source | None = None) -> str:
    with pytest.raises(DeploymentError) as caught:
        deploy(cloud, version, source=source)
    return str(caught.value)


def launched(calls: Iterable[str]) -> list[str]:
    return [call for call in calls if call.startswith("dataflow flex-template run")]


def test_it_is_launched_where_none_runs() -> None:
    cloud, waits = Cloud(coming=[["PENDING", "QUEUED", "RUNNING"]]), list[float]()
    assert deploy(cloud, waits=waits) == f"deployed version 2 of {NAME} (dev): launched"
    assert cloud.verbs() == [
        *("flex-template build", "snapshots create", "flex-template run"),
        "cp gs://my-project-archive-dataflow/templates/stream-trades/2.json",
        "flex-template build",
    ]
    assert waits == [15, 15]


def test_it_replaces_the_one_that_runs_after_a_check_and_a_snapshot() -> None:
    cloud = Cloud()
    cloud.run_job(version="1", launch="other")
    assert deploy(cloud) == f"deployed version 2 of {NAME} (dev): replaced job-0 (1)"
    assert cloud.verbs()[:-2] == REPLACE
    assert cloud.states_by_job() == {"job-0": "UPDATED", "job-1": "DONE", "job-2": "RUNNING"}


def test_a_second_time_nothing_is_done() -> None:
    cloud = Cloud()
    deploy(cloud)
    cloud.calls.clear()
    assert deploy(cloud) == "deployed nothing: job-0 runs so already, as version 2"
    assert [verb.split()[0] for verb in cloud.verbs()] == ["cp", "flex-template"]


def test_the_replay_of_what_runs_is_what_its_dag_starts() -> None:
    cloud = Cloud()
    deploy(cloud)
    built = [call for call in cloud.calls if "flex-template build" in call][-1]
    assert built.startswith(
        "dataflow flex-template build"
        " gs://my-project-archive-dataflow/templates/replay-archive.json"
    )
    assert "images/beam:2 " in built
    assert "--metadata-file=beam_jobs/replay_template.json" in built
    assert "--enable-streaming-engine" not in built


def test_one_that_was_interrupted_is_finished_by_the_next() -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    cloud = Cloud(coming=[["DONE"], ["PENDING", "RUNNING"]])
    cloud.run_job(version="1", launch="other")
    with pytest.raises(KeyboardInterrupt):
        Deployment(job(), "2", cloud, interrupt, NOW).deploy()
    assert "job-2 is in JOB_STATE_PENDING; wait until it runs" in refused(
        Cloud(jobs={"job-2": cloud.jobs["job-2"]})
    )
    cloud._look("job-2")  # meanwhile it takes over
    cloud.calls.clear()
    assert deploy(cloud) == "deployed nothing: job-2 runs so already, as version 2"
    assert [verb.split()[0] for verb in cloud.verbs()] == ["cp", "flex-template"]


IMAGE = "europe-west1-docker.pkg.dev/my-project/images/beam:2"


def test_an_image_that_is_missing_is_built_from_what_is_checked_out_and_pushed() -> None:
    cloud, told = Cloud(digest=""), list[str]()
    source = Source("c0ffee", "podman", ("--volume=/certs:/certs",))
    Deployment(
        job(), "2", cloud, lambda _: None, NOW, limit=60, source=source, tell=told.append
    ).deploy()
    assert told == [f"{IMAGE}: there is no such image; building it, then pushing it"]
    assert cloud.calls[2:4] == [
        "build --platform=linux/amd64 --file=images/beam/Dockerfile --build-arg=VERSION=2"
        f" --build-arg=REVISION=c0ffee --build-arg=BEAM_JOBS_IMAGE={IMAGE}"
        f" --volume=/certs:/certs --tag={IMAGE} .",
        f"push {IMAGE}",
    ]
    assert launched(cloud.calls)
    assert "launch=" + fingerprint(job(), "sha256:2") in launched(cloud.calls)[0]


def test_an_image_that_is_there_is_not_built() -> None:
    cloud = Cloud()
    deploy(cloud, source=Source("c0ffee"))
    assert not any(call.startswith(("build ", "push ")) for call in cloud.calls)


def test_an_image_of_something_else_than_what_is_checked_out_is_not_built() -> None:
    cloud = Cloud(digest="")
    assert refused(cloud) == (
        f"{IMAGE}: there is no such image; what is checked out is not that version, so it is not"
        " built here; check it out and leave --version away, or push the image, then run again"
    )
    assert cloud.verbs() == []


@pytest.mark.parametrize("step", ["build ", "push "])
def test_a_build_or_push_that_fails_leaves_things_as_they_were(step: str) -> None:
    cloud = Cloud(digest="", refuses=step)
    assert refused(cloud, source=Source("c0ffee")) == "no quota; mend that and run again"
    assert not any("flex-template" in call for call in cloud.calls)


def test_a_push_that_does_not_arrive_is_noticed() -> None:
    cloud = Cloud(digest="", arrives=False)
    assert refused(cloud, source=Source("c0ffee")) == (
        f"{IMAGE}: was pushed, and the registry does not have it; run again"
    )


@pytest.mark.parametrize(
    ("images", "digest"),
    [
        ('[{"version": "sha256:9", "tags": ["2"]}, {"version": "sha256:8"}]', "sha256:9"),
        ('[{"version": "sha256:9", "tags": "edge, 2"}]', "sha256:9"),
        ('[{"version": "sha256:9", "tags": ["2.0", "12"]}]', ""),
        ('[{"version": "sha256:9", "tags": "2.0,12"}, {"version": "sha256:8", "tags": []}]', ""),
        ("", ""),
    ],
)
def test_an_image_is_found_by_its_whole_tag(images: str, digest: str) -> None:
    assert digest_of("2", images) == digest


@pytest.mark.parametrize("images", ["<html>", '{"tags": []}', '[{"tags": ["2"]}]', "[1]"])
def test_images_that_gcloud_should_not_list_are_shown(images: str) -> None:
    def run(command: Command) -> str:
        return images if "images" in command else ""

    with pytest.raises(DeploymentError, match=r"gcloud listed images as .*; update gcloud and run"):
        Deployment(job(), "2", run, lambda _: None, NOW).deploy()


@pytest.mark.parametrize("state", ["PENDING", "DRAINING"])
def test_a_job_that_comes_or_goes_stops_it(state: str) -> None:
    cloud = Cloud()
    cloud.run_job(state)
    assert f"job job-0 is in JOB_STATE_{state}; wait until it runs or has ended" in refused(cloud)
    assert cloud.verbs() == []


def test_two_jobs_stop_it() -> None:
    cloud = Cloud()
    cloud.run_job()
    cloud.run_job()
    assert "job-0, job-1 run at once; drain all but one" in refused(cloud)


def test_one_that_does_not_fit_leaves_the_running_one_alone() -> None:
    cloud = Cloud(coming=[["PENDING", "RUNNING", "FAILED"]])
    cloud.run_job(version="1")
    said = refused(cloud)
    assert "version 2 can't take over from job-0 (check job-1 is in JOB_STATE_FAILED)" in said
    assert "which runs on untouched" in said
    assert cloud.verbs() == ["flex-template build", VALIDATE]


def test_a_launch_that_fails_has_nothing_to_go_back_to() -> None:
    cloud = Cloud(coming=[["PENDING", "FAILED"]])
    assert "job job-0 is in JOB_STATE_FAILED after the launch; none ran before" in refused(cloud)
    assert cloud.verbs() == [*LAUNCH, "subscriptions seek"]
    assert "--snapshot=stream-trades-2-20260301-170000" in cloud.calls[-1]


def test_a_launch_without_end_is_called_off_and_can_be_repeated() -> None:
    cloud = Cloud(coming=[["PENDING"] * 9])
    assert "job job-0 is in JOB_STATE_PENDING after the launch; none ran before" in refused(cloud)
    assert cloud.verbs() == [*LAUNCH, "jobs cancel", "subscriptions seek"]
    assert deploy(cloud).endswith(": launched")
    assert cloud.states_by_job() == {"job-0": "CANCELLED", "job-1": "RUNNING"}


@pytest.mark.parametrize("state", [None, "RUNNING"])
def test_a_launch_that_is_refused_leaves_things_as_they_were(state: str | None) -> None:
    cloud = Cloud()
    if state:
        cloud.run_job(state, version="1")
    before = cloud.states_by_job()
    cloud.refuses = "dataflow flex-template run"
    assert refused(cloud) == "no quota; mend that and run again"
    assert cloud.states_by_job() == before
    cloud.refuses = "nothing"
    assert deploy(cloud).startswith("deployed version 2")


def test_going_back_that_is_refused_says_what_is_left_to_do() -> None:
    cloud = Cloud(
        coming=[["DONE"], ["FAILED"]], takes_over="FAILED", refuses="pubsub subscriptions seek"
    )
    cloud.run_job(version="1")
    said = refused(cloud)
    assert "(job job-2 is in JOB_STATE_FAILED), and going back stopped: no quota; mend that" in said
    assert (
        "give `gcloud pubsub subscriptions seek"
        " projects/my-project/subscriptions/binance-frames-job"
        " --snapshot=stream-trades-2-20260301-170000 --project=my-project`"
    ) in said


def test_an_update_that_is_refused_lets_the_former_run_on() -> None:
    cloud = Cloud(coming=[["DONE"], ["PENDING", "FAILED"]])
    cloud.run_job(version="1")
    assert "did not come to run (job job-2 is in JOB_STATE_FAILED); job-0 runs on;" in refused(
        cloud
    )
    assert cloud.verbs() == REPLACE


def test_an_update_without_end_is_called_off() -> None:
    cloud = Cloud(coming=[["DONE"], ["PENDING"] * 9])
    cloud.run_job(version="1")
    assert "(job job-2 is in JOB_STATE_PENDING); job-0 runs on;" in refused(cloud)
    assert cloud.verbs() == [*REPLACE, "jobs cancel"]
    assert cloud.states_by_job()["job-0"] == "RUNNING"


def test_one_that_took_over_and_failed_is_replaced_by_the_former_version() -> None:
    cloud = Cloud(coming=[["DONE"], ["PENDING", "FAILED"]], takes_over="PENDING")
    cloud.run_job(version="1", env="dev", launch="other")
    said = refused(cloud)
    assert "(job job-2 is in JOB_STATE_FAILED); went back to version 1 (job job-3);" in said
    assert cloud.verbs() == [*REPLACE, "subscriptions seek", "flex-template run"]
    assert "/templates/stream-trades/1.json" in launched(cloud.calls)[-1]
    assert "--snapshot=stream-trades-2-20260301-170000" in cloud.calls[-3]
    assert cloud.jobs["job-3"]["labels"] == {"env": "dev", "version": "1", "launch": "other"}
    assert not any(call.startswith("storage cp") for call in cloud.calls)


def test_one_that_took_over_and_is_slow_is_left_alone() -> None:
    cloud = Cloud(coming=[["DONE"], ["PENDING"] * 9], takes_over="PENDING")
    cloud.run_job(version="1")
    assert "; job-2 has taken over from job-0 and may yet run: wait for it, it" in refused(cloud)
    assert cloud.verbs() == REPLACE


def test_a_former_one_that_no_deployment_launched_is_left_to_people() -> None:
    cloud = Cloud(coming=[["DONE"], ["FAILED"]], takes_over="FAILED")
    cloud.run_job()
    assert "seek the subscription to snapshot stream-trades-2-20260301-170000" in refused(cloud)


def test_going_back_can_fail_too() -> None:
    cloud = Cloud(coming=[["DONE"], ["FAILED"], ["FAILED"]], takes_over="FAILED")
    cloud.run_job(version="1")
    assert "nor did 1 again (job job-3 is in JOB_STATE_FAILED): launch it by hand" in refused(cloud)


def test_what_gcloud_should_not_say_is_shown() -> None:
    def run(command: Command) -> str:
        return "job-0" if "list" in command else "<html>"

    with pytest.raises(DeploymentError, match=r"described it as '<html>'; update gcloud"):
        Deployment(job(), "2", run, lambda _: None, NOW).deploy()


def test_the_dry_run_shows_every_command() -> None:
    lines = show(job(), "2", Source("c0ffee")).splitlines()
    commands = [line for line in lines if line.startswith(("gcloud ", "docker "))]
    assert [command.split()[1] for command in commands] == [
        *("dataflow", "artifacts", "build", "push", "dataflow", "dataflow", "pubsub"),
        *("dataflow", "dataflow", "storage", "dataflow"),
    ]
    assert all("--project=my-project" in each for each in commands if each.startswith("gcloud"))


def test_the_dry_run_says_when_the_image_can_not_be_built_here() -> None:
    shown = show(job(), "2")
    assert f"{IMAGE} must be there: what is checked out is not that version" in shown
    assert "docker build" not in shown
