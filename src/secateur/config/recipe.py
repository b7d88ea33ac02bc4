"""The recipe: what to compress, with which data, how far. Validated on load.

A recipe is a YAML file, without merge keys. Every key is known, typed and described; an unknown
one is an error that names the nearest known key.
"""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from secateur.config.compress import Compress, Phase, Select, Sparsify
from secateur.config.data import ClassificationData, Data, DetectionData
from secateur.config.evaluate import Evaluate
from secateur.config.model import Model, default_network
from secateur.config.section import UNKNOWN_ENTRY, Positive, Section
from secateur.config.shipped import find_recipe
from secateur.config.train import DenseTraining, Retrain, Training
from secateur.data.formats.table import format_names
from secateur.errors import PruningError, RecipeError
from secateur.files.arguments import checked
from secateur.files.safe_yaml import parse_yaml
from secateur.models.table import NETWORKS
from secateur.pruning.settings import Method, check_training

# Names that pydantic puts into an error's place, for the kinds of one section.
_KINDS = {kind.__name__ for kind in (DetectionData, ClassificationData)}


class Recipe(Section):
    """All that a run needs to know."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the run's name")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of all random numbers")
    precision: Literal["32", "bf16"] = Field("32", description="of the arithmetic in training")
    checkpoint: Positive = Field(
        5.0,
        description="minutes between checkpoints of a training, the most that is repeated",
    )
    data: Data
    model: Model
    train: DenseTraining
    compress: Compress
    evaluate: Evaluate = Evaluate()

    @field_validator("precision", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return "32" if value == 32 else value  # as YAML reads it without quotes

    def phase(self, number: int) -> tuple[Phase, Sparsify, Select, Retrain]:
        """Give a phase, from 1, and its steps' entries with the phase's own put in."""
        phase = self.compress.phases[number - 1]
        common = self.compress
        return (
            phase,
            Sparsify(**{**common.sparsify.model_dump(), **phase.sparsify}),
            Select(**phase.select) if phase.select else common.select,
            Retrain(**{**common.retrain.model_dump(), **phase.retrain}),
        )

    def method(self, number: int) -> Method:
        """Give the method of a phase, from 1.

        Raises:
            PruningError: its settings do not fit together.
        """
        _, sparsify, select, retrain = self.phase(number)
        return Method(
            sparsify.settings,
            self.compress.threshold.settings,
            select.settings,
            self.compress.remove.settings,
            retrain.distill,
            self.compress.training,
        )

    def trainings(self) -> dict[str, Training]:
        """Give those that take place, by what they are called in a message."""
        found: dict[str, Training] = {"train": self.train} if self.train.steps else {}
        for number in range(1, len(self.compress.phases) + 1):
            _, sparsify, select, retrain = self.phase(number)
            if select.settings.ranks_by.sparsifies:
                found[f"phase {number}: sparsify"] = sparsify
            if self.compress.training:
                found[f"phase {number}: retrain"] = retrain
        return found

    @model_validator(mode="before")
    @classmethod
    def _kinds_fit(cls, content: Any) -> Any:
        """See first that network and data agree, for entries of the one are unknown to the other.

        A classifier has one metric, which need not be named.
        """
        sections = [content.get(entry, {}) for entry in ("model", "data", "evaluate")]
        if not all(isinstance(section, dict) for section in sections):
            return content  # wrong, and said so later
        model, data_section, evaluate = sections
        network = model.get("network", default_network())
        if not isinstance(network, str) or network not in NETWORKS:
            return content
        task = NETWORKS[network].task
        given = data_section.get("format")
        if given not in format_names(task) and given in format_names():
            raise ValueError(
                f"{network} cannot be trained on data of format {given}; it needs "
                f"{', '.join(format_names(task))}"
            )
        if task == "classification":
            return {**content, "evaluate": {"metric": "top1", **evaluate}}
        return content

    @model_validator(mode="after")
    def _metric_fits(self) -> Self:
        detector = NETWORKS[self.model.network].task == "detection"
        if detector == (self.evaluate.metric == "top1"):
            metrics = "AP50_area, AP50_voc07 or AP_coco" if detector else "top1"
            raise ValueError(f"evaluate.metric of {self.model.network} must be {metrics}")
        return self

    @model_validator(mode="after")
    def _has_a_dense_network(self) -> Self:
        if self.train.steps == 0 and self.model.weights is None:
            raise ValueError(
                "train.steps is 0, so the dense network is not trained: name its file in "
                "model.weights, or set train.steps"
            )
        return self

    @model_validator(mode="after")
    def _phases_hold(self) -> Self:
        for number in range(1, len(self.compress.phases) + 1):
            try:
                self.phase(number)
            except ValidationError as error:
                place = ("compress", "phases", number - 1, error.title.lower())
                raise ValueError(_first_error(error, place)) from None
            try:
                check_training(self.phase(number)[2].settings, training=self.compress.training)
            except PruningError as error:
                layers = self.compress.phases[number - 1].layers
                raise ValueError(f"phase {layers}: {error}") from None
        return self


@checked
def load_recipe(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with some entries changed.

    Args:
        path: the YAML file, or the bare name of a shipped recipe.
        changes: ``key.sub=value`` each, the value in YAML; ``compress.phases.0.layers=…`` reaches
            into a list.

    Raises:
        RecipeError: the file is missing, not YAML, or an entry is unknown or out of range.
    """
    path = Path(path)
    try:
        content = parse_yaml(find_recipe(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe; 'secateur init' writes one for your data, 'secateur recipes' "
            "lists those that are shipped"
        ) from None
    except IsADirectoryError:
        raise RecipeError(
            f"{path}: is a folder; 'secateur init {path}' writes a recipe for its pictures"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error}); save it again as UTF-8") from None
    except ValueError as error:
        raise RecipeError(f"{path}: is not valid YAML ({error}); correct it") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of name, data, model, train, compress")
    if not content.keys() & {"data", "model", "compress"}:
        raise RecipeError(
            f"{path}: is not a recipe, which has data, model, train and compress; 'secateur init "
            f"{path.parent if 'names' in content else 'FOLDER'}' writes one for your pictures"
        )
    changed = deepcopy(content)
    for change in changes:
        _change(changed, change)
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        changing = f", with --set {' '.join(changes)}" if _is_valid(content) else ""
        raise RecipeError(f"{path}{changing}: {_first_error(error)}") from None


def _is_valid(content: dict[str, Any]) -> bool:
    try:
        Recipe.model_validate(content)
    except ValidationError:
        return False
    return True


def _change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change}: write key=value, such as train.steps=100")
    *way, last = key.split(".")
    here: Any = content
    try:
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        value = parse_yaml(text)
        if isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    except (AttributeError, IndexError, TypeError, ValueError):
        raise RecipeError(f"--set {change}: the recipe has no such entry") from None


def _first_error(error: ValidationError, place: Sequence[str | int] = ()) -> str:
    """Say what is wrong first, and where: in a section at its place in the recipe."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*place, *first["loc"]) if part not in _KINDS)
    if first["type"] == UNKNOWN_ENTRY:
        section = f"{where}." if where else ""
        return f"unknown entry {section}{first['ctx']['entry']}{first['ctx']['hint']}"
    if first["type"] == "missing":
        return f"{where} is missing; add it"
    words = first["msg"].removeprefix("Value error, ")
    return f"{where}: {words}" if where else words
