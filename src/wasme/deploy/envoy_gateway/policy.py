"""An EnvoyExtensionPolicy with and without a filter: values in, values out.

The CRD's list ``spec.wasm`` is atomic: server-side apply would know one owner for all of it, and the second of two
deployments at once would wipe the first one's filter out. So wasme reads a policy, changes its own entries and sends
the list back guarded by the version that was read; and a policy that is not there is created, which fails if it is.
The annotation ``FILTERS`` names the entries that are wasme's, in its own policies and in a user's.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasme.deploy import go_json
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY
from wasme.deploy.envoy_gateway.configuration import Configuration
from wasme.deploy.envoy_gateway.targets import Target
from wasme.deploy.spec import FilterSpec
from wasme.errors import ClusterError

Policy = dict[str, Any]
Entry = dict[str, Any]

FILTERS = "wasme.io/filters"
"""The annotation with wasme's filters in a policy: a JSON object from id to image, manifest and module."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "wasme"
MOST = 16
"""Filters that the CRD lets stand in one policy."""


@dataclass(frozen=True, slots=True)
class Code:
    """Where Envoy Gateway finds the module.

    Attributes:
        url: ``HOST/REPOSITORY@sha256:…`` of the image manifest. Not of an index: Envoy Gateway compares the digest
            with that of the manifest that it has chosen from it.
        typed: the reference as the user typed it.
        manifest, module: digests.
        pull_secret: name of a ``kubernetes.io/dockerconfigjson`` Secret beside the policy; "" for none.
    """

    url: str
    typed: str
    manifest: str
    module: str
    pull_secret: str = ""

    @property
    def told(self) -> dict[str, str]:
        """What the annotation says of it."""
        return {"image": self.typed, "manifest": self.manifest, "module": self.module}


def entry(spec: FilterSpec, code: Code, configuration: Configuration | None, *, fail_open: bool) -> Entry:
    """The entry of a filter, with the CRD's defaults written out, so that it is equal to what the server stores."""
    image: Entry = {"url": code.url, "sha256": code.manifest.removeprefix("sha256:")}
    if code.pull_secret:
        image["pullSecretRef"] = {"group": "", "kind": "Secret", "name": code.pull_secret}
    made: Entry = {"name": spec.id}
    if spec.root_id:
        made["rootID"] = spec.root_id
    made["code"] = {"type": "Image", "image": image}
    if configuration:
        made["config"] = configuration.value
    made["failOpen"] = fail_open
    if spec.settings.host_env:
        made["env"] = {"hostKeys": list(spec.settings.host_env)}
    return made


def name_for(target: Target) -> str:
    """The name of wasme's own policy on a target."""
    plain = f"wasme-{target.kind.lower()}-{target.name}"
    if not target.section and len(plain) <= 253:
        return plain
    digest = hashlib.sha256(str(target).encode()).hexdigest()[:10]
    return f"{plain[:242].rstrip('.-')}-{digest}"


def new(target: Target, namespace: str, *, merge_type: str = "") -> Policy:
    """Wasme's own policy on a target, without any filter yet.

    Args:
        target: what it is attached to.
        namespace: the target's, which a policy shares.
        merge_type: on a route: how the policies of its Gateway go on to count; "" where they do not.
    """
    spec: Policy = {"targetRefs": [target.reference]}
    if merge_type:
        spec["mergeType"] = merge_type
    return {
        "apiVersion": ENVOY_EXTENSION_POLICY.api_version,
        "kind": ENVOY_EXTENSION_POLICY.kind,
        "metadata": {"name": name_for(target), "namespace": namespace, "labels": {MANAGED_BY: MANAGER}},
        "spec": spec,
    }


