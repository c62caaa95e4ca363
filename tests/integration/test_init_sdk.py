"""Our AssemblyScript SDK: every host function and callback, compiled and in the real Envoy."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.proxies import Echo, Proxy, running
from wasme.wasm import abi, check
from wasme.wasm.module import parse

SOURCE = Path(__file__).parents[1] / "fixtures" / "everything.ts"
# Not the business of an SDK: emscripten's and the C library's.
FOREIGN = {"pthread_equal", "emscripten_notify_memory_growth"}
Compile = Callable[..., Path]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def everything(compiled: Compile) -> Path:
    return compiled("everything", SOURCE)


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo().serving() as service:
        yield service


@pytest.fixture(scope="module")
def proxy(
    everything: Path, echo: Echo, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    clusters = {"plain": echo.port, "nobody": 1}
    folder = tmp_path_factory.mktemp("envoy")
    with running(envoy_binary, folder, everything, root_id="everything", config="cfg ü", clusters=clusters) as proxy:
        yield proxy


def test_every_host_function_is_reached(everything: Path) -> None:
    """The SDK has a way to each host function of ABI 0.2.1, with the exact type, and imports nothing else."""
    imports = {each.name: each.type for each in parse(everything.read_bytes()).imports}
    assert imports == {name: type_ for name, type_ in abi.HOST["0.2.1"].items() if name not in FOREIGN}


def test_every_callback_is_exported(everything: Path) -> None:
    """The SDK answers each callback of ABI 0.2.1, with the exact type, and Envoy finds nothing to complain of."""
    module = parse(everything.read_bytes())
    for name, type_ in abi.CALLBACKS["0.2.1"].items():
        found = module.export(name)
        assert found is not None, name
        assert found.type == type_, name
    assert not [each for each in check.check(module) if each.severity in ("error", "warning")]


@pytest.mark.parametrize("example", ["add-header", "auth"])
def test_unused_functions_cost_nothing(compiled: Compile, example: str) -> None:
    """An example imports only what it uses, and is no larger than 12 kB (add-header) or 16 kB (auth)."""
    content = compiled(example).read_bytes()
    names = {each.name for each in parse(content).imports}
    assert "proxy_define_metric" not in names
    assert "proxy_grpc_call" not in names
    assert ("proxy_http_call" in names) == (example == "auth")
    assert len(content) <= {"add-header": 12_000, "auth": 16_000}[example]


@pytest.mark.parametrize(("example", "more"), [("add-header", set()), ("auth", {"proxy_on_http_call_response"})])
def test_only_the_named_callbacks_are_exported(compiled: Compile, example: str, more: set[str]) -> None:
    """An example exports the kinds of callbacks that its entry file names, whole, and Envoy misses none of them."""
    module = parse(compiled(example).read_bytes())
    callbacks = {each.name for each in module.exports if each.name.startswith("proxy_on_")}
    http = {f"proxy_on_{way}_{part}" for way in ("request", "response") for part in ("headers", "body", "trailers")}
    plugin = {f"proxy_on_{what}" for what in ("context_create", "vm_start", "configure", "done", "log", "delete")}
    assert callbacks == http | plugin | more | {"proxy_on_memory_allocate"}
    assert not [each for each in check.check(module) if each.severity in ("error", "warning")]


def test_forgotten_callbacks_are_warned_of(run: Run, make_project: Callable[..., Path], tmp_path: Path) -> None:
    """A filter that sets a timer and does not name its callbacks is built, and the build says what is missing."""
    index = make_project(tmp_path / "p") / "assembly/index.ts"
    begin = "  override onConfigure(configuration: string): bool {\n"
    ticking = f"  override onTick(): void {{}}\n\n{begin}    this.setTickPeriod(9);\n"
    index.write_text(index.read_text().replace(begin, ticking))
    command = ("build", "assemblyscript", tmp_path / "p", "-t", "demo/x")
    assert 'level=warning msg="it can set a timer but exports no proxy_on_tick"' in run(*command).stderr
    index.write_text(index.read_text() + 'export * from "./proxy/exports/timers";\n')
    assert "level=warning" not in run(*command).stderr


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/headers", "ones=1+2 two=zwei ä€😀 bytes=14 same=true gone=false missing=true empty=true size=true count=2"),
        ("/cas", "0 8 2 none"),
        ("/metrics", "true 42"),
        ("/property", "/property true false true 0.0 set"),
        ("/vm", "of the vm|cfg ü"),
        ("/foreign", "a" * 48 + " true"),
        ("/log", "0"),
        ("/replace/a-b-c/-/==", "a==b==c false 1 1"),
        ("/replace/aaaa/aa/b", "bb false 0 1"),
        ("/replace/aaaa/aaa/", "a false 0 1"),
        ("/replace/abc/c/", "ab false 2 2"),
        ("/replace/abc/abcd/x", "abc true -1 -1"),
        ("/replace/abc//x", "abc true 0 1"),
        ("/replace//a/b", " true -1 -1"),
        ("/call/no such cluster", "no call"),
        ("/grpc-stream", "0 0 0"),
    ],
)
def test_host_calls(proxy: Proxy, path: str, answer: str) -> None:
    """Each host call does in the real Envoy what its method says."""
    reply = proxy.ask(path.replace(" ", "%20"), x_gone="here", x_empty="")
    assert (reply.status, reply.body) == (200, answer)
    assert reply.headers["x-from"] == "filter"


def test_headers_reach_the_service(proxy: Proxy, echo: Echo) -> None:
    """setAll replaces the whole map: the service sees the new headers and none of the old."""
    assert proxy.ask("/set-all", x_old="1").status == 200
    path, headers, _ = echo.asked[-1]
    assert path == "/echo"
    assert headers["x-only"] == "me"
    assert "x-old" not in headers


def test_bodies_are_rewritten(proxy: Proxy, echo: Echo) -> None:
    """A buffered request body is read in part and whole, replaced, prepended and appended to; so is the response."""
    reply = proxy.ask("/body", body="hello")
    rewritten = "<HELLO part=el same=true>"
    assert echo.asked[-1][2] == rewritten
    assert reply.body == f"[{rewritten}]"


def test_paused_request_goes_on_after_the_answer(proxy: Proxy, echo: Echo) -> None:
    """A call-out pauses the request; its answer is read and the request resumed. The service gets body and trailers."""
    proxy.ask("/call/plain")
    inner, outer = echo.asked[-2:]
    assert inner[0] == "/inner"
    assert inner[2] == "body of the call"
    assert outer[1]["x-call"] == "inner:body of the call/200/true/0/0"


def test_failed_call_comes_back(proxy: Proxy, echo: Echo) -> None:
    """A call to a cluster where nobody listens comes back as an answer of Envoy's, and the request goes on."""
    proxy.ask("/call/nobody")
    assert "/503/true/" in echo.asked[-1][1]["x-call"]


