"""What stands in a project, for every language, base and example."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import wasme.scaffold
from wasme.image import runtime_config
from wasme.scaffold import bases, templates
from wasme.scaffold.render import render
from wasme.wasm.module import MAGIC

ROOT = Path(__file__).parents[3]
EXAMPLES = ("add-header", "auth", "body", "metrics", "rate-limit")
# The original's root ids, and for what is new the example's name.
ROOT_IDS = {
    ("cpp", "add-header"): "add_header_root_id",
    ("rust", "auth"): "root_id",
    ("tinygo", "add-header"): "root_id",
    ("assemblyscript", "add-header"): "add_header",
    ("assemblyscript", "rate-limit"): "rate_limit",
    ("rust", "add-header"): "add_header",
}
SOURCES = {
    "cpp": {"filter.cc"},
    "rust": {"src/lib.rs", "Cargo.toml"},
    "assemblyscript": {"assembly/index.ts", "assembly/tsconfig.json", "package.json", "package-lock.json"},
    "tinygo": {"main.go", "go.mod", "go.sum"},
}


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("base", bases.BASES, ids=lambda base: f"{base.language}-{base.label[:12]}")
def test_a_project_is_complete(base: bases.Base, example: str) -> None:
    """Each example of each base has its sources, its scenarios, a README, .gitignore, and the ABIs of its base."""
    files = render(base, example)
    assert {"README.md", ".gitignore", "filter.test.yaml", "runtime-config.json"} | SOURCES[base.language] <= set(files)
    config = runtime_config.parse(files["runtime-config.json"])
    assert (config.type, config.abi_versions) == ("envoy_proxy", base.abi_versions)
    assert config.root_ids == (ROOT_IDS.get((base.language, example), example.replace("-", "_")),)
    assert not [name for name, content in files.items() if re.search(rb"{{\w+}}", content)]
    assert not [name for name in files if name.startswith(("/", "..")) or ("gitignore" in name and name[0] != ".")]
    shared = ROOT / "src/wasme/scaffold/templates/shared" / example
    assert files["filter.test.yaml"] == (shared / "filter.test.yaml").read_bytes()


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("base", bases.BASES, ids=lambda base: f"{base.language}-{base.label[:12]}")
def test_the_readme_says_what_it_does_and_how_it_is_built(base: bases.Base, example: str) -> None:
    """First what the example does, in the same words for all; then the commands, with this project's names."""
    readme = render(base, example)["README.md"].decode()
    shared = (ROOT / "src/wasme/scaffold/templates/shared" / example / "README.md").read_text()
    assert readme.startswith(shared + "\n## Build and run it\n")
    assert "\n## What is here\n" in readme
    assert readme.count("\n# ") == 0
    assert f"wasme build {base.language} . -t localhost:5000/me/{example}:v0.1\n" in readme
    flags = {
        "add-header": r" --config=everyone\n",
        "auth": r"( | \\\n +)--cluster 'outbound\|8080\|\|auth-simple\.istio\.svc\.cluster\.local=127\.0\.0\.1:8081'\n",
        "rate-limit": r"( | \\\n +)--config='{\"requests\": 3, \"milliseconds\": 10000}'\n",
    }
    assert re.search(r"\n\n    curl .*localhost:8080", readme)
    deploy = rf"\n +wasme deploy envoy localhost:5000/me/{example}:v0\.1[-a-z= ]*?{flags.get(example, chr(10))}"
    assert re.search(deploy, readme), readme
    assert max(len(line) for line in readme.splitlines() if not line.startswith("|")) <= 120


