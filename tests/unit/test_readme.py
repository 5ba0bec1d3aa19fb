"""The README says what is so: its commands, flags, defaults, variables, codes and paths exist."""

from __future__ import annotations

import dataclasses
import errno
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fuse4dbricks import errors
from fuse4dbricks.auth.variables import PLAIN, SECRETS
from fuse4dbricks.cli.auth import NotSignedInError
from fuse4dbricks.cli.cache import CacheNotInOrderError, cache
from fuse4dbricks.cli.explain import EXIT_CODES as EXPLAIN_CODES
from fuse4dbricks.cli.main import commands
from fuse4dbricks.cli.mount import mount
from fuse4dbricks.cli.offline import offline
from fuse4dbricks.cli.options import ENVIRONMENT_PREFIX, in_words
from fuse4dbricks.config import MountConfig, flag_of, option_fields
from fuse4dbricks.fuse.errnos import ERRNO_OF
from fuse4dbricks.vfs.explaining.answer import Explanation, Standing, Verdict

TREE = Path(__file__).resolve().parents[2]
README = (TREE / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))


def commands_in(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands_in(command)


FLAGS = {
    flag
    for command in commands_in(commands)
    for each in command.params
    for flag in [*each.opts, *each.secondary_opts]
}
#: Flags of other programs that the README tells to run.
FOREIGN_FLAGS = {"--device", "--cap-add", "--help", "--xattrs", "--filter"}
BENCHMARK_FLAGS = set(
    re.findall(r'add_argument\("(--[a-z-]+)"', (TREE / "benchmarks/__main__.py").read_text(encoding="utf-8"))
)


def table(header: str) -> list[list[str]]:
    """The rows of the table whose first header cell is ``header``."""
    _, _, after = README.partition(f"\n| {header} |")
    rows = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def code_spans() -> list[str]:
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", README, re.DOTALL)
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL)) + blocks


def setup_lines() -> list[str]:
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [block for block in blocks if "apt-get" in block]


