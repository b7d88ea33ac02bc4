import zipfile
from pathlib import Path

import pytest
from PIL import Image

from secateur.data.formats.gtsdb import GTSDB_CLASSES
from secateur.data.formats.gtsrb import read_gtsrb
from secateur.data.splits import split_tracks
from secateur.errors import DataError

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"


def save(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)


def class_folders(folder: Path, suffix: str, *, prefix: bool) -> None:
    """One track of two frames for each class, and a second of one frame for class 7."""
    for kind in range(43):
        begin = f"{kind:05}_" if prefix else ""
        for frame in range(2):
            save(folder / f"{kind:05}/{begin}00000_{frame:05}{suffix}", kind)
    save(folder / f"00007/{'00007_' if prefix else ''}00001_00000{suffix}", 7)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    training = tmp_path / "GTSRB/Final_Training/Images"
    class_folders(training, ".ppm", prefix=False)
    (training / "00007/GT-00007.csv").write_text(
        HEADER + "00000_00000.ppm;4;4;1;1;3;3;7\n00001_00000.ppm;4;4;1;1;3;3;7\n"
    )
    (training / "Readme.txt").write_text("…")
    test = tmp_path / "GTSRB/Final_Test/Images"
    for number in range(3):
        save(test / f"{number:05}.ppm", number)
    (test / "GT-final_test.csv").write_text(
        HEADER + "00000.ppm;4;4;1;1;3;3;16\n00001.ppm;4;4;1;1;3;3;1\r\n00002.ppm;4;4;1;1;3;3;42\n"
    )
    return tmp_path


def test_published_training(published: Path) -> None:
    dataset = read_gtsrb(published, "train", 4)
    assert dataset.classes == GTSDB_CLASSES
    assert len(dataset) == 87
    assert dataset.labels.tolist() == sorted([*range(43), *range(43), 7])
    assert dataset.pixels[:, 0, 0, 0].tolist() == dataset.labels.tolist()
    begin = "GTSRB/Final_Training/Images/00007"
    assert dataset.names[14:17] == (
        f"{begin}/00000_00000.ppm",
        f"{begin}/00000_00001.ppm",
        f"{begin}/00001_00000.ppm",
    )
    assert dataset.tracks[14:17] == (f"{begin}/00000", f"{begin}/00000", f"{begin}/00001")
    # The same track number in another class is another track.
    assert len(set(dataset.tracks)) == 44


def test_published_test(published: Path) -> None:
    dataset = read_gtsrb(published, "test", 4)
    assert dataset.labels.tolist() == [16, 1, 42]
    assert dataset.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert dataset.names[0] == "GTSRB/Final_Test/Images/00000.ppm"
    assert dataset.tracks == dataset.names


@pytest.mark.parametrize("place", ["", "GTSRB", "GTSRB/Final_Test"])
def test_test_list_in_a_parent_folder(published: Path, place: str) -> None:
    source = published / "GTSRB/Final_Test/Images/GT-final_test.csv"
    source.rename(published / place / "GT-final_test.csv")
    assert read_gtsrb(published, "test", 4).labels.tolist() == [16, 1, 42]


def test_other_roots(published: Path) -> None:
    assert len(read_gtsrb(published / "GTSRB", "train", 4)) == 87
    (published / "GTSRB/Final_Training/Images").rename(published / "GTSRB/Training")
    assert len(read_gtsrb(published, "train", 4)) == 87
    (published / "gtsrb").mkdir()
    (published / "GTSRB").rename(published / "gtsrb/GTSRB")
    assert len(read_gtsrb(published, "train", 4)) == 87
    assert len(read_gtsrb(published, "test", 4)) == 3


def test_class_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", ".webp", prefix=True)
    class_folders(tmp_path / "test", ".png", prefix=False)
    dataset = read_gtsrb(tmp_path, "train", 8)
    assert dataset.pixels.shape == (87, 3, 8, 8)
    assert dataset.tracks[:3] == (
        "train/00000/00000_00000",
        "train/00000/00000_00000",
        "train/00001/00001_00000",
    )
    training, validation = split_tracks(dataset, 0.5, 0)
    assert len(set(validation.tracks)) == 1
    assert set(validation.labels.tolist()) == {7}
    assert len(training) + len(validation) == 87
    test = read_gtsrb(tmp_path, "test", 8)
    assert test.tracks == test.names


