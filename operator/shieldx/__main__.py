"""The one executable: programs that run in the cluster, and the verbs that people type.

Each verb imports what it needs when it is called, so that `--help` and small programs stay light.
"""
# ruff: noqa: PLC0415 - as said above.

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from shieldx.cli.output import Format
from shieldx.resources.creditledger import Scope

TIMES: Final = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"]

app = typer.Typer(
    name="shieldx",
    help="Prepaid credit ledgers and evidence-based rollouts on Kubernetes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ledger = typer.Typer(help="Look after a ledger's books.", no_args_is_help=True)
app.add_typer(ledger, name="ledger")


@app.callback()
def shieldx() -> None:
    """Prepaid credit ledgers and evidence-based rollouts on Kubernetes."""


@app.command()
def operator() -> None:
    """Reconcile CreditLedgers and ShadowExperiments; runs in the cluster, one active at a time."""
    from controllers import main as program
    from shieldx.telemetry import configure_logging

    configure_logging()
    sys.exit(program.run(program.Options.from_environment()))


@app.command()
def webhook() -> None:
    """Hold changed Deployments for their trial, and give pods their relay; runs in the cluster."""
    from shieldx.telemetry import configure_logging
    from shieldx.webhook import main as program

    configure_logging()
    sys.exit(program.run(program.Options.from_environment()))


@app.command()
def sidecar(
    *,
    dsn_file: Annotated[
        Path | None, typer.Option(help="File with the shard's postgresql:// connection string.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The ledger's configuration, JSON.")] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Bring a private Postgres; this machine only.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Where --embedded keeps its data.")] = None,
    relay: Annotated[
        bool,
        typer.Option("--relay", help="Serve one pod, on 127.0.0.1, by calling the ledger's API."),
    ] = False,
    upstream: Annotated[
        str | None, typer.Option(help="The API that --relay calls: http://HOST:PORT.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="Port of the API.")] = 5004,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port with probes and metrics only.")
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(help="How long to serve on after SIGTERM while not ready.")
    ] = 5.0,
    redis_url_file: Annotated[
        Path | None, typer.Option(help="File with the redis:// address of shared limits.")
    ] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="Folder with an entry a holder of an API key.")
    ] = None,
    internal_port: Annotated[
        int | None, typer.Option(help="Port for the ledger's other processes: one writes for all.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="POD_IP", help="Where they reach it: an IP address or a name."),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="NAMESPACE:NAME of a service account that they have; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Our own service-account token: of audience shieldx for --relay, of "
            "shieldx-internal for --internal-port."
        ),
    ] = None,
    receipt_keys: Annotated[
        Path | None, typer.Option(help="Folder of keys that entries are sealed with.")
    ] = None,
) -> None:
    """Serve the ledger API: for a ledger, for one pod (--relay), or on a laptop (--embedded)."""
    if relay or upstream is not None:
        if embedded or data is not None or dsn_file is not None or config is not None:
            raise typer.BadParameter("--relay takes --upstream and --token-file, and no database")
        if not relay or upstream is None or token_file is None:
            raise typer.BadParameter("give --relay, --upstream and --token-file together")
        _relay(upstream, token_file, port, metrics_port)
    if embedded and (data is None or dsn_file is not None or config is not None):
        raise typer.BadParameter("--embedded takes --data DIR, and no --dsn-file or --config")
    if not embedded and (dsn_file is None or config is None or data is not None):
        raise typer.BadParameter(
            "give --dsn-file and --config, or --embedded and --data, or --relay, --upstream and "
            "--token-file"
        )

    from shieldx.sidecar.internal import internal_options
    from shieldx.sidecar.main import EmbeddedOptions, Options, run
    from shieldx.telemetry import configure_logging

    try:
        internal = internal_options(internal_port, address, peer or (), token_file)
    except ValueError as mistake:
        raise typer.BadParameter(str(mistake)) from mistake
    if embedded and internal is not None:
        raise typer.BadParameter("--embedded is alone: it takes no --internal-port")

    configure_logging()
    if data is not None:
        sys.exit(run(EmbeddedOptions(data=data, port=port, metrics_port=metrics_port)))
    if dsn_file is not None and config is not None:
        sys.exit(
            run(
                Options(
                    dsn_file=dsn_file,
                    config=config,
                    host=host,
                    port=port,
                    metrics_port=metrics_port,
                    drain_seconds=drain_seconds,
                    redis_url_file=redis_url_file,
                    internal=internal,
                    receipt_keys=receipt_keys,
                    api_keys=api_keys,
                )
            )
        )


