"""The streaming job of an environment, and the commands that deploy it. Pure of any cloud."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from deploy.commands import Command
from deploy.outputs import OutputsError, values_of

METADATA: Final = "beam_jobs/flex_template.json"
REPLAY_METADATA: Final = "beam_jobs/replay_template.json"
_VERSION: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job and what its workers are.

    Attributes:
        env: name of the environment of ours, as in dev.
        project: project of the job.
        region: its region.
        name: its name; Dataflow runs one of a name at a time.
        parameters: options of the pipeline by name, checked against the template.
        registry: where images are pushed to.
        bucket: of templates, staged and temporary files.
        machine_type: of the workers.
        max_workers: most workers that autoscaling may start.
        service_account: of the workers.
        subnetwork: of the workers.
    """

    env: str
    project: str
    region: str
    name: str
    parameters: Mapping[str, str]
    registry: str
    bucket: str
    machine_type: str
    max_workers: int
    service_account: str
    subnetwork: str

    @property
    def where(self) -> Command:
        """Flags of project and region."""
        return (f"--project={self.project}", f"--region={self.region}")

    @property
    def current(self) -> str:
        """Address of the template that was deployed last; `watch_stream` starts a job from it."""
        return f"gs://{self.bucket}/templates/{self.name}.json"

    @property
    def replay(self) -> str:
        """Address of the replay's template; the DAG `replay_archive` runs it."""
        return f"gs://{self.bucket}/templates/replay-archive.json"

    def template(self, version: str) -> str:
        """Return the address of a version's template; it is never written over by another one."""
        return f"gs://{self.bucket}/templates/{self.name}/{label(version)}.json"

    def image(self, version: str) -> str:
        """Return the image of a version."""
        return f"{self.registry}/beam:{version}"


@dataclass(frozen=True)
class Source:
    """What an image can be built from and with.

    Attributes:
        commit: what is checked out, unchanged.
        engine: docker or podman.
        arguments: more arguments of a build, such as a proxy's certificates.
    """

    commit: str
    engine: str = "docker"
    arguments: Command = ()


def parse_job(env: str, document: object, metadata: Mapping[str, Any], name: str) -> Job:
    """Check an environment's outputs.

    Args:
        env: name of the environment.
        document: its outputs.
        metadata: the template's, which says what parameters there are.
        name: of the outputs' file, for messages.

    Raises:
        OutputsError: names every mistake.
    """
    values = values_of(document, name)
    found: dict[str, Any] = {}
    mistakes = []
    for path, (key, pattern, expected) in _RULES.items():
        value = _at(values, path)
        if value is None:
            mistakes.append(f"{path}: is missing; expected {expected}")
        elif re.fullmatch(pattern, str(value)) is None or not isinstance(value, (str, int)):
            mistakes.append(f"{path}: expected {expected}, was {value!r}")
        else:
            found[key] = value
    parameters = _at(values, _PARAMETERS)
    mistakes += _mistakes_of_parameters(parameters, metadata)
    mistakes += _mistakes_of_projects(values)
    if mistakes:
        raise OutputsError("\n".join(f"{name}: {line}" for line in mistakes))
    return Job(
        env=env,
        **{**found, "max_workers": int(found["max_workers"])},
        parameters={key: str(value) for key, value in sorted(parameters.items())},
    )


def check_version(version: str) -> str:
    """Return the version.

    Raises:
        OutputsError: it can't be an image's tag and a label.
    """
    if not _VERSION.fullmatch(version) or version == "latest":
        raise OutputsError(
            "VERSION: expected what names one image for ever, as a commit or 1.2.3, was"
            f" {version!r}; commit all changes, or give --version"
        )
    return version


def label(version: str) -> str:
    """Return a version as a label's value, which has no dots."""
    return version.replace(".", "-")


def fingerprint(job: Job, digest: str) -> str:
    """Return what tells whether a job runs as it would be launched now: image, options, workers."""
    document = [digest, _workers(job), job.parameters]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


# --- commands


def find_active(job: Job) -> Command:
    """Return the command that prints the active jobs of the name."""
    filtered = ("--status=active", f"--filter=name={job.name}", "--format=value(id)")
    return ("gcloud", "dataflow", "jobs", "list", *job.where, *filtered)


def describe(job: Job, job_id: str) -> Command:
    """Return the command that prints a job."""
    return ("gcloud", "dataflow", "jobs", "describe", job_id, *job.where, "--format=json")


