"""Row S6: no secret in a log, a command line, an environment, a cache folder or a temporary file, whatever goes wrong."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse4dbricks.devworkspace.effects import Page, Reset, Status
from tests.support.mounts import LiveMount, mounted
from tests.support.signing import write_private
from tests.support.trees import put_file
from tests.support.waiting import slow, wait_for
from tests.support.workspace import Served, serve

CANARY = "canary0123456789abcdef"


@pytest.fixture
def entra(tmp_path: Path) -> Iterator[Served]:
    """A workspace in which every secret has the canary in it."""
    with serve(tmp_path / "tree", tls=True, token=f"dapi-{CANARY}") as running:
        running.behaviour.device_interval = 1
        yield running


def traces(live: LiveMount, temporary: Path) -> list[str]:
    """Where the canary is found, of all places where other users, or a backup, might look."""
    process = Path(f"/proc/{live.process.pid}")
    found = [
        name for name in ("cmdline", "environ") if CANARY in (process / name).read_text(errors="replace")
    ]
    for child in _children(live.process.pid):
        found += [
            f"{name} of a child"
            for name in ("cmdline", "environ")
            if CANARY in Path(f"/proc/{child}/{name}").read_text(errors="replace")
        ]
    if CANARY in live.log:
        found.append("log")
    for folder in (live.cache, temporary):
        found += [
            str(file) for file in folder.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()
        ]
    return found


def _children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(number) for number in listed.stdout.split()]


def drive(live: LiveMount, workspace: Served) -> None:
    """Every way of failing that a token travels on."""
    file = live.path / "main/sales/raw/a"
    token_file = live.path / ".auth/personal_access_token"
    assert file.read_bytes()
    faults: list[tuple[object, str]] = [
        (Status(status=500), "fs.directories.list"), (Page(status=200), "uc.catalogs.list"), (Reset(), "scim.me"),
        (Status(status=403), "fs.files.get"), (Page(status=302), "fs.files.head"),
    ]  # fmt: skip
    for effect, kind in faults:
        workspace.faults.add(effect, kind=kind, times=2)  # type: ignore[arg-type]  # one of the effects above
    for text in (
        f"{CANARY}\r\nX-Injected: yes", f"{CANARY} x", f"{CANARY}\0", f"caf\u00e9{CANARY}", CANARY * 300, f"dapi{CANARY}",
    ):  # fmt: skip
        _write(token_file, text)
        for path in (live.path, live.path / "main/sales/raw"):
            live.run("ls", path)
        live.run("cat", file)
        assert CANARY not in (live.path / ".auth/status").read_text()
        assert CANARY not in (live.path / ".auth/status.json").read_text()
    workspace.faults.clear()
    _write(token_file, "")


def _write(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        assert CANARY not in str(error)  # noqa: PT017 - it may or may not be refused


SOURCES = [
    "token",
    "login",
    pytest.param("oauth", marks=slow),
    pytest.param("azure", marks=slow),
    pytest.param("profile", marks=slow),
]


@pytest.mark.parametrize("source", SOURCES)
def test_no_trace_of_a_secret(entra: Served, tmp_path: Path, source: str) -> None:
    put_file(entra.volume / "a", 1000)
    client_id, secret = entra.people.add_service_principal("robot", secret=f"dose-{CANARY}")
    profile = write_private(
        tmp_path / "config",
        f"[DEFAULT]\nhost={entra.url}\nclient_id={client_id}\nclient_secret={secret}\n[pat]\ntoken={entra.token}\n",
    )
    variables = {
        "token": {"DATABRICKS_TOKEN": entra.token},
        "oauth": {"DATABRICKS_CLIENT_ID": client_id, "DATABRICKS_CLIENT_SECRET": secret},
        "azure": {
            "ARM_CLIENT_ID": client_id,
            "ARM_CLIENT_SECRET": secret,
            "ARM_TENANT_ID": entra.settings.tenant,
        },
        "profile": {"DATABRICKS_CONFIG_FILE": str(profile)},
        "login": {},
    }[source]
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        options = ("--entra-authority", entra.url, "--debug")
        environment = {**variables, "TMPDIR": name}
        with mounted(entra, tmp_path / "m", *options, token="", environment=environment) as live:
            if source == "login":
                _log_in(live, entra)
            drive(live, entra)
            assert not traces(live, temporary)
            issued = [value for value in list(entra.people._tokens) if value != entra.token]
            assert source == "token" or issued
            everything = live.log.encode() + b"".join(
                file.read_bytes() for file in live.cache.rglob("*") if file.is_file()
            )
            # What was issued along the way: access tokens of all kinds.
            assert not [value for value in issued if value.encode() in everything]


def _log_in(live: LiveMount, entra: Served) -> None:
    login = live.path / ".auth/login"
    login.write_text("login\n")
    assert wait_for(lambda: "state: waiting" in login.read_text())
    entra.entra.approve(entra.entra.get_logins()[0].user_code, entra.user)
    assert wait_for(lambda: "state: done" in login.read_text())


def test_a_core_file_would_hold_a_token_so_there_is_none(entra: Served, tmp_path: Path) -> None:
    """Neither by the limit nor, should somebody raise it, by the kernel; ``/proc/PID/mem`` is root's alone."""
    with mounted(entra, tmp_path / "m") as live:
        process = Path(f"/proc/{live.process.pid}")
        limits = (process / "limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"]
        # The kernel gives the files of a process that is not dumpable to root (proc(5)).
        assert (process / "mem").stat().st_uid == 0
