"""What ``cache-stats`` says of quotas."""

from pathlib import Path

from fuse4dbricks.cache.quota_use import QuotaUse, compute_quotas
from fuse4dbricks.cache.statistics import load_statistics
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.cli.stats.sections import sections_of
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.index import Index
from fuse4dbricks.index.report import Report, ShareUse, Use
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import FILE, HOST, KIB, VERSION, new_chunk

SHARES = (
    ShareUse("user", "w", "ann", 50),
    ShareUse("user", "w", "bob", 150),
    ShareUse("catalog", "w", "main", 200),
)


def report_of(workspaces: dict[str, float]) -> Report:
    return Report(workspaces, None, {}, (), (), (), (), (), Use("", 0, 0), is_complete=True, shares=SHARES)


def test_the_fullest_comes_first_and_who_is_over_is_said() -> None:
    uses = compute_quotas(report_of({"w": 1.0}), {"quota_user_bytes": 100, "quota_catalog_bytes": 400})
    assert uses == [
        QuotaUse("user", "bob", 150, 100, 1.5, is_over=True),
        QuotaUse("user", "ann", 50, 100, 0.5, is_over=False),
        QuotaUse("catalog", "main", 200, 400, 0.5, is_over=False),
    ]


def test_where_no_quota_is_set_there_is_nothing_to_say() -> None:
    assert compute_quotas(report_of({"w": 1.0}), {"quota_user_bytes": 0}) == []


def test_users_of_several_workspaces_are_told_apart() -> None:
    (use,) = compute_quotas(report_of({"w": 1.0, "x": 2.0}), {"quota_catalog_bytes": 400})
    assert use.name == "w:main"


async def test_it_is_what_the_index_has(tmp_path: Path) -> None:
    with CacheFolder.open(tmp_path / "cache") as folder:
        index = await Index.open(folder.index_path, workspace=HOST, clock=SystemClock(), metrics=Metrics())
        rows = [new_chunk(number, owner=owner) for number, owner in enumerate(("ann", "bob", "bob"))]
        await index.chunks.add(FILE, VERSION, rows)
        index.counters.post_mount(7, "/mnt", 1.0, {"quota_user_bytes": KIB})
        await index.flush()
        statistics = load_statistics(folder.path, top_files=1, now=2.0)
        await index.aclose()
    assert [(use.name, use.is_over) for use in statistics.quotas] == [("bob", True), ("ann", False)]
    (section,) = (each for each in sections_of(statistics, by=(), top=5) if each.title == "Quotas")
    assert section.rows[0].cells[0] == "user bob, over"
