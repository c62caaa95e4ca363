"""`wasme inspect`: the table, the JSON, and whatever may be given to it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import examples as known
from tests.fixtures import faulty, filters
from tests.fixtures.envoys import WASME
from tests.fixtures.examples import Examples
from tests.fixtures.registries import DockerRegistry
from wasme.image import layouts
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
from wasme.wasm import proxies
from wasme.wasm.module import MAGIC, parse

Run = Callable[..., Result]
CONFIG = RuntimeConfig("envoy_proxy", ("v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f", "v0.2.1"), ("add_header",))
NAME = "localhost:5000/demo/add-header:v1"


def keep(raw: bytes, layout: str = "oci", config: RuntimeConfig = CONFIG) -> Draft:
    """Put an image into the user's store."""
    draft = layouts.build(layout, raw, config)
    open_store().add(Reference.parse(NAME), draft)
    return draft


def test_table(run: Run) -> None:
    """The whole table of one image, as a person sees it; digests apart."""
    draft = keep(filters.adds_config())
    shown = run("inspect", NAME).stdout
    for digest, name in ((draft.descriptor.digest, "MANIFEST"), (draft.module.digest, "MODULE")):
        assert digest in shown
        shown = shown.replace(digest, name)
    golden = Path(__file__).parents[1].joinpath("fixtures", "inspect.txt").read_text()
    assert shown.replace(draft.blobs[0][0].digest, "CONFIGURATION") == golden


def test_json(run: Run) -> None:
    """The keys that the help promises, with plain values; what has no value is null."""
    draft = keep(filters.calls_out("auth"), "compat")
    told = run("inspect", NAME, "--output", "json").json
    help_text = run("inspect", "--help").stdout
    assert {"name", "source", "digest", "size", "loads", "image", "module", "runsIn", "findings"} == set(told)
    for key in [*told, *told["image"], *told["module"]]:
        assert key in help_text, key
    assert (told["name"], told["source"], told["loads"]) == (NAME, "store", True)
    assert (told["digest"], told["size"]) == (draft.module.digest, draft.module.size)
    image, module = told["image"], told["module"]
    assert (image["layout"], image["rootIds"], image["indexDigest"]) == ("compat", ["add_header"], None)
    assert image["abiVersions"][0]["abi"] == "0.1.0"
    assert {each["who"]: each["can"] for each in image["pulledBy"]}["docker, podman"]
    assert (module["abi"], module["allocator"], module["start"]) == ("0.2.1", "malloc", None)
    assert module["memory"] == {"initial": 65536, "maximum": None, "imported": False}
    assert module["hostCalls"] == {"HTTP calls": ["proxy_http_call"]}
    assert module["callbacks"]["answers to HTTP calls"] == ["proxy_on_http_call_response"]
    assert sum(each["size"] for each in module["sections"]) < told["size"]
    assert [(each["proxy"], each["since"]) for each in told["runsIn"]] == [
        ("Envoy", "1.17"), ("Istio", "1.8"), ("Envoy Gateway", "1.1"), ("Gloo Edge", "1.6")
    ]  # fmt: skip


