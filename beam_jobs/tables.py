"""Create the datasets and tables of the checked-in schemas, where they are missing."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Final

from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from market_data.tables import DATASETS, TABLES, Table, schema_path

SECONDS: Final = 30.0


def create_tables(project: str, location: str, dataset: str | None = None) -> None:
    """Create what is missing; what exists is left alone.

    On GCP Terraform makes the tables first, and the job needs no right to create any.

    Args:
        project: project of the tables.
        location: of datasets that have to be made.
        dataset: dataset of all tables; None for each table's own.
    """
    client = bigquery_client(project)
    try:
        for name in (dataset,) if dataset else DATASETS:
            _create_dataset(client, f"{project}.{name}", location)
        for table in TABLES:
            _create_table(client, table, dataset)
    finally:
        client.close()


def placed(table: Table, dataset: str | None) -> Table:
    """Return the table in another dataset; None is its own."""
    return table if dataset is None else dataclasses.replace(table, dataset=dataset)


def bigquery_client(project: str) -> bigquery.Client:
    """Return a client for BigQuery, or for the emulator named by BIGQUERY_EMULATOR_HOST."""
    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        return bigquery.Client(project=project, credentials=AnonymousCredentials())
    return bigquery.Client(project=project)


def table_definition(project: str, table: Table, dataset: str | None = None) -> bigquery.Table:
    """Return the table as its checked-in schema file describes it; `dataset` moves it."""
    document: dict[str, Any] = json.loads(schema_path(table).read_text("utf-8"))
    schema = [bigquery.SchemaField.from_api_repr(field) for field in document["schema"]]
    name = f"{project}.{placed(table, dataset).full_name}"
    definition = bigquery.Table(name, schema=schema)
    definition.description = document["description"]
    definition.time_partitioning = bigquery.TimePartitioning(
        field=document["time_partitioning"]["field"]
    )
    definition.require_partition_filter = document["require_partition_filter"]
    definition.clustering_fields = document["clustering"]
    return definition


def _create_dataset(client: bigquery.Client, name: str, location: str) -> None:
    try:
        client.get_dataset(name, retry=None, timeout=SECONDS)
    except NotFound:
        dataset = bigquery.Dataset(name)
        dataset.location = location
        client.create_dataset(dataset, exists_ok=True, retry=None, timeout=SECONDS)


def _create_table(client: bigquery.Client, table: Table, dataset: str | None) -> None:
    definition = table_definition(client.project, table, dataset)
    try:
        client.get_table(str(definition.reference), retry=None, timeout=SECONDS)
    except NotFound:
        try:
            client.create_table(definition, retry=None, timeout=SECONDS)
        except Conflict:
            return  # somebody was quicker
