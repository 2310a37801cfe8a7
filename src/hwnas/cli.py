"""hwnas: find the neural networks that are best for your task on your machine."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwnas import __version__, parts, units
from hwnas.display import Display
from hwnas.errors import ConfigError, HwnasError, InfeasibleError, Interrupted, MissingExtraError, RecordError, nearest

if TYPE_CHECKING:
    from hwnas.experiment import Plan
    from hwnas.study import Study
    from hwnas.trial import Trial
    from hwnas.trials import Trials

DONE, FAILED, USAGE, INFEASIBLE, STOPPED = 0, 1, 2, 3, 130
FRESH = "this run trains no weights: the file holds the architecture with fresh ones"

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
_LITERAL: dict[str, Any] = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
out = Console(**_LITERAL)
err = Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False, **_LITERAL)
"""Results go to the one, talk to the other. Forced colours make no terminal, where bars could be redrawn."""

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment as a YAML file.")]
RunArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Changes to the configuration: goals.latency.limit=50% search=evolution",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="No progress, only the result.")]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Processes that judge networks at once.")]
Budget = Annotated[int | None, typer.Option(metavar="N", help="How many networks to judge.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hwnas {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print it and stop."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show where an error comes from.")] = False,
) -> None:
    """Options that come before the command."""


@app.command()
def search(
    config: ConfigArgument,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder.", show_default="a new one under runs/")
    ] = None,
    budget: Budget = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of everything random.")] = None,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Check everything, print the estimate, stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Search networks as a configuration says: train, search, measure the front again, export, report.

    Everything goes into the run folder. A run that was stopped or killed goes on with `hwnas resume DIR`.

    Examples:

      hwnas search examples/quickstart.yaml

      hwnas search examples/quickstart.yaml --run runs/mine search=evolution
    """
    from hwnas import experiment
    from hwnas.config import read

    folder = run if run is not None else experiment.default_run(config)
    changes = _changes(overrides, budget=budget, seed=seed, workers=workers)
    experiment.reject_existing(folder)
    checked = read(config, changes)
    display = Display(err, quiet=quiet)
    with _watched(display, "stopped before the run began; nothing was written"):
        plan = experiment.prepare(checked, folder, display)
        if display.stopping:  # asked for at the very end, after the last report
            raise Interrupted("stopped as asked")
    if dry_run:
        _show_plan(plan, folder, out)
        return
    if not quiet:
        _show_plan(plan, folder, err)
    display.unit_of |= {goal.name: goal.unit for goal in plan.goals}
    command = shlex.join(["hwnas", "search", str(config), *changes, "--run", str(folder)])
    _drive(lambda: experiment.start(plan, folder, watch=display, command=command), display, folder)


