"""Grants and effective grants, as the SDK reads and changes them."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.catalog import PermissionsChange, Privilege

from tests.support.sdk import sdk_client
from tests.support.workspace import Served

ALICE = "alice@example.com"
ADMIN = "admin@example.com"


@pytest.fixture
def admin(workspace: Served) -> WorkspaceClient:
    workspace.grants.open_to_all = False
    workspace.grants.metastore_admins.add(ADMIN)
    return sdk_client(workspace, workspace.people.add_user(ADMIN))


@pytest.fixture
def alice(workspace: Served, admin: WorkspaceClient) -> WorkspaceClient:
    return sdk_client(workspace, workspace.people.add_user(ALICE, groups=["readers"]))


def effective(client: WorkspaceClient, kind: str, name: str, principal: str | None) -> dict[str, set[str]]:
    reply = client.grants.get_effective(kind, name, principal=principal)
    return {
        str(row.principal): {
            f"{held.privilege.value if held.privilege else None}" for held in row.privileges or ()
        }
        for row in reply.privilege_assignments or ()
    }


def test_grants_are_changed_and_read(workspace: Served, admin: WorkspaceClient) -> None:
    admin.grants.update(
        "schema", "main.sales", changes=[PermissionsChange(principal=ALICE, add=[Privilege.USE_SCHEMA])]
    )
    admin.grants.update(
        "SCHEMA",
        "MAIN.sales",
        changes=[
            PermissionsChange(principal=ALICE, add=[Privilege.READ_VOLUME], remove=[Privilege.USE_SCHEMA])
        ],
    )

    (row,) = admin.grants.get("schema", "main.sales").privilege_assignments or []
    assert (row.principal, row.privileges) == (ALICE, [Privilege.READ_VOLUME])
    assert workspace.grants.direct("main.sales") == {ALICE: ("READ_VOLUME",)}


def test_effective_grants_say_where_they_come_from(workspace: Served, admin: WorkspaceClient) -> None:
    workspace.grants.grant("main", ALICE, "READ_VOLUME")
    workspace.grants.grant("main.sales.raw", ALICE, "WRITE_VOLUME")

    (row,) = admin.grants.get_effective("volume", "main.sales.raw").privilege_assignments or []

    found = {
        held.privilege: (
            held.inherited_from_type and held.inherited_from_type.value,
            held.inherited_from_name,
        )
        for held in row.privileges or ()
    }
    assert found == {Privilege.WRITE_VOLUME: (None, None), Privilege.READ_VOLUME: ("CATALOG", "main")}


def test_a_user_may_ask_about_himself_only(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.let_read("main.sales.raw", ALICE)

    assert effective(alice, "volume", "main.sales.raw", ALICE) == {
        ALICE: {"READ_VOLUME", "USE_SCHEMA", "USE_CATALOG"}
    }
    with pytest.raises(PermissionDenied):
        effective(alice, "volume", "main.sales.raw", ADMIN)
    with pytest.raises(PermissionDenied):
        effective(alice, "volume", "main.sales.raw", None)


@pytest.mark.parametrize("expand, expected", [(True, {ALICE: {"READ_VOLUME"}}), (False, {})])
def test_grants_of_groups(
    workspace: Served, alice: WorkspaceClient, expand: bool, expected: dict[str, set[str]]
) -> None:
    workspace.grants.grant("main.sales.raw", "readers", "READ_VOLUME")
    workspace.behaviour.expand_groups = expand

    assert effective(alice, "volume", "main.sales.raw", ALICE) == expected


def test_an_owner_has_no_row(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.grant("main", ALICE, "USE_CATALOG", "USE_SCHEMA")
    workspace.grants.set_owner("main.sales.raw", ALICE)

    assert effective(alice, "volume", "main.sales.raw", ALICE) == {ALICE: {"USE_CATALOG", "USE_SCHEMA"}}
    assert alice.volumes.read("main.sales.raw").owner == ALICE


def test_all_privileges_is_its_own_value(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.grant("main", ALICE, "ALL_PRIVILEGES")

    assert effective(alice, "catalog", "main", ALICE) == {ALICE: {"ALL_PRIVILEGES"}}


def test_pages_of_grants(workspace: Served, admin: WorkspaceClient) -> None:
    for number in range(200):
        workspace.grants.grant("main", f"user{number}", "USE_CATALOG")
    path = "/api/2.1/unity-catalog/permissions/catalog/main"

    first = admin.api_client.do("GET", path, query={"max_results": 150})
    assert isinstance(first, dict)
    rest = admin.api_client.do(
        "GET", path, query={"max_results": 150, "page_token": first["next_page_token"]}
    )
    assert isinstance(rest, dict)

    assert len(first["privilege_assignments"]) == 150
    assert len(rest["privilege_assignments"]) == 50
    assert "next_page_token" not in rest


@pytest.mark.parametrize("max_results", [-1, 1, 149])
def test_small_pages_of_grants_are_refused(admin: WorkspaceClient, max_results: int) -> None:
    with pytest.raises(InvalidParameterValue):
        admin.grants.get_effective("catalog", "main", max_results=max_results)


def test_grants_of_what_is_not_there(admin: WorkspaceClient) -> None:
    with pytest.raises(NotFound):
        admin.grants.get("volume", "main.sales.nope")
    with pytest.raises(InvalidParameterValue):
        admin.grants.get("volume", "main.sales")