def test_every_flag_exists() -> None:
    named = {flag for span in code_spans() for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert named - FOREIGN_FLAGS - BENCHMARK_FLAGS <= FLAGS
    assert named, "the README names flags"


def test_every_command_exists_and_is_named() -> None:
    named = {
        match
        for span in code_spans()
        for match in re.findall(r"fuse4dbricks (?:\[)?([a-z][a-z-]*)\b(?!/)", span)
        if not span.startswith("python")
    }
    assert named == set(commands.commands)


def test_the_table_of_options_is_complete_and_true() -> None:
    rows = {flag.strip("`"): default.strip("`") for flag, default, _ in table("option")}
    assert set(rows) == {
        flag for each in mount.params if isinstance(each, click.Option) for flag in each.opts
    }
    for option in option_fields():
        shown = rows[flag_of(option.name)]
        if isinstance(option.default, bool):
            assert shown == ("on" if option.default else "off"), option.name
        elif option.name.endswith("_mode"):
            assert shown == f"{option.default:04o}", option.name
        elif option.metadata["is_duration"]:
            assert shown == in_words(float(str(option.default))), option.name
        elif isinstance(option.default, str):
            assert shown == option.default, option.name
        elif option.default not in {None, ()}:
            assert float(shown) == option.default, option.name


def test_variables_exist() -> None:
    for variable in re.findall(rf"{ENVIRONMENT_PREFIX}_([A-Z_]+)", README):
        assert variable.lower() in MountConfig.__dataclass_fields__
    workspace = next(each for each in mount.params if each.name == "workspace")
    known = {*SECRETS, *PLAIN, *(workspace.envvar or ())}
    assert set(re.findall(r"\bDATABRICKS_[A-Z_]+", README)) <= known


def test_exit_codes() -> None:
    (sentence,) = re.findall(r"Exit codes: (0 after.*?)\n\n", README, re.DOTALL)
    assert f"{errors.ConfigError.exit_code} for bad usage" in sentence
    assert f"{errors.MountError.exit_code} when the mount point or FUSE" in sentence
    assert f"{NotSignedInError.exit_code} when you are not signed in" in " ".join(sentence.split())
    assert f"{errors.CacheFolderError.exit_code} when the cache folder" in " ".join(sentence.split())
    assert f"{CacheNotInOrderError.exit_code} when `cache check`" in " ".join(sentence.split())


def test_the_commands_for_offline_use_are_all_there() -> None:
    named = {
        name for row in table("command for offline use") for name in re.findall(r"^`offline ([a-z]+)", row[0])
    }
    assert named == set(offline.commands)


def test_the_commands_of_the_cache_are_all_there() -> None:
    rows = [re.findall(r"^`cache ([a-z]+)", row[0]) for row in table("command for the cache")]
    named = {name for found in rows for name in found}
    assert named == set(cache.commands)


def test_the_exit_codes_of_explain() -> None:
    (sentence,) = re.findall(r"Exit codes: 0 it can (.*?)\n\n", README, re.DOTALL)
    assert {int(number) for number in re.findall(r"\b(\d) [a-z]", sentence)} == set(
        EXPLAIN_CODES.values()
    ) - {0}
    for word in (*Verdict, *Standing):
        assert f"`{word}`" in README, word
    fields = {
        name for row in table("field of `explain --json`") for name in re.findall(r"`([a-z_]+)`", row[0])
    }
    assert fields == {"schema", *(each.name for each in dataclasses.fields(Explanation))}


ROW_OF = {
    errors.NotFound: "there is no such file",
    errors.PermissionDenied: "the workspace refuses",
    errors.InvalidToken: "has no token",
    errors.NoToken: "has no token",
    errors.ReadOnly: "would write",
    errors.VersionChanged: "changed on the server while it was open",
    errors.Unreachable: "cannot be reached",
    errors.DeadlineExceeded: "too slow",
    errors.Throttled: "overloaded",
    errors.ProtocolViolation: "not what the API promises",
    errors.NameTooLong: "longer than 255 bytes",
}


@pytest.mark.parametrize("kind", ROW_OF, ids=lambda kind: kind.__name__)
def test_the_table_of_errors_is_that_of_the_code(kind: type[Exception]) -> None:
    (shown,) = (cell for happened, cell in table("what happened") if ROW_OF[kind] in happened)
    match = re.match(r"`(E[A-Z]+)`", shown)
    assert match is not None
    assert getattr(errno, match[1]) == ERRNO_OF[kind]


def test_the_two_commands_are_one_line_each() -> None:
    demo, tests = setup_lines()
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("/bin/fuse4dbricks demo")
    assert tests.rstrip().endswith("/bin/python -m pytest")


@pytest.mark.parametrize("line", setup_lines(), ids=["demo", "tests"])
def test_the_two_commands_install_what_is_needed(line: str) -> None:
    packages = set(re.search(r"install -y ([a-z0-9 -]+)", line)[1].split())  # type: ignore[index]
    ci = (TREE / ".ci" / "run").read_text(encoding="utf-8")
    needed = set(re.findall(r"need\+=\(([a-z0-9-]+)\)", ci)) - {"build-essential"}
    assert needed | {"gcc", "git"} == packages
    extras = set(re.findall(r"\.\[([a-z]+)\]", line))
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


def test_paths_exist() -> None:
    for path in re.findall(r"`((?:fuse4dbricks|migrations|benchmarks|tests|\.ci)/[\w./]*)`", README):
        assert (TREE / path).exists(), path
    for room in re.findall(r"^  │ +(\w+)/? ", README, re.MULTILINE):
        assert (TREE / "fuse4dbricks" / room).exists() or (TREE / "fuse4dbricks" / f"{room}.py").exists(), (
            room
        )


def test_the_version_of_python() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in README


def test_nothing_is_promised_for_later() -> None:
    assert not re.search(r"TODO|coming soon|work in progress", README, re.IGNORECASE)
