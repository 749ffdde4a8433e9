"""config/models.yaml: what is accepted, and how its faults are told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common import bounded_yaml
from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.config.alerts import alert_urls
from capgate.config.targets import LlamaCppServe, Targets, VllmServe, environment, load_targets
from capgate.config.thresholds import load_floors, policy_for

REPOSITORY = Path(__file__).parents[3]
CANARY = "sk-canary-0123456789abcdef"

GUIDE = """
lambda-ai-gpu:
  model_name: openai/meta-llama/Llama-3.1-8B-Instruct
  model_type: openai
  provider: lambda
  base_url: http://gpu-host:8000/v1
  api_key_env: VLLM_API_KEY
  context_window: 4096
  max_output_tokens: 4096
  description: "Llama 3.1 8B Instruct on a GPU machine"
"""


def load(folder: Path, text: str) -> Targets:
    """Loads a file with that text."""
    file = folder / "models.yaml"
    file.write_text(text, encoding="utf-8")
    return load_targets(file)


def fault_of(folder: Path, text: str) -> ConfigError:
    """Returns the fault of loading that text."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value


def faults(folder: Path, text: str) -> dict[str, str]:
    """Returns the faults of that text by place."""
    return {fault.place: fault.what for fault in fault_of(folder, text).faults}


def entry(**keys: str) -> str:
    """Returns an entry `mine` for a running server, with further keys."""
    lines = {"model_name": "m", "base_url": "http://127.0.0.1:8000/v1"} | keys
    return "mine:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items())


def test_the_guide_s_block_works_key_for_key(tmp_path: Path) -> None:
    """The block that users are given is taken as it is."""
    target = load(tmp_path, GUIDE).get("lambda-ai-gpu")
    assert target.served_name == "meta-llama/Llama-3.1-8B-Instruct"
    assert (target.model_type, target.provider) == ("openai", "lambda")
    assert target.base_url == "http://gpu-host:8000/v1"
    assert target.api_key_env == "VLLM_API_KEY"
    assert (target.context_window, target.max_output_tokens) == (4096, 4096)
    assert target.description == "Llama 3.1 8B Instruct on a GPU machine"


def test_the_shipped_file_loads() -> None:
    """The repository's own targets are sound, and the default is the small local model."""
    targets = load_targets(REPOSITORY / "config" / "models.yaml")
    assert targets.default().id == "local-smollm2"
    assert targets.default().answer_format == "constrained"
    assert targets.get("gpt-4o").served_name == "openai/gpt-4o"


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """One reading names file, entry, key and expectation of all faults of all entries."""
    text = """
first:
  model_name: m
  base_url: gpu-host:8000
  max_connectons: 3
  logprobs: 99
second:
  model_name: m
third: 3
no good: {}
fourth:
  base_url: http://h/v1
  serve: {engine: vlm, model: m}
fifth:
  adapter_of: frist
  path: adapters/a
"""
    found = faults(tmp_path, text)
    assert found["first.base_url"].startswith("expected http://HOST:PORT/v1")
    assert found["first.max_connectons"] == "unknown key; did you mean max_connections?"
    assert "less than or equal to 20" in found["first.logprobs"]
    assert "either base_url" in found["second"]
    assert found["third"] == "expected keys and values, got int"
    assert "letters, digits" in found["no good"]
    assert "is missing" in found["fourth.model_name"]
    assert "either base_url" in found["fourth"]
    assert found["fourth.serve.engine"] == "expected llamacpp or vllm"
    assert found["fifth.adapter_of"] == "no entry named 'frist'; nearest: first"
    message = str(fault_of(tmp_path, text))
    assert f"{tmp_path / 'models.yaml'} has 10 faults" in message
    assert all(place in message for place in found)


