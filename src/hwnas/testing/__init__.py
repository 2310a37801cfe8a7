"""What every part promises, as plain functions: for our own tests, and for whoever writes a part.

    >>> from hwnas import testing
    >>> from hwnas.algorithms.random import Random
    >>> testing.check(Random(batch=8))                 # everything that a search promises     # doctest: +SKIP
    >>> testing.asks_canonical_codes_once(Random())    # one promise                           # doctest: +SKIP

A check takes a part and returns nothing, or raises AssertionError with a sentence about what is broken. Nothing here
needs pytest; to see every promise as a test of its own, parametrise over `checks_of(MyPart)`.

`example(MyPart, place)` builds a part as the checks want it: small. The class may say how: `tiny`, a mapping of
options as in a configuration, or `example(place)`, a class method, where files are needed. What an experiment would
give to its constructor comes from the toys: `Toy`, a family with a space that is wide enough for searches and networks
that run in a millisecond, `Untrained` weights for it, and handwritten digits of 8 x 8 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwnas.progress import Progress, silent
from hwnas.testing._networks import some_codes
from hwnas.testing._shared import Check, folders_of, require, unchanged
from hwnas.testing.courses import REPEATS, SKEWED, Course, Values, cube, drive, fitting, rough
from hwnas.testing.data import (
    DATA,
    check_data,
    keeps_its_splits_when_asked,
    knows_facts_for_families,
    makes_inputs_ready,
    moments_are_those_of_train,
    splits_are_disjoint,
    splits_are_stable,
    splits_hold_labelled_inputs,
    the_fingerprint_tells,
    varies_inputs_as_asked,
)
from hwnas.testing.families import (
    FAMILY,
    builds_or_says_so,
    builds_repeatably,
    canonical_codes_build_the_same,
    check_family,
    codes_round_trip,
    gradients_stay_in_their_slices,
    has_a_name,
    layers_add_up,
    networks_run,
    nothing_is_secretly_active,
    parameters_learn,
    shared_weights_are_the_networks_own,
)
from hwnas.testing.formats import FORMAT, check_format, computes_the_same, keeps_metadata, writes_whole_files_or_none
from hwnas.testing.metrics import (
    METRIC,
    candidates_for,
    check_metric,
    describes_itself,
    is_exact_if_it_says_so,
    judges,
    judges_many_as_one_by_one,
    leaves_things_as_found,
    never_gives_nan,
    offers_what_it_offers,
    repeats_itself,
)
from hwnas.testing.parts import (
    PART,
    check_file,
    check_part,
    does_no_work_when_built,
    is_described,
    is_frozen,
    names_its_options,
    rejects_unknown_options,
    travels_as_a_spec,
)
from hwnas.testing.predictors import (
    PREDICTOR,
    check_predictor,
    draws_scatter_around_the_mean,
    predicts_repeatably,
    ranks_what_it_has_not_seen,
    sees_active_choices_only,
    takes_little_and_equal_values,
)
from hwnas.testing.runtimes import (
    RUNTIME,
    check_runtime,
    loads_and_runs,
    names_its_version,
    opens_files_or_says_why_not,
)
from hwnas.testing.searches import (
    SEARCH,
    asks_canonical_codes_once,
    beats_random,
    check_search,
    finds_what_is_hardly_ever_sampled,
    ignores_the_hash_seed,
    keeps_to_the_budget,
    knows_what_it_is_told,
    leaves_randomness_alone,
    more_budget_goes_on,
    needs_nothing_where_all_is_known,
    replays,
    survives_failures,
    survives_lost_answers,
    takes_the_goals_that_fit,
    uses_up_small_spaces,
)
from hwnas.testing.toys import (
    GOALS,
    LIMITED,
    REFERENCE,
    SIDE,
    SPACE,
    SPREAD,
    Toy,
    Untrained,
    accuracy,
    data_for,
    example,
    given,
    judge,
    latency,
    volume,
)
from hwnas.testing.weights import (
    WEIGHTS,
    check_weights,
    interrupted_weights_go_on,
    the_fingerprint_tells_of_weights,
    weights_are_kept,
    weights_fit_the_family,
)

_PROMISES: Mapping[str, tuple[Check, ...]] = {
    "families": FAMILY,
    "quality": METRIC,
    "hardware": METRIC,
    "algorithms": SEARCH,
    "predictors": PREDICTOR,
    "data": DATA,
    "weights": WEIGHTS,
    "runtimes": RUNTIME,
    "formats": FORMAT,
}


def checks_of(cls: type) -> tuple[Check, ...]:
    """All checks for the parts of a class, in order: those of every part, then those of its protocol."""
    folders = folders_of(cls)
    require(folders, f"{cls.__name__} inherits from no protocol of hwnas, such as Family, Metric or Search")
    return (*PART, *_PROMISES[folders[0]])


def check(part: Any) -> None:
    """Holds a part to all that it promises.

    Raises:
        AssertionError: the first promise that is broken.
    """
    for promise in checks_of(type(part)):
        promise(part)


__all__ = [
    "DATA",
    "FAMILY",
    "FORMAT",
    "GOALS",
    "LIMITED",
    "METRIC",
    "PART",
    "PREDICTOR",
    "REFERENCE",
    "REPEATS",
    "RUNTIME",
    "SEARCH",
    "SIDE",
    "SKEWED",
    "SPACE",
    "SPREAD",
    "WEIGHTS",
    "Check",
    "Course",
    "Progress",
    "Toy",
    "Untrained",
    "Values",
    "accuracy",
    "asks_canonical_codes_once",
    "beats_random",
    "builds_or_says_so",
    "builds_repeatably",
    "candidates_for",
    "canonical_codes_build_the_same",
    "check",
    "check_data",
    "check_family",
    "check_file",
    "check_format",
    "check_metric",
    "check_part",
    "check_predictor",
    "check_runtime",
    "check_search",
    "check_weights",
    "checks_of",
    "codes_round_trip",
    "computes_the_same",
    "cube",
    "data_for",
    "describes_itself",
    "does_no_work_when_built",
    "draws_scatter_around_the_mean",
    "drive",
    "example",
    "finds_what_is_hardly_ever_sampled",
    "fitting",
    "given",
    "gradients_stay_in_their_slices",
    "has_a_name",
    "ignores_the_hash_seed",
    "interrupted_weights_go_on",
    "is_described",
    "is_exact_if_it_says_so",
    "is_frozen",
    "judge",
    "judges",
    "judges_many_as_one_by_one",
    "keeps_its_splits_when_asked",
    "keeps_metadata",
    "keeps_to_the_budget",
    "knows_facts_for_families",
    "knows_what_it_is_told",
    "latency",
    "layers_add_up",
    "leaves_randomness_alone",
    "leaves_things_as_found",
    "loads_and_runs",
    "makes_inputs_ready",
    "moments_are_those_of_train",
    "more_budget_goes_on",
    "names_its_options",
    "names_its_version",
    "needs_nothing_where_all_is_known",
    "networks_run",
    "never_gives_nan",
    "nothing_is_secretly_active",
    "offers_what_it_offers",
    "opens_files_or_says_why_not",
    "parameters_learn",
    "predicts_repeatably",
    "ranks_what_it_has_not_seen",
    "rejects_unknown_options",
    "repeats_itself",
    "replays",
    "require",
    "rough",
    "sees_active_choices_only",
    "shared_weights_are_the_networks_own",
    "silent",
    "some_codes",
    "splits_are_disjoint",
    "splits_are_stable",
    "splits_hold_labelled_inputs",
    "survives_failures",
    "survives_lost_answers",
    "takes_little_and_equal_values",
    "takes_the_goals_that_fit",
    "the_fingerprint_tells",
    "the_fingerprint_tells_of_weights",
    "travels_as_a_spec",
    "unchanged",
    "uses_up_small_spaces",
    "varies_inputs_as_asked",
    "volume",
    "weights_are_kept",
    "weights_fit_the_family",
    "writes_whole_files_or_none",
]
