"""`wasme deploy envoy` with the real Envoy: what runs, how it ends, where it calls out."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fixtures import filters
from tests.fixtures.agents import soon
from tests.fixtures.deployments import module_file, store_filter
from tests.fixtures.envoys import Deploy, alive, ask


@pytest.fixture
def image(home: Path) -> str:
    """The image of a filter that adds its configuration as the header `hello`."""
    return store_filter("localhost:5000/demo/add-header:v0.1", filters.adds_config(), "add_header")


def test_the_configuration_reaches_the_filter(deploy: Deploy, image: str) -> None:
    """[BUG #193] `--config` was ignored: now a value drawn here comes back in the answer, and reached the upstream."""
    value = secrets.token_hex(8)
    deployed = deploy(image, "--id=demo", f"--config={value}")
    answer = ask(f"{deployed.url}/some/path?q=1", b"the body", **{"x-mine": "kept"})
    assert answer.status == 200
    assert answer.headers["hello"] == value
    lines = answer.body.splitlines()
    assert lines[0] == "POST /some/path?q=1"
    assert {"x-mine: kept", f"hello: {value}"} <= set(lines)
    assert lines[-1] == "the body"


@pytest.mark.parametrize("kind", ["json", "file", "bytes"])
def test_configuration_from_json_and_files(kind: str, deploy: Deploy, image: str, tmp_path: Path) -> None:
    """JSON text and `@FILE` reach the filter byte for byte."""
    value = {"json": '{"a": [1, "two"]}', "file": "from a file", "bytes": "Ä € 漢"}[kind]
    if kind == "json":
        argument = value
    else:
        (tmp_path / "value").write_text(value, encoding="utf-8")
        argument = f"@{tmp_path / 'value'}"
    answer = ask(deploy(image, "--config", argument).url)
    assert answer.headers["hello"].encode("latin-1").decode() == value


def test_a_file_instead_of_an_image(deploy: Deploy, tmp_path: Path) -> None:
    """The path of a .wasm file is run as it is; it can name no root id, which is told with -v only."""
    deployed = deploy(module_file(tmp_path / "mine.wasm", filters.adds_config("x-mine")), "--config=1")
    assert ask(deployed.url).headers["x-mine"] == "1"
    assert "root_id" not in deployed.log.read_text()
    assert "id=mine" in deployed.wait_for("envoy is ready.*")[0]
    deploy(tmp_path / "mine.wasm", "-v").wait_for("level=debug msg=.found no root_id on image or in params")


def test_an_image_without_a_root_id(deploy: Deploy) -> None:
    """An image could name a root id: that it does not is told, and does not stop it."""
    deploy(store_filter("x:v1", filters.adds_config())).wait_for(
        "level=info msg=.found no root_id on image or in params"
    )


def test_two_at_once_on_free_ports(deploy: Deploy, image: str) -> None:
    """Two run beside each other, each with its own answer."""
    first, second = deploy(image, "--config=one"), deploy(image, "--config=two")
    assert first.url != second.url
    assert first.admin != second.admin
    assert [ask(each.url).headers["hello"] for each in (first, second)] == ["one", "two"]


def test_root_id_and_id(deploy: Deploy, image: str) -> None:
    """The image's first root id is the default for both; `--root-id` and `--id` go before, and Envoy has them."""
    config = json.loads(ask(f"{deploy(image).admin}/config_dump").body)
    assert '"name": "add_header", "root_id": "add_header"' in json.dumps(config)
    config = json.loads(ask(f"{deploy(image, '--root-id=r', '--id=i').admin}/config_dump").body)
    assert '"name": "i", "root_id": "r"' in json.dumps(config)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_in_order(number: int, deploy: Deploy, image: str, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end wasme with 0 and Envoy with it; no process and no file is left."""
    deployed = deploy(image, TMPDIR=str(tmp_path))
    pid = deployed.envoy_pid()
    assert alive(pid)
    assert deployed.stop(number) == 0
    assert not alive(pid)
    assert not list(tmp_path.glob("wasme-envoy-*"))
    assert "Traceback" not in deployed.log.read_text()


def test_killed_leaves_no_orphan(deploy: Deploy, image: str) -> None:
    """Even kill -9 of wasme ends its Envoy."""
    deployed = deploy(image)
    pid = deployed.envoy_pid()
    deployed.stop(signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end, "Envoy outlived wasme"
        time.sleep(0.02)


def test_stopped_while_starting(deploy: Deploy, image: str) -> None:
    """Ctrl-C before Envoy is ready is the same clean end."""
    deployed = deploy(image, "-v", ready=False)
    deployed.wait_for("running envoy")
    assert deployed.stop() == 0


def test_ended_by_its_admin_interface(deploy: Deploy, image: str) -> None:
    """POST /quitquitquit, as the original's scripts do, ends wasme with 0."""
    deployed = deploy(image)
    ask(f"{deployed.admin}/quitquitquit", b"")
    assert deployed.process.wait(30) == 0


def test_a_killed_envoy_is_told(deploy: Deploy, image: str) -> None:
    """An Envoy that ends by itself is an error in one line."""
    deployed = deploy(image)
    os.kill(deployed.envoy_pid(), signal.SIGKILL)
    assert deployed.process.wait(30) == 1
    assert "Error: envoy was ended by signal 9" in deployed.log.read_text()


def test_json_output(deploy: Deploy, image: str) -> None:
    """`--output json` puts one line on stdout when Envoy answers, and nothing else."""
    deployed = deploy(image, "--output=json")
    assert soon(lambda: deployed.out.read_text().endswith("\n"))  # it comes after the line that says so
    told = json.loads(deployed.out.read_text())
    assert told == {"id": "add_header", "url": deployed.url, "admin": deployed.admin}
    deployed.stop()
    assert len(deployed.out.read_text().splitlines()) == 1


class _Service(BaseHTTPRequestHandler):
    """A small real service that counts its requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = f"service {self.headers.get('hello')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def service() -> object:
    handler = type("Service", (_Service,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_upstream(host: str, deploy: Deploy, image: str, service: ThreadingHTTPServer) -> None:
    """`--upstream` sends the requests to a real service, by address and by name."""
    deployed = deploy(image, "--config=v", "--upstream", f"{host}:{service.server_address[1]}")
    answer = ask(f"{deployed.url}/up")
    assert (answer.status, answer.body, answer.headers["hello"]) == (200, "service v", "v")
    assert service.RequestHandlerClass.asked == ["/up"]  # type: ignore[attr-defined]


def test_calling_out(deploy: Deploy, service: ThreadingHTTPServer, tmp_path: Path) -> None:
    """A filter's call-out reaches the cluster of `--cluster`, whose name may hold `|` and `=`."""
    name = "outbound|8080||auth.svc=v1"
    module = module_file(tmp_path / "f.wasm", filters.calls_out(name))
    deployed = deploy(module, "--cluster", f"{name}=127.0.0.1:{service.server_address[1]}")
    ask(deployed.url)
    end = time.monotonic() + 20
    while not service.RequestHandlerClass.asked and time.monotonic() < end:  # type: ignore[attr-defined]
        time.sleep(0.01)
    assert service.RequestHandlerClass.asked == ["/auth"]  # type: ignore[attr-defined]
    assert "level=warning" not in deployed.log.read_text()


def test_calling_an_unknown_cluster_is_told(deploy: Deploy, tmp_path: Path) -> None:
    """Once, at the first call, with the cluster's name and the flag that adds it; host calls are not shown."""
    deployed = deploy(module_file(tmp_path / "f.wasm", filters.calls_out("auth|cluster")), "--cluster=a=127.0.0.1:9")
    for _ in range(3):
        assert ask(deployed.url).status == 200
    deployed.wait_for("called out to the cluster 'auth|cluster', which Envoy does not have .it has: a, echo.")
    deployed.stop()
    log = deployed.log.read_text()
    assert log.count("called out to") == 1
    assert "hint=\"add --cluster 'auth|cluster=HOST:PORT'\"" in log
    assert "[vm->host]" not in log


def test_an_unknown_cluster_whose_name_is_built(deploy: Deploy, tmp_path: Path) -> None:
    """A name that the filter makes while it runs is found by its length among the module's strings."""
    name = "outbound|8080||auth-simple.istio.svc.cluster.local"
    deployed = deploy(module_file(tmp_path / "f.wasm", filters.calls_out_by_built_name(name)))
    ask(deployed.url)
    deployed.wait_for(r"the name has 50 letters, probably 'outbound\|8080\|\|auth-simple.istio.svc.cluster.local'")
    deployed.wait_for(r"add --cluster 'outbound\|8080\|\|auth-simple.istio.svc.cluster.local=HOST:PORT'")


def test_a_call_without_its_headers_is_told(deploy: Deploy, tmp_path: Path) -> None:
    """A call that Envoy refuses although the cluster is there is told with the headers it lacks."""
    deployed = deploy(
        module_file(tmp_path / "f.wasm", filters.calls_out("known", full=False)), "--cluster=known=127.0.0.1:9"
    )
    ask(deployed.url)
    deployed.wait_for("HTTP call to the cluster 'known' was refused.*:method, :path and :authority")


def test_a_filter_that_fails_at_a_request(deploy: Deploy, tmp_path: Path) -> None:
    """A trap at a request is 503, Envoy's line about it is shown, and Envoy stays."""
    deployed = deploy(module_file(tmp_path / "f.wasm", filters.traps_on_request()))
    assert ask(deployed.url).status == 503
    deployed.wait_for("Function: proxy_on_request_headers failed: Uncaught RuntimeError: unreachable")
    assert deployed.process.poll() is None
