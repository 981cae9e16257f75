"""Flipped bits in every file that a later command trusts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import h5py

from benchmarks.faults import story
from benchmarks.faults.calling import Said, call, refused, refused_or_same
from benchmarks.faults.children import Case, killed_at, outcomes
from benchmarks.faults.forging import format_1
from benchmarks.faults.story import EXPORT, FREEZE, TEACH, Place, datasets, ok, result_of
from ltkd_cli import runs
from ltkd_cli.cache import Cache
from ltkd_cli.cache.layout import STORED
from ltkd_cli.commands.frozen import FEATURES
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch, RunError

Found = Iterator[tuple[str, str]]

CACHE_COMMANDS = (
    ("cache", "verify", "cache.h5"),
    ("cache", "info", "cache.h5", "--json"),
    ("eval", "cache.h5", "--json"),
    (*story.DISTILL, "--name", "mine"),
)
"""Every command that opens a cache."""


def of_caches(place: Place, random: Random, share: float) -> Found:
    """One bit of every byte of a cache that is no entry, and some bits of its entries."""
    path = _enter(place) / "cache.h5"
    whole, entries = path.read_bytes(), _entry_bytes(path)
    metadata = [byte for byte in range(len(whole)) if byte not in entries]
    answers = {name: ok(call(*name)).out for name in CACHE_COMMANDS[:3]}
    cases = []
    for number, byte in enumerate(_some(metadata, random, share)):
        command = CACHE_COMMANDS[number // 4 % len(CACHE_COMMANDS)]
        flip = partial(_flipped, path, whole, byte, random.randrange(8))
        cases.append(_case(f"{path.name}, byte {byte}", flip, partial(_opened, path)))
        if number % 4 == 0:  # the library refuses the same byte in the same place for all
            look = partial(_asked, command, answers.get(command, "nothing"))
            cases.append(_case(f"{path.name}, byte {byte}, {command[:2]}", flip, look))
    for byte in _some(sorted(entries), random, 300 * share / len(entries)):
        flip = partial(_flipped, path, whole, byte, random.randrange(8))
        look = partial(_asked, CACHE_COMMANDS[0], "refused")
        cases.append(_case(f"{path.name}, byte {byte} of an entry", flip, look))
    yield from _outcomes(cases)


def of_old_caches(place: Place, random: Random, share: float) -> Found:
    """Bits of what HDF5 itself has written, in a cache of format 1, which has no checksum there."""
    path = format_1(_enter(place) / "cache.h5")
    whole, entries = path.read_bytes(), _entry_bytes(path)
    known = Cache.open(path)
    numbers = {name: known.tensor(name).numpy().tobytes() for name in known.layout.stored()}

    def look() -> str:
        try:
            found = Cache.open(path)
            found.verify()
        except (CacheDamaged, CacheMismatch, CacheError):
            return ""
        same = all(found.tensor(n).numpy().tobytes() == held for n, held in numbers.items())
        return "" if same else "other numbers"

    structure = [byte for byte in range(len(whole)) if byte not in entries]
    cases = [
        _case(
            f"format 1, byte {byte}",
            partial(_flipped, path, whole, byte, random.randrange(8)),
            look,
        )
        for byte in _some(structure, random, 120 * share / len(structure))
    ]
    yield from _outcomes(cases)


def of_unfinished_caches(place: Place, random: Random, share: float) -> Found:
    """Bits of a partial file that the same export goes on with."""
    folder = _enter(place)
    wanted = datasets(folder / "cache.h5")
    partial_file, moment, kept = Path("mine.h5.partial"), 10, b""
    while killed_at(moment, lambda: call(*EXPORT)) and not Path("mine.h5").exists():
        kept = partial_file.read_bytes() if partial_file.exists() else b""
        moment += 1
    assert kept

    def look() -> str:
        said = call(*EXPORT)
        if said.code:
            return refused(said, (1, 3, 4))
        return "" if datasets(Path("mine.h5")) == wanted else "other numbers"

    def flip(byte: int, bit: int) -> None:
        Path("mine.h5").unlink(missing_ok=True)
        _flipped(partial_file, kept, byte, bit)

    cases = [
        _case(f"partial file, byte {byte}", partial(flip, byte, random.randrange(8)), look)
        for byte in _some(range(len(kept)), random, 400 * share / len(kept))
    ]
    yield from _outcomes(cases)


def of_runs(place: Place, random: Random, share: float) -> Found:
    """Every byte of run.json and metrics.jsonl, some bits of weights and training states."""
    folder = _enter(place)
    assert killed_at(50, lambda: call(*TEACH, "--name", "mine"))
    mine, teacher = folder / "runs/mine", folder / "runs/teacher"
    scores = ok(call("eval", "teacher", "--json", "--device", "cpu")).out
    evaluate = partial(_asked, ("eval", "teacher", "--json", "--device", "cpu"), scores, (1, 4))
    run, name = runs.read(teacher), teacher.name
    record = partial(_same, lambda: runs.read(teacher).record, run.record, name)
    metrics = partial(_same, run.read_metrics, run.read_metrics(), name)
    cases = _flips(teacher / "run.json", random, share, record)
    cases += _flips(teacher / "run.json", random, 0.02 * share, evaluate)
    cases += _flips(run.metrics, random, share, metrics)[:-1]  # the end of a line cut off has none
    weights = teacher / "model.safetensors"
    fewer = 300 * share / weights.stat().st_size
    cases += _flips(weights, random, fewer, partial(_asked, evaluate.args[0], "refused", (4,)))
    resume = partial(_asked, ("teach", "--resume", "mine"), "refused", (1, 4))
    state = mine / "state.pt"
    cases += _flips(state, random, 200 * share / state.stat().st_size, resume)
    cases += _flips(teacher / "per_class.csv", random, 0.2 * share, evaluate)
    yield from _outcomes(cases)


def of_features(place: Place, random: Random, share: float) -> Found:
    """Some bits of a frozen backbone's features, read by a resumed run, rebalance and a new run."""
    _enter(place)
    ok(call(*FREEZE, "--name", "first"))
    first, mine, copy = (Path("runs", name) for name in ("first", "mine", "copy"))
    moment = 60  # before which no step is done
    while not (mine / "state.pt").exists():
        shutil.rmtree(mine, ignore_errors=True)
        assert killed_at(moment, lambda: call(*FREEZE, "--seed", 1, "--name", "mine"))
        moment += 5
    options = ("--strategy", "crt", "--views", 2, "--epochs", 2, "--device", "cpu")
    rebalance = ("rebalance", "first", *options, "--name", "copy")
    anew = (*FREEZE, "--seed", 1, "--name", "copy")
    cases = []
    for source, command, codes in (
        (mine, ("teach", "--resume", "copy"), (3, 4)),
        (first, rebalance, (3, 4)),
        (first, anew, ()),  # which computes them itself, and is never refused
    ):
        features = source / FEATURES
        made = partial(_made, source if source == mine else None, copy, command)
        said, wanted = made()
        ok(said)
        look = partial(_made_or_refused, made, wanted, codes)
        cases += _flips(features, random, 150 * share / features.stat().st_size, look)
    yield from _outcomes(cases)


