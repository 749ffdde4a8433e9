"""What the commands add to the targets' file: an adapter's base, and fields that may not clash."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from capgate.common.errors import ConfigError
from capgate.config.targets import Targets, load_targets


def targets(folder: Path, **entries: dict[str, object]) -> Targets:
    """The targets of a file with these entries."""
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    return load_targets(file)


def test_an_adapters_entry_names_its_base(tmp_path: Path) -> None:
    """An adapter without a base belongs to its entry's, else to the first that can hold it."""
    local = {"model_name": "m", "serve": {"engine": "llamacpp", "model": "m.gguf"}}
    router = {"model_name": "a/b", "provider": "openrouter", "base_url": "http://127.0.0.1:1/v1"}
    server = {"model_name": "m", "base_url": "http://127.0.0.1:1/v1"}
    known = targets(
        tmp_path,
        local=local,
        router=router,
        first=server,
        second=server,
        tuned={"adapter_of": "second", "path": "x"},
    )
    assert known.base_for("tuned") == "second"
    assert known.base_for("any-other") == "first"


def test_without_a_server_there_is_no_base(tmp_path: Path) -> None:
    """Where no target can hold adapters, that is said."""
    known = targets(
        tmp_path, local={"model_name": "m", "serve": {"engine": "llamacpp", "model": "m.gguf"}}
    )
    with pytest.raises(ConfigError, match=r"no target .* can hold adapters"):
        known.base_for("mine")


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("max_tokens", "--max-tokens"),
        ("max_completion_tokens", "--max-tokens"),
        ("temperature", "--temperature"),
        ("model", "model_name"),
        ("provider", "route"),
        ("messages", "the question"),
    ],
)
def test_extra_body_overrides_no_option(tmp_path: Path, field: str, instead: str) -> None:
    """A field of the request that has an option of its own may not be set behind its back."""
    entry = {
        "model_name": "m",
        "base_url": "http://127.0.0.1:1/v1",
        "extra_body": {field: 1, "top_k": 5},
    }
    with pytest.raises(ConfigError) as caught:
        targets(tmp_path, mine=entry)
    assert "mine.extra_body" in str(caught.value)
    assert f"{field} would override {instead}" in str(caught.value).replace("`", "").replace(
        "this entry's ", ""
    )
