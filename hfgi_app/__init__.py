"""HFGI Studio as a library: open a face photo once, edit it live."""

from typing import Any

from hfgi_app.errors import HfgiError
from hfgi_app.types import EditRecipe

__all__ = ["EditRecipe", "EditSession", "HfgiError", "Models", "load_models"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Load the heavy rooms on first use, so that importing the package costs nothing."""
    if name == "EditSession":
        from hfgi_app.session import EditSession

        return EditSession
    if name in ("Models", "load_models"):
        from hfgi_app import models

        return getattr(models, name)
    raise AttributeError(f"module 'hfgi_app' has no attribute {name!r}")
