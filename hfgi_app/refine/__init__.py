"""Refinement methods, in the order in which users see them. Opening a photo prepares the first: a slow one is last."""

from hfgi_app.refine.base import Refiner as Refiner
from hfgi_app.refine.e4e import E4E
from hfgi_app.refine.hfgi import HFGI
from hfgi_app.refine.pti import PTI
from hfgi_app.refine.reganie import ReGANIE
from hfgi_app.refine.restyle import ReStyle
from hfgi_app.refine.styleres import StyleRes
from hfgi_app.refine.wagi import WaGI

REFINERS: tuple[type[Refiner], ...] = (HFGI, StyleRes, ReGANIE, WaGI, ReStyle, E4E, PTI)
