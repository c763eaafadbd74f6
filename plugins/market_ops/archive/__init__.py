"""Compaction of the raw archive: `compact.compact_hour` is the way in."""
