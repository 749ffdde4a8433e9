"""By which weights are known again: answers to fixed prompts, files, and the process's start."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from tests.doubles.replies import Reply, Said
from tests.doubles.server import Server
from tests.doubles.vllm import Vllm
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.common.event_loop import in_own_loop
from capgate.serving.ask_signature import ask_signature, signature_change
from capgate.serving.endpoint import Endpoint
from capgate.serving.observation import observe
from capgate.serving.servers import Servers
from capgate.serving.sharing import asking
from capgate.serving.signature import Observation


def seen(server: Server, engine: str = "vllm", root: str = "") -> Observation:
    """A look at a server."""
    endpoint = Endpoint("base", server.url, "smollm2", engine, {"root": root})
    return observe(base_target(server.url), endpoint)


@pytest.mark.parametrize("max_logprobs", [20, 0])
def test_the_same_weights_are_known_again(max_logprobs: int) -> None:
    """Two looks at one model show no change, with log-probabilities and without."""
    with Vllm(max_logprobs=max_logprobs) as server:
        first, second = seen(server), seen(server)
    assert second.change_since(first.to_dict()) == ""


def test_other_log_probabilities_are_other_weights() -> None:
    """Weights that write the same texts are told by their log-probabilities."""
    with Vllm() as server:
        first = seen(server)
        server.weights, server.started = "other", server.started + 60
        change = seen(server).change_since(first.to_dict())
    assert "its log-probabilities for the proof's prompts differ" in change
    assert "it was started anew meanwhile" in change


def test_other_texts_are_other_weights() -> None:
    """A server without log-probabilities is told by its texts."""
    with Server() as server:
        first = seen(server, "")
        server.weights = "other"
        change = seen(server, "").change_since(first.to_dict())
    assert "100% of its answers to the proof's prompts are others" in change


def test_empty_texts_show_nothing() -> None:
    """A server of which nothing can be read is not known again."""
    with Vllm(max_logprobs=0, answer=lambda _: "") as server:
        first = seen(server)
        change = seen(server).change_since(first.to_dict())
    assert "empty, which shows nothing" in change


def test_thoughts_tell_where_there_is_no_answer_yet() -> None:
    """A model that still thinks when its tokens end is told from another by its thought."""
    said = Said("", thought="First, I recall")
    with Vllm(max_logprobs=0, answer=lambda _: said) as server:
        first = seen(server)
        assert seen(server).change_since(first.to_dict()) == ""
        server.answer = lambda _: Said("<think>First, I count", cut_off=True)
        assert "of its answers" in seen(server).change_since(first.to_dict())


def test_a_restart_alone_is_no_change() -> None:
    """A server that was started anew with the same weights keeps its answers."""
    with Vllm() as server:
        first = seen(server)
        server.started += 60
        assert seen(server).change_since(first.to_dict()) == ""


@pytest.mark.parametrize("wobble", [0.125, 0.25])
def test_a_noisy_server_is_known_again(wobble: float) -> None:
    """What a server's own repeats show is no change of its weights; other weights still are one."""
    with Vllm(wobble=wobble) as server:
        first = seen(server)
        changes = [seen(server).change_since(first.to_dict()) for _ in range(5)]
        server.weights = "other"
        other = seen(server).change_since(first.to_dict())
    assert changes == [""] * 5
    assert other


def test_the_served_folder_is_looked_at(home: Path) -> None:
    """Other files under the served path are other weights, though they answer the same."""
    folder = home / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    with Vllm(started=4e9) as server:
        first = seen(server, root=str(folder))
        assert first.weights
        assert seen(server, root=str(folder)).weights == first.weights
        (folder / "model.safetensors").write_bytes(b"two")
        second = seen(server, root=str(folder))
    assert second.change_since(first.to_dict()) == "the files of its weights are others"


def test_files_younger_than_the_server_say_nothing(home: Path) -> None:
    """A folder that was overwritten while the server runs is not what the server has loaded."""
    folder = home / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    with Vllm(started=folder.stat().st_ctime - 60) as server:
        assert seen(server, root=str(folder)).weights == ""


