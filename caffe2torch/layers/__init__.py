"""Everything known about layers, one file a family; registry.py finds them all."""
