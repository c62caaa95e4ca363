"""deploy envoy-gateway with a real Envoy Gateway and its real proxy: what wasme writes works, and what it refuses would
not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster.programs import CACHE, etcd
from tests.kubernetes.cluster.programs import program as kubernetes

VERSION = "v1.9.0"
"""As in envoygateway/go.mod."""
_NAMED = os.environ.get("ENVOY_GATEWAY", "")
_STAGE = (
    "ip link set lo up && ip addr add 10.9.9.9/32 dev lo && "
    'printf "127.0.0.1 localhost envoy-gateway.envoy-gateway-system.svc.cluster.local\\n" > "$1/hosts" && '
    'mount --bind "$1/hosts" /etc/hosts && shift && exec "$@"'
)


def _programs() -> Path:
    for folder in (Path(_NAMED) if _NAMED else None, CACHE / f"envoy-gateway-{VERSION}"):
        if folder and (folder / "envoy-gateway").is_file() and (folder / "crds").is_dir():
            return folder
    pytest.skip(
        "needs envoy-gateway: `make envoy-gateway` builds it once (Go 1.26), or $ENVOY_GATEWAY names its folder"
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, envoy_binary: Path) -> dict[str, Any]:
    """What the play saw."""
    programs = _programs()
    kubernetes("kube-apiserver")
    etcd()
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-Urmn", "ip", "link"], capture_output=True).returncode:
        pytest.skip("needs network namespaces: unshare and ip, and the right to use them")
    folder = tmp_path_factory.mktemp("envoy-gateway")
    home = tmp_path_factory.mktemp("envoy-gateway-home")
    play = [sys.executable, "-m", "tests.kubernetes.envoygateway.world", programs / "envoy-gateway", programs / "crds"]
    proxies = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"}
    env = {name: value for name, value in os.environ.items() if name not in proxies}
    done = subprocess.run(
        [unshare, "-Urmn", "sh", "-euc", _STAGE, "stage", folder, *play, folder],
        env={**env, "HOME": str(home), "XDG_CACHE_HOME": str(CACHE.parent.parent)},
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    logs = "".join(f"\n{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found: dict[str, Any] = json.loads((folder / "seen.json").read_text())
    return found


def test_a_filter_runs_with_its_exact_bytes(seen: dict[str, Any]) -> None:
    """Envoy Gateway accepts the policy, and its proxy runs the filter with the very bytes that wasme told."""
    assert seen["plain"]["exit_code"] == 0, seen["plain"]["stderr"]
    assert "EnvoyExtensionPolicy is accepted" in seen["plain"]["stderr"]
    received = '{"a":"\\u003cx\\u003e","b":[1,true]}'
    assert json.dumps(f"{received} ({len(received)} bytes)") in seen["plain"]["stderr"]
    assert seen["plain answer"]["status"] == 200
    assert seen["plain answer"]["headers"]["hello"] == received


def test_two_filters_run_on_one_target(seen: dict[str, Any]) -> None:
    """The second filter, of the packed layout, runs beside the first in the same policy."""
    assert seen["packed"]["exit_code"] == 0, seen["packed"]["stderr"]
    assert seen["packed answer"]["headers"]["other"] == "2"
    assert "hello" in seen["packed answer"]["headers"]


def test_an_index_is_pinned_by_its_child(seen: dict[str, Any]) -> None:
    """A name that stands for an index runs; by the index's own digest Envoy Gateway would refuse it."""
    assert seen["index"]["exit_code"] == 0, seen["index"]["stderr"]
    assert seen["index answer"]["headers"]["hello"] == "3"
    assert seen["by index"]["status"] == "False"
    assert "does not match" in seen["by index"]["message"]


def test_a_second_policy_is_not_heeded(seen: dict[str, Any]) -> None:
    """What wasme refuses to make, a second policy on one target, Envoy Gateway calls conflicted."""
    assert (seen["second"]["status"], seen["second"]["reason"]) == ("False", "Conflicted")


def test_merging_on_a_route(seen: dict[str, Any]) -> None:
    """On a route the Gateway's script goes on to run, by merging; a policy without it would end the script there."""
    assert seen["route"]["exit_code"] == 0, seen["route"]["stderr"]
    assert (seen["route answer"]["headers"]["hello"], seen["route answer"]["headers"]["lua"]) == ("4", "yes")
    assert "hello" in seen["nearer answer"]["headers"]
    assert "lua" not in seen["nearer answer"]["headers"]


def test_a_policy_on_a_listener_is_refused(seen: dict[str, Any]) -> None:
    """On a listener nothing is merged, so wasme refuses to replace the Gateway's script there."""
    assert seen["listener"]["exit_code"] == 1
    assert "would replace lua of EnvoyExtensionPolicy default/scripts" in seen["listener"]["stderr"]


def test_undeployed_filters_run_no_more(seen: dict[str, Any]) -> None:
    """Both filters go, the policy with them, and the proxy answers without."""
    assert [seen[f"undeploy {each}"]["exit_code"] for each in ("one", "two")] == [0, 0]
    assert seen["left"] == []
    assert seen["undeployed answer"]["status"] == 200
    assert not {"hello", "other"} & seen["undeployed answer"]["headers"].keys()


def test_a_refusal_is_told(seen: dict[str, Any]) -> None:
    """--wait ends with Envoy Gateway's own reason where it does not take the policy."""
    assert seen["refused"]["exit_code"] == 1
    assert "does not take EnvoyExtensionPolicy default/by-index: Invalid: Wasm" in seen["refused"]["stderr"]
