from fuse4dbricks.cache.storing.room import SPARE_GROWTH, DiskLimits, Room
from fuse4dbricks.index.records import Totals
from fuse4dbricks.units import GIB, MIB


def room_of(recorded: int, overhead: int | None = 0) -> Room:
    room = Room(1000, lambda: Totals(0, recorded))
    room.limit = 1000
    room.overhead = overhead
    room.spare = 10 * SPARE_GROWTH
    return room


def test_a_part_of_the_limit_is_left_to_the_index_to_grow_in() -> None:
    assert Room(16_000, lambda: Totals(0, 0)).limit == 14_000
    assert Room(10 * GIB, lambda: Totals(0, 0)).limit == 10 * GIB - 8 * MIB


def test_everything_that_takes_space_counts() -> None:
    room = room_of(500, overhead=40)
    room.index = 60
    with room.reserving(50), room.parting(25, 1):
        assert room.used == 675
        assert room.fits(325)
        assert not room.fits(326)
    assert room.used == 600


def test_where_the_index_takes_the_whole_limit_nothing_fits() -> None:
    room = room_of(0, overhead=400)
    room.index = 600
    assert not room.fits(1)


def test_nothing_fits_before_somebody_has_looked() -> None:
    assert not room_of(0, overhead=None).fits(1)


def test_eviction_starts_before_the_limit_and_frees_to_the_target() -> None:
    assert room_of(970).excess == 0
    assert room_of(971).excess == 21


def test_who_waits_is_made_room_for() -> None:
    room = room_of(940)
    assert room.excess == 0
    with room.wanting(100):
        assert room.excess == 40


def test_the_disk_may_have_less_to_spare_than_the_limit_allows() -> None:
    room = room_of(0)
    room.spare = SPARE_GROWTH + 100
    assert room.fits(100)
    assert not room.fits(101)
    with room.reserving(60):
        assert not room.fits(41)
    assert not room.fits(41)  # it is written now; the next look tells
    assert room.shortage == 0
    with room.wanting(50):
        assert room.shortage == 10
        room.spare = -1  # others have used up the margin: what they took is not for this writer to free
        assert room.shortage == 0


def test_what_is_leaving_already_need_not_leave_again() -> None:
    room = room_of(980)
    with room.parting(30, 1):
        assert room.excess == 1010 - 950 - 30


def test_the_margin_is_a_part_of_the_disk_or_an_amount() -> None:
    assert DiskLimits(1).get_margin(1000) == 50
    assert DiskLimits(1, min_free_bytes=7).get_margin(1000) == 7
    assert DiskLimits(1, min_free_bytes=0).get_margin(1000) == 0


def test_files_count_as_bytes_do() -> None:
    room = Room(1000, lambda: Totals(90, 0), max_files=100)
    room.overhead, room.spare = 0, 10 * SPARE_GROWTH
    with room.reserving(1), room.parting(1, 8):
        assert room.used_files == 99
        assert room.fits(1)
        assert room.excess_files < 0  # more are on their way out than need be
        with room.reserving(1):
            assert not room.fits(1)


def test_who_waits_is_made_room_for_in_files_too() -> None:
    room = Room(1000, lambda: Totals(97, 0), max_files=100)
    assert room.excess_files == 0
    with room.wanting(1):
        assert room.excess_files == 2


def test_a_folder_of_one_file_can_change_it() -> None:
    room = Room(1000, lambda: Totals(1, 0), max_files=1)
    with room.wanting(1):
        assert room.excess_files == 1
