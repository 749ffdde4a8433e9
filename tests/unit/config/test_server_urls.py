"""Several servers as entries and the command line name them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from tests.doubles.place import Place

from capgate.common.errors import ConfigError
from capgate.config.chosen_targets import run_targets
from capgate.config.server_urls import parse_endpoints
from capgate.config.targets import connections_of, load_targets

MINE = """
mine: {{model_name: m, base_url: {urls}}}
"""


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("gpu1:8000", ("http://gpu1:8000/v1",)),
        ("gpu1:8000, gpu2:8000/", ("http://gpu1:8000/v1", "http://gpu2:8000/v1")),
        ("https://a.example/api/v1/", ("https://a.example/api/v1",)),
        ("http://gpu1:8000", ("http://gpu1:8000/v1",)),
        ("gpu1:8000/openai/v1", ("http://gpu1:8000/openai/v1",)),
        ("[::1]:8000", ("http://[::1]:8000/v1",)),
    ],
)
def test_what_is_missing_is_added(text: str, urls: tuple[str, ...]) -> None:
    """Users write what they see in `vllm serve`: a host and a port."""
    assert parse_endpoints(text) == urls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu1", "'gpu1' names no port"),
        ("", "the list is empty"),
        ("gpu1:8000,http://gpu1:8000/v1", "URL 2 is URL 1 again"),
        ("user:secret@gpu1:8000", "may not carry credentials"),
        ("ftp://gpu1:8000", "expected http://"),
        ("gpu1:99999", "URL 1"),
    ],
)
def test_no_address_of_a_server(text: str, said: str) -> None:
    """The fault says what is wrong, and shows no password."""
    with pytest.raises(argparse.ArgumentTypeError, match=said) as caught:
        parse_endpoints(text)
    assert "secret" not in str(caught.value)


def models(path: Path, urls: str, further: str = "") -> Path:
    """A file with one target, or two."""
    path.write_text(MINE.format(urls=urls) + further)
    return path


def test_a_list_of_urls_is_checked_whole(tmp_path: Path) -> None:
    """All its faults are told at once, each with its number."""
    file = models(tmp_path / "models.yaml", "[gpu1, http://a:1/v1, http://a:1/v1/, http://b/?x=1]")
    with pytest.raises(ConfigError) as caught:
        load_targets(file)
    said = str(caught.value)
    assert "mine.base_url: URL 1 expected http://HOST:PORT/v1, got 'gpu1'" in said
    assert "URL 3 is URL 2 again" in said
    assert "URL 4 may not carry a query" in said


@pytest.mark.parametrize("urls", ["[]", "[1]", "5", "{a: b}"])
def test_something_else_is_no_url(tmp_path: Path, urls: str) -> None:
    """It is a fault of that key."""
    with pytest.raises(ConfigError, match=r"mine\.base_url"):
        load_targets(models(tmp_path / "models.yaml", urls))


def test_openrouter_has_one_url(tmp_path: Path) -> None:
    """It chooses among servers by itself."""
    urls = "[https://a/v1, https://b/v1], provider: openrouter"
    with pytest.raises(ConfigError, match="OpenRouter has one URL"):
        load_targets(models(tmp_path / "models.yaml", urls))


def test_each_server_has_its_own_connections(tmp_path: Path) -> None:
    """So has each for the adapters of a base; one server has what it had."""
    further = "tuned: {adapter_of: mine, path: x}\n"
    file = models(tmp_path / "models.yaml", "[http://a/v1, http://b/v1]", further)
    targets = load_targets(file)
    known = {one: targets.get(one) for one in targets.ids()}
    assert [connections_of(one, known) for one in known.values()] == [128, 128]
    one = load_targets(models(file, "[http://a/v1]"))
    assert one.get("mine").base_url == "http://a/v1"
    assert connections_of(one.get("mine"), {}) == 64


def test_the_command_line_names_the_servers_of_the_chosen_targets(tmp_path: Path) -> None:
    """In place of their own, a server that would be started among them; others keep theirs."""
    place = Place(tmp_path)
    file = tmp_path / "config" / "models.yaml"
    file.write_text(
        "mine: {model_name: m, serve: {engine: llamacpp, model: m.gguf}}\n"
        "tuned: {adapter_of: mine, path: x}\n"
        "other: {model_name: o, base_url: 'http://o/v1'}\n",
    )
    settings = place.settings(
        "--models-file", str(file), "--model-id", "tuned", "--endpoints", "a:1,b:1"
    )
    chosen, others = run_targets(settings, ["other"])
    assert others["mine"].urls == ("http://a:1/v1", "http://b:1/v1")
    assert others["mine"].serve is None
    assert chosen["tuned"].base_url is None
    assert others["other"].urls == ("http://o/v1",)
