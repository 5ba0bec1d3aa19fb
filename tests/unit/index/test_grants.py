"""Principals and proofs over a restart."""

from pathlib import Path

import pytest

from fuse4dbricks.index import StoredGrant
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal
from tests.support.indexes import VOLUME, HandClock, checked, opened, outside

ALICE = Principal("1001", "alice@example.com")
BOB = Principal("1002", "bob@example.com")
START = 1_700_000_000.0


async def test_a_proof_is_for_one_principal_and_one_volume(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.grants.post_grant(ALICE.id, VOLUME, proved_at=START, expires_at=START + 60)
        await index.flush()
        assert index.grants.load_grant(ALICE.id, VOLUME) == StoredGrant(START, START + 60)
        assert index.grants.load_grant(BOB.id, VOLUME) is None
        assert index.grants.load_grant(ALICE.id, VOLUME.parent.child("other")) is None
    async with opened(tmp_path) as index:
        assert index.grants.load_grant(ALICE.id, VOLUME) == StoredGrant(START, START + 60)
    async with opened(tmp_path, workspace="another") as index:
        assert index.grants.load_grant(ALICE.id, VOLUME) is None


async def test_a_proof_from_the_future_is_void(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        index.grants.post_grant(ALICE.id, VOLUME, proved_at=START, expires_at=START + 60)
        await index.flush()
        clock.unix = START - 1
        assert index.grants.load_grant(ALICE.id, VOLUME) is None
        clock.unix = START
        assert index.grants.load_grant(ALICE.id, VOLUME) is not None


async def test_a_refusal_ends_one_proof(tmp_path: Path) -> None:
    other = VOLUME.parent.child("other")
    async with opened(tmp_path) as index:
        for principal in (ALICE, BOB):
            for volume in (VOLUME, other):
                index.grants.post_grant(principal.id, volume, proved_at=START, expires_at=START + 60)
        index.grants.post_revoked(ALICE.id, VOLUME)
        await index.flush()
        assert index.grants.load_grant(ALICE.id, VOLUME) is None
        assert index.grants.load_grant(ALICE.id, other) is not None
        assert index.grants.load_grant(BOB.id, VOLUME) is not None


async def test_dropping_a_principal_forgets_his_tokens_and_proofs(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for principal in (ALICE, BOB):
            index.grants.post_grant(principal.id, VOLUME, proved_at=START, expires_at=START + 60)
            index.grants.post_principal(principal.id.encode(), 1000, principal)
        index.grants.post_drop_principal(ALICE.id)
        await index.flush()
        assert index.grants.load_principal(b"1001") is None
        assert index.grants.load_grant(ALICE.id, VOLUME) is None
        assert index.grants.load_principal(b"1002") == BOB
        assert index.grants.load_grant(BOB.id, VOLUME) is not None
    assert checked(tmp_path).is_clean


async def test_a_token_is_recognised_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.grants.post_principal(b"x" * 16, 1000, ALICE)
        index.grants.post_principal(b"x" * 16, 1000, BOB)
    async with opened(tmp_path) as index:
        assert index.grants.load_principal(b"x" * 16) == BOB
        assert index.grants.load_principal(b"y" * 16) is None


async def test_tokens_of_a_user_do_not_pile_up(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        index.grants.post_principal(b"another user", 1001, BOB)
        for n in range(100):
            clock.step(1)
            index.grants.post_principal(b"token %d" % n, 1000, ALICE)
            await index.flush()
        known = [n for n in range(100) if index.grants.load_principal(b"token %d" % n) is not None]
        assert known == list(range(84, 100))
        assert index.grants.load_principal(b"another user") == BOB


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE grant SET principal = '1002'",
        "UPDATE grant SET volume = 'main/sales/secret'",
        "UPDATE grant SET expires_at = expires_at * 2",
        "UPDATE grant SET proved_at = proved_at - 1",
        "UPDATE grant SET rowsum = rowsum + 1",
        "UPDATE workspace SET host = 'other'",
    ],
)
async def test_a_row_that_does_not_fit_opens_no_door(tmp_path: Path, damage: str) -> None:
    async with opened(tmp_path) as index:
        index.grants.post_grant(ALICE.id, VOLUME, proved_at=START, expires_at=START + 60)
    db = outside(tmp_path, write=True)
    db.execute(damage)
    assert db.changes() == 1
    db.close()
    for host in ("other", "adb-1.azuredatabricks.net"):
        async with opened(tmp_path, workspace=host) as index:
            for principal in (ALICE, BOB):
                for volume in (VOLUME, RemotePath(("main", "sales", "secret"))):
                    assert index.grants.load_grant(principal.id, volume) is None


async def test_a_damaged_sign_in_is_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.grants.post_principal(b"x" * 16, 1000, ALICE)
    db = outside(tmp_path, write=True)
    db.execute("UPDATE sign_in SET principal = '1002'")
    db.close()
    async with opened(tmp_path) as index:
        assert index.grants.load_principal(b"x" * 16) is None
