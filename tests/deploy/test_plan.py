"""Plans: what is uploaded and deleted, in which order, and that any interruption can be mended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.plan import ForeignFiles, Manifest, ManifestError, begun, plan

WANTED = {"dags/a.py": "1", "plugins/m/x.py": "1", "dags/dbt/m.sql": "1"}


def test_a_first_deployment_writes_dags_last() -> None:
    actions = plan(WANTED, {}, Manifest())
    assert actions.uploads == ("dags/dbt/m.sql", "plugins/m/x.py", "dags/a.py")
    assert actions.new == set(WANTED)
    assert actions.deletes == ()


def test_nothing_is_done_twice() -> None:
    actions = plan(WANTED, dict(WANTED), Manifest(WANTED))
    assert not actions
    assert actions.unchanged == 3


def test_what_is_gone_is_deleted_dags_first() -> None:
    former = Manifest({**WANTED, "plugins/m/old.py": "1", "dags/old.py": "1"})
    actions = plan(WANTED, dict(former.files), former)
    assert actions.uploads == ()
    assert actions.deletes == ("dags/old.py", "plugins/m/old.py")


def test_changed_files_are_written_whoever_changed_them() -> None:
    found = {**WANTED, "dags/a.py": None, "plugins/m/x.py": "2"}
    actions = plan(WANTED, found, Manifest(WANTED))
    assert actions.uploads == ("plugins/m/x.py", "dags/a.py")
    assert actions.new == frozenset()
    assert actions.lines() == ["~ plugins/m/x.py", "~ dags/a.py"]


def test_a_file_of_somebody_else_stays() -> None:
    assert plan(WANTED, {**WANTED, "dags/theirs.py": None}, Manifest(WANTED)).deletes == ()


def test_a_file_of_somebody_else_is_not_replaced() -> None:
    with pytest.raises(ForeignFiles, match=r"^dags/a\.py$"):
        plan(WANTED, {"dags/a.py": None}, Manifest())


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = Manifest(WANTED, frozenset({"dags/b.py"}))
    assert Manifest.decode(manifest.encode()) == manifest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"version": 2, "files": {}, "pending": []}'])
def test_something_else_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.decode(data)


names = st.sampled_from(
    ["dags/a.py", "dags/b.py", "dags/dbt/m.sql", "plugins/x.py", "plugins/y.j2"]
)
trees = st.dictionaries(names, st.sampled_from(["1", "2"]))


@given(st.lists(st.tuples(trees, st.integers(0, 12)), max_size=5), trees)
def test_whatever_was_interrupted_the_next_deployment_mends(
    interrupted: list[tuple[dict[str, str], int]], last: dict[str, str]
) -> None:
    bucket: dict[str, str | None] = {"dags/theirs.py": None}
    manifest = Manifest()
    for tree, steps in [*interrupted, (last, 100)]:
        actions = plan(tree, bucket, manifest)
        manifest = begun(manifest, actions)
        for name in actions.uploads[:steps]:
            bucket[name] = tree[name]
        for name in actions.deletes[: max(0, steps - len(actions.uploads))]:
            del bucket[name]
        if steps > len(actions.uploads) + len(actions.deletes):
            manifest = Manifest(tree)
    assert bucket == {"dags/theirs.py": None, **last}
    assert manifest == Manifest(last)