def _relay(upstream: str, token_file: Path, port: int, metrics_port: int | None) -> NoReturn:
    if not re.fullmatch(r"http://[A-Za-z0-9.-]+(:[0-9]+)?/?", upstream):
        raise typer.BadParameter(f"--upstream is http://HOST:PORT, not {upstream!r}")

    from shieldx.sidecar.relay.main import RelayOptions, run
    from shieldx.telemetry import configure_logging

    configure_logging()
    sys.exit(run(RelayOptions(upstream, token_file, port=port, metrics_port=metrics_port)))


@app.command()
def keeper(
    *,
    dsn_file: Annotated[
        Path, typer.Option(help="File with the shard's postgresql:// connection string.")
    ],
    config: Annotated[Path, typer.Option(help="The ledger's configuration, JSON.")],
    operator_account: Annotated[
        str, typer.Option("--operator", help="NAMESPACE:NAME of the operator's service account.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="Port of probes and status.")] = 5004,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port with probes and metrics only.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Our own service-account token, for audience shieldx-internal: "
            "with it, writes go to the API process that writes for the shard."
        ),
    ] = None,
    receipt_keys: Annotated[
        Path | None, typer.Option(help="Folder of keys that entries are sealed with.")
    ] = None,
    webhooks: Annotated[
        Path | None, typer.Option(help="Who is told every event, JSON: [{url, secretFile}].")
    ] = None,
) -> None:
    """Keep one ledger: do what is due, deliver events, tell the operator how it is."""
    from shieldx.keeper.main import Options, run
    from shieldx.telemetry import configure_logging

    configure_logging()
    sys.exit(
        run(
            Options(
                dsn_file=dsn_file,
                config=config,
                operator=operator_account,
                host=host,
                port=port,
                metrics_port=metrics_port,
                token_file=token_file,
                receipt_keys=receipt_keys,
                webhooks=webhooks,
            )
        )
    )


@app.command()
def simulate(
    *,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The ShadowExperiment, YAML; - is standard input.")
    ],
    traffic: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="Requests a second, of both versions together."),
    ] = 100.0,
    base_rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PERCENT",
            help="The champion's bad share, of one guardrail or of all; else the spec's baseRate.",
        ),
    ] = None,
    effect: Annotated[
        str, typer.Option(help="The worse challenger: a factor (2x), or its bad share (5%).")
    ] = "2x",
    champion_pods: Annotated[
        int | None,
        typer.Option(min=1, max=5000, help="Use the weights that so many pods can have."),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="How far to look ahead; else as far as maxDuration.")
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(min=50, max=20000, help="Runs of each challenger, however long they take."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat these very dice.")] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to answer.")] = Format.TEXT,
) -> None:
    """Say what the rule will do with an experiment, without a cluster; exit 2 for a mistake."""
    from shieldx.cli.simulate import Question
    from shieldx.cli.simulate import simulate as run_simulation

    question = Question(file, traffic, base_rate or [], effect, champion_pods, horizon, runs, seed)
    sys.exit(run_simulation(question, output))


