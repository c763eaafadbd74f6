import pytest
from aiohttp import ClientSession

from sandbox.pubsub.admin import AdminServer
from sandbox.pubsub.server import PortTakenError
from tests.sandbox.pubsub.conftest import SUBSCRIPTION, TOPIC

pytestmark = pytest.mark.integration


@pytest.fixture
async def admin(live):
    server = AdminServer(live.server, port=0)
    await server.start()
    async with ClientSession(f"http://{server.address}") as session:
        yield session
    await server.stop()


async def test_stats(live, admin):
    await live.publish("a", "bc")
    await live.pull(1)
    async with admin.get("/stats") as response:
        stats = await response.json()
    assert stats["topics"] == {TOPIC: {"published_messages": 2, "published_bytes": 3}}
    shown = stats["subscriptions"][SUBSCRIPTION]
    assert shown["topic"] == TOPIC
    assert (shown["backlog_messages"], shown["outstanding_messages"]) == (2, 1)
    assert 0 <= shown["oldest_unacked_age_seconds"] < 60
    assert 0 < stats["memory"]["bytes"] < stats["memory"]["max_bytes"] == 20_000_000


async def test_faults_through_their_life(live, admin):
    body = {"kind": "unavailable", "target": "publish", "seconds": 60}
    async with admin.post("/faults", json=body) as response:
        assert (response.status, await response.json()) == (201, {"id": 1})
    async with admin.get("/faults") as response:
        [fault] = (await response.json())["faults"]
    assert fault["kind"] == "unavailable"
    assert live.server.faults.unavailable("publish", live.server.clock())
    async with admin.delete("/faults/1") as response:
        assert response.status == 200
    async with admin.delete("/faults/1") as response:
        assert (response.status, await response.json()) == (
            404,
            {"error": "no fault 1; see GET /faults"},
        )
    await admin.post("/faults", json={"kind": "drop_ack"})
    async with admin.delete("/faults") as response:
        assert await response.json() == {"faults": []}
    assert live.server.faults.describe(live.server.clock()) == []


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"kind": "explode"}', '{"kind": "slow", "delay": 1}', "{}"]
)
async def test_mistakes_are_answered_400(admin, body):
    async with admin.post("/faults", data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"].startswith("fault: ")


async def test_a_taken_port_is_refused_by_name(live):
    first = AdminServer(live.server, port=0)
    await first.start()
    with pytest.raises(PortTakenError, match="--admin-port"):
        await AdminServer(live.server, port=first.port).start()
    await first.stop()