def find_image(job: Job, version: str) -> Command:
    """Return the command that prints what images of the job there are, as `digest_of` reads it."""
    image = job.image(version).rpartition(":")[0]
    wanted = (f"--project={job.project}", "--include-tags", "--format=json(version,tags)")
    return ("gcloud", "artifacts", "docker", "images", "list", image, *wanted)


def digest_of(version: str, images: str) -> str:
    """Return the digest of a version's image, empty when there is none.

    Args:
        version: its tag.
        images: what `find_image` printed. A filter of gcloud would compare tags as numbers.

    Raises:
        ValueError: that is nothing that gcloud prints.
    """
    try:
        found = {tag: each["version"] for each in json.loads(images or "[]") for tag in _tags(each)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"gcloud listed images as {images[:200]!r}") from error
    return str(found.get(version, ""))


def _tags(image: Mapping[str, Any]) -> list[str]:
    """Return the tags of an image; an older gcloud joins them, an image may have none."""
    tags = image.get("tags") or ""
    return [tag.strip() for tag in (tags.split(",") if isinstance(tags, str) else tags)]


def build_image(job: Job, source: Source, version: str) -> Command:
    """Return the command that builds a version's image from what is checked out."""
    image = job.image(version)
    arguments = {"VERSION": version, "REVISION": source.commit, "BEAM_JOBS_IMAGE": image}
    return (
        *(source.engine, "build", "--platform=linux/amd64", "--file=images/beam/Dockerfile"),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        *(*source.arguments, f"--tag={image}", "."),
    )


def push_image(job: Job, source: Source, version: str) -> Command:
    """Return the command that pushes a version's image."""
    return (source.engine, "push", job.image(version))


def build(job: Job, version: str, labels: Mapping[str, str]) -> Command:
    """Return the command that writes a version's template.

    It holds what workers are, so that whoever launches it later gets the same ones.
    """
    return (
        *_template(job, version, job.template(version), METADATA),
        *("--enable-streaming-engine", *_workers(job), _labels(labels)),
    )


def build_replay(job: Job, version: str) -> Command:
    """Return the command that makes a version's replay the current one: same image, same workers.

    A replay keeps no state and is launched by its DAG, so nothing is compared or replaced.
    """
    return (*_template(job, version, job.replay, REPLAY_METADATA), *_workers(job))


def launch(
    job: Job,
    version: str,
    labels: Mapping[str, str],
    *,
    is_update: bool = False,
    experiments: Iterable[str] = (),
) -> Command:
    """Return the command that launches a version's template and prints the job's id."""
    given = ",".join(f"{name}={value}" for name, value in job.parameters.items())
    return (
        *("gcloud", "dataflow", "flex-template", "run", job.name, *job.where),
        *(f"--template-file-gcs-location={job.template(version)}", f"--parameters={given}"),
        *("--enable-streaming-engine", *_workers(job), _labels(labels)),
        *(["--update"] if is_update else []),
        *(f"--additional-experiments={each}" for each in experiments),
        "--format=value(job.id)",
    )


def validate(job: Job, version: str, labels: Mapping[str, str]) -> Command:
    """Return the command that asks whether a version could replace the running job."""
    return launch(job, version, labels, is_update=True, experiments=["graph_validate_only"])


def snapshot(job: Job, name: str) -> Command:
    """Return the command that keeps the subscription's state for seven days."""
    subscription = f"--subscription={job.parameters['subscription']}"
    project = f"--project={job.project}"
    return ("gcloud", "pubsub", "snapshots", "create", name, subscription, project)


def seek(job: Job, name: str) -> Command:
    """Return the command that reads again everything that was unread at a snapshot."""
    subscription, project = job.parameters["subscription"], f"--project={job.project}"
    return (
        *("gcloud", "pubsub", "subscriptions", "seek", subscription),
        *(f"--snapshot={name}", project),
    )


def cancel(job: Job, job_id: str) -> Command:
    """Return the command that ends a replacement that has not begun."""
    return ("gcloud", "dataflow", "jobs", "cancel", job_id, *job.where)


def publish(job: Job, version: str) -> Command:
    """Return the command that makes a version the current one."""
    project = f"--project={job.project}"
    return ("gcloud", "storage", "cp", job.template(version), job.current, project)


def snapshot_name(job: Job, version: str, now: datetime) -> str:
    """Return a name for the snapshot before a deployment."""
    return f"{job.name}-{label(version)}-{now:%Y%m%d-%H%M%S}"


