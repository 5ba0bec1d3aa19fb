"""An index as an older program left it: the rows of today's, in the tables of then."""

from __future__ import annotations

from pathlib import Path

import apsw

from fuse4dbricks.index.migrations import load_migrations, migrate


def make_older(file: Path, version: int) -> None:
    """Replace the index ``file``, which nobody has open, by what the first ``version`` steps make, with the same rows."""
    older = file.with_name("older")
    db = apsw.Connection(str(older))
    migrate(db, older, load_migrations()[:version])
    db.execute("ATTACH ? AS newer", (str(file),))
    with db:
        tables = db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
        for table in (str(row[0]) for row in tables):
            then, now = (_columns(db, schema, table) for schema in ("main", "newer"))
            both = ", ".join(sorted(then & now))
            db.execute(f"DELETE FROM main.{table}")  # a step may have put rows of its own
            db.execute(f"INSERT INTO main.{table} ({both}) SELECT {both} FROM newer.{table}")
    db.close()
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
    older.rename(file)


def _columns(db: apsw.Connection, schema: str, table: str) -> set[str]:
    return {str(row[1]) for row in db.execute(f"PRAGMA {schema}.table_info({table})")}
