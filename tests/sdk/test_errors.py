"""What the SDK makes of each error: the judge of the shapes that the local workspace sends."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.errors.private_link import PrivateLinkValidationError

from fuse4dbricks.devworkspace.body_effects import Garbled, Gzip, ShortBody
from fuse4dbricks.devworkspace.effects import EndlessPages, Json, Latency, Page, Redirect, Reset, Status
from fuse4dbricks.devworkspace.gates import FILES_API_KINDS, ConcurrencyGate, QpsGate
from tests.support.sdk import CountingClock, sdk_client
from tests.support.workspace import VOLUME, Served


@pytest.mark.parametrize(
    "status, code, expected",
    [
        (400, "BAD_REQUEST", sdk_errors.BadRequest),
        (400, "INVALID_PARAMETER_VALUE", sdk_errors.InvalidParameterValue),
        (400, "INVALID_STATE", sdk_errors.InvalidState),
        (401, "UNAUTHENTICATED", sdk_errors.Unauthenticated),
        (403, "PERMISSION_DENIED", sdk_errors.PermissionDenied),
        (404, "NOT_FOUND", sdk_errors.NotFound),
        (404, "RESOURCE_DOES_NOT_EXIST", sdk_errors.ResourceDoesNotExist),
        (409, "ABORTED", sdk_errors.Aborted),
        (409, "ALREADY_EXISTS", sdk_errors.AlreadyExists),
        (409, "RESOURCE_ALREADY_EXISTS", sdk_errors.ResourceAlreadyExists),
        (500, "INTERNAL_ERROR", sdk_errors.InternalError),
        (500, "DATA_LOSS", sdk_errors.DataLoss),
        (501, "NOT_IMPLEMENTED", sdk_errors.NotImplemented),
        (504, "DEADLINE_EXCEEDED", sdk_errors.DeadlineExceeded),
        (418, "TEAPOT", DatabricksError),
    ],
)
def test_a_status_and_a_code(
    workspace: Served, client: WorkspaceClient, status: int, code: str, expected: type[DatabricksError]
) -> None:
    fault = workspace.faults.add(
        Status(status=status, error_code=code, message="no", reason="R"), kind="uc.*"
    )

    with pytest.raises(DatabricksError) as caught:
        list(client.catalogs.list())

    assert type(caught.value) is expected
    assert caught.value.error_code == code
    assert caught.value.get_error_info()[0].reason == "R"
    assert caught.value.get_error_details().request_info is not None
    assert fault.fired == 1


@pytest.mark.parametrize(
    "status, code, expected",
    [
        (429, "REQUEST_LIMIT_EXCEEDED", sdk_errors.RequestLimitExceeded),
        (429, "RESOURCE_EXHAUSTED", sdk_errors.ResourceExhausted),
        (503, "TEMPORARILY_UNAVAILABLE", sdk_errors.TemporarilyUnavailable),
    ],
)
def test_what_the_sdk_retries_until_its_time_is_over(
    workspace: Served, status: int, code: str, expected: type[DatabricksError]
) -> None:
    fault = workspace.faults.add(
        Status(status=status, error_code=code, retry_after="2"), kind="fs.files.head"
    )
    clock = CountingClock()
    client = sdk_client(workspace, clock=clock)

    with pytest.raises(TimeoutError) as caught:
        client.files.get_metadata(f"{VOLUME}/f")

    # A HEAD has no body: the SDK goes by the status alone.
    assert isinstance(caught.value.__cause__, expected.__mro__[1] if status == 429 else expected)
    assert fault.fired == len(clock.slept) >= 2
    assert all(2 <= slept <= 3 for slept in clock.slept)


def test_a_retry_after_two_refusals_succeeds(workspace: Served) -> None:
    workspace.faults.add(Status(status=429, retry_after="1"), kind="uc.catalogs.list", times=2)
    clock = CountingClock()

    assert [catalog.name for catalog in sdk_client(workspace, clock=clock).catalogs.list()] == ["main"]
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    "bad_token, expected", [(403, sdk_errors.PermissionDenied), (401, sdk_errors.Unauthenticated)]
)
def test_a_bad_token(workspace: Served, bad_token: int, expected: type[DatabricksError]) -> None:
    workspace.behaviour.bad_token = bad_token  # type: ignore[assignment]
    client = sdk_client(workspace, "dapi-unknown")

    with pytest.raises(DatabricksError, match="Invalid access token") as caught:
        client.current_user.me()

    assert type(caught.value) is expected
    assert str(caught.value.error_code) == str(bad_token)


@pytest.mark.parametrize(
    "effect", [Page(), Garbled(), Json({"catalogs": "no list"}), Json({"catalogs": [17]})]
)
def test_an_answer_that_is_none(
    workspace: Served, client: WorkspaceClient, effect: Page | Garbled | Json
) -> None:
    fault = workspace.faults.add(effect, kind="uc.catalogs.list")

    # The SDK has no error of its own for it.
    with pytest.raises((DatabricksError, ValueError, AttributeError, TypeError)):
        list(client.catalogs.list())
    assert fault.fired == 1


def test_a_redirect_to_the_login_page_is_a_private_link_error(
    workspace: Served, client: WorkspaceClient
) -> None:
    login = Redirect("/login.html?error=private-link-validation-error:42")
    workspace.faults.add(login, kind="uc.catalogs.list")
    workspace.faults.add(Page(), kind="other", path="/login.html")

    with pytest.raises(PrivateLinkValidationError):
        list(client.catalogs.list())


def test_an_endless_list_goes_on(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").touch()
    fault = workspace.faults.add(EndlessPages(), kind="fs.directories.list")

    entries = client.files.list_directory_contents(VOLUME)

    assert [next(iter(entries)).name for _ in range(20)] == ["f"] * 20
    assert fault.fired >= 19


def test_a_reset_connection_is_tried_again(workspace: Served) -> None:
    fault = workspace.faults.add(Reset(), kind="uc.catalogs.list", times=1)

    assert [catalog.name for catalog in sdk_client(workspace).catalogs.list()] == ["main"]
    assert fault.fired == 1
    assert [record.status for record in workspace.journal.get_log("uc.catalogs.list")] == [None, 200]


@pytest.mark.parametrize("effect", [Reset(after_bytes=70_000), ShortBody(keep=70_000, framing="cut")])
def test_a_body_that_breaks_off_is_continued(workspace: Served, effect: Reset | ShortBody) -> None:
    content = bytes(range(256)) * 1000
    (workspace.volume / "f").write_bytes(content)
    fault = workspace.faults.add(effect, kind="cloud.get", times=1)
    client = sdk_client(workspace, files_ext_client_download_streaming_chunk_size=1000)

    contents = client.files.download(f"{VOLUME}/f").contents
    assert contents is not None
    got = contents.read()

    assert fault.fired == 1
    assert got == content
    assert workspace.journal.get_log("cloud.get")[-1].status == 206


def test_an_unwanted_gzip_is_undone(workspace: Served, client: WorkspaceClient) -> None:
    workspace.faults.add(Gzip(), kind="uc.catalogs.list")

    assert [catalog.name for catalog in client.catalogs.list()] == ["main"]


def test_json_is_compressed_for_those_who_ask(workspace: Served, client: WorkspaceClient) -> None:
    for number in range(50):
        (workspace.volume / f"f{number}").touch()
    workspace.behaviour.gzip_json = True
    workspace.journal.clear()

    assert len(list(client.files.list_directory_contents(VOLUME))) == 50
    assert workspace.journal.get_bytes()["fs.directories.list"] < 2000


def test_gates(workspace: Served) -> None:
    closed, rate = ConcurrencyGate(limit=0), QpsGate(per_second=2)
    workspace.faults.add(rate, kind=FILES_API_KINDS)
    client = sdk_client(workspace, retry_timeout_seconds=1)
    for _ in range(2):
        client.files.get_directory_metadata(VOLUME)

    with pytest.raises(TimeoutError):
        client.files.get_directory_metadata(VOLUME)
    assert rate.refused >= 1
    client.catalogs.get("main")

    workspace.faults.clear()
    workspace.faults.add(closed, kind=FILES_API_KINDS)
    with pytest.raises(TimeoutError):
        client.files.get_directory_metadata(VOLUME)
    assert closed.refused >= 1


def test_latency_is_waited_for(workspace: Served, client: WorkspaceClient) -> None:
    fault = workspace.faults.add(Latency(0.01), kind="scim.me")

    assert client.current_user.me().user_name == workspace.user
    assert fault.fired == 1
    assert workspace.log[-1].faults == ("Latency",)
