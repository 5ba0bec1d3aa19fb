"""A token is checked before it is one, and cannot be printed by accident."""

from __future__ import annotations

import copy
import logging
import pickle
import string
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuse4dbricks.errors import InvalidWrite
from fuse4dbricks.tokens import MAX_TOKEN_BYTES, Principal, Token, Viewer

CANARY = "dapi0123456789canary"
ALPHABET = string.ascii_letters + string.digits + "._~+/=-"


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    if text and set(text) <= set(ALPHABET):
        assert Token(text).reveal() == text
        return
    with pytest.raises(InvalidWrite) as refused:
        Token(text)
    assert len(text) < 4 or text not in str(refused.value)


@given(st.text(ALPHABET, min_size=1, max_size=80))
def test_whatever_a_header_may_hold_is_a_token(text: str) -> None:
    assert Token(text).reveal() == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "a\r\nX: y", "a\0", "é", "\ud800", "a" * 4097])
def test_refused(text: str) -> None:
    with pytest.raises(InvalidWrite):
        Token(text)


def test_the_longest() -> None:
    assert len(Token("a" * MAX_TOKEN_BYTES).reveal()) == MAX_TOKEN_BYTES


def test_nothing_shows_it() -> None:
    token = Token(CANARY)
    viewer = Viewer(7, Principal("1", "ada"), token)
    shown = [repr(token), str(token), f"{token}", f"{token!r:>40}", f"{token:>40}", "%s %r" % (token, token)]  # noqa: UP031 - a way of formatting
    shown += [repr(viewer), repr([token]), repr({token: 1}), logging.Formatter().format(record_of(token))]
    assert all(CANARY not in text and "canary" not in text for text in shown)


def record_of(token: Token) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, "with %s", (token,), None)


def test_no_traceback_shows_it_even_with_locals() -> None:
    token = Token(CANARY)
    with pytest.raises(ValueError, match="Token") as caught:
        quote(token)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(report.format(chain=True))
    assert "token = Token" in text
    # The test's own global names the canary; the frames' locals must not.
    assert CANARY not in text.replace("CANARY", "")


def quote(token: Token) -> None:
    """As h11 does with a header that it does not like."""
    raise ValueError(f"illegal value {token!r}")


def test_it_is_not_pickled_or_copied_elsewhere() -> None:
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            make(Token(CANARY))


def test_equality_is_that_of_the_text() -> None:
    assert Token("abc") == Token("abc")
    assert hash(Token("abc")) == hash(Token("abc"))
    assert Token("abc") != Token("abd")
    assert Token("abc") != "abc"


def test_fingerprints() -> None:
    token = Token(CANARY)
    assert token.fingerprint(b"k") == Token(CANARY).fingerprint(b"k")
    assert len(token.fingerprint(b"k")) == 16
    assert token.fingerprint(b"k") != token.fingerprint(b"l")
    assert token.fingerprint(b"k") != Token("other").fingerprint(b"k")
    assert token.fingerprint(b"k" * 64) == token.fingerprint(b"k" * 100), "blake2b takes 64 bytes of key"
