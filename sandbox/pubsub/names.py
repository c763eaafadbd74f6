"""Resource names and the ids in acknowledgements: what is well formed.

Called by the store before anything is looked up. Pure. Source of the rules: "Resource names" in
Pub/Sub's administration guide, checked against Google's emulator 0.8.20.
"""

import re
from typing import Literal

from sandbox.pubsub.errors import InvalidArgumentError

Collection = Literal["topics", "subscriptions", "snapshots"]

_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_PROJECT = re.compile(r"projects/([^/]+)")


def check_name(collection: Collection, name: str) -> None:
    """Check `projects/<project>/<collection>/<id>`.

    Raises:
        InvalidArgumentError: the shape differs, or the id is not 3 to 255 letters, digits and
            `-_.~+%`, starting with a letter and not with "goog".
    """
    project, separator, resource_id = name.rpartition(f"/{collection}/")
    if not separator or not _PROJECT.fullmatch(project) or not _ID.fullmatch(resource_id):
        raise InvalidArgumentError(
            f"Invalid [{collection}] name: (name={name}); expected "
            f"projects/<project>/{collection}/<id> with an id of 3 to 255 letters, digits or "
            "-_.~+% that starts with a letter and not with 'goog'"
        )


def check_project(name: str) -> str:
    """Return the prefix that the names in project `name` share, e.g. `projects/crypto-local/`.

    Raises:
        InvalidArgumentError: `name` is not `projects/<project>`.
    """
    if not _PROJECT.fullmatch(name):
        raise InvalidArgumentError(f"Invalid [projects] name: (name={name})")
    return f"{name}/"


def make_ack_id(subscription_number: int, lease: int) -> str:
    """Return the id under which one delivery of one message can be acknowledged."""
    return f"{subscription_number}:{lease}"


def parse_ack_id(ack_id: str) -> tuple[int, int]:
    """Return (subscription number, lease) of an id made by `make_ack_id`.

    Raises:
        InvalidArgumentError: `ack_id` cannot have come from this server.
    """
    number, _, lease = ack_id.partition(":")
    if not (ack_id.isascii() and number.isdigit() and lease.isdigit()):
        raise InvalidArgumentError(f"Invalid ack id (ack_id={ack_id})")
    return int(number), int(lease)
