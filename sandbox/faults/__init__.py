"""Faults as data: scripts that say what goes wrong and when, and the runner that makes it so."""
