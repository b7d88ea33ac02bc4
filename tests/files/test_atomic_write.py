"""Files that are written completely or not at all."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.errors import RunError
from secateur.files.atomic_write import atomic_write, write_json, write_text


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_file_has_the_permissions_of_a_plain_one(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "folder/file") as draft:
        draft.unlink()
        draft.touch(0o600)  # as some libraries create it
    written, plain = (tmp_path / name for name in ("folder/file", "plain"))
    assert written.stat().st_mode == plain.stat().st_mode


def test_json_and_text_are_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Straße"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "name": "Straße"\n}\n'
    write_text(tmp_path / "a.txt", "Straße")
    assert (tmp_path / "a.txt").read_text("utf-8") == "Straße"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("wrong")])
def test_a_failed_write_keeps_the_old_file_and_no_draft(
    error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write() -> None:
        with atomic_write(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"a\.txt: cannot be written \(No space left on device\); make room there"),
        (errno.EROFS, r"a\.txt: cannot be written \(Read-only file system\); name another place"),
    ],
)
def test_what_prevents_a_write_is_named(number: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message), atomic_write(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
