"""Creates what the platform needs in Pub/Sub, Cloud Storage and BigQuery.

`python -m sandbox.provision`, a step between the emulators and the collector. It uses the ordinary
Google clients and creates what is missing, so it may run again at any time; Terraform
does the same for the real project. All calls have a short timeout and no retry: the clients would
repeat an emulator's HTTP 500 for ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

from google.api_core.exceptions import AlreadyExists, Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from market_data.tables import DATASETS, TABLES, Table
from sandbox.settings import (
    AUDIT_SUBSCRIPTION,
    BUCKET,
    JOB_SUBSCRIPTION,
    LOCATION,
    PROJECT,
    TOPIC,
)

TIMEOUT_SECONDS: Final = 15.0
# A restart of the job seeks back to its last durable archive window, minutes ago at most.
RETENTION_SECONDS: Final = 3600
_ACK_DEADLINE_SECONDS: Final = 60


def provision_pubsub() -> None:
    """Create the topic, the job's subscription and the auditor's."""
    topic = f"projects/{PROJECT}/topics/{TOPIC}"
    with PublisherClient() as publisher, contextlib.suppress(AlreadyExists):
        publisher.create_topic(request={"name": topic}, timeout=TIMEOUT_SECONDS, retry=None)
    with SubscriberClient() as subscriber:
        for name in (JOB_SUBSCRIPTION, AUDIT_SUBSCRIPTION):
            request = {
                "name": f"projects/{PROJECT}/subscriptions/{name}",
                "topic": topic,
                "ack_deadline_seconds": _ACK_DEADLINE_SECONDS,
                "retain_acked_messages": True,
                "message_retention_duration": {"seconds": RETENTION_SECONDS},
            }
            with contextlib.suppress(AlreadyExists):
                subscriber.create_subscription(request=request, timeout=TIMEOUT_SECONDS, retry=None)


def provision_storage() -> None:
    """Create the archive's bucket."""
    client = storage.Client(PROJECT, credentials=_anonymous())
    with contextlib.suppress(Conflict):
        client.create_bucket(BUCKET, location=LOCATION, timeout=TIMEOUT_SECONDS, retry=None)


def provision_bigquery(api_endpoint: str) -> None:
    """Create the datasets and tables."""
    client = bigquery.Client(
        PROJECT,
        credentials=_anonymous(),
        client_options={"api_endpoint": api_endpoint},
        location=LOCATION,
    )
    for name in DATASETS:
        dataset = bigquery.Dataset(f"{PROJECT}.{name}")
        dataset.location = LOCATION
        client.create_dataset(dataset, exists_ok=True, timeout=TIMEOUT_SECONDS, retry=None)
    for table in TABLES:
        client.create_table(
            bigquery_table(table), exists_ok=True, timeout=TIMEOUT_SECONDS, retry=None
        )


def bigquery_table(table: Table) -> bigquery.Table:
    """Return the client's form of one of our tables: schema, daily partitions, clusters."""
    schema = [bigquery.SchemaField.from_api_repr(field) for field in table.bigquery_schema]
    target = bigquery.Table(f"{PROJECT}.{table.full_name}", schema=schema)
    target.description = table.description
    target.time_partitioning = bigquery.TimePartitioning(field=table.partition_column)
    target.require_partition_filter = table.requires_filter
    target.clustering_fields = list(table.cluster_columns)
    return target


def _anonymous() -> AnonymousCredentials:
    return AnonymousCredentials()


def main() -> int:
    """Create everything, at the addresses in the environment."""
    provision_pubsub()
    provision_storage()
    provision_bigquery(os.environ["BIGQUERY_EMULATOR_HOST"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
