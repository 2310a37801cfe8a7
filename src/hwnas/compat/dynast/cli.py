"""The command `dynast`: every flag of DyNAS-T with its meaning, and a few of ours."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NoReturn

from hwnas.compat.dynast.options import ALGORITHMS, RUNTIMES, SURROGATE, TACTICS, Options, Task, task
from hwnas.compat.dynast.supernets import REFUSED, SUPERNETS
from hwnas.errors import ConfigError, HwnasError, Interrupted, MissingExtraError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from hwnas.study import Study

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
DEFAULTS: dict[str, Any] = {option.name: option.default for option in fields(Options)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one search; the console script `dynast`, and `hwnas dynast`.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 stopped.
    """
    from rich.console import Console

    given = list(sys.argv[1:] if arguments is None else arguments)
    plain: dict[str, Any] = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
    out, err = Console(**plain), Console(stderr=True, **plain)
    try:
        return _search(task(options(given)), out, err, shlex.join(["dynast", *given]))
    except SystemExit as end:  # argparse has printed its help
        return int(end.code or DONE)
    except BrokenPipeError:  # `dynast … | head`; there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Interrupted, KeyboardInterrupt):
        err.print("stopped; everything evaluated so far is kept: the same command goes on with it", style="yellow")
        return STOPPED
    except HwnasError as error:
        err.print(f"error: {error.args[0]}", style="bold red")
        if error.hint:
            err.print(f"  → {error.hint}")
        return USAGE if isinstance(error, ConfigError | MissingExtraError) else FAILED


def options(arguments: Sequence[str]) -> Options:
    """The flags as options.

    Raises:
        ConfigError: a flag that is unknown, is missing or lacks its value.
    """
    flags = parser()
    for word in (given.partition("=")[0] for given in arguments if given.startswith("--")):
        if not any(flag.startswith(word) for flag in flags.words):  # told before a flag that is missing for it
            raise ConfigError(f"there is no flag {word}; {nearest(word, flags.words)}", hint=_HELP)
    known = vars(flags.parse_args(arguments))
    lists = ("optimization_metrics", "measurements")
    given: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    given |= {name: tuple(known[name]) for name in lists} | {"limits": _limits(known["limits"])}
    return Options(**given)


def _limits(words: Sequence[str]) -> dict[str, float | str]:
    limits: dict[str, float | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value or name in limits:
            raise ConfigError(f"--limit {word!r}: write METRIC=VALUE, once per metric, such as macs=3e8 or latency=20")
        limits[name] = value
    return limits


def _search(checked: Task, out: Console, err: Console, command: str) -> int:
    for note in checked.notes:
        err.print(f"note: {note}", style="yellow")
    if checked.launch.rank:
        err.print(f"rank {checked.launch.rank} has nothing to do: rank 0 drives the search with workers of its own")
        return DONE
    from hwnas.compat.dynast import search
    from hwnas.display import Display

    display = Display(err)
    with display.shown():
        study = search.run(checked, display, command)
    _show(checked, study, out)
    return DONE


def _show(checked: Task, study: Study, out: Console) -> None:
    """The evaluated Pareto set for people, and the list of dicts for programs."""
    from rich.table import Table

    from hwnas.compat.dynast import search
    from hwnas.compat.dynast.metrics import MEASURES

    front = study.front()
    shown = Table(box=None, header_style="bold", padding=(0, 2), pad_edge=False)
    shown.add_column("#", justify="right")
    for name in checked.measured:
        shown.add_column(f"{name} ({MEASURES[name].unit})" if MEASURES[name].unit else name, justify="right")
    for trial in front:
        values = search.in_file(trial, study.goals)
        shown.add_row(str(trial.number), *(_readable(values[name]) for name in checked.measured))
    trials = study.trials()
    failed = sum(trial.state == "failed" for trial in trials)
    told = f", {failed} failed" if failed else ""
    out.print(f"{len(front)} networks on the Pareto front of {len(trials)} evaluated ones{told}:")
    for line in _lines(shown, out):
        out.print(line)
    out.print(f"results: {checked.table}")
    out.print(f"record:  {checked.folder} (look at it with: hwnas show {shlex.quote(str(checked.folder))})")
    trials_shown = search.best(study, checked.options.population)
    out.print(str(search.configs(checked, [trial.code for trial in trials_shown])))


def _lines(table: Any, out: Console) -> list[str]:
    """A table as text that is never cut to the width of a terminal that is not there."""
    from rich.console import Console

    wide = Console(width=max(out.width, 100), no_color=True)
    with wide.capture() as captured:
        wide.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _readable(value: float) -> str:
    """Whole numbers with their thousands apart, others with a few digits."""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1000 else f"{value:.6g}"


_HELP = "all flags: dynast --help"


class Flags(argparse.ArgumentParser):
    """Flags whose errors are raised, so that they read like all others."""

    @property
    def words(self) -> list[str]:
        """All flags in their long form."""
        return [word for action in self._actions for word in action.option_strings if word.startswith("--")]

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint=_HELP)


def _one_of(words: Sequence[str]) -> str:
    return "{" + ",".join(words) + "}"