def test_an_unknown_key_without_a_near_one_lists_the_known(tmp_path: Path) -> None:
    """Where no key is near, all known ones are listed."""
    told = faults(tmp_path, entry(zzzzzz="1"))["mine.zzzzzz"]
    assert told.startswith("unknown key; known: model_name, ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key", CANARY),
        ("api-key", "no-known-prefix-canary"),
        ("api_key_env", CANARY),
        ("api_key_env", "no-known-prefix-canary"),
        ("api_key_env", f"[{CANARY}]"),
        ("api_key_env", "nvapi_0123456789canary"),
        ("api_key_env", "c0ffee00c0ffee00c0ffee00ca11ab1e"),
        ("api_key_env", "C0FFEE00C0FFEE00C0FFEE00CA11AB1E"),
        ("api_key_env", "jH3kD9fLq2Zx8VbN4mTcanaryYw"),
        ("description", f"'the key is {CANARY}, keep it'"),
        ("description", "Bearer canary0123456789"),
        ("adapter_of", CANARY),
        ("serve", "{engine: vllm, model: m, args: [--hf-token=hf_canary0123456789]}"),
        ("serve", "{engine: vllm, model: m, args: [--hf-token, no-known-prefix-canary]}"),
        ("serve", "{engine: vllm, model: m, args: [--hf-token=no-known-prefix-canary]}"),
        ("extra_body", f"{{{CANARY}: 1}}"),
        (CANARY, "1"),
        ("extra_body", f"{{headers: {{Authorization: 'Bearer {CANARY}'}}}}"),
        ("extra_body", f"{{password: {CANARY}}}"),
        ("extra_body", f"{{list: [1, {CANARY}]}}"),
        ("route", f"[{CANARY}]"),
        ("context_window", CANARY),
        ("description", f"{{token: {CANARY}}}"),
        ("serve", f"{{engine: vllm, model: m, env: {{HF_TOKEN: {CANARY}}}}}"),
        ("serve", f"{{engine: vllm, model: m, args: [--api-key, {CANARY}]}}"),
        ("serve", f"{{engine: vllm, model: m, args: [--api-key={CANARY}]}}"),
        ("base_url", f"http://user:{CANARY}@host:8000/v1"),
        ("base_url", f"http://{CANARY}@host:8000/v1"),
        ("base_url", f"http://user:{CANARY}/x@host:8000/v1"),
        ("base_url", f"user:{CANARY}@host:8000/v1"),
        ("base_url", f"http://host:8000/v1?key={CANARY}"),
        ("base_url", f"ftp://host/v1#{CANARY}"),
    ],
)
def test_a_literal_secret_is_refused_and_not_shown(tmp_path: Path, key: str, value: str) -> None:
    """A key or password in the file is a fault, and no message repeats it."""
    error = fault_of(tmp_path, entry(**{key: value}))
    place = "mine." if key == CANARY else f"mine.{key}"
    assert any(fault.place.startswith(place) for fault in error.faults)
    for hidden in ("canary", "c0ffee00", "jH3kD9fL"):
        assert hidden not in str(error)
        assert hidden not in repr(error)


@pytest.mark.parametrize(
    "name",
    ["VLLM_API_KEY", "key", "myKey2", "A_KEY_OF_THE_STAGING_CLUSTER_2", "HF_TOKEN_READ", "_x"],
)
def test_a_variable_s_name_is_taken_for_one(tmp_path: Path, name: str) -> None:
    """Names as people give them to variables are not mistaken for keys."""
    assert load(tmp_path, entry(api_key_env=name)).get("mine").api_key_env == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("description", "'asks for Bearer authentication; task-specific, sk-learn'"),
        ("serve", "{engine: vllm, model: m, args: [--tokenizer=t, --hf-token, --max-logprobs=5]}"),
        ("serve", "{engine: vllm, model: org/hf_transfers_2, env: {HF_HOME: /data/hf_home_2024}}"),
        ("extra_body", "{seed: 3, stop: ['token', 'key']}"),
    ],
)
def test_common_words_are_no_secrets(tmp_path: Path, key: str, value: str) -> None:
    """What only resembles a key is left alone."""
    text = entry(**{key: value})
    if key == "serve":
        text = text.replace("  base_url: http://127.0.0.1:8000/v1\n", "")
    assert load(tmp_path, text).ids() == ("mine",)


