"""Notifies people of failures: always in the log, by mail and Slack where that is configured.

Callbacks run in the task's process after its last attempt; a notifier that fails is logged and
never hides the failure that it reports.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


def on_failure(context: Mapping[str, Any]) -> None:
    """Tell that a task failed for good.

    Args:
        context: Airflow's context of the task; `exception` is why it failed.
    """
    task = context["task_instance"]
    notify(
        f"{task.dag_id}.{task.task_id} failed",
        f"run {context['run_id']}, attempt {task.try_number}: {context.get('exception')}\n"
        f"log: {task.log_url}",
    )


def notify(subject: str, body: str) -> None:
    """Log a message and send it to whom the settings name.

    Args:
        subject: one line.
        body: plain text.
    """
    from .settings import read_settings

    logger.error("%s\n%s", subject, body)
    for send in notifiers(read_settings().alerts, subject, body):
        try:
            send.notify({})
        except Exception:
            logger.exception("%s could not send %r", type(send).__name__, subject)


def notifiers(alerts: Mapping[str, Any], subject: str, body: str) -> list[Any]:
    """Return Airflow's notifiers for the settings `alerts`.

    Args:
        alerts: `mail` is a list of addresses, sent through the connection `smtp_default`; `slack`
            is the id of a connection with an incoming webhook.
        subject: one line.
        body: plain text.
    """
    found: list[Any] = []
    if alerts.get("mail"):
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        text = f"<pre>{body}</pre>"
        found.append(SmtpNotifier(to=list(alerts["mail"]), subject=subject, html_content=text))
    if alerts.get("slack"):
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        found.append(
            SlackWebhookNotifier(
                slack_webhook_conn_id=alerts["slack"], text=f"*{subject}*\n```{body}```"
            )
        )
    return found
