"""A cluster in which an operator with given rights has something to do for each of them."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.accounts import wait_allowed
from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.gateways import Gateways as Gloo
from tests.kubernetes.gateways import World as EnvoyGateway
from tests.kubernetes.images import Pushed
from tests.kubernetes.operator import test_gateways_rights as gateways_rights
from tests.kubernetes.operator.world import GROUP, World
from wasme.operator.installation import rights
from wasme.operator.installation.manifests import NAME
from wasme.operator.installation.rights import Right

Object = dict[str, Any]
_CANNOT = re.compile(r"cannot (\w+) resource")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ISTIO = {
    "web": {"labels": {"app": "web"}},
    "agent": {"labels": {"app": "agent"}, "kind": "DaemonSet"},
    "db": {"labels": {"app": "db"}, "kind": "StatefulSet"},
    "private": {"labels": {"app": "web"}},
    "plugin": {"labels": {"app": "web"}, "provider": "WasmPlugin"},
    "traffic": {"labels": {"app": "web"}, "provider": "TrafficExtension"},
}


# Targets that only Istio takes, there and not there.
REFERENCES = {
    "service": ("", "Service", "web"),
    "no-service": ("", "Service", "none"),
    "entry": ("networking.istio.io", "ServiceEntry", "outside"),
    "no-entry": ("networking.istio.io", "ServiceEntry", "none"),
    "class": ("gateway.networking.k8s.io", "GatewayClass", "rights"),
    "no-class": ("gateway.networking.k8s.io", "GatewayClass", "none"),
}
WORKLOADS = ("deployments/web", "daemonsets/agent", "statefulsets/db")
MARK = "sidecar.istio.io/userVolume"
NAMES = [*ISTIO, *REFERENCES, "gloo", "edge"]


class Use(NamedTuple):
    """One verb of one resource, in the operator's own namespace or anywhere."""

    own: bool
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}{' (own)' if self.own else ''}"


def uses(table: tuple[Right, ...], *, own: bool) -> set[Use]:
    return {
        Use(own, each.group, resource, verb) for each in table for resource in each.resources for verb in each.verbs
    }


EVERY = uses(rights.CLUSTER, own=False) | uses(rights.own("wasme-cache"), own=True)

REREAD = {
    kind: next(each for each in EVERY if (each.resource, each.verb) == (f"{kind.lower()}s", "get"))
    for kind in ("EnvoyFilter", "WasmPlugin", "TrafficExtension")
}
"""What turning a rollout back needs, by the kind of the object before."""

OTHERS = {Use(False, *each) for each in gateways_rights.EACH} | set(REREAD.values())
"""Those that have a test of their own."""


def without(table: tuple[Right, ...], gone: set[Use], *, own: bool) -> list[Object]:
    """The rules of a table less some verbs."""
    rules = []
    for each in table:
        for resource in each.resources:
            verbs = [verb for verb in each.verbs if Use(own, each.group, resource, verb) not in gone]
            if verbs:
                rules.append(each._replace(resources=(resource,), verbs=tuple(verbs)).rule)
    return rules


