"""Terraform says the same as the code: tables, settings, options, texts of logs, outputs."""

import dataclasses
import json
import re

import pytest

from beam_jobs.options import StreamOptions
from collector.settings import VARIABLES
from deploy import outputs as deploy_outputs
from deploy.steps import TASKS
from market_data.tables import DATASETS, SCHEMAS, TABLES
from plugins.market_ops.settings import Settings
from plugins.market_ops.stream.decisions import Cause
from tests.docs import markdown
from tests.infra import hcl
from tests.infra.grants import grants as grants_of_terraform

MODULES = hcl.INFRA / "modules"
PLATFORM = MODULES / "platform"
RUNBOOK = hcl.ROOT / "docs" / "runbook.md"


def local(module: str, name: str) -> str:
    """Return the text of a local value, without comments."""
    text = hcl.text_of(MODULES / module)
    found = re.search(rf"(?ms)^  {name}\s+= (.*?)(?=^  \w+\s+= |^\}})", text)
    assert found is not None, name
    return found[1]


def keys(text: str, indent: int = 4) -> set[str]:
    return set(re.findall(rf"(?m)^ {{{indent}}}([\w-]+)\s+=", text))


def test_every_output_that_a_deployment_reads() -> None:
    fields = {field.name for field in dataclasses.fields(deploy_outputs.Outputs)} - {"env"}
    fields |= set(json.loads((hcl.ROOT / "deploy" / "environments" / "example.json").read_text()))
    for folder in (PLATFORM, *hcl.ENVIRONMENTS):
        assert fields <= set(hcl.of_kind(folder, "output")), folder.name


def test_environments_hand_on_every_output_of_the_platform() -> None:
    for folder in hcl.ENVIRONMENTS:
        shown = hcl.of_kind(folder, "output")
        assert set(shown) == set(hcl.of_kind(PLATFORM, "output"))
        for name, output in shown.items():
            assert output.body["value"] == f"${{module.platform.{name}}}"


def test_variable_of_the_dags_has_known_settings() -> None:
    value = hcl.of_kind(PLATFORM, "output")["market_ops"].body["value"]
    assert set(value) <= {field.name for field in dataclasses.fields(Settings)}
    assert {"project", "bucket", "location", "topic", "subscription", "dataflow"} <= set(value)


def test_datasets_and_tables_are_those_of_market_data() -> None:
    assert keys(local("warehouse", "datasets")) == set(DATASETS)
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {table.full_name for table in TABLES}
    assert "market_data/schemas" in local("warehouse", "schemas")
    table = hcl.of_kind(MODULES / "warehouse", "resource")["google_bigquery_table.all"]
    assert table.body["for_each"] == "${local.tables}"
    assert {"schema", "clustering", "require_partition_filter", "time_partitioning"} <= set(
        table.body
    )
    # Read, never written again: no column of a table stands in Terraform.
    text = hcl.text_of(MODULES / "warehouse")
    assert not [each.name for each in TABLES[0].columns if f'"{each.name}"' in text]


def test_the_job_is_given_options_that_it_has() -> None:
    parser = StreamOptions(["--streaming"])
    known = set(parser.get_all_options())
    assert keys(local("platform", "job_parameters")) <= known


def test_collectors_are_given_variables_that_they_have() -> None:
    known = {variable.name for variable in VARIABLES.values()}
    given = set(re.findall(r"\b((?:BINANCE|COLLECTOR|PUBSUB)_[A-Z_]+)\s+=", "".join(
        hcl.text_of(folder) for folder in (MODULES / "collector", *hcl.ENVIRONMENTS)
    )))  # fmt: skip
    assert given
    assert given <= known


def test_collectors_settings_are_accepted() -> None:
    for folder in hcl.ENVIRONMENTS:
        settings = hcl.of_kind(folder, "module")["platform"].body["collector_settings"]
        for name, text in settings.items():
            (variable,) = (each for each in VARIABLES.values() if each.name == name)
            variable.parse(text)


def test_two_collectors_in_two_zones_one_after_the_other() -> None:
    calls = hcl.of_kind(PLATFORM, "module")
    first, second = calls["first_collector"].body, calls["second_collector"].body
    assert {first["zone"], second["zone"]} == {"${var.zones[0]}", "${var.zones[1]}"}
    assert first["collector_id"] != second["collector_id"]
    assert "module.first_collector" in str(second["depends_on"])


