"""What tests of the command line share: errors, terminals, users who act, and caches in bytes."""

import fcntl
import io
import os
import pty
import re
import resource
import shlex
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager

import h5py

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Sequences that move the cursor or set a colour."""


def advised(said):
    """The arguments of the command of ltkd behind the last `try: `."""
    line = said.err.splitlines()[-1]
    assert line.startswith("try: ltkd ")
    return shlex.split(line.removeprefix("try: ltkd "), comments=True)


def refused(said, code, name, hint=""):
    """Whether an answer is one error of that code, with that name in it, and a hint."""
    lines = said.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert (said.code, said.out, len(errors)) == (code, "", 1)
    assert name in said.err
    hints = said.err.partition("\ntry: ")[2]
    assert hints
    assert hint in hints
    return True


class Listener(io.StringIO):
    """Standard error whose reader acts once, when all the given texts have been written to it."""

    def __init__(self, act, *texts):
        super().__init__()
        self.act, self.texts = act, texts

    def write(self, written):
        length = super().write(written)
        if self.act and all(text in self.getvalue() for text in self.texts):
            act, self.act = self.act, None
            act()
        return length


def ctrl_c(text, times=1, number=signal.SIGINT):
    """Standard error of a user who presses Ctrl-C when that text appears there."""

    def press():
        for _ in range(times):
            signal.raise_signal(number)

    return Listener(press, text)


def on_a_terminal(width, *arguments):
    """All that `ltkd` writes to a terminal of that many columns, line by line."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "ltkd_cli", *arguments]
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment)
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(own, 65536)
        except OSError:  # the terminal has no other side any more
            break
        if not part:
            break
        shown += part
    os.close(own)
    assert process.wait() == 0
    return STEERING.sub("", shown.decode()).replace("\r", "\n").splitlines()


def datasets(path):
    """Every dataset of a cache as bytes, by name."""
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in file}


@contextmanager
def disk_of(bytes_of_a_file):
    """No file may grow beyond that many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_of_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def result_of(events):
    """What a generator of events returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value
