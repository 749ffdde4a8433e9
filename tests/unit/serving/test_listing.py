"""Which of a server's models is meant, and servers that list none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.replies import NO_METHOD, NO_ROUTE, Reply
from tests.doubles.vllm import Vllm, make_adapter
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.commands.list_models import list_targets
from capgate.common.errors import CapgateError
from capgate.config.targets import Targets
from capgate.serving.endpoint import Endpoint

NOT_IMPLEMENTED = Reply(501, {"error": {"message": "Not implemented", "code": 501}})
NO_SCOPE = Reply(
    403,
    {
        "error": {
            "message": "You have insufficient permissions for this operation. Missing scopes: "
            "api.model.read.",
            "type": "invalid_request_error",
        }
    },
)
EMPTY = Reply(200, {"object": "list", "data": []})


def opened(server: Vllm, name: str, *adapters: str, **keys: object) -> list[Endpoint]:
    """The endpoints of a base of that name, and of adapters of it."""
    targets = [base_target(server.url, model_name=name, **keys), *map(adapter_target, adapters)]
    servers = servers_of(*targets)
    try:
        return [servers.endpoint(one.id) for one in targets]
    finally:
        servers.close()


@pytest.mark.parametrize(
    ("listed", "name", "model"),
    [
        (["openai/gpt-oss-20b"], "openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        (["gpt-oss-20b"], "openai/gpt-oss-20b", "gpt-oss-20b"),
        (["gpt-oss-20b", "openai/gpt-oss-20b"], "openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        (["openai/gpt-oss-20b"], "openai/openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        (["llama3:latest", "llama3:8b"], "llama3", "llama3:latest"),
        (["models/gemini-2.0-flash"], "openai/gemini-2.0-flash", "models/gemini-2.0-flash"),
    ],
)
def test_the_listed_name_is_meant(listed: list[str], name: str, model: str) -> None:
    """An exact listed name wins, then the name without the prefix, then known ways of listing."""
    with Vllm(names=listed) as server:
        assert opened(server, name)[0].model == model


def test_a_rule_lists_many_models() -> None:
    """A gateway that lists `openai/*` serves what its rule covers, by the whole name."""
    with Vllm(names=["openai/*"]) as server:
        assert opened(server, "openai/gpt-4o")[0].model == "openai/gpt-4o"


def test_a_list_by_itself() -> None:
    """A list that does not stand under `data` is read as well."""
    listing = Reply(200, [{"id": "smollm2", "object": "model", "context_length": 4096}])
    with Vllm(models_reply=listing) as server:
        assert opened(server, "smollm2", context_window=4096)[0].model == "smollm2"


def test_names_that_are_not_listed_are_refused() -> None:
    """A name that is not in the list is told, with the list and both names that were looked for."""
    with Vllm(names=["other"]) as server, pytest.raises(CapgateError) as caught:
        opened(server, "openai/mine")
    assert "does not serve 'mine' or 'openai/mine'" in str(caught.value)
    assert "models: other" in str(caught.value)


@pytest.mark.parametrize("listing", [NO_ROUTE, NO_METHOD, NOT_IMPLEMENTED, NO_SCOPE, EMPTY])
@pytest.mark.parametrize("name", ["smollm2", "openai/smollm2"])
def test_a_server_without_a_list(listing: Reply, name: str) -> None:
    """Where a server lists nothing, a question under the name decides, for an adapter as well."""
    with Vllm(models_reply=listing, adapters={"mine": "/srv/mine"}) as server:
        base, adapter = opened(server, name, "mine")
    assert (base.model, adapter.model) == ("smollm2", "mine")
    assert "does not say which model mine is an adapter of" in adapter.notes[0]


def test_a_name_as_it_is_first() -> None:
    """Without a list the whole name is tried before the one without its prefix."""
    with Vllm(models_reply=NO_ROUTE, names=["openai/gpt", "gpt"]) as server:
        assert opened(server, "openai/gpt")[0].model == "openai/gpt"


def test_a_server_without_a_list_knows_what_it_lacks(home: Path) -> None:
    """A name that such a server does not answer to is told; an adapter's folder is loaded."""
    folder = make_adapter(home / "adapters" / "mine")
    with Vllm(models_reply=NO_ROUTE) as server:
        with pytest.raises(CapgateError, match="does not serve 'nope'"):
            opened(server, "nope")
        opened(server, "smollm2", "mine")
        assert [path for _, path in server.loads] == [str(folder)]


def test_a_dead_adapter_without_a_list() -> None:
    """An adapter that is known by name alone is refused where it answers as its base does."""
    dead = Vllm(models_reply=NO_ROUTE, adapters={"mine": "/srv/mine"}, pull=0.0)
    with dead as server, pytest.raises(CapgateError, match="does nothing"):
        opened(server, "smollm2", "mine")


def test_no_route_at_all() -> None:
    """A server that has neither a list nor chat completions is told so by the latter's address."""
    with Vllm() as server:
        url = server.url.replace("/v1", "/api/v1")
        servers = servers_of(base_target(url))
        with pytest.raises(CapgateError) as caught:
            servers.endpoint("base")
    assert f"HTTP 404 from {url}/chat/completions" in str(caught.value)
    assert "ends in /v1" not in str(caught.value)


def test_list_models_check_without_a_list() -> None:
    """`list-models --check` finds a base and its adapter on a server that lists nothing."""
    with Vllm(models_reply=NO_ROUTE, adapters={"mine": "/srv/mine"}) as server:
        entries = [base_target(server.url), adapter_target("mine"), adapter_target("lost")]
        targets = Targets(Path("models.yaml"), {one.id: one for one in entries})
        listed = {one.id: one.finding for one in list_targets(targets, {}, check=True)}
    assert listed == {
        "base": "reachable",
        "mine": "reachable, loaded",
        "lost": "not on the server, and no path",
    }
