"""Backfill: whole days of history from data.binance.vision into the raw tables."""
