"""`python -m deploy dags` against Cloud Storage: what is in the bucket afterwards, and refusals."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from deploy import bucket as deployment
from deploy.__main__ import main
from deploy.files import contents
from deploy.outputs import parse_outputs
from deploy.plan import Manifest
from deploy.steps import imports
from tests.deploy.test_outputs import GOOD
from tests.integration.conftest import Gcs, new_project
from tests.integration.dag_runs import Airflow

pytestmark = pytest.mark.integration

# What needs more than the modules of market_ops: templates, the package beside them, the project.
PROGRAM = """
import importlib, pkgutil, sys
import dbt.adapters.bigquery
import market_ops
from market_ops.dbt import project_folder
from market_ops.repair.frames import seal
from market_ops.repair.holes import SourceTrade
from market_ops.report import render
from market_ops.stream import page

for module in pkgutil.walk_packages(market_ops.__path__, "market_ops."):
    importlib.import_module(module.name)
assert (project_folder() / "dbt_project.yml").exists()
render._environment().get_template("report.html.j2")
page._template()
trade = SourceTrade(1, "2.5", "0.2", 1_770_000_000_000, True, False)
frames = seal("BTCUSDT", [trade], source="rest", epoch=7, sequence=1, received_at=1_770 * 10**12)
assert [*frames]
print(market_ops.__file__, sys.modules["market_data"].__file__)
"""


@pytest.fixture
def client(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    project = new_project()
    return storage.Client(project=project, credentials=AnonymousCredentials())


@pytest.fixture
def bucket(client: storage.Client) -> Iterator[storage.Bucket]:
    """A Composer environment's bucket of the test's own."""
    made = client.create_bucket(f"{client.project}-composer")
    yield made
    for blob in made.list_blobs():
        blob.delete()
    made.delete()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository that is deployed."""
    root = tmp_path / "repository"
    for name in (
        *("dags/a.py", "dags/b.py", "plugins/market_ops/x.py", "plugins/.airflowignore"),
        *("dbt/dbt_project.yml", "dbt/models/m.sql", "market_data/frames.py"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    monkeypatch.setattr("deploy.__main__.ROOT", root)
    return root


Run = Callable[..., int]


@pytest.fixture
def run(bucket: storage.Bucket, tmp_path: Path) -> Run:
    """Run the command for the test's bucket; `bucket=` names another one."""

    def run(*arguments: str, **change: Any) -> int:
        path = tmp_path / "outputs.json"
        document = {**GOOD, "composer_bucket": change.pop("bucket", bucket.name), **change}
        path.write_text(json.dumps(document))
        return main(["dags", "--env", "dev", "--outputs", str(path), *arguments])

    return run


def held(bucket: storage.Bucket) -> dict[str, int]:
    """Return the objects' generations by name, without the manifest."""
    return {
        blob.name: blob.generation
        for blob in bucket.list_blobs()
        if blob.name != deployment.MANIFEST
    }


def manifest(bucket: storage.Bucket) -> Manifest:
    return Manifest.decode(bucket.blob(deployment.MANIFEST).download_as_bytes())


def test_a_deployment_from_nothing_to_a_change(
    run: Run, tree: Path, bucket: storage.Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run") == 0
    assert "+ dags/a.py" in capsys.readouterr().out
    assert held(bucket) == {}

    assert run() == 0
    out = capsys.readouterr().out
    assert "deployed: 9 new, 0 changed, 0 gone, 0 unchanged" in out
    assert "gcloud composer environments run market-ops-dev" in out
    assert "variables import -- /home/airflow/gcs/data/market_ops/variables.json" in out
    first = held(bucket)
    assert set(first) == {
        *("dags/a.py", "dags/b.py", "dags/dbt/dbt_project.yml", "dags/dbt/models/m.sql"),
        *("plugins/.airflowignore", "plugins/market_ops/x.py", "plugins/market_data/frames.py"),
        *("data/market_ops/variables.json", "data/market_ops/connections.json"),
    }
    assert bucket.blob("dags/a.py").download_as_bytes() == b"# dags/a.py\n"

    assert run() == 0
    assert "deployed nothing: 0 new, 0 changed, 0 gone, 9 unchanged" in capsys.readouterr().out
    assert held(bucket) == first

    bucket.blob("dags/theirs.py").upload_from_string("# not ours")
    (tree / "dags" / "b.py").unlink()
    (tree / "plugins" / "market_ops" / "x.py").write_text("# changed\n")
    assert run("--dry-run") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == ["~ plugins/market_ops/x.py", "- dags/b.py"]
    assert set(held(bucket)) == {*first, "dags/theirs.py"}

    assert run() == 0
    now = held(bucket)
    assert set(now) == {*first, "dags/theirs.py"} - {"dags/b.py"}
    assert {name for name in first if name in now and now[name] != first[name]} == {
        "plugins/market_ops/x.py"
    }
    assert manifest(bucket).pending == frozenset()
    assert set(manifest(bucket).files) == set(now) - {"dags/theirs.py"}


def test_one_that_was_interrupted_is_run_again(
    run: Run, tree: Path, bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = deployment._upload

    def fail(bucket: storage.Bucket, name: str, data: bytes) -> None:
        if name == "dags/a.py":
            raise Forbidden("quota")
        upload(bucket, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "_upload", fail)
        assert run() == 1
    half = held(bucket)
    assert "plugins/market_ops/x.py" in half
    assert not any(name.startswith("dags/") and name.endswith(".py") for name in half)
    assert set(half) < manifest(bucket).pending

    (tree / "plugins" / "market_ops" / "x.py").rename(tree / "plugins" / "market_ops" / "y.py")
    assert run() == 0
    now = held(bucket)
    assert "plugins/market_ops/x.py" not in now
    assert {"plugins/market_ops/y.py", "dags/a.py", "dags/b.py"} <= set(now)
    kept = "plugins/market_data/frames.py"
    assert now[kept] == half[kept]


def test_a_file_that_somebody_changed_is_mended(
    run: Run, tree: Path, bucket: storage.Bucket
) -> None:
    assert run() == 0
    bucket.blob("dags/a.py").upload_from_string("# by hand")
    assert run() == 0
    assert bucket.blob("dags/a.py").download_as_bytes() == b"# dags/a.py\n"


def test_of_two_at_a_time_one_stops(
    run: Run,
    tree: Path,
    bucket: storage.Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upload, others = deployment._upload, []

    def meanwhile(bucket: storage.Bucket, name: str, data: bytes) -> None:
        if not others:
            others.append(name)
            assert run() == 0
        upload(bucket, name, data)

    monkeypatch.setattr(deployment, "_upload", meanwhile)
    assert run() == 1
    assert "another deployment has begun since" in capsys.readouterr().err
    assert manifest(bucket).pending == frozenset()


def test_refusals_say_what_to_do_and_change_nothing(
    run: Run,
    tree: Path,
    bucket: storage.Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(bucket="nobody-made-this-one") == 1
    assert "gs://nobody-made-this-one (dev): there is no such bucket" in capsys.readouterr().err

    assert run(composer_location="") == 2
    assert "composer_location: expected a region" in capsys.readouterr().err

    bucket.blob("dags/a.py").upload_from_string("# somebody's")
    assert run() == 1
    assert "would replace them: dags/a.py; move them away" in capsys.readouterr().err
    assert set(held(bucket)) == {"dags/a.py"}
    bucket.blob("dags/a.py").delete()

    bucket.blob(deployment.MANIFEST).upload_from_string("{}")
    assert run() == 1
    assert "data/market_ops/manifest.json: is not a manifest" in capsys.readouterr().err
    bucket.blob(deployment.MANIFEST).delete()

    def forbid(*arguments: Any, **options: Any) -> None:
        raise Forbidden("deployer does not have storage.objects.create access")

    monkeypatch.setattr(deployment, "_write_manifest", forbid)
    assert run() == 1
    assert "no permission (deployer does not have" in capsys.readouterr().err
    assert held(bucket) == {}


def test_the_repository_works_as_it_lies_in_a_bucket(
    gcs: Gcs, run: Run, bucket: storage.Bucket, tmp_path: Path
) -> None:
    """Synced as Composer does, and imported from there with nothing of the checkout on the path."""
    assert run() == 0
    home = tmp_path / "gcs"
    for blob in bucket.list_blobs():
        path = home / blob.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob.download_as_bytes())
    process = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            # Airflow puts both on the path in this order.
            "PYTHONPATH": f"{home / 'plugins'}{os.pathsep}{home / 'dags'}",
            "DBT_PROJECT_DIR": str(home / "dags" / "dbt"),
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    plugins = home / "plugins"
    assert process.stdout.splitlines()[-1] == (
        f"{plugins}/market_ops/__init__.py {plugins}/market_data/__init__.py"
    )


# Runs Airflow's own commands, then reads what tasks would.
IMPORTS = """
from airflow.cli.cli_parser import get_parser
from airflow.models import Connection, Variable
from airflow.utils.session import create_session
from market_ops.settings import parse_settings

def run(asked):
    for command in asked["commands"]:
        arguments = get_parser().parse_args(command)
        arguments.func(arguments)
    with create_session() as session:
        (variable,) = session.query(Variable).filter_by(key="market_ops")
        (connection,) = session.query(Connection).filter_by(conn_id="smtp_default")
        settings = parse_settings(json.loads(variable.val))
        return {"project": settings.project, "connection": [connection.host, connection.port]}

serve(run)
"""


def test_airflow_takes_the_files_of_variables_and_connections(
    tmp_path: Path, airflow_database: Path
) -> None:
    outputs = parse_outputs("dev", GOOD)
    for name, data in contents(tmp_path, outputs).items():
        (tmp_path / Path(name).name).write_bytes(data)
    home = tmp_path / "airflow"
    home.mkdir()
    commands = [command[command.index("--project") + 2 :] for command in imports(outputs)]
    with Airflow(IMPORTS, home, airflow_database, {}) as airflow:
        found = airflow.ask(
            settings={},
            commands=[
                [
                    str(tmp_path / Path(word).name) if word.startswith("/home/") else word
                    for word in command
                    if word != "--"
                ]
                for command in commands
            ],
        )
    assert found["project"] == "my-project"
    assert found["connection"] == ["smtp.example.com", 587]
