"""Refinement methods, in the order in which users see them."""

from hfgi_app.refine.base import Refiner as Refiner
from hfgi_app.refine.e4e import E4E
from hfgi_app.refine.hfgi import HFGI
from hfgi_app.refine.reganie import ReGANIE
from hfgi_app.refine.styleres import StyleRes

REFINERS: tuple[type[Refiner], ...] = (HFGI, StyleRes, ReGANIE, E4E)
