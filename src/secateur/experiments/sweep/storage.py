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
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from secateur.config.recipe import Recipe
from secateur.errors import RunError, first_line
from secateur.experiments.sweep.storage_url import parse_url, shown, without_password
from secateur.files.atomic_write import unwritable
from secateur.files.optional import require

Direction = Literal["maximize", "minimize"]

STORAGE_FILE = "sweep.db"
_POSTGRESQL = "postgresql+psycopg"
# Creating the tables fails while another process creates them; a second attempt finds them.
_ATTEMPTS = 5
_PAUSE = 0.5
# Seconds that a writer waits for another one to finish.
_WAIT = 60.0
# Entries of ``data`` that may differ between the machines of one sweep.
_MACHINES_OWN = ("root", "workers")


def default_storage(folder: Path) -> str:
    """Return the URL of the SQLite file in a sweep's folder, and create the folder.

    Raises:
        RunError: the folder cannot be created.
    """
    path = folder.resolve() / STORAGE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    return f"sqlite:///{path}"


@contextmanager
def connected(url: str) -> Iterator[RDBStorage]:
    """Open a database, create its tables if it has none, and close it at the end.

    Args:
        url: an SQLAlchemy URL; ``postgresql://`` uses the driver of ``secateur[sweep]``.

    Raises:
        RunError: the database cannot be reached, now or within the block, or its driver is not
            installed.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    parsed = parse_url(url)
    with _errors_in_one_line(parsed):
        storage = _open(parsed)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def check_recipe(storage: RDBStorage, recipe: Recipe, about: dict[str, Any]) -> None:
    """Refuse a recipe if the database has trials of another recipe with the same name.

    Args:
        storage: the database.
        recipe: must be the same for all processes of a sweep, except ``data.root`` and
            ``data.workers``.
        about: further settings that must be the same.

    Raises:
        RunError: the database has trials of another recipe with this name.
    """
    content = _comparable(recipe, about)
    own = _study_name(recipe, content)
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        name = summary.study_name
        if name.partition(" ")[0] == recipe.name and name != own and summary.n_trials:
            difference = _difference(summary.user_attrs.get("recipe", {}), content)
            raise RunError(
                f"{shown(parse_url(storage.url))}: holds a sweep of {recipe.name} with another "
                f"recipe ({difference}); use that recipe, or another name (--set name=…), or "
                "another --run without --storage"
            )


def open_study(
    storage: RDBStorage,
    recipe: Recipe,
    directions: Sequence[Direction],
    about: dict[str, Any],
    data: str,
) -> optuna.Study:
    """Open the study of a recipe, or create it.

    Args:
        storage: the database.
        recipe: as for ``check_recipe``.
        directions: directions of the objectives.
        about: as for ``check_recipe``.
        data: digest of all pictures and annotations, except those of the test split.

    Raises:
        RunError: the study was created with other data.
    """
    content = _comparable(recipe, about)
    name = _study_name(recipe, content)
    try:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        study.set_user_attr("recipe", content)
        study.set_user_attr("pictures", data)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name)
    if study.user_attrs.get("pictures", data) != data:
        raise RunError(
            f"{recipe.data.root}: holds other pictures or annotations than the sweep started with; "
            "name the folder that holds those (--set data.root=…)"
        )
    return study


@contextmanager
def _errors_in_one_line(url: URL) -> Iterator[None]:
    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        raise RunError(
            f"{shown(url)}: cannot be used as a storage ({_reason(error, url)}); check the URL and "
            "that the database is running, and repeat the command"
        ) from None


def _open(url: URL) -> RDBStorage:
    if url.drivername in ("postgresql", "postgres", _POSTGRESQL):
        require("psycopg")
        url = url.set(drivername=_POSTGRESQL)
    # SQLite allows one writer at a time; the others wait.
    arguments = {"timeout": _WAIT} if url.get_backend_name() == "sqlite" else {}
    engine = {"pool_pre_ping": True, "connect_args": arguments}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
        except ImportError:
            raise RunError(
                f"{shown(url)}: the driver of this database is not installed; install it, or "
                "use postgresql://, whose driver comes with secateur[sweep]"
            ) from None
        except (OptunaError, SQLAlchemyError):
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        # The tables are of another version of Optuna, or the driver refuses an option of the URL.
        except (RuntimeError, TypeError, ValueError) as error:
            raise RunError(
                f"{shown(url)}: cannot be used as a storage ({_reason(error, url)}); check the URL"
            ) from None
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
    """Describe the first entry in which two settings differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) != other.get(key):
                return _difference(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    return f"{place} was {json.dumps(one)}, now {json.dumps(other)}"


def _reason(error: BaseException, url: URL) -> str:
    """The first line of the error that caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return without_password(first_line(error), url)