def test_a_server_s_owned_flags_are_refused(tmp_path: Path) -> None:
    """Address, key and names of a managed server are capgate's to set."""
    text = "mine: {model_name: m, serve: {engine: vllm, model: m, args: [--port, '80']}}"
    assert "--port is set by capgate" in faults(tmp_path, text)["mine.serve.args"]


def test_a_request_s_own_fields_are_not_overridden(tmp_path: Path) -> None:
    """What has an option or key of its own is refused in extra_body, with that option's name."""
    body = "{temperature: 1, seed: 3}"
    told = faults(tmp_path, entry(extra_body=body))["mine.extra_body"]
    assert "temperature would override --temperature" in told
    assert load(tmp_path, entry(extra_body="{seed: 3}")).get("mine").extra_body == {"seed": 3}


def test_all_faults_of_one_entry_are_told(tmp_path: Path) -> None:
    """A wrong field hides neither a missing one nor a clash, and a list is told whole."""
    text = """
mine:
  id: other
  logprobs: 99
  path: a
  extra_body: {temperature: 1, n: 2, since: 2024-01-01}
  serve: {engine: vllm, model: m, args: [--port, '80', --host=h, --served_model_name=x]}
tuned: {adapter_of: mine, base_url: 'ftp://x', serve: {engine: vllm}, model_name: ' '}
"""
    found = [(fault.place, fault.what) for fault in fault_of(tmp_path, text).faults]
    places = {place for place, _ in found}
    assert places == {
        "mine.id",
        "mine",
        "mine.model_name",
        "mine.logprobs",
        "mine.extra_body",
        "mine.serve.args",
        "tuned",
        "tuned.model_name",
        "tuned.base_url",
        "tuned.serve.model",
    }
    told = " ".join(what for _, what in found)
    for piece in (
        "n would override",
        "temperature would override",
        "--port, --host, --served-model-name",
        "take out base_url, serve",
        "since can't be sent as JSON",
    ):
        assert piece in told


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("request_timeout", ".inf"),
        ("request_timeout", ".nan"),
        ("serve", "{engine: vllm, model: m, start_timeout: .inf}"),
        ("serve", "{engine: llamacpp, model: m, start_timeout: .inf}"),
        ("api_key_env", '"VLLM_API_KEY\\n"'),
        ("base_url", '"http://h /v1"'),
        ("base_url", '"http://h/v1\\n"'),
        ("base_url", '"http://h\\t/v1"'),
        ("extra_body", "{x: {y: [.nan]}}"),
        ("extra_body", "{x: 2024-01-01}"),
        ("extra_body", "{x: !!binary aGk=}"),
        ("route", "{x: [2024-01-01]}"),
    ],
)
def test_values_that_no_request_could_use(tmp_path: Path, key: str, value: str) -> None:
    """What would fail or wait for ever later is refused on reading, with its place."""
    assert any(place.startswith(f"mine.{key}") for place in faults(tmp_path, entry(**{key: value})))


def test_an_id_that_ends_in_a_line_feed_is_refused(tmp_path: Path) -> None:
    """An id that merely looks like one is told."""
    text = entry().replace("mine:", '"mine\\n":')
    assert "letters, digits" in next(iter(faults(tmp_path, text).values()))


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    """A mistyped port is found on reading, not on the first request."""
    assert "mine.base_url" in faults(tmp_path, entry(base_url="http://host:80000/v1"))
    assert "mine.base_url" in faults(tmp_path, entry(base_url="http://host:8o00/v1"))


def test_a_key_given_twice_is_a_fault(tmp_path: Path) -> None:
    """A repeated entry or key is told with its line and does not win silently."""
    twice = faults(tmp_path, entry() + entry())
    assert twice == {"line 4, column 1": "the key 'mine' stands twice"}
    assert "'model_name'" in next(iter(faults(tmp_path, f"{entry()}  model_name: n\n").values()))


def test_yaml_s_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    """An entry may take another one's keys over and replace some of them."""
    text = """
first: &first
  model_name: m
  base_url: http://127.0.0.1:8000/v1
  max_connections: 4
second: &second
  <<: *first
  max_connections: 5
third:
  <<: *second
  model_name: n
"""
    third = load(tmp_path, text).get("third")
    assert (third.model_name, third.max_connections) == ("n", 5)


