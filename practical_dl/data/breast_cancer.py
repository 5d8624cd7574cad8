"""Breast cancer in Wisconsin: 30 measurements of cell nuclei, benign or malignant."""

from practical_dl.data import Card, _shipped, register

CARD = Card(
    title="Wisconsin breast cancer",
    licence="CC BY 4.0 (W. Wolberg et al., UCI repository)",
    source=_shipped.SOURCE,
    read=lambda paths: _shipped.read("breast_cancer"),
)
register("breast_cancer", small=CARD, full=CARD)
