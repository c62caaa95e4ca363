"""`wasme build cpp`, with every compiler that is here: what comes out, and what it says when nothing can."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.cpp import KINDS, build, compiler, project
from tests.fixtures.proxies import Echo, running
from tests.fixtures.small_host import Host
from wasme.build.cpp.toolchain import Cpp
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed
from wasme.wasm import check
from wasme.wasm.module import parse

Run = Callable[..., Result]
each_compiler = pytest.mark.parametrize("kind", KINDS)
ALWAYS = {"memory", "malloc", "_initialize", "proxy_abi_version_0_2_1", "proxy_on_context_create", "proxy_on_delete"}
CALLBACKS = {
    "add-header": {"proxy_on_configure", "proxy_on_response_headers"},
    "auth": {"proxy_on_configure", "proxy_on_request_headers", "proxy_on_http_call_response"},
    "body": {"proxy_on_configure"}
    | {f"proxy_on_{way}_{part}" for way in ("request", "response") for part in ("headers", "body", "trailers")},
    "metrics": {"proxy_on_configure", "proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_log"},
    "rate-limit": {"proxy_on_configure", "proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_tick"},
}
# Bytes before wasm-opt, which takes another tenth.
MOST = {"add-header": 3_500, "auth": 6_600, "body": 5_900, "metrics": 3_400, "rate-limit": 6_500}
TEXT_ONLY = Path(__file__).parents[2] / "bench" / "filters_source" / "add_header_text.cc"


@each_compiler
@pytest.mark.parametrize("example", CALLBACKS)
def test_examples(kind: str, example: str, tmp_path: Path) -> None:
    """An example exports the callbacks that it has and no others, is small, and Envoy has nothing to complain of."""
    module = build(project(tmp_path / "p", example), kind)
    assert {each.name for each in parse(module.read_bytes()).exports} == ALWAYS | CALLBACKS[example]
    assert not check.check(module.read_bytes())
    assert module.stat().st_size <= MOST[example]


@each_compiler
def test_a_text_configuration_is_smaller(kind: str, tmp_path: Path) -> None:
    """Without JSON the same filter is at most 1.6 kB, without wasm-opt: what is not used is not there."""
    assert build(project(tmp_path / "p", source=TEXT_ONLY.read_text()), kind).stat().st_size <= 1_600


@pytest.mark.parametrize("example", CALLBACKS)
def test_wasme_build(run: Run, example: str, tmp_path: Path) -> None:
    """`wasme build cpp` makes an image of each example; with wasm-opt, add-header is at most 3.2 kB."""
    compiler("zig")
    made = run("build", "cpp", project(tmp_path / "p", example), "-t", "demo/x:v1", "--output", "json", ok=True)
    assert "level=warning" not in made.stderr
    if example == "add-header" and shutil.which("wasm-opt"):
        (listed,) = run("list", "--output", "json", ok=True).json
        assert listed["size"] <= 3_200


@each_compiler
def test_reproducible(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of the sources in other folders, with another HOME and empty caches, give the same bytes."""
    names = "const char* kFile = __FILE__;\nconst char* file() { return kFile; }\n"
    modules = []
    for name in ("a", "another/folder"):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True)
        project(folder)
        (folder / "src").mkdir()
        (folder / "src" / "file.cc").write_text(
            names + '#include "proxy/proxy.h"\nvoid say() { proxy::logInfo(file()); }'
        )
        source = (folder / "filter.cc").read_text()
        begin = "bool onConfigure(StringView configuration) {"
        assert begin in source
        (folder / "filter.cc").write_text("void say();\n" + source.replace(begin, begin + " say();"))
        monkeypatch.setenv("HOME", str(tmp_path / f"home of {name.replace('/', ' ')}"))
        monkeypatch.setenv("CPLUS_INCLUDE_PATH", str(folder.parent))
        modules.append(build(folder, kind).read_bytes())
    assert modules[0] == modules[1]
    assert b"src/file.cc" in modules[0]
    assert str(tmp_path).encode() not in modules[0]


