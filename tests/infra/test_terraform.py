"""What Terraform itself says, where it is installed: form, values, the tables that it would make.

Its providers come from a registry, so nothing here has a provider: folders with variables and
local values only.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.outputs import parse_outputs
from market_data.tables import TABLES, schema_document
from tests.infra import hcl

TERRAFORM = shutil.which("terraform") or shutil.which("tofu")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(TERRAFORM is None, reason="neither terraform nor tofu is installed"),
]
GOOD = {
    "project": "my-project",
    "state_bucket": "my-project-state",
    "mail": ["data@example.com"],
    "web_ranges": {"office": "203.0.113.0/24"},
    "budget": 500,
}


def terraform(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    assert TERRAFORM is not None
    environment = {name: value for name, value in os.environ.items() if name[:3] != "TF_"}
    return subprocess.run(
        [TERRAFORM, *arguments],
        cwd=folder,
        env={**environment, "CHECKPOINT_DISABLE": "1"},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


def plan(folder: Path, values: dict[str, object]) -> subprocess.CompletedProcess[str]:
    shutil.copy(hcl.ENVIRONMENTS[0] / "variables.tf", folder)
    (folder / "terraform.tfvars.json").write_text(json.dumps(values), "utf-8")
    assert terraform(folder, "init", "-backend=false").returncode == 0
    return terraform(folder, "plan", "-input=false", "-no-color", "-lock=false")


def test_files_are_formatted() -> None:
    done = terraform(hcl.INFRA, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


def test_formatting_can_be_wrong(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("locals {\n a = 1\n}\n", "utf-8")
    assert terraform(tmp_path, "fmt", "-check").returncode != 0


def test_good_values_are_accepted(tmp_path: Path) -> None:
    image = "europe-west1-docker.pkg.dev/my-project/images/collector:1.2.3"
    done = plan(tmp_path, {**GOOD, "collector_image": image})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", "My_Project"),
        ("state_bucket", "gs://my-state"),
        ("region", "europe"),
        ("zones", ["europe-west1-b", "europe-west1-b"]),
        ("zones", ["europe-west1-b", "us-east1-c"]),
        ("location", "ASIA"),
        ("mail", []),
        ("web_ranges", {"all": "everywhere"}),
        ("collector_image", "collector"),
        ("collector_image", "europe-west1-docker.pkg.dev/my-project/images/collector:latest"),
        ("job_template", "templates/stream.json"),
        ("is_job_terraforms", True),
        ("replay_template", "gs://bucket"),
        ("readers", ["allUsers"]),
        ("connections", {"smtp_default": {"conn_type": "smtp", "password": "x"}}),
        ("secrets", ["no spaces"]),
        ("repository", "name"),
        ("billing_account", "12"),
        ("budget", 0.5),
    ],
)
def test_bad_values_are_named(tmp_path: Path, name: str, value: object) -> None:
    done = plan(tmp_path, {**GOOD, name: value})
    assert done.returncode != 0
    assert f"{name}: expected " in " ".join(done.stderr.split())


def test_missing_values_are_named(tmp_path: Path) -> None:
    done = plan(tmp_path, {name: value for name, value in GOOD.items() if name != "project"})
    assert done.returncode != 0
    assert 'variable "project" is not set' in done.stderr


def test_tables_are_those_of_market_data(tmp_path: Path) -> None:
    source = hcl.INFRA / "modules" / "warehouse" / "tables.tf"
    schemas = hcl.ROOT / "market_data" / "schemas"
    text = source.read_text("utf-8").replace(
        "${path.module}/../../../market_data/schemas", str(schemas)
    )
    (tmp_path / "tables.tf").write_text(text, "utf-8")
    terraform(tmp_path, "init")
    done = terraform(tmp_path, "console", text="jsonencode(local.tables)\n")
    found = json.loads(json.loads(done.stdout))
    assert found == {table.full_name: json.loads(schema_document(table)) for table in TABLES}
    assert (source.parent / "../../../market_data/schemas").resolve() == schemas


def test_packages_of_composer(tmp_path: Path) -> None:
    source = hcl.text_of(hcl.INFRA / "modules" / "composer")
    (line,) = (line for line in source.splitlines() if line.startswith("  requirements "))
    (value,) = (line for line in source.splitlines() if "pypi_packages" in line)
    requirements = hcl.ROOT / "dags" / "requirements.txt"
    line = line.replace("${path.module}/../../../dags/requirements.txt", str(requirements))
    (tmp_path / "main.tf").write_text(f"locals {{\n{line}\n{value}\n}}\n", "utf-8")
    terraform(tmp_path, "init")
    done = terraform(tmp_path, "console", text="jsonencode(local.pypi_packages)\n")
    found = json.loads(json.loads(done.stdout))
    wanted = [text for text in requirements.read_text("utf-8").splitlines() if "==" in text]
    assert sorted(name + version for name, version in found.items()) == sorted(wanted)


def test_outputs_are_what_a_deployment_accepts(tmp_path: Path) -> None:
    folder = hcl.INFRA / "modules" / "platform"
    text = hcl.text_of(folder)
    values: dict[str, object] = {}
    stands_for = {
        "composer_bucket": '"europe-west1-market-ops-dev-bucket"',
        "composer_environment": '"market-ops-dev"',
    }
    for name in ("composer_bucket", "composer_environment", "composer_location", "market_ops"):
        found = re.search(rf'output "{name}" .*?\n  value\s+= (.*?)\n}}\n', text, re.DOTALL)
        assert found is not None
        given = re.sub(r"module\.\w+\[\*\]\.url", '["http://10.20.0.2:8080"]', found[1])
        given = given.replace("module.composer.page_url", '"https://airflow.example.com"')
        given = re.sub(r"module\.\w+\.\w+", stands_for.get(name, '"binance-frames"'), given)
        given = given.replace("var.region", '"europe-west1"').replace("var.location", '"EU"')
        given = given.replace("var.project", '"my-project"').replace(
            "var.mail", '["a@example.com"]'
        )
        given = given.replace("var.job_template", '"gs://b/t.json"')
        given = given.replace("var.replay_template", "null")
        values[name] = given
    lines = "".join(f"  {name} = {value}\n" for name, value in values.items())
    job = '  job_name = "stream-trades"\n  job_parameters = { archive = "gs://b" }\n'
    (tmp_path / "main.tf").write_text(f"locals {{\n{job}{lines}}}\n", "utf-8")
    terraform(tmp_path, "init")
    wanted = ", ".join(f"{name} = local.{name}" for name in values)
    done = terraform(tmp_path, "console", text=f"jsonencode({{ {wanted} }})\n")
    assert done.returncode == 0, done.stderr
    outputs = parse_outputs("dev", json.loads(json.loads(done.stdout)))
    assert outputs.market_ops["dataflow"]["template"] == "gs://b/t.json"
    assert "replay_template" not in outputs.market_ops["dataflow"]
    assert outputs.market_ops["collector_urls"] == ["http://10.20.0.2:8080"] * 2


def test_a_collectors_machine_is_told_what_to_run(tmp_path: Path) -> None:
    shutil.copy(hcl.INFRA / "modules" / "collector" / "cloud-init.yaml.tftpl", tmp_path)
    given = 'environment = { A = "1", B = "x y" }, image = "r/i:1", port = 8080, registry = "r"'
    done = terraform(
        tmp_path,
        "console",
        text=f'jsonencode(templatefile("cloud-init.yaml.tftpl", {{ {given} }}))\n',
    )
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(json.loads(json.loads(done.stdout)))
    files = {each["path"]: each["content"] for each in document["write_files"]}
    assert files["/etc/collector.env"] == "A=1\nB=x y\n"
    unit = files["/etc/systemd/system/collector.service"]
    assert "--publish 8080:8080 r/i:1\n" in unit
    for hardening in ("--read-only", "--cap-drop ALL", "--user 10001:10001", "no-new-privileges"):
        assert hardening in unit


def test_alerts_as_terraform_computes_them(tmp_path: Path) -> None:
    folder = hcl.INFRA / "modules" / "monitoring"
    (values,) = re.findall(r"(?ms)^locals \{.*?^\}", hcl.text_of(folder))
    values = values.replace("${var.project}", "my-project").replace("var.scanned_tb_a_day", "2")
    values = re.sub(r"\$\{var\.\w+\}", "name", values).replace("${2}", "2")
    (tmp_path / "main.tf").write_text(values, "utf-8")
    terraform(tmp_path, "init")
    done = terraform(tmp_path, "console", text="jsonencode([local.alerts, local.tiles])\n")
    assert done.returncode == 0, done.stderr
    alerts, tiles = json.loads(json.loads(done.stdout))
    assert alerts["cost"]["limit"] == 2_000_000_000_000
    assert set(alerts) < set(tiles)
    for alert in alerts.values():
        assert alert["seconds"] % 60 == 0
        assert alert["for"] % 60 == 0
