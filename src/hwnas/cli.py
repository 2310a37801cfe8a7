"""hwnas: find the neural networks that are best for your task on your machine."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwnas import __version__, parts, units
from hwnas.display import Display
from hwnas.errors import ConfigError, HwnasError, InfeasibleError, Interrupted, MissingExtraError, nearest

DONE, FAILED, USAGE, INFEASIBLE, STOPPED = 0, 1, 2, 3, 130

app = typer.Typer(
    help="Hardware-aware neural architecture search: say what may vary, what counts as good and which machine it must "
    "run on; get the networks on the Pareto front, proven on that machine, and files to deploy.\n\n"
    "Start with: hwnas search examples/quickstart.yaml --dry-run",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no network keeps the limits, "
    "130 stopped (go on with: hwnas resume DIR).",
)
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

ConfigArgument = Annotated[Path, typer.Argument(help="The experiment as a YAML file.", show_default=False)]
RunArgument = Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the configuration: budget=200 goals.latency.limit=50% search=evolution"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Workers = Annotated[int | None, typer.Option(help="Processes that judge networks at once.", show_default=False)]
Budget = Annotated[int | None, typer.Option(help="How many networks to judge.", show_default=False)]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hwnas {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that come before the command."""


@app.command()
def search(
    config: ConfigArgument,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: a new one under runs/]")] = None,
    budget: Budget = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.", show_default=False)] = None,
    workers: Workers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, print the estimate, stop.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search networks as a configuration says: train, search, measure the front again, export, report.

    Everything goes into the run folder. A run that was stopped or killed goes on with `hwnas resume DIR`.

    Examples:

      hwnas search examples/quickstart.yaml

      hwnas search examples/quickstart.yaml --run runs/mine --budget 40 goals.latency.limit=50% search=evolution
    """
    from hwnas import experiment
    from hwnas.config import read

    folder = run if run is not None else experiment.default_run(config)
    changes = _changes(overrides, budget=budget, seed=seed, workers=workers)
    experiment.reject_existing(folder)
    checked = read(config, changes)
    display = Display(err, quiet=quiet)
    with display.shown():
        plan = experiment.prepare(checked, folder, display)
    if not quiet:
        _show_plan(plan, folder)
    if dry_run:
        return
    display.unit_of |= {goal.name: goal.unit for goal in plan.goals}
    command = shlex.join(["hwnas", "search", str(config), *changes, "--run", str(folder)])
    _drive(lambda: experiment.start(plan, folder, watch=display, command=command), display, folder)


@app.command()
def resume(
    run: RunArgument,
    overrides: Overrides = None,
    budget: Budget = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a run where it was left; nothing that is recorded is measured again.

    With a larger budget it goes further; with another search or limit, what is known is a warm start.
    """
    from hwnas import experiment

    changes = _changes(overrides, budget=budget, workers=workers)
    display = Display(err, quiet=quiet)
    _drive(lambda: experiment.resume(run, overrides=changes, watch=display), display, run)


@app.command()
def show(run: RunArgument, json_: Json = False, all_: Annotated[bool, typer.Option("--all")] = False) -> None:
    """Show a run: its front as a table, the limits, what was chosen. Works while the run goes on.

    With --all every trial is listed, failed ones with their reasons.
    """
    from hwnas import experiment

    study = experiment.load(run)
    trials = study.trials() if all_ else study.front()
    if json_:
        rows = [_row(study, trial) for trial in trials]
        print(json.dumps({"run": str(run), "facts": study.run.facts(), "trials": rows}, indent=2))
        return
    _show_study(study, trials, run)


@app.command()
def export(
    run: RunArgument,
    pick: Annotated[str, typer.Option(help="chosen, knee, largest, a goal's name (its best), or a number.")] = "chosen",
    to: Annotated[Path | None, typer.Option(help="The file.  [default: DIR/models/PICK.onnx]")] = None,
    format_: Annotated[str, typer.Option("--format", help="See `hwnas list formats`.")] = "onnx",
    json_: Json = False,
) -> None:
    """Write a found network to a file, checked against PyTorch and timed on this machine."""
    from hwnas import deploy, experiment

    study = experiment.load(run)
    suffix = parts.make("formats", format_, {}, "--format").suffix
    path = to if to is not None else run / "models" / f"{pick.lstrip('#')}{suffix}"
    done = deploy.export(study, deploy.pick(study, pick), path, format_)
    if json_:
        print(json.dumps(deploy.as_fact(done), indent=2))
        return
    if not done.trained:
        err.print("[yellow]this run trains no weights: the file holds the architecture with fresh ones[/]")
    spread = units.show((done.latency_high - done.latency_low) / 2, "s")
    out.print(f"{done.path}: {units.show(done.bytes, 'bytes')}", highlight=False)
    out.print(f"latency of this file here: {units.show(done.latency, 's')} ± {spread}", highlight=False)
    out.print(f"largest difference to PyTorch: {done.difference:.2g}", highlight=False)


@app.command()
def report(run: RunArgument) -> None:
    """Write the report of a run anew: one HTML file that opens offline."""
    from hwnas import experiment
    from hwnas import report as pages

    out.print(str(pages.write(experiment.load(run), run / "report.html")))


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="families, quality, hardware, algorithms, weights, data, devices …")
    ] = None,
    json_: Json = False,
) -> None:
    """List the parts that a configuration can name."""
    kinds = [*parts.FOLDERS, "devices"]
    if kind is not None and kind not in kinds:
        raise ConfigError(f"unknown kind {kind!r}; {nearest(kind, kinds)}")
    found = {name: _parts_of(name) for name in ([kind] if kind else kinds)}
    if json_:
        print(json.dumps(found, indent=2))
        return
    for name, rows in found.items():
        table = Table(title=name, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2))
        for part, line in rows.items():
            table.add_row(f"  {part}", line)
        out.print(table)


