"""Refinement methods, in the order in which users see them."""

from hfgi_app.refine.base import Refiner as Refiner
from hfgi_app.refine.e4e import E4E
from hfgi_app.refine.hfgi import HFGI

REFINERS: tuple[type[Refiner], ...] = (HFGI, E4E)
