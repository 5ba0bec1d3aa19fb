"""A token is refused in the middle of something, and its source has another (row S3)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from fuse4dbricks.auth.renewing import REFUSED_AT_ONCE
from fuse4dbricks.auth.source import Issued, Outcome, Report
from fuse4dbricks.errors import InvalidToken, PermissionDenied
from fuse4dbricks.tokens import Token
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, PERMISSION_TTL, VOLUME, at, principal_of, workspace_with
from tests.support.kernel import Kernel


@dataclass
class Login:
    """A source of t1, t2, …, as long as it is told to have one more."""

    name = "login"
    number: int = 0
    has_more: bool = True

    def get_token(self, uid: int) -> Token | None:
        return Token(f"t{self.number}") if self.number else None

    def is_due(self, uid: int) -> bool:
        return not self.number

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        await trio.lowlevel.checkpoint()
        if self.has_more and self.get_token(uid) in {None, rejected}:
            self.number += 1
        token = self.get_token(uid)
        return None if token == rejected else token

    def get_report(self, uid: int) -> Report:
        return Report(self.name, Outcome.ANSWERED)


@asynccontextmanager
async def signed_in() -> AsyncIterator[tuple[Bench, Login, Kernel]]:
    workspace = workspace_with("ada")
    workspace.put(at("f"), size=100)
    workspace.people.clear()
    for number in range(1, 10):
        workspace.people[Token(f"t{number}")] = principal_of("ada")
    login = Login()
    async with bench_of(Setting(workspace, sources=[login])) as bench:
        yield bench, login, Kernel(bench.filesystem, ADA)


def revoke(bench: Bench, login: Login) -> None:
    del bench.workspace.people[Token(f"t{login.number}")]
    bench.clock.step(PERMISSION_TTL)


OPERATIONS: dict[str, Callable[[Kernel], Awaitable[object]]] = {
    "walk": lambda kernel: kernel.walk(at("f")),
    "read": lambda kernel: kernel.read_file(at("f")),
    "list": lambda kernel: kernel.list_folder(VOLUME),
    "list the root": lambda kernel: kernel.list_inode(ROOT_INO),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nobody_notices(operation: str) -> None:
    async with signed_in() as (bench, login, kernel):
        before = await OPERATIONS[operation](kernel)
        revoke(bench, login)
        assert await OPERATIONS[operation](kernel) == before
        assert login.number == 2
        assert bench.workspace.calls[-1].token == "t2"


async def test_in_the_middle_of_reading_an_open_file() -> None:
    async with signed_in() as (bench, login, kernel):
        opened = await bench.filesystem.open(ADA, (await kernel.walk(at("f"))).ino, os.O_RDONLY)
        revoke(bench, login)
        assert len(await bench.filesystem.read(opened.number, 0, 1000)) == 100
        assert login.number == 2


async def test_in_the_middle_of_reading_a_folder() -> None:
    async with signed_in() as (bench, login, kernel):
        number = await bench.filesystem.opendir(ADA, (await kernel.walk(VOLUME)).ino)
        revoke(bench, login)
        assert b"f" in {name for name, _, _ in await kernel.read_entries(number, 0)}
        assert login.number == 2


@pytest.mark.parametrize("operation", ["walk", "read", "list"])
async def test_without_another_it_is_refused(operation: str) -> None:
    async with signed_in() as (bench, login, kernel):
        await OPERATIONS[operation](kernel)
        login.has_more = False
        revoke(bench, login)
        with pytest.raises(InvalidToken):
            await OPERATIONS[operation](kernel)


async def test_a_principal_that_changes_takes_no_grant_along() -> None:
    """The new token is somebody else's: what the old one was allowed says nothing."""
    async with signed_in() as (bench, login, kernel):
        assert await kernel.read_file(at("f"))
        bench.workspace.people[Token("t2")] = principal_of("eve")
        revoke(bench, login)
        bench.clock.step(REFUSED_AT_ONCE)
        with pytest.raises(PermissionDenied):
            await kernel.read_file(at("f"))


def test_what_an_issuer_gives_shows_nothing_of_itself() -> None:
    assert "canary" not in repr(Issued(Token("canary")))
