"""A store that machines share as a folder: all of them read what each has written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.store.test_merge import FACTS, STEP, answer, content, merge, rows_of, write

from capgate.common.errors import StoreError
from capgate.config.store_place import StorePlace
from capgate.store import merge as merging
from capgate.store.answer_store import Store
from capgate.store.open_store import is_there, open_store
from capgate.store.segments import segments
from capgate.store.shard import Shard


@contextmanager
def machine(root: Path, name: str) -> Iterator[None]:
    """What is done within is done on a machine of that name, which has a disk of its own."""
    own = root / f"disk-of-{name}"
    own.mkdir(exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(own)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def opened(root: Path, name: str) -> Iterator[Store]:
    """The shared store, as a machine has it open."""
    with machine(root, name), open_store(StorePlace.read("shared/", root)) as store:
        yield store


def copy_of(root: Path, name: str) -> Path:
    """A machine's copy of the store."""
    (found,) = (root / f"disk-of-{name}").rglob("answers.sqlite")
    return found


def texts(root: Path, name: str) -> list[str]:
    """The texts of all answers, as a machine reads them."""
    with opened(root, name) as store:
        return [text for (text,) in store.rows("SELECT text FROM answers ORDER BY id")]


def add(root: Path, name: str, *given: str, run: str = "r1") -> None:
    """Has a machine keep answers."""
    with opened(root, name) as store:
        context = store.context("mine", "prompt", FACTS)
        for text in given:
            store.add(context, answer(f"q-{text}", text=text), run=run, target="mine")


def segment_of(root: Path) -> Path:
    """The only segment."""
    (name,) = segments(root / "shared")
    return root / "shared" / name


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), STEP), max_size=14))
def test_all_machines_read_what_each_has_written(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, tuple[Any, ...]]]
) -> None:
    """A third machine finds exactly what the copies of the two that wrote come to if merged."""
    root = tmp_path_factory.mktemp("machines")
    for name in "ab":
        with opened(root, name):
            pass
    for name, (what, *rest) in steps:
        with opened(root, name) as store:
            write(store, what, *rest)
    with opened(root, "c"):
        pass
    merge([copy_of(root, "a"), copy_of(root, "b")], root / "merged")
    rows = rows_of(root / "merged")
    assert rows_of(copy_of(root, "c")) == rows
    for name in "ab":
        with opened(root, name):
            pass
        assert rows_of(copy_of(root, name)) == rows
    assert content(copy_of(root, "c")) == content(root / "merged")


def test_each_machine_writes_to_a_segment_of_its_own(tmp_path: Path) -> None:
    """However many processes of it write, and however often; a reader makes none."""
    with opened(tmp_path, "a") as one, opened(tmp_path, "a") as other:
        for store, text in ((one, "1"), (other, "2"), (one, "3")):
            context = store.context("mine", "prompt", FACTS)
            store.add(context, answer(text, text=text), run="r1", target="mine")
    add(tmp_path, "a", "4")
    assert len(segments(tmp_path / "shared")) == 1
    assert texts(tmp_path, "b") == ["1", "2", "3", "4"]
    assert len(segments(tmp_path / "shared")) == 1
    add(tmp_path, "b", "5")
    assert len(segments(tmp_path / "shared")) == 2
    assert texts(tmp_path, "a") == ["1", "2", "3", "4", "5"]


def test_a_transaction_that_fails_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    """Neither this machine nor another one finds a part of it."""
    add(tmp_path, "a", "before")
    with opened(tmp_path, "a") as store:
        context = store.context("mine", "prompt", FACTS)
        with suppress(KeyError), store.transaction():
            store.add(context, answer("q2", text="half"), run="r1", target="mine")
            raise KeyError
        store.add(context, answer("q3", text="after"), run="r1", target="mine")
    assert texts(tmp_path, "a") == texts(tmp_path, "b") == ["before", "after"]


