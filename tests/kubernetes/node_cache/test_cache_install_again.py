"""`wasme cache install` where it has been installed before, by the command and beside other tools."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api, place
from wasme import __version__


def test_a_plain_install_keeps_what_was_chosen(kube_run: Callable[..., Result], api: Api, namespace: str) -> None:
    """An image that was chosen stays until another is chosen: a cluster without internet keeps its agents.

    A tag belongs to its repository, and goes with it.
    """
    where = ("cache", "install", "--cache-namespace", namespace)
    kube_run(*where, "--cache-repo", "registry.example.com/wasme", "--cache-tag", "v9")
    kube_run(*where)
    daemon_set = api.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/wasme-cache")
    assert daemon_set["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/wasme:v9"
    kube_run(*where, "--cache-repo", "registry.example.com/other")
    daemon_set = api.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/wasme-cache")
    assert (
        daemon_set["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.example.com/other:{__version__}"
    )


def test_another_tool_may_apply_the_same(kube_run: Callable[..., Result], api: Api, namespace: str) -> None:
    """What --dry-run prints conflicts with nothing that install has applied: both can own it, as with GitOps."""
    where = ("--cache-namespace", namespace)
    kube_run("cache", "install", *where)
    printed = json.loads(kube_run("cache", "install", *where, "--dry-run", "--output", "json").stdout)
    for obj in printed["items"]:
        path = f"{place(obj)}?fieldManager=gitops&dryRun=All"
        api.call("PATCH", path, obj, "application/apply-patch+yaml")
