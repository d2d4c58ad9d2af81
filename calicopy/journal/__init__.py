"""The journal of a core: what it began with, what it was told and when, and what came of it; and playing that again.

Theory of operation: `Core` reads no clock and no file, so a log of its events, each with the `now` of its step, is all
that it takes to do the same again (design rule 7). `codec` makes JSON of any value of the core by the types of its
fields, and back; `lines` are the lines of a journal; `replay` runs a core on them. Nothing here does I/O: the agent
writes the file (`calicopy.agent.journal`), the command `calicopy replay` reads it. Keys of BGP and BFD sessions are
never in it, since the core knows no more of them than the names of their files.
"""
