"""The one executable: programs that run in the cluster, and the verbs that people type.

Each verb imports what it needs when it is called, so that `--help` and small programs stay light.
"""
# ruff: noqa: PLC0415 - as said above.

import sys

import typer

app = typer.Typer(
    name="shieldx",
    help="Prepaid credit ledgers and evidence-based rollouts on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def shieldx() -> None:
    """Prepaid credit ledgers and evidence-based rollouts on Kubernetes."""


@app.command()
def operator() -> None:
    """Reconcile CreditLedgers; runs in the cluster, one active at a time."""
    from controllers import main as program
    from shieldx.telemetry import configure_logging

    configure_logging()
    sys.exit(program.run(program.Options.from_environment()))


def main() -> None:
    """Run the verb that the command line names."""
    app()


if __name__ == "__main__":
    main()
