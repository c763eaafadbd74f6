import grpc
import pytest

from sandbox.pubsub import errors
from sandbox.pubsub.faults import Fault, FaultPlan
from sandbox.pubsub.rpc import Gateway, guarded, immediate
from sandbox.pubsub.store import Store


class Aborted(Exception):
    pass


class Context:
    """Records the status that a call ends with."""

    async def abort(self, code, details):
        self.ended = (code, details)
        raise Aborted


@pytest.fixture
def gateway():
    return Gateway(Store(10**6, first_number=1), FaultPlan(seed=1), clock=lambda: 0)


def all_errors():
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__doc__]


@pytest.mark.parametrize("kind", all_errors())
async def test_every_store_error_has_a_status(gateway, kind):
    def refuse(_):
        raise kind("because")

    context = Context()
    with pytest.raises(Aborted):
        await guarded(gateway, None, immediate(refuse))(None, context)
    assert context.ended == (grpc.StatusCode[kind.code], "because")


async def test_faults_strike_before_the_work_and_spare_management(gateway):
    done = []
    gateway.faults.add(Fault("unavailable"), now=0)
    method = immediate(lambda request: done.append(request) or request)
    with pytest.raises(Aborted):
        await guarded(gateway, "publish", method)("publish", Context())
    assert await guarded(gateway, None, method)("create", Context()) == "create"
    assert done == ["create"]


async def test_lost_reply_strikes_after_the_work(gateway):
    done = []
    gateway.faults.add(Fault("lost_reply"), now=0)
    with pytest.raises(Aborted):
        await guarded(gateway, "publish", immediate(done.append))("publish", Context())
    assert done == ["publish"]
