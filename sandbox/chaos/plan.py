"""What a campaign is: the choices of `python -m sandbox chaos`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.chaos.draw import draw_kills, draw_script
from sandbox.faults.script import Script

# One of each kind that keeps what it took over a kill. The exchange is the witness, and Airflow's
# processes need a sandbox that has them: a script kills those.
KILLABLE: Final = ("collector", "job", "pubsub", "gcs", "bigquery")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign is.

    Attributes:
        first: the first seed.
        seeds: how many.
        seconds: of market under faults.
        rate: trades a second.
        kill: the process that is killed, None for faults of all kinds.
        script: a script for every seed instead, None to draw one.
        home: folder of the seeds' homes.
        keep: keep the homes of seeds that passed too.
    """

    first: int = 1
    seeds: int = 1
    seconds: float = 40.0
    rate: int = 200
    kill: str | None = None
    script: Script | None = None
    home: Path = Path(".sandbox/chaos")
    keep: bool = False

    def script_of(self, seed: int) -> Script:
        """Return the script of a seed."""
        if self.script is not None:
            return self.script
        if self.kill is not None:
            return draw_kills(seed, self.seconds, self.kill)
        return draw_script(seed, self.seconds)
