"""How a token is written: in whatever pieces a shell makes of it, whole or not at all."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.errors import AccessDenied, InvalidWrite, ReadOnly
from fuse4dbricks.tokens import MAX_TOKEN_BYTES, Token
from fuse4dbricks.vfs.control.drafts import TokenDraft
from fuse4dbricks.vfs.control.tree import (
    AUTH_INO,
    LOGIN_INO,
    README_INO,
    SCRIPT_INO,
    STATUS_INO,
    STATUS_JSON_INO,
    TOKEN_INO,
    ControlText,
    ControlTree,
)
from fuse4dbricks.vfs.control.writing import WritingHandle
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Setting, bench_of
from tests.support.fakes import workspace_with

ADA, BOB = 1001, 1002
OLD = Token("old")


@pytest.fixture
def written() -> WrittenTokens:
    tokens = WrittenTokens()
    tokens.set(ADA, OLD)
    return tokens


@pytest.fixture
def handle(written: WrittenTokens) -> WritingHandle:
    return handle_of(written)


def handle_of(written: WrittenTokens) -> WritingHandle:
    return WritingHandle(TokenDraft(written, ADA))


def write_all(handle: WritingHandle, text: bytes, *cuts: int) -> None:
    places = [0, *sorted(cuts), len(text)]
    for start, stop in itertools.pairwise(places):
        assert handle.write(start, text[start:stop]) == stop - start


@given(st.lists(st.integers(0, 12), max_size=4))
def test_pieces_make_one_token(cuts: list[int]) -> None:
    tokens = WrittenTokens()
    handle = handle_of(tokens)
    write_all(handle, b"dapi-0123456\n", *cuts)
    assert tokens.get_token(ADA) == Token("dapi-0123456")
    handle.end()
    assert tokens.get_token(ADA) == Token("dapi-0123456")
    assert tokens.get_token(BOB) is None


def test_an_open_without_a_write_changes_nothing(handle: WritingHandle, written: WrittenTokens) -> None:
    handle.end()
    assert written.get_token(ADA) == OLD


@pytest.mark.parametrize("text", [b"new", b"new\n", b"new\r\n", b"  new \n\n"])
def test_a_token_counts_when_it_is_written(
    handle: WritingHandle, written: WrittenTokens, text: bytes
) -> None:
    """Nothing is told of a close that could report an error, and ``release`` may come after the next command."""
    handle.write(0, text)
    assert written.get_token(ADA) == Token("new")
    assert handle.ends_line == text.endswith(b"\n")


def test_every_piece_counts_with_those_before(handle: WritingHandle, written: WrittenTokens) -> None:
    handle.write(0, b"  ")
    assert written.get_token(ADA) == OLD
    handle.write(2, b"dapi-")
    handle.write(7, b"0123")
    assert written.get_token(ADA) == Token("dapi-0123")


def test_an_append_begins_where_the_kernel_says(handle: WritingHandle, written: WrittenTokens) -> None:
    handle.write(40, b"dapi")
    handle.write(44, b"-1\n")
    assert written.get_token(ADA) == Token("dapi-1")


@pytest.mark.parametrize("text", [b"\n", b"  \n", b"\r\n"])
def test_an_empty_line_forgets(handle: WritingHandle, written: WrittenTokens, text: bytes) -> None:
    handle.write(0, text)
    assert written.get_token(ADA) is None


def test_space_without_a_line_forgets_at_the_end(handle: WritingHandle, written: WrittenTokens) -> None:
    handle.write(0, b"  ")
    handle.end()
    assert written.get_token(ADA) is None


@pytest.mark.parametrize("text", [b"two words\n", b"d\xc3\xa9\n", b"\xff", b"a\0b", b"one\ntwo\n", b"a\rb"])
@pytest.mark.parametrize("is_in_pieces", [False, True])
@pytest.mark.parametrize("before", [OLD, None])
def test_what_is_no_token_is_refused_by_the_write_and_the_old_one_stays(
    written: WrittenTokens, text: bytes, is_in_pieces: bool, before: Token | None
) -> None:
    if before is None:
        written.forget(ADA)
    handle = handle_of(written)
    with pytest.raises(InvalidWrite) as info:
        write_all(handle, text, *(range(1, len(text)) if is_in_pieces else ()))
    assert written.get_token(ADA) == before
    assert text.strip().decode("latin-1") not in str(info.value)
    with pytest.raises(InvalidWrite):
        handle.write(0, b"good\n")
    handle.end()
    assert written.get_token(ADA) == before


def test_what_another_wrote_meanwhile_is_not_taken_back(
    handle: WritingHandle, written: WrittenTokens
) -> None:
    handle.write(0, b"mine")
    handle_of(written).write(0, b"another\n")
    with pytest.raises(InvalidWrite):
        handle.write(4, b" and more")
    assert written.get_token(ADA) == Token("another")


def test_what_another_wrote_between_pieces_is_what_comes_back(
    handle: WritingHandle, written: WrittenTokens
) -> None:
    handle.write(0, b"mi")
    handle_of(written).write(0, b"another\n")
    handle.write(2, b"ne")
    assert written.get_token(ADA) == Token("mine")
    with pytest.raises(InvalidWrite):
        handle.write(4, b" and more")
    assert written.get_token(ADA) == Token("another")


def test_a_user_without_room_is_told_so_by_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuse4dbricks.auth.written.MAX_HOLDERS", 1)
    written = WrittenTokens()
    written.set(BOB, OLD)
    with pytest.raises(InvalidWrite, match="no room"):
        handle_of(written).write(0, b"dapi")
    assert written.get_token(ADA) is None


def test_the_longest_token_with_its_line_end(handle: WritingHandle, written: WrittenTokens) -> None:
    handle.write(0, b"a" * MAX_TOKEN_BYTES + b"\r\n")
    assert written.get_token(ADA) == Token("a" * MAX_TOKEN_BYTES)


def test_too_much_is_refused_at_once_and_spoils_the_rest(
    handle: WritingHandle, written: WrittenTokens
) -> None:
    handle.write(0, b"good")
    with pytest.raises(InvalidWrite):
        handle.write(4, b"a" * (MAX_TOKEN_BYTES + 3))
    with pytest.raises(InvalidWrite):
        handle.write(4, b"more")
    handle.end()
    assert written.get_token(ADA) == OLD


@pytest.mark.parametrize("second", [9, 3])
def test_a_gap_or_a_step_back_before_the_beginning_spoils_it(
    handle: WritingHandle, written: WrittenTokens, second: int
) -> None:
    handle.write(4, b"dapi")
    with pytest.raises(InvalidWrite):
        handle.write(second, b"x")
    assert written.get_token(ADA) == OLD


# --- the tree ------------------------------------------------------------------------------------


@pytest.fixture
async def tree() -> AsyncIterator[ControlTree]:
    async with bench_of(Setting(workspace_with("ada"))) as bench:
        yield bench.filesystem.control


async def test_names(tree: ControlTree) -> None:
    assert tree.find(ROOT_INO, "README.txt") == README_INO
    assert tree.find(ROOT_INO, ".auth") == AUTH_INO
    assert tree.find(AUTH_INO, "personal_access_token") == TOKEN_INO
    assert tree.find(AUTH_INO, "login.sh") == SCRIPT_INO
    assert tree.find(AUTH_INO, "other") is None
    assert tree.find(ROOT_INO, "personal_access_token") is None
    found = [tree.is_control(ino) for ino in (ROOT_INO, README_INO, TOKEN_INO, STATUS_JSON_INO, 1024)]
    assert found == [False, True, True, True, False]


async def test_the_token_file_is_listed_until_it_has_served_its_purpose(tree: ControlTree) -> None:
    without, with_token = (tree.children(AUTH_INO, has_token=has) for has in (False, True))
    assert ("personal_access_token", TOKEN_INO) in without
    assert set(without) - set(with_token) == {("personal_access_token", TOKEN_INO)}


async def test_everything_that_is_listed_beside_a_token_can_be_read(tree: ControlTree) -> None:
    for folder in (ROOT_INO, AUTH_INO):
        for _, ino in tree.children(folder, has_token=True):
            tree.check_access(ino, os.R_OK)


async def test_attributes(tree: ControlTree) -> None:
    modes = {ino: tree.get_attributes(ino).mode for ino in (README_INO, AUTH_INO, TOKEN_INO, SCRIPT_INO)}
    assert modes == {
        README_INO: stat.S_IFREG | 0o444,
        AUTH_INO: stat.S_IFDIR | 0o555,
        TOKEN_INO: stat.S_IFREG | 0o222,
        SCRIPT_INO: stat.S_IFREG | 0o555,
    }
    readme = await tree.open(ADA, README_INO, os.O_RDONLY)
    assert isinstance(readme, ControlText)
    assert tree.get_attributes(README_INO).size == len(readme.content)
    assert b"adb-1.azuredatabricks.net" in readme.content
    assert readme.is_fixed


async def test_what_differs_by_user_is_not_kept_by_the_kernel(tree: ControlTree) -> None:
    for ino in (LOGIN_INO, STATUS_INO, STATUS_JSON_INO):
        attributes = tree.get_attributes(ino)
        assert (attributes.size, attributes.attr_timeout, attributes.entry_timeout) == (0, 0, 0)
        opened = await tree.open(ADA, ino, os.O_RDONLY)
        assert isinstance(opened, ControlText)
        assert not opened.is_fixed
        assert opened.content
    assert tree.get_attributes(TOKEN_INO).attr_timeout == 0


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
async def test_a_token_cannot_be_read(tree: ControlTree, flags: int) -> None:
    with pytest.raises(AccessDenied):
        await tree.open(ADA, TOKEN_INO, flags)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
@pytest.mark.parametrize("ino", [README_INO, SCRIPT_INO, STATUS_INO])
async def test_a_text_cannot_be_written(tree: ControlTree, ino: int, flags: int) -> None:
    with pytest.raises(ReadOnly):
        await tree.open(ADA, ino, flags)


async def test_only_known_words_go_into_the_login_file(tree: ControlTree) -> None:
    opened = await tree.open(ADA, LOGIN_INO, os.O_WRONLY)
    assert isinstance(opened, WritingHandle)
    with pytest.raises(InvalidWrite, match="login, cancel, logout"):
        opened.write(0, b"rm -rf /\n")


async def test_access(tree: ControlTree) -> None:
    tree.check_access(TOKEN_INO, os.W_OK)
    tree.check_access(README_INO, os.R_OK)
    tree.check_access(AUTH_INO, os.R_OK | os.X_OK)
    tree.check_access(SCRIPT_INO, os.R_OK | os.X_OK)
    tree.check_access(LOGIN_INO, os.R_OK | os.W_OK)
    for ino, mode, error in [
        (TOKEN_INO, os.R_OK, AccessDenied),
        (TOKEN_INO, os.X_OK, AccessDenied),
        (README_INO, os.W_OK, ReadOnly),
        (README_INO, os.X_OK, AccessDenied),
        (SCRIPT_INO, os.W_OK, ReadOnly),
        (AUTH_INO, os.W_OK, ReadOnly),
    ]:
        with pytest.raises(error):
            tree.check_access(ino, mode)