def of_decoded_images(place: Place, random: Random, share: float) -> Found:
    """Bits of what the user's cache folder remembers of images."""
    folder = _enter(place)
    command = ("eval", "teacher", "--json", "--device", "cpu")
    scores = ok(call(*command)).out
    numbers = load(DataSpec("images")).mean
    cases = []
    for path in sorted((folder / "decoded").iterdir()):
        look: Callable[[], str] = partial(_asked, command, scores, (4,))
        if path.suffix == ".json":
            look = partial(_same, lambda: load(DataSpec("images")).mean, numbers, "")
        fewer = min(1.0, 60 * share / path.stat().st_size)
        cases += _flips(path, random, fewer, look)
    yield from _outcomes(cases)


def _enter(place: Place) -> Path:
    folder = place.copy("bits")
    story.enter(folder)
    return folder


def _some(values: Sequence[int], random: Random, share: float) -> list[int]:
    return [value for value in values if random.random() < share]


def _flipped(path: Path, whole: bytes, byte: int, bit: int) -> None:
    changed = bytearray(whole)
    changed[byte] ^= 1 << bit
    path.write_bytes(changed)


def _flips(path: Path, random: Random, share: float, look: Callable[[], str]) -> list[Case]:
    """A case for each of some bytes, after which the file is whole again."""
    whole = path.read_bytes()

    def work(byte: int, bit: int) -> str:
        _flipped(path, whole, byte, bit)
        try:
            return look()
        finally:
            path.write_bytes(whole)

    return [
        Case(f"{path.name}, byte {byte}", partial(work, byte, random.randrange(8)))
        for byte in _some(range(len(whole)), random, share)
    ]


def _case(name: str, harm: Callable[[], object], look: Callable[[], str]) -> Case:
    def work() -> str:
        harm()
        return look()

    return Case(name, work)


def _outcomes(cases: list[Case]) -> Found:
    yield from zip((case.name for case in cases), outcomes(cases), strict=True)


def _asked(command: tuple[object, ...], undisturbed: str, codes: tuple[int, ...] = (3, 4)) -> str:
    """What is wrong with the answer; a training that was not refused leaves no run."""
    found = refused_or_same(call(*command), undisturbed, codes)
    if command[0] == "distill":
        shutil.rmtree("runs/mine", ignore_errors=True)
    return found


def _made(begun: Path | None, folder: Path, command: tuple[object, ...]) -> tuple[Said, Any]:
    """What a command says, and the run that it makes in a folder, or goes on with as `begun`."""
    shutil.rmtree(folder, ignore_errors=True)
    if begun:
        shutil.copytree(begun, folder)
    said = call(*command)
    return said, None if said.code else result_of(folder)


def _made_or_refused(
    made: Callable[[], tuple[Said, Any]], undisturbed: Any, codes: tuple[int, ...]
) -> str:
    said, found = made()
    if said.code:
        return refused(said, codes)
    return "" if found == undisturbed else "another result than undisturbed"


def _opened(path: Path) -> str:
    try:
        Cache.open(path)
    except CacheError as error:
        return "" if str(path) in error.problem and error.exit_code in (3, 4) else str(error)
    return "opened"


def _same(read: Callable[[], Any], known: Any, name: str) -> str:
    """What is wrong with what a file is read as, when it is not refused by name."""
    try:
        return "" if read() == known else "read as something else"
    except RunError as error:
        return "" if name in error.problem else str(error)


def _entry_bytes(path: Path) -> set[int]:
    """Places of all bytes that belong to entries, in a file that HDF5 can read."""
    with h5py.File(path) as file:
        stored = [file[name] for name in STORED if name in file]
        ranges = [(part.id.get_offset(), part.nbytes) for part in stored]
    return {byte for start, size in ranges for byte in range(start, start + size)}
