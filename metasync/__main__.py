"""`python -m metasync` is `metasync`."""

from metasync.cli.main import main

main(prog_name="metasync")
