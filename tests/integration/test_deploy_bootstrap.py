"""`wasme deploy envoy --bootstrap` and `--out`, judged by the real Envoy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Result
from tests.fixtures import filters
from tests.fixtures.bootstraps import COMMENTED, LAUGHS
from tests.fixtures.envoys import WASME, Deploy, Verdict, ask
from wasme.envoy.config import default_bootstrap

Run = Callable[..., Result]
Validate = Callable[[str], Verdict]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "adds.wasm"
    path.write_bytes(filters.adds_config())
    return path


@pytest.fixture
def bootstrap(tmp_path: Path) -> Path:
    path = tmp_path / "envoy.yaml"
    path.write_text(COMMENTED)
    return path


def _without_added(before: str, after: str) -> str:
    """What is left of ``after`` without the lines that are new in it."""
    diff = difflib.SequenceMatcher(None, before.splitlines(True), after.splitlines(True), autojunk=False)
    kept = [(start, end) for kind, _, _, start, end in diff.get_opcodes() if kind != "insert"]
    return "".join("".join(after.splitlines(True)[start:end]) for start, end in kept)


@pytest.mark.parametrize(
    "extra", [[], ["--upstream=127.0.0.1:9"], ["--upstream=example.com:80"], ["--cluster=a|b=c=[::1]:9"]], ids=" ".join
)
def test_default_configuration_is_accepted(extra: list[str], run: Run, module: Path, validate: Validate) -> None:
    """What `--out -` prints is complete YAML that Envoy accepts, and nothing has been started."""
    result = run("deploy", "envoy", module, "--out=-", "--config=tell: 'me'\nmore", "--id=i", *extra)
    verdict = validate(result.stdout)
    assert verdict.accepted, verdict.log
    assert "has unknown" not in verdict.log
    assert "eprecated" not in verdict.log
    assert "envoy is ready" not in result.stderr
    root = yaml.safe_load(result.stdout)
    manager = root["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert [each["name"] for each in manager["http_filters"]] == [
        "envoy.filters.http.wasm",
        "envoy.filters.http.router",
    ]
    assert manager["http_filters"][0]["typed_config"]["config"] == {
        "name": "i",
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "tell: 'me'\nmore"},
        "vm_config": {
            "vm_id": "i",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(module)}},
        },
    }


def test_defaults_of_the_addresses(run: Run, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ports are the original's, 8080 and 19000, on loopback; everywhere in a container. No Envoy is needed."""
    told = []
    monkeypatch.setenv("WASME_ENVOY", "/nonexistent")
    for runtime in ("auto", "docker"):
        root = yaml.safe_load(run("deploy", "envoy", module, "--out=-", f"--runtime={runtime}").stdout)
        told += [
            root["static_resources"]["listeners"][0]["address"]["socket_address"],
            root["admin"]["address"]["socket_address"],
        ]
    assert told == [
        {"address": "127.0.0.1", "port_value": 8080},
        {"address": "127.0.0.1", "port_value": 19000},
        {"address": "0.0.0.0", "port_value": 8080},
        {"address": "0.0.0.0", "port_value": 19000},
    ]


def test_out_to_files(run: Run, module: Path, validate: Validate, tmp_path: Path) -> None:
    """A file gets YAML, one named .json gets JSON; both say the same; a folder that is not there is told."""
    for name in ("c.yaml", "c.json"):
        result = run("deploy", "envoy", module, "--out", tmp_path / name)
        assert result.stdout == ""
    texts = [(tmp_path / name).read_text() for name in ("c.yaml", "c.json")]
    assert yaml.safe_load(texts[0]) == json.loads(texts[1])
    assert all(validate(text).accepted for text in texts)
    for out in (tmp_path / "no" / "c.yaml", "/dev/full"):
        result = run("deploy", "envoy", module, "--out", out, ok=False)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {out} cannot be written: ")
        assert "Hint: --out takes another file" in result.stderr
        assert "store" not in result.stderr


def test_out_in_json(run: Run, module: Path, tmp_path: Path) -> None:
    """`--output json` tells the file on stdout; with `--out -` stdout is the configuration itself, as JSON."""
    path = tmp_path / "c.yaml"
    assert run("deploy", "envoy", module, "--out", path, "-o", "json").json == {"out": str(path)}
    assert run("deploy", "envoy", module, "--out=-", "-o", "json").json == yaml.safe_load(path.read_text())


