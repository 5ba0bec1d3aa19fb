"""Large files from the cloud store, through a real mount: the same bytes, whatever the store and the workspace do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse4dbricks.units import MIB
from tests.support.mounts import mounted
from tests.support.trees import put_file
from tests.support.waiting import slow
from tests.support.workspace import serve

SIZE = 66 * MIB

#: What the workspace does, whether its URLs have ended, and whose store it is.
CASES = [
    ("on", False, "azure"),
    pytest.param("on", True, "aws", marks=slow),
    pytest.param("on", True, "azure", marks=slow),
    pytest.param("on", True, "gcp", marks=slow),
    pytest.param("not_enabled", False, "aws", marks=slow),
    pytest.param("missing", False, "aws", marks=slow),
    pytest.param("network_zone", False, "aws", marks=slow),
    ("hang", False, "aws"),
]


@pytest.mark.parametrize(("mode", "has_ended", "cloud"), CASES)
def test_the_bytes_are_the_same(tmp_path: Path, mode: str, cloud: str, *, has_ended: bool) -> None:
    with serve(tmp_path / "tree", tls=True) as served:
        served.behaviour.presigned = mode  # type: ignore[assignment]  # one of its words
        served.behaviour.cloud = cloud  # type: ignore[assignment]
        served.behaviour.presigned_expired = has_ended
        put_file(served.volume / "big", SIZE)
        with mounted(served, tmp_path / "m") as live:
            assert not live.run("cmp", "main/sales/raw/big", served.volume / "big").returncode
            assert served.counts["fs.download_url"] >= 1
            assert (served.counts["cloud.get"] > 0) is (mode == "on")
            assert served.journal.leaked_authorization == 0
            assert "Signature" not in live.log


def test_never_is_never(tmp_path: Path) -> None:
    with serve(tmp_path / "tree", tls=True) as served:
        put_file(served.volume / "big", SIZE)
        with mounted(served, tmp_path / "m", "--presigned", "never") as live:
            assert not live.run("cmp", "main/sales/raw/big", served.volume / "big").returncode
        assert served.counts["fs.download_url"] == served.counts["cloud.get"] == 0