@pytest.mark.parametrize("language", bases.LANGUAGES)
def test_every_language_has_every_example(language: str) -> None:
    """The examples are the same in every language, and what each does is written down once."""
    for base in bases.offered(language):
        assert templates.examples(base.template) == EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_source_registers_the_root_id(example: str) -> None:
    """Where a filter has a name in its source, it is the one that Envoy is told; elsewhere any name will do."""
    files = render(bases.find("assemblyscript", "", ""), example)
    (root_id,) = runtime_config.parse(files["runtime-config.json"]).root_ids
    assert f'"{root_id}"'.encode() in files["assembly/index.ts"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_assemblyscript_callbacks_say_override(example: str) -> None:
    """Every method with the name of a callback does, so that the compiler knows of those it has misspelt."""
    files = render(bases.find("assemblyscript", "", ""), example)
    methods = re.compile(r"^  (override )?(on[A-Z]\w+|createContext)\(", re.MULTILINE)
    callbacks = {name for _, name in methods.findall(files["assembly/proxy/contexts.ts"].decode())}
    written = methods.findall(files["assembly/index.ts"].decode())
    assert {name for _, name in written} <= callbacks
    assert written
    assert all(word for word, _ in written)


def test_cpp_speaks_the_abi_of_the_platforms_day() -> None:
    """Of a C++ project for an old platform one line differs, the ABI's, and what tells of it; what is current needs
    none."""
    current = render(bases.find("cpp", "envoy", ""), "auth")
    assert b"PROXY_WASM_ABI" not in current.get("compile_flags.txt", b"")
    for platform, version, abi in (
        ("istio", "1.6.x", "0_1_0"),
        ("istio", "1.7.x", "0_2_0"),
        ("gloo", "1.5.x", "0_1_0"),
    ):
        files = render(bases.find("cpp", platform, version), "auth")
        assert f"-DPROXY_WASM_ABI={abi}" in files["compile_flags.txt"].decode().splitlines()
        differing = {name for name in files if files[name] != current.get(name)}
        assert differing == {"compile_flags.txt", "runtime-config.json", "README.md"}


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("cpp envoy ", "ABI 0.2.1: it runs in Envoy 1.17 and later (Istio 1.9, Gloo Edge 1.6 and later)"),
        ("cpp istio 1.8.x", "ABI 0.2.0: it runs in Envoy 1.17 and later (Istio 1.7, Gloo Edge 1.6 and later)"),
        ("cpp gloo 1.5.x", "ABI 0.1.0: it runs in Envoy 1.17 and later (Istio 1.5, Gloo Edge 1.3 and later)"),
        ("rust istio 1.9.x", "ABI 0.1.0: it runs in Envoy 1.17 and later (Istio 1.5, Gloo Edge 1.3 and later)"),
        ("rust istio 1.10.x", "runs in Envoy 1.17 and later (Istio 1.9, Gloo Edge 1.6 and later)"),
        ("assemblyscript istio 1.5.x", "runs in Envoy 1.17 and later (Istio 1.9, Gloo Edge 1.6 and later)"),
        ("tinygo envoy ", "runs in Envoy 1.33 and later (Istio 1.25, Envoy Gateway 1.3 and later)"),
    ],
)
def test_the_readme_says_where_it_runs(target: str, sentence: str) -> None:
    """It is the truth about this project: which line of C++'s flags there is, and which proxies are old enough."""
    language, platform, version = target.split(" ")
    base = bases.find(language, platform, version)
    readme = render(base, "auth")["README.md"].decode()
    assert sentence in readme
    if language == "cpp":
        has_line = base.abi != "0.2.1"
        assert ("That is by the line `-DPROXY_WASM_ABI=" + base.abi.replace(".", "_") in readme) == has_line
        assert ("makes one for older ones" in readme) == (not has_line)


def test_no_compiled_module_ships() -> None:
    """What a filter does comes from its source: no file of the templates is a module, packed or not."""
    folder = Path(wasme.scaffold.__file__).parent / "templates"
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files
    assert not [path for path in files if path.suffix in (".wasm", ".wat", ".gz", ".zip", ".tgz", ".o", ".a", ".rlib")]
    assert not [path for path, content in files.items() if MAGIC in content or not _is_text(content)]


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def test_the_wheel_holds_every_template(tmp_path: Path) -> None:
    """What is installed can make what the sources can: each file of the templates is in the wheel, dotfiles too."""
    subprocess.run(
        [sys.executable, "-m", "flit_core.wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    folder = ROOT / "src" / "wasme" / "scaffold" / "templates"
    expected = {str(path.relative_to(ROOT / "src")) for path in folder.rglob("*") if path.is_file()}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if "/templates/" in name}
    assert packed == expected
