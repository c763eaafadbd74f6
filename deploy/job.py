"""Deploys the streaming job: `python -m deploy job --env ENV`.

One job of the name runs at any time. A new version takes over in place, with the state of the old
one; where that can't be, nothing is changed, or the old version is brought back.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from deploy import dataflow
from deploy.bucket import DeploymentError
from deploy.commands import Command
from deploy.dataflow import Job, Source

# A launcher's machine starts, pulls the image and builds the graph; then workers start.
LIMIT_SECONDS: Final = 20 * 60
POLL_SECONDS: Final = 15
_RUNNING: Final = "JOB_STATE_RUNNING"
_DONE: Final = "JOB_STATE_DONE"
_ENDED: Final = frozenset(
    f"JOB_STATE_{name}" for name in ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED", "STOPPED")
)
# What a deployment notes at a job: its environment, version, and image, options and workers.
_LABELS: Final = ("env", "version", "launch")

_NOT_BUILT_HERE: Final = (
    "what is checked out is not that version, so it is not built here; check it out and leave"
    " --version away, or push the image, then run again"
)

Run = Callable[[Command], str]


@dataclass(frozen=True)
class Seen:
    """A job as Dataflow describes it."""

    id: str
    state: str
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that it runs, as a label; empty when no deployment has launched it."""
        return self.labels.get("version", "")


def show(job: Job, version: str, source: Source | None = None) -> str:
    """Return the commands of a deployment, for people."""
    labels = _labels(job, version, "FINGERPRINT")
    name = f"{job.name}-{dataflow.label(version)}-TIME"
    groups: dict[str, list[Command]] = {
        "look what is there:": [dataflow.find_active(job), dataflow.find_image(job, version)],
        **_show_image(job, version, source),
        "write the template:": [dataflow.build(job, version, labels)],
        f"where {job.name} runs, check that it can be replaced:": [
            dataflow.validate(job, version, labels)
        ],
        "keep what the subscription has read:": [dataflow.snapshot(job, name)],
        "replace it:": [dataflow.launch(job, version, labels, is_update=True)],
        "or launch it, where none runs:": [dataflow.launch(job, version, labels)],
        "when it is running:": [
            dataflow.publish(job, version),
            dataflow.build_replay(job, version),
        ],
    }
    lines = [f"dry run: version {version} of {job.name} in {job.project} ({job.env})"]
    for title, commands in groups.items():
        lines += [title, *map(shlex.join, commands)]
    return "\n".join([*lines, "--apply runs them, waits, and goes back when it fails"])


def _show_image(job: Job, version: str, source: Source | None) -> dict[str, list[Command]]:
    if source is None:
        return {f"{job.image(version)} must be there: {_NOT_BUILT_HERE}": []}
    commands = [
        dataflow.build_image(job, source, version),
        dataflow.push_image(job, source, version),
    ]
    return {"where there is no such image, build and push it:": commands}


