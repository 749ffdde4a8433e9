"""The last look at a run's logs: nothing secret stays, however it is written there."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import zipfile_zstd  # noqa: F401 (teaches the standard library Inspect's compression)

from capgate.common.redact import Redactor
from capgate.run.log_sweep import LEFT_OUT, sweep

KEY = "s3cr3t-value-of-a-key"
REDACTOR = Redactor([KEY], home=Path("/home/me"))


def log(folder: Path, sample: object) -> Path:
    """A log as Inspect writes it, with one sample."""
    path = folder / "logs" / "one.eval"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w") as archive:
        archive.writestr("samples/a_epoch_1.json", json.dumps(sample))
        archive.writestr("header.json", "{}")
    return path


def swept(path: Path) -> object:
    """The log's sample after the sweep."""
    sweep(path.parent, REDACTOR)
    with ZipFile(path) as archive:
        assert archive.read("header.json") == b"{}"
        return json.loads(archive.read("samples/a_epoch_1.json"))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (f"it is {KEY}", "it is [redacted]"),
        (f"\x1b[1mit is \x1b[32m{KEY[:6]}\x1b[0m{KEY[6:]}", "it is [redacted]"),
        ("\x1b[4;94mhttps://me:hidden@host\x1b[0m", "https://[redacted]@host"),
        (f"\x1b[1m{'x' * 99}{KEY[:9]}\n{KEY[9:]}\x1b[0m", LEFT_OUT),
        ("\x1b[1mnothing\x1b[0m", "\x1b[1mnothing\x1b[0m"),
    ],
)
def test_what_is_left_of_a_log_s_text(tmp_path: Path, said: str, left: str) -> None:
    """Plain, in colours that part a word, and broken over lines."""
    sample = {"error": {"traceback_ansi": said}, "attachments": {"1": [said]}}
    assert swept(log(tmp_path, sample)) == {
        "error": {"traceback_ansi": left},
        "attachments": {"1": [left]},
    }


def test_a_log_without_secrets_is_not_touched(tmp_path: Path) -> None:
    """Nor named among the changed ones."""
    path = log(tmp_path, {"input": "How many?"})
    before = path.read_bytes()
    assert sweep(path.parent, REDACTOR) == []
    assert path.read_bytes() == before


def test_a_log_that_was_cut_short_is_read_as_text(tmp_path: Path) -> None:
    """As much of it as can be."""
    path = tmp_path / "logs" / "broken.eval"
    path.parent.mkdir()
    path.write_text(f"PK {KEY}")
    assert sweep(path.parent, REDACTOR) == [path]
    assert path.read_text() == "PK [redacted]"


def test_a_log_in_plain_json_is_redacted(tmp_path: Path) -> None:
    """It stays JSON, and home folders go as well."""
    path = tmp_path / "logs" / "one.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"said": f"it is {KEY}", "in": "/home/me/x", "ansi": "\x1b[1m"}))
    assert sweep(path.parent, REDACTOR) == [path]
    assert json.loads(path.read_text()) == {
        "said": "it is [redacted]",
        "in": "~/x",
        "ansi": "\x1b[1m",
    }
