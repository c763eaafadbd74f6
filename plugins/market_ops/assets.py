"""Assets: what the DAGs hand to each other; Airflow draws the lineage from them."""

from __future__ import annotations

from typing import Final

from airflow.sdk import Asset

RAW: Final = Asset("raw", extra={"holds": "BigQuery tables of dataset raw, ledgers of ops"})
ARCHIVE: Final = Asset("archive", extra={"holds": "compacted Parquet in the bucket"})
MARTS: Final = Asset("marts", extra={"holds": "dbt's marts"})
QUALITY: Final = Asset("quality", extra={"holds": "ops.quality_results and Data Docs"})
REPORT: Final = Asset("report", extra={"holds": "daily quality reports in the bucket"})
