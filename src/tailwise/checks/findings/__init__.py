"""One file a check; its name is the file's name, and it defines `CHECK`."""