def is_ours(policy: Mapping[str, Any]) -> bool:
    """Whether wasme made the policy."""
    return (policy["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER


def shown(policy: Mapping[str, Any]) -> str:
    """As messages and logs name it."""
    meta = policy["metadata"]
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def told(policy: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Wasme's filters in a policy: what the annotation says of each, by id; entries that are gone are left out."""
    text = (policy["metadata"].get("annotations") or {}).get(FILTERS, "")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {}
    present = {each.get("name") for each in _entries(policy)}
    return {
        str(name): {str(key): str(value) for key, value in each.items()}
        for name, each in (found.items() if isinstance(found, dict) else ())
        if isinstance(each, dict) and name in present
    }


def with_filter(policy: Policy, made: Entry, code: Code) -> Policy:
    """The policy with the filter: replaced where it stands, else last; the same value where it has just that.

    Raises:
        ClusterError: an entry of that name is the user's own, or the list is full.
    """
    present, ours = _entries(policy), told(policy)
    index = next((index for index, each in enumerate(present) if each.get("name") == made["name"]), len(present))
    if index < len(present) and made["name"] not in ours:
        raise ClusterError(
            f"EnvoyExtensionPolicy {shown(policy)} has a filter {made['name']} that wasme has not put there",
            hint="take another --id",
        )
    if index >= MOST:
        raise ClusterError(
            f"EnvoyExtensionPolicy {shown(policy)} has {MOST} Wasm filters, and takes no more",
            hint="`wasme undeploy envoy-gateway --id ID` takes one away",
        )
    wanted = [*present[:index], made, *present[index + 1 :]]
    if _same(wanted, present) and ours.get(made["name"]) == code.told:
        return policy
    changed = copy.deepcopy(policy)
    changed["spec"]["wasm"] = wanted
    _tell(changed, {**ours, made["name"]: code.told})
    return changed


def without_filter(policy: Policy, filter_id: str) -> Policy:
    """The policy without wasme's filter of that id; the same value where there is none of wasme's.

    In a user's policy an empty list goes too: one without any Wasm filter had none before.
    """
    ours = told(policy)
    if filter_id not in ours:
        return policy
    changed = copy.deepcopy(policy)
    left = [each for each in _entries(policy) if each.get("name") != filter_id]
    changed["spec"]["wasm"] = left
    if not left:
        del changed["spec"]["wasm"]
    _tell(changed, {name: each for name, each in ours.items() if name != filter_id})
    return changed


def is_spent(policy: Policy) -> bool:
    """Whether wasme's own policy has nothing left to do: no extension of any kind, nobody's."""
    spec = policy["spec"]
    return is_ours(policy) and not any(value for key, value in spec.items() if key not in _ATTACHING)


_ATTACHING = ("targetRef", "targetRefs", "targetSelectors", "mergeType")


def patch(after: Policy) -> Policy:
    """The merge patch (RFC 7386) that makes a policy so, guarded by the version that was read.

    It names nothing but the list of Wasm filters and wasme's annotation.
    """
    annotation = (after["metadata"].get("annotations") or {}).get(FILTERS)
    return {
        "metadata": {"resourceVersion": after["metadata"]["resourceVersion"], "annotations": {FILTERS: annotation}},
        "spec": {"wasm": after["spec"].get("wasm")},
    }


def same_filters(one: Policy, other: Policy) -> bool:
    """Whether two policies have the same Wasm filters, field by field."""
    return _same(_entries(one), _entries(other))


def _same(one: list[Entry], other: list[Entry]) -> bool:
    """Whether both are the same JSON: for Python 1 and true are equal, and a large number read back may be another."""
    return go_json.encode(one) == go_json.encode(other)


def _entries(policy: Mapping[str, Any]) -> list[Entry]:
    found = (policy.get("spec") or {}).get("wasm") or []
    return [each for each in found if isinstance(each, dict)]


def _tell(policy: Policy, ours: Mapping[str, Any]) -> None:
    annotations = policy["metadata"].setdefault("annotations", {})
    if ours:
        annotations[FILTERS] = json.dumps(ours, sort_keys=True, separators=(",", ":"))
        return
    annotations.pop(FILTERS, None)
    if not annotations:
        del policy["metadata"]["annotations"]
