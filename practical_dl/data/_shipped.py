"""What data sets share that come with the installed scikit-learn."""

from __future__ import annotations

from practical_dl.data import Dataset

SOURCE = "shipped with the installed scikit-learn"


def read(name: str) -> Dataset:
    """A data set of `sklearn.datasets.load_NAME`; a quarter of each class is for testing."""
    from sklearn import datasets  # here: it is slow to import
    from sklearn.model_selection import train_test_split

    bunch = getattr(datasets, f"load_{name}")()
    x_train, x_test, y_train, y_test = train_test_split(
        bunch.images if name == "digits" else bunch.data,
        bunch.target,
        test_size=0.25,
        stratify=bunch.target,
        random_state=0,
    )
    return Dataset(x_train, y_train, x_test, y_test, tuple(map(str, bunch.target_names)))
