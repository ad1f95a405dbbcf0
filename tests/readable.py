"""Whether a figure can be read: what is drawn of it, measured as it is drawn."""

import itertools
import re

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer


def require_readable(figure):
    """Its texts lie on the page and none on another, no error bar leaves its axes, panels have letters, minus signs."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = {text: text.get_window_extent(renderer).padded(-0.5) for text in texts(figure)}
    for text, box in boxes.items():
        assert figure.bbox.fully_containsx(box.x0) and figure.bbox.fully_containsx(box.x1), text
        assert figure.bbox.fully_containsy(box.y0) and figure.bbox.fully_containsy(box.y1), text
    for (one, its), (other, theirs) in itertools.combinations(boxes.items(), 2):
        assert not its.overlaps(theirs), (one, other)
    for axis, ends in error_bars(figure):
        low, high = sorted(axis.get_ylim())
        assert low <= np.nanmin(ends) and np.nanmax(ends) <= high, axis
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    letters = "abcdefghij"[: len(panels)] if len(panels) > 1 else " " * len(panels)
    assert [axes.get_title(loc="left") or " " for axes in panels] == list(letters)
    assert not re.search(r"(?<![\w.){-])-[\d.]", words(figure)), words(figure)


def texts(figure):
    """What is written in it."""
    found = list(figure.texts)
    for legend in figure.legends:
        found += [legend.get_title(), *legend.get_texts()]
    for axes in figure.axes:
        if not axes.axison:
            continue
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        if axes.get_legend() is not None:
            found += [axes.get_legend().get_title(), *axes.get_legend().get_texts()]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [label for tick in shown for label in (tick.label1, tick.label2)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(figure):
    """All of it as one string."""
    return "\n".join(text.get_text() for text in texts(figure))


def error_bars(figure):
    """Each axes with its error bars' ends [bars, 2, (x, y)], those of y."""
    for axes in figure.axes:
        for container in axes.containers:
            if isinstance(container, ErrorbarContainer):
                for bars in container[2]:
                    yield axes, np.array(bars.get_segments())[..., 1]
