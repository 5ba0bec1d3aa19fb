"""Tokens and privileges."""

from __future__ import annotations

import pytest

from fuse4dbricks.devworkspace.grants import EffectiveGrant, Grants, kind_of, lineage
from fuse4dbricks.devworkspace.people import People, Principal, fingerprint

ALICE = Principal("1", "alice@example.com", "Alice", ("readers",))


@pytest.fixture
def grants() -> Grants:
    return Grants("owner@example.com", open_to_all=False)


def test_the_same_person_keeps_his_number() -> None:
    people = People(lambda: 0.0)
    first = people.add_user("alice@example.com")
    second = people.add_user("alice@example.com", groups=["readers"])

    before, after = people.authenticate(first), people.authenticate(second)

    assert before == after
    assert after is not None
    assert after.groups == ("readers",)


def test_tokens_end() -> None:
    now = [0.0]
    people = People(lambda: now[0])
    people.add_user("alice@example.com")
    token = people.issue_token("alice@example.com", lifetime=10)

    now[0] = 9.9
    assert people.authenticate(token) is not None
    now[0] = 10
    assert people.authenticate(token) is None


def test_a_removed_person_has_no_token() -> None:
    people = People(lambda: 0.0)
    token = people.add_user("alice@example.com")
    people.remove_user("alice@example.com")

    assert people.authenticate(token) is None
    with pytest.raises(KeyError):
        people.issue_token("alice@example.com")


def test_a_secret_is_compared() -> None:
    people = People(lambda: 0.0)
    client_id, secret = people.add_service_principal("robot")

    assert people.authenticate_client(client_id, secret) == people.get(client_id)
    assert people.authenticate_client(client_id, "") is None
    assert people.authenticate_client("nobody", secret) is None


def test_a_fingerprint_does_not_give_the_token_away() -> None:
    assert "secret" not in fingerprint("dapi-secret")
    assert fingerprint("a") != fingerprint("b")


def test_names_of_securables() -> None:
    assert [kind_of(name) for name in ("c", "c.s", "c.s.v")] == ["CATALOG", "SCHEMA", "VOLUME"]
    assert lineage("c.s.v") == ("c.s.v", "c.s", "c")


@pytest.mark.parametrize("place", ["c", "c.s", "c.s.v"])
@pytest.mark.parametrize("privilege", ["READ_VOLUME", "ALL_PRIVILEGES"])
@pytest.mark.parametrize("grantee", ["alice@example.com", "readers", "account users"])
def test_the_ways_a_privilege_reaches_a_volume(
    grants: Grants, place: str, privilege: str, grantee: str
) -> None:
    assert not grants.holds(ALICE, "c.s.v", "READ_VOLUME")
    grants.grant(place.upper(), grantee, privilege)

    assert grants.holds(ALICE, "C.s.V", "READ_VOLUME")
    assert not grants.holds(ALICE, "d.s.v", "READ_VOLUME")


def test_all_privileges_is_not_manage(grants: Grants) -> None:
    grants.grant("c", "alice@example.com", "ALL_PRIVILEGES")

    assert not grants.holds(ALICE, "c", "MANAGE")
    assert not grants.may_administer(ALICE, "c")


def test_an_owner_has_all_on_his_own_and_nothing_below(grants: Grants) -> None:
    grants.set_owner("c.s", "readers")

    assert grants.holds(ALICE, "c.s", "USE_SCHEMA")
    assert not grants.holds(ALICE, "c.s.v", "READ_VOLUME")
    assert grants.may_administer(ALICE, "c.s.v")
    assert grants.effective("c.s") == []


def test_effective_grants_name_their_source(grants: Grants) -> None:
    grants.grant("c", "readers", "READ_VOLUME")
    grants.grant("c.s.v", "readers", "WRITE_VOLUME")

    assert grants.effective("c.s.v") == [
        EffectiveGrant("readers", "WRITE_VOLUME", None),
        EffectiveGrant("readers", "READ_VOLUME", "c"),
    ]


def test_revoking_one_or_all(grants: Grants) -> None:
    grants.grant("c", "readers", "BROWSE", "USE_CATALOG")
    grants.revoke("c", "readers", "BROWSE")
    assert grants.direct("c") == {"readers": ("USE_CATALOG",)}
    grants.revoke("c", "readers")
    assert grants.direct("c") == {}
    grants.revoke("c", "nobody")


def test_the_first_missing_use_is_named(grants: Grants) -> None:
    assert grants.missing_use(ALICE, ["c", "c.s"]) == ("c", "USE_CATALOG")
    grants.let_read("c.s.v", "alice@example.com")
    assert grants.missing_use(ALICE, ["c", "c.s"]) is None
    grants.revoke("c.s", "alice@example.com")
    assert grants.missing_use(ALICE, ["c", "c.s"]) == ("c.s", "USE_SCHEMA")
