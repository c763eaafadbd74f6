"""The admin endpoint: faults and statistics as JSON over HTTP.

`__main__` serves it beside the gRPC port. `GET /stats`; `GET /faults` lists, `POST /faults` adds
(the fields of `faults.Fault`), `DELETE /faults` clears, `DELETE /faults/{id}` removes one. A
mistake is answered 400 or 404 with `{"error": …}`.
"""

import json
from dataclasses import asdict

from aiohttp import web

from sandbox.pubsub.faults import parse_fault
from sandbox.pubsub.server import PortTakenError, PubSubServer


class AdminServer:
    """Serves the admin endpoint of a `PubSubServer` on the same host.

    Args:
        server: what is administered.
        port: 0 picks a free one.
    """

    def __init__(self, server: PubSubServer, port: int) -> None:
        self._server = server
        self._runner = web.AppRunner(admin_app(server), access_log=None)
        self.port = port

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self._server.settings.host}:{self.port}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            PortTakenError: somebody else listens there.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._server.settings.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortTakenError(
                f"cannot listen on {self.address} ({error.strerror}); stop what listens there or "
                "choose another --admin-port"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


def admin_app(server: PubSubServer) -> web.Application:
    """Return the admin endpoint as an aiohttp application."""
    handlers = _Handlers(server)
    app = web.Application()
    app.add_routes(
        [
            web.get("/stats", handlers.stats),
            web.get("/faults", handlers.list_faults),
            web.post("/faults", handlers.add_fault),
            web.delete("/faults", handlers.clear_faults),
            web.delete("/faults/{id}", handlers.remove_fault),
        ]
    )
    return app


class _Handlers:
    def __init__(self, server: PubSubServer) -> None:
        self._server = server

    async def stats(self, _: web.Request) -> web.Response:
        store = self._server.store
        topics = {name: asdict(item) for name, item in store.topic_stats().items()}
        subscriptions = {
            name: asdict(item)
            for name, item in store.subscription_stats(self._server.clock()).items()
        }
        memory = {"bytes": store.pool.bytes, "max_bytes": store.pool.max_bytes}
        return web.json_response(
            {"memory": memory, "topics": topics, "subscriptions": subscriptions}
        )

    async def list_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self._server.faults.describe(self._server.clock())})

    async def add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = parse_fault(json.loads(await request.text()))
        except ValueError as error:
            return web.json_response({"error": f"fault: {error}"}, status=400)
        number = self._server.faults.add(fault, self._server.clock())
        return web.json_response({"id": number}, status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._server.faults.clear()
        return web.json_response({"faults": []})

    async def remove_fault(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        if not number.isdecimal() or not self._server.faults.remove(int(number)):
            return web.json_response({"error": f"no fault {number}; see GET /faults"}, status=404)
        return web.json_response({"id": int(number)})
