"""What an adapter's files say of it; files of another form are a fault that names them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.doubles.vllm import Vllm, make_adapter
from tests.unit.serving.conftest import adapter_target, base_target, servers_of

from capgate.common.errors import AdapterError
from capgate.serving import running_servers
from capgate.serving.adapters.tensor_shapes import Shape, of_adapter
from capgate.serving.running_servers import Running

NAME = "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"
DEEP = "[" * 100_000


def with_header(folder: Path, header: str | bytes, size: int | None = None) -> Path:
    """An adapter whose weights have that header."""
    make_adapter(folder)
    raw = header.encode() if isinstance(header, str) else header
    length = (len(raw) if size is None else size).to_bytes(8, "little")
    (folder / "adapter_model.safetensors").write_bytes(length + raw)
    return folder


def test_the_shape_of_an_adapter(tmp_path: Path) -> None:
    """The width that its matrices go into, and the layers that it touches."""
    header = json.dumps({NAME: {"shape": [8, 64]}, "__metadata__": {"format": "pt"}})
    assert of_adapter(with_header(tmp_path / "a", header), "mine") == Shape(64, 4)
    assert of_adapter(tmp_path / "none", "mine") is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (DEEP, None),
        ('{"a":' * 100_000, None),
        ("[]", None),
        ("{", None),
        (b"\xff\xfe", None),
        ("{}", 2**40),
        ("{}", 2**63),
        *(
            (json.dumps({NAME: entry}), None)
            for entry in (
                5,
                {},
                {"shape": 5},
                {"shape": "64"},
                {"shape": [[64]]},
                {"shape": {"0": 1}},
                {"shape": [8, -1]},
                {"shape": [8, True]},
                {"shape": [8, 1.5]},
            )
        ),
        (f'{{"{NAME}": {{"shape": [8, {"9" * 5000}]}}}}', None),
        (f'{{"{NAME}": {{"shape": [8, NaN]}}}}', None),
    ],
)
def test_weights_of_another_form_are_named(home: Path, header: str, size: int | None) -> None:
    """Through the loading of an adapter: one sentence, with the file."""
    folder = with_header(home / "adapters" / "mine", header, size)
    (home / "base").mkdir()
    (home / "base" / "config.json").write_text('{"hidden_size": 64, "num_hidden_layers": 2}')
    with pytest.raises(AdapterError, match="is damaged, or no safetensors file") as caught:
        of_adapter(folder, "mine")
    assert str(folder / "adapter_model.safetensors") in str(caught.value)
    assert caught.value.target == "mine"


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "5", '"x"', "[]", "null", "{", "\xff"])
def test_a_configuration_of_another_form_is_named(home: Path, text: str) -> None:
    """`adapter_config.json`, through a run's servers."""
    folder = make_adapter(home / "adapters" / "mine")
    (folder / "adapter_config.json").write_text(text, encoding="latin-1")
    with Vllm() as server, pytest.raises(AdapterError, match=r"adapter_config\.json can't be read"):
        servers_of(base_target(server.url), adapter_target("mine")).endpoint("mine")


def test_damaged_weights_stop_a_run_s_adapter(home: Path) -> None:
    """Before it is loaded anywhere."""
    with_header(home / "adapters" / "mine", json.dumps({NAME: {"shape": 5}}))
    with Vllm() as server:
        with pytest.raises(AdapterError, match=r"mine/adapter_model\.safetensors is damaged"):
            servers_of(base_target(server.url), adapter_target("mine")).endpoint("mine")
        assert server.adapters == {}


@pytest.mark.parametrize("text", [DEEP, "5", "{}", '{"pid": "x"}', "null", "\xff"])
def test_a_server_s_file_of_another_form_is_no_server(home: Path, text: str) -> None:
    """What `inference-server start` left, and something else wrote over."""
    running_servers.remember(
        Running(
            running_servers.project(), "tiny", "http://127.0.0.1:9/v1", "k", {}, os.getpid(), ""
        )
    )
    (file,) = home.parent.rglob("tiny@*.json")
    file.write_text(text, encoding="latin-1")
    assert running_servers.find("tiny") == []
    assert running_servers.all_running() == []