@each_compiler
def test_compiler_errors_are_whole(kind: str, tmp_path: Path) -> None:
    """What the compiler says reaches the user whole, with file and line relative to the project, and nothing else."""
    folder = project(tmp_path / "p")
    (folder / "src").mkdir()
    (folder / "src" / "more.cc").write_text("int one() {\n  return nothing;\n}\nint two() { return nothing_too; }\n")
    with pytest.raises(BuildFailed) as caught:
        Cpp(compiler=compiler(kind)).compile(folder, tmp_path, Listener())
    first, *rest = caught.value.message.splitlines()
    assert first == f"{kind} exited with status 1:"
    assert [line.partition(":")[2] for line in rest if ": error: " in line] == [
        "2:10: error: use of undeclared identifier 'nothing'",
        "4:20: error: use of undeclared identifier 'nothing_too'",
    ]
    assert all(line.startswith("src/more.cc:") for line in rest if ": error: " in line)
    assert str(tmp_path) not in caught.value.message


@each_compiler
def test_unknown_symbols_are_errors(kind: str, tmp_path: Path) -> None:
    """A function that is declared and nowhere defined fails the build, not the load in Envoy."""
    source = TEXT_ONLY.read_text().replace("using namespace", "void nowhere();\nusing namespace")
    folder = project(tmp_path / "p", source=source.replace("if (!conf", "nowhere();\n    if (!conf"))
    with pytest.raises(BuildFailed, match=r"undefined symbol: nowhere\(\)"):
        Cpp(compiler=compiler(kind)).compile(folder, tmp_path, Listener())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("HeadersAction onResponseHeaders(uint32_t) {", "a callback has not the parameters and the result"),
        ("HeadersAction onResponsHeaders(uint32_t, bool) {", "no callback"),
    ],
)
def test_wrong_callbacks_are_errors(wrong: str, words: str, tmp_path: Path) -> None:
    """A callback with other parameters fails the build in words; so does a class of whose callbacks none is one."""
    right = "HeadersAction onResponseHeaders(uint32_t, bool) {"
    source = TEXT_ONLY.read_text()
    assert right in source
    with pytest.raises(BuildFailed, match=words):
        build(project(tmp_path / "p", source=source.replace(right, wrong)))


def test_warnings_are_told(tmp_path: Path) -> None:
    """A compiler that succeeds with a warning is heard."""
    heard: list[str] = []
    source = TEXT_ONLY.read_text().replace("using namespace proxy;", "using namespace proxy;\nstatic int unused = 1;")
    build(project(tmp_path / "p", source=source), warning=heard.append)
    assert "filter.cc:6:12: warning: unused variable 'unused'" in "".join(heard)


def test_flags_of_the_project(tmp_path: Path) -> None:
    """compile_flags.txt has its say, after ours."""
    folder = project(tmp_path / "p", source=TEXT_ONLY.read_text().replace('"world"', "GREETING"))
    flags = folder / "compile_flags.txt"
    flags.write_text(flags.read_text() + '-DGREETING="from the flags"\n-O2\n')
    assert b"from the flags" in build(folder).read_bytes()


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """50,000 requests with call-outs of all sizes leave the module's memory as it was after the first 3,000."""
    host = Host(build(project(tmp_path / "p", "auth")).read_bytes(), b'{"cluster": "plain"}', body=b"ok" * 700)
    assert host.configure()
    pages = 0
    for number in range(2, 50_002):
        if number == 3_000:
            pages = host.pages
        host.call("proxy_on_context_create", number, 1)
        if number % 5 == 0:  # a call in Python costs far more than in Envoy
            host.headers = {b"userId": b"u" * (number % 3_000), b":status": b"200"}
            host.call("proxy_on_request_headers", number, 3, 1)
            host.call("proxy_on_http_call_response", 1, host.token, 1, 1_400, 0)
        host.call("proxy_on_delete", number)
    assert 0 < host.pages == pages


