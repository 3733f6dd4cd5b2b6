"""A small internet in network namespaces, and what is shown and measured in it.

Runs commands and reads what they print; imports nothing of the rooms it tests.
"""
