"""A simulated Binance: websocket and REST as documented, over a seeded market or recordings.

It is the platform's independent witness and therefore imports nothing of `market_data`,
`collector` or `beam_jobs`: equal numbers on both sides mean something only if the two sides
share no code. Run it with `python -m sandbox.exchange`; the decisions are in
`docs/decisions/004-simulated-exchange.md`.
"""
