"""``wasme deploy envoy``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from wasme.cli.grammar import Invocation, command, exactly, option, stored_images
from wasme.cli.options import output_option, store_option


@command(
    "envoy",
    use="deploy envoy <image> [--config=<filter config>] [--bootstrap=<file>]",
    args=exactly(1),
    complete=stored_images,
    help="Run Envoy locally and attach a WASM Filter.\n\n"
    "Envoy runs until Ctrl-C. <image> is an image of the local store, or the path of a .wasm file. Without --bootstrap "
    "and --upstream every request is answered with what an upstream would have received, so that the answer shows what "
    "the filter did. A module that Envoy would refuse is refused at once, with the reason.",
    examples="wasme deploy envoy localhost:5000/demo/add-header:v0.1 --config=world\n"
    "wasme deploy envoy auth:v1 --upstream 127.0.0.1:3000 --cluster 'auth-cluster=127.0.0.1:9000'\n"
    "wasme deploy envoy build/filter.wasm --bootstrap envoy.yaml --out patched.yaml",
)
@option("--bootstrap", "-b", help="the Envoy bootstrap (YAML or JSON) to add the filter to; - is standard input")
@option("--upstream", help="HOST:PORT that gets the requests; the default is an echo inside Envoy")
@option("--cluster", kind="stringArray", help="NAME=HOST:PORT of a cluster that the filter may call out to; repeatable")
@option("--listen", help="HOST:PORT for requests; port 0 takes a free one (default 127.0.0.1:8080)")
@option("--admin", help="HOST:PORT of Envoy's admin interface; port 0 takes a free one (default 127.0.0.1:19000)")
@option("--out", help="write the configuration to this file (- is stdout, .json gives JSON) and run nothing")
@option("--runtime", default="auto", choices=("auto", "native", "docker", "podman"),
        help="what runs Envoy; auto takes a program on this machine, else a container, which is podman's with "
             "$WASME_USE_PODMAN=1")  # fmt: skip
@option("--envoy-image", "-e", default="docker.io/envoyproxy/envoy:v1.40-latest", help="the container image of Envoy")
@option("--docker-run-args", help="more arguments for docker run, split as a shell does")
@option("--envoy-run-args", help="more arguments for Envoy, split as a shell does, such as '-l debug'")
@option(
    "--ready-timeout", kind="duration", default=60.0, help="how long Envoy may take until it answers; 0 is no limit"
)
@store_option
@output_option
def envoy(
    args: tuple[str, ...],
    id: str,  # noqa: A002 - the flag's name
    config: str,
    root_id: str,
    bootstrap: str,
    upstream: str,
    cluster: tuple[str, ...],
    listen: str,
    admin: str,
    out: str,
    runtime: str,
    envoy_image: str,
    docker_run_args: str,
    envoy_run_args: str,
    ready_timeout: float,
    store: str,
    output: str,
) -> None:
    """Deploy one filter to an Envoy on this machine."""
    from wasme.deploy import configuration
    from wasme.deploy import runtime as runtimes
    from wasme.deploy import source as sources
    from wasme.deploy.envoy import LocalEnvoy, Running, Target, parse_clusters
    from wasme.deploy.spec import FilterSpec

    target = Target(
        listen=_bound(listen, "--listen"),
        admin=_bound(admin, "--admin"),
        upstream=_address(upstream, "--upstream"),
        clusters=parse_clusters(cluster),
        bootstrap=_bootstrap(bootstrap),
        bootstrap_name="standard input" if bootstrap == "-" else bootstrap,
    )
    source = sources.find(args[0], Path(store) if store else None)
    spec = sources.complete(
        FilterSpec(id=id, image=args[0], root_id=root_id, config=configuration.read(config)), source
    )
    module = sources.load(source)
    running = Running(
        runtime="native" if out and runtime == "auto" else runtimes.choose(runtime),
        image=envoy_image,
        container_args=runtimes.split_arguments(docker_run_args, "--docker-run-args"),
        envoy_args=runtimes.split_arguments(envoy_run_args, "--envoy-run-args"),
        ready_timeout=ready_timeout,
        verbose=click.get_current_context().ensure_object(Invocation).verbose,
        show=_show,
        stdout=sys.stderr.fileno() if output == "json" else None,
    )
    provider = LocalEnvoy(source, target, running, module)
    document = provider.document(spec)
    if out:
        _write(document, out, output)
        return
    with _stopped_in_order(provider.ask_to_stop):
        try:
            provider.start(document)
            ready = provider.wait_ready()
            if ready is not None:
                _tell(spec.id, ready, output)
            provider.wait()
        finally:
            provider.remove(spec.id)


_STATES = {
    "ready": "envoy is ready",
    "started": "envoy was started; its admin interface, which would tell when it is ready, cannot be reached",
    "ended": "the container's command has ended; a detached container goes on by itself",
}


def _tell(filter_id: str, started: Any, output: str) -> None:
    """One line that Envoy answers, and where."""
    import logging

    fields = {name: value for name in ("url", "admin", "container") if (value := getattr(started, name))}
    logging.getLogger(__name__).info(_STATES[started.state], extra={"fields": {"id": filter_id, **fields}})
    if output == "json":
        import json

        state = {"state": started.state} if started.container else {}
        click.echo(json.dumps({"id": filter_id, **fields, **state}))


@contextmanager
def _stopped_in_order(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask Envoy to end, and the command ends with it; a second one does not wait."""
    before = {
        number: signal.signal(number, lambda _number, _frame: stop())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(text: str, flag: str) -> Any:
    from wasme.envoy.address import Address

    return Address.parse(text, flag) if text else None


def _bound(text: str, flag: str) -> Any:
    address = _address(text, flag)
    return address.to_bind(flag) if address else None


def _bootstrap(name: str) -> str | None:
    if not name:
        return None
    if name == "-":
        return _decoded(sys.stdin.buffer.read(), "the bootstrap on standard input")
    return _decoded(_read(name, "--bootstrap"), name)


def _read(name: str, flag: str) -> bytes:
    from wasme.errors import InputError

    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{flag}: cannot read {name}: {error.strerror or error}") from None


def _decoded(content: bytes, name: str) -> str:
    from wasme.errors import InputError

    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: byte {error.start}") from None


def _write(document: Any, out: str, output: str) -> None:
    """The configuration to a file or stdout; with ``--output json`` stdout gets JSON either way."""
    from wasme.envoy.document import to_json, to_yaml

    as_json = out.endswith(".json") or (out == "-" and output == "json")
    text = to_json(document) if as_json else to_yaml(document)
    if out == "-":
        click.echo(text, nl=False)
        return
    from wasme.errors import InputError, StoreError
    from wasme.image.durable import write_whole

    path = Path(out).absolute()
    hint = "--out takes another file, and - is standard output"
    try:
        if path.exists() and not path.is_file():
            path.write_text(text)  # a pipe or a device
        else:
            write_whole(path, text.encode())
    except StoreError as error:
        raise InputError(error.message, hint=hint) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from None
    if output == "json":
        import json

        click.echo(json.dumps({"out": str(path)}))


def _show(line: str) -> None:
    """One line of Envoy's log, from a thread of its own."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads any more
