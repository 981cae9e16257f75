"""Views: the pixels of an image as a pure function of (policy, row, view number)."""