@app.command()
def resume(
    run: RunArgument,
    overrides: Overrides = None,
    budget: Budget = None,
    workers: Workers = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Measure networks that failed again.")] = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run where it was left; nothing that is recorded is measured again.

    With a larger budget it goes further; with another search or limit, what is known is a warm start.
    """
    from hwnas import experiment

    changes = _changes(overrides, budget=budget, workers=workers)
    display = Display(err, quiet=quiet)
    with suppress(RecordError):  # no run, or one that was killed before it was entered: `resume` knows what to do
        display.unit_of |= {goal.name: goal.unit for goal in experiment.load(run).goals}
    _drive(lambda: experiment.resume(run, overrides=changes, retry_failed=retry_failed, watch=display), display, run)


@app.command()
def show(
    run: RunArgument,
    json_: Json = False,
    all_: Annotated[
        bool, typer.Option("--all", metavar="", help="Every trial, failed ones with their reasons.")
    ] = False,
) -> None:
    """Show a run: its front as a table, the limits, what was chosen. Works while the run goes on."""
    from hwnas import experiment

    study = experiment.load(run)
    trials = study.trials() if all_ else study.front()
    from hwnas.report.findings import Findings

    found = Findings(study)
    if json_:
        rows = [_row(study, trial, found.numbers.get(trial.code)) for trial in trials]
        told: dict[str, Any] = {"run": str(run), "facts": found.facts, "trials": rows}
        told["baseline"] = found.against.to_dict() if found.against is not None else None
        told["predictors"] = {own.goal.name: own.to_dict() for own in found.predictions}
        print(json.dumps(told, indent=2))
        return
    _show_study(study, trials, run)
    if found.against is not None:
        out.print(found.against.sentence())
    for own in found.predictions:
        out.print(own.sentence())


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR…", help="The folders of two runs or more.")],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one page with fronts and curves overlaid.")
    ] = None,
    json_: Json = False,
) -> None:
    """Put runs of the same goals side by side: fronts, hypervolume over evaluations, what was chosen.

    All shares are of one box around everything seen. Random searches made by `hwnas baseline` stand beside their
    runs. Works while the runs go on.

    Examples:

      hwnas compare runs/nsga2 runs/linas --html comparison.html
    """
    from hwnas import experiment
    from hwnas.report import compare as comparing

    names = comparing.names_of(runs)
    comparison = comparing.Comparison({name: experiment.load(run) for name, run in zip(names, runs, strict=True)})
    if html is not None:
        comparing.write(comparison, html)
    if json_:
        print(json.dumps(comparison.to_dict(), indent=2))
        return
    table = Table(box=None, header_style="bold", padding=(0, 2), pad_edge=False)
    table.add_column("")
    for side in comparison.sides:
        table.add_column(side.name, justify="right")
    for label, cells in comparison.rows():
        table.add_row(label, *cells)
    _print_table(table)
    for note in comparison.notes:
        out.print(note)
    if html is not None:
        out.print(str(html))


@app.command()
def baseline(run: RunArgument, budget: Budget = None, quiet: Quiet = False) -> None:
    """Hold a run against chance: a random search of the same parts, goals, limits and seed, kept beside it.

    As many networks as the run's own budget, unless told otherwise; what the run has judged is not judged again.
    Stopped or killed, the same command goes on. The report, `show` and `compare` use it from then on. Where judging
    costs nothing, as with tables and counts, a search makes it unasked.
    """
    from hwnas import experiment

    display = Display(err, quiet=quiet)
    with suppress(RecordError):
        display.unit_of |= {goal.name: goal.unit for goal in experiment.load(run).goals}
    words = ["hwnas", "baseline", str(run), *([f"--budget={budget}"] if budget is not None else [])]
    with _watched(display, "stopped; everything measured so far is kept", f"go on with: {shlex.join(words)}"):
        experiment.baseline(run, budget, watch=display)
    from hwnas.report.findings import Findings

    found = Findings(experiment.load(run))
    out.print(found.against.sentence() if found.against is not None else "nothing within the limits to compare yet")
    out.print(f"report: {run / 'report.html'}")


@app.command()
def export(
    run: RunArgument,
    pick: Annotated[
        str, typer.Option(metavar="PICK", help="chosen, knee, largest, a goal's name (its best), or a trial's number.")
    ] = "chosen",
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file.", show_default="DIR/models/PICK.onnx")
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help="See hwnas list formats.")] = "onnx",
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
        err.print(FRESH, style="yellow")
    spread = units.show((done.latency_high - done.latency_low) / 2, "s")
    out.print(f"{done.path}: {units.show(done.bytes, 'bytes')}")
    out.print(f"latency of this file here: {units.show(done.latency, 's')} ± {spread}")
    out.print(f"largest difference to PyTorch: {done.difference:.2g}")


@app.command()
def train(
    run: RunArgument,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="PICK",
            help="chosen, knee, largest, best, a goal's name (its best), a trial's number, or a file with a structure.",
            show_default="chosen",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="GOAL", help="The goal that `best` means.", show_default="the first")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A name, the path of a folder or file, or '{name: {option: …}}'.",
            show_default="the run's own",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the training split.", show_default="30")
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Examples in a step.", show_default="64")] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="adamw or sgd.", show_default="adamw")] = None,
    lr: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="The peak learning rate.", show_default="0.001 for adamw, 0.1 for sgd"),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(metavar="X", help="Of matrices.", show_default="0.05 for adamw, 0.0005 for sgd")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(metavar="X", help="What the right class gives away.", show_default="0.1")
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of the steps, in which the rate rises.", show_default="0.05")
    ] = None,
    clip: Annotated[
        float | None, typer.Option(metavar="NORM", help="The most that gradients may be; 0: off.", show_default="5.0")
    ] = None,
    augment: Annotated[
        int | None, typer.Option(metavar="N", help="How strongly examples are varied.", show_default="2")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="largest (trained first, kept for later), the folder of a finished training, or none.",
            show_default="none",
        ),
    ] = None,
    distill: Annotated[
        float | None, typer.Option(metavar="X", help="Weight of the teacher's answers.", show_default="1.0")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="Softens the answers that are compared.", show_default="2.0")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Epochs without a better val that end it.", show_default="never")
    ] = None,
    stop_at: Annotated[
        float | None, typer.Option(metavar="SHARE", help="The val accuracy that is enough: 0.94.", show_default="never")
    ] = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="WHERE", help="scratch, shared (the run's own weights), or auto: if any."),
    ] = "auto",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of everything random.", show_default="0")] = None,
    torch_device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda …", show_default="the run's own")
    ] = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where everything goes.", show_default="DIR/trained/PICK"),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a found network on labelled data: the best epoch by val, tested once, written as ONNX.

    Stopped or killed, the same command goes on and ends with the same weights. A family that was searched for other
    classes or sizes than the data has is made anew for it.

    Examples:

      hwnas train runs/small

      hwnas train runs/small --pick 12 --data path/to/images --epochs 100 --patience 10

      hwnas train runs/small --pick best --by accuracy --teacher largest --distill 0.5

      hwnas train runs/small --pick knee --data '{digits: {resolution: 16}}' --optimizer sgd --lr 0.05
    """
    import yaml

    from hwnas import training

    options = {
        "epochs": epochs,
        "batch": batch,
        "optimizer": optimizer,
        "lr": lr,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "warmup": warmup,
        "clip": clip,
        "augment": augment,
        "distill": distill,
        "temperature": temperature,
        "patience": patience,
        "stop_at": stop_at,
        "seed": seed,
        "torch_device": torch_device,
    }
    try:
        spec = yaml.safe_load(data) if data is not None and data.lstrip().startswith("{") else data
    except yaml.YAMLError as error:
        raise ConfigError(f"{data!r} is not valid YAML", path="data") from error
    display = Display(err, quiet=quiet)
    with _watched(display, "stopped; the last whole epoch is kept", "go on with the same command"):
        done = training.train(
            run,
            pick,
            by=by,
            data=spec,
            start=start,
            teacher=teacher,
            out=out_,
            watch=display,
            **{name: value for name, value in options.items() if value is not None},
        )
    if json_:
        print(json.dumps(done.to_dict(), indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
    for row in done.rows():
        table.add_row(*row)
    _print_table(table)
    out.print(done.sentence())
    out.print(f"model: {Path(done.folder) / 'model.onnx' if done.onnx else done.model}")


@app.command()
def report(run: RunArgument) -> None:
    """Write the report of a run anew: one HTML file that opens offline."""
    from hwnas import experiment
    from hwnas import report as pages

    out.print(str(pages.write(experiment.load(run), run / "report.html")))


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(parts.FOLDERS)}, devices.", show_default="all"),
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
        table = Table(box=None, show_header=False, padding=(0, 2), pad_edge=False)
        for part, line in rows.items():
            table.add_row(f"  {part}", line)
        out.print(name, style="bold")
        _print_table(table)


@app.command()
def doctor(json_: Json = False) -> None:
    """Look at this machine: versions, cores, memory, runtimes, known traps, and how to mend them."""
    from hwnas import checkup

    findings = checkup.examine()
    if json_:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        colours = {"ok": "green", "note": "yellow", "bad": "red"}
        for finding in findings:
            out.print(Text.assemble((f"{finding.state:4}", colours[finding.state]), f"  {finding.what}"))
            if finding.remedy:
                out.print(f"      → {finding.remedy}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FAILED)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def dynast(context: typer.Context) -> None:
    """Search as DyNAS-T does: all flags of its command; see hwnas dynast --help."""
    from hwnas.compat.dynast import main as search_as_dynast

    raise typer.Exit(search_as_dynast(context.args))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def denas(context: typer.Context) -> None:
    """Search without training as DE-NAS does, from its conf files; see hwnas denas search --help."""
    from hwnas.compat.denas import main as search_as_denas

    raise typer.Exit(search_as_denas(context.args))


def main() -> None:
    """The console script: runs a command and turns errors into one clear message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # paths need not be UTF-8, nor terminals
    try:
        try:
            app(prog_name="hwnas")
        finally:
            sys.stdout.flush()  # a reader that has gone is met here, and not when the process ends
    except BrokenPipeError:  # `hwnas show … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Interrupted as error:
        _complain(error, "")
        sys.exit(STOPPED)
    except Exception as error:  # noqa: BLE001  # a deliberate error, or a defect of hwnas or of somebody's part
        if sys.argv[1:2] == ["--debug"]:
            traceback.print_exc()
        _complain(error if isinstance(error, HwnasError) else _unforeseen(error))
        sys.exit(_code(error))


# --- helpers ----------------------------------------------------------------------------------------------------------


def _code(error: Exception) -> int:
    codes = ((InfeasibleError, INFEASIBLE), ((ConfigError, MissingExtraError), USAGE))
    return next((code for kind, code in codes if isinstance(error, kind)), FAILED)


def _unforeseen(error: Exception) -> HwnasError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return HwnasError(message, hint="not foreseen, so perhaps a defect; `hwnas --debug …` shows where it comes from")


def _complain(error: HwnasError, title: str = "error: ") -> None:
    err.print(Text.assemble((title, "bold red"), str(error.args[0])))
    if error.hint:
        err.print(Text.assemble(("  → ", "bold"), error.hint))


def _changes(overrides: list[str] | None, **options: Any) -> list[str]:
    return [*(overrides or []), *(f"{name}={value}" for name, value in options.items() if value is not None)]


@contextmanager
def _watched(display: Display, told: str, hint: str = "") -> Iterator[None]:
    """Shows work while it goes on; whoever stops it is told where things stand."""
    try:
        with display.shown():
            yield
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(told, hint=hint) from None


def _drive(work: Callable[[], Study], display: Display, folder: Path) -> None:
    """Runs a search with its display, and ends with the answer, or with the way to go on."""
    told = "stopped; everything measured so far is kept"
    with _watched(display, told, f"go on with: hwnas resume {shlex.quote(str(folder))}"):
        study = work()
    from hwnas.report import verdict

    facts = study.run.facts()
    if facts.get("export") and not facts["export"].get("trained") and not display.quiet:
        err.print(FRESH, style="yellow")
    out.print(verdict(study))
    if facts.get("export"):
        out.print(f"model:  {facts['export']['path']}")
    out.print(f"report: {folder / 'report.html'}")


def _show_plan(plan: Plan, folder: Path, console: Console) -> None:
    space = plan.bench.family.space
    size = f"{space.size:,}" if space.size < 1e6 else f"{space.size:.3g}"
    console.print(f"{plan.bench.family.name}: {len(space)} choices, {size} networks", style="bold")
    if summary := getattr(plan.bench.family, "summary", ""):
        console.print(f"  {summary}")
    for goal in plan.goals:
        line = f"  {goal.name}: {goal.direction}"
        seen = plan.ranges.get(goal.name)
        if seen:
            low, high = units.show(seen["least"], goal.unit), units.show(seen["most"], goal.unit)
            line += f", {low} to {high} on {seen['tried']} networks"
            line += f", limit {units.show(seen['limit'], goal.unit)} kept by {seen['met']} of them"
        elif goal.limit is not None:
            line += f", limit {units.show(goal.limit, goal.unit)}"
        console.print(line)
    phases = [name for name in ("train supernet", "search", "confirm and export") if plan.seconds.get(name)]
    total = sum(plan.seconds[name] for name in phases)
    split = ", ".join(f"{name} {units.duration(plan.seconds[name])}" for name in phases)
    console.print(f"  {units.plural(plan.config.budget, 'network')} to judge, into {folder}")
    console.print(f"  about {units.duration(total)}: {split}")


def _row(study: Study, trial: Trial, number: int | None) -> dict[str, Any]:
    """A trial as plain data; `number` is what the search calls it, None for a network that it never asked for."""
    return {
        "number": number,
        "state": trial.state,
        "values": dict(trial.values),
        "details": {name: dict(entry) for name, entry in trial.details.items()},
        "error": trial.error,
        "code": list(trial.code),
        "architecture": dict(study.space.decode(trial.code)),
    }


def _show_study(study: Study, trials: Trials, run: Path) -> None:
    facts, known = study.run.facts(), study.trials()
    numbers = {trial.code: trial.number for trial in known}
    table = Table(box=None, header_style="bold", padding=(0, 2), pad_edge=False)
    table.add_column("  trial", justify="right")
    for goal in study.goals:
        sign = "≤" if goal.direction == "min" else "≥"
        limit = f" {sign} {units.show(goal.limit, goal.unit)}" if goal.limit is not None else ""
        table.add_column(f"{goal.name}{limit}", justify="right")
    table.add_column("state")
    shown = {
        trial.code for trial in trials
    }  # the choice rests on the search's values: another may have confirmed better
    chosen_too = study.trials("confirm").where(lambda t: list(t.code) == facts.get("chosen") and t.code not in shown)
    for trial in [*trials, *chosen_too]:
        cells = [units.show(trial.values[g.name], g.unit) if g.name in trial.values else "–" for g in study.goals]
        chosen = " ← chosen" if list(trial.code) == facts.get("chosen") else ""
        number = str(numbers.get(trial.code, "largest"))  # all that is confirmed beside what the search found
        table.add_row(number, *cells, (trial.error or trial.state.replace("_", " ")) + chosen)
    judged = known.where(lambda trial: trial.finished)
    tally = Counter(trial.state.replace("_", " ") for trial in judged)
    counts = ", ".join(f"{count} {state}" for state, count in tally.items())
    budget = facts.get("config", {}).get("budget", len(known))
    out.print(f"{run}: {len(judged)} of {units.plural(budget, 'network')} judged" + (f" ({counts})" if counts else ""))
    if trials:
        _print_table(table)
    for name, floor in facts.get("noise", {}).items():
        out.print(f"noise floor of {name}: ± {100 * floor:.1f} %")
    if not facts.get("finished"):
        out.print(f"not finished; if it does not run any more: hwnas resume {shlex.quote(str(run))}")


def _print_table(table: Table) -> None:
    """As wide as the terminal; every row on one line where another program reads."""
    (out if out.is_terminal else Console(width=10_000, **_LITERAL)).print(table)


def _parts_of(kind: str) -> dict[str, str]:
    if kind == "devices":
        from hwnas.hardware import _device

        return {name: _device.load(name).description for name in _device.known()}
    return {name: parts.describe(kind, name) for name in parts.names(kind)}


if __name__ == "__main__":
    main()
