"""Carries a plan out on a Composer environment's bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
    Unauthorized,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests.exceptions import RequestException

from deploy.files import DATA
from deploy.outputs import Outputs
from deploy.plan import ForeignFiles, Manifest, ManifestError, Plan, begun, plan

MANIFEST: Final = f"{DATA}/manifest.json"
FOLDERS: Final = ("dags/", "plugins/", f"{DATA}/")
SHA256: Final = "sha256"
_TIMEOUT_SECONDS: Final = 60.0


class DeploymentError(Exception):
    """A deployment that was stopped; says why and what to do."""


def show(outputs: Outputs, wanted: Mapping[str, bytes]) -> str:
    """Return the difference between a bucket and what it should hold; change nothing.

    Raises:
        DeploymentError: the bucket can't be read.
    """
    with _explained(outputs):
        _, _, actions = _look(_bucket(outputs), wanted)
    return "\n".join([*actions.lines(), f"dry run: {_summary(actions)} in {_name(outputs)}"])


def deploy(outputs: Outputs, wanted: Mapping[str, bytes]) -> str:
    """Make a bucket hold what it should; return a summary.

    The manifest is written first, with the names that are about to change, and last. Both times
    only if nobody has written it since it was read: of two deployments at a time one stops.

    Raises:
        DeploymentError: the bucket can't be read or written.
    """
    with _explained(outputs):
        bucket = _bucket(outputs)
        former, generation, actions = _look(bucket, wanted)
        final = Manifest(_digests(wanted))
        if not actions and former == final:
            return f"deployed nothing: {_summary(actions)} in {_name(outputs)}"
        generation = _write_manifest(bucket, begun(former, actions), generation)
        for name in actions.uploads:
            _upload(bucket, name, wanted[name])
        for name in actions.deletes:
            _delete(bucket, name)
        _write_manifest(bucket, final, generation)
    return "\n".join([*actions.lines(), f"deployed: {_summary(actions)} in {_name(outputs)}"])


def check_labels(labels: Mapping[str, str], outputs: Outputs) -> None:
    """Make sure that a bucket is the environment's; Composer labels those that it makes.

    Raises:
        DeploymentError: it is another environment's.
    """
    expected = {
        "goog-composer-environment": outputs.composer_environment,
        "goog-composer-location": outputs.composer_location,
    }
    for label, value in expected.items():
        if labels.get(label, value) != value:
            raise DeploymentError(
                f"{_name(outputs)}: its label {label} is {labels[label]}, the outputs say {value};"
                " take both from the same environment"
            )


def _bucket(outputs: Outputs) -> storage.Bucket:
    """Return the bucket; no call is retried, they are repeated by running the deployment again."""
    client = storage.Client(project=outputs.market_ops["project"])
    bucket = client.get_bucket(outputs.composer_bucket, timeout=_TIMEOUT_SECONDS, retry=None)
    check_labels(bucket.labels, outputs)
    return bucket


def _look(bucket: storage.Bucket, wanted: Mapping[str, bytes]) -> tuple[Manifest, int, Plan]:
    former, generation = _read_manifest(bucket)
    found: dict[str, str | None] = {}
    for folder in FOLDERS:
        for blob in bucket.list_blobs(prefix=folder, timeout=_TIMEOUT_SECONDS, retry=None):
            found[blob.name] = (blob.metadata or {}).get(SHA256)
    return former, generation, plan(_digests(wanted), found, former)


def _read_manifest(bucket: storage.Bucket) -> tuple[Manifest, int]:
    """Return the manifest and its generation, 0 where there is none."""
    blob = bucket.get_blob(MANIFEST, timeout=_TIMEOUT_SECONDS, retry=None)
    if blob is None:
        return Manifest(), 0
    data = blob.download_as_bytes(
        if_generation_match=blob.generation, timeout=_TIMEOUT_SECONDS, retry=None
    )
    return Manifest.decode(data), int(blob.generation)


def _write_manifest(bucket: storage.Bucket, manifest: Manifest, generation: int) -> int:
    blob = bucket.blob(MANIFEST)
    blob.upload_from_string(
        manifest.encode(),
        content_type="application/json",
        if_generation_match=generation,
        timeout=_TIMEOUT_SECONDS,
        retry=None,
    )
    return int(blob.generation)


def _upload(bucket: storage.Bucket, name: str, data: bytes) -> None:
    blob = bucket.blob(name)
    blob.metadata = {SHA256: _digest(data)}
    blob.upload_from_string(
        data,
        content_type="application/octet-stream",
        checksum="md5",
        timeout=_TIMEOUT_SECONDS,
        retry=None,
    )


def _delete(bucket: storage.Bucket, name: str) -> None:
    try:
        bucket.blob(name).delete(timeout=_TIMEOUT_SECONDS, retry=None)
    except NotFound:
        return  # somebody was faster; it is gone all the same


def _digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _digest(data) for name, data in contents.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _summary(actions: Plan) -> str:
    new, uploads = len(actions.new), len(actions.uploads)
    return (
        f"{new} new, {uploads - new} changed, {len(actions.deletes)} gone,"
        f" {actions.unchanged} unchanged"
    )


def _name(outputs: Outputs) -> str:
    return f"gs://{outputs.composer_bucket} ({outputs.env})"


@contextmanager
def _explained(outputs: Outputs) -> Iterator[None]:
    """Say in one sentence what the cloud refused and what to do about it."""
    name = _name(outputs)
    try:
        yield
    except NotFound as error:
        raise DeploymentError(
            f"{name}: there is no such bucket; is the environment"
            f" {outputs.composer_environment} made (terraform apply), and composer_bucket its?"
        ) from error
    except (Forbidden, Unauthorized) as error:
        raise DeploymentError(
            f"{name}: no permission ({_reason(error)}); the deploying account needs"
            " roles/storage.objectUser and storage.buckets.get on the bucket"
        ) from error
    except PreconditionFailed as error:
        raise DeploymentError(
            f"{name}: another deployment has begun since this one looked; wait for its end and run"
            " this one again"
        ) from error
    except ForeignFiles as error:
        raise DeploymentError(
            f"{name}: these objects were not written by a deployment, and ours would replace them:"
            f" {error}; move them away, then run again"
        ) from error
    except ManifestError as error:
        raise DeploymentError(
            f"{name}: {MANIFEST}: {error}; restore it from an older generation, or move it away and"
            " delete what it named by hand"
        ) from error
    except GoogleAuthError as error:
        raise DeploymentError(
            f"{name}: nobody is logged in ({_reason(error)}); run `gcloud auth application-default"
            " login`"
        ) from error
    except (GoogleAPIError, RequestException) as error:
        raise DeploymentError(
            f"{name}: {_reason(error)}; nothing is lost: run the same command again"
        ) from error


def _reason(error: Any) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())[:300]
