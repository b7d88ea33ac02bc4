"""Write the results in README.md and docs/results.md from the files in benchmarks/results/."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Between these lines of README.md stands the table.
START, END = "<!-- results -->\n", "<!-- end of results -->\n"

TITLES = {
    "quickstart": "Drawn signs (`make demo`)",
    "gtsdb_laptop": "GTSDB, four super-categories (`make bench-gtsdb`)",
    "vgg_gtsrb_laptop": "GTSRB, narrow VGG16 (`make bench-gtsrb`)",
}

# What a reader must know to take the figures rightly.
NOTES = {
    "quickstart": (
        "The dense network is trained for minutes, not to its end, and the slim one trains on "
        "while it is compressed. Where slim is ahead of dense, that is the longer training and "
        "not a gift of pruning.\n"
    ),
    "gtsdb_laptop": (
        "The trunk was first trained to tell cut-out signs of the Recognition Benchmark apart "
        "(`recipes/gtsdb_backbone.yaml`), the detector then on crops of 192 × 192 at native "
        "resolution. Both benchmarks have the same makers, and the trunk may have seen a sign that "
        "the test pictures show; that holds for dense and slim alike. The slim network has 1,250 "
        "steps more behind it than the dense one. A wider network and larger crops were not "
        "tried.\n"
    ),
    "vgg_gtsrb_laptop": (
        "A narrow VGG16 in its CIFAR form, from scratch, on whole pictures squeezed to 32 × 32. "
        "The dense network trains for 4,200 steps, the slim one for 6,600 more. Its lead is that: "
        "the run shows that a network of this size can be had this way, and not that pruning adds "
        "accuracy. Strength, budget and lengths were set by the validation split. The dense "
        "training shared its machine with other work; its minutes say little.\n"
    ),
}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Give the table of the README, one row a run."""
    lines = [
        "| run | parameters | MACs | bytes | accuracy on test |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        dense, slim, metric = result["dense"], result["slim"], result["metric"]
        sizes = [
            f"{dense[key] / unit:.{digits}f} → {slim[key] / unit:.{digits}f} {word} "
            f"({dense[key] / slim[key]:.1f}×)"
            for key, unit, digits, word in (
                ("params", 1e6, 3, "M"),
                ("macs", 1e9, 3, "G"),
                ("bytes", 1e6, 2, "MB"),
            )
        ]
        accuracy = f"{metric} {dense[metric]:.1f} → {slim[metric]:.1f}"
        lines.append(f"| {' | '.join([TITLES[name], *sizes, accuracy])} |")
    return "\n".join(lines) + "\n"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Give docs/results.md: every metric, every promise, and where the figures come from."""
    parts = [
        "# Results\n\nEvery figure here is read from a file in `benchmarks/results/` by "
        "`docs/make_results_page.py`.\n"
    ]
    for name, result in results.items():
        dense, slim = result["dense"], result["slim"]
        machine, versions = result["provenance"]["machine"], result["provenance"]["versions"]
        rows = [
            f"| {key} | {_figure(dense[key])} | {_figure(slim[key])} |"
            for key in dense
            if isinstance(dense[key], int | float)
        ]
        checks = [
            f"| {c['name']} | {_figure(c['target'])} | {_figure(c['value'])} | "
            f"{'yes' if c['met'] else '**no**'} |"
            for c in result["checks"]
        ]
        filters = [
            f"| {layer} | {before} | {slim['widths'][layer]} |"
            for layer, before in dense["widths"].items()
        ]
        seconds = sum(result["seconds"].values())
        fresh = ""
        if "fresh" in result:
            drawn = result["fresh"]
            fresh = (
                f"On {drawn['pictures']:,} pictures drawn from seed {drawn['seed']}, which no "
                "setting was tried on:\n\n| | dense | slim |\n|---|---|---|\n"
                + "".join(
                    f"| {key} | {_figure(value)} | {_figure(drawn['slim'][key])} |\n"
                    for key, value in drawn["dense"].items()
                )
                + "\n"
            )
        parts.append(
            f"\n## {TITLES[name]}\n\n"
            f"Measured on the {result['split']} split, seed {result['seed']}, "
            f"{result['provenance']['date'][:10]}; {seconds / 60:.0f} minutes of steps on "
            f"{machine['threads']} threads ({machine['accelerator'] or machine['processor']}); "
            f"torch {versions['torch']}, torchvision {versions['torchvision']}, "
            f"Python {versions['python']}.\n\n{NOTES[name]}\n"
            "| | dense | slim |\n|---|---|---|\n"
            + "\n".join(rows)
            + "\n\n"
            + fresh
            + "| promise | target | measured | met |\n|---|---|---|---|\n"
            + "\n".join(checks)
            + "\n\n"
            "| filters of | dense | slim |\n|---|---|---|\n" + "\n".join(filters) + "\n"
        )
    return "".join(parts)


def readme(text: str, results: dict[str, dict[str, Any]]) -> str:
    """Put the table in its place in README.md."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + "\n" + table(results) + "\n" + END + after


def read_results() -> dict[str, dict[str, Any]]:
    """Read the result files there are, in the order of ``TITLES``."""
    return {
        name: json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in TITLES
        if (RESULTS / f"{name}.json").is_file()
    }


def _figure(value: float) -> str:
    if isinstance(value, int) or value == round(value):
        return f"{int(value):,}"
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.1e}"


if __name__ == "__main__":
    found = read_results()
    (ROOT / "docs" / "results.md").write_text(page(found), "utf-8")
    target = ROOT / "README.md"
    target.write_text(readme(target.read_text("utf-8"), found), "utf-8")
