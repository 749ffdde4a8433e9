"""The adapters of a sweep: patterns of folders, and the training runs that these come from."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capgate.common.errors import ConfigError

CONFIG: Final = "adapter_config.json"
"""The file that makes a folder an adapter's."""

_STEP: Final = re.compile(r"(.*?)[-_.]?(\d+)")
_SHOWN: Final = 3


@dataclass(frozen=True)
class Named:
    """The adapters that patterns name.

    Attributes:
        names: Folders, names on the server, or entries of `config/models.yaml`, each once; folders
            of one training run in the order of their steps.
        left_out: Folders that a pattern names and that hold no adapter.
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def note(self) -> str:
        """A line on what was left out; `""` where nothing was."""
        if not self.left_out:
            return ""
        shown = ", ".join(self.left_out[:_SHOWN])
        more = len(self.left_out) - _SHOWN
        named = f"{shown} and {more} more" if more > 0 else shown
        return f"left out, since they hold no {CONFIG}: {named}"


@dataclass(frozen=True, order=True)
class Checkpoint:
    """Where an adapter stands in a training run.

    Attributes:
        training: The run: the folder that its checkpoints lie in, with the beginning of their
            names where that is not `checkpoint`.
        step: The number that the folder's name ends with.
    """

    training: str
    step: int


def adapters_named(patterns: Sequence[str]) -> Named:
    """The adapters that some patterns name.

    A pattern with `*`, `?` or `[` stands for the folders that match it; any other one is a name,
    and so is an adapter's own folder.

    Args:
        patterns: At least one.

    Raises:
        ConfigError: A pattern matches no adapter.
    """
    found: dict[str, str] = {}
    left_out: list[str] = []
    for pattern in patterns:
        # A folder may be called as a pattern is written.
        if not glob.has_magic(pattern) or (Path(pattern).expanduser() / CONFIG).is_file():
            found.setdefault(_same(pattern), pattern.rstrip("/") or pattern)
            continue
        path = Path(pattern).expanduser()
        matches = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
        folders = [str(match) for match in matches if match.is_dir()]
        adapters = [name for name in folders if (Path(name) / CONFIG).is_file()]
        if not adapters:
            held = f"{len(folders)} folders match, none of them holds {CONFIG}"
            raise ConfigError(
                f"no adapter matches {pattern!r}"
                + (f": {held}" if folders else ": no folder does"),
                remedy="name the folders that peft's save_pretrained wrote: --adapters "
                "'runs/*/checkpoint-*'",
            )
        left_out += [name for name in sorted(folders) if name not in adapters]
        for name in sorted(adapters, key=_in_order):
            found.setdefault(_same(name), name)
    return Named(tuple(found.values()), tuple(dict.fromkeys(left_out)))


def checkpoint_of(name: str) -> Checkpoint | None:
    """Where an adapter stands in a training run; None where its name does not say.

    Args:
        name: Its folder, such as `runs/a/checkpoint-500`.
    """
    folder, slash, last = name.rstrip("/").rpartition("/")
    match = _STEP.fullmatch(last)
    if match is None or not (match[1] or slash):
        return None
    beginning = "" if match[1].rstrip("-_.") in {"checkpoint", "step", "epoch"} else match[1]
    training = "/".join(part for part in (folder, beginning) if part) or match[1]
    return Checkpoint(training, int(match[2]))


def _same(name: str) -> str:
    """What is equal for two ways to write one folder."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _in_order(path: str) -> tuple[str, int, str]:
    """Sorts checkpoints by their step: `checkpoint-1000` comes after `checkpoint-500`."""
    found = checkpoint_of(path)
    return (found.training, found.step, path) if found else (path, -1, path)
