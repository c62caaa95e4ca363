"""``wasme deploy gloo``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import at_most, command, option
from wasme.cli.options import cluster_options, connection_options, dry_run_option, objects_output_option


@command(
    "gloo",
    use="deploy gloo <image> --id=<unique name> [--config=<filter config>] [--namespaces=<ns>] [--labels=<labels>]",
    args=at_most(1),
    help="Deploy an Envoy WASM Filter to the Gloo Gateway Proxies (Envoy).\n\n"
    "wasme puts the filter into the Gateways of Gloo Edge that serve HTTP, all of them or those that --namespaces and "
    "--labels choose; a filter of the same --id is replaced. Gloo's own server pulls the image by its tag. Run again "
    "it changes nothing. Open-source Gloo has no Wasm filters since 1.6, Gloo Enterprise has them; open-source Gloo "
    "itself ends on 2026-12-31.",
    examples="wasme deploy gloo webassemblyhub.io/demo/add-header:v0.1 --id=myfilter --config=world\n"
    "wasme deploy gloo registry.example.com/demo/auth:v3 --id=auth --filter-stage=AuthN:Before --labels app=edge\n"
    "wasme deploy gloo registry.example.com/demo/auth:v3 --id=auth --dry-run",
)
@option(
    "--namespaces", "-n", kind="strings", help="deploy the filter to selected Gateway resources in these namespaces; "
    "the default is all"
)  # fmt: skip
@option("--labels", "-l", kind="stringToString", help="labels of the Gateways; the default is all of them")
@option("--fail-open", kind="bool", help="let requests pass where the filter's VM has failed; they get 503 otherwise")
@option(
    "--filter-stage",
    help="where in Gloo's chain: STAGE[:Before|During|After], a stage being Fault, Cors, Waf, AuthN, AuthZ, RateLimit, "
    "Accepted, OutAuth or Route; Gloo's own default is Accepted:Before",
)
@option("--file-path", help="a module's file in the proxies' own container, in place of an image")
@option("--ignore-version-check", kind="bool", help="deploy a module that the proxies' version cannot run, too")
@cluster_options
@connection_options
@dry_run_option
@objects_output_option
def gloo(
    args: tuple[str, ...],
    id: str,  # noqa: A002 - the flag's name
    config: str,
    root_id: str,
    namespaces: list[str],
    labels: dict[str, str],
    fail_open: bool,
    filter_stage: str,
    file_path: str,
    ignore_version_check: bool,
    kubeconfig: str,
    context: str,
    dry_run: Any,
    output: str,
    **connection: Any,
) -> None:
    """Put one filter into Gateways."""
    from wasme.cli import gateways, sessions
    from wasme.cli.clusters import connected
    from wasme.deploy.configuration import read
    from wasme.deploy.gateways import completed
    from wasme.deploy.gloo.entry import Settings, Stage
    from wasme.deploy.gloo.image import require_tag
    from wasme.deploy.gloo.provider import Gloo, Selection
    from wasme.deploy.resolved import resolve
    from wasme.deploy.spec import FilterSpec
    from wasme.errors import UsageError
    from wasme.registry.repository import Repository

    if bool(args) == bool(file_path):
        raise UsageError("name one image, or a file in the proxies with --file-path")
    settings = Settings(fail_open, Stage.parse(filter_stage) if filter_stage else None, file_path)
    spec = completed(FilterSpec(id, "".join(args), root_id, read(config)), None)
    image = None
    if args:
        with sessions.opened(**connection) as session:
            image = resolve(spec.image, session)
            require_tag(image, Repository(session, image.reference))
    gateways.tell_configuration(spec.config)
    with connected(kubeconfig, context) as cluster:
        provider = Gloo(
            cluster,
            Selection(tuple(namespaces), labels),
            settings,
            image,
            ignore_version_check=ignore_version_check,
            dry_run=dry_run,
        )
        gateways.emit(provider.deploy(spec), spec.id, dry_run, output)
