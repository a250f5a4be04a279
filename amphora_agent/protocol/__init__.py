"""The wire between controller and amphora, in the standard library only: the one part of the agent that the controller imports."""