@app.command()
def doctor(json_: Json = False) -> None:
    """Look at this machine: versions, cores, memory, runtimes, known traps, and how to mend them."""
    from hwnas import checkup

    findings = checkup.examine()
    if json_:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        marks = {"ok": "[green]ok[/]  ", "note": "[yellow]note[/]", "bad": "[red]bad[/] "}
        for finding in findings:
            out.print(f"{marks[finding.state]}  {escape(finding.what)}", highlight=False)
            if finding.remedy:
                out.print(f"      → {escape(finding.remedy)}", highlight=False)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FAILED)


def main() -> None:
    """The console script: runs a command and turns errors into one clear message and an exit code."""
    try:
        app()
    except (Interrupted, KeyboardInterrupt):
        sys.exit(STOPPED)
    except HwnasError as error:
        if "--debug" in sys.argv[1:3]:
            raise
        _complain(error)
        sys.exit(_code(error))
    except BrokenPipeError:  # `hwnas show … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- helpers ----------------------------------------------------------------------------------------------------------


def _code(error: HwnasError) -> int:
    codes = ((InfeasibleError, INFEASIBLE), ((ConfigError, MissingExtraError), USAGE))
    return next((code for kind, code in codes if isinstance(error, kind)), FAILED)


def _complain(error: HwnasError) -> None:
    message, _, hint = str(error).partition("\n")
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    if hint:
        err.print(f"  [bold]→[/] {escape(hint)}", highlight=False, soft_wrap=True)


def _changes(overrides: list[str] | None, **options: Any) -> list[str]:
    return [*(overrides or []), *(f"{name}={value}" for name, value in options.items() if value is not None)]


def _drive(work: Any, display: Display, folder: Path) -> None:
    """Runs a search with its display, and ends with the answer, or with the way to go on."""
    try:
        with display.shown():
            study = work()
    except (Interrupted, KeyboardInterrupt):
        err.print(
            f"stopped; everything measured so far is kept. Go on with: [bold]hwnas resume {shlex.quote(str(folder))}[/]"
        )
        raise
    from hwnas.report import verdict

    facts = study.run.facts()
    out.print(verdict(study), highlight=False)
    if facts.get("export"):
        out.print(f"model:  {facts['export']['path']}", highlight=False)
    out.print(f"report: {folder / 'report.html'}", highlight=False)


def _show_plan(plan: Any, folder: Path) -> None:
    space = plan.bench.family.space
    err.print(f"[bold]{plan.bench.family.name}[/]: {len(space)} choices, {space.size:.3g} networks", highlight=False)
    for goal in plan.goals:
        line = f"  {goal.name}: {goal.direction}"
        seen = plan.ranges.get(goal.name)
        if seen:
            low, high = units.show(seen["least"], goal.unit), units.show(seen["most"], goal.unit)
            line += f", {low} to {high} on {seen['tried']} networks"
            line += f", limit {units.show(seen['limit'], goal.unit)} kept by {seen['met']} of them"
        elif goal.limit is not None:
            line += f", limit {units.show(goal.limit, goal.unit)}"
        err.print(line, highlight=False)
    phases = [name for name in ("train supernet", "search", "confirm and export") if plan.seconds.get(name)]
    total = sum(plan.seconds[name] for name in phases)
    split = ", ".join(f"{name} {units.duration(plan.seconds[name])}" for name in phases)
    err.print(
        f"  {plan.config.budget} evaluations into {folder}; about {units.duration(total)}: {split}", highlight=False
    )


def _row(study: Any, trial: Any) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "values": dict(trial.values),
        "details": {name: dict(entry) for name, entry in trial.details.items()},
        "error": trial.error,
        "code": list(trial.code),
        "architecture": study.space.decode(trial.code),
    }


def _show_study(study: Any, trials: Any, run: Path) -> None:
    facts = study.run.facts()
    numbers = {trial.code: trial.number for trial in study.trials()}
    table = Table(box=None, header_style="bold", padding=(0, 2))
    table.add_column("trial", justify="right")
    for goal in study.goals:
        sign = "≤" if goal.direction == "min" else "≥"
        limit = f" {sign} {units.show(goal.limit, goal.unit)}" if goal.limit is not None else ""
        table.add_column(f"{goal.name}{limit}", justify="right")
    table.add_column("state")
    for trial in trials:
        cells = [units.show(trial.values[g.name], g.unit) if g.name in trial.values else "–" for g in study.goals]
        chosen = " ← chosen" if list(trial.code) == facts.get("chosen") else ""
        table.add_row(str(numbers.get(trial.code, "")), *cells, escape(trial.error or trial.state) + chosen)
    tally = [trial.state for trial in study.trials()]
    counts = ", ".join(f"{tally.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(tally))
    out.print(f"{run}: {len(tally)} networks judged ({counts or 'none yet'})", highlight=False)
    out.print(table)
    for name, floor in facts.get("noise", {}).items():
        out.print(f"noise floor of {name}: ± {100 * floor:.1f} %", highlight=False)
    if not facts.get("finished"):
        out.print(f"not finished: hwnas resume {shlex.quote(str(run))}", highlight=False)


def _parts_of(kind: str) -> dict[str, str]:
    if kind == "devices":
        from hwnas.hardware import _device

        return {name: _device.load(name).description for name in _device.known()}
    return {name: parts.describe(kind, name) for name in parts.names(kind)}


if __name__ == "__main__":
    main()
