"""The house plan, enforced: imports go down the floors, and each outside library has one room.

Without it the plan decays one convenient import at a time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "fuse4dbricks"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "paths", "entry", "clock", "units", "tokens", "visibility", "weather", "buffers", "trust"),
    ("concurrency", "telemetry"),
    ("auth", "workspace", "index", "chunks"),
    ("cache", "access"),
    ("vfs",),
    ("fuse",),
    ("config", "app", "cli", "__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: library → the rooms that may import it (None as the package root means nowhere else).
OUTSIDE = {
    "pyfuse3": {"fuse"},
    "apsw": {"index"},
    "httpx": {"workspace", "auth"},
    "httpcore": {"workspace"},
    "msal": {"auth"},
    "click": {"cli"},
    "rich": {"cli"},
    "uvicorn": {"devworkspace"},
    "starlette": {"devworkspace"},
    "trustme": {"devworkspace"},
}


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    package = ("fuse4dbricks", *file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def rooms_imported(file: Path) -> Iterator[tuple[int, str]]:
    for line, module in imports_of(file):
        package, _, rest = module.partition(".")
        room = rest.partition(".")[0]
        if package == "fuse4dbricks" and any(
            (PACKAGE / name).exists() for name in (room, f"{room}.py") if room
        ):
            yield line, room


@pytest.mark.parametrize("file", source_files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    room = room_of(file)
    if room == "__init__":
        assert not list(rooms_imported(file)), "the package root imports nothing, so that start stays cheap"
        return
    for line, other in rooms_imported(file):
        if other == room:
            continue
        where = f"{file.name}:{line} imports {other}"
        if room == "devworkspace":
            pytest.fail(f"{where}: the local workspace must not share code with the driver")
        elif other == "devworkspace":
            assert room == "cli", f"{where}: only a command may start a local workspace"
        else:
            assert FLOOR_OF[other] <= FLOOR_OF[room], f"{where}: that is up the stairs"
            same_floor = FLOOR_OF[other] == FLOOR_OF[room]
            assert not (same_floor and FLOOR_OF[room] == 2), f"{where}: adapters do not know each other"


@pytest.mark.parametrize("file", source_files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_outside_libraries_stay_in_their_room(file: Path) -> None:
    for line, module in imports_of(file):
        allowed = OUTSIDE.get(module.split(".")[0])
        assert allowed is None or room_of(file) in allowed, f"{file.name}:{line} imports {module}"


def test_msal_is_imported_in_one_file_and_lazily() -> None:
    at_top = [
        file
        for file in source_files()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "msal" in ast.unparse(node)
    ]
    assert not at_top, "msal costs 0.2 s at import: only a login may pay it"


@pytest.mark.parametrize("file", source_files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_file_holds_two_things(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 450, f"{file.name} is over 450 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 80, f"{file.name}:{node.lineno} {node.name} has {length} lines"


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(file) for file in source_files()} - {"__init__", "devworkspace"}
    assert rooms <= FLOOR_OF.keys()
