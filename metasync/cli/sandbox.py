"""sandbox and demo: metasync on this machine, with nothing else installed."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from metasync.cli.context import Context, pass_context


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to keep everything; default: a temporary folder."
)
@click.option("--repository", "repositories", multiple=True, default=["lake"], show_default=True)
@pass_context
def sandbox(context: Context, folder: Path | None, repositories: tuple[str, ...]) -> None:
    """Start a real metastore and a lakeFS on loopback; both end with this command."""
    from metasync.sandbox.stack import Sandbox

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Sandbox(folder, repositories) as running:
        for line in running.describe():
            click.echo(line)
        sys.stdout.flush()
        stopping.wait()


@click.command()
def demo() -> None:
    """Show the main job on a sandbox, narrated; every state is read back from the real metastore."""
    from metasync.sandbox.demo import run_demo

    sys.exit(run_demo())


COMMANDS = (sandbox, demo)
