"""A real Envoy Gateway on a real API server, with its proxy: a play in one act, in a network of its own.

    python -m tests.kubernetes.envoygateway.world PROGRAM CRDS FOLDER

Envoy Gateway listens on ports that nothing moves, so all of this runs in namespaces of its own, which
`test_envoy_gateway_real.py` makes. It makes a Gateway and a route, calls wasme, asks the proxy that Envoy Gateway
describes in the API server, and writes what it saw to FOLDER/seen.json.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures import registries
from tests.fixtures.filters import adds_config
from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import push
from wasme.envoy.binary import find_envoy

NAMESPACE = "default"
GATEWAY_API = "gateway.networking.k8s.io"
BACKEND = "10.9.9.9"
"""An address of this network alone; an EndpointSlice takes none of loopback's."""
_SYSTEM = "envoy-gateway-system"
_POLICIES = f"/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{NAMESPACE}/envoyextensionpolicies"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class World:
    """Everything that runs, until `close`."""

    def __init__(self, program: Path, definitions: Path, folder: Path) -> None:
        self._program = program
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._plane = ControlPlane(folder / "plane")
        self._plane.start()
        self.api = self._plane.api
        self.registry = registries.start(folder)
        self._env = {**os.environ, "KUBECONFIG": str(self._plane.kubeconfig), "ENVOY_GATEWAY_NAMESPACE": _SYSTEM}
        kinds = (*crds.definitions(definitions), *crds.definitions(crds.folder("gateway-api/v1.6.1")))
        for definition in kinds:
            self.api.create(definition)
        self._serve_backend()
        self._make("v1", "Namespace", _SYSTEM, {})
        for definition in kinds:  # it looks once, when it starts, which of them there are
            until(lambda spec=definition["spec"]: self._is_served(spec), f"{definition['metadata']['name']} is served")  # type: ignore[misc]
        self._start_gateway()

    def _is_served(self, spec: dict[str, Any]) -> bool:
        """Whether the API server tells of all versions of a kind, and lists them."""
        for version in (each["name"] for each in spec["versions"] if each["served"]):
            base, plural = f"/apis/{spec['group']}/{version}", spec["names"]["plural"]
            told = (self.api.find(base) or {"resources": []})["resources"]
            if plural not in {each["name"] for each in told} or self.api.find(f"{base}/{plural}?limit=1") is None:
                return False
        return True

    def close(self) -> None:
        for each in self._running:
            each.terminate()
        for each in self._running:
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
        self.registry.stop()
        self._plane.close()

    def wasme(self, *words: str) -> dict[str, Any]:
        """One command line, as a user has it."""
        program = Path(sys.executable).with_name("wasme")
        done = subprocess.run([program, *words], env=self._env, capture_output=True, text=True, timeout=90)
        return {"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    def push(self, name: str, header: str = "hello", layout: str = "oci") -> str:
        """An image whose filter adds a header with its configuration."""
        return push(self.registry.host, f"real/{name}:v1", layout, adds_config(header)).image

    def push_index(self, image: str, name: str) -> str:
        """An index with the image for linux/amd64."""
        host, _, path = image.partition("/")
        repository, _, tag = path.rpartition(":")
        base = f"http://{host}/v2/{repository}/manifests/"
        manifest = _call("GET", base + tag, accept=_MANIFEST)
        child = {"mediaType": _MANIFEST, "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
                 "size": len(manifest), "platform": {"os": "linux", "architecture": "amd64"}}  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [child]}
        _call("PUT", base + name, json.dumps(index).encode(), kind=_INDEX)
        return f"{host}/{repository}:{name}"

    def policy(self, name: str, target: str = "Gateway/eg", **spec: Any) -> None:
        """A policy that wasme has not made."""
        kind, _, of = target.partition("/")
        spec["targetRefs"] = [{"group": GATEWAY_API, "kind": kind, "name": of}]
        self._make("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy", name, spec, NAMESPACE)

    def policies(self) -> dict[str, Any]:
        return {each["metadata"]["name"]: each for each in self.api.list(_POLICIES)}

    def condition(self, name: str, kind: str = "Accepted") -> dict[str, str]:
        """What Envoy Gateway says of a policy, as soon as it says something."""

        def found() -> Any:
            for ancestor in self.policies()[name].get("status", {}).get("ancestors", []):
                for each in ancestor["conditions"]:
                    if each["type"] == kind:
                        return each
            return None

        condition: dict[str, str] = until(found, f"{name} has a condition {kind}")
        return condition

    def delete_policy(self, name: str) -> None:
        self.api.delete(f"{_POLICIES}/{name}")

    def gateway(self) -> None:
        """A Gateway with one listener, and a route to the backend."""
        controller = "gateway.envoyproxy.io/gatewayclass-controller"
        self._make(f"{GATEWAY_API}/v1", "GatewayClass", "eg", {"controllerName": controller})
        listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
        self._make(f"{GATEWAY_API}/v1", "Gateway", "eg", {"gatewayClassName": "eg", "listeners": listeners}, NAMESPACE)
        rules = [{"backendRefs": [{"name": "backend", "port": 3000}]}]
        self._make(
            f"{GATEWAY_API}/v1", "HTTPRoute", "backend", {"parentRefs": [{"name": "eg"}], "rules": rules}, NAMESPACE
        )

    def proxy(self) -> None:
        """The Envoy of the Deployment that Envoy Gateway has made, with its own certificates."""
        listing = f"/apis/apps/v1/namespaces/{_SYSTEM}/deployments"
        deployment = until(lambda: next(iter(self.api.list(listing)), None), "Envoy Gateway makes a proxy")
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        folder = self.folder / "proxy"
        (folder / "certs").mkdir(parents=True)
        self._secret("envoy", folder / "certs")
        name = deployment["metadata"]["name"]
        for file, content in self.api.get(f"/api/v1/namespaces/{_SYSTEM}/configmaps/{name}")["data"].items():
            (folder / file).write_text(content.replace("/certs/", f"{folder}/certs/"))
        words = container["args"]
        bootstrap = words[words.index("--config-yaml") + 1].replace("$(ENVOY_SERVICE_ZONE)", "zone")
        bootstrap = bootstrap.replace("/sds/", f"{folder}/")
        bootstrap = bootstrap.replace(f"envoy-gateway.{_SYSTEM}.svc.cluster.local.", "127.0.0.1")
        # Envoy Gateway itself has these two ports of this one machine.
        bootstrap = bootstrap.replace("port_value: 19000", "port_value: 19100").replace(": 19001", ": 19101")
        (folder / "envoy.yaml").write_text(bootstrap)
        flags = ["-c", folder / "envoy.yaml", "--service-cluster", f"{NAMESPACE}/eg", "--service-node", "proxy-0"]
        self._run("proxy", find_envoy().path, *flags, "--disable-hot-restart", "--concurrency", "1", "-l", "info")

    def answer(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """What the proxy answers, once it is as wanted; what it answered last if it never is."""
        last: dict[str, Any] = {}

        def ask() -> bool:
            nonlocal last
            connection = http.client.HTTPConnection("127.0.0.1", 10080, timeout=10)
            try:
                connection.request("GET", "/")
                found = connection.getresponse()
                last = {"status": found.status, "headers": {key.lower(): value for key, value in found.getheaders()}}
            except OSError as error:
                last = {"status": 0, "headers": {}, "error": str(error)}
            finally:
                connection.close()
            return wanted(last)

        end = time.monotonic() + 45
        while not ask() and time.monotonic() < end:
            time.sleep(0.1)
        return {**last, "what": what}

    def _make(self, version: str, kind: str, name: str, spec: dict[str, Any], namespace: str = "") -> None:
        meta = {"name": name, **({"namespace": namespace} if namespace else {})}
        self.api.create({"apiVersion": version, "kind": kind, "metadata": meta, **({"spec": spec} if spec else {})})

    def _serve_backend(self) -> None:
        server = ThreadingHTTPServer((BACKEND, 3000), _Backend)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._make("v1", "Service", "backend", {"ports": [{"name": "http", "port": 3000}]}, NAMESPACE)
        meta = {"name": "backend", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "backend"}}
        self.api.create(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": meta,
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 3000}],
                "endpoints": [{"addresses": [BACKEND], "conditions": {"ready": True}}],
            }
        )

    def _start_gateway(self) -> None:
        folder = self.folder / "gateway"
        (folder / "certs").mkdir(parents=True)
        # It makes the certificates and then looks for a webhook, which is not there: that is its exit code.
        subprocess.run([self._program, "certgen"], env=self._env, capture_output=True, timeout=60)
        self._secret("envoy-gateway", folder / "certs")
        config = {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyGateway",
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "provider": {"type": "Kubernetes"},
            "extensionApis": {"enableLua": True},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self._run("gateway", self._program, "server", "--config-path", folder / "config.yaml")

    def _secret(self, name: str, folder: Path) -> None:
        data = self.api.get(f"/api/v1/namespaces/{_SYSTEM}/secrets/{name}")["data"]
        for file, content in data.items():
            (folder / file).write_bytes(base64.b64decode(content))

    def _run(self, name: str, *argv: object) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("wb") as log:
            words = [str(word) for word in argv]
            self._running.append(subprocess.Popen(words, cwd=folder, env=self._env, stdout=log, stderr=log))


class _Backend(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _call(method: str, url: str, body: bytes | None = None, *, accept: str = "", kind: str = "") -> bytes:
    headers = {name: value for name, value in (("Accept", accept), ("Content-Type", kind)) if value}
    request = urllib.request.Request(url, body, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def until(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Ask until there is something."""
    end = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s: {what}")
        time.sleep(0.1)
    return result


def play(world: World) -> dict[str, Any]:
    """The scenes, and what was seen in each."""
    deploy = ("deploy", "envoy-gateway")
    where = ("-n", NAMESPACE, "--wait=60s")
    seen: dict[str, Any] = {}
    world.gateway()
    seen["plain"] = world.wasme(
        *deploy, world.push("one"), "--id=one", '--config={"b": [1.0, true], "a": "<x>"}', *where
    )
    world.proxy()
    seen["plain answer"] = world.answer(lambda each: "hello" in each["headers"], "the first filter runs")
    seen["packed"] = world.wasme(*deploy, world.push("two", "other", "compat"), "--id=two", "--config=2", *where)
    seen["packed answer"] = world.answer(lambda each: {"hello", "other"} <= each["headers"].keys(), "both filters run")
    seen["index"] = world.wasme(*deploy, world.push_index(world.push("one"), "index"), "--id=one", "--config=3", *where)
    seen["index answer"] = world.answer(lambda each: each["headers"].get("hello") == "3", "a child of an index runs")
    index = world.push_index(world.push("one"), "index")
    digest = f"sha256:{hashlib.sha256(_manifest(index)).hexdigest()}"

    entry = {"name": "x", "code": {"type": "Image", "image": {"url": index.rpartition(":")[0] + f"@{digest}"}}}
    world.policy("second", wasm=[entry])
    seen["second"] = world.condition("second")
    world.delete_policy("second")
    for each in ("one", "two"):
        seen[f"undeploy {each}"] = world.wasme("undeploy", "envoy-gateway", f"--id={each}", "-n", NAMESPACE)
    seen["left"] = sorted(world.policies())
    seen["undeployed answer"] = world.answer(
        lambda each: each["status"] == 200 and not {"hello", "other"} & each["headers"].keys(), "no filter runs"
    )

    script = 'function envoy_on_response(handle) handle:headers():add("lua", "yes") end'
    world.policy("scripts", lua=[{"type": "Inline", "inline": script}])
    seen["listener"] = world.wasme(*deploy, world.push("one"), "--id=one", "--target=Gateway/eg:http", *where)
    seen["route"] = world.wasme(
        *deploy, world.push("one"), "--id=one", "--config=4", "--target=HTTPRoute/backend", *where
    )
    seen["route answer"] = world.answer(
        lambda each: (each["headers"].get("hello"), each["headers"].get("lua")) == ("4", "yes"), "both run on the route"
    )
    world.wasme("undeploy", "envoy-gateway", "--id=one", "-n", NAMESPACE)
    world.policy("nearer", "HTTPRoute/backend", wasm=[{**entry, "code": _code(world, "one")}])
    seen["nearer answer"] = world.answer(
        lambda each: "hello" in each["headers"] and "lua" not in each["headers"], "without merging the script is lost"
    )
    for each in ("scripts", "nearer"):
        world.delete_policy(each)

    world.policy("by-index", wasm=[entry])
    seen["by index"] = world.condition("by-index")
    seen["refused"] = world.wasme(*deploy, world.push("one"), "--id=one", "--into=by-index", *where)
    return seen


def _code(world: World, name: str) -> dict[str, Any]:
    return {"type": "Image", "image": {"url": world.push(name)}}


def _manifest(image: str) -> bytes:
    host, _, path = image.partition("/")
    repository, _, tag = path.rpartition(":")
    return _call("GET", f"http://{host}/v2/{repository}/manifests/{tag}", accept=_INDEX)


def main() -> None:
    """Set the stage, play, tell."""
    program, definitions, folder = map(Path, sys.argv[1:4])
    world = World(program, definitions, folder)
    try:
        seen = play(world)
    finally:
        world.close()
    (folder / "seen.json").write_text(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main()
