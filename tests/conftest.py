"""What tests of all parts share: where MMLU lies, and offline caches of the hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

# A busy machine takes longer over an example, which says nothing of what is tested.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if TYPE_CHECKING:
    from tests.doubles.postgres import PostgresServer

REPOSITORY = Path(__file__).parents[1]
MMLU_VARIABLE = "CAPGATE_MMLU"


@pytest.fixture(scope="session")
def mmlu_folder() -> Path:
    """The folder with the real MMLU; skips the test where it is missing."""
    named = os.environ.get(MMLU_VARIABLE)
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "mmlu"
    missing = [s for s in ("test", "dev") if not (folder / f"{s}.jsonl").is_file()]
    if missing:
        pytest.skip(
            f"needs the real MMLU ({', '.join(missing)}.jsonl) in ../shared/data/mmlu or in the "
            f"folder that {MMLU_VARIABLE} names"
        )
    return folder


@pytest.fixture(scope="session")
def hf_home(mmlu_folder: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """An `HF_HOME` with the real MMLU in its `datasets` cache; built once for all workers."""
    program = ["perf.offline_cache", str(mmlu_folder)]
    return _built_once(tmp_path_factory, worker_id, "hf-home", program, timeout=300)


@pytest.fixture(scope="session")
def hub_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """An `HF_HOME` with invented questions of each shipped benchmark; built once."""
    program = ["tests.doubles.hub_cache"]
    return _built_once(tmp_path_factory, worker_id, "hub-home", program, timeout=120)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; skips the test where its programs are missing."""
    pytest.importorskip("psycopg", reason="needs psycopg: make install")
    from tests.doubles.postgres import PostgresServer, programs

    if programs() is None:
        pytest.skip("needs PostgreSQL's programs: make test-postgres installs them")
    with PostgresServer() as server:
        yield server


def _built_once(
    factory: pytest.TempPathFactory, worker: str, name: str, program: list[str], *, timeout: int
) -> Path:
    """The folder that a program fills, whose last argument it is; built once for all workers."""
    shared = factory.getbasetemp()
    if worker != "master":
        shared = shared.parent
    home, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            subprocess.run(
                [sys.executable, "-m", *program, str(home)],
                cwd=REPOSITORY,
                env={**os.environ, "HF_HOME": str(shared / "unused"), "HF_HUB_OFFLINE": "1"},
                check=True,
                capture_output=True,
                timeout=timeout,
            )
            done.touch()
    return home
