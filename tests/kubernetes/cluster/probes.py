"""What the kubelet's prober does: asks a readiness probe by its rules, and tells the pod's Ready condition."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from tests.kubernetes.cluster.api import Api, ApiRefused

Object = dict[str, Any]


class Process(Protocol):
    """What runs in a container."""

    url: str

    @property
    def running(self) -> bool:
        """Whether it does."""
        ...


class Probes:
    """The probers of the kubelets that run the pods of a namespace.

    Args:
        api: of the server.
        namespace: of the pods.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, pod: str, container: Object, process: Callable[[], Process]) -> None:
        """Probe the one container of a pod from now on; ``process`` gives what runs in it now."""
        thread = threading.Thread(target=self._probe, args=(pod, container, process), daemon=True)
        self._threads.append(thread)
        thread.start()

    def ready(self, pod: str) -> bool:
        """Whether a pod has the condition Ready."""
        found = self._api.find(f"{self._pods}/{pod}") or {"status": {}}
        return any(
            each["type"] == "Ready" and each["status"] == "True" for each in found["status"].get("conditions", ())
        )

    def bind(self, pod: str, node: str) -> None:
        """What the scheduler does."""
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        self._api.call("POST", f"{self._pods}/{pod}/binding", binding)

    def stop(self) -> None:
        """No more probes."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _probe(self, pod: str, container: Object, process: Callable[[], Process]) -> None:
        """The loop of the kubelet's worker for one container."""
        probe = container["readinessProbe"]
        needed = {False: probe.get("failureThreshold", 3), True: probe.get("successThreshold", 1)}
        ready: bool | None = None
        last, count = False, 0
        if self._stop.wait(probe.get("initialDelaySeconds", 0)):
            return
        while True:
            begun = time.monotonic()
            running = process().running
            # A container that does not run is not ready, whatever its probe said last.
            result = running and _asked(process().url, probe["httpGet"]["path"], probe.get("timeoutSeconds", 1))
            count = count + 1 if result == last else 1
            last = result
            if (count >= needed[result] or not running) and ready != result:
                ready = result
                self._tell(pod, container, ready=ready)
            if self._stop.wait(max(0.0, begun + probe.get("periodSeconds", 10) - time.monotonic())):
                return

    def _tell(self, pod: str, container: Object, *, ready: bool) -> None:
        word = "True" if ready else "False"
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": kind, "status": word} for kind in ("Ready", "ContainersReady")],
            "containerStatuses": [
                {"name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
                 "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
            ],
        }  # fmt: skip
        while not self._stop.is_set():
            try:
                self._api.patch(f"{self._pods}/{pod}/status", {"status": status}, "strategic-merge")
            except (OSError, http.client.HTTPException):  # the server is away: a kubelet tries again
                self._stop.wait(0.2)
            except ApiRefused as refused:
                if refused.status == 404:
                    return
                self._stop.wait(0.2)
            else:
                return


def without(words: list[str], *flags: str) -> list[str]:
    """The arguments of a container without these flags and their values."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in flags:
            skip = True
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept


def _asked(url: str, path: str, seconds: float) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=seconds)
    try:
        connection.request("GET", path, headers={"User-Agent": "kube-probe/1.33"})
        answer = connection.getresponse()
        answer.read()
        return 200 <= answer.status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
