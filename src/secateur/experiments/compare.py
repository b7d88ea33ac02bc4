"""Compare compression methods under equal conditions: same network, data, budgets and seeds.

Each method, budget and seed is a run of its own, with its own report. Runs share their steps, so
the dense network of a seed is trained once, and an interrupted comparison resumes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import cast

from secateur.config.recipe import Recipe
from secateur.errors import RecipeError
from secateur.experiments.methods import (
    OURS,
    SCRATCH,
    find_method,
    method_recipe,
    scratch_recipe,
)
from secateur.experiments.series import (
    POOL,
    announced,
    check_recipes,
    grouped,
    metric_value,
    standard_error,
    write_result,
)
from secateur.run.context import Reporter, open_run
from secateur.run.folder import COMPARISON, check_folder, locked_run
from secateur.run.network_stages import POOR, evaluate_network, train_dense
from secateur.run.pipeline import compress_recipe
from secateur.run.records import EvaluationRecord, Summary, TrainingRecord, read_record

RESULT_FILE = COMPARISON.mark


@dataclass(frozen=True, slots=True)
class Row:
    """One method with one budget and one seed; metrics in percent.

    Attributes:
        method: name of the method.
        keep_macs: the budget, as a share of the dense network's MACs.
        seed: seed of the run.
        params: parameters of the slim network.
        macs: MACs of the slim network.
        dense: metric of the dense network on test.
        removed: metric on validation after the last removal, before retraining; None for scratch.
        validation: metric of the slim network on validation.
        test: metric of the slim network on test.
    """

    method: str
    keep_macs: float
    seed: int
    params: int
    macs: int
    dense: float
    removed: float | None
    validation: float
    test: float


@dataclass(frozen=True, slots=True)
class Mean:
    """One method with one budget, averaged over the seeds; metrics in percent.

    Attributes:
        method: name of the method.
        keep_macs: the budget, as a share of the dense network's MACs.
        seeds: number of seeds.
        removed: mean of ``Row.removed``.
        validation: mean of ``Row.validation``.
        validation_error: its standard error; None for one seed.
        test: mean of ``Row.test``.
        test_error: its standard error; None for one seed.
    """

    method: str
    keep_macs: float
    seeds: int
    removed: float | None
    validation: float
    validation_error: float | None
    test: float
    test_error: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison: every run, and the means over seeds."""

    metric: str
    split: str
    rows: list[Row]
    means: list[Mean]

    @property
    def dense(self) -> float:
        """Mean metric of the dense networks, one for each seed."""
        return fmean({row.seed: row.dense for row in self.rows}.values())

    @property
    def poor(self) -> bool:
        """Whether the dense networks are too inaccurate for the comparison to mean anything."""
        return self.dense < POOR


def compare(
    recipe: Recipe,
    folder: Path,
    methods: Sequence[str],
    keep_macs: Sequence[float],
    seeds: Sequence[int],
    reporter: Reporter,
) -> Comparison:
    """Compress with every method, budget and seed.

    Several processes may work in one folder on different methods or seeds; a step that they
    share is done by one of them.

    Args:
        recipe: the dense network, the schedules and the phases; its own goal is not used.
        folder: folder of the comparison; a comparison in it resumes. ``comparison.json`` is
            written there after every run.
        methods: names that ``find_method`` knows.
        keep_macs: budgets, as shares of the dense network's MACs, 0-1.
        seeds: seeds of the runs.
        reporter: prints the progress.

    Raises:
        RecipeError: a method is unknown, or does not fit the recipe.
        RunError: the folder holds anything but a comparison.
        SecateurError: as for ``compress_recipe``.
    """
    check_folder(folder, COMPARISON)
    names, budgets = list(dict.fromkeys(methods)), list(dict.fromkeys(keep_macs))
    check_recipes(recipe, [method_recipe(recipe, name, min(budgets), 0) for name in names])
    if SCRATCH in names:  # it takes the widths that ours ends with
        names = [OURS, *(name for name in names if name not in (OURS, SCRATCH)), SCRATCH]
    runs = [
        (f"{name}, {keep:.0%} of the MACs, seed {seed}", (name, keep, seed))
        for seed in seeds
        for name in names
        for keep in budgets
    ]
    rows: list[Row] = []
    for name, keep, seed in announced(runs, reporter):
        run = _from_scratch if name == SCRATCH else _compress
        rows.append(run(recipe, folder, name, keep, seed, reporter))
        result = Comparison(
            recipe.evaluate.metric, recipe.data.test or "validation", rows, _means(rows)
        )
        _write(folder, recipe, result)
    return result


def parse_shares(text: str) -> list[float]:
    """Parse shares between 0 and 1, such as ``0.5,0.3``.

    Raises:
        RecipeError: the text holds anything else.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < share < 1 for share in found):
        raise RecipeError(f"{text!r}: give shares between 0 and 1, such as 0.5,0.3,0.15")
    return found


def _run_folder(folder: Path, method: str, keep: float, seed: int) -> Path:
    return folder / f"seed{seed}" / method / f"keep{keep:g}"


def _compress(
    recipe: Recipe, folder: Path, method: str, keep: float, seed: int, reporter: Reporter
) -> Row:
    own = method_recipe(recipe, method, keep, seed)
    summary = compress_recipe(own, _run_folder(folder, method, keep, seed), reporter, folder / POOL)
    metric, slim, last = summary.metric, summary.slim, summary.phases[-1].metrics
    return Row(
        method,
        keep,
        seed,
        slim.params,
        slim.macs,
        metric_value(summary.dense.metrics, metric),
        metric_value(last, "removed"),
        metric_value(last, "retrained" if last.get("retrained") is not None else "removed"),
        metric_value(slim.metrics, metric),
    )


def _from_scratch(
    recipe: Recipe, folder: Path, method: str, keep: float, seed: int, reporter: Reporter
) -> Row:
    ours = _run_folder(folder, OURS, keep, seed) / "summary.json"
    summary = read_record(ours, Summary, f"compare {OURS} first: {SCRATCH} takes its widths")
    run = _run_folder(folder, method, keep, seed)
    with locked_run(run):
        opened = open_run(scratch_recipe(recipe, summary.slim.filters, seed), run, reporter)
        network, trained = train_dense(opened)
        evaluated = evaluate_network(opened, "dense", network)
    metric, found = summary.metric, cast(EvaluationRecord, evaluated.result)
    return Row(
        method,
        keep,
        seed,
        found.params,
        found.macs,
        metric_value(summary.dense.metrics, metric),
        None,
        metric_value(cast(TrainingRecord, trained.result).metrics, metric),
        metric_value(found.metrics, metric),
    )


def _means(rows: Sequence[Row]) -> list[Mean]:
    means = []
    for (method, keep), some in grouped(rows, lambda row: (row.method, row.keep_macs)).items():
        removed = [row.removed for row in some if row.removed is not None]
        validation, test = [row.validation for row in some], [row.test for row in some]
        means.append(
            Mean(
                method,
                keep,
                len(some),
                fmean(removed) if removed else None,
                fmean(validation),
                standard_error(validation),
                fmean(test),
                standard_error(test),
            )
        )
    return means


def _write(folder: Path, recipe: Recipe, result: Comparison) -> None:
    about = {row.method: find_method(row.method).about for row in result.rows}
    packages = ["torch-pruning"] if "group_norm" in about else []
    write_result(folder / RESULT_FILE, recipe, {**asdict(result), "about": about}, packages)