def test_a_writer_killed_within_a_row_loses_that_row_alone(tmp_path: Path) -> None:
    """Others read up to there; its machine goes on in the same segment."""
    add(tmp_path, "a", "1", "2")
    segment = segment_of(tmp_path)
    with segment.open("ab") as file:
        file.write(segment.read_bytes().splitlines()[-1][:25])
    assert texts(tmp_path, "b") == ["1", "2"]
    add(tmp_path, "a", "3")
    assert texts(tmp_path, "b") == ["1", "2", "3"]
    assert segment_of(tmp_path) == segment
    assert texts(tmp_path, "c") == ["1", "2", "3"]


def test_a_writer_killed_between_the_folder_and_its_copy_loses_nothing(tmp_path: Path) -> None:
    """What stands in the segment and not in the copy is taken from there."""
    add(tmp_path, "a", "1")
    shutil.copytree(tmp_path / "disk-of-a", tmp_path / "before")
    add(tmp_path, "a", "2")
    shutil.rmtree(tmp_path / "disk-of-a")
    (tmp_path / "before").rename(tmp_path / "disk-of-a")
    add(tmp_path, "a", "3")
    assert texts(tmp_path, "a") == texts(tmp_path, "b") == ["1", "2", "3"]
    assert len(segments(tmp_path / "shared")) == 1


