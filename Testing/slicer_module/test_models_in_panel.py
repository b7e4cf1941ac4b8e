"""The list of models in the panel: marks, licence, import, clear; and the methods' list against the registry."""

from __future__ import annotations

import pytest

from MedPerSAMLib.core.methods import METHODS, method_class
from MedPerSAMLib.mrml.method_list import METHOD_ROWS
from MedPerSAMLib.mrml.model_presenter import ModelPresenter
from MedPerSAMLib.services.models.store import ModelStore


@pytest.fixture
def models(tmp_path):
    """A presenter on an empty folder, whose jobs the test runs by hand."""
    jobs = []
    presenter = ModelPresenter(lambda work, title, done: jobs.append((work, title, done)) or True, ModelStore(tmp_path))
    presenter.jobs = jobs
    return presenter


def test_rows_say_size_licence_and_need(models):
    row = models.row("vit_b")
    assert row.text == "vit_b, 375 MB - needs download" and "Apache-2.0" in row.details
    assert row.can_download and not row.ready
    assert not models.row("medsam").can_download, "it has no address, only a page"


def test_download_is_a_job_and_its_end_is_told(models):
    models.download("vit_b")
    assert models.status == "Downloading vit_b ..."
    models.jobs[0][2]("vit_b is ready.")
    assert models.status == "vit_b is ready."


def test_import_without_a_file_asks_for_one(models):
    models.import_file("  ")
    assert models.status == "Choose a checkpoint file first." and not models.jobs


def test_busy_is_told(tmp_path):
    presenter = ModelPresenter(lambda *_: False, ModelStore(tmp_path))
    presenter.download("vit_b")
    assert "Wait" in presenter.status


def test_clear_removes_what_was_got(models, tmp_path):
    models.clear()
    assert models.status == "There was nothing to remove."
    (tmp_path / "mobile_sam.pt").write_bytes(b"x")
    models.clear()
    assert models.status == "Removed mobile_sam." and not list(tmp_path.iterdir())


def test_methods_are_those_of_the_registry():
    pytest.importorskip("torch")
    listed = {row.name: row for row in METHOD_ROWS}
    volumes = {name for name in METHODS if hasattr(method_class(name), "propagate")}
    assert set(listed) == volumes
    for name, row in listed.items():
        assert row.needs_model == method_class(name).needs_model, name
