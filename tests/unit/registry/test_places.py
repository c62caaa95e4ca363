"""Origins, endpoints, settings, proxies, patience: where a request goes and when it goes again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wasme.errors import InvalidSettings, Unreachable
from wasme.registry.endpoint import default_server, resolve
from wasme.registry.origin import Origin, redact, target, with_query
from wasme.registry.proxies import Proxy, proxy_for
from wasme.registry.resumption import Note, Notebook
from wasme.registry.retry import Policy, parse_retry_after
from wasme.registry.settings import Settings, load, settings_file


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("registry.example", "https://registry.example"),
        ("registry.example:8443", "https://registry.example:8443"),
        ("docker.io", "https://registry-1.docker.io"),
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("LOCALHOST:5000", "http://localhost:5000"),
        ("127.0.0.2:5000", "http://127.0.0.2:5000"),
        ("127.evil.example", "https://127.evil.example"),
        ("localhost.example", "https://localhost.example"),
    ],
)
def test_scheme_by_host(name: str, url: str) -> None:
    """Plain http for loopback only (the original: localhost, 127.0.0.1 and [::1])."""
    assert str(resolve(name, {}).origin) == url


def test_plain_http_for_all_by_flag() -> None:
    """--plain-http, and a map's own scheme wins over it."""
    assert str(resolve("registry.example", {}, plain_http=True).origin) == "http://registry.example"
    assert str(resolve("a", {"a": "https://b"}, plain_http=True).origin) == "https://b"


def test_a_map_leads_name_and_prefix() -> None:
    """The name stays; the repository gets the prefix; credentials are looked up under both names."""
    at = resolve("webassemblyhub.io", {"webassemblyhub.io": "hub.example:8443/filters/old/"})
    assert (at.name, str(at.origin), at.repository("a/b")) == (
        "webassemblyhub.io",
        "https://hub.example:8443",
        "filters/old/a/b",
    )
    assert at.credential_hosts == ("webassemblyhub.io", "hub.example:8443")


@pytest.mark.parametrize("led", ["ftp://x", "user@x", "x/UPPER", "x:port", "http://"])
def test_maps_that_lead_nowhere(led: str) -> None:
    """They are told with the name and the value."""
    with pytest.raises(InvalidSettings, match="registry map: a leads to"):
        resolve("a", {"a": led})


def test_the_closed_hub() -> None:
    """Its name alone leads to the line to add, upper case too."""
    with pytest.raises(Unreachable, match="has closed") as caught:
        resolve("WebAssemblyHub.io", {})
    assert "registryMap: {webassemblyhub.io: HOST[/PREFIX]}" in str(caught.value.hint)


def test_the_default_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read at the time of the call."""
    assert default_server() == "webassemblyhub.io"
    monkeypatch.setenv("WASM_IMAGE_REGISTRY", "x.example")
    assert default_server() == "x.example"


def test_origins() -> None:
    """Case, dots at the end, ports and brackets."""
    assert Origin.of("HTTPS://EXAMPLE.com./x") == Origin("https", "example.com", 443)
    assert Origin.of("http://[::1]:80/").netloc == "[::1]"
    for bad in (
        "",
        "x",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://x:y",
        "http://a b",
        "http://a\\b",
        "http://a\n",
    ):
        with pytest.raises(ValueError, match=r"."):
            Origin.of(bad)


def test_urls_that_may_be_shown() -> None:
    """No user, no signature, no control characters; what helps stays."""
    shown = redact("https://u:p@x.example/v2/a?digest=sha256:1&X-Amz-Signature=abc&_state=s#frag\x1b")
    assert shown == "https://x.example/v2/a?digest=sha256:1&X-Amz-Signature=…&_state=…"
    assert redact("http://[::1") == "an unreadable URL"


def test_urls_are_built() -> None:
    """A query that is there stays as it is; what is not ASCII is escaped."""
    assert with_query("/a?_state=x%3D", ("digest", "sha256:1")) == "/a?_state=x%3D&digest=sha256:1"
    assert target("https://x/ä b?q=ö%20") == "/%C3%A4%20b?q=%C3%B6%20"
    assert target("https://x") == "/"


@pytest.mark.parametrize(
    ("rules", "url", "direct"),
    [
        ("", "http://a.example", False),
        ("*", "http://a.example", True),
        ("a.example", "http://a.example", True),
        ("a.example", "http://b.a.example", True),
        ("a.example", "http://ba.example", False),
        (".a.example", "http://a.example", False),
        (".a.example", "http://b.a.example", True),
        ("*.a.example", "http://b.a.example", True),
        ("a.example:81", "http://a.example", False),
        ("a.example:80", "http://a.example", True),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3", True),
        ("[fd00::1]:80, fd00::2", "http://[fd00::2]", True),
        ("x, [fd00::1]:80", "http://[fd00::1]", True),
        ("", "http://localhost:5000", True),
        ("", "http://127.0.0.5", True),
        ("", "http://[::1]", True),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, rules: str, url: str, direct: bool) -> None:
    """Go's rules."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", rules)
    assert (proxy_for(Origin.of(url)) is None) is direct


