"""nn.Modules and functions that torch lacks, one file a family.

Each stands alone: its source is printed into model.py where a net needs it, with the default line length of 88.
"""
