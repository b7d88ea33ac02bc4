"""Hold our way against its baselines, or against itself with parts taken away or put to it.

``python benchmarks/compare.py quickstart`` writes ``benchmarks/results/compare_quickstart.json``,
and ``--ablation`` beside it ``ablation_quickstart.json``, each with its chart in ``docs/images/``.
A comparison that was stopped goes on; one that is done is only read. Networks as small as these
leave most of a GPU idle: there, ``--processes`` do several ways and seeds at once.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from secateur.experiments.results import standard_error
from secateur.experiments.variants import OURS, SCRATCH, VARIANTS, Variant

from checks import tell
from secateur.cli.compare import show_comparison
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import load_recipe
from secateur.experiments.chart import draw_comparison
from secateur.experiments.compare import RESULT_FILE, Comparison, compare
from secateur.files.atomic_write import write_json

HERE = Path(__file__).parent
SEEDS = 3

RIVALS = (
    OURS,
    "random",
    "l1",
    "l2",
    "geometric_median",
    "norm_scale",
    "taylor",
    "group_norm",
    "layer_threshold",
    SCRATCH,
)
ABLATION = (
    OURS,
    "F_only",
    "G_only",
    "no_penalty",
    "subgradient",
    "uniform",
    "layer_threshold",
    "uneven",
    "unmended",
    "four_phases",
    "gradual",
    "distill",
    "fine_tune",
)

# A recipe, and what is changed in it: the classifier's own schedule takes an hour a run, and there
# are more than a hundred runs.
SUBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "quickstart": ("quickstart", ()),
    "gtsrb": (
        "vgg_gtsrb_laptop",
        (
            "precision=bf16",
            "train.steps=2400",
            "compress.sparsify.steps=100",
            "compress.retrain.steps=600",
            "compress.select.balance=2",
            "compress.remove={}",
        ),
    ),
}
# Strengths of baselines' penalties that differ from the variants' own: what validation chose there, as
# it did on the quick start, at 15 % of the MACs and with one seed.
STRENGTHS = {"gtsrb": {"norm_scale": 1e-3}}


def strengthened(variant: Variant, strength: float) -> Variant:
    """Give a way with another strength of its penalty."""
    sparsify = {**variant.changes["sparsify"], "strength": strength}
    return replace(variant, changes={**variant.changes, "sparsify": sparsify})


def places(result: Comparison) -> list[dict[str, Any]]:
    """Hold ours against the best of the others at every budget, by accuracy on test.

    The standard error is that of the difference, seed by seed, for a seed's dense network is the
    same for all.
    """
    values: dict[tuple[float, str], dict[int, float]] = {}
    for row in result.rows:
        values.setdefault((row.keep_macs, row.variant), {})[row.seed] = row.test
    found = []
    for keep in dict.fromkeys(row.keep_macs for row in result.rows):
        others = {name: some for (share, name), some in values.items() if share == keep}
        ours = others.pop(OURS)
        best = max(others, key=lambda name: fmean(others[name].values()))
        ahead = [ours[seed] - value for seed, value in others[best].items()]
        found.append(
            {
                "keep_macs": keep,
                "ours": fmean(ours.values()),
                "best_other": best,
                "its": fmean(others[best].values()),
                "ahead": fmean(ahead),
                "standard_error": standard_error(ahead),
                "better": [
                    n for n, some in others.items() if fmean(some.values()) > fmean(ours.values())
                ],
            }
        )
    return found


def checks(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Promised: first or within a standard error of it, and first at the two smallest budgets."""
    smallest = sorted(place["keep_macs"] for place in found)[:2]
    rows = []
    for place in found:
        keep = place["keep_macs"]
        least = 0.0 if keep in smallest else -(place["standard_error"] or 0.0)
        rows.append(
            {
                "name": f"points ahead of the best other ({place['best_other']}) at {keep:.0%}",
                "value": place["ahead"],
                "target": least,
                "met": place["ahead"] > least if keep in smallest else place["ahead"] >= least,
            }
        )
    return rows


def side_by_side(ways: Sequence[str], processes: int) -> None:
    """Do each way with each seed in a process of its own, so many at once."""
    # From scratch takes the widths of ours.
    for group in ([way for way in ways if way != SCRATCH], [way for way in ways if way == SCRATCH]):
        with ThreadPoolExecutor(processes) as pool:
            for way, seed in product(group, range(SEEDS)):
                pool.submit(one_process, way, seed)


def one_process(way: str, seed: int) -> None:
    """Start this command for one way and one seed, and wait for it."""
    only = ["--only", way, "--seed", str(seed)]
    command = [sys.executable, *sys.argv, *only]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(f"{way}, seed {seed}: {'done' if done.returncode == 0 else done.stderr}", flush=True)


def main() -> None:
    """Compare, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--ablation", action="store_true", help="ours with parts taken away")
    parser.add_argument("--run", type=Path, help="folder; runs/SUBJECT-compare if not given")
    parser.add_argument("--only", help="just do these ways, comma between them, and write nothing")
    parser.add_argument("--seed", type=int, help="with --only: just this one")
    parser.add_argument("--processes", type=int, default=1, help="at once")
    arguments = parser.parse_args()
    name, changes = SUBJECTS[arguments.subject]
    recipe = load_recipe(Path(name), changes)
    folder = arguments.run or Path("runs") / f"{arguments.subject}-compare"
    for way, strength in STRENGTHS.get(arguments.subject, {}).items():
        VARIANTS[way] = strengthened(VARIANTS[way], strength)
    ways = ABLATION if arguments.ablation else RIVALS
    budgets = (0.15, 0.07) if arguments.ablation else (0.5, 0.3, 0.15, 0.07)
    if arguments.only:
        ways = tuple(arguments.only.split(","))
    elif arguments.processes > 1:
        side_by_side(ways, arguments.processes)
    console = open_console()
    first, seeds = (0, SEEDS) if arguments.seed is None else (arguments.seed, 1)
    result = compare(
        recipe, folder, ways, budgets, seeds, ConsoleReporter(console), first_seed=first
    )
    show_comparison(console, result)
    if arguments.only:
        return
    title = f"{'ablation' if arguments.ablation else 'compare'}_{arguments.subject}"
    content = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    if not arguments.ablation:
        found = places(result)
        content |= {"places": found, "checks": checks(found)}
        tell(content["checks"])
    write_json(HERE / "results" / f"{title}.json", content)
    draw_comparison(result, folder)
    shutil.copyfile(folder / "comparison.svg", HERE.parent / "docs" / "images" / f"{title}.svg")


if __name__ == "__main__":
    main()
