"""The platform's page in Airflow's UI: the health of the stream.

Every process of Airflow imports this file, so the page itself is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_Message = MutableMapping[str, Any]


async def stream_health(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
) -> None:
    """Serve the page, an ASGI application."""
    from market_ops.stream.page import application

    await application()(scope, receive, send)


class MarketOpsPlugin(AirflowPlugin):
    """Adds the page and its entry in the navigation."""

    name = "market_ops"
    fastapi_apps = [  # noqa: RUF012 # as Airflow reads it
        {"app": stream_health, "url_prefix": "/stream-health", "name": "Stream health"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Stream",  # what the navigation has room for
            "href": "/stream-health/",
            "destination": "nav",
            "url_route": "stream-health",
        }
    ]