def test_grpc_close_has_status_and_message(proxy: Proxy) -> None:
    """A gRPC call to a service that speaks no HTTP/2 ends in onGrpcClose with a status."""
    assert re.fullmatch(r"grpc closed true (2|13|14) .*", proxy.ask("/grpc").body)


def test_shared_data_and_ticks(proxy: Proxy) -> None:
    """Shared data counts up from request to request, and the timer runs on."""
    first = int(proxy.ask("/shared").body)
    assert int(proxy.ask("/shared").body) == first + 1
    ticks = int(proxy.ask("/ticks").body)
    _until(lambda: int(proxy.ask("/ticks").body) > ticks)


def test_queue(proxy: Proxy) -> None:
    """A queue is resolved by name; what is put into it reaches onQueueReady."""
    assert proxy.ask("/enqueue/work").body == "true 0 0"
    _until(lambda: proxy.ask("/job").body == "work")


def test_metrics_are_envoys(proxy: Proxy) -> None:
    """Counter, gauge and histogram stand in Envoy's statistics."""
    proxy.ask("/metrics")
    stats = proxy.admin("/stats?filter=everything")
    assert int(re.search(r"wasmcustom.everything.requests: (\d+)", stats)[1]) > 0  # type: ignore[index]
    assert "wasmcustom.everything.gauge: 42" in stats
    assert "wasmcustom.everything.histogram:" in stats


def test_time_is_now(proxy: Proxy) -> None:
    """currentTime is the wall clock."""
    assert abs(int(proxy.ask("/time").body) - time.time()) < 10


