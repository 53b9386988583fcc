"""`python -m clawjax` is `clawjax`."""

import sys

from clawjax.cli import main

sys.exit(main())
