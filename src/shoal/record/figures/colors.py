"""The colors of all figures: of the palette of Okabe and Ito, told apart by color-blind readers too."""

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#999999"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of groups; more groups than these begin anew."""
DARK = "#333333"
"""Of what has to stand out in black and white."""
