"""What somebody is told who asks why he may or may not read a path."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import (
    InvalidToken,
    InvalidWrite,
    NotFound,
    PermissionDenied,
    ServerFailure,
    Unreachable,
)
from fuse4dbricks.index.records import HeldChunk
from fuse4dbricks.tokens import Token
from fuse4dbricks.vfs.control.asking import IN_ALL, MAX_QUESTION_BYTES, PER_USER
from fuse4dbricks.vfs.control.tree import EXPLAIN_INO
from fuse4dbricks.visibility import Visibility
from tests.fs.test_xattrs import Held
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import (
    ADA,
    BOB,
    EVE,
    MODIFIED,
    NOW,
    PERMISSION_TTL,
    VOLUME,
    Call,
    at,
    token_of,
    workspace_with,
)
from tests.support.kernel import Kernel

FILE = at("d", "f")
WAY = ["catalog", "schema", "volume", "reading", "path"]
REFUSAL = {"status": 403, "error_code": "PERMISSION_DENIED", "request_id": "r-1", "said": "No USE SCHEMA."}


def setting_of(**changes: Any) -> Setting:
    workspace = workspace_with("ada", "bob")
    workspace.put(FILE, 9)
    return replace(Setting(workspace, is_shared=True), **changes)


async def told(bench: Bench, question: str | bytes = str(FILE), uid: int = ADA) -> dict[str, Any]:
    """As a program asks: one open, a write, reads behind it."""
    raw = question.encode() if isinstance(question, str) else question
    files = bench.filesystem
    opened = await files.open(uid, EXPLAIN_INO, os.O_RDWR)
    assert opened.direct_io
    try:
        assert files.write(opened.number, 0, raw) == len(raw)
        said = bytes(await files.read(opened.number, len(raw), 1 << 20))
    finally:
        files.release(opened.number)
    answer = json.loads(said)
    assert isinstance(answer, dict)
    assert answer["schema"] == 1
    assert answer["local_user"] == uid
    return answer


def sign_in(bench: Bench) -> None:
    bench.written.set(ADA, token_of("ada"))
    bench.written.set(BOB, token_of("bob"))


def standings(answer: dict[str, Any]) -> list[str]:
    assert [step["what"] for step in answer["steps"]] == WAY[: len(answer["steps"])]
    return [step["standing"] for step in answer["steps"]]


async def test_a_file_that_nobody_has_read() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        answer = await told(bench)
        assert (answer["verdict"], answer["kind"], answer["path"]) == ("readable", "file", str(FILE))
        assert standings(answer) == ["allowed"] * 5
        assert answer["principal"] == {"id": "id-of-ada", "user_name": "ada@example.com"}
        assert answer["token_source"]
        assert answer["current_version"] == f"{MODIFIED}:9:-"
        assert answer["cached"] is None
        assert answer["next_open"] == {
            "calls": 6, "catalog": 3, "metadata": 2, "permission": 0, "data": 1, "data_bytes": 9,
        }  # fmt: skip
        assert token_of("ada").reveal() not in json.dumps(answer)


async def test_what_is_said_to_cost_is_what_it_costs() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        cost = (await told(bench))["next_open"]
        before = bench.workspace.count()
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        assert bench.workspace.count() - before == cost["calls"]
        cost = (await told(bench))["next_open"]
        before = bench.workspace.count()
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        assert bench.workspace.count() - before == cost["calls"] == 0


async def test_what_is_cached_is_told() -> None:
    held = Held([HeldChunk(0, 4, "bob@example.com", NOW - 50)])
    async with bench_of(setting_of(held=held, pinned=frozenset({FILE}))) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, ADA).walk(FILE)
        bench.clock.step(10)
        cached = (await told(bench))["cached"]
        assert cached["disk_ranges"] == [[0, 3]]
        assert (cached["ram_ranges"], cached["cached_bytes"], cached["complete"]) == ([], 4, False)
        assert (cached["size"], cached["last_modified"], cached["pinned"]) == (9, MODIFIED, True)
        assert (cached["owners"], cached["fetched_at"]) == (["bob@example.com"], NOW - 50)
        assert (cached["validated_at"], cached["fresh_for"]) == (NOW, 20.0)


async def test_a_folder_tells_its_listing() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, ADA).list_folder(FILE.parent)
        answer = await told(bench, str(FILE.parent))
        assert (answer["verdict"], answer["kind"]) == ("readable", "directory")
        assert (answer["cached"]["listed"], answer["cached"]["listing_complete"]) == (1, True)
        assert answer["cached"]["size"] is None


async def test_a_newer_version_is_told_beside_the_one_that_is_believed() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, ADA).walk(FILE)
        bench.workspace.put(FILE, 11)
        answer = await told(bench)
        assert (answer["cached"]["version"], answer["current_version"]) == (
            f"{MODIFIED}:9:-",
            f"{MODIFIED}:11:-",
        )


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("/Volumes/main/default/files/d/f", str(FILE)),
        ("main/default/files/d/f\n", str(FILE)),
        ("MAIN/Default/files//./d/f", str(FILE)),
        ("/Volumes/main/default/files", str(VOLUME)),
        ("/Volumes", "/Volumes"),
        ("/", "/Volumes"),
        ("/Volumes/", "/Volumes"),
    ],
)
async def test_ways_to_name_a_path(question: str, path: str) -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        answer = await told(bench, question)
        assert (answer["verdict"], answer["path"]) == ("readable", path)


@pytest.mark.parametrize("question", [b"main/\xff", b"main/..", b"main/default/files/" + b"x" * 256, b"a\0b"])
async def test_names_that_cannot_be_cost_nothing(question: bytes) -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await told(bench, "/")
        before = bench.workspace.count()
        answer = await told(bench, question)
        assert (answer["verdict"], answer["steps"], answer["cached"]) == ("absent", [], None)
        assert bench.workspace.count() == before


@pytest.mark.parametrize(
    ("question", "verdict"),
    [("README.txt", "readable"), (".auth/status", "readable"), (".auth", "readable"), (".auth/x", "absent")],
)
async def test_files_of_the_mount_itself(question: str, verdict: str) -> None:
    async with bench_of(setting_of()) as bench:
        answer = await told(bench, question, EVE)
        assert (answer["verdict"], answer["kind"], answer["path"]) == (verdict, "control", question)
        assert bench.workspace.count() == 0


# --- no ------------------------------------------------------------------------------------------


async def test_a_refusal_is_told_in_the_services_words() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        bench.workspace.privileges = ["USE_CATALOG"]

        async def refuse(call: Call) -> None:
            if call.kind == "catalog" and call.path == VOLUME.parent:
                raise PermissionDenied("GET …: 403 PERMISSION_DENIED No USE SCHEMA.", **REFUSAL)  # type: ignore[arg-type]

        bench.workspace.before_reply = refuse
        answer = await told(bench)
        assert answer["verdict"] == "refused"
        assert "schema main.default" in answer["why"]
        assert standings(answer) == ["allowed", "refused", "not_asked", "not_asked", "not_asked"]
        step = answer["steps"][1]
        assert step["failure"] == {
            "error": "PermissionDenied", "message": "GET …: 403 PERMISSION_DENIED No USE SCHEMA.", **REFUSAL,
        }  # fmt: skip
        assert step["privileges"] == ["USE_CATALOG"]
        assert answer["cached"] is answer["next_open"] is None


async def test_privileges_that_cannot_be_had_are_left_out() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        bench.workspace.revoke("ada")
        bench.workspace.allow("ada", VOLUME.parent.child("other"))
        bench.workspace.fail("privileges", PermissionDenied("no"))
        answer = await told(bench)
        assert standings(answer)[:3] == ["allowed", "allowed", "refused"]
        assert answer["steps"][2]["privileges"] is None


@pytest.mark.parametrize("uid", [BOB, EVE])
async def test_who_may_not_read_is_told_nothing_of_what_is_cached(uid: int) -> None:
    held = Held([HeldChunk(0, 4, "ada@example.com", NOW - 50)])
    async with bench_of(setting_of(held=held, pinned=frozenset({FILE}))) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        await Kernel(bench.filesystem, ADA).list_folder(FILE.parent)
        bench.workspace.revoke("bob")
        for question in (FILE, FILE.parent, VOLUME, at("none"), VOLUME.parent):
            answer = await told(bench, str(question), uid)
            assert answer["verdict"] == ("refused" if uid == BOB else "not_signed_in")
            assert answer["cached"] is answer["next_open"] is answer["current_version"] is None
            assert answer["kind"] is None
            assert "ada" not in json.dumps(answer)


async def test_a_right_that_was_lost_since_is_lost_here_too() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, BOB).read_file(FILE)
        assert (await told(bench, uid=BOB))["cached"] is not None
        bench.workspace.revoke("bob")
        answer = await told(bench, uid=BOB)
        assert (answer["verdict"], answer["cached"]) == ("refused", None)


@pytest.mark.parametrize(
    ("question", "standing"),
    [
        (at("none"), ["allowed", "allowed", "allowed", "allowed", "absent"]),
        (FILE.child("x"), ["allowed", "allowed", "allowed", "allowed", "absent"]),
        (VOLUME.parent.child("none"), ["allowed", "allowed", "absent", "not_asked"]),
    ],
)
async def test_what_is_not_there(question: object, standing: list[str]) -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        answer = await told(bench, str(question))
        assert (answer["verdict"], standings(answer)) == ("absent", standing)


async def test_the_number_of_the_first_of_two_questions_is_told() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        bench.workspace.fail("head", NotFound("HEAD …: 404", status=404, request_id="r-2"))
        failure = (await told(bench, str(at("none"))))["steps"][4]["failure"]
        assert (failure["status"], failure["request_id"]) == (404, "r-2")


async def test_the_lists_of_the_mount_hide() -> None:
    visibility = Visibility(denied=(("main", "default", "files"),))
    async with bench_of(setting_of(visibility=visibility)) as bench:
        sign_in(bench)
        await told(bench, "/Volumes/main/default")
        answer = await told(bench)
        assert (answer["verdict"], standings(answer)) == (
            "hidden",
            ["allowed", "allowed", "hidden", "not_asked", "not_asked"],
        )
        assert not [call for call in bench.workspace.calls if call.path.in_volume]


async def test_what_lies_beside_the_root_is_not_shown() -> None:
    async with bench_of(setting_of(root=VOLUME)) as bench:
        sign_in(bench)
        assert (await told(bench, "d/f"))["verdict"] == "readable"
        for outside in ("/Volumes/main/default/other/f", "/Volumes/main", "/Volumes"):
            answer = await told(bench, outside)
            assert (answer["verdict"], answer["steps"]) == ("hidden", [])


async def test_who_has_no_token_is_told_so() -> None:
    async with bench_of(setting_of()) as bench:
        answer = await told(bench, uid=EVE)
        assert (answer["verdict"], answer["principal"]) == ("not_signed_in", None)
        assert standings(answer) == ["not_asked"] * 5
        bench.written.set(EVE, Token("stale"))
        answer = await told(bench, uid=EVE)
        assert answer["verdict"] == "not_signed_in"
        assert answer["failure"]["error"] == "InvalidToken"
        assert "stale" not in json.dumps(answer)


async def test_a_token_that_is_refused_on_the_way_is_tried_once_more() -> None:
    async with bench_of(setting_of(environment_token=token_of("ada"))) as bench:
        bench.written.set(ADA, Token("another"))
        bench.workspace.people[Token("another")] = bench.workspace.people[token_of("ada")]
        assert (await told(bench))["verdict"] == "readable"
        bench.workspace.fail("listing", InvalidToken("expired", status=401))
        answer = await told(bench)
        assert (answer["verdict"], standings(answer)) == ("readable", ["allowed"] * 5)
        assert answer["token_source"] == "DATABRICKS_TOKEN"


# --- an outage -----------------------------------------------------------------------------------


async def test_an_outage_is_no_refusal() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await bench.access.resolve_viewer(ADA)
        bench.workspace.down = Unreachable("no route")
        answer = await told(bench)
        assert answer["verdict"] == "unknown"
        assert standings(answer) == ["unknown"] + ["not_asked"] * 4
        assert answer["steps"][0]["failure"]["error"] == "Unreachable"
        assert answer["cached"] is None


async def test_in_an_outage_what_is_cached_is_told_to_who_was_let_in() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await Kernel(bench.filesystem, ADA).read_file(FILE)
        await bench.access.resolve_viewer(BOB)
        bench.clock.step(PERMISSION_TTL + 1)
        bench.workspace.down = Unreachable("no route")
        answer = await told(bench)
        assert (answer["verdict"], answer["kind"]) == ("readable", "file")
        assert answer["cached"]["complete"]
        answer = await told(bench, uid=BOB)
        assert (answer["verdict"], answer["cached"], answer["kind"]) == ("unknown", None, None)


async def test_who_one_is_cannot_be_asked() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        bench.workspace.down = ServerFailure("GET …: 500", status=500, request_id="r-3")
        answer = await told(bench)
        assert (answer["verdict"], answer["failure"]["request_id"]) == ("unknown", "r-3")


async def test_a_silent_workspace_ends_the_answer_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        await bench.access.resolve_viewer(ADA)

        async def hang(_call: Call) -> None:
            await trio.sleep_forever()

        bench.workspace.before_reply = hang
        began = trio.current_time()
        answer = await told(bench)
        assert trio.current_time() - began < 30
        assert answer["verdict"] == "unknown"


# --- many questions ------------------------------------------------------------------------------


async def test_no_more_than_a_few_questions_of_one_user_wait() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        for uid in (ADA, BOB):
            await bench.access.resolve_viewer(uid)
        door = trio.Event()

        async def wait(_call: Call) -> None:
            await door.wait()

        bench.workspace.before_reply = wait
        verdicts: list[str] = []

        async def ask(uid: int) -> None:
            verdicts.append((await told(bench, uid=uid))["verdict"])

        async with trio.open_nursery() as nursery:
            for _ in range(PER_USER + 3):
                nursery.start_soon(ask, ADA)
            await wait_all_tasks_blocked()
            assert verdicts == ["busy"] * 3
            nursery.start_soon(ask, BOB)
            await wait_all_tasks_blocked()
            assert verdicts == ["busy"] * 3, "his own are none of another's business"
            door.set()
        assert verdicts[3:] == ["readable"] * (PER_USER + 1)
        assert (await told(bench))["verdict"] == "readable"


async def test_all_users_together_have_an_end_too() -> None:
    async with bench_of(setting_of()) as bench:

        async def hang(_call: Call) -> None:
            await trio.sleep_forever()

        bench.workspace.before_reply = hang
        users = range(5000, 5000 + IN_ALL)
        for uid in (*users, ADA):
            bench.written.set(uid, token_of("ada"))
        async with trio.open_nursery() as nursery:
            for uid in users:
                nursery.start_soon(told, bench, str(FILE), uid)
            await wait_all_tasks_blocked()
            assert (await told(bench))["verdict"] == "busy"
            nursery.cancel_scope.cancel()
        bench.workspace.before_reply = None
        assert (await told(bench))["verdict"] == "readable"


async def test_an_open_takes_one_question() -> None:
    async with bench_of(setting_of()) as bench:
        sign_in(bench)
        files = bench.filesystem
        number = (await files.open(ADA, EXPLAIN_INO, os.O_RDWR)).number
        assert b"Write a path" in bytes(await files.read(number, 0, 1 << 16))
        with pytest.raises(InvalidWrite):
            files.write(number, 0, b"x" * (MAX_QUESTION_BYTES + 1))
        with pytest.raises(InvalidWrite):
            files.write(number, 5, b"a gap")
        question = str(FILE).encode()
        files.write(number, 0, question[:5])
        files.write(number, 5, question[5:])
        whole = bytes(await files.read(number, len(question), 1 << 16))
        before = bench.workspace.count()
        pieces = [
            bytes(await files.read(number, len(question) + at, 100)) for at in range(0, len(whole), 100)
        ]
        assert b"".join(pieces) == whole
        assert bench.workspace.count() == before, "the answer is made once"
        with pytest.raises(InvalidWrite):
            files.write(number, len(question), b"more")
        files.release(number)
