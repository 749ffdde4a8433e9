"""Reads the rows of `capgate decide`: per-question answers from a jsonl or CSV file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, FileFault
from capgate.common.text import one_line
from capgate.gate.rows import Pair

_COLUMNS: Final = ("question", "subject", "reference", "candidate")
_BENCHMARK: Final = "benchmark"
_CLUSTER: Final = "cluster"
_TOKENS: Final = ("reference_tokens", "candidate_tokens")
_STATES: Final = {state.value: state for state in AnswerState} | {
    "1": AnswerState.CORRECT,
    "0": AnswerState.WRONG,
}
_SHOWN_FAULTS: Final = 20
_LONGEST_COUNT: Final = 12
"""Digits of a count of tokens, beyond which it is none."""
_REMEDY: Final = (
    "each row needs question, subject, reference and candidate, the latter two as "
    "correct, wrong, unparsed, error, or 1/0; with a benchmark it needs no subject"
)


_KEPT: Final = "surrogateescape"
"""Bytes that are not UTF-8 are kept, so that their line can be named."""

_NOT_TEXT: Final = "not UTF-8 text; save the file as UTF-8"


class _TwiceError(Exception):
    """One JSON object has the same key twice."""


@dataclass(frozen=True)
class Rows:
    """What a file of rows holds.

    Attributes:
        pairs: Benchmark to its pairs, in the file's order; all under `""` where rows name none.
        repeated: How many rows repeated an earlier one.
    """

    pairs: Mapping[str, list[Pair]]
    repeated: int


def read_rows(source: str) -> Rows:
    """Reads a file of rows line by line.

    Args:
        source: Path of a jsonl or CSV file; `-` for standard input.

    Raises:
        ConfigError: If the file can't be read or holds no rows; else with its faults, each
            named by its line.
    """
    name = "standard input" if source == "-" else source
    pairs: dict[tuple[str, str], tuple[Pair, int]] = {}
    faults: list[FileFault] = []
    found = repeated = 0
    try:
        with (
            nullcontext(_standard_input())
            if source == "-"
            else Path(source).open(encoding="utf-8-sig", errors=_KEPT, newline="") as stream
        ):
            for line, row in _rows(stream):
                read = _pair(row) if isinstance(row, Mapping) else row
                if not isinstance(read, str):
                    benchmark, pair = read
                    earlier = pairs.setdefault((benchmark, pair.question), (pair, line))
                    if earlier[1] == line:
                        continue
                    if earlier[0][1:] == pair[1:]:
                        repeated += 1
                        continue
                    read = f"line {earlier[1]} has this question {_otherwise(earlier[0], pair)}"
                found += 1
                if len(faults) < _SHOWN_FAULTS:
                    faults.append(FileFault(f"line {line}", read))
    except OSError as error:
        raise ConfigError(
            f"{name} can't be read", said=error.strerror or str(error), remedy="check the path"
        ) from error
    if faults:
        more = f", the first {_SHOWN_FAULTS} are shown" if found > _SHOWN_FAULTS else ""
        lines = "1 faulty line" if found == 1 else f"{found} faulty lines"
        raise ConfigError(f"{name} can't be judged: {lines}{more}", faults=faults, remedy=_REMEDY)
    if not pairs:
        raise ConfigError(f"{name} holds no rows", remedy=_REMEDY)
    places: dict[str, list[int]] = {}
    for (benchmark, _), (_, line) in pairs.items():
        places.setdefault(benchmark, []).append(line)
    if "" in places and len(places) > 1:
        unnamed = places[""]
        raise ConfigError(
            f"{name} can't be judged: {len(unnamed):,} of its rows name no benchmark, others do",
            faults=[FileFault(f"line {line}", "the benchmark is empty") for line in unnamed[:3]],
            remedy="name the benchmark of each row, or of none",
        )
    if single := {one: mine[0] for one, mine in places.items() if len(mine) == 1}:
        raise ConfigError(
            f"{name} holds one row" + (" of a benchmark" if "" not in places else ""),
            faults=[
                FileFault(f"line {line}", f"a single question{_of(one)} can't be judged")
                for one, line in single.items()
            ],
            remedy="give at least two; a few hundred before anything can be seen",
        )
    found_by_benchmark: dict[str, list[Pair]] = {one: [] for one in places}
    for (benchmark, _), (pair, _) in pairs.items():
        found_by_benchmark[benchmark].append(pair)
    return Rows(found_by_benchmark, repeated)


def _of(benchmark: str) -> str:
    return f" of {one_line(benchmark, limit=40)}" if benchmark else ""


def _rows(stream: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yields each row with its line number; a string is what is wrong with the line."""
    lines = enumerate(stream, start=1)
    for number, line in lines:
        if line.strip():
            first = (number, line)
            break
    else:
        return
    rest = chain([first], lines)
    if first[1].lstrip().startswith(("{", "[")):
        for number, line in rest:
            if line.strip():
                yield number, _object(line) if _is_text(line) else _NOT_TEXT
        return
    yield from _csv_rows(rest)


