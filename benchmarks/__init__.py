"""Benchmarks: `make bench` measures every stage on loopback and prints one table.

Absolute numbers move with the machine; compare lines of one run.
"""
