"""Result files: read in every form that older programs wrote, appended to without losing a byte."""

from __future__ import annotations

import csv

import pytest

from hwnas.compat.dynast.supernets import SUPERNETS
from hwnas.compat.dynast.table import Results, header, read
from hwnas.errors import DataError

from ._files import KNOWN, RECORDS, W10, W12, needs_records

SUPERNET = SUPERNETS[W10]
CODE = SUPERNET.code(KNOWN)
HEADER = "Sub-network,Date,Model Parameters,Latency (ms),MACs,Top-1 Acc (%)"
ROW = f'"{KNOWN!r}",2022-11-01 05:39:38.995993,4536768,0,244945104,74.65'
EXACT = {"macs": 244945104.0, "params": 4536768.0}


def content(tmp_path, text, name=W10):
    path = tmp_path / "results.csv"
    path.write_bytes(text.encode())
    return read(path, SUPERNETS[name])


def test_headers_are_those_of_dynast():
    assert ",".join(header(SUPERNET)) == HEADER
    assert header(SUPERNETS["bert_base_sst2"])[-1] == "SST-2 Acc"
    assert header(SUPERNETS["transformer_lt_wmt_en_de"])[-1] == "BLEU Score"


FORMS = {
    "as it is written": f"{HEADER}\n{ROW}\n",
    "CRLF": f"{HEADER}\r\n{ROW}\r\n",
    "without the last line's end": f"{HEADER}\n{ROW}",
    "blank first line and blank end": f"\n{HEADER}\n{ROW}\n  \n,,,,,\n",
    "spaces and another case": f"sub-network,DATE, model parameters ,lat, macs,acc\n{ROW}\n",
    "a byte order mark": f"\ufeff{HEADER}\n{ROW}\n",
    "other order": f'MACS,Top-1 Acc (%),Sub-network\n244945104,74.65,"{KNOWN!r}"\n',
    "null for None": f"{HEADER}\n{ROW.replace('None', 'null')}\n",
    "without constants": f'Sub-network,acc\n"{ {name: KNOWN[name] for name in ("ks", "e", "d")} }",74.65\n',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_says_the_same(text, tmp_path):
    found = content(tmp_path, text)
    assert found.values == {CODE: {**EXACT, "accuracy_top1": 74.65}}
    assert not found.notes


def test_a_column_of_zeros_was_not_measured(tmp_path):
    assert content(tmp_path, f"{HEADER}\n{ROW.replace('74.65', '0')}\n").values == {CODE: EXACT}


def test_shifted_columns_are_told(tmp_path):
    swapped = ROW.replace("4536768", "1").replace("244945104", "4536768")
    found = content(tmp_path, f"{HEADER}\n{swapped}\n")
    assert found.values[CODE] == {**EXACT, "accuracy_top1": 74.65}
    assert "the column of macs differs" in found.notes[0] and "line 2" in found.notes[0]
    assert "the column of params differs" in found.notes[1]


def test_repeats_are_averaged(tmp_path):
    hidden = {**KNOWN, "ks": [*KNOWN["ks"][:3], 3, *KNOWN["ks"][4:]]}  # the first stage has three blocks
    again = ROW.replace(repr(KNOWN), repr(hidden)).replace("74.65", "74.75")
    found = content(tmp_path, f"{HEADER}\n{ROW}\n{again}\n")
    assert found.values[CODE]["accuracy_top1"] == pytest.approx(74.7)
    assert "1 rows repeat" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "line 1: the header has no column 'Sub-network'"),
        (f"{HEADER},MACS\n", "line 1: two columns hold macs"),
        (f"{HEADER}\n{ROW},7\n", "line 2: there are 7 cells under 6 columns"),
        (
            f"{HEADER}\n{ROW}\n{ROW.replace('74.65', 'good')}\n",
            r"line 3, column 'Top-1 Acc \(%\)': 'good' is no number",
        ),
        (f"{HEADER}\n{ROW.replace('74.65', 'nan')}\n", "not finite"),
        (f"{HEADER}\n{ROW.replace('[224]', '[192]')}\n", "line 2, column 'Sub-network'.*not .192."),
        (f"{HEADER}\n__import__('os').getcwd(),x,1,1,1,1\n", "no dict of lists"),
        (f"{HEADER}\n[],x,1,1,1,1\n", "no dict of lists"),
    ],
)
def test_malformed_files_name_line_and_column(text, told, tmp_path):
    with pytest.raises(DataError, match=told):
        content(tmp_path, text)


def test_a_new_file_is_written_as_dynast_does(tmp_path):
    results = Results.of(tmp_path / "new.csv", SUPERNET)
    results.append([(CODE, {"macs": 244945104.0, "params": 4536768.0, "accuracy_top1": 74.65})])
    results.append([(CODE, {"macs": 1.0})])  # known by now
    raw = (tmp_path / "new.csv").read_bytes().decode()
    assert "\r" not in raw and raw.endswith("\n")
    (first, row) = csv.reader(raw.splitlines())
    assert ",".join(first) == HEADER
    assert row[0] == repr(SUPERNET.row(CODE)) and row[2:] == ["4536768", "", "244945104", "74.65"]


def test_the_file_of_another_program_keeps_its_columns_and_its_line_ends(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes(f'Sub-network,Date, MACs,Top-1 Acc (%)\r\n"{KNOWN!r}",2022,244945104,74.65\r\n'.encode())
    before = path.read_bytes()
    Results.of(path, SUPERNET).append([(SUPERNET.space.smallest, {"macs": 121278672.0, "accuracy_top1": 70.8})])
    after = path.read_bytes()
    assert after.startswith(before) and after.endswith(b",121278672,70.8\r\n")


def test_a_row_that_a_kill_cut_short_is_taken_back(tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n{ROW[:80]}".encode())
    results = Results.of(path, SUPERNET)
    assert results.known == {CODE} and path.read_bytes() == f"{HEADER}\n{ROW}\n".encode()


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_a_file_of_nothing_gets_its_header(text, tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(text)
    Results.of(path, SUPERNET).append([(CODE, {"macs": 244945104.0})])
    assert list(read(path, SUPERNET).values) == [CODE]


def test_what_was_written_is_read_back(tmp_path):
    supernet = SUPERNETS["ofa_resnet50"]
    results = Results.of(tmp_path / "x.csv", supernet)
    results.append([(supernet.space.largest, {"macs": 7491643904.0, "latency": 12.25})])
    found = read(tmp_path / "x.csv", supernet)
    assert found.values[supernet.space.largest] == {"macs": 7491643904.0, "params": 48105992.0, "latency": 12.25}


@needs_records
def test_published_files_hold_their_known_numbers_of_networks():
    effective = {"evoga_acc": 362, "evonsga2_acc_macs": 530, "linasga_acc": 361, "linasnsga2_acc_macs": 515}
    for name, count in effective.items():
        assert len(read(RECORDS / f"mbnv3w10_{name}.csv", SUPERNET).values) == count
    best = max(
        read(RECORDS / "results_mbnv3w1p2_macs.csv", SUPERNETS[W12]).values.values(), key=lambda x: x["accuracy_top1"]
    )
    assert best["accuracy_top1"] == pytest.approx(79.170)