def test_collector_is_watched_where_it_answers() -> None:
    resources = hcl.of_kind(MODULES / "collector", "resource")
    (check,) = resources["google_compute_health_check.this"].body["http_health_check"]
    assert check["request_path"] == "/healthz"
    assert 'add_get("/healthz"' in (hcl.ROOT / "collector" / "http.py").read_text("utf-8")
    group = resources["google_compute_instance_group_manager.this"].body
    # An image that does not get healthy ends the apply, and the second collector is not touched.
    assert group["auto_healing_policies"]
    assert (group["wait_for_instances"], group["wait_for_instances_status"]) == (True, "UPDATED")
    assert group["stateful_disk"] == [{"device_name": "spool", "delete_rule": "NEVER"}]


def test_subscription_keeps_what_was_acknowledged() -> None:
    job = hcl.of_kind(MODULES / "stream", "resource")["google_pubsub_subscription.job"].body
    assert job["retain_acked_messages"] is True
    assert job["expiration_policy"] == [{"ttl": ""}]
    assert job["dead_letter_policy"]


def test_job_streams_scales_and_drains() -> None:
    (job,) = hcl.of_kind(MODULES / "job", "resource").values()
    assert job.body["enable_streaming_engine"] is True
    assert job.body["autoscaling_algorithm"] == "THROUGHPUT_BASED"
    assert job.body["on_delete"] == "drain"


def test_tasks_environment_is_what_a_deployment_says() -> None:
    (environment,) = hcl.of_kind(MODULES / "composer", "resource")[
        "google_composer_environment.this"
    ].body["config"]
    (software,) = environment["software_config"]
    assert software["env_variables"] == TASKS


