"""What a metric promises, of quality or of hardware."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.candidate import Candidate, Family
from hwnas.progress import silent
from hwnas.testing._networks import inside, same, some_codes
from hwnas.testing._shared import Check, require, unchanged
from hwnas.testing.toys import Toy
from hwnas.trial import Metric, Reading


def candidates_for(metric: Metric) -> list[Candidate]:
    """The smallest, the largest and two random networks: of the metric's own family if it has one, else toys."""
    family: Family = getattr(metric, "family", None) or Toy()
    return [Candidate(family, code) for code in some_codes(family, 2)]


def _fresh(part: Any) -> Any:
    """A copy that has computed nothing yet."""
    return replace(part) if hasattr(part, "__dataclass_fields__") else part


def _ready(metric: Metric, candidates: Sequence[Candidate] | None) -> tuple[Any, list[Candidate]]:
    """A metric that was prepared, as a fresh copy; and fresh candidates, of which nothing is built yet."""
    fresh = _fresh(metric)
    if hasattr(fresh, "prepare"):
        fresh.prepare(silent)
    return fresh, [replace(candidate) for candidate in candidates or candidates_for(metric)]


def _reading(result: Any) -> Reading:
    """A metric's answer with its details."""
    return result if isinstance(result, Reading) else Reading(result)


def judges(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Every value is a plain, finite float; details can be recorded."""
    own, candidates = _ready(metric, candidates)
    for result in map(own, candidates):
        reading = _reading(result)
        require(type(reading.value) is float, f"{reading.value!r} is a {type(reading.value).__name__}, no float")
        require(math.isfinite(reading.value), f"the metric gives {reading.value}")
        try:
            json.dumps(dict(reading.details), allow_nan=False, default=float)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"the details {reading.details!r} cannot be recorded: {error}") from error


def describes_itself(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`cheap`, `exact`, `exclusive` are true or false and `unit` is text, all of them known without building a part."""
    for flag in ("cheap", "exact", "exclusive"):
        require(isinstance(getattr(type(metric), flag, False), bool), f"`{flag}` of the class is not True or False")
    require(isinstance(getattr(type(metric), "unit", ""), str), "`unit` of the class is no text")
    require(not (_flag(metric, "exact") and _flag(metric, "exclusive")), "what is measured cannot be exact")
    require(not (_flag(metric, "cheap") and _flag(metric, "exclusive")), "what needs a quiet machine is not cheap")


def _flag(metric: Metric, name: str) -> bool:
    return bool(getattr(metric, name, False))


def repeats_itself(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """The same candidates get the same values again, in any order; one that is `exclusive` measures, and is exempt."""
    first, candidates = _ready(metric, candidates)
    if _flag(metric, "exclusive"):
        return
    values = [_reading(first(candidate)) for candidate in candidates]
    second, again = _ready(metric, candidates)
    backwards = [_reading(second(candidate)) for candidate in reversed(again)]
    require(values == backwards[::-1], f"in another order {values} become {backwards[::-1]}")
    require([_reading(second(candidate)) for candidate in again] == values, "asked again, it gives other values")


def judges_many_as_one_by_one(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`many`, if there is one, answers in order and bit for bit like single calls, since groups differ between runs."""
    own, candidates = _ready(metric, candidates)
    if not hasattr(own, "many"):
        return
    together = own.many([replace(candidate) for candidate in candidates])
    failed = [result for result in together if isinstance(result, BaseException)]
    require(not failed, f"`many` fails where single calls do not: {failed}")
    require(len(together) == len(candidates), f"`many` gives {len(together)} results for {len(candidates)} candidates")
    require(len(own.many([])) == 0, "`many` of nothing is something")
    values = [_reading(result).value for result in together]
    require(all(map(math.isfinite, values)), f"`many` gives {values}")
    if not _flag(own, "exclusive"):
        alone = [_reading(own(candidate)).value for candidate in candidates]
        require(values == alone, f"`many` gives {values}, single calls give {alone}")


def leaves_things_as_found(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Weights, buffers, gradients, modes, hooks, the supernet and every global state are as they were before."""
    own, candidates = _ready(metric, candidates)
    own(candidates[0])  # the first call may load libraries, some of which set variables of the environment
    for candidate in candidates:
        list(candidate.model.children())[-1].train()  # a mixture of modes tells more
        candidate.skeleton, candidate.inputs  # noqa: B018  # built now, to be looked at

    def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, candidate in enumerate(candidates):
            for what in ("model", "skeleton"):
                found |= {f"{name} of {what} {number}": x for name, x in inside(getattr(candidate, what)).items()}
            found |= {f"input {place} of {number}": x.clone() for place, x in enumerate(candidate.inputs)}
        shared = own.weights.tensors() if hasattr(own, "weights") else {}
        return found | {f"{name} of the supernet": tensor.clone() for name, tensor in shared.items()}

    before = look()
    with unchanged("judging"):
        for candidate in candidates:
            own(candidate)
        if hasattr(own, "many"):
            own.many(candidates)
    after = look()
    changed = [name for name in {**before, **after} if not same(before.get(name), after.get(name))]
    require(not changed, f"judging changes {', '.join(changed[:5])}")


def is_exact_if_it_says_so(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """An exact metric depends on the code alone, and a search is given it as `goal.exact`; no other one is."""
    from hwnas import config, experiment

    own, candidates = _ready(metric, candidates)
    written = config.check({"family": candidates[0].family, "goals": {"it": {"min": own}}})
    (goal,) = experiment.prepare(written, Path("nowhere"), estimate=False).goals
    require((goal.exact is not None) == _flag(own, "exact"), "the goal and the metric disagree about `exact`")
    if goal.exact is None:
        return
    for candidate in candidates:
        values = {_reading(own(replace(candidate, seed=seed))).value for seed in (0, 1)} | {goal.exact(candidate.code)}
        require(len(values) == 1, f"{candidate.code} has several exact values: {sorted(values)}")


def never_gives_nan(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """For a network whose weights are NaN it raises, or judges what does not depend on them; NaN is no judgement."""
    import torch

    own, candidates = _ready(metric, candidates)
    candidate = candidates[0]
    with torch.no_grad():
        for parameter in candidate.model.parameters():
            parameter.fill_(math.nan)
    try:
        value = _reading(own(candidate)).value
    except Exception:  # noqa: BLE001  # to raise is right, whatever it is
        return
    require(math.isfinite(value), f"a network of NaN is judged {value}")


def offers_what_it_offers(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """`estimate` gives seconds before anything is prepared, and `confirmed` another metric that works."""
    fresh = _fresh(metric)
    candidate = replace((candidates or candidates_for(metric))[0])
    if hasattr(fresh, "estimate"):
        with unchanged("estimating"):
            seconds = fresh.estimate(candidate)
        require(math.isfinite(seconds) and seconds >= 0, f"a judgement is estimated to take {seconds} s")
    if hasattr(fresh, "confirmed"):
        judges(fresh.confirmed(), [candidate])


METRIC: tuple[Check, ...] = (
    judges,
    describes_itself,
    repeats_itself,
    judges_many_as_one_by_one,
    leaves_things_as_found,
    is_exact_if_it_says_so,
    never_gives_nan,
    offers_what_it_offers,
)


def check_metric(metric: Metric, candidates: Sequence[Candidate] | None = None) -> None:
    """Holds a metric to its protocol, by candidates of one's own choice or by toys."""
    for promise in METRIC:
        promise(metric, candidates)
