"""`--rootless`: a session for an ordinary user, inside user and network namespaces of its own.

Read in this order: `outside` (the process that the user started and sees), `inside` (the first
process of the namespaces: way out, helper, agent), `handover` (what the agent there is told),
`probe` (whether the machine allows it, and what to change if not), `way_out` (what carries the
packets of the namespace).

    agent run --rootless              ordinary user, this machine's namespaces
    +-- inside                        root of a user namespace, first process of a pid namespace
        +-- pasta or slirp4netns      ordinary sockets on this side, an interface on the other
        +-- network helper            root of the user namespace, inside the network namespace
        |   +-- program               its user again, in the session's own network namespace
        +-- agent run                 its user again, in a user namespace without any power here
"""
