"""What is on a disk after a power cut, of records made by hand."""

import random
import struct

import pytest

from tests.faults.images import SECTOR, Disk, Fate, Kind, Record, read, unsynced

OLD, NEW = b"o" * 3 * SECTOR, b"n" * 3 * SECTOR
CHANCE = random.Random(1)  # noqa: S311  # no secrets


def played(*records: Record, files: dict[str, bytes] | None = None) -> Disk:
    disk = Disk({"db": OLD} if files is None else files)
    for record in records:
        disk.apply(record)
    return disk


WRITTEN = Record(Kind.WRITE, "db", 0, NEW)
SYNCED = Record(Kind.SYNC, "db")


@pytest.mark.parametrize(
    ("records", "fate", "content"),
    [
        ([WRITTEN], Fate.DROPPED, OLD),
        ([WRITTEN], Fate.KEPT, NEW),
        ([WRITTEN, SYNCED], Fate.DROPPED, NEW),
        ([WRITTEN, SYNCED, Record(Kind.WRITE, "db", 0, OLD)], Fate.DROPPED, NEW),
        ([Record(Kind.TRUNCATE, "db", 5)], Fate.DROPPED, OLD),
        ([Record(Kind.TRUNCATE, "db", 5)], Fate.KEPT, b"ooooo"),
        ([Record(Kind.WRITE, "db", len(OLD) + 2, b"n")], Fate.KEPT, OLD + b"\0\0n"),
    ],
)
def test_what_was_synced_is_there_and_of_the_rest_what_the_cut_left(
    records: list[Record], fate: Fate, content: bytes
) -> None:
    assert played(*records).after_cut(fate, CHANCE) == {"db": content}


def test_a_torn_write_leaves_any_of_its_sectors_whole() -> None:
    """A write of three sectors from the middle of the first one on: each of its four pieces is there or is not."""
    disk = played(Record(Kind.WRITE, "db", 10, NEW))
    borders = (10, SECTOR, 2 * SECTOR, 3 * SECTOR)
    seen = set()
    for _ in range(200):
        content = disk.after_cut(Fate.TORN, CHANCE)["db"].ljust(len(OLD) + 10, b"-")
        assert content[:10] == OLD[:10]
        pieces = [content[start:end] for start, end in zip(borders, (*borders[1:], len(content)), strict=True)]
        assert all(len(set(piece)) == 1 for piece in pieces)
        seen.add(tuple(piece[:1] for piece in pieces))
    assert len(seen) == 16


def test_a_new_file_is_there_when_its_folder_was_synced() -> None:
    made = [Record(Kind.CREATE, "wal"), Record(Kind.WRITE, "wal", 0, b"n"), Record(Kind.SYNC, "wal")]
    assert played(*made).after_cut(Fate.DROPPED, CHANCE) == {"db": OLD}
    assert played(*made).after_cut(Fate.KEPT, CHANCE) == {"db": OLD, "wal": b"n"}
    folder = Record(Kind.SYNC_FOLDER, "")
    assert played(*made, folder).after_cut(Fate.DROPPED, CHANCE) == {"db": OLD, "wal": b"n"}


def test_a_file_that_was_deleted_or_renamed_is_back_unless_its_folder_was_synced() -> None:
    renamed = played(Record(Kind.RENAME, "db", 0, b"other"))
    assert renamed.after_cut(Fate.DROPPED, CHANCE) == {"db": OLD}
    assert renamed.after_cut(Fate.KEPT, CHANCE) == {"other": OLD}
    assert {tuple(renamed.after_cut(Fate.TORN, CHANCE)) for _ in range(50)} == {("db",), ("other",)}
    deleted = played(Record(Kind.UNLINK, "db"), Record(Kind.SYNC_FOLDER, ""))
    assert deleted.after_cut(Fate.DROPPED, CHANCE) == {}


def test_a_journal_is_read_up_to_its_last_whole_record() -> None:
    journal = b"".join(
        struct.pack("@iiqq", kind, 2, offset, len(data)) + b"db" + data
        for kind, offset, data in [(Kind.WRITE, 7, b"abc"), (Kind.SYNC, 0, b""), (Kind.WRITE, 9, b"de")]
    )
    first = Record(Kind.WRITE, "db", 7, b"abc", 29)
    assert list(read(journal)) == [
        first,
        Record(Kind.SYNC, "db", 0, b"", 55),
        Record(Kind.WRITE, "db", 9, b"de", 83),
    ]
    assert list(read(journal[:54])) == [first]
    assert list(unsynced(read(journal))) == [29, 83]
