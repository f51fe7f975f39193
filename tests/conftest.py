"""Shared by all tests."""

from __future__ import annotations

import pytest
import tiny
import torch

from hfgi_app import face
from hfgi_app.models import Models

torch.set_num_threads(1)  # tiny networks are quickest so, and sums do not depend on the machine


@pytest.fixture(scope="session")
def models() -> Models:
    """The tiny random model; nothing may write to it."""
    return tiny.models()


@pytest.fixture
def faces(monkeypatch) -> list:
    """What face detection finds, in place of looking: two faces, the right one larger. Tests may change the list."""
    found = [tiny.landmarks(36, 40, 10), tiny.landmarks(80, 42, 14)]
    monkeypatch.setattr(face, "detect", lambda photo: list(found))
    return found
