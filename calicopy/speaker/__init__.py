"""The speaker: ExaBGP beside the agent, the bridge between them, and the agent's client (edge, no decisions).

`calicopy.seam.speaker` is the seam. `render` and `control` keep the configuration of ExaBGP; `client` brings events and
takes announcements; `launcher`, `opaque`, `unit` and `bridge` run in processes of their own. docs/speaker.md says what
it all promises.
"""
