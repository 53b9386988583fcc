"""Questions and changes to a table, in SQL."""
