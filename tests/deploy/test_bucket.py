"""What is told of a bucket before it is touched; the rest is tests/integration/test_deploy_dags."""

import pytest

from deploy.bucket import DeploymentError, check_labels
from deploy.outputs import parse_outputs
from tests.deploy.test_outputs import GOOD

DEV = parse_outputs("dev", GOOD)
LABELS = {
    "goog-composer-environment": "market-ops-dev",
    "goog-composer-location": "europe-west1",
    "team": "data",
}


def test_the_environments_own_bucket_is_taken() -> None:
    check_labels(LABELS, DEV)
    check_labels({}, DEV)  # a bucket of one's own has no labels


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"goog-composer-environment": "market-ops-prod"}, "is market-ops-prod, the outputs say"),
        ({"goog-composer-location": "us-east1"}, "is us-east1, the outputs say europe-west1"),
    ],
)
def test_another_environments_bucket_is_not(change: dict[str, str], said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        check_labels(LABELS | change, DEV)
