"""The root command, and the one place where an error becomes text and an exit code.

Start-up is a feature: this module imports click and nothing of a command; ``--help`` reads the table below.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from wasme.cli.grammar import Command, Flag, Group, Invocation, flag
from wasme.errors import UsageError, WasmeError

_INTERRUPTED = 130
_FORMATS = ("auto", "text", "logfmt", "json")

COMMANDS = {
    "build": ("wasme.cli.build:build", "Build a wasm image from the filter source directory."),
    "cache": ("wasme.cli.cache:cache", "Hold wasm images on the nodes of a cluster: the agent, and its installation."),
    "completion": ("wasme.cli.completion:completion", "Print the completion script for bash, zsh or fish."),
    "demo": (
        "wasme.cli.demo.command:demo",
        "Run the main job: scaffold, build, push, pull and deploy to a real Envoy.",
    ),
    "deploy": ("wasme.cli.deploy:deploy", "Deploy an Envoy WASM Filter to the data plane (Envoy proxies)."),
    "doctor": ("wasme.cli.doctor:doctor", "Tell which tools are here, what for, and how to get those that are not."),
    "help": ("wasme.cli.help_command:help_command", "Help about any command"),
    "hub": ("wasme.cli.hub:hub", "Run a hub: a registry for wasm images, with accounts and search."),
    "init": ("wasme.cli.init:init", "Initialize a project directory for a new Envoy WASM Filter."),
    "inspect": (
        "wasme.cli.inspect:inspect",
        "Explain a filter: ABI, language, host calls, sizes, who can pull and run it.",
    ),
    "list": ("wasme.cli.list:list_images", "List Envoy WASM Filters stored locally or published to a registry."),
    "login": ("wasme.cli.login:login", "Log in so you can push images to the remote server."),
    "logout": ("wasme.cli.logout:logout", "Forget the credentials of a server."),
    "operator": (
        "wasme.cli.operator:operator",
        "Run filters that FilterDeployments ask for: the operator, and its installation.",
    ),
    "prune": ("wasme.cli.prune:prune", "Free the space of images that no tag names any more."),
    "pull": ("wasme.cli.pull:pull", "Pull wasm filters from remote registry"),
    "push": ("wasme.cli.push:push", "Push a wasm filter to remote registry"),
    "rm": ("wasme.cli.rm:rm", "Take tags away from the local store."),
    "status": ("wasme.cli.status:status", "Tell how deployed filters do, for each workload and node."),
    "tag": ("wasme.cli.tag:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "test": ("wasme.cli.test:test", "Test a filter on the real Envoy, by scenarios of requests and answers."),
    "undeploy": ("wasme.cli.undeploy:undeploy", "Remove a deployed Envoy WASM Filter from the data plane."),
    "validate": ("wasme.cli.validate:validate", "Tell whether Envoy would load a filter, without running it."),
}


def _note_verbose(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    ctx.ensure_object(Invocation).verbose = bool(value)


def _note_format(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    ctx.ensure_object(Invocation).log_format = str(value)


def _root_flags() -> list[Flag]:
    verbose = flag("--verbose", "-v", kind="bool", help="verbose output", expose=False)
    verbose.callback = _note_verbose
    log_format = flag(
        "--log-format",
        default=os.environ.get("WASME_LOG_FORMAT") or "auto",
        choices=_FORMATS,
        help="how log lines look on stderr; auto is text on a terminal and logfmt in a pipe; also $WASME_LOG_FORMAT",
        expose=False,
    )
    log_format.callback = _note_format
    return [verbose, log_format]


def make_root() -> Group:
    """The root command; made anew for each run, since the environment decides defaults."""
    return Group(
        "wasme",
        table=COMMANDS,
        help="The tool for building, pushing, and deploying Envoy WebAssembly Filters",
        persistent=_root_flags(),
        own=[flag("--version", kind="bool", help="version for wasme", expose=False)],
    )


def run(argv: Sequence[str]) -> int:
    """Run one command line.

    Args:
        argv: the words after ``wasme``.

    Returns:
        The exit code: 0 done, 1 failed, 2 called wrongly, 130 interrupted.
    """
    invocation = Invocation()
    invocation.log_format = _wanted_format(argv)
    try:
        result = make_root().main(args=list(argv), prog_name="wasme", standalone_mode=False, obj=invocation)
    except WasmeError as error:
        _tell(error, invocation)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        _tell(WasmeError("interrupted"), invocation)
        return _INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except OSError as error:
        if invocation.verbose:
            raise
        where = f": {error.filename}" if error.filename else ""
        _tell(WasmeError(f"{error.strerror or error}{where}"), invocation)
        return 1
    except Exception as error:
        if invocation.verbose:
            raise
        told = f"a bug in wasme: {type(error).__name__}: {error}"
        _tell(WasmeError(told, hint="run it again with -v and report what it prints"), invocation)
        return 1
    return result if isinstance(result, int) else 0


def _wanted_format(argv: Sequence[str]) -> str:
    """The log format, as far as it can be told before the words are judged: a wrong word is told in it too."""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == "--log-format":
            return value if equals else following
    return os.environ.get("WASME_LOG_FORMAT") or "auto"


def main() -> None:
    """The console script."""
    # Imports and a parsed module make many objects and no cycles: looking for some every 700 takes 6 ms of a command.
    gc.set_threshold(50_000)
    code = run(sys.argv[1:])
    if code == _INTERRUPTED:
        # The interpreter's end would wait for threads, and one that asks a name server cannot be woken.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    # At its end the interpreter would search all modules for cycles, twice: 15 ms for memory that is given back anyway.
    gc.freeze()
    sys.exit(code)


def _tell(error: WasmeError, invocation: Invocation) -> None:
    """An error, what to do about it, and for a wrong call how it is called."""
    if invocation.log_format == "json":
        from wasme.cli import logs

        logs.configure(verbose=False, log_format="json")
        logs.error(error.message, **({"hint": error.hint} if error.hint else {}))
        return
    from wasme.cli.terminal import has_colour

    red, plain = ("\033[31m", "\033[0m") if has_colour(sys.stderr) else ("", "")
    _say(f"{red}Error:{plain} {error.message}")
    if error.hint:
        _say(f"Hint: {error.hint}")
    if isinstance(error, UsageError) and invocation.context is not None:
        found = invocation.context.command
        assert isinstance(found, Command | Group)
        _say("\n" + found.short_usage(invocation.context))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _silence_stdout() -> None:
    """The reader of our output has gone: keep the interpreter from failing once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
