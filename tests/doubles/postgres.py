"""A PostgreSQL server of the test's own: Debian's programs, in a folder that is removed again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_USER = "postgres"
_SECONDS = 120.0


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where there are none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(
        (one.parent for one in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    return next((folder for folder in folders if (folder / "pg_ctl").is_file()), None)


class PostgresServer:
    """A server that listens on 127.0.0.1 and wants a password; it ends with its context.

    It does not run as root: root starts it as the user that Debian's package has made.
    """

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs = found
        self.password = secrets.token_urlsafe(16)
        self._numbers = count()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._as_user: dict[str, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="capgate-postgres-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        self._data = self._folder / "data"

    def __enter__(self) -> PostgresServer:
        # The folder is its user's alone.
        secret = self._folder / "password"
        secret.write_text(self.password)
        self._run(
            *("initdb", "-D", self._data, "-U", _USER, "--pwfile", secret),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        secret.unlink()
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                "unix_socket_directories = ''\nfsync = off\nfull_page_writes = off\n"
            )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Starts the server, and waits until it takes connections."""
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log")

    def stop(self, how: str = "fast") -> None:
        """Stops the server; `immediate` is as if its machine had lost power."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", how)

    def url(self, database: str, *, user: str = _USER, password: str | None = None) -> str:
        """The URL of a database."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Executes a statement as the owner; returns the rows that it finds."""
        with self.connected(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def connected(self, database: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection as the owner."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            yield connection

    def _run(self, program: str, *arguments: object) -> None:
        ended = subprocess.run(
            [str(self._programs / program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            text=True,
            cwd=self._folder,
            timeout=_SECONDS,
            check=False,
            **self._as_user,
        )
        assert ended.returncode == 0, f"{program}: {ended.stdout or self._log()}"

    def _log(self) -> str:
        log = self._folder / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""
