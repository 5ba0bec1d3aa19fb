"""README.txt and .auth/: what a user without a token sees, and every way of writing one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted
from tests.support.places import names
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import Served

LOCKED = [".auth", "README.txt"]
OPEN = [".auth", "README.txt", "main"]
TOKEN_FILE = ".auth/personal_access_token"


@pytest.fixture(scope="module")
def locked(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """A mount without a token, shared by the module; each test leaves it without one."""
    with mounted(served, tmp_path_factory.mktemp("locked"), token="") as live:
        yield live


@pytest.fixture(autouse=True)
def forgotten(locked: LiveMount) -> Iterator[None]:
    """No test inherits a token."""
    yield
    (locked.path / TOKEN_FILE).write_text("\n")
    assert names(locked.path) == LOCKED


def _shell(locked: LiveMount, command: str, token: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], cwd=locked.path, env={**os.environ, "T": token}, capture_output=True, timeout=30,
        check=False,
    )  # fmt: skip


def test_without_a_token_there_is_only_help(locked: LiveMount) -> None:
    assert names(locked.path) == LOCKED
    assert names(locked.path / ".auth") == [
        "README.txt",
        "explain",
        "login",
        "login.sh",
        "personal_access_token",
        "status",
        "status.json",
    ]
    assert "personal_access_token" in (locked.path / "README.txt").read_text()
    assert "127.0.0.1" in (locked.path / "README.txt").read_text()
    assert (locked.path / ".auth/README.txt").read_text()
    for absent in ("main", "main/sales", "nothing"):
        with pytest.raises(PermissionError):
            (locked.path / absent).stat()


@pytest.mark.parametrize(
    "command",
    [
        f'echo "$T" > {TOKEN_FILE}',
        f'echo "$T" >> {TOKEN_FILE}',
        f'printf %s "$T" > {TOKEN_FILE}',
        f'printf "%s\\r\\n" "$T" > {TOKEN_FILE}',
        f'printf "  %s\\n\\n" "$T" > {TOKEN_FILE}',
        f'echo "$T" | cat > {TOKEN_FILE}',
        f'echo "$T" | tee {TOKEN_FILE}',
        f'echo "$T" | dd of={TOKEN_FILE} bs=1 status=none',
        f'echo "$T" | dd of={TOKEN_FILE} bs=7 conv=notrunc status=none',
        f'exec 3> {TOKEN_FILE}; printf %s "${{T:0:10}}" >&3; printf %s "${{T:10}}" >&3; exec 3>&-',
        f'cp <(echo "$T") {TOKEN_FILE}',
        f'python3 -c "import os; open(\\"{TOKEN_FILE}\\", \\"w\\").write(os.environ[\\"T\\"])"',
    ],
)
def test_a_token_is_written(served: Served, locked: LiveMount, command: str) -> None:
    done = _shell(locked, command, served.token)
    assert (done.returncode, done.stderr) == (0, b"")
    assert names(locked.path) == OPEN
    assert names(locked.path / "main/sales") == ["raw"]


def test_a_token_serves_reading(served: Served, locked: LiveMount) -> None:
    put_file(served.volume / "read with a written token", 1000)
    (locked.path / TOKEN_FILE).write_text(served.token)
    path = "main/sales/raw/read with a written token"
    assert (locked.path / path).read_bytes() == (served.volume / path.rpartition("/")[2]).read_bytes()


def test_a_token_is_never_readable(served: Served, locked: LiveMount) -> None:
    (locked.path / TOKEN_FILE).write_text(served.token)
    for flags in (os.O_RDONLY, os.O_RDWR):
        with pytest.raises(PermissionError):
            os.open(locked.path / TOKEN_FILE, flags)
    assert not os.access(locked.path / TOKEN_FILE, os.R_OK)
    assert os.access(locked.path / TOKEN_FILE, os.W_OK)
    assert (locked.path / TOKEN_FILE).stat().st_size == 0
    assert served.token not in locked.log


def test_a_tree_with_a_token_is_copied_whole(served: Served, locked: LiveMount, tmp_path: Path) -> None:
    (locked.path / TOKEN_FILE).write_text(served.token)
    done = subprocess.run(
        ["cp", "-r", locked.path, tmp_path / "copy"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "text",
    [
        "two words", "two\nlines", "caf\u00e9", "a\0b", "tab\tinside", "dapi\x7f", "x" * 4097, "x" * 5000, "x" * 300_000,
        "Bearer dapi123",
    ],
    ids=[
        "two words", "two lines", "not ASCII", "NUL", "tab", "DEL", "4097 bytes", "5000 bytes", "300 kB",
        "scheme and token",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_whole(served: Served, locked: LiveMount, text: str) -> None:
    (locked.path / TOKEN_FILE).write_text(served.token)
    with pytest.raises(OSError) as refused, (locked.path / TOKEN_FILE).open("wb") as stream:
        stream.write(text.encode())
    assert refused.value.errno == errno.EINVAL
    # The one in use stays.
    assert names(locked.path) == OPEN
    assert text[:4000] not in locked.log


def test_the_longest_token_is_taken(served: Served, locked: LiveMount) -> None:
    """Taken as a token: the workspace does not know it, so there is only help."""
    (locked.path / TOKEN_FILE).write_text("x" * 4096 + "\n")
    assert names(locked.path) == LOCKED


def test_an_unknown_token_shows_help_only(served: Served, locked: LiveMount) -> None:
    for status in (401, 403):
        served.behaviour.bad_token = status
        (locked.path / TOKEN_FILE).write_text(f"dapi{'0' * 30}{status}")
        assert names(locked.path) == LOCKED
        # What its name was, the kernel may still know: there is one user. Not what is in it.
        with pytest.raises(PermissionError):
            names(locked.path / "main")


def test_an_open_that_writes_nothing_changes_nothing(served: Served, locked: LiveMount) -> None:
    (locked.path / TOKEN_FILE).write_text(served.token)
    os.close(os.open(locked.path / TOKEN_FILE, os.O_WRONLY))
    os.close(os.open(locked.path / TOKEN_FILE, os.O_WRONLY | os.O_TRUNC))
    assert names(locked.path) == OPEN


@pytest.mark.parametrize("text", ["two words\n", "two words", "caf\u00e9\n"])
def test_the_shell_says_that_it_was_refused(locked: LiveMount, text: str) -> None:
    """Shells look at what ``write`` says, and at nothing that ``close`` does."""
    for command in (f'printf %s "$T" > {TOKEN_FILE}', f'printf %s "$T" | cat > {TOKEN_FILE}'):
        done = _shell(locked, command, text)
        assert done.returncode
        assert b"Invalid argument" in done.stderr
    assert _shell(locked, "echo rm > .auth/login", "").returncode


def test_a_token_counts_before_the_file_is_closed(served: Served, locked: LiveMount) -> None:
    with (locked.path / TOKEN_FILE).open("wb", buffering=0) as stream:
        for start in range(0, len(served.token), 7):
            stream.write(served.token[start : start + 7].encode())
        assert names(locked.path) == OPEN
        with pytest.raises(OSError, match="Invalid argument"):
            stream.write(b" and more")
        assert names(locked.path) == LOCKED


def test_two_writers_do_not_mix(served: Served, locked: LiveMount) -> None:
    first = os.open(locked.path / TOKEN_FILE, os.O_WRONLY)
    second = os.open(locked.path / TOKEN_FILE, os.O_WRONLY)
    half = len(served.token) // 2
    os.write(first, served.token[:half].encode())
    os.write(second, b"dapi-of-the-other")
    os.write(first, served.token[half:].encode())
    os.close(second)
    os.close(first)
    assert names(locked.path) == OPEN


@pytest.mark.parametrize("status", [401, 403])
def test_a_revoked_token_ends_within_the_ttl(workspace: Served, tmp_path: Path, status: int) -> None:
    workspace.behaviour.bad_token = status  # type: ignore[assignment]  # a Literal of both
    put_file(workspace.volume / "a", 1000)
    with mounted(workspace, tmp_path, "--permission-ttl-sec", "1") as live:
        path = live.path / "main/sales/raw/a"
        assert len(path.read_bytes()) == 1000
        with path.open("rb", buffering=0) as stream:
            workspace.people.revoke_token(workspace.token)
            assert wait_for(lambda: names(live.path) == LOCKED, timeout=10)
            with pytest.raises(PermissionError):
                path.read_bytes()
            # What was open is not read on either, past what the kernel has.
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with pytest.raises(PermissionError):
                stream.read()
        (live.path / TOKEN_FILE).write_text(workspace.people.issue_token(workspace.user))
        assert wait_for(lambda: names(live.path) == OPEN, timeout=10)
        assert len(path.read_bytes()) == 1000