def test_what_changes_later_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Answers that are left out and shards that end again count everywhere as they end."""
    add(tmp_path, "a", "1", "2")
    assert len(texts(tmp_path, "b")) == 2
    with opened(tmp_path, "a") as store:
        store.end_shard("r1", "mine", Shard("suite", "mmlu"), {"n": 1})
        store.end_shard("r1", "mine", Shard("suite", "mmlu"), {"n": 2})
        store.leave_out(store.context("mine", "prompt", FACTS), "r1", 0.0)
    for name in "ab":
        with opened(tmp_path, name) as store:
            assert list(store.shards("r1").values()) == [{"n": 2}]
            assert store.used("r1", "mine") == []


def test_a_segment_that_is_taken_away_takes_its_rows_with_it(tmp_path: Path) -> None:
    """On every machine; what its own machine writes then is in a new one."""
    add(tmp_path, "a", "1")
    first = segment_of(tmp_path)
    add(tmp_path, "b", "2")
    assert texts(tmp_path, "b") == ["1", "2"]
    first.unlink()
    assert texts(tmp_path, "a") == texts(tmp_path, "b") == ["2"]
    add(tmp_path, "a", "3")
    assert texts(tmp_path, "b") == ["2", "3"]
    assert len(segments(tmp_path / "shared")) == 2


def test_what_is_no_file_is_no_segment(tmp_path: Path) -> None:
    """A pipe that someone made in the folder holds nobody up."""
    add(tmp_path, "a", "1")
    os.mkfifo(tmp_path / "shared" / "pipe.jsonl")
    (tmp_path / "shared" / "folder.jsonl").mkdir()
    assert texts(tmp_path, "b") == ["1"]


def test_another_folder_at_the_same_place_is_another_store(tmp_path: Path) -> None:
    """A folder that was deleted and made anew has nothing of the old one."""
    add(tmp_path, "a", "1")
    shutil.rmtree(tmp_path / "shared")
    assert not is_there(StorePlace.read("shared/", tmp_path))
    assert texts(tmp_path, "a") == []


def test_a_copy_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    """The folder has everything; the machine then writes to a new segment."""
    add(tmp_path, "a", "1")
    shutil.rmtree(tmp_path / "disk-of-a")
    add(tmp_path, "a", "2")
    assert texts(tmp_path, "a") == texts(tmp_path, "b") == ["1", "2"]


def test_a_segment_with_fewer_columns_is_read(tmp_path: Path) -> None:
    """A column that a later version adds has its default in what an earlier one wrote."""
    add(tmp_path, "a", "1")
    segment = segment_of(tmp_path)
    first, *lines = map(json.loads, segment.read_text().splitlines())
    kept = [name for name in first["columns"]["answers"] if name != "set_aside"]
    first["columns"]["answers"] = kept
    rows = [[t, v[: len(kept)] if t == "answers" else v] for t, v in lines]
    segment.write_text("".join(json.dumps(one) + "\n" for one in (first, *rows)))
    assert texts(tmp_path, "b") == ["1"]
    with opened(tmp_path, "b") as store:
        assert [one.answer.text for one in store.used("r1", "mine")] == ["1"]


def newer(segment: Path) -> None:
    """Makes the segment one of a later version."""
    first, _, rest = segment.read_text().partition("\n")
    segment.write_text(json.dumps(json.loads(first) | {"capgate": 99}) + "\n" + rest)


def spoilt(old: bytes, new: bytes) -> Callable[[Path], object]:
    """Changes the segment's last line that has some bytes."""

    def spoil(segment: Path) -> None:
        head, _, tail = segment.read_bytes().rpartition(old)
        segment.write_bytes(head + new + tail)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (newer, "has schema 99.*upgrade capgate"),
        (spoilt(b'["answers"', b"[}answers"), "is damaged at byte"),
        (spoilt(b'["answers"', b'["dragons"'), "is damaged at byte"),
        (spoilt(b'["uses",[', b'["uses",[1,'), "is damaged at byte.*columns"),
        (spoilt(b'["answers",[{"hex":"', b'["answers",[{"hex":"xy'), "is damaged at byte"),
        (spoilt(b'"anatomy"', b"null"), "is damaged at byte"),
        (lambda path: path.write_text("words\n"), "is damaged at byte"),
        (lambda path: path.write_text("[[[[" * 50_000 + "\n"), "is damaged at byte"),
        (lambda path: path.write_text('{"capgate": 7, "columns": {"a; DROP": []}}\n'), "damaged"),
    ],
    ids=["newer", "no JSON", "table", "width", "bytes", "null", "words", "depth", "columns"],
)
def test_a_segment_that_can_t_be_read_is_named_and_nothing_changes(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """The fault has the file and the remedy; what was read of the others stays."""
    add(tmp_path, "b", "2")
    assert texts(tmp_path, "c") == ["2"]
    add(tmp_path, "a", "1")
    (mine,) = (n for n in segments(tmp_path / "shared") if b'"1"' in seg(tmp_path, n))
    spoil(tmp_path / "shared" / mine)
    before = {name: seg(tmp_path, name) for name in segments(tmp_path / "shared")}
    with pytest.raises(StoreError, match=f"(?si){mine}.*{said}"), opened(tmp_path, "c"):
        pass
    assert {name: seg(tmp_path, name) for name in segments(tmp_path / "shared")} == before
    (tmp_path / "shared" / mine).rename(tmp_path / "elsewhere")
    assert texts(tmp_path, "c") == ["2"]


def seg(root: Path, name: str) -> bytes:
    """A segment's content."""
    return (root / "shared" / name).read_bytes()


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """Nothing of the answer is kept, neither in the folder nor in the copy; the next one is."""
    add(tmp_path, "a", "1")
    segment = segment_of(tmp_path)
    size = segment.stat().st_size
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with opened(tmp_path, "a") as store:
        context = store.context("mine", "prompt", FACTS)
        limit = max(size, *(one.stat().st_size for one in copy_of(tmp_path, "a").parent.iterdir()))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit + (1 << 16), old[1]))
            with pytest.raises(StoreError, match=r"can't be written.*room on its disk"):
                store.add(
                    context, answer("q2", text="x" * (limit + (1 << 17))), run="r1", target="mine"
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert segment.stat().st_size == size
        store.add(context, answer("q3", text="3"), run="r1", target="mine")
    assert texts(tmp_path, "a") == texts(tmp_path, "b") == ["1", "3"]


def test_files_and_folders_are_merged_either_way(tmp_path: Path) -> None:
    """A folder may be put into a file, a file into a folder, and a folder into itself."""
    add(tmp_path, "a", "1")
    with Store(tmp_path / "file") as store:
        context = store.context("mine", "prompt", FACTS)
        store.add(context, answer("q2", text="2"), run="r2", target="mine")
    shared, file = StorePlace.read("shared/", tmp_path), StorePlace.file(tmp_path / "file")
    with machine(tmp_path, "b"):
        assert merging.merge([file, shared], shared).new_answers == 1
        assert merging.merge([shared], file).new_answers == 1
        assert merging.merge([shared, file], StorePlace.read("new/", tmp_path)).answers == 2
    assert texts(tmp_path, "c") == ["1", "2"]
