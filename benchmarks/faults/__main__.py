"""Runs the campaign: counts what was tried in each area, writes JSON and prints a table.

    python -m benchmarks.faults [--share 0.1] [--areas images] [--jobs 2] [--seed 0]
    python -m benchmarks.faults --short      # some cases of most areas, as `make test` tries them

It ends with exit code 1 where a case was wrong, and names each of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks import timing
from benchmarks.faults import bits, crafted, crashes, images, options, pairs, story
from benchmarks.faults.children import start_child
from benchmarks.faults.story import Place

Try = Callable[[Place, Random, float], Iterator[tuple[str, str]]]


@dataclass(frozen=True)
class Area:
    """One kind of faults, to be tried in a process of its own."""

    cases: Try
    place: Place
    random: Random
    share: float

    def try_to(self, path: Path) -> None:
        """Tries it, and writes what came of it as JSON."""
        began, tried, wrong = time.perf_counter(), 0, []
        self.place.cases.mkdir()
        for case, problem in self.cases(self.place, self.random, self.share):
            tried += 1
            if problem:
                wrong.append(f"{case}: {problem}")
        seconds = round(time.perf_counter() - began)
        found = {"tried": tried, "survived": tried - len(wrong), "wrong": wrong}
        path.write_text(json.dumps({**found, "share": self.share, "seconds": seconds}))


AREAS: dict[str, Try] = {
    "killed before every disk operation, and within every write": crashes.at_every_call,
    "killed at random moments": crashes.at_random,
    "flipped bits in what describes a cache, and in its entries": bits.of_caches,
    "flipped bits in caches of format 1": bits.of_old_caches,
    "flipped bits in unfinished caches": bits.of_unfinished_caches,
    "flipped bits in run.json, metrics, weights and training states": bits.of_runs,
    "flipped bits in features of a frozen backbone": bits.of_features,
    "flipped bits in decoded images and fingerprints": bits.of_decoded_images,
    "crafted files": crafted.crafted_files,
    "files that do not belong together": pairs.wrong_pairs,
    "random combinations of options": options.odd_options,
    "odd image files": images.odd_images,
}
"""By what is tried. Each yields the name of every case, and what is wrong in it."""

SHORT: dict[Try, float] = {
    crashes.of_exports: 0.02,
    bits.of_caches: 0.01,
    bits.of_runs: 0.01,
    bits.of_features: 0.01,
    bits.of_decoded_images: 0.02,
    crafted.crafted_files: 0.002,
    pairs.wrong_pairs: 0.05,
    options.odd_options: 0.01,
    images.odd_images: 0.02,
}
"""What `--short` tries, and the share of it."""

RESULTS = Path(__file__).parents[1] / "results" / "faults.json"


def main() -> None:
    """Tries all, and says what came of it."""
    given, of = parse(), version()
    torch.set_num_threads(1)
    logging.disable()
    chosen = {name: (area, given.share) for name, area in AREAS.items() if given.areas in name}
    if given.short:
        chosen = {area.__name__: (area, share) for area, share in SHORT.items()}
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        found = try_all(chosen, Path(folder), given.seed, given.jobs)
    for name, area in found.items():
        for wrong in area["wrong"]:
            print(f"WRONG in {name}: {wrong}")
    print(table(found))
    if given.keep:
        keep(RESULTS, found, of)
    sys.exit(any(area["wrong"] for area in found.values()))


def try_all(
    areas: dict[str, tuple[Try, float]], folder: Path, seed: int, jobs: int
) -> dict[str, dict[str, Any]]:
    """What was tried in each area, what survived, and the names of what was wrong."""
    told = story.tell(folder).told
    waiting, working = list(areas), dict[int, str]()
    found: dict[str, dict[str, Any]] = {}
    while waiting or working:
        while waiting and len(working) < jobs:
            name = waiting.pop(0)
            place = Place(told, folder / f"cases-{len(waiting)}")
            cases, share = areas[name]
            area = Area(cases, place, Random(seed), share)
            working[start_child(partial(area.try_to, folder / f"{name}.json"))] = name
        pid, status = os.wait()
        name = working.pop(pid)
        if status:
            sys.exit(f"{name} came to no end")
        found[name] = json.loads((folder / f"{name}.json").read_text())
        print(f"{name}: {found[name]}"[:300], file=sys.stderr)
    return {name: found[name] for name in areas}


def version(folder: Path = Path(__file__).parent) -> dict[str, Any]:
    """The commit that is tried, whether the code has changes beside it, and the day.

    The commit is None where git does not know it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    code = (":/ltkd_cli", ":/benchmarks", ":(top,exclude)benchmarks/results")
    changes = _git(folder, "status", "--porcelain", "--", *code)
    today = datetime.now(UTC).date().isoformat()
    return {"commit": commit or None, "changed": bool(changes), "date": today}


def _git(root: Path, *arguments: str) -> str:
    """What git says in a folder; nothing where there is no git, or nothing that it knows."""
    try:
        said = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def keep(path: Path, found: dict[str, dict[str, Any]], of: dict[str, Any]) -> None:
    """Writes what was found, and of which version, beside what was found in other areas before."""
    before = json.loads(path.read_text())["areas"] if path.exists() else {}
    known = before | {name: area | of for name, area in found.items()}
    timing.write(path, {"areas": {name: known[name] for name in AREAS if name in known}})


def table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each area."""
    rows = [
        f"{area['tried']:>7,} {area['survived']:>9,} {len(area['wrong']):>6,}  {name}"
        for name, area in found.items()
    ]
    return "\n".join(["  tried  survived  wrong  area", *rows])


def memory() -> str | None:
    """A folder in memory where there is one: there, a sync takes no time."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, at random")
    parser.add_argument("--areas", default="", help="only those with this in their name")
    parser.add_argument("--short", action="store_true", help="a few cases of most areas")
    parser.add_argument("--keep", action="store_true", help=f"in {RESULTS.name}")
    parser.add_argument("--jobs", type=int, default=2, help="areas at a time")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ["COLUMNS"] = "200"
    main()
