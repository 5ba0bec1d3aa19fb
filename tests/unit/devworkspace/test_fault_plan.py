"""Which calls a fault hits."""

from __future__ import annotations

from typing import Any

import pytest

from fuse4dbricks.devworkspace.admin import build_fault
from fuse4dbricks.devworkspace.effects import Headers, Latency, Status
from fuse4dbricks.devworkspace.faults import Fault, FaultPlan
from fuse4dbricks.devworkspace.journal import Journal, Record


def record(**fields: Any) -> Record:
    told = {"kind": "fs.files.get", "method": "GET", "path": "/api/2.0/fs/files/Volumes/c/s/v/a"} | fields
    return Record(request_id="r", side="workspace", **told)


def hits(fault: Fault, calls: int, chance: float = 0.0) -> list[int]:
    active = FaultPlan().add(fault)
    return [number for number in range(1, calls + 1) if active.hits(lambda: chance)]


@pytest.mark.parametrize(
    "match, expected",
    [
        ({}, True),
        ({"kind": "fs.*"}, True),
        ({"kind": "fs.files.get"}, True),
        ({"kind": "uc.*"}, False),
        ({"method": "GET"}, True),
        ({"method": "HEAD"}, False),
        ({"path": "*/v/a"}, True),
        ({"path": "/Volumes/*"}, False),
        ({"path_regex": r"/v/a$"}, True),
        ({"path_regex": r"/v/b$"}, False),
        ({"range": r"^bytes=8-"}, True),
        ({"range": r"^bytes=9-"}, False),
        ({"user": "alice"}, True),
        ({"user": "bob"}, False),
    ],
)
def test_what_a_fault_matches(match: dict[str, Any], expected: bool) -> None:
    assert Fault(effect=Latency(0), **match).matches(record(range="bytes=8-15"), "alice") is expected


def test_a_fault_for_ranges_leaves_other_calls_alone() -> None:
    assert not Fault(effect=Latency(0), range="bytes").matches(record(), None)


def test_which_of_the_matches_are_hit() -> None:
    assert hits(Fault(effect=Latency(0)), 4) == [1, 2, 3, 4]
    assert hits(Fault(effect=Latency(0), skip=2), 4) == [3, 4]
    assert hits(Fault(effect=Latency(0), skip=2, times=1), 9) == [3]
    assert hits(Fault(effect=Latency(0), every=3), 9) == [1, 4, 7]
    assert hits(Fault(effect=Latency(0), every=3, times=2), 99) == [1, 4]
    assert hits(Fault(effect=Latency(0), probability=0.5), 3, chance=0.4) == [1, 2, 3]
    assert hits(Fault(effect=Latency(0), probability=0.5), 3, chance=0.5) == []


def test_the_plan_counts_and_forgets() -> None:
    plan = FaultPlan()
    one, two = plan.add(Latency(1), kind="a"), plan.add(Latency(2))

    assert plan.get_active() == [one, two]
    one.remove()
    one.remove()
    assert plan.get_active() == [two]
    plan.clear()
    assert plan.get_active() == []
    assert two.is_over


def test_a_fault_from_json() -> None:
    document = {"effect": "Status", "with": {"status": 503, "retry_after": "1"}, "kind": "fs.*", "times": 2}

    assert build_fault(document) == Fault(effect=Status(status=503, retry_after="1"), kind="fs.*", times=2)
    assert build_fault({"effect": "Headers", "with": {"changes": {"etag": None}}}) == Fault(
        effect=Headers({"etag": None})
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"effect": "Nope"},
        {"effect": "Latency"},
        {"effect": "Latency", "with": {"seconds": 1}, "kinds": "x"},
    ],
)
def test_a_fault_from_wrong_json(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        build_fault(document)


def test_the_journal_counts() -> None:
    journal = Journal(keep=2)
    first, second, third = record(), record(), record(kind="uc.catalogs.list")
    journal.begin(first)
    journal.begin(second)
    assert journal.get_in_flight()["fs.files.get"] == 2
    journal.sending(first, 10)
    journal.end(first)
    journal.end(second)
    journal.begin(third)

    assert journal.get_counts() == {"fs.files.get": 2, "uc.catalogs.list": 1}
    assert journal.get_bytes() == {"fs.files.get": 10}
    assert journal.get_peaks()["fs.files.get"] == 2
    assert journal.get_log() == [second, third]
    assert journal.get_log("uc.catalogs.list") == [third]
    assert journal.wait_until(lambda told: told.get_in_flight()["workspace"] == 1, timeout=0)
    assert not journal.wait_until(lambda told: told.get_counts()["nope"] > 0, timeout=0)
    journal.clear()
    assert journal.get_log() == []
    assert journal.get_in_flight() == {"uc.catalogs.list": 1, "workspace": 1}
