"""`wasme hub serve` as a program: it starts, says so, stops, and tells in one line why it does not."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.hubs import Hub, ask


def refuse(*arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Run `wasme hub serve`, which must fail with exit code 1 or 2; its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "wasme", "hub", "serve", *map(str, arguments)],
        capture_output=True, text=True, timeout=30, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_it_says_where_it_serves_in_one_line_and_stops_cleanly(hub: Hub) -> None:
    """One line on stderr once it answers; SIGTERM ends it with exit code 0 and leaves nothing on the port."""
    assert [line for line in hub.log if "serving on" in line] == [
        line for line in hub.log if f'msg="serving on {hub.url}"' in line
    ]
    assert sum("serving on" in line for line in hub.log) == 1
    assert ask(hub.host, "GET", "/healthz").body == b"ok\n"
    assert ask(hub.host, "GET", "/readyz").status == 200
    assert hub.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        ask(hub.host, "GET", "/healthz")


def test_ctrl_c_ends_it_with_success(hub: Hub) -> None:
    """Ctrl-C on a terminal reaches every process of the group; none complains."""
    assert hub.workers
    for pid in hub.workers:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    assert ask(hub.host, "GET", "/healthz").status == 200  # workers leave it to the first process
    assert hub.stop(signal.SIGINT) == 0
    assert not [line for line in hub.log if "level=error" in line or "Traceback" in line]


def test_several_workers_are_one_hub(start_hub: Callable[..., Hub]) -> None:
    """With three workers an upload goes through any of them, and the counters are everybody's."""
    hub = start_hub("--open", "--workers", "3")
    assert sum("serving on" in line for line in hub.log) == 1
    content = os.urandom(300_000)
    import hashlib

    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    place = hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
    for start in range(0, len(content), 30_000):
        part = content[start : start + 30_000]
        where = {"Content-Range": f"{start}-{start + len(part) - 1}"}
        assert hub.ask("PATCH", place, part, headers=where).status == 202
    assert hub.ask("PUT", f"{place}?digest={digest}").status == 201
    assert hub.ask("GET", f"/v2/demo/x/blobs/{digest}").body == content
    counted = {
        hub.ask("GET", "/metrics").body.decode().split("wasme_hub_received_bytes_total ")[-1].split()[0]
        for _ in range(9)
    }
    assert counted == {"300000"}


def test_a_worker_that_dies_is_replaced(start_hub: Callable[..., Hub]) -> None:
    """And what it had counted is still counted."""
    hub = start_hub()
    (worker,) = hub.workers
    for _ in range(3):
        assert hub.ask("GET", "/").status == 200
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if hub.workers and worker not in hub.workers:
            break
        time.sleep(0.05)
    assert ask(hub.host, "GET", "/healthz").status == 200
    assert 'requests_total{route="page",status="2xx"} 3' in hub.ask("GET", "/metrics").body.decode()


TELLS_ROWS = """
import os, sys
from pathlib import Path
from wasme.hub import metrics, server
from wasme.hub.settings import Settings

class Telling(metrics.Counters):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        with open(Path(sys.argv[1]) / "rows", "a") as rows:
            rows.write(f"{os.getpid()} {self._base}\\n")

metrics.Counters = Telling
server.serve(Settings(data=Path(sys.argv[1]), port=0, workers=2), bool)
"""


