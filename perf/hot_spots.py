"""Where the suite's CPU time goes: a run of it under the sampling profiler py-spy.

    make bench-profile                                # all of MMLU against the stand-in server
    python perf/hot_spots.py --questions 2000 --functions 30

py-spy looks at all threads of the run some hundred times a second; threads that wait are left out.
Each look is counted for the package of the innermost function that belongs to one: time in the
standard library counts for its caller. Everything under an `import` counts as imports. `make
bench-profile` installs py-spy into a venv of its own. Some systems let only root profile.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf import contenders  # noqa: E402
from perf.contenders import ALL, Site  # noqa: E402
from perf.measuring import Command, cost_of, stand_in  # noqa: E402
from perf.tables import publish  # noqa: E402

RATE: Final = 250
"""Looks a second."""

_LEAST: Final = 0.002
"""Milliseconds a question of what is worth a line."""

_IMPORTS: Final = "imports"
_REST: Final = "the rest (Python itself, pytest)"
_WAITS: Final = frozenset(
    {
        "wait (threading.py",
        "Condition.wait (threading.py",
        "_worker (concurrent/futures/thread.py",
        "EpollSelector.select (selectors.py",
        "KqueueSelector.select (selectors.py",
    }
)
"""Functions in which a thread waits, though py-spy may take it for one that works."""

_FRAME: Final = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")
_PACKAGE: Final = re.compile(
    r"(?:^|/)(capgate/[a-z_]+|inspect_ai|inspect_evals|aiohttp|pydantic|yarl|datasets|pyarrow"
    r"|scipy|numpy|anyio|shortuuid|asyncio|sqlite3|json|_pytest)(?:/|\.py|$)"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A function on a stack.

    Attributes:
        function: Its name.
        file: Its file, as py-spy shortens it.
        package: The package that its time counts for, `""` where it is its caller's.
    """

    function: str
    file: str
    package: str

    @classmethod
    def of(cls, text: str) -> Frame:
        """Reads a frame of py-spy's raw format."""
        found = _FRAME.match(text)
        if found is None:
            return cls(text, "", "")
        package = _PACKAGE.search(found["file"])
        return cls(found["function"], found["file"], package[1] if package else "")


def stacks(raw: str) -> Iterator[tuple[list[Frame], int]]:
    """The stacks of a raw record, outermost function first, and how often each was seen."""
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack.rpartition(";")[2].rpartition(":")[0] not in _WAITS:
            yield [Frame.of(frame) for frame in stack.split(";")], int(count)


def owner(stack: Sequence[Frame]) -> str:
    """What the time of a stack counts for."""
    if any("importlib" in frame.file for frame in stack):
        return _IMPORTS
    return next((frame.package for frame in reversed(stack) if frame.package), _REST)


def main() -> None:
    """Profiles a run and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=ALL)
    parser.add_argument("--functions", type=int, default=15, help="how many to list")
    parser.add_argument("--write", action="store_true", help="put the first table into the README")
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    parser.add_argument("--py-spy", type=Path, default=ROOT / ".venv-bench" / "bin" / "py-spy")
    options, further = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name, stand_in(0.05) as url:
        site = Site(Path(name), url, options.mmlu, Path(), Path())
        plain = contenders.suite("-n", "0", *further)(site, options.questions)
        record = Path(name) / "record"
        spy = [str(options.py_spy), "record", "--rate", str(RATE), "--threads", "--format", "raw"]
        spy += ["--output", str(record), "--"]
        cost_of(Command(plain.name, [*spy, *plain.arguments], plain.folder, plain.questions))
        seen = list(stacks(record.read_text(encoding="utf-8")))
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in seen:
        where = owner(stack)
        packages[where] += count
        if where != _IMPORTS:
            functions[f"`{stack[-1].function}` ({stack[-1].file})"] += count
    each = 1000 / RATE / plain.questions
    where = _table("where", packages, len(packages), each)
    print(where)
    print()
    print(_table("function, imports left out", functions, options.functions, each))
    if options.write:
        publish("profile", where)


def _table(title: str, counts: Counter[str], most: int, each: float) -> str:
    total = counts.total()
    rows = [
        f"| {name} | {count / total:.1%} | {count * each:.3f} |"
        for name, count in counts.most_common(most)
        if count * each >= _LEAST
    ]
    return "\n".join([f"| {title} | share | ms a question |", "|---|---|---|", *rows])


if __name__ == "__main__":
    main()
