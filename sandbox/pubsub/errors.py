"""What a store operation can refuse, each named like the gRPC status that a client sees.

Raised by `names`, `model`, `subscription` and `store`; `rpc` turns them into status codes. Pure.
"""

from typing import ClassVar


class StoreError(Exception):
    """A refused operation. `code` is the name of a `grpc.StatusCode`."""

    code: ClassVar[str] = "UNKNOWN"


class InvalidArgumentError(StoreError):
    """The request can never succeed as it stands."""

    code = "INVALID_ARGUMENT"


class NotFoundError(StoreError):
    """The named topic, subscription or snapshot does not exist."""

    code = "NOT_FOUND"


class AlreadyExistsError(StoreError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class FailedPreconditionError(StoreError):
    """The resources exist but do not fit together."""

    code = "FAILED_PRECONDITION"


class OutOfRangeError(StoreError):
    """A number lies outside the documented range (Google answers so for delivery attempts)."""

    code = "OUT_OF_RANGE"


class ResourceExhaustedError(StoreError):
    """The memory set aside for messages is full; clients back off and try again."""

    code = "RESOURCE_EXHAUSTED"


class UnavailableError(StoreError):
    """The change cannot be written down, and has not been made; clients try again."""

    code = "UNAVAILABLE"


class UnsupportedError(StoreError):
    """A feature of Pub/Sub that is refused here rather than silently not carried out."""

    code = "UNIMPLEMENTED"
