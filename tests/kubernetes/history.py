"""What happened to a namespace, revision by revision: every state that any proxy or kubelet could have seen.

etcd numbers all changes of a cluster in one sequence, so watches of several kinds, sorted by resourceVersion, are the
history itself, and what must always hold is asked of each of its states.
"""

from __future__ import annotations

import copy
import http.client
import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.meshes import USER_MOUNT, USER_VOLUME

Object = dict[str, Any]
_EXTENSIONS = "/apis/extensions.istio.io/v1alpha1/namespaces/{}"
_PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "EnvoyFilter": "/apis/networking.istio.io/v1alpha3/namespaces/{}/envoyfilters",
    "WasmPlugin": _EXTENSIONS + "/wasmplugins",
    "TrafficExtension": _EXTENSIONS + "/trafficextensions",
}
_CACHE = "/var/local/lib/wasme-cache"
_CACHE_LABEL = "wasme.io/cache"


class History:
    """Everything that happens to workloads and filters of a namespace from now on."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._lock = threading.Lock()
        self._events: dict[tuple[int, str, str], tuple[str, Object]] = {}
        self._ended = threading.Event()
        self._first: dict[str, list[Object]] = {}
        self._at: dict[str, str] = {}
        for kind, path in _PATHS.items():
            listed = plane.api.get(path.format(namespace))
            self._first[kind], self._at[kind] = listed["items"], listed["metadata"]["resourceVersion"]
        self._threads = [threading.Thread(target=self._watch, args=(kind,), daemon=True) for kind in _PATHS]
        for each in self._threads:
            each.start()

    def _watch(self, kind: str) -> None:
        """Follow a kind, over any number of broken connections."""
        while not self._ended.is_set():
            try:
                self._follow(kind)
            except TimeoutError:  # nothing has happened for a while
                continue
            except (OSError, http.client.HTTPException, ValueError):
                self._ended.wait(0.1)
                self._list_again(kind)

    def _list_again(self, kind: str) -> None:
        """A server that was restarted remembers no states from before: what has changed meanwhile is one change."""
        try:
            listed = self._plane.api.get(_PATHS[kind].format(self._namespace))
        except (OSError, http.client.HTTPException, ApiRefused):
            return
        at = listed["metadata"]["resourceVersion"]
        *_, last = self.states()
        there = {each["metadata"]["name"]: each for each in listed["items"]}
        with self._lock:
            for name, obj in there.items():
                self._events[int(obj["metadata"]["resourceVersion"]), kind, name] = "MODIFIED", obj
            for of, name in last:
                if of == kind and name not in there:
                    self._events[int(at), kind, name] = "DELETED", last[of, name]
        self._at[kind] = at

    def _follow(self, kind: str) -> None:
        host = urllib.parse.urlsplit(self._plane.url).netloc
        context = ssl.create_default_context(cafile=str(self._plane.ca))
        connection = http.client.HTTPSConnection(host, context=context, timeout=1)
        query = f"?watch=1&resourceVersion={self._at[kind]}&allowWatchBookmarks=true"
        try:
            token = {"Authorization": f"Bearer {self._plane.token}"}
            connection.request("GET", _PATHS[kind].format(self._namespace) + query, headers=token)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(answer.status)
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ValueError(event["object"])
                obj = event["object"]
                version = obj["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    with self._lock:
                        self._events[int(version), kind, obj["metadata"]["name"]] = event["type"], obj
                self._at[kind] = version
                if self._ended.is_set():
                    return
        finally:
            connection.close()

    def end(self) -> None:
        """Stop when all that is there now has been seen."""
        for kind, path in _PATHS.items():
            wait_until(lambda kind=kind, path=path: self._has_seen(kind, path), 20, f"{kind}: the watch lags")  # type: ignore[misc]
        self._ended.set()
        for each in self._threads:
            each.join(5)

    def _has_seen(self, kind: str, path: str) -> bool:
        there = {
            each["metadata"]["name"]: each["metadata"]["resourceVersion"]
            for each in self._plane.api.list(path.format(self._namespace))
        }
        *_, last = self.states()
        seen = {name: each["metadata"]["resourceVersion"] for (of, name), each in last.items() if of == kind}
        return seen == there

    def states(self) -> Iterator[dict[tuple[str, str], Object]]:
        """Each state, by kind and name; the first is the one at the beginning."""
        state = {(kind, each["metadata"]["name"]): each for kind, items in self._first.items() for each in items}
        yield state
        with self._lock:
            events = sorted(self._events.items(), key=lambda event: event[0][0])
        for (_, kind, name), (change, obj) in events:
            state = dict(state)
            if change == "DELETED":
                state.pop((kind, name), None)
            else:
                state[kind, name] = obj
            yield state

    def require_safe(self) -> int:
        """No filter ever selected pods that would not see its file; how many states there were.

        Two things make it so, and each is asked of each state: a template with the cache's label has its folder
        mounted; and an EnvoyFilter that names a file there selects no template without it.
        """
        count = 0
        for count, state in enumerate(self.states(), 1):
            templates = {
                name: obj["spec"]["template"]["metadata"] for (kind, name), obj in state.items() if kind == "Deployment"
            }
            for name, template in templates.items():
                if _CACHE_LABEL in template.get("labels", {}):
                    assert mounts_cache(template), f"state {count}: {name} has the label and no volume"
            for (kind, name), obj in state.items():
                if kind != "EnvoyFilter" or _CACHE not in json.dumps(obj["spec"]):
                    continue
                selector = obj["spec"]["workloadSelector"]["labels"]
                for workload, template in templates.items():
                    if selector.items() <= template.get("labels", {}).items():
                        assert mounts_cache(template), f"state {count}: {name} selects {workload}, which has no volume"
        return count


def mounts_cache(template: Object) -> bool:
    """Whether sidecars of a pod template see the cache's folder."""
    annotations = template.get("annotations", {})
    volumes = {each["name"]: each for each in json.loads(annotations.get(USER_VOLUME, "[]"))}
    mounts = json.loads(annotations.get(USER_MOUNT, "[]"))
    return any(
        each["mountPath"] == _CACHE and volumes.get(each["name"], {}).get("hostPath", {}).get("path") == _CACHE
        for each in mounts
    )


def picture(plane: ControlPlane, namespace: str) -> Object:
    """What is in a namespace, without what the server counts."""
    found: Object = {}
    for kind, path in _PATHS.items():
        for obj in plane.api.list(path.format(namespace)):
            shown = copy.deepcopy(obj)
            meta = shown["metadata"]
            for name in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
                meta.pop(name, None)
            shown.pop("status", None)
            meta["annotations"] = {
                key: value
                for key, value in meta.get("annotations", {}).items()
                if not re.match(r"deployment\.kubernetes\.io/", key)
            }
            template = shown["spec"].get("template", {}).get("metadata", {})
            template["annotations"] = template.get("annotations") or {}
            template.pop("creationTimestamp", None)
            found[f"{kind}/{meta['name']}"] = shown
    return found
