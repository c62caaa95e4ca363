"""Why an Envoy ended, and which calls it refused, from its log."""

from __future__ import annotations

import pytest

from tests.fixtures import filters
from wasme.envoy.callouts import RefusedCalls
from wasme.envoy.log import decisive, parse
from wasme.wasm.module import parse as parse_module

_FRAME = "initializing config 'goo.gle/debugonly  \n  x.json'"


def _lines(*raw: str) -> list[str]:
    return [line for each in raw for line in each.split("\n")]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        # Ours, Envoy's own format, and the old one with the place in the source.
        (
            ["[2026-01-01 00:00:00.000][error][wasm] Wasm VM failed Failed to start base Wasm"],
            "Failed to start base Wasm",
        ),
        (["[2026-01-01 00:00:00.000][77][critical][main] [source/server/server.cc:1] boom"], "boom"),
        (
            [f"[t][critical][main] error `Invalid path: /a\nb` {_FRAME}", "Invalid path"],
            "Invalid path: /a b",
        ),
        (
            ["[t][error][wasm] Function: f failed: Uncaught RuntimeError: unreachable", "[t][critical][wasm] later"],
            "Function: f failed: Uncaught RuntimeError: unreachable",
        ),
        (
            ["usage", "  more", "", "--nonsense -- Couldn't find match for argument"],
            "--nonsense -- Couldn't find match for argument",
        ),
        (
            ["", "#", "# Fatal error in , line 0", "# unreachable code", "#"],
            "Envoy crashed: Fatal error in , line 0 unreachable code",
        ),
        (["[t][warning][main] only a warning"], ""),
        ([], ""),
    ],
)
def test_the_decisive_line(raw: list[str], text: str) -> None:
    """The first error counts, without Envoy's frame around it; an argument's complaint is the last line."""
    assert decisive([parse(line) for line in _lines(*raw)]).text == text


def test_an_address_in_use() -> None:
    """The address is told apart, in both of Envoy's forms."""
    for raw in (
        "[t][error][config] listener 'l' failed to bind or apply options: cannot bind '127.0.0.1:1': Address in use",
        f"[t][critical][main] error `cannot bind '127.0.0.1:1': Address in use` {_FRAME}",
    ):
        reason = decisive([parse(line) for line in _lines(raw)])
        assert (reason.bind, reason.text) == ("127.0.0.1:1", "cannot bind 127.0.0.1:1: Address in use")


@pytest.mark.parametrize(
    ("raw", "kind", "text"),
    [
        (
            "[t][critical][main] error `Protobuf message (type a.B reason INVALID_ARGUMENT: invalid JSON in a.B @ "
            "x[0].typed_config.<any>: message c.D, near 1:4 (offset 3):   no such   field: 'n') has unknown fields` "
            + _FRAME,
            "configuration",
            "x[0].typed_config: no such field: 'n'",
        ),
        (
            "[t][critical][main] error `Unable to parse JSON as proto (INVALID_ARGUMENT: invalid JSON in a.B @ x.y: "
            f"string, near 1:4 (offset 3): unexpected character: '{{'; expected '\"'): {{\"x\": 1}}` {_FRAME}",
            "configuration",
            "x.y: unexpected character: '{'; expected '\"'",
        ),
        (
            "[t][critical][main] error `goo.gle/debug\nclusters {\n}\n: Proto constraint validation failed "
            "(BootstrapValidationError.StaticResources: embedded message failed validation | caused by "
            "StaticResourcesValidationError.Clusters[2]: embedded message failed validation | caused by "
            f"ClusterValidationError.ConnectTimeout: value must be greater than 0s)` {_FRAME}",
            "configuration",
            "static_resources.clusters[2].connect_timeout: value must be greater than 0s",
        ),
        (f"[t][critical][main] error `Proto constraint validation failed (odd)` {_FRAME}", "configuration", "odd"),
        (
            "[t][error][wasm] Wasm VM failed Failed to configure base Wasm plugin",
            "filter",
            "Failed to configure base Wasm plugin",
        ),
        (
            "  -c <string>\n\n--x -- Couldn't find match for argument",
            "arguments",
            "--x -- Couldn't find match for argument",
        ),
        ("pulling\ndocker: no room.\n\nRun 'docker run --help' for more information", "container", "no room."),
        ("one\nSee 'docker run --help'.", "", "one"),
        ("[t][critical][main] boom", "", "boom"),
    ],
)
def test_what_it_is_about(raw: str, kind: str, text: str) -> None:
    """The reason without what Envoy quotes around it, and whether it is all there is to know."""
    reason = decisive([parse(line) for line in raw.split("\n")])
    assert (reason.kind, reason.text) == (kind, text)


def test_what_the_filter_said() -> None:
    """A filter's own errors are no reason, but are told beside it."""
    reason = decisive(
        [
            parse("[t][error][wasm] wasm log f r f: no header: given"),
            parse("[t][error][wasm] Wasm VM failed Failed to configure base Wasm plugin"),
        ]
    )
    assert (reason.text, reason.filter_said) == ("Failed to configure base Wasm plugin", "no header: given")


def test_long_lines_are_cut() -> None:
    """A line that quotes the whole configuration stays bearable."""
    assert len(decisive([parse("[t][critical][main] " + "x" * 10_000)]).text) < 500


def _call(address: int, length: int) -> list[str]:
    return [
        f"[t][trace][wasm] [vm->host] env.proxy_http_call({address}, {length}, 64, 61, 0, 0, 0, 0, 1000, 8)",
        "[t][trace][wasm] [vm<-host] env.proxy_http_call return: 2",
    ]


def _told(watch: RefusedCalls, lines: list[str]) -> list[tuple[str, str]]:
    return [told for told in map(watch.see, map(parse, lines)) if told]


def test_the_name_is_read_from_the_module() -> None:
    """The cluster's name stands at the call's address, and is told once."""
    module = parse_module(filters.calls_out("auth|x"))
    watch = RefusedCalls(module.initial_memory, [], ["known"])
    told = _told(watch, [*_call(16, 6), *_call(16, 6)])
    assert told == [
        (
            "the filter called out to the cluster 'auth|x', which Envoy does not have (it has: known)",
            "add --cluster 'auth|x=HOST:PORT'",
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"..\0" + (24).to_bytes(4, "little") + "auth-cluster".encode("utf-16-le") + b"\0",
        b'{"cluster": "auth-cluster", "x": "another-word-that-is-longer"}',
    ],
    ids=["AssemblyScript", "configuration"],
)
def test_a_name_built_at_run_time_is_guessed(text: bytes) -> None:
    """Where the address leads to nothing constant, texts of the name's length are told as probable."""
    told = _told(RefusedCalls(lambda _address, _length: None, [text], []), _call(70000, 12))
    assert told[0][0].endswith("the name has 12 letters, probably 'auth-cluster'")
    assert told[0][1] == "add --cluster 'auth-cluster=HOST:PORT'"


def test_nothing_is_told_without_a_refusal() -> None:
    """Calls that Envoy took, and lines that are not of calls, tell nothing."""
    watch = RefusedCalls(lambda _address, _length: b"name", [], [])
    lines = [_call(1, 4)[0], "[t][trace][wasm] [vm<-host] env.proxy_http_call return: 0"]
    lines += ["[t][trace][wasm] [vm<-host] env.proxy_http_call return: 2", "[t][info][wasm] wasm log: proxy_http_call"]
    assert _told(watch, lines) == []
