"""The only privileged process of a mediator: it keeps one nftables table of the relay's pairs.

Read in this order: `requests` (everything a mediator can ask for, and every check of it), `table`
(what the kernel is then told), `__main__` (who may ask, and when all is removed). The mediator's
end, `mediator/relay/kernel.py`, runs without privilege.
"""
