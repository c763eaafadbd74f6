"""Create the datasets and tables of the checked-in schemas, where they are missing."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from market_data.tables import DATASETS, TABLES, Table, schema_path

SECONDS: Final = 30.0


def create_tables(project: str, location: str) -> None:
    """Create what is missing; what exists is left alone.

    On GCP Terraform makes the tables first, and the job needs no right to create any.
    """
    client = bigquery_client(project)
    try:
        for dataset in DATASETS:
            _create_dataset(client, f"{project}.{dataset}", location)
        for table in TABLES:
            _create_table(client, table)
    finally:
        client.close()


def bigquery_client(project: str) -> bigquery.Client:
    """Return a client for BigQuery, or for the emulator named by BIGQUERY_EMULATOR_HOST."""
    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        return bigquery.Client(project=project, credentials=AnonymousCredentials())
    return bigquery.Client(project=project)


def table_definition(project: str, table: Table) -> bigquery.Table:
    """Return the table as its checked-in schema file describes it."""
    document: dict[str, Any] = json.loads(schema_path(table).read_text("utf-8"))
    schema = [bigquery.SchemaField.from_api_repr(field) for field in document["schema"]]
    definition = bigquery.Table(f"{project}.{table.full_name}", schema=schema)
    definition.description = document["description"]
    definition.time_partitioning = bigquery.TimePartitioning(
        field=document["time_partitioning"]["field"]
    )
    definition.clustering_fields = document["clustering"]
    return definition


def _create_dataset(client: bigquery.Client, name: str, location: str) -> None:
    try:
        client.get_dataset(name, retry=None, timeout=SECONDS)
    except NotFound:
        dataset = bigquery.Dataset(name)
        dataset.location = location
        client.create_dataset(dataset, exists_ok=True, retry=None, timeout=SECONDS)


def _create_table(client: bigquery.Client, table: Table) -> None:
    try:
        client.get_table(f"{client.project}.{table.full_name}", retry=None, timeout=SECONDS)
    except NotFound:
        try:
            client.create_table(
                table_definition(client.project, table), retry=None, timeout=SECONDS
            )
        except Conflict:
            return  # somebody was quicker
