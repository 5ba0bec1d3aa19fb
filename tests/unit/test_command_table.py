"""Commands are imported when they are meant, and not before."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from fuse4dbricks.cli.main import COMMANDS, commands
from fuse4dbricks.cli.table import CommandTable


def test_all_commands_are_there_under_their_names() -> None:
    assert set(commands.commands) == set(COMMANDS)
    assert {command.name for command in commands.commands.values()} == set(COMMANDS)


def test_it_is_a_mapping() -> None:
    table = CommandTable({"a": "no.such.module:a"})
    table["b"] = click.Command("b")
    assert (list(table), len(table)) == (["a", "b"], 2)
    assert "a" in table
    assert "c" not in table
    assert table.get("c") is None
    with pytest.raises(ModuleNotFoundError):
        table["a"]
    del table["a"]
    assert list(table) == ["b"]


def test_a_mount_imports_nothing_that_only_other_commands_need() -> None:
    code = (
        "import sys, fuse4dbricks.cli.main, fuse4dbricks.cli.mount, trio, fuse4dbricks.app.mount; "
        "print('loaded:', *(sys.modules.keys() & set(sys.argv[1].split())))"
    )
    spared = "rich pygments msal asyncio uvicorn starlette trustme fuse4dbricks.cache.statistics fuse4dbricks.cli.cache"
    shown = subprocess.check_output([sys.executable, "-c", code, spared], text=True)
    assert shown.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    ("meant", "spared"),
    [
        ("cache-stats --help", "trio rich apsw fuse4dbricks.config"),
        ("--version", "trio fuse4dbricks.cli.mount"),
    ],
)
def test_what_is_not_meant_is_not_imported(meant: str, spared: str) -> None:
    code = (
        "import sys; from fuse4dbricks.cli.main import main; main(sys.argv[1].split()); "
        "print('loaded:', *(sys.modules.keys() & set(sys.argv[2].split())))"
    )
    shown = subprocess.check_output([sys.executable, "-c", code, meant, spared], text=True)
    assert shown.splitlines()[-1] == "loaded:"
