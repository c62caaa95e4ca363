"""The specification's own conformance program, where it has been built.

git clone https://github.com/opencontainers/distribution-spec && cd distribution-spec/conformance
go build -o conformance . && export OCI_CONFORMANCE=$PWD/conformance
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.hubs import Hub


@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_the_official_program_finds_no_failure(start_hub: Callable[..., Hub], tmp_path: Path, version: str) -> None:
    """With an account, through two workers: exit code 0, no line that says Fail."""
    program = os.environ.get("OCI_CONFORMANCE")
    if not program:
        pytest.skip("needs OCI_CONFORMANCE=PATH, the built program of opencontainers/distribution-spec")
    hub = start_hub("--workers", "2")
    name, password = hub.add_user("conf", "secret")
    settings = {
        "OCI_REGISTRY": hub.host,
        "OCI_TLS": "disabled",
        "OCI_USERNAME": name,
        "OCI_PASSWORD": password,
        "OCI_REPO1": "conf/one",
        "OCI_REPO2": "conf/two",
        "OCI_VERSION": version,
        "OCI_RESULTS_DIR": str(tmp_path / "results"),
    }
    done = subprocess.run([program], env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OCI Conformance Test: Pass" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.rstrip().endswith(": Fail")]
