"""How a token is written: in whatever pieces a shell makes of it, whole or not at all."""

from __future__ import annotations

import itertools
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.errors import AccessDenied, InvalidWrite, ReadOnly
from fuse4dbricks.tokens import MAX_TOKEN_BYTES, Token
from fuse4dbricks.vfs.attributes import Look
from fuse4dbricks.vfs.control import (
    AUTH_INO,
    AUTH_README_INO,
    README_INO,
    TOKEN_INO,
    ControlTree,
    TokenHandle,
)
from fuse4dbricks.vfs.inodes import ROOT_INO

ADA, BOB = 1001, 1002
OLD = Token("old")


@pytest.fixture
def written() -> WrittenTokens:
    tokens = WrittenTokens()
    tokens.set(ADA, OLD)
    return tokens


@pytest.fixture
def handle(written: WrittenTokens) -> TokenHandle:
    return TokenHandle(ADA, written)


def write_all(handle: TokenHandle, text: bytes, *cuts: int) -> None:
    places = [0, *sorted(cuts), len(text)]
    for start, stop in itertools.pairwise(places):
        assert handle.write(start, text[start:stop]) == stop - start


@given(st.lists(st.integers(0, 12), max_size=4))
def test_pieces_make_one_token(cuts: list[int]) -> None:
    tokens = WrittenTokens()
    handle = TokenHandle(ADA, tokens)
    write_all(handle, b"dapi-0123456\n", *cuts)
    handle.flush()
    assert tokens.get_token(ADA) == Token("dapi-0123456")
    assert tokens.get_token(BOB) is None


def test_a_flush_before_anything_is_written_changes_nothing(
    handle: TokenHandle, written: WrittenTokens
) -> None:
    handle.flush()
    assert written.get_token(ADA) == OLD
    handle.write(0, b"new")
    handle.flush()
    handle.flush()
    assert written.get_token(ADA) == Token("new")


def test_every_close_after_a_write_commits_the_whole(handle: TokenHandle, written: WrittenTokens) -> None:
    handle.write(0, b"dapi-")
    handle.flush()
    handle.write(5, b"0123")
    handle.flush()
    assert written.get_token(ADA) == Token("dapi-0123")


def test_an_append_begins_where_the_kernel_says(handle: TokenHandle, written: WrittenTokens) -> None:
    handle.write(40, b"dapi")
    handle.write(44, b"-1\n")
    handle.flush()
    assert written.get_token(ADA) == Token("dapi-1")


@pytest.mark.parametrize("text", [b"\n", b"  \n", b""])
def test_an_empty_line_forgets(handle: TokenHandle, written: WrittenTokens, text: bytes) -> None:
    handle.write(0, text)
    handle.flush()
    assert written.get_token(ADA) is None


@pytest.mark.parametrize("text", [b"two words\n", b"d\xc3\xa9\n", b"\xff", b"a\0b", b"one\ntwo\n", b"a\rb"])
def test_what_is_no_token_is_refused_at_close_and_the_old_one_stays(
    handle: TokenHandle, written: WrittenTokens, text: bytes
) -> None:
    handle.write(0, text)
    with pytest.raises(InvalidWrite) as info:
        handle.flush()
    assert written.get_token(ADA) == OLD
    assert text.strip().decode("latin-1") not in str(info.value)


def test_the_longest_token_with_its_line_end(handle: TokenHandle, written: WrittenTokens) -> None:
    handle.write(0, b"a" * MAX_TOKEN_BYTES + b"\r\n")
    handle.flush()
    assert written.get_token(ADA) == Token("a" * MAX_TOKEN_BYTES)


def test_too_much_is_refused_at_once_and_spoils_the_rest(handle: TokenHandle, written: WrittenTokens) -> None:
    handle.write(0, b"good")
    with pytest.raises(InvalidWrite):
        handle.write(4, b"a" * (MAX_TOKEN_BYTES + 3))
    with pytest.raises(InvalidWrite):
        handle.write(4, b"more")
    with pytest.raises(InvalidWrite):
        handle.flush()
    assert written.get_token(ADA) == OLD


@pytest.mark.parametrize("second", [9, 3])
def test_a_gap_or_a_step_back_before_the_beginning_spoils_it(
    handle: TokenHandle, written: WrittenTokens, second: int
) -> None:
    handle.write(4, b"dapi")
    with pytest.raises(InvalidWrite):
        handle.write(second, b"x")
    with pytest.raises(InvalidWrite):
        handle.flush()
    assert written.get_token(ADA) == OLD


# --- the tree ------------------------------------------------------------------------------------


@pytest.fixture
def tree(written: WrittenTokens) -> ControlTree:
    return ControlTree(Look(7, 8, "adb-1.azuredatabricks.net", 1e9), written)


def test_names(tree: ControlTree) -> None:
    assert tree.find(ROOT_INO, "README.txt") == README_INO
    assert tree.find(ROOT_INO, ".auth") == AUTH_INO
    assert tree.find(AUTH_INO, "personal_access_token") == TOKEN_INO
    assert tree.find(AUTH_INO, "other") is None
    assert tree.find(ROOT_INO, "personal_access_token") is None
    assert [tree.is_control(ino) for ino in (ROOT_INO, README_INO, TOKEN_INO, 1024)] == [
        False,
        True,
        True,
        False,
    ]


def test_the_token_file_is_listed_until_it_has_served_its_purpose(tree: ControlTree) -> None:
    assert TOKEN_INO in {ino: name for name, ino in tree.children(AUTH_INO, has_token=False)}
    assert tree.children(AUTH_INO, has_token=True) == [("README.txt", AUTH_README_INO)]


def test_attributes(tree: ControlTree) -> None:
    modes = {ino: tree.get_attributes(ino).mode for ino in (README_INO, AUTH_INO, TOKEN_INO)}
    assert modes == {
        README_INO: stat.S_IFREG | 0o444,
        AUTH_INO: stat.S_IFDIR | 0o555,
        TOKEN_INO: stat.S_IFREG | 0o222,
    }
    readme = tree.open(ADA, README_INO, os.O_RDONLY)
    assert isinstance(readme, bytes)
    assert tree.get_attributes(README_INO).size == len(readme)
    assert b"adb-1.azuredatabricks.net" in readme
    assert tree.get_attributes(TOKEN_INO).attr_timeout == 0


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_a_token_cannot_be_read(tree: ControlTree, flags: int) -> None:
    with pytest.raises(AccessDenied):
        tree.open(ADA, TOKEN_INO, flags)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_a_readme_cannot_be_written(tree: ControlTree, flags: int) -> None:
    with pytest.raises(ReadOnly):
        tree.open(ADA, README_INO, flags)


def test_access(tree: ControlTree) -> None:
    tree.check_access(TOKEN_INO, os.W_OK)
    tree.check_access(README_INO, os.R_OK)
    tree.check_access(AUTH_INO, os.R_OK | os.X_OK)
    for ino, mode, error in [
        (TOKEN_INO, os.R_OK, AccessDenied),
        (TOKEN_INO, os.X_OK, AccessDenied),
        (README_INO, os.W_OK, ReadOnly),
        (README_INO, os.X_OK, AccessDenied),
        (AUTH_INO, os.W_OK, ReadOnly),
    ]:
        with pytest.raises(error):
            tree.check_access(ino, mode)
