"""Files as columns: what is read, and where a message says that something is wrong."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from hwnas.errors import ConfigError, DataError
from hwnas.tables import read


@pytest.fixture
def written(tmp_path):
    """Writes a file and gives its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def saved(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_cells_are_whole_numbers_numbers_or_words(written):
    sheet = read(written("n, x ,word,gap,mixed\n3,0.5,relu,,1\n-4,1e3,gelu,7,n/a\n5,NaN,,8,two\n"))
    assert sheet.columns == {
        "n": [3, -4, 5],
        "x": [0.5, 1000.0, None],
        "word": ["relu", "gelu", None],
        "gap": [None, 7, 8],
        "mixed": ["1", "n/a", "two"],
    }
    assert all(isinstance(cell, int) for cell in sheet.columns["n"])
    assert list(sheet.places) == ["line 2", "line 3", "line 4"]


def test_rows_may_span_lines_and_empty_lines_are_skipped(written):
    sheet = read(written('a,b\n1,"x\ny"\n\n2,z\n'))
    assert sheet.columns["b"] == ["x\ny", "z"]
    assert list(sheet.places) == ["line 3", "line 5"]


def test_packed_text_and_byte_order_marks(written):
    plain = "\ufeffa,b\n1,2\n".encode()
    for name, content in (("t.csv", plain), ("t.csv.gz", gzip.compress(plain)), ("T.CSV", plain)):
        assert read(written(content, name)).columns == {"a": [1], "b": [2]}


def test_dictionaries_are_spread(written):
    rows = ["\"{'wid': None, 'ks': [3, 5], 'd': [2], 'in': {'op': 'max', 'on': True}}\",1", ",2"]
    sheet = read(written("\n".join(["arch,acc", *rows])))
    assert sheet.columns == {
        "ks0": [3, None],
        "ks1": [5, None],
        "d": [2, None],
        "in.op": ["max", None],
        "in.on": [1, None],
        "acc": [1, 2],
    }
    assert sheet.groups == {"arch": ("ks0", "ks1", "d", "in.op", "in.on")} and sheet.archs == ("arch",)
    assert sheet.names == ["arch", "acc"]


def test_lists_and_json_are_spread(written):
    sheet = read(
        written('net,more\n"[1, [2, 3]]","{""on"": true, ""off"": null}"\n"[4, [5, 6], 7]","{""on"": false}"\n')
    )
    assert sheet.columns == {"net0": [1, 4], "net1.0": [2, 5], "net1.1": [3, 6], "net2": [None, 7], "on": [1, 0]}


def test_a_list_with_one_entry_somewhere_and_two_elsewhere_is_numbered(written):
    assert list(read(written("a\n\"{'d': [1]}\"\n\"{'d': [1, 2]}\"\n")).columns) == ["d0", "d1"]


def test_arrays(tmp_path):
    path = saved(
        tmp_path / "t.npz",
        ops=np.array(["conv", "pool"]),
        arch=np.array([[0, 1], [1, 1], [1, 0]], dtype=np.int8),
        name=np.array(["a", "", "c"]),
        runs=np.array([[0.5, 1.5], [np.nan, 2.5], [3.5, 4.5]], dtype=np.float32),
        on=np.array([True, False, True]),
        scalar=np.array(3),
        cube=np.zeros((3, 2, 2)),
        when=np.array(["2022-11-01"] * 3, dtype="datetime64[D]"),
    )
    sheet = read(path)
    assert sheet.columns == {
        "arch0": [0, 1, 1],
        "arch1": [1, 1, 0],
        "name": ["a", None, "c"],
        "runs0": [0.5, None, 3.5],
        "runs1": [1.5, 2.5, 4.5],
        "on": [1, 0, 1],
    }
    assert sheet.archs == ("arch",) and set(sheet.groups) == {"arch", "runs"}
    assert list(sheet.places) == ["row 0", "row 1", "row 2"]
    assert all(type(cell) in (int, float, str, type(None)) for cells in sheet.columns.values() for cell in cells)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no rows"),
        ("a,b\n\n", "holds no rows"),
        ("a,b\n1,2\n3\n", "line 3: 1 entries for 2 columns"),
        ("a,a\n1,2\n", "line 1: the column 'a' is there twice"),
        ("a,,\n1,2,3\n", "line 1: a nameless column"),
        ('a,b\n1,2\n"x" y,3\n', "line 3: "),
        ("a\n\"{'k': 1\"\n", "line 2, column 'a': neither Python nor JSON"),
        ("a\n{'k': open('x')}\n", "line 2, column 'a': neither Python nor JSON"),
        ("a\n" + "[" * 5000, "line 2, column 'a': neither Python nor JSON"),
        ("a\n{'k': 1j}\n", "an entry is 1j"),
        ("k,a\n1,{'k': 1}\n", "'a' holds an entry 'k', and there is another column of that name"),
        (b"a\n\xff\n", "cannot be read: 'utf-8'"),
    ],
)
def test_text_that_is_no_table(written, text, reason):
    with pytest.raises(DataError, match=r"table '.*table\.csv'") as caught:
        read(written(text))
    assert reason in str(caught.value)


def test_files_that_are_no_table(written, tmp_path):
    packed = gzip.compress(b"a,b\n1,2\n" * 100)
    for content, name in ((packed[:-12], "cut.csv.gz"), (b"PK\x03\x04 cut", "cut.npz"), (b"a,b\n1,2\n", "text.npz")):
        with pytest.raises(DataError, match=f"{name}' cannot be read"):
            read(written(content, name))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="it is one array"):
        read(written((tmp_path / "one.npy").read_bytes(), "one.npz"))
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        read(saved(tmp_path / "objects.npz", arch=np.array([{"k": 3}], dtype=object)))
    with pytest.raises(DataError, match="holds no rows"):
        read(saved(tmp_path / "none.npz", arch=np.empty((0, 3), dtype=int)))


def test_names_that_are_no_table(tmp_path):
    with pytest.raises(ConfigError, match=r"named \.csv, \.csv\.gz, \.npz, not 'table\.parquet'"):
        read("table.parquet")
    with pytest.raises(ConfigError, match="does not exist"):
        read(str(tmp_path / "absent.csv"))
