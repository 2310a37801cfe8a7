"""DE-NAS's `search.py`: its flags and a few of ours; what it prints at the end, and the file that it writes.

python -m hwnas.compat.denas.search --domain cnn --conf e2eaiok_denas_cnn.conf
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hwnas import config, experiment
from hwnas.compat.denas.conf import DOMAINS
from hwnas.compat.denas.task import FORMULAS, PARAMS, SCORE, Options, Task, task
from hwnas.errors import (
    ConfigError,
    HwnasError,
    InfeasibleError,
    Interrupted,
    MissingExtraError,
    RunMismatchError,
    nearest,
)
from hwnas.plan import Plan, probe
from hwnas.progress import Watch, silent

if TYPE_CHECKING:
    from rich.console import Console

    from hwnas.study import Study
    from hwnas.trial import Trial

DONE, FAILED, USAGE, INFEASIBLE, STOPPED = 0, 1, 2, 3, 130
BEST = "best_model_structure.txt"
"""What the best network is written into, in the current directory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one search; `hwnas denas search`, and `python -m hwnas.compat.denas.search`.

    Returns:
        0 done, 1 failed, 2 wrong usage, 3 no network keeps the limits, 130 stopped.
    """
    from rich.console import Console

    given = list(sys.argv[1:] if arguments is None else arguments)
    plain: dict[str, Any] = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
    out, err = Console(**plain), Console(stderr=True, **plain)
    try:
        return _search(task(options(given)), out, err, shlex.join(["hwnas", "denas", "search", *given]))
    except SystemExit as end:  # argparse has printed its help
        return int(end.code or DONE)
    except BrokenPipeError:  # `… | head`; there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Interrupted, KeyboardInterrupt):
        err.print("stopped; everything scored so far is kept: the same command goes on with it", style="yellow")
        return STOPPED
    except HwnasError as error:
        err.print(f"error: {error.args[0]}", style="bold red")
        if error.hint:
            err.print(f"  → {error.hint}")
        codes = ((InfeasibleError, INFEASIBLE), ((ConfigError, MissingExtraError), USAGE))
        return next((code for kind, code in codes if isinstance(error, kind)), FAILED)


def options(arguments: Sequence[str]) -> Options:
    """The flags as options.

    Raises:
        ConfigError: a flag that is unknown, is missing or lacks its value.
    """
    flags = parser()
    for word in (given.partition("=")[0] for given in arguments if given.startswith("--")):
        if not any(flag.startswith(word) for flag in flags.words):  # told before a flag that is missing for it
            raise ConfigError(f"there is no flag {word}; {nearest(word, flags.words)}", hint=_HELP)
    return Options(**vars(flags.parse_args(arguments)))


def run(checked: Task, watch: Watch = silent, command: str = "") -> Study:
    """Searches, or goes on with the search that is there, in the run's folder.

    Raises:
        InfeasibleError: no network keeps the limits.
        RunMismatchError: the folder holds another search.
    """
    if not (checked.folder / "study.db").exists():
        experiment.reject_existing(checked.folder)
        plan = experiment.prepare(config.read(checked.raw), checked.folder, watch, estimate=False)
        _reject_out_of_reach(plan, watch)
        return experiment.start(plan, checked.folder, watch=watch, command=command)
    overrides = [f"{key}={json.dumps(value)}" for key, value in checked.raw.items()]
    try:
        return experiment.resume(checked.folder, overrides=overrides, watch=watch)
    except RunMismatchError as error:
        raise RunMismatchError(str(error.args[0]), hint="name another folder: --run DIR") from None


def best(study: Study) -> Trial:
    """The network that DE-NAS would return: the one of the best score among those within all limits.

    Raises:
        InfeasibleError: there is none.
    """
    feasible = study.trials().feasible()
    if not feasible:
        raise InfeasibleError("no network keeps every limit")
    return feasible.best(SCORE)


def line(checked: Task, found: Trial) -> str:
    """A network as `best_model_structure.txt` has it."""
    return checked.domain.codec.text(checked.family, checked.family.space.decode(found.code))


def _reject_out_of_reach(plan: Plan, watch: Watch) -> None:
    """Limits on what can be counted that neither the smallest nor the largest network keeps, before a run begins.

    Nothing else is tried beforehand: the largest network of a space of CNNs has hundreds of millions of parameters.
    """
    for spec in plan.config.goals:
        if spec.limit is None or not getattr(plan.bench.metric(spec.metric), "cheap", False):
            continue
        probe(plan, spec, watch)
        seen = plan.ranges.get(spec.name, {})
        if spec.direction == "max" and not seen.get("met", 1) and seen.get("largest") == seen["most"]:
            message = f"no network has {spec.name.removesuffix('_least')} of {seen['limit']:,.0f} or more"
            raise InfeasibleError(message, hint=f"the largest network has {seen['largest']:,.0f}")


def _search(checked: Task, out: Console, err: Console, command: str) -> int:
    for note in checked.notes:
        err.print(f"note: {note}", style="yellow")
    from hwnas.display import Display

    display, began = Display(err), time.perf_counter()
    with display.shown():
        study = run(checked, display, command)
    found = best(study)
    text = line(checked, found)
    _write(Path(BEST), text)
    params = found.values[PARAMS] / checked.domain.million
    told = f"{params:.0f}" if checked.domain.million == 1 else f"{params:g}"
    out.print(f"best structure {text} nas_score {found.values[SCORE]:.6g} params {told}")
    out.print(f"DE-NAS search best structure took {time.perf_counter() - began:.2f} sec")
    out.print(f"DE-NAS completed, best structure is {text}")
    out.print(f"written to {BEST}; record: {checked.folder} (hwnas show {shlex.quote(str(checked.folder))})")
    return DONE


def _write(path: Path, text: str) -> None:
    """One line, in one piece."""
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text(f"{text}\n", encoding="utf-8")
    os.replace(partial, path)


_HELP = "all flags: hwnas denas search --help"


class Flags(argparse.ArgumentParser):
    """Flags whose errors are raised, so that they read like all others."""

    @property
    def words(self) -> list[str]:
        """All flags in their long form."""
        return [word for action in self._actions for word in action.option_strings if word.startswith("--")]

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint=_HELP)


def parser() -> Flags:
    """The flags of the command."""
    made = Flags(
        prog="hwnas denas search",
        description="Searches a network without training any, as DE-NAS does, from one of its conf files. All is "
        f"kept in a run folder, and the same command again goes on where it was left; the best goes into {BEST}.",
        epilog="Example: hwnas denas search --domain cnn --conf examples/denas/e2eaiok_denas_cnn.conf",
    )
    add = made.add_argument
    add("--domain", metavar=f"{{{','.join(DOMAINS)}}}", help="what is searched; by default what the conf file says")
    add("--conf", required=True, metavar="FILE", help="a conf file of DE-NAS")
    add("--model_name", metavar="NAME", help="a Hugging Face model, instead of the file's `supernet` (domain hf)")
    add("--run", metavar="DIR", help="the folder of the run's record (default: runs/denas-DOMAIN)")
    add("--budget", type=int, metavar="N", help="networks to score (default: what the file's epochs come to)")
    add("--seed", type=int, metavar="N", help="of everything random, instead of the file's")
    add("--workers", type=int, default=1, metavar="N", help="processes that score networks at once (default: 1)")
    add(
        "--formula",
        default="sound",
        metavar=f"{{{','.join(FORMULAS)}}}",
        help="how the score is put together; intel: as in the released code, CNNs alone (default: sound)",
    )
    add("--score", metavar="NAME", help="another score of hwnas instead; see hwnas list quality")
    add("--pool", type=int, metavar="N", help="random networks that a score is ranked against (default: 64)")
    return made


__all__ = ["best", "line", "main", "options", "parser", "run"]

if __name__ == "__main__":
    raise SystemExit(main())
