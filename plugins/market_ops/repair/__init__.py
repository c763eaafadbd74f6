"""Repair: missing trade ids are fetched from Binance and sent through the topic as any others."""
