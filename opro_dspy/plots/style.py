"""What all figures share: colours, markers and lines that tell series apart in print too."""

from collections.abc import Sequence
from typing import Any

from opro_dspy.plots.axes import tick

COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
"""Safe for the colour-blind.

Source:
    Okabe & Ito 2008, "Color Universal Design".
"""

LONG = 10_000
"""Numbers from here on are so long that few have room side by side."""
GREY = "0.55"
MARKERS = "osD^v<>"
LINES = ("-", "--", "-.", ":")


def series_style(place: int) -> dict[str, Any]:
    """Return colour, line and marker of the series at `place`; none repeats before the 28th."""
    colours = list(COLOURS.values())
    return {
        "color": colours[place % len(colours)],
        "linestyle": LINES[place % len(LINES)],
        "marker": MARKERS[place % len(MARKERS)],
    }


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, which a notebook shows as an image.

    It belongs to no window and to no global state: `figure.savefig("curve.png")` writes it.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        ImportError: If matplotlib is not there.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "opro_dspy[plots]"') from error

    class Drawn(Figure):
        """A figure that a notebook can show."""

        def _repr_png_(self) -> bytes:
            from io import BytesIO

            out = BytesIO()
            self.savefig(out, format="png", dpi=110)
            return out.getvalue()

    figure = Drawn(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def heat_colours() -> Any:
    """Return colours from dark to light, all well told from white in grey too."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    shades = colormaps["cividis"]
    return ListedColormap([shades(0.78 * i / 255) for i in range(256)])


def dress(axes: Any, *, whole_x: bool = False, **labels: str) -> None:
    """Label `axes`, numbers of thousands with commas; take away what says nothing."""
    from matplotlib.ticker import ScalarFormatter

    axes.set(**labels)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.set_major_formatter(lambda value, _: tick(value))
    if whole_x:
        axes.xaxis.set_major_locator(whole_numbers())
    elif max(map(abs, axes.get_xlim())) >= LONG:
        axes.locator_params(axis="x", nbins=4)


def whole_numbers() -> Any:
    """Return what puts ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, min_n_ticks=1)


def name_ticks(axis: Any, names: Sequence[int], *, most: int) -> None:
    """Write the names of rows or columns 0, 1, … beside an axis: at most `most`, evenly spread."""
    places = range(0, len(names), -(-len(names) // most))
    axis.set_ticks(list(places), [str(names[place]) for place in places], fontsize="x-small")
