"""What is on a disk after a power cut: the journal of the shim, played up to a place.

What was synced is there. Of what was not, a power cut may leave nothing, everything, or any sectors of it.
A file's name is there when its folder was synced since (POSIX promises no more).
"""

import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, IntEnum
from functools import reduce
from itertools import pairwise
from typing import Final, NamedTuple

SECTOR: Final = 512
"""Bytes that a disk writes all or none of."""
_HEAD: Final = struct.Struct("@iiqq")  # `struct record` of shim.c


class Kind(IntEnum):
    """What was done to a file: `enum kind` of shim.c."""

    WRITE = 1
    TRUNCATE = 2
    SYNC = 3
    CREATE = 4
    UNLINK = 5
    RENAME = 6
    SYNC_FOLDER = 7


class Record(NamedTuple):
    """One call that succeeded. `offset` is a write's, or a truncation's new size; `data` a write's, or a new name."""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""
    end: int = 0
    """The journal's length with this record."""


class Fate(Enum):
    """What becomes of what was not synced."""

    DROPPED = "dropped"
    KEPT = "kept"
    TORN = "torn"


def read(journal: bytes) -> Iterator[Record]:
    """Read a journal; a record that was not finished ends it."""
    position = 0
    while position + _HEAD.size <= len(journal):
        kind, name_length, offset, length = _HEAD.unpack_from(journal, position)
        name_end = position + _HEAD.size + name_length
        end = name_end + length
        if end > len(journal):
            return
        name = journal[position + _HEAD.size : name_end].decode()
        yield Record(Kind(kind), name, offset, journal[name_end:end], end)
        position = end


def unsynced(records: Iterable[Record]) -> Iterator[int]:
    """Yield the places in the journal where something written is not synced: in the middle of a commit, mostly."""
    written: set[str] = set()
    for record in records:
        match record.kind:
            case Kind.WRITE | Kind.TRUNCATE:
                written.add(record.name)
            case Kind.SYNC | Kind.UNLINK:
                written.discard(record.name)
            case Kind.CREATE | Kind.RENAME | Kind.SYNC_FOLDER:
                pass
        if written:
            yield record.end


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.synced = bytearray(content)
        self.unsynced: list[Record] = []

    def sync(self) -> None:
        for record in self.unsynced:
            _change(self.synced, record)
        self.unsynced.clear()

    def after(self, fate: Fate, chance: random.Random) -> bytearray:
        content = bytearray(self.synced)
        if fate is not Fate.DROPPED:
            for record in self.unsynced:
                for piece in [record] if fate is Fate.KEPT else _survivors(record, chance):
                    _change(content, piece)
        return content


def _survivors(record: Record, chance: random.Random) -> Iterator[Record]:
    """Yield the sectors of a write that reached the disk; a truncation is one piece."""
    end = record.offset + len(record.data)
    borders = [record.offset, *range((record.offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
    if record.kind is Kind.TRUNCATE:
        yield from [record] * chance.randrange(2)
        return
    for start, stop in pairwise(borders):
        if chance.randrange(2):
            data = record.data[start - record.offset : stop - record.offset]
            yield record._replace(offset=start, data=data)


def _change(content: bytearray, record: Record) -> None:
    gap = record.offset - len(content)
    if gap > 0:
        content.extend(bytes(gap))
    if record.kind is Kind.TRUNCATE:
        del content[record.offset :]
    else:
        content[record.offset : record.offset + len(record.data)] = record.data


class Disk:
    """One folder of a disk: what is synced of it, and what was done since."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Begin with files that are safe."""
        self._files: Mapping[str, _File] = {name: _File(content) for name, content in files.items()}
        self._synced_names: Mapping[str, _File] = self._files
        self._unsynced_names: list[Mapping[str, _File | None]] = []

    def apply(self, record: Record) -> None:
        """Do what a record says."""
        match record.kind:
            case Kind.WRITE | Kind.TRUNCATE:
                self._files[record.name].unsynced.append(record)
            case Kind.SYNC:
                self._files[record.name].sync()
            case Kind.CREATE:
                self._name({record.name: _File()})
            case Kind.UNLINK:
                self._name({record.name: None})
            case Kind.RENAME:
                self._name({record.data.decode(): self._files[record.name], record.name: None})
            case Kind.SYNC_FOLDER:
                self._synced_names = self._files
                self._unsynced_names.clear()

    def _name(self, change: Mapping[str, _File | None]) -> None:
        self._files = _named(self._files, change)
        self._unsynced_names.append(change)

    def after_cut(self, fate: Fate, chance: random.Random) -> Mapping[str, bytes]:
        """Return the files that are there when the power comes back. Names reach the disk in their order."""
        most = len(self._unsynced_names)
        count = {Fate.DROPPED: 0, Fate.KEPT: most, Fate.TORN: chance.randint(0, most)}[fate]
        names: Mapping[str, _File] = reduce(_named, self._unsynced_names[:count], self._synced_names)
        return {name: bytes(file.after(fate, chance)) for name, file in sorted(names.items())}


def _named(names: Mapping[str, _File], change: Mapping[str, _File | None]) -> Mapping[str, _File]:
    return {name: file for name, file in {**names, **change}.items() if file is not None}