class _Help(argparse.HelpFormatter):
    """Shows defaults where they tell something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default in (None, False, argparse.SUPPRESS) or default == []:
            return action.help
        told = " ".join(default) if isinstance(default, list) else default
        return f"{action.help} (default: {told})"


def parser() -> Flags:
    """The flags of the command."""
    made = Flags(
        prog="dynast",
        description="Searches a super-network for the networks that are best in one to three metrics, as DyNAS-T does. "
        "Every network is evaluated before it is reported; results grow row by row in a CSV file, and the same command "
        "again goes on where it was left.",
        epilog="Example: dynast --supernet ofa_mbv3_d234_e346_k357_w1.0 --optimization_metrics accuracy_top1 macs "
        "--measurements accuracy_top1 macs params --surrogate surrogate_mbv3w10_top1.json.gz --results_path found.csv",
        formatter_class=_Help,
    )
    add = made.add_argument_group("what is searched").add_argument
    refused = ", ".join(REFUSED)
    add(
        "--supernet",
        default=DEFAULTS["supernet"],
        metavar="NAME",
        help=f"one of {', '.join(SUPERNETS)}; not supported any more: {refused}",
    )
    add(
        "--optimization_metrics",
        nargs="*",
        default=list(DEFAULTS["optimization_metrics"]),
        metavar="METRIC",
        help="the objectives, one to three of params, latency (ms), macs, accuracy_top1 (%%), accuracy_sst2, bleu; "
        "accuracies and bleu are maximised, all else is minimised",
    )
    add(
        "--measurements",
        nargs="*",
        default=list(DEFAULTS["measurements"]),
        metavar="METRIC",
        help="what else is measured and written to the file; the objectives always are",
    )
    add(
        "--limit",
        dest="limits",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="the worst value allowed, in the units of the file, or a share of the largest network's: macs=60%%; "
        "may be given several times",
    )
    add = made.add_argument_group("how it is searched").add_argument
    add(
        "--search_tactic",
        default=DEFAULTS["search_tactic"],
        metavar=_one_of(TACTICS),
        help="linas: predictors learn from every evaluation and choose the next ones; evolutionary: the algorithm by "
        "itself; random: the baseline",
    )
    add(
        "--search_algo",
        default=DEFAULTS["search_algo"],
        metavar=_one_of(ALGORITHMS),
        help="one objective: ga, cmaes; two and more: nsga2, age; many: unsga3, ctaea, moead",
    )
    add(
        "--num_evals",
        type=int,
        default=DEFAULTS["num_evals"],
        metavar="N",
        help="networks to evaluate, exactly so many",
    )
    add("--population", type=int, default=DEFAULTS["population"], metavar="N", help="of the algorithm")
    add("--seed", type=int, default=DEFAULTS["seed"], metavar="N", help="of everything random")
    add = made.add_argument_group("where results go").add_argument
    add("--results_path", required=True, metavar="FILE", help="a CSV file; it is gone on with, never overwritten")
    add("--run", metavar="DIR", help="the folder of the run's record; by default beside the CSV file, as NAME.hwnas")
    add("--resume", action="store_true", help="insist on going on: an error where there is nothing to go on with")
    add("--overwrite", action="store_true", help="set earlier results aside, as .bak, and begin anew")
    add = made.add_argument_group("accuracy").add_argument
    add("--dataset_path", metavar="DIR", help="holds train/ and val/, one folder of images per class")
    add(
        "--supernet_ckpt_path", metavar="FILE", help="the super-network's weights: a PyTorch state dict or .safetensors"
    )
    add(
        "--surrogate",
        metavar="FILE",
        help="foretells accuracy_top1 of ofa_mbv3_d234_e346_k357_w1.0 without data and "
        f"weights; by default ${SURROGATE}",
    )
    add("--eval_batch_size", type=int, metavar="N", help="images in one pass; by default --batch_size")
    add(
        "--test_fraction",
        type=float,
        default=DEFAULTS["test_fraction"],
        metavar="SHARE",
        help="of the validation images, drawn class by class by seed",
    )
    add("-d", "--device", default=DEFAULTS["device"], help="where torch computes accuracies: cpu, cuda, cuda:1 …")
    add("--dataloader_workers", type=int, metavar="N", help="accepted; images are read once, by all cores")
    add = made.add_argument_group("latency").add_argument
    add("--batch_size", type=int, default=DEFAULTS["batch_size"], metavar="N", help="images in one pass")
    add(
        "--runtime",
        default=DEFAULTS["runtime"],
        metavar=_one_of(RUNTIMES),
        help="what runs the network on this machine's CPU",
    )
    add("--threads", type=int, default=DEFAULTS["threads"], metavar="N", help="of the network that is timed")
    add = made.add_argument_group("many at once").add_argument
    add(
        "--workers", type=int, default=DEFAULTS["workers"], metavar="N", help="processes that evaluate networks at once"
    )
    add("--distributed", action="store_true", help="take the number of workers from mpirun or torchrun; rank 0 drives")
    add(
        "--dist_timeout",
        type=int,
        default=DEFAULTS["dist_timeout"],
        metavar="SECONDS",
        help="that one evaluation may take when --distributed",
    )
    add("--backend", default=DEFAULTS["backend"], choices=["gloo"], help="accepted; workers need no process group")
    add("--local_rank", type=int, metavar="N", help=argparse.SUPPRESS)
    add = made.add_argument_group("other").add_argument
    add("--mp_calibration_samples", type=int, metavar="N", help="accepted; of the quantised super-networks")
    add("-v", "--verbose", action="store_true", help="show the hwnas configuration that is run")
    return made


__all__ = ["main", "options", "parser"]