def test_colour(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings are bold and findings coloured where that is wanted, and nowhere else."""
    keep(filters.module(imports=filters.CALL))
    plain = run("inspect", NAME).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("inspect", NAME).stdout
    assert "\033[1mModule\033[0m" in coloured
    assert "\033[33mwarning" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert run("inspect", NAME).stdout == plain
    assert "\033" not in plain


def test_names_that_would_write_on_the_terminal(run: Run, tmp_path: Path) -> None:
    """Control characters in names of strangers never reach the terminal, from `inspect` or from `validate`."""
    raw = filters.module(imports='(import "env" "\\1b[2J\\n\\e2\\80\\ae" (func))')
    raw += b"\0\x06\x05\x1b[31m"
    keep(raw, config=RuntimeConfig("envoy_proxy", ("\x1b[32m",), ("\x07",)))
    for word in ("inspect", "validate"):
        shown = run(word, NAME, ok=False).stdout
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
        assert "env.\N{REPLACEMENT CHARACTER}[2J" in shown


def test_broken_module_in_an_image(run: Run) -> None:
    """The image is explained, though its module is none; the exit code says so."""
    keep(b"no module at all")
    result = run("inspect", NAME, ok=False)
    assert result.exit_code == 1
    assert "manifest" in result.stdout
    assert "Failed to parse corrupted Wasm module" in result.stdout
    assert run("inspect", NAME, "-o", "json", ok=False).json["module"] is None


def hostile(folder: Path) -> dict[str, Path]:
    """Files that are no module, each in its own way."""
    good = filters.adds_config()
    contents = {
        "empty": b"",
        "text": b"(module)",
        "html": b"<!doctype html>",
        "truncated": good[:200],
        "component": b"\0asm\x0d\0\1\0" + good[8:],
        "huge counts": MAGIC + b"\1\0\0\0\1\5\xff\xff\xff\xff\x0f",
        "loops": MAGIC + b"\1\0\0\0" + b"\1\x80\x80\x80\x80\x00" * 1000,
        "types in types": MAGIC + b"\1\0\0\0\1\x84\x80\4" + b"\x4e\1" * 32770,
        "zeros": bytes(1 << 20),
    }
    for name, content in contents.items():
        (folder / f"{name}.wasm").write_bytes(content)
    return {name: folder / f"{name}.wasm" for name in contents}


def test_hostile_files(run: Run, tmp_path: Path) -> None:
    """Each is one clear finding, and no traceback."""
    for name, path in hostile(tmp_path).items():
        result = run("validate", path, "-o", "json", ok=False)
        assert result.exit_code == 1, name
        findings = [each for each in result.json["findings"] if each["severity"] == "error"]
        assert len(findings) == 1, name
        assert findings[0]["hint"]
        assert run("inspect", path, ok=False).exit_code == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.mkdir(), "is a folder without an OCI image layout"),
        (os.mkfifo, "is a device or a pipe, no file"),
        (lambda _path: None, "there is no file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device or a pipe, no file"),
        (lambda path: path.symlink_to(path), "cannot read"),
    ],
    ids=["folder", "pipe", "nothing", "device", "a link to itself"],
)
def test_what_is_no_file(make: Callable[[Path], None], told: str, run: Run, tmp_path: Path) -> None:
    """One line that says what it is."""
    path = tmp_path / "x.wasm"
    make(path)
    for word in ("inspect", "validate"):
        result = run(word, path, ok=False)
        assert result.exit_code == 1
        assert told in result.stderr
        assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize("word", ["inspect", "validate"])
def test_two_gigabytes_in_little_memory(word: str, tmp_path: Path) -> None:
    """A sparse file of 2 GB that begins well is refused for its size, in 300 MB of address space and 20 s of time."""
    path = tmp_path / "huge.wasm"
    with path.open("wb") as file:
        file.write(MAGIC + b"\1\0\0\0")
        file.truncate(2 << 30)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run([sys.executable, "-m", "wasme", word, path], capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert "too-large: the module has 2147483648 bytes" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_at_a_registry(layout: str, run: Run, docker_registry: DockerRegistry, home: Path) -> None:
    """What is not here is looked up at its registry: told so, explained alike, and not kept."""
    name = f"{docker_registry.host}/inspect/{layout}:v1"
    reference = Reference.parse(name)
    open_store().add(reference, layouts.build(layout, filters.adds_config(), CONFIG))
    here = run("inspect", name, "-o", "json").json
    run("push", name)
    run("rm", name)
    run("prune")
    result = run("inspect", name, "-o", "json")
    assert "not in the local store, looking at the registry" in result.stderr
    assert result.json == {**here, "source": "registry"}
    assert "at its registry" in run("inspect", name).stdout
    assert run("validate", name, "--envoy").stdout.count("takes it") == 1
    assert name not in run("list").stdout
    assert not [path for path in (home / ".wasme" / "oci" / "blobs").rglob("*") if path.is_file()]


def test_a_registry_that_wants_a_login(run: Run, login_registry: DockerRegistry) -> None:
    """Credentials are given as to `pull`."""
    name = f"{login_registry.host}/inspect/private:v1"
    open_store().add(Reference.parse(name), layouts.build("oci", filters.adds_config(), CONFIG))
    account = ("-u", login_registry.user, "-p", login_registry.password)
    run("push", name, *account)
    run("rm", name)
    refused = run("inspect", name, ok=False)
    assert refused.exit_code == 1
    assert "Error: " in refused.stderr
    assert "Proxy-Wasm 0.2.1" in run("inspect", name, *account).stdout


def test_a_registry_that_gives_other_bytes(
    run: Run, faulty_registry: faulty.Registry, holds_image: Callable[..., Draft]
) -> None:
    """Neither here nor there is one error; a name that the registry has not is told with both."""
    holds_image(faulty_registry, "a/b", "v1")
    result = run("inspect", f"{faulty_registry.host}/a/b:v2", "--plain-http", ok=False)
    assert result.exit_code == 1
    assert "there is no image" in result.stderr
    assert "its registry has none" in result.stderr


_LANGUAGES = {
    "assemblyscript": ("AssemblyScript", "wasme's own"),
    "cpp": ("C++", "wasme's own"),
    "rust": ("Rust", "proxy-wasm 0.2"),
    "rust-0.1": ("Rust", "proxy-wasm 0.1.4"),
    "tinygo": ("Go", "github.com/proxy-wasm/proxy-wasm-go-sdk"),
}


@pytest.mark.parametrize("example", ["auth"])
@pytest.mark.parametrize("language", known.LANGUAGES)
def test_examples(language: str, example: str, run: Run, examples: Examples) -> None:
    """What our own templates make is known for what it is after all optimising, and can run where it shall."""
    built = examples.built(language, example)
    told = run("inspect", built.module, "-o", "json").json
    base, platform, version = known.LANGUAGES[language]
    name, sdk = _LANGUAGES.get(language) or _LANGUAGES[base]
    assert told["module"]["origin"]["language"] in (name, "TinyGo" if base == "tinygo" else name)
    assert told["module"]["origin"]["sdk"].startswith(sdk)
    assert "HTTP calls" in told["module"]["hostCalls"]
    assert told["module"]["callbacks"]["answers to HTTP calls"]
    answer = proxies.can_run(parse(built.module.read_bytes()), platform or "envoy", version or "1.40.0")
    assert answer.runs == "yes", answer.reason


@pytest.mark.parametrize("word", ["inspect", "validate"])
def test_a_file_is_answered_at_once(word: str, tmp_path: Path) -> None:
    """For a file nothing is imported that only images, registries or Envoy need: the answer comes at once."""
    path = tmp_path / "filter.wasm"
    path.write_bytes(filters.adds_config())
    code = f"""
import sys
from wasme.cli.main import run
assert run([{word!r}, {str(path)!r}]) == 0
print([name for name in sys.modules if name.startswith(("wasme.image", "wasme.registry", "wasme.envoy"))
       or name in ("msgspec", "urllib3", "yaml", "ssl", "subprocess", "tempfile")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("word", ["inspect", "validate"])
def test_a_module_on_standard_input(word: str, tmp_path: Path) -> None:
    """`-` reads the module from a pipe, and says what it is; a pipe by another name is refused with that word."""
    raw = filters.adds_config()
    told = subprocess.run([*WASME, word, "-", "-o", "json"], input=raw, capture_output=True, check=True)
    assert json.loads(told.stdout)["source"] == "stdin"
    assert json.loads(told.stdout)["loads"]
    text = subprocess.run([*WASME, word, "-"], input=raw, capture_output=True, check=True)
    assert text.stdout.startswith(b"- (standard input)\n")
    assert subprocess.run([*WASME, word, "-"], input=b"no module", capture_output=True, check=False).returncode == 1
    refused = subprocess.run([*WASME, word, "/dev/stdin"], input=raw, capture_output=True, check=False)
    assert refused.returncode == 1
    assert b"- for a module on standard input" in refused.stderr