@app.command()
def replay(
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help="Recorded buckets, or an ExperimentRun, as JSON (kubectl get -o json).",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of an ExperimentRun: replay what it recorded.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Where the run is; else as the context says."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of a Prometheus: replay --from TIME --to TIME.")
    ] = None,
    begin: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=TIMES, help="When the challenger came, UTC: 2026-05-04T10:00:00Z."
        ),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=TIMES, help="Until when, UTC.")
    ] = None,
    champion: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Its pods in that Prometheus; else by their names."),
    ] = None,
    challenger: Annotated[str | None, typer.Option(metavar="REGEX", help="Its pods.")] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(help="Judge by this ShadowExperiment, YAML, and not by the recorded one."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the evidence into this SVG file.")] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to answer.")] = Format.TEXT,
) -> None:
    """Say what the rule would have done on buckets of the past; exit 2 for a mistake."""
    if sum(each is not None for each in (file, run, prometheus)) != 1:
        raise typer.BadParameter("give -f FILE, --run NAME, or --prometheus URL with a range")
    if (prometheus is None) != (begin is None) or (begin is None) != (end is None):
        raise typer.BadParameter(
            "--prometheus, --from and --to belong together; a time is as 2026-05-04T10:00:00Z"
        )
    if prometheus is None and (champion is not None or challenger is not None):
        raise typer.BadParameter("--champion and --challenger name pods for --prometheus alone")

    from shieldx.cli.past import Range
    from shieldx.cli.replay import Past
    from shieldx.cli.replay import replay as run_replay

    times = None
    if prometheus is not None and begin is not None and end is not None:
        began, ended = (it.replace(tzinfo=it.tzinfo or UTC) for it in (begin, end))
        times = Range(prometheus, began, ended, champion, challenger)
    sys.exit(run_replay(Past(file, run, namespace, times), experiment, plot, output))


@app.command()
def explain(
    *,
    name: Annotated[
        str | None, typer.Argument(help="Name of a ShadowExperiment, or of an ExperimentRun.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Where it is; else as the context says."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Explain what kubectl get -o yaml wrote; - is stdin."),
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to answer.")] = Format.TEXT,
) -> None:
    """Say why an experiment is where it is, with the numbers; exit 2 if that cannot be told."""
    if (name is None) == (file is None):
        raise typer.BadParameter("give the NAME of an experiment or of a run, or -f FILE")

    from shieldx.cli.explain import Question, answer

    sys.exit(answer(Question(name, namespace, file), output))


@ledger.callback()
def books() -> None:
    """Look after a ledger's books."""


@ledger.command()
def verify(
    *,
    dsn_file: Annotated[
        Path | None, typer.Option(help="File with the shard's postgresql:// connection string.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of `shieldx sidecar --embedded`.")
    ] = None,
    receipt_keys: Annotated[
        Path | None, typer.Option(help="Folder of the ledger's keys: check every receipt.")
    ] = None,
    receipt: Annotated[
        str | None, typer.Option(help="Say which entry this receipt proves, if any.")
    ] = None,
    recorded: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION:HASH",
            help="How far the chain is known to reach: notice if its end was cut off.",
        ),
    ] = None,
) -> None:
    """Re-derive chain and balances; exit 0 if clean, 1 if not, 2 if that cannot be told."""
    if (dsn_file is None) == (data is None):
        raise typer.BadParameter("give --dsn-file FILE or --data DIR")
    if receipt is not None and dsn_file is not None and receipt_keys is None:
        raise typer.BadParameter("--receipt needs --receipt-keys DIR")

    from shieldx.cli.ledger import Question
    from shieldx.cli.ledger import verify as verify_books

    question = Question(dsn_file, data, receipt_keys, receipt, recorded)
    sys.exit(verify_books(question))


@ledger.command("api-key")
def api_key(
    *,
    name: Annotated[str, typer.Argument(help="Name of the caller that will have the key.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeatable.")],
    accounts: Annotated[
        list[str] | None,
        typer.Option(help="Prefix of the accounts that it is limited to; repeatable."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="After so many days it expires.")
    ] = None,
) -> None:
    """Make an API key: print it once, and the entry by which a ledger will know it."""
    from shieldx.cli.api_keys import make

    sys.exit(make(name, scope, accounts or [], days))


def main() -> None:
    """Run the verb that the command line names."""
    app()


if __name__ == "__main__":
    main()