def test_packages_are_those_of_the_dags() -> None:
    pattern = r"(?m)^([A-Za-z0-9._-]+)(\[[^\]]*\])?(==\S+)$"
    assert pattern.replace("\\", "\\\\") in local("composer", "requirements")
    lines = (hcl.ROOT / "dags" / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(re.findall(pattern, "\n".join(lines))) == len(wanted)


def test_alerts_listen_for_texts_that_are_logged() -> None:
    code = "".join(path.read_text("utf-8") for path in (hcl.ROOT / "collector").rglob("*.py"))
    texts = re.findall(r'message:\\"([a-z][^\\]*)\\"', local("monitoring", "log_metrics"))
    assert len(texts) == 3
    for text in texts:
        assert text in code, text
    dag = (hcl.ROOT / "dags" / "watch_stream.py").read_text("utf-8")
    assert 'dag_id="watch_stream"' in dag or "def watch_stream(" in dag


def test_alerts_have_metrics_and_incidents() -> None:
    limits, silences = local("monitoring", "alerts"), local("monitoring", "silences")
    metrics = keys(local("monitoring", "log_metrics"))
    asked = set(re.findall(r"logging.googleapis.com/user/(\w+)", limits))
    assert asked == metrics
    incidents = set(re.findall(r'incident\s+= "(\w+)"', limits + silences))
    assert incidents <= {str(cause) for cause in Cause} | {"incidents"}


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    alerts = keys(local("monitoring", "alerts")) | keys(local("monitoring", "silences"))
    section = markdown.section(RUNBOOK, "Alerts")
    entries = dict(entry.split("\n", 1) for entry in section.split("### ")[1:])
    assert set(entries) == alerts
    for name, entry in entries.items():
        parts = re.findall(r"^\* \*\*(.+?)\.\*\* \S", entry, re.MULTILINE)
        assert parts == ["Symptom", "Impact", "First look", "Fix"], name


def test_every_alert_links_to_its_entry() -> None:
    policies = [
        block
        for block in hcl.of_kind(MODULES / "monitoring", "resource").values()
        if block.labels[0] == "google_monitoring_alert_policy"
    ]
    assert {block.body["for_each"] for block in policies} == {
        *("${local.alerts}", "${local.silences}")
    }
    for block in policies:
        (documentation,) = block.body["documentation"]
        for target in ("runbook.md#${each.key}", "monitoring.md#${each.value.incident}"):
            assert f"](${{var.documents}}/{target})" in documentation["content"]
    alerts = keys(local("monitoring", "alerts")) | keys(local("monitoring", "silences"))
    assert alerts <= markdown.anchors(RUNBOOK)
    incidents = set(re.findall(r'incident\s+= "(\w+)"', hcl.text_of(MODULES / "monitoring")))
    assert incidents <= markdown.anchors(hcl.ROOT / "docs" / "monitoring.md")


def test_rights_that_documents_name_are_those_of_terraform() -> None:
    shown = set()
    for row in markdown.rows(hcl.ROOT / "docs" / "security.md", "Who may do what and why"):
        kind, _, names = row[2].partition(" ")
        for role in re.findall(r"`([^`]+)`", row[1]):
            grants = {
                (row[0].strip("`"), role, f"{kind} {name}".strip()) for name in names.split(", ")
            }
            assert not grants & shown, f"{row[0]}: {role} stands there twice"
            shown |= grants
    assert shown == grants_of_terraform()


def test_a_right_that_is_taken_away_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = grants_of_terraform()
    foundation = MODULES / "foundation"
    left = tuple(
        block for block in hcl.blocks(foundation) if not block.name.endswith(".snapshot_keeper")
    )
    others = hcl.blocks
    monkeypatch.setattr(hcl, "blocks", lambda each: left if each == foundation else others(each))
    assert before - grants_of_terraform() == {("deployer", "snapshotKeeper", "project")}


def test_custom_roles_are_small() -> None:
    roles = {
        block.body["role_id"]: block.body["permissions"]
        for folder in hcl.MODULES
        for block in hcl.blocks(folder)
        if block.labels[:1] == ("google_project_iam_custom_role",)
    }
    assert set(roles) == {"tableAppender", "snapshotKeeper"}
    for permission in (each for permissions in roles.values() for each in permissions):
        assert not re.search(r"(delete|setIamPolicy|tables\.create|datasets\.create)$", permission)


def test_how_long_data_is_kept_as_documents_say() -> None:
    kept = {row[0]: row[2] for row in markdown.rows(hcl.ROOT / "docs" / "security.md", "Data")}
    dev, prod = (
        hcl.of_kind(folder, "module")["platform"].body["retention_days"]
        for folder in hcl.ENVIRONMENTS
    )
    stream, warehouse = (hcl.text_of(MODULES / name) for name in ("stream", "warehouse"))
    (versions,) = set(re.findall(r"days_since_noncurrent_time = (\d+)", stream))
    (deleted,) = re.findall(r"retention_duration_seconds = (\d+)", stream)
    (temporary,) = re.findall(r"age += (\d+)\n +matches_prefix = \[\"temp/\"\]", stream)
    (travel,) = re.findall(r"max_time_travel_hours += (\d+)", warehouse)
    assert f"{dev} day in dev, {prod} in prod" in kept["frames"]
    days = f"a removed version {versions} days, soft deletion {int(deleted) // 86_400}"
    assert kept["raw archive"].endswith(days)
    assert kept["rows"] == f"for good; time travel {int(travel) // 24} days"
    assert kept["temporary files; templates and staged files"] == f"{temporary} days; for good"


def test_quantities_of_the_cost_model() -> None:
    cost = (hcl.ROOT / "docs" / "cost.md").read_text("utf-8")
    readme = (hcl.ROOT / "README.md").read_text("utf-8")
    for figure in ("168,000", "234,000"):
        assert figure in cost
        assert figure in readme
        hours = 1e9 / int(figure.replace(",", "")) / 3600
        assert f"{hours:.1f} core hours x R" in cost
    decision = (hcl.ROOT / "docs" / "decisions" / "013-compaction.md").read_text("utf-8")
    (compacted,) = re.findall(
        r"^\| \*\*plain 64-bit ticks, zstd 1\*\* \| \*\*([\d.]+)\*\*", decision, re.MULTILINE
    )
    for text in ("{} GB | {} bytes a recorded BTC trade", "(R * 17 + {})", "17 bytes become {}"):
        assert text.replace("{}", f"{float(compacted):g}") in cost
    assert "589,000" in decision
    assert f"| compaction | {1e9 / 589_000 / 3600:.1f} core hours x R | 589,000 rows" in cost
    sizes = {"INT64": 8, "TIMESTAMP": 8, "NUMERIC": 16, "BOOL": 1}
    texts = {
        "market": "spot",
        "symbol": "BTCUSDT",
        "source": "stream",
        "collector": "collector-1",
        "frame_id": "collector-1/1723161250000000/1000000",
    }
    (trades,) = (table for table in TABLES if table.full_name == "raw.trades")
    size = sum(
        sizes.get(field["type"]) or 2 + len(texts[field["name"]])
        for field in trades.bigquery_schema
    )
    assert f"{size} GB x R" in cost