def _template(job: Job, version: str, address: str, metadata: str) -> Command:
    return (
        *("gcloud", "dataflow", "flex-template", "build", address, f"--project={job.project}"),
        *(f"--image={job.image(version)}", "--sdk-language=PYTHON", f"--metadata-file={metadata}"),
    )


def _workers(job: Job) -> Command:
    here = f"gs://{job.bucket}"
    return (
        *("--num-workers=1", f"--max-workers={job.max_workers}", "--disable-public-ips"),
        f"--worker-machine-type={job.machine_type}",
        *(f"--subnetwork={job.subnetwork}", f"--service-account-email={job.service_account}"),
        *(f"--staging-location={here}/staging", f"--temp-location={here}/temp"),
    )


def _labels(labels: Mapping[str, str]) -> str:
    return "--additional-user-labels=" + ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def _at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _mistakes_of_parameters(parameters: object, metadata: Mapping[str, Any]) -> list[str]:
    known = {each["name"]: each for each in metadata["parameters"]}
    if not isinstance(parameters, Mapping):
        return [f"{_PARAMETERS}: expected an object of the job's options, was {parameters!r}"]
    mistakes = [
        f"{_PARAMETERS}.{name}: there is no such option; known are {', '.join(known)}"
        for name in parameters
        if name not in known
    ]
    for name, parameter in known.items():
        if name not in parameters:
            if not parameter["isOptional"]:
                expected = parameter["helpText"]
                mistakes.append(f"{_PARAMETERS}.{name}: is missing; expected {expected}")
        # A comma would begin the next parameter on the command line.
        elif "," in (text := str(parameters[name])) or not all(
            re.search(regex, text) for regex in parameter["regexes"]
        ):
            expected = parameter["helpText"]
            mistakes.append(f"{_PARAMETERS}.{name}: expected {expected}, was {parameters[name]!r}")
    return mistakes


def _mistakes_of_projects(values: Mapping[str, Any]) -> list[str]:
    """Return what belongs to another project than the job; such outputs mix two environments."""
    project = _at(values, "market_ops.project")
    mistakes = []
    for path, pattern in _PROJECTS.items():
        match = re.match(pattern, str(_at(values, path)))
        if match and match[1] != project:
            mistakes.append(
                f"{path}: belongs to project {match[1]}, market_ops.project is {project}; take both"
                " from the same environment"
            )
    return mistakes


_PARAMETERS: Final = "market_ops.dataflow.parameters"
# How an output names its project.
_PROJECTS: Final[Mapping[str, str]] = {
    f"{_PARAMETERS}.subscription": r"projects/([^/]+)/",
    "dataflow_workers.service_account": r"[^@]+@([^.]+)\.iam\.",
    "registry": r"[a-z0-9-]+-docker\.pkg\.dev/([^/]+)/",
}
# By output: the attribute, what it must match, in words.
_RULES: Final[Mapping[str, tuple[str, str, str]]] = {
    "market_ops.project": (
        *("project", r"[a-z][a-z0-9-]{4,28}[a-z0-9]"),
        "a project id as my-project",
    ),
    "market_ops.dataflow.region": (*("region", r"[a-z]+-[a-z]+\d+"), "a region as europe-west1"),
    "market_ops.dataflow.job_name": (
        *("name", r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"),
        "up to 40 lower-case letters, digits and hyphens",
    ),
    "registry": (
        *("registry", r"[a-z0-9.-]+(/[a-z0-9._-]+)+"),
        "a registry as europe-west1-docker.pkg.dev/my-project/images",
    ),
    "dataflow_bucket": (
        *("bucket", r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
        "a bucket's name as my-project-dataflow",
    ),
    "dataflow_workers.machine_type": (
        *("machine_type", r"[a-z][a-z0-9]*-[a-z0-9-]+"),
        "a machine type as n2-standard-2",
    ),
    "dataflow_workers.max_workers": (
        *("max_workers", r"[1-9]\d{0,2}"),
        "a number of workers from 1 to 999",
    ),
    "dataflow_workers.service_account": (
        *("service_account", r"[a-z][a-z0-9-]*@[a-z0-9.-]+\.gserviceaccount\.com"),
        "a service account's address",
    ),
    "dataflow_workers.subnetwork": (
        *(
            "subnetwork",
            r"(https://\S+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+",
        ),
        "a subnetwork as regions/europe-west1/subnetworks/platform",
    ),
}
