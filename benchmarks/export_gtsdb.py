"""Export the slim network of the GTSDB run and compare the files with it.

``python benchmarks/export_gtsdb.py`` writes ``benchmarks/results/export_gtsdb.json``. It needs the
run of ``make bench-gtsdb`` and the pictures of its recipe:

- ONNX and OpenVINO files in single precision, with NMS, must find the same objects as torch in 100
  training pictures.
- With int8, calibrated on validation pictures, they may lose one point of AP on the test split.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checks import print_checks
from secateur.cli.console import ConsoleReporter, open_console
from secateur.config.recipe import load_recipe
from secateur.export.export import export_network
from secateur.export.target import Target
from secateur.files.atomic_write import write_json
from secateur.inference.evaluate import evaluate_file
from secateur.inference.torch_network import TorchNetwork
from secateur.run.context import provenance

HERE = Path(__file__).parent
# The drop is measured here on test, so any drop on validation is accepted.
ANY_DROP = 100.0


def main() -> None:
    """Export, compare, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/gtsdb_laptop"))
    arguments = parser.parse_args()
    run: Path = arguments.run
    recipe_file = run / "recipe.json"
    recipe = load_recipe(recipe_file)
    metric, test = recipe.evaluate.metric, recipe.data.test
    bar = ConsoleReporter(open_console()).bar
    model = run / "slim.safetensors"
    network = TorchNetwork.load(str(model))
    before = evaluate_file(model, recipe_file, test, bar).metrics
    exports: dict[str, Any] = {}
    checks = []
    for file_format in ("onnx", "openvino"):
        target = Target(file_format)
        path = target.file_for(str(model))
        single = export_network(network, path, target, split=recipe.data.train, bar=bar)
        exports[path.name] = asdict(single)
        if single.agreement:
            share = single.agreement.matched / single.agreement.objects
            count = single.agreement.pictures
            name = f"{file_format}: share of objects with a counterpart, on {count} pictures"
            checks.append({"name": name, "value": share, "target": 1.0, "met": share == 1.0})
        target = Target(file_format, "int8", max_drop=ANY_DROP)
        path = target.file_for(str(model))
        eight = export_network(network, path, target, bar=bar)
        after = evaluate_file(path, recipe_file, test, bar).metrics
        exports[path.name] = {**asdict(eight), "test": after}
        lost = (before[metric] or 0.0) - (after[metric] or 0.0)
        checks.append(
            {
                "name": f"{file_format}: points of {metric} lost on {test} with int8, at most",
                "value": lost,
                "target": 1.0,
                "met": lost <= 1.0,
            }
        )
    result = {
        "run": recipe.name,
        "seed": recipe.seed,
        "test": before,
        "bytes": model.stat().st_size,
        "exports": exports,
        "checks": checks,
        "provenance": provenance(),
    }
    write_json(HERE / "results" / "export_gtsdb.json", result)
    print_checks(checks)


if __name__ == "__main__":
    main()
