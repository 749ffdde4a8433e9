"""A session without a test of capgate's runs as if the plugin were not installed."""

from __future__ import annotations

import pytest

from capgate.pytest_suite.markers import MARKERS

pytest_plugins = ["pytester"]


def test_nothing_of_the_session_is_changed(session: pytest.Pytester) -> None:
    """Signals, markers, warning filters and hooks are the project's own, in and after its tests."""
    session.makeconftest(
        """
        import signal

        def state(config):
            yield [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
            yield list(config.getini("markers"))
            yield list(config.getini("filterwarnings"))
            names = [name for name, _ in config.pluginmanager.list_name_plugin()]
            yield [name for name in names if "capgate" in name and "/" not in name]

        def pytest_sessionstart(session):
            session.config.before = list(state(session.config))

        def pytest_sessionfinish(session):
            markers = " ".join(session.config.getini("markers"))
            assert "quick" not in markers and "stem" not in markers
            assert list(state(session.config)) == session.config.before
        """
    )
    session.makepyfile("def test_theirs(request): pass")
    done = session.runpytest_inprocess()
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.OK
    assert "capgate:" not in done.stdout.str()


def test_a_marker_of_the_project_keeps_its_meaning(session: pytest.Pytester) -> None:
    """`pytest --markers` shows the project's own `quick`, also beside tests of capgate's."""
    session.makeini("[pytest]\nmarkers =\n    quick(seconds): theirs\n")
    session.makepyfile(
        test_ours="""
        import pytest
        @pytest.mark.quick
        @pytest.mark.full
        def test_ours(capgate): pass
        """,
        test_theirs="""
        import pytest
        @pytest.mark.quick(3)
        def test_theirs(request):
            lines = request.config.getini("markers")
            assert [one for one in lines if one.startswith("quick")] == ["quick(seconds): theirs"]
        """,
    )
    shown = session.runpytest_inprocess("--markers").stdout.str()
    assert "@pytest.mark.quick(seconds): theirs" in shown
    assert not any(line in shown for line in MARKERS)
    done = session.runpytest_inprocess("--strict-markers", "-k", "theirs")
    done.assert_outcomes(passed=1, deselected=1)


def test_only_chosen_tests_need_targets(session: pytest.Pytester) -> None:
    """Without `config/models.yaml` a choice of the project's own tests runs; capgate's do not."""
    session.makepyfile(
        test_ours="def test_ours(capgate, target): pass",
        test_theirs="def test_passes(): pass\ndef test_fails(): assert False",
    )
    done = session.runpytest_inprocess("-k", "passes or fails")
    done.assert_outcomes(passed=1, failed=1, deselected=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    for chosen in ((), ("-k", "test_ours"), ("-k", "misspelt")):
        done = session.runpytest_inprocess(*chosen)
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(["ERROR: *config/models.yaml*"])
