"""The tables of a store, and which of two rows of one name counts where stores are put together.

The rule of each table picks the greater of two rows by an order of all its columns. So it makes no
difference in which order stores are put together, in which groups, or how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name.
        key: The columns that name a row.
        rest: The other columns.
        order: Expressions of columns by which the greater row is found, the first one first. With
            the columns that none of them names, in order, they are an order of all rows.
    """

    name: str
    key: tuple[str, ...]
    rest: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All its columns."""
        return self.key + self.rest

    def new(self) -> str:
        """The statement that writes a row; one that is there already stays as it is."""
        return self._new

    def replacing(self) -> str:
        """The statement that writes a row in place of one of the same key."""
        return self._replacing

    def put(self, source: str, into: str) -> str:
        """The statement that puts rows of another store into this one.

        Args:
            source: The database's name of what holds the other store's tables.
            into: That of what holds this one's.
        """
        columns = ", ".join(self.columns)
        start = (
            f"INSERT INTO {into}.{self.name} ({columns}) SELECT {columns} "
            f"FROM {source}.{self.name} WHERE true"
        )
        return f"{start} {self._greater}"

    def taking(self, columns: Sequence[str]) -> str:
        """The statement that puts a row of another store into this one.

        Args:
            columns: The columns of its values; the others have their defaults.
        """
        marks = ", ".join("?" * len(columns))
        start = f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({marks})"
        return f"{start} {self._greater}"

    @property
    def _greater(self) -> str:
        """What a statement does where a row of the same key is there: the greater one stays."""
        start = f"ON CONFLICT ({', '.join(self.key)}) DO"
        if not self.rest:
            return f"{start} NOTHING"
        order = [*self.order, *(name for name in self.rest if name not in self.order)]
        theirs = ", ".join(_ranked(name, "excluded.") for name in order)
        ours = ", ".join(_ranked(name, f"{self.name}.") for name in order)
        return f"{start} UPDATE SET {self._changes} WHERE ({theirs}) > ({ours})"

    # Each answer that is written needs one.
    @cached_property
    def _new(self) -> str:
        return f"{self._row} ON CONFLICT DO NOTHING"

    @cached_property
    def _replacing(self) -> str:
        return f"{self._row} ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {self._changes}"

    @property
    def _row(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"

    @property
    def _changes(self) -> str:
        return ", ".join(f"{name} = excluded.{name}" for name in self.rest)


def _ranked(column: str, row: str) -> str:
    """An expression of a row by which rows are ordered; NULL alone has no place in an order."""
    if column.startswith("length("):
        return column.replace("(", f"({row}")
    if column not in _NULLABLE:
        return f"{row}{column}"
    return f"{row}{column} IS NOT NULL, COALESCE({row}{column}, {_NULLABLE[column]})"


_NULLABLE: Final = {"margin": "0", "cost": "0", "subject": "''", "verdict": "''"}
"""The columns that may be NULL, each with a value of its type."""

_ANSWER: Final = (
    "context",
    "question",
    "subject",
    "state",
    "choice",
    "text",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
    "margin",
    "served_by",
    "cost",
    "finish_reason",
    "cut_off",
    "reasoning_tokens",
    "endpoint",
    "run",
    "created",
    "look",
)

TABLES: Final = (
    # The longer facts know more: what the scorer reads was added to those of earlier versions.
    Table("contexts", ("id",), ("fingerprint", "prompt", "facts", "made"), ("length(facts)",)),
    Table("taken_over", ("context", "taker")),
    Table("answers", ("id",), (*_ANSWER, "set_aside"), ("set_aside",)),
    Table(
        "questions",
        ("benchmark", "hash"),
        ("subject", "sample_id", "text", "choices", "key", "kept"),
        ("kept",),
    ),
    Table("runs", ("id",), ("started", "settings")),
    Table("uses", ("run", "target", "look", "benchmark", "answer"), ("subject",)),
    Table("shards", ("run", "target", "kind", "benchmark", "name"), ("facts", "at"), ("at",)),
    Table("sightings", ("id",), ("server", "weights", "run", "at", "facts")),
    Table(
        "tries",
        ("run", "target", "kind", "benchmark"),
        (
            "variant",
            "candidate",
            "reference",
            "questions",
            "number",
            "share",
            "follows",
            "started",
            "verdict",
            "judged",
        ),
        ("judged", "verdict"),
    ),
)
"""All tables, in the order in which they are put together."""

TABLE: Final = {table.name: table for table in TABLES}
"""Name to table."""
