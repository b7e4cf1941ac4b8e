"""Draws the extension's and the module's icon: slices of a volume, one of them annotated, the others following.

Usage: ``python Testing/draw_icon.py`` (needs PySide6).
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

ROOT = Path(__file__).resolve().parents[1]
SIZE = 128
# Centre (x, y) and half width of each slice's outline, from back to front; the drawn one is filled brightest.
SLICES = (((64, 30), 25), ((64, 64), 44), ((64, 98), 32))
ANNOTATED = 1


def draw(size: int = SIZE) -> QtGui.QImage:
    """The icon as an image of ``size`` x ``size`` pixels."""
    image = QtGui.QImage(size, size, QtGui.QImage.Format_ARGB32)
    image.fill(QtCore.Qt.transparent)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.Antialiasing)
    painter.scale(size / SIZE, size / SIZE)
    painter.setPen(QtCore.Qt.NoPen)
    painter.setBrush(QtGui.QColor("#16324f"))
    painter.drawRoundedRect(QtCore.QRectF(0, 0, SIZE, SIZE), 22, 22)
    for index, ((x, y), half) in enumerate(SLICES):
        drawn = index == ANNOTATED
        painter.setPen(QtGui.QPen(QtGui.QColor("#ffd166" if drawn else "#6fb1e0"), 9 if drawn else 7))
        painter.setBrush(QtGui.QColor("#ef8354" if drawn else "#2d5f8b"))
        painter.drawEllipse(QtCore.QPointF(x, y), half, half * 0.32)
    painter.end()
    return image


if __name__ == "__main__":
    application = QtWidgets.QApplication([])
    for path in (ROOT / "Resources/Icons/MedPerSAM.png", ROOT / "MedPerSAM/Resources/Icons/MedPerSAM.png"):
        draw().save(str(path))
