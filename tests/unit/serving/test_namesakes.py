"""A name on the server and a folder of that name: what is judged, and when neither is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.vllm import Vllm, make_adapter
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.common.errors import AdapterError
from capgate.serving.endpoint import Endpoint


def opened(server: Vllm, said: list[str] | None = None) -> Endpoint:
    """The endpoint of the adapter `third` in a run of its own."""
    servers = servers_of(base_target(server.url), adapter_target("third"), said=said)
    try:
        return servers.endpoint("third")
    finally:
        servers.close()


def test_a_name_without_a_folder_is_judged_as_served(home: Path) -> None:
    """What the server lists is judged where no folder has its name, and that is said."""
    assert not list(home.iterdir())
    said: list[str] = []
    with Vllm(adapters={"third": "/srv/third"}) as server:
        assert opened(server, said).model == "third"
    assert "judged is what the server has as third, loaded from /srv/third; it is asked" in said[0]
    assert "To keep its answers, name its folder" in said[0]


def test_a_folder_that_was_loaded_from_elsewhere(home: Path) -> None:
    """A server that has other weights under the name than the folder is judged on neither."""
    mine = make_adapter(home / "adapters" / "third")
    theirs = make_adapter(home / "elsewhere" / "third", seed=1)
    with Vllm(adapters={"third": str(theirs)}) as server, pytest.raises(AdapterError) as caught:
        opened(server)
    said = str(caught.value)
    assert f"the server's third, loaded from {theirs}, is not what the folder {mine} holds" in said
    assert f"--adapter-name {mine}" in said
    assert "move the folder away" in said


def test_a_folder_that_was_overwritten_since(home: Path) -> None:
    """A folder that the server loaded and that holds other weights now is judged on neither.

    Only what the server answers shows it: it lists the same path.
    """
    mine = make_adapter(home / "adapters" / "third")
    with Vllm(adapters={"third": str(mine)}) as server:
        server.contents["third"] = "what the folder held before"
        with pytest.raises(AdapterError) as caught:
            opened(server)
        assert list(server.adapters) == ["third"]
    assert "its weights answer otherwise" in str(caught.value)


def test_a_folder_that_the_server_has_as_it_is(home: Path) -> None:
    """Where name and folder hold the same, the folder is judged by its hash: answers are kept."""
    mine = make_adapter(home / "adapters" / "third")
    with Vllm(adapters={"third": str(mine)}) as server:
        first, again = opened(server), opened(server)
        assert list(server.adapters) == ["third"]
    assert first.model.startswith("third-")
    assert first.identity == again.identity


@pytest.mark.parametrize("started", [1.0, 4e9])
def test_a_folder_that_was_written_after_the_start(home: Path, started: float) -> None:
    """A server that loads nothing at run time has what the folder held when it was started."""
    mine = make_adapter(home / "adapters" / "third")
    with Vllm(adapters={"third": str(mine)}, run_time=False, started=started) as server:
        if started > 1.0:
            assert opened(server).model == "third"
            return
        with pytest.raises(AdapterError) as caught:
            opened(server)
    assert "its files were written after the server had started" in str(caught.value)
