"""Messages, frames, and connections between the processes of a session."""
