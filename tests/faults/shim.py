"""The shim between a server and libc: building it, and telling it what shall fail. See shim.c."""

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypedDict

SOURCE: Final = Path(__file__).with_name("shim.c")
_BLOCK: Final = struct.Struct("@iiiiq")  # `struct control` of shim.c


class NoCompilerError(Exception):
    """The shim cannot be built here."""


def build(folder: Path) -> Path:
    """Compile the shim into a folder, and return the library's path.

    Raises:
        NoCompilerError: there is no C compiler, or it cannot compile the shim.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise NoCompilerError("needs a C compiler (on Debian and Ubuntu: apt install gcc libc6-dev)")
    library = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # ours
    if run.returncode:
        raise NoCompilerError(f"needs Linux, and a C compiler with glibc's headers; {compiler} says:\n{run.stderr}")
    return library


class DiskFault(TypedDict, total=False):
    """How a disk fails: the error of writes and truncations, the error of syncs; 0 is none."""

    write_errno: int
    sync_errno: int


class Shim:
    """What one server's files and clock do; `set` changes it at once."""

    def __init__(self, library: Path, data: Path, scratch: Path) -> None:
        """Watch the files in the folder `data`; keep the journal and the control block in the folder `scratch`."""
        self._library = library
        self.data = data
        self.journal = scratch / "journal"
        self._control = scratch / "control"
        self._control.write_bytes(bytes(mmap.PAGESIZE))
        with self._control.open("r+b") as file:
            self._block = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def environment(self, *, journal: bool = False) -> Mapping[str, str]:
        """Return what a process needs in its environment to run on this disk; with `journal` it is recorded."""
        found = {
            "LD_PRELOAD": str(self._library),
            "FAULTS_FOLDER": str(self.data),
            "FAULTS_CONTROL": str(self._control),
        }
        return found | ({"FAULTS_JOURNAL": str(self.journal)} if journal else {})

    def set(self, *, write_errno: int = 0, sync_errno: int = 0, no_sync: bool = False, ahead: int = 0) -> None:
        """Say what writes and syncs fail with, whether syncs do nothing, how many seconds the clock is ahead."""
        _BLOCK.pack_into(self._block, 0, write_errno, sync_errno, no_sync, self.failures, ahead)

    @property
    def failures(self) -> int:
        """How many calls failed so far."""
        found: int = _BLOCK.unpack_from(self._block)[3]
        return found

    def position(self) -> int:
        """Return the journal's length so far, in bytes: a moment in the life of the disk."""
        return self.journal.stat().st_size if self.journal.exists() else 0
