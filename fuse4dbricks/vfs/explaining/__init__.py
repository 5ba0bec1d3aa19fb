"""Why somebody may or may not read a path, what is cached of it, and what reading it would cost.

``place`` is what a question is about; ``way`` asks the workspace, ``kept`` looks into the caches, ``findings`` is what they
found and the verdict on it; ``answer`` is the form that ``explainer`` gives it.
"""
