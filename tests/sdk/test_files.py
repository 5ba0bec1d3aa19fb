"""Files and directories through the SDK."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
)
from databricks.sdk.errors.base import DatabricksError

from tests.support.sdk import sdk_client
from tests.support.workspace import VOLUME, Served

ODD_NAMES = [
    "a b?#%.txt",
    "ünïcödé 日本.bin",
    "a&b=c+d",
    "new\nline",
    "x" * 255,
    "-and-;:@,$'\"",
    "%2e%2e",
    "\\",
]


def raw_get(client: WorkspaceClient, path: str, **headers: str) -> dict[str, Any]:
    reply = client.api_client.do(
        "GET",
        f"/api/2.0/fs/files{path}",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        response_headers=["content-length", "content-range", "last-modified", "accept-ranges", "etag"],
        raw=True,
    )
    assert isinstance(reply, dict)
    reply["contents"] = reply["contents"].read()
    return reply


def download(client: WorkspaceClient, path: str) -> bytes:
    contents = client.files.download(path).contents
    assert contents is not None
    return contents.read()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_upload_download_list_delete(workspace: Served, client: WorkspaceClient, name: str) -> None:
    client.files.upload(f"{VOLUME}/new/{name}", io.BytesIO(b"hello"))

    assert (workspace.volume / "new" / name).read_bytes() == b"hello"
    assert download(client, f"{VOLUME}/new/{name}") == b"hello"
    (entry,) = client.files.list_directory_contents(f"{VOLUME}/new")
    assert (entry.name, entry.path, entry.file_size, entry.is_directory) == (
        name,
        f"{VOLUME}/new/{name}",
        5,
        False,
    )
    client.files.delete(f"{VOLUME}/new/{name}")
    assert list(client.files.list_directory_contents(f"{VOLUME}/new")) == []
    assert workspace.journal.leaked_authorization == 0
    assert not (workspace.settings.root / ".local-workspace.staging").exists()


def test_a_download_goes_to_the_cloud_store_without_the_token(
    workspace: Served, client: WorkspaceClient
) -> None:
    (workspace.volume / "f").write_bytes(b"hello")

    assert download(client, f"{VOLUME}/f") == b"hello"

    assert workspace.counts["cloud.get"] == 1
    assert workspace.counts["fs.files.get"] == 0
    assert workspace.journal.leaked_authorization == 0


@pytest.mark.parametrize("mode", ["not_enabled", "missing", "network_zone"])
def test_a_download_falls_back_to_the_files_api(
    workspace: Served, client: WorkspaceClient, mode: Any
) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    workspace.behaviour.presigned = mode

    assert download(client, f"{VOLUME}/f") == b"hello"

    assert workspace.counts["cloud.get"] == 0
    assert workspace.counts["fs.files.get"] == 1


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_a_download_works_on_each_cloud(workspace: Served, client: WorkspaceClient, cloud: Any) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    workspace.behaviour.cloud = cloud

    assert download(client, f"{VOLUME}/f") == b"hello"
    assert [record.status for record in workspace.journal.get_log("cloud.get")] == [200]

    workspace.behaviour.presigned_expired = True
    assert download(client, f"{VOLUME}/f") == b"hello"
    expired = workspace.journal.get_log("cloud.get")[-1]
    assert expired.status == (400 if cloud == "gcp" else 403)
    assert workspace.counts["fs.files.get"] == 1


def test_the_sdk_recognises_our_expiry_documents(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    workspace.behaviour.presigned_expired = True
    import requests
    from databricks.sdk.mixins.files import FilesExt

    for cloud, recognised in (("aws", True), ("azure", True), ("gcp", False)):
        workspace.behaviour.cloud = cloud  # type: ignore[assignment]
        made = client.api_client.do("POST", "/api/2.0/fs/create-download-url", body={"path": f"{VOLUME}/f"})
        assert isinstance(made, dict)
        headers = {header["name"]: header["value"] for header in made.get("headers", [])}
        with requests.get(made["url"], headers=headers, timeout=5) as reply:
            assert FilesExt._is_url_expired_response(reply) is recognised


def test_a_range(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").write_bytes(bytes(range(100)))
    os.utime(workspace.volume / "f", (1_700_000_000.9, 1_700_000_000.9))

    reply = raw_get(client, f"{VOLUME}/f", Range="bytes=10-19")

    assert reply["contents"] == bytes(range(10, 20))
    assert reply["content-range"] == "bytes 10-19/100"
    assert reply["accept-ranges"] == "bytes"
    assert reply["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert reply["etag"] is None
    assert raw_get(client, f"{VOLUME}/f", Range="bytes=95-1000")["contents"] == bytes(range(95, 100))
    assert raw_get(client, f"{VOLUME}/f", Range="bytes=-3")["contents"] == bytes(range(97, 100))
    assert workspace.log[-1].status == 206


def test_a_range_beyond_the_end(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").write_bytes(b"0123456789")

    with pytest.raises(InvalidParameterValue):
        raw_get(client, f"{VOLUME}/f", Range="bytes=10-")
    assert workspace.log[-1].status == 416


def test_unmodified_since(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    os.utime(workspace.volume / "f", (1_700_000_000.9, 1_700_000_000.9))
    same, earlier = "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT"

    assert raw_get(client, f"{VOLUME}/f", If_Unmodified_Since=same)["contents"] == b"hello"
    with pytest.raises(DatabricksError) as caught:
        raw_get(client, f"{VOLUME}/f", If_Unmodified_Since=earlier)
    assert type(caught.value) is DatabricksError
    assert workspace.log[-1].status == 412


def test_metadata_of_a_file(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    os.utime(workspace.volume / "f", (1_700_000_000, 1_700_000_000))

    metadata = client.files.get_metadata(f"{VOLUME}/f")

    assert metadata.content_length == 5
    assert metadata.content_type == "application/octet-stream"
    assert metadata.last_modified == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_a_parallel_download(workspace: Served, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (workspace.volume / "f").write_bytes(content)
    client = sdk_client(
        workspace,
        files_ext_parallel_download_min_file_size=1,
        files_ext_parallel_download_default_part_size=1 << 20,
    )

    client.files.download_to(f"{VOLUME}/f", str(tmp_path / "out"), use_parallel=True)

    assert (tmp_path / "out").read_bytes() == content
    assert {record.range for record in workspace.log if record.status == 206} == {
        "bytes=0-1048575",
        "bytes=1048576-2097151",
        "bytes=2097152-3145727",
    }
    assert workspace.journal.leaked_authorization == 0


def test_a_large_upload_falls_back_to_one_put(workspace: Served) -> None:
    client = sdk_client(workspace, files_ext_multipart_upload_min_stream_size=1000)
    content = os.urandom(100_000)

    client.files.upload(f"{VOLUME}/big", io.BytesIO(content))

    assert (workspace.volume / "big").read_bytes() == content
    assert workspace.counts["fs.files.start_upload"] == 1
    assert workspace.counts["fs.upload_url"] >= 1
    assert workspace.counts["fs.files.put"] == 1


def test_overwriting(workspace: Served, client: WorkspaceClient) -> None:
    client.files.upload(f"{VOLUME}/f", io.BytesIO(b"one"))
    client.files.upload(f"{VOLUME}/f", io.BytesIO(b"two"), overwrite=True)
    workspace.behaviour.conflict_codes = ("ALREADY_EXISTS",)

    with pytest.raises(AlreadyExists):
        client.files.upload(f"{VOLUME}/f", io.BytesIO(b"three"), overwrite=False)

    assert workspace.log[-1].status == 409
    assert (workspace.volume / "f").read_bytes() == b"two"


def test_an_upload_over_the_limit_leaves_nothing(workspace: Served, client: WorkspaceClient) -> None:
    workspace.behaviour.max_upload = 10

    with pytest.raises(DatabricksError):
        client.files.upload(f"{VOLUME}/f", io.BytesIO(bytes(11)))

    assert list(workspace.volume.iterdir()) == []
    assert not (workspace.settings.root / ".local-workspace.staging").exists()


def test_a_file_is_no_directory_and_a_directory_no_file(workspace: Served, client: WorkspaceClient) -> None:
    (workspace.volume / "dir").mkdir()
    (workspace.volume / "file").touch()
    calls = (
        lambda: client.files.get_metadata(f"{VOLUME}/dir"),
        lambda: raw_get(client, f"{VOLUME}/dir"),
        lambda: client.files.delete(f"{VOLUME}/dir"),
        lambda: client.files.get_directory_metadata(f"{VOLUME}/file"),
        lambda: list(client.files.list_directory_contents(f"{VOLUME}/file")),
        lambda: client.files.delete_directory(f"{VOLUME}/file"),
        lambda: client.files.get_metadata(f"{VOLUME}/nope"),
        lambda: client.files.delete(f"{VOLUME}/nope"),
        lambda: client.files.delete_directory(f"{VOLUME}/nope"),
        lambda: client.files.get_metadata(f"{VOLUME}/file/below"),
    )

    for call in calls:
        with pytest.raises(NotFound):
            call()
    for path in (f"{VOLUME}/file", f"{VOLUME}/file/below"):
        with pytest.raises(DatabricksError):
            client.files.create_directory(path)
        assert workspace.log[-1].status == 409
    with pytest.raises(DatabricksError):
        client.files.upload(f"{VOLUME}/dir", io.BytesIO(b""))
    assert workspace.log[-1].status == 409


def test_directories(workspace: Served, client: WorkspaceClient) -> None:
    client.files.create_directory(f"{VOLUME}/a/b")
    client.files.create_directory(f"{VOLUME}/a/b/")
    client.files.get_directory_metadata(f"{VOLUME}/a/b")
    client.files.get_directory_metadata(f"{VOLUME}/a/b/")

    (entry,) = client.files.list_directory_contents(f"{VOLUME}/a")
    assert (entry.name, entry.path, entry.is_directory) == ("b", f"{VOLUME}/a/b/", True)
    assert (entry.file_size, entry.last_modified) == (None, None)
    with pytest.raises(InvalidParameterValue) as caught:
        client.files.delete_directory(f"{VOLUME}/a")
    assert caught.value.get_error_info()[0].reason == "FILES_API_DIRECTORY_IS_NOT_EMPTY"
    client.files.delete_directory(f"{VOLUME}/a/b")
    client.files.delete_directory(f"{VOLUME}/a")
    assert list(workspace.volume.iterdir()) == []


def test_a_listing_over_several_pages(workspace: Served, client: WorkspaceClient) -> None:
    for number in range(25):
        (workspace.volume / f"f{number:02d}").write_bytes(bytes(number))
        (workspace.volume / f"d{number:02d}").mkdir()

    entries = list(client.files.list_directory_contents(VOLUME, page_size=7))

    assert [entry.name for entry in entries] == [
        f"{kind}{number:02d}" for kind in "fd" for number in range(25)
    ]
    assert [entry.file_size for entry in entries[:25]] == list(range(25))
    assert workspace.counts["fs.directories.list"] == 8


def test_page_sizes_are_coerced_to_the_limit(workspace: Served, client: WorkspaceClient) -> None:
    workspace.behaviour.page_size = 10
    for number in range(11):
        (workspace.volume / f"f{number:02d}").touch()

    assert len(list(client.files.list_directory_contents(VOLUME, page_size=5000))) == 11
    assert workspace.counts["fs.directories.list"] == 2


def test_an_empty_directory_is_an_empty_object(workspace: Served, client: WorkspaceClient) -> None:
    assert client.api_client.do("GET", f"/api/2.0/fs/directories{VOLUME}") == {}


def test_in_the_flat_layout_folders_vanish(workspace: Served, client: WorkspaceClient) -> None:
    workspace.behaviour.layout = "flat"
    client.files.upload(f"{VOLUME}/a/b/f", io.BytesIO(b""))
    client.files.create_directory(f"{VOLUME}/made")
    client.files.upload(f"{VOLUME}/made/f", io.BytesIO(b""))

    client.files.delete(f"{VOLUME}/a/b/f")
    client.files.delete(f"{VOLUME}/made/f")

    with pytest.raises(NotFound):
        client.files.get_directory_metadata(f"{VOLUME}/a")
    client.files.get_directory_metadata(f"{VOLUME}/made")
    client.files.delete_directory(f"{VOLUME}/made")
    with pytest.raises(NotFound):
        list(client.files.list_directory_contents(VOLUME))
    assert client.volumes.read("main.sales.raw").name == "raw"


@pytest.mark.parametrize(
    "path, reason",
    [
        ("/Workspace/x", "FILES_API_INVALID_PATH"),
        ("/Volumes/main/sales", "FILES_API_INVALID_PATH"),
        (f"{VOLUME}/a%00b", "FILES_API_INVALID_PATH"),
        (f"{VOLUME}/%FF", "FILES_API_INVALID_PATH"),
        (f"{VOLUME}/x?recursive=true", "FILES_API_UNEXPECTED_QUERY_PARAMETERS"),
    ],
)
def test_paths_that_are_refused(client: WorkspaceClient, path: str, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        client.api_client.do("GET", f"/api/2.0/fs/directories{path}")
    assert caught.value.get_error_info()[0].reason == reason


def test_a_missing_volume(client: WorkspaceClient) -> None:
    with pytest.raises(NotFound, match=r"Volume 'main\.sales\.nope' does not exist") as caught:
        list(client.files.list_directory_contents("/Volumes/main/sales/nope"))
    assert caught.value.get_error_info()[0].reason == "FILES_API_RESOURCE_NOT_FOUND"


def test_rights_are_asked_level_by_level(workspace: Served) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    workspace.grants.open_to_all = False
    alice = sdk_client(workspace, workspace.people.add_user("alice@example.com"))

    for securable, privilege, text in (
        ("main", "USE_CATALOG", "User does not have USE CATALOG on Catalog 'main'."),
        ("main.sales", "USE_SCHEMA", "User does not have USE SCHEMA on Schema 'main.sales'."),
        ("main.sales.raw", "READ_VOLUME", "User does not have READ VOLUME on Volume 'main.sales.raw'."),
    ):
        with pytest.raises(PermissionDenied) as caught:
            raw_get(alice, f"{VOLUME}/f")
        assert str(caught.value).startswith(text)
        assert caught.value.error_code == "PERMISSION_DENIED"
        workspace.grants.grant(securable, "alice@example.com", privilege)
    assert raw_get(alice, f"{VOLUME}/f")["contents"] == b"hello"
    with pytest.raises(PermissionDenied, match="WRITE VOLUME"):
        alice.files.upload(f"{VOLUME}/g", io.BytesIO(b""))


def test_writing_takes_the_right_to_read(workspace: Served) -> None:
    workspace.grants.open_to_all = False
    alice = sdk_client(workspace, workspace.people.add_user("alice@example.com"))
    workspace.grants.grant("main", "alice@example.com", "USE_CATALOG", "USE_SCHEMA", "WRITE_VOLUME")

    with pytest.raises(PermissionDenied, match="READ VOLUME"):
        alice.files.upload(f"{VOLUME}/g", io.BytesIO(b""))


def test_links_and_devices_are_not_there(workspace: Served, client: WorkspaceClient, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (workspace.volume / "link").symlink_to(tmp_path / "outside")
    (workspace.volume / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(workspace.volume / "fifo")
    (workspace.volume / os.fsdecode(b"\xff")).touch()

    assert list(client.files.list_directory_contents(VOLUME)) == []
    for path in ("link", "folder/outside", "fifo"):
        with pytest.raises(NotFound):
            raw_get(client, f"{VOLUME}/{path}")
    with pytest.raises(DatabricksError):
        client.files.upload(f"{VOLUME}/link", io.BytesIO(b"changed"))
    assert (tmp_path / "outside").read_bytes() == b"secret"
