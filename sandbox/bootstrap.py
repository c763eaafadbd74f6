"""Sets the project up on a fresh machine: `make setup`, and before every other target.

Run by any Python 3.7 or newer of the system, standard library only. It makes two environments:

* `.venv` with `requirements.txt`: collector, Beam job, Airflow, dbt, the sandbox, the tests;
* `.sandbox/emulators` with `requirements/emulators.txt`: bqemulator pins what ours contradict.

A pinned uv, installed into `.venv` with pip, does the installing (a minute instead of ten); where
uv can't be had, pip does it. A stamp in each environment holds a hash of what was installed, so
that a second run costs a tenth of a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"
PYTHON_VERSION = (3, 11)
NEEDED_BYTES = 3_000_000_000  # 2.4 GB installed, the rest for what is unpacked meanwhile
STAMP = "installed.sha256"
_CHECK_SECONDS = 20  # an interpreter answers within a fraction of one


class SetupError(Exception):
    """Set-up can't go on; the message says what is missing and what to do."""


def main() -> int:
    """Set up both environments; return the exit code."""
    try:
        set_up(ROOT, dict(os.environ))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def set_up(root: Path, environ: dict[str, str]) -> None:
    """Bring both environments up to date.

    Raises:
        SetupError: something is missing or an installation failed.
    """
    main_environment = Environment(root / ".venv", root / "requirements.txt")
    emulators = Environment(
        root / ".sandbox" / "emulators", root / "requirements" / "emulators.txt"
    )
    stale = [each for each in (main_environment, emulators) if not each.is_current()]
    if not stale:
        return
    started = time.monotonic()
    python = find_python(environ)
    check_modules(python)
    check_disk(root)
    for environment in stale:
        environment.install(python, main_environment.folder)
    say(f"done in {time.monotonic() - started:.0f} s")


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)


def find_python(environ: dict[str, str]) -> str:
    """Return the interpreter to use: $PYTHON, else python3.11, else a fitting python3.

    Raises:
        SetupError: none is of the right version.
    """
    wanted = ".".join(map(str, PYTHON_VERSION))
    chosen = environ.get("PYTHON", "").strip()
    candidates = [chosen] if chosen else [f"python{wanted}", "python3", "python", sys.executable]
    seen = []
    for candidate in candidates:
        path = shutil.which(candidate)
        version = version_of(path) if path else None
        if path and version == PYTHON_VERSION:
            return path
        found = ".".join(map(str, version)) if version else "not found"
        seen.append(f"{candidate}: {found}")
    raise SetupError(
        f"Python {wanted} is needed ({'; '.join(seen)}); install it "
        f"(Debian and Ubuntu: apt-get install python{wanted} python{wanted}-venv) "
        f"or name one: make setup PYTHON=/path/to/python{wanted}"
    )


def version_of(python: str) -> tuple[int, int] | None:
    """Return an interpreter's major and minor version, None when it can't be run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = _ask(python, code)
        major, minor = answer.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def check_modules(python: str) -> None:
    """Make sure that the interpreter can make environments.

    Raises:
        SetupError: Debian and Ubuntu keep venv and ensurepip in a package of their own.
    """
    if _ask(python, "import ensurepip, venv").returncode:
        package = "python{}.{}-venv".format(*PYTHON_VERSION)
        raise SetupError(
            f"{python} has no venv or ensurepip module; "
            f"Debian and Ubuntu keep them in a package: apt-get install {package}"
        )


def check_disk(root: Path) -> None:
    """Make sure that the environments fit.

    Raises:
        SetupError: there is too little room.
    """
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise SetupError(
            f"{root} has {free / 1e9:.1f} GB free and needs about {NEEDED_BYTES / 1e9:.0f} GB; "
            "make room and run `make setup` again"
        )


class Environment:
    """One virtual environment and the requirements that belong into it."""

    def __init__(self, folder: Path, requirements: Path) -> None:
        self.folder = folder
        self._requirements = requirements
        self._stamp = folder / STAMP

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    def is_current(self) -> bool:
        """Tell whether exactly these requirements were installed to the end."""
        try:
            return self._stamp.read_text("utf-8") == self.fingerprint() and self.python.exists()
        except OSError:
            return False

    def fingerprint(self) -> str:
        """Return a hash of the requirements and the folder, which environments can't leave.

        Raises:
            SetupError: there are no requirements.
        """
        try:
            content = self._requirements.read_bytes()
        except OSError as error:
            raise SetupError(f"{self._requirements}: {error.strerror}; run `make lock`") from None
        return hashlib.sha256(content + str(self.folder).encode()).hexdigest()

    def install(self, python: str, uv_home: Path) -> None:
        """Make the environment where it is missing and install the requirements.

        Args:
            python: interpreter to make it with.
            uv_home: environment that uv lives in.

        Raises:
            SetupError: a command failed.
        """
        fingerprint = self.fingerprint()
        if version_of(str(self.python)) != PYTHON_VERSION:
            say(f"making {self.folder} with {python}")
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            _run([python, "-m", "venv", "--clear", str(self.folder)])
        self._stamp.unlink(missing_ok=True)  # type: ignore[call-arg, unused-ignore]
        installer = [*_uv(uv_home), "--python", str(self.python)] if _get_uv(uv_home) else None
        if installer is None:
            installer = [str(self.python), "-m", "pip", "install", "--progress-bar", "on"]
        count = sum(
            1 for line in self._requirements.read_text("utf-8").splitlines() if line[:1].isalnum()
        )
        say(f"installing {count} packages of {self._requirements.name} into {self.folder}")
        _run([*installer, "-r", str(self._requirements)])
        self._stamp.write_text(fingerprint, "utf-8")


def _uv(home: Path) -> list[str]:
    return [str(home / "bin" / "uv"), "pip", "install"]


def _get_uv(home: Path) -> bool:
    """Install the pinned uv where it is missing; False when that is impossible."""
    python, uv = home / "bin" / "python", home / "bin" / "uv"
    if uv.exists() and UV.split("==")[1] in _output([str(uv), "--version"]):
        return True
    if not python.exists():
        return False
    say(f"installing {UV}")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - our own command line
        say(f"{UV} can't be had; going on with pip, which takes some minutes more")
        return False
    return True


def _run(command: list[str]) -> None:
    code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command line
    if code:
        raise SetupError(
            f"exit code {code} from\n    {' '.join(command)}\n"
            "its reason stands above; mend that and run `make setup` again"
        )


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603 - our own command line
            command, stdout=subprocess.PIPE, text=True, check=False, timeout=_CHECK_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _ask(python: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command line
        [python, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=_CHECK_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
