"""What the Gloo in a cluster can do: its CRD, and its proxies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import GLOO_GATEWAY, POD
from wasme.deploy.gateways import readable_schema, versions_of
from wasme.deploy.gloo.entry import Entry
from wasme.errors import ClusterForbidden, NotServed, UnsupportedImage
from wasme.wasm.proxies import minor_of

log = logging.getLogger(__name__)

_FILTERS = "spec.httpGateway.options.wasm.filters"
_OPEN_SOURCE = "gloo-envoy-wrapper"
_ENTERPRISE = "gloo-ee-envoy-wrapper"
_LAST_OPEN = 5  # the minor version of the last Gloo whose open-source edition runs Wasm filters
_FLAGS = {"failOpen": "--fail-open", "filterStage": "--filter-stage", "filePath": "--file-path"}


def require_fields(cluster: Cluster, entry: Entry) -> None:
    """Refuse what the served CRD has no field for; who may not read CRDs is told by what the server stores.

    Raises:
        NotServed: no Gloo, no Wasm filters in its Gateways, or not with these settings.
    """
    schema = readable_schema(cluster, GLOO_GATEWAY)
    if schema is None:
        return
    if not schema.has(f"{_FILTERS}.name"):
        raise NotServed(
            f"the Gateways of this Gloo have no Wasm filters: {GLOO_GATEWAY.resource} has no {_FILTERS}",
            hint="install the CRDs of a Gloo Edge from 1.3 on",
        )
    missing = [name for name in entry if not schema.has(f"{_FILTERS}.{name}")]
    if missing:
        flags = " ".join(_FLAGS.get(name, name) for name in missing)
        raise NotServed(
            f"the Wasm filters of this Gloo have no {', '.join(missing)}: {GLOO_GATEWAY.resource} has no such field",
            hint=f"go without {flags}, or install the CRDs of a newer Gloo",
        )


def proxies(cluster: Cluster, gateways: Iterable[Mapping[str, Any]], *, ignore: bool) -> dict[str, str]:
    """The versions of Gloo in the proxies that are there, each with a Pod; empty where they cannot be seen.

    Raises:
        UnsupportedImage: all proxies are of an open-source Gloo that refuses Wasm filters.
    """
    try:
        pods = cluster.list(POD, None, labels="gloo=gateway-proxy")
    except ClusterForbidden:
        namespaces = sorted({str(each["metadata"].get("namespace", "")) for each in gateways})
        try:
            pods = [pod for each in namespaces for pod in cluster.list(POD, each, labels="gloo=gateway-proxy")]
        except ClusterForbidden as error:
            log.debug("cannot see the proxies of Gloo", extra={"fields": {"reason": error.message}})
            return {}
    enterprise, open_source = versions_of(pods, (_ENTERPRISE,)), versions_of(pods, (_OPEN_SOURCE,))
    newest = max((minor_of(version) or 0 for version in open_source), default=0)
    if newest > _LAST_OPEN and not enterprise and not ignore:
        version, where = next(iter(open_source.items()))
        raise UnsupportedImage(
            f"the open-source Gloo {version} of {where} refuses Gateways with Wasm filters: from 1.6 on they are an "
            "Enterprise feature",
            hint="its own end of life is 2026-12-31; `wasme deploy envoy-gateway` takes the same image",
        )
    return {**open_source, **enterprise}
