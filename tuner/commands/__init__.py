"""What the commands of `tuner.cli` do, one file a command."""
