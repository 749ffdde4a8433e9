"""`--ray` starts servers, so a run must have some that are to be started."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.place import Place

from capgate.common.errors import ConfigError
from capgate.config.chosen_targets import run_targets

MODELS = """
runs: {model_name: m, base_url: "http://gpu:1/v1"}
starts: {model_name: m, serve: {engine: vllm, model: m}}
tuned: {adapter_of: starts, path: here}
"""


def test_a_run_that_starts_no_server_is_refused(tmp_path: Path) -> None:
    """A target that runs already, or is named by --endpoints, has nothing for Ray to start."""
    place = Place(tmp_path)
    file = tmp_path / "models.yaml"
    file.write_text(MODELS)
    common = ("--models-file", str(file), "--ray", "auto", "--model-id")
    for further in (("runs",), ("starts", "--endpoints", "gpu:1")):
        with pytest.raises(ConfigError, match="no target of this run has one"):
            run_targets(place.settings(*common, *further))
    for target in ("starts", "tuned"):
        chosen, _ = run_targets(place.settings(*common, target))
        assert list(chosen) == [target]
    both = place.settings(*common, "runs", "--model-id", "starts")
    assert len(run_targets(both)[0]) == 2
