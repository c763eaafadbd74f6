"""What all tests share: how hypothesis searches, where recorded data lies."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
RECORDED = ROOT.parent / "shared" / "data"

# No deadline: a slow machine is no failure. `HYPOTHESIS_EXAMPLES` widens it; `make test` does.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "10")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Folder of the recorded Binance data; the test skips where it is missing."""
    if not RECORDED.is_dir():
        pytest.skip("recorded Binance data is not part of the repository: ../shared/data missing")
    return RECORDED


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tiers in order: unit, integration, e2e; recorded data is no matter of a unit."""
    for item in items:
        if "recorded" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)

    def tier(item: pytest.Item) -> int:
        return 2 * bool(item.get_closest_marker("e2e")) + bool(
            item.get_closest_marker("integration")
        )

    items.sort(key=tier)
    for item in items:  # with `--dist loadgroup`: a file's tests share its emulators
        if tier(item) == 1:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
        elif tier(item) == 2:
            item.add_marker(pytest.mark.xdist_group("e2e"))
