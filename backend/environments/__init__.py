"""Runtime environments: what users ask for, and directories as packages. No sockets here."""
