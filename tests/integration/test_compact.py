"""Compaction in a bucket: a running Cloud Storage stands for Google's."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from plugins.market_ops.archive.compact import compact_hour, manifest_of, removable
from plugins.market_ops.archive.storage import BucketStore
from plugins.market_ops.candles import candles_of_day
from tests.integration.conftest import Gcs, new_project
from tests.plugins.samples import HOUR, line, put

pytestmark = pytest.mark.integration


def test_a_bucket_is_compacted_and_read(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    client = storage.Client(project="test", credentials=AnonymousCredentials())
    bucket = client.create_bucket(new_project())
    store = BucketStore(bucket)
    trades = [("币安人生USDT", number, "2.5", "0.2", 5, True) for number in (3, 1, 2)]
    name = put(store, "a", [line(each) for each in trades])
    compact_hour(store, HOUR)
    assert removable(store, HOUR) == [name]
    (entry,) = manifest_of(store, HOUR)["objects"]
    assert entry["trades"] == 3
    (candle,) = candles_of_day(store, "spot", HOUR.start.date()).to_pylist()
    assert (candle["symbol"], candle["trades"]) == ("币安人生USDT", 3)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        store.read("nowhere")
