"""Post-hoc adjustment of a classifier, and classifier re-training."""
