"""`capgate init`: what it writes, and that it takes nothing away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from capgate.cli import main
from capgate.common import exit_codes
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.policy_file import load_policy
from capgate.config.targets import load_targets
from capgate.config.thresholds import load_floors

REPOSITORY = Path(__file__).parents[3]
WRITTEN = {
    ".gitignore",
    "benchmarks/test_capability.py",
    "config/benchmarks.yaml",
    "config/models.yaml",
    "thresholds/floors.yaml",
    "thresholds/policy.yaml",
}
NEXT = "capgate run --quick --model-id local-smollm2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, empty at first."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def there(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(path: str, text: str) -> Path:
    """Writes a file of the user's."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def test_an_empty_folder_becomes_a_project(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files are written, each is told, and the next commands too."""
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert set(there(folder)) == WRITTEN
    assert all(f"written: {path}" in said for path in WRITTEN)
    assert NEXT in said


def test_what_is_written_is_sound(folder: Path) -> None:
    """Targets, policy and floors are read without a fault; the test file is valid Python."""
    main(["init"])
    targets = load_targets(folder / "config/models.yaml")
    assert targets.default().id == "local-smollm2"
    assert not load_benchmarks(folder).own
    load_policy(folder / "thresholds/policy.yaml")
    assert set(load_floors(folder / "thresholds/floors.yaml")) == {"local-smollm2"}
    test = (folder / "benchmarks/test_capability.py").read_text()
    compile(test, "test_capability.py", "exec")


def test_the_adapter_s_example_is_sound_when_uncommented(folder: Path) -> None:
    """The commented entry is an adapter of the entry that it names."""
    main(["init"])
    file = folder / "config/models.yaml"
    text = file.read_text()
    file.write_text(re.sub(r"^# (my-adapter:|  adapter_of:|  path:)", r"\1", text, flags=re.M))
    assert load_targets(file).get("my-adapter").adapter_of == "lambda-ai-gpu"


def test_a_second_call_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is left as it is, and that is told."""
    main(["init", "--ci", "gitlab"])
    before = there(folder)
    capsys.readouterr()
    assert main(["init", "--ci", "gitlab"]) == 0
    said = capsys.readouterr().out
    assert there(folder) == before
    assert "written:" not in said
    assert "Add these lines" not in said
    assert said.count("left as it is: ") == 8


@pytest.mark.parametrize("path", sorted(WRITTEN - {".gitignore"}))
def test_a_file_of_the_user_s_is_left(
    folder: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is there keeps its content; the others are written beside it."""
    write(path, "# mine\n")
    assert main(["init"]) == 0
    assert there(folder)[path] == b"# mine\n"
    assert set(there(folder)) == WRITTEN
    assert f"left as it is: {path}\n" in capsys.readouterr().out


def test_a_link_that_leads_nowhere_is_left(folder: Path) -> None:
    """A broken link is the user's: nothing is written through it."""
    Path("config").mkdir()
    Path("config/models.yaml").symlink_to(folder / "elsewhere.yaml")
    assert main(["init"]) == 0
    assert not (folder / "elsewhere.yaml").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ".env\n/reports/\n"),
        ("*.pyc", "*.pyc\n.env\n/reports/\n"),
        ("*.pyc\n", "*.pyc\n.env\n/reports/\n"),
        ("*.pyc\r\n", "*.pyc\r\n.env\r\n/reports/\r\n"),
        (".env\n", ".env\n/reports/\n"),
        ("/reports/*\n!/reports/README.md\n", "/reports/*\n!/reports/README.md\n.env\n"),
        ("reports\n/.env\n", "reports\n/.env\n"),
        ("  .env  \nreports/\n", "  .env  \nreports/\n"),
    ],
)
def test_gitignore_gets_the_lines_that_it_lacks(before: str, after: str) -> None:
    """Lines are appended once, in the file's own line ends, and nothing of it is lost."""
    file = write(".gitignore", before)
    for _ in range(2):
        main(["init"])
        assert file.read_bytes().decode() == after


