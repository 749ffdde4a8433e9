"""What `--store` names: a file, a folder that several machines share, or a database.

| `--store` | the store is |
|---|---|
| `reports/answers.sqlite` | that file of SQLite |
| `shared/answers/`, or a folder that is there | the folder |
| `postgresql://USER@HOST/NAME` | that database |

A URL is never made into a path, and its password is never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from capgate.common.errors import ConfigError
from capgate.common.postgres_url import PostgresUrl

StoreKind = Literal["file", "folder", "postgresql"]

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""The beginning of a URL. A drive of Windows has one letter."""


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a store of answers is.

    Attributes:
        kind: What it is.
        path: The file or folder; None for a database.
        url: The database's URL; else None.
    """

    kind: StoreKind
    path: Path | None = None
    url: PostgresUrl | None = None

    @classmethod
    def read(cls, text: str, root: Path | None = None) -> StorePlace:
        """Reads what `--store` names.

        Args:
            text: The option's value.
            root: The folder that paths are relative to; the current one where None.

        Raises:
            ConfigError: It is the URL of something else than PostgreSQL.
        """
        if PostgresUrl.is_one(text):
            return cls("postgresql", url=PostgresUrl(text))
        if url := _URL.match(text):
            raise ConfigError(
                f"--store: a store can't be at a URL that begins with {url[0]}",
                remedy="name a file, a folder or postgresql://USER@HOST/NAME",
            )
        path = (root or Path()) / text
        return cls("folder" if text.endswith(("/", "\\")) or path.is_dir() else "file", path)

    @classmethod
    def file(cls, path: Path) -> StorePlace:
        """The place of a store that is a file of SQLite."""
        return cls("file", path)

    def __str__(self) -> str:
        """The place as people may see it: without a password."""
        return f"{self.path}/" if self.kind == "folder" else str(self.path or self.url)

    @property
    def name(self) -> str:
        """The place in short, without the folders above it."""
        if self.path is None:
            return str(self)
        return f"{self.path.name}/" if self.kind == "folder" else self.path.name

    def recorded(self, root: Path) -> str:
        """The place as results record it: relative to the project's folder where it lies there.

        `read` understands it.
        """
        if self.path is None or not self.path.is_relative_to(root):
            return str(self)
        short = self.path.relative_to(root).as_posix()
        return f"{short}/" if self.kind == "folder" else short
