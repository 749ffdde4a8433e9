"""The pytest plugin: hooks only, each thin; what they do lives in `capgate.pytest_suite`.

A session that collects no test of capgate's runs as if the plugin were not installed; it has only
the options. The other hooks are registered for the first such test (`runner_hooks`,
`controller_hooks`).
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from capgate.pytest_suite.guest import connect, process_if_made, process_of, target_of

if TYPE_CHECKING:
    from capgate.pytest_suite.fixture import Bench


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds capgate's options in their prefixed spelling (`pytest_addoption`)."""
    from capgate.pytest_suite.options import add_options

    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    args: list[str], parser: pytest.Parser
) -> Generator[None, object, object]:
    """Adds short spellings that no conftest has (`pytest_load_initial_conftests`)."""
    from capgate.pytest_suite.options import add_short_options, named_in

    result = yield
    add_short_options(parser, named_in(args))
    return result


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Registers markers before a file with tests of capgate's (`pytest_pycollect_makemodule`)."""
    from capgate.config.suite import mentions_capgate
    from capgate.pytest_suite.markers import register_markers

    if mentions_capgate(module_path):
        register_markers(parent.config)


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[pytest.Item] | None:
    """Leaves out functions that stand for no test of a run (`pytest_pycollect_makeitem`)."""
    from capgate.config.suite import MODULE

    if not name.startswith("test_") or getattr(obj, "__module__", None) != MODULE:
        return None
    return [] if process_of(collector.config).session.leaves_out(name) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes one test for each target and subject (`pytest_generate_tests`)."""
    if "capgate" in metafunc.fixturenames:
        process_of(metafunc.config).session.parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the run; stops it where its options are wrong (`pytest_collection_modifyitems`)."""
    process = process_if_made(config)
    if process is not None and process.session.arrange(items):
        process.begin()


@pytest.fixture
def capgate(request: pytest.FixtureRequest) -> Bench:
    """The run, as a test of the benchmark uses it."""
    return process_of(request.config).session.bench(request.node)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 (pytest-xdist has no types)
    """Gives a worker a channel to its controller (`pytest_configure_node` of pytest-xdist)."""
    connect(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:  # noqa: ANN401
    """Begins the run that workers have collected (of pytest-xdist)."""
    process = process_if_made(node.config)
    if process is not None and process.controller is not None and process.controller.is_needed:
        process.begin()


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config,
    log: Any,  # noqa: ANN401
) -> Generator[None, object, object]:
    """Shares capgate's tests out by target (`pytest_xdist_make_scheduler` of pytest-xdist)."""
    from capgate.pytest_suite.scheduler import by_target

    made = yield
    return by_target(config, log, made, lambda nodeid: target_of(config, nodeid))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends what the run started, however the run ended (`pytest_unconfigure`)."""
    process = process_if_made(config)
    if process is not None:
        process.close()
