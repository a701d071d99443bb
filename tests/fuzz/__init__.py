"""The API against generated requests, in a tool that is not part of the environment."""