def test_forgotten_answers_leave_nothing(tmp_path: Path) -> None:
    """Answers that come when their streams have ended are dropped, with what was kept of the call."""
    host = Host(build(project(tmp_path / "p", "auth")).read_bytes())
    assert host.configure()
    for number in range(2, 20_002):
        host.call("proxy_on_context_create", number, 1)
        host.call("proxy_on_request_headers", number, 3, 1)
        host.call("proxy_on_delete", number)
        host.call("proxy_on_http_call_response", 1, host.token, 1, 0, 0)
        if number == 3_000:
            pages = host.pages
    assert host.pages == pages


def test_memory_of_many_sizes(tmp_path: Path) -> None:
    """Bodies of random sizes, rewritten and forgotten: the memory settles at a few times the largest."""
    import random

    host = Host(build(project(tmp_path / "p", "body")).read_bytes())
    assert host.configure()
    sizes = random.Random(7)
    for number in range(2, 2_002):
        host.body = b"hello " * sizes.randrange(1, 20_000)
        host.call("proxy_on_context_create", number, 1)
        host.call("proxy_on_request_headers", number, 3, 0)
        host.call("proxy_on_request_body", number, len(host.body), 1)
        host.call("proxy_on_delete", number)
        if number == 200:
            settled = host.pages
    assert host.pages <= settled + 16
    assert host.pages * 65_536 < 2_000_000


def test_resident_memory_of_envoy(tmp_path: Path, envoy_binary: Path) -> None:
    """In the real Envoy, memory after 2,000 more requests is what it was after the first 1,000, give or take 2 MB."""
    module = build(project(tmp_path / "p", "add-header"))
    with (
        Echo().serving() as echo,
        running(
            envoy_binary, tmp_path, module, root_id="any", clusters={"plain": echo.port}, log_level="wasm:error"
        ) as proxy,
    ):
        for _ in range(1_000):
            assert proxy.ask("/").headers["hello"] == "world"
        before = proxy.resident()
        for _ in range(2_000):
            proxy.ask("/")
        assert proxy.resident() - before < 2 << 20


def test_upstream_sdk(tmp_path: Path, run: Run) -> None:
    """A filter of the upstream SDK is built with a checkout of it, and exports what the host looks for."""
    sdk = os.environ.get("PROXY_WASM_CPP_SDK")
    if not sdk:
        pytest.skip("needs PROXY_WASM_CPP_SDK=DIR")
    source = TEXT_ONLY.with_name("add_header_upstream.cc")
    (tmp_path / "p").mkdir()
    shutil.copyfile(source, tmp_path / "p" / "filter.cc")
    module = Cpp(sdk=Path(sdk)).compile(tmp_path / "p", tmp_path, Listener()).read_bytes()
    assert not [each for each in check.check(module) if each.severity == "error"]
    assert parse(module).export("proxy_on_response_headers") is not None
    assert 17 <= parse(module).memories[0].minimum <= 20  # pages: 1 MiB of stack, and the data


def test_bazel_projects(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of the original's template, without a container engine, is refused in one line that says what to do."""
    monkeypatch.delenv("PROXY_WASM_CPP_SDK", raising=False)
    (tmp_path / "filter.cc").write_text('#include "proxy_wasm_intrinsics.h"\n')
    (tmp_path / "WORKSPACE").write_text("")
    (tmp_path / "runtime-config.json").write_text('{"type": "envoy_proxy", "config": {"rootIds": ["x"]}}')
    refused = run("build", "cpp", tmp_path, "-t", "demo/x:v1", "--builder", "native", ok=False)
    assert refused.exit_code == 1
    assert re.search(r"^Error: .*is a Bazel project", refused.stderr, re.MULTILINE)
    assert "--builder docker" in refused.stderr
    assert "Traceback" not in refused.stderr


@each_compiler
def test_the_command_of_the_readme(kind: str, tmp_path: Path) -> None:
    """A project is also built with its compiler alone, by the command in its README."""
    import shlex
    import subprocess

    folder = project(tmp_path / "p")
    told = re.search(r"^    clang\+\+ (.*)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert told is not None
    cache = {name: str(tmp_path) for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    argv = [*compiler(kind).compile, *shlex.split(told[1])]
    subprocess.run(argv, cwd=folder, env=os.environ | cache, check=True, timeout=100)
    assert not check.check((folder / "filter.wasm").read_bytes())
