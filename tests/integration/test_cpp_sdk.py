"""Our C++ SDK: every host function and callback, compiled and in the real Envoy."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.cpp import KINDS, build, project
from tests.fixtures.proxies import Echo, Proxy, running
from wasme.wasm import abi, check
from wasme.wasm.module import parse

SOURCE = Path(__file__).parents[1] / "fixtures" / "everything.cc"
# Not the business of an SDK: emscripten's and the C library's.
FOREIGN = {"pthread_equal", "emscripten_notify_memory_growth"}


@pytest.fixture(scope="module", params=KINDS)
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(project(tmp_path_factory.mktemp("everything") / "p", source=SOURCE.read_text()), request.param)


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


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_older_versions_of_the_abi(version: str, tmp_path: Path, envoy_binary: Path, echo: Echo) -> None:
    """A line in compile_flags.txt makes a module of an older ABI, which asks for nothing that it has not, and runs."""
    folder = project(tmp_path / "p", "auth")
    flags = folder / "compile_flags.txt"
    flags.write_text(flags.read_text() + f"-DPROXY_WASM_ABI={version.replace('.', '_')}\n")
    module = build(folder)
    facts = parse(module.read_bytes())
    assert abi.spoken(facts).version == version
    assert not check.check(facts)
    config = '{"cluster": "plain"}'
    clusters = {"plain": echo.port}
    with running(envoy_binary, tmp_path, module, root_id="any", config=config, clusters=clusters) as proxy:
        assert proxy.ask("/", userId="admin").status == 200
        assert (proxy.ask("/", userId="mark").status, proxy.ask("/").status) == (403, 403)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (
            "/headers",
            "ones=1+2 two=zwei ä€😀 bytes=14 gone=false missing=not found empty=true size=true count=2",
        ),
        ("/cas", "ok, compare-and-swap mismatch, 2, none"),
        ("/metrics", "true 42 not found"),
        ("/property", "/property true false not found, result mismatch, set"),
        ("/vm", "of the vm|cfg ü|7"),
        (
            "/text",
            "ba x, y, z 9223372036854775807 -9223372036854775808 -1 0 parse failure parse failure 4 false",
        ),
        ("/foreign", "a" * 48 + " not found"),
        ("/log", "0"),
        ("/call/no such cluster", "no call: bad argument"),
        ("/grpc-stream", "ok, ok, ok"),
    ],
)
def test_host_calls(proxy: Proxy, path: str, answer: str) -> None:
    """Each host call does in the real Envoy what its function says, and tells how it ended."""
    reply = proxy.ask(path.replace(" ", "%20"), x_gone="here", x_empty="")
    assert (reply.status, reply.body) == (200, answer)
    assert reply.headers["x-from"] == "filter"


def test_headers_reach_the_service(proxy: Proxy, echo: Echo) -> None:
    """setAll replaces the whole map: the service sees the new headers and none of the old."""
    assert proxy.ask("/set-all", x_old="1").status == 200
    _, headers, _ = _asked(echo, "/echo")
    assert headers["x-only"] == "me"
    assert "x-old" not in headers


def test_bodies_are_rewritten(proxy: Proxy, echo: Echo) -> None:
    """A buffered request body is read in part and whole, replaced, prepended and appended to; so is the response."""
    reply = proxy.ask("/body", body="hello")
    rewritten = "<HELLO part=el same=true>"
    assert _asked(echo, "/body")[2] == rewritten
    assert reply.body == f"[{rewritten}]"


def test_paused_request_goes_on_after_the_answer(proxy: Proxy, echo: Echo) -> None:
    """A call-out pauses the request; its answer is read and the request resumed. The service gets body and trailers."""
    proxy.ask("/call/plain")
    inner, outer = _asked(echo, "/inner"), _asked(echo, "/call/plain")
    assert inner[2] == "body of the call"
    assert outer[1]["x-call"] == "inner:body of the call/200/true/true/0/0"


def test_failed_call_comes_back(proxy: Proxy, echo: Echo) -> None:
    """A call to a cluster where nobody listens comes back as an answer of Envoy's, and the request goes on."""
    proxy.ask("/call/nobody")
    assert "/503/true/" in _asked(echo, "/call/nobody")[1]["x-call"]


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
    assert proxy.ask("/enqueue/work").body == "true, not found, ok"
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


def test_the_end_of_streams(proxy: Proxy) -> None:
    """A context that holds its end up is deleted once it says done; onLog sees the response."""
    deleted = int(proxy.ask("/deleted").body)
    assert proxy.ask("/held").status == 200
    assert proxy.ask("/logging").status == 200
    _until(lambda: proxy.ask("/logged").body == "200")
    assert int(proxy.ask("/held-count").body) >= 1
    _until(lambda: int(proxy.ask("/deleted").body) >= deleted + 3)
    assert "Function: " not in proxy.text()


