"""Names of the parts of a test set that accuracies are reported for."""

GROUP_NAMES = ("head", "medium", "tail")
"""Groups of classes, the largest classes first."""

SPLITS = ("all", *GROUP_NAMES)

GROUP_ALIASES = {"many": "head", "few": "tail"}
"""Names that other projects use for the same groups."""
