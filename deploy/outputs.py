"""What an environment is: Terraform's outputs, as `terraform output -json` prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from plugins.market_ops.settings import SettingsError, parse_settings

FOLDER: Final = "deploy/environments"
EXAMPLE: Final = "example"
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
# What a connection must not bring in a file: these belong into Secret Manager.
_SECRETS: Final = frozenset({"password", "token", "keyfile_dict", "private_key"})


class OutputsError(ValueError):
    """An environment that can't be deployed to; a line for each mistake."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """A Composer environment and what its DAGs are told.

    Attributes:
        env: name of the environment of ours, as in dev.
        composer_bucket: bucket of the Composer environment, without `gs://`.
        composer_environment: name of the Composer environment.
        composer_location: its region.
        market_ops: the Variable `market_ops`, checked.
        connections: connections without secrets, by id.
    """

    env: str
    composer_bucket: str
    composer_environment: str
    composer_location: str
    market_ops: Mapping[str, Any]
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_outputs(env: str, path: Path | None, folder: Path) -> Outputs:
    """Read what `deploy dags` needs of an environment's outputs.

    Raises:
        OutputsError: the environment is unknown or its outputs are wrong.
    """
    return parse_outputs(env, *read_document(env, path, folder))


def read_document(env: str, path: Path | None, folder: Path) -> tuple[object, str]:
    """Read the outputs of an environment; return them and the name of the file.

    Args:
        env: name of the environment.
        path: file with the outputs; else `ENV.json` in `folder`.
        folder: of the environments.

    Raises:
        OutputsError: the environment is unknown, or the file is missing, no JSON or another's.
    """
    known = ", ".join(sorted(each.stem for each in folder.glob("*.json") if each.stem != EXAMPLE))
    if not _ENVIRONMENT.fullmatch(env) or env == EXAMPLE:
        raise OutputsError(
            f"ENV: expected the name of an environment as dev, was {env!r}; known are"
            f" {known or 'none'}"
        )
    path = path or folder / f"{env}.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise OutputsError(
            f"{path}: there is no such environment; known are {known or 'none'}; write the file"
            f" with `terraform output -json`, {folder / EXAMPLE}.json shows what it must hold"
        ) from None
    except ValueError as error:
        raise OutputsError(f"{path}: is not JSON ({error}); write it anew") from None
    named = values_of(document, str(path)).get("environment", env)
    if named != env:
        raise OutputsError(
            f"{path}: environment: expected {env!r}, was {named!r}; these are another environment's"
            f" outputs: write them anew with `terraform -chdir=infra/environments/{env} output"
            " -json`"
        )
    return document, str(path)


def parse_outputs(env: str, document: object, name: str = "outputs") -> Outputs:
    """Check outputs: values by name, or Terraform's objects with a `value` each.

    Args:
        env: name of the environment.
        document: the file's content.
        name: of the file, for messages.

    Raises:
        OutputsError: names every mistake.
    """
    values = values_of(document, name)
    mistakes = []
    for key, (pattern, expected) in _TEXTS.items():
        if key not in values:
            mistakes.append(f"{key}: is missing; expected {expected}")
        elif not (isinstance(values[key], str) and re.fullmatch(pattern, values[key])):
            mistakes.append(f"{key}: expected {expected}, was {values[key]!r}")
    mistakes += _mistakes_of_variable(values)
    mistakes += _mistakes_of_connections(values.get("connections", {}))
    if mistakes:
        raise OutputsError("\n".join(f"{name}: {line}" for line in mistakes))
    return Outputs(
        env=env,
        composer_bucket=values["composer_bucket"].removeprefix("gs://").removesuffix("/dags"),
        composer_environment=values["composer_environment"],
        composer_location=values["composer_location"],
        market_ops=values["market_ops"],
        connections=values.get("connections", {}),
    )


def values_of(document: object, name: str) -> dict[str, Any]:
    """Return the outputs' values by name.

    Raises:
        OutputsError: the document has none.
    """
    if not isinstance(document, Mapping):
        raise OutputsError(f"{name}: expected an object of outputs, was {document!r}")
    return {key: _value(each) for key, each in document.items()}


def _value(output: object) -> Any:
    """Return an output's value; Terraform wraps it with its type."""
    if isinstance(output, Mapping) and "value" in output and "type" in output:
        return output["value"]
    return output


def _mistakes_of_variable(values: Mapping[str, Any]) -> list[str]:
    if "market_ops" not in values:
        return ["market_ops: is missing; expected the Variable's object (docs/airflow.md)"]
    try:
        parse_settings(values["market_ops"])
    except SettingsError as error:
        return str(error).replace("Variable market_ops", "market_ops").splitlines()
    return []


def _mistakes_of_connections(connections: object) -> list[str]:
    if not isinstance(connections, Mapping):
        return [f"connections: expected an object by id, was {connections!r}"]
    mistakes = []
    for name, connection in connections.items():
        if not isinstance(connection, Mapping) or "conn_type" not in connection:
            mistakes.append(f"connections: {name}: expected an object with a conn_type")
        else:
            # The value stays out of the message: it is a secret.
            mistakes += [
                f"connections: {name}: {secret}: is a secret; keep the connection in Secret Manager"
                f" as airflow-connections-{name} (docs/composer.md)"
                for secret in sorted(_SECRETS & (set(connection) | set(_extra(connection))))
            ]
    return mistakes


def _extra(connection: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = connection.get("extra", {})
    return extra if isinstance(extra, Mapping) else {}


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "composer_bucket": (
        r"(gs://)?[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/dags)?",
        "a bucket as europe-west1-market-ops-bucket or gs://…/dags",
    ),
    "composer_environment": (r"[a-z][a-z0-9-]{0,62}", "a Composer environment as market-ops-dev"),
    "composer_location": (r"[a-z]+-[a-z]+\d+", "a region as europe-west1"),
}