def test_a_server_that_refuses_the_prompts_is_not_known_again() -> None:
    """Where the prompts get no answer there is nothing to compare; the run goes on."""
    with Vllm() as server:
        first = seen(server)
        server.refusal = Reply(422, {"detail": "no such prompt"})
        second = seen(server)
    assert second.signature is None
    assert "nothing to compare" in second.change_since(first.to_dict())


def test_nothing_a_model_wrote_is_kept() -> None:
    """Of the answers only hashes are kept: a text may hold anything."""
    secret = "sk-very-secret-words"
    with Vllm(answer=lambda asked: secret) as server:  # noqa: ARG005
        assert secret not in str(seen(server).to_dict())


def test_a_look_in_the_middle_bears_rounding() -> None:
    """Under load log-probabilities move a little; that is no contradiction, other weights are."""
    with Vllm() as server:
        endpoint = Endpoint("base", server.url, "smollm2", "vllm", {})
        first = in_own_loop(lambda: ask_signature(endpoint))
        server.wobble = 0.1
        assert in_own_loop(lambda: signature_change(endpoint, first)) == ""
        server.wobble, server.weights = 0.0, "other"
        assert "differ by" in in_own_loop(lambda: signature_change(endpoint, first))


def test_a_look_in_the_middle_bears_what_is_computed_together() -> None:
    """Prompts that a server answers together may move far; by themselves they show no change."""
    with Vllm(jitter=2.0, seconds_per_token=0.002) as server:
        endpoint = Endpoint("base", server.url, "smollm2", "vllm", {})
        first = in_own_loop(lambda: ask_signature(endpoint))
        assert server.most_in_flight == 1
        assert in_own_loop(lambda: signature_change(endpoint, first)) == ""
        assert server.most_in_flight > 1
        server.weights = "other"
        assert "differ by" in in_own_loop(lambda: signature_change(endpoint, first))


def test_commands_that_ask_nothing_look_at_nothing() -> None:
    """`inference-server health` and the like send no prompt."""
    with Vllm() as server:
        servers = servers_of(base_target(server.url))
        servers.endpoint("base")
        servers.close()
        assert server.proofs == []


@pytest.mark.parametrize("mine", ["base", "mine"])
def test_a_run_waits_for_another_that_asks_alone(
    mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run neither asks nor loads anything while another needs the server alone, and says so.

    Of a run on an adapter, any other run that asks the server is waited for.
    """
    monkeypatch.setattr("capgate.serving.sharing.TOLD_AFTER_SECONDS", 0.05)
    told = threading.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        told.set()

    with Vllm(adapters={"mine": "/srv/mine"}) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        targets = {"base": base_target(url)} | (
            {"mine": adapter_target("mine")} if mine == "mine" else {}
        )
        servers = Servers(targets, {}, Path("logs"), say=say, observe_weights=True)
        with asking(server.url, alone=mine == "base"):
            run = threading.Thread(target=servers.endpoint, args=(mine,))
            run.start()
            assert told.wait(60)
            assert server.proofs == []
        run.join(60)
        assert server.proofs
        servers.close()
    assert said[0] == f"base: waiting for another run that asks {url} at this moment"


def test_runs_that_mix_nothing_up_ask_at_the_same_time() -> None:
    """Two runs share the lock of a server."""
    with Vllm() as server, asking(server.url):
        servers = Servers({"base": base_target(server.url)}, {}, Path("logs"), observe_weights=True)
        servers.endpoint("base")
        servers.close()
        assert server.proofs


def test_a_run_without_a_cache_folder_shares_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user has no cache folder that can be written, the lock is in one of their own."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with asking("http://server/v1", alone=True):
        (folder,) = tmp_path.glob("capgate-*/*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert len(list(folder.iterdir())) == 2
    assert list(folder.iterdir()) == []
