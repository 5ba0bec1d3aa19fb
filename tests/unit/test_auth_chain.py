"""Whose token is used for whom."""

from __future__ import annotations

import pytest

from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.environment import EnvironmentToken
from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.errors import NoToken
from fuse4dbricks.tokens import Token

ADA, BOB = 1001, 1002
WRITTEN, ENVIRONMENT = Token("written"), Token("environment")


def chain_for(*, everybody: bool = False) -> tuple[TokenChain, WrittenTokens]:
    written = WrittenTokens()
    return TokenChain(
        [written, EnvironmentToken(ENVIRONMENT, owner_uid=ADA, for_everybody=everybody)]
    ), written


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
    chain, _ = chain_for(everybody=True)
    assert chain.get_token(BOB) == ENVIRONMENT


async def test_a_rejected_token_is_not_offered_again() -> None:
    chain, written = chain_for()
    written.set(ADA, WRITTEN)
    assert await chain.resolve_token(ADA, rejected=WRITTEN) == ENVIRONMENT
    written.forget(ADA)
    with pytest.raises(NoToken):
        await chain.resolve_token(ADA, rejected=ENVIRONMENT)


class Renewing:
    """A source that can fetch a new token, such as a login."""

    name = "renewing"

    def __init__(self) -> None:
        self.fetched = 0

    def get_token(self, uid: int) -> Token | None:
        return Token(f"t{self.fetched}") if self.fetched else None

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        self.fetched += 1
        return Token(f"t{self.fetched}")


async def test_a_source_that_can_renew_is_asked_to() -> None:
    source = Renewing()
    chain = TokenChain([source])
    assert chain.get_token(ADA) is None
    assert await chain.resolve_token(ADA) == Token("t1")
    assert await chain.resolve_token(ADA) == Token("t1")
    assert await chain.resolve_token(ADA, rejected=Token("t1")) == Token("t2")
    assert source.fetched == 2
