"""The Databricks CLI and the Azure CLI, played by scripts on PATH."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio

from fuse4dbricks.auth.commands import azure_command, databricks_command, fetch_cli_token
from fuse4dbricks.auth.source import Outcome, SourceFailure
from fuse4dbricks.tokens import Token

NOW = 1_750_000_000.0
SOON = "2025-06-15T16:06:40"  # NOW + 1 h


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def printing(document: object) -> str:
    return f"cat <<'END'\n{json.dumps(document)}\nEND"


async def test_the_databricks_cli(bin_folder: Path) -> None:
    answer = {"access_token": "eyJ.a.b", "token_type": "Bearer", "expiry": f"{SOON}.123456789Z"}
    install(bin_folder, "databricks", f'echo "$@" > {bin_folder}/asked; {printing(answer)}')
    issued = await fetch_cli_token(
        databricks_command(None, profile="mine", base="https://h"), os.environ, wall=NOW
    )
    assert issued.token == Token("eyJ.a.b")
    assert issued.lifetime == pytest.approx(3600, abs=1)
    assert (bin_folder / "asked").read_text() == "auth token --profile mine\n"
    await fetch_cli_token(databricks_command(None, profile=None, base="https://h"), os.environ, wall=NOW)
    assert (bin_folder / "asked").read_text() == "auth token --host https://h\n"


async def test_the_azure_cli(bin_folder: Path) -> None:
    answer = {"accessToken": "eyJ.a.b", "expiresOn": "2001-01-01 00:00:00.000000", "expires_on": NOW + 60}
    install(bin_folder, "az", f'echo "$@" > {bin_folder}/asked; {printing(answer)}')
    issued = await fetch_cli_token(azure_command("a-tenant"), os.environ, wall=NOW)
    assert (issued.token, issued.lifetime) == (Token("eyJ.a.b"), 60)
    asked = (bin_folder / "asked").read_text()
    assert asked == (
        "account get-access-token --resource 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d --output json --tenant a-tenant\n"
    )


async def test_it_is_given_no_secret_and_no_shell(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET", "ARM_CLIENT_SECRET", "WHATEVER"):
        monkeypatch.setenv(name, "canary")
    install(bin_folder, "databricks", f"env > {bin_folder}/env; {printing({'access_token': 't'})}")
    hostile = f"x; touch {bin_folder}/pwned; $(touch {bin_folder}/pwned)"
    await fetch_cli_token(databricks_command(None, profile=hostile, base=""), os.environ, wall=NOW)
    environment = (bin_folder / "env").read_text()
    assert "HOME=" in environment
    assert "canary" not in environment
    assert not (bin_folder / "pwned").exists()


async def test_it_is_not_installed() -> None:
    with pytest.raises(SourceFailure, match="no-such-cli is not installed") as info:
        await fetch_cli_token(["no-such-cli"], os.environ, wall=NOW)
    assert info.value.outcome is Outcome.NOTHING


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Traceback: x' >&2; echo 'ERROR: Please run az login' >&2; exit 1", "Please run az login"),
        ("exit 3", "exit code 3"),
        ("echo hello", "something else than a token"),
        (printing(["canary"]), "something else than a token"),
        (printing({"accessToken": "can ary"}), "no usable token"),
        (printing({"accessToken": "canary", "expires_on": NOW - 1}), "is over"),
        ("head -c 3000000 /dev/zero | tr '\\0' x", "something else than a token"),
    ],
)
async def test_what_can_go_wrong(bin_folder: Path, script: str, reason: str) -> None:
    install(bin_folder, "az", script)
    with pytest.raises(SourceFailure, match=reason) as info:
        await fetch_cli_token(["az"], os.environ, wall=NOW)
    assert not info.value.is_outage
    assert "canary" not in str(info.value)


async def test_one_that_hangs_is_killed_with_its_children(bin_folder: Path) -> None:
    os.mkfifo(bin_folder / "alive")
    install(bin_folder, "az", f"sleep 600 > {bin_folder}/alive & cat > {bin_folder}/alive < /dev/zero")
    reader = os.open(bin_folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(SourceFailure, match="did not end") as info:
            await fetch_cli_token(["az"], os.environ, wall=NOW, seconds=0.5)
        assert info.value.is_outage
        # The end of the pipe comes when the last process that had it open is gone.
        with trio.fail_after(10):
            await trio.to_thread.run_sync(_read_to_the_end, reader, abandon_on_cancel=True)
    finally:
        os.close(reader)


def _read_to_the_end(fd: int) -> None:
    os.set_blocking(fd, True)
    while os.read(fd, 1 << 16):
        pass