def test_a_file_of_60_000_entries_is_read(tmp_path: Path) -> None:
    """With anchors and merge keys, as any file; one that is no file of targets is not."""
    head = "base: &base\n  base_url: http://127.0.0.1:8000/v1\n  model_name: m\n"
    file = tmp_path / "models.yaml"
    file.write_text(head + "".join(f"m{at}:\n  <<: *base\n" for at in range(60_000)))
    assert len(load_targets(file).ids()) == 60_001
    with file.open("ab") as stream:
        stream.truncate(bounded_yaml.FILE_BYTES + 1)
    with pytest.raises(ConfigError, match=r"models\.yaml is larger than 16 MiB"):
        load_targets(file)


def test_of_thousands_of_faults_a_hundred_are_shown(tmp_path: Path) -> None:
    """All are counted; no line is longer than a screen shows."""
    file = tmp_path / "models.yaml"
    file.write_text("".join(f"m{at}: x\n" for at in range(3_000)) + f"? {'k' * 9_000}\n: x\n")
    with pytest.raises(ConfigError, match="has 3001 faults") as caught:
        load_targets(file)
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (102, "  … and 2,901 more")
    assert len(caught.value.faults) == 3_001
    assert len(str(caught.value.faults[-1])) < 1_000


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    """What is no YAML is told with line and column."""
    error = fault_of(tmp_path, "mine:\n  model_name: m\n   base_url: x\n")
    assert "is not valid YAML" in str(error)
    assert error.faults[0].place == "line 3, column 12"


def anchored(first: str, later: str, count: int) -> str:
    """A mapping whose entries each stand for the one before, several times over."""
    entries = [f"a0: &a0 {first}", *(f"a{n}: &a{n} {later}" for n in range(1, count))]
    return "{" + ", ".join(e.replace("*", f"*a{n - 1}") for n, e in enumerate(entries)) + "}"


ALIASES = anchored("[x]", "[" + ",".join(["*"] * 10) + "]", 12)
MERGES = anchored("{b: 1}", "{<<: [" + ",".join(["*"] * 10) + "]}", 12)
DEEP_ALIASES = anchored("[x]", "[" * 30 + "*" + "]" * 30, 3)
"""A few hundred bytes each; the first two stand for 10¹¹ nodes."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024-13-45", "no valid timestamp; a text goes in quotes"),
        ("!!int abc", "no valid int"),
        ("!!int ''", "no valid int"),
        ("!!float x", "no valid float"),
        ("!!bool x", "no valid bool"),
        ("!!timestamp x", "no valid timestamp"),
        ("9" * 5000, "no valid int"),
        ("{? [a, [b]] : c}", "unhashable"),
        ("&a {b: *a}", "stands within itself"),
        ("&a [*a]", "stands within itself"),
        ("[" * 2000 + "]" * 2000, "nested more than"),
        ("1" + ":01" * 200_000, "no valid int"),
        (ALIASES, "more than 2,000,000 nodes"),
        (MERGES, "more than 2,000,000 nodes"),
        (DEEP_ALIASES, "nested more than"),
    ],
)
@pytest.mark.parametrize("name", ["models", "floors", "policy", "alerts"])
def test_yaml_that_can_t_be_had_is_told(tmp_path: Path, name: str, value: str, said: str) -> None:
    """Dates that are none, loops and endless nesting are told with their line, in every file."""
    file = tmp_path / "config" / f"{name}.yaml"
    file.parent.mkdir()
    file.write_text(f"mine:\n  description: {value}\n", encoding="utf-8")
    read: dict[str, Callable[[], object]] = {
        "models": lambda: load_targets(file),
        "floors": lambda: load_floors(file),
        "policy": lambda: policy_for(tmp_path, "mine", file),
        "alerts": lambda: alert_urls(tmp_path, []),
    }
    with pytest.raises(ConfigError, match=said) as caught:
        read[name]()
    assert said == "unhashable" or caught.value.faults[0].place.startswith("line 2, column ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"- mine\n- yours\n", "not a list"),
        (b"just words\n", "not a text"),
        (b"", "it has no entries"),
        (b"mine: \xff\n", "can't be read"),
        (b"mine: \x07\n", "is not valid YAML"),
        (b"mine: !!python/object:os.system {}\n", "is not valid YAML"),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    """A file that holds something else says so in one paragraph."""
    file = tmp_path / "models.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_targets(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A missing file says what it should hold and what to do."""
    with pytest.raises(ConfigError, match=r"does not exist.*Run from the project's root"):
        load_targets(tmp_path / "models.yaml")


