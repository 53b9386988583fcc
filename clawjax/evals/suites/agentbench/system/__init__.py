"""Questions and changes to a Linux machine, in bash."""
