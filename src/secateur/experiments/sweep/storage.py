"""The database that all processes of a sweep share."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from secateur.config.recipe import Recipe
from secateur.errors import RunError
from secateur.files.atomic_write import unwritable
from secateur.files.optional import require

Direction = Literal["maximize", "minimize"]

STORAGE_FILE = "sweep.db"
# Tables that two processes make at once are in each other's way; the second time they are there.
_ATTEMPTS = 5
_PAUSE = 0.5
# For another to write; seconds.
_WAIT = 60.0
# May differ between the machines that work at one sweep.
_MACHINES_OWN = ("root", "workers")


def default_storage(folder: Path) -> str:
    """Give the URL of the SQLite file in a sweep's folder, which is made."""
    path = folder.resolve() / STORAGE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return f"sqlite:///{path}"


@contextmanager
def connected(url: str) -> Iterator[RDBStorage]:
    """Open a database, make its tables if it has none, and close it in the end.

    Args:
        url: as SQLAlchemy reads it; ``postgresql://`` is taken with the driver that we require.

    Raises:
        RunError: it cannot be reached, be it at once or later, or its driver is not installed.
        MissingExtraError: likewise, of PostgreSQL.
    """
    with _told_in_a_line(url):
        storage = _open(url)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def check_recipe(storage: RDBStorage, recipe: Recipe, about: dict[str, Any]) -> None:
    """Refuse a recipe whose name is that of another in the same database.

    Args:
        storage: of the database.
        recipe: all processes of a sweep must have the same, but for where its pictures lie.
        about: what else must be the same.

    Raises:
        RunError: some trials of another were begun.
    """
    content = _comparable(recipe, about)
    own = _study_name(recipe, content)
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        name = summary.study_name
        if name.partition(" ")[0] == recipe.name and name != own and summary.n_trials:
            difference = _difference(summary.user_attrs.get("recipe", {}), content)
            raise RunError(
                f"{_shown(storage.url)}: holds a sweep of {recipe.name} by another recipe "
                f"({difference}); give that recipe, or another name by --set name=…, or another "
                "--run without --storage"
            )


def open_study(
    storage: RDBStorage,
    recipe: Recipe,
    directions: Sequence[Direction],
    about: dict[str, Any],
    pictures: str,
) -> optuna.Study:
    """Open the study of a recipe, or make it.

    Args:
        storage: of the database.
        recipe: as for ``check_recipe``.
        directions: of the objectives.
        about: as for ``check_recipe``.
        pictures: a digest of all pictures and annotations but those for the test.

    Raises:
        RunError: another process has begun with other pictures.
    """
    content = _comparable(recipe, about)
    name = _study_name(recipe, content)
    try:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        study.set_user_attr("recipe", content)
        study.set_user_attr("pictures", pictures)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
    if study.user_attrs.get("pictures", pictures) != pictures:
        raise RunError(
            f"{recipe.data.root}: holds other pictures or annotations than the sweep was begun "
            "with; name their folder by --set data.root=…"
        )
    return study


@contextmanager
def _told_in_a_line(url: str) -> Iterator[None]:
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise RunError(
            f"{_shown(url)}: cannot be used as a storage ({_reason(error)}); see that the database "
            "is there and the URL right, and give the command again"
        ) from error


def _open(url: str) -> RDBStorage:
    if url.startswith(("postgresql:", "postgres:", "postgresql+psycopg:")):
        require("psycopg")
        url = f"postgresql+psycopg:{url.partition(':')[2]}"
    # SQLite has one writer at a time, and the others wait.
    arguments = {"timeout": _WAIT} if url.startswith("sqlite:") else {}
    engine = {"pool_pre_ping": True, "connect_args": arguments}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return RDBStorage(url, engine_kwargs=engine)
        except ImportError as error:
            raise RunError(
                f"{_shown(url)}: the driver of this database is not installed; install it, or "
                "take postgresql://, whose driver comes with secateur[sweep]"
            ) from error
        except (OptunaError, SQLAlchemyError):
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        except RuntimeError as error:  # tables of another version of Optuna
            raise RunError(f"{_shown(url)}: {_reason(error)}") from error
    raise AssertionError


def _comparable(recipe: Recipe, about: dict[str, Any]) -> dict[str, Any]:
    content = recipe.model_dump(mode="json")
    for entry in _MACHINES_OWN:
        content["data"].pop(entry, None)
    return {**content, **about}


def _study_name(recipe: Recipe, content: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{recipe.name} {digest[:12]}"  # no recipe's name has a space


def _difference(one: Any, other: Any, place: str = "") -> str:
    """Name the first place where two differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) != other.get(key):
                return _difference(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    return f"{place} was {json.dumps(one)}, and is {json.dumps(other)}"


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string()
    except SQLAlchemyError:
        return "--storage"


def _reason(error: BaseException) -> str:
    """The first line of what is at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
