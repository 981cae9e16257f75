"""What tests of frames of anchors measure."""


def largest_cosine(anchors):
    """Between two different rows of unit anchors [C, D]."""
    return float((anchors @ anchors.T).fill_diagonal_(-1.0).max())