@dataclass
class Deployment:
    """One deployment of one version.

    Attributes:
        job: what is deployed, where.
        version: what is deployed.
        run: runs a command and returns what it printed.
        wait: waits so many seconds.
        now: when it is.
        limit: a job must run after so many seconds.
        source: what the version's image is built from where there is none; None when what is
            checked out is not that version.
        tell: is told what takes minutes.
    """

    job: Job
    version: str
    run: Run
    wait: Callable[[float], None]
    now: datetime
    limit: float = LIMIT_SECONDS
    source: Source | None = None
    tell: Callable[[str], None] = lambda _: None

    def deploy(self) -> str:
        """Launch the version or let it take over; return what was done.

        Raises:
            DeploymentError: says what runs now and what to do.
        """
        former = self._former()
        digest = self._digest() or self._push()
        labels = _labels(self.job, self.version, dataflow.fingerprint(self.job, digest))
        if former and former.labels.get("launch") == labels["launch"]:
            self._publish(former.version)
            return f"deployed nothing: {former.id} runs so already, as version {former.version}"
        self.run(dataflow.build(self.job, self.version, labels))
        if former is None:
            self._launch(labels)
            done = "launched"
        else:
            self._replace(former, labels)
            done = f"replaced {former.id} ({former.version or 'unknown version'})"
        self._publish(self.version)
        return f"deployed version {self.version} of {self.job.name} ({self.job.env}): {done}"

    def _former(self) -> Seen | None:
        """Return the job that runs; stop where it is coming or going."""
        ids = self.run(dataflow.find_active(self.job)).split()
        found = [self._look(each) for each in ids]
        for one in found:
            if one.state != _RUNNING:
                raise DeploymentError(
                    f"{self.job.name}: job {one.id} is in {one.state}; wait until it runs or has"
                    " ended, then run again"
                )
        if len(found) > 1:
            raise DeploymentError(
                f"{self.job.name}: {', '.join(ids)} run at once; drain all but one, then run again"
            )
        return found[0] if found else None

    def _digest(self) -> str:
        """Return the digest of the version's image, empty when there is none."""
        try:
            images = self.run(dataflow.find_image(self.job, self.version))
            return dataflow.digest_of(self.version, images)
        except ValueError as error:
            raise DeploymentError(f"{error}; update gcloud and run again") from error

    def _push(self) -> str:
        """Build and push the version's image; return its digest."""
        image = self.job.image(self.version)
        if self.source is None:
            raise DeploymentError(f"{image}: there is no such image; {_NOT_BUILT_HERE}")
        self.tell(f"{image}: there is no such image; building it, then pushing it")
        self.run(dataflow.build_image(self.job, self.source, self.version))
        self.run(dataflow.push_image(self.job, self.source, self.version))
        if not (digest := self._digest()):
            raise DeploymentError(
                f"{image}: was pushed, and the registry does not have it; run again"
            )
        return digest

    def _publish(self, version: str) -> None:
        """Let DAGs start what runs now: the stream when it has died, and the replay."""
        self.run(dataflow.publish(self.job, version))
        self.run(dataflow.build_replay(self.job, self.version))

    def _snapshot(self) -> str:
        """Keep what the subscription has read; return the snapshot's name."""
        name = dataflow.snapshot_name(self.job, self.version, self.now)
        self.run(dataflow.snapshot(self.job, name))
        return name

    def _launch(self, labels: dict[str, str]) -> None:
        name = self._snapshot()
        job_id = self.run(dataflow.launch(self.job, self.version, labels))
        if (state := self._settle(job_id)) == _RUNNING:
            return
        failed = f"{self.job.name}: job {job_id} is in {state} after the launch"
        with self._going_back(failed, name):
            if state not in _ENDED:
                self.run(dataflow.cancel(self.job, job_id))
                self._settle(job_id, is_check=True)
            # It may have read for a moment; ids make the repetition harmless.
            self.run(dataflow.seek(self.job, name))
        raise DeploymentError(
            f"{failed}; none ran before and none runs now, what it may have read is read again by"
            f" the next one: {self._log(job_id)}, mend it and run again"
        )

    def _replace(self, former: Seen, labels: dict[str, str]) -> None:
        job_id = self.run(dataflow.validate(self.job, self.version, labels))
        if (state := self._settle(job_id, is_check=True)) != _DONE:
            raise DeploymentError(
                f"{self.job.name}: version {self.version} can't take over from {former.id} (check"
                f" {job_id} is in {state}), which runs on untouched: {self._log(job_id)}; drain it,"
                " then run again to launch without its state (docs/dataflow.md)"
            )
        name = self._snapshot()
        job_id = self.run(dataflow.launch(self.job, self.version, labels, is_update=True))
        if (state := self._settle(job_id)) == _RUNNING:
            return
        failed = (
            f"{self.job.name}: version {self.version} did not come to run (job {job_id} is in"
            f" {state})"
        )
        with self._going_back(failed, name):
            now = self._go_back(former, job_id, name)
        raise DeploymentError(f"{failed}; {now}; {self._log(job_id)}, mend it and run again")

    def _go_back(self, former: Seen, job_id: str, snapshot: str) -> str:
        """Bring the former version back; return what runs now."""
        if self._look(former.id).state == _RUNNING:
            if self._look(job_id).state not in _ENDED:
                self.run(dataflow.cancel(self.job, job_id))  # it has taken nothing over yet
            return f"{former.id} runs on"
        if self._look(job_id).state not in _ENDED:
            return (
                f"{job_id} has taken over from {former.id} and may yet run: wait for it, it holds"
                " what was read and not yet written"
            )
        if not former.version:
            return (
                f"{former.id} has ended and no deployment had launched it: seek the subscription to"
                f" snapshot {snapshot} and launch its template by hand"
            )
        # What they had read and not yet written is gone; ids make the repetition harmless.
        self.run(dataflow.seek(self.job, snapshot))
        again = self.run(dataflow.launch(self.job, former.version, former.labels))
        state = self._settle(again)
        if state != _RUNNING:
            return f"nor did {former.version} again (job {again} is in {state}): launch it by hand"
        return f"went back to version {former.version} (job {again})"

    @contextmanager
    def _going_back(self, failed: str, snapshot: str) -> Iterator[None]:
        """Say what is left to do by hand when going back is refused."""
        try:
            yield
        except DeploymentError as error:
            raise DeploymentError(
                f"{failed}, and going back stopped: {error}; before the next deployment end what"
                f" is starting and give `{shlex.join(dataflow.seek(self.job, snapshot))}`"
            ) from error

    def _settle(self, job_id: str, *, is_check: bool = False) -> str:
        """Wait until a job runs (a check never does) or has ended; return its state."""
        waited = 0.0
        while True:
            state = self._look(job_id).state
            is_there = state in _ENDED or (state == _RUNNING and not is_check)
            if is_there or waited >= self.limit:
                return state
            self.wait(POLL_SECONDS)
            waited += POLL_SECONDS

    def _look(self, job_id: str) -> Seen:
        text = self.run(dataflow.describe(self.job, job_id))
        try:
            found: dict[str, Any] = json.loads(text)
            labels = {key: found.get("labels", {}).get(key, "") for key in _LABELS}
            return Seen(found["id"], found["currentState"], labels)
        except (ValueError, KeyError, TypeError) as error:
            raise DeploymentError(
                f"job {job_id}: gcloud described it as {text[:200]!r}; update gcloud and run again"
            ) from error

    def _log(self, job_id: str) -> str:
        where = f"--region={self.job.region} --project={self.job.project}"
        return f"look at `gcloud dataflow jobs show {job_id} {where}` and its log"


def _labels(job: Job, version: str, fingerprint: str) -> dict[str, str]:
    values = (job.env, dataflow.label(version), fingerprint)
    return dict(zip(_LABELS, values, strict=True))
