"""The certificate: what went in at the exchange, what came out at every stage, is it the same?

`collect` asks each stage through its ordinary client and adds up for itself; nobody's own word is
taken for the next stage's. The result is plain JSON. Called by `sandbox.demo`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sandbox.certificate import candles, latency, stages
from sandbox.certificate.render import render
from sandbox.certificate.verdict import judge
from sandbox.settings import Platform
from sandbox.warehouse import Warehouse

__all__ = ["collect", "render"]


def collect(platform: Platform) -> dict[str, Any]:
    """Return the certificate of a drained platform whose marts have been built.

    Keys: `verdict` (COMPLETE or INCOMPLETE), `problems` (sentences, empty when complete),
    `symbols` (control totals by stage), `frames`, `holes`, `days` (verdicts), `rejections`,
    `candles`, `latency`, `seconds_to_ready`, `peak_memory`, `created_at`.

    Raises:
        OSError: a stage can't be asked.
        google.api_core.exceptions.GoogleAPICallError: a stage refuses.
    """
    with Warehouse(platform.project, platform.bigquery_url) as warehouse:
        certificate: dict[str, Any] = {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "symbols": stages.totals_by_stage(platform, warehouse),
            "frames": stages.frame_ledger(warehouse),
            "holes": stages.holes(warehouse),
            "days": stages.days(warehouse),
            "rejections": stages.rejections(warehouse),
            "candles": candles.compare(warehouse, platform.reference_klines),
            "latency": latency.percentiles(warehouse, platform.exchange_url),
            "seconds_to_ready": platform.ready_seconds,
            "peak_memory": platform.peak_memory(),
        }
    problems = judge(certificate)
    return {
        "verdict": "INCOMPLETE" if problems else "COMPLETE",
        "problems": problems,
        **certificate,
    }