def test_classes_in_the_users_order(published: Path) -> None:
    order = GTSDB_CLASSES[::-1]
    dataset = read_gtsrb(published, "test", 4, order)
    assert dataset.classes == order
    assert dataset.labels.tolist() == [42 - 16, 42 - 1, 0]
    train = read_gtsrb(published, "train", 4, order)
    assert train.labels.tolist() == sorted([*range(43), *range(43), 42 - 7])
    assert train.pixels[:, 0, 0, 0].tolist() == [42 - label for label in train.labels.tolist()]
    with pytest.raises(DataError, match="has no class 'sign'; restore it or remove it from"):
        read_gtsrb(published, "train", 4, ["sign"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Filename,ClassId\n00000.ppm,1\n", r"entry 1 needs a Filename and a ClassId of 0 to 42"),
        (HEADER + "00000.ppm;4;4;1;1;3;3;43\n", r"entry 1 needs .*; correct it"),
        (HEADER + "00000.ppm;4;4;1;1;3;3;1\n;4;4;1;1;3;3;1\n", r"entry 2 needs .*; correct it"),
        (HEADER + "00000.ppm;4\n", r"entry 1 needs .*; correct it"),
        (HEADER + "../00000.ppm;4;4;1;1;3;3;1\n", r"the name '\.\./00000\.ppm' points outside"),
        (HEADER, r"the list is empty; restore it"),
        ("", r"the list is empty; restore it"),
    ],
)
def test_faulty_list(published: Path, text: str, message: str) -> None:
    (published / "GTSRB/Final_Test/Images/GT-final_test.csv").write_text(text)
    with pytest.raises(DataError, match=rf"GT-final_test\.csv: {message}"):
        read_gtsrb(published, "test", 4)


def test_missing(published: Path, tmp_path: Path) -> None:
    (published / "GTSRB/Final_Test/Images/00001.ppm").unlink()
    with pytest.raises(DataError, match=r"00001\.ppm: picture not found; restore it"):
        read_gtsrb(published, "test", 4)
    (published / "GTSRB/Final_Test/Images/GT-final_test.csv").unlink()
    with pytest.raises(DataError, match=r"GT-final_test\.csv: file not found; unpack GTSRB_Final"):
        read_gtsrb(published, "test", 4)
    with pytest.raises(DataError, match="unknown split 'val' of GTSRB; name it train or test"):
        read_gtsrb(published, "val", 4)
    training = published / "GTSRB/Final_Training/Images"
    (training / "00007/00001_00000.ppm").unlink()
    with pytest.raises(DataError, match=r"00001_00000\.ppm: picture not found, but .*GT-00007\.cs"):
        read_gtsrb(published, "train", 4)
    (training / "00043").mkdir()
    with pytest.raises(DataError, match=r"00043: not a class of GTSRB; name it 00000 to 00042"):
        read_gtsrb(published, "train", 4)
    (training / "00043").rmdir()
    (training / "00005").rename(training / ".00005")
    with pytest.raises(DataError, match=r"00005: folder not found; restore this class"):
        read_gtsrb(published, "train", 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither GTSRB/Final_Training/Images nor a folder train"):
        read_gtsrb(tmp_path / "empty", "train", 4)
    with pytest.raises(DataError, match="data folder not found"):
        read_gtsrb(tmp_path / "nowhere", "train", 4)


def test_real_pictures(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "gtsrb-40px.zip"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with zipfile.ZipFile(archive) as pictures:
        names = pictures.namelist()
        wanted = [
            name
            for name in names
            if name.startswith("train/")
            # The ends of two tracks of each class.
            and name.rpartition("/")[2].split("_")[1:]
            in (["00000", "00029.webp"], ["00001", "00000.webp"], ["00001", "00001.webp"])
        ]
        pictures.extractall(tmp_path, wanted)
    dataset = read_gtsrb(tmp_path, "train", 40)
    assert len(dataset) == len(wanted) == 129
    assert len(set(dataset.tracks)) == 86
    training, validation = split_tracks(dataset, 0.2, 0)
    assert set(training.labels.tolist()) == set(validation.labels.tolist()) == set(range(43))
    assert not set(training.tracks) & set(validation.tracks)
