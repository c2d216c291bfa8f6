"""The commands: each reads the configuration, asks the engine, and prints. Data on stdout, the rest on stderr."""
