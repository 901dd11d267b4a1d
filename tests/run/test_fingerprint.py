"""A key changes with whatever changes numbers, and with nothing else."""

import pytest

from emotion_pipeline.run import fingerprint
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, library_versions, source_files

BASE = '''
"""A module."""
import numpy as np
from pkg import helper

def double(x):
    """Twice x."""
    return helper.times(x, 2)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "pkg").mkdir()
    for name, text in {"__init__": "", "science": BASE, "helper": "def times(x, k):\n    return x * k\n"}.items():
        (tmp_path / "pkg" / f"{name}.py").write_text(text)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    code_fingerprint.cache_clear()
    library_versions.cache_clear()

    def of(science: str | None = None, helper: str | None = None) -> str:
        for name, text in {"science": science, "helper": helper}.items():
            if text is not None:
                (tmp_path / "pkg" / f"{name}.py").write_text(text)
        code_fingerprint.cache_clear()
        library_versions.cache_clear()
        return code_fingerprint("pkg.science")

    yield of
    code_fingerprint.cache_clear()
    library_versions.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(package):
    before = package()
    assert package(science=BASE.replace("Twice x.", "x + x").replace("    return", "    # why\n\n    return")) == before


def test_a_changed_constant_counts(package):
    assert package(science=BASE.replace("x, 2", "x, 3")) != package(science=BASE)


def test_a_change_in_an_imported_module_counts(package):
    before = package()
    assert package(helper="def times(x, k):\n    return k * x + 1\n") != before


def test_an_import_inside_a_function_counts(package):
    lazy = BASE.replace("from pkg import helper\n", "").replace('x."""', 'x."""\n    from pkg import helper')
    before = package(science=lazy)
    assert package(helper="def times(x, k):\n    return 0\n") != before


def test_another_library_version_counts(package, monkeypatch):
    before = package()
    monkeypatch.setattr(fingerprint, "version", lambda name: "9.9")
    assert package() != before


def test_the_local_part_of_a_version_does_not_count(package, monkeypatch):
    monkeypatch.setattr(fingerprint, "version", lambda name: "2.13.0+cpu")
    before = package()
    monkeypatch.setattr(fingerprint, "version", lambda name: "2.13.0")
    assert package() == before


def test_source_files_follow_every_form_of_import():
    names = source_files("emotion_pipeline.run.perclip")
    assert {"emotion_pipeline.run.perclip", "emotion_pipeline.data.artifact", "emotion_pipeline.emotions"} <= set(names)
    assert "emotion_pipeline.data.media" not in names


def test_digest_ignores_the_order_of_keys_but_not_of_lists():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})
