"""Outputs of an environment: every mistake is named before anything is touched."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.outputs import EXAMPLE, FOLDER, OutputsError, parse_outputs, read_outputs
from sandbox.settings import ROOT

EXAMPLES = ROOT / FOLDER
GOOD: dict[str, Any] = json.loads((EXAMPLES / f"{EXAMPLE}.json").read_text("utf-8"))


def test_the_example_is_good() -> None:
    outputs = parse_outputs("dev", GOOD)
    assert outputs.composer_bucket == "europe-west1-market-ops-dev-bucket"
    assert outputs.market_ops["project"] == "my-project"
    assert list(outputs.connections) == ["smtp_default"]


def test_terraforms_wrapping_is_taken_off() -> None:
    wrapped = {
        name: {"value": value, "type": "string", "sensitive": False} for name, value in GOOD.items()
    }
    wrapped["composer_bucket"]["value"] = "gs://europe-west1-x-bucket/dags"
    assert parse_outputs("dev", wrapped).composer_bucket == "europe-west1-x-bucket"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"composer_bucket": None}, "composer_bucket: expected a bucket as europe-west1-"),
        ({"composer_location": "EU"}, "composer_location: expected a region as europe-west1"),
        ({"market_ops": {"project": "my-project"}}, "market_ops: bucket: is missing"),
        ({"market_ops": {**GOOD["market_ops"], "buckt": 1}}, "market_ops: buckt: there is no such"),
        ({"connections": []}, "connections: expected an object by id, was []"),
        ({"connections": {"a": {"host": "x"}}}, "connections: a: expected an object with a conn_"),
        (
            {"connections": {"slack": {"conn_type": "slackwebhook", "password": "hush"}}},
            "connections: slack: password: is a secret; keep the connection in Secret Manager as"
            " airflow-connections-slack",
        ),
        ({"connections": {"g": {"conn_type": "x", "extra": {"token": "hush"}}}}, "g: token: is a"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(OutputsError) as caught:
        parse_outputs("dev", {**GOOD, **change}, "dev.json")
    assert str(caught.value).startswith(f"dev.json: {said}") or said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_all_missing_values_are_named_together() -> None:
    with pytest.raises(OutputsError) as caught:
        parse_outputs("dev", {})
    assert str(caught.value).count(": is missing; expected ") == 4


def test_something_else_is_no_outputs() -> None:
    with pytest.raises(OutputsError, match="expected an object of outputs, was 1"):
        parse_outputs("dev", 1)


@pytest.mark.parametrize("env", ["", "Dev", "../dev", EXAMPLE])
def test_an_environment_has_a_name(env: str, tmp_path: Path) -> None:
    (tmp_path / "prod.json").write_text("{}")
    with pytest.raises(OutputsError, match=r"^ENV: expected .*; known are prod$"):
        read_outputs(env, None, tmp_path)


def test_an_unknown_environment_is_told_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text("{}")
    with pytest.raises(OutputsError, match=r"staging\.json: there is no .* known are dev; write"):
        read_outputs("staging", None, tmp_path)


@pytest.mark.parametrize("wrap", [str, lambda name: {"value": name, "type": "string"}])
def test_outputs_of_another_environment_are_refused(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({**GOOD, "environment": wrap("prod")}))
    with pytest.raises(OutputsError, match=r"dev\.json: environment: expected 'dev', was 'prod'; "):
        read_outputs("dev", path, tmp_path)
    path.write_text(json.dumps({**GOOD, "environment": wrap("dev")}))
    assert read_outputs("dev", path, tmp_path).env == "dev"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text("{")
    with pytest.raises(OutputsError, match=r"dev\.json: is not JSON"):
        read_outputs("dev", path, tmp_path)
