"""HFGI Studio: open a photo of a face, drag a slider, watch the face change.

python app.py [--model portrait] [--host HOST] [--port PORT] [--share] [--device auto]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hfgi_app import load_models
from hfgi_app.errors import HfgiError
from hfgi_app.ui.server import serve

EXAMPLES = Path(__file__).parent / "assets"


def main() -> None:
    """Read the options, load the models, show the page until it is stopped."""
    parser = argparse.ArgumentParser(description="HFGI Studio: live face editing in the browser.")
    parser.add_argument("--model", default="portrait", help="the model to load (default: portrait)")
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, or 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: GRADIO_SERVER_PORT, or from 7860 up)")
    parser.add_argument("--share", action="store_true", help="open a public link through Gradio's tunnel")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    options = parser.parse_args()
    try:
        models = load_models(options.model, device=options.device)
    except HfgiError as error:
        sys.exit(f"hfgi: {error}")
    serve(models, EXAMPLES, host=options.host, port=options.port, share=options.share)


if __name__ == "__main__":
    main()
