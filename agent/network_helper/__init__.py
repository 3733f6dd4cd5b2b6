"""The only privileged process of an agent; `docs/threat-model.md` says what it defends.

Read in this order: `requests` (everything a caller can ask for, and every check of it), `session`
(what is then done), `namespace` and `program` (how), `__main__` (who may ask). `client` is the
agent's end and runs without privilege.
"""
