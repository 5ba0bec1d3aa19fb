"""What runs in the loop is answered from an index, without a sort: SQLite itself says so."""

from pathlib import Path

import pytest

from fuse4dbricks.index.reader import Query, get_declared_queries
from tests.support.indexes import FILE, FOLDER, VERSION, file_entry, new_chunk, opened, outside, post_walk


def test_there_are_statements_to_ask_about() -> None:
    tables = {"dentry", "listing", "absence", "chunk", "grant", "sign_in", "stat_counter", "owner"}
    assert {
        table for table in tables for query in get_declared_queries() if f"FROM {table}" in query
    } == tables


@pytest.mark.parametrize("query", get_declared_queries())
@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_statement_scans_or_sorts(tmp_path: Path, query: Query, analyzed: bool) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry(f"{n}") for n in range(50)]])
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(50)])
    db = outside(tmp_path, write=True)
    if analyzed:
        db.execute("ANALYZE").fetchall()
    plan = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {query}", (None,) * query.count("?"))]
    db.close()
    assert plan
    for step in plan:
        assert step.startswith(("SEARCH", "SCALAR SUBQUERY")), plan
        assert "TEMP B-TREE" not in step, plan
