"""What `--store` names."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.common.errors import CapgateError, ConfigError
from capgate.common.postgres_url import PostgresUrl
from capgate.config.store_place import StorePlace
from capgate.store.open_store import open_store

SECRET = "hunter2hunter2"


def test_a_name_without_an_ending_slash_is_a_file(tmp_path: Path) -> None:
    """A path is a file of SQLite, be it there or not."""
    place = StorePlace.read("reports/answers.sqlite", tmp_path)
    assert (place.kind, place.path) == ("file", tmp_path / "reports/answers.sqlite")


def test_a_folder_is_named_by_a_slash_or_is_there(tmp_path: Path) -> None:
    """`DIR/` and an existing folder are a store of several machines."""
    (tmp_path / "shared").mkdir()
    for name in ("shared", "shared/", "new/"):
        place = StorePlace.read(name, tmp_path)
        assert (place.kind, place.path) == ("folder", tmp_path / name)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@db.example:5432/answers?sslmode=require",
        f"postgres://ann:{SECRET}@db.example/answers",
        f"postgresql://db.example/answers?user=ann&password={SECRET}",
        f"postgresql:///answers?sslpassword={SECRET}#part",
        f"PostgreSQL://ann:{SECRET}@[::1]:5432/answers",
    ],
)
def test_a_url_of_postgresql_is_a_database_whose_password_is_never_shown(url: str) -> None:
    """The URL stays as it is for the driver, and no form of the place has its password."""
    place = StorePlace.read(url)
    assert (place.kind, place.path, place.url) == ("postgresql", None, PostgresUrl(url))
    for shown in (str(place), repr(place), place.name, place.recorded(Path.cwd())):
        assert SECRET not in shown
    assert "answers" in str(place)


@pytest.mark.parametrize(
    "url", ["mysql://h/d", f"postgresql:/ann:{SECRET}@h/d", f"mysql://u:{SECRET}@h:port/d"]
)
def test_another_url_is_refused_and_never_made_into_a_path(url: str) -> None:
    """A URL that is not PostgreSQL's, or has a mistake, is an error without its password."""
    with pytest.raises(ConfigError) as told:
        StorePlace.read(url)
    assert SECRET not in str(told.value)
    assert "postgresql://USER@HOST/NAME" in str(told.value)


@pytest.mark.parametrize("name", ["sub/answers.sqlite", "shared/", "/elsewhere/answers.sqlite"])
def test_what_results_record_names_the_same_place(name: str, tmp_path: Path) -> None:
    """A command that a report shows finds the store again."""
    place = StorePlace.read(name, tmp_path)
    assert place.recorded(tmp_path) == name
    assert StorePlace.read(place.recorded(tmp_path), tmp_path) == place


@pytest.mark.parametrize("port", ["1", "port"])
def test_what_cannot_be_opened_is_told_without_a_password(port: str) -> None:
    """A fault of a database names it without its password."""
    url = f"postgresql://ann:{SECRET}@127.0.0.1:{port}/none?connect_timeout=1"
    with pytest.raises(CapgateError) as told:
        open_store(StorePlace.read(url)).close()
    assert SECRET not in str(told.value)
    assert "127.0.0.1" in str(told.value)
