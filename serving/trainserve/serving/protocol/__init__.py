"""The open inference protocol and Triton's own messages: what is sent to a running server, and what it answers."""
