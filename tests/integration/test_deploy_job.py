"""`python -m deploy job` with a gcloud on the path: what it is told, and refusals."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.__main__ import main
from tests.deploy.test_outputs import GOOD

pytestmark = pytest.mark.integration

# Notes what it is told. A job runs when a file `running` is there; every launch comes to run.
GCLOUD = """#!/bin/sh
here="$(dirname "$0")"
echo "$*" >> "$here/calls"
case "$*" in
  *"jobs list"*) [ ! -e "$here/running" ] || echo job-0 ;;
  *"jobs describe job-0"*) echo '{"id": "job-0", "currentState": "JOB_STATE_RUNNING"}' ;;
  *"jobs describe check"*) echo '{"id": "check", "currentState": "JOB_STATE_DONE"}' ;;
  *"jobs describe"*) echo '{"id": "job-1", "currentState": "JOB_STATE_RUNNING"}' ;;
  *"images list"*) [ ! -e "$here/forbidden" ] || { cat "$here/forbidden" >&2; exit 1; }
    [ ! -e "$here/missing" ] || [ -e "$here/pushed" ] || exit 0
    echo '[{"version": "sha256:1", "tags": ["2", "c0ffee"]}]' ;;
  *graph_validate_only*) echo check ;;
  *"flex-template run"*) echo job-1 ;;
esac
"""
# A checkout of commit c0ffee, changed when a file `changed` is there.
GIT = """#!/bin/sh
case "$*" in
  *status*) [ ! -e "$(dirname "$0")/changed" ] || echo ' M beam_jobs/template.py' ;;
  *) echo c0ffee ;;
esac
"""
# Pushes where a person is logged in.
DOCKER = """#!/bin/sh
here="$(dirname "$0")"
echo "$*" >> "$here/calls"
[ "$1" = push ] || exit 0
[ -e "$here/logged-in" ] || { echo 'denied: Unauthenticated request' >&2; exit 1; }
touch "$here/pushed"
"""

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, script in (("gcloud", GCLOUD), ("git", GIT), ("docker", DOCKER)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("CONTAINER_ENGINE", raising=False)
    monkeypatch.delenv("IMAGE_BUILD_ARGS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(GOOD))

    def run(*arguments: str) -> int:
        return main(["job", "--env", "dev", "--outputs", str(outputs), *arguments])

    return run


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_without_apply_nothing_is_called(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--version", "2") == 0
    assert "dry run: version 2 of stream-trades in my-project (dev)" in capsys.readouterr().out
    assert calls(tmp_path) == []


def test_a_job_is_launched(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", "2", "--apply") == 0
    assert capsys.readouterr().out == "deployed version 2 of stream-trades (dev): launched\n"
    told = calls(tmp_path)
    assert [" ".join(call.split()[:3]) for call in told] == [
        *("dataflow jobs list", "artifacts docker images", "dataflow flex-template build"),
        *("pubsub snapshots create", "dataflow flex-template run", "dataflow jobs describe"),
        "storage cp gs://my-project-archive-dataflow/templates/stream-trades/2.json",
        "dataflow flex-template build",
    ]
    assert (
        "--parameters=archive=gs://my-project-archive,archive_shards=4,dataset_location=" in told[4]
    )


def test_an_image_that_is_missing_is_built_and_pushed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("missing", "logged-in"):
        (tmp_path / name).touch()
    assert run("--apply") == 0
    shown = capsys.readouterr()
    assert shown.out == "deployed version c0ffee of stream-trades (dev): launched\n"
    assert "images/beam:c0ffee: there is no such image; building it" in shown.err
    build, push = calls(tmp_path)[2:4]
    assert build.startswith("build --platform=linux/amd64 --file=images/beam/Dockerfile")
    assert "--build-arg=REVISION=c0ffee" in build
    assert push == "push europe-west1-docker.pkg.dev/my-project/images/beam:c0ffee"


def test_a_push_that_is_refused_says_how_to_log_in(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "missing").touch()
    assert run("--apply") == 1
    assert "Unauthenticated request; let the engine push with `gcloud auth configure-docker" in (
        capsys.readouterr().err
    )
    assert not any("flex-template" in call for call in calls(tmp_path))


def test_a_changed_checkout_is_no_version(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "changed").touch()
    assert run("--apply") == 2
    assert "VERSION: expected what names one image for ever" in capsys.readouterr().err
    (tmp_path / "missing").touch()
    assert run("--version", "2", "--apply") == 1
    assert "what is checked out is not that version" in capsys.readouterr().err


def test_a_job_is_replaced(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "running").touch()
    assert run("--version", "2", "--apply") == 0
    assert "replaced job-0 (unknown version)" in capsys.readouterr().out
    assert sum("--update" in call for call in calls(tmp_path)) == 2


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            "ERROR: PERMISSION_DENIED:  artifactregistry",
            "ERROR: PERMISSION_DENIED: artifactregistry; give the deploying account the roles of"
            " docs/security.md",
        ),
        (
            "[me@example.com] does not have permission to access projects (or it may not exist)",
            "may not exist); give the deploying account the roles",
        ),
        ("You do not currently have an active account", "log in with `gcloud auth login` and run"),
        ("Quota exceeded", "Quota exceeded; mend that and run again"),
    ],
)
def test_a_refusal_is_told_with_what_helps(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: str, says: str
) -> None:
    (tmp_path / "forbidden").write_text(refusal)
    assert run("--version", "2", "--apply") == 1
    said = capsys.readouterr().err
    assert "ended with 1: " in said
    assert says in said
    assert not any("flex-template" in call for call in calls(tmp_path))


def test_without_gcloud_it_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert run("--version", "2", "--apply") == 1
    assert capsys.readouterr().err.startswith("gcloud: is not installed, and nothing was done; ")
    # Nor is there a git that would name the version.
    assert run() == 2
    assert "VERSION: expected what names one image for ever" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", ""], "ENV: expected the name of an environment as dev, was ''"),
        (["--outputs", "nowhere.json"], "nowhere.json: there is no such environment"),
        (["--version", "latest"], "VERSION: expected what names one image for ever"),
    ],
)
def test_wrong_input_touches_nothing(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert run("--apply", *arguments) == 2
    assert said in capsys.readouterr().err
    assert calls(tmp_path) == []