class Scene:
    """A cluster in which an operator, as its ServiceAccount, has something to do for each of its rights."""

    def __init__(self, world: World, image: Pushed, private: Pushed, kubeconfig: Path) -> None:
        self.world = world
        self.api = world.api
        self.image = image
        self.private = private
        self.kubeconfig = kubeconfig
        self.gloo = Gloo(world.api, world.namespace)
        self.edge = EnvoyGateway(world.api, world.namespace)
        self._turns = itertools.count()

    def rule(self, gone: set[Use] = frozenset()) -> None:  # type: ignore[assignment]
        """Give the account its rights, less some; returns when the server, which follows roles by watches, knows."""
        turn, group = next(self._turns), "test.wasme.io"
        tables = ((True, rights.own("wasme-cache"), f"namespaces/{self.world.own}/roles"),
                  (False, rights.CLUSTER, "clusterroles"))  # fmt: skip
        for own, table, place in tables:
            sign = {"apiGroups": [group], "resources": [f"{place.rpartition('/')[2]}-{turn}"], "verbs": ["get"]}
            self.api.patch(f"{RBAC}/{place}/{NAME}", {"rules": [*without(table, gone, own=own), sign]})
        who = f"system:serviceaccount:{self.world.own}:{NAME}"
        for kind in ("roles", "clusterroles"):
            wait_allowed(self.api, who, "get", f"{kind}-{turn}", group=group, namespace=self.world.own)

    def operator(self, **settings: Any) -> Operator:
        return self.world.operator(kubeconfig=self.kubeconfig, **settings)

    def apply(self, config: str) -> None:
        """FilterDeployments for every kind of target."""
        for name, istio in ISTIO.items():
            credentials = name in ("private", "plugin")
            image = self.private if credentials else self.image
            section = {"config": {"word": config}, **({"pullSecret": "regcred"} if credentials else {})}
            self.world.apply(name, image.name, istio=istio, filter=section)
        targets = [{"kind": kind, "name": name, "group": "gateway.networking.k8s.io"}
                   for kind, name in (("Gateway", "eg"), ("HTTPRoute", "backend"), ("GRPCRoute", "calls"))]  # fmt: skip
        places = {"gloo": {"gloo": {}}, "edge": {"envoyGateway": {"targetRefs": targets}}}
        for name, (group, kind, of) in REFERENCES.items():
            ref = {"group": group, "kind": kind, "name": of}
            # A GatewayClass is looked at in Istio's own namespace only.
            istio = {"targetRefs": [ref], "provider": "WasmPlugin", "istioNamespace": self.world.namespace}
            places[name] = {"istio": istio}
        for name, place in places.items():
            self.api.apply(
                {
                    "apiVersion": "wasme.io/v1",
                    "kind": "FilterDeployment",
                    "metadata": {"name": name, "namespace": self.world.namespace},
                    "spec": {
                        "filter": {"image": self.image.name, "config": {"word": config}},
                        "deployment": place,
                    },
                }
            )

    def carried(self) -> dict[str, str]:
        """What each FilterDeployment has made, as text."""
        found = {}
        for kind in ("envoyfilters", "wasmplugins", "trafficextensions"):
            for name, obj in self.world.filters(kind).items():
                found[f"{kind}/{name}"] = json.dumps(obj["spec"])
        for obj in self.edge.policies().values():
            found[f"policies/{obj['metadata']['name']}"] = json.dumps(obj["spec"])
        for each in self.gloo.filters() or ():
            found[f"gloo/{each['name']}"] = json.dumps(each)
        return found

    def wait(self, config: str, seconds: float = 120) -> None:
        """Until every target has its filter with this configuration: Istio's, three policies, one Gateway."""

        def done() -> bool:
            # Whoever may not look for a target takes it as it is named.
            carried = [text for name, text in self.carried().items() if "/no-" not in name]
            return len(carried) == len(ISTIO) + len(REFERENCES) // 2 + 4 and all(config in text for text in carried)

        wait_until(done, seconds, lambda: f"{config}: {sorted(self.carried())}, {self.told()}")

    @contextmanager
    def others(self) -> Iterator[None]:
        """Somebody else writes into everything all the time, so that now and then the operator comes second."""
        stop = threading.Event()
        base = f"/namespaces/{self.world.namespace}"
        paths = [self.world.path(name) for name in NAMES]
        paths += [f"/apis/apps/v1{base}/{each}" for each in WORKLOADS]

        def write(paths: list[str]) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                for path in paths:
                    with suppress(ApiRefused):  # it may have gone, or be changed by the operator at this moment
                        self.api.patch(path, {"metadata": {"annotations": {"example.com/other": str(number)}}})

        listed = [f"/api/v1/namespaces/{self.world.own}/configmaps/wasme-cache"]
        threads = [threading.Thread(target=write, args=(each,)) for each in (paths, listed, listed)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            stop.set()
            for each in threads:
                each.join()

    def unlease(self) -> None:
        """Somebody deletes the lease."""
        self.api.delete(f"/apis/coordination.k8s.io/v1/namespaces/{self.world.own}/leases/{NAME}")

    def churn(self, enough: Callable[[], object]) -> None:
        """FilterDeployments come and go, and their lines in the cache's list, until it is enough."""
        for _ in range(60):
            if enough():
                return
            for name in ("db", "agent"):
                with suppress(ApiRefused):
                    self.api.delete(self.world.path(name))
            time.sleep(0.5)
            with suppress(ApiRefused):
                self.apply("three")
            time.sleep(0.5)

    def left(self) -> None:
        """What is being deleted is gone."""
        found = f"{GROUP}/namespaces/{self.world.namespace}/filterdeployments"
        wait_until(
            lambda: not any("deletionTimestamp" in each["metadata"] for each in self.api.list(found)), 90,
            lambda: f"some stay: {self.told()}",
        )  # fmt: skip

    def uncarry(self) -> None:
        """Somebody deletes what carries filters to Istio's proxies."""
        for kind in ("envoyfilters", "wasmplugins", "trafficextensions"):
            group = "networking.istio.io/v1alpha3" if kind == "envoyfilters" else "extensions.istio.io/v1alpha1"
            for name in self.world.filters(kind):
                self.api.delete(f"/apis/{group}/namespaces/{self.world.namespace}/{kind}/{name}")

    def unmark(self) -> None:
        """Somebody takes the marks off the workloads' templates."""
        for path in WORKLOADS:
            change = {"spec": {"template": {"metadata": {"annotations": {MARK: None}}}}}
            self.api.patch(f"/apis/apps/v1/namespaces/{self.world.namespace}/{path}", change)

    def drift(self) -> None:
        """The same, and they come back."""
        self.unmark()
        for plural, _, name in (path.partition("/") for path in WORKLOADS):
            wait_until(
                lambda plural=plural, name=name: MARK in self.world.template(name, plural).get("annotations", {}), 60,
                f"{name} stays as it is",
            )  # fmt: skip

    def doom(self) -> None:
        """All FilterDeployments are to go."""
        for name in NAMES:
            with suppress(ApiRefused):  # it may have gone
                self.api.delete(self.world.path(name))

    def breaks(self, config: str) -> None:
        """An image that is not there, twice: the second Event of that reason is counted with the first."""
        for image in (f"{self.image.name}-none", self.image.name, f"{self.image.name}-none"):
            self.world.apply("web", image, istio=ISTIO["web"], filter={"config": {"word": config}})
            missing = image.endswith("-none")
            self.world.wait("web", "Ready=False" if missing else "Ready")
        wait_until(
            lambda: self.world.events("web", "ImageNotFound"), 60, lambda: f"no Event: {self.world.status('web')}"
        )

    def delete(self) -> None:
        """All FilterDeployments, and what they made."""
        self.doom()
        wait_until(
            lambda: not any(self.world.get(self.world.path(name)) for name in NAMES) and not self.carried(), 90,
            lambda: f"left: {sorted(self.carried())}, {self.told()}",
        )  # fmt: skip

    def told(self) -> dict[str, list[str]]:
        return {
            name: [
                each["message"]
                for each in self.world.status(name).get("conditions", ())
                if (each["status"] == "True") is (each["type"] == "Degraded")
            ]
            for name in NAMES
        }

    def audit(self, since: int) -> tuple[set[Use], set[Use]]:
        """What the account has done since a mark, and what it was refused."""
        done: set[Use] = set()
        refused: set[Use] = set()
        for each in self.world.plane.audit(since, agent=""):
            about = each.get("objectRef") or {}
            user = f"system:serviceaccount:{self.world.own}:{NAME}"
            if (each.get("user") or {}).get("username") != user or "resource" not in about:
                continue
            place = str(about.get("namespace", ""))
            if place.startswith("wasme-") and place != self.world.own:
                continue  # the node cache of an operator of another test, which a filter that it left still names
            resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
            use = Use(about.get("namespace") == self.world.own, about.get("apiGroup", ""), resource, each["verb"])
            status = each.get("responseStatus") or {}
            told = _CANNOT.search(status.get("message", "")) if status.get("code") == 403 else None
            if told:  # an apply that would make its object is refused for the creation
                refused.add(use._replace(verb=told[1]))
            else:
                done.add(use)
        return done, refused
