"""The local page: what a person sees of `agent host`, `join` and the others in a browser.

Nothing is decided or computed here. The page asks for one of a closed set of commands, the server
runs it with --json, and the page draws its events.
"""
