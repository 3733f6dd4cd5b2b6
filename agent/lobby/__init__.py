"""How the roster of a session comes together: links, knocks, seats, and one roster for all."""
