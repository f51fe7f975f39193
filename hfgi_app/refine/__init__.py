"""Refinement methods, in the order in which users see them. Opening a photo prepares the first: a slow one is last."""

from hfgi_app.refine.base import Refiner as Refiner
from hfgi_app.refine.e4e import E4E
from hfgi_app.refine.hfgi import HFGI, UnalignedHFGI
from hfgi_app.refine.pti import PTI
from hfgi_app.refine.reganie import GlobalReGANIE, ReGANIE, SpatialReGANIE
from hfgi_app.refine.restyle import ReStyle
from hfgi_app.refine.styleres import StyleRes, UnfittedStyleRes
from hfgi_app.refine.wagi import WaGI

REFINERS: tuple[type[Refiner], ...] = (HFGI, StyleRes, ReGANIE, WaGI, ReStyle, E4E, PTI)
ABLATIONS: tuple[type[Refiner], ...] = (UnalignedHFGI, UnfittedStyleRes, GlobalReGANIE, SpatialReGANIE)
"""Methods with a part of theirs left out, on the same weights: for those who measure what that part is worth."""
