"""The student library of Practical DL: data, checks, seeds, plots, progress.

It stands alone: NumPy, matplotlib, Pillow, scikit-learn, pooch and tqdm are all it needs; torch is
used only where the notebook has imported it, by `network` and by `models`. What one week alone uses
lies in `weeks`, which nothing here imports.
"""

from practical_dl import check, data, plots
from practical_dl._progress import progress
from practical_dl._seed import seed_everything

__version__ = "2026.1.0"
__all__ = ["check", "data", "plots", "progress", "seed_everything"]
