"""Seeded noise as a pure function of an integer coordinate, in integers only.

The market is built on it: a value at any time can be computed without the values before it, so
the past can be served over REST without being stored.
"""

from __future__ import annotations

from collections.abc import Sequence

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Return a well mixed 64-bit hash of `parts` (SplitMix64's finaliser per part)."""
    state = 0
    for part in parts:
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Octave:
    """Linear interpolation between seeded values in [0, amplitude] at multiples of `period`.

    Its slope is at most amplitude / period, which is what lets a caller prove monotony.
    """

    __slots__ = ("_amplitude", "_cell", "_left", "_period", "_right", "_seed")

    def __init__(self, seed: int, period: int, amplitude: int) -> None:
        self._seed = seed
        self._period = period
        self._amplitude = amplitude
        self._cell: int | None = None
        self._left = 0
        self._right = 0

    def at(self, x: int) -> int:
        """Return the value at `x`; the cell last used is remembered because reads are local."""
        cell, offset = divmod(x, self._period)
        if cell != self._cell:
            self._left = mix(self._seed, cell) % (self._amplitude + 1)
            self._right = mix(self._seed, cell + 1) % (self._amplitude + 1)
            self._cell = cell
        return self._left + (self._right - self._left) * offset // self._period


class Noise:
    """A sum of octaves given as (period, amplitude)."""

    __slots__ = ("_octaves",)

    def __init__(self, seed: int, octaves: Sequence[tuple[int, int]]) -> None:
        self._octaves = [
            Octave(mix(seed, number), *octave) for number, octave in enumerate(octaves)
        ]

    def at(self, x: int) -> int:
        """Return the value at `x`, between 0 and the sum of the amplitudes."""
        total = 0
        for octave in self._octaves:
            total += octave.at(x)
        return total
