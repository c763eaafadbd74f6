"""Clients of Google Cloud through Airflow's hooks: the connection decides who asks, and where.

In the sandbox the hooks' clients find the emulators by `BIGQUERY_EMULATOR_HOST`,
`STORAGE_EMULATOR_HOST` and `PUBSUB_EMULATOR_HOST`, as any Google client does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .settings import CONNECTION, Settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage


def bigquery_client(settings: Settings) -> bigquery.Client:
    """Return BigQuery's client for the settings' project and location."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    hook = BigQueryHook(gcp_conn_id=CONNECTION, location=settings.location)
    return hook.get_client(project_id=settings.project, location=settings.location)


def archive_bucket(settings: Settings) -> storage.Bucket:
    """Return the bucket of the archive."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    return GCSHook(gcp_conn_id=CONNECTION).get_conn().bucket(settings.bucket)
