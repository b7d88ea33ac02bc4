"""Compare our method with baselines, or with itself with one part changed (``--ablation``).

``python benchmarks/compare.py quickstart`` writes ``benchmarks/results/compare_quickstart.json``,
``--ablation`` writes ``ablation_quickstart.json``, each with a chart in ``docs/images/``. An
interrupted comparison resumes; a complete one is only read. Networks as small as these leave most
of a GPU idle: ``--processes`` runs several methods and seeds at once.
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

from checks import Check, check, print_checks
from secateur.cli.compare import show_comparison
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import load_recipe
from secateur.experiments.chart import draw_comparison
from secateur.experiments.compare import RESULT_FILE, Comparison, compare
from secateur.experiments.methods import METHODS, OURS, SCRATCH, Method
from secateur.experiments.series import standard_error
from secateur.files.atomic_write import write_json

HERE = Path(__file__).parent
SEEDS = 3

BASELINES = (
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
    "no_balance",
    "no_recalibration",
    "four_phases",
    "gradual",
    "distill",
    "fine_tune",
)

# A recipe and its changes: the classifier's own schedule takes an hour per run, and there are more
# than a hundred runs.
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
# Penalty strengths that differ from those in METHODS, chosen like those: on validation, at 15 % of
# the MACs with one seed.
STRENGTHS = {"gtsrb": {"norm_scale": 1e-3}}


def with_strength(method: Method, strength: float) -> Method:
    """Give a method another strength of its penalty."""
    sparsify = {**method.changes["sparsify"], "strength": strength}
    return replace(method, changes={**method.changes, "sparsify": sparsify})


def places(result: Comparison) -> list[dict[str, Any]]:
    """Compare ours with the best other method at every budget, by accuracy on test.

    The standard error is that of the difference, seed by seed, because all methods share the dense
    network of a seed.
    """
    values: dict[tuple[float, str], dict[int, float]] = {}
    for row in result.rows:
        values.setdefault((row.keep_macs, row.method), {})[row.seed] = row.test
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


def checks(found: list[dict[str, Any]]) -> list[Check]:
    """Require the first place at the two smallest budgets, elsewhere at most one error behind."""
    smallest = sorted(place["keep_macs"] for place in found)[:2]
    rows = []
    for place in found:
        keep = place["keep_macs"]
        least = 0.0 if keep in smallest else -(place["standard_error"] or 0.0)
        name = f"points ahead of the best other ({place['best_other']}) at {keep:.0%}"
        met = place["ahead"] > least if keep in smallest else place["ahead"] >= least
        rows.append(check(name, place["ahead"], least, met=met))
    return rows


def side_by_side(methods: Sequence[str], processes: int) -> None:
    """Run each method with each seed in its own process, several at once."""
    # scratch takes the widths of ours, so it runs last.
    for group in ([m for m in methods if m != SCRATCH], [m for m in methods if m == SCRATCH]):
        with ThreadPoolExecutor(processes) as pool:
            for method, seed in product(group, range(SEEDS)):
                pool.submit(one_process, method, seed)


def one_process(method: str, seed: int) -> None:
    """Run this command for one method and one seed."""
    only = ["--only", method, "--seed", str(seed)]
    command = [sys.executable, *sys.argv, *only]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(f"{method}, seed {seed}: {'done' if done.returncode == 0 else done.stderr}", flush=True)


def main() -> None:
    """Compare and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--ablation", action="store_true", help="ours with one part changed")
    parser.add_argument("--run", type=Path, help="folder; default: runs/SUBJECT-compare")
    parser.add_argument("--only", help="run only these methods, comma-separated; write nothing")
    parser.add_argument("--seed", type=int, help="with --only: run only this seed")
    parser.add_argument("--processes", type=int, default=1, help="processes at once")
    arguments = parser.parse_args()
    name, changes = SUBJECTS[arguments.subject]
    recipe = load_recipe(Path(name), changes)
    folder = arguments.run or Path("runs") / f"{arguments.subject}-compare"
    for method, strength in STRENGTHS.get(arguments.subject, {}).items():
        METHODS[method] = with_strength(METHODS[method], strength)
    methods = ABLATION if arguments.ablation else BASELINES
    budgets = (0.15, 0.07) if arguments.ablation else (0.5, 0.3, 0.15, 0.07)
    if arguments.only:
        methods = tuple(arguments.only.split(","))
    elif arguments.processes > 1:
        side_by_side(methods, arguments.processes)
    console = open_console()
    seeds = range(SEEDS) if arguments.seed is None else (arguments.seed,)
    result = compare(recipe, folder, methods, budgets, seeds, ConsoleReporter(console))
    show_comparison(console, result)
    if arguments.only:
        return
    title = f"{'ablation' if arguments.ablation else 'compare'}_{arguments.subject}"
    content = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    for row in (*content["rows"], *content["means"]):  # the key of all results files
        row["variant"] = row.pop("method")
    if not arguments.ablation:
        found = places(result)
        content |= {"places": found, "checks": checks(found)}
        print_checks(content["checks"])
    write_json(HERE / "results" / f"{title}.json", content)
    draw_comparison(result, folder)
    shutil.copyfile(folder / "comparison.svg", HERE.parent / "docs" / "images" / f"{title}.svg")


if __name__ == "__main__":
    main()
