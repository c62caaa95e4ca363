"""Errors of deployments in the words of a FilterDeployment: fields in place of flags."""

from __future__ import annotations

import re

from wasme.errors import WasmeError

_FIELDS = {
    "--as": "deployment.istio.provider",
    "--cache-mode": "deployment.istio.cache.mode",
    "--config": "filter.config",
    "--id": "filter.id",
    "--ignore-version-check": "deployment.istio.ignoreVersionCheck",
    "--image-pull-policy": "filter.pullPolicy",
    "--istio-namespace": "deployment.istio.istioNamespace",
    "--istiod-name": "deployment.istio.istiodName",
    "--labels": "deployment.istio.labels",
    "--name": "deployment.istio.name",
    "--patch-context": "filter.patchContext",
    "--phase": "filter.phase",
    "--ports": "deployment.istio.ports",
    "--priority": "filter.priority",
    "--pull-secret": "filter.pullSecret",
    "--root-id": "filter.rootID",
    "--target": "deployment.istio.targetRefs",
    "--workload-type": "deployment.istio.kind",
}
_FLAG = re.compile(r"--[a-z][-a-z]*")


def in_fields(text: str) -> str:
    """A message or hint with fields of the spec in place of the command line's flags."""

    def field(found: re.Match[str]) -> str:
        name = _FIELDS.get(found[0])
        return f"spec.{name}" if name else found[0]

    return _FLAG.sub(field, text)


def reworded(error: WasmeError) -> WasmeError:
    """The same error, as who wrote a FilterDeployment understands it."""
    hint = in_fields(error.hint) if error.hint else error.hint
    if (in_fields(error.message), hint) == (error.message, error.hint):
        return error
    return type(error)(in_fields(error.message), hint=hint)


def told(error: WasmeError) -> str:
    """An error as one line of a target."""
    return in_fields(error.message)
