"""A local Databricks workspace, for the demo, tests and benchmarks.

It serves a folder as the documented REST API over HTTP or TLS, and breaks in every way that a test asks for. It
imports nothing of the driver: both are written against the API, and the official SDK decides who is right. Needs the
``demo`` extra; nothing is imported before it is used, so that the command line stays quick without it.
"""
