"""The tables of a store in PostgreSQL: those that SQLite has, and those of claims and leases.

They are made from what `capgate.store.schema` makes of an empty file of SQLite, so that their
definition stands once. What a later version adds to a table is added to a store of this kind too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capgate.common.errors import StoreError
from capgate.common.postgres_url import PostgresUrl
from capgate.store.postgres.link import SCHEMA
from capgate.store.schema import SCHEMA_VERSION, bring_up
from capgate.store.tables import TABLES

if TYPE_CHECKING:
    import psycopg

_TYPES: Final = {
    # Ordered by their bytes, as in SQLite: merging depends on it.
    "TEXT": 'TEXT COLLATE "C"',
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
}
"""SQLite's type to PostgreSQL's."""

_SHARED: Final = (
    "CREATE TABLE IF NOT EXISTS claims (name TEXT PRIMARY KEY, holder TEXT NOT NULL, "
    "seconds DOUBLE PRECISION NOT NULL, renewed TIMESTAMPTZ NOT NULL)",
    "CREATE TABLE IF NOT EXISTS leases (server TEXT, adapter TEXT, holder TEXT, "
    "seconds DOUBLE PRECISION NOT NULL, renewed TIMESTAMPTZ NOT NULL, "
    "PRIMARY KEY (server, adapter, holder))",
    "CREATE TABLE IF NOT EXISTS loaded_adapters (server TEXT, adapter TEXT, "
    "PRIMARY KEY (server, adapter))",
)
"""What machines share besides what is kept (`capgate.store.postgres.holding`)."""

MAKING: Final = 0x63617067617465
"""The lock of PostgreSQL under which tables are made: `capgate` in ASCII."""


def bring_up_database(connection: psycopg.Connection[Any], url: PostgresUrl) -> None:
    """Makes the tables of a new store, and brings those of an older one up to this version.

    Raises:
        StoreError: The schema is newer, or another program's.
        psycopg.Error: The database refuses it.
    """
    if _found(connection, url) == SCHEMA_VERSION:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))
        if (found := _found(connection, url)) == SCHEMA_VERSION:
            return
        if not _there(connection, "namespace", SCHEMA):
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for statement in (*_definitions(), *_SHARED):
            connection.execute(statement.encode())
        if found == 0:
            connection.execute("CREATE TABLE version (number BIGINT NOT NULL)")
            connection.execute("INSERT INTO version VALUES (%s)", (SCHEMA_VERSION,))
        else:
            connection.execute("UPDATE version SET number = %s", (SCHEMA_VERSION,))


def _definitions() -> Iterator[str]:
    """The statements that make the tables and indexes, as far as they are not there."""
    with closing(sqlite3.connect(":memory:")) as db:
        bring_up(db, Path(":memory:"))
        for table in TABLES:
            columns = db.execute(f"PRAGMA table_info({table.name})").fetchall()
            described = {
                name: f"{name} {_TYPES[kind]}"
                + (" NOT NULL" if needed else "")
                + (f" DEFAULT {default}" if default is not None else "")
                for _, name, kind, needed, default, _ in columns
            }
            yield (
                f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(described.values())}, "
                f"PRIMARY KEY ({', '.join(table.key)}))"
            )
            # Of a store of an earlier version, which has the table already.
            for name, description in described.items():
                if name not in table.key:
                    yield f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS {description}"
        made = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        for (statement,) in db.execute(made):
            yield statement.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1)


def _found(connection: psycopg.Connection[Any], url: PostgresUrl) -> int:
    """The schema's version, 0 where there is none; reads only."""
    if not _there(connection, "class", "version"):
        if connection.execute(
            "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s LIMIT 1", (SCHEMA,)
        ).fetchone():
            raise StoreError(
                f"the schema {SCHEMA} of {url} is another program's, not a store of answers",
                remedy="name another database with --store; nothing was changed",
            )
        return 0
    row = connection.execute("SELECT number FROM version").fetchone()
    found = int(row[0]) if row else 0
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"the store of answers {url} has schema {found}; this capgate knows {SCHEMA_VERSION}",
            remedy="upgrade capgate or name another database with --store; nothing was changed",
        )
    return found


def _there(connection: psycopg.Connection[Any], kind: str, name: str) -> bool:
    query = {
        "namespace": "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s",
        "class": "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'capgate' "
        "AND tablename = %s",
    }[kind]
    return connection.execute(query.encode(), (name,)).fetchone() is not None
