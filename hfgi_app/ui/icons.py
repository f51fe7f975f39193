"""The page's icons: strokes on a 16 x 16 grid, in the colour of the text beside them."""

_STROKES = {
    "undo": "M6.5 3 3 6.5 6.5 10M3 6.5h6a4 4 0 0 1 0 8H6",
    "redo": "M9.5 3 13 6.5 9.5 10M13 6.5H7a4 4 0 0 0 0 8h3",
    "wipe": "M2.5 3h11v10h-11zM8 1v14M10 6h1.5M10 8h1.5M10 10h1.5",
    "hold": "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4",
    "reset": "M3 8a5 5 0 1 0 1.6-3.7L3 5.8M3 2.5v3.3h3.3",
    "download": "M8 2v8.5M4.5 7 8 10.5 11.5 7M2.5 13.5h11",
    "recipe": "M4 2h5.5L12.5 5v9H4zM6.5 7.5H10M6.5 10.5H10",
    "open": "M2 12.5V4h4l1.5 2H14v6.5zM8 8v3M6.5 9.5h3",
    "close": "M4 4l8 8M12 4l-8 8",
    "star": "M8 2l1.8 3.9 4.2.5-3.1 2.9.8 4.2L8 11.4l-3.7 2.1.8-4.2L2 6.4l4.2-.5z",
    "arrow": "M2.5 8h11M9.5 4l4 4-4 4",
    "add": "M8 3v10M3 8h10",
    "fold": "M6 4l4 4-4 4",
}


def icon(name: str) -> str:
    """One icon as inline SVG, hidden from screen readers: the button around it has the words."""
    return f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{_STROKES[name]}"/></svg>'


ICONS = {f"icon_{name}": icon(name) for name in _STROKES}

TAB = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#a84404"/>'
    '<path d="M3 8h10" stroke="#fff" stroke-width="1.5" stroke-linecap="round"/>'
    '<circle cx="10" cy="8" r="2.5" fill="#fff"/></svg>'
)
"""The browser tab's picture: a slider."""
