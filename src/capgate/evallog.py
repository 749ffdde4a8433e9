"""Fills an `.eval` log with samples after the eval is over.

Inspect writes each sample as it ends: it walks it for content to share, dumps, compresses
and journals it, which for a short question costs more than running it. Here all samples
of a log are dumped once, by Inspect's own models, into the places where its reader looks.
The first log of a process is read back; if Inspect can't read it, or finds other samples
in it, that log and all later ones are written by Inspect's own `write_eval_log`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from zipfile import ZIP_DEFLATED, ZipFile

from inspect_ai.log import EvalLog, EvalSample, read_eval_log, write_eval_log
from pydantic_core import to_json

_HEADERS: Final = ("_journal/start.json", "header.json")
_SUMMARIES: Final = "summaries.json"
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]+")

_log = logging.getLogger(__name__)
_trusted: bool | None = None


def fill_log(log: EvalLog, samples: Sequence[EvalSample]) -> None:
    """Writes `samples` into the log's file, which so far holds none.

    Args:
        log: A log that `eval(log_samples=False)` returned; its recorded settings then say
            that samples are logged, as they are.
        samples: All its samples, in the order that they shall be kept in.
    """
    global _trusted
    log.eval.config.log_samples = None
    path = _local_path(log.location)
    plain = path is not None and all(_PLAIN_ID.fullmatch(str(s.id)) for s in samples)
    if path is not None and plain and _trusted is not False and path.exists():
        _write(path, samples)
        if _trusted is None:
            _trusted = _reads_back(path, samples)
        if _trusted:
            return
        _log.warning("this version of Inspect reads logs otherwise; they are written slowly")
    write_eval_log(log.model_copy(update={"samples": list(samples)}), log.location)


def _write(path: Path, samples: Sequence[EvalSample]) -> None:
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as out,
            ZipFile(path) as old,
            ZipFile(out, "w", ZIP_DEFLATED, compresslevel=1) as new,
        ):
            for name in old.namelist():
                if name == _SUMMARIES:
                    continue
                data = old.read(name)
                new.writestr(name, _says_logged(data) if name in _HEADERS else data)
            for sample in samples:
                new.writestr(
                    f"samples/{sample.id}_epoch_{sample.epoch}.json",
                    sample.model_dump_json(exclude_none=True),
                )
            new.writestr(_SUMMARIES, to_json([sample.summary() for sample in samples]))
        Path(scratch).chmod(path.stat().st_mode)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _says_logged(data: bytes) -> bytes:
    header = json.loads(data)
    header["eval"]["config"].pop("log_samples", None)
    return json.dumps(header).encode()


def _reads_back(path: Path, samples: Sequence[EvalSample]) -> bool:
    try:
        read = read_eval_log(str(path)).samples or []
    except Exception:
        return False
    kept = {(s.id, s.epoch): s for s in read}
    return len(kept) == len(samples) and all(
        (s.id, s.epoch) in kept
        and _gist(kept[s.id, s.epoch]) == _gist(s)
        and len(kept[s.id, s.epoch].events) == len(s.events)
        for s in samples
    )


def _gist(sample: EvalSample) -> tuple[object, ...]:
    return (
        sample.target,
        sample.output.completion,
        [message.text for message in sample.messages],
        {name: (s.value, s.answer) for name, s in (sample.scores or {}).items()},
        sample.error,
    )


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if len(parts.scheme) < 2 else None
