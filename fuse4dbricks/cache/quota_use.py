"""Who has a quota, and what he takes of it, for ``cache-stats``.

The difficulty: a quota is held against what can give way, so pinned chunks are not in it, unlike in every other sum; and
a user of one workspace is nobody in another, even under the same name. (Why this is no dataclass: see ``index/report``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fuse4dbricks.index.report import Report


class QuotaUse(NamedTuple):
    """One user or one catalog.

    Attributes:
        kind: ``user`` or ``catalog``.
        bytes: on the disk, but for pinned chunks.
        fraction: of the quota.
        is_over: more than the quota: it was lowered just now, or all is held open.
    """

    kind: str
    name: str
    bytes: int
    limit_bytes: int
    fraction: float
    is_over: bool


def compute_quotas(report: Report, limits: Mapping[str, float]) -> list[QuotaUse]:
    """All that a quota in ``limits`` (``quota_user_bytes``, ``quota_catalog_bytes``) is about, fullest first."""
    uses: list[QuotaUse] = []
    for share in report.shares:
        quota = int(limits.get(f"quota_{share.kind}_bytes", 0))
        if quota:
            name = share.name if len(report.workspaces) <= 1 else f"{share.workspace}:{share.name}"
            size = share.disk_bytes
            uses.append(QuotaUse(share.kind, name, size, quota, size / quota, size > quota))
    return sorted(uses, key=lambda use: -use.fraction)
