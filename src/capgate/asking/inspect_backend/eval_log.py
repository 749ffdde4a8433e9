"""Fills an `.eval` log with samples after its task is over.

Inspect writes each sample as it ends: it walks it for content to share, dumps, compresses
and journals it, which for a short question costs more than running it. Here each sample
is dumped once, by Inspect's own models, and put where its reader looks when all are there.
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
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit
from zipfile import ZIP_DEFLATED, ZipFile

from inspect_ai.log import EvalLog, EvalSample, read_eval_log, write_eval_log
from pydantic_core import to_json

from capgate.common.redact import Redactor

_HEADERS: Final = ("_journal/start.json", "header.json")
_SUMMARIES: Final = "summaries.json"
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]+")

_log = logging.getLogger(__name__)
_trusted: bool | None = None


class KeptSample(NamedTuple):
    """A finished sample as its log holds it: two texts in place of a thousand objects.

    Attributes:
        id: Its id.
        epoch: Its epoch.
        whole: It, as JSON.
        summary: Its summary, as JSON.
    """

    id: str
    epoch: int
    whole: bytes
    summary: bytes


def keep(sample: EvalSample, redactor: Redactor) -> KeptSample:
    """What a log needs of a sample, without the secrets that are known."""
    return KeptSample(
        str(sample.id),
        sample.epoch,
        redactor.json(to_json(sample, exclude_none=True)),
        redactor.json(to_json(sample.summary())),
    )


def fill_log(log: EvalLog, samples: Sequence[KeptSample]) -> None:
    """Writes `samples` into the log's file, which so far holds none.

    Args:
        log: A log that `eval(log_samples=False)` returned; its recorded settings then say
            that samples are logged, as they are.
        samples: All its samples, in the order of the log.
    """
    global _trusted
    log.eval.config.log_samples = None
    path = _local_path(log.location)
    plain = path is not None and all(_PLAIN_ID.fullmatch(s.id) for s in samples)
    if path is not None and plain and _trusted is not False and path.exists():
        _write(path, samples)
        if _trusted is None:
            _trusted = _reads_back(path, samples)
        if _trusted:
            return
        _log.warning("this version of Inspect reads logs otherwise; they are written slowly")
    whole = log.model_copy(update={"samples": [_read(sample) for sample in samples]})
    write_eval_log(whole, log.location)
    if path is not None:
        path.chmod(0o600)


def _read(sample: KeptSample) -> EvalSample:
    return EvalSample.model_validate_json(sample.whole)


def _write(path: Path, samples: Sequence[KeptSample]) -> None:
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
                new.writestr(f"samples/{sample.id}_epoch_{sample.epoch}.json", sample.whole)
            new.writestr(_SUMMARIES, b"[%b]" % b",".join(sample.summary for sample in samples))
        # mkstemp has made it for its owner alone.
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _says_logged(data: bytes) -> bytes:
    header = json.loads(data)
    header["eval"]["config"].pop("log_samples", None)
    return json.dumps(header).encode()


def _reads_back(path: Path, samples: Sequence[KeptSample]) -> bool:
    try:
        found = read_eval_log(str(path)).samples or []
    except Exception:
        return False
    kept = {(str(s.id), s.epoch): s for s in found}
    return len(kept) == len(samples) and all(
        (s.id, s.epoch) in kept and _gist(kept[s.id, s.epoch]) == _gist(_read(s)) for s in samples
    )


def _gist(sample: EvalSample) -> tuple[object, ...]:
    return (
        sample.target,
        sample.output.completion,
        [message.text for message in sample.messages],
        {name: (s.value, s.answer) for name, s in (sample.scores or {}).items()},
        sample.error,
        len(sample.events),
    )


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if len(parts.scheme) < 2 else None
