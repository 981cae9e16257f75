"""One method a file; the file's name, with hyphens, is the method's name."""
