"""Write docs/recipe.md from the descriptions in the recipe: python docs/make_recipe_page.py."""

import json
from inspect import cleandoc
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from secateur.config.compress import Compress, Phase, Remove, Select, Sparsify, ThresholdSearch
from secateur.config.data import Augmentation, ClassAugmentation, ClassificationData, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.model import model_sections
from secateur.config.recipe import Recipe
from secateur.config.train import DenseTraining, Retrain, Training


def _named(section: type[BaseModel]) -> str:
    """A section's docstring as part of a title: ``an SSD detector``."""
    words = (section.__doc__ or "").rstrip(".")
    return words[:1].lower() + words[1:]


# Every section, with its path in the recipe.
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Recipe),
    ("data", DetectionData),
    ("data.augmentation", Augmentation),
    ("data", ClassificationData),
    ("data.augmentation", ClassAugmentation),
    *(("model", section) for section in model_sections()),
    ("train", DenseTraining),
    ("compress", Compress),
    ("compress.phases", Phase),
    ("compress.sparsify", Sparsify),
    ("compress.threshold", ThresholdSearch),
    ("compress.select", Select),
    ("compress.remove", Remove),
    ("compress.retrain", Retrain),
    ("evaluate", Evaluate),
)
PLACES = [place for place, _ in SECTIONS]
# Two sections with the same path differ by what the recipe compresses.
KINDS = {
    DetectionData: "a detector",
    Augmentation: "a detector",
    ClassificationData: "a classifier",
    ClassAugmentation: "a classifier",
    **{section: _named(section) for section in model_sections()},
}

INTRODUCTION = """\
# The recipe

A recipe is a YAML file that says what to compress, with which data, and how far. `secateur init
FOLDER` writes one for a folder of annotated pictures. `secateur recipes` lists the recipes that are
part of the package: for the quick start, for GTSDB and Pascal VOC, and for classifiers of GTSRB and
CIFAR-10.

```yaml
name: mine
data:
  format: voc
  root: data/mine
  train: train
  test: test
  classes: [car, bus, person]    # for voc; the other layouts contain the names
model:
  network: ssd300
  weights: torchvision:SSD300_VGG16_Weights.COCO_V1
train: {steps: 8000, lr: 0.001}
compress:
  phases:
    - layers: conv1_1-conv4_3
    - layers: conv4_3-conv7
    - layers: conv7-conv8_2
    - layers: conv8_2-conv11_2
  sparsify: {steps: 2000}
  select: {keep_params: 0.15}
  retrain: {steps: 4000}
evaluate: {metric: AP50_voc07}
```

| section | content |
|---|---|
| `name`, `seed`, `precision` | the name of the run, its random numbers, its arithmetic |
| `data` | pictures, splits and classes, input resized or at native resolution, augmentation |
| `model` | network, size, widths, batch norm, detection layers and boxes, initial weights |
| `train` | steps, batch size, optimizer and learning rate of the dense network |
| `compress.phases` | the layers of each phase, and its differences from the rest |
| `compress.sparsify` | the training with the penalty, and the penalty's kind and strength |
| `compress.threshold` | how much accuracy the threshold may cost |
| `compress.select` | how far to compress: published levels, a budget, or a maximum drop |
| `compress.retrain` | the training after removal |
| `evaluate` | the metric, and the settings of NMS |

An unknown entry is an error that names the nearest known one. `--set train.steps=100` changes one
entry for one run; `--set compress.phases.0.layers=conv1_1-conv3_3` reaches into a list.

In the tables below, shares are from 0 to 1, and points are those of the metric in percent. A
*required* entry has no default. `null` means that nothing is set; the entry says what holds then.

`python docs/make_recipe_page.py` writes this page from the descriptions in `src/secateur/config/`;
change them there.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(_section(place, model) for place, model in SECTIONS)])


def _section(place: str, model: type[BaseModel]) -> str:
    title = f"`{place}`" if place else "Top level"
    if model in KINDS:
        title += f" of {KINDS[model]}"
    lines = [f"## {title}", "", cleandoc(model.__doc__ or ""), ""]
    schema = model.model_json_schema()
    entries = schema["properties"]
    if place == "compress.retrain":
        lines = [f"## {title}", "", "Step 4. The entries are those of `train`, and", ""]
        entries = {name: entries[name] for name in entries if name not in Training.model_fields}
    lines += ["| entry | values | default | meaning |", "|---|---|---|---|"]
    for name, entry in entries.items():
        child = f"{place}.{name}".lstrip(".")
        if child in PLACES:
            required = name in schema.get("required", [])
            default = "*required*" if required else "its own"
            values = "list of sections" if entry.get("type") == "array" else "section"
            meaning = f"see `{child}`"
        else:
            default = _code(entry["default"]) if "default" in entry else "*required*"
            values, meaning = _values(entry), entry.get("description", "")
        cells = (f"`{name}`", values, default, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _values(entry: dict[str, Any]) -> str:
    """Describe the values that a JSON schema allows."""
    if "anyOf" in entry:
        return " or ".join(_values(option) for option in entry["anyOf"])
    if "const" in entry:
        return _code(entry["const"])
    if "enum" in entry:
        return ", ".join(_code(value) for value in entry["enum"])
    match entry.get("type"):
        case "null":
            return "`null`"
        case "boolean":
            return "`true`, `false`"
        case "array":
            if "prefixItems" in entry:
                return (
                    f"list of {len(entry['prefixItems'])} times {_values(entry['prefixItems'][0])}"
                )
            return f"list of {_values(entry['items'])}"
        case "object":
            inner = entry.get("additionalProperties")
            return f"map to {_values(inner)}" if isinstance(inner, dict) else "map"
        case "string":
            return "path" if entry.get("format") == "path" else "text"
        case "integer" | "number":
            return str(entry["type"]) + _range(entry)
    raise ValueError(f"no description for {entry}")


def _range(entry: dict[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {entry[key]:g}" for key, sign in words.items() if key in entry]
    return f" {', '.join(limits)}" if limits else ""


def _code(value: Any) -> str:
    # A string of digits keeps its quotes, because YAML needs them.
    bare = isinstance(value, str) and not value.isdigit()
    return f"`{value if bare else json.dumps(value)}`"


if __name__ == "__main__":
    Path(__file__).with_name("recipe.md").write_text(page(), encoding="utf-8")