def test_log_levels(proxy: Proxy) -> None:
    """Each log function writes at its level."""
    proxy.ask("/log")
    _until(lambda: "line critical" in proxy.text())
    for level in ("trace", "debug", "info", "warn", "error", "critical"):
        assert re.search(rf"\[{level}\w*\].*wasm log .*: line {level}", proxy.text()), level


def test_done_can_wait(proxy: Proxy) -> None:
    """A context that holds its end up is deleted once it says done; onLog sees the response."""
    before = int(re.search(r"\d+", proxy.ask("/shared").body)[0])  # type: ignore[index]
    assert before >= 0
    assert proxy.ask("/held").status == 200
    assert proxy.ask("/logged").status == 200
    assert "Function: " not in proxy.text()


def test_closing_a_request_resets_it(proxy: Proxy) -> None:
    """closeRequest ends the stream without an answer."""
    with pytest.raises(OSError, match=r"closed|reset"):
        proxy.ask("/reset")


def test_abort_says_where(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """A failed assertion is in Envoy's log with its message, file and line."""
    with pytest.raises(AssertionError, match=r"as configured at assembly/index\.ts:\d+:\d+"):
        running(envoy_binary, tmp_path, everything, root_id="everything", config="abort").__enter__()


def test_trap_says_where(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """An index out of range is in Envoy's log with the library's file and line, and the client gets 503."""
    with running(envoy_binary, tmp_path, everything, root_id="everything") as proxy:
        assert proxy.ask("/trap").status == 503
        _until(lambda: re.search(r"Index out of range at ~lib/array\.ts:\d+:\d+", proxy.text()))


def test_refused_configuration(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """onConfigure that returns false refuses the configuration in Envoy's own words."""
    with pytest.raises(AssertionError, match="Failed to configure base Wasm plugin"):
        running(envoy_binary, tmp_path, everything, root_id="everything", config="refuse").__enter__()


def test_unknown_root_id(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """A module of several filters refuses a root id that none of them has, and says so."""
    with pytest.raises(AssertionError, match="this module has no such root id"):
        running(envoy_binary, tmp_path, everything, root_id="nothing").__enter__()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (' {"a": "x", "b" : 1.5e3, "c":true , "d":null}', "json: a=x b=1.5e3 c=true d=null é=missing nested=missing"),
        (
            r'{"a": "2", "é": "", "a":"q\"\\\/\b\u00e4\ud83d\ude00"}',
            'json: a=q"\\/\bä😀 b=missing c=missing d=missing é= ',
        ),
        (
            '{"nested": {"a": [1, {"b": "]}"}], "c": ""}, "a": "after"}',
            'json: a=after b=missing c=missing d=missing é=missing nested={"a": [1, {"b": "]}"}], "c": ""}',
        ),
        ("{}", "nested=missing n?42 m?42 a?42"),
        ('{"n": 7, "m":-9000000000000000000,"a":0}', "n!7 m!-9000000000000000000 a!0"),
        ('{"n": 7.0, "m":1e3,"a":"3"}', "n!wrong m!wrong a!wrong"),
        ('{"n": 9300000000000000000000, "m": null, "a": [1]}', "n!wrong m!wrong a!wrong"),
        ('{"n": 1 , "m" : 2\n}', "n!1 m!2 a?42"),
        ("", "json: no object"),
        ("[1]", "json: no object"),
        ('{"a": 1} x', "json: no object"),
        ('{"a": 01}', "json: no object"),
        ('{"a": "unended}', "json: no object"),
        ('{"a": "\\x"}', "json: no object"),
        ('{"a": "\\u12"}', "json: no object"),
        ('{"a" 1}', "json: no object"),
        ('{"a": 1,}', "json: no object"),
        ('{"a": nul}', "json: no object"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "json: no object"),
    ],
)
def test_json(everything: Path, config: str, line: str, judged: Callable[[Path, str], str]) -> None:
    """The configuration reader takes what JSON is and nothing else, and gives members as they are meant."""
    assert line in judged(everything, config)


@pytest.fixture
def judged(envoy_binary: Path, tmp_path: Path) -> Callable[[Path, str], str]:
    """What the filter with root id json logs about a configuration."""

    def judge(module: Path, config: str) -> str:
        with running(envoy_binary, tmp_path, module, root_id="json", config=config) as proxy:
            _until(lambda: "wasm log" in proxy.text())
            return proxy.text()

    return judge


def test_tcp(everything: Path, echo: Echo, envoy_binary: Path, tmp_path: Path) -> None:
    """A TcpContext reads and changes both directions of a connection, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    clusters = {"plain": listener.getsockname()[1]}
    with (
        listener,
        running(
            envoy_binary, tmp_path, everything, root_id="everything", config="tcp", clusters=clusters, network=True
        ) as proxy,
        socket.create_connection(("127.0.0.1", proxy.ports["http"]), 20) as client,
    ):
        client.sendall(b"ping")
        server, _ = listener.accept()
        with server:
            assert server.recv(100) == b"to:ping"
            server.sendall(b"pong")
            assert client.recv(100) == b"pong:back"
            client.sendall(b"bye")
            assert client.recv(100) == b""
        _until(lambda: "downstream closed by" in proxy.text())


def test_add_header(compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path: Path) -> None:
    """The default example adds hello: world, or what text or JSON says; a broken JSON is refused."""
    module = compiled("add-header")
    for config, header, value in (
        ("", "hello", "world"),
        ("Zoë", "hello", "Zoë"),
        ('{"header":"x-greeting","value":"hi"}', "x-greeting", "hi"),
        ('{"value":"only"}', "hello", "only"),
    ):
        folder = tmp_path / str(len(config))
        with running(
            envoy_binary, folder, module, root_id="any", config=config, clusters={"plain": echo.port}
        ) as proxy:
            assert proxy.ask("/").headers[header].encode("latin-1").decode() == value
    with pytest.raises(AssertionError, match="but is not JSON"):
        running(envoy_binary, tmp_path / "bad", module, root_id="add_header", config='{"value"').__enter__()


def test_auth(compiled: Compile, envoy_binary: Path, tmp_path: Path) -> None:
    """The user's auth filter: admin passes; others, no userId, and all once the service is gone get 403 `fail`."""
    cluster = "outbound|8080||auth-simple.istio.svc.cluster.local"
    echo = Echo()
    with echo.serving():
        clusters = {cluster: echo.port, "plain": echo.port}
        with running(envoy_binary, tmp_path, compiled("auth"), root_id="auth", clusters=clusters) as proxy:
            assert proxy.ask("/", userId="admin").status == 200
            assert echo.asked[0][1]["host"] == "auth-simple:8080"
            for headers in ({"userId": "mark"}, {}):
                reply = proxy.ask("/", **headers)
                assert (reply.status, reply.body) == (403, "fail")
            assert [path for path, _, _ in echo.asked] == ["/auth", "/", "/auth", "/auth"]
            assert echo.asked[-1][1]["userid"] == ""
    for name, clusters in (("gone", {cluster: echo.port}), ("none", {})):
        with running(envoy_binary, tmp_path / name, compiled("auth"), root_id="auth", clusters=clusters) as proxy:
            reply = proxy.ask("/", userId="admin")
            assert (reply.status, reply.body) == (403, "fail")


def test_auth_is_configurable(compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path: Path) -> None:
    """Cluster, path and authority of the auth filter come from its configuration."""
    config = '{"cluster": "plain", "path": "/other", "authority": "example.test"}'
    clusters = {"plain": echo.port}
    with running(envoy_binary, tmp_path, compiled("auth"), root_id="auth", config=config, clusters=clusters) as proxy:
        assert proxy.ask("/").status == 403
        path, headers, _ = echo.asked[-1]
        assert (path, headers["host"]) == ("/other", "example.test")


def test_memory_stays_flat(everything: Path, echo: Echo, envoy_binary: Path, tmp_path: Path) -> None:
    """Thousands of requests that use headers, shared data, call-outs and answers leave no memory behind."""
    import http.client

    clusters = {"plain": echo.port}
    with running(
        envoy_binary, tmp_path, everything, root_id="everything", clusters=clusters, log_level="wasm:warn"
    ) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["http"], timeout=20)

        def ask(count: int) -> tuple[int, int]:
            """Memory after so many requests: pages of the module, and bytes of Envoy."""
            for index in range(count):
                connection.request("GET", "/headers" if index % 4 else "/call/plain")
                connection.getresponse().read()
            return int(proxy.ask("/pages").body), proxy.resident()

        pages, resident = ask(2000)
        more_pages, more_resident = ask(12_000)
        connection.close()
        assert more_pages == pages
        assert more_resident - resident < 2_000_000


def _until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
