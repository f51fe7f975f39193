"""Every error a user can meet, as one small tree.

    HfgiError                     anything this program reports in one sentence
    +-- PhotoError                the photo cannot be read or is refused
    |   +-- NoFaceError           no face in it, or no such face
    +-- RecipeError               a recipe names or asks for something that does not exist
    +-- WeightsError              a weights file is missing, foreign or damaged

The message is one sentence that says what is wrong and what to do next; it never holds a path the user did not give.
Programming mistakes (wrong shapes, wrong types) stay ordinary Python exceptions.
"""


class HfgiError(Exception):
    """Base of every error this program reports to people."""


class PhotoError(HfgiError):
    """The photo cannot be read, is too large, or is not a picture."""


class NoFaceError(PhotoError):
    """No face was found, or the face asked for does not exist."""


class RecipeError(HfgiError):
    """A recipe is malformed, or names a slider or method that does not exist."""


class WeightsError(HfgiError):
    """A weights file is missing, has an unknown layout, or is damaged."""