def test_closing_a_request_resets_it(proxy: Proxy) -> None:
    """closeRequest ends the stream without an answer."""
    with pytest.raises(OSError, match=r"closed|reset"):
        proxy.ask("/reset")


def test_failure_says_why(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """fail() ends the VM with its reason in Envoy's log."""
    with pytest.raises(AssertionError, match="as configured 1xtrue"):
        running(envoy_binary, tmp_path, everything, root_id="everything", config="abort").__enter__()


def test_trap_fails_closed(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """A trap in a callback is in Envoy's log with the callback's name, and the client gets 503."""
    with running(envoy_binary, tmp_path, everything, root_id="everything") as proxy:
        assert proxy.ask("/trap").status == 503
        _until(lambda: "Function: proxy_on_request_headers failed" in proxy.text())


def test_refused_configuration(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """onConfigure that returns false refuses the configuration in Envoy's own words."""
    with pytest.raises(AssertionError, match="Failed to configure base Wasm plugin"):
        running(envoy_binary, tmp_path, everything, root_id="everything", config="refuse").__enter__()


def test_unknown_root_id(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """A module of several plugins refuses a root id that none of them has, and says so."""
    with pytest.raises(AssertionError, match="this module has no plugin with the root id nothing"):
        running(envoy_binary, tmp_path, everything, root_id="nothing").__enter__()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            ' {"a": "x", "b" : 1.5e3, "c":true , "d":null}',
            "json: a=x b=1.5e3 c=true d=null é=missing n=-1 y=false in=-",
        ),
        (
            r'{"a": "2", "é": "", "a":"q\"\\\/\b\u00e4\u20AC\ud83d\ude00"}',
            'a=q"\\/\bä€😀 b=missing c=missing d=missing é= ',
        ),
        (r'{"\u0061": "escaped name"}', "json: a=escaped name b=missing"),
        ('{"nested": {"a": [1, {"b": "]}"}], "in": "deep"}, "a": "after"}', "json: a=after b=missing"),
        ('{"nested": {"a": [1, {"b": "]}"}], "in": "deep"}, "a": "after"}', "in=deep"),
        ('{"n": -12, "y": true}', "n=-12 y=true in=-"),
        ('{"n": 7.5, "y": "true"}', "n=-1! y=false! in=-"),
        ('{"n": 9223372036854775808}', "n=-1! y=false in=-"),
        ("{}", "json: a=missing b=missing"),
        ("", "json: no object"),
        ("[1]", "json: no object"),
        ('{"a": 1} x', "json: no object, but looks like one"),
        ('{"a": 01}', "json: no object"),
        ('{"a": 1.}', "json: no object"),
        ('{"a": -}', "json: no object"),
        ('{"a": "unended}', "json: no object"),
        ('{"a": "ends in an escape\\', "json: no object"),
        ('{"a": "\\x"}', "json: no object"),
        ('{"a": "\\u12"}', "json: no object"),
        (r'{"a": "\ud83d half of a pair"}', "json: no object"),
        (r'{"a": "\ude00\ud83d"}', "json: no object"),
        ('{"a": "a\nline"}', "json: no object"),
        ('{"a": ', "json: no object"),
        ('{"a" 1}', "json: no object"),
        ('{"a": 1,}', "json: no object"),
        ('{"a": nul}', "json: no object"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "json: no object"),
    ],
)
def test_json(json_lines: Callable[[str], str], config: str, line: str) -> None:
    """The configuration reader takes what JSON is and nothing else, and gives members as they are meant."""
    assert line in json_lines(config)


@pytest.fixture
def json_lines(everything: Path, tmp_path: Path) -> Callable[[str], str]:
    """What the plugin with root id json logs about a configuration, by a host of a few lines."""
    from tests.fixtures.small_host import Host

    def ask(config: str) -> str:
        host = Host(everything.read_bytes(), config.encode(), root_id=b"json")
        assert host.configure()
        return "\n".join(host.logs)

    return ask


def test_tcp(everything: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """A TcpContext reads and changes both directions of a connection, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    clusters = {"plain": listener.getsockname()[1]}
    with (
        listener,
        running(envoy_binary, tmp_path, everything, root_id="tcp", clusters=clusters, network=True) as proxy,
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


def _asked(echo: Echo, path: str) -> tuple[str, dict[str, str], str]:
    """The last request to that path; those of gRPC calls may come in between."""
    return next(each for each in reversed(echo.asked) if each[0] == path)


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
