"""The collector: an asyncio service that reads Binance's websockets and publishes frames.

`__main__` reads the settings and runs `service.Service`, which owns everything else. Files that
decide (protocol, selection, sealing, backoff) do no I/O; files that do (transports, spool,
publisher, rest, http) hold no rule of the exchange.
"""
