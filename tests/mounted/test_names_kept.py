"""Names that the kernel keeps where one user has the mount to himself: his token goes, and so do they."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted
from tests.support.places import names
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

#: So long that nothing is forgotten in the course of a test because of its age.
LONG = (
    "--permission-ttl-sec",
    "600",
    "--metadata-cache-ttl-catalog-sec",
    "600",
    "--metadata-cache-ttl-sec",
    "600",
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Served, Path]]:
    with serve(tmp_path / "tree", open_to_all=False) as served:
        put_file(served.volume / "f", 1000)
        yield served, tmp_path


def write_token(live: LiveMount, token: str) -> None:
    (live.path / ".auth/personal_access_token").write_text(token + "\n")


def fails(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return True
    return False


def places(live: LiveMount) -> list[Path]:
    top = live.path / "main/sales/raw"
    return [top.parent.parent, top.parent, top, top / "f"]


@pytest.mark.parametrize("new", ["", "somebody else's"])
def test_a_token_that_goes_takes_the_names_along(own: tuple[Served, Path], new: str) -> None:
    served, folder = own
    token = served.people.add_user("alice@example.com")
    other = served.people.add_user("bob@example.com")
    served.grants.let_read("main.sales.raw", "alice@example.com")
    with mounted(served, folder, *LONG, token="") as live:
        write_token(live, token)
        assert not any(fails(each) for each in places(live))
        write_token(live, other if new else "")
        for each in places(live):
            assert wait_for(lambda each=each: fails(each)), each  # type: ignore[misc]
        assert names(live.path) == [".auth", "README.txt"]
        write_token(live, token)
        assert wait_for(lambda: not any(fails(each) for each in places(live)))


def test_names_end_with_the_right_to_them(own: tuple[Served, Path]) -> None:
    """However long the tree is trusted for, the permission TTL is the limit."""
    served, folder = own
    token = served.people.add_user("alice@example.com")
    served.grants.let_read("main.sales.raw", "alice@example.com")
    with mounted(served, folder, *LONG, "--permission-ttl-sec", "1", token=token) as live:
        assert not any(fails(each) for each in places(live))
        assert names(live.path / "main") == ["sales"]
        served.grants.revoke("main", "alice@example.com")
        for each in places(live):
            assert wait_for(lambda each=each: fails(each)), each  # type: ignore[misc]
        assert wait_for(lambda: "main" not in names(live.path))