def test_no_two_workers_count_in_one_row(tmp_path: Path) -> None:
    """One dies, then one is replaced while it still answers: nobody takes a living worker's counters."""

    def told(number: int) -> list[tuple[int, int]]:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            text = (tmp_path / "rows").read_text() if (tmp_path / "rows").exists() else ""
            if text.count("\n") >= number:
                return [(int(pid), int(row)) for pid, row in (line.split() for line in text.splitlines())]
            time.sleep(0.02)
        raise AssertionError(text)

    process = subprocess.Popen([sys.executable, "-c", TELLS_ROWS, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        first, second = told(2)
        os.kill(second[0], signal.SIGKILL)
        third = told(3)[2]
        process.send_signal(signal.SIGHUP)
        fourth = told(4)[3]
        assert len({row for _, row in (first, second)}) == 2
        assert len({row for _, row in (first, third, fourth)}) == 3
    finally:
        process.kill()
        process.wait()


SLOW_WORKER = """
import functools, sys, time
from pathlib import Path
from wasme.hub import server
from wasme.hub.settings import Settings
server.serve(Settings(data=Path(sys.argv[1]), port=0), functools.partial(time.sleep, 1))
"""


def test_a_signal_to_a_worker_that_is_just_starting_is_not_lost(tmp_path: Path) -> None:
    """The worker is not ready for a second; told to stop in that time, the hub stops when it is, not ten seconds on."""
    process = subprocess.Popen([sys.executable, "-c", SLOW_WORKER, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "uploads").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(9) == 0
    finally:
        process.kill()
        process.wait()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refuse("--listen", f"127.0.0.1:{port}", "--data", tmp_path)
    assert told.splitlines() == [
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use",
        "Hint: another program uses the port; give another one with --listen HOST:PORT",
    ]


def test_a_second_hub_on_the_same_folder_is_refused(hub: Hub) -> None:
    """At once, by name and process; the first one goes on."""
    begun = time.monotonic()
    told = refuse("--listen", "127.0.0.1:0", "--data", hub.data)
    assert f"another hub (process {hub.pid}) serves {hub.data}" in told
    assert time.monotonic() - begun < 20
    assert ask(hub.host, "GET", "/healthz").status == 200


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert "cannot be written" in refuse("--listen", "127.0.0.1:0", "--data", tmp_path / "file")
    assert "cannot be written" in refuse("--listen", "127.0.0.1:0", "--data", "/proc/nothing")


def test_open_to_the_network_is_refused(tmp_path: Path) -> None:
    told = refuse("--listen", "0.0.0.0:0", "--open", "--data", tmp_path)
    assert "--open lets anyone push" in told
    assert "usage" in told.lower()


def test_a_missing_extra_is_one_line(tmp_path: Path) -> None:
    """Without granian: which extra, and how to install it."""
    (tmp_path / "granian.py").write_text("raise ImportError('not installed')")
    found = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = refuse("--listen", "127.0.0.1:0", "--data", tmp_path / "hub", env={"PYTHONPATH": found})
    assert "needs the extra [hub]" in told
    assert "pip install 'wasme[hub]'" in told


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    told = refuse("--listen", "127.0.0.1:0", "--data", tmp_path / "hub", "--tls-certificate", tmp_path / "bad.pem",
                  "--tls-key", tmp_path / "bad.pem")  # fmt: skip
    assert "TLS certificate or key cannot be used" in told
    assert "go together" in refuse("--data", tmp_path / "hub", "--tls-key", tmp_path / "bad.pem")


def test_it_speaks_https(tmp_path: Path, start_hub: Callable[..., Hub]) -> None:
    """The original lists over HTTPS only, so a hub must be able to."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    hub = start_hub("--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    assert hub.url.startswith("https://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connection = HTTPSConnection(hub.host, context=context, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


def test_a_hub_without_accounts_says_how_to_make_one(hub: Hub) -> None:
    assert hub.logged("wasme hub user add")


def test_it_starts_within_a_second_of_processor_time(tmp_path: Path, start_hub: Callable[..., Hub]) -> None:
    """The demo and these tests start it often."""
    start_hub()
    hub = start_hub()
    ticks = sum(
        int(field)
        for pid in [hub.pid, *hub.workers]
        for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    )
    assert ticks / os.sysconf("SC_CLK_TCK") < 1


def accounts_json(run: Callable[..., Any], data: Path) -> Any:
    return run("hub", "user", "list", "--data", data, "--output", "json").json


def test_accounts_are_managed_from_the_command_line(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """add, list, password, remove: before the hub has ever run, with passwords from standard input."""
    import io

    data = tmp_path / "new" / "hub"
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    made = run("hub", "user", "add", "demo", "--password-stdin", "--realname", "De Mo", "--email", "d@example.org",
               "--data", data, "--output", "json").json  # fmt: skip
    assert (made["name"], made["realname"], made["email"], made["admin"]) == ("demo", "De Mo", "d@example.org", False)
    assert "secret" not in str(made)
    assert "password" not in str(made).lower()
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n"))
    again = run("hub", "user", "add", "demo", "--password-stdin", "--data", data, ok=False)
    assert (again.exit_code, "there is a user 'demo' already" in again.stderr) == (1, True)
    table = run("hub", "user", "list", "--data", data).stdout
    assert table == "NAME ADMIN REALNAME EMAIL\ndemo no    De Mo    d@example.org\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("other\n"))
    run("hub", "user", "password", "demo", "--password-stdin", "--data", data)
    run("hub", "user", "remove", "demo", "--data", data)
    assert accounts_json(run, data) == []
    gone = run("hub", "user", "remove", "demo", "--data", data, ok=False)
    assert "there is no user 'demo'" in gone.stderr


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("secret", "secret"), ("secret\r\n", "secret"), ("two\nlines\n", "two\nlines"), (" x \n\n", " x \n")],
)
def test_a_password_from_standard_input_is_what_login_reads(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str, meant: str
) -> None:
    """All of it without the last line's end, here as there; else an account could not log in with its own password."""
    import io

    from wasme.cli.sessions import read_password
    from wasme.hub.accounts import open_accounts
    from wasme.hub.passwords import is_right

    monkeypatch.setattr("sys.stdin", io.StringIO(sent))
    run("hub", "user", "add", "demo", "--password-stdin", "--data", tmp_path)
    with open_accounts(tmp_path) as accounts:
        found = accounts.with_secret("demo")
    assert found is not None
    assert is_right(found[1], meant)
    monkeypatch.setattr("sys.stdin", io.StringIO(sent))
    assert read_password("demo", "", password_stdin=True) == meant


def test_without_a_terminal_the_password_flag_is_named(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("hub", "user", "add", "demo", "--data", tmp_path, ok=False)
    assert result.exit_code == 2
    assert "--password-stdin" in result.stderr


def test_on_a_terminal_the_password_is_asked_twice_and_not_shown(run: Callable[..., Any], tmp_path: Path) -> None:
    """The first answers differ, so it asks again."""
    import pty

    terminal, inner = pty.openpty()
    command = [sys.executable, "-m", "wasme", "hub", "user", "add", "demo", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    os.close(inner)
    shown = b""
    answers = [b"secret\n", b"sceret\n", b"secret\n", b"secret\n"]
    try:
        while chunk := os.read(terminal, 1000):
            shown += chunk
            if shown.rstrip().endswith(b":") and answers:
                time.sleep(0.05)  # until the terminal no longer echoes
                os.write(terminal, answers.pop(0))
    except OSError:  # Linux's way of saying that the other side has gone
        pass
    os.close(terminal)
    assert process.wait(10) == 0, shown
    assert answers == []
    assert b"secret" not in shown
    assert [each["name"] for each in accounts_json(run, tmp_path)] == ["demo"]


def test_the_default_folder_is_in_the_home(
    run: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    run("hub", "user", "add", "demo", "--password-stdin")
    assert (home / ".wasme" / "hub" / "hub.db").is_file()
