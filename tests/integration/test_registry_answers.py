"""What registries and hubs answer: refusals in words, pages, searches."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.fixtures import faults, faulty
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, DockerRegistry, Run, push_one, resolve
from wasme.errors import NotARegistry, Unreachable, WasmeError
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions, Request


@pytest.mark.parametrize(
    ("fault", "words", "hint"),
    [
        (status(403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}'), "forbids it (DENIED: not yours)", "log"),
        (status(404), "not found", "check the name"),
        (status(405), "does not allow that here: 405", "ECR"),
        (status(405, b"<html>hi</html>", "text/html"), "no registry", "/v2/"),
        (status(501, b"<!DOCTYPE HTML>no", "text/html"), "no registry", "/v2/"),
        (status(501), "no registry", "/v2/"),
        (status(501, b'{"errors":[{"code":"UNSUPPORTED"}]}'), "failed: 501", "later"),
        (status(413), "takes nothing that large: 413", "limit"),
        (status(415), "does not take images of this kind: 415", "--layout compat"),
        (status(429, Retry_After="3600"), "asks to wait 3600 seconds", "later"),
        (status(500), "failed: 500", "later"),
        (status(200, b"<html>hi</html>", "text/html"), "web page", "/v2/"),
        (faults.raw(b"220 mail.example ESMTP\r\n"), "does not speak HTTP", "port"),
        (faults.hang_up, "broke off", ""),
    ],
)
def test_refusals_in_words(faulty_registry: Registry, fault: faulty.Fault, words: str, hint: str) -> None:
    """Each answer has its own words and a way on."""
    faulty_registry.fault("(GET|HEAD) /v2/", fault)
    with pytest.raises(WasmeError) as caught:
        resolve(faulty_registry)
    assert words in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


def test_no_such_host_and_nobody_listening() -> None:
    """Name resolution and a refused connection, in words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for host, words in ((f"127.0.0.1:{port}", "refused the connection"), ("registry.invalid", "no such host")):
        with pytest.raises(Unreachable, match=words):
            Session(QUICK).call(host, Request("GET", "/v2/"), what="looking", expect=(200,))


def test_a_hub_that_is_no_hub(docker_registry: DockerRegistry) -> None:
    """Searching a plain registry says that it cannot be searched."""
    from wasme.registry.search import published

    with pytest.raises(NotARegistry, match=f"^{docker_registry.host} is a registry without the hub's search API"):
        published(Session(QUICK), docker_registry.host, "x")


def test_harbor_is_searched_whole(faulty_registry: Registry) -> None:
    """[BUG] the original saw the first page only, and one failing repository hid all; here neither."""
    from urllib.parse import parse_qs

    from wasme.registry.search import published

    names = [f"scout/filter-{number}" for number in range(150)]

    def repositories(handler: faulty.Handler) -> None:
        page, size = int(handler.query["page"][0]), int(handler.query["page_size"][0])
        rows = [{"name": name} for name in names[(page - 1) * size : page * size]]
        handler.answer(200, json.dumps(rows).encode())

    tag = [{"name": "v1", "digest": "sha256:" + "a" * 64, "size": 5, "push_time": "2021-03-11T02:07:49.123456789Z"}]
    faulty_registry.fault("GET /api/v1/search", status(404))
    faulty_registry.fault(
        r"GET /api/projects\?page=1", status(200, b'[{"project_id":1,"repo_count":150},{"project_id":2}]')
    )
    faulty_registry.fault("GET /api/repositories/scout/filter-7/tags", status(500))
    faulty_registry.fault("GET /api/repositories/.*/tags", status(200, json.dumps(tag).encode()))
    faulty_registry.fault(r"GET /api/repositories\?project_id=1", repositories)
    found = published(Session(ConnectionOptions(retry=QUICK.retry)), faulty_registry.host)
    assert len(found) == 149
    assert found[0].name == f"{faulty_registry.host}/scout/filter-0"
    assert found[0].updated.isoformat() == "2021-03-11T02:07:49.123456+00:00"
    faulty_registry.fault(r"GET /api/search\?", status(200, b'{"repository":[{"repository_name":"scout/x"}]}'))
    assert len(published(Session(QUICK), faulty_registry.host, "a b&c=d")) == 1
    asked = next(seen for seen in faulty_registry.requests if seen.path == "/api/search")
    assert asked.query == parse_qs("q=a%20b%26c%3Dd")


def test_a_captive_portal_takes_no_push(faulty_registry: Registry, run: Run, home: Path) -> None:
    """A server that says 200 with a page to everything is no registry, for push, pull and login alike."""
    faulty_registry.fault("", status(200, b"<!doctype html><h1>Welcome</h1>", "text/html; charset=utf-8"))
    assert "web page" in push_one(run, faulty_registry.host, ok=False).stderr
    assert "web page" in run("pull", f"{faulty_registry.host}/a/b", ok=False).stderr
    assert "web page" in run("login", "-s", faulty_registry.host, "-u", "a", "-p", "b", ok=False).stderr
    assert not (home / ".wasme" / "credentials.json").exists()


@pytest.mark.parametrize(
    ("code", "words"), [(502, "failed: 502"), (413, "takes nothing that large"), (403, "forbids it")]
)
def test_a_gateway_s_page_is_told_by_its_status(faulty_registry: Registry, code: int, words: str) -> None:
    """nginx before a registry answers with pages of its own; the status says what is wrong."""
    faulty_registry.fault("", status(code, b"<html>nginx</html>", "text/html"))
    with pytest.raises(WasmeError, match=words):
        resolve(faulty_registry)
