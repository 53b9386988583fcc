"""Imported first: numpy keeps to one thread, as in a run (`experiments/_entry.py`).

On small matrices further threads only spin; beside other work they take many times as long.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
