"""Results: an append-only record that survives any kill, the original's text files, no pickles."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from hwnas.compat.neural_compressor import results
from hwnas.compat.neural_compressor.choices import Choices
from hwnas.compat.neural_compressor.results import Record, Result
from hwnas.errors import RecordError, RunLockedError, RunMismatchError, SchemaError

CHOICES = Choices({"block": [[3, 5], (7,)], "channels": [16, 32]})
ONE = Result(1, {"block": [3, 5], "channels": 16}, {"acc": 0.5, "latency": 0.25}, 1500, 2.0)
TWO = Result(2, {"block": (7,), "channels": 32}, None, None, 1.0, "failed", "RuntimeError: out of memory, again")


@pytest.fixture
def folder(tmp_path):
    with Record(tmp_path / "NASResults") as record:
        record.append(ONE)
        record.append(TWO)
    return tmp_path / "NASResults"


def test_what_is_written_is_read(folder):
    found = results.read(folder, CHOICES)
    assert found == [ONE, TWO]
    assert found[0].arch["block"] is CHOICES.values["block"][0]
    assert results.read(folder / "results.jsonl", CHOICES) == found
    assert results.read(folder / "elsewhere", CHOICES) == []


def test_every_result_is_on_disk_at_once(tmp_path):
    with Record(tmp_path) as record:
        record.append(ONE)
        assert results.read(tmp_path, CHOICES) == [ONE]


@pytest.mark.parametrize("kept", [1, 20, 60, -2])
def test_half_a_last_line_is_ignored_and_overwritten(folder, kept):
    file = folder / "results.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:kept])
    assert results.read(folder, CHOICES) == [ONE]
    with Record(folder) as record:
        record.append(TWO)
    assert file.read_bytes() == first + second


def test_a_last_line_that_lacks_only_its_end_counts(folder):
    file = folder / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    with Record(folder) as record:
        record.append(ONE)
    assert results.read(folder, CHOICES) == [ONE, TWO, ONE]


def test_a_damaged_line_amid_the_record_is_named(folder):
    file = folder / "results.jsonl"
    file.write_text(file.read_text().replace('"trial": 1', '"trail": 1'))
    with pytest.raises(SchemaError, match=r"results\.jsonl, line 1 is not a result"):
        results.read(folder, CHOICES)


def test_results_of_another_space_are_refused(folder):
    with pytest.raises(RunMismatchError, match=r"\['block', 'channels'\]; this one has \['channels'\]"):
        results.read(folder, Choices({"channels": [16]}))


def test_two_searches_do_not_write_to_one_folder(tmp_path):
    with Record(tmp_path), pytest.raises(RunLockedError, match="another process"):
        Record(tmp_path)
    Record(tmp_path).__exit__(None, None, None)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be written"):
        Record(tmp_path / "file" / "NASResults")


class Trap:
    """What runs code when it is unpickled."""

    fired = False

    def __reduce__(self):
        return (setattr, (Trap, "fired", True))


@pytest.mark.parametrize("what", ["folder", "file", "record"])
def test_pickles_are_refused_with_the_reason_and_never_loaded(tmp_path, what):
    np.save(tmp_path / "lastest_results.npy", np.array({"a": Trap()}, dtype=object), allow_pickle=True)
    with pytest.raises(RecordError, match=r"runs whatever code is in it(.|\n)*dump_search_results"):
        if what == "record":
            Record(tmp_path)
        else:
            results.read(tmp_path / ("lastest_results.npy" if what == "file" else ""), CHOICES)
    assert not Trap.fired


def test_a_pickle_beside_a_record_is_no_hindrance(folder):
    (folder / "lastest_results.npy").touch()
    assert len(results.read(folder, CHOICES)) == 2


def test_the_text_has_the_original_layout():
    other = Result(3, {"block": (7,), "channels": 32}, 0.75)
    bars = "=" * 30
    assert results.text([ONE, other], [other]) == (
        f"{bars} All Search Results {bars}\n\n"
        "block_[3, 5],channels_16: {'acc': 0.5, 'latency': 0.25} Paras: 0.0015M\n"
        "block_(7,),channels_32: 0.75 Paras: ?\n"
        f"\n\n\n{bars} Best Search Results {bars}\n\n"
        "1. block_(7,),channels_32: 0.75 Paras: ?\n"
    )


def test_the_table():
    rows = list(csv.DictReader(io.StringIO(results.table([ONE, TWO]))))
    assert [row["trial"] for row in rows] == ["1", "2"]
    assert (rows[0]["block"], rows[0]["acc"], rows[0]["parameters"]) == ("[3, 5]", "0.5", "1500")
    assert (rows[1]["acc"], rows[1]["state"], rows[1]["error"]) == ("", "failed", TWO.error)
    assert "metric1,metric2" in results.table([Result(1, {"a": 1}, [0.5, 1])])
    assert "a,metric,parameters" in results.table([Result(1, {"a": 1}, 0.5)])


def test_what_json_does_not_know_is_written_as_text(tmp_path):
    values = [complex(1, 2), {1, 2}]
    choices = Choices({"odd": values})
    with Record(tmp_path) as record:
        record.append(Result(1, {"odd": values[1]}, 0.5))
    assert json.loads((tmp_path / "results.jsonl").read_text())["arch"] == {"odd": "{1, 2}"}
    assert results.read(tmp_path, choices)[0].arch["odd"] is values[1]


def test_where_results_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert results.folder_of(None) == tmp_path / "NASResults"
    assert results.folder_of("a") == results.folder_of("a/NASResults")