def test_an_unknown_id_names_the_nearest(tmp_path: Path) -> None:
    """A mistyped id is answered with those that were probably meant, or with all."""
    targets = load(tmp_path, GUIDE + entry())
    with pytest.raises(ConfigError, match="Did you mean lambda-ai-gpu"):
        targets.get("lamda-ai-gpu")
    with pytest.raises(ConfigError, match="Known: lambda-ai-gpu, mine"):
        targets.get("zzzzzzzz")


def test_one_default_at_most(tmp_path: Path) -> None:
    """Two defaults are a fault; none is one only when a default is asked for."""
    yours = entry(default="true").replace("mine", "yours")
    assert "only one entry" in faults(tmp_path, entry(default="true") + yours)["default"]
    with pytest.raises(ConfigError, match="Name a target with --model-id ID"):
        load(tmp_path, entry()).default()


@pytest.mark.parametrize(
    ("keys", "place", "said"),
    [
        ({"path": "a"}, "mine", "belong to an adapter"),
        ({"revision": "main"}, "mine", "belong to an adapter"),
        ({"adapter_of": "mine"}, "mine", "take out base_url"),
        ({"serve": "{engine: vllm, model: m}"}, "mine", "give either base_url"),
        ({"serve": "vllm"}, "mine.serve", "expected keys and values, got 'vllm'"),
        ({"model_name": "''"}, "mine.model_name", "is blank"),
        ({"model_name": "' '"}, "mine.model_name", "is blank"),
        ({"id": "other"}, "mine.id", "the entry's name is its id"),
    ],
)
def test_keys_that_do_not_go_together(
    tmp_path: Path, keys: dict[str, str], place: str, said: str
) -> None:
    """An entry names one server, and adapters' keys stand in adapters' entries only."""
    assert said in faults(tmp_path, entry(**keys))[place]


def test_an_adapter_of_an_adapter_is_refused(tmp_path: Path) -> None:
    """An adapter's base is a model."""
    text = entry() + "one: {adapter_of: mine, path: a}\ntwo: {adapter_of: one, path: b}\n"
    assert "one is itself an adapter" in faults(tmp_path, text)["two.adapter_of"]


ADAPTERS = """
base:
  model_name: openai/served
  base_url: http://127.0.0.1:8000/v1
  api_key_env: VLLM_API_KEY
  context_window: 2048
  max_connections: 7
  default: true
tuned:
  adapter_of: base
  path: adapters/tuned
  max_connections: 3
other:
  model_name: o
  base_url: http://127.0.0.1:8001/v1
"""


def test_an_adapter_takes_from_its_base_what_it_leaves_open(tmp_path: Path) -> None:
    """An adapter's entry has its base's settings, its own where it names them, and no server."""
    tuned = load(tmp_path, ADAPTERS).get("tuned")
    assert (tuned.adapter_of, tuned.path, tuned.served_name) == ("base", "adapters/tuned", "tuned")
    assert (tuned.context_window, tuned.max_connections) == (2048, 3)
    assert (tuned.base_url, tuned.api_key_env, tuned.default) == (None, None, False)


def test_an_adapter_named_on_the_command_line(tmp_path: Path) -> None:
    """Its name is an entry of its base, or else a target made of the base for the occasion."""
    targets = load(tmp_path, ADAPTERS)
    assert targets.adapter("base", "tuned") == targets.get("tuned")
    made = targets.adapter("base", "./adapters/my run/")
    assert (made.id, made.adapter_of, made.max_connections) == ("base+my-run", "base", 7)
    for base, name, said in (
        ("other", "tuned", "belongs to base, not to other"),
        ("tuned", "more", "tuned is itself an adapter of base"),
        ("bse", "tuned", "Did you mean base"),
    ):
        with pytest.raises(ConfigError, match=said):
            targets.adapter(base, name)