def _csv_rows(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    header: list[str] = []
    for at, cells in _records(lines):
        if isinstance(cells, str):
            yield at, cells
            return
        if not header:
            header = [column.strip() for column in cells]
            if fault := _header_fault(header):
                yield at, fault
                return
        elif len(cells) != len(header):
            yield at, f"{len(cells)} cells under a header of {len(header)}"
        elif not all(map(_is_text, cells)):
            yield at, _NOT_TEXT
        else:
            yield at, dict(zip(header, cells, strict=True))


def _records(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str] | str]]:
    """Yields the cells of each record with the line it begins in; a fault is the last."""
    begins: int | None = None

    def text() -> Iterator[str]:
        nonlocal begins
        for number, line in lines:
            begins = begins or number
            yield line

    reader = csv.reader(text(), strict=True)
    while True:
        begins = None
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield (
                begins or 1,
                f"no valid CSV from here on: {error}; is a quote left open or astray?",
            )
            return
        if cells is None:
            return
        if cells:
            yield begins or 1, cells


def _header_fault(header: list[str]) -> str | None:
    if not all(map(_is_text, header)):
        return _NOT_TEXT
    needed = [one for one in _COLUMNS if one != "subject" or _BENCHMARK not in header]
    if missing := [column for column in needed if column not in header]:
        shown = one_line(", ".join(header), limit=120)
        return f"the header lacks {', '.join(missing)}; it has {shown}"
    known = (*_COLUMNS, _BENCHMARK, _CLUSTER, *_TOKENS)
    if twice := [column for column in known if header.count(column) > 1]:
        return f"the header has {', '.join(twice)} more than once"
    return None


def _standard_input() -> TextIO:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors=_KEPT, newline="")
    return sys.stdin


def _is_text(read: str) -> bool:
    """Whether what was read is text, with no byte kept that was not UTF-8."""
    return read.isascii() or not any("\ud800" <= character <= "\udfff" for character in read)


def _object(line: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except _TwiceError as error:
        return f"the key {one_line(str(error), limit=40)!r} is there twice"
    except (ValueError, RecursionError) as error:
        return f"not a JSON object ({one_line(str(error), limit=80)})"
    return row if isinstance(row, dict) else "not a JSON object"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return row


def _otherwise(earlier: Pair, pair: Pair) -> str:
    if earlier.subject == pair.subject:
        return "with other answers"
    return f"under another subject, {one_line(earlier.subject, limit=40)}"


def _pair(row: Mapping[str, Any]) -> tuple[str, Pair] | str:
    """Returns a row's benchmark, `""` for none, and its pair; or what is wrong with it."""
    names: list[str] = []
    for column in (_BENCHMARK, "question", "subject", _CLUSTER):
        given = row.get(column)
        if given is not None and (not isinstance(given, str | int) or isinstance(given, bool)):
            shown = one_line(str(given), limit=40)
            return f"the {column} is {shown}, neither a text nor a whole number"
        names.append("" if given is None else str(given).strip())
        if column == "subject" and not names[-1]:
            # A benchmark without groups is one group of its own name.
            names[-1] = names[0]
        if column in _COLUMNS and not names[-1]:
            return f"the {column} is empty"
        if not _is_text(names[-1]):
            return f"the {column} is {_NOT_TEXT}"
    sides: list[AnswerState] = []
    for column in ("reference", "candidate"):
        given = row.get(column)
        if given is None or given == "":
            return f"the {column} has no answer; both sides must answer the same questions"
        state = _STATES.get(str(int(given)) if isinstance(given, bool) else str(given).strip())
        if state is None:
            shown = one_line(str(given), limit=40)
            return f"{column} is {shown!r}, not correct, wrong, unparsed, error, 1 or 0"
        sides.append(state)
    tokens: list[int] = []
    for column in _TOKENS:
        given = row.get(column)
        text = "0" if given is None else str(given).strip() or "0"
        if isinstance(given, bool) or not (text.isascii() and text.isdecimal()):
            return f"{column} is {one_line(text, limit=40)!r}, not a number of tokens"
        if len(text) > _LONGEST_COUNT:
            return f"{column} has {len(text)} digits"
        tokens.append(int(text))
    pair = Pair(
        names[1],
        names[2],
        sides[0],
        sides[1],
        reference_tokens=tokens[0],
        candidate_tokens=tokens[1],
        cluster=names[3],
    )
    return names[0], pair
