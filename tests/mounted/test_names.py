"""Names that nobody should give a file, from the kernel's side and from the server's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.mounts import LiveMount
from tests.support.places import Place, names
from tests.support.trees import put_file
from tests.support.workspace import Served

#: The only paths that a mount has any business with.
KNOWN_PREFIXES = ("/api/2.0/fs/", "/api/2.1/unity-catalog/", "/api/2.0/preview/scim/v2/Me")

LEVELS = ("", "main/", "main/sales/", "main/sales/raw/")

ODD_NAMES = (
    b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a\x80b",
    b"c?x=1", b"main?max_results=1", b"main#x", b"main%00", b"%2e%2e%2f", b"%2e%2e", b"..%2f..%2f2.0%2fpreview%2fscim",
    b"..\\..", b"main;x=1", b"main&a=b", b"a b", b"a\nb", b"a\r\nX-Header: 1", b"main.sales", b" ", b"~",
)  # fmt: skip


def _errno_of(path: bytes) -> int:
    try:
        os.stat(path)  # noqa: PTH116 - bytes, which pathlib does not take
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.parametrize("level", LEVELS)
def test_odd_local_names_are_absent_and_reach_no_other_url(
    served: Served, shared: LiveMount, level: str
) -> None:
    served.journal.clear()
    here = os.fsencode(shared.path) + b"/" + level.encode()
    for name in ODD_NAMES:
        assert _errno_of(here + name) == errno.ENOENT, name
    for record in served.log:
        assert record.path.startswith(KNOWN_PREFIXES), record
        assert "max_results=1&" not in record.query + "&", record
        assert "x-header" not in record.headers, record
    assert names(shared.path / "main/sales/raw") == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_name_of_256_bytes_is_too_long(shared: LiveMount, level: str) -> None:
    here = os.fsencode(shared.path) + b"/" + level.encode()
    assert _errno_of(here + b"n" * 256) == errno.ENAMETOOLONG
    assert _errno_of(here + "é".encode() * 128) == errno.ENAMETOOLONG
    assert _errno_of(here + b"n" * 255) == errno.ENOENT


def test_no_odd_name_finds_another_file(served: Served, place: Place) -> None:
    place.put("a", 10)
    for name in ("a?", "a#", "a%20", "%61", "a\\", "A", " a", "a ", "a;", "a.", "a%00", "a?x=1"):
        assert _errno_of(os.fsencode(place.top / name)) == errno.ENOENT, name
    assert _errno_of(os.fsencode(place.top) + b"/a/") == errno.ENOTDIR


# --- the server's names ----------------------------------------------------------------------------


def _entry(name: Any, **changes: Any) -> dict[str, Any]:
    path = f"/Volumes/main/sales/raw/{name}"
    times = {"last_modified": 1_600_000_000_000}
    return {"path": path, "name": name, "is_directory": False, "file_size": 3} | times | changes


HOSTILE: dict[str, Any] = {
    "parent": _entry(".."),
    "itself": _entry("."),
    "with a slash": _entry("x/y"),
    "absolute": _entry("/etc/passwd"),
    "empty": _entry(""),
    "NUL": _entry("a\0b"),
    "too long": _entry("x" * 256),
    "too long in bytes": _entry("é" * 200),
    "lone surrogate": _entry("a\ud800b"),
    "surrogate of a byte": _entry("a\udcffb"),
}

ODD_SHAPES: dict[str, Any] = {
    "number as name": _entry(7),
    "null as name": _entry(None),
    "negative size": _entry("odd", file_size=-1),
    "size beyond 64 bits": _entry("odd", file_size=1 << 70),
    "fraction as size": _entry("odd", file_size=1.5),
    "text as size": _entry("odd", file_size="3"),
    "infinite time": _entry("odd", last_modified=1 << 70),
    "negative time": _entry("odd", last_modified=-(1 << 60)),
    "text as time": _entry("odd", last_modified="yesterday"),
    "text as kind": _entry("odd", is_directory="false"),
    "not an object": "odd",
    "null": None,
    "list": [],
}


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_left_out_and_the_rest_is_served(served: Served, place: Place, entry: Any) -> None:
    good = place.put("good", 1000)
    served.state.hostile.add(place.remote, entry)
    assert names(place.top) == ["good"]
    assert (place.top / "good").read_bytes() == good


@pytest.mark.parametrize("entry", ODD_SHAPES.values(), ids=ODD_SHAPES)
def test_an_odd_entry_harms_nobody(served: Served, shared: LiveMount, place: Place, entry: Any) -> None:
    """Left out, asked for by itself, or an error of this one listing: never a dead mount or a made-up file."""
    good = place.put("good", 1000)
    place.put("folder/inside", 10)
    served.state.hostile.add(place.remote, entry)
    try:
        assert set(names(place.top)) - {"odd", "7"} == {"good", "folder"}
        assert (place.top / "good").read_bytes() == good
    except OSError as error:
        assert error.errno == errno.EIO  # noqa: PT017 - either is right
    with pytest.raises(OSError):
        (place.top / "odd").read_bytes()
    assert names(place.top / "folder") == ["inside"]
    assert shared.process.poll() is None


def test_a_path_that_points_elsewhere_is_not_believed(served: Served, place: Place) -> None:
    place.put("secret/s", 1000)
    served.state.hostile.add(place.remote, _entry("decoy", path=f"{place.remote}/secret/s", file_size=5))
    assert names(place.top) == ["decoy", "secret"]
    assert (place.top / "secret/s").stat().st_size == 1000
    with pytest.raises(OSError):
        (place.top / "decoy").read_bytes()


def test_names_twice_are_shown_once(served: Served, place: Place) -> None:
    place.put("good", 1000)
    served.state.hostile.add(
        place.remote, _entry("twice"), _entry("twice", is_directory=True), _entry("twice")
    )
    assert names(place.top) == ["good", "twice"]


def test_names_in_two_normal_forms_are_two_files(served: Served, place: Place) -> None:
    place.put("caf\u00e9", 10)
    place.put("cafe\u0301", 20)
    sizes = {name: (place.top / name).stat().st_size for name in names(place.top)}
    assert sizes == {"caf\u00e9": 10, "cafe\u0301": 20}


def test_hostile_securables_are_left_out(workspace: Served, live: LiveMount) -> None:
    hostile = ("..", ".", "a/b", "", None, 7, "x" * 300, "a\0b", "\ud800", "a/../../b")
    for listing in ("catalogs", "schemas main", "volumes main.sales"):
        workspace.state.hostile.add(listing, {}, None, *({"name": name} for name in hostile))
    put_file(workspace.volume / "good", 1000)
    assert names(live.path) == [".auth", "README.txt", "main"]
    assert names(live.path / "main") == ["sales"]
    assert names(live.path / "main/sales") == ["raw"]
    good = (workspace.volume / "good").read_bytes()
    assert (live.path / "main/sales/raw/good").read_bytes() == good


# --- case ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [str.upper, str.title, str.swapcase, str.lower])
def test_securables_answer_in_any_case(shared: LiveMount, place: Place, change: Callable[[str], str]) -> None:
    expected = place.put("File", 1000)
    volume = shared.path / change(f"main/sales/{place.top.name}")
    assert names(volume) == ["File"]
    assert (volume / "File").read_bytes() == expected
    assert not (volume / "file").exists()
    assert "main" in names(shared.path)
    assert "MAIN" not in names(shared.path)


def test_all_spellings_are_one_inode_and_share_what_is_cached(
    served: Served, shared: LiveMount, place: Place
) -> None:
    place.put("File", 1000)
    (place.top / "File").read_bytes()
    numbers = {(shared.path / spelling).stat().st_ino for spelling in ("main", "MAIN", "mAiN")}
    assert len(numbers) == 1
    served.journal.clear()
    (shared.path / f"MAIN/Sales/{place.top.name.upper()}/File").read_bytes()
    assert served.counts["fs.files.get"] == served.counts["fs.directories.list"] == 0
