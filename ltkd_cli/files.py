"""Files that are whole or not there: atomic writes, locks, checksums, free space.

There are two kinds of locks, since neither can stand for the other. `folder_locked` is on the
folder of a run itself: it leaves no file, also where none can be written, and has a shared mode,
for both of which filelock has no way. `locked`, by filelock, is on a file beside one cache of
possibly several in a folder, and names the process that holds it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import filelock

PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet."""


SECONDS_BETWEEN_TRIES = 0.02
"""Of a lock that another process holds."""

SECONDS_OF_WORKERS = 10.0
"""Within which the worker processes of a killed one notice that it is gone, and end."""

MAX_LOCK = 4096
"""Bytes of a lock file that are read; what names a holder takes about a hundred."""


@dataclass(frozen=True)
class Holder:
    """A process that a lock file names."""

    pid: int
    host: str
    start: str
    """When it took the lock, UTC."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.start}"

    def is_alive(self) -> bool:
        """Whether a process with its number runs on this very host."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return error.errno == errno.EPERM
        return True


_LOCKED: set[int] = set()
"""Descriptors of the folders that this process has locked."""


def _close_locked() -> None:
    """In a forked child: its copies of the locks would outlive a killed parent."""
    for descriptor in _LOCKED:
        with suppress(OSError):
            os.close(descriptor)
    _LOCKED.clear()


os.register_at_fork(after_in_child=_close_locked)


class Locked(Exception):
    """Another process holds the lock; the message says which, where it is known."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder

    @property
    def hint(self) -> str:
        """What to do about it: only a living process of this host can be stopped."""
        if self.holder and self.holder.is_alive() and self.holder.pid > 1:
            return f"wait for it, or stop it: kill {self.holder.pid}"
        return "wait for it"


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file (text as UTF-8) so that a kill at any moment leaves the old one or the new."""
    with replacing(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, which takes the name `path` at the end of the body; on an error nothing changes.

    Its temporary name is a random one in the same folder, and is never followed where it is a
    link, so nothing that somebody else put into the folder is overwritten.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "w+b") as file:
            _try_lock(file.fileno(), fcntl.LOCK_EX)  # until it is closed, if by a kill
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_held(path: Path) -> bool | None:
    """Whether a living process writes the temporary file of a `replacing`; None if not known."""
    try:
        descriptor = open_regular(path, follow=False)
    except OSError:
        return None
    try:
        free = _try_lock(descriptor, fcntl.LOCK_SH)
        return None if free is False else free is None
    finally:
        os.close(descriptor)


def open_regular(path: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> int:
    """A descriptor of an existing regular file; OSError for anything else.

    A FIFO is not waited for, and with `follow` off a link is not followed.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a zero byte, or half a surrogate pair
        raise FileNotFoundError(errno.ENOENT, "No file can have such a name", str(path)) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file; OSError for anything else, or above `limit` bytes."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
        return file.read()


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left of `replacing`, from a folder that nobody else writes."""
    for path in folder.iterdir():
        if re.fullmatch(r"\.[0-9a-f]{16}" + re.escape(PARTIAL), path.name):
            path.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes every byte at its place; a disk that takes only some of them is an OSError."""
    rest = memoryview(data).cast("B")
    while len(rest):
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Puts the folder's own entries (creations, renames) on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # a file system that cannot
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file's bytes, in hexadecimal digits."""
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home folder; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def without_parents(path: Path) -> Path:
    """The absolute path without `..`, so that it holds when the current folder is renamed.

    Links are kept, unless `..` leads out of one: then all are followed.
    """
    plain = Path(os.path.normpath(path.absolute()))
    try:
        return plain if plain.samefile(path) else path.resolve()
    except OSError:
        return path.resolve()


def in_bytes(size: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:,} bytes"


def free_space(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


@contextmanager
def folder_locked(folder: Path, seconds: float = 0.0, *, shared: bool = False) -> Iterator[bool]:
    """Holds the kernel's lock on a folder itself; Locked where it is not to be had in `seconds`.

    Unlike a lock file it leaves nothing behind in any case, and can be asked for in a folder
    that may only be read. Yields False on a file system without such locks, where nothing is
    held. With `shared`, only those who want it alone are kept away.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _LOCKED.add(descriptor)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = time.monotonic() + seconds
        while (held := _try_lock(descriptor, kind)) is None:
            if time.monotonic() >= deadline:
                raise Locked(None)  # nobody is named
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield held
    finally:
        if descriptor in _LOCKED:  # a forked child has closed it
            _LOCKED.discard(descriptor)
            os.close(descriptor)


@contextmanager
def locked(path: Path, seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock file at `path`, waiting for it up to `seconds`; Locked where it is taken.

    The kernel's lock counts, so a killed process leaves none behind; the file's content only
    names the holder. It is removed at the end. OSError where the name is taken by a link or by
    a file that is no lock; both are left as they are.
    """
    import filelock  # slow to load, and most commands lock nothing

    _refuse_foreign(path)
    lock = filelock.FileLock(path, timeout=seconds, thread_local=False)
    try:
        _acquire(lock, path)
    except filelock.Timeout:
        raise Locked(named_in(path)) from None
    owner, held = os.getpid(), path.lstat()
    try:
        with suppress(OSError):
            _name_self(path)
        yield
    finally:
        if os.getpid() == owner:  # a forked child leaves its parent's lock alone
            with suppress(OSError):
                if os.path.samestat(held, path.lstat()):
                    path.unlink()
            lock.release()


def _acquire(lock: filelock.BaseFileLock, path: Path) -> None:
    """filelock.Timeout where the lock is taken; that of a killed process is waited for."""
    import filelock

    try:
        lock.acquire()
    except filelock.Timeout:
        holder = named_in(path)
        if holder is None or holder.host != socket.gethostname() or holder.is_alive():
            raise
        lock.acquire(timeout=SECONDS_OF_WORKERS)


def named_in(path: Path) -> Holder | None:
    """The process that a lock file names; None where there is none or its text is odd."""
    try:
        named = json.loads(_read_lock(path))
        holder = Holder(named["pid"], named["host"], named["start"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (holder.host, holder.start)
    if type(holder.pid) is not int or not 0 < holder.pid < 2**31:
        return None  # as the target of a signal, 0 and -1 mean many processes
    if not all(isinstance(text, str) and text.isprintable() and len(text) < 256 for text in texts):
        return None
    return holder


def _name_self(path: Path) -> None:
    start = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), start))).encode()
    descriptor = open_regular(path, os.O_WRONLY, follow=False)
    try:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, text, 0)
    finally:
        os.close(descriptor)


def _read_lock(path: Path) -> bytes:
    descriptor = open_regular(path, follow=False)
    try:
        return os.read(descriptor, MAX_LOCK)
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path) -> None:
    """Raises OSError where what bears the name is not a lock, whole or half written."""
    try:
        content = _read_lock(path)
    except FileNotFoundError:
        return
    if content and not content.startswith(b"{"):
        raise FileExistsError(errno.EEXIST, "It is not a lock", str(path))


def _try_lock(descriptor: int, kind: int) -> bool | None:
    """True where the lock is held now, None where another has it, False where there are none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True
