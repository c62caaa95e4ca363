"""The flags about a cluster, as every command that talks to one reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasme.deploy.cluster.client import Cluster


def connected(kubeconfig: str, context: str, namespace: str = "") -> Cluster:
    """The cluster that ``--kubeconfig`` and ``--context`` name; nothing is sent yet. Use it in a ``with``.

    Raises:
        ClusterUnreachable: they name none.
    """
    from wasme.deploy.cluster.connect import connect

    return connect(Path(kubeconfig) if kubeconfig else None, context, namespace)
