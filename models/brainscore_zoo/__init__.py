"""Models of Brain-Score's zoo as candidates: ``brainscore/NAME[:LAYER]``."""
