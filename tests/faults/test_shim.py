"""What the shim leaves as it is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.shim import NoCompilerError, Shim, build
from tests.support import DEADLINE

_PROGRAM: Final = """
import fcntl, os, struct, termios, threading
reader, writer = os.pipe()
size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
blocked = threading.Thread(target=os.write, args=(writer, bytes(2 * size)))
blocked.start()
while struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))[0] < size:
    pass
with open(os.environ["FAULTS_FOLDER"] + "/file", "wb") as file:
    file.write(b"written")
left = 2 * size
while left:
    left -= len(os.read(reader, left))
blocked.join()
"""


def test_a_write_to_a_full_pipe_keeps_nobody_from_writing_to_files(tmp_path: Path) -> None:
    try:
        library = build(tmp_path)
    except NoCompilerError as error:
        pytest.skip(str(error))
    data = tmp_path / "data"
    data.mkdir()
    shim = Shim(library, data, tmp_path)
    environment = {**os.environ, **shim.environment(journal=True)}
    subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, timeout=DEADLINE, check=True)  # noqa: S603  # ours
    assert (data / "file").read_bytes() == b"written"
    assert shim.position()
