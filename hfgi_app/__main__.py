"""`python -m hfgi_app`: see `cli`."""

import sys

from hfgi_app.cli import main

sys.exit(main())
