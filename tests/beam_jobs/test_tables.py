import pytest
from google.api_core.exceptions import Conflict, Forbidden, NotFound
from google.auth.credentials import AnonymousCredentials

from beam_jobs import tables
from beam_jobs.tables import bigquery_client, create_tables, placed, table_definition
from market_data.tables import DATASETS, TABLES, Table

ALL = {*DATASETS, *(table.full_name for table in TABLES)}


class FakeBigQuery:
    """Knows some datasets and tables, and what it may create."""

    def __init__(self, *there: str, error: Exception | None = None) -> None:
        self.project = "project"
        self.there = set(there)
        self.created: dict[str, object] = {}
        self.error = error
        self.is_closed = False

    def get_dataset(self, name: str, **_: object) -> None:
        if name.removeprefix("project.") not in self.there:
            raise NotFound(name)

    get_table = get_dataset

    def create_dataset(self, dataset: object, **_: object) -> None:
        self.created[dataset.dataset_id] = dataset  # type: ignore[attr-defined]

    def create_table(self, table: object, **_: object) -> None:
        if self.error is not None:
            raise self.error
        self.created[f"{table.dataset_id}.{table.table_id}"] = table  # type: ignore[attr-defined]

    def close(self) -> None:
        self.is_closed = True


def create(client: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> FakeBigQuery:
    monkeypatch.setattr(tables, "bigquery_client", lambda project: client)
    create_tables("project", "EU")
    return client


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.full_name)
def test_the_definition_equals_the_record(table: Table) -> None:
    definition = table_definition("project", table)
    assert str(definition.reference) == f"project.{table.full_name}"
    assert [field.name for field in definition.schema] == table.arrow_schema.names
    assert [field.to_api_repr() for field in definition.schema] == table.bigquery_schema
    assert definition.time_partitioning.field == table.partition_column
    assert definition.time_partitioning.type_ == "DAY"
    assert definition.clustering_fields == list(table.cluster_columns)
    assert definition.description == table.description


def test_everything_missing_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create(FakeBigQuery(), monkeypatch)
    assert client.created.keys() == ALL
    assert client.created["raw"].location == "EU"  # type: ignore[attr-defined]
    assert client.is_closed


def test_all_tables_in_another_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeBigQuery("again.trades")
    monkeypatch.setattr(tables, "bigquery_client", lambda project: client)
    create_tables("project", "EU", "again")
    wanted = {f"again.{table.name}" for table in TABLES} - {"again.trades"}
    assert client.created.keys() == {"again", *wanted}
    assert placed(TABLES[0], None) is TABLES[0]


def test_what_exists_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ALL - {"raw.trades", "marts"}
    assert create(FakeBigQuery(*there), monkeypatch).created.keys() == {"raw.trades", "marts"}


def test_somebody_else_may_be_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create(FakeBigQuery(*DATASETS, error=Conflict("it is there")), monkeypatch)
    assert client.created == {}


def test_a_refusal_stops_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeBigQuery(*DATASETS, error=Forbidden("no"))
    with pytest.raises(Forbidden):
        create(client, monkeypatch)
    assert client.is_closed


def test_the_emulator_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    client = bigquery_client("test-project")
    assert isinstance(client._credentials, AnonymousCredentials)
    assert client.project == "test-project"
    assert client._connection.API_BASE_URL == "http://127.0.0.1:9"
    client.close()
