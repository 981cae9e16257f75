"""One of several students that train at once: the process that trains it and says how it goes.

    python -m ltkd_cli.commands.student PIPE    # the number of an open pipe to several.Students

The pipe brings what to train, and takes every event and the error that ends it, if one does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from .. import runs
from ..errors import LtkdError
from ..events import Event, Note
from . import train as training


def main() -> None:
    """Trains in a run folder that is there already; ends with the exit code of its error."""
    pipe = Connection(int(sys.argv[1]))
    path, watch = pipe.recv()
    threading.Thread(target=_stop_when_alone, args=(pipe,), daemon=True).start()
    try:
        for event in training.resume(runs.read(path), watch=watch):
            _tell(pipe, event)
    except LtkdError as error:
        _tell(pipe, error)
        sys.exit(error.exit_code)
    except Exception:  # a bug; the other process has the screen
        _tell(pipe, Note(traceback.format_exc()))
        sys.exit(1)


def _tell(pipe: Connection, what: Event | LtkdError) -> None:
    with suppress(OSError):  # nobody listens any more
        pipe.send(what)


def _stop_when_alone(pipe: Connection) -> None:
    """Asks the training to keep its state and stop once the other end of the pipe is closed."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
