"""An etcd that is put back from a backup under an operator that goes on."""

from __future__ import annotations

import threading
from typing import Any

from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from wasme.deploy.cluster import connect
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.operator.informers.informer import Informer

Calls = list[tuple[str, Any, Any]]


def test_an_etcd_that_is_put_back(control_plane: ControlPlane, namespace: str) -> None:
    """Its versions are lower than those that are known. An informer comes to know and tells all that differs from what
    it knew, and each change after it."""
    stop = threading.Event()
    with connect(control_plane.kubeconfig) as cluster, connect(control_plane.kubeconfig) as others:
        for name in ("stays", "changes", "goes"):
            others.apply(config_map(namespace, name), manager="others")
        put_back = control_plane.backup()
        informer = Informer(cluster, CONFIG_MAP, namespace, keep=lambda obj: obj["data"].get("a"), fields=_OURS)
        calls: Calls = []
        informer.subscribe(lambda key, before, after: calls.append((key.name, before, after)))
        thread = threading.Thread(target=informer.run, args=(stop,))
        thread.start()
        try:
            assert informer.synced.wait(60)
            others.delete(CONFIG_MAP, "goes", namespace)
            for value in range(2, 30):
                others.apply(config_map(namespace, "changes", a=str(value)), manager="others")
            others.apply(config_map(namespace, "made"), manager="others")
            wait_until(lambda: {("goes", "1", None), ("made", None, "1")} <= {*calls}, 30, lambda: str(calls))
            calls.clear()
            put_back()
            wait_until(lambda: len(calls) >= 3, 60, lambda: str(calls))
            assert sorted(calls, key=str) == [("changes", "29", "1"), ("goes", None, "1"), ("made", "1", None)]
            others.apply(config_map(namespace, "changes", a="2"), manager="others")
            wait_until(lambda: len(calls) >= 4, 60, lambda: str(calls))
            assert calls[3:] == [("changes", "1", "2")]
        finally:
            stop.set()
            thread.join(20)


_OURS = "metadata.name!=kube-root-ca.crt"  # Kubernetes makes one in each namespace
