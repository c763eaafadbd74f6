"""Where Google's own Pub/Sub emulator is on this machine, if it is.

Called by the sandbox launcher, which prefers it over the embedded one, and by the conformance
tests, which hold the two against each other.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

JAR_VARIABLE = "PUBSUB_EMULATOR_JAR"
DEFAULT_HEAP_MEGABYTES = 512
"""It keeps every message in memory and would take a quarter of the machine's by default."""

_JAR_FOLDER = Path("platform/pubsub-emulator/lib")
_JAR_PATTERN = "cloud-pubsub-emulator-*-all.jar"
_SYSTEM_SDK = Path("/usr/lib/google-cloud-sdk")


def find_google_emulator(
    environ: Mapping[str, str] = os.environ, heap_megabytes: int = DEFAULT_HEAP_MEGABYTES
) -> list[str] | None:
    """Return the command that starts Google's emulator, to be followed by --host and --port.

    The jar is looked for in $PUBSUB_EMULATOR_JAR, in the Cloud SDK that `gcloud` belongs to, in
    /usr/lib/google-cloud-sdk and in ~/google-cloud-sdk; Java in $JAVA_HOME and on the PATH.

    Args:
        environ: PATH, HOME, JAVA_HOME and PUBSUB_EMULATOR_JAR are read.
        heap_megabytes: limit of its memory.

    Returns:
        `[java, -Xmx…m, -jar, …]`, or None when Java or the jar is missing.

    Raises:
        FileNotFoundError: PUBSUB_EMULATOR_JAR is set and names no file.
    """
    java = _find_java(environ)
    jar = _find_jar(environ)
    if java is None or jar is None:
        return None
    return [java, f"-Xmx{heap_megabytes}m", "-jar", str(jar)]


def _find_java(environ: Mapping[str, str]) -> str | None:
    folders = [environ.get("PATH", "")]
    if home := environ.get("JAVA_HOME"):
        folders.insert(0, str(Path(home) / "bin"))
    return shutil.which("java", path=os.pathsep.join(folders))


def _find_jar(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get(JAR_VARIABLE):
        if not Path(named).is_file():
            raise FileNotFoundError(
                f"{JAR_VARIABLE}: expected the path of {_JAR_PATTERN}, was {named!r}, which is no "
                "file; correct or unset it"
            )
        return Path(named)
    jars = (jar for root in _sdk_roots(environ) for jar in _jars_in(root))
    return next(jars, None)


def _sdk_roots(environ: Mapping[str, str]) -> Iterator[Path]:
    if gcloud := shutil.which("gcloud", path=environ.get("PATH", "")):
        yield Path(gcloud).resolve().parent.parent
    yield _SYSTEM_SDK
    if home := environ.get("HOME"):
        yield Path(home) / "google-cloud-sdk"


def _jars_in(root: Path) -> list[Path]:
    """Return the emulator jars of one SDK, the newest version first."""
    return sorted((root / _JAR_FOLDER).glob(_JAR_PATTERN), key=_version, reverse=True)


def _version(jar: Path) -> list[int]:
    return [int(part) for part in jar.name.split("-")[3].split(".") if part.isdecimal()]
