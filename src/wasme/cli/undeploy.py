"""``wasme undeploy``: the group; each target is a module of its own."""

from __future__ import annotations

from wasme.cli.grammar import Group, flag

undeploy = Group(
    "undeploy",
    table={
        "envoy-gateway": (
            "wasme.cli.undeploy_envoy_gateway:envoy_gateway",
            "Remove an Envoy WASM Filter from the gateways of Envoy Gateway.",
        ),
        "gloo": ("wasme.cli.undeploy_gloo:gloo", "Remove an Envoy WASM Filter from the Gloo Gateway Proxies (Envoy)."),
        "istio": (
            "wasme.cli.undeploy_istio:istio",
            "Remove an Envoy WASM Filter from the Istio Sidecar Proxies (Envoy).",
        ),
    },
    help="Remove a deployed Envoy WASM Filter from the data plane (Envoy proxies).",
    persistent=[
        flag("--id", help="names the deployed filter that is to go"),
        flag(
            "--dry-run",
            kind="dryRun",
            help="print the objects on stdout as they would be, and change nothing; with server, the API server checks "
            "them too",
        ),
        flag("--config", help="taken as the original took it, and not read"),
        flag("--root-id", help="taken as the original took it, and not read"),
    ],
)
