"""Watch: one look at everything, as the DAG takes it."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from .. import clients
from ..notify import notify
from ..settings import CONNECTION, Settings
from . import observe
from .incidents import Incident, State, advance, read_state, write_state
from .judge import judge
from .observations import BrokerSeen, ExchangeSeen, JobSeen, Observations
from .signals import to_ask
from .words import summary

logger = logging.getLogger(__name__)


def look(settings: Settings) -> tuple[list[Incident], bool]:
    """Look at the stream, remember what was found, and tell people what changed.

    Told first and remembered then: killed in between, a message is repeated and never lost.

    Returns:
        Open incidents, and whether the Dataflow job should be started.

    Raises:
        ValueError: somebody changed the Variable that holds the incidents.
    """
    known = read_state()
    seen = observe_all(settings, datetime.now(UTC))
    judgement = judge(seen)
    lines = summary(seen)
    logger.info("%s", "\n".join(f"{stage}: {line}" for stage, line in lines.items()))
    incidents, notices = advance(known.incidents, judgement, seen.at)
    for notice in notices:
        notify(notice.subject, notice.body)
    state = State(
        looked_at=seen.at,
        summary={str(stage): line for stage, line in lines.items()},
        incidents=incidents,
    )
    write_state(state)
    return state.open, judgement.starts_job


def observe_all(settings: Settings, at: datetime, wait: observe.Wait = time.sleep) -> Observations:
    """Ask every part; the exchange last, as what the others say decides what it is asked."""
    seen = Observations(
        at=at,
        exchange=ExchangeSeen(),
        collectors=tuple(observe.observe_collector(url, wait) for url in settings.collector_urls),
        broker=_observe_broker(settings, at, wait),
        job=_observe_job(settings, at, wait),
        warehouse=observe.observe_warehouse(
            functools.partial(clients.bigquery_client, settings), at, wait
        ),
    )
    asked = {symbol.symbol: symbol.last_id for symbol in to_ask(seen, settings.stale_after_seconds)}
    exchange = observe.observe_exchange(settings.exchange_url, asked, at, wait)
    return replace(seen, exchange=exchange)


def start_job(settings: Settings) -> str:
    """Start the Dataflow job and return its id."""
    job_id = observe.start_dataflow(_dataflow_hook(), settings.project, settings.dataflow)
    logger.info("started Dataflow job %s as %s", settings.dataflow["job_name"], job_id)
    return job_id


def _observe_broker(settings: Settings, at: datetime, wait: observe.Wait) -> BrokerSeen:
    def connect() -> Any:
        from airflow.providers.google.cloud.hooks.pubsub import PubSubHook

        return PubSubHook(gcp_conn_id=CONNECTION).subscriber_client

    def connect_monitoring() -> Any:
        from airflow.providers.google.cloud.hooks.stackdriver import StackdriverHook
        from google.cloud import monitoring_v3

        credentials = StackdriverHook(gcp_conn_id=CONNECTION).get_credentials()
        return monitoring_v3.MetricServiceClient(credentials=credentials)

    project, subscription = settings.project, settings.subscription
    seen = observe.observe_broker(connect, project, subscription, wait)
    if not settings.dataflow or seen.error:
        return seen
    return observe.observe_backlog(connect_monitoring, project, subscription, seen, at)


def _observe_job(settings: Settings, at: datetime, wait: observe.Wait) -> JobSeen:
    if settings.dataflow:
        return observe.observe_dataflow(
            _dataflow_hook, settings.project, settings.dataflow, at, wait
        )
    return observe.observe_local_job(settings.job_url, wait) if settings.job_url else JobSeen()


def _dataflow_hook() -> Any:
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    return DataflowHook(gcp_conn_id=CONNECTION)