def test_tests_of_capgate_are_not_made_twice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A project whose folder benchmarks has tests of capgate gets no second test file."""
    write("benchmarks/test_mine.py", "def test_quick(capgate, target): capgate.quick(target)")
    main(["init"])
    assert "benchmarks/test_capability.py" not in there(folder)
    assert "left as it is: benchmarks" in capsys.readouterr().out


def test_other_benchmarks_stay_beside(folder: Path) -> None:
    """A folder benchmarks with other tests gets the test file."""
    write("benchmarks/test_speed.py", "def test_speed(): pass")
    main(["init"])
    assert set(there(folder)) == WRITTEN | {"benchmarks/test_speed.py"}


def test_a_recipe_for_github(folder: Path) -> None:
    """The workflow is valid YAML, and its last command is the gate."""
    main(["init", "--ci", "github"])
    recipe = yaml.safe_load((folder / ".github/workflows/capgate.yml").read_text())
    steps = recipe["jobs"]["gate"]["steps"]
    (gate,) = [step["run"] for step in steps if "pytest" in step.get("run", "")]
    assert gate.startswith("pytest benchmarks -m quick ")


def test_a_recipe_for_gitlab(folder: Path) -> None:
    """The job is in a file of its own, which `.gitlab-ci.yml` includes."""
    main(["init", "--ci", "gitlab"])
    (included,) = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())["include"]
    job = yaml.safe_load((folder / included["local"]).read_text())["capability"]
    assert job["script"][-1].startswith("pytest benchmarks -m quick ")


def test_a_configuration_of_gitlab_is_the_user_s_to_edit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `.gitlab-ci.yml` that is there stays as it is; the lines to add to it are told."""
    write(".gitlab-ci.yml", "stages: [build]\n")
    main(["init", "--ci", "gitlab"])
    said = capsys.readouterr().out
    assert there(folder)[".gitlab-ci.yml"] == b"stages: [build]\n"
    assert "left as it is: .gitlab-ci.yml" in said
    assert "    include:\n      - local: .gitlab/capgate.yml\n" in said


@pytest.mark.parametrize("place", ["config", "thresholds", "benchmarks", ".github"])
def test_a_file_where_a_folder_should_be(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The fault is one paragraph that names the file and the way out."""
    write(place, "a file\n")
    assert main(["init", "--ci", "github"]) == exit_codes.ERROR
    said = capsys.readouterr().err
    assert said.startswith(f"capgate: {place}/")
    assert "run capgate init again" in said
    assert said.count("\n") == 1
    assert Path(place).read_text() == "a file\n"


@pytest.mark.parametrize("place", [".gitignore", ".gitlab-ci.yml"])
def test_a_folder_where_a_file_should_be(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, for a folder in a file's place; what stands before it is written."""
    Path(place).mkdir()
    assert main(["init", "--ci", "gitlab"]) == exit_codes.ERROR
    said = capsys.readouterr().err
    assert said.startswith(f"capgate: {place} can't be written")
    assert said.count("\n") == 1
    assert Path("config/models.yaml").is_file()


def test_what_the_benchmarks_show_is_sound(folder: Path) -> None:
    """The entries that the file of benchmarks shows as comments are taken as they stand."""
    main(["init"])
    file = folder / "config/benchmarks.yaml"
    keys = re.sub(r"^# (?=[\w-]+:|  \w+:)", "", file.read_text(), flags=re.M)
    file.write_text(keys)
    found = load_benchmarks(folder)
    assert found.own == {"house-rules", "support-desk"}
    assert found.suite_of("nightly").benchmarks[-1] == "support-desk"


def test_this_checkout_has_the_files_that_init_writes(folder: Path) -> None:
    """Targets and thresholds of the checkout are the templates: neither grows old alone."""
    main(["init"])
    for path in sorted(WRITTEN - {".gitignore", "benchmarks/test_capability.py"}):
        assert there(folder)[path] == (REPOSITORY / path).read_bytes(), path


def test_the_docs_show_the_recipes_that_init_writes(folder: Path) -> None:
    """docs/ci.md has both recipes, word for word."""
    page = (REPOSITORY / "docs/ci.md").read_text(encoding="utf-8")
    for ci, path in (
        ("github", ".github/workflows/capgate.yml"),
        ("gitlab", ".gitlab/capgate.yml"),
    ):
        main(["init", "--ci", ci])
        assert f"```yaml\n{there(folder)[path].decode()}```" in page