def test_proxies_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower case wins; a scheme may be left out; passwords are decoded; what is no http proxy is told without them."""
    monkeypatch.setenv("HTTPS_PROXY", "upper.example:1")
    assert proxy_for(Origin.of("https://a.example")) == Proxy("upper.example", 1, None)
    monkeypatch.setenv("https_proxy", "http://u:p%3A@lower.example:2")
    assert proxy_for(Origin.of("https://a.example")) == Proxy("lower.example", 2, "Basic dTpwOg==")
    monkeypatch.setenv("https_proxy", "socks5://u:hidden@x:1")
    with pytest.raises(InvalidSettings, match="https_proxy") as caught:
        proxy_for(Origin.of("https://a.example"))
    assert "hidden" not in caught.value.message


def test_httpoxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a CGI script HTTP_PROXY comes from a request's header and is not believed."""
    monkeypatch.setenv("HTTP_PROXY", "http://evil.example:1")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy_for(Origin.of("http://a.example")) is None


def test_patience() -> None:
    """Jittered doubling up to the cap; Retry-After as asked; more than the cap is not waited for; attempts end."""
    policy = Policy(attempts=6, base=1, cap=5)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (4, 5), (5, 5)):
        waits = [policy.wait(attempt, None) or 0 for _ in range(200)]
        assert 0.5 <= min(waits) <= max(waits) <= most
        assert len(set(waits)) > 100
    assert policy.wait(6, None) is None
    assert 3 <= (policy.wait(1, "3") or 0) <= 4
    assert policy.wait(1, "3600") is None


def test_retry_after() -> None:
    """Seconds or an HTTP date; anything else is none."""
    assert parse_retry_after("7", 0) == 7
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412470) == 10
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", time.time()) == 0
    for rubbish in (None, "", "soon", "-1", "1.5", "٣"):
        assert parse_retry_after(rubbish, 0) is None


def test_settings(home: Path) -> None:
    """Both keys; an absent or empty file is no settings."""
    assert load() == Settings()
    settings_file().parent.mkdir()
    settings_file().write_text("")
    assert load() == Settings()
    settings_file().write_text(
        "registryMap: {Webassemblyhub.io: a/b}\nauthRealms: {x.example: 'y.example, z.example'}\n"
    )
    assert load() == Settings({"webassemblyhub.io": "a/b"}, {"x.example": ("y.example", "z.example")})


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a",
        "registryMap: x",
        "registryMap: {a: 1}",
        "registryMap: {a: ''}",
        "registryMap: {'': a}",
        "registryMap: {a: 'x:port'}",
        "\x00",
        "a: !!python/object:os.system x",
        "7",
    ],
)
def test_settings_that_cannot_be_read(home: Path, text: str) -> None:
    """One line with the path."""
    settings_file().parent.mkdir()
    settings_file().write_text(text)
    with pytest.raises(InvalidSettings, match=r"config\.yaml"):
        load()


def test_unknown_settings_are_told(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mistyped key is no silence."""
    settings_file().parent.mkdir()
    settings_file().write_text("registrymap: {a: b}\n")
    load()
    assert "unknown key" in caplog.text


def test_a_note_is_one_process_s_at_a_time(home: Path) -> None:
    """Whoever comes second keeps nothing and disturbs nothing; a note outlives its writer; forgetting removes it."""
    with Notebook("r/a", "sha256:1") as first:
        first.write(Note("http://x/1"))
        with Notebook("r/a", "sha256:1") as second:
            assert second.read() is None
            second.write(Note("http://x/2"))
        with Notebook("r/b", "sha256:1") as other:
            assert other.read() is None
        assert first.read() == Note("http://x/1")
    with Notebook("r/a", "sha256:1") as again:
        assert again.read() == Note("http://x/1")
        again.forget()
    assert not list((home / ".wasme" / "uploads").glob("*.json"))
    assert (home / ".wasme" / "uploads").stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_written_keeps_no_notes(home: Path) -> None:
    """A push goes on without notes."""
    (home / ".wasme").write_text("a file in the way")
    with Notebook("r/a", "sha256:1") as notebook:
        notebook.write(Note("http://x/1"))
        assert notebook.read() is None
