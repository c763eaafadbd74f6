"""What Airflow is told in the sandbox: where things are, how little it may take, its secrets.

Only what differs from Composer: addresses, the connection `google_cloud_default` without an
account, the Variable `market_ops`, and a small Airflow on SQLite.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sandbox.settings import (
    BUCKET,
    HOST,
    JOB_SUBSCRIPTION,
    LIVE,
    LIVE_REST_URL,
    LOCATION,
    PROJECT,
    ROOT,
    TOPIC,
    Settings,
)

HOME_FOLDER: Final = "airflow"  # below the run's home: AIRFLOW_HOME
USER: Final = "admin"
LOCK_SECONDS: Final = 30.0  # how long a writer of Airflow's database waits for another one
# Tasks at a time: dbt, a check and a watch; more would only wait for two cores.
PARALLELISM: Final = 3

_PASSWORDS: Final = "passwords.json"
_KEYS: Final = "keys.json"


def airflow_home(settings: Settings) -> Path:
    """Return AIRFLOW_HOME."""
    return settings.home / HOME_FOLDER


def password_file(settings: Settings) -> Path:
    """Return the file with the password, as Airflow's SimpleAuthManager reads it."""
    return airflow_home(settings) / _PASSWORDS


def read_password(settings: Settings) -> str:
    """Return the password of the user `admin`.

    Raises:
        OSError: Airflow was never started in this home.
    """
    return str(json.loads(password_file(settings).read_text("utf-8"))[USER])


def airflow_environment(settings: Settings) -> dict[str, str]:
    """Return Airflow's part of the environment; makes its home and secrets where missing."""
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    _keep(home / _PASSWORDS, lambda: {USER: secrets.token_urlsafe(12)})
    keys = _keep(
        home / _KEYS,
        lambda: {
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt": secrets.token_urlsafe(48),
            "session": secrets.token_urlsafe(48),
        },
    )
    return {
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": value for name, value in _options(settings, keys).items()},
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection()),
        "AIRFLOW_VAR_MARKET_OPS": json.dumps(variable(settings)),
        "DBT_TARGET": "local",
        # Airflow renames its processes; by default that overwrites what /proc has of their
        # environment, and with it the mark by which the sandbox finds and ends what is left.
        "SPT_NOENV": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    }


def connection() -> dict[str, Any]:
    """Return the connection `google_cloud_default`: no account, the emulators ask for none."""
    return {
        "conn_type": "google_cloud_platform",
        "extra": {"is_anonymous": True, "project": PROJECT},
    }


def variable(settings: Settings) -> dict[str, Any]:
    """Return the Variable `market_ops`."""
    return {
        "project": PROJECT,
        "location": LOCATION,
        "bucket": BUCKET,
        "topic": TOPIC,
        "subscription": JOB_SUBSCRIPTION,
        "collector_urls": [*settings.collector_urls],
        "job_url": settings.job_url,
        "exchange_url": settings.exchange_url or LIVE_REST_URL,
        # The simulated exchange serves data.binance.vision at its own address.
        **({} if settings.exchange == LIVE else {"vision_url": settings.exchange_url}),
        "page_url": settings.airflow_url,
        "bucket_url": settings.gcs_url,
    }


def _options(settings: Settings, keys: dict[str, str]) -> dict[str, str]:
    """Return configuration by `SECTION__KEY`."""
    url, home = settings.airflow_url, airflow_home(settings)
    return {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(PARALLELISM),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / _PASSWORDS),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__FERNET_KEY": keys["fernet"],
        "API__HOST": HOST,
        "API__PORT": str(settings.ports.airflow),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": keys["session"],
        "API_AUTH__JWT_SECRET": keys["jwt"],
        # By default a writer gives up after 5 s; on a busy machine another may write for longer.
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout={LOCK_SECONDS}",
        "LOGGING__BASE_LOG_FOLDER": str(settings.home / "logs" / "airflow"),
        "DAG_PROCESSOR__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(
            settings.home / "logs" / "airflow" / "dag-processor"
        ),
        # A changed file is parsed at once all the same: it comes first in the queue.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "OPENLINEAGE__DISABLED": "True",
        "OPENLINEAGE__NAMESPACE": "sandbox",
        "COSMOS__ENABLE_TELEMETRY": "False",
        "COSMOS__CACHE_DIR": str(home / "cosmos"),
    }


def _keep(path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Return the secrets in a file, which is made, for its owner alone, where it is missing."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(make(), file)
    document: dict[str, str] = json.loads(path.read_text("utf-8"))
    return document
