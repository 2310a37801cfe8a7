from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from hwnas import checkup
from hwnas.checkup import Finding, examine


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing is really imported in a process of its own, which takes seconds."""
    monkeypatch.setattr(checkup, "_broken", lambda module: "")


def found(word: str) -> Finding:
    """The one finding that speaks of something."""
    (finding,) = (finding for finding in examine() if word in finding.what)
    return finding


def test_every_finding_is_a_sentence_and_a_bad_one_has_a_remedy(monkeypatch):
    monkeypatch.setattr(checkup, "_version", lambda _: None)
    findings = examine()
    assert {finding.state for finding in findings} <= {"ok", "note", "bad"}
    assert all(finding.what and "\n" not in finding.what for finding in findings)
    assert all(bool(finding.remedy) == (finding.state != "ok") for finding in findings)


def test_it_looks_at_versions_machine_runtimes_load_and_room():
    told = "\n".join(finding.what for finding in examine())
    for word in ("Python 3.", "hwnas ", "torch ", "onnxruntime ", " cores (", "runtime: torch", "load ", "GiB free"):
        assert word in told, word


def test_plain_data():
    assert Finding("bad", "it hurts", "rest").to_dict() == {"state": "bad", "what": "it hurts", "remedy": "rest"}


def test_a_missing_package(monkeypatch):
    version = checkup._version
    monkeypatch.setattr(checkup, "_version", lambda package: None if package == "onnx" else version(package))
    assert found("onnx is") == Finding("bad", "onnx is not installed", checkup.REINSTALL)


def test_a_package_that_does_not_import(monkeypatch):
    monkeypatch.setattr(checkup, "_broken", lambda module: "OSError: no libtorch" if module == "torch" else "")
    finding = found("libtorch")
    assert finding.state == "bad" and finding.what.endswith("does not import: OSError: no libtorch")
    assert finding.what.startswith("torch 2.")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", ""),
        ("raise OSError('no libtorch')", "OSError: no libtorch"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os; os.abort()", "its process ended with status -6"),
        ("print('noise'); import warnings; warnings.warn('noise')", ""),
    ],
)
def test_why_a_module_does_not_import(tmp_path, monkeypatch, source, reason):
    monkeypatch.undo()
    (tmp_path / "patient.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert checkup._broken("patient") == reason


@pytest.mark.parametrize("reason", ["", "RuntimeError: operator torchvision::nms does not exist"])
def test_torchvision_beside_this_torch(monkeypatch, reason):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(checkup, "_broken", lambda module: reason if module == "torchvision" else "")
    finding = found("torchvision")
    assert finding.state == ("bad" if reason else "ok") and reason in finding.what
    assert finding.remedy == ("pip uninstall -y torchvision" if reason else "")


def test_no_torchvision_is_fine_and_extras_are_a_note(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not any("torchvision" in finding.what for finding in examine())
    finding = found("optional")
    assert finding.state == "note" and 'pip install "hwnas[' in finding.remedy


@pytest.mark.parametrize(("load", "state"), [(0.2, "ok"), (3.5, "note")])
def test_latencies_want_a_quiet_machine(monkeypatch, load, state):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    finding = found("load")
    assert finding.state == state and finding.what.endswith(f"(load {load} on 4 cores)")


@pytest.mark.parametrize(
    ("writable", "free", "state"), [(True, 2**40, "ok"), (True, 2**28, "note"), (False, 2**40, "note")]
)
def test_a_run_needs_room(monkeypatch, writable, free, state):
    monkeypatch.setattr(os, "access", lambda *_: writable)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    finding = found(f"{Path.cwd()} can")
    assert finding.state == state and ("--run" in finding.remedy) == (state == "note")


def test_the_doctor_does_not_die_of_the_disease(monkeypatch):
    def fail():
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(checkup, "detect", fail)
    finding = found("libtorch")
    assert finding.state == "bad" and finding.what.startswith("machine: cannot be looked at: OSError: ")
    assert len(examine()) > 5