def test_localhost_is_an_address(run: Run, module: Path) -> None:
    """Envoy takes no host name to listen on; the one that everybody types means 127.0.0.1."""
    root = yaml.safe_load(run("deploy", "envoy", module, "--out=-", "--listen=localhost:8081").stdout)
    assert root["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_comments_order_and_quotes_survive(run: Run, module: Path, bootstrap: Path, validate: Validate) -> None:
    """Patching a commented file only adds lines: every line of the user's is there as it was, in its order."""
    result = run("deploy", "envoy", module, "--bootstrap", bootstrap, "--out=-", "--id=i")
    assert _without_added(COMMENTED, result.stdout) == COMMENTED
    assert result.stdout.count(str(module)) == 2
    verdict = validate(result.stdout)
    assert verdict.accepted, verdict.log


def test_the_same_id_replaces(run: Run, module: Path, bootstrap: Path, tmp_path: Path) -> None:
    """[BUG] the original's check for a filter already there never worked: now the same id again replaces it."""
    arguments = ("deploy", "envoy", module, "--out=-", "--id=i")
    once = run(*arguments, "--bootstrap", bootstrap, "--config=first").stdout
    bootstrap.write_text(once)
    twice = run(*arguments, "--bootstrap", bootstrap, "--config=second").stdout
    assert twice == once.replace("value: first", "value: second")
    bootstrap.write_text(twice)
    other = run("deploy", "envoy", module, "--out=-", "--id=other", "--bootstrap", bootstrap).stdout
    assert other.count("filename:") == 4
    assert other.count("name: i\n") == other.count("name: other\n") == 2


def test_filters_behind_the_router_stay(run: Run, module: Path, tmp_path: Path) -> None:
    """[BUG] the original dropped what stands behind the router."""
    root = default_bootstrap()
    manager = root["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].append({"name": "behind"})
    path = tmp_path / "b.json"
    path.write_text(json.dumps(root))
    patched = yaml.safe_load(run("deploy", "envoy", module, "--bootstrap", path, "--out=-").stdout)
    manager = patched["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert [each["name"].rpartition(".")[2] for each in manager["http_filters"]] == ["wasm", "router", "behind"]


def test_run_with_a_bootstrap_from_standard_input(deploy: Deploy, module: Path) -> None:
    """`--bootstrap -` runs Envoy with the patched configuration, in every manager."""
    deployed = deploy(module, "--bootstrap=-", "--config=piped", stdin=COMMENTED, ports=False)
    answer = ask(deployed.url)
    assert (answer.body, answer.headers["hello"]) == ("public", "piped")
    listeners = json.loads(ask(f"{deployed.admin}/listeners?format=json").body)["listener_statuses"]
    port = next(each for each in listeners if each["name"] == "second")["local_address"]["socket_address"]["port_value"]
    answer = ask(f"http://127.0.0.1:{port}")
    assert (answer.status, answer.headers["hello"]) == (204, "piped")


def test_run_without_an_admin_interface(deploy: Deploy, module: Path, tmp_path: Path) -> None:
    """A bootstrap without `admin` gets one for this run, so that ready can be told; `--out` adds none."""
    text = COMMENTED.replace(COMMENTED[COMMENTED.index("admin:") : COMMENTED.index("static_resources:")], "")
    path = tmp_path / "b.yaml"
    path.write_text(text)
    assert ask(deploy(module, "--bootstrap", path, ports=False).url).body == "public"
    deployed = deploy(module, "--bootstrap", path, "--out=-", ports=False, ready=False)
    assert deployed.process.wait(20) == 0
    assert "admin" not in yaml.safe_load(deployed.out.read_text())


def test_clusters_join_a_bootstrap(run: Run, module: Path, bootstrap: Path, validate: Validate) -> None:
    """`--cluster` adds to the user's clusters; one of the same name is replaced."""
    result = run(
        *("deploy", "envoy", module, "--bootstrap", bootstrap, "--out=-"),
        *("--cluster=auth=127.0.0.1:1", "--cluster=nowhere=127.0.0.1:2"),
    )
    clusters = yaml.safe_load(result.stdout)["static_resources"]["clusters"]
    assert [each["name"] for each in clusters] == ["nowhere", "auth"]
    assert "127.0.0.1" in json.dumps(clusters[0])
    assert validate(result.stdout).accepted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "is not a mapping"),
        ("a: [1\n", "is neither YAML nor JSON: line 2"),
        ("a: 1\na: 2\n", 'cannot be read: line 2, column 1: found duplicate key "a"'),
        ("a: 1\n---\nb: 2\n", "cannot be read: line 2, column 1: found another document"),
        ("{}", "no HTTP connection manager"),
        ("static_resources: {listeners: {}}", "static_resources.listeners is not a list"),
        ("static_resources: {listeners: [1]}", "static_resources.listeners[0] is not a mapping"),
        (
            "static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: {'@type': "
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager}}]}]}]}",
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters has no router",
        ),
        (
            "static_resources: {listeners: [{filter_chains: [{filters: [{name: envoy.http_connection_manager, "
            "config: {}}]}]}]}",
            "which is Envoy's v2 API",
        ),
        (
            "static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: {'@type': "
            "type.googleapis.com/envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager}}]}]}]}",
            "Envoy's v2 API",
        ),
        ("\x00", "is neither YAML nor JSON"),
        ("a: *b\n", "cannot be read: line 1, column 4: found undefined alias 'b'"),
        ("[" * 100_000, "cannot be read: line 1, column 101: nested too deeply"),
        ("a: &a [*a]\n", "cannot be read: line 1, column 4: 'a' is an alias inside of itself"),
        ("? [a]\n: b\n", "cannot be read: line 1, column 3: a key that is no text"),
        (LAUGHS, "stands for more than 1,000,000 values, with its aliases"),
        ('{"a":' * 5000, "nested too deeply"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested too deeply"),
    ],
)
def test_bootstraps_that_cannot_take_a_filter(text: str, words: str, run: Run, module: Path, tmp_path: Path) -> None:
    """Each is one line that names the file or the place in it; never a traceback."""
    path = tmp_path / "b.yaml"
    path.write_text(text)
    result = run("deploy", "envoy", module, "--bootstrap", path, "--out=-", ok=False)
    assert result.exit_code == 1
    assert words in result.stderr.splitlines()[-2 if "Hint:" in result.stderr else -1]
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen=example.com:80"], "--listen: 'example.com' is not an IP address"),
        (["--admin=1.2.3.256:80"], "--admin: '1.2.3.256' is not an IP address"),
        (["--bootstrap=/nonexistent.yaml"], "--bootstrap: cannot read /nonexistent.yaml: No such file or directory"),
        (["--config=@/nonexistent"], "--config: cannot read /nonexistent: No such file or directory"),
        (["--listen=8080"], "--listen: '8080' is not HOST:PORT"),
        (["--admin=a:b"], "--admin: 'a:b' is not HOST:PORT"),
        (["--upstream=::1:80"], "--upstream: '::1:80' is not HOST:PORT"),
        (["--cluster=nothing"], "--cluster: 'nothing' is not NAME=HOST:PORT"),
        (["--cluster=a=1"], "--cluster a: '1' is not HOST:PORT"),
        (["--cluster=a=b:1", "--cluster=a=b:2"], "--cluster: 'a' is given twice"),
        (["--envoy-run-args=it's"], "--envoy-run-args: No closing quotation"),
    ],
)
def test_wrong_flags(arguments: list[str], words: str, run: Run, module: Path) -> None:
    """Each wrong value is one line that names its flag."""
    result = run("deploy", "envoy", module, "--out=-", *arguments, ok=False)
    assert result.exit_code in (1, 2)
    assert f"Error: {words}" in result.stderr


def test_flags_of_the_default_bootstrap_beside_one_of_the_users(run: Run, module: Path, bootstrap: Path) -> None:
    """Rather an error than a flag that does nothing."""
    for flag in ("--listen=127.0.0.1:1", "--admin=127.0.0.1:1", "--upstream=127.0.0.1:1"):
        result = run("deploy", "envoy", module, "--bootstrap", bootstrap, flag, "--out=-", ok=False)
        assert result.exit_code == 2
        assert f"{flag.partition('=')[0]} and --bootstrap do not go together" in result.stderr


def test_help_names_every_flag_of_the_original(run: Run) -> None:
    """The original's flags, short ones too, are all there."""
    text = run("deploy", "envoy", "--help").stdout
    for name in ("-b, --bootstrap", "-e, --envoy-image", "--out", "--store", "--docker-run-args", "--envoy-run-args",
                 "--id", "--config", "--root-id"):  # fmt: skip
        assert name in text
    assert WASME
