"""The stages of a run. Each is a module with a ``key(job)``, what its result depends on, and a ``run(job, stage)``.

``FOLDER`` names the folder that a stage makes, None where it has only facts, or writes ``FILES`` into the run folder
itself; ``needed(job)`` says whether a recipe asks for it.
"""
