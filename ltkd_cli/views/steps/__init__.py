"""The steps of policies: one file each, named as the step is typed."""
