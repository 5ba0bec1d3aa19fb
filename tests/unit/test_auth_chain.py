"""Whose token is used for whom."""

from __future__ import annotations

import pytest

from fuse4dbricks import errors
from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.environment import EnvironmentToken
from fuse4dbricks.auth.source import Outcome, Report, TokenSource
from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.errors import NoToken
from fuse4dbricks.tokens import Token

ADA, BOB = 1001, 1002
WRITTEN, ENVIRONMENT = Token("written"), Token("environment")


def chain_for(*, everybody: bool = False) -> tuple[TokenChain, WrittenTokens]:
    written = WrittenTokens()
    sources: list[TokenSource] = [written, EnvironmentToken(ENVIRONMENT, owner_uid=ADA)]
    return TokenChain(sources, single_uid=ADA if everybody else None), written


async def test_what_was_written_comes_before_the_environment() -> None:
    chain, written = chain_for()
    assert chain.get_token(ADA) == await chain.resolve_token(ADA) == ENVIRONMENT
    written.set(ADA, WRITTEN)
    assert chain.get_token(ADA) == await chain.resolve_token(ADA) == WRITTEN
    written.forget(ADA)
    assert chain.get_token(ADA) == ENVIRONMENT


async def test_nobody_is_given_somebody_elses() -> None:
    chain, written = chain_for()
    written.set(ADA, WRITTEN)
    assert chain.get_token(BOB) is None
    with pytest.raises(NoToken) as info:
        await chain.resolve_token(BOB)
    assert info.value.uid == BOB
    written.forget(BOB)
    assert chain.get_token(ADA) == WRITTEN


async def test_a_single_principal_serves_everybody() -> None:
    chain, written = chain_for(everybody=True)
    assert chain.get_token(BOB) == await chain.resolve_token(BOB) == ENVIRONMENT
    # Whatever Bob writes: it is not asked for, neither for him nor for anybody else.
    written.set(BOB, Token("the-intruders"))
    assert chain.get_token(BOB) == chain.get_token(ADA) == await chain.resolve_token(BOB) == ENVIRONMENT
    written.set(ADA, WRITTEN)
    assert chain.get_token(BOB) == WRITTEN


async def test_a_rejected_token_is_not_offered_again() -> None:
    chain, written = chain_for()
    written.set(ADA, WRITTEN)
    offers = chain.offers_to(ADA)
    assert [await offers.fetch_next() for _ in range(3)] == [WRITTEN, ENVIRONMENT, None]


async def test_a_source_that_mints_for_nobody_gives_way_to_the_next() -> None:
    chain = TokenChain([Renewing(), EnvironmentToken(ENVIRONMENT, owner_uid=ADA)])
    offers = chain.offers_to(ADA)
    assert [await offers.fetch_next() for _ in range(4)] == [Token("t1"), Token("t2"), ENVIRONMENT, None]


class Renewing:
    """A source that can fetch a new token, such as a login."""

    name = "renewing"

    def __init__(self) -> None:
        self.fetched = 0

    def get_token(self, uid: int) -> Token | None:
        return Token(f"t{self.fetched}") if self.fetched else None

    def is_due(self, uid: int) -> bool:
        return not self.fetched

    def get_report(self, uid: int) -> Report:
        return Report(self.name, Outcome.ANSWERED)

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        self.fetched += 1
        return Token(f"t{self.fetched}")


async def test_a_source_that_can_renew_is_asked_to() -> None:
    source = Renewing()
    chain = TokenChain([source])
    assert chain.get_token(ADA) is None
    assert await chain.resolve_token(ADA) == Token("t1")
    assert await chain.resolve_token(ADA) == Token("t1")
    offers = chain.offers_to(ADA)
    assert [await offers.fetch_next() for _ in range(3)] == [Token("t1"), Token("t2"), None]
    assert source.fetched == 2


async def test_a_source_that_comes_first_and_was_never_asked_is_asked_first() -> None:
    source, written = Renewing(), WrittenTokens()
    written.set(ADA, WRITTEN)
    chain = TokenChain([source, written])
    assert chain.get_token(ADA) is None
    assert await chain.resolve_token(ADA) == chain.get_token(ADA) == Token("t1")
    assert chain.get_source_name(ADA, Token("t1")) == "renewing"


class Unreachable(Renewing):
    """Its issuer is down."""

    def is_due(self, uid: int) -> bool:
        return False

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        raise errors.Unreachable("no route")


async def test_an_issuer_that_is_down_is_no_denial() -> None:
    written = WrittenTokens()
    chain = TokenChain([Unreachable(), written])
    with pytest.raises(errors.Unreachable):
        await chain.resolve_token(ADA)
    written.set(ADA, WRITTEN)
    assert await chain.resolve_token(ADA) == WRITTEN
