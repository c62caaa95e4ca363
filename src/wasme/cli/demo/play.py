"""The main job, scene by scene: from an empty folder to two filters in a real Envoy."""

from __future__ import annotations

import re
import secrets
import urllib.request

from wasme.cli.demo.stage import DemoFailed, Stage, free_port

_AUTH_CLUSTER = "outbound|8080||auth-simple.istio.svc.cluster.local"
_PROJECT = ("--language=assemblyscript", "--platform=istio", "--platform-version=1.9.x", "--disable-prompt")
_READY = r"envoy is ready.*\burl=\"?http://127\.0\.0\.1:(\d+)"


def play(stage: Stage) -> None:
    """Play every scene.

    Raises:
        DemoFailed: a step did not show what it should.
    """
    host = _hub(stage)
    image = f"{host}/demo/add-header:v0.1"
    _scaffold_and_build(stage, image)
    moved = _publish(stage, host, image)
    _deploy(stage, moved)
    _authorise(stage, host)


def _hub(stage: Stage) -> str:
    """A hub of one's own, an account on it, and a login."""
    stage.title("A hub: the registry for filters, on this machine")
    port = free_port()
    stage.start("hub", "serve", "--listen", f"127.0.0.1:{port}", "--data", "hub-data", ready=r"serving")
    stage.processes[-1].url = f"http://127.0.0.1:{port}"
    host = f"localhost:{port}"
    password = secrets.token_urlsafe(12)
    stage.run("hub", "user", "add", "demo", "--password-stdin", "--data", "hub-data", secret=password)
    login = ("login", "-s", host, "-u", "demo", "--password-stdin")
    stage.run(*login, secret="not-" + password, variable="WRONG", fails=True)
    stored = stage.home / ".wasme" / "credentials.json"
    stage.check("a wrong password is refused, and nothing is stored", not stored.exists())
    stage.run(*login, secret=password, shows="Successfully logged in as demo")
    return host


def _scaffold_and_build(stage: Stage, image: str) -> None:
    stage.title("A filter: scaffolded, and built with the real AssemblyScript compiler, without Docker")
    stage.run("init", "add-header", *_PROJECT, shows="extracting")
    stage.run("build", "assemblyscript", "add-header", "-t", image, shows="tagged image")


def _publish(stage: Stage, host: str, image: str) -> str:
    """Push, search, forget, pull again, tag, list.

    Returns:
        The image's second name.
    """
    stage.title("Published: pushed, found, pulled again")
    pushed = stage.run("push", image, shows=r"Digest: sha256:[0-9a-f]{64}")
    found = stage.run("list", "--published", "--search", "header", "--server", host, shows="demo/add-header")
    manifest = re.search(r"Digest: sha256:([0-9a-f]{8})", pushed)
    stage.check("the hub lists the digest that push printed", manifest is not None and manifest.group(1) in found)
    stage.run("rm", image)
    gone = stage.run("list")
    stage.check("the image is gone from this machine", "add-header" not in gone)
    pulled = stage.run("pull", image, shows=r"Digest: sha256:[0-9a-f]{64}")
    moved = image.replace(":v0.1", ":v0.2")
    stage.run("tag", image, moved, shows="tagged image")
    listed = stage.run("list", shows=r"NAME +TAG +SIZE +SHA +UPDATED")
    module = re.search(r"Digest: sha256:([0-9a-f]{8})", pulled)
    stage.check("both tags are one module", module is not None and listed.count(module.group(1)) == 2)
    return moved


def _deploy(stage: Stage, image: str) -> None:
    stage.title("Running: in a real Envoy, with a configuration drawn for this run")
    value = f"demo-{secrets.token_hex(4)}"
    ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    ready = stage.start("deploy", "envoy", image, "--id=demo", f"--config={value}", *ports, ready=_READY)
    stage.processes[-1].url = f"http://127.0.0.1:{ready.group(1)}"
    answer = stage.request(int(ready.group(1)))
    stage.check(f"the answer carries `hello: {value}`", re.search(rf"(?mi)^hello: {value}$", answer) is not None)


def _authorise(stage: Stage, host: str) -> None:
    """The user's auth filter, with its service there, and with the service stopped."""
    stage.title("Calling out: a filter that asks a service before it lets a request through")
    image = f"{host}/demo/auth:v0.1"
    stage.run("init", "auth", *_PROJECT, "--example=auth")
    stage.run("build", "assemblyscript", "auth", "-t", image, shows="tagged image")
    started = stage.start(
        *(["--stay"] if stage.keep else []),
        ready=r"^(\d+)$",
        module="wasme.cli.demo.auth_service",
    )
    service = stage.processes[-1]
    port = int(started.group(1))
    service.url = f"http://127.0.0.1:{port}"
    cluster = f"{_AUTH_CLUSTER}=127.0.0.1:{port}"
    ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    ready = stage.start("deploy", "envoy", image, "--id=auth", "--cluster", cluster, *ports, ready=_READY)
    envoy = int(ready.group(1))
    stage.processes[-1].url = f"http://127.0.0.1:{envoy}"
    for headers, status, body in (
        ({"userId": "admin"}, 200, None),
        ({"userId": "mark"}, 403, "fail"),
        ({}, 403, "fail"),
    ):
        answer = stage.request(envoy, headers)
        who = f"`userId: {headers['userId']}`" if headers else "no userId"
        stage.check(f"{who} gets {status}", _status(answer) == status)
        if body is not None:
            stage.check(f"with the body `{body}`", answer.partition("\n\n")[2].strip() == body)
    asked = _asked(port)
    stage.check(f"the service was asked {asked} times for 3 requests", asked == 3)
    if stage.keep:
        return
    service.stop()
    answer = stage.request(envoy, {"userId": "admin"})
    stage.check("with the service stopped, even `userId: admin` gets 403", _status(answer) == 403)


def _status(answer: str) -> int:
    match = re.match(r"HTTP/1\.[01] (\d{3}) ", answer)
    if match is None:
        raise DemoFailed(f"no HTTP answer: {answer[:200]!r}")
    return int(match.group(1))


def _asked(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/requests", timeout=10) as answer:
        return int(answer.read())
