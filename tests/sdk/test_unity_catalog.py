"""Catalogs, schemas and volumes, and who sees them, as the SDK reads them."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied, ResourceDoesNotExist
from databricks.sdk.service.catalog import VolumeType

from tests.support.sdk import sdk_client
from tests.support.workspace import Served

ALICE = "alice@example.com"


def make_volumes(workspace: Served, *names: str) -> None:
    for name in names:
        workspace.settings.root.joinpath(*name.split(".")).mkdir(parents=True, exist_ok=True)


@pytest.fixture
def alice(workspace: Served) -> WorkspaceClient:
    """A user without any grant, in a workspace that is open to nobody."""
    workspace.grants.open_to_all = False
    return sdk_client(workspace, workspace.people.add_user(ALICE, groups=["readers"]))


def test_lists_of_the_three_levels(workspace: Served, client: WorkspaceClient) -> None:
    make_volumes(workspace, "main.sales.other", "main.empty", "second")

    assert [catalog.name for catalog in client.catalogs.list()] == ["main", "second"]
    assert [schema.full_name for schema in client.schemas.list("main")] == ["main.empty", "main.sales"]
    assert [volume.full_name for volume in client.volumes.list("main", "sales")] == [
        "main.sales.other",
        "main.sales.raw",
    ]
    assert list(client.schemas.list("second")) == []
    assert list(client.volumes.list("main", "empty")) == []


@pytest.mark.parametrize("empty_pages", [False, True])
@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_all_pages_are_read_whatever_their_size(
    workspace: Served, client: WorkspaceClient, page_size: int, empty_pages: bool
) -> None:
    make_volumes(workspace, *(f"main.sales.v{number}" for number in range(5)))
    workspace.behaviour.catalog_page_size = page_size
    workspace.behaviour.empty_pages = empty_pages

    names = [volume.name for volume in client.volumes.list("main", "sales")]

    assert names == ["raw", "v0", "v1", "v2", "v3", "v4"]
    pages = -(-6 // page_size)
    assert workspace.counts["uc.volumes.list"] == pages * (2 if empty_pages else 1)


def test_objects_have_the_documented_fields(client: WorkspaceClient) -> None:
    volume = client.volumes.read("main.sales.raw")

    assert (volume.catalog_name, volume.schema_name, volume.name) == ("main", "sales", "raw")
    assert volume.volume_type is VolumeType.MANAGED
    assert volume.owner == "owner@example.com"
    assert volume.created_at is not None
    assert volume.created_at % 1000 == 0
    assert client.schemas.get("main.sales").catalog_name == "main"
    assert client.catalogs.get("main").full_name == "main"


def test_optional_fields_can_be_missing(workspace: Served, client: WorkspaceClient) -> None:
    workspace.state.metadata.change("main", omit=["created_at", "owner"], catalog_type="SYSTEM_CATALOG")

    catalog = client.catalogs.get("main")

    assert catalog.created_at is None
    assert catalog.owner is None
    assert catalog.catalog_type is not None
    assert catalog.catalog_type.value == "SYSTEM_CATALOG"


def test_names_are_found_in_any_case_and_given_in_lower_case(
    workspace: Served, client: WorkspaceClient
) -> None:
    make_volumes(workspace, "UPPER.Mixed.Case")

    assert client.catalogs.get("Upper").name == "upper"
    assert client.volumes.read("uPPER.mIXED.cASE").full_name == "upper.mixed.case"
    assert [schema.name for schema in client.schemas.list("UPPER")] == ["mixed"]


def test_folders_that_no_catalog_can_be_are_left_out(workspace: Served, client: WorkspaceClient) -> None:
    for name in ("with space", "with.dot", ".hidden", "new\nline", "x" * 255):
        (workspace.settings.root / name).mkdir()
    (workspace.settings.root / "a_file").touch()

    assert [catalog.name for catalog in client.catalogs.list()] == ["main", "x" * 255]


def test_what_does_not_exist_is_not_found(client: WorkspaceClient) -> None:
    with pytest.raises(NotFound, match="Catalog 'nope' does not exist") as catalog:
        client.catalogs.get("nope")
    assert catalog.value.error_code == "CATALOG_DOES_NOT_EXIST"
    with pytest.raises(NotFound, match=r"Schema 'main\.nope' does not exist"):
        list(client.volumes.list("main", "nope"))
    with pytest.raises(ResourceDoesNotExist, match=r"Volume 'main\.sales\.nope' does not exist"):
        client.volumes.read("main.sales.nope")


def test_max_results_below_zero_is_refused(client: WorkspaceClient) -> None:
    with pytest.raises(InvalidParameterValue):
        list(client.catalogs.list(max_results=-1))


def test_a_page_token_of_another_list_is_refused(workspace: Served, client: WorkspaceClient) -> None:
    make_volumes(workspace, "main.sales.v1")
    workspace.behaviour.catalog_page_size = 1
    query = {"catalog_name": "main", "schema_name": "sales"}
    page = client.api_client.do("GET", "/api/2.1/unity-catalog/volumes", query=query)
    assert isinstance(page, dict)

    with pytest.raises(InvalidParameterValue):
        list(client.catalogs.list(page_token=page["next_page_token"], max_results=0))
    with pytest.raises(InvalidParameterValue):
        list(client.catalogs.list(page_token="garbage", max_results=0))


def test_nothing_is_listed_without_grants(alice: WorkspaceClient) -> None:
    assert list(alice.catalogs.list()) == []
    with pytest.raises(PermissionDenied, match="User does not have USE CATALOG on Catalog 'main'"):
        list(alice.schemas.list("main"))
    with pytest.raises(PermissionDenied, match="User does not have USE CATALOG on Catalog 'main'"):
        alice.volumes.read("main.sales.raw")


def test_a_missing_parent_right_is_named_before_what_is_below(
    workspace: Served, alice: WorkspaceClient
) -> None:
    with pytest.raises(PermissionDenied, match="USE CATALOG on Catalog 'main'"):
        alice.volumes.read("main.nope.nope")
    workspace.grants.grant("main", ALICE, "USE_CATALOG")
    with pytest.raises(NotFound, match=r"Schema 'main\.nope'"):
        alice.volumes.read("main.nope.nope")
    with pytest.raises(PermissionDenied, match=r"USE SCHEMA on Schema 'main\.sales'"):
        alice.volumes.read("main.sales.raw")
    workspace.grants.grant("main.sales", ALICE, "USE_SCHEMA")
    with pytest.raises(PermissionDenied, match=r"READ VOLUME on Volume 'main\.sales\.raw'"):
        alice.volumes.read("main.sales.raw")
    workspace.grants.grant("main.sales.raw", ALICE, "READ_VOLUME")
    assert alice.volumes.read("main.sales.raw").name == "raw"


@pytest.mark.parametrize("grantee", [ALICE, "readers", "account users"])
def test_grants_reach_a_user_by_name_and_by_group(
    workspace: Served, alice: WorkspaceClient, grantee: str
) -> None:
    workspace.grants.let_read("main.sales.raw", grantee)

    assert [volume.name for volume in alice.volumes.list("main", "sales")] == ["raw"]


def test_privileges_are_inherited_from_the_catalog(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.grant("main", ALICE, "ALL_PRIVILEGES")

    assert [volume.name for volume in alice.volumes.list("main", "sales")] == ["raw"]


def test_an_owner_of_a_volume_still_needs_its_parents(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.set_owner("main.sales.raw", "readers")
    with pytest.raises(PermissionDenied, match="USE CATALOG"):
        alice.volumes.read("main.sales.raw")
    workspace.grants.grant("main", ALICE, "USE_CATALOG", "USE_SCHEMA")

    assert alice.volumes.read("main.sales.raw").owner == "readers"


def test_owning_a_catalog_gives_no_right_to_read_what_is_in_it(
    workspace: Served, alice: WorkspaceClient
) -> None:
    workspace.grants.set_owner("main", ALICE)

    assert [schema.name for schema in alice.schemas.list("main")] == ["sales"]
    with pytest.raises(PermissionDenied):
        alice.volumes.read("main.sales.raw")


def test_a_metastore_admin_sees_everything(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.metastore_admins.add("readers")

    assert [volume.name for volume in alice.volumes.list("main", "sales")] == ["raw"]


def test_browse_shows_a_flag_and_little_more(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.grant("main", ALICE, "BROWSE")

    assert list(alice.catalogs.list()) == []
    (catalog,) = alice.catalogs.list(include_browse=True)
    assert catalog.browse_only is True
    assert catalog.created_at is None
    (volume,) = alice.volumes.list("main", "sales", include_browse=True)
    assert (volume.full_name, volume.browse_only, volume.storage_location) == ("main.sales.raw", True, None)
    with pytest.raises(PermissionDenied):
        alice.volumes.read("main.sales.raw")


def test_a_revoked_grant_is_gone_at_once(workspace: Served, alice: WorkspaceClient) -> None:
    workspace.grants.let_read("main.sales.raw", ALICE)
    assert alice.volumes.read("main.sales.raw").name == "raw"
    workspace.grants.revoke("main", ALICE)

    with pytest.raises(PermissionDenied, match="USE CATALOG"):
        alice.volumes.read("main.sales.raw")