def test_serve_blocks(tmp_path: Path) -> None:
    """A managed target says how its server is started; each engine has its own keys."""
    text = """
small:
  model_name: small
  serve: {engine: llamacpp, model: a.gguf, parallel: 2, threads: 3, env: {A: b}}
large:
  model_name: large
  serve: {engine: vllm, model: org/m, revision: v1, args: [--enable-lora], python: p/bin/python}
"""
    targets = load(tmp_path, text)
    small, large = targets.get("small").serve, targets.get("large").serve
    assert isinstance(small, LlamaCppServe)
    assert (small.model, small.parallel, small.threads, small.env) == ("a.gguf", 2, 3, {"A": "b"})
    assert isinstance(large, VllmServe)
    assert (large.revision, large.args) == ("v1", ("--enable-lora",))

    found = faults(
        tmp_path, "mine: {model_name: m, serve: {engine: llamacpp, modle: a, parallel: 0}}"
    )
    assert found["mine.serve.modle"] == "unknown key; did you mean model?"
    assert found["mine.serve.model"] == "is missing"
    assert "mine.serve.parallel" in found


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are read from .env, but a variable that is set already stays."""
    (tmp_path / ".env").write_text("ONE_KEY=from-file\nTWO_KEY=from-file\n", encoding="utf-8")
    monkeypatch.setenv("ONE_KEY", "from-environment")
    monkeypatch.delenv("TWO_KEY", raising=False)
    known = environment(tmp_path)
    assert (known["ONE_KEY"], known["TWO_KEY"]) == ("from-environment", "from-file")


def test_an_unreadable_dotenv_is_told(tmp_path: Path) -> None:
    """A .env that is no UTF-8 is named with the remedy; nothing of it is shown."""
    (tmp_path / ".env").write_bytes("ONE_KEY=sécret\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"\.env can't be read.*Save it as UTF-8") as caught:
        environment(tmp_path)
    assert "cret" not in str(caught.value)


def test_a_missing_key_variable_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Where the key's variable is unset or blank, the message says how to set it."""
    target = load(tmp_path, GUIDE).get("lambda-ai-gpu")
    for known in ({}, {"VLLM_API_KEY": "  "}):
        with pytest.raises(ConfigError) as caught:
            target.api_key(known)
        assert str(caught.value) == (
            "lambda-ai-gpu: the key's variable VLLM_API_KEY is not set. export VLLM_API_KEY=… or "
            "add the line VLLM_API_KEY=… to .env."
        )
    assert target.api_key({"VLLM_API_KEY": " a-key\n"}) == "a-key"
    assert load(tmp_path, entry()).get("mine").api_key({}) is None


# YAML's plain values, nested: what a hand-written file can hold.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab:/@.-_ {}[]", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc_", max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["model_name", "base_url", "serve", "adapter_of", "api_key_env", "extra_body", "x", "args"]
)


@given(
    st.dictionaries(
        st.text("ab-._ ", min_size=1, max_size=5),
        VALUES | st.dictionaries(KEYS, VALUES, max_size=4),
        max_size=3,
    )
)
def test_no_file_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    """Whatever YAML the file holds, it loads or its faults are told."""
    import yaml

    file = tmp_path_factory.getbasetemp() / "any-models.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with suppress(ConfigError):
        load_targets(file)


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "Proxy-Authorization"])
def test_the_redactor_leaves_the_words_of_a_fault(tmp_path: Path, name: str) -> None:
    """A key that is called like a header is not taken for the header and its value."""
    text = f"mine:\n  base_url: http://x/v1\n  model_name: m\n  extra_body: {{{name}: abc123}}\n"
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_targets(tmp_path / "models.yaml")
    said = Redactor().text(str(caught.value))
    assert f"mine.extra_body.{name} (the key): a literal secret may not stand in this file" in said
    assert "[redacted]" not in said
