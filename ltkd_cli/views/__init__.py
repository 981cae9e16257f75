"""A view of an image as a pure function of its number."""
