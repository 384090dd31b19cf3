"""Fuzz targets: one function of bytes for each parser that reads what others wrote.

Owns the targets with their seeds, the bounds of time and memory that each of them asserts, and the
campaign that runs them under atheris. `registry` lists them; the corpus is tests/fuzzing/corpus.
Nothing is imported here, so that the worker of a campaign can instrument what it imports.
"""
