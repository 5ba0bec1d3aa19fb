"""Tokens from the Databricks CLI and the Azure CLI, which keep logins of their own.

The difficulty: they are foreign programs that may hang, ask questions on a terminal that is not there, print
megabytes, or leave children behind. Each runs without a shell, with no input, in a process group of its own that
is killed at the deadline, and with an environment of a few named variables, none of which is a secret of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import trio

from fuse4dbricks.auth.answers import issued_of
from fuse4dbricks.auth.source import Issued, SourceFailure, nothing_there

#: The Azure CLI takes one to three seconds, and more when it has to renew its own login.
CLI_SECONDS = 15.0
MAX_OUTPUT_BYTES = 256 * 1024
MAX_WORDS = 200

AZURE_DATABRICKS = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"

#: What they need to find their login, the network and themselves.
PASSED_ON = (
    "HOME", "PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "AZURE_CONFIG_DIR", "DATABRICKS_CONFIG_FILE", "DATABRICKS_AUTH_STORAGE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)  # fmt: skip


def databricks_command(program: str | None, *, profile: str | None, base: str) -> list[str]:
    """For the token of a profile, or else of the workspace at ``base``."""
    which = ["--profile", profile] if profile else ["--host", base]
    return [program or "databricks", "auth", "token", *which]


def azure_command(tenant: str | None) -> list[str]:
    """For an Entra token for Azure Databricks."""
    command = ["az", "account", "get-access-token", "--resource", AZURE_DATABRICKS, "--output", "json"]
    return [*command, "--tenant", tenant] if tenant else command


def is_installed(program: str) -> bool:
    """Whether it is found on PATH, or is the path of a program."""
    return shutil.which(program) is not None


async def fetch_cli_token(
    command: Sequence[str], environ: Mapping[str, str], *, wall: float, seconds: float = CLI_SECONDS
) -> Issued:
    """The token that ``command`` prints.

    Args:
        command: program and arguments.
        environ: of this process; :data:`PASSED_ON` of it goes to the program.
        wall: Unix time now; the programs print when a token ends, not how long it lives.
        seconds: deadline.

    Raises:
        SourceFailure: it is not installed, failed, hung, or printed something else.
    """
    program = shutil.which(command[0])
    if program is None:
        raise nothing_there(f"{command[0]} is not installed")
    printed = await _run([program, *command[1:]], environ, seconds)
    try:
        answer = json.loads(printed)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise SourceFailure(f"{command[0]} prints something else than a token")
    lifetime = _lifetime(answer, wall)
    if lifetime is not None and lifetime <= 0:
        raise SourceFailure(f"{command[0]} prints a token that is over")
    token = answer.get("access_token") or answer.get("accessToken")
    return issued_of({"access_token": token, "expires_in": lifetime}, origin=" ".join(command[:3]))


async def _run(command: Sequence[str], environ: Mapping[str, str], seconds: float) -> bytes:
    passed = {name: environ[name] for name in PASSED_ON if name in environ}
    try:
        process = await trio.lowlevel.open_process(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=passed, cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SourceFailure(f"{command[0]} cannot be started: {error.strerror}") from None
    output, complaints = bytearray(), bytearray()
    try:
        with trio.fail_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_collect, process.stdout, output)
                nursery.start_soon(_collect, process.stderr, complaints)
            await process.wait()
    except trio.TooSlowError:
        raise SourceFailure(f"{command[0]} did not end in {seconds:.0f} s", is_outage=True) from None
    finally:
        await _end(process)
    if process.returncode:
        raise SourceFailure(f"{command[0]} failed: {_words(complaints) or f'exit code {process.returncode}'}")
    return bytes(output)


async def _collect(stream: Any, into: bytearray) -> None:
    async with stream:
        async for piece in stream:
            # The rest is read and dropped: a full pipe would hang the program.
            into += piece[: max(0, MAX_OUTPUT_BYTES - len(into))]


async def _end(process: trio.Process) -> None:
    """Kill what is left of its group, children included, and take its exit code."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, 9)
        except (ProcessLookupError, PermissionError):
            process.kill()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
        await process.wait()


def _words(complaints: bytearray) -> str:
    lines = [line.strip() for line in complaints.decode("utf-8", "replace").splitlines() if line.strip()]
    # The last line: what comes before may be a traceback.
    return "".join(c for c in lines[-1] if c.isprintable())[:MAX_WORDS] if lines else ""


def _lifetime(answer: Mapping[str, Any], wall: float) -> float | None:
    """Seconds left, from whichever field says so."""
    stamp = answer.get("expires_on")
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        return float(stamp) - wall
    # The Databricks CLI: RFC 3339. The Azure CLI before 2.54: local time, without a zone.
    text = answer.get("expiry") or answer.get("expiresOn")
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(_short_fraction(text)).timestamp() - wall
    except (ValueError, OverflowError):
        return None


def _short_fraction(text: str) -> str:
    """Go prints nanoseconds, which Python's parser refuses."""
    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}" if dot else text
