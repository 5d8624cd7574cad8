"""Handwritten digits of the UCI repository: 8 x 8 pixels with values from 0 to 16."""

from practical_dl.data import Card, _shipped, register

register(
    "digits",
    small=Card(
        title="UCI digits, 8 x 8",
        licence="CC BY 4.0 (E. Alpaydin, C. Kaynak, UCI repository)",
        source=_shipped.SOURCE,
        read=lambda paths: _shipped.read("digits"),
    ),
)
