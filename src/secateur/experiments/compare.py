"""Several ways to compress held against each other: same network, pictures, budget and seeds.

Every way, budget and seed is a run of its own, so a comparison that was stopped goes on, and each
of its runs has its report. The dense network of a seed is trained once for all.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from secateur.config.recipe import Recipe
from secateur.data.source import read_splits
from secateur.errors import RecipeError, RunError
from secateur.experiments.results import standard_error, write_result
from secateur.experiments.time_left import outlook
from secateur.experiments.variants import OURS, SCRATCH, VARIANTS, scratch_recipe, variant_recipe
from secateur.files.lock import lock
from secateur.models.network import recipe_architecture
from secateur.run.folder import clear_drafts, read_record
from secateur.run.phases import check_phases
from secateur.run.pipeline import compress_recipe
from secateur.run.context import Reporter, open_run
from secateur.run.stages import POOR, evaluate_network, train_dense

RESULT_FILE = "comparison.json"
# Steps that several runs have in common.
POOL = "pool"


@dataclass(frozen=True, slots=True)
class Row:
    """One way with one budget and one seed; metrics in percent.

    Attributes:
        variant: the way.
        keep_macs: share of the dense network's MACs that was allowed.
        seed: of the run.
        params: of the slim network.
        macs: of the slim network.
        dense: metric of the dense network on test.
        removed: metric on validation straight after the last removal; None from scratch.
        validation: metric on validation in the end.
        test: metric on test.
    """

    variant: str
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
    """One way with one budget over all seeds; metrics in percent, with their standard errors.

    Attributes:
        variant: the way.
        keep_macs: share of the MACs that was allowed.
        seeds: how many.
        removed: as in ``Row``.
        validation: likewise.
        validation_error: its standard error; None of one seed.
        test: as in ``Row``.
        test_error: its standard error; None of one seed.
    """

    variant: str
    keep_macs: float
    seeds: int
    removed: float | None
    validation: float
    validation_error: float | None
    test: float
    test_error: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of all of them."""

    metric: str
    split: str
    rows: list[Row]
    means: list[Mean]

    @property
    def dense(self) -> float:
        """Metric of the dense networks of all seeds, each of which every row of its seed has."""
        return fmean({row.seed: row.dense for row in self.rows}.values())

    @property
    def poor(self) -> bool:
        """Whether dense networks are so poor that nothing can be told by them."""
        return self.dense < POOR


def compare(
    recipe: Recipe,
    folder: Path,
    variants: Sequence[str],
    keep_macs: Sequence[float],
    seeds: int,
    reporter: Reporter,
    *,
    first_seed: int = 0,
) -> Comparison:
    """Compress in every way, with every budget and every seed.

    Several processes may be at different ways or seeds of one folder; steps that these have in
    common are done by one.

    Args:
        recipe: of the dense network, the schedules and the phases; its own goal is not used.
        folder: of the comparison; gone on with if present. ``comparison.json`` is written there
            after every run.
        variants: names of ways.
        keep_macs: shares of the dense network's MACs, 0–1.
        seeds: how many.
        reporter: told of what goes on.
        first_seed: the others follow it.

    Raises:
        RecipeError: a way is unknown, or does not fit the recipe.
        SecateurError: as for ``compress_recipe``.
    """
    wanted = list(dict.fromkeys(variants))
    keep_macs = list(dict.fromkeys(keep_macs))
    recipes = [variant_recipe(recipe, variant, min(keep_macs), 0) for variant in wanted]
    classes = read_splits(recipe.data, recipe.model.input_size, recipe.seed).train.classes
    for each in recipes:  # what is wrong with one shows now
        check_phases(each, recipe_architecture(each, classes))
    # From scratch takes the widths of ours.
    if SCRATCH in wanted:
        wanted = [OURS, *(name for name in wanted if name not in (OURS, SCRATCH)), SCRATCH]
    metric = recipe.evaluate.metric
    rows: list[Row] = []
    total = seeds * len(wanted) * len(keep_macs)
    starts: list[float] = []
    for seed in range(first_seed, first_seed + seeds):
        for variant in wanted:
            for keep in keep_macs:
                title = f"{variant}, {keep:.0%} of the MACs, seed {seed}"
                starts.append(time.monotonic())
                reporter.say(f"== {len(starts)} of {total}: {title}{outlook(starts, total)}")
                rows.append(_run(recipe, folder, variant, keep, seed, reporter))
                result = Comparison(metric, recipe.data.test or "validation", rows, _means(rows))
                _write(folder, recipe, result)
    return result


def shares(text: str) -> list[float]:
    """Read shares between 0 and 1, as in ``0.5,0.3``.

    Raises:
        RecipeError: they are not.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < share < 1 for share in found):
        raise RecipeError(f"{text!r}: give shares between 0 and 1, such as 0.5,0.3,0.15")
    return found


def _run(
    recipe: Recipe, folder: Path, variant: str, keep: float, seed: int, reporter: Reporter
) -> Row:
    run = folder / f"seed{seed}" / variant / f"keep{keep:g}"
    if variant == SCRATCH:
        return _from_scratch(recipe, folder, run, keep, seed, reporter)
    own = variant_recipe(recipe, variant, keep, seed)
    summary = compress_recipe(own, run, reporter, folder / POOL)
    metric, slim = recipe.evaluate.metric, summary["slim"]
    last = summary["phases"][-1]["metric"]
    return Row(
        variant,
        keep,
        seed,
        slim["params"],
        slim["macs"],
        summary["dense"][metric],
        last["removed"],
        last["retrained"],
        slim[metric],
    )


def _from_scratch(
    recipe: Recipe, folder: Path, run: Path, keep: float, seed: int, reporter: Reporter
) -> Row:
    ours = folder / f"seed{seed}" / OURS / f"keep{keep:g}" / "steps"
    slim, dense = (read_record(ours / f"evaluate-{n}" / "step.json") for n in ("slim", "dense"))
    if slim is None or dense is None:
        raise RunError(f"{ours}: holds no network to take the widths from; compare ours too")
    with lock(run):
        clear_drafts(run)
        opened = open_run(scratch_recipe(recipe, slim["result"]["widths"], seed), run, reporter)
        network, trained = train_dense(opened)
        found = evaluate_network(opened, "dense", network).result
    metric = recipe.evaluate.metric
    return Row(
        SCRATCH,
        keep,
        seed,
        found["params"],
        found["macs"],
        dense["result"][metric],
        None,
        trained.result["metric"],
        found[metric],
    )


def _means(rows: Sequence[Row]) -> list[Mean]:
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.variant, row.keep_macs), []).append(row)
    means = []
    for (variant, keep), some in groups.items():
        removed = [row.removed for row in some if row.removed is not None]
        validation, test = [row.validation for row in some], [row.test for row in some]
        means.append(
            Mean(
                variant,
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
    about = {row.variant: VARIANTS[row.variant].about for row in result.rows}
    packages = ["torch-pruning"] if "group_norm" in about else []
    write_result(folder / RESULT_FILE, recipe, {**asdict(result), "about": about}, packages)
