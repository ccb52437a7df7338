"""The stages of a run, each a module that defines one ``STAGE``."""
